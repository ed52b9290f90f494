// The frame of the page: language, words, presentation and tabs.

import { colours } from "./colours.js";
import { state } from "./state.js";
import { language, LANGUAGES, t, translate } from "./strings.js";

const byId = (id) => document.getElementById(id);
const NETWORK = "think";

export function openShell() {
  document.documentElement.lang = language;
  translate();
  chooseLanguage();
  present();
}

function chooseLanguage() {
  const select = byId("language");
  select.append(...Object.entries(LANGUAGES).map(([tag, name]) => {
    const option = new Option(name, tag, false, tag === language);
    option.lang = tag;
    return option;
  }));
  select.addEventListener("change", () => {
    state.set("lang", select.value);
    state.address();
    location.reload();
  });
}

function present() {
  const show = () => {
    const on = state.get("mode") === "present";
    document.documentElement.classList.toggle("present", on);
    byId("present").setAttribute("aria-pressed", on);
    byId("present").textContent = t(on ? "shell.presentEnd" : "shell.present");
    colours.rebuild();
    if (!on && document.fullscreenElement) document.exitFullscreen();
  };
  byId("present").addEventListener("click", () => {
    const on = state.get("mode") !== "present";
    state.set("mode", on ? "present" : null);
    // A browser may refuse to fill the screen; the page then fills its window.
    if (on) document.documentElement.requestFullscreen?.().catch(() => {});
  });
  state.on("mode", show);
  show();
}

// Show the sections with these ids as tabs, the one in the address first. In a presentation the network
// is one of them, too.
export function makeTabs(views) {
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
  };
  state.on("view", show);
  state.on("mode", show);
  show();
}
