// One engine for every chart: series of points, with bands, that pointer and arrow keys can walk.
//
// A series is {key, name, slot, points, line, from, beyond}; a point {x, y, lo, hi, xlo, xhi, open, rows}. Series
// without a slot are drawn grey and behind the others, all in one path, so that 200 of them cost one element.

const charts = [];
const NEAR = 24; // how far a pointer may be from a point, in units of the drawing

const held = (points) => points.filter((p) => Number.isFinite(p.x) && Number.isFinite(p.y));

class Plot {
  constructor(holder, label) {
    const words = `${label}. Arrow keys walk through the points.`;
    this.svg = draw("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", tabindex: 0, "aria-label": words });
    this.title = make("figcaption", {}, label);
    holder.append(make("figure", {}, this.title, this.svg));
    this.at = null;
    this.svg.addEventListener("pointermove", (e) => this.point(e));
    this.svg.addEventListener("pointerleave", () => this.leave());
    this.svg.addEventListener("blur", () => this.leave());
    this.svg.addEventListener("keydown", (e) => this.walk(e));
    charts.push(this);
  }

  /** A chart over KL: drawn anew where what it shows has changed, else only its line at the KL chosen moves. */
  over(kl, key, build) {
    if (this.key !== key) this.render(build());
    this.key = key;
    this.here.setAttribute("d", `M${this.x(kl).toFixed(1)} ${MARGIN.top}V${FLOOR}`);
  }

  /** spec: {series, x, xs, ys, limit, diagonal, quadrant, log}; xs and ys are to be in sight. */
  render(spec) {
    this.spec = spec;
    const points = spec.series.flatMap((s) => s.points);
    const xs = points.flatMap((p) => [p.x, p.xlo, p.xhi, ...mirrored(p.x, [p.xlo, p.xhi])]);
    const ys = points.flatMap((p) => [p.y, p.lo, p.hi, ...mirrored(p.y, [p.lo, p.hi])]);
    const ends = spec.quadrant ? padded(extent(xs, [0])) : extent(xs, spec.xs ?? []);
    const heights = padded(extent(ys, [...(spec.ys ?? []), spec.limit]));
    // what is open reaches the edge
    const inside = (v, [low, high]) => Math.max(low, Math.min(high, v));
    this.x = (v) => MARGIN.left + ((RIGHT - MARGIN.left) * (inside(v, ends) - ends[0])) / (ends[1] - ends[0]);
    this.y = (v) => MARGIN.top + ((FLOOR - MARGIN.top) * (heights[1] - inside(v, heights))) / (heights[1] - heights[0]);
    this.points = spec.series.flatMap((series) => held(series.points).map((p) => ({ ...p, series })));
    this.here = path("here", "");
    this.overlay = draw("g", { class: "overlay" });
    const bright = spec.series.filter((s) => s.slot !== null);
    this.svg.replaceChildren(
      axes(spec, this.x, this.y, ends, heights),
      this.here,
      ...this.greys(spec.series.filter((s) => s.slot === null)),
      ...bright.map((s) => (s.line ? this.band(s) : this.bars(s))),
      ...bright.map((s) => this.line(s, `k${s.slot}`)),
      ...bright.map((s) => this.marks(s)),
      this.overlay,
    );
    this.highlight();
  }

  xy(p) {
    return `${this.x(p.x).toFixed(1)} ${this.y(p.y).toFixed(1)}`;
  }

  /** Path data of a series: up to the horizon, and beyond. */
  paths(s) {
    const parts = ["", ""];
    let last = s.from ?? null;
    for (const p of held(s.points)) {
      if (last) parts[p.open ? 1 : 0] += `M${this.xy(last)}L${this.xy(p)}`;
      last = p;
    }
    return parts;
  }

  greys(series) {
    const lines = series.filter((s) => s.line).map((s) => this.paths(s));
    const dots = held(series.filter((s) => !s.line).flatMap((s) => s.points));
    return [
      path("line grey", lines.map((l) => l[0]).join("")),
      path("line grey beyond", lines.map((l) => l[1]).join("")),
      path("dots grey", dots.map((p) => `M${this.xy(p)}h0`).join("")),
    ];
  }

  band(s) {
    const points = held(s.points).filter((p) => p.lo <= p.hi);
    const start = s.from ? [{ x: s.from.x, lo: s.from.y, hi: s.from.y }] : [];
    const edge = (p, y) => `${this.x(p.x).toFixed(1)} ${this.y(y).toFixed(1)}`;
    const upper = [...start, ...points].map((p) => edge(p, p.hi));
    const lower = [...points].reverse().map((p) => edge(p, p.lo));
    return path(`band k${s.slot}`, points.length ? `M${[...upper, ...lower].join("L")}Z` : "");
  }

  /** Intervals of single points, up and across. */
  bars(s) {
    const at = (v, scale) => scale(v).toFixed(1);
    const points = held(s.points).filter((p) => p.lo <= p.hi && p.xlo <= p.xhi);
    const up = (p) => `M${at(p.x, this.x)} ${at(p.lo, this.y)}V${at(p.hi, this.y)}`;
    const across = (p) => `M${at(p.xlo, this.x)} ${at(p.y, this.y)}H${at(p.xhi, this.x)}`;
    return path(`line k${s.slot}`, points.map((p) => up(p) + across(p)).join(""));
  }

  line(s, kind) {
    if (!s.line) return draw("g");
    const [solid, dashed] = this.paths(s);
    const past = held(s.beyond ?? []);
    const dotted = past.length > 1 ? `M${past.map((p) => this.xy(p)).join("L")}` : "";
    const parts = [["", solid], [" beyond", dashed], [" dotted", dotted]];
    return draw("g", {}, parts.map(([more, d]) => path(`line ${kind}${more}`, d)));
  }

  marks(s, kind = `k${s.slot}`, size = s.line ? 3 : 4.5) {
    return draw("g", {}, held(s.points).map((p) => mark(s.slot, this.x(p.x), this.y(p.y), size, p.open, kind)));
  }

  /** The series that is pointed at anywhere on the page, drawn above all. */
  highlight() {
    const s = this.spec.series.find((one) => one.key === state.hot);
    this.svg.classList.toggle("dimmed", s !== undefined);
    if (!s) return void this.overlay.replaceChildren();
    const kind = s.slot === null ? "hot" : `k${s.slot}`;
    this.overlay.replaceChildren(this.line(s, `${kind} strong`), this.marks(s, kind, 4.5));
    if (this.at?.series.key === s.key) {
      this.overlay.append(draw("circle", { class: "ring", cx: this.x(this.at.x), cy: this.y(this.at.y), r: 7 }));
    }
  }

  point(event) {
    const box = this.svg.getBoundingClientRect();
    const ratio = WIDTH / box.width;
    const [x, y] = [(event.clientX - box.left) * ratio, (event.clientY - box.top) * ratio];
    let best = null;
    let least = NEAR ** 2;
    for (const p of this.points ?? []) {
      const far = (this.x(p.x) - x) ** 2 + (this.y(p.y) - y) ** 2;
      if (far < least) [best, least] = [p, far];
    }
    if (best) this.show(best, event.clientX, event.clientY);
    else this.leave();
  }

  show(p, x, y) {
    this.at = p;
    setHot(p.series.key);
    this.highlight(); // the ring moves along a series that was hot already
    showTip(p.series.name, p.series.slot, p.rows(), x, y);
  }

  leave() {
    this.at = null;
    setHot(null);
    hideTip();
  }

  /** Left and right along a series, up and down to the next one. */
  walk(event) {
    if (event.key === "Escape") this.leave();
    const step = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
    const series = (this.spec?.series ?? []).filter((s) => held(s.points).length);
    if (!step || !series.length) return;
    event.preventDefault();
    const of = (s) => this.points.filter((p) => p.series === s);
    let p = of(series[0])[0];
    if (this.at) {
      const s = series.findIndex((one) => one.key === this.at.series.key);
      const i = of(series[s]).findIndex((one) => one.x === this.at.x && one.y === this.at.y);
      const next = of(series[(s + step[0] + series.length) % series.length]);
      p = next[Math.max(0, Math.min(next.length - 1, i + step[1]))];
    }
    const box = this.svg.getBoundingClientRect();
    const ratio = box.width / WIDTH;
    this.show(p, box.left + this.x(p.x) * ratio, box.top + this.y(p.y) * ratio);
    say(p.series.name, p.rows());
  }
}

/** Point at a series, by its key, in every chart and in the table. */
function setHot(key) {
  if (state.hot === key) return;
  state.hot = key;
  for (const chart of charts) if (chart.spec) chart.highlight();
  for (const row of document.querySelectorAll("#main-table tbody tr")) {
    row.classList.toggle("hot", row.dataset.key === key);
  }
}
