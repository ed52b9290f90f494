// The tabs: one for each view that the page has. In a presentation the network is one of them, too.

import { state } from "./state.js";
import { t } from "./strings.js";

const NETWORK = "think";
const byId = (id) => document.getElementById(id);

// Show the sections with these ids as tabs, the one in the address first. chosen(id) is called for the
// section that is shown, at once and after each change.
export function makeTabs(views, chosen) {
  const ids = [NETWORK, ...views];
  const tabs = ids.map((id) => {
    const tab = document.createElement("button");
    tab.type = "button";
    tab.id = `tab-${id}`;
    tab.textContent = t(id === NETWORK ? "maps.title" : `${id}.tab`);
    tab.setAttribute("role", "tab");
    tab.setAttribute("aria-controls", id);
    tab.addEventListener("click", () => state.set("view", id));
    if (id !== NETWORK) {
      byId(id).setAttribute("role", "tabpanel");
      byId(id).setAttribute("aria-labelledby", tab.id);
    }
    return tab;
  });
  byId("tabs").replaceChildren(...tabs);
  byId("tabs").addEventListener("keydown", ({ key }) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[key];
    if (!step) return;
    const shown = tabs.filter((tab) => !tab.hidden);
    const next = shown.at((shown.indexOf(document.activeElement) + step) % shown.length);
    next.click();
    next.focus();
  });
  const show = () => {
    const presented = state.get("mode") === "present";
    const offered = presented ? ids : views;
    const view = offered.includes(state.get("view")) ? state.get("view") : offered[0];
    ids.forEach((id, k) => {
      byId(id).hidden = id !== view && (presented || id !== NETWORK);
      tabs[k].hidden = !offered.includes(id);
      tabs[k].setAttribute("aria-selected", id === view);
      tabs[k].tabIndex = id === view ? 0 : -1;
    });
    chosen?.(view);
  };
  state.on("view", show);
  state.on("mode", show);
  show();
}
