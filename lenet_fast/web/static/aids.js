// What helps with the page: explanations, tour, lessons, keys, and the address to share.

import { guide } from "./guide.js";
import { remember, remembered } from "./memory.js";
import { state } from "./state.js";
import { t } from "./strings.js";
import { explainTerms } from "./terms.js";
import { Tour } from "./tour.js";

const byId = (id) => document.getElementById(id);

// What a key does, and the words for it: [key, what it does].
const KEYS = {
  "?": ["help", () => byId("help").click()],
  p: ["present", () => byId("present").click()],
  l: ["lessons", () => byId("lessons").click()],
  t: ["tour", () => byId("tour-again").click()],
  r: ["random", () => byId("random").click()],
  m: ["wrong", () => byId("wrong").click()],
  c: ["clear", () => byId("clear").click()],
  d: ["pad", () => byId("pad").focus()],
  ",": ["layerBefore", () => step("#layer-names [role=radio]", "aria-checked", -1)],
  ".": ["layerNext", () => step("#layer-names [role=radio]", "aria-checked", 1)],
  v: ["view", () => step("#tabs [role=tab]", "aria-selected", 1, true)],
};
const OTHERS = ["arrows", "space", "backspace", "delete", "escape"];

// Go on from the chosen one of some buttons.
function step(selector, attribute, by, round = false) {
  const all = [...document.querySelectorAll(selector)].filter((each) => each.checkVisibility());
  const at = all.findIndex((each) => each.getAttribute(attribute) === "true") + by;
  (round ? all[(at + all.length) % all.length] : all[at])?.click();
}

// `fresh`: the address said nothing, so the reader may be new.
export function openAids(fresh) {
  explainTerms();
  guide(byId("guide"), byId("lessons"));
  help();
  byId("link").addEventListener("click", share);
  const tour = new Tour(byId("tour-again"));
  if (fresh) tour.welcome();
}

async function share() {
  const address = state.address();
  try {
    await navigator.clipboard.writeText(address);
    byId("link").textContent = t("shell.copied");
    setTimeout(() => { byId("link").textContent = t("shell.link"); }, 2000);
  } catch {
    prompt(t("shell.copyThis"), address); // without TLS, a page may not copy by itself
  }
}

function help() {
  const dialog = byId("keys");
  const list = document.createElement("dl");
  const row = (key, words) => {
    const line = document.createElement("div");
    const [name, what] = [document.createElement("dt"), document.createElement("dd")];
    const kbd = document.createElement("kbd");
    kbd.textContent = key;
    name.append(kbd);
    what.textContent = words;
    line.append(name, what);
    list.append(line);
  };
  for (const [key, [name]] of Object.entries(KEYS)) row(key, t(`shell.key_${name}`));
  for (const name of OTHERS) row(t(`shell.name_${name}`), t(`shell.key_${name}`));
  byId("keys-list").append(list);
  const allowed = byId("keys-on");
  allowed.checked = remembered("keys") !== "off";
  allowed.addEventListener("change", () => remember("keys", allowed.checked ? "on" : "off"));
  byId("help").addEventListener("click", () => dialog.showModal());
  document.addEventListener("keydown", (event) => {
    const { key, target } = event;
    if (event.ctrlKey || event.metaKey || event.altKey || dialog.open || !allowed.checked) return;
    if (target.matches("input:not([type=range], [type=checkbox]), select, textarea")) return;
    if (!(key in KEYS)) return;
    event.preventDefault();
    KEYS[key][1]();
  });
}
