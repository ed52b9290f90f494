// A network in the browser: from an image to the classes, and gradients back. No DOM here.
//
// Values lie in the order of NumPy: maps, rows, columns. They are stored as float32, as in the
// engines; sums are in float64.

import { decoded } from "./unpack.js";

export class Network {
  // `description` comes from snapshots.py (describe), which says what it holds. `weights` replace
  // its own: all arrays one behind the other, a Float32Array.
  constructor(description, weights = new Float32Array(decoded(description.weights).buffer)) {
    Object.assign(this, description, { weights });
    let at = 0;
    let before = this.input_shape;
    this.layers = description.layers.map((layer) => {
      const made = { ...layer, before, weights: {} };
      for (const [name, shape] of layer.weights) {
        made.weights[name] = weights.subarray(at, at += volume(shape));
      }
      before = layer.shape;
      return made;
    });
    if (at !== weights.length) throw new RangeError(`weights: expected ${at}, got ${weights.length}`);
  }

  // Read an input, a Float32Array on the network's scale (images.prepare makes it).
  //
  // Returns {input, outputs, values, order, digit, second}: what each layer puts out, one value per
  // class (a probability, penalty or score), the classes from best to worst, and the best two;
  // these are null if the outputs are not finite.
  forward(input) {
    const outputs = [];
    let x = input;
    for (const layer of this.layers) {
      const y = new Float32Array(volume(layer.shape));
      OPERATIONS[layer.type].forward(layer, x, y);
      outputs.push(y);
      x = y;
    }
    const order = [...x.keys()].sort((a, b) => (this.smallest_wins ? x[a] - x[b] : x[b] - x[a]));
    const read = Number.isFinite(x[order[0]]) && !x.some(Number.isNaN);
    const values = this.output === "softmax" && x.every(Number.isFinite) ? softmax(x) : Array.from(x);
    const [digit, second] = read ? order : [null, null];
    return { input, outputs, values, order, digit, second };
  }

  // Pass a gradient at the network's outputs back through the layers.
  //
  // Returns {input, outputs}: the gradient at the input, and at the output of each layer.
  backward(trace, gradient) {
    const outputs = [];
    let dy = gradient;
    for (let k = this.layers.length - 1; k >= 0; k--) {
      outputs[k] = dy;
      const dx = new Float32Array(volume(this.layers[k].before));
      const x = k ? trace.outputs[k - 1] : trace.input;
      OPERATIONS[this.layers[k].type].backward(this.layers[k], dy, x, trace.outputs[k], dx);
      dy = dx;
    }
    return { input: dy, outputs };
  }

  // Return the gradient at the input along which class `a` gains on class `b`: that of the
  // difference of their outputs. Before the softmax, these do not saturate.
  gradient(trace, a, b) {
    const dy = new Float32Array(this.classes.length);
    dy[a] = this.smallest_wins ? -1 : 1;
    dy[b] = -dy[a];
    return this.backward(trace, dy).input;
  }

  // Return the largest size of a stage's values: that of its activation, or else in this trace.
  limit(trace, stage) {
    if (stage.limit) return stage.limit;
    let largest = 0;
    for (const value of trace.outputs[stage.last]) {
      if (Number.isFinite(value)) largest = Math.max(largest, Math.abs(value));
    }
    return largest || 1;
  }
}

export function volume(shape) {
  return shape.reduce((product, side) => product * side, 1);
}

function softmax(x) {
  const largest = Math.max(...x);
  const powers = Array.from(x, (value) => Math.exp(value - largest));
  const sum = powers.reduce((a, b) => a + b, 0);
  return powers.map((power) => power / sum);
}

// ------------------------------------------------------------------------- layers
//
// Each has forward(layer, x, y), which sets y, and backward(layer, dy, x, y, dx), which sets dx.

// Return the sides of a convolution's input with its border.
function wideSides({ before: [, rows, columns], padding: [top, bottom, left, right] }) {
  return [rows + top + bottom, columns + left + right];
}

// Call visit(from, to, length) for each row of a convolution's input: where it begins, without the
// border and with it.
function eachRow(layer, visit) {
  const [maps, rows, columns] = layer.before;
  const [height, width] = wideSides(layer);
  const [top, , left] = layer.padding;
  for (let row = 0; row < maps * rows; row++) {
    const to = (Math.floor(row / rows) * height + top + (row % rows)) * width + left;
    visit(row * columns, to, columns);
  }
}

// Return what each map of a convolution sums: the weights of its links, and where their pixels lie,
// counted from the first pixel of a window.
function taps(layer) {
  const { weights: { w }, c_in, c_out, groups, kernel: [kh, kw], dilation: [dv, dh], links } = layer;
  const [height, width] = wideSides(layer);
  const inputs = c_in / groups;
  return Array.from({ length: c_out }, (_, o) => {
    const first = Math.floor(o / (c_out / groups)) * inputs;
    const seen = links ? links[o] : Array.from({ length: c_in }, (_, i) => i);
    const factors = new Float32Array(seen.length * kh * kw);
    const places = new Int32Array(factors.length);
    let t = 0;
    for (const i of seen) {
      let from = (o * inputs + i - first) * kh * kw;
      for (let u = 0; u < kh; u++) {
        for (let v = 0; v < kw; v++) {
          factors[t] = w[from++];
          places[t++] = (i * height + u * dv) * width + v * dh;
        }
      }
    }
    return { factors, places };
  });
}

const convolution = {
  forward(layer, x, y) {
    const { weights: { b }, stride, shape: [maps, rows, columns], bias } = layer;
    const [height, width] = wideSides(layer);
    const wide = new Float32Array(layer.before[0] * height * width).fill(layer.pad_value);
    eachRow(layer, (from, to, length) => wide.set(x.subarray(from, from + length), to));
    layer.taps ??= taps(layer);
    for (let o = 0, k = 0; o < maps; o++) {
      const { factors, places } = layer.taps[o];
      for (let r = 0; r < rows; r++) {
        for (let s = 0; s < columns; s++, k++) {
          const from = r * stride[0] * width + s * stride[1];
          let sum = bias ? b[bias === "unit" ? k : o] : 0;
          for (let t = 0; t < factors.length; t++) sum += factors[t] * wide[from + places[t]];
          y[k] = sum;
        }
      }
    }
  },

  backward(layer, dy, x, y, dx) {
    const { stride, shape: [maps, rows, columns] } = layer;
    const [height, width] = wideSides(layer);
    const wide = new Float64Array(layer.before[0] * height * width);
    for (let o = 0, k = 0; o < maps; o++) {
      const { factors, places } = layer.taps[o];
      for (let r = 0; r < rows; r++) {
        for (let s = 0; s < columns; s++, k++) {
          const from = r * stride[0] * width + s * stride[1];
          for (let t = 0; t < factors.length; t++) wide[from + places[t]] += factors[t] * dy[k];
        }
      }
    }
    eachRow(layer, (from, to, length) => dx.set(wide.subarray(to, to + length), from));
  },
};

// Call visit(k, o, places) for each output k, in map `o`, with the places of its window.
function eachPool({ before: [maps, height, width], kernel: [kh, kw], stride, shape }, visit) {
  const [outputs, rows, columns] = shape;
  const places = new Int32Array(kh * kw);
  for (let o = 0, k = 0; o < outputs; o++) {
    const i = Math.floor((o * maps) / outputs);
    for (let r = 0; r < rows; r++) {
      for (let s = 0; s < columns; s++, k++) {
        for (let u = 0, n = 0; u < kh; u++) {
          const at = (i * height + r * stride[0] + u) * width + s * stride[1];
          for (let v = 0; v < kw; v++) places[n++] = at + v;
        }
        visit(k, o, places);
      }
    }
  }
}

// A sum times a factor, plus a bias, per map.
function summing(factor, bias) {
  return {
    forward(layer, x, y) {
      eachPool(layer, (k, o, places) => {
        let sum = 0;
        for (const at of places) sum += x[at];
        y[k] = factor(layer, o) * sum + bias(layer, o);
      });
    },
    backward(layer, dy, x, y, dx) {
      eachPool(layer, (k, o, places) => {
        const share = factor(layer, o) * dy[k];
        for (const at of places) dx[at] += share;
      });
    },
  };
}

const share = ({ kernel: [kh, kw] }) => 1 / (kh * kw);
const average = summing(share, () => 0);
const subsampling = summing(
  (layer, o) => layer.weights.w[o] * (layer.reduction === "mean" ? share(layer) : 1),
  (layer, o) => layer.weights.b[o],
);

const maximum = {
  forward(layer, x, y) {
    eachPool(layer, (k, o, places) => {
      let largest = -Infinity;
      for (const at of places) largest = Math.max(largest, x[at]); // NaN is the largest
      y[k] = largest;
    });
  },
  backward(layer, dy, x, y, dx) {
    eachPool(layer, (k, o, places) => {
      for (const at of places) {
        if (x[at] < y[k]) continue;
        dx[at] += dy[k];
        if (layer.ties !== "all") break; // the first one gets it
      }
    });
  },
};

const dense = {
  forward({ weights: { w, b } }, x, y) {
    for (let o = 0, at = 0; o < y.length; o++) {
      let sum = b[o];
      for (let i = 0; i < x.length; i++) sum += w[at++] * x[i];
      y[o] = sum;
    }
  },
  backward({ weights: { w } }, dy, x, y, dx) {
    const sums = new Float64Array(dx.length);
    for (let o = 0, at = 0; o < dy.length; o++) {
      for (let i = 0; i < dx.length; i++) sums[i] += w[at++] * dy[o];
    }
    dx.set(sums);
  },
};

// Squared distances to the centres.
const rbf = {
  forward({ weights: { w } }, x, y) {
    for (let o = 0, at = 0; o < y.length; o++) {
      let sum = 0;
      for (let i = 0; i < x.length; i++) sum += (x[i] - w[at++]) ** 2;
      y[o] = sum;
    }
  },
  backward({ weights: { w } }, dy, x, y, dx) {
    const sums = new Float64Array(dx.length);
    for (let o = 0, at = 0; o < dy.length; o++) {
      for (let i = 0; i < dx.length; i++) sums[i] += 2 * (x[i] - w[at++]) * dy[o];
    }
    dx.set(sums);
  },
};

// Only training drops units.
const dropout = {
  forward: (layer, x, y) => y.set(x),
  backward: (layer, dy, x, y, dx) => dx.set(dy),
};

// An activation from its value at x, and its slope there, where it is y.
function activation(value, slope) {
  return {
    forward(layer, x, y) {
      for (let k = 0; k < x.length; k++) y[k] = value(x[k], layer);
    },
    backward(layer, dy, x, y, dx) {
      for (let k = 0; k < x.length; k++) dx[k] = slope(x[k], y[k], layer) * dy[k];
    },
  };
}

const AMPLITUDE = 1.7159; // of the scaled tanh
const GATE = Math.sqrt(8 / Math.PI); // of the GELU's approximation
const CUBIC = 0.044715 * GATE;

// Return the normal distribution's Phi(x).
function phi(x) {
  const z = Math.abs(x);
  // Both converge fast on their side; the terms of the sum are positive, so nothing cancels.
  const density = Math.exp(-0.5 * z * z) / Math.sqrt(2 * Math.PI);
  if (z < 3) {
    let sum = 0;
    for (let term = z, n = 1; term > 1e-17 * sum; n += 2) {
      sum += term;
      term *= (z * z) / (n + 2);
    }
    return 0.5 + Math.sign(x) * density * sum;
  }
  let fraction = z; // z + 1 / (z + 2 / (z + 3 / ...))
  for (let n = 60; n > 0; n--) fraction = z + n / fraction;
  const tail = density / fraction;
  return x < 0 ? tail : 1 - tail;
}

const logistic = (x) => 1 / (1 + Math.exp(-x));
const gate = (x) => logistic(x * (GATE + CUBIC * x * x));

const gelu = activation(
  (x, { approximate }) => (x < -40 ? 0 : x * (approximate === "tanh" ? gate(x) : phi(x))),
  (x, y, { approximate }) => {
    const near = Math.min(40, Math.max(-40, x));
    if (approximate !== "tanh") {
      return phi(near) + (near * Math.exp(-0.5 * near * near)) / Math.sqrt(2 * Math.PI);
    }
    const open = gate(near);
    return open + near * (GATE + 3 * CUBIC * near * near) * open * (1 - open);
  },
);

const OPERATIONS = {
  Conv2D: convolution,
  Subsample2D: subsampling,
  AvgPool2D: average,
  MaxPool2D: maximum,
  Dense: dense,
  RBF: rbf,
  Dropout: dropout,
  Dropout2D: dropout,
  ScaledTanh: activation(
    (x) => AMPLITUDE * Math.tanh((2 / 3) * x),
    (x, y) => (2 / 3) * (AMPLITUDE - (y * y) / AMPLITUDE),
  ),
  Tanh: activation(Math.tanh, (x, y) => 1 - y * y),
  Sigmoid: activation(logistic, (x, y) => y * (1 - y)),
  ReLU: activation((x) => (x < 0 ? 0 : x), (x, y) => (y > 0 ? 1 : 0)),
  LeakyReLU: activation(
    (x, { slope }) => (x < 0 ? slope * x : x),
    (x, y, { slope }) => (y > 0 ? 1 : slope),
  ),
  ELU: activation(
    (x, { alpha }) => (x < 0 ? alpha * Math.expm1(x) : x),
    (x, y, { alpha }) => (y > 0 ? 1 : y + alpha),
  ),
  GELU: gelu,
};
