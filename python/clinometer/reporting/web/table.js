// The one table: a row a constitution, sorted and filtered; the first rows, so that the page stays small.

const FIRST_ROWS = 25;
const TEXTS = new Set(["name", "class", "fit"]);

function visibleRows() {
  const query = state.query.trim().toLowerCase();
  const named = (k) => !query || view.names[k].toLowerCase().includes(query);
  const classed = (k) => !state.kind || data.classes[k][state.b] === state.kind;
  const rows = range(K).filter((k) => named(k) && classed(k));
  const sorter = columns().find((c) => c.key === state.sort.key && c.value) ?? { key: "bound", value: bound };
  const keys = new Map(rows.map((k) => [k, sorter.value(k, state.b)]));
  const order = TEXTS.has(sorter.key) ? byText(state.sort.up) : byNumber(state.sort.up);
  return rows.sort((a, b) => order(keys.get(a), keys.get(b)) || a - b);
}

const shownRows = () => (state.every ? visibleRows() : visibleRows().slice(0, FIRST_ROWS));

function sortBy(key) {
  state.sort = { key, up: state.sort.key === key ? !state.sort.up : TEXTS.has(key) };
  render();
}

function headCell(c) {
  if (!c.value) return make("th", { scope: "col" }, c.name || make("span", { class: "unseen" }, "Colour"));
  const sorted = state.sort.key === c.key;
  const arrow = sorted ? (state.sort.up ? "\u00a0\u2191" : "\u00a0\u2193") : "";
  const about = { type: "button", title: c.hint, "data-focus": `sort${c.key}`, click: () => sortBy(c.key) };
  return make("th", {
    scope: "col", class: kindOf(c), "aria-sort": sorted ? (state.sort.up ? "ascending" : "descending") : "none",
  },
  make("button", about, c.name, make("span", { "aria-hidden": "true" }, arrow)),
  c.index === undefined ? null : forestAxis(c.index));
}

function kindOf(c) {
  if (c.index !== undefined) return "wide-cell";
  return { name: "name", class: "kind", bound: "bound" }[c.key] ?? null;
}

function nameCell(k) {
  const best = k === view.best[0];
  const star = make("span", { class: "best" }, "\u2605\u00a0", make("span", { class: "unseen" }, "the verdict's: "));
  const beyond = make("span", { class: "beyond-mark", title: "past the KL up to which these rows say what a policy gains" }, "\u00a0>");
  const after = past(k, state.b) ? beyond : null;
  return make("th", { scope: "row", class: "name" }, best ? star : null, view.names[k], after);
}

function bodyRow(k, all) {
  const cells = all.map((c) =>
    c.key === "name" ? nameCell(k) : make("td", { class: kindOf(c), "data-value": c.index }, c.cell(k, state.b)));
  const kind = k === view.best[0] ? "chosen" : null;
  return make("tr", { "data-key": `k${k}`, "data-k": k, class: kind }, cells);
}

/** What the marks in the table mean, and how much of it is shown. */
function legendOf(shown) {
  const unit = state.unit === "sd" ? "sd inside prompts" : "the values' own units";
  const count = `${shown.length} of ${K} constitution${K === 1 ? "" : "s"}`;
  const oneBound = data.policy.skewed.some((sides) => sides[state.b].some((side) => side !== 0));
  return [
    `KL ${sized(num(data.kl[state.b]))} nats, gains in ${unit}; ${count}. Thick: 95 % given the judge`,
    data.gain_interval_labels ? "; thin: with its labels" : "",
    oneBound ? "; with a head: no bound on that side" : "",
    data.null_band ? `; shaded: random directions${asGiven}` : "",
    "; hollow, >: past the horizon, the KL up to which these rows say what a policy gains; \u2605: the verdict.",
  ].join("");
}

function renderTable() {
  const holder = document.getElementById("main-table");
  const focused = document.activeElement?.dataset?.focus;
  ends = range(J).map(forestEnds);
  const all = columns();
  const rows = visibleRows();
  const shown = state.every ? rows : rows.slice(0, FIRST_ROWS);
  const label = "Gains at matched KL";
  const table = make("table", { class: "main", "aria-describedby": "main-said" },
    make("caption", { class: "unseen" }, label),
    make("thead", {}, make("tr", {}, all.map(headCell))),
    make("tbody", {}, shown.map((k) => bodyRow(k, all))));
  table.addEventListener("pointermove", pointTable);
  table.addEventListener("pointerleave", () => {
    setHot(null);
    hideTip();
  });
  table.addEventListener("focusin", (e) => setHot(e.target.closest("tbody tr")?.dataset.key ?? null));
  const region = { class: "wide", tabindex: 0, role: "region", "aria-label": label, "data-focus": "region" };
  const parts = [make("p", { class: "dim", id: "main-said" }, legendOf(shown)), make("div", region, table)];
  if (!rows.length) parts.push(make("p", {}, "No constitution has this name and class."));
  if (rows.length > FIRST_ROWS) parts.push(moreButton(rows.length));
  holder.replaceChildren(...parts);
  if (focused) holder.querySelector(`[data-focus="${focused}"]`)?.focus();
}

function moreButton(count) {
  const toggle = () => {
    state.every = !state.every;
    render();
  };
  const words = state.every ? `Show the first ${FIRST_ROWS}` : `Show all ${count}`;
  return make("button", { type: "button", class: "more", "data-focus": "more", click: toggle }, words);
}

function pointTable(event) {
  const row = event.target.closest("tbody tr");
  setHot(row?.dataset.key ?? null);
  const j = event.target.closest("td")?.dataset.value;
  if (!row || j === undefined) return hideTip();
  const k = Number(row.dataset.k);
  const title = `${view.names[k]}: ${valueName(Number(j))}`;
  showTip(title, state.pins.get(k), facts(k, state.b, Number(j)), event.clientX, event.clientY);
}
