// The data of the page as files: its JSON as it stands, and the table of `Report.to_csv`.

const FORMULA = /^ *[=+\-@\t\r]/;

/** A cell of text that a spreadsheet must not take for a formula: an apostrophe goes before it. */
function textCell(raw, shown) {
  const marked = FORMULA.test(raw) ? `'${shown}` : shown;
  return `"${marked.replaceAll('"', '""')}"`;
}

const at = (table, ...index) => index.reduce((x, i) => x?.[i], table) ?? null;

function numberCell(x) {
  if (typeof x === "boolean") return x ? "True" : "False";
  return x === null ? "" : String(x);
}

/** A bound; empty where that end is open. */
const bounded = (x) => (typeof x === "number" ? x : null);

function csvRow(k, b, j) {
  const { tilt: t, policy: p } = data;
  const sd = num(data.value_sd[j]);
  return {
    constitution: textCell(data.constitutions[k], view.names[k]), kl: data.kl[b],
    value: textCell(data.values[j], view.values[j]), gain: at(p.gain, k, b, j), gain_se: at(p.gain_se, k, b, j),
    lower: bounded(at(p.interval, k, b, j, 0)), upper: bounded(at(p.interval, k, b, j, 1)),
    gain_values: at(data.gold?.gain_values, k, b, j), gain_rows: at(t.gain, k, b, j), gain_rows_se: at(t.gain_se, k, b, j),
    lower_labels: bounded(at(data.gain_interval_labels, k, b, j, 0)),
    upper_labels: bounded(at(data.gain_interval_labels, k, b, j, 1)),
    label_status: data.label_status ? textCell(data.label_status[k], data.label_status[k]) : "",
    null_lower: at(data.null_band, b, j, 0), null_upper: at(data.null_band, b, j, 1),
    first_order: at(t.first_order, k, b, j), first_order_unbiased: at(t.first_order_unbiased, k, b, j),
    first_order_se: at(t.first_order_se, k, b, j),
    gain_sd: sd > 0 && p.gain[k][b][j] !== null ? num(p.gain[k][b][j]) / sd : null, win_rate: at(p.win_rate, k, b, j),
    win_rate_se: at(p.win_rate_se, k, b, j), win_lower: at(p.win_interval, k, b, j, 0),
    win_upper: at(p.win_interval, k, b, j, 1), harmed: at(p.harmed, k, b, j), harmed_se: at(p.harmed_se, k, b, j),
    net_of_length: at(data.net?.gain, k, b, j),
    net_of_length_se: at(data.net?.gain_se, k, b, j), correlation: at(data.correlation, k, j),
    linear_share: at(data.linear_share, k), class: textCell(data.classes[k][b], data.classes[k][b]),
    kl_reached: at(t.kl, k, b), beta: at(p.betas, k, b), beta_rows: at(t.betas, k, b), ess: at(t.ess, k, b),
    pareto_k: at(t.pareto_k, k, b), horizon: at(data.horizon, k), past_horizon: past(k, b),
    correction: at(p.correction, k, b), kind: textCell(p.kind[k][b], p.kind[k][b]), chosen_share: at(data.selection?.share, k, b),
    recommended: k === view.best[0] && b === view.best[1],
  };
}

function csv() {
  const rows = range(K).flatMap((k) => range(B).flatMap((b) => range(J).map((j) => csvRow(k, b, j))));
  const lines = rows.map((row) => Object.values(row).map(numberCell).join(","));
  return `${[Object.keys(rows[0]).join(","), ...lines].join("\n")}\n`;
}

function download(name, kind, text) {
  const address = URL.createObjectURL(new Blob([text], { type: kind }));
  make("a", { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 10000);
}

function downloads() {
  const holder = document.getElementById("downloads");
  const button = (name, act) => make("button", { type: "button", click: act }, name);
  const json = () => document.getElementById("report-data").textContent;
  const digits = data.significant_digits;
  const rounded = digits ? `, ${digits} significant digits; Report.to_json has all` : "";
  holder.append(
    button("Download JSON", () => download("clinometer-report.json", "application/json", json())),
    button("Download CSV", () => download("clinometer-report.csv", "text/csv", csv())),
    make("span", { class: "dim" }, ` the data of this page${rounded}`),
  );
  holder.hidden = false;
}
