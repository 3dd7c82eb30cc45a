"""Scores net of columns: what any smooth curve of length explains is gone, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import clinometer as cm
from clinometer.engine.adjusting import Adjustment, net_of
from clinometer.engine.inputs import prepare

Curve = Callable[[Any], Any]
CURVES: dict[str, Curve] = {
    "identity": lambda z: z, "log": np.log, "square root": np.sqrt, "saturating": lambda z: z / (z + 300),
    "reversed": lambda z: -np.log(z),
}  # fmt: skip


def world(seed: int, prompts: int, n: int) -> tuple[Any, Any]:
    """Ids and lengths with heavy tails, whose level differs by prompt."""
    rng = np.random.default_rng(seed)
    ids = np.repeat(np.arange(prompts), n)
    level = 5.7 + 0.5 * rng.normal(size=prompts)[ids] + 0.5 * rng.standard_t(4, size=len(ids))
    return ids, np.round(np.exp(level)).clip(1, 1e5)


def inside(x: Any, ids: Any) -> Any:
    x = x - (np.bincount(ids, x) / np.bincount(ids))[ids]
    return x / x.std()


def left(score: Any, ids: Any, length: Any, value: Any, adjust: Any = None) -> float:
    """Correlation inside prompts of value and net score, over that of value and score."""
    dump = cm.Scores(score, prompt_ids=ids)
    net = cm.tilt(dump, None, [1e6], value, adjust=length if adjust is None else adjust, pareto_k=False)
    whole = cm.tilt(dump, None, [1e6], value, pareto_k=False)
    return float(np.abs(net.gain / net.kl**0.5).item() / np.abs(whole.gain / whole.kl**0.5).item())


@pytest.mark.parametrize("name", CURVES)
@pytest.mark.parametrize(("prompts", "n"), [(300, 5), (100, 16), (30, 64)])
def test_a_judge_of_length_keeps_nothing_net_of_length(name: str, prompts: int, n: int) -> None:
    """Judge and value are one curve of length, the judge with as much noise; a line keeps up to nine tenths of it."""
    ids, length = world(0, prompts, n)
    value = inside(CURVES[name](length), ids)
    judge = value + np.random.default_rng(1).normal(size=len(ids))
    assert left(judge, ids, length, value) < 0.12
    if name in ("log", "saturating"):
        assert left(judge, ids, length, value, cm.inference.Adjust(length, method="linear")) > 0.3


def test_what_is_not_length_stays() -> None:
    ids, length = world(2, 200, 8)
    rng = np.random.default_rng(3)
    quality = rng.normal(size=len(ids))
    judge = quality + inside(np.log(length), ids)
    found = cm.tilt(cm.Scores(judge, prompt_ids=ids), None, [1.0], quality, adjust=length)
    share = 1 / (1 + 7 / 8)  # of length in the variance inside prompts, where quality has 7/8
    assert found.adjusted_r2 == pytest.approx([share], abs=0.03)
    # quality is a larger share of what is left
    assert found.adjusted_gone == pytest.approx(np.array([[1 - (1 - share) ** -0.5]]), abs=0.05)


@pytest.mark.parametrize("prompts", [2, 5, 20])
def test_few_prompts_are_not_fitted_away(prompts: int) -> None:
    """A judge that has nothing to do with length keeps its gain; in sample, curves would take their share."""
    kept, r2 = [], []
    for seed in range(30):
        ids, length = world(seed, prompts, 6)
        judge = np.random.default_rng(100 + seed).normal(size=len(ids))
        scores = cm.Scores(judge, prompt_ids=ids)
        found = cm.tilt(scores, None, [1e6], judge, adjust=length, pareto_k=False)
        kept.append(float(np.squeeze(found.gain / cm.tilt(scores, None, [1e6], judge, pareto_k=False).gain)))
        r2.append(float(found.adjusted_r2[0]))
    assert np.median(r2) < 0.08 and np.median(kept) > 0.85


@pytest.mark.parametrize("case", ["sampled", "pooled", "weights", "clusters", "one prompt", "negative", "few"])
def test_the_twin_finds_the_same(case: str) -> None:
    prompts, n = (1, 200) if case == "one prompt" else (12, 4) if case == "few" else (60, 9)
    ids, length = world(4, prompts, n)
    column = length - 300 if case == "negative" else length
    rng = np.random.default_rng(5)
    scores = rng.normal(size=(len(ids), 2)) + inside(np.log(length), ids)[:, None]
    options: dict[str, Any] = {"within": case != "pooled"}
    if case == "weights":
        options |= {"base": "reweight", "logprobs": rng.normal(size=len(ids)), "proposal_logprobs": np.zeros(len(ids))}
        options["prompt_weights"] = rng.uniform(size=prompts)
    if case == "clusters":
        options["clusters"] = np.arange(prompts) // 3
    call = prepare(np.zeros((len(ids), 1), np.float32), cm.Scores(scores), prompt_ids=ids, **options)
    by = Adjustment.of(call, column)
    fold = np.zeros(len(ids), np.int64)
    for at, rows in enumerate(by.rows):
        fold[rows] = at
    if case == "clusters":
        assert all(len(np.unique(fold[ids // 3 == c])) == 1 for c in range(prompts // 3))
    free = len(ids) - (1 if case == "pooled" else prompts)
    knots = 3 if free < 100 else 5 if free < 400 else 7
    want = cm.reference.within_residual(scores, column, ids, folds=fold, knots=knots, **options)
    np.testing.assert_allclose(by.centred(net_of(call, scores, column).kept), want, atol=1e-7)
    straight = cm.inference.Adjust(column, method="linear")
    want = cm.reference.within_residual(scores, column, ids, **options)
    np.testing.assert_allclose(by.centred(net_of(call, scores, straight).kept), want, atol=1e-9)


@pytest.mark.parametrize("within", [True, False])
def test_net_scores_are_linear_in_scores_and_transposed_is_their_adjoint(within: bool) -> None:
    ids, length = world(6, 40, 6)
    rng = np.random.default_rng(7)
    call = prepare(np.zeros((240, 1), np.float32), cm.Scores(np.zeros(240)), prompt_ids=ids, within=within)
    by, x, slopes = (
        Adjustment.of(call, [length, rng.normal(size=(240, 2))]),
        rng.normal(size=(240, 3)),
        rng.normal(size=(240, 3)),
    )
    np.testing.assert_allclose((by.net(x) * slopes).sum(axis=0), (x * by.transposed(slopes)).sum(axis=0), atol=1e-10)
    np.testing.assert_allclose(by.net(x + 2 * slopes), by.net(x) + 2 * by.net(slopes), atol=1e-10)


@pytest.mark.parametrize("method", ["spline", "linear"])
def test_net_scores_are_uncorrelated_with_the_columns_whatever_their_units(method: str) -> None:
    ids, length = world(8, 50, 8)
    rng = np.random.default_rng(9)
    t, other = np.log(length) + rng.normal(size=len(ids)), rng.normal(size=len(ids))
    dump = cm.open_dump(np.zeros((len(ids), 1), np.float32), prompt_ids=ids, columns={"n_tokens": length})
    plain = cm.cross_covariance(
        dump, cm.Scores(t), np.column_stack([length, other]), adjust=cm.inference.Adjust(["n_tokens", other], method)
    )
    np.testing.assert_allclose(plain.correlation, 0, atol=1e-7)
    want = cm.tilt(dump, cm.Scores(t), [0.5], other, adjust=cm.inference.Adjust(length, method)).gain
    for columns in (
        "n_tokens",
        length * 2.0**40,
        length[:, None],
        [length, 3 * length],
        np.column_stack([length, -length])[:, :1],
    ):
        got = cm.tilt(dump, cm.Scores(t), [0.5], other, adjust=cm.inference.Adjust(columns, method)).gain
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-7)


def test_order_of_rows_and_scale_of_scores_do_not_matter() -> None:
    ids, length = world(10, 40, 7)
    rng = np.random.default_rng(11)
    t, f = np.log(length) + rng.normal(size=len(ids)), rng.normal(size=len(ids))
    want = cm.tilt(cm.Scores(t, prompt_ids=ids), None, [0.5], f, adjust=length, precision="double")
    turn = rng.permutation(len(ids))
    got = cm.tilt(
        cm.Scores(t[turn], prompt_ids=ids[turn]), None, [0.5], f[turn], adjust=length[turn], precision="double"
    )
    np.testing.assert_allclose(got.gain, want.gain, rtol=1e-6)
    np.testing.assert_allclose(got.adjusted_r2, want.adjusted_r2, rtol=1e-6)
    huge = cm.tilt(
        cm.Scores(t * 2.0**900, prompt_ids=ids), None, [0.5 * 2.0**900], f, adjust=length, precision="double"
    )
    np.testing.assert_allclose(huge.gain, want.gain, rtol=1e-9)


def test_a_score_that_is_a_curve_of_the_column_leaves_nothing_to_tilt_by() -> None:
    ids, length = world(12, 50, 8)
    for score in (length, np.log(length), 5 * length - 7 * np.log(length)):
        found = cm.tilt(cm.Scores(score, prompt_ids=ids), None, None, length, kl=[0.2], adjust=length)
        assert found.gain.item() == 0 and np.isinf(found.betas.item())
        assert found.adjusted_r2.tolist() == [1.0] and found.adjusted_gone.tolist() == [[1.0]]


def test_without_columns_nothing_is_said_of_them() -> None:
    found = cm.tilt(cm.Scores([0.0, 1.0], prompt_ids=[0, 0]), None, [1.0])
    assert found.adjusted_r2 is None and found.adjusted_gone is None


@pytest.mark.parametrize(
    ("adjust", "error", "message"),
    [
        (np.ones(3), ValueError, r"adjust\[0\] has shape \(3,\), wanted \(320,\) or \(320, J\)"),
        ("nope", ValueError, "adjust: no column 'nope'"),
        ([], ValueError, "adjust is empty"),
        ("holes", ValueError, "adjust: 'holes' holds NaN or Inf"),
        (["n_tokens", "topic"], ValueError, "adjust: 'topic' does not vary inside any prompt"),
        (np.array(["a"] * 320), TypeError, r"adjust\[0\] has dtype <U1, wanted numbers"),
        ("words", TypeError, "adjust: column 'words' has dtype"),
    ],
)
def test_errors_name_the_column(adjust: Any, error: type[Exception], message: str) -> None:
    ids, length = world(13, 40, 8)
    columns = {"n_tokens": length, "topic": ids * 1.0, "holes": np.where(ids == 3, np.nan, length)}
    dump = cm.open_dump(np.zeros((320, 1), np.float32), prompt_ids=ids, columns={**columns, "words": ids.astype(str)})
    with pytest.raises(error, match=message):
        cm.tilt(dump, cm.Scores(length), [1.0], adjust=adjust)
    with pytest.raises(ValueError, match="method is 'cubic', wanted one of spline, linear"):
        cm.inference.Adjust("n_tokens", method="cubic")
