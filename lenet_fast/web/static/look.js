// What the network looks at: the gradient at the pixels, and what happens if a patch covers them.

import { paintGrey } from "./answer.js";
import { colours, paintMap } from "./colours.js";
import { covered, lead, occlusion, saliency } from "./probes.js";
import { Slices } from "./slices.js";
import { state } from "./state.js";
import { local, say, t } from "./strings.js";

const PATCHES = [3, 5, 7, 9];
const PATCH = 5;

const byId = (id) => document.getElementById(id);

export class Look {
  constructor() {
    this.slices = new Slices();
    this.pointed = null; // the place under the mouse: [row, column]
    byId("patch").append(...PATCHES.map((size) => new Option(t("fails.patchSize", { size }), size)));
    byId("patch").addEventListener("change", () => state.set("patch", byId("patch").value));
    byId("why").addEventListener("change", () => state.set("why", byId("why").value || null));
    for (const key of ["why", "patch"]) state.on(key, () => this.look());
    state.on("place", () => this.point());
    colours.on(() => this.paint());
    const canvas = byId("occlusion");
    canvas.addEventListener("pointermove", (event) => this.hover(this.under(event)));
    canvas.addEventListener("pointerleave", () => this.hover(null));
    canvas.addEventListener("click", (event) => state.set("place", this.under(event).join(".")));
    canvas.addEventListener("keydown", (event) => this.key(event));
  }

  show(network, trace, changed) {
    if (changed && this.classes !== network.classes.join()) {
      this.classes = network.classes.join();
      byId("why").replaceChildren(new Option(t("fails.theAnswer"), ""),
        ...network.classes.map((name, k) => new Option(name, k)));
    }
    [this.network, this.trace] = [network, trace?.digit === null ? null : trace];
    this.look(changed);
  }

  look(changed = false) {
    const { network, trace } = this;
    byId("look").classList.toggle("empty", !trace);
    byId("look-none").hidden = Boolean(trace);
    if (!trace) {
      this.slices.stop();
      return;
    }
    const why = state.get("why");
    this.class = why !== null && network.classes[why] !== undefined ? Number(why) : trace.digit;
    byId("why").value = this.class === trace.digit && why === null ? "" : this.class;
    this.size = PATCHES.includes(Number(state.get("patch"))) ? Number(state.get("patch")) : PATCH;
    byId("patch").value = this.size;
    const name = network.classes[this.class];
    say(byId("saliency-name"), "fails.saliency", { name });
    say(byId("occlusion-name"), "fails.occlusion", { name });
    const side = network.input_shape[1];
    for (const id of ["saliency", "occlusion"]) {
      // Setting the size clears the picture, which stays until there is another.
      if (byId(id).width !== side) [byId(id).width, byId(id).height] = [side, side];
    }
    this.point();
    this.slices.run(this.work(), (done) => {
      byId("occlusion").setAttribute("aria-busy", !done);
      paintMap(byId("occlusion"), this.drops, largest(this.drops));
    }, changed);
  }

  *work() {
    const { network, trace } = this;
    const side = network.input_shape[1];
    this.slopes = saliency(network, trace, this.class);
    this.drops = new Float32Array(side * side);
    this.paint();
    yield* occlusion(network, trace, this.class, this.size, this.drops);
  }

  paint() {
    if (!this.slopes) return;
    paintMap(byId("saliency"), this.slopes, largest(this.slopes));
    paintMap(byId("occlusion"), this.drops, largest(this.drops));
    byId("look-scale").style.background = colours.gradient();
  }

  under(event) {
    const box = byId("occlusion").getBoundingClientRect();
    const side = this.network.input_shape[1];
    return [(event.clientY - box.top) / box.height, (event.clientX - box.left) / box.width]
      .map((share) => Math.max(0, Math.min(side - 1, Math.floor(share * side))));
  }

  hover(place) {
    this.pointed = place;
    if (this.trace) this.point();
  }

  // The place in the address, or null.
  get pinned() {
    const place = state.get("place")?.split(".").map(Number);
    const side = this.network.input_shape[1];
    return place?.length === 2 && place.every((each) => each in Array(side).fill(0)) ? place : null;
  }

  key(event) {
    const move = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
    if (event.key === "Escape") state.set("place", null);
    if (!move || !this.trace) return;
    event.preventDefault();
    const side = this.network.input_shape[1];
    const from = this.pinned ?? [side >> 1, side >> 1];
    state.set("place", from.map((at, axis) => Math.max(0, Math.min(side - 1, at + move[axis]))).join("."));
  }

  // Show the input, with the patch where the mouse is, or at the place in the address.
  point() {
    const { network, trace } = this;
    if (!trace) return;
    const place = this.pointed ?? this.pinned;
    const input = place ? covered(network, trace.input, this.size, ...place) : trace.input;
    paintGrey(byId("look-input"), greys(input, network));
    if (!place) {
      say(byId("look-told"), "fails.point");
      return;
    }
    const found = network.forward(input);
    const words = (of) => local(lead(network, of, this.class).toFixed(2));
    say(byId("look-told"), "fails.covered", { name: network.classes[this.class],
      read: network.classes[found.digit], before: words(trace), after: words(found) });
  }
}

// Return an input as an image.
export function greys(input, { input_shape: [, rows, columns], pixel_range: [background, ink] }) {
  const grey = (x) => Math.max(0, Math.min(255, Math.round((255 * (x - background)) / (ink - background))));
  return { rows, columns, pixels: Uint8Array.from(input, grey) };
}

function largest(values) {
  return values.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
}
