// Data, state and small helpers. Text reaches the page as text nodes alone: no string is ever parsed as markup.

const read = (id) => JSON.parse(document.getElementById(id).textContent);
const data = read("report-data");
const view = read("view-data");
const K = data.constitutions.length;
const B = data.kl.length;
const J = data.values.length;
const MOST_PINS = 8;
const Z95 = 1.959963984540054;

const state = {
  b: view.best[1], unit: "sd", view: "all", query: "", kind: "", every: false,
  sort: { key: "bound", up: false }, pins: new Map(), hot: null, axes: [0, Math.min(1, data.n_requested - 1)],
};

// JSON has no NaN and no infinities: null, "inf" and "-inf" stand for them
const num = (x) => (typeof x === "number" ? x : x === "inf" ? Infinity : x === "-inf" ? -Infinity : NaN);

function make(name, attributes, ...children) {
  return filled(document.createElement(name), attributes, children);
}

function draw(name, attributes, ...children) {
  return filled(document.createElementNS("http://www.w3.org/2000/svg", name), attributes, children);
}

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (value !== null && value !== undefined && value !== false) element.setAttribute(name, value);
  }
  element.append(...children.flat().filter((c) => c !== null && c !== undefined));
  return element;
}

function signed(x, digits) {
  if (!Number.isFinite(x)) return Number.isNaN(x) ? "\u2013" : x > 0 ? "\u221e" : "\u2212\u221e";
  return (x < 0 ? "\u2212" : "+") + sized(Math.abs(x), digits);
}

function sized(x, digits = 3) {
  if (!Number.isFinite(x)) return Number.isNaN(x) ? "\u2013" : x > 0 ? "\u221e" : "\u2212\u221e";
  const size = Math.abs(x);
  if (size !== 0 && (size >= 1e5 || size < 1e-4)) return x.toExponential(1).replace("-", "\u2212");
  const places = size >= 100 ? 0 : size >= 1 ? Math.max(0, digits - 1) : digits;
  return x.toFixed(places).replace("-", "\u2212");
}

const percent = (x) => (Number.isFinite(x) ? `${(100 * x).toFixed(0)} %` : "\u2013");
const gainText = (x) => signed(x, state.unit === "sd" ? 2 : 3);
const between = ([low, high]) => {
  if (Number.isNaN(low)) return "\u2013";
  if (high === Infinity) return `at least ${gainText(low)}`; // the other end is open
  return low === -Infinity ? `at most ${gainText(high)}` : `${gainText(low)} to ${gainText(high)}`;
};
// of bounds about a number with one end open: how far a scale goes on that side, as far as on the other
const mirrored = (at, ends) => (ends.some((e) => Math.abs(e) === Infinity) ? ends.map((e) => 2 * at - e) : []);
const valueName = (j) => view.values[j] + (j < data.n_requested ? "" : " (length)");
const unitName = (j) => (state.unit === "sd" ? "sd" : `units of ${view.values[j]}`);

// orders for sorting; where there is no number, last
const byNumber = (up) => (a, b) => Number.isNaN(a) - Number.isNaN(b) || (up ? a - b : b - a);
const byText = (up) => (a, b) => (up ? 1 : -1) * a.localeCompare(b);
const range = (n) => Array.from({ length: n }, (_, i) => i);

// pins: constitution -> slot of colour and shape, kept for as long as it is pinned
function pin(k) {
  if (state.pins.has(k)) return void state.pins.delete(k);
  const taken = new Set(state.pins.values());
  if (taken.size >= MOST_PINS) state.pins.delete(state.pins.keys().next().value);
  const held = new Set(state.pins.values());
  state.pins.set(k, range(MOST_PINS).find((slot) => !held.has(slot)));
}

// SVG paths of radius 1 about (0, 0): colour is never alone in telling constitutions apart
const SHAPES = [
  "M1 0A1 1 0 1 1-1 0A1 1 0 1 1 1 0Z", "M-.9-.9H.9V.9H-.9Z", "M0-1.2L1.1.8H-1.1Z", "M0-1.3L1.1 0L0 1.3L-1.1 0Z",
  "M0 1.2L1.1-.8H-1.1Z", "M-.35-1.1H.35V-.35H1.1V.35H.35V1.1H-.35V.35H-1.1V-.35H-.35Z",
  "M0-1.2L1.1-.4L.7 1H-.7L-1.1-.4Z", "M-.5-1.1H.5L1.1 0L.5 1.1H-.5L-1.1 0Z",
];

function mark(slot, x, y, size, open, kind = `k${slot}`) {
  const at = `translate(${x.toFixed(1)} ${y.toFixed(1)}) scale(${size})`;
  return draw("path", { class: `mark ${kind}${open ? " open" : ""}`, d: SHAPES[slot ?? 0], transform: at });
}

function swatch(slot) {
  return draw("svg", { class: "swatch", viewBox: "-2 -2 4 4", "aria-hidden": "true" }, mark(slot, 0, 0, 1.2, false));
}
