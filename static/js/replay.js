// Draws stored ink again as it was drawn, with its timing where that was stored.

import { gettext } from "./words.js";

const SIDE = 560; // pixels of the canvas
const LONGEST_MS = 6_000; // a slower hand is sped up to this
const LONGEST_PAUSE_MS = 500; // between two points
const UNTIMED_MS = 12; // between two points without a time
const LIFT_MS = 220; // between two strokes without a time
const WIDTH = 0.045; // of the surface's longer side

export class Replay {
  #canvas = null;
  #frame = 0;
  #wanted = 0; // counts calls; an answer to an older one draws nothing

  /** Draw a submission's ink over the paper that shows it. Rejects with a sentence when it cannot be had. */
  async play(paper, submission) {
    this.stop();
    const wanted = this.#wanted;
    const ink = await stored(submission);
    if (wanted !== this.#wanted) return;
    const canvas = document.createElement("canvas");
    canvas.width = canvas.height = SIDE;
    canvas.className = "card__replay";
    paper.append(canvas);
    this.#canvas = canvas;
    const pen = penOf(canvas, ink);
    const points = timed(ink.strokes);
    const end = points.at(-1)?.at ?? 0;
    const speed = Math.max(1, end / LONGEST_MS);
    if (matchMedia("(prefers-reduced-motion: reduce)").matches) {
      draw(pen, points, 0, Infinity);
      return;
    }
    this.#run(pen, points, speed);
  }

  stop() {
    cancelAnimationFrame(this.#frame);
    this.#wanted += 1;
    this.#canvas?.remove();
    this.#canvas = null;
  }

  #run(pen, points, speed) {
    const began = performance.now();
    let drawn = 0;
    const step = (time) => {
      drawn = draw(pen, points, drawn, (time - began) * speed);
      if (drawn < points.length) this.#frame = requestAnimationFrame(step);
    };
    this.#frame = requestAnimationFrame(step);
  }
}

async function stored(submission) {
  let ink = null;
  try {
    const response = await fetch(`/api/v1/submissions/${submission}`, { headers: { Accept: "application/json" } });
    if (response.ok) ({ ink } = await response.json());
  } catch {
    // Said below: whatever the reason, there is no ink to draw.
  }
  if (!ink) throw new Error(gettext("The ink of this drawing could not be fetched."));
  return ink;
}

/** Points in the order they were drawn, each with its moment in ms since the first; long pauses are cut short. */
function timed(strokes) {
  const points = [];
  let at = 0;
  let last = null;
  for (const stroke of strokes) {
    stroke.forEach(([x, y, time], place) => {
      const usual = place ? UNTIMED_MS : LIFT_MS;
      if (last) at += Number.isFinite(time) && Number.isFinite(last.time) ? Math.min(Math.max(time - last.time, 0), LONGEST_PAUSE_MS) : usual;
      last = { x, y, time, at, begins: place === 0 };
      points.push(last);
    });
  }
  return points;
}

/** A pen that draws the ink's surface in the middle of the canvas. */
function penOf(canvas, { width, height, strokes }) {
  const pen = canvas.getContext("2d");
  const all = strokes.flat();
  const [xs, ys] = [0, 1].map((axis) => all.map((point) => point[axis]));
  const left = Math.min(0, ...xs);
  const top = Math.min(0, ...ys);
  const side = Math.max(width, height, Math.max(...xs) - left, Math.max(...ys) - top);
  pen.scale(SIDE / side, SIDE / side);
  pen.translate((side - width) / 2 - left, (side - height) / 2 - top);
  pen.lineWidth = WIDTH * side;
  pen.lineCap = pen.lineJoin = "round";
  pen.strokeStyle = pen.fillStyle = getComputedStyle(canvas).color;
  return pen;
}

/** Draw what was drawn until a moment; return how many points that is. */
function draw(pen, points, from, until) {
  let place = from;
  for (; place < points.length && points[place].at <= until; place += 1) {
    const point = points[place];
    const before = point.begins ? point : points[place - 1];
    pen.beginPath();
    pen.moveTo(before.x, before.y);
    pen.lineTo(point.x, point.y);
    pen.stroke();
  }
  return place;
}
