// Shows the newest training run without reloading: polls every 2 s while a run is live, every 15 s otherwise.

import { decimal, percent } from "./words.js";

const LIVE = new Set(["queued", "running"]);
const LIVE_POLL_MS = 2000; // polling interval while a run is live, in ms
const IDLE_POLL_MS = 15_000; // while none is live, because the schedule may start one
const MAX_POLL_MS = 60_000; // longest interval while the site does not answer
const [LEFT, RIGHT, TOP, BOTTOM] = [62, 336, 14, 122]; // edges of the loss curve, in SVG units

class Watch {
  #root;
  #wait = 0; // timer of the next poll
  #failures = 0;
  #version = null; // version made by the newest run, once the page shows it

  /** @param {HTMLElement} root the element with `data-run` */
  constructor(root) {
    this.#root = root;
    if (root.dataset.told) {
      const run = JSON.parse(root.dataset.told); // the same JSON as the API's
      this.#version = run.model_version;
      this.#render(run);
    }
    document.addEventListener("visibilitychange", () => {
      clearTimeout(this.#wait);
      if (!document.hidden) this.#look();
    });
    this.#look();
  }

  /** Fetch and show the newest run, then schedule the next poll. */
  async #look() {
    let pause = IDLE_POLL_MS;
    try {
      const response = await fetch(`${this.#root.dataset.runs}?page_size=1`, { headers: { Accept: "application/json" } });
      if (response.status === 401 || response.status === 403) {
        this.#part("trouble").textContent = this.#word("signedOut");
        return;
      }
      if (!response.ok) throw new Error(`status ${response.status}`);
      const [run] = (await response.json()).results;
      this.#failures = 0;
      this.#part("trouble").textContent = "";
      if (run) this.#render(run);
      if (run?.model_version && run.model_version !== this.#version) await this.#showVersions(run.model_version);
      if (run && LIVE.has(run.state)) pause = LIVE_POLL_MS;
    } catch {
      this.#failures += 1;
      this.#part("trouble").textContent = this.#word("away");
      pause = Math.min(LIVE_POLL_MS * 2 ** this.#failures, MAX_POLL_MS);
    }
    clearTimeout(this.#wait);
    if (!document.hidden) this.#wait = setTimeout(() => this.#look(), pause);
  }

  /** Reload the parts of the page about versions, without reloading this panel. */
  async #showVersions(version) {
    const response = await fetch(location.href);
    if (!response.ok) throw new Error(`status ${response.status}`);
    const fresh = new DOMParser().parseFromString(await response.text(), "text/html");
    for (const part of document.querySelectorAll("[data-versions-part]")) {
      const other = fresh.querySelector(`[data-versions-part="${part.dataset.versionsPart}"]`);
      if (other && !part.contains(document.activeElement)) part.replaceWith(other);
    }
    this.#version = version;
  }

  #render(run) {
    const live = LIVE.has(run.state);
    this.#part("now").hidden = false;
    this.#part("start").hidden = live;
    this.#part("cancel").hidden = !live || Boolean(run.cancel_requested);
    this.#part("cancel").action = this.#part("cancel").dataset.action.replace("/0/", `/${run.id}/`);
    this.#say("name", this.#word("run", run));
    this.#say("state", live && run.cancel_requested ? this.#word("stopping") : this.#word(run.state));
    this.#part("progress").value = run.progress;
    this.#say("percent", percent(Math.floor(100 * run.progress) / 100, 0));
    this.#say("eta", live ? this.#left(run.eta_seconds) : "");
    this.#say("line", this.#line(run));
    this.#renderSteps(run);
    this.#renderLosses(run);
    const made = this.#part("made");
    made.hidden = !run.model_version;
    if (run.model_version) {
      made.href = `${this.#root.dataset.versions}/${run.model_version}`;
      made.textContent = this.#word("made", { version: run.model_version });
    }
  }

  /** Mark the finished steps and the current one. */
  #renderSteps(run) {
    const steps = [...this.#root.querySelectorAll("[data-step]")];
    const at = steps.findIndex((step) => step.dataset.step === run.phase);
    for (const [index, step] of steps.entries()) {
      const now = run.state === "running" && index === at;
      const done = run.state === "succeeded" || index < at;
      step.dataset.is = now ? "now" : done ? "done" : "to come";
      if (now) step.setAttribute("aria-current", "step");
      else step.removeAttribute("aria-current");
    }
  }

  /** Draw the mean loss of each finished epoch, and of the current one so far. */
  #renderLosses(run) {
    const losses = run.losses.filter((loss) => loss !== null);
    if (run.state === "running" && run.loss !== null && losses.length < run.epochs) losses.push(run.loss);
    const [low, high] = losses.length ? [Math.min(...losses), Math.max(...losses)] : [0, 0];
    const span = high - low || 1;
    const last = Math.max(run.epochs, losses.length, 2) - 1;
    const places = losses.map((loss, epoch) => [
      LEFT + ((RIGHT - LEFT) * epoch) / last,
      BOTTOM - ((BOTTOM - TOP) * (loss - low)) / span,
    ]);
    this.#root.querySelector("[data-loss-line]").setAttribute("points", places.join(" "));
    this.#root.querySelector("[data-loss-high]").textContent = high > low ? decimal(high, 3) : "";
    this.#root.querySelector("[data-loss-low]").textContent = losses.length ? decimal(low, 3) : "";
    this.#root.querySelector("[data-loss-marks]").replaceChildren(...places.map(mark));
  }

  #line({ state, phase, epoch, epochs, batch, loss, reason }) {
    if (reason || state !== "running" || !phase) return reason;
    const doing = this.#root.dataset[`phase${phase[0].toUpperCase()}${phase.slice(1)}`] ?? phase;
    if (phase !== "fit" || !epochs) return `${doing} …`;
    return `${doing}: ${this.#word("epoch", { epoch, epochs, batch, loss: loss === null ? "–" : decimal(loss, 4) })}`;
  }

  #left(seconds) {
    if (seconds === null) return "";
    return seconds < 90 ? this.#word("seconds", { n: Math.ceil(seconds) }) : this.#word("minutes", { n: Math.round(seconds / 60) });
  }

  /** Return a sentence in the page's language, with values filled in. */
  #word(name, values = {}) {
    const sentence = this.#root.dataset[`word${name[0].toUpperCase()}${name.slice(1)}`] ?? name;
    return sentence.replace(/\{(\w+)\}/g, (_, key) => values[key]);
  }

  /** Write a text only if it changed, so that screen readers announce it once. */
  #say(name, text) {
    const part = this.#part(name);
    if (part.textContent !== text) part.textContent = text;
  }

  #part(name) {
    return this.#root.querySelector(`[data-run-${name}]`);
  }
}

function mark([x, y]) {
  const circle = document.createElementNS("http://www.w3.org/2000/svg", "circle");
  circle.setAttribute("class", "chart__mark");
  circle.setAttribute("cx", x);
  circle.setAttribute("cy", y);
  circle.setAttribute("r", 3);
  return circle;
}

for (const root of document.querySelectorAll("[data-run]")) new Watch(root);
