// Feedback on the answer: saved at once, shown with the drawing, withdrawn with Undo.

import { ReadingError, correct, removeSubmission, withdrawCorrection } from "./reader.js";
import { gettext } from "./words.js";

const STANDING = { pending: gettext("waiting for review"), accepted: gettext("accepted"), rejected: gettext("not accepted") };

const inWords = (digit) => (digit === null ? gettext("not a digit") : String(digit));

export class Feedback {
  #root;
  #choices;
  #chips;
  #page;
  #answer = null;
  #saved; // undefined until saved, then 0–9 or null
  #busy = false;

  /**
   * @param {HTMLElement} root the element with `data-feedback`
   * @param {{forget: function, changed: function, refused: function}} page callbacks: the drawing was deleted, the
   *   state changed, a call failed
   */
  constructor(root, page) {
    this.#root = root;
    this.#page = page;
    this.#choices = this.#part("choices");
    this.#chips = [...root.querySelectorAll("[data-choice]")];
    this.#part("confirm").addEventListener("click", () => this.#confirm());
    for (const chip of this.#chips) chip.addEventListener("click", () => this.#save(digitOf(chip)));
    this.#part("withdraw").addEventListener("click", () => this.withdraw());
    this.#part("delete").addEventListener("click", () => this.#delete());
  }

  /** Whether feedback on the drawing on the sheet was saved or is being saved. */
  get isAnswered() {
    return this.#isSaved || this.#busy;
  }

  get #isSaved() {
    return this.#saved !== undefined;
  }

  /** Ask for feedback on a stored answer. */
  open(answer) {
    this.#answer = answer;
    this.#saved = undefined;
    this.#say();
    this.#render();
  }

  /** Drop the answer: the sheet's content is no longer the stored submission. */
  close() {
    this.open(null);
  }

  enable(enabled) {
    this.#choices.disabled = !enabled;
    this.#part("delete").hidden = !enabled;
  }

  /** Handle a key: 0–9, Y for yes, N for not a digit. Return whether it was used. */
  key(key) {
    if (this.#choices.disabled) return false;
    if (key.length === 1 && this.#choices.querySelector(`[data-choice="${CSS.escape(key)}"]`)) this.#save(Number(key));
    else if (key.toLowerCase() === "y") this.#confirm();
    else if (key.toLowerCase() === "n") this.#save(null);
    else return false;
    return true;
  }

  /** Withdraw the feedback. */
  withdraw() {
    return this.#attempt(async (answer) => {
      await withdrawCorrection(answer.id);
      if (this.#answer !== answer) return;
      this.#saved = undefined;
      this.#say(gettext("Your answer was withdrawn. The drawing is kept."));
      this.#part("confirm").focus();
    });
  }

  #confirm() {
    this.#save(this.#answer.digit);
  }

  #save(digit) {
    return this.#attempt(async (answer) => {
      const correction = await correct(answer.id, digit);
      if (this.#answer === answer) {
        const standing = STANDING[correction?.status] ?? STANDING.pending;
        this.#saved = digit;
        this.#say(gettext("Saved, thank you"), gettext("You said: %(digit)s — %(standing)s. Draw again to start the next one.", { digit: inWords(digit), standing }));
      } else if (!this.#answer) {
        this.#say(gettext("Saved, thank you"), gettext("You said: %(digit)s, for the previous drawing.", { digit: inWords(digit) }));
      }
    });
  }

  #delete() {
    return this.#attempt(async (answer) => {
      await removeSubmission(answer.id);
      if (this.#answer !== answer) return;
      this.#page.forget();
      this.#say(gettext("Deleted. You can draw again."));
    });
  }

  /** Run one action on an answer at a time; on failure the page offers a retry. */
  async #attempt(act, answer = this.#answer) {
    if (!answer || this.#busy) return;
    this.#busy = true;
    this.#root.setAttribute("aria-busy", "true");
    try {
      await act(answer);
    } catch (error) {
      if (!(error instanceof ReadingError)) throw error;
      this.#page.refused(error, () => this.#attempt(act, answer));
    } finally {
      this.#busy = false;
      this.#root.removeAttribute("aria-busy");
      this.#render();
      this.#page.changed();
    }
  }

  #part(name) {
    return this.#root.querySelector(`[data-${name}]`);
  }

  #say(headline = "", detail = "") {
    const lines = [headline, detail].filter(Boolean).map((text, index) => {
      const line = document.createElement("p");
      line.className = index ? "outcome__detail" : "outcome__headline";
      line.textContent = text;
      return line;
    });
    this.#part("saved").replaceChildren(...lines);
  }

  #render() {
    for (const chip of this.#chips) chip.setAttribute("aria-pressed", String(this.#isSaved && digitOf(chip) === this.#saved));
    this.#root.classList.toggle("feedback--saved", this.#isSaved);
    this.#part("withdraw").hidden = !this.#isSaved;
  }
}

function digitOf({ dataset }) {
  return dataset.choice === "none" ? null : Number(dataset.choice);
}
