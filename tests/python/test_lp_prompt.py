"""cm.lp.prompt and pareto_front: HiGHS, rational arithmetic, caps, NaN, order; fronts by brute force."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

import clinometer as cm
from clinometer import lp, reference

optimize = pytest.importorskip("scipy.optimize")
SEED = 3


def games(values: np.ndarray, ids: np.ndarray, weight: np.ndarray | None = None) -> list[tuple[np.ndarray, np.ndarray]]:
    """(M, w) of each prompt in order of first appearance, by plain loops."""
    order = list(dict.fromkeys(ids.tolist()))
    parts = []
    for x in order:
        rows = np.flatnonzero(ids == x)
        w = np.full(len(rows), 1.0 / len(rows)) if weight is None else weight[rows] / weight[rows].sum()
        parts.append((values[rows] - w @ values[rows], w))
    sd = np.sqrt(np.mean([w @ m**2 for m, w in parts], axis=0))
    return [((m / sd).T, w) for m, w in parts]


def by_highs(m: np.ndarray, caps: np.ndarray) -> float:
    k, n = m.shape
    found = optimize.linprog(
        np.r_[np.zeros(n), -1.0], np.c_[-m, np.ones(k)], np.zeros(k), np.r_[np.ones(n), 0.0][None], [1.0],
        [(0, c) for c in caps] + [(None, None)],
    )  # fmt: skip
    return -found.fun


@pytest.mark.parametrize("k", [1, 2, 3, 4, 5, 8, 17])  # 2, 3, 4 and 8 have loops of their own
@pytest.mark.parametrize("cap", [1.0, 1.5, 2.0, 7.3, None])
def test_margins_are_those_of_highs(k: int, cap: float | None) -> None:
    rng = np.random.default_rng(SEED + k)
    ids = np.repeat(np.arange(24), rng.integers(1, 20, 24))
    values = rng.standard_normal((len(ids), k)) * 10.0 ** rng.uniform(-2, 2, k)
    found = lp.prompt(values, prompt_ids=ids, **({"uncapped": True} if cap is None else {"ratio_cap": cap}))
    assert found.scale == pytest.approx(
        np.sqrt(np.mean([w @ (m.T * found.scale) ** 2 for m, w in games(values, ids)], axis=0))
    )
    for x, (m, w) in enumerate(games(values, ids)):
        caps = np.ones(len(w)) if cap is None else np.minimum(1.0, cap * w)
        assert found.margin[x] == pytest.approx(by_highs(m, caps), abs=1e-9)
        q = found.weights[ids == x]
        assert q.sum() == pytest.approx(1.0) and (q >= 0).all() and (q <= caps * (1 + 1e-15) + 1e-15).all()
        if len(w) > 1:
            assert (m @ q).min() == pytest.approx(found.margin[x], abs=1e-12)
            y = np.nan_to_num(found.dual[x])
            assert y.sum() == pytest.approx(1.0) and (y >= 0).all()
            best = np.sort(-(y @ m))  # the largest of y' M q under the caps bounds t
            order = np.argsort(-(y @ m))
            room = np.clip(1.0 - np.r_[0.0, np.cumsum(caps[order])[:-1]], 0.0, caps[order])
            assert -(best @ room) == pytest.approx(found.margin[x], abs=1e-9)
        assert found.upper[x] - found.lower[x] <= 1e-9 * found.upper[x] + 1e-13


@pytest.mark.parametrize("uncapped", [True, False])
def test_rows_of_no_weight_stay_out(uncapped: bool) -> None:
    rng = np.random.default_rng(SEED)
    ids, values = np.repeat(np.arange(9), 7), rng.standard_normal((63, 3))
    counts = rng.integers(0, 3, 63) * (np.arange(63) % 7 > 0) + (np.arange(63) % 7 == 1)
    found = lp.prompt(values, prompt_ids=ids, base="counts", counts=counts, uncapped=uncapped)
    assert (found.weights[counts == 0] == 0).all()
    for x, (m, w) in enumerate(games(values, ids, counts.astype(float))):
        caps = np.where(w > 0, 1.0 if uncapped else np.minimum(1.0, 2 * w), 0.0)
        assert found.margin[x] == pytest.approx(by_highs(m * found_ratio(values, ids, counts, found), caps), abs=1e-9)


def found_ratio(values: np.ndarray, ids: np.ndarray, counts: np.ndarray, found: lp.PromptResult) -> np.ndarray:
    """Rows over the scale that was used rather than over that of `games`."""
    plain = games(values, ids, counts.astype(float))
    raw = [(values[ids == x] - w @ values[ids == x]).T for x, (_, w) in enumerate(plain)]
    return (np.abs(raw[0]).max(axis=1) / found.scale / np.abs(plain[0][0]).max(axis=1))[:, None]


def test_statuses_and_wendel_dimensions() -> None:
    rng = np.random.default_rng(SEED)
    values, ids = rng.standard_normal((4000, 3)), np.repeat(np.arange(1000), 4)
    assert set(lp.prompt(values, prompt_ids=ids).status) == {"improvable"}  # n > k
    more = rng.standard_normal((4000, 6))
    found = lp.prompt(more, prompt_ids=ids, uncapped=True)
    # k = 6 values in n - 1 = 3 dimensions: 2^-5 (1 + 5 + 10)
    assert (found.status == "improvable").mean() == pytest.approx(0.5, abs=0.07)
    assert not (found.status == "undecided").any()
    assert (found.margin[found.status == "blocked"] == 0).all()
    assert set(lp.prompt(values, prompt_ids=ids, ratio_cap=1).status) == {"blocked"}


def test_margin_grows_with_the_cap_and_small_games_are_exact() -> None:
    rng = np.random.default_rng(SEED)
    values, ids = rng.integers(0, 4, (60, 2)).astype(float), np.repeat(np.arange(12), 5)
    margins = [lp.prompt(values, prompt_ids=ids, ratio_cap=c).margin for c in (1.0, 1.25, 2.0, 4.0, 5.0, 50.0)]
    assert all((b >= a - 1e-15).all() for a, b in pairwise(margins))
    np.testing.assert_allclose(margins[-1], margins[-2])
    for x, (m, w) in enumerate(games(values, ids)):
        if (np.ptp(m, axis=1) > 0).all():
            assert margins[2][x] == pytest.approx(float(reference.prompt_value(m, 2 * w)), abs=1e-12)


def test_constant_values_singletons_and_nan() -> None:
    values = np.array([[1.0, 5.0], [2.0, 5.0], [3.0, 1.0], [np.nan, 1.0], [1.0, 2.0], [0.0, 3.0], [1.0, 1.0]])
    ids = np.array([0, 0, 1, 2, 2, 3, 3])
    found = lp.prompt(values, prompt_ids=ids)
    assert found.status.tolist() == ["improvable", "blocked", "invalid", "blocked"]
    assert np.isnan(found.dual[0]).tolist() == [False, True] and found.dual[0, 0] == 1.0
    assert found.margin[1] == 0 and np.isnan(found.margin[2]) and np.isnan(found.weights[3:5]).all()
    assert found.weights[2] == 1.0 and found.weights[5:].tolist() == [0.5, 0.5]
    assert found.weights[:2].tolist() == [0.0, 1.0]


def test_order_of_prompts_and_threads_change_no_bit() -> None:
    rng = np.random.default_rng(SEED)
    sizes = rng.integers(1, 40, 300)
    ids, values = np.repeat(np.arange(300), sizes), rng.standard_normal((sizes.sum(), 4))
    whole = lp.prompt(values, prompt_ids=ids, n_threads=1)
    again = lp.prompt(values, prompt_ids=ids, n_threads=2)
    np.testing.assert_array_equal(whole.weights, again.weights)
    np.testing.assert_array_equal(whole.dual, again.dual)
    shuffle = rng.permutation(len(ids))
    mixed = lp.prompt(values[shuffle], prompt_ids=ids[shuffle])
    back = {x: i for i, x in enumerate(mixed.prompts.tolist())}
    np.testing.assert_allclose([mixed.margin[back[x]] for x in range(300)], whole.margin, rtol=1e-9, atol=1e-13)


def test_base_weights_and_dumps() -> None:
    rng = np.random.default_rng(SEED)
    ids, values = np.repeat(np.arange(9), 6), rng.standard_normal((54, 2))
    counts = rng.integers(0, 5, 54).astype(float) + (np.arange(54) % 6 == 0)
    found = lp.prompt(values, prompt_ids=ids, base="counts", counts=counts)
    for x, (m, w) in enumerate(games(values, ids, counts)):
        assert found.margin[x] == pytest.approx(by_highs(m, np.minimum(1.0, 2 * w)), abs=1e-9)
    assert (found.weights[counts == 0] == 0).all()
    free = lp.prompt(values, prompt_ids=ids, base="counts", counts=counts, uncapped=True)
    assert (free.weights[counts == 0] == 0).all()
    columns = {"a": values[:, 0], "b": -values[:, 1]}
    dump = cm.open_dump(rng.standard_normal((54, 3)), prompt_ids=ids, columns=columns)
    np.testing.assert_array_equal(lp.prompt(dump, ["a", "-b"]).margin, lp.prompt(values, prompt_ids=ids).margin)


def test_kl_budget_is_the_first_order_of_the_exact_optimum() -> None:
    rng = np.random.default_rng(SEED)
    ids, values = np.repeat(np.arange(20), 12), rng.standard_normal((240, 3))
    small = 1e-6
    found = lp.prompt(values, prompt_ids=ids, kl=small)
    for x, (m, w) in enumerate(games(values, ids)):
        gram = (m * w) @ m.T
        want = optimize.minimize(
            lambda y, gram=gram: y @ gram @ y, np.full(3, 1 / 3), bounds=[(0, 1)] * 3,
            constraints={"type": "eq", "fun": lambda y: y.sum() - 1}, tol=1e-14,
        ).fun  # fmt: skip
        assert found.margin[x] == pytest.approx(np.sqrt(2 * small * want), rel=1e-4)
        q = found.weights[ids == x]
        assert (m @ q).min() == pytest.approx(found.margin[x], rel=0.01)  # attained, to first order
        assert (q * np.log(q / w)).sum() == pytest.approx(small, rel=0.01)
    double = lp.prompt(values, prompt_ids=ids, kl=4 * small)
    np.testing.assert_allclose(double.margin, 2 * found.margin, rtol=1e-12)


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"ratio_cap": 0.5}, "ratio_cap is 0.5"), ({"kl": -1.0}, "kl is -1"),
        ({"kl": 1.0, "uncapped": True}, "at most one"), ({"ratio_cap": float("nan")}, "ratio_cap"),
    ],
)  # fmt: skip
def test_errors(keywords: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        lp.prompt(np.zeros((4, 2)), prompt_ids=[0, 0, 1, 1], **keywords)
    with pytest.raises(ValueError, match="values is None"):
        lp.prompt(cm.open_dump(np.zeros((4, 2)), prompt_ids=[0, 0, 1, 1]))


# ---- fronts


@pytest.mark.parametrize("k", [1, 2, 3, 4, 6])
@pytest.mark.parametrize("n", [0, 1, 2, 33, 400])
def test_front_is_what_brute_force_finds(k: int, n: int) -> None:
    rng = np.random.default_rng(SEED + k)
    for points in (rng.standard_normal((n, k)), rng.integers(0, 4, (n, k)).astype(float)):
        at_least = (points[None] >= points[:, None]).all(axis=2)
        larger = (points[None] > points[:, None]).any(axis=2)
        np.testing.assert_array_equal(lp.pareto_front(points), ~(at_least & larger).any(axis=1))


def test_front_of_many_points_and_threads() -> None:
    rng = np.random.default_rng(SEED)
    points = rng.standard_normal((100_000, 4))
    keep = lp.pareto_front(points, n_threads=1)
    np.testing.assert_array_equal(keep, lp.pareto_front(points, n_threads=2))
    front = points[keep]
    for point in points[~keep][:300]:
        assert (front >= point).all(axis=1).any()
    for point in front[:100]:
        assert not ((points >= point).all(axis=1) & (points > point).any(axis=1)).any()
    with pytest.raises(ValueError, match="points holds nan"):
        lp.pareto_front([[1.0, np.nan]])
