// Where it fails, and why: four parts, of which one is shown.

import { Confusions } from "./confusions.js";
import { Deceive } from "./deceive.js";
import { Look } from "./look.js";
import { exportable } from "./picture.js";
import { Reject } from "./reject.js";
import { state } from "./state.js";
import { t } from "./strings.js";

const PARTS = { confusions: Confusions, look: Look, deceive: Deceive, reject: Reject };

const byId = (id) => document.getElementById(id);

export class Fails {
  // `shared` has the source of the page, and take(index), which puts a test image on the paper.
  constructor(shared) {
    this.parts = Object.entries(PARTS).map(([id, Part]) => {
      const part = { id, view: new Part(shared), visible: false, shown: null, busy: false };
      exportable(byId(id), `lenet-${id}`);
      // What nobody sees is not computed: another part, another tab, or far below.
      new IntersectionObserver((entries) => {
        part.visible = entries.at(-1).isIntersecting;
        this.update(part);
      }).observe(byId(id));
      return part;
    });
    this.makeTabs();
  }

  makeTabs() {
    const tabs = this.parts.map(({ id }) => {
      const tab = document.createElement("button");
      tab.type = "button";
      tab.id = `tab-${id}`;
      tab.textContent = t(`fails.${id}`);
      tab.setAttribute("role", "tab");
      tab.setAttribute("aria-controls", id);
      tab.addEventListener("click", () => state.set("fails", id));
      byId(id).setAttribute("role", "tabpanel");
      byId(id).setAttribute("aria-labelledby", tab.id);
      return tab;
    });
    const bar = byId("fails-parts");
    bar.replaceChildren(...tabs);
    bar.addEventListener("keydown", ({ key }) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[key];
      if (!step) return;
      const next = tabs.at((tabs.indexOf(document.activeElement) + step) % tabs.length);
      next.click();
      next.focus();
    });
    const choose = () => {
      const chosen = Object.hasOwn(PARTS, state.get("fails") ?? "") ? state.get("fails") : "confusions";
      this.parts.forEach(({ id }, k) => {
        byId(id).hidden = id !== chosen;
        tabs[k].setAttribute("aria-selected", id === chosen);
        tabs[k].tabIndex = id === chosen ? 0 : -1;
      });
    };
    state.on("fails", choose);
    choose();
  }

  // Show a network and what it makes of the drawing; null without one.
  show(network, trace) {
    [this.network, this.trace] = [network, trace];
    this.parts.forEach((part) => this.update(part));
  }

  async update(part) {
    const { network, trace } = this;
    if (!part.visible || !network || part.busy) return;
    const { shown } = part;
    if (shown?.network === network && shown.trace === trace) return;
    part.busy = true;
    part.shown = { network, trace };
    const begun = performance.now();
    try {
      await part.view.show(network, trace, shown?.network !== network);
      byId("fails-told").textContent = "";
    } catch (error) {
      part.shown = null;
      byId("fails-told").textContent = error.message;
    }
    // A network that learns changes all the time; reading the whole test set shall not slow it down.
    if (shown && shown.network !== network) {
      const rest = 3 * (performance.now() - begun);
      await new Promise((resolve) => { setTimeout(resolve, rest); });
    }
    part.busy = false;
    if (part.shown) this.update(part); // something else, by now
  }
}
