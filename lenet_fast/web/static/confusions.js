// Which class is taken for which: the table, and the images of its cells.

import { colours } from "./colours.js";
import { Gallery, moveByKeys, reach } from "./gallery.js";
import { confusions, listed } from "./probes.js";
import { state } from "./state.js";
import { local, say, t, whole } from "./strings.js";

const MANY = 12; // more classes than this have cells without numbers

const byId = (id) => document.getElementById(id);

export class Confusions {
  constructor(shared) {
    this.source = shared.source;
    this.gallery = new Gallery(byId("cell-digits"), shared);
    moveByKeys(byId("matrix"));
    byId("all-errors").addEventListener("click", () => state.set("cell", null));
    state.on("cell", () => this.choose());
    colours.on(() => this.colour());
  }

  // Show what a network reads in the test images.
  async show(network, trace, changed) {
    if (!changed) return;
    const found = await this.source.predictions();
    [this.network, this.found] = [network, found];
    this.build();
    this.choose();
  }

  build() {
    const { classes } = this.network;
    this.counts = confusions(this.found, classes.length);
    const errors = this.counts.flatMap((row, label) => [...row].filter((_, read) => read !== label));
    this.most = Math.max(1, ...errors);
    const wrong = errors.reduce((sum, count) => sum + count, 0);
    const lost = this.found.first.filter((each) => each < 0).length;
    const count = this.found.labels.length;
    byId("confused").textContent = t("fails.confused",
      { count: whole(wrong), all: whole(count), rate: local(((100 * wrong) / count).toFixed(2)) }) +
      (lost ? ` ${t("fails.lost", { count: lost })}` : "");
    const matrix = byId("matrix");
    matrix.classList.toggle("many", classes.length > MANY);
    matrix.classList.toggle("long", classes.some((name) => name.length > 2));
    if (matrix.rows.length !== classes.length + 1 || this.named !== classes.join()) this.make(classes);
    this.counts.forEach((row, label) => row.forEach((count, read) => {
      const button = this.cell(label, read);
      button.textContent = count && classes.length <= MANY ? count : "";
      button.title = this.name([label, read]);
      button.setAttribute("aria-label", button.title);
    }));
    this.colour();
  }

  make(classes) {
    this.named = classes.join();
    const head = (name, scope) => {
      const cell = document.createElement("th");
      const words = document.createElement("span");
      words.textContent = name;
      cell.scope = scope;
      cell.title = name;
      cell.append(words);
      return cell;
    };
    const line = (...cells) => {
      const row = document.createElement("tr");
      row.append(...cells);
      return row;
    };
    const corner = document.createElement("td");
    const cells = (label) => classes.map((_, read) => {
      const [cell, button] = [document.createElement("td"), document.createElement("button")];
      button.type = "button";
      button.addEventListener("click", () => state.set("cell", `${label}.${read}`));
      cell.append(button);
      return cell;
    });
    byId("matrix").replaceChildren(
      line(corner, ...classes.map((name) => head(name, "col"))),
      ...classes.map((name, label) => line(head(name, "row"), ...cells(label))),
    );
  }

  cell(label, read) {
    return byId("matrix").rows[label + 1].cells[read + 1].firstChild;
  }

  colour() {
    this.counts?.forEach((row, label) => row.forEach((count, read) => {
      const { style } = this.cell(label, read);
      const shade = colours.css(Math.sqrt(count / this.most), 1);
      const plain = label === read || !count;
      style.backgroundColor = plain ? "" : shade;
      style.color = plain ? "" : readable(shade);
      this.cell(label, read).classList.toggle("same", label === read);
    }));
  }

  name([label, read]) {
    const { classes } = this.network;
    const count = this.counts[label][read];
    return t(label === read ? "fails.cellRight" : "fails.cell",
      { label: classes[label], read: classes[read], count });
  }

  // Show the images of the cell in the address, or all that are misread.
  async choose() {
    if (!this.found) return;
    const { classes } = this.network;
    const cell = state.get("cell")?.split(".").map(Number);
    const chosen = cell?.length === 2 && cell.every((each) => each in classes) ? cell : null;
    byId("matrix").querySelector("[aria-pressed=true]")?.setAttribute("aria-pressed", false);
    if (chosen) this.cell(...chosen).setAttribute("aria-pressed", true);
    reach(byId("matrix"), chosen ? this.cell(...chosen) : undefined);
    const right = chosen && chosen[0] === chosen[1];
    byId("cell-name").textContent = chosen ? this.name(chosen) : t("fails.allErrors");
    say(byId("cell-order"), right ? "fails.doubtful" : "fails.surest");
    byId("all-errors").disabled = !chosen;
    await this.gallery.show(listed(this.found, chosen), (index) => describe(index, this.found, classes));
  }
}

// Return what is said of a test image: {caption, label, wrong}.
export function describe(index, { labels, first, margins }, classes) {
  const wrong = labels[index] !== first[index];
  const values = { index, label: classes[labels[index]], read: classes[first[index]] ?? "–",
    margin: local(margins[index].toFixed(2)) };
  return {
    caption: wrong ? t("fails.pair", values) : values.label,
    label: t(wrong ? "fails.itemWrong" : "fails.itemRight", values),
    wrong,
  };
}

// Return black or white, whichever is easier to read on a colour.
function readable(colour) {
  const [r, g, b] = colour.match(/\d+/g).map((byte) => (byte / 255) ** 2.2);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b > 0.18 ? "#000" : "#fff";
}
