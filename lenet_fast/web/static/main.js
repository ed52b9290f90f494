// The page: draw, read, think, learn.

import { introduce as introduceClasses, showAnswer, showNothing } from "./answer.js";
import { get, listen, Refused } from "./api.js";
import { fromCanvas, prepare } from "./images.js";
import { Layers } from "./maps.js";
import { Pad } from "./pad.js";
import { makeTabs, openShell } from "./shell.js";
import { openSource } from "./source.js";
import { state } from "./state.js";
import { say, t } from "./strings.js";

const byId = (id) => document.getElementById(id);

const TRIES = 6; // test digits from which the page chooses one to begin with

let network = null; // null until it has arrived
let known = null; // the test digit that is shown: {index, label, name}
let due = null; // what the next frame has to show: {start}, the time of the event behind it
let begun = false; // whether the paper holds what the page begins with
let renewing = false;
let stale = false; // the weights have changed since they were asked for
const fresh = location.hash === "";
const source = await openSource();
const tried = unasked() ? source.images([...Array(TRIES).keys()]).catch(() => []) : []; // meanwhile
makeTabs(["steps", "fails", ...(source.learns ? ["learn"] : [])]);
openShell();
let lessons = null; // of a page that learns
const views = []; // what shows a reading besides the answer; they come after the first picture
const pad = new Pad(byId("pad"), byId("pen"), changed);
const wished = state.get("network");
const [about, arrived] = await first(() => Promise.all([source.about(), source.network()]));
introduce(about);

// Show the page, which begins hidden: its first picture has an answer.
function appear() {
  document.body.classList.add("ready");
}

// Load what the page needs; report a failure.
async function first(ask) {
  try {
    return await ask();
  } catch (error) {
    notify(t("first.reload", { error: error.message }));
    throw error;
  }
}

function notify(words) {
  byId("notice").textContent = words;
  byId("notice").hidden = false;
  appear();
}

function introduce(about) {
  byId("index").max = about.test_images - 1;
  if (about.notice) notify(about.sample ? t("first.sample", about) : about.notice);
  byId("credit").textContent = about.credit ?? "";
  const any = about.digits ? "" : "Any";
  document.title = t(`first.title${any}`);
  say(document.querySelector(".claim"), `first.claim${any}${source.learns ? "" : "Still"}`);
  say(byId("hint"), `first.hint${any}`);
  say(byId("take"), `first.take${any}`);
}

function changed(start) {
  byId("hint").hidden = !pad.empty;
  byId("undo").disabled = byId("clear").disabled = pad.empty;
  if (!pad.image) {
    known = null;
    state.set("digit", null);
    state.set("drawing", pad.empty ? null : pad.save());
    byId("source").textContent = ""; // it described another image
  }
  read(start);
}

// Have the drawing read in the next frame, with all changes until then.
function read(start) {
  if (!due) requestAnimationFrame(show);
  due = { start: due?.start ?? start };
}

function show() {
  const { start } = due;
  due = null;
  if (!network) return;
  const trace = traced();
  if (trace) showAnswer(trace, network);
  else if (pad.empty) showNothing(t("first.nothing"), t("first.blank"));
  else showNothing(t("first.noDigit"));
  for (const view of views) view.show(network, trace);
  lessons?.show(network);
  if (start !== null && trace) measure(start);
  if (begun) appear();
}

// Return what the network makes of the paper, and the image that it sees; null without a digit.
function traced() {
  if (pad.empty) return null;
  const image = pad.image ?? fromCanvas(pad.drawing());
  if (!image) return null;
  return { ...see(image, known !== null && about.inverted), image, known };
}

function see(image, inverted) {
  return network.forward(prepare(image, network, inverted));
}

// Measure the time from the event to the picture, for the browser's timeline.
async function measure(start) {
  await painted();
  performance.clearMeasures("answer");
  performance.measure("answer", { start, end: performance.now() });
}

// Wait until the frame has been painted: a message from a frame's callback arrives after that.
function painted() {
  const { port1, port2 } = new MessageChannel();
  return new Promise((resolve) => {
    port1.onmessage = resolve;
    port2.postMessage(null);
  });
}

// Take a network, or the same one with other weights.
function meet(found) {
  const other = found.number !== network?.number;
  network = found;
  if (other) {
    state.set("network", network.number || null);
    if (!source.learns) byId("network").replaceChildren(new Option(network.name));
    introduceClasses(network);
  }
  read(null);
}

// Follow a network that learns. Its weights take at most half of the line, which a class may share.
async function renew() {
  stale = true;
  if (renewing) return;
  renewing = true;
  try {
    while (stale) {
      stale = false;
      const begun = performance.now();
      meet(await source.renewed());
      const took = performance.now() - begun;
      await new Promise((resolve) => { setTimeout(resolve, took); });
    }
  } finally {
    renewing = false;
  }
}

async function take(chosen) {
  if (chosen.length === 0) byId("source").textContent = t("first.noneWrong");
  else await takeDigit(chosen[Math.floor(Math.random() * chosen.length)]);
}

async function misread() {
  const { labels, first } = await source.predictions();
  return [...labels.keys()].filter((index) => labels[index] !== first[index]);
}

async function takeDigit(index) {
  put(await source.digit(index));
}

// Put a test digit on the paper: {index, image, label}.
function put({ index, image, label }) {
  pad.put(image);
  known = { index, label, name: network.classes[label] };
  state.set("drawing", null);
  state.set("digit", index);
  byId("index").value = index;
  byId("source").textContent = t(about.digits ? "first.testDigit" : "first.testImage",
    { index, name: known.name });
  changed(null);
}

// Whether the address says neither drawing nor test digit.
function unasked() {
  return state.get("drawing") === null && state.get("digit") === null;
}

// Begin with the drawing or the test digit in the address; else with the first test digit that is read
// rightly.
async function begin() {
  begun = true;
  if (!pad.empty || await recall()) return; // or somebody was faster
  const some = await tried;
  const right = some.find(({ image, label }) => see(image, about.inverted).digit === label);
  if (!pad.empty) return;
  if (some.length) put(right ?? some[0]);
  else await takeDigit(0);
}

// Show what the address says; return whether it says something.
async function recall() {
  const [drawing, digit] = [state.get("drawing"), state.get("digit")];
  if (drawing !== null) {
    if (drawing === pad.save() || !pad.load(drawing)) return !pad.empty;
    changed(null);
    return true;
  }
  if (!/^\d+$/.test(digit ?? "") || Number(digit) >= about.test_images) return false;
  if (Number(digit) !== known?.index) await takeDigit(Number(digit));
  return true;
}

function act(what) {
  return async () => {
    try {
      await what();
    } catch (error) {
      byId("source").textContent = error.message;
    }
  };
}

byId("undo").addEventListener("click", () => pad.undo());
byId("clear").addEventListener("click", () => pad.clear());
byId("random").addEventListener("click", act(() => takeDigit(Math.floor(Math.random() * about.test_images))));
byId("wrong").addEventListener("click", act(async () => take(await misread())));
byId("show").addEventListener("click", act(() => {
  const { valueAsNumber: index, max, validity } = byId("index");
  if (Number.isNaN(index) || !validity.valid) {
    throw new Refused(t("first.notIndex", { max }));
  }
  return takeDigit(index);
}));
byId("index").addEventListener("keydown", (event) => {
  if (event.key === "Enter") byId("show").click();
});

meet(arrived);
await act(begin)();
state.onOpen(act(recall));
await onScreen(); // digit and answer
views.push(new Layers());
read(null);
await new Promise(requestAnimationFrame);
await painted();
await complete();
if (source.learns) await learn();
document.querySelector("main").removeAttribute("aria-busy");

// Wait until the first picture is on the screen; what is done meanwhile delays it. A browser that does
// not tell gets a while.
function onScreen() {
  return new Promise((resolve) => {
    new PerformanceObserver(resolve).observe({ type: "paint", buffered: true });
    setTimeout(resolve, 300);
  });
}

// Load the views below the network, and help.
async function complete() {
  const [{ Steps }, { Fails }, { openAids }] =
    await Promise.all([import("./steps.js"), import("./fails.js"), import("./aids.js")]);
  for (const style of document.querySelectorAll("link[media=print]")) style.media = "all";
  views.push(new Steps(), new Fails({ source, take: (index) => act(() => takeDigit(index))() }));
  openAids(fresh);
  read(null);
}

// Have networks trained, and follow those that learn.
async function learn() {
  const { Lessons } = await import("./learn.js");
  lessons = new Lessons(about);
  lessons.show(network);
  byId("save").title = t("first.saves", { folder: about.folder });
  lessons.everything(await get("/api/training"));
  if (wished !== null && wished !== byId("network").value) {
    byId("network").value = wished; // empty if there is none of this number
    if (byId("network").value) byId("network").dispatchEvent(new Event("change"));
    else byId("network").value = network.number;
  }
  listen(
    async (state) => {
      // Another server than before: reload everything.
      if (state.begun !== lessons.begun) location.reload();
      await lessons.update(state);
      await renew().catch((error) => lessons.tell(error.message));
    },
    (error) => lessons.tell(error.message),
  );
}
