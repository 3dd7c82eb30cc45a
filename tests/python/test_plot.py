"""Plots: what is drawn says what the result says, labels do not overlap, and the pictures of the documentation stay."""

from __future__ import annotations

import importlib.util
import itertools
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import clinometer as cm

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")
import matplotlib.text  # noqa: E402
from matplotlib import pyplot  # noqa: E402

from clinometer.plot.canvas import PALETTE, distinct, spaced  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
IMAGES = ROOT / "docs" / "img"
G, N, D, K = 24, 8, 5, 20
NAMES = [f"judge/$x_{k}$ <b>\x1b[31m{'a long name ' * (k % 3)}{k}" for k in range(K)]


@pytest.fixture(autouse=True)
def _closed() -> Any:
    before = dict(matplotlib.rcParams)
    yield
    pyplot.close("all")
    assert dict(matplotlib.rcParams) == before  # no plot leaves a setting behind


@pytest.fixture(scope="module")
def dump() -> cm.Dump:
    rng = np.random.default_rng(0)
    phi = rng.normal(size=(G * N, D)).astype(np.float32)
    columns = {"good": phi[:, 0] + rng.normal(size=G * N), "harm": phi[:, 1], "n_tokens": rng.integers(1, 50, G * N)}
    return cm.open_dump(phi, prompt_ids=np.repeat(np.arange(G), N), columns=columns)


@pytest.fixture(scope="module")
def many() -> cm.Directions:
    return cm.Directions(NAMES, np.random.default_rng(1).normal(size=(K, D)))


VALUES = ["good", "-harm"]


@pytest.fixture(scope="module")
def tilt(dump: cm.Dump, many: cm.Directions) -> Any:
    return cm.tilt(dump, many, values=VALUES)


def test_an_open_bound_is_faint_or_an_arrow_and_no_number() -> None:
    rng, ids = np.random.default_rng(2), np.repeat(np.arange(60), 8)
    t, noise = rng.normal(size=(2, 480))
    columns = {"t": t, "rich": np.exp(0.6 * t + 0.8 * noise), "good": t + noise}
    rows = cm.open_dump(np.zeros((480, 1), np.float32), prompt_ids=ids, columns=columns)
    made = cm.report(rows, constitutions=["t"], values=["rich", "good"], kl=[0.1, 0.3], sections=())
    open_, both = (cm.plot.frontier(made, value=v) for v in ("rich", "good"))
    assert len(open_.collections) == 2 > len(both.collections) == 1
    solid, faint = (x.get_paths()[0].vertices for x in open_.collections)
    assert np.isfinite(faint).all() and faint[:, 1].max() > solid[:, 1].max() == pytest.approx(made.gain[0, 1, 0])
    low = made.gain_interval[0, 1, 0, 0]
    assert solid[solid[:, 0] == solid[:, 0].max(), 1].min() == pytest.approx(low) and "faint" in text_of(open_)
    dots = cm.plot.tradeoffs(made, kl=0.3)
    ends = [x.get_segments()[0][:, 0] for x in dots.collections]
    assert "arrows" in text_of(dots) and np.isfinite(ends).all() and "arrows" not in text_of(both)
    dots.figure.canvas.draw()
    assert min(e[0] for e in ends) == pytest.approx(min(made.gain_interval[0, 1, :2, 0] / made.value_sd), rel=1e-6)


def text_of(ax: Any) -> str:
    return " ".join(x.get_text() for x in ax.texts)


def lines(ax: Any, style: str) -> list[Any]:
    return [x for x in ax.lines if x.get_linestyle() == style and len(x.get_xdata()) > 2]


def boxes(ax: Any) -> list[Any]:
    """Boxes on the page of everything written on the axes, after layout."""
    ax.figure.canvas.draw()
    renderer = ax.figure.canvas.get_renderer()
    ticks = [
        t
        for axis, labels in enumerate((ax.get_xticklabels(), ax.get_yticklabels()))
        for t in labels  # those beyond the limits are made but not drawn
        if min((ax.get_xlim, ax.get_ylim)[axis]()) <= t.get_position()[axis] <= max((ax.get_xlim, ax.get_ylim)[axis]())
    ]
    held = [*ax.texts, *ticks, ax.title, ax._left_title]
    key = ax.get_legend()
    held += [] if key is None else key.get_texts()
    extent = matplotlib.text.Text.get_window_extent  # of the words alone, without the line that leads to them
    return [extent(t, renderer) for t in held if t.get_text().strip() and t.get_visible()]


def overlap(ax: Any) -> int:
    """Pairs of texts that cover each other by more than a pixel."""
    return sum(
        min(a.x1, b.x1) - max(a.x0, b.x0) > 1 and min(a.y1, b.y1) - max(a.y0, b.y0) > 1
        for a, b in itertools.combinations(boxes(ax), 2)
    )


def test_lines_are_the_gains_solid_to_the_horizon(dump: cm.Dump) -> None:
    t = cm.tilt(dump, np.eye(D)[:2], values=VALUES, kl=[0.1, 0.4, 0.2])
    horizon = np.array([0.25, np.inf])
    from dataclasses import replace

    ax = cm.plot.frontier(replace(t, kl_horizon=horizon), value="-harm")
    solid, dashed = lines(ax, "-"), lines(ax, "--")
    first, second = (x for x in solid if x.get_color() in PALETTE[:2])
    assert len(dashed) == 1 and dashed[0].get_color() == PALETTE[0]
    assert first.get_xdata()[-1] == pytest.approx(0.25) == dashed[0].get_xdata()[0]
    assert first.get_ydata()[-1] == dashed[0].get_ydata()[0]
    assert dashed[0].get_xdata()[-1] == pytest.approx(0.4)
    assert second.get_xdata()[-1] == pytest.approx(0.4)
    points = [x for x in ax.lines if x.get_linestyle() == "None"]
    for k in range(2):  # markers at the levels, in order of KL
        order = np.argsort(t.kl[k])
        assert np.array_equal(points[k].get_xdata(), t.kl[k, order])
        assert np.array_equal(points[k].get_ydata(), t.gain[k, order, 1])
        low, high = ax.collections[k].get_datalim(ax.transData).intervaly
        assert high >= (t.gain + 1.95996 * t.gain_se)[k, :, 1].max() >= (t.gain - 1.95996 * t.gain_se)[k, :, 1].min()
        assert low <= (t.gain - 1.95996 * t.gain_se)[k, :, 1].min() + 1e-12
    assert "nats" in ax.get_xlabel() and "-harm" in ax.get_ylabel() and "dashed" in ax.texts[0].get_text()


def test_a_frontier_shows_curve_and_oracle(dump: cm.Dump) -> None:
    f = cm.theory.gain_kl_frontier(dump, np.eye(D)[:2], VALUES, kl=[0.1, 0.3])
    ax = cm.plot.frontier(f, value=0)
    dotted = lines(ax, ":")
    assert len(dotted) == 1 and dotted[0].get_ydata()[-1] == f.oracle[-1, 0]
    assert any(np.isin(f.curve[0, :5, 0], x.get_ydata()).all() for x in ax.lines)
    assert not lines(cm.plot.frontier(f, oracle=False), ":")


@pytest.mark.parametrize("count", [1, 3, 8, 20])
def test_no_text_covers_another(dump: cm.Dump, many: cm.Directions, count: int) -> None:
    some = cm.Directions(many.names[:count], many.vectors[:count])
    t = cm.tilt(dump, some, values=VALUES, kl=[0.1, 0.3])
    for draw in (cm.plot.frontier, cm.plot.tradeoffs):
        assert overlap(draw(t)) == 0
    assert overlap(cm.plot.cone(cm.lp.pareto(dump, some, VALUES))) == 0


def test_names_are_text(tilt: Any) -> None:
    ax = cm.plot.frontier(tilt)
    labels = [t for t in ax.texts if "judge/" in t.get_text()]
    assert len({t.get_text() for t in labels}) == K
    assert all(not t.get_parse_math() and "\x1b" not in t.get_text() for t in labels)
    assert len({(t.get_color()) for t in labels}) == len(PALETTE)
    markers = {(x.get_color(), x.get_marker()) for x in ax.lines if x.get_marker() not in ("None", None)}
    assert len(markers) == K  # twenty lines can be told apart
    assert distinct(["a" * 50 + "1" + "b" * 50, "a" * 50 + "2" + "b" * 50]) != ["a"] and len(set(distinct(NAMES))) == K


def test_prompts_that_lose_lie_below_zero() -> None:
    rng, ids = np.random.default_rng(0), np.repeat(np.arange(150), 32)
    t = rng.normal(size=len(ids))
    columns = {"kind": t, "idle": rng.normal(size=len(ids)), "good": np.where(ids % 5 == 0, -2.0, 2.0) * t}
    dump = cm.open_dump(np.zeros((len(ids), 1), np.float32), prompt_ids=ids, columns=columns)
    made = cm.report(dump, constitutions=["kind", "idle"], values=["good"], kl=[0.1, 0.4], sections=())
    ax = cm.plot.prompts(made, highlight="kind")
    step = ax.patches[0].get_data()
    assert (np.diff(step.values) >= 0).all() and len(step.values) == 150 and step.edges[-1] == pytest.approx(100)
    assert np.mean(step.values) == pytest.approx(made.gain[0, 1, 0], rel=1e-3)  # a jackknife
    assert step.edges[np.searchsorted(step.values, 0.0)] == pytest.approx(20, abs=2)
    (label,) = [x.get_text() for x in ax.texts if "lose" in x.get_text() and "kind" in x.get_text()]
    assert (
        label == f"kind: {100 * made.policy.harmed[0, 1, 0]:.0f} % lose" and 10 < 100 * made.policy.harmed[0, 1, 0] < 21
    )
    assert "0.1 nats" in " ".join(x.get_text() for x in cm.plot.prompts(made, kl=0.1).texts)
    with pytest.raises(ValueError, match="within=False"):
        cm.plot.prompts(cm.report(dump, constitutions=["kind"], values=["good"], within=False, sections=()))


def test_highlight(tilt: Any) -> None:
    ax = cm.plot.frontier(tilt, highlight=[NAMES[3], 7])
    labels = [t.get_text() for t in ax.texts if "judge/" in t.get_text()]
    assert len(labels) == 2 and len(ax.collections) == 2
    assert {x.get_color() for x in lines(ax, "--") + lines(ax, "-")} >= {PALETTE[0], PALETTE[1]}
    with pytest.raises(ValueError, match="highlight is 'nobody'"):
        cm.plot.frontier(tilt, highlight="nobody")


def test_tradeoffs_of_every_result(dump: cm.Dump, tilt: Any) -> None:
    judges = cm.Directions(["a", "b"], np.eye(D)[:2])
    report = cm.report(dump, constitutions=judges, values=VALUES, kl=[0.2, 0.5], sections=())
    ax = cm.plot.tradeoffs(report, kl=0.2)
    drawn = [c.lines[0].get_xdata()[0] for c in ax.containers]
    assert drawn == pytest.approx(report.gain_sd[:, 0, :].T.ravel().tolist())
    assert "sd" in ax.get_xlabel() and "0.2" in ax.get_title(loc="left")
    cross = cm.cross_covariance(dump, judges, VALUES)
    for result in (cross, cm.theory.judge_ceiling(dump, judges, VALUES), tilt):
        cm.plot.tradeoffs(result)
    ax = cm.plot.tradeoffs(cross, constitutions="b", values=["-harm"])
    assert [c.lines[0].get_xdata()[0] for c in ax.containers] == [cross.value[1, 1]]
    assert [t.get_text() for t in ax.get_yticklabels()] == ["b"]
    profile = cm.theory.tradeoff_profile(np.eye(3), None, np.ones((2, 3)))
    assert len(cm.plot.tradeoffs(profile).containers) == 6


def test_cone(dump: cm.Dump) -> None:
    values = np.array([[1.0, 0.2], [0.1, 1.0]])
    found = cm.pareto_cone(values)
    ax = cm.plot.cone(found, values=["one", "two"])
    assert [p.get_width() for p in ax.patches[:2]] == pytest.approx(found.weights.tolist())
    assert "open" in ax.get_title(loc="left") and len(ax.child_axes) == 1
    (wedge,) = (p for p in ax.child_axes[0].patches if hasattr(p, "theta1"))
    assert wedge.theta2 - wedge.theta1 == pytest.approx(2 * np.degrees(found.half_angle))
    empty = cm.plot.cone(cm.pareto_cone([[1.0, 2.0], [-1.0, -2.0]]))
    assert "empty" in empty.get_title(loc="left") and not empty.child_axes
    p = cm.lp.pareto(dump, np.eye(D)[:3], VALUES)
    ax = cm.plot.cone(p)
    worst = [x.get_xdata()[0] for x in ax.lines if x.get_marker() == "o"]
    assert worst == pytest.approx(p.gains.min(axis=1).tolist())


def test_spectrum(dump: cm.Dump) -> None:
    moments = cm.moments(dump)
    ax = cm.plot.spectrum(moments)
    eigenvalues = np.sort(np.linalg.eigvalsh(moments.covariance))[::-1]
    assert ax.lines[0].get_ydata() == pytest.approx(eigenvalues / eigenvalues.sum())
    rank = cm.theory.effective_rank(moments)
    assert any(x.get_xdata()[0] == pytest.approx(rank.participation) for x in ax.lines[1:])
    cm.plot.spectrum(rank)
    shift = cm.theory.shift_rank(dump, cm.open_dump(dump.read(0, G * N) * 1.5, prompt_ids=dump.prompt_ids))
    cm.plot.spectrum(shift)
    sigma = np.diag(np.geomspace(1, 1e-2, 30))
    cm.plot.spectrum(cm.theory.randomised_spectrum(lambda u: u @ sigma, 5, trace=float(np.trace(sigma)), dim=30))
    with pytest.raises(ValueError, match="zero"):
        cm.plot.spectrum(np.zeros(3))


def test_layers(dump: cm.Dump) -> None:
    fits = {16: cm.fit_value_direction(dump, VALUES, folds=3), 8: cm.fit_value_direction(dump, VALUES, folds=3)}
    ax = cm.plot.layers(fits)
    assert ax.lines[0].get_xdata().tolist() == [8.0, 16.0]
    assert ax.lines[0].get_ydata()[1] == fits[16].encoding_quality.value[0]
    change = cm.compare(dump, dump, VALUES, fits={"folds": 3})
    ax = cm.plot.layers(change, names=["base", "tuned"])
    assert [t.get_text() for t in ax.get_xticklabels()] == ["base", "tuned"] and overlap(ax) == 0
    by_layer = cm.theory.ceiling_by_layer({"x": dump, "y": dump}, VALUES, fits={"folds": 3})
    assert cm.plot.layers(by_layer).lines[1].get_ydata()[0] == by_layer.quality[0, 1]


def test_iterate(dump: cm.Dump) -> None:
    with pytest.warns(UserWarning, match="KL of round"):
        found = cm.theory.iterate(dump, np.eye(D)[:1], 1.0, VALUES, rounds=4)
    ax = cm.plot.iterate(found)
    assert found.stop is not None and len(lines(ax, "--")) == 2
    assert lines(ax, "--")[0].get_xdata()[0] == found.stop - 1
    assert lines(ax, "--")[0].get_ydata()[-1] == found.gain[-1, 0]
    assert lines(ax, ":")[1].get_ydata()[-1] == pytest.approx(found.step[:, 1].sum())
    assert len(cm.plot.iterate(found, values="-harm", promise=False).collections) == 1


def test_a_given_axes_is_used_and_nothing_is_shown(tilt: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pyplot, "show", lambda *a, **k: pytest.fail("shown"))
    figure, axes = pyplot.subplots(1, 2)
    assert cm.plot.frontier(tilt, axes[1]) is axes[1] and not axes[0].lines
    assert len(pyplot.get_fignums()) == 1 and axes[1].figure is figure


@pytest.mark.parametrize("draw", ["frontier", "tradeoffs", "cone", "spectrum", "layers", "iterate", "prompts"])
def test_what_is_not_a_result_is_refused(draw: str) -> None:
    with pytest.raises(TypeError, match="wanted"):
        getattr(cm.plot, draw)("no result")


def test_matplotlib_is_named_where_it_is_missing(tilt: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"clinometer\[plot\]"):
        cm.plot.frontier(tilt)


def test_heights_are_spaced_with_least_moves() -> None:
    from scipy.optimize import minimize

    rng = np.random.default_rng(0)
    gap = 0.1
    for n in (1, 3, 7):
        at = np.sort(rng.uniform(0.2, 0.6, n))
        got = spaced(at, gap)
        assert (np.diff(got) >= gap - 1e-12).all() and got.min() >= 0 and got.max() <= 1
        limits = [{"type": "ineq", "fun": lambda y, i=i: y[i + 1] - y[i] - 0.1} for i in range(n - 1)]
        best = minimize(lambda y, at=at: ((y - at) ** 2).sum(), np.linspace(0, 1, n), constraints=limits)
        assert ((got - at) ** 2).sum() <= best.fun + 1e-6
    assert spaced(np.full(50, 0.5), 0.1).shape == (50,)  # more than fit: no error


def _picture(path: Path) -> Any:
    """Grey levels in blocks of 8 x 8 pixels, which a font's hinting hardly moves."""
    a = pyplot.imread(path)[..., :3].mean(axis=2)
    a = a[: a.shape[0] // 8 * 8, : a.shape[1] // 8 * 8]
    return a.reshape(a.shape[0] // 8, 8, a.shape[1] // 8, 8).mean(axis=(1, 3))


@pytest.mark.slow
@pytest.mark.skipif(not IMAGES.exists(), reason="needs a source tree")
def test_the_pictures_of_the_documentation(tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("plots", ROOT / "examples" / "plots.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.main(tmp_path)
    made = {p.name for p in tmp_path.glob("*.png")}
    others = ("report", "experiment-")  # of the page and of the experiment
    assert made == {p.name for p in IMAGES.glob("*.png") if not p.name.startswith(others)}
    for name in sorted(made):
        assert (IMAGES / name).stat().st_size < 100_000
        old, new = _picture(IMAGES / name), _picture(tmp_path / name)
        assert old.shape == new.shape, name
        assert float(np.sqrt(((old - new) ** 2).mean())) < 0.02, name
    one, other = (_picture(IMAGES / name) for name in ("frontier.png", "iterate.png"))
    assert float(np.sqrt(((one - other) ** 2).mean())) > 0.05  # the tolerance tells pictures apart
