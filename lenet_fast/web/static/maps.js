// The network at a glance: all layers in a row, from the image to the answer. The maps of one layer are
// large; lines show which maps a map reads.

import { format } from "./answer.js";
import { colours, paintMap } from "./colours.js";
import { exportable } from "./picture.js";
import { state } from "./state.js";
import { hasTerm, local, say, t, term } from "./strings.js";

const byId = (id) => document.getElementById(id);
const BITMAP = [12, 7]; // rows and columns of an RBF output's bitmap
const NAMED = 12; // most classes that are named in the last column
const GAP = 4; // pixels between maps of one layer
const KINDS = {
  convolution: "convolution",
  "sub-sampling": "subsampling",
  "average pooling": "average",
  "max pooling": "maximum",
  dense: "dense",
};

export class Layers {
  constructor() {
    this.box = byId("glance");
    this.under = svg("svg", { class: "links" });
    this.over = svg("svg", { class: "links over" });
    this.columns = [];
    this.links = []; // none are drawn while it is hidden, as in a presentation of another view
    this.lit = null; // [column, map] that is pointed at, or chosen
    exportable(byId("think"), () => `lenet-${this.stage?.name ?? "network"}`);
    new ResizeObserver(() => this.place()).observe(this.box);
    this.box.addEventListener("pointerleave", () => this.light(this.chosen()));
    state.on("layer", () => this.choose());
    state.on("map", () => this.light(this.chosen()));
    colours.on(() => this.paint());
  }

  // Show a reading, or with null that there is none.
  show(network, trace) {
    this.trace = trace;
    if (network !== this.network) this.describe(network);
    this.paint();
  }

  // Take a network; another one with the same layers, as in training, keeps what is built.
  describe(network) {
    const same = JSON.stringify(network.stages) === JSON.stringify(this.network?.stages) &&
      network.output === this.network.output && `${network.classes}` === `${this.network.classes}`;
    this.network = network;
    if (same) return;
    const { stages, classes } = network;
    const image = { name: t("maps.image"), shape: [1, ...network.input_shape.slice(1)], links: null, image: true };
    const answer = { name: t("maps.answer"), shape: [classes.length, 1, 1], links: null, answer: true };
    this.columns = [image, ...stages, answer].map((stage, k) => this.column(stage, k));
    const names = document.createElement("div");
    names.id = "layer-names";
    names.setAttribute("role", "radiogroup");
    names.setAttribute("aria-label", t("maps.layer"));
    names.append(...this.columns.map(({ head }) => head));
    names.addEventListener("keydown", (event) => this.move(event));
    this.bitmaps = network.bitmaps ? this.makeBitmaps() : null;
    this.box.replaceChildren(this.under, names,
      ...this.columns.flatMap(({ tiles }) => tiles.map(({ element }) => element)),
      ...(this.bitmaps ? [this.bitmaps.box] : []), this.over);
    this.choose();
  }

  // Create the head and the canvases of a column; units without rows and columns share one canvas.
  column(stage, k) {
    const [count, rows, columns] = stage.shape;
    const chosen = !stage.image && !stage.answer;
    const head = document.createElement(chosen ? "button" : "span");
    head.textContent = stage.name;
    if (chosen) {
      head.type = "button";
      head.setAttribute("role", "radio");
      head.setAttribute("aria-label", `${stage.name}, ${inWords(stage)}`);
      head.addEventListener("click", () => { state.set("map", null); state.set("layer", stage.name); });
    }
    const tiled = rows * columns > 1;
    const named = stage.answer && count <= NAMED;
    const tiles = Array.from({ length: tiled || named ? count : 1 }, (_, map) => {
      const element = document.createElement(tiled && !stage.image ? "button" : "div");
      const canvas = document.createElement("canvas");
      element.className = "tile";
      element.append(canvas);
      if (tiled) [canvas.height, canvas.width] = [rows, columns];
      if (tiled && !stage.image) this.makeButton(element, k, map, stage);
      else if (named) {
        element.classList.add("named");
        const name = document.createElement("span");
        name.textContent = name.title = this.network.classes[map];
        element.append(name);
      } else {
        canvas.setAttribute("role", "img");
        canvas.setAttribute("aria-label", stage.image ? t("maps.image") : t("maps.unitsOf", { count, name: stage.name }));
      }
      return { element, canvas, map };
    });
    const long = named && this.network.classes.some((name) => name.length > 2);
    return { stage, head, tiles, tiled, named, long, count };
  }

  makeButton(element, k, map, stage) {
    element.type = "button";
    element.tabIndex = -1;
    element.setAttribute("aria-label", t("maps.tile", { map, name: stage.name, sees: this.sees(k, map, stage) }));
    element.addEventListener("pointerenter", () => this.light([k, map]));
    element.addEventListener("focus", () => this.light([k, map]));
    element.addEventListener("blur", () => this.light(this.chosen()));
    element.addEventListener("click", () => {
      const again = this.at === k && state.get("map") === `${map}`;
      state.set("layer", stage.name);
      state.set("map", again ? null : map);
    });
    element.addEventListener("keydown", (event) => {
      const column = this.columns[k];
      const step = { ArrowRight: 1, ArrowDown: column.across ?? 1, ArrowLeft: -1, ArrowUp: -(column.across ?? 1) }[event.key];
      const next = column.tiles[map + step];
      if (!next) return;
      event.preventDefault();
      column.tiles.forEach((tile) => { tile.element.tabIndex = -1; });
      next.element.tabIndex = 0;
      next.element.focus();
    });
  }

  // The ten bitmaps with which the network compares its last layer.
  makeBitmaps() {
    const box = document.createElement("div");
    box.className = "bitmaps";
    const canvases = this.network.bitmaps.map(() => {
      const figure = document.createElement("figure");
      const canvas = document.createElement("canvas");
      [canvas.height, canvas.width] = BITMAP;
      figure.append(canvas, document.createElement("figcaption"));
      box.append(figure);
      return canvas;
    });
    return { box, canvases };
  }

  // Move along the layers by arrow keys.
  move(event) {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    const next = step && this.columns[this.at + step]?.head;
    if (!next || next.tagName !== "BUTTON") return;
    event.preventDefault();
    next.click();
    next.focus();
  }

  // Make the layer in the address large, or the last of the first three that has maps.
  choose() {
    if (!this.network) return;
    const { stages } = this.network;
    this.at = 1 + Math.max(0, Math.min(stages.length - 1, chosenStage(this.network)));
    this.stage = stages[this.at - 1] ?? null;
    byId("think").classList.toggle("empty", !this.stage);
    this.columns.forEach(({ head, tiles, tiled }, k) => {
      const on = k === this.at;
      if (head.tagName === "BUTTON") {
        head.setAttribute("aria-checked", on);
        head.tabIndex = on ? 0 : -1;
        tiles.forEach(({ element }, map) => { if (tiled) element.tabIndex = on && map === 0 ? 0 : -1; });
      }
      tiles.forEach(({ element }) => element.classList.toggle("large", on));
    });
    const line = byId("stage-name");
    if (this.stage) {
      const kind = KINDS[this.stage.kind];
      const parts = [hasTerm(this.stage.name) ? term(this.stage.name, this.stage.name) : this.stage.name, ": "];
      if (kind) parts.push(span(`maps.${kind}`), ", ");
      parts.push(span(...sized(this.stage)));
      line.replaceChildren(...parts);
    } else say(line, "maps.none");
    this.place();
    this.paint();
  }

  // Lay the columns out: the large one gets what the others leave. On a narrow screen it has a row of
  // its own below them.
  place() {
    const width = this.box.clientWidth;
    if (!this.columns.length || !width) return;
    const rem = parseFloat(getComputedStyle(document.documentElement).fontSize);
    const narrow = width < (this.comparing() ? 59 : 38) * rem; // the bitmaps take room
    const top = 2 * rem; // of the heads
    const height = this.box.clientHeight - top - 2;
    const strip = narrow ? 0.42 * height : height;
    const most = narrow ? Math.min(3 * rem, (width - 7 * rem) / (this.columns.length - 1)) : Math.min(4.4 * rem, width / 17);
    this.bitmaps?.box.classList.toggle("shown", this.comparing());
    const boxes = this.columns.map((column, k) => (k === this.at && this.stage ? null : small(column, most, strip, rem)));
    const taken = boxes.reduce((sum, box) => sum + (box?.width ?? 0), 0);
    let gap = Math.max(0.5 * rem, Math.min(3.2 * rem, 0.035 * width));
    let large = width - taken - gap * (boxes.length - 1);
    if (narrow || !this.stage) gap = (width - taken - (narrow && this.stage ? most : 0)) / (boxes.length - 1);
    if (narrow) large = width;
    let x = 0;
    boxes.forEach((box, k) => {
      const column = this.columns[k];
      const wide = box ? box.width : narrow ? most : large;
      column.head.style.left = `${x + wide / 2}px`;
      if (box) {
        this.put(column, box, x, top + (strip - box.height) / 2);
      } else {
        const y = narrow ? top + strip + 0.8 * rem : top;
        this.putLarge(column, narrow ? 0 : x, y, large, narrow ? height - strip - 0.8 * rem : height, rem);
      }
      x += wide + gap;
    });
    for (const each of [this.under, this.over]) each.setAttribute("viewBox", `0 0 ${width} ${this.box.clientHeight}`);
    this.drawLinks(narrow);
    this.light(this.chosen());
    if (this.cleared) this.paint();
  }

  comparing() {
    return Boolean(this.bitmaps) && this.at === this.network.stages.length;
  }

  putLarge(column, x, y, width, height, rem) {
    if (this.comparing()) {
      // The layer's own picture, then two rows of five, each with two lines of text at most.
      const [gap, between, caption] = [0.5 * rem, Math.min(2.4 * rem, 0.05 * width), 2.8 * rem];
      const most = (height - 2 * caption - gap) / (2 * BITMAP[0]);
      const room = width - between - 4 * gap;
      const name = Math.min(5.4 * rem, 0.145 * width); // the least for the text of a bitmap
      const even = Math.min(most, room / (7 * BITMAP[1]));
      const tight = BITMAP[1] * even < name ? Math.min(most, (room - 5 * name) / (2 * BITMAP[1])) : even;
      const step = Math.max(BITMAP[1] * tight, name);
      const [wide, high] = [2 * tight * BITMAP[1], 2 * tight * BITMAP[0]];
      const box = { across: 1, side: wide, high, width: wide, height: high, cells: [BITMAP[1], BITMAP[0]] };
      const left = x + (width - wide - between - 5 * step - 4 * gap) / 2;
      const down = y + Math.max(0, (height - high - 2 * caption - gap) / 2);
      this.put(column, box, left, down);
      const { style } = this.bitmaps.box;
      style.left = `${left + wide + between}px`;
      style.top = `${down}px`;
      style.setProperty("--column", `${step}px`);
      style.setProperty("--wide", `${tight * BITMAP[1]}px`);
      style.setProperty("--high", `${tight * BITMAP[0]}px`);
      return;
    }
    const box = column.tiled ? fit(column, width, height) : units(column, width, height, 3 * rem);
    this.put(column, box, x + (width - box.width) / 2, y + (height - box.height) / 2);
  }

  // Place the canvases of a column in rows of box.across, from (x, y) on.
  put(column, box, x, y) {
    column.across = box.across;
    column.tiles.forEach((tile, k) => {
      if (box.cells && `${box.cells}` !== `${[tile.canvas.width, tile.canvas.height]}`) {
        [tile.canvas.width, tile.canvas.height] = box.cells; // which clears it
        this.cleared = true;
      }
      tile.x = x + (k % box.across) * (box.side + GAP);
      tile.y = y + Math.floor(k / box.across) * (box.high + GAP);
      tile.width = box.side;
      tile.height = box.high;
      const { style } = tile.element;
      [style.left, style.top] = [`${tile.x}px`, `${tile.y}px`];
      [style.width, style.height] = [`${tile.width}px`, `${tile.height}px`];
    });
  }

  // Draw a line from each map to those it reads; to and from a large layer in a row of its own, only
  // those of the map that is pointed at.
  drawLinks(narrow) {
    this.links = [];
    for (let k = 1; k < this.columns.length; k++) {
      const [before, { stage, tiles }] = [this.columns[k - 1].tiles, this.columns[k]];
      for (const tile of tiles) {
        for (const from of stage.links?.[tile.map] ?? before.keys()) {
          const source = before[before.length > 1 ? from : 0];
          // Lines from a large layer begin at its right edge, not under its maps.
          const right = k - 1 === this.at && before.length > 1 ? before[this.columns[k - 1].across - 1] : source;
          const compared = this.comparing() && k - 1 === this.at && !narrow; // the bitmaps lie between
          const x0 = compared ? tile.x - 16 : right.x + right.width;
          const y0 = compared ? tile.y + tile.height / 2 : source.y + source.height / 2;
          const [x1, y1] = [tile.x, tile.y + tile.height / 2];
          const bend = Math.max(8, Math.abs(x1 - x0) / 2);
          const d = `M${x0} ${y0}C${x0 + bend} ${y0} ${x1 - bend} ${y1} ${x1} ${y1}`;
          const path = svg("path", { d, "data-from": `${k - 1}.${source.map}`, "data-to": `${k}.${tile.map}` });
          this.links.push({ to: [k, tile.map], from: source.map, path });
        }
      }
    }
    const crossing = (k) => narrow && (k === this.at || k === this.at + 1);
    this.under.replaceChildren(...this.links.filter(({ to }) => !crossing(to[0])).map(({ path }) => path));
  }

  // Return the map in the address, if it is one of the large layer.
  chosen() {
    const map = state.get("map");
    const column = this.columns[this.at];
    return column?.tiled && /^\d+$/.test(map ?? "") && map in column.tiles ? [this.at, Number(map)] : null;
  }

  // Show which maps feed a map, [column, map].
  light(lit) {
    if (!this.stage) {
      byId("seen").textContent = "\u00a0";
      return;
    }
    const links = lit ? this.links.filter(({ to }) => to[0] === lit[0] && to[1] === lit[1]) : [];
    const sources = new Set(links.map(({ from }) => from));
    this.columns.forEach(({ tiles }, k) => tiles.forEach(({ element, map }) => {
      element.classList.toggle("lit", Boolean(lit) && k === lit[0] - 1 && sources.has(map));
      element.classList.toggle("dim", Boolean(lit) && k === lit[0] - 1 && !sources.has(map));
      element.classList.toggle("at", Boolean(lit) && k === lit[0] && map === lit[1]);
    }));
    this.over.replaceChildren(...links.map(({ path }) => path.cloneNode()));
    if (lit) {
      const { stage } = this.columns[lit[0]];
      byId("seen").textContent = t("maps.sees", { name: stage.name, map: lit[1], sees: this.sees(...lit, stage) });
    } else if (this.comparing()) say(byId("seen"), "maps.closer");
    else if (this.columns[this.at].tiled) say(byId("seen"), "maps.point");
    else byId("seen").textContent = "\u00a0";
  }

  sees(k, map, stage) {
    const before = k > 1 ? this.network.stages[k - 2] : null;
    if (!before) return t("maps.theImage");
    if (!stage.links) return t(before.shape[0] === 1 ? "maps.theMap" : "maps.allMaps", { name: before.name });
    const maps = stage.links[map];
    return t("maps.someMaps", { count: maps.length, maps: maps.join(", "), name: before.name });
  }

  paint() {
    const { network, trace, stage } = this;
    if (!network) return;
    this.cleared = false;
    for (const { stage: each, tiles, tiled, named } of this.columns) {
      if (each.image) {
        paintInput(tiles[0].canvas, trace?.input, network.pixel_range);
      } else if (each.answer) {
        this.paintAnswer(tiles, named);
      } else {
        const values = trace?.outputs[each.last];
        const limit = trace ? network.limit(trace, each) : 1;
        const size = tiled ? each.shape[1] * each.shape[2] : 0;
        tiles.forEach(({ canvas }, k) =>
          paintMap(canvas, values && (tiled ? values.subarray(k * size, (k + 1) * size) : values), limit));
      }
    }
    const limit = trace && stage ? network.limit(trace, stage) : 0;
    const end = limit < 0.1 ? limit.toPrecision(1) : limit >= 1e4 ? limit.toExponential(0) : limit.toFixed(1);
    byId("low").textContent = limit ? `−${local(end)}` : "\u00a0";
    byId("high").textContent = limit ? `+${local(end)}` : "\u00a0";
    byId("scale").style.backgroundImage = colours.gradient();
    if (this.comparing()) this.paintBitmaps(limit);
  }

  // The best class is the darkest, whether its value is the smallest or the largest.
  paintAnswer(tiles, named) {
    const { network, trace } = this;
    const values = trace && Float32Array.from(trace.values, (value) => (network.smallest_wins ? -value : value));
    const [low, high] = values ? [Math.min(...values), Math.max(...values)] : [0, 1];
    const shares = values?.map((value) => ((value - low) / (high - low || 1)) ** 3);
    if (!named) paintMap(tiles[0].canvas, shares, 1);
    else {
      tiles.forEach(({ canvas, element, map }) => {
        [canvas.width, canvas.height] = [1, 1];
        paintMap(canvas, shares?.subarray(map, map + 1), 1);
        element.classList.toggle("best", map === trace?.digit);
      });
    }
  }

  paintBitmaps(limit) {
    const { network, trace } = this;
    this.bitmaps.canvases.forEach((canvas, k) => {
      paintMap(canvas, network.bitmaps[k], Math.max(1, limit));
      canvas.parentElement.classList.toggle("best", k === trace?.digit);
      canvas.nextSibling.textContent = `${k}${trace ? `: ${format(trace.values[k], network)}` : ""}`;
    });
  }
}

// Return the number of the stage in the address, where the answer is the last one; or that of the last
// of the first three that has maps.
export function chosenStage({ stages, answer }) {
  const found = [...stages, answer].findIndex(({ name }) => name === state.get("layer"));
  const first = stages.findLastIndex(({ shape: [, rows, columns] }, k) => k < 3 && rows * columns > 1);
  return found < 0 ? Math.max(0, first) : found;
}

function svg(tag, attributes) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}

function span(key, values) {
  const element = document.createElement("span");
  say(element, key, values);
  return element;
}

// Return the key and the values that tell a stage's shape.
function sized({ shape: [count, rows, columns] }) {
  return rows * columns > 1 ? ["maps.maps", { count, rows, columns }] : ["maps.units", { count }];
}

function inWords(stage) {
  const kind = KINDS[stage.kind];
  return (kind ? [t(`maps.${kind}`), t(...sized(stage))] : [t(...sized(stage))]).join(", ");
}

// Return the box of a column that is not the large one.
function small(column, most, height, rem) {
  if (column.named) {
    const high = Math.min(1.6 * rem, height / column.count - GAP);
    const side = column.long ? most : Math.min(most, 2.6 * rem);
    return { across: 1, side, high, width: side, height: column.count * (high + GAP) - GAP };
  }
  return column.tiled ? fit(column, most, height, 1.3) : units(column, most, height, 0.6 * rem);
}

// Return the box in which all maps of a column are as large as possible. More maps per row than one
// must be worth it by the factor `worth`.
function fit({ tiles: { length: count }, stage: { shape: [, rows, columns] } }, width, height, worth = 1) {
  let best = null;
  for (let across = 1; across <= count; across++) {
    const down = Math.ceil(count / across);
    const scale = Math.min((width - (across - 1) * GAP) / across / columns, (height - (down - 1) * GAP) / down / rows);
    const full = down * across === count ? 1 : 0.8; // prefer full rows
    if (!best || full * scale > best.value * (best.across < across ? worth : 1)) best = { across, down, scale, value: full * scale };
  }
  const [side, high] = [best.scale * columns, best.scale * rows].map(Math.floor);
  return {
    across: best.across, side, high,
    width: best.across * (side + GAP) - GAP, height: best.down * (high + GAP) - GAP,
  };
}

// Return the box of units that share a canvas, and its cells: 7 x 12 for those of a bitmap.
function units({ count }, width, height, most) {
  let across = count === BITMAP[0] * BITMAP[1] ? BITMAP[1] : Math.max(1, Math.round(Math.sqrt((count * width) / height)));
  while (count % across && across < count) across++;
  const down = Math.ceil(count / across);
  const cell = Math.min(most, width / across, height / down);
  const [side, high] = [cell * across, cell * down];
  return { across: 1, side, high, width: side, height: high, cells: [across, down] };
}

// The image is dark on white in every theme, as on paper.
export function paintInput(canvas, values, range) {
  const context = canvas.getContext("2d");
  if (!values) {
    context.clearRect(0, 0, canvas.width, canvas.height);
    return;
  }
  const [paper, ink] = range;
  const picture = context.createImageData(canvas.width, canvas.height);
  values.forEach((value, k) => {
    picture.data.fill(255 - (255 * (value - paper)) / (ink - paper), 4 * k, 4 * k + 3);
    picture.data[4 * k + 3] = 255;
  });
  context.putImageData(picture, 0, 0);
}
