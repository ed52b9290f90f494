// What this browser remembers of the page; nothing where it may not.

export function remember(name, value) {
  try {
    localStorage.setItem(`lenet-fast ${name}`, value);
  } catch {
    // Storage is off, or full: the page works without.
  }
}

export function remembered(name) {
  try {
    return localStorage.getItem(`lenet-fast ${name}`);
  } catch {
    return null;
  }
}
