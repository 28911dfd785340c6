// The answer: big digit, confidence, ten bars and what the model saw.

import { GLYPHS, SCRIBBLE } from "./glyphs.js";
import { gettext, percent } from "./words.js";

const UNKNOWN = "–";

/** Return a digit, or "no digit", with its article, for use in a sentence. */
export function nameOf(digit) {
  if (digit === null) return gettext("no digit");
  return digit === 8 ? gettext("an 8") : gettext("a %(digit)s", { digit });
}

// One for each verdict of the API.
const SENTENCES = {
  sure: (a_digit) => gettext("It is %(a_digit)s", { a_digit }),
  unsure: (a_digit) => gettext("Perhaps %(a_digit)s", { a_digit }),
  not_a_digit: () => gettext("Not a digit"),
};

/** Return the answer in words, for the page and for screen readers. */
export function verdictOf({ digit, verdict }) {
  return SENTENCES[verdict](nameOf(digit));
}

export class AnswerView {
  #root;
  #bars;

  /** @param {HTMLElement} root the element with `data-reading` */
  constructor(root) {
    this.#root = root;
    this.#bars = [...root.querySelectorAll("[data-bar]")].map((bar) => ({ bar, value: bar.querySelector("[data-value]") }));
  }

  /**
   * Show a state, with the answer if there is one.
   *
   * @param {"empty" | "live" | "reading" | "stored" | "stopped"} state
   * @param {string} stateText the state's name on the page
   * @param {?object} answer the API's response
   */
  show(state, stateText, answer) {
    this.#root.dataset.state = state;
    this.#root.dataset.verdict = answer?.verdict ?? "none";
    this.#root.dataset.digit = answer?.digit ?? "none";
    this.#part("state-text").textContent = stateText;
    this.#showDigit(answer);
    this.#showBars(answer);
    this.#showInput(answer);
  }

  #part(name) {
    return this.#root.querySelector(`[data-${name}]`);
  }

  #showDigit(answer) {
    const path = answer ? (GLYPHS[answer.digit] ?? SCRIBBLE) : "";
    const glyph = this.#part("glyph");
    if (glyph.getAttribute("d") !== path) glyph.setAttribute("d", path);
    this.#part("verdict-text").textContent = answer ? verdictOf(answer) : gettext("Nothing yet");
    this.#part("sureness").hidden = !answer;
    this.#part("confidence").textContent = answer ? percent(answer.confidence) : UNKNOWN;
  }

  #showBars(answer) {
    const likely = answer?.probabilities;
    this.#part("bars-title").textContent =
      answer?.digit === null ? gettext("If it were a digit") : gettext("How likely each digit is");
    const most = likely ? likely.indexOf(Math.max(...likely)) : -1;
    this.#bars.forEach(({ bar, value }, digit) => {
      bar.style.setProperty("--share", likely?.[digit] ?? 0);
      bar.classList.toggle("bar--most", digit === most);
      value.textContent = likely ? percent(likely[digit]) : UNKNOWN;
    });
  }

  #showInput(answer) {
    const input = this.#part("input");
    input.hidden = !answer;
    if (answer) {
      if (input.src !== answer.input) input.src = answer.input;
      input.alt = gettext("The drawing as the model saw it: 28 by 28 pixels, light ink on dark");
    }
    this.#part("version-text").textContent = answer ? gettext("by model version %(version)s", { version: answer.model_version }) : gettext("28 × 28 pixels");
  }
}
