// Why the network read it so: which ink spoke for the answer, what would make it the next digit, and drawings like it.

import { percent } from "./answer.js";
import { ReadingError, explainSubmission } from "./reader.js";

const WORTH_NAMING = 0.2; // of the marked ink: a place with less of it is left out
const MOST_PLACES = 2;
const LEAST_LIKELY = 0.001;
const SOURCES = { yours: "Yours", accepted: "Accepted", mnist: "MNIST" };

export class Why {
  #root;
  #toggle;
  #refused;
  #answer = null;
  #explained = null; // the answer whose explanation is shown
  #abort = new AbortController();

  /**
   * @param {HTMLElement} root the element with `data-why`
   * @param {HTMLButtonElement} toggle what shows and hides it
   * @param {function} refused told an error, and how to try again
   */
  constructor(root, toggle, refused) {
    this.#root = root;
    this.#toggle = toggle;
    this.#refused = refused;
    toggle.addEventListener("click", () => this.#show(root.hidden));
  }

  /** An answer was stored: explain it, now or once somebody asks. */
  open(answer) {
    this.#abort.abort();
    this.#answer = answer;
    this.#explained = null;
    this.#ask(answer);
  }

  /** Forget it: what is on the sheet is no longer what was stored. */
  close() {
    this.open(null);
  }

  #show(shown) {
    this.#root.hidden = !shown;
    this.#toggle.setAttribute("aria-expanded", String(shown));
    if (!shown) this.#abort.abort();
    else if (!this.#explained) this.#ask(this.#answer);
  }

  async #ask(answer) {
    if (this.#root.hidden || answer !== this.#answer) return;
    if (!answer) return this.#say("Once a drawing is read and stored, this shows which of its ink the answer rests on.");
    this.#say("Erasing ink and reading again …");
    this.#abort = new AbortController();
    const { signal } = this.#abort;
    try {
      const explanation = await explainSubmission(answer.id, signal);
      if (signal.aborted) return;
      this.#explained = answer;
      this.#render(explanation, answer);
    } catch (error) {
      if (!(error instanceof ReadingError)) throw error;
      if (signal.aborted) return;
      this.#say("There is no explanation now.");
      this.#refused(error, () => this.#ask(answer));
    }
  }

  /** Show a sentence alone. */
  #say(text) {
    this.#part("answer").textContent = text;
    this.#part("runner-up").textContent = "";
    this.#showPicture("heat", null);
    this.#showPicture("other", null);
    this.#part("nearest").replaceChildren();
  }

  #render(explanation, answer) {
    const { without } = explanation.runner_up;
    this.#part("answer").textContent = answerInWords(explanation, answer);
    this.#part("runner-up").textContent = runnerUpInWords(explanation);
    this.#showPicture("heat", explanation.picture, `The ink that spoke most is bright: ${places(explanation)}`);
    this.#showPicture("other", without?.picture ?? answer.input, without ? "The ink that would have to go is bright" : "No ink is marked");
    this.#part("other").classList.toggle("why__unmarked", !without);
    const drawings = explanation.nearest.map((drawing) => drawingItem(drawing, explanation.digit));
    this.#part("nearest").replaceChildren(...(drawings.length ? drawings : [noneItem()]));
  }

  #showPicture(name, source, words = "") {
    const image = this.#part(name);
    image.hidden = !source;
    image.alt = words;
    if (source) image.src = source;
    else image.removeAttribute("src");
  }

  #part(name) {
    return this.#root.querySelector(`[data-why-${name}]`);
  }
}

function answerInWords(explanation, answer) {
  const { digit, marked, model_version: version } = explanation;
  const other = version === answer.model_version ? "" : `Version ${version}, which serves by now, reads ${named(digit)}. `;
  const spoke = `What spoke most ${digit === null ? "against a digit" : `for ${digit}`} is at the ${places(explanation)}.`;
  const reads = `${marked.digit === digit ? "still reads" : "reads"} ${named(marked.digit)}`;
  return `${other}${spoke} Without that ${share(marked)} of the ink, the network ${reads}.`;
}

function runnerUpInWords({ digit, runner_up: { digit: other, probability, without } }) {
  const next = digit === null ? "Were it a digit, most likely" : "Next most likely:";
  const chance = probability < LEAST_LIKELY ? "under 0.1%" : percent(probability);
  const taken = without
    ? `Without the bright ink, ${share(without)} of it all, the network reads ${named(other)}.`
    : `No ink was found whose absence would make it ${named(other)}.`;
  return `${next} ${named(other)}, ${chance}. ${taken}`;
}

function named(digit) {
  if (digit === null) return "no digit";
  return digit === 8 ? "an 8" : `a ${digit}`;
}

function share(erased) {
  return `${Math.round(erased.share * 100)}%`;
}

function places({ marked }) {
  const worth = marked.places.filter((place, index) => index === 0 || place.share >= WORTH_NAMING);
  return worth.slice(0, MOST_PLACES).map(({ place }) => place).join(" and ");
}

function drawingItem({ source, similarity, input }, digit) {
  const item = document.createElement("li");
  const image = document.createElement("img");
  Object.assign(image, { src: input, width: 28, height: 28, className: "nearest__input", alt: named(digit) });
  item.append(image, line(SOURCES[source]), line(`${Math.round(similarity * 100)}% alike`));
  return item;
}

function noneItem() {
  const item = document.createElement("li");
  item.className = "nearest__none";
  item.append(line("There is none yet."));
  return item;
}

function line(text) {
  const element = document.createElement("span");
  element.textContent = text;
  return element;
}
