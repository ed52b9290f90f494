// The frame of the page: language, words and presentation.

import { colours } from "./colours.js";
import { state } from "./state.js";
import { language, LANGUAGES, t, translate } from "./strings.js";

const byId = (id) => document.getElementById(id);

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
