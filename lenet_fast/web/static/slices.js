// Long work in slices: a few milliseconds of each frame, so that the page answers meanwhile.

const SLICE = 6; // milliseconds
const REST = 150; // milliseconds without another call until work begins: none is in vain while one draws
const SOON = 60; // milliseconds, of a network that learns, which never rests

export class Slices {
  // Start a generator after a rest, or soon, in place of an unfinished one. after(done, result) is
  // called after each slice.
  run(work, after, soon = false) {
    this.stop();
    this.timer = setTimeout(() => {
      this.now = { work, after };
      this.go();
    }, soon ? SOON : REST);
  }

  stop() {
    clearTimeout(this.timer);
    cancelAnimationFrame(this.frame);
  }

  go() {
    const { work, after } = this.now;
    const end = performance.now() + SLICE;
    let state;
    do state = work.next();
    while (!state.done && performance.now() < end);
    if (!state.done) this.frame = requestAnimationFrame(() => this.go());
    after(state.done, state.value);
  }
}
