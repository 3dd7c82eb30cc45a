// Redrawing: what is in sight at once, the rest when it comes into sight or when the page is printed.

const updates = [];

const sight = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    const update = updates.find((u) => u.holder === entry.target);
    update.seen = entry.isIntersecting;
    if (update.seen && update.stale) refreshOne(update);
  }
}, { rootMargin: "300px" });

function onChange(holder, run) {
  updates.push({ holder, run, seen: false, stale: true });
  sight.observe(holder);
}

function refreshOne(update) {
  update.stale = false;
  update.run();
}

function refresh(everything) {
  for (const update of updates) {
    if (everything || update.seen) refreshOne(update);
    else update.stale = true;
  }
}

const onKl = [];

function redraw(everything = false) {
  for (const update of onKl) update();
  renderTable();
  refresh(everything);
}

let waiting = 0;

/** Draw once more what the state changed, at most once a frame. */
function render() {
  waiting ||= requestAnimationFrame(() => {
    waiting = 0;
    hideTip();
    redraw();
  });
}
