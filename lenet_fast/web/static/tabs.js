// The tabs below the network: one for each view that the page has.

import { state } from "./state.js";
import { t } from "./strings.js";

const byId = (id) => document.getElementById(id);

// Show the sections with these ids as tabs, the one in the address first. chosen(id) is called for the
// section that is shown, at once and after each change.
export function makeTabs(ids, chosen) {
  const tabs = ids.map((id) => {
    const tab = document.createElement("button");
    tab.type = "button";
    tab.id = `tab-${id}`;
    tab.textContent = t(`${id}.tab`);
    tab.setAttribute("role", "tab");
    tab.setAttribute("aria-controls", id);
    tab.addEventListener("click", () => state.set("view", id));
    byId(id).setAttribute("role", "tabpanel");
    byId(id).setAttribute("aria-labelledby", tab.id);
    return tab;
  });
  byId("tabs").replaceChildren(...tabs);
  byId("tabs").addEventListener("keydown", ({ key }) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[key];
    if (!step) return;
    const next = tabs.at((tabs.indexOf(document.activeElement) + step) % tabs.length);
    next.click();
    next.focus();
  });
  const show = () => {
    const view = ids.includes(state.get("view")) ? state.get("view") : ids[0];
    ids.forEach((id, k) => {
      byId(id).hidden = id !== view;
      tabs[k].setAttribute("aria-selected", id === view);
      tabs[k].tabIndex = id === view ? 0 : -1;
    });
    chosen?.(view);
  };
  state.on("view", show);
  show();
}
