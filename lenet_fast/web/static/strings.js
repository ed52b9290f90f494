// The words of the page. Every English sentence is here, the German ones are in strings.de.js, under
// the same keys; a language is one more module of this form.
//
// {name} is a placeholder. Where a number decides about the form, the entry is an object with the
// categories of Intl.PluralRules, chosen by {count}. [text](#term) is a term that the page explains:
// `say` makes it one, `t` leaves its text.

import { german } from "./strings.de.js";
import { state } from "./state.js";

export const english = {
  first: {
    title: "LeNet: draw a digit",
    titleAny: "LeNet: draw",
    claim: "Draw a digit. Watch it think. Watch it learn.",
    claimAny: "Draw. Watch it think. Watch it learn.",
    network: "Network that reads",
    views: "Views",
    draw: "Draw",
    paper: "Paper",
    hint: "Draw a digit here",
    hintAny: "Draw here",
    padHelp: "Draw with the mouse, a pen or a finger. With the keyboard, the arrow keys move the pen, the " +
      "space bar lowers and lifts it, Backspace removes a line, and Delete clears the drawing.",
    pen: "Pen",
    undo: "Undo",
    clear: "Clear",
    take: "Or take a [test digit](#testDigit)",
    takeAny: "Or take a [test image](#testDigit)",
    random: "Random",
    wrong: "Misread",
    index: "Number of the test digit",
    show: "Show",
    notIndex: "Number of the test digit: expected a whole number from 0 to {max}.",
    noneWrong: "It misreads none of them.",
    testDigit: "Test digit {index}, labelled {name}",
    testImage: "Test image {index}: {name}",
    reads: "It reads",
    input: "The network’s input: the digit, scaled and centred",
    inputName: "[input](#input)",
    nothing: "Nothing is drawn yet.",
    blank: "The paper is blank.",
    noDigit: "There is no digit in it.",
    notFinite: "The network’s outputs are not finite.",
    second: "Runner-up: {name}, with {value}",
    spoken: "It reads {first}, then {second}.",
    right: "right",
    misread: "read {read}, is\u00a0{label}",
    rbf: "[penalty](#penalty): the shortest bar wins",
    softmax: "[probability](#softmax): the longest bar wins",
    linear: "[score](#score): the longest bar wins",
    reload: "{error} Reload the page.",
    saves: "Saves to {folder}",
  },
  maps: {
    title: "It thinks",
    layer: "Layer",
    image: "image",
    answer: "answer",
    negative: "negative",
    positive: "positive",
    convolution: "[convolution](#convolution)",
    subsampling: "[sub-sampling](#subsampling)",
    average: "[average pooling](#pooling)",
    maximum: "[max pooling](#pooling)",
    dense: "[fully connected](#dense)",
    maps: {
      one: "1 [map](#map) of {rows} × {columns} units",
      other: "{count} [maps](#map) of {rows} × {columns} units",
    },
    units: { one: "1 [unit](#unit)", other: "{count} [units](#unit)" },
    unitsOf: { one: "1 unit of {name}", other: "{count} units of {name}" },
    none: "This network has no layer before its outputs.",
    tile: "map {map} of {name}; it sees {sees}",
    sees: "{name}, map {map} sees {sees}.",
    theImage: "the image",
    theMap: "the map of {name}",
    allMaps: "all maps of {name}",
    someMaps: { one: "map {maps} of {name}", other: "maps {maps} of {name}" },
    point: "Point at a map to see what feeds it.",
    closer: "The closer the units come to a digit’s [bitmap](#bitmap), the smaller is its [penalty](#penalty).",
  },
  steps: {
    tab: "How it computes",
  },
  fails: {
    tab: "Where it fails",
    parts: "Questions to its failures",
    confusions: "What it confuses",
    confusionsWhat: "The [confusion matrix](#confusion) counts what it reads in the test digits. Choose a cell to see " +
      "its digits, and a digit to put it on the paper.",
    confused: "{count} of {all} are misread: {rate} %",
    lost: { one: "1 has no answer.", other: "{count} have no answer." },
    readAs: "read as",
    is: "is",
    cell: "{label}, read as {read}: {count}",
    cellRight: "{label}, read rightly: {count}",
    allErrors: "All that are misread",
    backToAll: "All misread",
    surest: "The surest errors first: those with the largest [margin](#margin) (is → read as).",
    doubtful: "The most doubtful first: those with the smallest [margin](#margin).",
    pair: "{label} → {read}",
    itemRight: "Test digit {index}: {label}, read rightly, margin {margin}",
    itemWrong: "Test digit {index}: {label}, read as {read}, margin {margin}",
    more: { one: "1 more", other: "{count} more" },
    look: "What it looks at",
    lookWhat: "Two ways to ask why: the [gradient](#gradient) at the pixels, and a grey patch that hides some of them.",
    why: "Why",
    theAnswer: "its answer",
    patch: "Patch",
    patchSize: "{size} × {size} pixels",
    saliency: "[Saliency](#saliency): more ink speaks for {name} (orange) or against it (blue)",
    occlusion: "[Occlusion](#occlusion): hiding this harms {name} (orange) or helps it (blue)",
    against: "against",
    for: "for",
    point: "Point at the occlusion map, or move there with the arrow keys, to put the patch on the digit.",
    covered: "With the patch it reads {read}. The [margin](#margin) of {name} goes from {before} to {after}.",
    deceive: "How to deceive it",
    deceiveWhat: "An [adversarial](#adversarial) change: each step adds or removes a little ink where it favours another answer most.",
    target: "Turn it into",
    original: "original: reads {name}",
    change: "change, in full colours: ink added (orange), removed (blue)",
    result: "result: reads {name}",
    strength: "How much is changed",
    changed: "Changed ink: {ink} % of the digit’s",
    enough: "The smallest change found that makes it read {name}: {ink} % of the digit’s ink.",
    notEnough: "Even {ink} % of the digit’s ink do not make it read {name}.",
    reject: "When to stay silent",
    rejectWhat: "[Rejection](#rejection): where the [margin](#margin) between the two best outputs is too small, it gives no answer.",
    threshold: "Smallest margin for an answer",
    rejecting: "Rejected: {count} of {all}, {rate} %.",
    remaining: "Errors among the others: {error} %.",
    aim: "For {aim} % errors among the others, {rate} % have to be rejected.",
    rejectedWrong: "{count} rejected, of which it would have misread {wrong}",
    rejectedOrder: "The smallest margins first; red ones would have been errors (is → read as).",
    rejectedAxis: "rejected",
    errorAxis: "errors among the others",
  },
  learn: {
    tab: "It learns",
    recipe: "[Recipe](#recipe)",
    own: "own choice",
    "recipe-paper": "as in 1998",
    "recipe-fast": "99 % fast",
    "recipe-accurate": "most accurate",
    "recipe-lenet4": "LeNet-4",
    "recipe-lenet1": "LeNet-1 of 1990",
    "recipe-lenet1989": "network of 1989",
    tooHigh: "rate too high",
    model: "Network",
    lenet5: "LeNet-5 (1998)",
    "lenet5-max": "LeNet-5, max pool",
    "lenet5-average": "LeNet-5, mean pool",
    "lenet5-modern": "LeNet-5, max pool, ReLU",
    lenet4: "LeNet-4",
    lenet1: "LeNet-1 (1990)",
    lenet1989: "Network of 1989",
    output: "Outputs",
    rbf: "RBF, bitmaps",
    softmax: "softmax",
    linear: "linear",
    data: "Digits",
    pageData: "those of the page",
    zip: "zip codes of 1989",
    engine: "[Engine](#engine)",
    auto: "the fastest",
    lanes: "lanes: batches of 32",
    online: "online: one by one",
    layers: "layers: the reference",
    distort: "[Distortions](#elastic)",
    "distort-elastic": "elastic",
    "distort-paper": "as in 1998",
    "distort-none": "none",
    schedule: "[Schedule](#schedule)",
    cosine: "cosine, by epoch",
    one_cycle: "one cycle",
    linear_decay: "linear to 0",
    step_decay: "in steps",
    constant: "constant",
    rate: "[Rate](#rate)",
    epochs: "[Epochs](#epoch)",
    start: "Train anew",
    save: "Save",
    saved: "Saved to {folder}",
    pause: "Pause",
    goOn: "Go on",
    oneBatch: "One batch",
    oneImage: "One image",
    stop: "Stop",
    rateNow: "Highest rate",
    rateStep: "rate now",
    testError: "test error",
    speed: "images/s",
    seen: "images seen",
    seconds: "seconds",
    training: "Training",
    waiting: "{name} waits: {count} before you.",
    running: "{name} is learning from {data}.",
    paused: "{name} is paused.",
    done: "{name} is done.",
    stopped: "{name} was stopped.",
    failed: "{name} has failed. {reason}",
    diverged: "{name} has diverged: with the rate {rate}, the loss has grown beyond all numbers.",
    rising: "Its loss has risen instead of fallen: the rate is too high.",
    errorTitle: "Misread digits",
    lossTitle: "Loss",
    gradients: "Size of the gradient, by layer",
    gradientTitle: "Size of the gradient, by layer: {name}",
    errorChart: "Share of misread digits, by images seen",
    lossChart: "Loss, by images seen",
    gradientChart: "Root mean square of the gradient, by layer and images seen",
    legend: "Across: images seen. Lines: test digits, about a thousand of them; circles: all of them, after an epoch. Dashed: " +
      "training digits, as the network met them.",
    weights: "Weights of the network that reads",
    weightsNote: "Kernels: a column for each map, a row for each map that it sees; blue is negative, orange positive. Bars: " +
      "the weights now; line: when this network was first shown.",
    kernelsOf: "{name}: {maps} × {inputs} kernels",
    histogramOf: "Histogram of the weights of {name}",
    histogram: "{name}, ± {limit}",
    update: "One update",
    noUpdate: "Pause the training, or begin it, with One batch; with the engine online, it is One image. Here you see what " +
      "the network met, and how its weights changed.",
    updateOne: "It met a {label} and read {read}. Its loss was {loss}.",
    updateMany: "It met {count} digits and misread {errors} of them. Their mean loss was {loss}.",
    kernelsBefore: "kernels of {name} before, ± {limit}",
    kernelsChange: "their change, ± {limit}",
    changed: "{name}: by {share} %",
    runs: "Runs",
    run: "Shown, name",
    reached: "10 % after",
    noRuns: "No run yet.",
    showRun: "Show {name} in the curves",
    nameOf: "Name of run {number}",
  },
  shell: {
    tour: "Tour",
    lessons: "Lessons",
    present: "Present",
    presentEnd: "End presentation",
    link: "Copy link",
    copied: "Copied",
    copyThis: "The address holds all that you see. Copy it:",
    help: "Keys and help",
    language: "Language",
    savePicture: "Save the picture as {kind}",
    keys: "Keys",
    keysOn: "Letters and signs work as keys",
    close: "Close",
    key_help: "this help",
    key_present: "presentation on or off",
    key_lessons: "lessons on or off",
    key_tour: "the tour",
    key_random: "a random test digit",
    key_wrong: "a misread test digit",
    key_clear: "clear the paper",
    key_pad: "to the paper, to draw with the keyboard",
    key_layerBefore: "the layer before",
    key_layerNext: "the next layer",
    key_view: "the next view",
    name_arrows: "arrows",
    key_arrows: "move the pen, or among layers, maps and views",
    name_space: "space",
    key_space: "lower and lift the pen",
    name_backspace: "Backspace",
    key_backspace: "take a line back",
    name_delete: "Delete",
    key_delete: "clear the paper, when it has the focus",
    name_escape: "Escape",
    key_escape: "close an explanation, the tour or this help",
  },
  tour: {
    place: "{step} of {steps}",
    back: "Back",
    next: "Next",
    skip: "Skip",
    done: "Done",
    drawTitle: "Draw a digit",
    draw: "Draw over it: with the mouse, a pen or a finger. Or take a [test digit](#testDigit) that other people wrote.",
    answerTitle: "The answer",
    answer: "The network reads at every stroke. Each bar is one digit; below the big one you see which was next.",
    networkTitle: "The whole network",
    network: "From the image on the left to the answer on the right. Choose a layer by its name to see it large; point at a [map](#map) to see what feeds it.",
    viewsTitle: "How, where, why",
    views: "Below: how each value is computed, which digits it gets wrong and why, and how it learns. You can watch another network learn in seconds.",
    helpTitle: "Words and keys",
    help: "Dotted [words](#network) are explained: point at them or tap. “Lessons” leads through all of it, “?” lists the keys, and the address keeps what you see.",
  },
  guide: {
    place: "Lesson {lesson} of {lessons}",
    show: "Show it",
    back: "Back",
    next: "Next lesson",
    close: "End lessons",
    noTraining: "The task of this lesson needs the page with a server, which trains networks: lenet-fast serve.",
    answer: "Answer",
    title1: "Convolution by hand",
    text1: "A map of C1 has 28 × 28 [units](#unit). Each looks at a window of 5 × 5 pixels, multiplies each pixel by a weight, adds them up and adds a [bias](#bias); all units of a map use the same 25 weights.",
    task1: "Choose C1 and one of its maps, and let the window move. Compare two maps: which strokes does each of them find?",
    question1: "C1 has six maps. How many weights and biases are that, and how many [connections](#connection)?",
    answer1: "6 × (25 + 1) = 156 parameters, but 6 × 28 × 28 × 26 = 122,304 connections, because every place uses the same weights.",
    title2: "Sub-sampling and the connection table",
    text2: "S2 makes each map half as large: a 7 is a 7 wherever exactly its strokes are. C3 then [combines maps](#connectionTable) of S2, but no two of its maps read the same ones.",
    task2: "Point at the maps of C3 one by one and watch the lines. Which maps of C3 read three of S2, which four, which all six?",
    question2: "Why does not every map of C3 simply read all six?",
    answer2: "It saves connections, and it forces the maps to differ: maps that see different inputs must find different patterns.",
    title3: "Distances to pictures",
    text3: "The 84 units of F6 are 7 × 12 points: they draw a character. The output of each digit is the [penalty](#penalty), the squared distance to the [bitmap](#bitmap) of that digit; the smallest wins.",
    task3: "Look at F6 beside the ten bitmaps while you draw. Turn a 1 slowly into a 7: when does the answer change, and what does F6 look like just before?",
    question3: "Why is an untrained network’s penalty about 84 for every digit?",
    answer3: "F6 is then almost 0 everywhere, and each of the 84 points of a bitmap is +1 or −1: 84 times a squared distance of 1.",
    title4: "Gradients",
    text4: "A network learns by its [gradient](#gradient): how much would each number change the result? It is computed backwards, layer by layer, from the answer to the image.",
    task4: "Look at the [saliency](#saliency) map: it is the gradient at the pixels. Add ink where it is strong and watch the bars; then where it is weak.",
    question4: "How could you check a gradient without knowing how it is computed?",
    answer4: "Change one number a little up and a little down, and see how the result changes: the difference divided by the two steps is the gradient.",
    title5: "A rate for every weight",
    text5: "How far to go along the gradient says the [rate](#rate). In 1998 each weight had its own, found from the curvature; the method is called SDLM.",
    task5: "Train twice with one epoch: with the rate that is offered, and with ten times as much. Put the curves side by side.",
    question5: "Why is one rate for all weights a compromise?",
    answer5: "Some directions are steep and others flat. A rate that is small enough for the steep ones creeps along the flat ones.",
    title6: "99 % in seconds",
    text6: "What took three days in 1989 takes seconds today. One [epoch](#epoch) of [elastic](#elastic) digits after the other, and the [test error](#testError) falls.",
    task6: "Train a network with softmax outputs and max pooling for three epochs, and watch its maps meanwhile. Then look at the digits that it still misreads.",
    question6: "Two networks make 10 and 13 errors in 1,000 test digits. Is the first one better?",
    answer6: "One cannot tell: such a count varies by about √10 ≈ 3 by chance alone.",
    title7: "What it looks at",
    text7: "A network says “4”. Because of what? Ask by the gradient, by [covering](#occlusion) parts of the digit, and by trying to [deceive](#adversarial) it.",
    task7: "Find a test digit and a change that turns a 3 into an 8. How much ink does it take, and would you have been deceived?",
    question7: "The network makes few errors. Does it see what you see?",
    answer7: "No. Noise hardly disturbs it, but a change on purpose, too small to bother you, turns its answer over.",
    title8: "Zip codes, 1989",
    text8: "The first LeNet read zip codes from envelopes, in 16 × 16 pixels. It had no sub-sampling: its windows move two pixels at a time.",
    task8: "Train the network of 1989 and compare it with LeNet-5: error, parameters, images per second.",
    question8: "In LeNet-5 the units of a map share one bias; in the network of 1989 each unit has its own. What does this cost?",
    answer8: "768 biases for H1 instead of 12: far more than its 300 weights.",
  },
  // What a word means, in two sentences.
  terms: {
    recipe: "Settings that go together: network, distortions, rate and epochs, all chosen on a part of the training digits. The command lenet-fast train has the same ones.",
    network: "Layers of simple units, each of which adds up what it sees with weights that it has learned. LeNet was one of the first networks to read handwritten digits, from 1989 on.",
    testDigit: "A digit that somebody wrote and that the network has never seen in training. Its label is the right answer, so the page can tell whether the network reads it rightly.",
    input: "What the network really sees: your drawing scaled to 20 × 20 pixels and put into 28 × 28 with its centre of mass in the middle. So neither size nor place of the drawing matters.",
    C1: "The first layer, a convolution: six maps that each look for one small pattern, such as an edge, everywhere in the image. C stands for convolution, the number counts the layers.",
    S2: "The second layer: each map of C1 at half the size. S stands for sub-sampling; where exactly a pattern was is forgotten on purpose.",
    C3: "The third layer, a convolution: 16 maps that combine the patterns of S2 to larger ones, such as corners and ends of strokes. Each map reads only some maps of S2, as the connection table of 1998 says.",
    S4: "The fourth layer: each map of C3 at half the size, 5 × 5 units. Only the rough place of each pattern is left.",
    C5: "The fifth layer: 120 units, each of which sees all of S4 and so the whole image. It is a convolution whose maps are a single unit.",
    F6: "The sixth layer: 84 units, each of which reads all of C5; F stands for fully connected. 84 is 7 × 12, the size of the little pictures with which the answer is compared.",
    H1: "The first hidden layer of the network of 1989: twelve maps of 8 × 8 units. Its windows move two pixels at a time, so it needs no sub-sampling.",
    H2: "The second hidden layer of the network of 1989: twelve maps of 4 × 4 units. Each reads eight of the twelve maps of H1.",
    H3: "The third hidden layer of the network of 1989: 30 units. Each reads all of H2.",
    layer: "Units that do the same kind of work side by side, and pass their results on. The layers are numbered from the image to the answer.",
    map: "All units of a layer that look for the same pattern, each at its own place of the image. Together they are a small picture that tells where the pattern is; also called a feature map.",
    unit: "One value that a layer computes: a weighted sum of what it sees, passed through a bent curve. It is also called a neuron.",
    weight: "A number by which a unit multiplies one of its inputs. Training finds the weights; nobody sets them.",
    bias: "A number that a unit adds to its sum, whatever it sees. It decides how much it takes to make the unit respond.",
    parameter: "A number that training changes: a weight, a bias or a coefficient. LeNet-5 has 60,000 of them.",
    connection: "One use of a weight or bias when an image is read. A convolution uses each weight at every place, so there are many more connections than parameters.",
    convolution: "A layer that moves a small window over the image and computes the same weighted sum at each place. The weights are shared by all places, so a stroke is found wherever it is.",
    kernel: "The weights of the window that a convolution moves over a map, 5 × 5 in LeNet-5. It looks like the pattern for which it searches.",
    subsampling: "A layer that makes maps half as large: it adds up four neighbours, multiplies the sum by a learned coefficient, adds a bias and bends the result. Exact places are lost, so that different handwritings look more alike.",
    pooling: "A layer that makes maps half as large: of four neighbours it keeps the mean, or the largest. Unlike sub-sampling it has nothing to learn.",
    dense: "A layer in which every unit reads all values of the layer before. It has no maps, only a list of units.",
    activation: "A curve through which each sum passes; in LeNet-5 it keeps all values between −1.7159 and +1.7159. Without it, many layers could do no more than one.",
    connectionTable: "The list of which maps of S2 each map of C3 reads, table I of the paper of 1998. No two of the 16 read the same ones, so they have to find different patterns.",
    receptiveField: "The part of the image that a unit can see. It grows from layer to layer: 5 × 5 pixels in C1, the whole image in C5.",
    rbf: "An output that measures how far the 84 values of F6 are from the picture of its digit. RBF is short for radial basis function; the nearest picture wins.",
    bitmap: "A little picture of a digit, 7 × 12 points, drawn by hand for the paper of 1998. F6 learns to draw the one of the digit that it sees.",
    penalty: "The squared distance between F6 and the bitmap of a digit. The smallest penalty wins; 0 would be a perfect match.",
    softmax: "It turns the ten outputs into probabilities that add up to 100 %. The largest is the answer, but even a network that is sure can be wrong.",
    score: "A plain weighted sum for each digit. The largest wins; its size has no unit.",
    margin: "By how much the best answer is better than the second best. A small margin means that the network hesitates.",
    rejection: "To give no answer where the margin is too small. A machine can hand such digits to a person, and makes fewer errors with the others.",
    confusion: "A table of what was read: rows are what the digits are, columns what the network says. Off the diagonal are the errors.",
    saliency: "The pixels that would change the answer most if they changed a little. It is the gradient of the answer at the image, computed by going backwards through the network.",
    occlusion: "A small patch is moved over the image, and at each place the network reads again. Where the answer suffers most, the network needs what the patch hides.",
    adversarial: "A change of the image, made on purpose, that is small for us and turns the answer over. It follows the gradient, so each pixel changes in the direction that hurts most.",
    gradient: "The direction in which the weights, or the pixels, have to change to raise a number fastest. Training goes the other way, so that the error falls.",
    distortion: "A random change of the training images, new in each epoch: shifted, scaled, slanted. The network sees more ways of writing and makes fewer errors.",
    elastic: "A distortion that also rotates and bends the digit, as if the paper were rubber. It imitates the trembling of hands (Simard, Steinkraus and Platt, 2003).",
    epoch: "One time through all training images. A run takes several.",
    rate: "How far the weights move in each step along the gradient. Too small, and learning takes long; too large, and it jumps about and fails.",
    schedule: "How the rate changes during a run. Large steps at first find the way fast, small ones at the end find the bottom.",
    engine: "The part of the program that computes the training. All engines give the same numbers but for rounding, at different speed.",
    batch: "The images from which one training step computes its gradient. LeNet learned from one at a time; here it is 32 unless you choose otherwise.",
    online: "To learn from one image at a time, as in 1989 and 1998. Each image changes the weights a little.",
    loss: "The number that training makes small: how far the answers are from the right ones. The error only counts wrong answers, the loss also knows by how much.",
    testError: "The share of test digits that are misread. The network has not learned from them, so it cannot know them by heart.",
    outputs: "What the last layer computes: distances to bitmaps (RBF), probabilities (softmax) or plain scores (linear). The choice also decides what is minimised in training.",
    run: "One training from beginning to end, with its settings and its curve. The page keeps the latest ones.",
  },
};

export const LANGUAGES = { en: ["English", english], de: ["Deutsch", german] };

// The address decides, else the browser's languages.
export const language = [state.get("lang"), ...navigator.languages.map((tag) => tag.slice(0, 2))]
  .find((tag) => tag in LANGUAGES) ?? "en";

const TERM = /\[([^\]]+)\]\(#(\w+)\)/g;
const plural = new Intl.PluralRules(language);

// Return the parts of an entry: text, text of a term, its name, text, and so on.
function parts(key, values) {
  const [part, name] = key.split(".");
  const found = LANGUAGES[language][1][part]?.[name];
  if (found === undefined) throw new Error(`strings: no ${key} in ${language}`);
  const text = typeof found === "string" ? found : found[plural.select(values.count)] ?? found.other;
  return text.split(TERM).map((each) => each.replace(/\{(\w+)\}/g, (_, value) => values[value]));
}

// Return the words of a key, such as "first.pen", with values for its placeholders.
export function t(key, values = {}) {
  return parts(key, values).filter((_, k) => k % 3 < 2).join("");
}

// Return a word that the page explains.
export function term(text, name) {
  const element = document.createElement("span");
  element.className = "term";
  element.tabIndex = 0;
  element.setAttribute("role", "button");
  element.dataset.term = name;
  element.textContent = text;
  return element;
}

// Whether there is an explanation of this name.
export function hasTerm(name) {
  return name in english.terms;
}

const POINT = (0.5).toLocaleString(language)[1];

// Return a number's digits with the language's decimal point.
export function local(digits) {
  return digits.replace(".", POINT);
}

// Return a whole number as the language writes it.
export function whole(number) {
  return number.toLocaleString(language);
}

// Put words into an element, with their terms.
export function say(element, key, values = {}) {
  const all = parts(key, values);
  element.replaceChildren(...all.flatMap((part, k) => {
    if (k % 3 === 2 || !part) return [];
    if (k % 3 === 0) return [part];
    return [term(part, all[k + 1])];
  }));
}

// Fill the elements below `root` that name a key.
export function translate(root = document) {
  for (const each of root.querySelectorAll("[data-t]")) say(each, each.dataset.t);
  for (const each of root.querySelectorAll("[data-t-label]")) {
    each.setAttribute("aria-label", t(each.dataset.tLabel));
  }
}
