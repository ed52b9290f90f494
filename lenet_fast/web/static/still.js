// The source of a static page: what still.py has put into it.

import { Network } from "./network.js";
import { unpacked, unpackedPredictions } from "./unpack.js";

export class Still {
  learns = false;

  constructor(given) {
    this.given = given;
  }

  async about() {
    return this.given.about;
  }

  async network() {
    return new Network(this.given.network);
  }

  async digit(index) {
    const [digit] = await this.images([index]);
    return { ...digit, name: this.given.network.classes[digit.label] };
  }

  async images(indices) {
    this.all ??= unpacked(this.given.images);
    if (indices.some((index) => !(index in this.all))) throw new RangeError(`images: ${indices}`);
    return indices.map((index) => ({ index, ...this.all[index] }));
  }

  async predictions() {
    return unpackedPredictions(this.given.predictions);
  }
}
