// Scales, ticks and the axes of a chart.

const WIDTH = 340;
const HEIGHT = 230;
const MARGIN = { left: 46, right: 14, top: 12, bottom: 36 };
const FLOOR = HEIGHT - MARGIN.bottom;
const RIGHT = WIDTH - MARGIN.right;

/** Round numbers in a range: those of the widest step that gives at least three. */
function ticks(low, high) {
  const power = 10 ** Math.floor(Math.log10(high - low));
  for (const step of [5, 2, 1, 0.5, 0.2, 0.1].map((m) => m * power)) {
    const first = Math.ceil(low / step - 1e-9);
    const count = Math.floor(high / step + 1e-9) - first + 1;
    if (count >= 3) return range(count).map((i) => (first + i) * step);
  }
  return [low, high];
}

/** Exponents of ten for a log scale, with those of 2 and 5 where there are few, and of round numbers where none are. */
function powers(low, high) {
  const steps = high - low > 2.5 ? [1] : [1, 2, 5];
  const whole = range(Math.floor(high) - Math.floor(low) + 1).map((i) => Math.floor(low) + i);
  const found = whole.flatMap((i) => steps.map((m) => i + Math.log10(m))).filter((v) => v >= low && v <= high);
  return found.length > 1 ? found : ticks(10 ** low, 10 ** high).map((v) => Math.log10(v));
}

/** A round number without digits that say nothing. */
function tickText(v) {
  const text = Number(v.toPrecision(3)).toString();
  return (text.length > 6 ? v.toExponential(0) : text).replace("-", "\u2212");
}

/** Ends of some numbers and of those that must be in sight; never of no length. */
function extent(numbers, include) {
  let low = Infinity;
  let high = -Infinity;
  for (const x of [...numbers, ...include]) {
    if (!Number.isFinite(x)) continue;
    low = Math.min(low, x);
    high = Math.max(high, x);
  }
  if (!(high >= low)) return [0, 1];
  const half = high === low ? 0.5 * (Math.abs(low) || 1) : 0;
  return [low - half, high + half];
}

const padded = ([low, high]) => [low - 0.04 * (high - low), high + 0.04 * (high - low)];
const path = (kind, d) => draw("path", { class: kind, d });

/** Grid, ticks, names and marks of `spec` on scales x and y over [x0, x1] and [y0, y1]. */
function axes(spec, x, y, [x0, x1], [y0, y1]) {
  const text = (at, height, anchor, words, kind) =>
    draw("text", { x: at, y: height, "text-anchor": anchor, class: kind }, words);
  const across = (kind, v) => path(kind, `M${MARGIN.left} ${y(v).toFixed(1)}H${RIGHT}`);
  const upright = (kind, v) => path(kind, `M${x(v).toFixed(1)} ${MARGIN.top}V${FLOOR}`);
  const out = [];
  if (spec.quadrant) out.push(bothRise(x, y, [x0, x1], [y0, y1]));
  for (const v of spec.log ? powers(y0, y1) : ticks(y0, y1)) {
    out.push(across("grid", v), text(MARGIN.left - 5, y(v) + 3.5, "end", tickText(spec.log ? 10 ** v : v)));
  }
  for (const v of ticks(x0, x1)) {
    out.push(path("tick", `M${x(v).toFixed(1)} ${FLOOR}v4`), text(x(v), FLOOR + 15, "middle", tickText(v)));
  }
  out.push(text((MARGIN.left + RIGHT) / 2, HEIGHT - 4, "middle", spec.x, "name"));
  if (!spec.log && y0 < 0 && y1 > 0) out.push(across("zero", 0));
  if (spec.quadrant && x0 < 0 && x1 > 0) out.push(upright("zero", 0));
  if (spec.limit !== undefined) out.push(across("limit", spec.limit));
  if (spec.diagonal) {
    const end = Math.min(x1, y1);
    out.push(path("zero", `M${x(0)} ${y(0)}L${x(end)} ${y(end)}`));
  }
  return draw("g", { class: "axes", "aria-hidden": "true" }, out);
}

/** The quadrant in which both values rise. */
function bothRise(x, y, [x0, x1], [y0, y1]) {
  if (!(x1 > 0 && y1 > 0)) return null;
  const left = x(Math.max(0, x0));
  const height = y(Math.max(0, y0)) - MARGIN.top;
  return draw("rect", { class: "both", x: left, y: MARGIN.top, width: RIGHT - left, height });
}
