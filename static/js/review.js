// The review: one card before the reviewer, the next ones under it. A decision goes to the site at once while the next
// card is there already; what could not be saved comes back with the reason on it.

import { OUTCOME, Outbox } from "./outbox.js";
import { Replay } from "./replay.js";
import { gettext } from "./words.js";

const FEW = 14; // cards left: time to fetch more
const SAID_MS = 6_000;
const YEAR_S = 365 * 24 * 3600;
const KEYS = "review-keys"; // in the browser's storage: whether single keys are in use

const WORDS = { accept: gettext("Accepted"), reject: gettext("Rejected"), none: gettext("Saved: not a digit") };

const root = document.querySelector("[data-review]");
const part = (name) => root.querySelector(`[data-${name}]`);
const deck = part("deck");
const said = part("said");
const outbox = new Outbox(root.dataset);
const replay = new Replay();

const seen = new Set(); // numbers of the cards that this page ever had
const decided = []; // what can be undone, the latest last: { cards, outcome }
let tally = 0;
let timer = 0;
let fetching = false;

const cards = () => [...deck.children];
const current = () => deck.querySelector("[aria-current]");
const box = (card) => card.querySelector("input[type=checkbox]");
const selected = () => cards().filter((card) => box(card).checked);

// Decisions

/** Put cards away and send what was decided of them; they come back if that fails. */
async function decide(chosen, word) {
  if (chosen.length === 0) return;
  const here = current();
  const next = chosen.includes(here) ? following(here, chosen) : here;
  const entry = { cards: chosen, outcome: outbox.decide(chosen.map((card) => card.dataset.card), word) };
  decided.push(entry);
  replay.stop();
  const focused = holdsFocus();
  for (const card of chosen) {
    card.removeAttribute("aria-current");
    box(card).checked = false;
    within(card, "trouble").hidden = true;
    card.remove();
  }
  show(next, focused);
  say(chosen.length > 1 ? gettext("%(count)s drawings: %(done)s", { count: chosen.length, done: inWords(word) }) : inWords(word));
  refill();
  settle(entry, await entry.outcome);
}

function settle(entry, outcome) {
  const late = new Set(outcome.late.map(String));
  switch (outcome.kind) {
    case OUTCOME.SAVED:
      count(entry.cards.length - late.size);
      if (late.size) say(tooLate(late.size), "warning");
      break;
    case OUTCOME.LATE:
      forget(entry);
      say(tooLate(entry.cards.length), "warning");
      break;
    default:
      forget(entry);
      for (const card of entry.cards) bringBack(card, outcome.message);
      say(gettext("Not saved: %(reason)s The card is back.", { reason: outcome.message }), "error");
  }
  entry.cards = entry.cards.filter((card) => !late.has(card.dataset.card));
}

/** What could not be saved comes next, not at once: a key that is being pressed is meant for the card that is there. */
function bringBack(card, reason) {
  const trouble = within(card, "trouble");
  trouble.textContent = gettext("Not saved: %(reason)s Decide again.", { reason });
  trouble.hidden = false;
  const here = current();
  if (here) here.after(card);
  else {
    deck.append(card);
    show(card);
  }
  render();
}

async function undo() {
  const entry = decided.pop();
  if (!entry) {
    say(gettext("There is nothing to undo on this page."));
    return;
  }
  const outcome = await entry.outcome;
  if (outcome.kind !== OUTCOME.SAVED) return; // it is back already, or it was never this reviewer's
  const undone = await outbox.undo(outcome.done);
  if (undone.kind === OUTCOME.SAVED) {
    count(-entry.cards.length);
    deck.prepend(...entry.cards);
    show(entry.cards[0]);
    say(gettext("Undone: it waits again."));
  } else if (undone.kind === OUTCOME.LATE) {
    say(gettext("That can no longer be undone."), "warning");
  } else {
    decided.push(entry);
    say(undone.message, "error");
  }
}

function forget(entry) {
  const place = decided.indexOf(entry);
  if (place >= 0) decided.splice(place, 1);
}

function inWords(word) {
  return WORDS[word] ?? gettext("Saved: it is %(digit)s", { digit: word });
}

function tooLate(number) {
  return number > 1
    ? gettext("Somebody else decided %(count)s of them first; nothing was changed there.", { count: number })
    : gettext("Somebody else decided that one first; nothing was changed.");
}

function count(more) {
  tally += more;
  part("tally").textContent = tally ? gettext("%(count)s decided", { count: tally }) : "";
}

// Cards

/** The card after one, or before it, that is not among those that go. */
function following(card, going) {
  const stays = (other) => !going.includes(other);
  const all = cards();
  const place = all.indexOf(card);
  return all.slice(place + 1).find(stays) ?? all.slice(0, place).reverse().find(stays) ?? null;
}

/** Whether the focus may follow the card that is open; it stays with a button elsewhere on the page. */
function holdsFocus() {
  return document.activeElement === document.body || deck.contains(document.activeElement);
}

function show(card, focused = holdsFocus()) {
  const before = current();
  if (before && before !== card) {
    before.removeAttribute("aria-current");
    replay.stop();
  }
  if (card) {
    card.setAttribute("aria-current", "true");
    if (focused) card.focus({ preventScroll: true });
    mark(card);
  }
  render();
}

/** Show which ones are near-identical to the one that is before the reviewer. */
function mark(card) {
  for (const other of cards()) other.classList.toggle("card--alike", other !== card && other.dataset.group === card.dataset.group);
}

function move(step) {
  const all = cards();
  const place = all.indexOf(current()) + step;
  if (place < 0 || place >= all.length) return;
  show(all[place]);
  if (all.length - place < FEW) refill();
}

function render() {
  const count = selected().length;
  const none = deck.childElementCount === 0;
  part("none").hidden = !none || fetching || Boolean(part("next"));
  part("selected").textContent = gettext("Selected drawings: %(count)s", { count });
}

/** Fetch the next page of cards before this one is through. */
async function refill() {
  const link = part("next");
  if (fetching || !link || deck.childElementCount - cards().indexOf(current()) > FEW) return;
  fetching = true;
  try {
    const response = await fetch(link.href, { signal: AbortSignal.timeout(20_000) });
    const page = new DOMParser().parseFromString(await response.text(), "text/html");
    if (!response.ok || !page.querySelector("[data-review]")) throw new Error(response.statusText);
    add(page);
  } catch {
    say(gettext("Further cards could not be fetched. The link below tries again."), "error");
    return;
  } finally {
    fetching = false;
    render();
  }
  if (deck.childElementCount <= FEW) refill();
}

function add(page) {
  for (const card of page.querySelectorAll("[data-card]")) {
    if (seen.has(card.dataset.card)) continue;
    seen.add(card.dataset.card);
    card.removeAttribute("aria-current");
    deck.append(document.adoptNode(card));
  }
  part("pager").replaceChildren(...page.querySelector("[data-pager]").childNodes);
  part("none").replaceChildren(...page.querySelector("[data-none]").childNodes);
  if (!current() && deck.firstElementChild) show(deck.firstElementChild);
}

function within(card, name) {
  return card.querySelector(`[data-${name}]`);
}

function selectAlike() {
  const here = current();
  if (!here) return;
  for (const card of cards()) if (card.dataset.group === here.dataset.group) box(card).checked = true;
  render();
}

// Opinion, help, and what is said

function switchOpinion() {
  const hidden = root.dataset.opinion !== "hidden";
  root.dataset.opinion = hidden ? "hidden" : "shown";
  document.cookie = `opinion=${root.dataset.opinion}; path=/; max-age=${YEAR_S}; samesite=lax${location.protocol === "https:" ? "; secure" : ""}`;
  const button = part("opinion-switch");
  part("opinion-text").textContent = hidden ? button.dataset.show : button.dataset.hide;
}

function switchHelp() {
  const help = part("help");
  help.open = !help.open;
  help.querySelector("summary").focus();
}

/** Say it at the foot of the window, where it moves nothing. */
function say(sentence, level = "success") {
  clearTimeout(timer);
  const line = document.createElement("p");
  line.className = `said__line said__line--${level}`;
  line.textContent = sentence;
  said.classList.add("said--afloat");
  said.replaceChildren(line);
  timer = setTimeout(() => said.replaceChildren(), SAID_MS);
}

// Keys and presses

function keyed(key, shift) {
  const here = current();
  if (shift && key === "a") return decide(selected(), "accept");
  if (shift && key === "r") return decide(selected(), "reject");
  if (key === "?") return switchHelp();
  if (shift) return false;
  if (key === "z") return undo();
  if (key === "h") return switchOpinion();
  if (key === "s") return selectAlike();
  if (!here) return false;
  if (key === "a") return decide([here], "accept");
  if (key === "r") return decide([here], "reject");
  if (key === "n") return decide([here], "none");
  if (/^[0-9]$/.test(key)) return decide([here], key);
  if (key === "p") return play(here);
  if (key === "x") {
    box(here).checked = !box(here).checked;
    return render();
  }
  return false;
}

function play(card) {
  if (within(card, "replay")) replay.play(card.querySelector(".card__paper"), card.dataset.drawing).catch((error) => say(error.message, "error"));
}

const STEPS = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };
const leftwards = document.documentElement.dir === "rtl";

document.addEventListener("keydown", (event) => {
  const { key, target } = event;
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
  if (target.matches("select, textarea, input:not([type=checkbox])")) return;
  if (key in STEPS) {
    const aside = key === "ArrowLeft" || key === "ArrowRight";
    move(aside && leftwards ? -STEPS[key] : STEPS[key]);
    event.preventDefault();
    return;
  }
  if (event.repeat || !part("keys").checked) return; // a key that is held down decides once
  if (keyed(key.toLowerCase(), event.shiftKey && key !== "?") !== false) event.preventDefault();
});

root.addEventListener("submit", (event) => {
  const { target, submitter } = event;
  if (target.matches("[data-decide]")) decide([target.closest("[data-card]")], submitter.value);
  else if (target.matches("[data-bulk]")) decide(selected(), submitter.value);
  else if (target.matches("[data-undo-form]") && decided.length) undo();
  else if (target.matches("[data-opinion-form]")) switchOpinion();
  else return;
  event.preventDefault();
});

root.addEventListener("click", (event) => {
  const card = event.target.closest("[data-card]");
  if (event.target.closest("[data-replay]")) play(card);
  else if (event.target.closest("[data-alike]")) selectAlike();
  else if (event.target.closest("[data-open]")) {
    event.preventDefault();
    if (card === current()) play(card);
    else {
      show(card);
      card.focus({ preventScroll: true });
      card.scrollIntoView({ block: "nearest" });
    }
  }
});

root.addEventListener("change", ({ target }) => {
  if (target.matches("[data-keys]")) remember(target.checked);
  else render();
});
root.addEventListener("reset", () => setTimeout(render));

function remember(used) {
  try {
    localStorage.setItem(KEYS, used ? "on" : "off");
  } catch {
    // Storage can be forbidden: the choice then lasts for this page.
  }
}

function remembered() {
  try {
    return localStorage.getItem(KEYS) !== "off";
  } catch {
    return true;
  }
}

part("keys").checked = remembered();
for (const card of cards()) {
  seen.add(card.dataset.card);
  box(card).checked = false; // a browser may have kept it over a reload
}
if (current()) mark(current());
render();
refill();
