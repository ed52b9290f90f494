// One scale for all signed values: blue is negative, orange positive, zero the colour of the ground.
// The two differ in lightness as well as in hue only by their distance from zero, and no colour blindness takes blue for
// orange. The dark theme goes from dark to light, and a projector, which washes out pale colours,
// gets fuller ones.

const LIGHT = [[5, 48, 110], [58, 133, 200], [250, 250, 248], [236, 139, 50], [127, 50, 0]];
const DARK = [[178, 218, 255], [56, 139, 220], [24, 25, 29], [214, 104, 22], [255, 214, 170]];
const STEPS = 255;

const scheme = matchMedia("(prefers-color-scheme: dark)");
const listeners = [];
let table = null; // STEPS colours, as the bytes of a canvas: one uint32 each

function build() {
  const stops = scheme.matches ? DARK : LIGHT;
  const bend = document.documentElement.classList.contains("present") ? 0.65 : 1;
  const bytes = new Uint8ClampedArray(4 * STEPS);
  for (let k = 0; k < STEPS; k++) {
    const value = (2 * k) / (STEPS - 1) - 1;
    const place = 2 + 2 * Math.sign(value) * Math.abs(value) ** bend;
    const low = Math.min(3, Math.floor(place));
    for (let c = 0; c < 3; c++) {
      bytes[4 * k + c] = stops[low][c] + (place - low) * (stops[low + 1][c] - stops[low][c]);
    }
    bytes[4 * k + 3] = 255;
  }
  table = new Uint32Array(bytes.buffer);
}

function rebuild() {
  build();
  listeners.forEach((listener) => listener());
}

scheme.addEventListener("change", rebuild);
build();

export const colours = {
  // Call listener() when the scale has changed and all has to be painted again.
  on(listener) {
    listeners.push(listener);
  },

  // Choose the scale anew, as when the presentation begins.
  rebuild,

  // Return the CSS colour of a value between -limit and limit.
  css(value, limit) {
    const bytes = new Uint8Array(new Uint32Array([table[index(value, limit)]]).buffer);
    return `rgb(${bytes[0]}, ${bytes[1]}, ${bytes[2]})`;
  },

  // Return the scale as a CSS gradient, from -limit to limit.
  gradient() {
    const stops = Array.from({ length: 17 }, (_, k) => colours.css(k / 8 - 1, 1));
    return `linear-gradient(to right, ${stops.join(", ")})`;
  },

  paintMap,
};

function index(value, limit) {
  const share = limit > 0 ? value / limit : 0;
  return Math.round(((Math.max(-1, Math.min(1, share)) + 1) / 2) * (STEPS - 1));
}

// Paint values, one for each pixel of the canvas row by row, on the scale from -limit to limit; without
// values, nothing. Values beyond the limit get its colour.
export function paintMap(canvas, values, limit) {
  const context = canvas.getContext("2d");
  if (!values) {
    context.clearRect(0, 0, canvas.width, canvas.height);
    return;
  }
  const picture = context.createImageData(canvas.width, canvas.height);
  const pixels = new Uint32Array(picture.data.buffer);
  const size = Math.min(pixels.length, values.length);
  for (let k = 0; k < size; k++) pixels[k] = table[index(values[k], limit)];
  context.putImageData(picture, 0, 0);
}
