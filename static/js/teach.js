// Teach: asks for one digit after another and saves each drawing with its label.

import { nameOf } from "./answer.js";
import { Ink } from "./ink.js";
import { Notice } from "./notice.js";
import { ReadingError, correct, removeSubmission, submitInk } from "./reader.js";
import { Sheet } from "./sheet.js";
import { gettext, percent } from "./words.js";

const PEN_UP_MS = 900; // without a new stroke for this long, the digit is finished

const root = document.querySelector("[data-teach]");
const part = (name) => root.querySelector(`[data-${name}]`);
const counts = [...root.querySelectorAll("[data-count]")];
const order = root.dataset.order.split(" ").map(Number); // by need, greatest first

const ink = new Ink();
const sheet = new Sheet(part("canvas"), ink);
const notice = new Notice(part("alert"));

let asked = next(null);
let idle = 0;
let last = null; // { id, digit } of the drawing saved last
let sending = false;
let stored = null; // the answer to a drawing that is stored without a label so far

/** Return the digit other than `not` that was given least often; of several, the one the network needs most. */
function next(not) {
  const given = (digit) => Number(counts[digit].textContent);
  return order.filter((digit) => digit !== not).reduce((best, digit) => (given(digit) < given(best) ? digit : best));
}

function render() {
  part("asked").textContent = gettext("Draw %(a_digit)s", { a_digit: nameOf(asked) });
  part("back").hidden = !last;
  for (const item of part("given").children) item.classList.toggle("given__one--asked", Number(item.dataset.digit) === asked);
}

function say(text) {
  part("said").textContent = text || "\u00a0";
}

/** Delete a drawing stored without a label. A failure is harmless: it stays among the visitor's drawings. */
function forget() {
  if (stored) removeSubmission(stored.id).catch(() => {});
  stored = null;
}

function clear() {
  sheet.lift();
  clearTimeout(idle);
  forget();
  ink.clear();
  sheet.paint();
}

function add(digit, howMany) {
  counts[digit].textContent = String(Math.max(Number(counts[digit].textContent) + howMany, 0));
}

/** Save the drawing with the digit that was asked for, then ask for the next one. */
async function save(request = ink.toRequest(), digit = asked) {
  if (sending) return;
  sending = true;
  notice.clear();
  try {
    stored ??= await submitInk(request);
    const answer = stored;
    await correct(answer.id, digit);
    stored = null;
    last = { id: answer.id, digit };
    add(digit, 1);
    say(answer.digit === digit
      ? gettext("It read %(a_digit)s, with %(share)s confidence. Saved, thank you.", { a_digit: nameOf(digit), share: percent(answer.confidence) })
      : gettext("It read %(a_digit)s, so it can learn from this one. Saved, thank you.", { a_digit: nameOf(answer.digit) }));
    asked = next(digit);
    clear();
  } catch (error) {
    if (!(error instanceof ReadingError)) throw error;
    const again = () => save(request, digit);
    if (error.kind === "throttled") notice.countDown(`${error.message} ${gettext("Retrying")}`, error.wait, again);
    else if (error.kind === "expired") notice.show(error.message, gettext("Reload"), () => location.reload());
    else notice.show(`${error.message} ${gettext("Your ink is kept.")}`, gettext("Try again"), again, { whenOnline: error.kind === "offline" });
  } finally {
    sending = false;
    render();
  }
}

async function undoLast() {
  const { id, digit } = last;
  try {
    await removeSubmission(id);
    last = null;
    add(digit, -1);
    say(gettext("The last drawing was removed."));
    asked = digit;
    part("canvas").focus({ preventScroll: true });
  } catch (error) {
    if (!(error instanceof ReadingError)) throw error;
    notice.show(error.message);
  }
  render();
}

function finishLater(wait) {
  clearTimeout(idle);
  if (!ink.isEmpty) idle = setTimeout(save, wait);
}

sheet.addEventListener("strokestart", () => {
  clearTimeout(idle);
  notice.clear();
  forget(); // the stored drawing was unfinished, as there is another stroke
});
sheet.addEventListener("strokeend", ({ detail }) => {
  if (!detail?.byKey) finishLater(PEN_UP_MS); // with keys the next stroke takes longer, so Enter finishes instead
});
part("canvas").addEventListener("keydown", ({ key }) => {
  if (key === "Enter") finishLater(0);
});
sheet.addEventListener("strokecancel", () => finishLater(PEN_UP_MS));
sheet.addEventListener("pen", ({ detail }) => say(detail));
part("clear").addEventListener("click", clear);
part("back").addEventListener("click", undoLast);
part("skip").addEventListener("click", () => {
  clear();
  order.push(...order.splice(order.indexOf(asked), 1)); // ask for it last
  asked = next(asked);
  render();
});
sheet.paint();
render();
