// The explanations: of every element with data-term, on hover, focus and tap. Escape closes.

import { language, t } from "./strings.js";

const SHOW_AFTER = 250; // milliseconds, so that a passing mouse opens nothing

export function explainTerms() {
  const tip = document.createElement("div");
  tip.id = "tip";
  tip.setAttribute("role", "tooltip");
  tip.lang = language;
  tip.hidden = true;
  document.body.append(tip);
  let shown = null; // the term whose explanation is open
  let timer = 0;

  const open = (term) => {
    clearTimeout(timer);
    if (shown && shown !== term) close();
    shown = term;
    tip.textContent = t(`terms.${term.dataset.term}`);
    tip.hidden = false;
    term.setAttribute("aria-describedby", "tip");
    // Below the word, or above it where there is no room.
    const [word, box] = [term.getBoundingClientRect(), tip.getBoundingClientRect()];
    const left = Math.max(8, Math.min(word.left, innerWidth - box.width - 8));
    const below = word.bottom + 6 + box.height < innerHeight;
    tip.style.left = `${left}px`;
    tip.style.top = `${below ? word.bottom + 6 : Math.max(8, word.top - box.height - 6)}px`;
  };
  const close = () => {
    clearTimeout(timer);
    shown?.removeAttribute("aria-describedby");
    shown = null;
    tip.hidden = true;
  };
  const later = (what, milliseconds) => {
    clearTimeout(timer);
    timer = setTimeout(what, milliseconds);
  };
  const of = (event) => event.target.closest?.("[data-term]");

  // The mouse may go on to the explanation, to read it or to copy from it.
  document.addEventListener("pointerover", (event) => {
    if (event.pointerType !== "mouse") return;
    const term = of(event);
    if (term) later(() => open(term), SHOW_AFTER);
    else if (event.target === tip) clearTimeout(timer);
    else if (shown && shown !== document.activeElement) later(close, SHOW_AFTER);
    else if (!shown) clearTimeout(timer);
  });
  document.addEventListener("focusin", (event) => {
    const term = of(event);
    if (term) open(term);
    else if (shown) close();
  });
  document.addEventListener("focusout", (event) => { if (of(event) && of(event) === shown) close(); });
  document.addEventListener("click", (event) => {
    const term = of(event);
    if (term) {
      event.preventDefault(); // of a label, which would open its list
      if (document.activeElement !== term) term.focus();
      open(term);
    } else if (shown && event.target !== tip) close();
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && shown) {
      close();
      event.stopImmediatePropagation();
    } else if (of(event) && (event.key === "Enter" || event.key === " ")) {
      event.preventDefault();
      open(of(event));
    }
  }, true);
  addEventListener("scroll", () => { if (shown) close(); }, { capture: true, passive: true });
}
