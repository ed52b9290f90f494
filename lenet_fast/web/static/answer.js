// The answer: a large digit or name, the runner-up, bars of up to ten classes, the best ones of
// more, and the network's input image.

import { local, say, t } from "./strings.js";

const byId = (id) => document.getElementById(id);
const rows = [];
let quiet = 0;

for (let k = 0; k < 10; k++) {
  const row = document.createElement("li");
  row.innerHTML = "<span></span><span class=bar aria-hidden=true><span></span></span><span class=value></span>";
  row.firstChild.textContent = k;
  byId("bars").append(row);
  rows.push(row);
}

// Return the classes of the rows, in their order: of more than ten, those that are likely.
function listed(values, network) {
  const all = values.map((_, k) => k);
  if (all.length <= rows.length) return all;
  const sign = network.smallest_wins ? 1 : -1;
  return all.sort((a, b) => sign * (values[a] - values[b])).slice(0, rows.length);
}

// Give the rows the names of classes, and long names more room.
function nameRows(classes) {
  byId("bars").classList.toggle("long", classes.some((name) => name.length > 2));
  rows.forEach((row, k) => {
    row.hidden = k >= classes.length;
    row.firstChild.textContent = classes[k] ?? "";
    row.firstChild.title = classes[k] ?? "";
  });
}

// Name the classes and their values.
export function introduce(network) {
  if (network.classes.length <= rows.length) nameRows(network.classes);
  say(byId("value-name"), `first.${network.output}`);
}

export function format(value, network) {
  if (network.output === "softmax") return `${local((100 * value).toFixed(1))} %`;
  if (Math.abs(value) >= 1e6) return local(value.toExponential(1));
  const digits = value.toFixed(network.output === "rbf" ? 1 : 2);
  return local(digits.replace(/^-(?=[0.]+$)/, "")); // no "-0.00"
}

// Announce it when nothing has changed for a while, not at every move of the pen.
function announce(text) {
  clearTimeout(quiet);
  quiet = setTimeout(() => {
    if (byId("spoken").textContent !== text) byId("spoken").textContent = text;
  }, 700);
}

// Show what a network makes of an image; if the right class is known, whether that is it.
export function showAnswer(trace, network) {
  if (trace.digit === null) {
    showNothing(t("first.notFinite"));
    return;
  }
  paintGrey(byId("prepared"), trace.image);
  const { digit, second, values } = trace;
  const words = values.map((value) => format(value, network));
  const { classes } = network;
  byId("digit").textContent = classes[digit];
  byId("digit").classList.toggle("long", classes[digit].length > 2);
  byId("second").textContent = t("first.second", { name: classes[second], value: words[second] });
  const verdict = showVerdict(trace.known ? trace.known.label === digit : null,
    { read: classes[digit], label: trace.known?.name });
  announce([t("first.spoken", { first: classes[digit], second: classes[second] }), verdict].join(" "));
  const low = Math.min(0, ...values);
  const high = network.output === "softmax" ? 1 : Math.max(...values);
  const shown = listed(values, network);
  nameRows(shown.map((k) => classes[k]));
  shown.forEach((k, place) =>
    showRow(rows[place], (values[k] - low) / (high - low || 1), words[k], k === digit));
}

// Mark a right or wrong answer; right is null where nobody knows. Return what it says.
function showVerdict(right, values = {}) {
  const words = right === null ? "" : t(right ? "first.right" : "first.misread", values);
  byId("verdict").textContent = words;
  byId("answer").classList.toggle("right", right === true);
  byId("answer").classList.toggle("misread", right === false);
  return words;
}

// Show no answer, and the reason.
export function showNothing(why, spoken = why) {
  paintGrey(byId("prepared"), null);
  byId("digit").textContent = "–";
  byId("digit").classList.remove("long");
  byId("second").textContent = why;
  showVerdict(null);
  announce(spoken);
  rows.forEach((row) => showRow(row, 0, "", false));
}

function showRow(row, share, text, first) {
  row.children[1].firstChild.style.width = `${100 * share}%`;
  row.children[2].textContent = text;
  row.classList.toggle("first", first);
}

// Dark on white in every theme, as in the files.
export function paintGrey(canvas, image) {
  const context = canvas.getContext("2d");
  if (!image) {
    context.clearRect(0, 0, canvas.width, canvas.height);
    return;
  }
  [canvas.width, canvas.height] = [image.columns, image.rows];
  const picture = context.createImageData(canvas.width, canvas.height);
  image.pixels.forEach((grey, k) => {
    picture.data.fill(255 - grey, 4 * k, 4 * k + 3);
    picture.data[4 * k + 3] = 255;
  });
  context.putImageData(picture, 0, 0);
}
