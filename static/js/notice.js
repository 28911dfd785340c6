// The page's only alert: an error and one action. It takes the place of the upload button.

import { gettext } from "./words.js";

export class Notice {
  #root;
  #text;
  #seconds; // a separate element, because screen readers announce an alert whenever it changes
  #button;
  #timer = 0;
  #abort = new AbortController();

  /** @param {HTMLElement} root the element with `role="alert"` */
  constructor(root) {
    this.#root = root;
    this.#text = root.querySelector("[data-alert-text]");
    this.#seconds = root.querySelector("[data-alert-seconds]");
    this.#button = root.querySelector("[data-alert-action]");
  }

  /** Show a sentence and a button; `whenOnline` runs the button's action once the browser is online again. */
  show(text, label = gettext("Close"), action = () => {}, { whenOnline = false } = {}) {
    this.clear();
    this.#text.textContent = text;
    this.#root.hidden = false;
    this.#button.textContent = label;
    const act = () => {
      this.clear();
      action();
    };
    this.#button.addEventListener("click", act, { signal: this.#abort.signal });
    if (whenOnline) addEventListener("online", act, { signal: this.#abort.signal });
  }

  /** Show a countdown and run the action after `seconds`, or when the button is pressed. */
  countDown(text, seconds, action) {
    this.show(text, gettext("Try now"), action);
    this.#seconds.textContent = gettext(" in %(seconds)s s", { seconds });
    this.#timer = setInterval(() => {
      seconds -= 1;
      this.#seconds.textContent = gettext(" in %(seconds)s s", { seconds });
      if (seconds > 0) return;
      this.clear();
      action();
    }, 1000);
  }

  clear() {
    clearInterval(this.#timer);
    this.#abort.abort();
    this.#abort = new AbortController();
    this.#root.hidden = true;
    this.#text.textContent = "";
    this.#seconds.textContent = "";
  }
}
