// The ink: strokes as the pen made them, in units of a surface that no screen's size or density changes.

/** The surface's side. Ink may lie outside it, where the pen ran past the edge. */
export const SURFACE = 280;

const MOST_POINTS = 10_000; // both limits are the API's
const MOST_STROKES = 500;
const SMALLEST_STEP = 0.4; // of the surface; closer points add nothing but bytes
const REACH = SURFACE; // how far past the edge a point is kept

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

  /** Whether no further stroke can be begun. */
  get isFull() {
    return this.#count >= MOST_POINTS || this.strokes.length >= MOST_STROKES;
  }

  /** Start a stroke; `time` in ms of any one clock. */
  begin(x, y, time, pressure) {
    if (this.isFull) return;
    if (this.isEmpty) this.#began = time;
    this.strokes.push([]);
    this.#add(x, y, time, pressure);
  }

  /** Lengthen the last stroke, unless the pen hardly moved. */
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

  /** The body that the API reads. */
  toRequest() {
    return { strokes: this.strokes, width: SURFACE, height: SURFACE };
  }

  #add(x, y, time, pressure) {
    this.strokes.at(-1).push([kept(x), kept(y), Math.max(0, Math.round(time - this.#began)), rounded(pressure, 3)]);
    this.#count += 1;
  }
}
