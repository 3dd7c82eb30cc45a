"""cm.lp.game: columns measured on a dump are cross-covariances; certificates hold in float64 over all of them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

import clinometer as cm
from clinometer import lp
from clinometer.lp import candidates as module

DIM = 5
RNG = np.random.default_rng(8)
WORLD = cm.simulate(n_prompts=40, n_responses=5, dim=DIM, random_state=1)
VALUES = RNG.standard_normal((len(WORLD), 3)) + cm.score(WORLD, np.eye(DIM)[:3])
U = RNG.standard_normal((333, DIM)).astype(np.float32)


@pytest.mark.parametrize("scale", ["sd", None])
def test_columns_are_cross_covariances(scale: str | None) -> None:
    found = lp.game(WORLD, U, VALUES, scale=scale)
    want = cm.cross_covariance(WORLD, U, VALUES, precision="double")
    table = want.correlation if scale == "sd" else want.value
    assert found.shape == (3, 333) and found.table.dtype == np.float32
    assert np.allclose(found.table, table.T, rtol=0, atol=2e-6 * np.abs(table).max())
    at = np.array([0, 17, 332])
    assert np.allclose(found.columns(at), table.T[:, at], rtol=0, atol=1e-10)
    assert (found.scale_rows == 1).all() == (scale is None)


@pytest.mark.parametrize("memory", [1 << 28, 1000])
def test_answer_is_that_of_the_game_in_float64(memory: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MEMORY", memory)
    monkeypatch.setattr(module, "NEAR", 7)
    given = lp.game(WORLD, U, VALUES)
    assert isinstance(given.table, np.memmap) == (memory == 1000)
    m = given.columns(np.arange(333))
    found, want = lp.ensemble(given), lp.ensemble(m)
    assert found.value == pytest.approx(want.value, rel=1e-9) and found.status == want.status
    assert (m @ found.weights).min() == pytest.approx(found.value, abs=1e-14)
    assert (found.dual @ m).max() <= found.upper
    assert found.upper - found.lower <= 1e-9 * abs(found.value) + 1e-14
    assert np.array_equal(found.scale_columns, given.scale_columns)


def test_directions_may_come_in_blocks() -> None:
    def blocks() -> Iterator[np.ndarray]:
        return (U[a : a + 50] for a in range(0, len(U), 50))

    assert lp.ensemble(lp.game(WORLD, blocks, VALUES)).value == pytest.approx(
        lp.ensemble(lp.game(WORLD, U, VALUES)).value, rel=1e-9
    )


def test_opposed_values_block_and_a_flat_candidate_counts_for_nothing() -> None:
    opposed = np.stack([VALUES[:, 0], -VALUES[:, 0]], axis=1)
    assert lp.ensemble(lp.game(WORLD, U, opposed)).status in ("blocked", "undecided")
    found = lp.game(WORLD, np.vstack([U, np.zeros((1, DIM))]), VALUES)
    assert (found.table[:, -1] == 0).all() and found.scale_columns[-1] == 0


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: lp.game(WORLD, U, VALUES, scale="max"), ValueError, "scale is 'max'"),
        (lambda: lp.game(WORLD, iter([U]), VALUES), TypeError, "read more than once"),
        (lambda: lp.game(WORLD, U[:, :2], VALUES), ValueError, "2 columns"),
        (lambda: lp.game(WORLD, U, np.ones(len(WORLD))), ValueError, "does not vary"),
        (lambda: lp.game(WORLD, U, VALUES, within=False), ValueError, "within is False"),
        (lambda: lp.ensemble(lp.game(WORLD, U, VALUES), scale_rows=np.ones(3)), ValueError, "scaled as it was made"),
    ],
)
def test_errors(call: object, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()  # type: ignore[operator]
