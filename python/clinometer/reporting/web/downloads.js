// The data of the page as files.

/** A cell of text that a spreadsheet must not take for a formula: a mark ' goes before it, and before a mark. */
function textCell(text) {
  const marked = /^[=+\-@\t\r\n']/.test(text) ? `'${text}` : text;
  return `"${marked.replaceAll('"', '""')}"`;
}

const numberCell = (x) => (x === null || x === undefined ? "" : String(x));

/** Columns of numbers as they stand in the data: [name, (k, b, j) => cell]. */
function csvColumns() {
  const t = data.tilt;
  const cellOf = (table) => (k, b, j) => table?.[k]?.[b]?.[j];
  const endOf = (table, i) => (k, b, j) => table?.[k]?.[b]?.[j]?.[i];
  const inSd = (k, b, j) => (num(data.value_sd[j]) > 0 ? num(t.gain[k][b][j]) / num(data.value_sd[j]) : null);
  return [
    ["gain", cellOf(t.gain)], ["gain_se", cellOf(t.gain_se)], ["gain_sd", inSd],
    ["lower", endOf(data.gain_interval, 0)], ["upper", endOf(data.gain_interval, 1)],
    ["lower_labels", endOf(data.gain_interval_labels, 0)], ["upper_labels", endOf(data.gain_interval_labels, 1)],
    ["win_rate", cellOf(t.win_rate)], ["win_rate_se", cellOf(data.win_rate_se)],
    ["first_order", cellOf(t.first_order)],
    ["net_of_length", cellOf(data.net?.gain)], ["net_of_length_se", cellOf(data.net?.gain_se)],
    ["null_lower", (k, b, j) => data.null_band?.[b][j][0]], ["null_upper", (k, b, j) => data.null_band?.[b][j][1]],
    ["extrapolated", cellOf(data.extrapolated)],
    ["kl_reached", (k, b) => t.kl[k][b]], ["beta", (k, b) => t.betas[k][b]],
    ["ess", (k, b) => t.ess[k][b]], ["pareto_k", (k, b) => t.pareto_k[k][b]], ["kl_horizon", (k) => view.horizon[k]],
    ["past_horizon", past],
  ];
}

function csv() {
  const named = csvColumns();
  const lines = [["constitution", "value", "class", "kl", ...named.map(([name]) => name)].join(",")];
  for (const k of range(K)) {
    for (const b of range(B)) {
      for (const j of range(J)) {
        const texts = [data.constitutions[k], data.values[j], data.classes[k][b]].map(textCell);
        const numbers = named.map(([, value]) => numberCell(value(k, b, j)));
        lines.push([...texts, numberCell(data.kl[b]), ...numbers].join(","));
      }
    }
  }
  return `${lines.join("\r\n")}\r\n`;
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
