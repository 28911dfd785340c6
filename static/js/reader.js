// API client of the pages: one function per call, errors with a kind and a sentence, one preview request at a time.

import { gettext } from "./words.js";

const API = "/api/v1";
const TIMEOUT_MS = 20_000;
const PREVIEW_GAP_MS = 120; // pause between previews, so that slow drawing does not flood the site
const DEFAULT_WAIT_S = 5; // if a 429 response has no Retry-After
const MAX_WAIT_S = 600; // longest countdown; a longer wait is a daily quota

/** A failed call; `kind` is `offline`, `throttled`, `full`, `refused`, `expired`, `gone`, `decided` or `server`. */
export class ReadingError extends Error {
  constructor(kind, message, { wait = 0, cause } = {}) {
    super(message, { cause });
    this.kind = kind;
    this.wait = wait; // seconds
  }
}

/** Read and store a drawing: `{ strokes, width, height }`. */
export function submitInk(request) {
  return call("POST", "/submissions", { json: request });
}

/** Read and store a picture. */
export function submitPicture(file) {
  const form = new FormData();
  form.append("image", file);
  return call("POST", "/submissions", { form });
}

/** Fetch the explanation of a stored submission's answer. */
export function explainSubmission(id, signal) {
  return call("GET", `/submissions/${id}/explanation`, { signal });
}

export function removeSubmission(id) {
  return call("DELETE", `/submissions/${id}`);
}

/** Correct or confirm an answer: 0–9, or null for not a digit. */
export function correct(id, digit) {
  return call("POST", `/submissions/${id}/correction`, { json: { digit } });
}

export function withdrawCorrection(id) {
  return call("DELETE", `/submissions/${id}/correction`);
}

/** Previews while drawing: one request in flight, and at most one waiting, the newest. */
export class Previews {
  #onAnswer;
  #onError;
  #next = null;
  #controller = null;
  #restUntil = 0;
  #hurry = () => {}; // ends the pause after the request in flight

  constructor(onAnswer, onError) {
    this.#onAnswer = onAnswer;
    this.#onError = onError;
  }

  /** @param {boolean} now skip the pause, because the pen was lifted */
  ask(request, now = false) {
    this.#next = request;
    if (now) this.#hurry();
    if (!this.#controller) this.#run();
  }

  /** Drop the waiting request and the response in flight. */
  cancel() {
    this.#next = null;
    this.#controller?.abort();
  }

  async #run() {
    const controller = new AbortController();
    const { signal } = controller;
    this.#controller = controller;
    while (this.#next && !signal.aborted && Date.now() >= this.#restUntil) {
      const request = this.#next;
      this.#next = null;
      const hurried = new Promise((resolve) => {
        this.#hurry = resolve;
      });
      await this.#read(request, signal);
      await Promise.race([hurried, pause(PREVIEW_GAP_MS)]);
    }
    this.#controller = null;
    if (this.#next && signal.aborted) this.#run(); // requested while the cancelled run was ending
  }

  async #read(request, signal) {
    try {
      const answer = await call("POST", "/previews", { json: request, signal });
      if (!signal.aborted) this.#onAnswer(answer);
    } catch (error) {
      if (signal.aborted) return;
      if (!(error instanceof ReadingError)) throw error;
      this.#restUntil = Date.now() + error.wait * 1000;
      this.#onError(error);
    }
  }
}

function pause(ms) {
  return new Promise((resolve) => {
    setTimeout(resolve, ms);
  });
}

async function call(method, path, { json, form, signal } = {}) {
  const headers = { Accept: "application/json", "X-CSRFToken": csrfToken() };
  if (json) headers["Content-Type"] = "application/json";
  const body = json ? JSON.stringify(json) : form;
  const timeout = AbortSignal.timeout(TIMEOUT_MS);
  const stop = signal ? AbortSignal.any([signal, timeout]) : timeout;
  let response;
  let content;
  try {
    response = await fetch(API + path, { method, headers, body, signal: stop, credentials: "same-origin" });
    content = await response.text();
  } catch (error) {
    throw new ReadingError("offline", gettext("The site cannot be reached."), { cause: error });
  }
  const data = parsed(content);
  if (response.ok) return data;
  throw failure(response, data);
}

function csrfToken() {
  return document.querySelector("input[name=csrfmiddlewaretoken]").value;
}

/** Return the parsed JSON, or null: a proxy may have answered in HTML. */
function parsed(content) {
  try {
    return JSON.parse(content);
  } catch {
    return null;
  }
}

function failure(response, data) {
  const said = sentence(data);
  switch (response.status) {
    case 401:
    case 403:
      return new ReadingError("expired", gettext("This page has expired. Reload it to continue."));
    case 404:
      return new ReadingError("gone", gettext("This drawing is no longer stored."));
    case 409:
      return new ReadingError("decided", gettext("This one has been reviewed in the meantime and can no longer be changed."));
    case 413:
      return new ReadingError("refused", gettext("That picture is too large. Choose a smaller one."));
    case 415:
      return new ReadingError("refused", said ?? gettext("This type of file is not supported. Use PNG, JPEG, WebP, GIF or BMP."));
    case 429:
      return throttlingError(seconds(response.headers.get("Retry-After")));
    default:
      if (response.status < 500) return new ReadingError("refused", said ?? gettext("This could not be read."));
      return new ReadingError("server", gettext("Something went wrong on the site."));
  }
}

function throttlingError(wait) {
  if (wait > MAX_WAIT_S) return new ReadingError("full", gettext("The daily storage limit is reached."), { wait });
  return new ReadingError("throttled", gettext("Too many requests."), { wait });
}

function seconds(retryAfter) {
  const wait = Number(retryAfter);
  return wait > 0 ? Math.ceil(wait) : DEFAULT_WAIT_S;
}

/** Return the first sentence in an error's body: `{detail: "…"}` or `{field: ["…"]}`. */
function sentence(data) {
  if (typeof data === "string") return data;
  if (data === null || typeof data !== "object") return null;
  for (const value of Object.values(data)) {
    const found = sentence(value);
    if (found) return found;
  }
  return null;
}
