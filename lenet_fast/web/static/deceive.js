// How little ink makes the network read another class.

import { paintGrey } from "./answer.js";
import { colours, paintMap } from "./colours.js";
import { greys } from "./look.js";
import { between, changedInk, deception, inputOf } from "./probes.js";
import { Slices } from "./slices.js";
import { state } from "./state.js";
import { local, say, t } from "./strings.js";

const byId = (id) => document.getElementById(id);

export class Deceive {
  constructor() {
    this.slices = new Slices();
    byId("target").addEventListener("change", () => {
      state.set("strength", null);
      state.set("target", byId("target").value);
    });
    byId("strength").addEventListener("input", () => state.set("strength", byId("strength").value));
    state.on("target", () => this.begin());
    state.on("strength", () => this.choose());
    colours.on(() => this.choose());
  }

  show(network, trace, changed) {
    if (changed && this.classes !== network.classes.join()) {
      this.classes = network.classes.join();
      byId("target").replaceChildren(...network.classes.map((name, k) => new Option(name, k)));
    }
    [this.network, this.trace] = [network, trace?.digit === null ? null : trace];
    this.begin(changed);
  }

  // Look for the change, to the class in the address, or to the runner-up.
  begin(changed = false) {
    const { network, trace } = this;
    byId("deceive").classList.toggle("empty", !trace);
    byId("deceive-none").hidden = Boolean(trace);
    if (!trace) {
      this.slices.stop();
      return;
    }
    const given = state.get("target");
    const sound = /^\d+$/.test(given ?? "") && given in network.classes && Number(given) !== trace.digit;
    const target = sound ? Number(given) : trace.second;
    byId("target").value = target;
    [...byId("target").options].forEach((option, k) => { option.disabled = k === trace.digit; });
    byId("deceive").setAttribute("aria-busy", true);
    this.slices.run(deception(network, trace, target), (done, found) => {
      if (!done) return;
      byId("deceive").removeAttribute("aria-busy");
      this.found = { ...found, network, trace, target };
      this.strip();
      this.choose();
    }, changed);
  }

  // Show what is read at each strength, below the slider.
  strip() {
    const { steps, least, network, target } = this.found;
    const end = steps.at(-1).strength || 1;
    byId("strength").max = end;
    const read = least ? [...steps, least].sort((a, b) => a.strength - b.strength) : steps;
    const runs = read.filter(({ digit }, k) => digit !== read[k - 1]?.digit);
    byId("strip").replaceChildren(...runs.map(({ digit, strength }, k) => {
      const part = document.createElement("span");
      part.textContent = part.title = network.classes[digit];
      part.style.flexGrow = ((runs[k + 1]?.strength ?? end) - strength) / end;
      part.classList.toggle("target", digit === target);
      return part;
    }));
    byId("least").hidden = !least;
    if (least) byId("least").style.left = `${(100 * least.strength) / end}%`;
    const words = { name: network.classes[target] };
    if (least) say(byId("enough"), "fails.enough", { ...words, ink: this.ink(least.pixels) });
    else say(byId("enough"), "fails.notEnough", { ...words, ink: this.ink(steps.at(-1).pixels) });
  }

  ink(pixels) {
    const share = 100 * changedInk(this.found.original, pixels, this.found.network);
    return local(share.toFixed(share < 10 ? 1 : 0));
  }

  // Show the change at the strength in the address, or the weakest one that is enough.
  choose() {
    if (!this.found) return;
    const { original, steps, least, network, trace, target } = this.found;
    const end = steps.at(-1).strength;
    const wished = state.get("strength");
    const chosen = wished !== null && Number(wished) >= 0 ? Math.min(end, Number(wished)) : least?.strength ?? end;
    byId("strength").value = chosen;
    const pixels = steps.length > 1 ? between(steps, chosen) : original;
    const input = inputOf(pixels, network);
    const read = network.forward(input);
    const change = Float32Array.from(pixels, (value, k) => (network.inverted ? -1 : 1) * (value - original[k]));
    const side = network.input_shape[1];
    [byId("change").width, byId("change").height] = [side, side];
    paintGrey(byId("original"), greys(trace.input, network));
    paintGrey(byId("result"), greys(input, network));
    paintMap(byId("change"), change, change.reduce((most, each) => Math.max(most, Math.abs(each)), 0));
    const { classes } = network;
    byId("original-name").textContent = t("fails.original", { name: classes[trace.digit] });
    byId("result-name").textContent = t("fails.result", { name: classes[read.digit] });
    byId("result-name").classList.toggle("wrong", read.digit === target);
    const ink = this.ink(pixels);
    byId("changed").textContent = t("fails.changed", { ink });
    byId("strength").setAttribute("aria-valuetext", `${ink} %; ${t("fails.result", { name: classes[read.digit] })}`);
  }
}
