"""Short prompts side by side, one lane a prompt: counts of values, lengths, weights, what f32 has no room for."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest

import clinometer as cm

BETAS = np.array([1e6, 30.0, 4.0, 1.0, 0.2])  # an odd number: the last has no partner


def lengths(kind: str, rows: int, rng: np.random.Generator) -> np.ndarray:
    """Prompts of about so many rows in all: of one length, or of any up to 64 with a longer one between."""
    if kind != "mixed":
        return np.full(rows // int(kind) + 1, int(kind))
    n = rng.integers(1, 65, rows // 32)
    n[len(n) // 2] = 70
    return n


def world(kind: str, k: int, j: int, rows: int = 700) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng([k, j, len(kind)])
    n = lengths(kind, rows, rng)
    ids = np.repeat(np.arange(len(n)), n)
    scores = rng.normal(size=(len(ids), k))
    values = np.stack([rng.integers(0, 3, len(ids)) + scores[:, 0], *rng.normal(size=(j - 1, len(ids)))], axis=1)
    values[:, -1] = np.round(values[:, -1])  # ties
    return scores, values, ids


def base_of(ids: np.ndarray, weights: bool) -> dict[str, Any]:
    counts = np.random.default_rng(0).integers(1, 5, len(ids)).astype(float)
    return {"base": "counts", "counts": counts} if weights else {}


@cache
def twin(kind: str, k: int, j: int, weights: bool) -> Any:
    scores, values, ids = world(kind, k, j)
    return cm.reference.tilt(scores, BETAS, values, ids, **base_of(ids, weights))


def check(got: Any, want: dict[str, np.ndarray], scores: np.ndarray, values: np.ndarray, name: str) -> None:
    for key in ("kl", "reverse_kl", "log_partition_centred"):
        np.testing.assert_allclose(getattr(got, key), want[key], rtol=1e-5, atol=1e-300, err_msg=f"{name} {key}")
    ratio = scores.std(axis=0)[:, None] / BETAS
    unit = (np.minimum(1, ratio) * (1 + ratio))[..., None] * np.nanstd(values, axis=0)
    assert (np.abs(got.gain - want["gain"]) <= 1e-6 * unit).all(), name
    assert (np.abs(got.gain_se - want["gain_se"]) <= 1.5e-6 * unit).all(), name
    assert (np.abs(got.win_rate - want["win_rate"]) <= 1e-6 * unit / np.nanstd(values, axis=0)).all(), name
    for key in ("chi2", "ess", "ess_min", "max_ratio"):
        np.testing.assert_allclose(getattr(got, key), want[key], rtol=1e-4, err_msg=f"{name} {key}")
    np.testing.assert_allclose(got.second_order, want["second_order"], rtol=1e-4, atol=1e-6, err_msg=name)
    np.testing.assert_allclose(got.baseline, want["baseline"], rtol=1e-12, atol=1e-12, err_msg=name)


@pytest.mark.parametrize(
    ("kind", "k", "j"),
    [
        ("16", 1, 4),
        ("15", 1, 1),
        ("33", 2, 2),
        ("64", 1, 3),
        ("7", 17, 4),
        ("2", 1, 9),
        ("mixed", 3, 4),
        ("mixed", 1, 5),
    ],
)
@pytest.mark.parametrize("weights", [False, True])
def test_groups_agree_with_the_twin(isa: str, kind: str, k: int, j: int, weights: bool) -> None:
    scores, values, ids = world(kind, k, j)
    base = base_of(ids, weights)
    got = cm.tilt(cm.Scores(scores, prompt_ids=ids), None, BETAS, values, pareto_k=False, **base)
    want = twin(kind, k, j, weights)
    check(got, want, scores, values, f"{isa} {kind} {k} {j} {weights}")


def test_what_f32_has_no_room_for_leaves_its_neighbours_alone(isa: str) -> None:
    """Lanes of huge, tiny and far scores and of unlabelled rows, in groups of sixteen whose others are as usual."""
    scores, values, ids = world("16", 1, 2, rows=1500)
    clean = cm.tilt(cm.Scores(scores, prompt_ids=ids), None, BETAS, values, pareto_k=False)
    odd = {3: 1e9, 20: 1e-10, 37: 0.0, 50: 40.0}
    for prompt, size in odd.items():
        scores[ids == prompt] *= size
    values[np.flatnonzero(ids == 60)[3], 0] = np.nan
    got = cm.tilt(cm.Scores(scores, prompt_ids=ids), None, BETAS, values, pareto_k=False)
    want = cm.reference.tilt(scores, BETAS, values, ids)
    check(got, want, scores, values, isa)
    assert not np.array_equal(clean.gain, got.gain)
    one = cm.tilt(cm.Scores(scores[ids == 3], prompt_ids=ids[ids == 3]), None, BETAS, values[ids == 3], pareto_k=False)
    np.testing.assert_allclose(
        one.kl, cm.reference.tilt(scores[ids == 3], BETAS, values[ids == 3], ids[ids == 3])["kl"]
    )


def test_ranks_tell_numbers_apart_that_floats_do_not(isa: str) -> None:
    rng = np.random.default_rng(5)
    ids = np.repeat(np.arange(40), 9)
    scores = rng.normal(size=(len(ids), 1))
    values = 1 + 1e-12 * np.argsort(np.argsort(scores[:, 0]))[:, None]
    got = cm.tilt(cm.Scores(scores, prompt_ids=ids), None, BETAS, values, pareto_k=False)
    want = cm.reference.tilt(scores, BETAS, values, ids)
    np.testing.assert_allclose(got.win_rate, want["win_rate"], atol=2e-6, err_msg=isa)
    assert np.abs(got.win_rate - 0.5).max() > 0.01


@pytest.mark.parametrize("kind", ["16", "5", "mixed"])
def test_bits_do_not_depend_on_threads_or_on_how_rows_come(isa: str, kind: str) -> None:
    scores, values, ids = world(kind, 2, 4, rows=20000)
    u = np.eye(2)
    results = [cm.tilt(cm.Scores(scores, prompt_ids=ids), None, BETAS, values, n_threads=t) for t in (1, 2)]
    dump = cm.open_dump(scores.astype(np.float32), prompt_ids=ids)
    read = [cm.tilt(dump, u, BETAS, values, n_threads=t) for t in (1, 2)]
    for a, b in (results, read):
        for key in ("gain", "gain_se", "kl", "win_rate", "second_order", "ess_min"):
            np.testing.assert_array_equal(getattr(a, key), getattr(b, key), err_msg=f"{isa} {key}")
