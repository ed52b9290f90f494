// The curve: share of misread test digits, on a logarithmic scale, by number of images.

const TICKS = [1, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001];
const EDGE = { left: 52, right: 16, top: 10, bottom: 40 };

export function thousands(number) {
  for (const [unit, size] of [["M", 1e6], ["k", 1e3]]) {
    const count = Number((number / size).toPrecision(3));
    if (count >= 1) return `${count} ${unit}`;
  }
  return `${number}`;
}

// runs: [one, another], each a run or undefined.
export function draw(svg, runs) {
  const box = svg.getBoundingClientRect();
  const [width, height] = [box.width || 500, box.height || 236];
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  const most = Math.max(1, ...runs.map((run) => (run ? run.total : 0)));
  const errors = runs.flatMap((run) => (run ? [...run.points.map((point) => point[2]), ...run.epochs.map(({ test }) => test)] : []));
  const least = Math.min(...errors) < 0.005 ? 0.001 : 0.005;
  const x = (images) => EDGE.left + (images / most) * (width - EDGE.left - EDGE.right);
  const y = (error) => {
    const share = Math.log(Math.max(error, least)) / Math.log(least);
    return EDGE.top + share * (height - EDGE.top - EDGE.bottom);
  };
  const parts = [];
  for (const tick of TICKS.filter((each) => each >= least)) {
    parts.push(make("line", { class: "grid", x1: EDGE.left, x2: width - EDGE.right, y1: y(tick), y2: y(tick) }));
    parts.push(text(`${100 * tick} %`, EDGE.left - 8, y(tick) + 4, "end"));
  }
  const marks = most === 1 ? [] : [0, 0.25, 0.5, 0.75, 1];
  for (const share of marks) {
    parts.push(text(thousands(Math.round(share * most)), x(share * most), height - 22, share === 1 ? "end" : "middle"));
  }
  parts.push(text("images seen", (EDGE.left + width - EDGE.right) / 2, height - 5, "middle"));
  // The other run first, so that the selected one is on top.
  [["b", runs[1]], ["a", runs[0]]].forEach(([name, run]) => {
    if (!run) return;
    const path = run.points.map(([images, , error], k) => `${k ? "L" : "M"}${x(images).toFixed(1)} ${y(error).toFixed(1)}`);
    parts.push(make("path", { class: name, d: path.join("") }));
    for (const { images, test } of run.epochs) {
      parts.push(make("circle", { class: name, cx: x(images), cy: y(test), r: 4.5 }));
    }
  });
  svg.replaceChildren(...parts);
}

function make(tag, attributes) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}

function text(words, x, y, anchor) {
  const element = make("text", { x, y, "text-anchor": anchor });
  element.textContent = words;
  return element;
}
