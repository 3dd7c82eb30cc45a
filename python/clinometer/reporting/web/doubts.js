// Charts for the reader who doubts: layers, spectrum, rounds, diagnostics.

place("layers", (holder) => {
  const sites = data.layers.map((s, i) => ({ ...s, x: s.layer ?? i, position: view.positions[i] || "site" }));
  sites.sort((a, b) => a.x - b.x);
  const kinds = [...new Set(sites.map((s) => s.position))];
  const pointOf = (s, figure) => {
    const p = figure(s);
    const interval = Number.isFinite(p.lo) ? [["95 %", `${signed(p.lo, 3)} to ${signed(p.hi, 3)}`]] : [];
    return { x: s.x, open: false, rows: () => [["site", s.site], ["size", signed(p.y, 3)], ...interval], ...p };
  };
  const seriesOf = (figure) => kinds.map((kind, i) => ({
    key: `position:${kind}`, name: kind, slot: i % MOST_PINS, line: true,
    points: sites.filter((s) => s.position === kind).map((s) => pointOf(s, figure)),
  }));
  const show = (plot, figure) => plot.render({ series: seriesOf(figure), x: "layer", ys: [0] });
  for (const j of range(data.n_requested)) {
    const quality = (s) => ({ y: num(s.quality[j]), lo: num(s.quality_ci?.[j]?.[0]), hi: num(s.quality_ci?.[j]?.[1]) });
    show(new Plot(holder, `R2 of ${view.values[j]}, out of fold`), quality);
  }
  show(new Plot(holder, "margin of the cone"), (s) => ({ y: num(s.margin) }));
  if (kinds.length > 1) {
    holder.before(make("p", { class: "legend" }, legend(kinds.map((kind, i) => [i % MOST_PINS, kind]))));
  }
  if (!sites.some((s) => s.gain)) return;
  const best = data.constitutions[view.best[0]];
  const own = (s) => Math.max(0, s.constitutions.indexOf(best));
  const plots = range(data.n_requested).map(() => new Plot(holder, "gain"));
  onChange(holder, () => plots.forEach((plot, j) => {
    show(plot, (s) => ({ y: num(s.gain?.[own(s)]?.[state.b]?.[j]) * scale(j) }));
    plot.title.textContent = `gain in ${view.values[j]}, ${unitName(j)}, of the direction of that layer`;
  }));
});

place("spectrum", (holder) => {
  const values = data.spectrum.eigenvalues.map(num).filter((x) => x > 0);
  const points = values.map((x, i) => ({
    x: i + 1, y: Math.log10(x), open: false, rows: () => [["eigenvalue", sized(x, 3)], ["rank", String(i + 1)]],
  }));
  const series = [{ key: "spectrum", name: "spectrum", slot: 0, line: true, points }];
  new Plot(holder, "Eigenvalues inside prompts, log scale").render({ series, x: "rank", log: true });
});

place("rounds", (holder) => {
  const { gain: gains, kl } = data.iterated;
  const point = (t, j) => {
    const sd = num(gains[t][j]) / num(data.value_sd[j]);
    return { x: t + 1, y: sd, open: false, rows: () => [["gain, sd", signed(sd, 2)], ["KL", sized(num(kl[t]))]] };
  };
  const series = range(J).map((j) => ({
    key: `value:${j}`, name: valueName(j), slot: j % MOST_PINS, line: true, from: { x: 0, y: 0 },
    points: range(gains.length).map((t) => point(t, j)).filter((p) => Number.isFinite(p.y)), // none past the horizon
  }));
  new Plot(holder, "Gain, sd, against rounds").render({ series, x: "round", xs: [0], ys: [0] });
  holder.before(make("p", { class: "legend" }, legend(range(J).map((j) => [j % MOST_PINS, valueName(j)]))));
});

function tiltFacts(k, b) {
  const { ess, ess_min: least, pareto_k: tail } = data.tilt;
  const { betas } = data.policy;
  const rows = [
    ["KL", reachedText(k, b)], ["beta", sized(num(betas[k][b]))], ["ESS share", sized(num(ess[k][b]), 2)],
    ["least ESS", sized(num(least[k][b]), 2)], ["Pareto k", signed(num(tail[k][b]), 2)],
  ];
  return [...rows, ["correction", percent(num(data.policy.correction[k][b]))]];
}

place("diagnostics", (holder) => {
  const wanted = [
    ["ESS share", data.tilt.ess, { from: { x: 0, y: 1 } }],
    ["Pareto k", data.tilt.pareto_k, { limit: view.pareto_limit }],
    ["Bias of beta on the rows, as a share", data.policy.correction, { from: { x: 0, y: 0 } }],
  ];
  const made = wanted.filter(([, table]) => table).map(([title, ...rest]) => [new Plot(holder, title), ...rest]);
  onChange(holder, () => {
    for (const [plot, table, { from, ...extra }] of made) {
      const series = () => overKl((k, b) => ({ y: num(table[k][b]) }), from, tiltFacts);
      const build = () => ({ series: series(), x: "KL of the rows, nats", xs: [0], ys: [0], ...extra });
      plot.over(num(data.kl[state.b]), look(), build);
    }
  });
});
