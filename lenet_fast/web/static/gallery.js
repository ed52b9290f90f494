// Test images as buttons, each of which puts its image on the paper; and the keys to move among
// buttons.

import { paintGrey } from "./answer.js";
import { state } from "./state.js";
import { t } from "./strings.js";

const PART = 48; // images that are shown at first, and at each request for more

// Let the arrow keys move among the buttons of a box, which lie in rows of equal length; Tab reaches
// one of them only.
export function moveByKeys(box) {
  box.addEventListener("keydown", (event) => {
    const all = [...box.querySelectorAll("button")];
    const at = all.indexOf(document.activeElement);
    const top = (button) => button.getBoundingClientRect().top;
    const across = () => {
      const next = all.findIndex((each) => top(each) > top(all[0]) + 1);
      return next < 0 ? all.length : next;
    };
    const to = {
      ArrowRight: () => at + 1, ArrowLeft: () => at - 1,
      ArrowDown: () => at + across(), ArrowUp: () => at - across(),
      Home: () => 0, End: () => all.length - 1,
    }[event.key]?.();
    if (at < 0 || to === undefined) return;
    event.preventDefault();
    event.stopPropagation();
    all[to]?.focus();
  });
  box.addEventListener("focusin", ({ target }) => reach(box, target));
}

// Have Tab reach this button of the box, its first one unless another is given.
export function reach(box, button = box.querySelector("button")) {
  for (const each of box.querySelectorAll("button")) each.tabIndex = each === button ? 0 : -1;
}

export class Gallery {
  // take(index) puts a test image on the paper.
  constructor(box, { source, take }) {
    this.source = source;
    this.take = take;
    this.images = new Map(); // by index, what has been fetched
    this.list = document.createElement("div");
    this.list.className = "gallery";
    this.list.setAttribute("role", "group");
    this.more = document.createElement("button");
    this.more.type = "button";
    this.more.className = "more";
    this.more.hidden = true;
    this.more.addEventListener("click", () => this.fill(this.shown + PART));
    moveByKeys(this.list);
    box.append(this.list, this.more);
    state.on("digit", () => this.mark());
  }

  // Show test images by index, in this order. describe(index) returns {caption, label, wrong}.
  show(indices, describe) {
    [this.indices, this.describe] = [indices, describe];
    return this.fill(PART);
  }

  async fill(count) {
    const { indices, describe } = this;
    const wanted = indices.slice(0, count);
    const missing = wanted.filter((index) => !this.images.has(index));
    for (const each of await this.source.images(missing)) this.images.set(each.index, each.image);
    if (indices !== this.indices) return; // others are wanted by now
    this.shown = wanted.length;
    this.list.replaceChildren(...wanted.map((index) => this.button(index, describe(index))));
    this.more.hidden = wanted.length === indices.length;
    this.more.textContent = t("fails.more", { count: indices.length - wanted.length });
    reach(this.list);
    this.mark();
  }

  button(index, { caption, label, wrong }) {
    const button = document.createElement("button");
    const [canvas, words] = [document.createElement("canvas"), document.createElement("span")];
    paintGrey(canvas, this.images.get(index));
    words.textContent = caption;
    button.type = "button";
    button.dataset.index = index;
    button.title = label;
    button.setAttribute("aria-label", label);
    button.classList.toggle("wrong", wrong);
    button.append(canvas, words);
    button.addEventListener("click", () => this.take(index));
    return button;
  }

  mark() {
    for (const each of this.list.children) {
      each.setAttribute("aria-pressed", each.dataset.index === state.get("digit"));
    }
  }
}
