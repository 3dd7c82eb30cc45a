// The one table: a row a constitution; its columns are an overview of all values, one value, or the tilt itself.

const FIRST_ROWS = 25;
const FOREST = { width: 96, height: 22, pad: 6 };

function column(key, name, value, cell, hint) {
  return { key, name, value, cell, hint };
}

/** A number column that prints by `text`. */
const plainColumn = (key, name, value, text, hint) => column(key, name, value, (k, b) => text(value(k, b)), hint);

function columns() {
  const pins = column("pin", "", null, pinCell);
  const names = column("name", "Constitution", (k) => view.names[k], null);
  const kind = column("class", "Class", (k, b) => data.classes[k][b], classChip, "by 95 % bounds of the values asked for");
  if (state.view === "all") return [pins, names, kind, ...overviewColumns()];
  if (state.view === "tilt") return [pins, names, ...tiltColumns()];
  return [pins, names, kind, ...valueColumns(Number(state.view))];
}

function overviewColumns() {
  const out = range(J).map((j) => forestColumn(j));
  out.push(plainColumn("bound", "Worst value \u2265", bound, (x) => signed(x, 2),
    `lower bound of the worst value in sd, corrected for ${view.n_cells} cells: what the verdict ranks by`));
  out.push(...sharedColumns());
  return out;
}

function sharedColumns() {
  const out = [];
  if (data.selection) {
    out.push(plainColumn("chosen", "Chosen", (k, b) => num(data.selection.share[k][b]), percent, "share of random halves of the prompts that choose it"));
  }
  if (data.linear_share) {
    out.push(plainColumn("linear", "Linear share", (k) => num(data.linear_share[k]), (x) => sized(x, 2), "share of the score that a direction predicts out of fold"));
  }
  return out;
}

function forestColumn(j) {
  const made = column(`gain${j}`, valueName(j), (k, b) => gain(k, b, j), (k, b) => [forest(k, b, j), make("span", { class: "num" }, gainText(gain(k, b, j)))], unitName(j));
  return { ...made, value_index: j };
}

function valueColumns(j) {
  const out = [
    forestColumn(j),
    column("given", "95 %, given the judge", (k, b) => interval(k, b, j)[0], (k, b) => between(interval(k, b, j))),
    column("labels", "95 %, with its labels", (k, b) => withLabels(k, b, j)[0], (k, b) => between(withLabels(k, b, j)), "\u2013: the error of the judge's own labels is unknown"),
    column("win", "Win rate", (k, b) => winRate(k, b, j), (k, b) => winText(k, b, j), "chance that a response drawn after beats one drawn before"),
    column("first", "First order", (k, b) => firstOrder(k, b, j), (k, b) => firstCell(k, b, j), "what the covariance alone predicts"),
    plainColumn("net", "Net of length", (k, b) => net(k, b, j), gainText, data.length_note),
  ];
  if (data.null_band) out.push(column("null", "Null band", null, (k, b) => between(nullBand(b, j)), "random directions at the same KL"));
  if (view.estimate) out.push(plainColumn("rows", "Tilt of the rows", onRows, gainText, "biased towards zero"));
  else if (data.extrapolated) out.push(plainColumn("beyond", "Extrapolated", (k, b) => extrapolated(k, b, j), gainText, "past the horizon, were scores Gaussian"));
  out.push(plainColumn("r", "r with score", (k) => correlated(k, j), (x) => signed(x, 2), "correlation inside prompts"));
  if (data.baselines && j < (data.baselines.cosine[0] ?? []).length) {
    out.push(plainColumn("cosine", "Cosine", (k) => num(data.baselines.cosine[k][j]), (x) => signed(x, 2), "of the two directions"));
    out.push(plainColumn("shift", "Projection shift", (k) => num(data.baselines.projection_difference[k][j]), (x) => signed(x, 2), "sd of the value's mean-difference direction"));
  }
  return [...out, ...sharedColumns()];
}

function tiltColumns() {
  const of = (name) => (k, b) => num(data.tilt[name][k][b]);
  const out = [
    column("kl", "KL reached", of("kl"), (k, b) => reachedText(k, b)),
    plainColumn("horizon", "KL horizon", (k) => num(view.horizon[k]), (x) => sized(x, 2), "up to which these rows know the sizes"),
    plainColumn("beta", "beta", of("betas"), (x) => sized(x, 3)),
    plainColumn("ess", "ESS share", of("ess"), (x) => sized(x, 2)), plainColumn("least", "Least ESS", of("ess_min"), (x) => sized(x, 2)),
    column("k", "Pareto k", of("pareto_k"), (k, b) => tailCell(of("pareto_k")(k, b)), `reliable below ${sized(view.pareto_limit, 2)}`),
    plainColumn("reverse", "Reverse KL", of("reverse_kl"), (x) => sized(x, 3)),
  ];
  if (data.gaussian_kl) out.splice(1, 0, plainColumn("gauss", "Gaussian KL", (k, b) => num(data.gaussian_kl[k][b]), (x) => sized(x, 3), "of the policy, were scores Gaussian"));
  if (data.shortfall) out.push(plainColumn("short", "Shortfall", (k, b) => num(data.shortfall[k][b]), percent, "by how much the gain of the judge's own score falls short of the policy's"));
  out.push(column("fit", "Score", (k) => data.tilt.fit_status[k], (k) => data.tilt.fit_status[k], "whether the judge saw these rows"));
  return [...out, ...sharedColumns()];
}

const tailCell = (x) => (x > view.pareto_limit ? make("span", { class: "warn" }, `${signed(x, 2)} !`) : signed(x, 2));

function firstCell(k, b, j) {
  const text = gainText(firstOrder(k, b, j));
  return flips(k, b, j) ? make("span", { class: "warn" }, `${text} \u2260 sign`) : text;
}

function pinCell(k) {
  const slot = state.pins.get(k);
  const toggle = () => { pin(k); render(); };
  return make("button", {
    type: "button", class: "pin", "aria-pressed": String(slot !== undefined), "data-focus": `pin${k}`,
    "aria-label": `show ${view.names[k]} in colour`, click: toggle,
  }, slot === undefined ? make("span", { class: "unpinned" }) : swatch(slot));
}

// Ends of a value's scale at this KL: the same for all its rows
function forestEnds(j) {
  const numbers = range(K).flatMap((k) => [...interval(k, state.b, j), gain(k, state.b, j)]);
  return extent(numbers, [0]);
}

let ends = [];

function forestX(j) {
  const [low, high] = ends[j];
  const { width, pad } = FOREST;
  return (v) => pad + ((width - 2 * pad) * (Math.max(low, Math.min(high, v)) - low)) / (high - low);
}

/** Interval given the judge (thick), with its labels (thin), against zero and the band of random directions. */
function forest(k, b, j) {
  const x = forestX(j);
  const { width, height } = FOREST;
  const middle = height / 2;
  const [low, high] = interval(k, b, j);
  const [wideLow, wideHigh] = withLabels(k, b, j);
  const [nullLow, nullHigh] = nullBand(b, j);
  const at = gain(k, b, j);
  const tone = low > 0 ? "up" : high < 0 ? "down" : "flat";
  const out = [];
  if (Number.isFinite(nullLow)) out.push(draw("rect", { class: "null", x: x(nullLow).toFixed(1), y: 2, width: Math.max(0.5, x(nullHigh) - x(nullLow)).toFixed(1), height: height - 4 }));
  out.push(draw("path", { class: "zero", d: `M${x(0).toFixed(1)} 0V${height}` }));
  if (Number.isFinite(wideLow)) out.push(draw("path", { class: `thin ${tone}`, d: `M${x(wideLow).toFixed(1)} ${middle}H${x(wideHigh).toFixed(1)}` }));
  if (Number.isFinite(low)) out.push(draw("path", { class: `thick ${tone}`, d: `M${x(low).toFixed(1)} ${middle}H${x(high).toFixed(1)}` }));
  if (Number.isFinite(at)) out.push(draw("circle", { class: `dot ${tone}${past(k, b) ? " open" : ""}`, cx: x(at).toFixed(1), cy: middle, r: 3.6 }));
  return draw("svg", { class: "forest", viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" }, out);
}

function forestAxis(j) {
  const x = forestX(j);
  const [low, high] = ends[j];
  const text = (v, anchor) => draw("text", { x: x(v).toFixed(1), y: 10, "text-anchor": anchor }, v === 0 ? "0" : signed(v, state.unit === "sd" ? 2 : 2));
  const far = (v) => v === 0 || Math.abs(x(v) - x(0)) > 36;
  return draw("svg", { class: "forest axis", viewBox: `0 0 ${FOREST.width} 12`, "aria-hidden": "true" },
    far(low) && far(high) ? text(0, low === 0 ? "start" : high === 0 ? "end" : "middle") : null,
    low < 0 ? text(low, "start") : null, high > 0 ? text(high, "end") : null);
}

function visibleRows() {
  const query = state.query.trim().toLowerCase();
  const held = range(K).filter((k) => (!query || view.names[k].toLowerCase().includes(query)) && (!state.kind || data.classes[k][state.b] === state.kind));
  const sorter = columns().find((c) => c.key === state.sort.key && c.value) ?? { value: bound };
  const keys = new Map(held.map((k) => [k, sorter.value(k, state.b)]));
  const texts = typeof keys.get(held[0]) === "string";
  const order = texts ? (a, b) => (state.sort.up ? 1 : -1) * a.localeCompare(b) : byNumber(state.sort.up);
  return held.sort((a, b) => order(keys.get(a), keys.get(b)) || a - b);
}

const shownRows = () => (state.every ? visibleRows() : visibleRows().slice(0, FIRST_ROWS));

function sortBy(key) {
  const texts = key === "name" || key === "class" || key === "fit";
  state.sort = { key, up: state.sort.key === key ? !state.sort.up : texts };
  render();
}

function headCell(c) {
  if (!c.value) return make("th", { scope: "col" }, c.name || make("span", { class: "unseen" }, "Colour"));
  const sorted = state.sort.key === c.key;
  const button = make("button", { type: "button", click: () => sortBy(c.key), title: c.hint, "data-focus": `sort${c.key}` }, c.name,
    make("span", { class: "arrow", "aria-hidden": "true" }, sorted ? (state.sort.up ? "\u00a0\u2191" : "\u00a0\u2193") : ""));
  const kind = c.value_index !== undefined ? "wide-cell" : c.key === "name" ? "name" : c.key === "class" ? "kind" : c.key === "bound" ? "bound" : null;
  return make("th", { scope: "col", class: kind, "aria-sort": sorted ? (state.sort.up ? "ascending" : "descending") : "none" },
    button, c.value_index !== undefined ? forestAxis(c.value_index) : null);
}

function bodyRow(k, all) {
  const best = k === view.best[0];
  const name = make("th", { scope: "row", class: "name" }, best ? make("span", { class: "best" }, "\u2605\u00a0", make("span", { class: "unseen" }, "the verdict's: ")) : null, view.names[k],
    past(k, state.b) ? make("span", { class: "beyond-mark", title: "past the KL horizon" }, "\u00a0>") : null);
  const cells = all.map((c) => (c.key === "name" ? name : make("td", { class: c.value_index !== undefined ? "wide-cell" : c.key === "class" ? "kind" : null, "data-value": c.value_index }, c.cell(k, state.b))));
  return make("tr", { "data-key": `k${k}`, "data-k": k, class: best ? "chosen" : null }, cells);
}

function renderTable() {
  const holder = document.getElementById("main-table");
  const focused = document.activeElement?.dataset?.focus;
  ends = range(J).map(forestEnds);
  const all = columns();
  const rows = visibleRows();
  const shown = state.every ? rows : rows.slice(0, FIRST_ROWS);
  const said = `KL ${sized(num(data.kl[state.b]))} nats, gains in ${state.unit === "sd" ? "sd inside prompts" : "the values' own units"}; ` +
    `${shown.length} of ${K} constitution${K === 1 ? "" : "s"}. Thick bar: 95 % given the judge` + (data.gain_interval_labels ? "; thin: with its labels" : "") +
    (data.null_band ? "; shaded: random directions" : "") + ". Hollow, >: past the KL horizon. \u2605: the verdict's." + (view.estimate ? " So few responses a prompt that gains are extrapolated from the first order." : "");
  const table = make("table", { class: "main", "aria-describedby": "main-said" }, make("caption", { class: "unseen" }, "Gains at matched KL"), make("thead", {}, make("tr", {}, all.map(headCell))), make("tbody", {}, shown.map((k) => bodyRow(k, all))));
  table.addEventListener("pointermove", pointTable);
  table.addEventListener("pointerleave", () => { setHot(null); hideTip(); });
  table.addEventListener("focusin", (e) => setHot(e.target.closest("tbody tr")?.dataset.key ?? null));
  const more = rows.length > shown.length || state.every && rows.length > FIRST_ROWS
    ? make("button", { type: "button", class: "more", "data-focus": "more", click: () => { state.every = !state.every; render(); } }, state.every ? `Show the first ${FIRST_ROWS}` : `Show all ${rows.length}`) : null;
  const empty = rows.length ? null : make("p", {}, "No constitution has this name and class.");
  const region = make("div", { class: "wide", tabindex: 0, role: "region", "aria-label": "Gains at matched KL", "data-focus": "region" }, table);
  holder.replaceChildren(make("p", { class: "dim", id: "main-said" }, said), region, ...[empty, more].filter((x) => x));
  if (focused) holder.querySelector(`[data-focus="${focused}"]`)?.focus();
}

function pointTable(event) {
  const row = event.target.closest("tbody tr");
  setHot(row?.dataset.key ?? null);
  const j = event.target.closest("td")?.dataset.value;
  if (!row || j === undefined) return hideTip();
  const k = Number(row.dataset.k);
  showTip(`${view.names[k]}: ${valueName(Number(j))}`, state.pins.get(k), facts(k, state.b, Number(j)), event.clientX, event.clientY);
}
