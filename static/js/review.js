// The review: a key clicks the button it is assigned to. The next card opens while the decision is being sent.

import { replay } from "./replay.js";
import { gettext } from "./words.js";

const root = document.querySelector("[data-review]");
const deck = root.querySelector("[data-deck]");
const said = root.querySelector("[data-said]");
const tally = root.querySelector("[data-tally]");

const [FORWARD, BACK] = document.dir === "rtl" ? ["ArrowLeft", "ArrowRight"] : ["ArrowRight", "ArrowLeft"];

let decided = 0;
let sending = Promise.resolve(); // decisions are sent one after the other, so that undo reverts the last one

const open = () => deck.querySelector("[aria-current]");
const waiting = () => [...deck.querySelectorAll("[data-card]:not([hidden])")];
const box = (card) => card?.querySelector("[type=checkbox]");

function show(card) {
  open()?.removeAttribute("aria-current");
  card.setAttribute("aria-current", "true");
  card.focus({ preventScroll: true });
}

function move(step) {
  const all = waiting();
  const next = all[all.indexOf(open()) + step];
  if (next) show(next);
}

/** Hide the card and open the next one. If the decision cannot be saved, the card returns with the reason. */
async function decide(form, button) {
  const card = form.closest("[data-card]");
  const all = waiting();
  const next = all[all.indexOf(card) + 1] ?? all[all.indexOf(card) - 1];
  const body = new FormData(form, button);
  card.hidden = true;
  card.removeAttribute("aria-current");
  if (next) show(next);
  sending = sending.then(() => send(form.action, body));
  const { status, detail } = await sending;
  const saved = status === 200;
  said.textContent = detail;
  decided += saved;
  tally.textContent = gettext("%(count)s decided", { count: decided });
  if (saved || status === 409) {
    card.remove();
  } else {
    card.querySelector("[data-trouble]").textContent = detail;
    card.hidden = false;
    if (!open()) show(card);
  }
  if (deck.childElementCount === 0) location.reload(); // load the next cards
}

/** Send a decision; with `keepalive` it arrives even if the page is closed at once. */
async function send(address, body) {
  try {
    const headers = { Accept: "application/json" };
    const response = await fetch(address, { method: "POST", headers, body: new URLSearchParams(body), keepalive: true });
    const { detail } = await response.json();
    return { status: response.status, detail };
  } catch {
    return { status: 0, detail: gettext("Not saved: the site cannot be reached.") };
  }
}

function selectAlike(card) {
  for (const other of waiting()) if (other.dataset.group === card.dataset.group) box(other).checked = true;
}

function press(key, shift) {
  const card = open();
  if (key === "?") root.querySelector("[data-help] summary").click();
  else if (key === "h") root.querySelector("[name=blind]").click();
  else if (key === "z") sending.then(() => root.querySelector("[data-undo]").click());
  else if (key === "x") box(card)?.click();
  else if (shift) root.querySelector(`[data-bulk="${key}"]`)?.click();
  else card?.querySelector(`[aria-keyshortcuts="${key.toUpperCase()}"]`)?.click();
}

root.addEventListener("submit", (event) => {
  if (!event.target.matches("[data-decide]")) return;
  event.preventDefault();
  decide(event.target, event.submitter);
});

root.addEventListener("click", ({ target }) => {
  const card = target.closest("[data-card]");
  if (card && card !== open() && !target.closest(".card__select")) show(card);
  if (target.closest("[data-alike]")) selectAlike(card);
  if (target.closest("[data-replay]")) {
    replay(card.querySelector(".card__paper"), card.dataset.drawing).catch((error) => {
      said.textContent = error.message;
    });
  }
});

root.querySelector("[name=blind]").addEventListener("change", ({ target }) => target.form.requestSubmit());

// Single keys work only while the focus is within the review and not in a text field or a list.
root.addEventListener("keydown", (event) => {
  const { key, target } = event;
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  if (target.matches("select, input:not([type=checkbox])")) return;
  if (key === FORWARD || key === "ArrowDown") move(1);
  else if (key === BACK || key === "ArrowUp") move(-1);
  else if (/^[a-z0-9?]$/i.test(key)) press(key.toLowerCase(), event.shiftKey && key !== "?");
  else return;
  event.preventDefault();
});

open()?.focus({ preventScroll: true });
