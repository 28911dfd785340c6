// Decisions on their way to the site: how each ended, as a kind; nothing is ever thrown, so nothing is lost unseen.

import { gettext } from "./words.js";

const PATIENCE_MS = 20_000;
const USUAL_WAIT_S = 5; // when a throttled answer does not say how long
const TRIES = 4; // of one decision, when the site says that it were too many at once

export const OUTCOME = { SAVED: "saved", LATE: "late", FAILED: "failed" };

export class Outbox {
  #addresses;

  /** @param {{decide: string, undoAt: string}} addresses where decisions go, and their undoing */
  constructor(addresses) {
    this.#addresses = addresses;
  }

  /** Send one decision about some corrections: `{ kind, done, late, message }`, numbers of corrections in the lists. */
  decide(numbers, word) {
    if (numbers.length === 1 && (word === "accept" || word === "reject")) {
      return this.#send(`/api/v1/corrections/${numbers[0]}/${word}`, [], numbers);
    }
    return this.#send(this.#addresses.decide, [["act", word], ...fields(numbers)], numbers);
  }

  undo(numbers) {
    return this.#send(this.#addresses.undoAt, fields(numbers), numbers);
  }

  async #send(address, body, numbers) {
    for (let tries = 1; ; tries += 1) {
      const [response, answer] = await post(address, body);
      if (!response) return failed(gettext("The site cannot be reached."));
      if (response.status === 429 && tries < TRIES) await pause(seconds(response));
      else return outcome(response, answer, numbers);
    }
  }
}

function outcome(response, answer, numbers) {
  if (response.status === 409 || response.status === 404) return { kind: OUTCOME.LATE, done: [], late: numbers };
  if (response.ok && answer) return { kind: OUTCOME.SAVED, done: answer.done ?? numbers, late: answer.late ?? [] };
  if (response.ok || response.status === 401 || response.status === 403) {
    return failed(gettext("This page was open for too long. Load it again to go on.")); // a login page came instead
  }
  if (response.status === 429) return failed(gettext("That was a lot at once."));
  return failed(gettext("The site has a problem and could not save it."));
}

function failed(message) {
  return { kind: OUTCOME.FAILED, done: [], late: [], message };
}

/** The response and its JSON, or nulls. `keepalive`: the last decision arrives even if the page is left at once. */
async function post(address, body) {
  const headers = { Accept: "application/json", "X-CSRFToken": document.querySelector("input[name=csrfmiddlewaretoken]").value };
  const signal = AbortSignal.timeout(PATIENCE_MS);
  try {
    const response = await fetch(address, { method: "POST", headers, body: new URLSearchParams(body), signal, keepalive: true });
    return [response, parsed(await response.text())];
  } catch {
    return [null, null];
  }
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

function fields(numbers) {
  return numbers.map((number) => ["correction", number]);
}

function seconds(response) {
  const wait = Number(response.headers.get("Retry-After"));
  return wait > 0 ? wait : USUAL_WAIT_S;
}

function pause(s) {
  return new Promise((resolve) => {
    setTimeout(resolve, 1000 * s);
  });
}
