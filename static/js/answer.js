// The answer: big digit, confidence, ten bars and what the model saw.

import { GLYPHS, SCRIBBLE } from "./glyphs.js";

const UNKNOWN = "–";

/** `0.987` → `98.7%`; what is not certain never reads as 100. */
export function percent(share) {
  if (share < 1 && share >= 0.9995) return ">99.9%";
  return `${(share * 100).toFixed(1)}%`;
}

/** The answer in words, for the page and for those who hear it. */
export function verdictOf({ digit, verdict }) {
  if (verdict === "not_a_digit") return "Not a digit";
  const article = digit === 8 ? "an" : "a";
  return verdict === "unsure" ? `Perhaps ${article} ${digit}` : `It is ${article} ${digit}`;
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
   * @param {string} stateText what the state is called on the page
   * @param {?object} answer as the API gives it
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
    this.#part("verdict-text").textContent = answer ? verdictOf(answer) : "Nothing yet";
    this.#part("sureness").hidden = !answer;
    this.#part("confidence").textContent = answer ? percent(answer.confidence) : UNKNOWN;
  }

  #showBars(answer) {
    const likely = answer?.probabilities;
    this.#part("bars-title").textContent =
      answer?.verdict === "not_a_digit" ? "How likely each would be, were it a digit" : "How likely each digit is";
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
      input.alt = "The drawing as the model saw it: 28 by 28 pixels, light ink on dark";
    }
    this.#part("version-text").textContent = answer ? `by model version ${answer.model_version}` : "28 × 28 pixels";
  }
}
