// When to give no answer: the rate of rejection, and the errors among the rest.

import { describe } from "./confusions.js";
import { Gallery } from "./gallery.js";
import { Rejection } from "./probes.js";
import { state } from "./state.js";
import { local, say, t, whole } from "./strings.js";

const AIM = 0.005; // share of errors: LeCun et al. 1998, figure 10
const EDGE = { left: 3.4, right: 1, top: 0.6, bottom: 2.8 }; // rem

const byId = (id) => document.getElementById(id);

export class Reject {
  constructor(shared) {
    this.source = shared.source;
    this.gallery = new Gallery(byId("rejected-digits"), shared);
    byId("threshold").addEventListener("input", () => {
      state.set("threshold", Number(Number(byId("threshold").value).toPrecision(4)));
    });
    state.on("threshold", () => this.choose());
    new ResizeObserver(() => this.draw()).observe(byId("trade"));
  }

  async show(network, trace, changed) {
    if (!changed) return;
    this.found = await this.source.predictions();
    this.network = network;
    this.rejection = new Rejection(this.found);
    byId("threshold").max = this.rejection.end;
    const aim = this.rejection.needed(AIM);
    say(byId("aim"), "fails.aim", { aim: local(`${100 * AIM}`), rate: this.percent(aim) });
    await this.choose();
  }

  percent(count) {
    return local(((100 * count) / this.found.labels.length).toFixed(2));
  }

  // Reject at the threshold in the address, or so that the aim is reached.
  async choose() {
    const { rejection, found, network } = this;
    if (!found) return;
    const given = Number(state.get("threshold") ?? NaN);
    const aim = rejection.margins[rejection.needed(AIM)] ?? rejection.end;
    this.threshold = Math.min(given >= 0 ? given : aim, rejection.end);
    byId("threshold").value = this.threshold;
    this.rejected = rejection.below(this.threshold);
    byId("threshold-value").textContent = local(this.threshold.toFixed(2));
    const words = { count: whole(this.rejected), all: whole(found.labels.length), rate: this.percent(this.rejected),
      error: this.rejected < found.labels.length ? local((100 * rejection.error(this.rejected)).toFixed(2)) : "–" };
    byId("rejecting").textContent = t("fails.rejecting", words);
    byId("remaining").textContent = t("fails.remaining", words);
    this.draw();
    const wrong = rejection.errors[0] - rejection.errors[this.rejected];
    byId("rejected-name").textContent = t("fails.rejectedWrong", { count: whole(this.rejected), wrong: whole(wrong) });
    const shown = rejection.order.slice(0, this.rejected);
    await this.gallery.show(shown, (index) => describe(index, found, network.classes));
  }

  // Draw the error by the rate of rejection, and where the threshold is.
  draw() {
    const { rejection, rejected } = this;
    const svg = byId("trade");
    const { width, height } = svg.getBoundingClientRect();
    if (!rejection || !width) return;
    const rem = parseFloat(getComputedStyle(document.documentElement).fontSize);
    const [left, right, top, bottom] = [EDGE.left, EDGE.right, EDGE.top, EDGE.bottom].map((side) => side * rem);
    svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    const count = rejection.order.length;
    const end = Math.max(1, rejection.below(rejection.end));
    const most = rejection.error(0) || 1;
    const x = (at) => left + (at / end) * (width - left - right);
    const y = (error) => height - bottom - (error / most) * (height - top - bottom);
    const points = Array.from({ length: 201 }, (_, k) => Math.round((k / 200) ** 2 * end)); // dense at the left
    const parts = [
      ...ticks(100 * most).flatMap((tick) => [
        make("line", { class: "grid", x1: left, x2: width - right, y1: y(tick / 100), y2: y(tick / 100) }),
        text(`${local(`${tick}`)} %`, left - 0.4 * rem, y(tick / 100) + 0.3 * rem, "end"),
      ]),
      ...ticks((100 * end) / count).map((tick) =>
        text(`${local(`${tick}`)} %`, x((tick / 100) * count), height - bottom + 1.1 * rem, "middle")),
      text(t("fails.rejectedAxis"), (left + width - right) / 2, height - 0.4 * rem, "middle"),
      text(t("fails.errorAxis"), left + 0.5 * rem, top + 0.8 * rem, "start"),
      make("path", { class: "curve", d: points.map((at, k) => `${k ? "L" : "M"}${x(at).toFixed(1)} ${y(rejection.error(at)).toFixed(1)}`).join("") }),
      make("circle", { class: "at", cx: x(rejected), cy: y(rejection.error(rejected)), r: 0.4 * rem }),
    ];
    svg.replaceChildren(...parts);
    svg.setAttribute("aria-label", `${byId("rejecting").textContent} ${byId("remaining").textContent}`);
  }
}

// Return round numbers from 0 up to a limit.
function ticks(limit) {
  const size = 10 ** Math.floor(Math.log10(limit));
  const step = size * ([0.2, 0.5, 1, 2].find((each) => limit / (size * each) <= 5) ?? 2);
  return Array.from({ length: Math.floor(limit / step) + 1 }, (_, k) => Number((k * step).toPrecision(3)));
}

function make(tag, attributes) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}

function text(words, x, y, anchor) {
  const element = make("text", { x, y, "text-anchor": anchor });
  element.textContent = words;
  return element;
}
