// Explanation of the answer: the ink it depends on, the change that would make it the runner-up, similar drawings.

import { nameOf } from "./answer.js";
import { ReadingError, explainSubmission } from "./reader.js";
import { gettext, percent } from "./words.js";

const MIN_SHARE = 0.2; // places with a smaller share of the marked ink are left out
const MOST_PLACES = 2;
const MIN_PROBABILITY = 0.001;
const SOURCES = { yours: gettext("Yours"), accepted: gettext("Accepted"), mnist: "MNIST" };
const PLACES = {
  "upper left": gettext("at the upper left"),
  top: gettext("at the top"),
  "upper right": gettext("at the upper right"),
  left: gettext("at the left"),
  middle: gettext("in the middle"),
  right: gettext("at the right"),
  "lower left": gettext("at the lower left"),
  bottom: gettext("at the bottom"),
  "lower right": gettext("at the lower right"),
};

export class Why {
  #root;
  #toggle;
  #refused;
  #answer = null;
  #explained = null; // the answer whose explanation is displayed
  #abort = new AbortController();

  /**
   * @param {HTMLElement} root the element with `data-why`
   * @param {HTMLButtonElement} toggle shows and hides the explanation
   * @param {function} refused called with an error and a function that retries
   */
  constructor(root, toggle, refused) {
    this.#root = root;
    this.#toggle = toggle;
    this.#refused = refused;
    toggle.addEventListener("click", () => this.#show(root.hidden));
  }

  /** Set the stored answer, and explain it now if the panel is open, else when it opens. */
  open(answer) {
    this.#abort.abort();
    this.#answer = answer;
    this.#explained = null;
    this.#ask(answer);
  }

  /** Drop the answer: the sheet's content is no longer the stored submission. */
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
    if (!answer) return this.#say(gettext("When a drawing has been read and stored, this shows which ink the answer depends on."));
    this.#say(gettext("Erasing ink and reading again …"));
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
      this.#say(gettext("No explanation is available now."));
      this.#refused(error, () => this.#ask(answer));
    }
  }

  /** Show only a sentence. */
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
    this.#showPicture("heat", explanation.picture, gettext("The ink with the most influence is bright: %(places)s", { places: places(explanation) }));
    this.#showPicture("other", without?.picture ?? answer.input, without ? gettext("The ink that would have to be removed is bright") : gettext("No ink is marked"));
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
  const values = { digit, version, a_digit: nameOf(digit), other: nameOf(marked.digit), places: places(explanation), share: percent(marked.share, 0) };
  const sentences = [
    version !== answer.model_version && gettext("Version %(version)s, which is active now, reads %(a_digit)s.", values),
    digit === null ? gettext("The strongest evidence against a digit is %(places)s.", values) : gettext("The strongest evidence for %(digit)s is %(places)s.", values),
    marked.digit === digit
      ? gettext("Without that %(share)s of the ink, the network still reads %(other)s.", values)
      : gettext("Without that %(share)s of the ink, the network reads %(other)s.", values),
  ];
  return sentences.filter(Boolean).join(" ");
}

function runnerUpInWords({ digit, runner_up: { digit: other, probability, without } }) {
  const chance = probability < MIN_PROBABILITY ? gettext("under %(share)s", { share: percent(MIN_PROBABILITY) }) : percent(probability);
  const values = { a_digit: nameOf(other), chance, share: without && percent(without.share, 0) };
  const next = digit === null ? gettext("If it were a digit: most likely %(a_digit)s, %(chance)s.", values) : gettext("Next most likely: %(a_digit)s, %(chance)s.", values);
  const taken = without
    ? gettext("Without the bright ink (%(share)s of all ink), the network reads %(a_digit)s.", values)
    : gettext("No ink was found that could be removed to make it %(a_digit)s.", values);
  return `${next} ${taken}`;
}

function places({ marked }) {
  const worth = marked.places.filter((place, index) => index === 0 || place.share >= MIN_SHARE);
  return worth.slice(0, MOST_PLACES).map(({ place }) => PLACES[place] ?? place).join(gettext(" and "));
}

function drawingItem({ source, similarity, input }, digit) {
  const item = document.createElement("li");
  const image = document.createElement("img");
  Object.assign(image, { src: input, width: 28, height: 28, className: "nearest__input", alt: nameOf(digit) });
  item.append(image, line(SOURCES[source]), line(gettext("%(share)s match", { share: percent(similarity, 0) })));
  return item;
}

function noneItem() {
  const item = document.createElement("li");
  item.className = "nearest__none";
  item.append(line(gettext("None yet.")));
  return item;
}

function line(text) {
  const element = document.createElement("span");
  element.textContent = text;
  return element;
}
