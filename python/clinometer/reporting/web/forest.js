// Intervals in a cell of the table, on a scale that all rows of a value share.

const FOREST = { width: 96, height: 22, pad: 6 };
let ends = [];

function forestEnds(j) {
  return extent(range(K).flatMap((k) => {
    const [ends, at] = [interval(k, state.b, j), gain(k, state.b, j)];
    return [...ends, at, ...mirrored(at, ends)];
  }), [0]);
}

function forestX(j) {
  const [low, high] = ends[j];
  const { width, pad } = FOREST;
  return (v) => pad + ((width - 2 * pad) * (Math.max(low, Math.min(high, v)) - low)) / (high - low);
}

/** Interval given the judge (thick), with its labels (thin), against zero and the band of random directions. */
function forest(k, b, j) {
  const x = (v) => forestX(j)(v).toFixed(1);
  const { width, height } = FOREST;
  const middle = height / 2;
  const [low, high] = interval(k, b, j);
  const [wideLow, wideHigh] = withLabels(k, b, j);
  const [nullLow, nullHigh] = nullBand(b, j);
  const at = gain(k, b, j);
  const tone = low > 0 ? "up" : high < 0 ? "down" : "flat";
  // an open end reaches the end of the scale, with a head
  const head = (v, step) => (Number.isFinite(v) ? "" : `M${x(v)} ${middle}m${step} -3l${-step} 3l${step} 3`);
  const bar = (kind, from, to) => (Number.isNaN(from) ? null
    : path(`${kind} ${tone}`, `M${x(from)} ${middle}H${x(to)}${head(from, 4)}${head(to, -4)}`));
  const dot = { class: `dot ${tone}${past(k, b) ? " open" : ""}`, cx: x(at), cy: middle, r: 3.6 };
  return draw("svg", { class: "forest", viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" },
    Number.isFinite(nullLow) ? path("null", `M${x(nullLow)} 2H${x(nullHigh)}V${height - 2}H${x(nullLow)}Z`) : null,
    path("zero", `M${x(0)} 0V${height}`),
    bar("thin", wideLow, wideHigh),
    bar("thick", low, high),
    Number.isFinite(at) ? draw("circle", dot) : null);
}

/** The ends of the scale, and 0 where there is room for it. */
function forestAxis(j) {
  const x = forestX(j);
  const [low, high] = ends[j];
  const text = (v, anchor) =>
    draw("text", { x: x(v).toFixed(1), y: 10, "text-anchor": anchor }, v === 0 ? "0" : signed(v, 2));
  const far = (v) => v === 0 || Math.abs(x(v) - x(0)) > 36;
  const anchor = low === 0 ? "start" : high === 0 ? "end" : "middle";
  return draw("svg", { class: "forest axis", viewBox: `0 0 ${FOREST.width} 12`, "aria-hidden": "true" },
    far(low) && far(high) ? text(0, anchor) : null,
    low < 0 ? text(low, "start") : null,
    high > 0 ? text(high, "end") : null);
}
