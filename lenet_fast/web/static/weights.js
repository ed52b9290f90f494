// The weights of a network that learns: kernels, histograms by layer, and what one update changes.

import { colours, paintMap } from "./colours.js";
import { local, t } from "./strings.js";

const BINS = 41;
const MOST_KERNELS = 256; // more are too small to be seen
const [WIDTH, HEIGHT] = [120, 44]; // of a histogram

export class Weights {
  constructor(place) {
    this.place = place;
    this.kernels = make("div", "kernels");
    this.histograms = make("div", "histograms");
    place.append(this.kernels, this.histograms);
    this.number = null;
    this.visible = false;
    new IntersectionObserver(([entry]) => {
      this.visible = entry.isIntersecting;
      if (this.visible && this.network) this.paint();
    }).observe(place);
    colours.on(() => this.network && this.paint());
  }

  show(network) {
    if (network === this.network) return;
    this.network = network;
    if (this.number !== network.number) this.describe();
    if (this.visible) this.paint();
  }

  // Begin with another network, whose weights of now are those that it is compared with.
  describe() {
    const { network } = this;
    this.number = network.number;
    const trained = network.layers.filter(({ type, weights }) => type !== "RBF" && weights.w);
    this.grids = trained.filter(isConvolution).map((layer) => {
      const [maps, inputs, rows, columns] = shapeOf(layer);
      const canvas = make("canvas");
      [canvas.width, canvas.height] = [maps * (columns + 1) - 1, inputs * (rows + 1) - 1];
      canvas.setAttribute("role", "img");
      canvas.setAttribute("aria-label", t("learn.kernelsOf", { name: layer.name, maps, inputs }));
      const figure = make("figure");
      const scale = Math.max(2, Math.min(8, Math.floor(320 / canvas.width)));
      canvas.style.width = `${(canvas.width * scale) / 16}rem`;
      figure.append(canvas, caption(t("learn.kernelsOf", { name: layer.name, maps, inputs })));
      return { name: layer.name, canvas, figure };
    });
    this.kernels.replaceChildren(...this.grids.map(({ figure }) => figure));
    this.bars = trained.map((layer) => {
      const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
      svg.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
      svg.setAttribute("role", "img");
      svg.setAttribute("aria-label", t("learn.histogramOf", { name: layer.name }));
      const [now, start] = ["now", "start"].map((each) => {
        const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
        path.setAttribute("class", each);
        svg.append(path);
        return path;
      });
      const figure = make("figure");
      const words = caption("");
      figure.append(svg, words);
      return { name: layer.name, first: used(layer), now, start, words, figure };
    });
    this.histograms.replaceChildren(...this.bars.map(({ figure }) => figure));
  }

  paint() {
    const byName = new Map(this.network.layers.map((layer) => [layer.name, layer]));
    for (const { name, canvas } of this.grids) {
      const layer = byName.get(name);
      paintKernels(canvas, layer.weights.w, shapeOf(layer));
    }
    for (const { name, first, now, start, words } of this.bars) {
      const values = used(byName.get(name));
      const limit = Math.max(largest(first), largest(values)) || 1;
      const [counts, before] = [count(values, limit), count(first, limit)];
      const most = Math.max(...counts, ...before);
      now.setAttribute("d", `M0 ${HEIGHT}${outline(counts, most)}V${HEIGHT}Z`);
      start.setAttribute("d", `M0 ${HEIGHT}${outline(before, most)}V${HEIGHT}`);
      words.textContent = t("learn.histogram", { name, limit: local(limit.toPrecision(2)) });
    }
  }
}

// What one step of a paused training has changed.
export class Update {
  constructor(place) {
    this.place = place;
    this.shown = undefined;
    this.image = canvas(28, 28);
    this.image.className = "digit";
    this.image.setAttribute("role", "img");
    this.words = make("p");
    this.before = make("canvas");
    this.after = make("canvas");
    const pictures = make("div", "row");
    const named = (element, key) => {
      const figure = make("figure");
      element.setAttribute("role", "img");
      const words = caption("");
      figure.append(element, words);
      return Object.assign(figure, { words, key });
    };
    this.figures = [named(this.before, "learn.kernelsBefore"), named(this.after, "learn.kernelsChange")];
    pictures.append(this.image, ...this.figures);
    this.layers = make("ul");
    this.place.append(this.words, pictures, this.layers);
    this.pictures = pictures;
    colours.on(() => this.update && this.paint(this.update));
  }

  show(update) {
    if (update === this.update && this.shown !== undefined) return;
    this.shown = true;
    this.update = update;
    this.pictures.hidden = this.layers.hidden = !update;
    if (!update) {
      this.words.textContent = t("learn.noUpdate");
      return;
    }
    this.paint(update);
  }

  paint({ images, loss, errors, image, label, read, layers, maps }) {
    const values = { count: images, errors, label, read, loss: loss === null ? "∞" : local(loss.toPrecision(4)) };
    this.words.textContent = t(image ? "learn.updateOne" : "learn.updateMany", values);
    this.image.hidden = !image;
    if (image) {
      [this.image.width, this.image.height] = [image[0].length, image.length];
      const context = this.image.getContext("2d");
      const picture = context.createImageData(this.image.width, this.image.height);
      image.flat().forEach((value, k) => picture.data.set([255 - value, 255 - value, 255 - value, 255], 4 * k));
      context.putImageData(picture, 0, 0);
      this.image.setAttribute("aria-label", t("learn.updateOne", values));
    }
    const kernels = maps.shape.length === 4 && maps.shape[0] * maps.shape[1] <= MOST_KERNELS;
    this.figures.forEach((figure, k) => {
      figure.hidden = !kernels;
      const element = figure.querySelector("canvas");
      const weights = k ? maps.change : maps.before;
      const limit = largest(weights);
      if (kernels) {
        const [count, inputs, rows, columns] = maps.shape;
        [element.width, element.height] = [count * (columns + 1) - 1, inputs * (rows + 1) - 1];
        element.style.width = `${(element.width * 4) / 16}rem`;
        paintKernels(element, weights, maps.shape);
      }
      figure.words.textContent = t(figure.key, { name: maps.name, limit: local(limit.toPrecision(2)) });
      element.setAttribute("aria-label", figure.words.textContent);
    });
    this.layers.replaceChildren(...layers.map(({ name, weights, change }) => {
      const item = make("li");
      item.textContent = t("learn.changed", { name, share: local(((100 * change) / (weights || 1)).toPrecision(2)) });
      return item;
    }));
  }
}

// Paint all kernels of a layer: a column per map, a row per map that it reads.
function paintKernels(element, weights, [maps, inputs, rows, columns]) {
  const values = new Float32Array(element.width * element.height);
  let k = 0;
  for (let map = 0; map < maps; map++) {
    for (let input = 0; input < inputs; input++) {
      for (let row = 0; row < rows; row++) {
        const at = (input * (rows + 1) + row) * element.width + map * (columns + 1);
        for (let column = 0; column < columns; column++) values[at + column] = weights[k++];
      }
    }
  }
  paintMap(element, values, largest(weights));
}

function isConvolution(layer) {
  return layer.type === "Conv2D" && layer.weights.w.length <= MOST_KERNELS * layer.kernel[0] * layer.kernel[1];
}

// Return a copy of a layer's weights, without those of links that the table leaves out: they are 0.
function used({ weights: { w }, links }) {
  return links ? w.filter((value) => value !== 0) : w.slice();
}

function shapeOf({ c_in, c_out, groups, kernel }) {
  return [c_out, c_in / groups, ...kernel];
}

function largest(values) {
  let found = 0;
  for (const value of values) if (Math.abs(value) > found && Number.isFinite(value)) found = Math.abs(value);
  return found;
}

function count(values, limit) {
  const counts = new Array(BINS).fill(0);
  for (const value of values) {
    if (Number.isFinite(value)) counts[Math.min(BINS - 1, Math.floor(((value / limit + 1) / 2) * BINS))] += 1;
  }
  return counts;
}

// Return the steps of a histogram as the rest of a path.
function outline(counts, most) {
  const side = WIDTH / BINS;
  return counts.map((each, k) => `V${(HEIGHT * (1 - each / most)).toFixed(1)}H${((k + 1) * side).toFixed(1)}`).join("");
}

function make(tag, name = "") {
  const element = document.createElement(tag);
  if (name) element.className = name;
  return element;
}

function canvas(width, height) {
  return Object.assign(make("canvas"), { width, height });
}

function caption(words) {
  const element = make("figcaption");
  element.textContent = words;
  return element;
}
