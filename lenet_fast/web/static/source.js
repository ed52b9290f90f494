// Where networks and test images come from: the server; or, in a static page, the page itself.

import { bytes, get } from "./api.js";
import { Network } from "./network.js";
import { unpacked, unpackedPredictions } from "./unpack.js";

class Served {
  learns = true; // whether networks can be trained, and renewed

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
    const found = unpacked(await get(`/api/images?indices=${indices.join()}`));
    return found.map((each, k) => ({ index: indices[k], ...each }));
  }

  // What the network reads in all test images; the engine's answer, not the browser's.
  //
  // Returns typed arrays with an entry per image: labels, first and second (classes, -1 if there is
  // no answer) and margins (how much better the first one's output is).
  async predictions() {
    return unpackedPredictions(await get("/api/predictions"));
  }
}

// Return the source of this page.
export async function openSource() {
  const still = document.getElementById("still");
  if (!still) return new Served();
  const { Still } = await import("./still.js");
  return new Still(JSON.parse(still.textContent));
}
