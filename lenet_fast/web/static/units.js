// What one unit computes, term by term, and what it sees of the image. No DOM here.

import { volume } from "./network.js";

// Return how the unit [map, row, column] of a stage comes to its value:
// {way, parts, factor, bias, sum, chain, weight}.
//
// `way` is "weighted" (all products and the bias are added), "coefficient" (the sum of the values times
// `factor`, plus `bias`), "largest", "distance" (squares of the differences) or "same". A part is what
// the unit reads of one map, or all that it reads: {map, top, left, high, wide, shape, values, weights,
// terms, sum}; map is null if it is all, and the window is then in no place. `sum` is the layer's
// output, `chain` the layers that follow with their values, {layer, value}; `weight` is the largest size of
// its weights. Without a trace, values are NaN.
export function explain(network, trace, stage, [map, row, column]) {
  const layer = network.layers[stage.first];
  const x = (stage.first ? trace?.outputs[stage.first - 1] : trace?.input) ??
    new Float32Array(volume(layer.before)).fill(NaN);
  const at = (map * layer.shape[1] + row) * layer.shape[2] + column;
  const way = WAYS[layer.type]; // none if the network begins with an activation
  const found = way ? way(layer, x, [map, row, column], at) : { way: "same", parts: [], sum: x[at] };
  const first = stage.first + (way ? 1 : 0);
  const chain = network.layers.slice(first, stage.last + 1)
    .map((each, k) => ({ layer: each, value: trace ? trace.outputs[first + k][at] : NaN }));
  return { factor: 1, bias: 0, chain, weight: Math.max(0, ...found.parts.map(({ weights }) => largest(weights ?? []))), ...found };
}

// Return the rows and columns of the image on which a unit depends: [top, bottom, left, right], the
// ends excluded; null if there are none.
export function field(network, stage, [, row, column]) {
  let sides = [[row, row + 1], [column, column + 1]];
  for (let k = stage.last; k >= 0; k--) {
    const { before, kernel, stride, padding = [0, 0, 0, 0], dilation = [1, 1], n_in: all } = network.layers[k];
    if (all) sides = [[0, before[1]], [0, before[2]]];
    else if (kernel) {
      sides = sides.map(([first, end], side) => [
        Math.max(0, first * stride[side] - padding[2 * side]),
        Math.min(before[1 + side], (end - 1) * stride[side] - padding[2 * side] + (kernel[side] - 1) * dilation[side] + 1),
      ]);
    }
  }
  return sides.every(([first, end]) => first < end) ? sides.flat() : null;
}

// Return a picture for values of a shape: {rows, columns, places}, where places has the number of the value in
// each cell, or -1. Maps lie side by side; units fill a rectangle, 84 that of a bitmap.
export function arranged([maps, rows, columns]) {
  const single = rows * columns === 1;
  let across = Math.ceil(Math.sqrt(maps));
  if (single) while (maps % across && across < 2 * Math.sqrt(maps)) across++;
  if (single && maps % across) across = Math.ceil(Math.sqrt(maps));
  if (maps === 84) across = 7;
  const gap = single ? 0 : 1;
  const down = Math.ceil(maps / across);
  const made = { rows: down * (rows + gap) - gap, columns: across * (columns + gap) - gap };
  made.places = new Int32Array(made.rows * made.columns).fill(-1);
  for (let k = 0; k < maps * rows * columns; k++) {
    const map = Math.floor(k / (rows * columns));
    const [row, column] = [Math.floor(k / columns) % rows, k % columns];
    const y = Math.floor(map / across) * (rows + gap) + row;
    made.places[y * made.columns + (map % across) * (columns + gap) + column] = k;
  }
  return made;
}

function largest(values) {
  let most = 0;
  for (const value of values) if (Number.isFinite(value)) most = Math.max(most, Math.abs(value));
  return most;
}

function total(values) {
  let sum = 0;
  for (const value of values) sum += value;
  return sum;
}

// Return what a window reads of a map; beyond its border, the value with which it is padded.
function cut(layer, x, map, [, row, column]) {
  const { before: [, rows, columns], kernel: [kh, kw], stride, padding = [0, 0, 0, 0], dilation: [dv, dh] = [1, 1] } = layer;
  const [top, left] = [row * stride[0] - padding[0], column * stride[1] - padding[2]];
  const values = new Float32Array(kh * kw);
  for (let u = 0, n = 0; u < kh; u++) {
    for (let v = 0; v < kw; v++, n++) {
      const [y, z] = [top + u * dv, left + v * dh];
      const inside = y >= 0 && y < rows && z >= 0 && z < columns;
      values[n] = inside ? x[(map * rows + y) * columns + z] : layer.pad_value;
    }
  }
  return { map, top, left, high: (kh - 1) * dv + 1, wide: (kw - 1) * dh + 1, shape: [kh, kw], values };
}

function multiplied(part, weights) {
  const terms = Float64Array.from(weights, (weight, k) => weight * part.values[k]);
  return { ...part, weights, terms, sum: total(terms) };
}

function convolution(layer, x, unit, at) {
  const { weights: { w, b }, c_in, c_out, groups, kernel: [kh, kw], links, bias: kind } = layer;
  const [map] = unit;
  const inputs = c_in / groups;
  const first = Math.floor(map / (c_out / groups)) * inputs;
  const parts = (links?.[map] ?? [...Array(c_in).keys()]).map((i) => {
    const from = (map * inputs + i - first) * kh * kw;
    return multiplied(cut(layer, x, i, unit), w.subarray(from, from + kh * kw));
  });
  const bias = kind ? b[kind === "unit" ? at : map] : 0;
  return { way: "weighted", parts, bias, sum: total(parts.map(({ sum }) => sum)) + bias };
}

// The one window of a layer that makes maps smaller.
function pooled(layer, x, unit) {
  const part = cut(layer, x, Math.floor((unit[0] * layer.before[0]) / layer.shape[0]), unit);
  return { ...part, sum: total(part.values) };
}

function scaled(factor, bias) {
  return (layer, x, unit) => {
    const part = pooled(layer, x, unit);
    const [by, plus] = [factor(layer, unit[0]), bias(layer, unit[0])];
    return { way: "coefficient", parts: [part], factor: by, bias: plus, sum: by * part.sum + plus };
  };
}

// All values of the layer before, as a picture.
function everything(layer, x, weights) {
  return { map: null, shape: [1, x.length], values: x, weights };
}

function row({ weights: { w } }, x, [unit]) {
  return w.subarray(unit * x.length, (unit + 1) * x.length);
}

const share = ({ kernel: [kh, kw] }) => 1 / (kh * kw);

const WAYS = {
  Conv2D: convolution,
  Subsample2D: scaled(
    (layer, map) => layer.weights.w[map] * (layer.reduction === "mean" ? share(layer) : 1),
    (layer, map) => layer.weights.b[map],
  ),
  AvgPool2D: scaled(share, () => 0),
  MaxPool2D(layer, x, unit) {
    const part = pooled(layer, x, unit);
    return { way: "largest", parts: [part], sum: Math.max(...part.values) };
  },
  Dense(layer, x, unit) {
    const part = multiplied(everything(layer, x), row(layer, x, unit));
    const bias = layer.weights.b[unit[0]];
    return { way: "weighted", parts: [part], bias, sum: part.sum + bias };
  },
  RBF(layer, x, unit) {
    const part = everything(layer, x, row(layer, x, unit));
    const terms = Float64Array.from(part.weights, (weight, k) => (x[k] - weight) ** 2);
    const sum = total(terms);
    return { way: "distance", parts: [{ ...part, terms, sum }], sum };
  },
};
