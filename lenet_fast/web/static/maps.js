// The layers: a slider to choose one, its maps, and those of the previous layer, which it reads.

import { format, paintGrey } from "./answer.js";

const byId = (id) => document.getElementById(id);
const GAP = 6;
const BITMAP = [12, 7];

export class Layers {
  constructor() {
    this.slider = byId("layer");
    this.slider.addEventListener("input", () => this.build());
    new ResizeObserver(() => this.build()).observe(byId("think"));
  }

  // Take a network's description; keep the selected layer if it exists.
  describe(network) {
    const first = this.network === undefined;
    this.network = network;
    this.trace = null;
    const last = network.stages.length - 1;
    this.slider.max = Math.max(0, last);
    this.slider.disabled = last < 1;
    if (first) this.slider.value = Math.min(2, last);
    byId("layer-names").replaceChildren(...network.stages.map((stage, k) => {
      const name = document.createElement("button");
      name.type = "button";
      name.tabIndex = -1;
      name.textContent = stage.name;
      name.addEventListener("click", () => { this.slider.value = k; this.build(); });
      return name;
    }));
    this.build();
  }

  // Create the canvases of the selected layer, and of the previous one.
  build() {
    if (!this.network) return;
    const stages = this.network.stages;
    byId("think").classList.toggle("empty", stages.length === 0);
    if (!stages.length) {
      byId("stage-name").textContent = "This network has no layer before its outputs.";
      this.stage = null;
      return;
    }
    const k = Number(this.slider.value);
    const stage = stages[k];
    const before = k ? stages[k - 1] : { name: "the image", shape: [1, 28, 28], image: true };
    this.slider.setAttribute("aria-valuetext", `${stage.name}, ${describe(stage)}`);
    [...byId("layer-names").children].forEach((name, i) => name.classList.toggle("chosen", i === k));
    byId("from-name").textContent = `${before.name}, which ${stage.name} sees`;
    byId("stage-name").textContent = `${stage.name}: ${describe(stage)}`;
    const asBitmap = k === stages.length - 1 && this.network.bitmaps !== null;
    this.from = this.tiles(byId("from"), before, 56, false);
    this.to = asBitmap ? this.bitmaps(byId("stage"), stage)
      : this.tiles(byId("stage"), stage, 124, true);
    this.stage = stage;
    this.before = before;
    this.light(null);
    this.paint();
  }

  // Fill a box with the canvases of a stage, each as large as possible, up to a limit.
  tiles(box, stage, most, buttons) {
    const [count, rows, columns] = cut(stage.shape);
    const tiled = rows * columns > 1;
    const tiles = Array.from({ length: tiled ? count : 1 }, (_, map) => {
      const tile = document.createElement(tiled && buttons ? "button" : "div");
      const canvas = document.createElement("canvas");
      tile.className = "tile";
      tile.append(canvas);
      if (tiled) {
        [canvas.height, canvas.width] = [rows, columns];
        if (buttons) this.makeButton(tile, map, stage);
      } else {
        const across = acrossOf(count, box);
        [canvas.height, canvas.width] = [Math.ceil(count / across), across];
        canvas.setAttribute("role", "img");
        canvas.setAttribute("aria-label", `${counted(count, "unit")} of ${stage.name}`);
      }
      return tile;
    });
    box.replaceChildren(...tiles);
    this.fit(box, tiles, tiled ? most : Infinity);
    return tiles;
  }

  fit(box, tiles, most) {
    const { width, height } = tiles[0].firstChild;
    const [w, h] = [box.clientWidth, box.clientHeight];
    let [side, columns] = [0, 1];
    for (let across = 1; across <= tiles.length; across++) {
      const down = Math.ceil(tiles.length / across);
      const wide = (w - across * (GAP + 4)) / across / width;
      const high = (h - down * (GAP + 4)) / down / height;
      // Prefer full rows, even if canvases become a little smaller.
      const worth = down * across === tiles.length ? 1 : 0.8;
      const found = worth * Math.min(wide, high, most / width);
      if (found > side * (1 + 1e-9)) [side, columns] = [found, across];
    }
    if (tiles.length % columns) side /= 0.8;
    box.style.gridTemplateColumns = `repeat(${columns}, max-content)`;
    for (const tile of tiles) {
      tile.firstChild.style.width = `${Math.floor(side * width)}px`;
      tile.firstChild.style.height = `${Math.floor(side * height)}px`;
    }
  }

  makeButton(tile, map, stage) {
    const sees = this.sees(map, stage);
    tile.type = "button";
    tile.tabIndex = map ? -1 : 0;
    tile.setAttribute("aria-label", `map ${map} of ${stage.name}; it sees ${sees}`);
    for (const name of ["pointerenter", "focus"]) tile.addEventListener(name, () => this.light(map));
    for (const name of ["pointerleave", "blur"]) tile.addEventListener(name, () => this.light(null));
    tile.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      const next = this.to[map + step];
      if (!next) return;
      event.preventDefault();
      tile.tabIndex = -1;
      next.tabIndex = 0;
      next.focus();
    });
  }

  sees(map, stage) {
    const k = this.network.stages.indexOf(stage);
    if (k === 0) return "the image";
    const before = this.network.stages[k - 1].name;
    if (!stage.links) return this.network.stages[k - 1].shape[0] === 1 ? `the map of ${before}` : `all maps of ${before}`;
    const maps = stage.links[map];
    return `${maps.length > 1 ? "maps" : "map"} ${maps.join(", ")} of ${before}`;
  }

  // Show which maps of the previous layer feed a map.
  light(map) {
    const links = map === null ? null : this.stage.links?.[map];
    this.from.forEach((tile, k) => {
      tile.classList.toggle("lit", Boolean(links?.includes(k)));
      tile.classList.toggle("dim", Boolean(links) && !links.includes(k));
    });
    let hint = this.stage.links ? "Point at a map to see what feeds it." : "\u00a0";
    if (byId("stage").querySelector(".bitmaps")) {
      hint = "The closer the units come to a digit’s bitmap, the smaller is its penalty.";
    }
    byId("seen").textContent =
      map === null ? hint : `${this.stage.name}, map ${map} sees ${this.sees(map, this.stage)}.`;
  }

  // The units as a bitmap, beside those of the ten digits.
  bitmaps(box, stage) {
    const [height, width] = BITMAP;
    const scale = Math.max(3, Math.min(8, Math.floor((box.clientWidth - 90) / (7 * width + 4))));
    const make = (words, times) => {
      const figure = document.createElement("figure");
      const canvas = document.createElement("canvas");
      [canvas.width, canvas.height] = [width, height];
      canvas.style.width = `${width * times}px`;
      canvas.style.height = `${height * times}px`;
      const caption = document.createElement("figcaption");
      caption.textContent = words;
      figure.append(canvas, caption);
      return figure;
    };
    const own = make(stage.name, 2 * scale);
    const ten = document.createElement("div");
    ten.className = "bitmaps";
    ten.append(...this.network.bitmaps.map((_, digit) => make(digit, scale)));
    box.replaceChildren(own, ten);
    box.style.gridTemplateColumns = "auto auto";
    return [own];
  }

  // Show what a network makes of an image; null: of nothing.
  show(network, trace) {
    this.network = network;
    this.trace = trace;
    this.paint();
  }

  paint() {
    const { network, trace, stage, before } = this;
    if (!stage) return;
    paintTiles(this.from, trace && !before.image && scaled(network, trace, before));
    if (before.image) paintGrey(this.from[0].firstChild, trace && trace.image);
    paintTiles(this.to, trace && scaled(network, trace, stage));
    const limit = trace ? network.limit(trace, stage) : 0;
    const end = limit < 0.1 ? limit.toPrecision(1) : limit >= 1e4 ? limit.toExponential(0) : limit.toFixed(1);
    byId("low").textContent = limit ? `−${end}` : "\u00a0";
    byId("high").textContent = limit ? `+${end}` : "\u00a0";
    const ten = byId("stage").querySelector(".bitmaps");
    if (ten) {
      [...ten.children].forEach((figure, digit) => {
        const scale = 127 / Math.max(1, limit);
        paint(figure.firstChild, network.bitmaps[digit].map((value) => scale * value));
        figure.classList.toggle("best", Boolean(trace) && digit === trace.digit);
        const value = trace ? `: ${format(trace.values[digit], network)}` : "";
        figure.lastChild.textContent = `${digit}${value}`;
      });
    }
  }
}

function describe(stage) {
  const [count, rows, columns] = cut(stage.shape);
  const what = rows * columns > 1 ? `${counted(count, "map")} of ${rows} × ${columns}` : counted(count, "unit");
  return stage.kind ? `${stage.kind}, ${what}` : what;
}

function counted(count, word) {
  return `${count} ${word}${count === 1 ? "" : "s"}`;
}

function cut(shape) {
  return [shape[0], shape[1] ?? 1, shape[2] ?? 1];
}

// The number of units per row, for a box of this shape.
function acrossOf(count, box) {
  const wish = Math.sqrt((count * box.clientWidth) / box.clientHeight) || 1;
  let across = Math.max(1, Math.min(count, Math.round(wish)));
  while (count % across && across < count) across++;
  return across;
}

// Return a stage's values, 127 at the limit.
function scaled(network, trace, stage) {
  const scale = 127 / network.limit(trace, stage);
  return trace.outputs[stage.last].map((value) => scale * value);
}

function paintTiles(tiles, values) {
  tiles.forEach((tile, k) => {
    const { width, height } = tile.firstChild;
    const size = width * height;
    paint(tile.firstChild, values && values.subarray(k * size, (k + 1) * size));
  });
}

// Grey in the middle is zero, black the upper limit, white the lower one.
function paint(canvas, values) {
  const context = canvas.getContext("2d");
  if (!values) {
    context.clearRect(0, 0, canvas.width, canvas.height);
    return;
  }
  const picture = context.createImageData(canvas.width, canvas.height);
  values.forEach((value, k) => {
    picture.data.fill(128 - value, 4 * k, 4 * k + 3);
    picture.data[4 * k + 3] = 255;
  });
  context.putImageData(picture, 0, 0);
}
