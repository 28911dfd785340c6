// My digits without leaving the page: sends a card's form, takes the list from the answer, keeps the place and the focus.

const PATIENCE_MS = 20_000;
const SAID_MS = 6_000; // what was done also stands in the card, so the note may go

const page = document.querySelector("[data-mine]");
const said = page.querySelector("[data-said]");
let timer = 0;

page.addEventListener("submit", (event) => {
  if (!event.target.matches("[data-act]")) return;
  event.preventDefault();
  act(event.target, event.submitter);
});

page.addEventListener("change", ({ target }) => {
  if (target.matches("[data-digit-filter] select")) target.form.requestSubmit();
});

async function act(form, submitter) {
  if (page.ariaBusy === "true") return;
  page.ariaBusy = "true";
  try {
    const body = new URLSearchParams(new FormData(form, submitter));
    const address = submitter?.getAttribute("formaction") ?? form.action;
    const response = await fetch(address, { method: "POST", body, signal: AbortSignal.timeout(PATIENCE_MS) });
    const answer = new DOMParser().parseFromString(await response.text(), "text/html");
    if (response.ok && answer.querySelector("[data-mine]")) show(answer, form.closest(".card"));
    else say(answer.querySelector("main h1")?.textContent ?? page.dataset.failed);
  } catch {
    say(page.dataset.failed);
  } finally {
    page.ariaBusy = "false";
  }
}

/** Put the answer's list in the place of this one, and the focus where it was, or on the card that came there. */
function show(answer, card) {
  const place = [...page.querySelectorAll(".card")].indexOf(card);
  for (const part of page.querySelectorAll("[data-part]")) {
    part.replaceChildren(...answer.querySelector(`[data-part="${part.dataset.part}"]`).childNodes);
  }
  say(...[...answer.querySelectorAll("[data-said] p")].map((line) => line.textContent));
  const there = document.getElementById(card.id)?.querySelector("summary") ?? [...page.querySelectorAll(".card")].at(place);
  (there ?? document.getElementById("main")).focus();
}

/** Say it at the foot of the window, where it moves nothing. */
function say(...sentences) {
  clearTimeout(timer);
  const lines = sentences.map((sentence) => {
    const line = document.createElement("p");
    line.className = "said__line";
    line.textContent = sentence;
    return line;
  });
  said.classList.add("said--afloat");
  said.replaceChildren(...lines);
  timer = setTimeout(() => said.replaceChildren(), SAID_MS);
}
