// The ink: strokes in units of a surface that is independent of screen size and density.

/** Side of the surface. Points may lie outside it, where the pen ran past the edge. */
export const SURFACE = 280;

const MOST_POINTS = 10_000; // both limits are the API's
const MOST_STROKES = 500;
const SMALLEST_STEP = 0.4; // surface units; closer points add only bytes
const REACH = SURFACE; // points further past the edge are moved to this distance

const rounded = (value, decimals) => Number(value.toFixed(decimals));
const kept = (coordinate) => rounded(Math.min(Math.max(coordinate, -REACH), SURFACE + REACH), 1);

export class Ink {
  /** Strokes of points `[x, y, ms since the drawing's first point, pressure 0..1]`. */
  strokes = [];
  #count = 0;
  #began = 0;

  get isEmpty() {
    return this.#count === 0;
  }

  /** Whether no further stroke can be started. */
  get isFull() {
    return this.#count >= MOST_POINTS || this.strokes.length >= MOST_STROKES;
  }

  /** Start a stroke; `time` in ms, of the same clock for all points. */
  begin(x, y, time, pressure) {
    if (this.isFull) return;
    if (this.isEmpty) this.#began = time;
    this.strokes.push([]);
    this.#add(x, y, time, pressure);
  }

  /** Extend the last stroke, unless the pen moved less than `SMALLEST_STEP`. */
  extend(x, y, time, pressure) {
    if (this.#count >= MOST_POINTS) return;
    const [lastX, lastY] = this.strokes.at(-1).at(-1);
    if (Math.hypot(x - lastX, y - lastY) >= SMALLEST_STEP) this.#add(x, y, time, pressure);
  }

  removeLast() {
    this.#count -= this.strokes.pop()?.length ?? 0;
  }

  clear() {
    this.strokes = [];
    this.#count = 0;
  }

  /** Return the body of an API request. */
  toRequest() {
    return { strokes: this.strokes, width: SURFACE, height: SURFACE };
  }

  #add(x, y, time, pressure) {
    this.strokes.at(-1).push([kept(x), kept(y), Math.max(0, Math.round(time - this.#began)), rounded(pressure, 3)]);
    this.#count += 1;
  }
}
