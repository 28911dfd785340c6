// My digits without reloading: submits a card's form, replaces the list with the response's, keeps scroll and focus.

const TIMEOUT_MS = 20_000;
const MESSAGE_MS = 6_000; // a message may disappear because the card shows the result too

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
    const response = await fetch(address, { method: "POST", body, signal: AbortSignal.timeout(TIMEOUT_MS) });
    const answer = new DOMParser().parseFromString(await response.text(), "text/html");
    if (response.ok && answer.querySelector("[data-mine]")) show(answer, form.closest(".card"));
    else say(answer.querySelector("main h1")?.textContent ?? page.dataset.failed);
  } catch {
    say(page.dataset.failed);
  } finally {
    page.ariaBusy = "false";
  }
}

/** Replace the list with the response's; restore the focus, or move it to the card that is now in that place. */
function show(answer, card) {
  const place = [...page.querySelectorAll(".card")].indexOf(card);
  for (const part of page.querySelectorAll("[data-part]")) {
    part.replaceChildren(...answer.querySelector(`[data-part="${part.dataset.part}"]`).childNodes);
  }
  say(...[...answer.querySelectorAll("[data-said] p")].map((line) => line.textContent));
  const there = document.getElementById(card.id)?.querySelector("summary") ?? [...page.querySelectorAll(".card")].at(place);
  (there ?? document.getElementById("main")).focus();
}

/** Show messages at the bottom of the window, where they do not move the page. */
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
  timer = setTimeout(() => said.replaceChildren(), MESSAGE_MS);
}
