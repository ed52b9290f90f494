// From a drawing to an image like MNIST's, and from there to a network's input. No DOM here.
//
// An image is {rows, columns, pixels}: a Uint8Array of grey values, from 0 (background) to 255.
// The functions do what drawings.py (from_canvas), data.fitted and data.prepare do in Python.

const SIDE = 28; // of an image of MNIST
const BOX = 20; // of the digit in it
const FAINT = 16; // a drawing with less contrast is blank
const SPECK = 0.02; // fainter pixels, as a share of the darkest one, do not belong to it
const THIN = 0.03; // a line is thin if fewer of its pixels have neighbours on all sides

// Return a drawing, scaled and centred; null if it is blank, or if most of its border is inked.
export function fromCanvas(drawing) {
  const { rows, columns, pixels } = drawing;
  let [low, high] = [255, 0];
  for (const grey of pixels) [low, high] = [Math.min(low, grey), Math.max(high, grey)];
  if (high - low < FAINT) return null;
  const border = pixels.filter((_, k) => {
    const [r, c] = [Math.floor(k / columns), k % columns];
    return r === 0 || r === rows - 1 || c === 0 || c === columns - 1;
  }).sort();
  const middle = border.length / 2;
  if (border[middle - 1] + border[middle] > 2 * 127) return null; // its median
  const image = cutOut(drawing);
  if (!isThin(image)) return image;
  return cutOut(thickened(image));
}

// Return the digit without its surroundings, as MNIST has it.
function cutOut({ rows, columns, pixels }) {
  let largest = 0;
  for (const grey of pixels) largest = Math.max(largest, grey);
  let [top, bottom, left, right] = [rows, -1, columns, -1];
  const ink = Float64Array.from(pixels, (grey, k) => {
    if (grey <= SPECK * largest) return 0;
    const [r, c] = [Math.floor(k / columns), k % columns];
    [top, bottom] = [Math.min(top, r), Math.max(bottom, r)];
    [left, right] = [Math.min(left, c), Math.max(right, c)];
    return grey;
  });
  const [high, wide] = [bottom - top + 1, right - left + 1];
  const cut = new Float64Array(high * wide);
  for (let r = 0; r < high; r++) {
    const from = (top + r) * columns + left;
    cut.set(ink.subarray(from, from + wide), r * wide);
  }
  const scale = BOX / Math.max(high, wide);
  const [height, width] = [high, wide].map((side) => Math.max(1, rint(side * scale)));
  const digit = resized(cut, high, wide, height, width);
  let darkest = 0;
  const [down, across] = [new Float64Array(height), new Float64Array(width)];
  digit.forEach((value, k) => {
    darkest = Math.max(darkest, value);
    down[Math.floor(k / width)] += value;
    across[k % width] += value;
  });
  const [y, x] = [offset(down), offset(across)];
  const made = new Uint8Array(SIDE * SIDE);
  digit.forEach((value, k) => {
    made[(y + Math.floor(k / width)) * SIDE + x + (k % width)] = rint(value * (255 / darkest));
  });
  return { rows: SIDE, columns: SIDE, pixels: made };
}

// Return where a side with this profile goes, so that its centre of mass lies in the middle.
function offset(mass) {
  let [sum, moment] = [0, 0];
  mass.forEach((value, k) => { sum += value; moment += value * k; });
  return Math.min(SIDE - mass.length, Math.max(0, rint(SIDE / 2 - moment / sum)));
}

// Round as NumPy does: halves to the even neighbour.
function rint(value) {
  const rounded = Math.round(value);
  return rounded - value === 0.5 && rounded % 2 ? rounded - 1 : rounded;
}

// Return a pixel, or 0 outside the image.
function at({ rows, columns, pixels }, r, c) {
  return r < 0 || c < 0 || r >= rows || c >= columns ? 0 : pixels[r * columns + c];
}

const SIDES = [[-1, 0], [1, 0], [0, -1], [0, 1]];

function isThin(image) {
  let [ink, inner] = [0, 0];
  image.pixels.forEach((grey, k) => {
    if (grey < 128) return;
    const [r, c] = [Math.floor(k / image.columns), k % image.columns];
    ink++;
    inner += SIDES.every(([dr, dc]) => at(image, r + dr, c + dc) >= 128);
  });
  return inner < THIN * ink;
}

// Return an image, a pixel larger on each side, whose pixels are as dark as their neighbours.
function thickened(image) {
  const [rows, columns] = [image.rows + 2, image.columns + 2];
  const pixels = Uint8Array.from({ length: rows * columns }, (_, k) => {
    const [r, c] = [Math.floor(k / columns) - 1, (k % columns) - 1];
    return Math.max(at(image, r, c), ...SIDES.map(([dr, dc]) => at(image, r + dr, c + dc)));
  });
  return { rows, columns, pixels };
}

// Return an image in another size: interpolated upwards, anti-aliased downwards.
function resized(values, rows, columns, height, width) {
  const [down, across] = [weights(rows, height), weights(columns, width)];
  const half = new Float64Array(height * columns);
  for (let r = 0; r < height; r++) {
    for (let k = 0; k < rows; k++) {
      const share = down[r * rows + k];
      if (share === 0) continue;
      for (let c = 0, to = r * columns; c < columns; c++, to++) {
        half[to] = fused(share, values[k * columns + c], half[to]);
      }
    }
  }
  const made = new Float64Array(height * width);
  for (let r = 0; r < height; r++) {
    for (let c = 0; c < width; c++) {
      let sum = 0;
      for (let k = 0; k < columns; k++) {
        const share = across[c * columns + k];
        if (share !== 0) sum = fused(share, half[r * columns + k], sum);
      }
      made[r * width + c] = sum;
    }
  }
  return made;
}

// Return a b + c, rounded once, as the BLAS of NumPy has it: where a pixel lies half-way between two
// bytes, the last bit decides.
function fused(a, b, c) {
  const [aHigh, aLow] = split(a);
  const [bHigh, bLow] = split(b);
  const product = a * b;
  const below = aLow * bLow - (product - aHigh * bHigh - aLow * bHigh - aHigh * bLow); // T. J. Dekker
  const sum = product + c;
  const part = sum - product;
  const lost = product - (sum - part) + (c - part); // D. E. Knuth
  return sum + (lost + below);
}

// Return two numbers of 26 bits with this sum.
function split(value) {
  const large = 134217729 * value; // 2 ** 27 + 1
  const high = large - (large - value);
  return [high, value - high];
}

// Return the matrix that resizes an axis: weighted means under triangles.
function weights(from, to) {
  const step = from / to;
  const matrix = new Float64Array(to * from);
  for (let k = 0; k < to; k++) {
    const middle = (k + 0.5) * step - 0.5;
    const row = matrix.subarray(k * from, (k + 1) * from);
    row.forEach((_, i) => { row[i] = Math.max(0, 1 - Math.abs(i - middle) / Math.max(step, 1)); });
    const sum = summed(row);
    row.forEach((weight, i) => { row[i] = weight / sum; });
  }
  return matrix;
}

// Return a sum with the rounding of NumPy.
function summed(values) {
  if (values.length > 128) {
    const half = Math.floor(values.length / 16) * 8;
    return summed(values.subarray(0, half)) + summed(values.subarray(half));
  }
  const whole = values.length - (values.length % 8);
  const lanes = new Float64Array(8);
  for (let k = 0; k < whole; k++) lanes[k % 8] += values[k];
  const [a, b, c, d, e, f, g, h] = lanes;
  let sum = a + b + (c + d) + (e + f + (g + h));
  for (let k = whole; k < values.length; k++) sum += values[k];
  return sum;
}

// Return what a network sees of an image: in its size, and inverted if it learned such images.
//
// `inverted`: whether the image comes from a set of dark digits on light.
export function fitted(image, network, inverted = false) {
  let { rows, columns, pixels } = image;
  const size = network.input_shape[1];
  if (network.inverted !== null && network.inverted !== inverted) pixels = pixels.map((grey) => 255 - grey);
  if (rows === SIDE && columns === SIDE) {
    if (network.reduced) pixels = shrunk(pixels, 1, 24, 2);
    else if (size < SIDE) [rows, columns, pixels] = [size, size, shrunk(pixels, 0, size, 0)];
  }
  if (rows > size || columns > size) {
    throw new RangeError(`image: expected at most ${size} x ${size} pixels, got ${rows} x ${columns}`);
  }
  return centred({ rows, columns, pixels }, size);
}

// Return pixels of 28 x 28 with a margin added, resized, and with a border around them.
function shrunk(pixels, margin, size, border) {
  const wide = centred({ rows: SIDE, columns: SIDE, pixels }, SIDE + 2 * margin);
  const made = Uint8Array.from(resized(wide.pixels, wide.rows, wide.columns, size, size), rint);
  return centred({ rows: size, columns: size, pixels: made }, size + 2 * border).pixels;
}

// Return an image in the middle of one of `size` x `size` pixels.
function centred({ rows, columns, pixels }, size) {
  const [top, left] = [size - rows, size - columns].map((room) => Math.floor(room / 2));
  const made = new Uint8Array(size * size);
  for (let r = 0; r < rows; r++) {
    made.set(pixels.subarray(r * columns, (r + 1) * columns), (top + r) * size + left);
  }
  return { rows: size, columns: size, pixels: made };
}

// Return a network's input from an image: a Float32Array on its scale.
export function prepare(image, network, inverted = false) {
  const [background, ink] = network.pixel_range;
  const table = Float32Array.from({ length: 256 }, (_, grey) =>
    background * (1 - grey / 255) + ink * (grey / 255));
  return Float32Array.from(fitted(image, network, inverted).pixels, (grey) => table[grey]);
}
