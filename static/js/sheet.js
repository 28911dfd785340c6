// The drawing sheet: converts mouse, pen, touch and arrow keys to ink, and paints it.

import { SURFACE } from "./ink.js";
import { gettext } from "./words.js";

const PEN_WIDTH = 18; // surface units
const PALM_MS = 700; // a touch within this time after the pen was near is the palm of the hand that holds it
const STEP = 5; // surface units per arrow key
const LEAP = 20; // the same with Shift
const CELLS = 28; // grid cells per side, for announcing the pen's position
const KEY_PRESSURE = 0.5; // what a mouse reports
const DOT = 0.01; // length of a dot: a canvas does not paint a line of length zero

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

/**
 * Events: `strokestart` (before the first point), `strokemove`, `strokeend`, `strokecancel` (the stroke's ink was
 * removed), `pen` (the keyboard's pen moved or changed; `detail` is text for screen readers).
 */
export class Sheet extends EventTarget {
  #canvas;
  #context;
  #ink;
  #pointer = null; // the pointer that is drawing: { id, type }
  #penSeen = -Infinity;
  #cursor = { x: SURFACE / 2, y: SURFACE / 4, down: false, shown: false };
  #held = new Set(); // arrow keys that are held down
  #framed = false;

  constructor(canvas, ink) {
    super();
    this.#canvas = canvas;
    this.#context = canvas.getContext("2d");
    this.#ink = ink;
    this.#listen();
  }

  /** Paint in the next animation frame. */
  paint() {
    if (this.#framed) return;
    this.#framed = true;
    requestAnimationFrame(() => {
      this.#framed = false;
      this.#paintNow();
    });
  }

  /** End the stroke in progress, by pointer or keyboard, and keep its ink. */
  lift() {
    if (this.#pointer) this.#end();
    this.#liftKeys();
  }

  #listen() {
    const canvas = this.#canvas;
    canvas.addEventListener("pointerdown", (event) => this.#down(event));
    canvas.addEventListener("pointermove", (event) => this.#move(event));
    canvas.addEventListener("pointerup", (event) => this.#up(event));
    canvas.addEventListener("pointercancel", (event) => this.#cancel(event));
    canvas.addEventListener("lostpointercapture", (event) => this.#up(event));
    // touch-action stops scrolling; this also suppresses the magnifier and callout of older browsers.
    canvas.addEventListener("touchmove", (event) => event.preventDefault(), { passive: false });
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    canvas.addEventListener("keydown", (event) => this.#keydown(event));
    canvas.addEventListener("keyup", (event) => this.#keyup(event));
    canvas.addEventListener("blur", () => this.#blur());
    document.addEventListener("themechange", () => this.paint());
    new ResizeObserver(() => this.#fit()).observe(canvas);
    addEventListener("resize", () => this.#fit()); // after a zoom, or on a screen with another density
  }

  // Pointers

  #down(event) {
    if (event.pointerType === "pen") this.#penSeen = event.timeStamp;
    if (event.button !== 0 || this.#isPalm(event)) return;
    if (this.#pointer) {
      if (event.pointerType !== "pen" || this.#pointer.type !== "touch") return;
      this.#discard(); // the palm touched before the pen
    }
    this.#liftKeys();
    this.#cursor.shown = false;
    if (!this.#start()) return;
    this.#capture(event.pointerId);
    this.#pointer = { id: event.pointerId, type: event.pointerType };
    this.#ink.begin(...this.#point(event, this.#canvas.getBoundingClientRect()));
    this.paint();
    this.#emit("strokemove");
  }

  #move(event) {
    if (event.pointerType === "pen") this.#penSeen = event.timeStamp;
    if (event.pointerId !== this.#pointer?.id) return;
    const box = this.#canvas.getBoundingClientRect();
    const events = event.getCoalescedEvents?.() ?? [];
    for (const each of events.length ? events : [event]) this.#ink.extend(...this.#point(each, box));
    this.paint();
    this.#emit("strokemove");
  }

  #up(event) {
    if (event.pointerId === this.#pointer?.id) this.#end();
  }

  /** Handle a cancelled pointer: a touch was a palm or a gesture, so its ink goes; a pen's or mouse's ink stays. */
  #cancel(event) {
    if (event.pointerId !== this.#pointer?.id) return;
    if (this.#pointer.type === "touch") this.#discard();
    else this.#end();
  }

  #end() {
    this.#pointer = null;
    this.paint();
    this.#emit("strokeend");
  }

  #discard() {
    this.#pointer = null;
    this.#ink.removeLast();
    this.paint();
    this.#emit("strokecancel");
  }

  /** Announce a new stroke; return false if the sheet is full. */
  #start() {
    this.#emit("strokestart");
    if (!this.#ink.isFull) return true;
    this.#emit("strokecancel");
    return false;
  }

  /** Keep receiving the pointer's events beyond the sheet's edge. */
  #capture(id) {
    try {
      this.#canvas.setPointerCapture(id);
    } catch {
      // The pointer was lifted already: there are no further events.
    }
  }

  #isPalm(event) {
    return event.pointerType === "touch" && event.timeStamp - this.#penSeen < PALM_MS;
  }

  #point(event, box) {
    const x = ((event.clientX - box.left) / box.width) * SURFACE;
    const y = ((event.clientY - box.top) / box.height) * SURFACE;
    return [x, y, event.timeStamp, event.pressure];
  }

  // Keys

  #keydown(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key in ARROWS) {
      this.#held.add(event.key);
      this.#go(event.shiftKey ? LEAP : STEP, event.timeStamp);
    } else if (event.key === " ") {
      if (!event.repeat) this.#toggle(event.timeStamp);
    } else {
      return;
    }
    event.preventDefault();
  }

  #keyup(event) {
    if (!this.#held.delete(event.key) || this.#held.size) return;
    this.#say(this.#cursor.down ? "" : gettext("Pen up, "));
  }

  /** Move in the direction of all held arrow keys; two of them make a diagonal. */
  #go(distance, time) {
    const cursor = this.#cursor;
    const [dx, dy] = [...this.#held].reduce(([x, y], key) => [x + ARROWS[key][0], y + ARROWS[key][1]], [0, 0]);
    cursor.x = Math.min(Math.max(cursor.x + dx * distance, 0), SURFACE);
    cursor.y = Math.min(Math.max(cursor.y + dy * distance, 0), SURFACE);
    cursor.shown = true;
    if (cursor.down) this.#ink.extend(cursor.x, cursor.y, time, KEY_PRESSURE);
    this.paint();
    this.#emit("strokemove");
  }

  #toggle(time) {
    const cursor = this.#cursor;
    cursor.shown = true;
    if (cursor.down) {
      this.#liftKeys();
      this.#say(gettext("Pen up, "));
    } else if (this.#start()) {
      this.#ink.begin(cursor.x, cursor.y, time, KEY_PRESSURE);
      cursor.down = true;
      this.paint();
      this.#say(gettext("Pen down, "));
      this.#emit("strokemove");
    }
  }

  #liftKeys() {
    if (!this.#cursor.down) return;
    this.#cursor.down = false;
    this.paint();
    this.#emit("strokeend", { byKey: true });
  }

  #blur() {
    this.#held.clear();
    this.#liftKeys();
    this.#cursor.shown = false;
    this.paint();
  }

  #say(what) {
    const cell = (coordinate) => Math.min(Math.floor((coordinate / SURFACE) * CELLS) + 1, CELLS);
    const values = { column: cell(this.#cursor.x), row: cell(this.#cursor.y), cells: CELLS };
    this.#emit("pen", what + gettext("column %(column)s, row %(row)s of %(cells)s", values));
  }

  // Paint

  #fit() {
    const side = Math.round(this.#canvas.clientWidth * devicePixelRatio);
    if (!side || side === this.#canvas.width) return;
    this.#canvas.width = side;
    this.#canvas.height = side;
    this.#paintNow(); // at once, because setting the size clears the canvas
  }

  #paintNow() {
    const context = this.#context;
    const scale = this.#canvas.width / SURFACE;
    context.setTransform(scale, 0, 0, scale, 0, 0);
    context.clearRect(0, 0, SURFACE, SURFACE);
    const style = getComputedStyle(this.#canvas);
    context.strokeStyle = style.color;
    context.lineWidth = PEN_WIDTH;
    context.lineCap = "round";
    context.lineJoin = "round";
    for (const stroke of this.#ink.strokes) context.stroke(smooth(stroke));
    if (this.#cursor.shown) this.#paintCursor(style);
  }

  #paintCursor(style) {
    const context = this.#context;
    const { x, y, down } = this.#cursor;
    const ring = new Path2D();
    ring.arc(x, y, PEN_WIDTH / 2 + 3, 0, 2 * Math.PI);
    ring.moveTo(x - 22, y);
    ring.lineTo(x - 6, y);
    ring.moveTo(x + 6, y);
    ring.lineTo(x + 22, y);
    ring.moveTo(x, y - 22);
    ring.lineTo(x, y - 6);
    ring.moveTo(x, y + 6);
    ring.lineTo(x, y + 22);
    context.strokeStyle = style.backgroundColor; // a halo, so that the cursor is visible on ink
    context.lineWidth = 4;
    context.stroke(ring);
    context.strokeStyle = style.caretColor;
    context.lineWidth = down ? 2.5 : 1.5;
    context.stroke(ring);
  }

  #emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

/** Return the path of a stroke: quadratic curves between the midpoints of consecutive points. */
function smooth(points) {
  const path = new Path2D();
  path.moveTo(points[0][0], points[0][1]);
  for (let i = 1; i < points.length - 1; i += 1) {
    const [x, y] = points[i];
    path.quadraticCurveTo(x, y, (x + points[i + 1][0]) / 2, (y + points[i + 1][1]) / 2);
  }
  const [x, y] = points.at(-1);
  path.lineTo(points.length > 1 ? x : x + DOT, y);
  return path;
}
