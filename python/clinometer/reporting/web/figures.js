// Numbers of one constitution, KL and value in the unit chosen, and what a reader sees when pointing at them.

function scale(j) {
  const sd = num(data.value_sd[j]);
  return state.unit === "raw" ? 1 : sd > 0 ? 1 / sd : NaN;
}

const cell = (table, k, b, j) => (table ? num(table[k][b][j]) : NaN);
const pair = (x, j) => [num(x[0]) * scale(j), num(x[1]) * scale(j)];
const onRows = (k, b, j) => cell(data.tilt.gain, k, b, j) * scale(j);
// of the policy at this KL, as everything that is claimed
const gain = (k, b, j) => cell(data.policy.gain, k, b, j) * scale(j);
const firstOrder = (k, b, j) => cell(data.tilt.first_order, k, b, j) * scale(j);
const net = (k, b, j) => (data.net ? cell(data.net.gain, k, b, j) * scale(j) : NaN);
const winRate = (k, b, j) => cell(data.policy.win_rate, k, b, j);

function winText(k, b, j) {
  const se = cell(data.policy.win_rate_se, k, b, j);
  return sized(winRate(k, b, j), 3) + (Number.isFinite(se) ? ` \u00b1 ${sized(se, 3)}` : "");
}

const past = (k, b) => view.past[k][b] === 1;
const flips = (k, b, j) => firstOrder(k, b, j) * gain(k, b, j) < 0;

const interval = (k, b, j) => pair(data.policy.interval[k][b][j], j);

function withLabels(k, b, j) {
  return data.gain_interval_labels ? pair(data.gain_interval_labels[k][b][j], j) : [NaN, NaN];
}

const nullBand = (b, j) => (data.null_band ? pair(data.null_band[b][j], j) : [NaN, NaN]);
const correlated = (k, j) => num(data.correlation[k][j]);

/** Lower bound of the worst value in sd, corrected for having picked among all cells: what the verdict ranks by. */
const bound = (k, b) => num(view.bound[k][b]);

const CLASSES = {
  pareto_improving: ["good", "\u25b2", "raises all"], weakly_improving: ["good", "\u25b3", "raises some"],
  tradeoff: ["mixed", "\u25c6", "trade-off"], neutral: ["open", "\u25a0", "changes none"],
  undetermined: ["open", "?", "cannot tell"], weakly_degrading: ["bad", "\u25bd", "lowers some"],
  pareto_degrading: ["bad", "\u25bc", "lowers all"],
};

function classChip(k, b) {
  const kind = data.classes[k][b];
  const [tone, sign, words] = Object.hasOwn(CLASSES, kind) ? CLASSES[kind] : ["open", "", kind];
  return make("span", { class: `chip ${tone}` }, `${sign} ${words}`);
}

function reachedText(k, b) {
  if (view.reached[k][b] === 0) return `${sized(num(data.tilt.kl[k][b]))} (all that the rows reach)`;
  return sized(num(data.tilt.kl[k][b])) + (past(k, b) ? ", past the horizon" : "");
}

/** Name and number of everything known about a cell, for the hover card. */
function facts(k, b, j) {
  const rows = [
    ["KL", reachedText(k, b)], [`gain, ${unitName(j)}`, gainText(gain(k, b, j))],
    ["95 %, given the judge", between(interval(k, b, j))], ["95 %, with its labels", between(withLabels(k, b, j))],
    ["first order", gainText(firstOrder(k, b, j)) + (flips(k, b, j) ? " (other sign)" : "")],
    ["net of length", gainText(net(k, b, j))],
    ["tilt of the rows", gainText(onRows(k, b, j))], ["prompts that lose", percent(cell(data.policy.harmed, k, b, j))],
    ["null band", between(nullBand(b, j))], ["win rate", winText(k, b, j)],
    ["ESS share", sized(num(data.tilt.ess[k][b]), 2)],
  ];
  return rows.filter(([, text]) => text !== "\u2013");
}

const tip = document.getElementById("tip");

function showTip(title, slot, rows, x, y) {
  const list = rows.flatMap(([name, text]) => [make("dt", {}, name), make("dd", {}, text)]);
  const head = make("p", {}, slot === undefined || slot === null ? null : swatch(slot), title);
  tip.replaceChildren(head, make("dl", {}, list));
  tip.hidden = false;
  const box = tip.getBoundingClientRect();
  const left = x + 16 + box.width > innerWidth ? x - 16 - box.width : x + 16;
  tip.style.left = `${Math.max(4, left)}px`;
  tip.style.top = `${Math.max(4, Math.min(y + 12, innerHeight - box.height - 4))}px`;
}

function hideTip() {
  tip.hidden = true;
}

/** What a screen reader hears of the same card. */
function say(title, rows) {
  const words = rows.map(([name, text]) => `${name} ${text}`).join("; ");
  document.getElementById("said").textContent = `${title}: ${words}`;
}
