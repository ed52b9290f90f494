// What can be shared: the choices of all views are in the address, after the #.

// What a change of these begins is an entry of the browser's history; other choices change the entry.
const STEPS = ["view", "fails", "mode", "lesson"];
// What Back and Forward leave as it is: the paper, the networks, the language.
const KEPT = ["drawing", "digit", "network", "hide", "lang"];
const OURS = "lenet"; // marks the entries that are written here; others come by hand or by a link
const FLUSH = 250; // milliseconds; browsers refuse more than a few changes a second
const heard = new Map();
const opened = [];
let held = new URLSearchParams(location.hash.slice(1));
let known = location.hash; // the address as last read or written
let timer = 0;
let stepping = false; // whether the next address is a new entry

function flush() {
  clearTimeout(timer);
  // An address that was changed by hand wins: its hashchange event is on its way.
  if (location.hash !== known) return;
  const hash = `${held}`;
  const write = stepping ? "pushState" : "replaceState";
  stepping = false;
  if (hash === location.hash.slice(1) && history.state === OURS) return;
  history[write](OURS, "", `${location.pathname}${location.search}${hash && `#${hash}`}`);
  known = location.hash;
}

function flushLater() {
  clearTimeout(timer);
  timer = setTimeout(flush, FLUSH);
}

function tell(key) {
  for (const listener of heard.get(key) ?? []) listener(state.get(key));
}

export const state = {
  // Return a choice, a text, or null.
  get(key) {
    return held.get(key);
  },

  // Change a choice; null or undefined removes it.
  set(key, value) {
    const text = value === null || value === undefined ? null : `${value}`;
    if (text === held.get(key)) return;
    if (STEPS.includes(key) && !stepping) {
      flush(); // Back leads to all that was chosen before
      stepping = true;
    }
    if (text === null) held.delete(key);
    else held.set(key, text);
    flushLater();
    tell(key);
  },

  // Call listener(value) whenever the choice has changed.
  on(key, listener) {
    heard.set(key, [...(heard.get(key) ?? []), listener]);
  },

  // Call listener() whenever another address has been opened in this page.
  onOpen(listener) {
    opened.push(listener);
  },

  // Return the address that holds all choices.
  address() {
    flush();
    return location.href;
  },
};

addEventListener("pagehide", () => {
  stepping = false;
  flush();
});
addEventListener("hashchange", () => {
  clearTimeout(timer);
  stepping = false;
  const before = held;
  known = location.hash;
  held = new URLSearchParams(location.hash.slice(1));
  if (history.state === OURS) {
    for (const key of KEPT) {
      held.delete(key);
      if (before.has(key)) held.set(key, before.get(key));
    }
    flushLater();
  }
  if (before.get("lang") !== held.get("lang")) location.reload();
  for (const key of new Set([...before.keys(), ...held.keys()])) {
    if (before.get(key) !== held.get(key)) tell(key);
  }
  opened.forEach((listener) => listener());
});
