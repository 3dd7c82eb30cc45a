"""Columns far from zero under precision="double": scores keep the digits of their differences inside a prompt."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from test_passes import BASES, BETAS, GAIN, KL, Case, make_case, share

import clinometer as cm
from clinometer import _core
from clinometer.stream.shards import shard

WIDTHS = (1, 3, 7, 15, 17, 33, 257)
N_CASES = 280
LEAF = _core.LEAF_ROWS


def far_case(i: int) -> Case:
    """Case i of N_CASES: float32 and float64, every width and base policy, within and pooled; means of 1e6."""
    dtype = ("float32", "float64")[i // len(WIDTHS) % 2]
    n, k = (2, 3, 7, 16, 33)[i % 5], (1, 3, 9)[i % 3]
    case = make_case(5 + i % 4, n, WIDTHS[i % len(WIDTHS)], k, dtype, BASES[i % 4], i % 8 < 6, "double", True, i)
    return case


def excess(case: Case, want: dict[str, Any]) -> tuple[float, float]:
    """Largest error of KL and of gains in units of what the README allows."""
    got = cm.tilt(case.phi, case.u, BETAS, case.values, pareto_k=False, **case.mine)
    with np.errstate(divide="ignore", invalid="ignore"):
        kl = np.abs(got.kl - want["kl"]) / (KL["double"] * want["kl"])
        unit = GAIN["double"] * share(case, BETAS)[..., None] * case.value_scale()
        gain = np.abs(got.gain - want["gain"]) / unit
    return float(np.nanmax(kl, initial=0.0)), float(np.nanmax(gain, initial=0.0))


@pytest.fixture
def instruction_sets() -> Iterator[list[str]]:
    before = _core.isa()
    yield _core.isa_available()
    _core.isa_select(before)


@pytest.mark.parametrize("every", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_gains_and_kl_stay_within_the_contract_in_every_case(instruction_sets: list[str], every: bool) -> None:
    """A third of the cases, each on one instruction set in turn; in the slow run all on all of them."""
    worst = {isa: np.zeros(2) for isa in instruction_sets}
    for i in range(0, N_CASES, 1 if every else 3):
        case = far_case(i)
        with np.errstate(all="ignore"):  # the twin's own tail index at betas of 1e-2
            want = cm.reference.tilt(case.scores, BETAS, case.values, **case.twin)
        for isa in instruction_sets if every else [instruction_sets[i // 5 % len(instruction_sets)]]:
            _core.isa_select(isa)
            worst[isa] = np.maximum(worst[isa], excess(case, want))
    assert np.max(list(worst.values())) <= 0.2, f"KL and gains are off by {worst} of what is allowed"


def long_rows(sizes: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Rows over several leaves, with prompts that their borders divide, means of 1e6 and drifts of them."""
    rng = np.random.default_rng(len(sizes))
    ids = np.repeat(np.arange(len(sizes)), sizes)
    x = rng.normal(size=(len(ids), 5)) + np.array([1e6, -3e6, 0, 1e6, 2e5]) + (ids[:, None] // 10) * 7.0
    return x, rng.normal(size=(2, 5)), rng.normal(size=len(ids)), ids


DIVIDED = (*(50,) * 300, 7, LEAF + 9, *(110,) * 70, 3 * LEAF)


@pytest.mark.parametrize("within", [True, False])
def test_prompts_that_a_border_divides_lose_nothing(within: bool) -> None:
    x, u, values, ids = long_rows(DIVIDED)
    betas = np.array([1e8, 2.0, 0.3])
    absolute = x.astype(np.longdouble) @ u.astype(np.longdouble).T
    near = (absolute - absolute[0]).astype(np.float64)
    got = cm.tilt(x, u, betas, values, prompt_ids=ids, within=within, precision="double", pareto_k=False)
    want = cm.reference.tilt(near, betas, values, ids, within=within)
    np.testing.assert_allclose(got.kl, want["kl"], rtol=2e-10)
    np.testing.assert_allclose(got.gain, want["gain"], rtol=1e-9, atol=1e-11)
    whole = want["log_partition"] + absolute[0].astype(float)[:, None] / betas
    np.testing.assert_allclose(got.log_partition, whole, rtol=1e-14)


def test_scores_are_those_of_extended_precision_to_their_last_digit() -> None:
    x, u, _, ids = long_rows(DIVIDED)
    for precision, dtype in (("double", np.float64), ("mixed", np.float32)):
        stored = x.astype(dtype)
        exact = stored.astype(np.longdouble) @ u.astype(np.longdouble).T
        for chosen in (ids, None):
            got = cm.score(stored, u, prompt_ids=chosen, precision=precision)
            assert (np.abs(got - exact) <= np.spacing(np.abs(exact).astype(dtype))).all()


@pytest.mark.parametrize("precision", ["mixed", "double"])
def test_tilt_scan_fold_and_shards_give_the_same_bits(precision: str) -> None:
    x, u, values, ids = long_rows(DIVIDED)
    betas = np.array([3.0, 0.5])
    stat = cm.stat.Tilt(u, "v", betas=betas)
    dump = cm.open_dump(x, prompt_ids=ids, columns={"v": values})
    want = cm.tilt(dump, u, betas, "v", precision=precision, n_threads=1, pareto_k=False)
    runs: list[Any] = [cm.scan(dump, stat, precision=precision, n_threads=n)[0] for n in (1, 2)]
    fold = cm.Fold(stat, dim=5, precision=precision)
    for a in range(0, len(x), 7001):
        fold.absorb(x[a : a + 7001], ids[a : a + 7001], v=values[a : a + 7001])
    runs += fold.finish()
    parts = []
    for a, b in ((0, 2 * LEAF), (2 * LEAF, 4 * LEAF), (4 * LEAF, len(x))):
        parts.append(cm.Fold(stat, dim=5, precision=precision, start_row=a))
        parts[-1].absorb(x[a:b], ids[a:b], v=values[a:b])
    runs.append(cm.merge(*parts))
    runs.append(cm.merge(*(shard(dump, i, 3, stat, precision=precision) for i in (1, 2, 3))))
    for got in runs:
        for name in ("kl", "gain", "gain_se", "log_partition", "win_rate", "ess", "first_order"):
            np.testing.assert_array_equal(getattr(got, name), getattr(want, name), err_msg=name)


@pytest.mark.parametrize("fitted", [False, True])
@pytest.mark.parametrize("within", [True, False])
def test_kept_scores_and_their_origins_are_the_absolute_ones(fitted: bool, within: bool) -> None:
    """Prompts inside a leaf, over a border and over several leaves, rows out of order, a judge column in between."""
    from clinometer.engine.inputs import prepare
    from clinometer.engine.passes import absolute_scores, kept_scores, origin_table

    rng = np.random.default_rng(0)
    sizes = np.array([LEAF - 3, 7, 40, 2 * LEAF + 5, *rng.integers(1, 30, 60)])
    ids = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    phi = (rng.normal(size=(len(ids), 3)) + 50).astype(np.float32)
    dump = cm.open_dump(phi, prompt_ids=ids, columns={"judge": rng.normal(size=len(ids)) + 9})
    u: Any = rng.normal(size=(2, 3))
    if fitted:
        u = cm.fit_value_direction(dump, rng.normal(size=(len(ids), 2)) + phi[:, :1], folds=3, pooled=False)
    call = prepare(
        dump, ["judge", cm.Directions(["a", "b"], u) if not fitted else u], within=within, precision="double"
    )
    origins = origin_table(call)
    kept = kept_scores(call, origins)
    want = kept_scores(call, absolute=True)
    np.testing.assert_allclose(absolute_scores(call, kept, origins), want, rtol=1e-12)
    assert (np.abs(kept[:, 1:]).max() < 50) == (within or not fitted)
