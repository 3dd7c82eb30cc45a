// Controls, and the first drawing.

function chooser(name, label, options, current) {
  const change = (value) => () => {
    state[name] = value;
    render();
  };
  const one = ([value, text]) => make("label", {},
    make("input", { type: "radio", name, value, checked: value === current ? "" : null, change: change(value) }),
    make("span", {}, text));
  return make("fieldset", {}, make("legend", { class: "unseen" }, label), options.map(one));
}

/** The KL slider steps over the levels of the report: nothing is interpolated. */
function klSlider() {
  const said = make("output", { for: "kl" });
  const about = { type: "range", id: "kl", list: "levels", min: 0, max: B - 1, step: 1, disabled: B < 2 ? "" : null };
  const slider = make("input", { ...about, value: levels.indexOf(state.b) });
  slider.addEventListener("input", () => {
    state.b = levels[Number(slider.value)];
    render();
  });
  onKl.push(() => {
    said.textContent = `${klText()} nats`;
    slider.setAttribute("aria-valuetext", said.textContent);
  });
  const marks = make("datalist", { id: "levels" }, range(B).map((i) => make("option", { value: i })));
  return make("div", { class: "slider" }, make("label", { for: "kl" }, "KL"), slider, said, marks);
}

function filters() {
  const set = (field) => (e) => {
    state[field] = e.target.value;
    render();
  };
  const about = { type: "search", id: "search", placeholder: "constitution", "aria-label": "Filter by name" };
  const search = make("input", { ...about, input: set("query") });
  const kinds = [...new Set(data.classes.flat())].sort();
  if (kinds.length < 2) return make("div", { class: "filters" }, search);
  const options = kinds.map((kind) => make("option", { value: kind }, kind.replaceAll("_", " ")));
  const filter = make("select", { id: "class", "aria-label": "Filter by class", change: set("kind") },
    make("option", { value: "" }, "every class"), options);
  return make("div", { class: "filters" }, search, filter);
}

function controls() {
  const holder = document.getElementById("controls");
  const views = [["all", "All values"], ...range(J).map((j) => [String(j), valueName(j)]), ["tilt", "Diagnostics"]];
  holder.append(klSlider(), chooser("unit", "Unit of gains", [["sd", "sd"], ["raw", "own units"]], "sd"));
  holder.hidden = false;
  document.getElementById("main-table").before(
    make("div", { id: "columns" }, chooser("view", "Columns", views, "all"), filters()));
}

function start() {
  for (const part of document.querySelectorAll("[data-scripted]")) part.hidden = false;
  const order = visibleRows().filter((k) => k !== view.best[0]);
  for (const k of K <= MOST_PINS ? range(K) : [view.best[0], ...order].slice(0, 5)) pin(k);
  controls();
  downloads();
  redraw();
  document.documentElement.dataset.ready = String(Math.round(performance.now()));
}

addEventListener("beforeprint", () => {
  for (const details of document.querySelectorAll("details")) details.open = true;
  setHot(null);
  hideTip();
  refresh(true);
});
addEventListener("keydown", (e) => e.key === "Escape" && hideTip());
start();
