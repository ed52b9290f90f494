// The words of the page. Every English sentence is here, the German ones are in strings.de.js, under
// the same keys; a language is one more module of this form.
//
// {name} is a placeholder. Where a number decides about the form, the entry is an object with the
// categories of Intl.PluralRules, chosen by {count}. [text](#term) is a term that the page explains:
// `say` makes it one, `t` leaves its text.

import { german } from "./strings.de.js";
import { state } from "./state.js";

export const english = {
  first: {
    title: "LeNet: draw a digit",
    titleAny: "LeNet: draw",
    claim: "Draw a digit. Watch it think. Watch it learn.",
    claimAny: "Draw. Watch it think. Watch it learn.",
    network: "Network that reads",
    views: "Views",
    draw: "Draw",
    paper: "Paper",
    hint: "Draw a digit here",
    hintAny: "Draw here",
    padHelp: "Draw with the mouse, a pen or a finger. With the keyboard, the arrow keys move the pen, the " +
      "space bar lowers and lifts it, Backspace removes a line, and Delete clears the drawing.",
    pen: "Pen",
    undo: "Undo",
    clear: "Clear",
    take: "Or take a [test digit](#testDigit)",
    takeAny: "Or take a [test image](#testDigit)",
    random: "Random",
    wrong: "Misread",
    index: "Number of the test digit",
    show: "Show",
    notIndex: "Number of the test digit: expected a whole number from 0 to {max}.",
    noneWrong: "It misreads none of them.",
    testDigit: "Test digit {index}, labelled {name}",
    testImage: "Test image {index}: {name}",
    reads: "It reads",
    input: "The network’s input: the digit, scaled and centred",
    inputSize: "[input](#input), 28 × 28",
    nothing: "Nothing is drawn yet.",
    blank: "The paper is blank.",
    noDigit: "There is no digit in it.",
    notFinite: "The network’s outputs are not finite.",
    second: "Runner-up: {name}, with {value}",
    spoken: "It reads {first}, then {second}.",
    right: "right",
    misread: "read {read}, is {label}",
    rbf: "[penalty](#penalty): the shortest bar wins",
    softmax: "[probability](#softmax): the longest bar wins",
    linear: "[score](#score): the longest bar wins",
    reload: "{error} Reload the page.",
    saves: "Saves to {folder}",
  },
  maps: {
    title: "It thinks",
    layer: "Layer",
    negative: "negative",
    positive: "positive",
  },
  steps: {
    tab: "How it computes",
  },
  fails: {
    tab: "Where it fails",
  },
  learn: {
    tab: "It learns",
  },
  shell: {
    savePicture: "Save the picture as {kind}",
    language: "Language",
  },
  tour: {},
  terms: {},
};

export const LANGUAGES = { en: ["English", english], de: ["Deutsch", german] };

// The address decides, else the browser's languages.
export const language = [state.get("lang"), ...navigator.languages.map((tag) => tag.slice(0, 2))]
  .find((tag) => tag in LANGUAGES) ?? "en";

const TERM = /\[([^\]]+)\]\(#(\w+)\)/g;
const plural = new Intl.PluralRules(language);

// Return the parts of an entry: text, text of a term, its name, text, and so on.
function parts(key, values) {
  const [part, name] = key.split(".");
  const found = LANGUAGES[language][1][part]?.[name];
  if (found === undefined) throw new Error(`strings: no ${key} in ${language}`);
  const text = typeof found === "string" ? found : found[plural.select(values.count)] ?? found.other;
  return text.split(TERM).map((each) => each.replace(/\{(\w+)\}/g, (_, value) => values[value]));
}

// Return the words of a key, such as "first.pen", with values for its placeholders.
export function t(key, values = {}) {
  return parts(key, values).filter((_, k) => k % 3 < 2).join("");
}

// Put words into an element, with their terms.
export function say(element, key, values = {}) {
  const all = parts(key, values);
  element.replaceChildren(...all.flatMap((part, k) => {
    if (k % 3 === 2 || !part) return [];
    if (k % 3 === 0) return [part];
    const term = document.createElement("span");
    term.className = "term";
    term.dataset.term = all[k + 1];
    term.textContent = part;
    return [term];
  }));
}

// Fill the elements below `root` that name a key.
export function translate(root = document) {
  for (const each of root.querySelectorAll("[data-t]")) say(each, each.dataset.t);
  for (const each of root.querySelectorAll("[data-t-label]")) {
    each.setAttribute("aria-label", t(each.dataset.tLabel));
  }
}
