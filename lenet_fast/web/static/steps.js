// How it computes: one unit at a time, from what it reads to its value. It steps along the units of a
// map, by hand or by itself.

import { colours, paintMap } from "./colours.js";
import { chosenStage, paintInput } from "./maps.js";
import { exportable } from "./picture.js";
import { state } from "./state.js";
import { local, say, t } from "./strings.js";
import { arranged, explain, field } from "./units.js";

const byId = (id) => document.getElementById(id);
const SPEEDS = [1, 2, 5, 10, 20, 60]; // units a second
const USUAL = 2; // the place of the speed if none is chosen
const MOST = 16; // parts; of more, those with the largest weights are shown, and the others as one
const LISTED = 8; // most sums in the formula
const TEN = 10; // the largest terms of many
const HEAD = { Conv2D: "weighted", Dense: "dense", Subsample2D: "coefficient", AvgPool2D: "average",
  MaxPool2D: "largest", RBF: "distance" };
const QUIET = 500; // milliseconds without a step before the formula is spoken

// What an activation computes, with its number put in.
const CURVES = {
  ScaledTanh: (x) => `${local("1.7159")} · tanh(⅔ · ${x})`,
  Tanh: (x) => `tanh(${x})`,
  Sigmoid: (x) => `1 ÷ (1 + e^−(${x}))`,
  ReLU: (x) => `max(0; ${x})`,
  LeakyReLU: (x, { slope }, value) => (value < 0 ? `${local(`${slope}`)} · ${x}` : x),
  ELU: (x, { alpha }, value) => (value < 0 ? `${local(`${alpha}`)} · (e^${x} − 1)` : x),
  GELU: (x) => `${x} · Φ(${x})`,
};

const still = matchMedia("(prefers-reduced-motion: reduce)");

export class Steps {
  constructor() {
    this.section = byId("steps");
    this.built = "";
    this.visible = false;
    this.frame = 0; // of the animation
    this.image = byId("unit-image");
    [this.faint, this.made] = byId("units").querySelectorAll("canvas");
    this.image.setAttribute("aria-label", t("steps.image"));
    exportable(byId("unit-picture"), () => `lenet-${this.stage?.name ?? "network"}-steps`);
    new IntersectionObserver(([entry]) => {
      this.visible = entry.isIntersecting;
      if (this.visible) this.paint();
    }).observe(this.section);
    for (const key of ["layer", "map", "speed", "play"]) state.on(key, () => this.later());
    for (const key of ["unit", "part"]) state.on(key, () => this.later(false));
    colours.on(() => this.paint());
    this.controls();
    // Who wants little motion starts it by hand.
    if (still.matches && state.get("play") === "1") state.set("play", "0");
  }

  // Show a reading, or with null that there is none.
  show(network, trace) {
    [this.network, this.trace] = [network, trace];
    this.paint();
  }

  controls() {
    byId("step-layer").addEventListener("change", ({ target }) => {
      for (const key of ["map", "unit", "part", "play"]) state.set(key, null);
      state.set("layer", target.value);
    });
    byId("step-map").addEventListener("change", ({ target }) => {
      state.set("layer", this.stage.name);
      state.set("map", target.value);
    });
    byId("unit-back").addEventListener("click", () => this.move(-1));
    byId("unit-next").addEventListener("click", () => this.move(1));
    byId("unit-play").addEventListener("click", () => this.toggle());
    byId("unit-speed").addEventListener("input", ({ target }) => state.set("speed", SPEEDS[target.value]));
    const units = byId("units");
    units.addEventListener("pointerdown", (event) => {
      if (event.button === 0) this.point(event);
    });
    units.addEventListener("pointermove", (event) => {
      if (event.buttons & 1) this.point(event);
    });
    units.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      const across = this.picture?.columns ?? 1;
      const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: across, ArrowUp: -across, Home: -Infinity, End: Infinity }[event.key];
      if (step) this.move(step);
      else if (event.key === " ") this.toggle();
      else if (event.key === "Escape" && state.get("play") !== null) state.set("play", null);
      else return;
      event.preventDefault();
      event.stopPropagation();
    });
  }

  get playing() {
    return state.get("play") === "1";
  }

  // Go on by some units; the map is then filled up to there.
  move(step) {
    if (!this.stage) return;
    if (!this.playing) state.set("play", 0);
    this.go(Math.max(0, Math.min(this.count - 1, this.at + step)));
  }

  go(at) {
    state.set("unit", this.tiled ? `${Math.floor(at / this.stage.shape[2])}.${at % this.stage.shape[2]}` : at);
  }

  toggle() {
    if (!this.stage) return;
    if (!this.playing && (state.get("play") === null || this.at === this.count - 1)) this.go(0);
    state.set("play", this.playing ? 0 : 1);
  }

  // Choose the unit under the pointer.
  point(event) {
    if (!this.stage) return;
    const box = this.made.getBoundingClientRect();
    const [x, y] = [(event.clientX - box.x) / box.width, (event.clientY - box.y) / box.height];
    const { rows, columns, places } = this.picture;
    if (x < 0 || x >= 1 || y < 0 || y >= 1) return;
    const at = places[Math.floor(y * rows) * columns + Math.floor(x * columns)];
    if (at < 0) return;
    state.set("play", null);
    this.go(at);
  }

  // Paint in the next frame, with all changes until then; not `all` if only the unit is another one.
  later(all = true) {
    this.all ||= all;
    this.due ||= requestAnimationFrame(() => this.paint(this.all));
  }

  paint(all = true) {
    cancelAnimationFrame(this.due);
    this.due = 0;
    this.all = false;
    if (!this.visible || !this.network) return;
    if (all || !this.built) {
      this.build();
      this.paintPictures();
    }
    this.step();
    if (this.playing && !this.frame) {
      this.last = performance.now();
      this.frame = requestAnimationFrame((now) => this.tick(now));
    }
  }

  // One frame of the animation: at most one unit, so that none is skipped.
  tick(now) {
    this.frame = 0;
    if (!this.playing || !this.visible) return;
    this.frame = requestAnimationFrame((next) => this.tick(next));
    const pause = 1000 / (still.matches ? Math.min(2, this.speed()) : this.speed());
    if (now - this.last < 0.95 * pause) return; // frames are not quite regular
    this.last = Math.max(this.last + pause, now - pause);
    if (this.at === this.count - 1) state.set("play", null);
    else this.go(this.at + 1);
  }

  speed() {
    return SPEEDS[SPEEDS.indexOf(Number(state.get("speed")))] ?? SPEEDS[USUAL];
  }

  // Read the address; build what depends on layer and map.
  build() {
    const { network } = this;
    const stages = [...network.stages, network.answer];
    const k = chosenStage(network);
    const stage = stages[k];
    const [count, rows, columns] = stage.shape;
    this.tiled = rows * columns > 1;
    const map = this.tiled && Number(state.get("map")) in [...Array(count)] ? Number(state.get("map")) : 0;
    const built = `${JSON.stringify([stages, network.classes])} ${k} ${map}`;
    if (built === this.built) return;
    this.built = built;
    [this.stage, this.map, this.before, this.isAnswer] = [stage, map, stages[k - 1] ?? null, stage === network.answer];
    this.picture = arranged(this.tiled ? [1, rows, columns] : stage.shape);
    this.count = this.tiled ? rows * columns : count;
    options(byId("step-layer"), stages.map(({ name }) => [name, name]), stage.name);
    options(byId("step-map"), this.tiled ? [...Array(count).keys()].map((each) => [each, each]) : [["–", ""]], this.tiled ? map : "");
    byId("step-map").disabled = !this.tiled;
    for (const canvas of [this.faint, this.made]) [canvas.width, canvas.height] = [this.picture.columns, this.picture.rows];
    [this.image.height, this.image.width] = network.input_shape.slice(1);
    fit(byId("units"), this.picture);
    fit(this.image.parentElement, { rows: this.image.height, columns: this.image.width });
    this.buildParts();
    const words = { name: stage.name, map, count: this.count };
    byId("unit-map").textContent = t(this.tiled ? "steps.ofMap" : "steps.ofUnits", words);
  }

  buildParts() {
    const { network, stage } = this;
    const layer = network.layers[stage.first];
    const { parts } = explain(network, null, stage, [this.map, 0, 0]);
    const norms = parts.map(({ weights }) => weights?.reduce((sum, w) => sum + w * w, 0) ?? 0);
    const kept = norms.map((_, k) => k).sort((a, b) => norms[b] - norms[a]).slice(0, parts.length > MOST ? MOST - 1 : MOST);
    this.kept = kept.sort((a, b) => a - b);
    this.parts = this.kept.map((k) => this.buildPart(parts[k], layer.before));
    const box = byId("parts");
    box.dataset.size = this.parts.length > 6 ? "many" : this.parts.length > 1 ? "few" : "one";
    box.replaceChildren(...this.parts.map(({ element }) => element));
    this.others = null;
    if (kept.length < parts.length) {
      this.others = make("p", "others");
      box.append(this.others);
    }
    const key = HEAD[layer.type] ?? "same";
    const feeding = this.before?.name ?? t("maps.image");
    say(byId("parts-head"), `steps.${key}`, { count: key === "weighted" ? parts.length : parts[0]?.values.length ?? 1, name: feeding });
    this.buildCloser(parts[0], layer);
  }

  buildPart(part, [, rows, columns]) {
    const all = part.map === null;
    const element = make(all ? "div" : "button", "part");
    const made = { element, map: part.map };
    const picture = (className) => {
      const canvas = make("canvas");
      const box = make("span", `framed ${className}`);
      box.append(canvas);
      element.append(box);
      return canvas;
    };
    if (all) {
      made.picture = arranged(this.network.layers[this.stage.first].before);
    } else {
      element.type = "button";
      element.setAttribute("aria-label", t("steps.part", { map: part.map }));
      element.addEventListener("click", () => state.set("part", part.map));
      if (part.high < rows || part.wide < columns) {
        made.from = picture("from");
        [made.from.height, made.from.width] = [rows, columns];
        made.frame = make("i", "frame");
        made.from.parentElement.append(made.frame);
        fit(made.from.parentElement, { rows, columns });
      }
    }
    const [high, wide] = all ? [made.picture.rows, made.picture.columns] : part.shape;
    const sized = (className) => {
      const canvas = picture(className);
      [canvas.height, canvas.width] = [high, wide];
      fit(canvas.parentElement, { rows: high, columns: wide });
      return canvas;
    };
    made.window = sized("window");
    if (part.weights) {
      element.append(sign(this.network.layers[this.stage.first].type === "RBF" ? "−" : "×"));
      made.weights = sized("kernel");
    }
    if (all) {
      element.append(sign("→"));
      made.terms = sized("terms");
    }
    element.append(sign("="));
    made.sum = make("b", "number");
    made.bar = make("i", "bar");
    element.append(made.sum, made.bar);
    return made;
  }

  buildCloser(part, layer) {
    const box = byId("closer");
    this.grids = this.list = null;
    if (!part) box.replaceChildren();
    else if (part.map === null) {
      this.list = make("ol");
      this.list.append(...Array.from({ length: Math.min(TEN, part.values.length) }, () => make("li")));
      const head = make("p", "note");
      head.textContent = t(layer.type === "RBF" ? "steps.squares10" : "steps.products10", { count: part.values.length });
      this.rest = make("p", "note");
      box.replaceChildren(head, this.list, this.rest);
    } else {
      const figure = (before) => {
        const element = make("figure");
        const canvas = make("canvas");
        canvas.setAttribute("role", "img");
        const caption = make("figcaption");
        element.append(canvas, caption);
        return { element, canvas, caption, sign: before && sign(before) };
      };
      this.grids = [figure()];
      if (part.weights) this.grids.push(figure("×"), figure("="));
      const note = make("p", "note");
      if (layer.padding?.some(Boolean)) note.textContent = t("steps.border", { value: number(layer.pad_value, 1) });
      const grids = make("div", "grids");
      grids.append(...this.grids.flatMap((each) => (each.sign ? [each.sign, each.element] : [each.element])));
      box.replaceChildren(grids, note);
    }
  }

  // Where in the order of its map the chosen unit is, and the unit as [map, row, column].
  unit() {
    const { stage: { shape: [count, rows, columns] }, trace } = this;
    const [, row, column] = /^(\d+)(?:\.(\d+))?$/.exec(state.get("unit") ?? "") ?? [];
    if (!this.tiled) {
      const usual = this.isAnswer ? trace?.digit ?? 0 : 0;
      const at = row !== undefined && column === undefined && row < count ? Number(row) : usual;
      return [at, [at, 0, 0]];
    }
    const [y, x] = row < rows && column < columns ? [Number(row), Number(column)] : [rows >> 1, columns >> 1];
    return [y * columns + x, [this.map, y, x]];
  }

  // Paint what does not depend on the unit.
  paintPictures() {
    const { network, trace, stage, before, map } = this;
    paintInput(this.image, trace?.input, network.pixel_range);
    const [, rows, columns] = stage.shape;
    const out = trace?.outputs[stage.last];
    this.limit = trace ? network.limit(trace, stage) : 1;
    const ends = network.pixel_range.map(Math.abs);
    this.limitBefore = !before ? Math.max(...ends) : trace ? network.limit(trace, before) : 1;
    this.values = out && (this.tiled ? out.subarray(map * rows * columns, (map + 1) * rows * columns) : out);
    paintPlaces(this.faint, this.picture, this.values, this.limit);
    const size = network.layers[stage.first].before[1] * network.layers[stage.first].before[2];
    const x = before ? trace?.outputs[before.last] : trace?.input;
    for (const part of this.parts) {
      if (!part.from) continue;
      const values = x?.subarray(part.map * size, (part.map + 1) * size);
      if (before) paintMap(part.from, values, this.limitBefore);
      else paintInput(part.from, values, network.pixel_range);
    }
    byId("unit-speed").value = SPEEDS.indexOf(this.speed());
    byId("unit-speed").setAttribute("aria-valuetext", t("steps.perSecond", { count: this.speed() }));
    byId("unit-speed").title = t("steps.perSecond", { count: this.speed() });
    byId("unit-play").textContent = t(this.playing ? "steps.pause" : "steps.play");
    byId("unit-play").setAttribute("aria-pressed", this.playing);
    this.section.style.setProperty("--glide", `${Math.min(150, 500 / this.speed())}ms`);
    this.section.classList.toggle("filling", state.get("play") !== null);
  }

  // Show the chosen unit.
  step() {
    const { network, trace, stage } = this;
    const [at, unit] = this.unit();
    this.at = at;
    const filled = state.get("play") === null ? this.count : at + 1;
    paintPlaces(this.made, this.picture, this.values, this.limit, filled);
    const cell = this.picture.places.indexOf(at);
    put(byId("units").querySelector(".frame"), this.picture, [Math.floor(cell / this.picture.columns), cell % this.picture.columns, 1, 1]);
    const found = explain(network, trace, stage, unit);
    const parts = this.kept.map((k) => found.parts[k]);
    const most = Math.max(1e-9, ...parts.map(({ sum }) => Math.abs(sum)).filter(Number.isFinite));
    const chosen = Math.max(0, parts.findIndex(({ map }) => `${map}` === state.get("part")));
    parts.forEach((part, k) => this.paintPart(this.parts[k], part, found, most, k === chosen && parts.length > 1));
    this.showField(unit);
    const words = { name: stage.name, map: unit[0], row: unit[1], column: unit[2], unit: this.isAnswer ? network.classes[unit[0]] : unit[0] };
    const name = t(this.tiled ? "steps.pixel" : this.isAnswer ? "steps.class" : "steps.unit", words);
    byId("unit-name").textContent = name;
    if (this.others) {
      const rest = found.parts.filter((_, k) => !this.kept.includes(k));
      this.others.textContent = `${t("steps.others", { count: rest.length })}: ${number(rest.reduce((sum, part) => sum + part.sum, 0))}`;
    }
    if (parts[chosen]) this.paintCloser(parts[chosen], found);
    const pieces = formula(found, !this.before);
    write(byId("formula"), pieces);
    this.speak(`${name}: ${pieces.map(([, text, label]) => (label ? `${label} ${text}` : text)).join(" ")}`);
  }

  // Announce the formula when nothing has changed for a while.
  speak(text) {
    clearTimeout(this.quiet);
    this.quiet = setTimeout(() => {
      if (!this.playing && byId("unit-spoken").textContent !== text) byId("unit-spoken").textContent = text;
    }, QUIET);
  }

  showField(unit) {
    const box = field(this.network, this.stage, unit);
    const frame = this.image.parentElement.querySelector(".frame");
    frame.hidden = !box;
    if (box) {
      const [top, bottom, left, right] = box;
      put(frame, { rows: this.image.height, columns: this.image.width }, [top, left, bottom - top, right - left]);
      byId("unit-sees").textContent = t("steps.sees", { rows: bottom - top, columns: right - left });
    } else byId("unit-sees").textContent = t("steps.seesNothing");
  }

  paintPart(made, part, { way, weight }, most, chosen) {
    const places = made.picture ?? null;
    const draw = (canvas, values, limit) => {
      if (places) paintPlaces(canvas, places, values, limit);
      else paintMap(canvas, values, limit);
    };
    const grey = !this.before;
    if (grey && places === null) paintInput(made.window, this.trace && part.values, this.network.pixel_range);
    else draw(made.window, part.values, this.limitBefore);
    if (made.weights) draw(made.weights, part.weights, weight);
    if (made.terms) draw(made.terms, part.terms, this.termLimit(way, weight));
    if (made.frame) put(made.frame, { rows: made.from.height, columns: made.from.width }, [part.top, part.left, part.high, part.wide]);
    made.sum.textContent = number(way === "largest" ? Math.max(...part.values) : part.sum);
    const share = Number.isFinite(part.sum) ? part.sum / most : 0;
    made.bar.style.transform = `scaleX(${share})`;
    made.bar.style.backgroundColor = colours.css(Math.sign(share) * 0.6, 1);
    if (part.map !== null) made.element.setAttribute("aria-pressed", chosen);
  }

  termLimit(way, weight) {
    return way === "distance" ? (2 * weight) ** 2 : 0.5 * this.limitBefore * weight;
  }

  paintCloser(part, { way, weight }) {
    if (this.list) {
      this.listTerms(part, way);
      return;
    }
    const feeding = this.before?.name;
    const [window_, kernel, products] = this.grids;
    const marked = way === "largest" ? [...part.values.keys()].filter((k) => part.values[k] === Math.max(...part.values)) : [];
    if (marked.length && this.network.layers[this.stage.first].ties !== "all") marked.length = 1;
    const paper = this.before ? null : this.network.pixel_range;
    grid(window_.canvas, part.values, part.shape, this.limitBefore, { marked, paper });
    window_.caption.textContent = t(feeding ? "steps.windowOf" : "steps.windowOfImage", { name: feeding, map: part.map });
    window_.canvas.setAttribute("aria-label", window_.caption.textContent);
    if (!kernel) return;
    grid(kernel.canvas, part.weights, part.shape, weight);
    kernel.caption.textContent = t("steps.kernel");
    kernel.canvas.setAttribute("aria-label", kernel.caption.textContent);
    grid(products.canvas, part.terms, part.shape, this.termLimit(way, weight));
    products.caption.textContent = t("steps.products", { sum: number(part.sum) });
    products.canvas.setAttribute("aria-label", products.caption.textContent);
  }

  // List the largest terms of many.
  listTerms({ terms, values, weights, sum }, way) {
    const size = (k) => (Number.isNaN(terms[k]) ? -1 : Math.abs(terms[k]));
    const order = [...terms.keys()].sort((a, b) => size(b) - size(a)).slice(0, TEN);
    const [, rows, columns] = this.network.layers[this.stage.first].before;
    let left = sum;
    order.forEach((k, place) => {
      const [map, row, column] = [Math.floor(k / (rows * columns)), Math.floor(k / columns) % rows, k % columns];
      const name = this.before?.name ?? t("maps.image");
      const where = rows * columns > 1 ? t("steps.pixel", { name, map, row, column }) : t("steps.unit", { name, unit: k });
      const [x, w, term] = [values[k], weights[k], terms[k]].map((each) => number(each, 2));
      const what = way === "distance" ? `(${x} − ${signed(w)})² = ${term}` : `${x} × ${signed(w)} = ${term}`;
      this.list.children[place].textContent = `${where}: ${what}`;
      left -= terms[k];
    });
    const count = terms.length - order.length;
    this.rest.textContent = count ? `${t("steps.rest", { count })}: ${number(left, 2)}` : "\u00a0";
  }
}

// Return a formula as pieces: [class, text, what it is]. `image`: whether the unit reads the image.
function formula({ way, parts, factor, bias, sum, chain }, image) {
  const pieces = [];
  const add = (text, label, className = "number") => pieces.push([className, text, label]);
  const sums = (values, labels) => {
    if (values.length > LISTED) {
      add(number(values.reduce((all, each) => all + each, 0)), t("steps.sumOf", { count: values.length }));
      return;
    }
    values.forEach((value, k) => {
      if (k) add(value < 0 ? "−" : "+", "", "sign");
      add(number(k ? Math.abs(value) : value), labels?.[k]);
    });
  };
  const plus = (value) => {
    add(value < 0 ? "−" : "+", "", "sign");
    add(number(Math.abs(value)), t("steps.bias"));
  };
  const many = parts[0]?.map === null;
  if (way === "weighted" || way === "distance") {
    const count = parts[0].terms.length;
    if (many) add(way === "distance" ? "Σ (x − w)²" : number(parts[0].sum), t("steps.sumOf", { count }));
    else sums(parts.map((part) => part.sum), parts.map(({ map }) => (image ? t("maps.image") : t("steps.mapNumber", { map }))));
    if (way === "weighted") plus(bias);
  } else if (way === "coefficient") {
    add("(", "", "sign");
    sums([...parts[0].values]);
    add(")", "", "sign");
    add("×", "", "sign");
    add(number(factor), t("steps.coefficient1"));
    if (bias) plus(bias);
  } else if (way === "largest") {
    const values = [...parts[0].values];
    add(values.length > LISTED ? "max(…)" : `max(${values.map((value) => number(value)).join("; ")})`);
  }
  if (way !== "same") add("=", "", "sign");
  const last = chain.length === 0;
  add(number(sum), t(last ? (way === "distance" ? "steps.penalty" : "steps.value") : "steps.sum"), last ? "number sum value" : "number sum");
  chain.forEach(({ layer, value }, k) => {
    const x = k ? chain[k - 1].value : sum;
    add("→", "", "sign");
    const curve = CURVES[layer.type];
    add(curve ? curve(number(x), layer, x) : number(x), curve ? t("steps.activation") : t("steps.training"), "number curve");
    add("=", "", "sign");
    const end = k === chain.length - 1;
    add(number(value), end ? t("steps.value") : "", end ? "number value" : "number");
  });
  return pieces;
}

// Write pieces into an element; those that are there already only get other texts.
function write(box, pieces) {
  while (box.children.length > pieces.length) box.lastChild.remove();
  pieces.forEach(([className, text, label], k) => {
    let each = box.children[k];
    if (!each) {
      each = make("span");
      each.append(make("b"), make("small"));
      box.append(each);
    }
    each.className = className;
    each.firstChild.textContent = text;
    each.lastChild.textContent = label ?? "";
  });
}

function number(value, digits = 3) {
  if (Number.isNaN(value)) return "–";
  if (!Number.isFinite(value)) return value < 0 ? "−∞" : "∞";
  const size = Math.abs(value);
  if (size >= 1e5) return local(value.toExponential(1));
  return local(value.toFixed(size >= 100 ? Math.min(1, digits) : digits).replace(/^-(?=[0.]+$)/, ""));
}

// Return a number that follows a sign.
function signed(text) {
  return text.startsWith("−") ? `(${text})` : text;
}

// Paint the first `filled` of some values where a picture has them.
function paintPlaces(canvas, { places }, values, limit, filled = Infinity) {
  const ordered = Float32Array.from(places, (at) => (at < 0 || at >= filled || !values ? NaN : values[at]));
  paintMap(canvas, ordered, limit);
}

// Put a frame around [top, left, rows, columns] of a picture.
function put(frame, { rows, columns }, [top, left, high, wide]) {
  frame.style.width = `${(100 * wide) / columns}%`;
  frame.style.height = `${(100 * high) / rows}%`;
  frame.style.transform = `translate(${(100 * left) / wide}%, ${(100 * top) / high}%)`;
}

// Give an element the sides of a picture.
function fit(element, { rows, columns }) {
  element.style.aspectRatio = `${columns} / ${rows}`;
  element.classList.toggle("upright", rows > columns);
}

// Paint a window with its numbers; the style says how high the whole is, and the letters are, in rem.
function grid(canvas, values, [rows, columns], limit, { marked = [], paper = null } = {}) {
  const rem = parseFloat(getComputedStyle(document.documentElement).fontSize);
  const style = getComputedStyle(canvas);
  const [most, letters] = ["--most", "--letters"].map((name) => parseFloat(style.getPropertyValue(name)));
  const high = Math.min(3.2, most / Math.max(rows, columns));
  const numbered = high >= 1.85;
  const wide = numbered ? Math.max(high, 3.3 * letters) : high;
  const scale = devicePixelRatio;
  const [width, height] = [columns * wide, rows * high].map((side) => Math.round(side * rem * scale));
  if (canvas.width !== width || canvas.height !== height) {
    [canvas.width, canvas.height] = [width, height];
    [canvas.style.width, canvas.style.height] = [`${width / scale}px`, `${height / scale}px`];
  }
  const context = canvas.getContext("2d");
  context.font = `${letters * rem * scale}px system-ui, sans-serif`;
  [context.textAlign, context.textBaseline] = ["center", "middle"];
  values.forEach((value, k) => {
    const [x, y] = [k % columns, Math.floor(k / columns)];
    const [left, top, right, bottom] = [x, y, x + 1, y + 1].map((each, side) => Math.round((each * [width, height][side % 2]) / [columns, rows][side % 2]));
    if (Number.isNaN(value)) {
      context.clearRect(left, top, right - left, bottom - top);
      return;
    }
    const ground = paper ? grey(value, paper) : colours.css(value, limit);
    context.fillStyle = ground;
    context.fillRect(left, top, right - left, bottom - top);
    if (!numbered) return;
    context.fillStyle = isLight(ground) ? "#000" : "#fff";
    context.fillText(number(value, limit < 0.2 ? 3 : 2).replace(/^(−?)0(?=[.,])/, "$1"), (left + right) / 2, (top + bottom) / 2);
    if (marked.includes(k)) {
      context.strokeStyle = context.fillStyle;
      context.lineWidth = 3 * scale;
      context.strokeRect(left + 2 * scale, top + 2 * scale, right - left - 4 * scale, bottom - top - 4 * scale);
    }
  });
}

function grey(value, [paper, ink]) {
  const light = Math.round(Math.max(0, Math.min(255, 255 - (255 * (value - paper)) / (ink - paper))));
  return `rgb(${light}, ${light}, ${light})`;
}

// Whether black is easier to read on a colour than white.
function isLight(colour) {
  const [red, green, blue] = colour.match(/\d+/g).map((each) => (each / 255) ** 2.2);
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.179;
}

function options(select, all, chosen) {
  select.replaceChildren(...all.map(([text, value]) => new Option(text, value, false, `${value}` === `${chosen}`)));
}

function sign(text) {
  const element = make("span", "sign");
  element.textContent = text;
  return element;
}

function make(tag, className = "") {
  const element = document.createElement(tag);
  element.className = className;
  return element;
}
