// What each chart shows. A chart is made once; `update` redraws it for the KL, unit and pins of the moment.

const slotOf = (k) => state.pins.get(k) ?? null;
const levels = view.order;
const updates = [];

// only what is in sight is drawn at once; the rest when it comes into sight, or when the page is printed
const sight = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    const update = updates.find((u) => u.holder === entry.target);
    update.seen = entry.isIntersecting;
    if (update.seen && update.stale) refreshOne(update);
  }
}, { rootMargin: "300px" });

function onChange(holder, run) {
  updates.push({ holder, run, seen: false, stale: true });
  sight.observe(holder);
}

function refreshOne(update) {
  update.stale = false;
  update.run();
}

function refresh(everything) {
  for (const update of updates) {
    if (everything || update.seen) refreshOne(update);
    else update.stale = true;
  }
}

function place(name, build) {
  const holder = document.querySelector(`[data-chart="${name}"]`);
  if (holder) build(holder);
}

/** A series a constitution over KL; `point` gives {y, lo, hi} at KL index b. */
function overKl(point, from, rows) {
  return range(K).map((k) => ({
    key: `k${k}`, name: view.names[k], slot: slotOf(k), line: true, from,
    points: levels.map((b) => ({ x: num(data.tilt.kl[k][b]), open: past(k, b), rows: () => rows(k, b), b, ...point(k, b) })),
  }));
}

place("frontiers", (holder) => {
  const legend = make("p", { class: "legend" });
  holder.before(legend);
  const plots = range(J).map((j) => new Plot(holder, `Gain in ${valueName(j)} against KL`));
  onChange(holder, () => {
    legend.replaceChildren(...[...state.pins].map(([k, slot]) => make("span", {}, swatch(slot), view.names[k])),
      ...(state.pins.size < K ? [make("span", { class: "dim" }, "grey: the others; choose colours in the table")] : []));
    plots.forEach((plot, j) => plot.render({
      series: overKl((k, b) => {
        const [lo, hi] = interval(k, b, j);
        return { y: gain(k, b, j), lo, hi };
      }, { x: 0, y: 0 }, (k, b) => facts(k, b, j)).map((s, k) => ({ ...s, beyond: beyondPoints(k, j) })),
      x: "KL, nats", xs: [0], ys: [0], here: num(data.kl[state.b]),
    }));
    plots.forEach((plot, j) => (plot.title.textContent = `${valueName(j)}, ${unitName(j)}`));
  });
});

function beyondPoints(k, j) {
  if (view.estimate) return [];
  const points = levels.filter((b) => Number.isFinite(extrapolated(k, b, j))).map((b) => ({ x: num(data.kl[b]), y: extrapolated(k, b, j) }));
  const before = levels.filter((b) => !past(k, b)).map((b) => ({ x: num(data.tilt.kl[k][b]), y: gain(k, b, j) }));
  return points.length ? [before.at(-1) ?? { x: 0, y: 0 }, ...points] : [];
}

place("tradeoff", (holder) => {
  const choose = (axis) => make("select", { "aria-label": `value on the ${"xy"[axis]} axis`, change: (e) => { state.axes[axis] = Number(e.target.value); render(); } },
    range(J).map((j) => make("option", { value: j, selected: state.axes[axis] === j ? "" : null }, valueName(j))));
  holder.before(make("p", { class: "choose" }, "x ", choose(0), " y ", choose(1), make("span", { class: "dim" }, " tinted: both rise")));
  const plot = new Plot(holder, "Trade-off");
  onChange(holder, () => {
    const [a, c] = state.axes;
    plot.render({
      series: range(K).map((k) => {
        const [xlo, xhi] = interval(k, state.b, a);
        const [lo, hi] = interval(k, state.b, c);
        const rows = () => [["KL", reachedText(k, state.b)], [valueName(a), `${gainText(gain(k, state.b, a))} (${between([xlo, xhi])})`], [valueName(c), `${gainText(gain(k, state.b, c))} (${between([lo, hi])})`]];
        return { key: `k${k}`, name: view.names[k], slot: slotOf(k), line: false, points: [{ x: gain(k, state.b, a), y: gain(k, state.b, c), ...(slotOf(k) === null ? {} : { xlo, xhi, lo, hi }), open: past(k, state.b), rows }] };
      }),
      x: `${valueName(a)}, ${unitName(a)}`, quadrant: true, ys: [0],
    });
    plot.title.textContent = `${valueName(c)} against ${valueName(a)} at KL ${sized(num(data.kl[state.b]))}`;
  });
});

/** Colour of a number in [-1, 1]: blue up, orange down; darker is larger. */
function shade(element, share) {
  if (!Number.isFinite(share)) return;
  const size = Math.min(1, Math.abs(share));
  element.style.background = `color-mix(in srgb, var(${share < 0 ? "--down" : "--up"}) ${(58 * size).toFixed(0)}%, var(--paper))`;
}

place("heat", (holder) => {
  onChange(holder, () => {
    const rows = shownRows();
    const sd = (k, j) => gain(k, state.b, j) / scale(j) / num(data.value_sd[j]);
    const largest = Math.max(...range(K).flatMap((k) => range(J).map((j) => Math.abs(sd(k, j)) || 0)), 1e-300);
    const body = rows.map((k) => make("tr", { "data-key": `k${k}` }, make("th", { scope: "row", class: "name" }, view.names[k]), range(J).map((j) => {
      const [low, high] = interval(k, state.b, j);
      const made = make("td", { class: low > 0 || high < 0 ? "clear" : "unclear" }, signed(sd(k, j), 2));
      shade(made, sd(k, j) / largest);
      made.addEventListener("pointermove", (e) => showTip(`${view.names[k]}: ${valueName(j)}`, slotOf(k), facts(k, state.b, j), e.clientX, e.clientY));
      made.addEventListener("pointerleave", hideTip);
      return made;
    })));
    const head = make("tr", {}, make("th", { scope: "col" }, "Constitution"), range(J).map((j) => make("th", { scope: "col" }, valueName(j))));
    holder.replaceChildren(make("div", { class: "wide" }, make("table", { class: "heat" },
      make("caption", {}, `gain in sd at KL ${sized(num(data.kl[state.b]))}; blue up, orange down; bold where the 95 % interval leaves out 0; rows as in the table above`),
      make("thead", {}, head), make("tbody", {}, body))));
  });
});

/** Tables of correlations, shaded. */
for (const held of document.querySelectorAll("[data-shade]")) {
  for (const td of held.querySelectorAll("td")) shade(td, Number(td.textContent));
}

place("layers", (holder) => {
  const sites = data.layers.map((s, i) => ({ ...s, x: s.layer ?? i, position: view.positions[i] || "site" })).sort((a, b) => a.x - b.x);
  const kinds = [...new Set(sites.map((s) => s.position))];
  const series = (point) => kinds.map((kind, slot) => ({
    key: `position:${kind}`, name: kind, slot: slot % MOST_PINS, line: true,
    points: sites.filter((s) => s.position === kind).map((s) => {
      const p = point(s);
      return { x: s.x, open: false, rows: () => [["site", s.site], ["size", signed(p.y, 3)], ...(Number.isFinite(p.lo) ? [["95 %", `${signed(p.lo, 3)} to ${signed(p.hi, 3)}`]] : [])], ...p };
    }),
  }));
  const add = (title, point, extra) => new Plot(holder, title).render({ series: series(point), x: "layer", ys: [0], ...extra });
  for (const j of range(data.n_requested)) {
    add(`R2 of ${view.values[j]}, out of fold`, (s) => ({ y: num(s.quality[j]), lo: num(s.quality_ci?.[j]?.[0]), hi: num(s.quality_ci?.[j]?.[1]) }));
  }
  add("margin of the cone", (s) => ({ y: num(s.margin) }));
  if (kinds.length > 1) holder.before(make("p", { class: "legend" }, kinds.map((kind, slot) => make("span", {}, swatch(slot % MOST_PINS), kind))));
  if (!sites.some((s) => s.gain)) return;
  const plots = range(data.n_requested).map(() => new Plot(holder, "gain"));
  const best = data.constitutions[view.best[0]];
  const of = (s, j) => num(s.gain?.[Math.max(0, s.constitutions.indexOf(best))]?.[state.b]?.[j]) * scale(j);
  onChange(holder, () => plots.forEach((plot, j) => {
    plot.render({ series: series((s) => ({ y: of(s, j) })), x: "layer", ys: [0] });
    plot.title.textContent = `gain in ${view.values[j]}, ${unitName(j)}, of the direction of that layer`;
  }));
});

place("spectrum", (holder) => {
  const values = data.spectrum.eigenvalues.map(num).filter((x) => x > 0);
  const points = values.map((x, i) => ({ x: i + 1, y: Math.log10(x), open: false, rows: () => [["eigenvalue", sized(x, 3)], ["rank", String(i + 1)]] }));
  new Plot(holder, "Eigenvalues inside prompts, log scale").render({ series: [{ key: "spectrum", name: "spectrum", slot: 0, line: true, points }], x: "rank", log: true });
});

place("rounds", (holder) => {
  const { gain: gains, kl } = data.iterated;
  const plot = new Plot(holder, "Gain, sd, against rounds");
  const sd = (t, j) => num(gains[t][j]) / num(data.value_sd[j]);
  plot.render({
    x: "round", xs: [0], ys: [0],
    series: range(J).map((j) => ({
      key: `value:${j}`, name: valueName(j), slot: j % MOST_PINS, line: true, from: { x: 0, y: 0 },
      points: range(gains.length).map((t) => ({ x: t + 1, y: sd(t, j), open: false, rows: () => [["gain, sd", signed(sd(t, j), 2)], ["KL", sized(num(kl[t]))]] })),
    })),
  });
  holder.before(make("p", { class: "legend" }, range(J).map((j) => make("span", {}, swatch(j % MOST_PINS), valueName(j)))));
});

place("diagnostics", (holder) => {
  const made = [["ESS share", data.tilt.ess, {}], ["Pareto k", data.tilt.pareto_k, { limit: view.pareto_limit }],
    ["Shortfall of the judge's own gain", data.shortfall, {}]].filter(([, table]) => table).map(([title, table, extra]) => [new Plot(holder, title), table, extra]);
  const gauss = data.gaussian_kl ? new Plot(holder, "Gaussian KL against the rows' KL") : null;
  const rows = (k, b) => [["KL", reachedText(k, b)], ["beta", sized(num(data.tilt.betas[k][b]))], ["ESS share", sized(num(data.tilt.ess[k][b]), 2)],
    ["least ESS", sized(num(data.tilt.ess_min[k][b]), 2)], ["Pareto k", signed(num(data.tilt.pareto_k[k][b]), 2)],
    ...(data.gaussian_kl ? [["Gaussian KL", sized(num(data.gaussian_kl[k][b]), 3)]] : [])];
  onChange(holder, () => {
    for (const [plot, table, extra] of made) {
      plot.render({ series: overKl((k, b) => ({ y: num(table[k][b]) }), table === data.tilt.ess ? { x: 0, y: 1 } : null, rows), x: "KL, nats", xs: [0], ys: [0], here: num(data.kl[state.b]), ...extra });
    }
    gauss?.render({ series: overKl((k, b) => ({ y: num(data.gaussian_kl[k][b]) }), { x: 0, y: 0 }, rows), x: "KL of the rows, nats", xs: [0], ys: [0], diagonal: true, here: num(data.kl[state.b]) });
  });
});
