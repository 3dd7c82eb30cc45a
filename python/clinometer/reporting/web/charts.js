// Charts of the decision: frontiers, two values against each other, the heat map.

const slotOf = (k) => state.pins.get(k) ?? null;
const levels = view.order;
// what a chart over KL depends on beside the KL itself
const look = () => [state.unit, ...[...state.pins].flat()].join();
const klText = () => sized(num(data.kl[state.b]));

function place(name, build) {
  const holder = document.querySelector(`[data-chart="${name}"]`);
  if (holder) build(holder);
}

const legend = (items) => items.map(([slot, name]) => make("span", {}, swatch(slot), name));

/** A series a constitution over KL; `point` gives {y, lo, hi} at KL index b, `rows` the hover card. */
function overKl(point, from, rows) {
  return range(K).map((k) => ({
    key: `k${k}`, name: view.names[k], slot: slotOf(k), line: true, from,
    points: levels.map((b) => ({
      x: num(data.tilt.kl[k][b]), open: past(k, b), rows: () => rows(k, b), ...point(k, b),
    })),
  }));
}

function frontier(j) {
  const point = (k, b) => {
    const [lo, hi] = interval(k, b, j);
    return { y: gain(k, b, j), lo, hi };
  };
  return overKl(point, { x: 0, y: 0 }, (k, b) => facts(k, b, j));
}

place("frontiers", (holder) => {
  const names = make("p", { class: "legend" });
  holder.before(names);
  const plots = range(J).map((j) => new Plot(holder, `Gain in ${valueName(j)} against KL`));
  const rest = () => make("span", { class: "dim" }, "grey: the others; choose colours in the table");
  onChange(holder, () => {
    const pins = legend([...state.pins].map(([k, slot]) => [slot, view.names[k]]));
    names.replaceChildren(...pins, ...(state.pins.size < K ? [rest()] : []));
    plots.forEach((plot, j) => {
      plot.over(num(data.kl[state.b]), look(), () => ({ series: frontier(j), x: "KL, nats", xs: [0], ys: [0] }));
      plot.title.textContent = `${valueName(j)}, ${unitName(j)}`;
    });
  });
});

/** One point of constitution k in the plane of values a and c. */
function tradeoffPoint(k, a, c) {
  const [xlo, xhi] = interval(k, state.b, a);
  const [lo, hi] = interval(k, state.b, c);
  const [x, y] = [gain(k, state.b, a), gain(k, state.b, c)];
  const rows = () => [
    ["KL", reachedText(k, state.b)],
    [valueName(a), `${gainText(x)} (${between([xlo, xhi])})`],
    [valueName(c), `${gainText(y)} (${between([lo, hi])})`],
  ];
  const bars = slotOf(k) === null ? {} : { xlo, xhi, lo, hi };
  return { x, y, ...bars, open: past(k, state.b), rows };
}

place("tradeoff", (holder) => {
  const choose = (axis) => {
    const change = (e) => {
      state.axes[axis] = Number(e.target.value);
      render();
    };
    const chosen = (j) => (state.axes[axis] === j ? "" : null);
    return make("select", { "aria-label": `value on the ${"xy"[axis]} axis`, change },
      range(J).map((j) => make("option", { value: j, selected: chosen(j) }, valueName(j))));
  };
  const hint = make("span", { class: "dim" }, " tinted: both rise");
  holder.before(make("p", { class: "choose" }, "x ", choose(0), " y ", choose(1), hint));
  const plot = new Plot(holder, "Trade-off");
  onChange(holder, () => {
    const [a, c] = state.axes;
    const series = range(K).map((k) => ({
      key: `k${k}`, name: view.names[k], slot: slotOf(k), line: false, points: [tradeoffPoint(k, a, c)],
    }));
    plot.render({ series, x: `${valueName(a)}, ${unitName(a)}`, quadrant: true, ys: [0] });
    plot.title.textContent = `${valueName(c)} against ${valueName(a)} at KL ${klText()}`;
  });
});

/** Colour of a number in [-1, 1]: blue up, orange down; darker is larger. */
function shade(element, share) {
  if (!Number.isFinite(share)) return;
  const size = (58 * Math.min(1, Math.abs(share))).toFixed(0);
  element.style.background = `color-mix(in srgb, var(${share < 0 ? "--down" : "--up"}) ${size}%, var(--paper))`;
}

function heatCell(k, j, sd, largest) {
  const [low, high] = interval(k, state.b, j);
  const made = make("td", { class: low > 0 || high < 0 ? "clear" : "unclear" }, signed(sd, 2));
  shade(made, sd / largest);
  const title = `${view.names[k]}: ${valueName(j)}`;
  made.addEventListener("pointermove", (e) => showTip(title, slotOf(k), facts(k, state.b, j), e.clientX, e.clientY));
  made.addEventListener("pointerleave", hideTip);
  return made;
}

place("heat", (holder) => {
  const inSd = (k, j) => gain(k, state.b, j) / scale(j) / num(data.value_sd[j]);
  const head = ["Constitution", ...range(J).map(valueName)]
    .map((name) => make("th", { scope: "col", class: name.length <= 12 ? "short" : null }, name));
  onChange(holder, () => {
    const largest = Math.max(1e-300, ...range(K).flatMap((k) => range(J).map((j) => Math.abs(inSd(k, j)) || 0)));
    const body = shownRows().map((k) => make("tr", { "data-key": `k${k}` },
      make("th", { scope: "row", class: "name" }, view.names[k]),
      range(J).map((j) => heatCell(k, j, inSd(k, j), largest))));
    const caption = `gain in sd at KL ${klText()}; blue up, orange down; bold where the 95 % interval leaves out 0; ` +
      "rows as in the table above";
    holder.replaceChildren(make("div", { class: "wide" }, make("table", { class: "heat" },
      make("caption", {}, caption), make("thead", {}, make("tr", {}, head)), make("tbody", {}, body))));
  });
});

// tables of correlations, shaded
for (const table of document.querySelectorAll("[data-shade]")) {
  for (const td of table.querySelectorAll("td")) shade(td, Number(td.textContent));
}
