// The drawing page: sends ink or a picture to the API, shows the answer and takes the correction.

import { AnswerView, verdictOf } from "./answer.js";
import { Feedback } from "./feedback.js";
import { Ink } from "./ink.js";
import { Notice } from "./notice.js";
import { Previews, ReadingError, removeSubmission, submitInk, submitPicture } from "./reader.js";
import { Sheet } from "./sheet.js";
import { Why } from "./why.js";
import { gettext, percent } from "./words.js";

const PEN_UP_MS = 600; // without a new stroke for this long, the drawing is finished
const KEY_UP_MS = 2500; // the same for the keyboard, where the next stroke takes longer

const root = document.querySelector("[data-draw]");
const part = (name) => root.querySelector(`[data-${name}]`);

const ink = new Ink();
const sheet = new Sheet(part("canvas"), ink);
const view = new AnswerView(part("reading"));
const notice = new Notice(part("alert"));
const previews = new Previews(showLive, previewFailed);
const feedback = new Feedback(part("feedback"), { forget, changed: render, refused: showError });
const why = new Why(part("why"), part("why-toggle"), showError);

const page = {
  answer: null, // the latest answer, live or stored
  storedId: null, // id of the stored submission of the sheet's content
  change: 0, // number of changes to the sheet; answers to an older state are dropped
  storing: null, // number of the change that is being stored
  failed: null, // number of the change that could not be stored
  inking: false, // whether a stroke is being drawn
  picture: null, // { file, url } in place of the ink
  idle: 0, // timer after which the drawing counts as finished
};

// Ink

sheet.addEventListener("strokestart", () => {
  clearTimeout(page.idle);
  if (page.picture || feedback.isAnswered) reset();
  page.inking = true;
  render();
});

sheet.addEventListener("strokemove", () => {
  if (page.inking) previews.ask(ink.toRequest());
  else if (!page.storedId) finishLater(KEY_UP_MS); // the keyboard's pen is moving to the next stroke
});

sheet.addEventListener("strokeend", ({ detail }) => {
  page.inking = false;
  inkChanged(detail?.byKey ? KEY_UP_MS : PEN_UP_MS);
  if (ink.isFull) notice.show(gettext("The sheet is full. Clear it to draw again."));
});

sheet.addEventListener("strokecancel", () => {
  page.inking = false;
  if (ink.isFull) notice.show(gettext("The sheet is full. Clear it to draw again."));
  else if (ink.isEmpty) reset();
  else if (!page.storedId) finishLater(PEN_UP_MS);
  render();
});

sheet.addEventListener("pen", ({ detail }) => announce(detail));

/** Delete any stored submission, as the drawing was unfinished, and store the current ink after a pause. */
function inkChanged(wait) {
  page.change += 1;
  announce("");
  notice.clear();
  discard(page.storedId);
  page.storedId = null;
  feedback.close();
  why.close();
  previews.ask(ink.toRequest(), true);
  finishLater(wait);
  render();
}

function finishLater(wait) {
  clearTimeout(page.idle);
  if (!ink.isEmpty) page.idle = setTimeout(predict, wait);
}

function undoStroke() {
  sheet.lift();
  if (ink.isEmpty || feedback.isAnswered) return;
  previews.cancel();
  ink.removeLast();
  sheet.paint();
  if (ink.isEmpty) clear();
  else inkChanged(PEN_UP_MS);
}

/** Empty the sheet on request. An unfinished drawing is not stored. */
function clear() {
  sheet.lift();
  reset();
  announce(gettext("The sheet is empty."));
}

/** Empty the sheet after its submission was deleted. */
function forget() {
  reset();
  part("canvas").focus({ preventScroll: true }); // the delete button, which had the focus, is hidden
}

function reset() {
  announce("");
  clearTimeout(page.idle);
  previews.cancel();
  notice.clear();
  page.change += 1;
  page.answer = null;
  page.storedId = null;
  ink.clear();
  dropPicture();
  feedback.close();
  why.close();
  sheet.paint();
  render();
}

// Reading

function showLive(answer) {
  if (page.storedId || ink.isEmpty) return;
  page.answer = answer;
  render();
}

/** Handle a failed preview. Only throttling is announced: other errors will show when the drawing is stored. */
function previewFailed(error) {
  if (error.kind === "throttled") announce(gettext("Live reading is paused for a moment."));
}

function predict() {
  sheet.lift();
  clearTimeout(page.idle);
  if (page.picture) return store(() => submitPicture(page.picture.file));
  if (ink.isEmpty) return notice.show(gettext("The sheet is empty. Draw a digit first."));
  return store(() => submitInk(ink.toRequest()));
}

/** Store the sheet's content once. If the content changes meanwhile, drop the result. */
async function store(submit) {
  const { change } = page;
  if (page.storedId || page.storing === change) return;
  page.storing = change;
  previews.cancel();
  notice.clear();
  render();
  try {
    const answer = await submit();
    if (change === page.change) stored(answer);
    else discard(answer.id);
  } catch (error) {
    if (!(error instanceof ReadingError)) throw error;
    if (change !== page.change) return;
    page.failed = change;
    showError(error, predict);
  } finally {
    if (page.storing === change) page.storing = null;
    render();
  }
}

function stored(answer) {
  page.answer = answer;
  page.storedId = answer.id;
  feedback.open(answer);
  why.open(answer);
  announce(gettext("%(verdict)s. Confidence %(share)s.", { verdict: verdictOf(answer), share: percent(answer.confidence) }));
}

/** Delete the submission of an unfinished drawing. A failure is harmless: it stays in its owner's history. */
function discard(id) {
  if (id) removeSubmission(id).catch(() => {});
}

/** Show an error with an action that resolves it. */
function showError(error, retry) {
  if (page.picture && error.kind === "refused") {
    reset();
    notice.show(error.message, gettext("Choose another"), () => part("file").click());
  } else if (error.kind === "throttled") {
    notice.countDown(`${error.message} ${gettext("Retrying")}`, error.wait, retry);
  } else if (error.kind === "offline") {
    notice.show(`${error.message} ${kept()}`, gettext("Try again"), retry, { whenOnline: true });
  } else if (error.kind === "server" || error.kind === "full") {
    notice.show(`${error.message} ${kept()}`, gettext("Try again"), retry);
  } else if (error.kind === "expired") {
    notice.show(error.message, gettext("Reload"), () => location.reload());
  } else {
    notice.show(error.message);
  }
}

function kept() {
  return page.picture ? gettext("The picture is kept.") : gettext("Your ink is kept.");
}

// Pictures

function readPicture(file) {
  if (!file.type.startsWith("image/")) return notice.show(gettext("That is not a picture."));
  sheet.lift();
  reset();
  page.picture = { file, url: URL.createObjectURL(file) };
  part("picture").src = page.picture.url;
  return predict();
}

function dropPicture() {
  if (!page.picture) return;
  URL.revokeObjectURL(page.picture.url);
  part("picture").removeAttribute("src");
  page.picture = null;
}

part("upload").addEventListener("click", () => part("file").click());
part("file").addEventListener("change", ({ target }) => {
  if (target.files.length) readPicture(target.files[0]);
  target.value = ""; // so that choosing the same file again fires the event
});

document.addEventListener("paste", (event) => {
  const file = [...(event.clipboardData?.files ?? [])].find(({ type }) => type.startsWith("image/"));
  if (!file) return;
  event.preventDefault();
  readPicture(file);
});

// A picture can be dropped anywhere. Beside the sheet, the browser would otherwise open it and leave the page.
const carriesFile = (event) => event.dataTransfer?.types.includes("Files");
document.addEventListener("dragover", (event) => {
  if (!carriesFile(event)) return;
  event.preventDefault();
  part("sheet").dataset.drop = "";
});
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) delete part("sheet").dataset.drop;
});
document.addEventListener("drop", (event) => {
  delete part("sheet").dataset.drop;
  if (!carriesFile(event)) return;
  event.preventDefault();
  if (event.dataTransfer.files.length) readPicture(event.dataTransfer.files[0]);
});

// Buttons and keys

part("undo").addEventListener("click", undoStroke);
part("clear").addEventListener("click", clear);
part("predict").addEventListener("click", predict);

document.addEventListener("keydown", (event) => {
  if (event.defaultPrevented || event.altKey || event.target.closest("input, textarea, select")) return;
  if (shortcut(event)) event.preventDefault();
});

/** Handle a key; return whether it was a shortcut and was used. */
function shortcut({ key, ctrlKey, metaKey, shiftKey, target, repeat }) {
  if (ctrlKey || metaKey) {
    if (key.toLowerCase() !== "z" || shiftKey) return false;
    if (feedback.isAnswered) feedback.withdraw();
    else undoStroke();
    return true;
  }
  if (key === "Escape" || key === "Delete") {
    clear();
    return true;
  }
  if (key === "Enter" && !target.closest("a, button, summary")) {
    predict();
    return true;
  }
  return !repeat && part("keys").checked && feedback.key(key);
}

const KEYS = "single-keys"; // localStorage key: "off" if the visitor turned the shortcuts off
part("keys").addEventListener("change", ({ target }) => {
  try {
    localStorage.setItem(KEYS, target.checked ? "on" : "off");
  } catch {
    // Storage can be forbidden: the choice then lasts only for this page.
  }
});

// Page

function announce(text) {
  part("announcer").textContent = text;
}

function render() {
  const empty = ink.isEmpty && !page.picture;
  part("hint").hidden = !empty || page.inking;
  part("picture").hidden = !page.picture;
  part("undo").disabled = ink.isEmpty || Boolean(page.picture) || feedback.isAnswered;
  part("clear").disabled = empty;
  feedback.enable(Boolean(page.storedId) && !page.inking);
  view.show(...state(empty), page.answer);
}

function state(empty) {
  if (empty && !page.inking) return ["empty", gettext("Waiting for ink")];
  if (page.storing === page.change) return ["reading", gettext("Reading")];
  if (page.storedId && !page.inking) return ["stored", gettext("Read and stored")];
  if (page.failed === page.change && !page.inking) return ["stopped", gettext("Not stored yet")];
  return ["live", gettext("Live, while you draw")];
}

function start() {
  try {
    part("keys").checked = localStorage.getItem(KEYS) !== "off";
  } catch {
    // Storage can be forbidden: the shortcuts stay on.
  }
  sheet.paint();
  render();
}

start();
