// Replays stored ink over a drawing's picture, point by point, with the stored timing if there is one.

import { gettext } from "./words.js";

const SIDE = 560; // side of the canvas, in pixels
const DEFAULT_MS = 12; // pause between points without times
const MAX_MS = 500; // longest pause between points
const WIDTH = 0.045; // pen width, as a share of the longer side of surface and ink

/** Replay a submission's ink; reject with a sentence if the ink cannot be loaded. */
export async function replay(paper, submission) {
  const { width, height, strokes } = await stored(submission);
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = SIDE;
  canvas.className = "card__replay";
  paper.querySelector("canvas")?.remove();
  paper.append(canvas);
  const [xs, ys] = [0, 1].map((axis) => strokes.flat().map((point) => point[axis])); // points may lie outside the surface
  const [left, right] = [Math.min(0, ...xs), Math.max(width, ...xs)];
  const [top, bottom] = [Math.min(0, ...ys), Math.max(height, ...ys)];
  const side = Math.max(right - left, bottom - top);
  const pen = canvas.getContext("2d");
  pen.scale(SIDE / side, SIDE / side);
  pen.translate((side - left - right) / 2, (side - top - bottom) / 2);
  pen.lineWidth = WIDTH * side;
  pen.lineCap = pen.lineJoin = "round";
  pen.strokeStyle = getComputedStyle(canvas).color;
  const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
  let last = null;
  for (const stroke of strokes) {
    let from = stroke[0];
    for (const point of stroke) {
      if (!still && last) await pause(Math.min(point[2] - last[2] || DEFAULT_MS, MAX_MS));
      if (!canvas.isConnected) return; // the card was decided or the replay restarted
      pen.beginPath();
      pen.moveTo(from[0], from[1]);
      pen.lineTo(point[0], point[1]);
      pen.stroke();
      from = last = point;
    }
  }
}

async function stored(submission) {
  const response = await fetch(`/api/v1/submissions/${submission}`, { headers: { Accept: "application/json" } }).catch(() => null);
  const { ink } = response?.ok ? await response.json() : {};
  if (!ink) throw new Error(gettext("The ink of this drawing could not be loaded."));
  return ink;
}

function pause(ms) {
  return new Promise((resolve) => {
    setTimeout(resolve, ms);
  });
}
