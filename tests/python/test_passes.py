"""The passes against their plain twin, within the accuracy the contract promises for each precision."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import clinometer as cm
from clinometer import _core
from clinometer import reference as ref

DTYPES = {"float32": np.float32, "float16": np.float16, "bfloat16": ml_dtypes.bfloat16, "float64": np.float64}
BASES = ("sampled", "counts", "logprob", "reweight")
SIZES = (1, 3, 7, 15, 17, 33)
BETAS = np.array([1e8, 3.0, 0.5, 1e-2, 1e-8, np.inf])
COVARIANCE = {"mixed": 1e-6, "double": 1e-10}
GAIN = {"mixed": 1e-6, "double": 1e-9}
KL = {"mixed": 1e-5, "double": 1e-9}


@dataclass
class Case:
    """A small dump with everything a caller may pass, and the same for the twin."""

    phi: np.ndarray
    u: np.ndarray
    values: np.ndarray
    ids: np.ndarray
    base: dict[str, Any]
    within: bool
    precision: str

    @property
    def x(self) -> np.ndarray:
        return self.phi.astype(np.float64)

    @property
    def scores(self) -> np.ndarray:
        return self.x @ self.u.T

    @property
    def joint(self) -> bool:
        """Whether every prompt has a label of every value: then joint errors count the same clusters."""
        prompts = np.unique(self.ids, return_inverse=True)[1]
        return all((np.bincount(prompts, weights=~np.isnan(v)) > 0).all() for v in self.values.T)

    @property
    def mine(self) -> dict[str, Any]:
        return {"prompt_ids": self.ids, "within": self.within, "precision": self.precision, **self.base}

    @property
    def twin(self) -> dict[str, Any]:
        return {"prompt_ids": self.ids, "within": self.within, **self.base}

    def sd(self, scores: np.ndarray) -> np.ndarray:
        """The spread the bounds are stated in: within prompts, or over all rows."""
        return np.sqrt(ref.moments(scores, self.ids, within=self.within, **self.base)["variances"])

    def score_scale(self) -> np.ndarray:
        """s_t = sqrt(sum u_i^2 sd_i^2) for each direction, with a floor for rows that do not vary at all."""
        return np.sqrt(self.u**2 @ self.sd(self.x) ** 2) + 1e-12 * np.abs(self.scores).max(axis=0)


def mean_of(dtype: str) -> float:
    return {"float32": 1e6, "float16": 3e4, "bfloat16": 300.0, "float64": 1e6}[dtype]


def make_case(
    prompts: int, n: int, d: int, k: int, dtype: str, base: str, within: bool, precision: str, shifted: bool,
    seed: int,
) -> Case:  # fmt: skip
    rng = np.random.default_rng(seed)
    sizes = np.where(np.arange(prompts) % 4 == 3, 1, n)  # singletons among prompts of n
    sizes[0] = max(n, 2)
    prompt = np.repeat(np.arange(prompts), sizes)
    rows = len(prompt)
    x = rng.normal(size=(rows, d)) + rng.normal(size=(prompts, d))[prompt]
    if shifted:
        x[:, ::3] += mean_of(dtype)
    order = rng.permutation(rows) if seed % 2 else np.arange(rows)
    prompt, x = prompt[order], x[order]
    names = rng.permutation(prompts * 7)[:prompts] - 3 * prompts
    ids = names[prompt] if seed % 3 else np.array([f"p{i:d}" for i in names])[prompt]
    values = np.stack([x[:, 0] + rng.normal(size=rows), (rng.random(rows) < 0.5).astype(float)], axis=1)
    if seed % 4 != 1 and not (base == "counts" and within):  # those have a test of their own below
        values[rng.random(rows) < 0.15, 1] = np.nan
        values[:2, 1] = 0.0, 1.0
    options: dict[str, Any] = {"base": base}
    logprobs = rng.normal(size=rows) * 2 - 300
    if base == "counts":
        counts = rng.integers(0, 4, rows).astype(float)
        counts[np.unique(prompt, return_index=True)[1]] = 2.0  # every prompt keeps a row
        options["counts"] = counts
    if base in ("logprob", "reweight"):
        options["logprobs"] = logprobs
    if base == "reweight":
        options["proposal_logprobs"] = logprobs + rng.normal(size=rows) * 0.5
    if seed % 5 == 2:
        options["prompt_weights"] = rng.random(prompts) + 0.1
    if seed % 7 in (3, 4):
        options["clusters"] = rng.integers(0, max(2, prompts // 2), prompts)
    return Case(x.astype(DTYPES[dtype]), rng.normal(size=(k, d)), values, ids, options, within, precision)


def sampled_cases(count: int) -> list[Any]:
    """A spread of combinations: every dtype, base, precision and size in many pairings."""
    rng = np.random.default_rng(20)
    grid = list(itertools.product(DTYPES, BASES, (True, False), ("mixed", "double"), (False, True)))
    out = []
    for seed, at in enumerate(rng.permutation(len(grid))[:count]):
        dtype, base, within, precision, shifted = grid[at]
        n, d = (int(rng.choice(SIZES)) for _ in range(2))
        k = int(rng.choice(SIZES)) if seed % 6 == 0 else int(rng.choice((1, 3)))
        prompts = int(rng.choice([2, 3, 7, 15]))
        label = f"{dtype}-{base}-{'within' if within else 'pooled'}-{precision}-G{prompts}-n{n}-d{d}-K{k}-{seed}"
        out.append(pytest.param((prompts, n, d, k, dtype, base, within, precision, shifted, seed), id=label))
    return out


CASES = sampled_cases(40)


@pytest.fixture
def case(request: pytest.FixtureRequest) -> Case:
    return make_case(*request.param)


def close(got: Any, want: Any, bound: Any, what: str) -> None:
    """|got - want| <= bound wherever the twin has a number; NaN and Inf in the same places."""
    got, want = np.asarray(got, np.float64), np.asarray(want, np.float64)
    assert got.shape == want.shape, what
    np.testing.assert_array_equal(np.isnan(got), np.isnan(want), err_msg=what)
    np.testing.assert_array_equal(np.isinf(got), np.isinf(want), err_msg=what)
    ok = np.isfinite(want)
    excess = np.abs(got - want)[ok] - np.broadcast_to(bound, want.shape)[ok]
    assert (excess <= 1e-300).all(), f"{what}: {got[ok][excess.argmax()]} for {want[ok][excess.argmax()]}"


@pytest.mark.parametrize("case", CASES, indirect=True)
def test_moments(case: Case) -> None:
    sd = case.sd(case.x)
    for ddof in (0, 1) if case.base["base"] != "logprob" else (0,):
        want = ref.moments(case.x, case.twin["prompt_ids"], within=case.within, ddof=ddof, **case.base)
        got = cm.moments(case.phi, ddof=ddof, **case.mine)
        scale = np.sqrt(want["variances"] / np.where(sd > 0, sd, 1) ** 2).max() if ddof else 1.0
        bound = COVARIANCE[case.precision] * np.outer(sd, sd) * max(scale, 1.0) ** 2 + 1e-300
        close(got.covariance, want["covariance"], bound, f"covariance, ddof {ddof}")
        close(got.variances, want["variances"], np.diag(bound), "variances")
        assert got.covariance is not None
        np.testing.assert_array_equal(got.covariance, got.covariance.T)
        close(got.mean, want["mean"], COVARIANCE[case.precision] * sd + 1e-15 * np.abs(want["mean"]), "mean")
        lean = cm.moments(case.phi, ddof=ddof, covariance=False, **case.mine)
        assert lean.covariance is None
        close(lean.variances, want["variances"], np.diag(bound), "variances alone")


@pytest.mark.parametrize("case", CASES, indirect=True)
def test_covariance_projection(case: Case) -> None:
    want = ref.covariance_projection(case.x, case.u, **case.twin)
    got = cm.covariance_projection(case.phi, case.u, **case.mine)
    bound = COVARIANCE[case.precision] * np.outer(np.abs(case.u) @ case.sd(case.x), case.sd(case.x))
    close(got, want, bound, "projection")


@pytest.mark.parametrize("case", CASES, indirect=True)
def test_score(case: Case) -> None:
    options = case.mine
    got = cm.score(case.phi, case.u, **options)
    assert got.dtype == (np.float64 if case.precision == "double" else np.float32)
    scale = case.score_scale()
    # the sums are exact to the spread of the rows; storing them rounds once more
    rounding = 0.51 * np.spacing(np.abs(case.scores).astype(got.dtype)).astype(float)
    magnitude = np.abs(case.x) @ np.abs(case.u).T
    bound = COVARIANCE[case.precision] * 10 * (scale + 1) + rounding + 1e-15 * magnitude
    close(got, case.scores, bound, "score")


@pytest.mark.parametrize("case", CASES, indirect=True)
def test_cross_covariance(case: Case) -> None:
    want = ref.cross_covariance(case.scores, case.values, **case.twin)
    got = cm.cross_covariance(case.phi, case.u, case.values, **case.mine)
    sd_f = np.array([np.nanstd(v) for v in case.values.T])
    unit = np.outer(case.score_scale(), sd_f) + 1e-300
    close(got.value, want["value"], 20 * GAIN[case.precision] * unit, "value")
    close(got.se, want["se"], 20 * GAIN[case.precision] * unit, "se")
    close(got.correlation, want["correlation"], 30 * GAIN[case.precision] * (1 + unit / 1e3), "correlation")
    for k in range(len(case.u)):
        bound = 40 * GAIN[case.precision] * np.outer(unit[k], unit[k])
        part = slice(None) if case.joint else np.eye(2, dtype=bool)
        close(got.cov(k)[part], want["cov"][k][part], bound[part], "cov")


def gain_bound(case: Case, betas: np.ndarray) -> np.ndarray:
    """sd_f m (1 + s_t / beta), m = min(1, s_t / beta), [K, B, J]."""
    ratio = case.score_scale()[:, None] / betas[None, :]
    sd_f = np.array([np.nanstd(v) for v in case.values.T])
    return (np.minimum(1, ratio) * (1 + ratio))[..., None] * sd_f


@pytest.mark.parametrize("case", CASES, indirect=True)
def test_tilt(case: Case) -> None:
    want = ref.tilt(case.scores, BETAS, case.values, **case.twin)
    got = cm.tilt(case.phi, case.u, BETAS, case.values, **case.mine)
    tolerance = GAIN[case.precision]
    unit = gain_bound(case, BETAS)
    close(got.gain, want["gain"], tolerance * unit, "gain")
    close(got.gain_se, want["gain_se"], 3 * tolerance * unit, "gain_se")
    close(got.baseline, want["baseline"], 1e-12 * np.abs(want["baseline"]) + 1e-12, "baseline")
    for k, b in itertools.product(range(len(case.u)), range(len(BETAS))):
        bound = 6 * tolerance * np.outer(unit[k, b], unit[k, b])
        part = slice(None) if case.joint else np.eye(2, dtype=bool)
        close(got.gain_cov(k, b)[part], want["gain_cov"][k, b][part], bound[part], "gain_cov")
    ratio = case.score_scale()[:, None] / BETAS[None, :]
    share = (np.minimum(1, ratio) * (1 + ratio))[..., None]
    close(got.win_rate, want["win_rate"], tolerance * share + 1e-15, "win_rate")
    slack = KL[case.precision] + 3 * GAIN[case.precision] * ratio  # scores enter exp(t / beta)
    with np.errstate(over="ignore", invalid="ignore"):
        for name in ("kl", "reverse_kl", "log_partition_centred", "ess", "ess_min"):
            close(getattr(got, name), want[name], slack * np.abs(want[name]) + 1e-30, name)
        weak = ratio < 100  # the largest ratios grow as exp(t / beta): compare them where that is a number
        for name in ("chi2", "max_ratio"):
            close(
                getattr(got, name)[weak],
                want[name][weak],
                (slack * np.abs(want[name]))[weak] * 4 + 1e-30,
                name,
            )
        close(
            got.log_partition,
            want["log_partition"],
            slack * (np.abs(want["log_partition"]) + ratio) + 1e-13 * np.abs(case.scores).max() / BETAS,
            "log_partition",
        )


@pytest.mark.parametrize("case", CASES, indirect=True)
def test_expansions(case: Case) -> None:
    want = ref.tilt(case.scores, BETAS, case.values, **case.twin)
    got = cm.tilt(case.phi, case.u, BETAS, case.values, **case.mine)
    sd_f = np.array([np.nanstd(v) for v in case.values.T])
    unit = (case.score_scale()[:, None] / BETAS)[..., None] * sd_f
    tolerance = GAIN[case.precision]
    close(got.first_order, want["first_order"], tolerance * unit, "first_order")
    growth = (1 + case.score_scale()[:, None] / BETAS)[..., None]
    close(got.second_order, want["second_order"], 60 * tolerance * unit * growth, "second_order")
    close(got.first_order_unbiased, want["first_order_unbiased"], 20 * tolerance * unit, "first_order_unbiased")
    finite = np.isfinite(BETAS)  # at beta = inf the error of an exact zero may be zero or NaN
    se, bound = got.first_order_se[:, finite], 20 * tolerance * unit[:, finite]
    close(se, want["first_order_se"][:, finite], bound, "first_order_se")
    weak = case.score_scale()[:, None] / BETAS < 5
    close(got.pareto_k[weak], want["pareto_k"][weak], 1e-3, "pareto_k")
    assert got.n_prompts == want["n_prompts"]
    if case.base["base"] != "logprob" and "counts" not in case.base:
        assert got.n_prompts_unbiased == want["n_prompts_unbiased"]


@pytest.mark.parametrize("case", CASES[::3], indirect=True)
def test_tilted_mean(case: Case) -> None:
    betas = np.array([10.0, 0.7, np.inf])
    want = ref.tilted_mean(case.x, case.scores, betas, **case.twin)
    got = cm.tilted_mean(case.phi, case.u, betas, **case.mine).mean
    ratio = case.score_scale()[:, None] / betas
    spread = np.sqrt(case.x.var(axis=0)) * (1 + ratio[..., None])
    close(got, want, 10 * GAIN[case.precision] * spread + 1e-14 * np.abs(want) + 1e-12, "mean")


@pytest.fixture
def restored_isa() -> Iterator[None]:
    before = _core.isa()
    yield
    _core.isa_select(before)


@pytest.mark.parametrize("isa", _core.isa_available())
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("precision", ["mixed", "double"])
@pytest.mark.usefixtures("restored_isa")
def test_every_instruction_set(isa: str, dtype: str, precision: str) -> None:
    _core.isa_select(isa)
    assert _core.isa() == isa
    for seed, (d, k) in enumerate([(1, 1), (7, 3), (16, 4), (33, 17), (130, 2)]):
        case = make_case(9, 7, d, k, dtype, "sampled", True, precision, True, 11 + seed)
        test_moments(case)
        test_covariance_projection(case)
        test_score(case)
        test_tilt(case)


def test_joint_errors_of_values_labelled_in_different_prompts() -> None:
    case = make_case(9, 7, 3, 2, "float32", "sampled", True, "double", False, 1)
    case.values[case.ids == case.ids[0], 1] = np.nan
    want = ref.tilt(case.scores, [1.0], case.values, **case.twin)["gain_cov"]
    got = cm.tilt(case.phi, case.u, [1.0], case.values, **case.mine)
    np.testing.assert_allclose(got.gain_cov(0, 0), want[0, 0], rtol=1e-8)


@pytest.mark.parametrize("seed", [2, 3, 4])
def test_counts_with_unlabelled_rows(seed: int) -> None:
    case = make_case(15, 7, 3, 2, "float32", "counts", True, "double", False, seed)
    case.values[np.random.default_rng(seed).random(len(case.values)) < 0.15, 1] = np.nan
    want = ref.cross_covariance(case.scores, case.values, **case.twin)
    got = cm.cross_covariance(case.phi, case.u, case.values, **case.mine)
    np.testing.assert_allclose(got.value, want["value"], rtol=1e-8)
    np.testing.assert_allclose(got.se, want["se"], rtol=1e-8)


@pytest.mark.parametrize("order", ["grouped", "shuffled"])
@pytest.mark.parametrize("kind", ["integer", "string", "negative", "huge"])
def test_ids_are_labels_and_nothing_else(order: str, kind: str) -> None:
    rng = np.random.default_rng(4)
    prompt = np.repeat(np.arange(11), 5)
    if order == "shuffled":
        prompt = rng.permutation(prompt)
    names = {
        "integer": np.arange(11), "string": np.array([f"é{i}" for i in range(11)]), "negative": -np.arange(11) * 3,
        "huge": np.iinfo(np.int64).max - np.arange(11),
    }[kind]  # fmt: skip
    phi = rng.normal(size=(55, 4)).astype(np.float32)
    plain, named = (cm.moments(phi, prompt_ids=i).covariance for i in (prompt, names[prompt]))
    np.testing.assert_array_equal(plain, named)


def test_directions_may_differ_by_many_orders() -> None:
    case = make_case(9, 7, 5, 3, "float32", "sampled", True, "mixed", False, 1)
    case.u *= np.array([1e-30, 1.0, 1e30])[:, None]
    betas = np.outer([1e-30, 1.0, 1e30], [3.0, 0.5])
    want = ref.tilt(case.scores, betas, case.values, **case.twin)
    got = cm.tilt(case.phi, case.u, betas, case.values, **case.mine)
    np.testing.assert_allclose(got.gain, want["gain"], rtol=1e-4, atol=1e-6)


def test_scores_in_place_of_a_dump_give_the_same() -> None:
    case = make_case(9, 7, 5, 3, "float64", "sampled", True, "double", False, 1)
    from_dump = cm.tilt(case.phi, case.u, BETAS, case.values, **case.mine)
    scores = cm.Scores(case.scores, prompt_ids=case.ids)
    alone = cm.tilt(scores, None, BETAS, case.values, precision="double")
    np.testing.assert_allclose(alone.gain, from_dump.gain, rtol=1e-9, atol=1e-14)


def test_kl_roots_and_horizon_follow_the_twin() -> None:
    case = make_case(33, 17, 5, 3, "float32", "sampled", True, "double", False, 5)
    levels = [0.05, 0.4, 1.1]
    got = cm.tilt(case.phi, case.u, None, case.values, kl=levels, precision="double", prompt_ids=case.ids)
    np.testing.assert_allclose(got.betas, ref.solve_kl(case.scores, levels, case.ids), rtol=1e-8)
    want = ref.kl_horizon(case.scores, case.ids)
    # the two search different grids of levels, 14 % to 30 % apart
    assert (np.abs(np.log((got.kl_horizon + 1e-9) / (want + 1e-9))) < 0.5).all()
