"""The f32 lanes of the tilt: every way an exponential is formed, in one batch, against the plain twin."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest

import clinometer as cm
from clinometer import _core
from clinometer.engine import kl as roots
from clinometer.engine.inputs import prepare

SIZES = (1, 2, 3, 7, 15, 16, 17, 33, 64, 65, 300)
BETAS = np.array([1e8, 40.0, 3.0, 1.0, 0.3, 0.05, 1e-6, np.inf])
LONG_BETAS = np.array([1e6, 20.0, 1.0, 0.4])
EXACT = ("kl", "reverse_kl", "log_partition_centred")


def world(k: int, heavy: bool, weights: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
    """Scores of sizes from 1e-3 to 10 side by side, prompts of many sizes, ties in the second value."""
    rng = np.random.default_rng(k)
    ids = np.repeat(np.arange(2 * len(SIZES)), np.tile(SIZES, 2))
    scores = rng.normal(size=(len(ids), k)) * np.geomspace(1e-3, 10, k)
    if heavy:
        scores += rng.standard_cauchy(scores.shape) * 0.05 * np.geomspace(1e-3, 10, k)
    values = np.stack([scores[:, -1] + rng.normal(size=len(ids)), rng.integers(0, 3, len(ids)).astype(float)], axis=1)
    base = {"base": "counts", "counts": rng.integers(1, 5, len(ids)).astype(float)} if weights else {}
    return scores, values, ids, base


@pytest.mark.parametrize(
    ("k", "heavy", "weights"), [(1, False, False), (3, True, True), (17, False, True), (17, True, False)]
)
def test_lanes_agree_with_the_twin_at_every_tilt(isa: str, k: int, heavy: bool, weights: bool) -> None:
    scores, values, ids, base = world(k, heavy, weights)
    got = cm.tilt(cm.Scores(scores, prompt_ids=ids), None, BETAS, values, pareto_k=False, **base)
    with np.errstate(all="ignore"):
        want = cm.reference.tilt(scores, BETAS, values, ids, **base)
    for name in EXACT:
        np.testing.assert_allclose(getattr(got, name), want[name], rtol=1e-5, atol=1e-300, err_msg=f"{isa} {name}")
    spread = cm.reference.moments(scores, ids, **base)["variances"] ** 0.5
    ratio = spread[:, None] / BETAS
    sd = np.sqrt(cm.reference.moments(values, ids, **base)["variances"])
    unit = (np.minimum(1, ratio) * (1 + ratio))[..., None] * sd
    assert (np.abs(got.gain - want["gain"]) <= 1e-6 * unit).all()
    assert (np.abs(got.gain_se - want["gain_se"]) <= 1.5e-6 * unit).all()
    assert (np.abs(got.win_rate - want["win_rate"]) <= 1e-6 * unit / sd / 2 + 1e-15).all()
    for name in ("chi2", "ess", "ess_min", "max_ratio"):
        rtol = 3e-5 * np.maximum(1, ratio)
        assert (np.abs(getattr(got, name) - want[name]) <= rtol * np.abs(want[name]) + 1e-300).all(), f"{isa} {name}"


@pytest.mark.parametrize("n", [1500, 8192, 8193, 9001])
def test_a_long_prompt_in_slices_agrees_with_the_twin(isa: str, n: int) -> None:
    rng = np.random.default_rng(n)
    scores = rng.normal(size=(n, 2)) * np.array([1.0, 1e-2])
    scores[5] += np.array([6.0, 0.06])  # far out among rows that hardly move: sums of E lose digits at beta = 5.5
    values = np.stack([scores[:, 0] + rng.normal(size=n), rng.integers(0, 3, n).astype(float)], axis=1)
    betas = np.array([1e6, 25.0, 5.5, 2.0, 0.05])
    ids = np.zeros(n, int)
    want = cm.reference.tilt(scores, betas, values, ids)
    for threads in (1, 2):
        got = cm.tilt(cm.Scores(scores, prompt_ids=ids), None, betas, values, pareto_k=False, n_threads=threads)
        for name in EXACT:
            np.testing.assert_allclose(getattr(got, name), want[name], rtol=1e-5, err_msg=name)
        ratio = scores.std(axis=0)[:, None] / betas
        unit = (np.minimum(1, ratio) * (1 + ratio))[..., None] * values.std(axis=0)
        assert (np.abs(got.gain - want["gain"]) <= 1e-6 * unit).all()
        assert (np.abs(got.win_rate - want["win_rate"]) <= 1e-6 * unit / values.std(axis=0)).all()
        np.testing.assert_allclose(got.second_order, want["second_order"], rtol=1e-4, atol=1e-9)


def long_world(n: int, k: int, floats: bool) -> tuple[np.ndarray, np.ndarray]:
    """Scores, and values with ties, also of 0 and -0, that are floats or are not."""
    rng = np.random.default_rng(n + k)
    scores = rng.normal(size=(n, k)) * np.geomspace(0.5, 2, k)
    steps = rng.integers(-2, 3, n) * rng.choice([-1.0, 1.0], n)
    values = np.stack([scores[:, 0] + rng.normal(size=n), steps, np.round(rng.normal(size=n), 2)], axis=1)
    return scores, values.astype(np.float32).astype(np.float64) if floats else values


@cache
def long_twin(n: int, k: int, floats: bool, weights: bool) -> dict[str, np.ndarray]:
    """What the twin says of `long_world`, once for every instruction set."""
    scores, values = long_world(n, k, floats)
    return cm.reference.tilt(scores, LONG_BETAS, values, np.zeros(n, int), **copies(n, weights))


def copies(n: int, weights: bool) -> dict[str, Any]:
    return {"base": "counts", "counts": np.arange(n) % 3 + 1.0} if weights else {}


@pytest.mark.parametrize(
    ("n", "k", "floats", "weights"),
    [(8193, 1, True, False), (20_001, 7, False, True), (17_000, 17, True, True), (16_385, 1, False, False)],
)
def test_ranks_and_cumulants_of_a_long_prompt_agree_with_the_twin(
    isa: str, n: int, k: int, floats: bool, weights: bool
) -> None:
    scores, values = long_world(n, k, floats)
    base, ids, betas = copies(n, weights), np.zeros(n, int), LONG_BETAS
    want = long_twin(n, k, floats, weights)
    one, two = (
        cm.tilt(cm.Scores(scores, prompt_ids=ids), None, betas, values, pareto_k=False, n_threads=threads, **base)
        for threads in (1, 2)
    )
    for name in EXACT:
        np.testing.assert_allclose(getattr(one, name), want[name], rtol=1e-5, err_msg=name)
    ratio = scores.std(axis=0)[:, None] / betas
    unit = (np.minimum(1, ratio) * (1 + ratio))[..., None]
    assert (np.abs(one.win_rate - want["win_rate"]) <= 1e-6 * unit).all()
    assert (np.abs(one.gain - want["gain"]) <= 1e-6 * unit * values.std(axis=0)).all()
    np.testing.assert_allclose(one.second_order, want["second_order"], rtol=1e-4, atol=1e-8)
    for name in (*EXACT, "gain", "win_rate", "chi2", "second_order"):
        assert getattr(one, name).tobytes() == getattr(two, name).tobytes(), name


PIECES = np.array([5000, 90, 3000, 200, 700, 8192, 64, 65, 1025, 400, 385, 384, 2047, 17, 9000, 66])


def test_prompts_that_blocks_and_leaves_divide_agree_with_the_twin_whatever_the_threads(isa: str) -> None:
    """Prompts of all lengths from 17 to 9,000 across the borders of blocks (1,024 rows) and leaves (8,192)."""
    ids = np.repeat(np.arange(len(PIECES)), PIECES)
    scores, values = long_world(len(ids), 3, False)
    want = cm.reference.tilt(scores, LONG_BETAS, values, ids)
    one, two = (
        cm.tilt(cm.Scores(scores, prompt_ids=ids), None, LONG_BETAS, values, pareto_k=False, n_threads=threads)
        for threads in (1, 2)
    )
    for name in EXACT:
        np.testing.assert_allclose(getattr(one, name), want[name], rtol=1e-5, err_msg=name)
    ratio = scores.std(axis=0)[:, None] / LONG_BETAS
    unit = (np.minimum(1, ratio) * (1 + ratio))[..., None]
    assert (np.abs(one.gain - want["gain"]) <= 1e-6 * unit * values.std(axis=0)).all()
    assert (np.abs(one.gain_se - want["gain_se"]) <= 2e-6 * unit * values.std(axis=0)).all()
    assert (np.abs(one.win_rate - want["win_rate"]) <= 1e-6 * unit).all()
    for name in (*EXACT, "gain", "gain_se", "win_rate", "chi2", "second_order"):
        assert getattr(one, name).tobytes() == getattr(two, name).tobytes(), name


@pytest.mark.parametrize("sizes", [np.array([9000, 20, 9000]), PIECES])
def test_rows_used_where_they_lie_and_rows_gathered_give_the_same_bits(sizes: np.ndarray) -> None:
    ids = np.repeat(np.arange(len(sizes)), sizes)
    scores, values = long_world(sizes.sum(), 3, False)
    turn = np.lexsort((ids, np.concatenate([np.arange(n) for n in sizes])))  # a row of each prompt in turn
    straight, gathered = (
        cm.tilt(cm.Scores(scores[rows], prompt_ids=ids[rows]), None, [1.0, 9.0], values[rows])
        for rows in (np.arange(len(ids)), turn)
    )
    for name in ("gain", "kl", "win_rate", "gain_se", "first_order"):
        assert getattr(straight, name).tobytes() == getattr(gathered, name).tobytes(), name


def test_without_extras_gains_and_kl_stay_and_the_rest_is_nan(isa: str) -> None:
    scores, values, ids, _ = world(9, False, False)
    dump = cm.open_dump(scores, prompt_ids=ids, columns={"a": values[:, 0], "b": values[:, 1]})
    whole, bare = (
        cm.scan(dump, cm.stat.Tilt(np.eye(9), ["a", "b"], betas=BETAS, extras=e))[0] for e in (True, False)
    )  # fmt: skip
    for name in (*EXACT, "log_partition", "gain", "baseline"):
        scale = np.abs(getattr(whole, name)).max()
        np.testing.assert_allclose(
            getattr(bare, name), getattr(whole, name), rtol=2e-6, atol=1e-7 * scale, err_msg=name
        )
    for name in ("gain_se", "win_rate", "chi2", "ess", "ess_min", "max_ratio", "first_order", "second_order"):
        assert np.isnan(getattr(bare, name)).all(), name


@pytest.mark.parametrize(("levels", "most"), [(np.geomspace(0.01, 1.0, 16), 6), ([0.1, 0.25, 0.5, 1.0], 6), ([0.5], 6)])
def test_roots_take_a_handful_of_passes(monkeypatch: pytest.MonkeyPatch, levels: Any, most: int) -> None:
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(4096, 8)) * np.geomspace(0.1, 10, 8)
    calls: list[int] = []
    true = roots.kl_at
    monkeypatch.setattr(roots, "kl_at", lambda *a: calls.append(1) or true(*a))  # type: ignore[func-returns-value]
    got = cm.tilt(cm.Scores(scores, prompt_ids=np.arange(4096) // 16), None, kl=levels, pareto_k=False)
    np.testing.assert_allclose(got.kl, np.broadcast_to(levels, got.kl.shape), rtol=1e-6)
    assert len(calls) <= most


def test_roots_look_at_no_level_that_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit of the rows, which a beta of 0 asks for, is looked at only where a level may lie beyond it."""
    rng = np.random.default_rng(1)
    looks: list[np.ndarray] = []
    true = roots.kl_at
    monkeypatch.setattr(roots, "kl_at", lambda c, kept, b: looks.append(b) or true(c, kept, b))  # type: ignore[func-returns-value]
    scores = cm.Scores(rng.normal(size=(4096, 4)), prompt_ids=np.arange(4096) // 16)
    levels = [0.1, 0.25, 0.5, 1.0]
    cm.tilt(scores, None, kl=levels, pareto_k=False)
    assert all((b > 0).all() for b in looks)
    assert [b.shape[1] for b in looks] == sorted((b.shape[1] for b in looks), reverse=True)
    looks.clear()
    with pytest.warns(UserWarning, match="beyond what the rows can reach"):
        got = cm.tilt(scores, None, kl=[0.1, 2.9], pareto_k=False)
    np.testing.assert_allclose(got.kl, [[0.1, np.log(16)]] * 4, rtol=1e-6)
    assert (got.betas[:, 1] == 0).all() and sum((b == 0).any() for b in looks) == 1


def leave_one_out(t: np.ndarray, beta: float) -> tuple[float, float, float, float]:
    """Gain of t and KL of one prompt, and (n - 1) (mean without a row - with all) of both."""

    def of(x: np.ndarray) -> np.ndarray:
        p = np.exp((x - x.max()) / beta)
        p /= p.sum()
        return np.array([p @ (x - x.mean()), p @ np.log(len(x) * p)])

    whole, n = of(t), len(t)
    bias = (n - 1) * (np.mean([of(np.delete(t, i)) for i in range(n)], axis=0) - whole) if n > 1 else np.zeros(2)
    return (*whole, *bias)


@pytest.mark.parametrize(("k", "betas"), [(2, 1), (1, 9), (3, 4), (11, 1)])
def test_the_jackknife_is_that_of_leaving_each_row_out(isa: str, k: int, betas: int) -> None:
    """As many tilts as lanes, fewer and more, one direction or several in a vector."""
    rng = np.random.default_rng(k)
    ids = np.repeat(np.arange(30), rng.integers(1, 9, 30))
    t = rng.normal(size=(len(ids), k)) * np.geomspace(1e-3, 10, k) + 3.0
    at = np.geomspace(2.0, 0.3, betas) * np.geomspace(1e-3, 10, k)[:, None]
    call = prepare(np.zeros((len(ids), 1), np.float32), cm.Scores(t), prompt_ids=ids)
    got = roots.jackknife(call, t, at, kl_too=True)
    plain = roots.jackknife(call, t, at)
    assert not plain["kl_bias"].any()
    for i, b in np.ndindex(k, betas):
        each = np.array([leave_one_out(t[ids == x, i], at[i, b]) for x in range(30)])
        want = each.mean(axis=0)
        se = np.sqrt(30 / 29 * ((each[:, 0] - want[0]) ** 2).sum()) / 30
        for name, value in zip(("gain", "kl", "bias", "kl_bias", "se"), (*want, se), strict=True):
            np.testing.assert_allclose(got[name][i, b], value, rtol=1e-9, err_msg=name)
        np.testing.assert_allclose(plain["bias"][i, b], want[2], rtol=1e-9)


@pytest.mark.parametrize("n", [4096, 4097])
def test_the_jackknife_of_a_long_prompt_forms_its_weights_twice(isa: str, n: int) -> None:
    t = np.random.default_rng(n).normal(size=(n, 1))
    call = prepare(np.zeros((n, 1), np.float32), cm.Scores(t), prompt_ids=np.zeros(n, int))
    got = roots.jackknife(call, t, np.array([[0.7]]), kl_too=True)
    c = t[:, 0] - t.mean()
    p = np.exp(c / 0.7)
    p /= p.sum()
    gain, kl = p @ c, p @ np.log(n * p)
    gains = (gain - p * c) / (1 - p) - (c.sum() - c) / (n - 1)
    kls = (kl - p * np.log(n * p)) / (1 - p) + np.log((1 - 1 / n) / (1 - p))
    np.testing.assert_allclose(got["bias"].item(), (n - 1) * (gains.mean() - gain), rtol=1e-7)
    np.testing.assert_allclose(got["kl_bias"].item(), (n - 1) * (kls.mean() - kl), rtol=1e-7)


def test_roots_of_many_rows_take_three_walks_at_most_over_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sample of prompts says where to look; prompts of another kind at the end of the dump change nothing."""
    rng = np.random.default_rng(0)
    n = 160_000
    scores = rng.normal(size=(n, 2)) * np.array([0.01, 5.0])
    scores[n // 2 :] *= rng.gamma(1.0, size=(n - n // 2, 1))
    walked: list[int] = []
    true = roots.kl_at
    monkeypatch.setattr(roots, "kl_at", lambda c, kept, b: walked.append(len(kept)) or true(c, kept, b))  # type: ignore[func-returns-value]
    for levels in ([0.1, 0.25, 0.5, 1.0], [0.3], np.geomspace(0.01, 1.0, 12)):
        walked.clear()
        got = cm.tilt(cm.Scores(scores, prompt_ids=np.arange(n) // 16), None, kl=levels, pareto_k=False)
        np.testing.assert_allclose(got.kl, np.broadcast_to(levels, got.kl.shape), rtol=1e-6)
        assert walked.count(n) <= 3


def test_a_tilt_walks_its_rows_three_times(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scores with their spread, the tilt with its delete-one biases, and the tails."""
    walks: list[str] = []
    scan, tails = _core.Scan, _core.pareto_tails

    class Counted(scan):  # type: ignore[misc, valid-type]
        def absorb(self, **given: Any) -> None:
            walks.append("scan")
            super().absorb(**given)

    monkeypatch.setattr(_core, "Scan", Counted)
    monkeypatch.setattr(_core, "pareto_tails", lambda *a: walks.append("tails") or tails(*a))  # type: ignore[func-returns-value]
    rng = np.random.default_rng(0)
    rows, u = rng.normal(size=(9000, 7)).astype(np.float32), rng.normal(size=(3, 7))
    values = rows @ u.sum(axis=0)  # gains that change no sign, whose place would be looked for
    cm.tilt(rows, u, [1.0, 0.5], values, prompt_ids=np.arange(9000) // 4)
    assert walks == ["scan", "scan", "tails"]


@pytest.mark.parametrize("n_values", [17, 40, 64, 65])
@pytest.mark.parametrize("rows", [6, 100, 9000])
def test_any_number_of_values_is_tilted_as_by_the_twin(n_values: int, rows: int) -> None:
    """Sixteen at a time enter f32 lanes, up to 64: short prompts side by side, whole ones, one in slices."""
    rng = np.random.default_rng(n_values)
    ids = np.repeat(np.arange(max(2, 60 // rows)), rows)
    scores = rng.normal(size=(len(ids), 3))
    values = rng.normal(size=(len(ids), n_values)) + scores[:, :1] * rng.normal(size=n_values)
    values[:, ::5] = np.round(values[:, ::5])
    betas = [0.7, 5.0]
    want = cm.reference.tilt(scores, betas, values, ids)
    got = cm.tilt(cm.Scores(scores, prompt_ids=ids), None, betas, values, pareto_k=False)
    sd = values.std(axis=0)
    for name, unit in (("gain", sd), ("gain_se", sd), ("win_rate", 1.0)):
        assert (np.abs(getattr(got, name) - want[name]) <= 3e-6 * unit).all(), name
