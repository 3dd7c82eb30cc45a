"""The passes against their plain twin, within the accuracy that the README promises for each precision.

The twin works on scores made in extended precision and brought near zero, so that a bound has no share of its own
rounding in it. Bounds are those of its table, or follow from them where the comment says how.
"""

from __future__ import annotations

import functools
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

    @functools.cached_property
    def absolute(self) -> np.ndarray:
        """The scores in extended precision."""
        return self.x.astype(np.longdouble) @ self.u.astype(np.longdouble).T

    @functools.cached_property
    def scores(self) -> np.ndarray:
        """The scores less the first row's, rounded once: a tilt does not see the constant."""
        return (self.absolute - self.absolute[0]).astype(np.float64)

    @functools.cached_property
    def tilted(self) -> tuple[Any, dict[str, Any]]:
        """The tilt at BETAS, and the twin's."""
        got = cm.tilt(self.phi, self.u, BETAS, self.values, **self.mine)
        return got, ref.tilt(self.scores, BETAS, self.values, **self.twin)

    @property
    def joint(self) -> bool:
        """Whether every prompt has a label of every value: then joint errors count the same clusters."""
        prompts = np.unique(self.ids, return_inverse=True)[1]
        return all((np.bincount(prompts, weights=~np.isnan(v)) > 0).all() for v in self.values.T)

    @property
    def mine(self) -> dict[str, Any]:
        return {"prompt_ids": self.ids, "within": self.within, "precision": self.precision, **self.base}

    @property
    def plain(self) -> dict[str, Any]:
        """Options of passes that have no errors to cluster."""
        return {name: x for name, x in self.mine.items() if name != "clusters"}

    @property
    def twin(self) -> dict[str, Any]:
        return {"prompt_ids": self.ids, "within": self.within, **self.base}

    def sd(self, scores: np.ndarray, ddof: int = 0) -> np.ndarray:
        """The spread the bounds are stated in: within prompts, or over all rows."""
        return np.sqrt(ref.moments(scores, self.ids, within=self.within, ddof=ddof, **self.base)["variances"])

    def score_scale(self, ddof: int = 0) -> np.ndarray:
        """s_t = sqrt(sum u_i^2 sd_i^2) for each direction."""
        return np.sqrt(self.u**2 @ self.sd(self.x, ddof) ** 2)

    def value_scale(self, ddof: int = 0) -> np.ndarray:
        """sd_f of each value over the rows it labels."""
        known = np.nan_to_num(self.values)
        return np.sqrt(np.diag(ref.cross_covariance(known, self.values, ddof=ddof, **self.twin)["value"]))

    def spread(self) -> np.ndarray:
        """The sd of each column over all rows: a mean cannot be better than the lanes its rows go through."""
        return np.sqrt(self.x.var(axis=0))

    def score_error(self) -> np.ndarray:
        """Error that the promised accuracy of a gain allows in one score less another."""
        return GAIN[self.precision] * self.score_scale()


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


shared_case = functools.cache(make_case)


@pytest.fixture
def case(request: pytest.FixtureRequest) -> Case:
    return shared_case(*request.param)


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
        got = cm.moments(case.phi, ddof=ddof, **case.plain)
        scale = np.sqrt(want["variances"] / np.where(sd > 0, sd, 1) ** 2).max() if ddof else 1.0
        bound = COVARIANCE[case.precision] * np.outer(sd, sd) * max(scale, 1.0) ** 2 + 1e-300
        close(got.covariance, want["covariance"], bound, f"covariance, ddof {ddof}")
        close(got.variances, want["variances"], np.diag(bound), "variances")
        assert got.covariance is not None
        np.testing.assert_array_equal(got.covariance, got.covariance.T)
        rounding = 1e-15 * np.abs(case.x).max(axis=0)
        close(got.mean, want["mean"], COVARIANCE[case.precision] * case.spread() + rounding, "mean")
        lean = cm.moments(case.phi, ddof=ddof, covariance=False, **case.plain)
        assert lean.covariance is None
        close(lean.variances, want["variances"], np.diag(bound), "variances alone")


@pytest.mark.parametrize("case", CASES, indirect=True)
def test_covariance_projection(case: Case) -> None:
    want = ref.covariance_projection(case.x, case.u, **case.twin)
    got = cm.covariance_projection(case.phi, case.u, **case.plain)
    bound = COVARIANCE[case.precision] * np.outer(np.abs(case.u) @ case.sd(case.x), case.sd(case.x))
    close(got, want, bound, "projection")


@pytest.mark.parametrize("case", CASES, indirect=True)
def test_score(case: Case) -> None:
    got = cm.score(case.phi, case.u, **{n: x for n, x in case.plain.items() if n != "within"})
    assert got.dtype == (np.float64 if case.precision == "double" else np.float32)
    want = case.absolute.astype(np.float64)
    if case.base["base"] == "counts":  # a row of count 0 is absent
        want[case.base["counts"] == 0] = np.nan
    # exact to its own ulp, or to the accuracy of the lanes where the ulp of a small score is finer than that;
    # an f64 sum of d products of the size of the means rounds like one
    spread = np.sqrt(case.u**2 @ case.spread() ** 2)
    magnitude = (np.abs(case.x) @ np.abs(case.u).T).max(axis=0)
    bound = np.spacing(np.abs(want).astype(got.dtype)).astype(float) + GAIN[case.precision] * spread
    close(got, want, bound + np.finfo(float).eps * magnitude, "score")


@pytest.mark.parametrize("case", CASES, indirect=True)
def test_cross_covariance(case: Case) -> None:
    want = ref.cross_covariance(case.scores, case.values, **case.twin)
    got = cm.cross_covariance(case.phi, case.u, case.values, **case.mine)
    ddof, tolerance = int(case.base["base"] != "logprob"), GAIN[case.precision]
    s_t, sd_f = case.score_scale(ddof), case.value_scale(ddof)
    unit = np.outer(s_t, sd_f)
    close(got.value, want["value"], tolerance * unit, "value")
    close(got.se, want["se"], SPREAD * tolerance * unit, "se")
    # c / (sd_t sd_f): an error of c, and half the relative error of the variance of t, both in units of s_t
    with np.errstate(divide="ignore", invalid="ignore"):
        q = np.where(case.sd(case.scores, ddof) > 0, s_t / case.sd(case.scores, ddof), 0)[:, None]
    bound = tolerance * (q + np.abs(want["correlation"]) * q**2 / 2)
    close(got.correlation, want["correlation"], np.nan_to_num(bound), "correlation")
    for k in range(len(case.u)):
        check_joint(case, got.cov(k), want["cov"][k], SPREAD * tolerance * unit[k], "cov")


# The error of a clustered error: psi_x = omega_x (c_x - mean) is off by omega_x times what c_x is off, and
# sum omega_x^2 a_x^2 <= sum omega_x a_x^2, so sqrt(C/(C-1)) <= sqrt(2) is all that is lost.
SPREAD = np.sqrt(2)


def check_joint(case: Case, got: np.ndarray, want: np.ndarray, error: np.ndarray, what: str) -> None:
    """A covariance is a product of two vectors whose lengths are the errors of the estimates."""
    length = np.sqrt(np.diag(want))
    bound = np.outer(length, error) + np.outer(error, length) + np.outer(error, error)
    part = slice(None) if case.joint else np.eye(len(want), dtype=bool)
    close(got[part], want[part], bound[part], what)


def share(case: Case, betas: np.ndarray) -> np.ndarray:
    """m (1 + s_t / beta), m = min(1, s_t / beta), [K, B]."""
    ratio = case.score_scale()[:, None] / betas
    return np.minimum(1, ratio) * (1 + ratio)


@pytest.mark.parametrize("case", CASES, indirect=True)
def test_gains(case: Case) -> None:
    got, want = case.tilted
    tolerance = GAIN[case.precision]
    unit = share(case, BETAS)[..., None] * case.value_scale()
    close(got.gain, want["gain"], tolerance * unit, "gain")
    close(got.gain_se, want["gain_se"], SPREAD * tolerance * unit, "gain_se")
    close(got.baseline, want["baseline"], 1e-14 * np.nanmax(np.abs(case.values), axis=0), "baseline")
    for k, b in itertools.product(range(len(case.u)), range(len(BETAS))):
        check_joint(case, got.gain_cov(k, b), want["gain_cov"][k, b], SPREAD * tolerance * unit[k, b], "gain_cov")
    # a gain of mid-ranks, which spread by 1/2 at most
    rounding = 2 * np.finfo(float).eps
    close(got.win_rate, want["win_rate"], tolerance * share(case, BETAS)[..., None] / 2 + rounding, "win_rate")


@pytest.mark.parametrize("case", CASES, indirect=True)
def test_divergences(case: Case) -> None:
    got, want = case.tilted
    tolerance = KL[case.precision]
    for name in ("kl", "reverse_kl", "log_partition_centred"):
        close(getattr(got, name), want[name], tolerance * want[name], name)
    # With every exponent off by at most e, the log-ratios are off by 2 e: the factor r of a row by expm1(2 e) r.
    # chi2 = E (r - 1)^2 then moves by 2 sqrt(chi2) x + x^2, x = expm1(2 e) sqrt(E r^2), and E r^2 = 1 + chi2.
    with np.errstate(over="ignore", invalid="ignore"):
        factor = np.expm1(2 * case.score_error()[:, None] / BETAS)
        x = factor * np.sqrt(1 + want["chi2"])
        moved = 2 * np.sqrt(want["chi2"]) * x + x**2
        close(got.chi2, want["chi2"], moved + tolerance * want["chi2"], "chi2")
        close(got.max_ratio, want["max_ratio"], (factor + tolerance) * want["max_ratio"], "max_ratio")
        for name in ("ess", "ess_min"):  # 1 / E r^2, and 1 / (n sum p^2) for reweight: two factors of exp(2 e)
            close(getattr(got, name), want[name], ((1 + factor) ** 2 - 1 + tolerance) * want[name], name)
    first = case.absolute[0].astype(float)[:, None]
    rounding = 2 * np.finfo(float).eps * np.abs(case.absolute).max(axis=0).astype(float)  # of the mean score
    mean = rounding + case.score_error() + GAIN[case.precision] * np.sqrt(case.u**2 @ case.spread() ** 2)
    bound = mean[:, None] / BETAS + tolerance * want["log_partition_centred"]
    close(got.log_partition, want["log_partition"] + first / BETAS, bound, "log_partition")


@pytest.mark.parametrize("case", CASES, indirect=True)
def test_expansions(case: Case) -> None:
    got, want = case.tilted
    tolerance, sd_f = GAIN[case.precision], case.value_scale()
    ratio = (case.score_scale()[:, None] / BETAS)[..., None]
    close(got.first_order, want["first_order"], tolerance * ratio * sd_f, "first_order")
    # lam k2 + lam^2/2 E f t^2: with t off by e the second term moves by lam^2 E |f t| e <= lam^2 sd_f s_t e
    error = (case.score_error()[:, None] / BETAS)[..., None]
    close(got.second_order, want["second_order"], error * (1 + ratio) * sd_f, "second_order")
    if case.base["base"] != "logprob":
        finite = np.isfinite(BETAS)  # at beta = inf an estimate that is not there times zero may be zero or NaN
        unit = (case.score_scale(1)[:, None] / BETAS[finite])[..., None] * case.value_scale(1)
        for name, factor in (("first_order_unbiased", 1.0), ("first_order_se", SPREAD)):
            close(getattr(got, name)[:, finite], want[name][:, finite], factor * tolerance * unit, name)
    else:
        assert np.isnan(got.first_order_unbiased).all() and np.isnan(got.first_order_se).all()
    assert got.n_prompts == want["n_prompts"]
    assert got.n_prompts_unbiased == want["n_prompts_unbiased"]


@pytest.mark.parametrize("case", CASES, indirect=True)
def test_pareto_k(case: Case) -> None:
    got, want = case.tilted[0].pareto_k, case.tilted[1]["pareto_k"]
    # k-hat is a fit to a tail of as few as five ratios: an error of them counts in units of the tail's width, of
    # which nothing is known. Beyond a few sd per beta that width itself is at the mercy of rounding.
    weak = case.score_scale()[:, None] / BETAS < 5
    close(got[weak], want[weak], 100 * 5 * GAIN[case.precision], "pareto_k")


@pytest.mark.parametrize("case", CASES[::3], indirect=True)
def test_tilted_mean(case: Case) -> None:
    betas = np.array([10.0, 0.7, np.inf])
    want = ref.tilted_mean(case.x, case.scores, betas, **case.twin)
    got = cm.tilted_mean(case.phi, case.u, betas, **case.plain).mean
    # the base mean to its sd, as in test_moments, and the gain of each coordinate
    bound = GAIN[case.precision] * (case.spread() + share(case, betas)[..., None] * case.sd(case.x))
    close(got, want, bound + 1e-14 * np.abs(case.x).max(axis=0), "mean")  # weights sum to 1 only so far


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
        test_gains(case)
        test_divergences(case)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("d", [1, 31, 77, 1061])
def test_scores_by_rounded_directions(dtype: str, d: int, isa: str) -> None:
    rng = np.random.default_rng(4)
    rows = (rng.normal(size=(203, d)) + 3).astype(DTYPES[dtype])
    ids, wide = np.arange(203) // 7, np.abs(rows.astype(np.float64))
    for k in (1, 3, 5, 70):
        u = (rng.normal(size=(k, d)) * 2.0 ** rng.integers(-40, 40, (k, 1))).astype(np.float32)
        got = cm.score(rows, u, prompt_ids=ids, precision="bfloat16")
        nearest, exact = (x.astype(np.float64).T for x in (u.astype(ml_dtypes.bfloat16), u))
        summed = 2**-21 * (wide + 3) @ np.abs(exact)  # lanes hold what rows are from their mean
        assert (np.abs(got - rows.astype(np.float64) @ nearest) <= summed).all()
        assert (np.abs(got - rows.astype(np.float64) @ exact) <= 2**-8 * wide @ np.abs(exact) + summed).all()
        again = cm.score(rows, u, prompt_ids=ids, precision="bfloat16", n_threads=3)
        assert again.tobytes() == got.tobytes()


def test_rounded_directions_meet_numbers_that_lanes_do_not_hold(isa: str) -> None:
    rng = np.random.default_rng(5)
    ids, u = np.arange(64) // 8, rng.normal(size=(6, 40)).astype(ml_dtypes.bfloat16).astype(np.float64)
    for size in (1e-34, 1e-20, 1e20, 1e34):
        rows = (size * rng.normal(size=(64, 40))).astype(ml_dtypes.bfloat16)
        got = cm.score(rows, u, prompt_ids=ids, precision="bfloat16")
        np.testing.assert_allclose(got, rows.astype(np.float64) @ u.T, rtol=1e-5, atol=1e-6 * size)
    rows[37, 39] = np.nan
    with pytest.raises(cm.DumpError, match="first row 37"):
        cm.score(rows, u, prompt_ids=ids, precision="bfloat16")
    with pytest.raises(ValueError, match=r"'bfloat16', which is for rows of float16 or bfloat16; these are float32"):
        cm.score(rows.astype(np.float32), u, prompt_ids=ids, precision="bfloat16")
    with pytest.raises(ValueError, match=r"wanted 'mixed' or 'double'; only cm\.score has 'bfloat16'"):
        cm.tilt(rows, u, [1.0], prompt_ids=ids, precision="bfloat16")
    tie = cm.score(np.ones((1, 1), np.float16), [[1 + 2**-8 + 2**-40]], prompt_ids=[0], precision="bfloat16")
    assert tie.item() == 1 + 2**-7  # rounded once: through float32 it would be a tie, and 1


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


def test_the_gaussian_kl_is_that_of_the_policy_behind_the_rows() -> None:
    world = cm.simulate(4000, 5, 3, n_constitutions=1, unequal=True, random_state=1)
    t = world.truth
    got = cm.tilt(world, t.u_c, [2.0, 0.5, np.inf], pareto_k=False)
    np.testing.assert_allclose(got.gaussian_kl[0], [*t.kl([2.0, 0.5])[0], 0.0], rtol=0.03)
    assert got.kl[0, 1] < 0.6 * got.gaussian_kl[0, 1]  # the rows cannot show a tilt of 2 nats
    phi, ids = world.read(0, world.n_rows, np.float64), np.asarray(world.prompt_ids)
    score, many = phi @ t.u_c[0], np.bincount(ids)[ids] > 1
    variance = np.mean([score[ids == x].var(ddof=1) for x in np.unique(ids[many])])
    np.testing.assert_allclose(got.gaussian_kl[0, :2], variance / 2 / np.array([4.0, 0.25]), rtol=1e-5)
    alone = cm.tilt(phi[:3], t.u_c, [1.0], prompt_ids=[0, 1, 2], pareto_k=False)
    assert np.isnan(alone.gaussian_kl).all()


def test_kl_roots_and_horizon_follow_the_twin() -> None:
    case = make_case(11, 9, 5, 2, "float32", "sampled", True, "double", False, 5)
    levels = [0.05, 0.4, 1.1]
    got = cm.tilt(case.phi, case.u, None, case.values, kl=levels, precision="double", prompt_ids=case.ids)
    np.testing.assert_allclose(got.betas, ref.solve_kl(case.scores, levels, case.ids), rtol=1e-8)
    want = ref.kl_horizon(case.scores, case.ids)
    # the two search different grids of levels, 14 % to 30 % apart
    assert (np.abs(np.log((got.kl_horizon + 1e-9) / (want + 1e-9))) < 0.5).all()


@pytest.mark.parametrize(("n", "prompts"), [(3, 6), (7, 9), (17, 4)])
def test_the_kl_up_to_which_sizes_are_good_follows_the_twin(n: int, prompts: int) -> None:
    rng = np.random.default_rng(n)
    t = rng.standard_normal((n * prompts, 1))
    ids = np.repeat(np.arange(prompts), n)
    found = cm.tilt(cm.Scores(t, prompt_ids=ids), None, kl=[0.1], values=t[:, 0], pareto_k=False, precision="double")
    want = ref.kl_horizon_sized(t, ids)
    # levels of the twin are 11 % apart, and seven interpolated ones stand against them
    np.testing.assert_allclose(np.maximum(found.kl_horizon_sized, 1e-3), np.maximum(want, 1e-3), rtol=0.25)
    assert (found.kl_horizon_sized >= found.kl_horizon).all() if n > 4 else not found.kl_horizon_sized.any()


def test_sizes_are_good_to_a_tenth_at_their_horizon() -> None:
    """In a Gaussian world the gain at KL is sqrt(2 KL), and at the horizon the rows give nine tenths of it."""
    for n in (8, 16):
        t = np.random.default_rng(n).standard_normal(n * 12_000)
        scores = cm.Scores(t, prompt_ids=np.arange(len(t)) // n)
        top = float(cm.tilt(scores, None, kl=[0.01], values=t, pareto_k=False).kl_horizon_sized[0])
        gain = float(cm.tilt(scores, None, kl=[top], values=t, pareto_k=False).gain[0, 0, 0])
        assert gain / np.sqrt(2 * top) == pytest.approx(0.9, abs=0.02) and top > 0.2


@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_a_score_that_is_the_adjusted_column_leaves_nothing_to_tilt_by(offset: float) -> None:
    rng = np.random.default_rng(0)
    length, ids = rng.standard_normal(300), np.arange(300) // 10
    rows = cm.open_dump(
        rng.standard_normal((300, 2)), prompt_ids=ids, columns={"t": 0.3 * length + offset, "n_tokens": 50 + 5 * length}
    )
    found = cm.tilt(rows, "t", kl=[0.2], values=length, adjust="n_tokens")
    assert found.betas[0, 0] == np.inf and found.gain[0, 0, 0] == 0
