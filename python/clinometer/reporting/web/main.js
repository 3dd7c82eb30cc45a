// Controls, downloads, and the first drawing.

/** A cell of text that a spreadsheet must not take for a formula: a mark ' goes before it, and before a mark itself. */
const textCell = (text) => `"${(/^[=+\-@\t\r\n']/.test(text) ? `'${text}` : text).replaceAll('"', '""')}"`;
const numberCell = (x) => (typeof x === "number" ? String(x) : x === true || x === false ? String(x) : x ?? "");

function csv() {
  const at = (table, k, b, j, ...rest) => rest.reduce((x, i) => x?.[i], table?.[k]?.[b]?.[j]) ?? null;
  const named = [
    ["gain", (k, b, j) => data.tilt.gain[k][b][j]], ["gain_se", (k, b, j) => data.tilt.gain_se[k][b][j]],
    ["gain_sd", (k, b, j) => (num(data.value_sd[j]) > 0 ? num(data.tilt.gain[k][b][j]) / num(data.value_sd[j]) : null)],
    ["lower", (k, b, j) => at(data.gain_interval, k, b, j, 0)], ["upper", (k, b, j) => at(data.gain_interval, k, b, j, 1)],
    ["lower_labels", (k, b, j) => at(data.gain_interval_labels, k, b, j, 0)], ["upper_labels", (k, b, j) => at(data.gain_interval_labels, k, b, j, 1)],
    ["win_rate", (k, b, j) => data.tilt.win_rate[k][b][j]], ["win_rate_se", (k, b, j) => at(data.win_rate_se, k, b, j)],
    ["first_order", (k, b, j) => data.tilt.first_order[k][b][j]],
    ["net_of_length", (k, b, j) => at(data.net?.gain, k, b, j)], ["net_of_length_se", (k, b, j) => at(data.net?.gain_se, k, b, j)],
    ["null_lower", (k, b, j) => data.null_band?.[b][j][0] ?? null], ["null_upper", (k, b, j) => data.null_band?.[b][j][1] ?? null],
    ["extrapolated", (k, b, j) => at(data.extrapolated, k, b, j)],
    ["kl_reached", (k, b) => data.tilt.kl[k][b]], ["beta", (k, b) => data.tilt.betas[k][b]], ["ess", (k, b) => data.tilt.ess[k][b]],
    ["pareto_k", (k, b) => data.tilt.pareto_k[k][b]], ["kl_horizon", (k) => view.horizon[k]], ["past_horizon", past],
  ];
  const lines = [["constitution", "value", "class", "kl", ...named.map(([name]) => name)].join(",")];
  for (const k of range(K)) {
    for (const b of range(B)) {
      for (const j of range(J)) {
        const texts = [data.constitutions[k], data.values[j], data.classes[k][b]].map(textCell);
        lines.push([...texts, numberCell(data.kl[b]), ...named.map(([, value]) => numberCell(value(k, b, j)))].join(","));
      }
    }
  }
  return lines.join("\r\n") + "\r\n";
}

function download(name, kind, text) {
  const address = URL.createObjectURL(new Blob([text], { type: kind }));
  make("a", { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 10000);
}

function downloads() {
  const holder = document.getElementById("downloads");
  const button = (name, act) => make("button", { type: "button", click: act }, name);
  holder.append(
    button("Download JSON", () => download("clinometer-report.json", "application/json", document.getElementById("report-data").textContent)),
    button("Download CSV", () => download("clinometer-report.csv", "text/csv", csv())),
    make("span", { class: "dim" }, data.significant_digits ? ` the data of this page, ${data.significant_digits} significant digits; Report.to_json has all` : " the data of this page"),
  );
  holder.hidden = false;
}

function chooser(name, label, options, current, change) {
  const one = ([value, text]) => make("label", {}, make("input", { type: "radio", name, value, checked: value === current ? "" : null, change: () => change(value) }), make("span", {}, text));
  return make("fieldset", {}, make("legend", { class: "unseen" }, label), options.map(one));
}

const onKl = [];

function controls() {
  const holder = document.getElementById("controls");
  const said = make("output", { for: "kl" });
  const slider = make("input", { type: "range", id: "kl", list: "levels", min: 0, max: B - 1, step: 1, value: levels.indexOf(state.b), disabled: B < 2 ? "" : null });
  slider.addEventListener("input", () => {
    state.b = levels[Number(slider.value)];
    render();
  });
  onKl.push(() => {
    said.textContent = `${sized(num(data.kl[state.b]))} nats`;
    slider.setAttribute("aria-valuetext", said.textContent);
  });
  const views = [["all", "All values"], ...range(J).map((j) => [String(j), valueName(j)]), ["tilt", "Diagnostics"]];
  const kinds = [...new Set(data.classes.flat())].sort();
  const set = (field) => (value) => { state[field] = value; render(); };
  const search = make("input", { type: "search", id: "search", placeholder: "constitution", "aria-label": "Filter by name", input: (e) => set("query")(e.target.value) });
  const filter = make("select", { id: "class", "aria-label": "Filter by class", change: (e) => set("kind")(e.target.value) },
    make("option", { value: "" }, "every class"), kinds.map((kind) => make("option", { value: kind }, kind.replaceAll("_", " "))));
  holder.append(
    make("div", { class: "slider" }, make("label", { for: "kl" }, "KL"), slider, said, make("datalist", { id: "levels" }, range(B).map((i) => make("option", { value: i })))),
    chooser("unit", "Unit of gains", [["sd", "sd"], ["raw", "own units"]], "sd", set("unit")),
  );
  holder.hidden = false;
  document.getElementById("main-table").before(make("div", { id: "columns" },
    chooser("view", "Columns", views, "all", set("view")), make("div", { class: "filters" }, search, kinds.length > 1 ? filter : null)));
}

let waiting = 0;

function redraw(everything = false) {
  for (const update of onKl) update();
  renderTable();
  refresh(everything);
}

/** Draw everything once more, at most once a frame. */
function render() {
  waiting ||= requestAnimationFrame(() => {
    waiting = 0;
    hideTip();
    redraw();
  });
}

function start() {
  const order = visibleRows();
  for (const k of K <= MOST_PINS ? range(K) : [view.best[0], ...order.filter((k) => k !== view.best[0])].slice(0, 5)) pin(k);
  controls();
  downloads();
  redraw();
  document.documentElement.dataset.ready = String(Math.round(performance.now()));
}

addEventListener("beforeprint", () => {
  setHot(null);
  hideTip();
  refresh(true);
});
addEventListener("keydown", (e) => e.key === "Escape" && hideTip());
start();
