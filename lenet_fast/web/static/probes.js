// What is asked to find out where and why a network fails. No DOM here.

// Return how often each class was read as each: a list per class of the label. Images without an
// answer are not counted.
export function confusions({ labels, first }, classes) {
  const counts = Array.from({ length: classes }, () => new Int32Array(classes));
  labels.forEach((label, k) => { if (first[k] >= 0) counts[label][first[k]]++; });
  return counts;
}

// Return the images with this label that were read as this class; those read wrongly if none is
// given. The worst come first: the surest of the errors, the most doubtful of the right answers.
export function listed({ labels, first, margins }, cell) {
  const wrong = !cell || cell[0] !== cell[1];
  const found = [...labels.keys()].filter((k) => (cell
    ? labels[k] === cell[0] && first[k] === cell[1]
    : labels[k] !== first[k] && first[k] >= 0));
  return found.sort((a, b) => (wrong ? margins[b] - margins[a] : margins[a] - margins[b]));
}

// Return by how much better the output of class `a` is than the best of the others.
export function lead(network, { outputs, order }, a) {
  const y = outputs.at(-1);
  const gap = y[a] - y[rival(order, a)];
  return network.smallest_wins ? -gap : gap;
}

function rival(order, a) {
  return order.find((each) => each !== a);
}

// Return for each pixel how fast the lead of class `a` grows with ink there.
export function saliency(network, trace, a) {
  const toInk = inkRange(network);
  return network.gradient(trace, a, rival(trace.order, a)).map((slope) => slope * toInk);
}

// Return by how much an input changes from paper to ink.
function inkRange({ pixel_range: [background, ink], inverted }) {
  return inverted ? background - ink : ink - background;
}

// Return an input with a grey patch of `size` x `size` pixels, an odd number, around a place.
export function covered(network, input, size, row, column) {
  const side = network.input_shape[2];
  const half = (size - 1) / 2;
  const made = input.slice();
  const grey = (network.pixel_range[0] + network.pixel_range[1]) / 2;
  const end = Math.min(side, column + half + 1);
  for (let r = Math.max(0, row - half); r <= Math.min(side - 1, row + half); r++) {
    made.fill(grey, r * side + Math.max(0, column - half), r * side + end);
  }
  return made;
}

// Move a grey patch over the input, and set each value of `drops`, one per pixel, to what the lead of
// class `a` loses with the patch there. A generator that pauses after each place; it goes from coarse
// to fine, so that `drops` soon is a rough map.
export function* occlusion(network, trace, a, size, drops) {
  const side = network.input_shape[1];
  const before = lead(network, trace, a);
  for (let step = 8; step >= 1; step /= 2) {
    for (let row = 0; row < side; row += step) {
      for (let column = 0; column < side; column += step) {
        if (step < 8 && row % (2 * step) === 0 && column % (2 * step) === 0) continue; // known
        const found = network.forward(covered(network, trace.input, size, row, column));
        const drop = before - lead(network, found, a);
        for (let r = row; r < Math.min(side, row + step); r++) {
          drops.fill(drop, r * side + column, r * side + Math.min(side, column + step));
        }
        yield;
      }
    }
  }
}

const REACH = 60; // steps; each changes one per cent of the digit's ink
const HALVINGS = 7;

// Change the input, in small steps along the gradient, until it is read as class `target`.
//
// A generator that pauses after each reading. It returns {original, steps, least}: of each step its
// `strength` in per cent of the digit's ink, the values of the pixels from 0 to 1, and the `digit`
// that is read; least is the weakest one that is read as the target, or null.
export function* deception(network, trace, target) {
  const [background, ink] = network.pixel_range;
  const original = Float64Array.from(trace.input, (x) => (x - background) / (ink - background));
  const step = inkOf(original, network) / 100;
  const steps = [{ strength: 0, pixels: original, digit: trace.digit }];
  let [now, least, end] = [trace, null, REACH];
  for (let strength = 1; strength <= end; strength++) {
    const { pixels } = steps.at(-1);
    const slopes = network.gradient(now, target, rival(now.order, target));
    const free = slopes.map((slope, k) => {
      const up = slope * (ink - background);
      return (up > 0 && pixels[k] >= 1) || (up < 0 && pixels[k] <= 0) ? 0 : up; // stays in range
    });
    const size = free.reduce((sum, each) => sum + Math.abs(each), 0);
    if (!size || !step) break;
    const moved = pixels.map((value, k) => Math.min(1, Math.max(0, value + (step * free[k]) / size)));
    now = network.forward(inputOf(moved, network));
    yield;
    if (now.digit === null) break;
    steps.push({ strength, pixels: moved, digit: now.digit });
    if (now.digit === target && !least) {
      least = yield* weakest(network, steps, target);
      end = Math.min(REACH, Math.max(8, 2 * strength)); // as far again, to see that it stays so
    }
  }
  return { original, steps, least };
}

// Return the weakest change between the last two steps that is read as the target.
function* weakest(network, steps, target) {
  let [low, high] = [steps.at(-2).strength, steps.at(-1).strength];
  for (let k = 0; k < HALVINGS; k++) {
    const middle = (low + high) / 2;
    const { digit } = network.forward(inputOf(between(steps, middle), network));
    if (digit === target) high = middle;
    else low = middle;
    yield;
  }
  return { strength: high, pixels: between(steps, high), digit: target };
}

// Return the pixels at any strength.
export function between(steps, strength) {
  const k = Math.min(Math.max(0, Math.ceil(strength) - 1), steps.length - 2);
  const part = strength - k;
  return steps[k].pixels.map((value, p) => (1 - part) * value + part * steps[k + 1].pixels[p]);
}

// Return the input of these pixels. They become bytes first, as in any picture that one can save.
export function inputOf(pixels, { pixel_range: [background, ink] }) {
  return Float32Array.from(pixels, (value) => {
    const share = Math.round(255 * value) / 255;
    return background * (1 - share) + ink * share;
  });
}

// Return the ink of pixels: its sum, in black pixels.
function inkOf(pixels, { inverted }) {
  return pixels.reduce((sum, value) => sum + (inverted ? 1 - value : value), 0);
}

// Return how much ink was added or removed, as a share of the original's.
export function changedInk(original, pixels, network) {
  const changed = original.reduce((sum, value, k) =>
    sum + Math.abs(Math.round(255 * pixels[k]) - Math.round(255 * value)) / 255, 0);
  return changed / inkOf(original, network);
}

// The test images in the order in which they are rejected: those with the smallest margin first.
export class Rejection {
  constructor({ labels, first, margins }) {
    this.order = [...labels.keys()].sort((a, b) => margins[a] - margins[b]);
    this.margins = this.order.map((k) => margins[k]);
    // Errors among the images from a place on.
    this.errors = new Int32Array(this.order.length + 1);
    for (let at = this.order.length - 1; at >= 0; at--) {
      const k = this.order[at];
      this.errors[at] = this.errors[at + 1] + (labels[k] !== first[k]);
    }
    // The largest threshold of interest: it leaves no errors, or rejects a quarter of the images.
    const end = Math.min(this.errors.indexOf(0), this.order.length >> 2);
    this.end = this.margins[end] || 1;
  }

  // Return how many images have a smaller margin.
  below(threshold) {
    let [low, high] = [0, this.margins.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.margins[middle] < threshold) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  // Return the share of errors among the others if so many are rejected.
  error(rejected) {
    return this.errors[rejected] / (this.order.length - rejected || 1);
  }

  // Return how many have to be rejected for this share of errors among the others.
  needed(share) {
    for (let at = 0; at < this.order.length; at++) if (this.error(at) <= share) return at;
    return this.order.length;
  }
}
