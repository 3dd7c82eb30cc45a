// What the table can show: an overview of all values, every number of one value, or the tilt itself.
//
// A column is {key, name, value(k, b), cell(k, b), hint}; `value` sorts, and a column without one does not sort.

const asGiven = data.gold ? ", of the values as given" : "";
const column = (key, name, value, cell, hint) => ({ key, name, value, cell, hint });
const numbers = (key, name, value, text, hint) => column(key, name, value, (k, b) => text(value(k, b)), hint);
const signed2 = (x) => signed(x, 2);
const sized2 = (x) => sized(x, 2);
const sized3 = (x) => sized(x, 3);

function columns() {
  const pins = column("pin", "", null, pinCell);
  const names = column("name", "Constitution", (k) => view.names[k], null);
  if (state.view === "tilt") return [pins, names, ...tiltColumns(), ...sharedColumns()];
  const hint = "by 95 % bounds of the values asked for";
  const kind = column("class", "Class", (k, b) => data.classes[k][b], classChip, hint);
  const rest = state.view === "all" ? overviewColumns() : valueColumns(Number(state.view));
  return [pins, names, kind, ...rest, ...sharedColumns()];
}

function overviewColumns() {
  const hint = `lower bound of the worst value in sd, corrected for ${view.n_cells} cells (or, where it has none, its gain less ` +
    "what a sign needs): what the verdict ranks by";
  return [...range(J).map(forestColumn), numbers("bound", "Worst value \u2265", bound, signed2, hint)];
}

function sharedColumns() {
  const out = [];
  if (data.selection) {
    const share = (k, b) => num(data.selection.share[k][b]);
    const hint = "share of random halves of the prompts that choose it at this KL";
    out.push(numbers("chosen", "Chosen here", share, percent, hint));
  }
  if (data.linear_share) {
    const share = (k) => num(data.linear_share[k]);
    const hint = "share of the score that a direction predicts out of fold";
    out.push(numbers("linear", "Linear share", share, sized2, hint));
  }
  return out;
}

function forestColumn(j) {
  const cell = (k, b) => [forest(k, b, j), make("span", { class: "num" }, gainText(gain(k, b, j)))];
  return { ...column(`gain${j}`, valueName(j), (k, b) => gain(k, b, j), cell, unitName(j)), index: j };
}

function valueColumns(j) {
  const given = (k, b) => interval(k, b, j);
  const labels = (k, b) => withLabels(k, b, j);
  const text = (pairOf) => (k, b) => between(pairOf(k, b));
  const of = (figure) => (k, b) => figure(k, b, j);
  const out = [
    forestColumn(j),
    column("given", "95 %, given the judge", (k, b) => given(k, b)[0], text(given)),
    column("labels", "95 %, with its labels", (k, b) => labels(k, b)[0], (k, b) => labelsCell(k, labels(k, b)),
      "\u2013: the error of the judge's own labels is unknown"),
    column("win", "Win rate", of(winRate), of(winText), "chance that a response drawn after beats one drawn before"),
    column("first", "First order", of(firstOrder), of(firstCell), "what the covariance alone predicts"),
    numbers("net", "Net of length", of(net), gainText, data.length_note),
  ];
  if (data.null_band) {
    const hint = `random directions at the same KL${asGiven}`;
    out.push(column("null", "Null band", null, (k, b) => between(nullBand(b, j)), hint));
  }
  const harmed = (k, b) => cell(data.policy.harmed, k, b, j);
  out.push(numbers("rows", "Tilt of the rows", of(onRows), gainText, "falls short of the policy's at the same KL"));
  out.push(numbers("harmed", "Prompts that lose", harmed, percent, "share whose own gain is negative beyond noise, at least"));
  out.push(numbers("r", "r with score", (k) => correlated(k, j), signed2, `correlation inside prompts${asGiven}`));
  if (!data.baselines) return out;
  const simpler = (table) => (k) => num(table[k][j]);
  const { cosine, projection_difference: shift } = data.baselines;
  return [
    ...out,
    numbers("cosine", "Cosine", simpler(cosine), signed2, `of the two directions${asGiven}`),
    numbers("shift", "Projection shift", simpler(shift), signed2, `sd of the value's mean-difference direction${asGiven}`),
  ];
}

const statuses = "given: a direction as it came; cross-fitted: by a fit that did not see the prompt; " +
  "in-sample: fitted to these very rows; score: a column of numbers";

function tiltColumns() {
  const of = (table) => (k, b) => num(table[k][b]);
  const { betas } = data.policy;
  const { kl, ess, ess_min: least, pareto_k: tail, reverse_kl: reverse, fit_status: status } = data.tilt;
  const out = [column("kl", "KL reached", of(kl), reachedText)];
  out.push(
    numbers("horizon", "Horizon", (k) => num(view.horizon[k]), sized2, "the KL up to which these rows give an estimate"),
    numbers("beta", "beta", of(betas), sized3),
    numbers("ess", "ESS share", of(ess), sized2),
    numbers("least", "Least ESS", of(least), sized2),
    column("k", "Pareto k", of(tail), (k, b) => tailCell(of(tail)(k, b)), `good below ${sized2(view.pareto_limit)}`),
    numbers("reverse", "Reverse KL", of(reverse), sized3),
  );
  const hint = "by what share the rows' beta is too low at this KL; corrected";
  out.push(numbers("short", "Correction", of(data.policy.correction), percent, hint));
  return [...out, column("fit", "Score", (k) => status[k], (k) => status[k], statuses)];
}

/** The interval, or a dash that says on pointing why there is none. */
function labelsCell(k, ends) {
  const status = data.label_status?.[k] ?? "unknown";
  return Number.isNaN(ends[0]) ? make("span", { title: status }, "\u2013") : between(ends);
}

const warning = (text) => make("span", { class: "warn" }, text);
const tailCell = (x) => (x > view.pareto_limit ? warning(`${signed2(x)} !`) : signed2(x));

function firstCell(k, b, j) {
  const text = gainText(firstOrder(k, b, j));
  return flips(k, b, j) ? warning(`${text} \u2260 sign`) : text;
}

function pinCell(k) {
  const slot = state.pins.get(k);
  const pressed = slot !== undefined;
  const toggle = () => {
    pin(k);
    render();
  };
  const about = { type: "button", class: "pin", "aria-pressed": String(pressed), "data-focus": `pin${k}` };
  const face = pressed ? swatch(slot) : make("span", { class: "unpinned" });
  return make("button", { ...about, "aria-label": `show ${view.names[k]} in colour`, click: toggle }, face);
}
