// The page: draw, read, think, learn.

import { showAnswer, showNothing } from "./answer.js";
import { get, listen, post, Refused } from "./api.js";
import { Lessons } from "./learn.js";
import { Layers } from "./maps.js";
import { Pad } from "./pad.js";
import { state } from "./state.js";
import { language, say, t, translate } from "./strings.js";
import { makeTabs } from "./tabs.js";

const byId = (id) => document.getElementById(id);

const TRIES = 5; // test digits to begin with

let network = null; // null until its description has arrived
let digit = null; // the number of a test digit, if one is shown
let label = null; // its class
let digits = true; // or other classes
let wanted = null; // the next request: [body, time of the event]
let reading = false;
document.documentElement.lang = language;
translate();
makeTabs(["learn"]);
const layers = new Layers();
const pad = new Pad(byId("pad"), byId("pen"), changed);
const lessons = new Lessons(introduce(await first("/api/about")));

// Load what the page needs; report a failure.
async function first(path) {
  try {
    return await get(path);
  } catch (error) {
    notify(t("first.reload", { error: error.message }));
    throw error;
  }
}

function notify(words) {
  byId("notice").textContent = words;
  byId("notice").hidden = false;
}

function introduce(about) {
  byId("index").max = about.test_images - 1;
  if (about.notice) notify(about.notice);
  byId("save").title = t("first.saves", { folder: about.folder });
  digits = about.digits;
  const any = digits ? "" : "Any";
  document.title = t(`first.title${any}`);
  say(document.querySelector(".claim"), `first.claim${any}`);
  say(byId("hint"), `first.hint${any}`);
  say(byId("take"), `first.take${any}`);
  return about;
}

function changed(start) {
  byId("hint").hidden = !pad.empty;
  byId("undo").disabled = byId("clear").disabled = pad.empty;
  if (!pad.image) {
    digit = label = null;
    state.set("digit", null);
    byId("source").textContent = ""; // it described another image
  }
  read(start);
}

// Have the drawing read; changes before the last answer arrives are read together.
function read(start) {
  if (pad.image && digit !== null) wanted = [{ digit }, start];
  else wanted = [pad.empty ? null : { pixels: pad.pixels() }, start];
  if (!reading && network) readOn();
}

async function readOn() {
  reading = true;
  while (wanted) {
    const [body, start] = wanted;
    wanted = null;
    try {
      const result = body ? await post("/api/read", body) : { blank: true, image: null, number: network.number };
      if (result.number !== network.number) await meet();
      if (result.number === network.number) show(result, start);
      else wanted ??= [body, start];
    } catch (error) {
      showNothing(error.message); // instead of the previous answer
      layers.show({ blank: true });
    }
  }
  reading = false;
}

function show(result, start) {
  showAnswer(result, network, label);
  layers.show(result);
  // Measure the time from the event to the picture, for the browser's timeline. The message
  // arrives when the frame has been painted.
  if (start === null || result.blank) return;
  requestAnimationFrame(() => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => {
      performance.clearMeasures("answer");
      performance.measure("answer", { start, end: performance.now() });
    };
    port2.postMessage(null);
  });
}

// Load another network's description.
async function meet() {
  network = await get("/api/network");
  layers.describe(network);
}

async function take(path) {
  const { index } = await get(path);
  if (index === null) byId("source").textContent = t("first.noneWrong");
  else await takeDigit(index);
}

async function takeDigit(index) {
  const result = await post("/api/read", { digit: index });
  pad.put(result.image);
  digit = index;
  label = result.label;
  state.set("digit", index);
  byId("index").value = index;
  byId("source").textContent = t(digits ? "first.testDigit" : "first.testImage",
    { index, name: result.name });
  changed(null);
}

// Show the test digit in the address, else one that is read rightly, if there is one.
async function begin() {
  if (!pad.empty) return; // somebody was faster
  const given = state.get("digit");
  if (given !== null && Number(given) <= Number(byId("index").max)) return takeDigit(Number(given));
  for (let index = 0; index < TRIES; index++) {
    const { digit: read, label: is } = await post("/api/read", { digit: index });
    if (read === is) return takeDigit(index);
  }
  return takeDigit(0);
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
byId("random").addEventListener("click", act(() => take("/api/digit?which=random")));
byId("wrong").addEventListener("click", act(() => take("/api/digit?which=wrong")));
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

await meet();
await act(begin)();
lessons.everything(await get("/api/training"));
listen(
  async (state) => {
    // Another server than before: reload everything.
    if (state.begun !== lessons.begun) location.reload();
    await lessons.update(state);
    if (state.reading !== network.number) await meet();
    read(null);
  },
  (error) => lessons.tell(error.message),
);
