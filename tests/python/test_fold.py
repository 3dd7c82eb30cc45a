"""Fold gives a dump's bits however rows arrive; merge and save agree with one pass."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import clinometer as cm

RNG = np.random.default_rng(3)
SIZES = np.concatenate([RNG.integers(1, 40, 900), [9000], RNG.integers(1, 40, 400)])
IDS = np.repeat(np.arange(len(SIZES))[::-1], SIZES)
PHI = (RNG.normal(size=(len(IDS), 7)) + 1000).astype(np.float32)
VALUE = RNG.normal(size=len(IDS))
U = RNG.normal(size=(3, 7))
BETAS = [0.3, 2.0]


def statistics() -> list[Any]:
    return [cm.stat.Moments(), cm.stat.CovarianceProjection(U), cm.stat.Tilt(U, "v", BETAS)]


def fed(cuts: list[int]) -> cm.Fold:
    fold = cm.Fold(*statistics(), dim=7)
    for a, b in zip([0, *cuts], [*cuts, len(IDS)], strict=True):
        fold.absorb(PHI[a:b], IDS[a:b], v=VALUE[a:b])
    return fold


def arrays(results: list[Any]) -> list[np.ndarray]:
    m, p, t = results
    return [m.mean, m.covariance, p, *(t.arrays[k] for k in sorted(t.arrays))]


@pytest.mark.parametrize("cuts", [[], [1, 5, 9000, 9001], list(range(1000, len(IDS), 1000))])
def test_one_fold_gives_a_dumps_bits(cuts: list[int]) -> None:
    whole = cm.scan(cm.open_dump(PHI, prompt_ids=IDS, columns={"v": VALUE}), *statistics())
    for a, b in zip(arrays(fed(cuts).finish()), arrays(whole), strict=True):
        np.testing.assert_array_equal(a, b)


def test_merge_and_save_equal_one_pass_up_to_rounding(tmp_path: Path) -> None:
    border = int(np.cumsum(SIZES)[500])
    first, second = cm.Fold(*statistics(), dim=7), cm.Fold(*statistics(), dim=7)
    first.absorb(PHI[:border], IDS[:border], v=VALUE[:border])
    second.absorb(PHI[border:], IDS[border:], v=VALUE[border:])
    second.save(tmp_path / "second.fold")
    loaded = cm.Fold(*statistics(), dim=7).load(tmp_path / "second.fold")
    for a, b in zip(arrays(first.merge(loaded).finish()), arrays(fed([]).finish()), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-6, atol=2e-6)


def test_damaged_state_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.fold"
    fed([]).save(path)
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(cm.DumpError, match="damaged"):
        cm.Fold(*statistics(), dim=7).load(path)


def test_a_prompt_that_returns_is_refused() -> None:
    fold = cm.Fold(cm.stat.Moments(), dim=1)
    fold.absorb(np.zeros((2, 1)), [1, 2])
    with pytest.raises(ValueError, match="prompt 1 returns"):
        fold.absorb(np.zeros((1, 1)), [1])


def test_kl_needs_kept_scores() -> None:
    fold = cm.Fold(cm.stat.Tilt(U, "v"), dim=7)
    fold.absorb(PHI[:5], IDS[:5], v=VALUE[:5])
    with pytest.raises(ValueError, match="betas"):
        fold.finish()


@pytest.mark.parametrize(
    "call, match",
    [
        (lambda: cm.Fold(dim=3), "statistics"),
        (lambda: cm.Fold(cm.stat.Moments(), dim=0), "dim"),
        (lambda: cm.Fold(cm.stat.Scores(U), dim=7), "Scores"),
        (lambda: cm.Fold(cm.stat.Moments(), dim=2).absorb(np.zeros((2, 3)), [0, 0]), "phi"),
        (lambda: cm.Fold(cm.stat.Moments(), dim=2).absorb(np.zeros((2, 2)), [0]), "prompt_ids"),
        (lambda: cm.Fold(cm.stat.Moments(), dim=2).finish(), "no rows"),
    ],
)
def test_bad_arguments(call: Any, match: str) -> None:
    with pytest.raises((ValueError, TypeError), match=match):
        call()


def test_a_scan_checks_ddof_as_the_pass_does() -> None:
    dump = cm.open_dump(PHI[:5], prompt_ids=IDS[:5])
    for statistic in (cm.stat.Moments(ddof=3), cm.stat.CovarianceProjection(U, ddof=3)):
        with pytest.raises(ValueError, match="ddof is 3"):
            cm.scan(dump, statistic)


def test_a_first_block_without_a_declared_column_is_refused_and_changes_nothing() -> None:
    fold = cm.Fold(cm.stat.Tilt([[1.0, 0.0]], "y", betas=[1.0]), dim=2)
    phi, y = np.arange(8.0).reshape(4, 2), np.array([0.0, 1.0, 2.0, 5.0])
    with pytest.raises(ValueError, match="no column 'y'"):
        fold.absorb(phi, [0, 0, 1, 1])
    fold.absorb(phi, [0, 0, 1, 1], y=y)
    want = cm.tilt(phi, [[1.0, 0.0]], [1.0], y, prompt_ids=[0, 0, 1, 1]).gain
    assert fold.n_rows == 4 and (fold.finish()[0].gain == want).all()


def test_a_saved_fold_of_other_directions_or_values_is_refused(tmp_path: Path) -> None:
    """Past a leaf of rows its sums would go on under another name; whatever had waited came out right."""
    rng = np.random.default_rng(0)
    phi, ids, good = rng.normal(size=(12000, 4)), np.arange(12000) // 8, rng.normal(size=12000)
    columns, u = {"good": good, "bad": -good}, np.eye(4)[:1]

    def fold(directions: Any, values: Any) -> Any:
        return cm.Fold(cm.stat.Tilt(directions, values, betas=[2.0]), cm.stat.Moments(), dim=4)

    begun = fold(u, "good")
    begun.absorb(phi[:10000], ids[:10000], **{n: c[:10000] for n, c in columns.items()})
    begun.save(tmp_path / "state")
    for directions, values, said in (
        (-u, "good", "other directions"), (np.eye(4)[1:2], "good", "other directions"),
        (u, "bad", r"the values \['good'\], not \['bad'\]"), (u, "-good", r"not \['-good'\]"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=said):
            fold(directions, values).load(tmp_path / "state")
    again = fold(cm.Directions(["u"], u), ["good"]).load(tmp_path / "state")
    for one in (begun, again):
        one.absorb(phi[10000:], ids[10000:], **{n: c[10000:] for n, c in columns.items()})
    np.testing.assert_array_equal(begun.finish()[0].gain, again.finish()[0].gain)
