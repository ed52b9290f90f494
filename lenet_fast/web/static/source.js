// Where networks and test images come from: the server. A static page has another source, with the
// same methods.

import { bytes, get } from "./api.js";
import { decoded, Network } from "./network.js";

export class Served {
  // What is known besides the network: {test_images, digits, inverted, notice, ...}.
  about() {
    return get("/api/about");
  }

  // The network that reads; the weights of one that learns change.
  async network() {
    this.described = await get("/api/network");
    return new Network(this.described);
  }

  // The same network with its latest weights; or another one, if that reads now.
  async renewed() {
    const { headers, body } = await bytes("/api/weights");
    if (Number(headers.get("Network-Number")) !== this.described.number) return this.network();
    return new Network(this.described, new Float32Array(body));
  }

  // A test image: {index, image, label, name}, with an image as images.js has it.
  async digit(index) {
    const [digit] = await this.images([index]);
    return { ...digit, name: this.described.classes[digit.label] };
  }

  // Several of them, up to 1,000: {index, image, label}.
  async images(indices) {
    if (!indices.length) return [];
    return unpacked(await get(`/api/images?indices=${indices.join()}`), indices);
  }

  // What the network reads in all test images; the engine's answer, not the browser's.
  //
  // Returns typed arrays with an entry per image: labels, first and second (classes, -1 if there is
  // no answer) and margins (how much better the first one's output is).
  async predictions() {
    return unpackedPredictions(await get("/api/predictions"));
  }
}

// Return images from the form in which snapshots.py sends them.
export function unpacked({ rows, columns, pixels, labels }, indices) {
  const all = decoded(pixels);
  const size = rows * columns;
  return indices.map((index, k) => ({
    index,
    label: labels[k],
    image: { rows, columns, pixels: all.subarray(k * size, (k + 1) * size) },
  }));
}

// Return predictions likewise.
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
