// What is asked to find out where and why a network fails. No DOM here.

// Return how often each class was read as each: a list per class of the label. Images without an
// answer are not counted.
export function confusions({ labels, first }, classes) {
  const counts = Array.from({ length: classes }, () => new Int32Array(classes));
  labels.forEach((label, k) => { if (first[k] >= 0) counts[label][first[k]]++; });
  return counts;
}

// Return the images with this label that were read as this class; those read wrongly if none is
// given. The worst come first: the surest of the errors, the most doubtful of the right answers.
export function listed({ labels, first, margins }, cell) {
  const wrong = !cell || cell[0] !== cell[1];
  const found = [...labels.keys()].filter((k) => (cell
    ? labels[k] === cell[0] && first[k] === cell[1]
    : labels[k] !== first[k] && first[k] >= 0));
  return found.sort((a, b) => (wrong ? margins[b] - margins[a] : margins[a] - margins[b]));
}
