// Controls that the page makes itself.

import { t } from "./strings.js";

// Return a button with the words of a key, which calls act().
export function makeButton(key, act) {
  const made = document.createElement("button");
  made.type = "button";
  made.textContent = t(key);
  made.addEventListener("click", act);
  return made;
}
