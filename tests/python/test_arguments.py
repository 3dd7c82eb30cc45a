"""Wrong arguments raise a typed error that names them, before any work; odd but valid ones work."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import clinometer as cm
from clinometer.common.options import PASS_OPTIONS

N, D = 24, 3
IDS = np.arange(N) // 4
RNG = np.random.default_rng(0)
PHI = RNG.normal(size=(N, D)).astype(np.float32)
U = RNG.normal(size=(2, D))
V = RNG.normal(size=(N, 2))
ZERO_ONE = (np.arange(N) % 2).astype(float)
PAIRS = np.stack([4 * np.arange(6), 4 * np.arange(6) + 1], axis=1)
SOFT = np.linspace(0.2, 0.8, 6)
DUMP = cm.open_dump(PHI, prompt_ids=IDS, columns={"v": V[:, 0], "count": np.ones(N), "text": IDS.astype(str)})
Bad = tuple[str, Callable[..., Any], dict[str, Any], type[Exception], str]

# name: (the call with good arguments, those arguments)
CALLS: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
    "score": (cm.score, {"dump": DUMP, "directions": U}),
    "moments": (cm.moments, {"dump": DUMP}),
    "covariance_projection": (cm.covariance_projection, {"dump": DUMP, "directions": U}),
    "cross_covariance": (cm.cross_covariance, {"dump": DUMP, "directions": U, "values": V}),
    "tilt": (cm.tilt, {"dump": DUMP, "directions": U, "betas": [1.0], "values": V}),
    "tilted_mean": (cm.tilted_mean, {"dump": DUMP, "directions": U, "betas": [1.0]}),
    "fit_value_direction": (cm.fit_value_direction, {"dump": DUMP, "values": V, "folds": 2}),
    "fit_preference_direction": (
        cm.fit_preference_direction,
        {"dump": DUMP, "pairs": PAIRS, "prob": SOFT, "folds": 2, "alpha": 0.5},
    ),
    "fit_generation_direction": (cm.fit_generation_direction, {"dump": DUMP, "logprobs": V[:, 0], "folds": 2}),
    "gain_intervals": (cm.inference.gain_intervals, {"dump": DUMP, "directions": U, "betas": [1.0], "values": V}),
    "ppi_gain": (cm.inference.ppi_gain, {"dump": DUMP, "directions": U, "betas": [1.0], "values": V, "gold": V}),
    "null_band": (cm.inference.null_band, {"dump": DUMP, "values": V, "kl": [0.1], "draws": 3}),
    "recommend": (cm.inference.recommend, {"dump": DUMP, "constitutions": U, "values": V, "kl": [0.1], "splits": 3}),
    "baselines": (cm.inference.baselines, {"dump": DUMP, "directions": U, "values": V, "folds": 2}),
}
nan, inf = float("nan"), float("inf")


def test_help_lists_the_options_and_those_without_use_are_refused() -> None:
    listed = {name: set(inspect.signature(call).parameters) for name, (call, _) in CALLS.items()}
    unused = {
        "score": {"within", "clusters"}, "moments": {"clusters", "check_source"}, "covariance_projection": {"clusters"},
        "tilted_mean": {"clusters"}, "fit_preference_direction": {"within", "check_source"},
        "fit_generation_direction": {"within", "check_source"}, "gain_intervals": {"within"}, "ppi_gain": {"within"},
        "null_band": {"within", "clusters"}, "recommend": {"within"}, "baselines": {"within"},
    }  # fmt: skip
    wrong = {"within": False, "clusters": np.arange(6) % 3, "check_source": False}
    for name, names in listed.items():
        assert "options" not in names and names >= set(PASS_OPTIONS) - unused.get(name, set()) - {"logprobs"}, name
        call, good = CALLS[name]
        for option in unused.get(name, set()):
            assert option not in names, (name, option)
            with pytest.raises(ValueError, match=f"{option} is given, but {name} "):
                call(**good, **{option: wrong[option]})
    assert {*PASS_OPTIONS} < {*inspect.signature(cm.report).parameters}
    with pytest.raises(TypeError, match="no option 'constitution'; did you mean 'constitutions'"):
        cm.report(DUMP, values="v", constitution=U)


def test_names_of_the_contract_are_there_and_names_that_moved_warn() -> None:
    contract = [
        "open_dump", "write_dump", "Dump", "DumpWriter", "Directions", "Scores", "score", "moments", "tilt",
        "tilted_mean", "scan", "Fold", "merge", "fit_value_direction", "fit_preference_direction",
        "fit_generation_direction", "report", "compare", "examples", "pareto_cone", "simulate", "DumpError",
        "DumpChangedError", "CheckFailed", "theory", "lp", "inference", "stat", "plot", "reference",
        "capture", "judge", "values", "distributed", "covariance_projection", "cross_covariance",
    ]  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert all(hasattr(cm, name) for name in contract)
    assert set(dir(cm)) == set(cm.__all__) == set(contract) - {"covariance_projection", "cross_covariance"}
    from clinometer import fit, inference, reporting
    from clinometer.lp import pareto_cone as cone

    homes = {"ConeResult": cone, "DirectionFit": fit, "Report": reporting}
    old = set(inference.__all__) - {"Adjust", "to_arviz"}  # what came later never stood at the top level
    for name in ("Adjust", "ConeResult", "DirectionFit", "Report", *old):
        with pytest.warns(
            DeprecationWarning, match=rf"clinometer\.{name} has moved to clinometer\.[\w.]+\.{name}"
        ) as seen:
            assert getattr(cm, name) is getattr(homes.get(name, inference), name)
        assert seen[0].filename == __file__
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        cm.nothing  # noqa: B018


# wrong for every pass: (argument, wrong value, error, what the message must hold)
EVERY: list[tuple[str, Any, type[Exception], str]] = [
    ("dump", np.zeros(3, np.float32), ValueError, "shape"),
    ("dump", np.zeros((3, 2), int), TypeError, "dtype"),
    ("dump", object(), TypeError, "source"),
    ("dump", np.zeros((0, D), np.float32), ValueError, "rows|prompts|values"),
    ("dump", "/nowhere/at/all", Exception, "nowhere"),
    ("prompt_ids", IDS[:-1], ValueError, "prompt_ids"),
    ("prompt_ids", IDS + 0.5, ValueError, "prompt_ids"),
    ("prompt_ids", np.where(IDS == 0, nan, IDS), ValueError, "prompt_ids"),
    ("prompt_ids", IDS.reshape(2, -1), ValueError, "prompt_ids"),
    ("prompt_ids", IDS + 1j, TypeError, "prompt_ids"),
    ("prompt_ids", "nope", ValueError, "prompt_ids"),
    ("prompt_weights", np.ones(5), ValueError, "prompt_weights"),
    ("prompt_weights", -np.ones(6), ValueError, "prompt_weights"),
    ("prompt_weights", np.full(6, nan), ValueError, "prompt_weights"),
    ("prompt_weights", np.zeros(6), ValueError, "prompt_weights"),
    ("clusters", np.zeros(5), ValueError, "clusters"),
    ("clusters", "nope", ValueError, "clusters"),
    ("clusters", "v", ValueError, "clusters"),
    ("base", "uniform", ValueError, "base"),
    ("base", None, ValueError, "base"),
    ("base", "logprob", ValueError, "logprob"),
    ("base", "reweight", ValueError, "logprob"),
    ("precision", "x", ValueError, "precision"),
    ("precision", 32, ValueError, "precision"),
    ("n_threads", 0, ValueError, "n_threads"),
    ("n_threads", -2, ValueError, "n_threads"),
    ("n_threads", 1.5, TypeError, "n_threads"),
    ("n_threads", True, TypeError, "n_threads"),
    ("progress", 3, TypeError, "progress"),
    ("within", "yes", TypeError, "within"),
    ("nonsense", 1, TypeError, "nonsense"),
]
DIRECTIONS: list[tuple[str, Any, type[Exception], str]] = [
    ("directions", np.ones((2, D + 1)), ValueError, "directions"),
    ("directions", np.ones((2, 2, D)), ValueError, "directions"),
    ("directions", np.zeros((0, D)), ValueError, "directions"),
    ("directions", np.array([[1.0, nan, 0.0]]), ValueError, "directions"),
    ("directions", np.array([[1.0, inf, 0.0]]), ValueError, "directions"),
    ("directions", np.full((1, D), "a"), (TypeError, ValueError), "directions|constitutions"),  # type: ignore[list-item]
    ("directions", U + 1j, TypeError, "directions"),
    ("directions", "nope", ValueError, "nope"),
    ("directions", "text", TypeError, "text"),
    ("directions", None, ValueError, "directions"),
    ("directions", cm.Scores(np.zeros((N - 1, 1))), ValueError, "scores"),
]
VALUES: list[tuple[str, Any, type[Exception], str]] = [
    ("values", V[:-1], ValueError, "values"),
    ("values", V[None], ValueError, "values"),
    ("values", "nope", ValueError, "values"),
    ("values", ["v", "nope"], ValueError, "values"),
    ("values", "text", TypeError, "text"),
    ("values", np.where(V > 0, inf, V), ValueError, "values"),
    ("values", V + 1j, TypeError, "values"),
    ("values", V.astype(str), TypeError, "values"),
]
STRENGTH: list[tuple[str, Any, type[Exception], str]] = [
    ("betas", -1e-300, ValueError, "betas"),
    ("betas", [1.0, -1.0], ValueError, "betas"),
    ("betas", nan, ValueError, "betas"),
    ("betas", [], ValueError, "betas"),
    ("betas", np.ones((3, 2)), ValueError, "betas"),
    ("betas", np.ones((1, 2, 2)), ValueError, "betas"),
    ("betas", "warm", TypeError, "betas"),
    ("kl", 0.5, ValueError, "betas or kl"),
]
DDOF: list[tuple[str, Any, type[Exception], str]] = [
    ("ddof", 2, ValueError, "ddof"),
    ("ddof", -1, ValueError, "ddof"),
    ("ddof", 0.5, ValueError, "ddof"),
    ("ddof", True, ValueError, "ddof"),
]
OWN: dict[str, list[tuple[str, Any, type[Exception], str]]] = {
    "fit_preference_direction": [],
    "fit_generation_direction": [],
    "gain_intervals": [*DIRECTIONS, *VALUES, *STRENGTH],
    "ppi_gain": [*DIRECTIONS, *VALUES, *STRENGTH],
    "null_band": [*VALUES],
    "recommend": [("constitutions", *rest) for _, *rest in DIRECTIONS] + VALUES,
    "baselines": [*DIRECTIONS, *VALUES],
    "score": [
        *DIRECTIONS,
        ("out", np.zeros((N, 2)), ValueError, "out"),
        ("out", np.zeros((N, 3), np.float32), ValueError, "out"),
        ("out", [0.0], ValueError, "out"),
        ("out", np.zeros((2, N), np.float32).T, ValueError, "out"),
    ],
    "moments": [*DDOF],
    "covariance_projection": [*DIRECTIONS, *DDOF],
    "cross_covariance": [
        *DIRECTIONS,
        *VALUES,
        *DDOF,
        ("values", None, ValueError, "values"),
        ("adjust", "nope", ValueError, "nope"),
    ],
    "tilt": [*DIRECTIONS, *VALUES, *STRENGTH, ("adjust", "nope", ValueError, "nope")],
    "tilted_mean": [*DIRECTIONS, *STRENGTH],
    "fit_value_direction": [
        *VALUES,
        ("values", None, ValueError, "values"),
        ("method", "magic", ValueError, "method"),
        ("alpha", -1.0, ValueError, "alpha"),
        ("alpha", nan, ValueError, "alpha"),
        ("alpha", "best", ValueError, "alpha"),
        ("folds", 1, ValueError, "folds"),
        ("folds", 2.5, ValueError, "folds"),
        ("folds", 7, ValueError, "folds"),
        ("pooled", 1, TypeError, "pooled"),
        ("method", "lda", ValueError, "two-valued"),
        ("method", "logistic", ValueError, "two-valued"),
        ("method", "mean_difference", ValueError, "two-valued"),
    ],
}
WRONG = [
    pytest.param(name, *bad, id=f"{name}-{bad[0]}-{i}") for name in CALLS for i, bad in enumerate([*EVERY, *OWN[name]])
]


@pytest.mark.parametrize(("name", "argument", "value", "error", "message"), WRONG)
@pytest.mark.filterwarnings("ignore:no prompt ids")
def test_a_wrong_argument_is_named(name: str, argument: str, value: Any, error: Any, message: str) -> None:
    function, good = CALLS[name]
    with pytest.raises(error, match=message):
        function(**good | {argument: value})


@pytest.mark.parametrize("name", CALLS)
def test_the_good_arguments_are_good(name: str) -> None:
    function, good = CALLS[name]
    function(**good)


@pytest.mark.parametrize("kl", [0.0, -1.0, nan, inf, [], [[0.1]], "much"])
@pytest.mark.parametrize("name", ["tilt", "tilted_mean"])
def test_wrong_kl(name: str, kl: Any) -> None:
    with pytest.raises((ValueError, TypeError), match="kl"):
        CALLS[name][0](DUMP, U, kl=kl)


@pytest.mark.parametrize("name", ["moments", "covariance_projection", "cross_covariance"])
def test_ddof_1_has_no_meaning_for_candidates(name: str) -> None:
    function, good = CALLS[name]
    with pytest.raises(ValueError, match="ddof"):
        function(**good, ddof=1, base="logprob", logprobs=V[:, 0])


@pytest.mark.parametrize(
    ("base", "column", "values"),
    [
        ("counts", "counts", -np.ones(N)),
        ("counts", "counts", np.full(N, inf)),
        ("counts", "counts", np.ones(N - 1)),
        ("counts", "counts", np.zeros(N)),
        ("logprob", "logprobs", np.full(N, inf)),
        ("logprob", "logprobs", np.ones((N, 2))),
        ("logprob", "logprobs", np.full(N, -inf)),
        ("logprob", "logprobs", np.full(N, "a")),
        ("counts", "counts", "nope"),
    ],
)
def test_wrong_base_columns(base: str, column: str, values: Any) -> None:
    with pytest.raises((ValueError, TypeError), match=f"{column}|weight|log-prob"):
        cm.moments(DUMP, base=base, **{column: values})


def test_scores_come_without_directions() -> None:
    with pytest.raises(ValueError, match="directions"):
        cm.tilt(cm.Scores(V, prompt_ids=IDS), U, [1.0])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: cm.simulate(n_prompts=0), "n_prompts"),
        (lambda: cm.simulate(n_responses=0), "n_responses"),
        (lambda: cm.simulate(dim=0), "dim"),
        (lambda: cm.simulate(rho2=0.0), "rho2"),
        (lambda: cm.simulate(rho2=1.5), "rho2"),
        (lambda: cm.simulate(alignment=[2.0, 0.0]), "alignment"),
        (lambda: cm.simulate(spectrum="odd"), "spectrum"),
        (lambda: cm.simulate(dtype="int8"), "dtype"),
        (lambda: cm.simulate(tilt_sd=nan), "tilt_sd"),
        (lambda: cm.pareto_cone(np.zeros((0, 3))), "values"),
        (lambda: cm.pareto_cone([[nan, 1.0]]), "values"),
        (lambda: cm.pareto_cone(np.eye(2), np.eye(3)), "sigma"),
        (lambda: cm.pareto_cone(np.eye(2), metric="l1"), "metric"),
        (lambda: cm.pareto_cone(None), "values"),
        (lambda: cm.pareto_cone(np.eye(2), gram=np.eye(2)), "gram"),
        (lambda: cm.pareto_cone(gram=np.ones((2, 3))), "gram"),
        (lambda: cm.theory.score_correlation([1.0, nan], [1.0, 0.0]), "u"),
        (lambda: cm.theory.score_correlation([1.0], [1.0, 2.0]), "v|u"),
        (lambda: cm.theory.policy_direction([1.0], [1.0], 0.0), "beta"),
        (lambda: cm.theory.policy_direction([1.0], [1.0], nan), "beta"),
        (lambda: cm.theory.expected_max_normal(0), "n"),
        (lambda: cm.theory.effective_rank([-1.0, 2.0]), "eigenvalues"),
        (lambda: cm.theory.value_concentration([1.0, 0.0], np.eye(2), 3), "m"),
        (lambda: cm.theory.robustness_radius([1.0], np.eye(2), [1.0]), "u|sigma"),
        (lambda: cm.theory.optimal_direction(np.eye(2), np.eye(2), [1.0]), "weights"),
        (lambda: cm.theory.tradeoff_profile(np.eye(2), np.eye(3), np.eye(2)), "sigma"),
        (lambda: cm.theory.pareto_fraction([[1.0, 0.5]]), "gram"),
        (lambda: cm.theory.pooled_versus_within(n_prompts=1), "n_prompts"),
    ],
)
def test_wrong_arguments_of_the_theory(call: Callable[[], Any], message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        call()


# Odd but valid


def test_more_directions_than_dimensions() -> None:
    u = np.random.default_rng(1).normal(size=(40, D))
    assert cm.tilt(DUMP, u, [1.0], V).gain.shape == (40, 1, 2)
    assert cm.covariance_projection(DUMP, u).shape == (40, D)


def test_a_zero_direction_gives_zeros() -> None:
    u = np.zeros((1, D))
    assert not cm.score(DUMP, u).any() and not cm.covariance_projection(DUMP, u).any()
    with pytest.warns(UserWarning, match="directions direction0 are zero"):
        assert not cm.tilt(DUMP, u, [1.0], V).gain.any()
    with pytest.warns(UserWarning, match="directions direction0 are zero"):
        cross = cm.cross_covariance(DUMP, u, V)
    assert not cross.value.any() and np.isnan(cross.correlation).all()


@pytest.mark.parametrize("beta", [5e-324, 1e-300, 1e300, inf])
def test_extreme_betas(beta: float) -> None:
    got = cm.tilt(DUMP, U, beta, V)
    for name in ("gain", "gain_se", "kl", "ess", "win_rate", "max_ratio"):
        assert np.isfinite(getattr(got, name)).all(), name
    limit = cm.tilt(DUMP, U, [1e-12 if beta < 1 else 1e12], V)
    np.testing.assert_allclose(got.gain, limit.gain, atol=1e-9)


def test_ids_may_be_any_int64() -> None:
    wild = np.array([-(2**63), 2**63 - 1, 0, -1, 7, 2**62])[IDS]
    a, b = (cm.tilt(PHI, U, [1.0], V, prompt_ids=ids) for ids in (IDS, wild))
    np.testing.assert_array_equal(a.gain, b.gain)
    unsigned = cm.moments(PHI, prompt_ids=IDS.astype(np.uint64) + np.uint64(2**63))
    np.testing.assert_array_equal(unsigned.variances, cm.moments(DUMP).variances)


def test_one_row() -> None:
    got = cm.tilt(PHI[:1], U, [1.0], V[:1], prompt_ids=[3])
    assert not got.gain.any() and not got.kl.any() and (got.ess == 1).all() and np.isnan(got.gain_se).all()
    assert not cm.moments(PHI[:1], prompt_ids=[3]).covariance.any()
    assert np.isnan(cm.moments(PHI[:1], prompt_ids=[3], ddof=1).covariance).all()


def test_a_value_without_any_label_is_nan_and_counted() -> None:
    values = V.copy()
    values[:, 1] = nan
    with pytest.warns(UserWarning, match="no row that counts has a label of value1"):
        got = cm.tilt(DUMP, U, [1.0], values)
    assert np.isfinite(got.gain[..., 0]).all() and np.isnan(got.gain[..., 1]).all()
    assert got.n_unlabelled.tolist() == [0, N]


@pytest.mark.parametrize("betas", [1.0, [1.0], np.ones((2, 3)), [1, 2, 3], inf])
def test_shapes_of_betas_and_values(betas: Any) -> None:
    width = np.atleast_1d(np.asarray(betas)).shape[-1]
    assert cm.tilt(DUMP, U, betas, V[:, 0]).gain.shape == (2, width, 1)
    assert cm.tilt(DUMP, U, betas).gain.shape == (2, width, 0)
    assert cm.tilt(DUMP, U[0], 1.0).gain.shape == (1, 1, 0)


def test_out_is_filled_and_returned() -> None:
    out = np.empty((N, 2), np.float32)
    assert cm.score(DUMP, U, out=out) is out
    np.testing.assert_allclose(out, PHI @ U.T, rtol=1e-5, atol=1e-6)
