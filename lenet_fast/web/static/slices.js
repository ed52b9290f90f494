// Long work in slices: a few milliseconds of each frame, so that the page answers meanwhile.

const SLICE = 8; // milliseconds
const WAIT = 60; // milliseconds until work begins, so that hardly any is begun in vain while one draws

export class Slices {
  // Start a generator soon, in place of an unfinished one. after(done, result) is called after each
  // slice.
  run(work, after) {
    this.stop();
    this.next = { work, after };
    this.timer ??= setTimeout(() => this.begin(), WAIT);
  }

  stop() {
    this.next = this.now = null;
  }

  begin() {
    this.timer = null;
    this.now = this.next;
    this.frame ??= requestAnimationFrame(() => this.go());
  }

  go() {
    this.frame = null;
    const { now } = this;
    if (!now) return;
    const end = performance.now() + SLICE;
    let state;
    do state = now.work.next();
    while (!state.done && performance.now() < end);
    if (state.done) this.now = null;
    else this.frame = requestAnimationFrame(() => this.go());
    now.after(state.done, state.value);
  }
}
