// What can be shared: the choices of all views are in the address, after the #.

const FLUSH = 250; // milliseconds; browsers refuse more than a few changes a second
const heard = new Map();
const opened = [];
let held = new URLSearchParams(location.hash.slice(1));
let known = location.hash; // the address as last read or written
let timer = 0;

function flush() {
  clearTimeout(timer);
  const hash = `${held}`;
  // An address that was changed by hand wins: its hashchange event is on its way.
  if (location.hash !== known || hash === location.hash.slice(1)) return;
  history.replaceState(null, "", `${location.pathname}${location.search}${hash && `#${hash}`}`);
  known = location.hash;
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
    if (text === null) held.delete(key);
    else held.set(key, text);
    clearTimeout(timer);
    timer = setTimeout(flush, FLUSH);
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

addEventListener("pagehide", flush);
addEventListener("hashchange", () => {
  clearTimeout(timer);
  const before = held;
  known = location.hash;
  held = new URLSearchParams(location.hash.slice(1));
  if (before.get("lang") !== held.get("lang")) location.reload();
  for (const key of new Set([...before.keys(), ...held.keys()])) {
    if (before.get(key) !== held.get(key)) tell(key);
  }
  opened.forEach((listener) => listener());
});
