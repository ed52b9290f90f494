// The drawing: strokes by mouse, pen, finger or keyboard, and their grey values.

const SIDE = 112; // pixels per side of the image that is read
const GRID = 250; // steps per side in which a point is kept, a byte in an address
const STEP = 0.02; // share of the side, per key press

export class Pad {
  // changed(start) is called after every change, with the time of the event that made it.
  constructor(canvas, pen, changed) {
    this.canvas = canvas;
    this.pen = pen;
    this.changed = changed;
    this.strokes = [];
    this.image = null; // a test digit, instead of strokes
    this.cursor = null; // of the keyboard: [x, y]
    this.keyStroke = null;
    this.stroke = null; // the pointer's current stroke
    this.ink = canvas.getContext("2d");
    const small = document.createElement("canvas");
    small.width = small.height = SIDE;
    this.small = small.getContext("2d", { willReadFrequently: true });
    this.listen();
    this.redraw();
  }

  listen() {
    const canvas = this.canvas;
    let pointer = null; // with several fingers, the first one draws
    canvas.addEventListener("pointerdown", (event) => {
      if (event.button !== 0 || this.stroke) return;
      pointer = event.pointerId;
      canvas.setPointerCapture(event.pointerId);
      this.hideCursor();
      this.stroke = this.begin(this.place(event));
      this.changed(event.timeStamp);
    });
    canvas.addEventListener("pointermove", (event) => {
      if (!this.stroke || event.pointerId !== pointer) return;
      const events = event.getCoalescedEvents?.() ?? [];
      for (const each of events.length ? events : [event]) this.extend(this.stroke, this.place(each));
      this.changed(event.timeStamp);
    });
    for (const end of ["pointerup", "pointercancel"]) {
      canvas.addEventListener(end, (event) => {
        if (event.pointerId === pointer) this.stroke = null;
      });
    }
    canvas.addEventListener("keydown", (event) => this.key(event));
    canvas.addEventListener("blur", () => this.hideCursor());
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.redraw());
  }

  place(event) {
    const box = this.canvas.getBoundingClientRect();
    return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
  }

  key(event) {
    const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    if (event.ctrlKey || event.metaKey || event.altKey) {
      if (event.key === "z" && !event.altKey) this.undo();
      else return;
    } else if (event.key in moves) {
      const step = event.shiftKey ? 3 * STEP : STEP;
      const at = this.cursor ?? [0.5, 0.2];
      const clip = (value) => Math.min(0.98, Math.max(0.02, value));
      this.cursor = at.map((value, axis) => clip(value + step * moves[event.key][axis]));
      if (this.keyStroke) this.extend(this.keyStroke, this.cursor);
    } else if (event.key === " ") {
      this.cursor ??= [0.5, 0.2];
      if (!event.repeat) this.keyStroke = this.keyStroke ? null : this.begin(this.cursor);
    } else if (event.key === "Backspace") {
      this.undo();
    } else if (event.key === "Delete") {
      this.clear();
    } else {
      return;
    }
    event.preventDefault();
    this.redraw();
    this.changed(event.timeStamp);
  }

  hideCursor() {
    if (this.cursor === null) return;
    this.cursor = this.keyStroke = null;
    this.redraw();
  }

  begin(point) {
    if (this.image) this.clear();
    const stroke = { width: this.pen.value / 100, points: [snapped(point)] };
    this.strokes.push(stroke);
    this.draw(stroke, 0);
    return stroke;
  }

  extend(stroke, point) {
    const next = snapped(point);
    const [x, y] = stroke.points.at(-1);
    if (Math.hypot(next[0] - x, next[1] - y) < 2 / GRID) return; // a hand that rests
    stroke.points.push(next);
    this.draw(stroke, stroke.points.length - 2);
  }

  undo() {
    if (this.image) this.image = null;
    else this.strokes.pop();
    this.keyStroke = this.stroke = null;
    this.redraw();
    this.changed(performance.now());
  }

  clear() {
    this.strokes = [];
    this.image = null;
    this.keyStroke = this.stroke = null;
    this.redraw();
    this.changed(performance.now());
  }

  // Show a test digit, an image as images.js has it.
  put(image) {
    this.clear();
    this.image = image;
    this.redraw();
  }

  // Return the strokes as a short text of letters that an address may hold.
  save() {
    const bytes = this.strokes.flatMap(({ width, points }) =>
      [Math.round(100 * width), points.length >> 8, points.length & 255, ...points.flat().map((at) => Math.round(at * GRID))]);
    return btoa(String.fromCharCode(...bytes)).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
  }

  // Take strokes from such a text; return whether it was one.
  load(text) {
    let bytes;
    try {
      bytes = Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (letter) => letter.charCodeAt(0));
    } catch {
      return false;
    }
    const strokes = [];
    for (let at = 0; at < bytes.length;) {
      const [width, count] = [bytes[at] / 100, 256 * bytes[at + 1] + bytes[at + 2]];
      const points = Array.from(bytes.subarray(at + 3, at + 3 + 2 * count), (byte) => Math.min(1, byte / GRID));
      if (!(count > 0) || points.length < 2 * count || !width) return false;
      strokes.push({ width, points: Array.from({ length: count }, (_, k) => points.slice(2 * k, 2 * k + 2)) });
      at += 3 + 2 * count;
    }
    this.strokes = strokes;
    this.image = this.stroke = this.keyStroke = null;
    this.redraw();
    return strokes.length > 0;
  }

  get empty() {
    return this.strokes.length === 0 && this.image === null;
  }

  // The drawing, an image as images.js has it.
  drawing() {
    const { data } = this.small.getImageData(0, 0, SIDE, SIDE);
    const pixels = Uint8Array.from({ length: SIDE * SIDE }, (_, k) => data[4 * k]);
    return { rows: SIDE, columns: SIDE, pixels };
  }

  // Draw a stroke, starting at one of its points.
  draw(stroke, first) {
    const colour = getComputedStyle(this.canvas).color;
    for (const [context, side, style] of [[this.ink, this.canvas.width, colour], [this.small, SIDE, "#fff"]]) {
      context.lineCap = context.lineJoin = "round";
      context.strokeStyle = style;
      context.lineWidth = stroke.width * side;
      context.beginPath();
      const [start, ...rest] = stroke.points.slice(first);
      context.moveTo(start[0] * side, start[1] * side);
      for (const [x, y] of rest.length ? rest : [start]) context.lineTo(x * side, y * side);
      context.stroke();
    }
  }

  redraw() {
    const side = this.canvas.width;
    this.ink.clearRect(0, 0, side, side);
    this.small.fillStyle = "#000";
    this.small.fillRect(0, 0, SIDE, SIDE);
    if (this.image) this.drawImage(side);
    for (const stroke of this.strokes) this.draw(stroke, 0);
    if (this.cursor) {
      this.ink.lineWidth = 4;
      this.ink.strokeStyle = getComputedStyle(this.canvas).getPropertyValue("--accent");
      this.ink.beginPath();
      this.ink.arc(this.cursor[0] * side, this.cursor[1] * side, 14, 0, 2 * Math.PI);
      this.ink.stroke();
    }
  }

  drawImage(side) {
    const { columns, pixels } = this.image;
    const cell = side / columns;
    this.ink.fillStyle = getComputedStyle(this.canvas).color;
    pixels.forEach((grey, k) => {
      this.ink.globalAlpha = grey / 255;
      this.ink.fillRect((k % columns) * cell, Math.floor(k / columns) * cell, cell, cell);
    });
    this.ink.globalAlpha = 1;
  }
}

function snapped(point) {
  return point.map((at) => Math.round(Math.max(0, Math.min(1, at)) * GRID) / GRID);
}
