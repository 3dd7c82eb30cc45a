"""Preference directions against scikit-learn, finite differences, and what is known of separable labels."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

import clinometer as cm
from clinometer.engine.inputs import prepare
from clinometer.engine.population import population
from clinometer.fit import bradley_terry, differences
from clinometer.fit.differences import Dense, Streamed, pair_loss_gradient

Floats = NDArray[np.float64]


class World:
    """Prompts of 5 rows, all pairs of neighbours, a judge with and without a taste for the first place."""

    def __init__(self, seed: int, prompts: int, d: int, scale: float = 1.0) -> None:
        rng = np.random.default_rng(seed)
        self.ids = np.repeat(np.arange(prompts), 5)
        self.phi = rng.normal(size=(5 * prompts, d)) + 10 * rng.normal(size=(prompts, d))[self.ids]
        starts = 5 * np.arange(prompts)
        self.pairs = np.concatenate([np.stack([starts + i, starts + (i + 1) % 5], axis=1) for i in range(5)])
        self.u = scale * rng.normal(size=d) / np.sqrt(d)
        self.z = (self.phi[self.pairs[:, 0]] - self.phi[self.pairs[:, 1]]) @ self.u
        self.soft = 1 / (1 + np.exp(-self.z))
        self.hard = (rng.random(len(self.z)) < self.soft).astype(float)
        self.options: dict[str, Any] = {"prompt_ids": self.ids}

    def differences(self) -> Floats:
        return self.phi[self.pairs[:, 0]] - self.phi[self.pairs[:, 1]]

    def fold_of_pairs(self, n: int) -> NDArray[np.int64]:
        return population(len(self.ids), self.ids).folds(n)[self.ids[self.pairs[:, 0]]]


@pytest.fixture(scope="module")
def world() -> World:
    return World(0, 60, 6)


def scikit(x: Floats, p: Floats, ridge: float, intercept: bool) -> LogisticRegression:
    """Soft labels as two weighted copies of each pair; the mean loss makes C = 1/ridge."""
    both, label = np.concatenate([x, x]), np.repeat([1, 0], len(x))
    model = LogisticRegression(C=1 / max(ridge, 1e-13), fit_intercept=intercept, tol=1e-13, max_iter=100_000)
    return model.fit(both, label, sample_weight=np.concatenate([p, 1 - p]) / len(x))


def test_exact_soft_labels_are_recovered(world: World) -> None:
    for phi in (world.phi, world.phi.astype(np.float32)):
        x = phi.astype(float)[world.pairs[:, 0]] - phi.astype(float)[world.pairs[:, 1]]
        soft = 1 / (1 + np.exp(-x @ world.u))
        fit = cm.fit_preference_direction(phi, world.pairs, soft, alpha=0, **world.options)
        np.testing.assert_allclose(fit.vector, world.u, rtol=1e-8, atol=1e-8)
        np.testing.assert_allclose(fit.fold_vectors[:, 0], np.tile(world.u, (5, 1)), rtol=1e-7, atol=1e-7)
    assert fit.labels == ("soft",) and fit.n_pairs == 300
    q = fit.encoding_quality
    assert q.value[0] > 1 - 1e-9 and q.auc[0] == 1 and np.isnan(q.rho2_debiased[0]) and np.isnan(fit.linear_share[0])


@pytest.mark.parametrize("alpha", [0.0, 0.01, 1.0])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("kind", ["soft", "hard"])
def test_fits_are_scikit_learn(world: World, alpha: float, bias: bool, kind: str) -> None:
    z = world.z + 0.7 * bias
    prob = 1 / (1 + np.exp(-z)) if kind == "soft" else world.hard
    x = world.differences()
    fit = cm.fit_preference_direction(
        world.phi, world.pairs, prob, alpha=alpha, position_bias=bias, folds=3, **world.options
    )
    ridge = alpha * (x**2).mean()
    want = scikit(x, prob, ridge, bias)
    np.testing.assert_allclose(fit.vector, want.coef_[0], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(fit.intercepts, want.intercept_ if bias else 0, rtol=1e-5, atol=1e-6)
    at = world.fold_of_pairs(3)
    for f in range(3):
        one = scikit(x[at != f], prob[at != f], ridge, bias)
        np.testing.assert_allclose(fit.fold_vectors[f, 0], one.coef_[0], rtol=1e-5, atol=1e-6)


def test_gradient_is_the_slope_of_the_loss(world: World) -> None:
    rng = np.random.default_rng(1)
    dense = Dense(world.differences())
    u, b = rng.normal(size=(3, 6)), rng.normal(size=3)
    prob, weight = rng.random((300, 3)), rng.random((300, 3))
    _, gradient, slope = pair_loss_gradient(dense, prob, weight, u, b)
    for i in range(6):
        step = 1e-5 * np.eye(6)[i]
        up, down = (pair_loss_gradient(dense, prob, weight, u + s * step, b)[0] for s in (1, -1))
        np.testing.assert_allclose((up - down) / 2e-5, gradient[:, i], rtol=1e-6, atol=1e-6)
    up, down = (pair_loss_gradient(dense, prob, weight, u, b + s * 1e-5)[0] for s in (1, -1))
    np.testing.assert_allclose((up - down) / 2e-5, slope, rtol=1e-6, atol=1e-6)


def test_streamed_differences_give_the_dense_loss(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clinometer.fit.differences.CHUNK_BYTES", 8 * 6 * 7)  # seven pairs a chunk
    streamed = Streamed(prepare(world.phi, prompt_ids=world.ids), world.pairs)
    assert len(list(streamed.chunks())) == 43
    args = (world.soft[:, None], np.ones((300, 1)), world.u[None] * 2, np.array([0.3]))
    for a, b in zip(pair_loss_gradient(streamed, *args), pair_loss_gradient(streamed.kept(), *args), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)
    kept = cm.fit_preference_direction(world.phi, world.pairs, world.hard, **world.options)
    monkeypatch.setattr(differences, "KEPT_BYTES", 0)
    monkeypatch.setattr(bradley_terry, "SQUARE", 3)  # and the diagonal metric
    again = cm.fit_preference_direction(world.phi, world.pairs, world.hard, **world.options)
    np.testing.assert_allclose(again.vectors, kept.vectors, rtol=1e-6)
    assert again.alpha == kept.alpha


@pytest.mark.parametrize("bytes_", [1, 8 * 6 * 20, 1 << 20])
def test_order_is_looked_for_in_a_sample_first(world: World, monkeypatch: pytest.MonkeyPatch, bytes_: int) -> None:
    """Whatever part of the pairs is looked at first: all in order, one out of order, and labels by chance."""
    z = (world.phi[world.pairs[:, 0]].astype(float) - world.phi[world.pairs[:, 1]]) @ world.u
    ordered = (z > 0).astype(float)
    spoilt = np.where(np.arange(len(z)) == np.argmax(z), 0.0, ordered)
    prob = np.stack([ordered, spoilt, (np.random.default_rng(0).random(len(z)) < 0.5).astype(float)], axis=1)
    monkeypatch.setattr(differences, "KEPT_BYTES", 0)
    monkeypatch.setattr(differences, "SAMPLE_BYTES", bytes_)
    with pytest.warns(UserWarning, match="orders them all"):
        fit = cm.fit_preference_direction(world.phi, world.pairs, prob, **(world.options | {"alpha": 0.1}))
    assert fit.labels == ("separable", "hard", "hard")


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("precision", ["mixed", "double"])
@pytest.mark.parametrize(("n", "d", "K"), [(3, 7, 1), (15, 17, 3), (33, 33, 9)])
def test_the_pass_over_pairs_is_the_plain_sum(dtype: type, precision: str, n: int, d: int, K: int) -> None:
    rng = np.random.default_rng(n * d + K)
    phi = (rng.normal(size=(60 * n, d)) + 100).astype(dtype)
    order = rng.permutation(60 * n)  # rows of a prompt lie apart in the dump
    ids = (np.arange(60 * n) // n)[order]
    by_prompt = [np.flatnonzero(ids == g) for g in range(60)]
    pairs = np.array([rng.choice(by_prompt[g], 2, replace=False) for g in rng.integers(0, 60, 200)])
    prob, u, bias = rng.random((200, K)), rng.normal(size=(K, d)) / np.sqrt(d), rng.normal(size=K)
    prob[::9, 0] = np.nan
    statistic = cm.stat.Pairs(u, pairs=pairs, prob=prob, bias=bias)
    (got,) = cm.scan(cm.open_dump(phi, prompt_ids=ids), statistic, precision=precision)
    x = phi.astype(float)[pairs[:, 0]] - phi.astype(float)[pairs[:, 1]]
    z, known = x @ u.T + bias, ~np.isnan(prob)
    p = np.where(known, prob, 0.0)
    loss = np.where(known, np.logaddexp(0, z) - p * z, 0.0).sum(axis=0) / known.sum(axis=0)
    residual = np.where(known, 1 / (1 + np.exp(-z)) - p, 0.0) / known.sum(axis=0)
    allowed = 1e-10 if precision == "double" else 1e-6
    np.testing.assert_allclose(got.loss, loss, rtol=allowed)
    scale = np.abs(residual).sum(axis=0)[:, None] * np.abs(x).max()
    assert (np.abs(got.gradient - residual.T @ x) <= allowed * scale).all()
    np.testing.assert_allclose(got.bias_gradient, residual.sum(axis=0), atol=allowed)


def test_pairs_refuse_what_has_no_gradient() -> None:
    phi, ids = np.eye(4, dtype=np.float32), [0, 0, 1, 1]
    with pytest.raises(ValueError, match="a score column has no gradient"):
        cm.scan(cm.open_dump(phi, prompt_ids=ids), cm.stat.Pairs(cm.Scores(np.ones((4, 1))), pairs=[[0, 1]], prob=[1]))
    with pytest.raises(ValueError, match="prob has 2 columns, wanted 1 or 3"):
        cm.scan(cm.open_dump(phi, prompt_ids=ids), cm.stat.Pairs(np.ones((3, 4)), pairs=[[0, 1]], prob=[[1, 0]]))
    with pytest.raises(ValueError, match="different prompts"):
        cm.scan(cm.open_dump(phi, prompt_ids=ids), cm.stat.Pairs(np.ones((1, 4)), pairs=[[0, 2]], prob=[1]))


@pytest.mark.parametrize("d", [33, 301])
def test_fewer_pairs_than_columns(d: int) -> None:
    w = World(2, 15, d)
    x = w.differences()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fit = cm.fit_preference_direction(w.phi, w.pairs, w.hard, alpha=0.5, folds=2, **w.options)
    want = scikit(x, w.hard, 0.5 * (x**2).mean(), False)
    np.testing.assert_allclose(fit.vector, want.coef_[0], rtol=1e-5, atol=1e-7)


def test_penalty_is_chosen_by_the_log_loss_of_unseen_prompts(world: World) -> None:
    w = World(4, 40, 12, scale=3)
    fit = cm.fit_preference_direction(w.phi, w.pairs, w.hard, folds=4, **w.options)
    x, at = w.differences(), w.fold_of_pairs(4)
    losses = []
    for alpha in 10.0 ** np.arange(-4, 3):
        z = np.empty(len(x))
        for f in range(4):
            z[at == f] = x[at == f] @ scikit(x[at != f], w.hard[at != f], alpha * (x**2).mean(), False).coef_[0]
        losses.append((np.logaddexp(0, z) - w.hard * z).mean())
    assert fit.alpha[0] == pytest.approx(10.0 ** (np.argmin(losses) - 4))


def test_many_constitutions_are_fitted_at_once(world: World) -> None:
    prob = np.stack([world.soft, 1 - world.soft, world.hard], axis=1)
    prob[::4, 1] = np.nan
    fit = cm.fit_preference_direction(world.phi, world.pairs, prob, alpha=0.2, names=["a", "b", "c"], **world.options)
    for k in range(3):
        known = ~np.isnan(prob[:, k])
        x = world.differences()
        unit = (
            (x**2 * np.mean((~np.isnan(prob)) / 1.0, axis=1)[:, None]).sum() / (~np.isnan(prob)).mean(axis=1).sum() / 6
        )
        want = scikit(x[known], prob[known, k], 0.2 * unit, False)
        np.testing.assert_allclose(fit.vectors[k], want.coef_[0], rtol=1e-5, atol=1e-6)
    assert fit.names == ("a", "b", "c") and fit.labels == ("soft", "soft", "hard")
    dump = cm.open_dump(world.phi, prompt_ids=world.ids)
    assert cm.tilt(dump, fit, kl=[0.1]).fit_status == ("cross-fitted",) * 3


def test_separable_labels_are_refused_without_a_penalty_and_flagged_with_one() -> None:
    w = World(5, 40, 3)
    clear = (w.z > 0).astype(float)
    with pytest.raises(ValueError, match="separable"):
        cm.fit_preference_direction(w.phi, w.pairs, clear, alpha=0, **w.options)
    with pytest.warns(UserWarning, match="beta means nothing"):
        fit = cm.fit_preference_direction(w.phi, w.pairs, clear, alpha=1e-3, **w.options)
    assert fit.labels == ("separable",)
    cosine = fit.vector @ w.u / np.linalg.norm(fit.vector) / np.linalg.norm(w.u)
    assert cosine > 0.97 and fit.encoding_quality.auc[0] > 0.9
    q = fit.encoding_quality
    assert np.isfinite(q.value).all() and np.isnan(q.ci).all() and "separable" in fit.quality_status[0]
    soft = cm.fit_preference_direction(w.phi, w.pairs, 1 / (1 + np.exp(-w.z)), alpha=1e-3, **w.options)
    assert np.isfinite(soft.encoding_quality.ci).all() and soft.quality_status == ("ok",)
    gain = cm.inference.gain_intervals(w.phi, fit, values=w.phi[:, 0], kl=[0.1], prompt_ids=w.options["prompt_ids"])
    assert np.isfinite(gain.interval_labels).all()  # at matched KL the scale does not matter
    few = World(6, 8, 50)  # fewer pairs than columns: always separable
    with pytest.raises(ValueError, match="separable"):
        cm.fit_preference_direction(few.phi, few.pairs, few.hard, alpha=0, folds=2, **few.options)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("kind", ["fewer pairs", "made up column", "many"])
def test_without_a_penalty_the_norm_is_the_least(kind: str, bias: bool) -> None:
    """Exact soft labels: the fit is the pseudo-inverse of the differences on the log-odds, for each fold too."""
    w = World(9, 6 if kind == "fewer pairs" else 40, 40 if kind == "fewer pairs" else 6)
    phi = w.phi.copy()
    if kind == "made up column":
        phi[:, 5] = phi[:, 0] - 3 * phi[:, 1]
    x = phi[w.pairs[:, 0]] - phi[w.pairs[:, 1]]
    odds = x @ np.linspace(-0.1, 0.1, x.shape[1]) + 0.2 * bias
    fit = cm.fit_preference_direction(
        phi, w.pairs, 1 / (1 + np.exp(-odds)), alpha=0, folds=3, position_bias=bias, **w.options
    )
    at = w.fold_of_pairs(3)
    for u, seen in [(fit.vector, at >= 0), *((fit.fold_vectors[f, 0], at != f) for f in range(3))]:
        rows, y = x[seen], odds[seen]
        if bias:
            rows, y = rows - rows.mean(axis=0), y - y.mean()
        want = np.linalg.pinv(rows, rcond=1e-9) @ y
        np.testing.assert_allclose(u, want, atol=1e-4 * np.abs(want).max())


def test_pairs_in_order_but_for_ties_have_no_finite_fit() -> None:
    """A column in which only the ordered pairs differ sends the norm to infinity, whatever the other labels are."""
    w = World(11, 40, 3)
    phi = np.concatenate([w.phi, np.zeros((len(w.phi), 1))], axis=1)
    phi[w.pairs[::7, 0], 3] = 1.0
    x = phi[w.pairs[:, 0]] - phi[w.pairs[:, 1]]
    hard = np.where(x[:, 3] != 0, x[:, 3] > 0, w.hard)
    with pytest.raises(ValueError, match="separable"):
        cm.fit_preference_direction(phi, w.pairs, hard, alpha=0, **w.options)
    cm.fit_preference_direction(phi, w.pairs, np.clip(hard, 0.1, 0.9), alpha=0, **w.options)


def test_quality_is_of_pairs_of_unseen_prompts(world: World) -> None:
    fit = cm.fit_preference_direction(world.phi, world.pairs, world.hard, alpha=0.1, **world.options)
    at = world.fold_of_pairs(5)
    z = np.einsum("pd,pd->p", world.differences(), fit.fold_vectors[at, 0])
    guess = 1 / (1 + np.exp(-z))
    q = fit.encoding_quality
    assert q.value[0] == pytest.approx(1 - ((world.hard - guess) ** 2).sum() / (300 * 0.25), rel=1e-9)
    assert q.auc[0] == pytest.approx(((z > 0) == (world.hard > 0.5)).mean())
    assert q.ci[0, 0] < q.value[0] < q.ci[0, 1]


def test_quality_of_few_pairs_carries_what_their_labels_do_to_the_fit() -> None:
    bounds, values = [], []
    for seed in range(80):
        w = World(100 + seed, 40, 8)
        rng = np.random.default_rng(seed)
        keep = rng.permutation(len(w.pairs))[:80]
        z = w.differences()[keep].sum(axis=1) / np.sqrt(8)  # the same judge every time
        hard = (rng.random(80) < 1 / (1 + np.exp(-z))).astype(float)
        fit = cm.fit_preference_direction(w.phi, w.pairs[keep], hard, alpha=0.1, **w.options)
        bounds.append(fit.encoding_quality.ci[0])
        values.append(fit.encoding_quality.value[0])
    inside = sum(low < np.mean(values) < high for low, high in bounds)
    assert inside >= 71  # 95 % of 80 is 76, less 2.6 binomial errors


def test_pairs_of_dropped_prompts_are_left_out(world: World) -> None:
    broken = world.phi.copy()
    broken[7] = np.nan  # prompt 1
    dump = cm.open_dump(broken, prompt_ids=world.ids, nonfinite="drop")
    fit = cm.fit_preference_direction(dump, world.pairs, world.soft, alpha=0)
    np.testing.assert_allclose(fit.vector, world.u, rtol=1e-7, atol=1e-8)
    assert fit.n_pairs == 295 and fit.n_dropped == 1
    with pytest.raises(cm.DumpError, match="pair"):
        cm.fit_preference_direction(broken, world.pairs, world.soft, alpha=0, **world.options)


BAD: list[tuple[str, Any, type[Exception], str]] = [
    ("pairs", np.array([[0, 1], [4, 5]]), ValueError, "pair 1 joins rows 4 and 5 of different prompts"),
    ("pairs", np.array([[0, 1], [2, 2]]), ValueError, "pair 1 joins row 2 with itself"),
    ("pairs", np.array([[0, 1], [2, 300]]), ValueError, "pair 1"),
    ("pairs", np.array([[0, 1], [-1, 2]]), ValueError, "pair 1"),
    ("pairs", np.array([[0.0, 1.0], [2.0, 3.0]]), TypeError, "integers"),
    ("pairs", np.zeros((2, 3), int), ValueError, "pairs has shape"),
    ("pairs", np.zeros((0, 2), int), ValueError, "pairs has shape"),
    ("pairs", "nope", TypeError, "pairs"),
    ("prob", [0.5, 1.5], ValueError, "pair 1"),
    ("prob", [0.5], ValueError, "prob has shape"),
    ("prob", ["a", "b"], TypeError, "prob"),
    ("prob", [np.nan, np.nan], ValueError, "NaN"),
    ("prob", np.zeros((2, 0)), ValueError, "prob has shape"),
    ("alpha", -1.0, ValueError, "alpha"),
    ("alpha", "best", ValueError, "alpha"),
    ("folds", 1, ValueError, "folds"),
    ("folds", 3, ValueError, "2 prompts"),
    ("position_bias", 1, TypeError, "position_bias"),
    ("names", ["a", "b"], ValueError, "names"),
    ("nonsense", 1, TypeError, "nonsense"),
]


@pytest.mark.parametrize(("argument", "value", "error", "message"), BAD)
def test_a_wrong_argument_is_named(world: World, argument: str, value: Any, error: Any, message: str) -> None:
    good: dict[str, Any] = {"pairs": np.array([[0, 1], [5, 6]]), "prob": [0.5, 0.7], "folds": 2}
    with pytest.raises(error, match=message):
        cm.fit_preference_direction(world.phi, **(good | {argument: value}), **world.options)


def test_a_report_takes_pairs(world: World) -> None:
    dump = cm.open_dump(world.phi, prompt_ids=world.ids, columns={"s": world.phi @ world.u})
    made = cm.report(dump, pairs=(world.pairs, world.soft), values=["s"], kl=[0.1], sections=())
    assert made.constitutions == ("pairs",) and made.tilt.fit_status == ("cross-fitted",)
    assert made.tilt.gain[0, 0, 0] > 5 * made.tilt.gain_se[0, 0, 0]
    with pytest.raises(ValueError, match="pairs must be"):
        cm.report(dump, pairs=world.pairs[:3], values=["s"])
