// The lessons: eight, as the notebooks of docs/lessons. Each explains, sets the page up, and asks.

import { makeButton } from "./controls.js";
import { state } from "./state.js";
import { say, t } from "./strings.js";

// What each lesson shows first: choices of the address.
const SHOWS = [
  { layer: "C1", map: "0", view: "steps" },
  { layer: "C3", map: "3", view: "steps" },
  { layer: "F6", map: null, view: "steps" },
  { layer: "C3", map: null, view: "fails", fails: "look" },
  { layer: "C3", map: null, view: "learn" },
  { layer: "C3", map: null, view: "learn" },
  { layer: "C3", map: null, view: "fails", fails: "deceive" },
  { layer: "C3", map: null, view: "learn" },
];

export function guide(box, button) {
  const [title, text, task, question] = ["h2", "p", "p", "p"].map((tag) => document.createElement(tag));
  title.id = "guide-title";
  box.setAttribute("aria-labelledby", title.id);
  const [details, summary, answer] = ["details", "summary", "p"].map((tag) => document.createElement(tag));
  summary.textContent = t("guide.answer");
  details.append(summary, answer);
  const back = makeButton("guide.back", () => go(current() - 1));
  const next = makeButton("guide.next", () => go(current() + 1));
  const show = makeButton("guide.show", set);
  const close = makeButton("guide.close", () => state.set("lesson", null));
  show.className = "main";
  const row = document.createElement("p");
  row.className = "row";
  row.append(show, back, next, close);
  const words = document.createElement("div");
  words.append(text, task);
  const asked = document.createElement("div");
  asked.append(question, details, row);
  box.append(title, words, asked);

  function current() {
    const lesson = Number(state.get("lesson"));
    return Number.isInteger(lesson) && lesson >= 1 && lesson <= SHOWS.length ? lesson : 0;
  }

  function set() {
    for (const [key, value] of Object.entries(SHOWS[current() - 1])) state.set(key, value);
  }

  function go(lesson) {
    state.set("lesson", lesson);
    set();
  }

  function tell() {
    const lesson = current();
    box.hidden = lesson === 0;
    button.setAttribute("aria-pressed", lesson > 0);
    if (!lesson) return;
    title.textContent = `${t("guide.place", { lesson, lessons: SHOWS.length })}: ${t(`guide.title${lesson}`)}`;
    say(text, `guide.text${lesson}`);
    // A page without a server has nothing to train.
    const possible = SHOWS[lesson - 1].view !== "learn" || document.getElementById("tab-learn");
    say(task, possible ? `guide.task${lesson}` : "guide.noTraining");
    say(question, `guide.question${lesson}`);
    say(answer, `guide.answer${lesson}`);
    details.open = false;
    back.disabled = lesson === 1;
    next.disabled = lesson === SHOWS.length;
  }

  button.addEventListener("click", () => {
    if (current()) {
      state.set("lesson", null);
    } else {
      go(1);
      box.scrollIntoView({ block: "nearest" }); // below the answer on a phone
    }
  });
  // A lesson in an address that says no more sets the page up, too.
  const opened = () => {
    tell();
    if (current() && state.get("layer") === null && state.get("view") === null) set();
  };
  state.on("lesson", opened);
  opened();
}
