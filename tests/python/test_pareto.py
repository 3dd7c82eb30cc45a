"""Pareto k where ratios tie: coarse scores, binary judges, equal ratios of different prompts."""

from __future__ import annotations

import subprocess
import sys
import warnings
from typing import Any

import numpy as np
import pytest

import clinometer as cm
from clinometer import _core


def core_k(log_ratios: Any, n_threads: int = 1) -> Any:
    """k of the core, of ratios that are those of the base alone."""
    n = len(log_ratios)
    flat, ends, base = np.zeros((n, 1)), np.array([0, n]), np.ascontiguousarray(log_ratios, np.float64)
    return _core.pareto_tails(flat, np.ones((1, 1)), ends, None, base, 1, n_threads).item()


def both(log_ratios: Any) -> float:
    """k of the core, which is that of the twin."""
    twin = cm.reference.pareto_k(log_ratios)
    core = float(core_k(log_ratios))
    assert core == pytest.approx(twin, rel=1e-9, abs=1e-9, nan_ok=True)
    return core


def drawn(rng: np.random.Generator, size: int) -> Any:
    if rng.random() < 0.5:
        return rng.normal(size=size) * rng.choice([0.1, 1.0, 3.0])
    return rng.exponential(size=size) * rng.choice([0.3, 0.9])


@pytest.mark.parametrize("levels", [None, 0.3, 1.0, 3.0])
def test_k_is_that_of_arviz_with_ties_and_without(levels: float | None) -> None:
    """Wherever ArviZ fits anything: a first quartile above the cutoff. Sizes whose tail both round alike."""
    stats = pytest.importorskip("arviz_stats.base").array_stats
    rng, compared = np.random.default_rng(0), 0
    for size in (50, 100, 200, 400, 900, 2500) * 4:
        ratios = drawn(rng, size)
        if levels is not None:
            ratios = np.round(ratios * 10 * levels) / 10
        tail = int(min(0.2 * size, 3 * np.sqrt(size)))
        ordered = np.sort(ratios)
        if ordered[-tail:][int(tail / 4 + 0.5) - 1] <= ordered[-tail - 1] + 1e-12:
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                want = float(stats.psislw(-ratios)[1])
            except ValueError:  # all tail values are the same
                want = np.nan
        assert both(ratios) == pytest.approx(want, abs=1e-8, nan_ok=True)
        compared += 1
    assert compared >= 5


@pytest.mark.parametrize("size", [64, 100, 400, 1000])
@pytest.mark.parametrize("beta", [0.3, 1.0, 30.0])
def test_integer_scores_in_one_prompt_have_a_number_or_a_reason(size: int, beta: float) -> None:
    scores = np.random.default_rng(size).integers(1, 11, size).astype(float)
    ids = np.zeros(size, np.int64)
    found = cm.tilt(cm.Scores(scores, prompt_ids=ids), None, [beta], scores)
    k, want = found.pareto_k.item(), cm.reference.tilt(scores, [beta], scores, ids)["pareto_k"].item()
    assert k == pytest.approx(want, abs=1e-9, nan_ok=True)
    tail = int(np.ceil(min(0.2 * size, 3 * np.sqrt(size))))
    ordered = np.sort(scores)
    if 2 * (ordered[-tail:] > ordered[-tail - 1]).sum() <= tail:
        assert np.isnan(k) and "are equal" in found.pareto_status.item()
    else:
        assert k < 0.5 and found.pareto_status.item() == "ok"  # no ratio exceeds that of a 10


def test_a_quartile_of_ties_changes_k_no_more_than_a_tie_fewer() -> None:
    """The scale of the grid is the least excess on both sides of a quarter of the tail."""
    found = [both(np.r_[np.zeros(340 + ties), np.full(60 - ties, 1.0), np.zeros(0)]) for ties in range(5, 30)]
    assert np.isfinite(found).all() and np.abs(np.diff(found)).max() < 0.2


def test_no_number_without_a_tail() -> None:
    assert np.isnan(both(np.arange(20.0)))  # four tail points
    assert np.isnan(both(np.zeros(1000)))  # no ratio is larger than another
    assert np.isnan(both(np.r_[np.zeros(996), np.ones(4)]))  # four are
    assert np.isnan(both(np.r_[np.zeros(800), np.full(200, 3.0)]))  # a constant tail
    assert np.isnan(both(np.r_[np.zeros(953), np.ones(47)]))  # half of 95 tie with the cutoff, rounded up
    assert np.isfinite(both(np.r_[np.zeros(952), np.ones(48)]))
    assert np.isnan(both(np.full(100, -np.inf)))


@pytest.mark.parametrize("noise", [1e-16, 1e-15, 3e-13])
@pytest.mark.parametrize("shift", [0.0, -30.0])
def test_what_rounding_leaves_between_equal_ratios_is_no_tail(noise: float, shift: float) -> None:
    rng = np.random.default_rng(3)
    ratios = np.round(rng.normal(size=900) * 4) / 4 + shift
    assert both(ratios + noise * rng.uniform(-1, 1, 900)) == pytest.approx(both(ratios), abs=1e-6)
    constant = np.r_[np.zeros(700), np.full(200, 0.25)] + shift
    assert np.isnan(both(constant + noise * rng.uniform(0, 1, 900)))


def test_a_shape_at_the_exponential_is_a_number() -> None:
    """Levels 1, 2, 3 put a point of the grid at theta = 0, where the likelihood is that of the exponential law."""
    excess = np.concatenate([np.full(30, level) for level in (0.0, 1.0, 2.0, 3.0)])[: 3 * 40]
    assert np.isfinite(both(np.log(np.r_[np.full(1480, 1.0), 1.0 + np.sort(excess)])))


SCRIPT = """
import numpy as np, clinometer as cm
rng = np.random.default_rng(5)
for prompts, n in ((100, 8), (50, 16), (300, 5)):
    ids, t = np.repeat(np.arange(prompts), n), (rng.random(prompts * n) < 0.3) * 1.0
    turned = t.reshape(prompts, n)[:, ::-1].ravel()
    for scores in (t, turned):
        k = cm.tilt(cm.Scores(scores, prompt_ids=ids), None, [0.3, 1.0, 3.0], t).pareto_k
        want = cm.reference.tilt(scores, [0.3, 1.0, 3.0], t, ids)["pareto_k"]
        np.testing.assert_allclose(k, want, rtol=1e-8, atol=1e-8)
        print(k.max())
"""


@pytest.mark.parametrize("isa", ["baseline", None])
def test_binary_judges_pooled_over_prompts(isa: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ratios of bounded scores of few levels: k stays small, whatever the order of rows inside prompts."""
    if isa is not None:
        monkeypatch.setenv("CLINOMETER_ISA", isa)
    ran = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    largest = np.array(ran.stdout.split(), float)
    np.testing.assert_allclose(largest[::2], largest[1::2], rtol=1e-6)
    assert not (largest > 1).any()


def test_prompts_without_weight_are_not_in_the_tail() -> None:
    rng = np.random.default_rng(6)
    ids, t = np.repeat(np.arange(60), 10), rng.normal(size=600)
    weight = (np.arange(60) >= 20) * 1.0
    scores = cm.Scores(t, prompt_ids=ids)
    k = cm.tilt(scores, None, [0.5, 1.0], t, prompt_weights=weight).pareto_k
    kept = ids >= 20
    np.testing.assert_allclose(
        k, cm.reference.tilt(t, [0.5, 1.0], t, ids, prompt_weights=weight)["pareto_k"], rtol=1e-9
    )
    fewer = cm.tilt(cm.Scores(t[kept], prompt_ids=ids[kept]), None, [0.5, 1.0], t[kept]).pareto_k
    np.testing.assert_allclose(k, fewer, rtol=1e-9)


def test_the_reason_is_stated() -> None:
    t, ids = np.random.default_rng(0).normal(size=20), np.zeros(20, np.int64)
    scores = cm.Scores(t, prompt_ids=ids)
    assert "fewer than 21 rows" in cm.tilt(scores, None, [1.0], t).pareto_status.item()
    assert cm.tilt(scores, None, [1.0], t, pareto_k=False).pareto_status.item() == "not asked for"
    fixed = cm.tilt(scores, None, [1.0], t, base="logprob", logprobs=np.zeros(20))
    assert np.isnan(fixed.pareto_k.item()) and "nothing was drawn" in fixed.pareto_status.item()


@pytest.mark.parametrize("scale", [30.0, 300.0, 3e4])
def test_ratios_beyond_float64_have_a_k(scale: float) -> None:
    assert both(np.random.default_rng(8).exponential(size=400) * scale) > 5


def tails(t: Any, betas: Any, sizes: Any, weight: Any = None, every: int = 1, n_threads: int = 1) -> Any:
    offsets = np.append(0, np.cumsum(sizes)).astype(np.int64)
    return _core.pareto_tails(
        np.ascontiguousarray(t), np.ascontiguousarray(betas), offsets, weight, None, every, n_threads
    )


def ratios_of(t: Any, beta: float, sizes: Any, w: Any) -> Any:
    """log pi/pi0 of rows of positive weight, in long doubles."""
    first = np.append(0, np.cumsum(sizes)[:-1])
    own, base = t.astype(np.longdouble), w.astype(np.longdouble)
    below = own - np.repeat(np.maximum.reduceat(np.where(base > 0, own, -np.inf), first), sizes)
    x = below / beta if beta > 0 else np.where(below == 0, 0.0, -np.inf)
    mass = np.add.reduceat(base * np.exp(np.where(base > 0, x, -np.inf)), first) / np.add.reduceat(base, first)
    return (x - np.repeat(np.log(mass), sizes))[base > 0].astype(np.float64)


@pytest.mark.parametrize("sizes", [[2] * 3001, [16] * 400 + [3, 1, 65, 64] * 9, [1000, 700, 1301], [5003]])
@pytest.mark.parametrize("uneven", [False, True])
def test_tails_of_kept_scores_are_those_of_all_their_ratios(isa: str, sizes: list[int], uneven: bool) -> None:
    """Directions of very different size, more tilts than lanes, weights with zeros; the same bits on any threads."""
    rng = np.random.default_rng(len(sizes))
    n, K = sum(sizes), 3
    t = rng.normal(size=(n, K)) * np.array([1.0, 1e-3, 30.0]) + 5.0
    t[:, 1] += np.repeat(rng.normal(size=len(sizes)), sizes)  # prompts apart: only differences inside them count
    betas = np.stack([np.geomspace(8.0, 0.2, 11)] * K) * np.array([[1.0], [1e-3], [30.0]])
    weight = None
    if uneven:
        raw = rng.exponential(size=n) * (rng.random(n) < 0.8)
        raw[np.cumsum(sizes) - 1] = 1.0
        first = np.append(0, np.cumsum(sizes)[:-1])
        weight = raw / np.repeat(np.add.reduceat(raw, first), sizes)
    found = tails(t, betas, sizes, weight)
    w = np.ones(n) if weight is None else weight
    want = [[cm.reference.pareto_k(ratios_of(t[:, k], b, sizes, w)) for b in betas[k]] for k in range(K)]
    np.testing.assert_allclose(found, want, rtol=1e-6, atol=1e-6)
    for threads in (2, 5):
        assert (tails(t, betas, sizes, weight, n_threads=threads) == found).all()


def test_tails_without_a_tilt_at_the_argmax_and_of_some_rows() -> None:
    rng = np.random.default_rng(2)
    sizes = rng.integers(2, 30, 300)
    t = rng.normal(size=(int(sizes.sum()), 1))
    w = np.ones(len(t))
    found = tails(t, [[np.inf, 0.0, 1e12, 1.0]], sizes)[0]
    assert np.isnan(found[0])  # no ratio is larger than another
    for k, beta in zip(found[1:], (0.0, 1e12, 1.0), strict=True):
        assert k == pytest.approx(
            cm.reference.pareto_k(ratios_of(t[:, 0], beta, sizes, w)), rel=1e-6, abs=1e-6, nan_ok=True
        )
    some = tails(t, [[1.0]], sizes, every=3).item()
    assert some == pytest.approx(cm.reference.pareto_k(ratios_of(t[:, 0], 1.0, sizes, w)[::3]), rel=1e-6)


@pytest.mark.parametrize("levels", [None, 3, 2])
@pytest.mark.parametrize("weights", [False, True])
def test_tails_of_many_prompts_are_those_of_all_ratios(levels: int | None, weights: bool) -> None:
    """A sample of the prompts says what to pass over: also where it misleads, and where ratios tie with its answer."""
    rng = np.random.default_rng(11)
    sizes = rng.integers(1, 9, 700)
    ids, t = np.repeat(np.arange(700), sizes), rng.normal(size=(sizes.sum(), 2))
    t[ids % 16 == 0] *= 8.0  # every sixteenth prompt, which are the sample, has by far the largest ratios
    if levels is not None:
        t = np.clip(np.round(t), 0, levels - 1)
    base = {"prompt_weights": (np.arange(700) % 5 > 0) * 1.0} if weights else {}
    betas = [0.2, 0.5, 2.0, 50.0, np.inf]
    found = [cm.tilt(cm.Scores(t, prompt_ids=ids), None, betas, n_threads=n, **base).pareto_k for n in (1, 2, 3)]
    want = cm.reference.tilt(t, betas, t, ids, **base)["pareto_k"]
    np.testing.assert_allclose(found[0], want, rtol=1e-8, atol=1e-8)
    assert all(x.tobytes() == found[0].tobytes() for x in found)


def test_a_tilt_too_wide_for_a_series_keeps_its_tail() -> None:
    rng = np.random.default_rng(12)
    ids, t = np.repeat(np.arange(400), 12), rng.standard_cauchy((4800, 1))
    betas = [0.05, 1.0, 20.0, 1e4]
    want = cm.reference.tilt(t, betas, t, ids)["pareto_k"]
    np.testing.assert_allclose(cm.tilt(cm.Scores(t, prompt_ids=ids), None, betas).pareto_k, want, rtol=1e-7, atol=1e-8)
