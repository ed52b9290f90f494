// The forms in which snapshots.py sends arrays.

// Return the bytes of base64.
export function decoded(text) {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(text); // of new browsers; much faster
  const letters = atob(text);
  const bytes = new Uint8Array(letters.length);
  for (let k = 0; k < bytes.length; k++) bytes[k] = letters.charCodeAt(k);
  return bytes;
}

// Return images and their labels.
export function unpacked({ rows, columns, pixels, labels }) {
  const all = decoded(pixels);
  const size = rows * columns;
  return labels.map((label, k) => ({
    label,
    image: { rows, columns, pixels: all.subarray(k * size, (k + 1) * size) },
  }));
}

// Return what the engine reads in all test images, in typed arrays with an entry per image.
export function unpackedPredictions({ number, labels, first, second, margins }) {
  const classes = (text) => new Int16Array(decoded(text).buffer);
  return {
    number,
    labels: classes(labels),
    first: classes(first),
    second: classes(second),
    margins: new Float32Array(decoded(margins).buffer),
  };
}
