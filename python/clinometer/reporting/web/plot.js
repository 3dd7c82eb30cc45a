// One engine for every chart: series of points, with bands, that pointer and arrow keys can walk.
//
// A series is {key, name, slot, points, line, band}; a point {x, y, lo, hi, xlo, xhi, open, title, rows}. Series
// without a slot are drawn grey and behind the others, all in one path, so that 200 of them cost one element.

const WIDTH = 340;
const HEIGHT = 230;
const MARGIN = { left: 46, right: 14, top: 12, bottom: 36 };
const charts = [];

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

/** Exponents of ten for a log scale, with those of 2 and 5 where there are few. */
function powers(low, high) {
  const out = [];
  for (let i = Math.floor(low); i <= high; i++) {
    for (const m of high - low > 2.5 ? [1] : [1, 2, 5]) {
      const v = i + Math.log10(m);
      if (v >= low && v <= high) out.push(v);
    }
  }
  return out;
}

/** A round number without digits that say nothing. */
function tickText(v) {
  const text = Number(v.toPrecision(3)).toString();
  return (text.length > 6 ? v.toExponential(0) : text).replace("-", "\u2212");
}

function extent(numbers, include) {
  let low = Infinity;
  let high = -Infinity;
  for (const x of [...numbers, ...include]) {
    if (!Number.isFinite(x)) continue;
    low = Math.min(low, x);
    high = Math.max(high, x);
  }
  if (!(high >= low)) return [0, 1];
  if (high === low) return [low - 0.5 * (Math.abs(low) || 1), high + 0.5 * (Math.abs(high) || 1)];
  return [low, high];
}

class Plot {
  constructor(holder, label) {
    this.svg = draw("svg", {
      viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", tabindex: 0, "aria-label": `${label}. Arrow keys walk through the points.`,
    });
    this.title = make("figcaption", {}, label);
    holder.append(make("figure", {}, this.title, this.svg));
    this.at = null;
    this.svg.addEventListener("pointermove", (e) => this.point(e));
    this.svg.addEventListener("pointerleave", () => this.leave());
    this.svg.addEventListener("blur", () => this.leave());
    this.svg.addEventListener("keydown", (e) => this.walk(e));
    charts.push(this);
  }

  /** spec: {series, x, y, xs, ys, here, limit, diagonal, quadrant, log} */
  render(spec) {
    this.spec = spec;
    const points = spec.series.flatMap((s) => s.points);
    const padded = ([low, high]) => [low - 0.04 * (high - low), high + 0.04 * (high - low)];
    const xs = points.flatMap((p) => [p.x, p.xlo, p.xhi]);
    const ys = points.flatMap((p) => [p.y, p.lo, p.hi]);
    const [x0, x1] = spec.quadrant ? padded(extent(xs, [0])) : extent(xs, spec.xs ?? []);
    const [y0, y1] = padded(extent(ys, [...(spec.ys ?? []), ...(spec.limit !== undefined ? [spec.limit] : [])]));
    this.x = (v) => MARGIN.left + ((WIDTH - MARGIN.left - MARGIN.right) * (v - x0)) / (x1 - x0);
    this.y = (v) => MARGIN.top + ((HEIGHT - MARGIN.top - MARGIN.bottom) * (y1 - v)) / (y1 - y0);
    this.points = spec.series.flatMap((s) => s.points.filter((p) => Number.isFinite(p.y) && Number.isFinite(p.x)).map((p) => ({ ...p, series: s })));
    this.overlay = draw("g", { class: "overlay" });
    const grey = spec.series.filter((s) => s.slot === null);
    const bright = spec.series.filter((s) => s.slot !== null);
    this.svg.replaceChildren(
      this.axes(x0, x1, y0, y1), ...this.greys(grey), ...bright.map((s) => this.band(s)),
      ...bright.map((s) => this.line(s, `k${s.slot}`)), ...bright.map((s) => this.marks(s)), this.overlay,
    );
    this.highlight();
  }

  axes(x0, x1, y0, y1) {
    const { spec } = this;
    const floor = HEIGHT - MARGIN.bottom;
    const right = WIDTH - MARGIN.right;
    const text = (x, y, anchor, words, extra) => draw("text", { x, y, "text-anchor": anchor, ...extra }, words);
    const out = [];
    if (spec.quadrant && x1 > 0 && y1 > 0) {
      out.push(draw("rect", { class: "both", x: this.x(Math.max(0, x0)), y: MARGIN.top, width: right - this.x(Math.max(0, x0)), height: this.y(Math.max(0, y0)) - MARGIN.top }));
    }
    for (const v of spec.log ? powers(y0, y1) : ticks(y0, y1)) {
      out.push(draw("path", { class: "grid", d: `M${MARGIN.left} ${this.y(v).toFixed(1)}H${right}` }));
      out.push(text(MARGIN.left - 5, this.y(v) + 3.5, "end", tickText(spec.log ? 10 ** v : v)));
    }
    for (const v of ticks(x0, x1)) {
      out.push(draw("path", { class: "tick", d: `M${this.x(v).toFixed(1)} ${floor}v4` }));
      out.push(text(this.x(v), floor + 15, "middle", tickText(v)));
    }
    out.push(text((MARGIN.left + right) / 2, HEIGHT - 4, "middle", spec.x, { class: "name" }));
    if (y0 < 0 && y1 > 0) out.push(draw("path", { class: "zero", d: `M${MARGIN.left} ${this.y(0).toFixed(1)}H${right}` }));
    if (spec.quadrant && x0 < 0 && x1 > 0) out.push(draw("path", { class: "zero", d: `M${this.x(0).toFixed(1)} ${MARGIN.top}V${floor}` }));
    if (spec.limit !== undefined) out.push(draw("path", { class: "limit", d: `M${MARGIN.left} ${this.y(spec.limit).toFixed(1)}H${right}` }));
    if (spec.diagonal) {
      const end = Math.min(x1, y1);
      out.push(draw("path", { class: "zero", d: `M${this.x(0)} ${this.y(0)}L${this.x(end)} ${this.y(end)}` }));
    }
    if (Number.isFinite(spec.here)) out.push(draw("path", { class: "here", d: `M${this.x(spec.here).toFixed(1)} ${MARGIN.top}V${floor}` }));
    return draw("g", { class: "axes", "aria-hidden": "true" }, out);
  }

  xy(p) {
    return `${this.x(p.x).toFixed(1)} ${this.y(p.y).toFixed(1)}`;
  }

  /** Path data of a series: up to the horizon, and beyond. */
  paths(s) {
    let solid = "";
    let dashed = "";
    let last = s.from ?? null;
    for (const p of s.points) {
      if (!Number.isFinite(p.y) || !Number.isFinite(p.x)) continue;
      if (last) {
        const step = `M${this.xy(last)}L${this.xy(p)}`;
        if (p.open) dashed += step;
        else solid += step;
      }
      last = p;
    }
    return [solid, dashed];
  }

  greys(series) {
    const lines = series.filter((s) => s.line).map((s) => this.paths(s));
    const dots = series.filter((s) => !s.line).flatMap((s) => s.points).filter((p) => Number.isFinite(p.y) && Number.isFinite(p.x));
    return [
      draw("path", { class: "line grey", d: lines.map((l) => l[0]).join("") }),
      draw("path", { class: "line grey beyond", d: lines.map((l) => l[1]).join("") }),
      draw("path", { class: "dots grey", d: dots.map((p) => `M${this.xy(p)}h0`).join("") }),
    ];
  }

  band(s) {
    const held = s.points.filter((p) => Number.isFinite(p.lo) && Number.isFinite(p.hi) && Number.isFinite(p.x));
    if (!s.line) {
      const bars = held.map((p) => `M${this.x(p.x).toFixed(1)} ${this.y(p.lo).toFixed(1)}V${this.y(p.hi).toFixed(1)}`);
      const across = held.filter((p) => Number.isFinite(p.xlo)).map((p) => `M${this.x(p.xlo).toFixed(1)} ${this.y(p.y).toFixed(1)}H${this.x(p.xhi).toFixed(1)}`);
      return draw("path", { class: `line k${s.slot}`, d: [...bars, ...across].join("") });
    }
    const from = s.from ? [{ x: s.from.x, lo: s.from.y, hi: s.from.y }] : [];
    const upper = [...from, ...held].map((p) => `${this.x(p.x).toFixed(1)} ${this.y(p.hi).toFixed(1)}`);
    const lower = [...held].reverse().map((p) => `${this.x(p.x).toFixed(1)} ${this.y(p.lo).toFixed(1)}`);
    return draw("path", { class: `band k${s.slot}`, d: held.length ? `M${[...upper, ...lower].join("L")}Z` : "" });
  }

  line(s, kind) {
    if (!s.line) return draw("g");
    const [solid, dashed] = this.paths(s);
    const more = (s.beyond ?? []).filter((p) => Number.isFinite(p.y));
    const dotted = more.length > 1 ? `M${more.map((p) => this.xy(p)).join("L")}` : "";
    return draw("g", {}, draw("path", { class: `line ${kind}`, d: solid }), draw("path", { class: `line ${kind} beyond`, d: dashed }),
      draw("path", { class: `line ${kind} dotted`, d: dotted }));
  }

  marks(s) {
    const held = s.points.filter((p) => Number.isFinite(p.y) && Number.isFinite(p.x));
    return draw("g", {}, held.map((p) => mark(s.slot, this.x(p.x), this.y(p.y), s.line ? 3 : 4.5, p.open)));
  }

  /** The series that is pointed at anywhere on the page, drawn above all. */
  highlight() {
    const s = this.spec.series.find((one) => one.key === state.hot);
    this.svg.classList.toggle("dimmed", s !== undefined);
    if (!s) return void this.overlay.replaceChildren();
    const kind = s.slot === null ? "hot" : `k${s.slot}`;
    const held = s.points.filter((p) => Number.isFinite(p.y) && Number.isFinite(p.x));
    const dots = held.map((p) => draw("circle", { class: `mark ${kind}${p.open ? " open" : ""}`, cx: this.x(p.x), cy: this.y(p.y), r: 3.5 }));
    const marks = s.slot === null ? dots : held.map((p) => mark(s.slot, this.x(p.x), this.y(p.y), 4.5, p.open));
    this.overlay.replaceChildren(this.line(s, `${kind} strong`), ...marks);
    if (this.at && this.at.series.key === s.key) {
      this.overlay.append(draw("circle", { class: "ring", cx: this.x(this.at.x), cy: this.y(this.at.y), r: 7 }));
    }
  }

  point(event) {
    const box = this.svg.getBoundingClientRect();
    const ratio = WIDTH / box.width;
    const x = (event.clientX - box.left) * ratio;
    const y = (event.clientY - box.top) * ratio;
    let best = null;
    let least = 24 ** 2;
    for (const p of this.points) {
      const far = (this.x(p.x) - x) ** 2 + (this.y(p.y) - y) ** 2;
      if (far < least) [best, least] = [p, far];
    }
    if (best) this.show(best, event.clientX, event.clientY);
    else this.leave();
  }

  show(p, x, y) {
    this.at = p;
    setHot(p.series.key);
    showTip(p.series.name, p.series.slot, p.rows(), x, y);
  }

  leave() {
    this.at = null;
    setHot(null);
    hideTip();
  }

  /** Left and right along a series, up and down to the next series. */
  walk(event) {
    const series = (this.spec?.series ?? []).filter((s) => s.points.some((p) => Number.isFinite(p.y)));
    const step = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
    if (event.key === "Escape") this.leave();
    if (!step || !series.length) return;
    event.preventDefault();
    const s = this.at ? series.findIndex((one) => one.key === this.at.series.key) : 0;
    const own = this.points.filter((p) => p.series === series[s]);
    const i = this.at ? own.findIndex((p) => p.x === this.at.x && p.y === this.at.y) : -1;
    const to = this.points.filter((p) => p.series === series[(s + (this.at ? step[0] : 0) + series.length) % series.length]);
    const p = to[Math.max(0, Math.min(to.length - 1, i + (this.at ? step[1] : 1)))];
    const box = this.svg.getBoundingClientRect();
    this.show(p, box.left + (this.x(p.x) * box.width) / WIDTH, box.top + (this.y(p.y) * box.width) / WIDTH);
    say(p.series.name, p.rows());
  }
}

function setHot(key) {
  if (state.hot === key) return;
  state.hot = key;
  for (const chart of charts) if (chart.spec) chart.highlight();
  for (const row of document.querySelectorAll("#main-table tbody tr")) row.classList.toggle("hot", row.dataset.key === key);
}
