"""Gains by prompt taken once give what the public functions give one by one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import clinometer as cm
from clinometer.inference.table import Split, gain_table
from clinometer.inputs import prepare
from clinometer.passes import kept_scores
from clinometer.reporting.summary import within_sd

KL = [0.05, 0.2, 0.6]


def world(base: str, holes: bool, clusters: bool, seed: int = 0, size: int | None = None) -> tuple[Any, dict[str, Any]]:
    """Prompts of 1 to 17 rows, or of `size` each, two judges, two values of which one may lack labels."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 18, 60) if size is None else np.full(60, size)
    ids = np.repeat(np.arange(60), sizes)
    n = len(ids)
    phi = rng.standard_normal((n, 3)) + rng.standard_normal((60, 3))[ids]
    a = phi[:, 0] + rng.standard_normal(n)
    if holes:
        a[rng.random(n) < 0.3] = np.nan
        a[ids == 7] = np.nan
    columns = {
        "a": a, "b": np.round(phi[:, 1] - phi[:, 0]), "one": phi[:, 0] + phi[:, 1], "two": phi[:, 2],
        "logprob": rng.normal(size=n), "count": rng.integers(1, 4, n).astype(float),
        "proposal_logprob": rng.normal(size=n),
    }  # fmt: skip
    options: dict[str, Any] = {"base": base, "precision": "double"}
    if clusters:
        options["clusters"] = np.arange(60) // 3
    return cm.open_dump(phi, prompt_ids=ids, columns=columns), options


@pytest.mark.parametrize("size", [None, 7])
@pytest.mark.parametrize("base", ["sampled", "counts", "logprob", "reweight"])
@pytest.mark.parametrize(("holes", "clusters"), [(False, False), (True, False), (True, True)])
def test_errors_win_rates_and_selection_are_those_of_the_public_functions(
    base: str, holes: bool, clusters: bool, size: int | None
) -> None:
    dump, options = world(base, holes, clusters, size=size)
    found = cm.gain_intervals(dump, ["one", "two"], values=["a", "b"], kl=KL, **options)
    call = prepare(dump, ["one", "two"], ["a", "b"], **options)
    table = gain_table(call, kept_scores(call), found.betas)
    np.testing.assert_allclose(table.se, found.se, rtol=1e-9)
    np.testing.assert_allclose(table.win_rate_se, found.win_rate_se, rtol=1e-9)
    np.testing.assert_allclose(table.effective, found.units, rtol=1e-12)
    gains = (table.units.sum(axis=0) / table.held.sum(axis=0)).reshape(2, len(KL), 2)
    np.testing.assert_allclose(gains, found.gain, rtol=1e-9)
    want = cm.recommend(dump, ["one", "two"], ["a", "b"], kl=KL, splits=50, random_state=3, **options)
    got = Split.of(table, 50, 3).recommendation(call, np.array(KL), within_sd(call), (2, len(KL)))
    assert (got.constitution, got.kl) == (want.constitution, want.kl)
    for name in ("share", "gain", "se", "optimism", "objective"):
        np.testing.assert_allclose(getattr(got, name), getattr(want, name), rtol=1e-8, atol=1e-12, err_msg=name)


def test_many_prompts_are_bucketed_and_blocks_of_betas_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    t = rng.standard_normal((3 * 5000, 1))
    dump = cm.open_dump(t, prompt_ids=np.arange(15000) // 3, columns={"f": t[:, 0] + rng.standard_normal(15000)})
    call = prepare(dump, [[1.0]], ["f"])
    kept, betas = kept_scores(call), np.array([[0.5, 1.0, 2.0]])
    whole = gain_table(call, kept, betas)
    assert len(whole.units) == 4096
    gain = cm.tilt(dump, [[1.0]], betas, ["f"]).gain[0, :, 0]
    np.testing.assert_allclose(whole.units.sum(axis=0)[:, 0], gain, rtol=1e-5)
    monkeypatch.setattr("clinometer.inference.gains.BLOCK", 1)
    again = gain_table(call, kept, betas)
    np.testing.assert_array_equal(whole.units, again.units)
    np.testing.assert_allclose(whole.se, again.se, rtol=1e-13)  # BLAS sums by shape


@pytest.mark.parametrize(("strength", "low", "high"), [(0.0, 0.2, 0.8), (3.0, 0.99, 1.0)])
def test_chance_is_a_half_for_nothing_and_one_for_something(strength: float, low: float, high: float) -> None:
    chances = []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        t = rng.standard_normal(1600)
        f = strength * t + rng.standard_normal(1600)
        dump = cm.open_dump(t[:, None], prompt_ids=np.arange(1600) // 8, columns={"f": f})
        call = prepare(dump, [[1.0]], ["f"])
        table = gain_table(call, kept_scores(call), np.array([[2.0, 1.0]]))
        chances.append(Split.of(table, 100, 0).chance(np.ones(1)))
    assert low <= np.mean(chances) <= high


def test_too_few_units_are_refused() -> None:
    dump = cm.open_dump(np.arange(6.0)[:, None], prompt_ids=[0, 0, 1, 1, 2, 2], columns={"f": np.arange(6.0)})
    call = prepare(dump, [[1.0]], ["f"])
    with pytest.raises(ValueError, match="at least 4"):
        Split.of(gain_table(call, kept_scores(call), np.ones((1, 1))), 10, 0)
