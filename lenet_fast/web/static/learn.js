// Training: settings, progress, and two runs side by side.

import { get, post } from "./api.js";
import { draw, thousands } from "./chart.js";

const byId = (id) => document.getElementById(id);
const percent = (share) => `${(100 * share).toFixed(share < 0.0995 ? 2 : 1)} %`;
const OUTPUTS = { rbf: "RBF, bitmaps", softmax: "softmax", linear: "linear" };
const ENGINES = {
  auto: "the fastest",
  lanes: "lanes: batches of 32",
  online: "online: one by one",
  layers: "layers: the reference",
};

export class Lessons {
  // chosen(number) is called when the visitor selects the network that reads.
  constructor(about) {
    this.about = about;
    this.runs = new Map();
    this.form = byId("lesson").elements;
    this.version = -1;
    this.told = null;
    fill(this.form.model, about.models.map(({ value, title }) => [value, title]));
    fill(this.form.engine, about.engines.map((name) => [name, ENGINES[name]]));
    this.form.epochs.max = about.max_epochs;
    this.form.rate.max = about.max_rate;
    this.form.epochs.value = about.epochs;
    this.form.model.addEventListener("change", () => this.offerOutputs());
    for (const name of ["output", "engine"]) {
      this.form[name].addEventListener("change", () => this.offerRate());
    }
    this.offerOutputs();
    byId("lesson").addEventListener("submit", (event) => { event.preventDefault(); this.start(); });
    byId("stop").addEventListener("click", () => this.act(() => post("/api/stop")));
    byId("save").addEventListener("click", () => this.act(async () => {
      byId("told").textContent = `Saved to ${(await post("/api/save")).folder}`;
    }));
    byId("network").addEventListener("change", (event) => this.act(async () => {
      this.everything(await post("/api/use", { number: Number(event.target.value) }));
    }));
    byId("run-a").addEventListener("change", () => { this.offerOthers(); this.compare(); });
    byId("run-b").addEventListener("change", () => this.compare());
    new ResizeObserver(() => this.compare()).observe(byId("chart"));
  }

  offerOutputs() {
    const { outputs } = this.about.models.find(({ value }) => value === this.form.model.value);
    fill(this.form.output, outputs.map((name) => [name, OUTPUTS[name]]));
    this.offerRate();
  }

  offerRate() {
    const rate = this.about.rates[this.form.output.value][this.form.engine.value];
    this.form.rate.value = Number(rate.toPrecision(3));
  }

  // Offer all other runs, or none, for comparison. Selecting the other run as the first one swaps
  // the two.
  offerOthers() {
    const [one, other] = [byId("run-a"), byId("run-b")];
    const before = other.value === one.value ? this.one : other.value;
    this.one = one.value;
    const others = [...one.options].filter(({ value }) => value !== one.value);
    fill(other, [["", "none"], ...others.map(({ value, text }) => [value, text])]);
    choose(other, before);
  }

  async act(what) {
    try {
      await what();
    } catch (error) {
      byId("told").textContent = error.message;
    }
  }

  start() {
    const { model, output, engine, distort, schedule, rate, epochs } = this.form;
    const lesson = {
      model: model.value, output: output.value, engine: engine.value, distort: distort.value,
      schedule: schedule.value, rate: Number(rate.value), epochs: Number(epochs.value),
    };
    byId("told").textContent = "\u00a0";
    return this.act(async () => this.everything(await post("/api/training", lesson)));
  }

  // Take all runs, as after a start.
  everything(state) {
    if (state.version < this.version) return; // a later state has arrived before
    this.begun = state.begun;
    this.runs = new Map(state.runs.map((run) => [run.number, run]));
    this.networks = state.networks;
    fill(byId("network"), state.networks.map(({ number, name }) => [number, name]));
    const names = state.runs.map(({ number }) => [number, `${number}`]).reverse();
    fill(byId("run-a"), names);
    if (names.length && names[0][0] !== this.newest) {
      this.newest = names[0][0];
      byId("run-a").value = this.newest;
      this.offerOthers();
      choose(byId("run-b"), names.length > 1 ? names[1][0] : "");
    }
    this.update(state);
  }

  // Take the state of the latest run; resolves when everything is shown.
  async update(state) {
    const { run } = state;
    if (state.version < this.version) return;
    if (run && !this.runs.has(run.number)) {
      this.everything(await get("/api/training"));
      return;
    }
    this.version = state.version;
    if (run) this.runs.set(run.number, run);
    const running = run?.state === "running";
    byId("start").disabled = running;
    byId("stop").disabled = !running;
    byId("save").disabled = state.reading === 0;
    byId("network").disabled = running || byId("network").length < 2;
    byId("network").value = state.reading;
    if (run) this.progress(run);
    this.tell(run ? {
      running: `Run ${run.number} is learning from ${run.data}.`,
      done: `Run ${run.number} is done.`,
      stopped: `Run ${run.number} was stopped.`,
      failed: `Run ${run.number} has failed. ${run.reason}`,
    }[run.state] : "\u00a0");
    this.compare();
  }

  // Report the outcome of the training once, so that it does not overwrite later messages.
  tell(words) {
    if (words === this.told) return;
    this.told = words;
    byId("told").textContent = words;
  }

  progress(run) {
    byId("error").textContent = testError(run);
    byId("speed").textContent = speed(run);
    byId("images").textContent = thousands(run.images);
    byId("seconds").textContent = run.seconds.toFixed(1);
    byId("done").value = run.images / run.total;
  }

  compare() {
    const pair = ["run-a", "run-b"].map((id) => this.runs.get(Number(byId(id).value)));
    draw(byId("chart"), pair);
    ["head-a", "head-b"].forEach((id, k) => {
      byId(id).textContent = pair[k] ? `Run ${pair[k].number}` : "–";
    });
    byId("facts").replaceChildren(...FACTS.map(([name, of]) => {
      const row = document.createElement("tr");
      const head = document.createElement("th");
      head.scope = "row";
      head.textContent = name;
      row.append(head, ...pair.map((run) => {
        const cell = document.createElement("td");
        cell.textContent = run ? of(run) : "–";
        return cell;
      }));
      return row;
    }));
  }
}

const FACTS = [
  ["Network", (run) => run.lesson.title],
  ["Outputs", (run) => OUTPUTS[run.lesson.output]],
  ["Engine", (run) => ENGINES[run.lesson.engine].split(":")[0]],
  ["Distortions", (run) => run.lesson.distort],
  ["Schedule", (run) => run.lesson.schedule.replace("_", " ")],
  ["Rate, epochs", (run) => `${Number(run.lesson.rate.toPrecision(3))}, ${run.lesson.epochs}`],
  ["Test error", testError],
  ["10 % after", (run) => (run.reached === null ? "–" : `${run.reached.toFixed(2)} s`)],
  ["Images/s", speed],
];

// The latest measurement: after an epoch, on all test digits; within one, on about a thousand,
// shown with one digit less.
function testError(run) {
  const [epoch, point] = [run.epochs.at(-1), run.points.at(-1)];
  if (epoch && !(point?.[0] > epoch.images)) return percent(epoch.test);
  return point ? `${(100 * point[2]).toFixed(1)} %` : "–";
}

function speed(run) {
  return run.images_per_second ? run.images_per_second.toLocaleString("en") : "–";
}

// Set a select's options; keep the selected one if it is still there.
function fill(select, choices) {
  const before = select.value;
  select.replaceChildren(...choices.map(([value, title]) => new Option(title, value)));
  choose(select, before);
}

function choose(select, wanted) {
  if ([...select.options].some(({ value }) => value === `${wanted}`)) select.value = wanted;
}
