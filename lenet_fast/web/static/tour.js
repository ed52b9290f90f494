// The tour: five steps, which begin by themselves on the first visit only.

import { makeButton } from "./controls.js";
import { remember, remembered } from "./memory.js";
import { say, t } from "./strings.js";

const STEPS = [["draw", "#draw"], ["answer", "#answer"], ["network", "#think"], ["views", "#tabs"], ["help", "header"]];

export class Tour {
  constructor(button) {
    this.card = document.createElement("aside");
    this.card.id = "tour";
    this.card.hidden = true;
    this.card.setAttribute("aria-labelledby", "tour-title");
    this.title = document.createElement("h2");
    this.title.id = "tour-title";
    this.text = document.createElement("p");
    const row = document.createElement("p");
    row.className = "row";
    this.place = document.createElement("span");
    this.back = makeButton("tour.back", () => this.go(this.at - 1));
    this.next = makeButton("tour.next", () => this.go(this.at + 1));
    this.next.className = "main";
    this.skip = makeButton("tour.skip", () => this.end());
    row.append(this.place, this.back, this.next, this.skip);
    this.card.append(this.title, this.text, row);
    document.body.append(this.card);
    button.addEventListener("click", () => {
      this.go(0);
      this.next.focus();
    });
    document.addEventListener("keydown", (event) => {
      if (event.key === "Escape" && !this.card.hidden) this.end();
    });
  }

  // Begin if this browser does not know the page.
  welcome() {
    if (remembered("tour") === null) this.go(0);
  }

  go(step) {
    this.pointed?.classList.remove("pointed");
    if (step >= STEPS.length) {
      this.end();
      return;
    }
    this.at = step;
    const [name, target] = STEPS[step];
    // A page without a server has nothing that learns.
    const key = name === "views" && !document.getElementById("tab-learn") ? "viewsStill" : name;
    this.pointed = document.querySelector(target);
    this.pointed.classList.add("pointed");
    this.title.textContent = t(`tour.${name}Title`);
    say(this.text, `tour.${key}`);
    this.place.textContent = t("tour.place", { step: step + 1, steps: STEPS.length });
    this.back.disabled = step === 0;
    this.next.textContent = t(step === STEPS.length - 1 ? "tour.done" : "tour.next");
    this.skip.hidden = step === STEPS.length - 1;
    this.card.hidden = false;
    this.pointed.scrollIntoView({ block: "nearest" });
    // Where the card would cover what it speaks of, as on a phone, that moves up.
    const [card, there] = [this.card.getBoundingClientRect(), this.pointed.getBoundingClientRect()];
    if (there.bottom > card.top && there.right > card.left) this.pointed.scrollIntoView();
  }

  end() {
    this.pointed?.classList.remove("pointed");
    this.card.hidden = true;
    remember("tour", "seen");
  }
}
