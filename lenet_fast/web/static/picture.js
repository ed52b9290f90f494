// A view as a picture: what is visible of an element, in PNG and SVG. The element is read once into
// shapes, which two writers know; so no style sheet has to be understood a second time.

import { t } from "./strings.js";

const SCALE = 3; // pixels of the PNG per CSS pixel
const NAMES = { png: "PNG", svg: "SVG" };

// Add buttons to `element` that save it, without them, as `name`.png and `name`.svg. name may be a
// function, asked when the picture is saved.
export function exportable(element, name) {
  const box = document.createElement("p");
  box.className = "export";
  for (const kind of ["png", "svg"]) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = NAMES[kind];
    button.setAttribute("aria-label", t("shell.savePicture", { kind: NAMES[kind] }));
    button.title = t("shell.savePicture", { kind: NAMES[kind] });
    button.addEventListener("click", async () => {
      save(await picture(element, kind), `${typeof name === "function" ? name() : name}.${kind}`);
    });
    box.append(button);
  }
  element.append(box);
}

// Return the picture of an element as a Blob; kind is "png" or "svg".
export async function picture(element, kind) {
  const { width, height, shapes } = read(element);
  if (kind === "svg") return new Blob([toSvg(width, height, shapes)], { type: "image/svg+xml" });
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [Math.ceil(SCALE * width), Math.ceil(SCALE * height)];
  const context = canvas.getContext("2d");
  context.scale(SCALE, SCALE);
  context.imageSmoothingEnabled = false;
  for (const shape of shapes) PAINT[shape.is](context, shape);
  return new Promise((done) => { canvas.toBlob(done, "image/png"); });
}

function save(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

// Return the size of an element, and what is visible of it, from back to front.
function read(root) {
  const frame = root.getBoundingClientRect();
  const shapes = [];
  const ground = getComputedStyle(document.body).backgroundColor;
  shapes.push({ is: "box", x: 0, y: 0, width: frame.width, height: frame.height, radius: 0, fill: ground, opacity: 1 });

  // `clip` is what is visible of the box around it that scrolls.
  const visit = (element, opacity, clip) => {
    const style = getComputedStyle(element);
    if (style.display === "none" || style.visibility === "hidden") return;
    if (element.matches(".export, .unseen, .unsaved, input[type=range]")) return;
    const visible = opacity * Number(style.opacity);
    const box = element.getBoundingClientRect();
    const outside = clip && (box.top < clip.top - 1 || box.bottom > clip.bottom + 1 || box.left < clip.left - 1 || box.right > clip.right + 1);
    if (outside && element.matches("canvas, button, th, svg *")) return; // else children may be inside
    const place = { x: box.x - frame.x, y: box.y - frame.y, width: box.width, height: box.height };
    if (element instanceof SVGGeometryElement || element instanceof SVGTextElement) {
      readSvg(element, style, visible);
      return;
    }
    if (element instanceof HTMLElement) {
      const line = parseFloat(style.borderTopWidth);
      const fill = clear(style.backgroundColor) ? null : style.backgroundColor;
      const stroke = line && style.borderTopStyle !== "none" && !clear(style.borderTopColor) ? style.borderTopColor : null;
      if ((fill || stroke) && box.width) {
        shapes.push({ is: "box", ...place, radius: parseFloat(style.borderTopLeftRadius) || 0, fill, stroke, line, opacity: visible });
      }
    }
    if (element instanceof HTMLCanvasElement) {
      if (element.width && box.width) shapes.push({ is: "image", ...place, canvas: element, opacity: visible });
      return;
    }
    for (const child of element.childNodes) {
      if (child.nodeType === Node.ELEMENT_NODE) visit(child, visible, style.overflowY === "auto" ? box : clip);
      else if (child.nodeType === Node.TEXT_NODE && child.data.trim()) readText(child, style, visible);
    }
  };

  // One text per line: a range tells where a word has gone.
  const readText = (node, style, opacity) => {
    const range = document.createRange();
    let line = null;
    for (const { 0: word, index } of node.data.matchAll(/\S+\s*/g)) {
      range.setStart(node, index);
      range.setEnd(node, index + word.trimEnd().length);
      const box = range.getBoundingClientRect();
      if (!box.width) continue;
      const middle = box.y + box.height / 2 - frame.y;
      if (line && Math.abs(line.y - middle) < 2) line.text += word;
      else {
        line = { is: "text", x: box.x - frame.x, y: middle, text: word, fill: style.color, anchor: "start",
          font: [style.fontStyle, style.fontWeight, style.fontSize, style.fontFamily], opacity };
        shapes.push(line);
      }
    }
  };

  const readSvg = (element, style, opacity) => {
    const matrix = element.getScreenCTM();
    const move = new DOMMatrix([matrix.a, matrix.b, matrix.c, matrix.d, matrix.e - frame.x, matrix.f - frame.y]);
    const fill = style.fill === "none" ? null : style.fill;
    const stroke = style.stroke === "none" ? null : style.stroke;
    if (element instanceof SVGTextElement) {
      const at = new DOMPoint(Number(element.getAttribute("x")), Number(element.getAttribute("y"))).matrixTransform(move);
      shapes.push({ is: "text", x: at.x, y: at.y, text: element.textContent, fill, anchor: style.textAnchor, baseline: "alphabetic",
        font: [style.fontStyle, style.fontWeight, style.fontSize, style.fontFamily], opacity });
      return;
    }
    shapes.push({ is: "path", d: outline(element), move, fill, stroke, opacity,
      fillOpacity: Number(style.fillOpacity), strokeOpacity: Number(style.strokeOpacity), line: parseFloat(style.strokeWidth),
      dash: style.strokeDasharray === "none" ? [] : style.strokeDasharray.split(/[ ,]+/).map(parseFloat) });
  };

  visit(root, 1, null);
  return { width: frame.width, height: frame.height, shapes };
}

function clear(colour) {
  return colour === "transparent" || /, 0\)$/.test(colour);
}

// Return an SVG shape as a path.
function outline(element) {
  const of = (name) => element[name].baseVal.value;
  switch (element.tagName) {
    case "path": return element.getAttribute("d");
    case "line": return `M${of("x1")} ${of("y1")}L${of("x2")} ${of("y2")}`;
    case "rect": return `M${of("x")} ${of("y")}h${of("width")}v${of("height")}h${-of("width")}z`;
    case "circle": {
      const r = of("r");
      return `M${of("cx") - r} ${of("cy")}a${r} ${r} 0 1 0 ${2 * r} 0a${r} ${r} 0 1 0 ${-2 * r} 0z`;
    }
    default: return `M${element.getAttribute("points")}${element.tagName === "polygon" ? "z" : ""}`;
  }
}

const PAINT = {
  box(context, { x, y, width, height, radius, fill, stroke, line, opacity }) {
    context.globalAlpha = opacity;
    context.beginPath();
    context.roundRect(x, y, width, height, radius);
    if (fill) {
      context.fillStyle = fill;
      context.fill();
    }
    if (stroke) {
      context.setLineDash([]);
      [context.strokeStyle, context.lineWidth] = [stroke, line];
      context.stroke();
    }
  },
  image(context, { x, y, width, height, canvas, opacity }) {
    context.globalAlpha = opacity;
    context.drawImage(canvas, x, y, width, height);
  },
  text(context, { x, y, text, fill, anchor, baseline, font, opacity }) {
    context.globalAlpha = opacity;
    context.font = font.join(" ");
    context.fillStyle = fill;
    context.textAlign = { start: "left", middle: "center", end: "right" }[anchor];
    context.textBaseline = baseline ?? "middle";
    context.fillText(text, x, y);
  },
  path(context, { d, move, fill, stroke, line, dash, opacity, fillOpacity, strokeOpacity }) {
    context.save();
    context.transform(move.a, move.b, move.c, move.d, move.e, move.f);
    const path = new Path2D(d);
    if (fill) {
      context.globalAlpha = opacity * fillOpacity;
      context.fillStyle = fill;
      context.fill(path);
    }
    if (stroke) {
      context.globalAlpha = opacity * strokeOpacity;
      [context.strokeStyle, context.lineWidth] = [stroke, line];
      context.setLineDash(dash);
      context.stroke(path);
    }
    context.restore();
  },
};

function toSvg(width, height, shapes) {
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${round(width)}" height="${round(height)}" ` +
    `viewBox="0 0 ${round(width)} ${round(height)}">\n${shapes.map((shape) => WRITE[shape.is](shape)).join("\n")}\n</svg>\n`;
}

function round(value) {
  return Number(value.toFixed(2));
}

function escape(text) {
  return `${text}`.replace(/[&<>"]/g, (each) => `&#${each.charCodeAt(0)};`);
}

function tag(name, attributes, content = "") {
  const all = Object.entries(attributes).filter(([, value]) => value !== null && value !== undefined);
  return `<${name} ${all.map(([key, value]) => `${key}="${escape(typeof value === "number" ? round(value) : value)}"`).join(" ")}` +
    (content ? `>${escape(content)}</${name}>` : "/>");
}

const WRITE = {
  box: ({ x, y, width, height, radius, fill, stroke, line, opacity }) => tag("rect", { x, y, width, height,
    rx: Math.min(radius, width / 2, height / 2), fill: fill ?? "none", stroke, "stroke-width": stroke ? line : null, opacity }),
  image: ({ x, y, width, height, canvas, opacity }) => tag("image", { x, y, width, height, opacity,
    href: canvas.toDataURL(), preserveAspectRatio: "none", "image-rendering": "pixelated" }),
  text: ({ x, y, text, fill, anchor, baseline, font: [style, weight, size, family], opacity }) => tag("text", { x, y, fill, opacity,
    "text-anchor": anchor, "dominant-baseline": baseline ? null : "central",
    "font-style": style, "font-weight": weight, "font-size": size, "font-family": family }, text),
  path: ({ d, move, fill, stroke, line, dash, opacity, fillOpacity, strokeOpacity }) => tag("path", { d, opacity,
    transform: `matrix(${[move.a, move.b, move.c, move.d, move.e, move.f].map(round).join(" ")})`,
    fill: fill ?? "none", "fill-opacity": fillOpacity, stroke, "stroke-width": stroke ? line : null,
    "stroke-opacity": stroke ? strokeOpacity : null, "stroke-dasharray": dash.length ? dash.join(" ") : null }),
};
