// Long work in slices: a few milliseconds of each frame, so that the page answers meanwhile.

const SLICE = 6; // milliseconds

export class Slices {
  // Start a generator, in place of an unfinished one. after(done, result) is called after each slice.
  run(work, after) {
    [this.work, this.after] = [work, after];
    this.frame ??= requestAnimationFrame(() => this.go());
  }

  stop() {
    this.work = null;
  }

  go() {
    this.frame = null;
    if (!this.work) return;
    const end = performance.now() + SLICE;
    let state;
    do state = this.work.next();
    while (!state.done && performance.now() < end);
    if (state.done) this.work = null;
    else this.frame = requestAnimationFrame(() => this.go());
    this.after(state.done, state.value);
  }
}
