// Curves over the number of images, on a logarithmic scale.

import { local } from "./strings.js";

const EDGES = { left: 52, right: 14, top: 22, bottom: 22, line: 13 }; // at 15 pixels per rem

export function thousands(number) {
  for (const [unit, size] of [["M", 1e6], ["k", 1e3]]) {
    const count = Number((number / size).toPrecision(3));
    if (count >= 1) return `${local(`${count}`)} ${unit}`;
  }
  return `${number}`;
}

// Draw curves into an svg.
//
// curves: the last one on top, each {name, points, circles, end}: a class, [images, value] pairs, and
// words at the end of the line. Values that are not positive numbers are drawn at the bottom. most: images at the right edge. range: the least span of the vertical axis, which
// grows with the values; null is left out. format(value) writes a tick. title: what is drawn. changes: images at which
// a line stands.
export function draw(svg, { curves, most, range, format, title, changes = [] }) {
  const box = svg.getBoundingClientRect();
  const [width, height] = [box.width || 500, box.height || 200];
  const size = parseFloat(getComputedStyle(document.documentElement).fontSize) / 15;
  const EDGE = Object.fromEntries(Object.entries(EDGES).map(([edge, pixels]) => [edge, pixels * size]));
  const LINE = EDGE.line;
  const room = Math.max(0, ...curves.map(({ end = "" }) => end.length)) * 7 * size;
  const right = width - EDGE.right - room;
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  const [low, high] = span(curves.flatMap(({ points, circles = [] }) => [...points, ...circles].map(([, y]) => y)), range);
  const x = (images) => EDGE.left + (images / Math.max(1, most)) * (right - EDGE.left);
  const y = (value) => {
    const share = Math.log(Math.max(value, low) / high) / Math.log(low / high);
    return EDGE.top + share * (height - EDGE.top - EDGE.bottom);
  };
  const ends = [];
  const parts = [text(title, EDGE.left, LINE, "start", "title")];
  for (const tick of ticks(low, high)) {
    parts.push(make("line", { class: "grid", x1: EDGE.left, x2: right, y1: y(tick), y2: y(tick) }));
    parts.push(text(format(tick), EDGE.left - 7, y(tick) + 4 * size, "end"));
  }
  const shares = right - EDGE.left < 220 * size ? [0, 0.5, 1] : [0, 0.25, 0.5, 0.75, 1]; // as many as have room
  for (const share of most > 1 ? shares : []) {
    parts.push(text(thousands(Math.round(share * most)), x(share * most), height - 5 * size, share === 1 ? "end" : "middle"));
  }
  for (const images of changes) {
    parts.push(make("line", { class: "change", x1: x(images), x2: x(images), y1: EDGE.top, y2: height - EDGE.bottom }));
  }
  for (const { name, points, circles = [], end } of curves) {
    const known = points.filter(([, value]) => value !== null);
    const path = known.map(([images, value], k) => `${k ? "L" : "M"}${x(images).toFixed(1)} ${y(value).toFixed(1)}`);
    parts.push(make("path", { class: name, d: path.join("") }));
    for (const [images, value] of circles) {
      parts.push(make("circle", { class: name, cx: x(images), cy: y(value), r: 4 * size }));
    }
    const last = known.at(-1);
    if (end && last) ends.push({ words: end, at: x(last[0]) + 6, y: y(last[1]) + 4 * size, name });
  }
  // Words that would overlap move down, and up again from the bottom.
  ends.sort((a, b) => a.y - b.y);
  for (let k = 1; k < ends.length; k++) ends[k].y = Math.max(ends[k].y, ends[k - 1].y + LINE);
  ends.reverse().forEach((each, k) => {
    each.y = Math.min(each.y, height - EDGE.bottom - LINE * k);
    parts.push(text(each.words, each.at, each.y, "start", each.name));
  });
  svg.replaceChildren(...parts);
}

// Return the ends of the axis: those of `range`, or steps of 1, 2, 5 beyond them.
function span(values, [low, high]) {
  const found = values.filter((value) => value > 0 && Number.isFinite(value));
  const down = (value) => {
    const size = 10 ** Math.floor(Math.log10(value) + 1e-9);
    return size * [5, 2, 1].find((each) => each * size <= value * (1 + 1e-9));
  };
  const least = down(Math.min(low, ...found));
  return [least, Math.max(high, 2 * least, ...found)];
}

function ticks(low, high) {
  const decades = Math.log10(high / low);
  const steps = decades > 3.6 ? [1] : decades > 1.2 ? [1, 2, 5] : [1, 1.5, 2, 3, 5, 7];
  const every = Math.max(1, Math.ceil(decades / 6));
  const found = [];
  for (let k = Math.floor(Math.log10(low)); k <= Math.log10(high); k++) {
    if (k % every) continue;
    for (const step of steps) {
      const tick = Number((step * 10 ** k).toPrecision(3));
      if (tick >= low * (1 - 1e-9) && tick <= high * (1 + 1e-9)) found.push(tick);
    }
  }
  return found;
}

function make(tag, attributes) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}

function text(words, x, y, anchor, name) {
  const element = make("text", { x, y, "text-anchor": anchor, ...(name ? { class: name } : {}) });
  element.textContent = words;
  return element;
}
