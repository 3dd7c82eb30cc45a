"""Every result class as pandas, xarray, pickle, text and HTML, with names that would like to be markup."""

from __future__ import annotations

import dataclasses
import html.parser
import importlib
import pickle
import pkgutil
import re
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import clinometer as cm
from clinometer.common import tabular
from clinometer.common.results import Result
from clinometer.engine.stat import Tilt
from clinometer.judging import assessed
from clinometer.reporting import Report

T = cm.theory
EVIL = "<script>alert('x')</script>\x1b[31m&\u202e"
JUDGES, VALUES = (f"judge/{EVIL}", "judge/b"), (EVIL, "-harm", "length")
G, N, D = 24, 6, 5


def _world(seed: int = 0) -> cm.Dump:
    rng = np.random.default_rng(seed)
    phi = rng.normal(size=(G * N, D)).astype(np.float32)
    noise = rng.normal(size=(G * N, 5))
    return cm.open_dump(
        phi, prompt_ids=np.repeat(np.arange(G), N), policy="on_policy",
        columns={
            JUDGES[0]: phi[:, 0] + noise[:, 0], JUDGES[1]: phi[:, 1] + noise[:, 1], EVIL: phi[:, 0] + noise[:, 2],
            "harm": phi[:, 1] + noise[:, 3], "length": noise[:, 4], "n_tokens": rng.integers(4, 30, G * N),
            "logprob": -np.abs(phi[:, 2]),
        },
    )  # fmt: skip


WORLD = _world()
PAIRS = np.arange(G * N).reshape(-1, 2)
PROB = np.random.default_rng(1).uniform(0.1, 0.9, G * N // 2)
RNG = np.random.default_rng(2)
J, V = list(JUDGES), list(VALUES)
GOLD = np.where(np.arange(G * N) < G * N // 2, np.asarray(WORLD.columns["length"]), np.nan)


def _fit() -> cm.fit.DirectionFit:
    return cm.fit_value_direction(WORLD, V, alpha=1.0, folds=3)


def _page() -> Report:
    groups = {"half": np.repeat(np.arange(G) % 2, N)}
    gold = np.tile(GOLD[:, None], (1, len(V)))
    return cm.report(WORLD, constitutions=J, values=V, kl=[0.02, 0.05], groups=groups, gold=gold, sections=())


MAKERS: dict[str, Callable[[], Result]] = {
    "Baselines": lambda: cm.inference.baselines(WORLD, J, V, folds=3),
    "BestOfN": lambda: T.best_of_n(WORLD, J, V, [2, 4]),
    "CeilingByLayer": lambda: T.ceiling_by_layer({3: WORLD, EVIL: _world(1)}, V, kl=[0.1], fits={"folds": 3}),
    "Choice": lambda: cm.report(WORLD, constitutions=J, values=V, kl=[0.05]).best(),  # type: ignore[dict-item,return-value]
    "ClassProbabilities": lambda: T.class_probabilities([[1.0, 1.0], [1.0, 2.0]], [np.eye(2)] * 2),
    "Comparison": lambda: cm.compare(WORLD, _world(1), V, fits={"folds": 3}),
    "Complementarity": lambda: T.complementarity(
        WORLD.columns[J[0]], WORLD.columns[J[1]], np.asarray(WORLD.columns["harm"]), prompt_ids=WORLD.prompt_ids
    ),
    "ConeResult": lambda: cm.pareto_cone(RNG.normal(size=(3, D))),
    "CrossCovarianceResult": lambda: cm.cross_covariance(WORLD, J, V),
    "Cumulants": lambda: T.cumulants(WORLD, J, V),
    "DirectionFit": _fit,
    "DumpSummary": lambda: cm.report(WORLD, constitutions=J, values=V, kl=[0.05]).dump,
    "EffectiveRank": lambda: T.effective_rank([3.0, 1.0]),
    "EncodingQuality": lambda: _fit().encoding_quality,
    "Ensembles": lambda: T.ensembles(WORLD, J, [[0.5, 0.5], [1.0, 0.0], [0.2, 0.8]], V, [1.0, 2.0]),
    "Examples": lambda: cm.examples(
        WORLD, J[0], kl=0.1, n=3, values=V, texts=[{"prompt": EVIL, "response": EVIL * 40}] * (G * N)
    ),
    "GainIntervals": lambda: cm.inference.gain_intervals(WORLD, _fit(), values=V, kl=[0.05, 0.1]),
    "GainKLFrontier": lambda: T.gain_kl_frontier(WORLD, J, V, kl=[0.05, 0.1]),
    "GaussianTilt": lambda: T.gaussian_tilt(np.eye(3), None, np.eye(3)[:2], [1.0, 2.0]),
    "GenerationShare": lambda: T.generation_share(WORLD, [EVIL]),
    "GenerationJudgmentGap": lambda: T.generation_judgment_gap(np.eye(3), np.eye(3)[:2], [0.1, 0.9, 0.0]),
    "GoldCorrection": lambda: _page().gold,
    "GramConeResult": lambda: cm.lp.gram_cone([np.eye(3), np.eye(3)]),
    "GroupGains": lambda: _page().groups[0],
    "GainDifference": lambda: _page().policy.difference(*_page().policy.directions[:2]),
    "Iteration": lambda: T.iterate(WORLD, J[0], 3.0, V, rounds=3),
    "JudgeDrift": lambda: T.judge_drift({EVIL: WORLD, "2": _world(1)}, J[0], V, folds=3),
    "Judgment": lambda: assessed(
        ["a", "b"],
        "pairwise",
        RNG.normal(size=(8, 2)),
        np.repeat([EVIL, "q"], 4),
        n_tokens=np.arange(8),
        pairs=[[0, 1], [6, 7]],
        prob=[[0.1, 0.5], [0.6, 0.2]],
        order_logits=RNG.normal(size=(2, 2, 2)),
        gold=np.arange(8),
    ),
    "JudgeCeiling": lambda: T.judge_ceiling(WORLD, J, V),
    "LPResult": lambda: cm.lp.ensemble([[2.0, -1.0, 0.1], [-1.0, 2.0, 0.1]]),
    "LabelerScaling": lambda: T.labeler_scaling({f"{EVIL}-135M": WORLD, "7B": _world(1)}, J[0], V),
    "LearningCurve": lambda: T.learning_curve(WORLD, PAIRS, PROB, V, sizes=[8, 30], repeats=2),
    "Moments": lambda: cm.moments(WORLD),
    "NonlinearEncoding": lambda: T.nonlinear_encoding(WORLD, V, n_features=20, folds=3),
    "NullBand": lambda: cm.inference.null_band(WORLD, V, judges=J, kl=[0.05, 0.1], draws=7),
    "PPIResult": lambda: cm.inference.ppi_gain(WORLD, J, values="length", gold=GOLD, kl=[0.05]),
    "PairLoss": lambda: cm.scan(WORLD, cm.stat.Pairs(np.eye(D)[:2], pairs=PAIRS, prob=PROB))[0],
    "ParetoResult": lambda: cm.lp.pareto(WORLD, J, V),
    "PolicyGains": lambda: _page().policy,
    "PooledVersusWithin": T.pooled_versus_within,
    "PromptResult": lambda: cm.lp.prompt(WORLD, V),
    "QuadraticTilt": lambda: T.quadratic_tilt([1.0], 1.0, 0.0, None, [1.0], [1.0, 0.4]),
    "RandomisedSpectrum": lambda: T.randomised_spectrum(lambda u: u * 2.0, 3, trace=20.0, dim=10),
    "Recommendation": lambda: cm.inference.recommend(WORLD, J, V, kl=[0.02, 0.05]),
    "Report": lambda: cm.report(WORLD, constitutions=J, values=V, kl=[0.02, 0.05]),
    "Scalarised": lambda: T.scalarise([[1.0, 2.0, 3.0]] * 2, [[0.5, -1.0, 1.0]] * 2, kind="worst_case"),
    "Screen": lambda: T.screen(WORLD, RNG.normal(size=(30, D)), V, keep=4),
    "ShiftRank": lambda: T.shift_rank(WORLD, _world(1)),
    "SolveResult": lambda: cm.lp.solve([1.0, 2.0], [[1.0, 1.0]], row_upper=1.0),
    "TiltResult": lambda: cm.tilt(WORLD, J, values=V, kl=[0.02, 0.05]),
    "TiltSums": lambda: cm.scan(WORLD, Tilt(J, V, betas=[1.0, 2.0]))[0],
    "TiltedMeanResult": lambda: cm.tilted_mean(WORLD, J, [1.0, 2.0]),
    "ToyExample": T.toy_example,
    "Truth": lambda: cm.simulate(n_prompts=6, n_responses=4, dim=4, random_state=0).truth,  # type: ignore[attr-defined]
    "ValueConcentration": lambda: T.value_concentration(np.eye(3)[:2], np.diag([9.0, 1.0, 0.5]), 1),
    "WorstDirection": lambda: T.worst_direction([1.0, 0.0], [[4.0, 0.0], [0.0, 1.0]]),
}


def _classes() -> dict[str, type[Result]]:
    for module in pkgutil.walk_packages(cm.__path__, "clinometer."):
        if not re.search(r"__main__|bench|_peer", module.name):
            try:
                with warnings.catch_warnings():  # modules of before there were rooms say where they are now
                    warnings.simplefilter("ignore", DeprecationWarning)
                    importlib.import_module(module.name)
            except ImportError as error:
                assert "pip install" in str(error), module.name
    out, waiting = {}, [Result]
    while waiting:
        for sub in waiting.pop().__subclasses__():
            if sub.__module__.startswith("clinometer."):
                out[sub.__name__] = sub
                waiting.append(sub)
    return out


@pytest.fixture(scope="module")
def made() -> Callable[[str], Result]:
    kept: dict[str, Result] = {}

    def get(name: str) -> Result:
        if name == "SolveResult":
            pytest.importorskip("highspy")
        if name not in kept:
            kept[name] = MAKERS[name]()
        return kept[name]

    return get


def test_every_result_class_is_tried_and_names_its_axes() -> None:
    classes = _classes()
    assert set(classes) == set(MAKERS)
    for name, sub in classes.items():
        named = [f for fields in sub.axes.values() for f in fields.split()]
        assert len(named) == len(set(named)), name
        public = {f.name: str(f.type) for f in dataclasses.fields(sub) if not f.name.startswith("_")}
        if name != "TiltSums":  # its fields are the sums of TiltResult
            assert set(named) <= set(public), name
        arrays = {f for f, kind in public.items() if kind.startswith(("Floats", "NDArray"))}
        assert arrays <= set(named), name


def same(a: Any, b: Any) -> bool:
    if isinstance(a, Result):
        return type(a) is type(b) and same(a.to_dict(), b.to_dict())
    if isinstance(a, dict):
        return set(a) == set(b) and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return type(a) is type(b) and len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    return bool(a == b or (a != a and b != b))


@pytest.mark.parametrize("name", sorted(MAKERS))
def test_pickle_repr_and_html(name: str, made: Callable[[str], Result]) -> None:
    result = made(name)
    assert same(result, pickle.loads(pickle.dumps(result)))
    text, markup = repr(result), result._repr_html_()
    assert text.startswith(name) and len(text) < 2000 and max(map(len, text.split("\n"))) < 700
    for bad in ("\x1b", "\u202e"):
        assert bad not in text and bad not in markup
    assert "<script" not in markup and len(markup) < 60_000
    tags: list[str] = []
    parser = html.parser.HTMLParser()
    parser.handle_starttag = lambda tag, attrs: tags.append(tag)  # type: ignore[method-assign,assignment]
    parser.feed(markup)
    assert set(tags) <= {"table", "caption", "thead", "tbody", "tr", "th", "td", "pre", "p"}
    assert name != "Recommendation" or result.verdict() in text  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", sorted(MAKERS))
def test_frame_and_xarray(name: str, made: Callable[[str], Result]) -> None:
    pytest.importorskip("pandas")
    xr = pytest.importorskip("xarray")
    result = made(name)
    frame, data = result.to_frame(), result.to_xarray()
    assert len(frame) and not [c for c in frame.columns if str(c).startswith("axis")]
    assert xr.Dataset.from_dict(data.to_dict()).identical(data)
    with xr.open_dataset(data.to_netcdf(engine="scipy"), engine="scipy") as again:  # a file keeps axes and numbers
        assert dict(again.sizes) == dict(data.sizes)
        numbers = [v for v in data.data_vars if data[v].dtype.kind == "f"]
        assert all(np.array_equal(again[v].values, data[v].values, equal_nan=True) for v in numbers)
    for field, value in result.to_dict().items():  # nothing is lost and nothing changes
        if isinstance(value, np.ndarray) and name != "Report":
            kept = [v for v in (field, tabular.RENAMED.get(field, ""), field + "_") if v in data.variables]
            kept += [d for d in data.coords if field in (d, f"{d}s", *tabular.LABELS.get(str(d), ()))]
            assert any(np.array_equal(data[k].values, value, equal_nan=value.dtype.kind == "f") for k in kept), field
    if name == "Report":
        return
    main = [
        d for d in next(iter(result.axes), "").replace("?", "").replace("...", "batch_1").split() if d in data.sizes
    ]
    assert len(frame) == int(np.prod([data.sizes[d] for d in main]))
    lead = next((c for c in frame.columns if c in data.data_vars and data[c].dims == tuple(main)), None)
    if lead is not None:
        cells = data[lead].values.reshape(-1)
        assert same(frame[lead].tolist(), cells.tolist())


def test_a_tilt_in_long_form() -> None:
    pytest.importorskip("pandas")
    t = cm.tilt(WORLD, J, values=V, kl=[0.02, 0.05])
    frame = t.to_frame()
    assert list(frame.columns[:4]) == ["direction", "beta", "value", "gain"]
    row = frame[(frame.direction == J[1]) & (frame.value == "-harm")].iloc[1]
    assert (row.gain, row.gain_se, row.beta, row.kl) == (
        t.gain[1, 1, 1], t.gain_se[1, 1, 1], t.betas[1, 1], t.kl[1, 1]
    )  # fmt: skip
    assert row.kl_horizon == t.kl_horizon[1] and row.baseline == t.baseline[1]
    assert frame.attrs["n_rows"] == G * N and frame.attrs["policy"] == "on_policy"
    fixed = cm.tilt(WORLD, J, [1.0, 2.0], V)
    assert fixed.to_frame().beta.tolist()[:6] == [1.0] * 3 + [2.0] * 3


def test_a_tilt_in_xarray() -> None:
    pytest.importorskip("xarray")
    t = cm.tilt(WORLD, J, [1.0, 2.0], V)
    data = t.to_xarray()
    assert data.gain.sel(direction=J[0], beta=2.0, value="-harm").item() == t.gain[0, 1, 1]
    assert data.gain.attrs["units"] == "units of the value" and data.kl.attrs["units"] == "nats"
    solved = cm.tilt(WORLD, J, values=V, kl=[0.05]).to_xarray()
    assert "beta" not in solved.coords and solved.betas.dims == ("direction", "beta")
    cross = cm.cross_covariance(WORLD, J, V)
    assert cross.to_xarray().estimate.sel(direction=J[1], value="length").item() == cross.value[1, 2]


def test_a_report_in_xarray() -> None:
    pytest.importorskip("xarray")
    r = cm.report(WORLD, constitutions=J, values=V, kl=[0.02, 0.05])
    data = r.to_xarray()
    assert data.gain.dims == ("constitution", "kl", "value")
    assert data.gain.sel(constitution=J[0], kl=0.05, value="length").item() == r.gain[0, 1, 2]
    assert data.gain_rows.sel(constitution=J[0], kl=0.05, value="length").item() == r.tilt.gain[0, 1, 2]
    assert data["class"].sel(constitution=J[1], kl=0.02).item() == r.classes[1, 0]
    assert r.net is not None and data.net_gain.values[1, 1, 0] == r.net.gain[1, 1, 0]
    assert data.attrs["verdict"] == r.verdict()


def test_a_tilt_in_polars_and_as_a_dataset() -> None:
    t = cm.tilt(WORLD, J, [1.0, 2.0], V)
    for module, call in (("polars", t.to_polars), ("datasets", t.to_datasets)):
        try:
            __import__(module)
        except ImportError:
            with pytest.raises(ImportError, match=f"pip install {module}"):
                call()
            continue
        table = call()
        assert list(table["gain"]) == t.gain.ravel().tolist() and list(table["kl"][:1]) == [t.kl[0, 0]]
        assert list(table["direction"])[-1] == J[1] and list(table["value"])[:3] == V


@pytest.mark.parametrize("within", [True, False])
@pytest.mark.parametrize("levels", [{"betas": [0.7, np.inf]}, {"kl": [0.05]}], ids=str)
def test_weights_in_arviz_are_those_of_the_tilt(levels: dict[str, Any], within: bool) -> None:
    pytest.importorskip("xarray")
    order = np.random.default_rng(0).permutation(G * N)
    values = np.stack([WORLD.columns["harm"], WORLD.columns["length"]], axis=1)[order]
    scores = cm.Scores(np.stack([WORLD.columns[j] for j in J], axis=1)[order], names=J)
    dump = cm.open_dump(WORLD.read(0, G * N)[order], prompt_ids=WORLD.prompt_ids[order])
    weights = np.random.default_rng(1).uniform(size=G)
    options: dict[str, Any] = {"values": values, "within": within, "prompt_weights": weights, **levels}
    t = cm.tilt(dump, [scores, np.eye(D)[0]], **options)
    tree = cm.inference.to_arviz(dump, [scores, np.eye(D)[0]], **options)
    draws, held = tree["posterior"], tree["sample_stats"]
    assert tuple(map(str, held["direction"].values)) == t.directions
    assert dict(draws.sizes) == {"chain": 1, "draw": G * N, "value": 2}
    np.testing.assert_array_equal(held["betas"], t.betas)
    np.testing.assert_array_equal(draws["prompt_id"], dump.prompt_ids)
    w = np.exp(held["log_weight"].values[0])
    np.testing.assert_allclose(w.sum(axis=0), 1, rtol=1e-12)
    np.testing.assert_array_equal(draws["values"].values[0], values)
    np.testing.assert_allclose(np.einsum("nkb,nj->kbj", w, values) - t.baseline, t.gain, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose((w * held["log_ratio"].values[0]).sum(axis=0), t.kl, rtol=1e-5, atol=1e-12)


def test_arviz_draws_from_the_tilted_policy_by_the_weights() -> None:
    base = pytest.importorskip("arviz_base")
    tree = cm.inference.to_arviz(WORLD, J[1], [0.7], V)
    w = np.exp(tree["sample_stats"]["log_weight"].values.ravel())
    drawn = base.extract(tree, weights=w, resampling_method="stratified", num_samples=400, random_seed=0)
    harm = tree["posterior"]["values"].sel(value="-harm").values.ravel()
    error = np.sqrt(w @ (harm - w @ harm) ** 2 / 400)
    assert abs(float(drawn.sel(value="-harm").mean()) - w @ harm) < 4 * error
    assert abs(w @ harm - harm.mean()) > 4 * error  # the draws of the base policy are others


def test_arviz_before_1_makes_inference_data_of_it() -> None:
    pytest.importorskip("xarray")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        arviz = pytest.importorskip("arviz")
        tree = cm.inference.to_arviz(WORLD, J[0], [0.7], V)
        if not hasattr(arviz, "from_datatree"):
            pytest.skip("ArviZ 1 takes the tree itself")
        data = arviz.from_datatree(tree)
    np.testing.assert_array_equal(data.sample_stats.log_weight, tree["sample_stats"]["log_weight"])
    assert set(data.groups()) == {"posterior", "sample_stats"}


def test_a_merged_state_survives_a_pickle() -> None:
    fold = cm.Fold(Tilt(np.eye(D)[:2], ["v"], betas=[1.0]), dim=D)
    fold.absorb(WORLD.read(0, G * N), WORLD.prompt_ids, v=WORLD.columns["length"])
    (sums,) = fold.finish()
    again = pickle.loads(pickle.dumps(sums))
    assert again.state == sums.state and np.array_equal(again.gain, sums.gain)


def test_pandas_is_named_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    rank = T.effective_rank([1.0])
    for module, call in (("pandas", rank.to_frame), ("xarray", rank.to_xarray)):
        monkeypatch.setitem(__import__("sys").modules, module, None)
        with pytest.raises(ImportError, match=r"clinometer\[frame\]"):
            call()
