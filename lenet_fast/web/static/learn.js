// Training: settings, progress, what changes, and runs overlaid.

import { get, post, Refused } from "./api.js";
import { draw, thousands } from "./chart.js";
import { exportable } from "./picture.js";
import { state } from "./state.js";
import { local, t, whole } from "./strings.js";
import { Weights, Update } from "./weights.js";

const byId = (id) => document.getElementById(id);
const percent = (share, digits) => `${local((100 * share).toFixed(digits))} %`;
const short = (number) => `${Number(number.toPrecision(3))}`;
const name = (value) => t(`learn.${value}`);
const COLOURS = 8; // of runs, which the server keeps so many of
const TOO_HIGH = 30; // times the usual rate
const NOTHING = 0.95; // times the errors of guesses: nothing has been learned
const ACTIVE = ["waiting", "running", "paused"];

export class Lessons {
  constructor(about) {
    this.about = about;
    this.runs = new Map();
    this.rows = new Map();
    this.form = byId("lesson").elements;
    this.version = -1;
    this.told = null;
    this.weights = new Weights(byId("weights"));
    this.change = new Update(byId("update"));
    this.setUp(about);
    byId("lesson").addEventListener("submit", (event) => { event.preventDefault(); this.start(false); });
    for (const action of ["stop", "step"]) byId(action).addEventListener("click", () => this[action]());
    byId("pause").addEventListener("click", () => this.act(() => (
      post(this.run.state === "paused" ? "/api/go_on" : "/api/pause"))));
    byId("save").addEventListener("click", () => this.act(async () => {
      byId("told").textContent = t("learn.saved", await post("/api/save"));
    }));
    byId("rate-now").addEventListener("change", ({ target }) => this.act(async () => {
      if (target.value) await post("/api/rate", { rate: this.checked(target) });
    }));
    byId("network").addEventListener("change", (event) => this.act(async () => {
      this.everything(await post("/api/use", { number: Number(event.target.value) }));
    }));
    state.on("hide", () => this.compare());
    new ResizeObserver(() => this.compare()).observe(byId("chart"));
    exportable(byId("charts"), () => `lenet-runs`);
  }

  // ------------------------------------------------------------------ settings

  setUp(about) {
    const { form } = this;
    fill(form.recipe, [["", t("learn.own")], ...about.recipes.map(({ value }) => [value, name(`recipe-${value}`)]),
      ["tooHigh", t("learn.tooHigh")]]);
    fill(form.model, about.models.map(({ value }) => [value, name(value)]));
    fill(form.engine, about.engines.map((engine) => [engine, name(engine)]));
    fill(form.distort, ["elastic", "paper", "none"].map((each) => [each, name(`distort-${each}`)]));
    fill(form.schedule, about.schedules.map((each) => [each, name(each)]));
    fill(form.data, [["page", t("learn.pageData")], ["zip", t("learn.zip")]]);
    form.data.closest("label").hidden = !about.zip_codes;
    form.epochs.max = about.max_epochs;
    form.rate.max = byId("rate-now").max = about.max_rate;
    form.epochs.value = about.epochs;
    form.recipe.addEventListener("change", () => this.offerRecipe());
    form.model.addEventListener("change", () => {
      form.distort.value = form.model.value === "lenet1989" ? "none" : "elastic"; // meant for 28 x 28
      this.own();
      this.offerOutputs();
    });
    for (const each of ["output", "distort", "schedule"]) form[each].addEventListener("change", () => this.own());
    form.schedule.addEventListener("change", () => this.offerWarmup());
    form.output.addEventListener("change", () => this.offerRate());
    form.engine.addEventListener("change", () => { this.offerRate(); this.offerSteps(); });
    this.offerOutputs();
    this.offerWarmup();
    this.offerSteps();
  }

  own() {
    this.form.recipe.value = "";
  }

  get recipe() {
    return this.about.recipes.find(({ value }) => value === this.form.recipe.value);
  }

  offerRecipe() {
    const { form, recipe } = this;
    if (recipe) {
      form.model.value = recipe.model;
      this.offerOutputs();
      for (const each of ["output", "distort", "schedule", "epochs"]) form[each].value = recipe[each];
    } else if (form.recipe.value === "tooHigh") {
      form.schedule.value = "constant";
    }
    this.offerWarmup();
    this.offerRate();
  }

  offerOutputs() {
    const { outputs } = this.about.models.find(({ value }) => value === this.form.model.value);
    fill(this.form.output, outputs.map((each) => [each, name(each)]));
    this.offerRate();
  }

  offerWarmup() {
    const { form, recipe } = this;
    const usual = this.about.warmups[form.schedule.value];
    form.warmup.closest("label").hidden = form.warmup.disabled = usual === undefined;
    form.warmup.value = short(100 * (recipe?.warmup ?? usual ?? 0));
  }

  offerRate() {
    const { form, recipe } = this;
    const rates = recipe?.rates ?? this.about.rates[form.output.value];
    const times = form.recipe.value === "tooHigh" ? TOO_HIGH : 1;
    form.rate.value = short(times * rates[form.engine.value]);
  }

  offerSteps() {
    const one = this.active ? this.run.batch_size === 1 : this.form.engine.value === "online";
    byId("step").textContent = t(one ? "learn.oneImage" : "learn.oneBatch");
  }

  // ------------------------------------------------------------------ actions

  get active() {
    return ACTIVE.includes(this.run?.state);
  }

  async act(what) {
    try {
      await what();
    } catch (error) {
      byId("told").textContent = error.message;
    }
  }

  // Return the rate in a field; browsers' own checks know no open limit.
  checked({ value, max }) {
    const rate = Number(value);
    if (!(rate > 0 && rate <= Number(max))) throw new Refused(t("learn.wrongRate", { max }));
    return rate;
  }

  start(paused) {
    const { model, output, engine, distort, schedule, warmup, rate, epochs, data } = this.form;
    const lesson = () => ({
      model: model.value, output: output.value, engine: engine.value, distort: distort.value,
      schedule: schedule.value, warmup: Number(warmup.value) / 100, rate: this.checked(rate),
      epochs: Number(epochs.value), data: data.value,
      recipe: this.recipe?.value ?? "", paused,
    });
    byId("told").textContent = "\u00a0";
    document.querySelector(".progress").scrollIntoView({ block: "nearest" });
    return this.act(async () => this.everything(await post("/api/training", lesson())));
  }

  stop() {
    return this.act(() => post("/api/stop"));
  }

  async step() {
    if (!this.active) {
      if (!byId("lesson").reportValidity()) return;
      await this.start(true);
    }
    await this.act(() => post("/api/step"));
  }

  // ------------------------------------------------------------------ progress

  // Show a network's weights; called whenever they have changed.
  show(network) {
    this.weights.show(network);
  }

  // Take all runs, as after a start.
  everything(found) {
    if (found.version < this.version) return; // a later state has arrived before
    this.begun = found.begun;
    this.runs = new Map(found.runs.map((run) => [run.number, called(run)]));
    fill(byId("network"), found.networks.map((each) => [each.number, called(each).name]));
    this.update(found);
  }

  // Take the state of the latest run; resolves when everything is shown.
  async update(found) {
    const run = found.run && called(found.run);
    if (found.version < this.version) return;
    if (run && this.runs.get(run.number)?.name !== run.name) { // a new one, or a new name
      this.everything(await get("/api/training"));
      return;
    }
    this.version = found.version;
    if (run) this.runs.set(run.number, run);
    this.run = run;
    const { active } = this;
    byId("start").disabled = active;
    byId("stop").disabled = byId("pause").disabled = byId("rate-now").disabled = !active;
    byId("pause").textContent = t(run?.state === "paused" ? "learn.goOn" : "learn.pause");
    byId("save").disabled = found.reading === 0;
    byId("network").disabled = active || byId("network").length < 2;
    byId("network").value = found.reading;
    this.offerSteps();
    if (run) this.progress(run);
    this.change.show(run?.state === "paused" ? run.update : null, active && run.batch_size === 1);
    this.tell(run ? words(run, this.about) : "\u00a0");
    this.compare();
  }

  // Report the outcome of the training once, so that it does not overwrite later messages.
  tell(said) {
    if (said === this.told) return;
    this.told = said;
    byId("told").textContent = said;
  }

  progress(run) {
    byId("error").textContent = testError(run);
    byId("speed").textContent = speed(run);
    byId("images").textContent = thousands(run.images);
    byId("seconds").textContent = local(run.seconds.toFixed(1));
    byId("rate-step").textContent = run.rate_now ? local(short(run.rate_now)) : "–";
    byId("done").value = run.images / run.total;
    if (document.activeElement !== byId("rate-now")) byId("rate-now").value = this.active ? short(run.rate) : "";
  }

  // ------------------------------------------------------------------ runs

  get hidden() {
    return new Set((state.get("hide") ?? "").split(".").filter(Boolean).map(Number));
  }

  compare() {
    const { hidden } = this;
    const all = [...this.runs.values()];
    const shown = all.filter(({ number }) => !hidden.has(number));
    this.table(all, hidden);
    if (byId("learn").hidden) return; // shown again, the curves are drawn anew
    const most = Math.max(1, ...shown.map(({ total }) => total));
    const curves = (pick, test, circles) => shown.flatMap((run) => [
      { name: `r${run.number % COLOURS} training`, points: run.points.map((point) => [point[0], point[pick]]) },
      { name: `r${run.number % COLOURS}`, points: run.points.map((point) => [point[0], point[test]]),
        circles: run.epochs.map((epoch) => [epoch.images, epoch[circles]]), end: run.diverged ? "×" : "" },
    ]);
    const errors = shown.flatMap((run) => [...run.points.map((point) => point[2]), ...run.epochs.map(({ test }) => test)]);
    draw(byId("chart"), { curves: curves(4, 2, "test"), most, range: [Math.min(...errors) < 0.005 ? 0.001 : 0.005, 1],
      format: (tick) => `${local(short(100 * tick))} %`, title: t("learn.errorTitle") });
    const changes = shown.length === 1 ? shown[0].changes.map(([images]) => images) : [];
    draw(byId("losses"), { curves: curves(5, 3, "test_loss"), most, range: [1, 1], format: tiny,
      title: t("learn.lossTitle"), changes });
    const run = shown.at(-1);
    draw(byId("gradients"), {
      curves: (run?.layers ?? []).map((layer, k) => ({ name: `r${k % COLOURS}`, end: layer,
        points: run.points.map((point) => [point[0], point[6][k] ?? null]) })),
      most: run?.total ?? 1, range: [0.1, 0.1], format: tiny, changes,
      title: run ? t("learn.gradientTitle", { name: run.name }) : t("learn.gradients"),
    });
  }

  // One row per run, which stays while the run does: somebody may be writing its name.
  table(all, hidden) {
    byId("no-runs").hidden = all.length > 0;
    for (const [number, row] of this.rows) {
      if (!this.runs.has(number)) {
        row.remove();
        this.rows.delete(number);
      }
    }
    for (const run of all) {
      if (!this.rows.has(run.number)) {
        this.rows.set(run.number, this.row(run));
        byId("runs").prepend(this.rows.get(run.number));
      }
      const row = this.rows.get(run.number);
      const [box, title] = row.querySelectorAll("input");
      box.checked = !hidden.has(run.number);
      if (document.activeElement !== title) title.value = run.name;
      box.setAttribute("aria-label", t("learn.showRun", { name: run.name }));
      [...row.querySelectorAll("td")].forEach((cell, k) => { cell.textContent = FACTS[k](run); });
    }
  }

  row({ number }) {
    const row = document.createElement("tr");
    const head = document.createElement("th");
    head.scope = "row";
    const box = document.createElement("input");
    box.type = "checkbox";
    box.addEventListener("change", () => {
      const { hidden } = this;
      if (box.checked) hidden.delete(number);
      else hidden.add(number);
      state.set("hide", [...hidden].join(".") || null);
      this.compare();
    });
    const swatch = document.createElement("span");
    swatch.className = `swatch r${number % COLOURS}`;
    const title = document.createElement("input");
    title.type = "text";
    title.maxLength = 40;
    title.setAttribute("aria-label", t("learn.nameOf", { number }));
    title.addEventListener("change", () => this.act(async () => {
      this.everything(await post("/api/name", { number, name: title.value }));
      title.value = this.runs.get(number).name;
    }));
    head.append(box, swatch, title);
    row.append(head, ...FACTS.map(() => document.createElement("td")));
    return row;
  }
}

const FACTS = [
  testError,
  (run) => (run.reached === null ? "–" : `${local(run.reached.toFixed(2))} s`),
  speed,
  (run) => [run.lesson.recipe ? name(`recipe-${run.lesson.recipe}`) : name(run.lesson.model), name(run.lesson.output)].join(", "),
  (run) => [name(run.lesson.schedule), [run.lesson.rate, ...run.changes.map(([, rate]) => rate)].map((rate) => local(short(rate))).join(" → ")].join(", "),
  (run) => `${run.epochs.length} / ${run.lesson.epochs}`,
  (run) => name(`distort-${run.lesson.distort}`),
  (run) => name(run.lesson.engine).split(":")[0],
  (run) => run.data,
];

// Return a run or network; one that nobody has named gets a name in the page's language.
function called(run) {
  const unnamed = run.name === `Run ${run.number}`;
  return unnamed ? { ...run, name: t("learn.unnamed", { number: run.number }) } : run;
}

function words(run, about) {
  const said = t(`learn.${run.state === "failed" && run.diverged ? "diverged" : run.state}`,
    { name: run.name, data: run.data, reason: run.reason, count: run.before, rate: local(short(run.rate)) });
  const end = run.epochs.at(-1)?.test;
  if (run.state === "done" && end >= NOTHING * run.chance) {
    const nothing = t("learn.nothing", { error: percent(end, 1), chance: percent(run.chance, 0) });
    const usual = about.rates[run.lesson.output][run.lesson.engine];
    return `${said} ${nothing} ${run.rate > 2 * usual ? t("learn.nothingTooHigh") : t("learn.nothingSlow")}`;
  }
  const [first, last] = [run.points[0], run.points.at(-1)];
  const rising = first && run.state !== "failed" && last[5] > 1.5 * first[3];
  return rising ? `${said} ${t("learn.rising")}` : said;
}

// The latest measurement: after an epoch, on all test digits; within one, on about a thousand,
// shown with one digit less.
function testError(run) {
  const [epoch, point] = [run.epochs.at(-1), run.points.at(-1)];
  if (epoch && !(point?.[0] > epoch.images)) return percent(epoch.test, epoch.test < 0.0995 ? 2 : 1);
  return point ? percent(point[2], 1) : "–";
}

function speed(run) {
  return run.images_per_second ? whole(run.images_per_second) : "–";
}

function tiny(number) {
  return number >= 1e4 || number < 1e-3 ? number.toExponential(0).replace("e+", "e") : local(short(number));
}

// Set a select's options; keep the selected one if it is still there.
function fill(select, choices) {
  const before = select.value;
  select.replaceChildren(...choices.map(([value, title]) => new Option(title, value)));
  if ([...select.options].some(({ value }) => value === before)) select.value = before;
}
