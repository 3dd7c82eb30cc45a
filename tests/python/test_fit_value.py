"""Value directions against scikit-learn, the definitions, and what must hold whatever the rows are."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import r2_score

import clinometer as cm
from clinometer import reference as ref
from clinometer.engine.population import population
from clinometer.fit.quality import curvature_error

Floats = NDArray[np.float64]


class World:
    """Prompts of 1 to 8 rows, topic means, one linear value, one two-valued label."""

    def __init__(self, seed: int, prompts: int, d: int, noise: float = 1.0) -> None:
        rng = np.random.default_rng(seed)
        self.ids = np.repeat(np.arange(prompts) * 7 - 3, rng.integers(1, 9, prompts))
        topic = rng.normal(size=(prompts, d))[(self.ids + 3) // 7]
        self.phi = rng.normal(size=(len(self.ids), d)) * np.linspace(0.5, 2, d) + 2 * topic
        self.u = rng.normal(size=d)
        signal = self.phi @ self.u
        self.s = signal + noise * rng.normal(size=len(self.ids)) + 5 * topic[:, 0]
        centred = signal - np.array([signal[self.ids == x].mean() for x in self.ids])
        self.y = (centred + noise * rng.logistic(size=len(self.ids)) > 0).astype(float)
        self.options: dict[str, Any] = {"prompt_ids": self.ids, "precision": "double"}

    def centred(self, x: Floats) -> Floats:
        return x - np.stack([x[self.ids == i].mean(axis=0) for i in self.ids])

    def weights(self) -> Floats:
        n = np.array([(self.ids == i).sum() for i in self.ids])
        return 1 / n / len(np.unique(self.ids))


@pytest.fixture(scope="module")
def world() -> World:
    return World(0, 90, 5)


def folds(w: World, n: int) -> Floats:
    """Fold of each row."""
    p = population(len(w.ids), w.ids)
    return np.repeat(p.folds(n), p.sizes)


@pytest.mark.parametrize("alpha", [0.0, 0.03, 5.0])
def test_ridge_is_scikit_learn_on_centred_rows(world: World, alpha: float) -> None:
    x, weight = world.centred(world.phi), world.weights()
    unit = np.trace(x.T @ (weight[:, None] * x)) / 5
    want = Ridge(alpha=max(alpha * unit, 1e-14), fit_intercept=False, solver="cholesky")
    want.fit(x, world.centred(world.s), sample_weight=weight)
    fit = cm.fit_value_direction(world.phi, world.s, alpha=alpha, **world.options)
    np.testing.assert_allclose(fit.vector, want.coef_, rtol=1e-9)
    at = folds(world, 5)
    for f in range(5):
        rows = at != f
        xf, wf = x[rows], weight[rows] / weight[rows].sum()
        unit = np.trace(xf.T @ (wf[:, None] * xf)) / 5
        one = Ridge(alpha=max(alpha * unit, 1e-14), fit_intercept=False, solver="cholesky")
        one.fit(xf, world.centred(world.s)[rows], sample_weight=wf)
        np.testing.assert_allclose(fit.fold_vectors[f, 0], one.coef_, rtol=1e-9)


@pytest.mark.parametrize("alpha", [0.0, 0.01, 1.0])
def test_logistic_is_scikit_learn_on_centred_rows(world: World, alpha: float) -> None:
    x, weight = world.centred(world.phi), world.weights()
    unit = np.trace(x.T @ (weight[:, None] * x)) / 5
    want = LogisticRegression(C=1 / max(alpha * unit, 1e-12), tol=1e-12, max_iter=10_000)
    want.fit(x, world.y, sample_weight=weight)
    fit = cm.fit_value_direction(world.phi, world.y, method="logistic", alpha=alpha, pooled=False, **world.options)
    np.testing.assert_allclose(fit.vector, want.coef_[0], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(fit.intercepts, want.intercept_, rtol=1e-5, atol=1e-6)
    assert fit.labels == ("binary",) and fit.alpha[0] == alpha


def test_logistic_gradient_vanishes_on_every_fold(world: World) -> None:
    fit = cm.fit_value_direction(world.phi, world.y, method="logistic", alpha=0.1, pooled=False, **world.options)
    x, at = world.centred(world.phi), folds(world, 5)
    for f in range(5):
        rows = at != f
        w = world.weights()[rows] / world.weights()[rows].sum()
        unit = np.trace(x[rows].T @ (w[:, None] * x[rows])) / 5

        def loss(u: Floats, b: float, rows: Any = rows, w: Floats = w, unit: float = unit) -> float:
            z = x[rows] @ u + b
            return float(w @ (np.logaddexp(0, z) - world.y[rows] * z) + 0.05 * unit * u @ u)

        u = fit.fold_vectors[f, 0]
        best = min((loss(u, b), b) for b in np.linspace(-1, 1, 2001))[1]
        steps = [loss(u + 1e-3 * e, best) - loss(u - 1e-3 * e, best) for e in np.eye(5)]
        assert np.abs(steps).max() / 2e-3 < 1e-4


def test_lda_is_scikit_learn_where_all_rows_are_one_prompt() -> None:
    rng = np.random.default_rng(3)
    y = (rng.random(400) < 0.3).astype(float)
    phi = rng.normal(size=(400, 4)) @ rng.normal(size=(4, 4)) + np.outer(y, [1.0, 0.0, -1.0, 0.5])
    ids = np.arange(400) // 80
    fit = cm.fit_value_direction(
        phi, y, method="lda", alpha=0.0, prompt_ids=ids, within=True, precision="double", pooled=False, folds=2
    )
    x = phi - np.stack([phi[ids == i].mean(axis=0) for i in ids])
    # scikit-learn divides by N - 2 and weighs the classes by their shares: the same Sigma_w up to that factor
    want = LinearDiscriminantAnalysis(solver="lsqr").fit(x, y)
    np.testing.assert_allclose(fit.vector, want.coef_[0], rtol=1e-9)


@pytest.mark.parametrize("method", ["lda", "mean_difference"])
def test_binary_methods_are_their_definitions(world: World, method: Any) -> None:
    fit = cm.fit_value_direction(world.phi, world.y, method=method, alpha=0.0, **world.options)
    want = ref.fit_value_direction(world.phi, world.y, world.ids, method=method)
    np.testing.assert_allclose(fit.vector, want, rtol=1e-8)
    at = folds(world, 5)
    kept = at != 2
    fold = ref.fit_value_direction(world.phi[kept], world.y[kept], world.ids[kept], method=method)
    np.testing.assert_allclose(fit.fold_vectors[2, 0], fold, rtol=1e-8)
    # labels enter by their order alone
    recoded = cm.fit_value_direction(world.phi, 8 - 3 * (1 - world.y), method=method, alpha=0.0, **world.options)
    np.testing.assert_array_equal(recoded.vectors, fit.vectors)


def test_lda_is_parallel_to_ridge_at_any_penalty(world: World) -> None:
    for alpha in (0.0, 0.5, 30.0):
        a, b = (
            cm.fit_value_direction(world.phi, world.y, method=m, alpha=alpha, **world.options).vector
            for m in ("lda", "ridge")
        )
        assert a @ b == pytest.approx(np.linalg.norm(a) * np.linalg.norm(b), rel=1e-12)


@pytest.mark.parametrize("method", ["logistic", "lda", "mean_difference"])
@pytest.mark.parametrize("wrong", ["three", "one"])
def test_two_valued_labels_are_wanted(world: World, method: str, wrong: str) -> None:
    labels = np.arange(len(world.y)) % 3 if wrong == "three" else np.ones(len(world.y))
    with pytest.raises(ValueError, match=f"{method}.*two-valued"):
        cm.fit_value_direction(world.phi, labels.astype(float), method=method, **world.options)


def test_separable_labels_are_refused_without_a_penalty() -> None:
    w = World(1, 30, 3)
    y = (w.centred(w.phi)[:, 0] > 0).astype(float)
    with pytest.raises(ValueError, match="separable"):
        cm.fit_value_direction(w.phi, y, method="logistic", alpha=0.0, **w.options)
    fit = cm.fit_value_direction(w.phi, y, method="logistic", alpha=0.1, **w.options)
    assert np.isfinite(fit.vector).all() and fit.encoding_quality.auc[0] > 0.9


@pytest.mark.parametrize("method", ["ridge", "least_squares", "logistic", "lda", "mean_difference"])
def test_quality_is_that_of_predictions_made_out_of_fold(world: World, method: str) -> None:
    labels = world.y if method in ("logistic", "lda", "mean_difference") else world.s
    fit = cm.fit_value_direction(world.phi, labels, method=method, **world.options)
    at, x, s, weight = folds(world, 5), world.centred(world.phi), world.centred(labels), world.weights()
    t = np.empty(len(at))
    for f in range(5):
        u, seen = fit.fold_vectors[f, 0], at != f
        if method not in ("ridge", "least_squares"):  # the label's scale comes from the rows the fold saw
            z = x[seen] @ u
            u = u * (weight[seen] * z @ s[seen]) / (weight[seen] * z @ z)
        t[~seen] = x[~seen] @ u
    q = fit.encoding_quality
    assert q.value[0] == pytest.approx(1 - weight @ (s - t) ** 2 / (weight @ s**2), rel=1e-9)
    assert q.ci[0, 0] < q.value[0] < q.ci[0, 1]
    assert q.r[0] == pytest.approx(weight @ (s * t) / np.sqrt((weight @ s**2) * (weight @ t**2)), rel=1e-9)
    if method in ("ridge", "least_squares"):
        assert np.isnan(q.auc[0])
        twin = ref.encoding_quality(t, labels, world.ids)
        assert q.value[0] == pytest.approx(twin["value"], rel=1e-9)
    else:
        hit = all_ = 0.0
        for x in np.unique(world.ids):  # pairs of rows of one prompt
            own = world.ids == x
            i, j = np.meshgrid(*[np.flatnonzero(own & (labels == y)) for y in np.unique(labels)])
            pair = weight[i] * weight[j] / weight[own].sum()
            hit, all_ = hit + (pair * (0.5 + 0.5 * np.sign(t[j] - t[i]))).sum(), all_ + pair.sum()
        assert q.auc[0] == pytest.approx(hit / all_, abs=1e-9)
    assert fit.linear_share is q.value


def test_pooled_quality_is_of_directions_fitted_to_all_rows(world: World) -> None:
    fit = cm.fit_value_direction(world.phi, world.s, method="least_squares", folds=2, **world.options)
    at, weight = folds(world, 2), world.weights()
    error = total = 0.0
    for f in range(2):
        x, s, w = world.phi[at != f], world.s[at != f], weight[at != f] / weight[at != f].sum()
        u = np.linalg.lstsq(np.sqrt(w)[:, None] * (x - w @ x), np.sqrt(w) * (s - w @ s), rcond=None)[0]
        x, s, w = world.phi[at == f], world.s[at == f], weight[at == f]
        e = (s - w @ s / w.sum()) - (x - w @ x / w.sum()) @ u
        error, total = error + w @ e**2, total + w @ (s - w @ s / w.sum()) ** 2
    assert fit.pooled_quality is not None
    assert fit.pooled_quality.value[0] == pytest.approx(1 - error / total, rel=1e-9)


def test_topic_makes_pooled_quality_large_where_nothing_is_encoded_within() -> None:
    rng = np.random.default_rng(5)
    ids = np.repeat(np.arange(300), 4)
    topic = rng.normal(size=(300, 3))[ids]
    phi = (topic + 0.5 * rng.normal(size=topic.shape)).astype(np.float32)
    fit = cm.fit_value_direction(phi, topic[:, 0] + 1e-3 * rng.normal(size=1200), prompt_ids=ids)
    assert fit.pooled_quality is not None
    assert fit.pooled_quality.value[0] > 0.6 and abs(fit.encoding_quality.value[0]) < 0.05
    with pytest.warns(UserWarning, match=r"'?topic'? does not vary between responses to the same prompt.*within=False"):
        constant = cm.fit_value_direction(phi, {"topic": topic[:, 0]}, prompt_ids=ids)
    assert np.isnan(constant.encoding_quality.value[0]) and not constant.vectors.any()


@pytest.mark.parametrize("method", ["ridge", "least_squares", "logistic", "lda", "mean_difference"])
def test_a_label_of_whole_prompts_has_no_direction_however_its_mean_rounds(method: str) -> None:
    """Prompts of unlike sizes, whose means are off in the last bit; that rounding once passed a gate as a judge."""
    rng = np.random.default_rng(0)
    ids = np.repeat(np.arange(120), rng.integers(3, 12, 120))
    phi = rng.normal(size=(len(ids), 6)).astype(np.float32)
    topic = np.where(rng.random(120) < 0.5, 0.1, 0.7)[ids]
    with pytest.warns(UserWarning, match="does not vary between responses"):
        fit = cm.fit_value_direction(phi, topic, method=method, prompt_ids=ids)  # type: ignore[arg-type]
    assert not fit.vectors.any() and not fit.fold_vectors.any()
    r = cm.report(phi, constitutions=fit, values={"y": phi[:, 0]}, kl=[0.1], prompt_ids=ids, sections=[])
    assert "moves nothing" in r.verdict()
    with pytest.raises(cm.CheckFailed, match="moves nothing"):
        r.check("y >= 0 at kl=0.1")
    over_all = cm.fit_value_direction(phi, topic + phi[:, 1], method="ridge", prompt_ids=ids, within=False)
    assert over_all.vectors.any()


@pytest.mark.parametrize(("prompts", "d"), [(6, 40), (3, 7), (40, 33)])
def test_fewer_rows_than_columns_and_missing_rank(prompts: int, d: int) -> None:
    w = World(prompts, prompts, d)
    phi = np.concatenate([w.phi, w.phi[:, :2], np.ones((len(w.phi), 1))], axis=1)
    x, weight = w.centred(phi), w.weights()
    root = np.sqrt(weight)[:, None]
    fit = cm.fit_value_direction(phi, w.s, method="least_squares", folds=2, **w.options)
    want = np.linalg.lstsq(root * x, root[:, 0] * w.centred(w.s), rcond=1e-10)[0]
    np.testing.assert_allclose(fit.vector, want, rtol=1e-6, atol=1e-9)
    assert np.isnan(fit.encoding_quality.rho2_debiased[0])
    for method in ("ridge", "logistic", "lda"):
        labels = w.s if method == "ridge" else w.y
        got = cm.fit_value_direction(phi, labels, method=method, folds=2, **w.options)
        assert np.isfinite(got.vectors).all() and np.isfinite(got.fold_vectors).all()


def test_debiased_rho2_is_free_of_the_noise_of_the_fit() -> None:
    rng = np.random.default_rng(0)
    bounds, plain, corrected, inside = [], [], [], 0
    for _ in range(60):
        phi = rng.normal(size=(600, 60))
        s = phi[:, 0] + rng.normal(size=600)  # rho^2 = 1/2
        q = cm.fit_value_direction(
            phi, s, method="least_squares", prompt_ids=np.arange(600) // 6, pooled=False
        ).encoding_quality
        plain.append(q.value[0])
        corrected.append(q.rho2_debiased[0])
        inside += int(q.rho2_ci[0, 0] < 0.5 < q.rho2_ci[0, 1])
        bounds.append(q.ci[0])
    assert np.mean(plain) < 0.46
    assert abs(np.mean(corrected) - 0.5) < 3.5 * np.std(corrected) / np.sqrt(60)
    own = sum(low < np.mean(plain) < high for low, high in bounds)
    assert inside >= 53 and own >= 53  # 95 % of 60 is 57, less 2.4 binomial errors


def test_the_error_of_the_curvature_is_that_of_a_gaussian_fit() -> None:
    """The sd of e'Be over fits off by e ~ N(0, M), from five fold fits; mean square over many repeats."""
    rng = np.random.default_rng(0)
    d, F = 6, 5
    root, b = rng.normal(size=(d, d)), np.diag(rng.uniform(0.2, 2, d))
    off = rng.normal(size=(200_000, d)) @ root
    want = np.einsum("nd,de,ne->n", off, b, off).var()
    found = []
    for _ in range(4000):
        parts = rng.normal(size=(F, d)) @ root * np.sqrt(F)  # means of fifths: their mean is off by N(0, M)
        without = (parts.sum(axis=0) - parts) / (F - 1)
        found.append(curvature_error(without @ b @ without.T) ** 2)
    assert np.mean(found) == pytest.approx(want, rel=0.12)  # cut at 0, so a little above
    assert curvature_error(np.ones((2, 2))) == 0.0


def test_quality_at_another_level_is_another_t(world: World) -> None:
    q = cm.fit_value_direction(world.phi, world.s, pooled=False, **world.options).encoding_quality
    np.testing.assert_array_equal(q.interval(), q.ci)
    np.testing.assert_array_equal(q.rho2_interval(), q.rho2_ci)
    np.testing.assert_allclose(
        (q.interval(0.8) - q.value[:, None])[0], stats.t.ppf([0.1, 0.9], q.units[0] - 1) * q.se[0], rtol=1e-9
    )


def test_folds_are_of_clusters_where_there_are_some(world: World) -> None:
    groups = np.arange(90) // 3
    fit = cm.fit_value_direction(world.phi, world.s, clusters=groups, **world.options)
    p = population(len(world.ids), world.ids, clusters=groups)
    dealt = p.folds(5)
    for c in range(30):
        assert len(np.unique(dealt[p.cluster == c])) == 1
    rows = np.isin(world.ids, p.ids[dealt != 1])
    x, weight = world.centred(world.phi), world.weights()
    assert fit.alpha[0] >= 0
    unit = np.trace(x[rows].T @ (weight[rows, None] * x[rows])) / weight[rows].sum() / 5
    one = Ridge(alpha=fit.alpha[0] * unit, fit_intercept=False, solver="cholesky")
    one.fit(x[rows], world.centred(world.s)[rows], sample_weight=weight[rows] / weight[rows].sum())
    np.testing.assert_allclose(fit.fold_vectors[1, 0], one.coef_, rtol=1e-8)


def test_gaps_in_labels_leave_their_rows_out(world: World) -> None:
    gaps = world.s.copy()
    gaps[::3] = np.nan
    gaps[world.ids == world.ids[-1]] = np.nan
    both = cm.fit_value_direction(world.phi, np.stack([world.s, gaps], axis=1), alpha=0.1, **world.options)
    known = ~np.isnan(gaps)
    alone = ref.fit_value_direction(world.phi, gaps, world.ids, method="ridge", alpha=0.1)
    np.testing.assert_allclose(both.vectors[1], alone, rtol=1e-9)
    again = cm.fit_value_direction(
        world.phi[known], gaps[known], alpha=0.1, prompt_ids=world.ids[known], precision="double"
    )
    np.testing.assert_allclose(both.fold_vectors[:, 1], again.fold_vectors[:, 0], rtol=1e-9)
    np.testing.assert_allclose(both.encoding_quality.value[1], again.encoding_quality.value[0], rtol=1e-9)


@pytest.mark.parametrize("scale", [1e-290, 1e-30, 1e30, 1e290])
@pytest.mark.parametrize("precision", ["mixed", "double"])
def test_labels_of_any_size(world: World, scale: float, precision: str) -> None:
    options = {"prompt_ids": world.ids, "precision": precision}
    plain = cm.fit_value_direction(world.phi, world.s, **options)
    fit = cm.fit_value_direction(world.phi, world.s * scale, **options)
    np.testing.assert_allclose(fit.vectors / scale, plain.vectors, rtol=1e-4 if precision == "mixed" else 1e-9)
    np.testing.assert_allclose(fit.encoding_quality.value, plain.encoding_quality.value, rtol=1e-4)


# Applied out of fold by itself


def test_prompts_are_recognised_in_a_selection_and_in_other_containers(world: World, tmp_path: Path) -> None:
    dump = cm.open_dump(world.phi, prompt_ids=world.ids, columns={"s": world.s})
    fit = cm.fit_value_direction(dump, "s", alpha=0.1)
    at = folds(world, 5)
    want = np.einsum("nd,nd->n", world.phi, fit.fold_vectors[at, 0])
    keep = np.unique(world.ids)[::2]
    rows = np.isin(world.ids, keep)
    cm.write_dump(tmp_path / "d", world.phi, prompt_ids=world.ids, shard_rows=50)
    for source, mask in (
        (dump, slice(None)),
        (dump.select(prompts=keep), rows),
        (cm.open_dump(tmp_path / "d"), slice(None)),
    ):
        np.testing.assert_allclose(cm.score(source, fit, precision="double")[:, 0], want[mask], rtol=1e-9)
        assert cm.tilt(source, fit, [1.0]).fit_status == ("cross-fitted",)
    order = np.random.default_rng(0).permutation(len(world.ids))  # rows of a prompt in another order: new rows
    mixed = np.argsort(np.unique(world.ids, return_inverse=True)[1][order], kind="stable")
    assert cm.tilt(world.phi[order][mixed] + 1.0, fit, [1.0], prompt_ids=world.ids).fit_status == ("given",)


def test_unseen_prompts_take_the_full_fit(world: World) -> None:
    half = world.ids < 300
    fit = cm.fit_value_direction(world.phi[half], world.s[half], alpha=0.1, prompt_ids=world.ids[half])
    got = cm.score(world.phi, fit, prompt_ids=world.ids, precision="double")[:, 0]
    np.testing.assert_allclose(got[~half], world.phi[~half] @ fit.vector, rtol=1e-9)
    p = population(half.sum(), world.ids[half])
    at = np.repeat(p.folds(5), p.sizes)
    np.testing.assert_allclose(got[half], np.einsum("nd,nd->n", world.phi[half], fit.fold_vectors[at, 0]), rtol=1e-9)


def test_other_prompt_ids_on_the_same_rows_warn(world: World) -> None:
    dump = cm.open_dump(world.phi, prompt_ids=world.ids)
    fit = cm.fit_value_direction(dump, world.s, alpha=0.1)
    with pytest.warns(UserWarning, match="other prompt ids"):
        got = cm.tilt(dump, fit, [1.0], prompt_ids=np.arange(len(world.ids)) // 10)
    assert got.fit_status == ("in-sample",)
    with pytest.warns(UserWarning, match="optimistic"):
        got = cm.tilt(dump, fit.directions(), [1.0])
    assert got.fit_status == ("in-sample",)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message=".* have one response")
        other = cm.tilt(world.phi + 1, fit.directions(), [1.0], prompt_ids=world.ids)
    assert other.fit_status == ("given",)


def test_fits_dealt_differently_share_a_pass(world: World) -> None:
    dump = cm.open_dump(world.phi, prompt_ids=world.ids)
    a = cm.fit_value_direction(dump, world.s, alpha=0.1, folds=3)
    b = cm.fit_value_direction(dump, world.y, alpha=0.1, folds=5)
    both = cm.score(dump, [a, b, cm.Directions(["u"], world.u)], precision="double")
    np.testing.assert_allclose(both[:, :1], cm.score(dump, a, precision="double"), rtol=1e-12)
    np.testing.assert_allclose(both[:, 1:2], cm.score(dump, b, precision="double"), rtol=1e-12)
    np.testing.assert_allclose(both[:, 2], world.phi @ world.u, rtol=1e-9)


def test_saved_fits_are_the_same_bit_for_bit(world: World, tmp_path: Path) -> None:
    dump = cm.open_dump(world.phi, prompt_ids=world.ids, columns={"s": world.s, "y": world.y})
    fit = cm.fit_value_direction(dump, ["s", "y"])
    fit.save(tmp_path / "fit.safetensors")
    again = cm.fit.DirectionFit.load(tmp_path / "fit.safetensors")
    for name, value in fit.to_dict().items():
        if isinstance(value, np.ndarray):
            np.testing.assert_array_equal(getattr(again, name), value)
    np.testing.assert_array_equal(again.encoding_quality.ci, fit.encoding_quality.ci)
    assert (again.names, again.labels, again.method) == (fit.names, fit.labels, fit.method)
    path = str(tmp_path / "fit.safetensors")
    np.testing.assert_array_equal(cm.score(dump, path), cm.score(dump, fit))
    assert cm.tilt(dump, path, [1.0]).fit_status == ("cross-fitted",) * 2


def test_a_damaged_file_is_refused(world: World, tmp_path: Path) -> None:
    fit = cm.fit_value_direction(world.phi, world.s, prompt_ids=world.ids, pooled=False)
    fit.save(tmp_path / "fit")
    raw = (tmp_path / "fit").read_bytes()
    for wrong in (raw[:-8], raw.replace(b"n_pairs", b"n_peers"), raw.replace(b'"vectors"', b'"victors"')):
        (tmp_path / "bad").write_bytes(wrong)
        with pytest.raises(cm.DumpError):
            cm.fit.DirectionFit.load(tmp_path / "bad")
    lies: list[tuple[dict[str, Any], str]] = [
        ({"n_prompts": fit.n_rows + 1}, "prompts of"), ({"alpha": -1 - fit.alpha}, "'alpha'"),
        ({"alpha": fit.alpha * np.nan}, "'alpha'"), ({"intercepts": fit.intercepts * np.nan}, "'intercepts'"),
    ]  # fmt: skip
    for lie, says in lies:
        replace(fit, **lie).save(tmp_path / "bad")
        with pytest.raises(cm.DumpError, match=says):
            cm.fit.DirectionFit.load(tmp_path / "bad")
    cm.Directions(["u"], world.u).save(tmp_path / "u")
    with pytest.raises(cm.DumpError, match="saved fit"):
        cm.fit.DirectionFit.load(tmp_path / "u")


def test_r2_of_all_rows_in_one_prompt_is_scikit_learn() -> None:
    rng = np.random.default_rng(8)
    phi, ids = rng.normal(size=(120, 3)), np.arange(120) // 40
    s = phi[:, 0] + rng.normal(size=120)
    fit = cm.fit_value_direction(phi, s, alpha=0.0, folds=2, prompt_ids=ids, precision="double")
    t = cm.score(phi, fit, prompt_ids=ids, precision="double")[:, 0]
    x, y = (a - np.stack([a[ids == i].mean() for i in ids]) for a in (t, s))
    assert fit.encoding_quality.value[0] == pytest.approx(r2_score(y, x), rel=1e-9)


@pytest.mark.parametrize("d", [1, 7, 33, 200])
@pytest.mark.parametrize("decay", [0.0, 1.0])
def test_penalties_from_one_krylov_space_are_the_factorised_ones(d: int, decay: float) -> None:
    from clinometer.fit.solve import ridge_shifted

    rng = np.random.default_rng(d)
    rows = rng.standard_normal((3 * d + 2, d)) / np.arange(1, d + 1) ** decay
    sigma, c = rows.T @ rows / len(rows), rng.standard_normal((3, d))
    c[1] = 0.0
    ridges = np.geomspace(1e-4, 1e2, 7) * np.trace(sigma) / d
    found, solved = ridge_shifted(sigma, c, ridges)
    want = np.stack([np.linalg.solve(sigma + r * np.eye(d), c.T).T for r in ridges])
    assert solved[2:].all() and (d > 150 or solved.all())
    error = np.linalg.norm((found - want)[solved], axis=-1)
    assert (error <= 1e-7 * np.linalg.norm(want[solved], axis=-1) + 1e-300).all() and not found[:, 1].any()


@pytest.mark.parametrize("d", [1, 7, 33, 200])
def test_least_squares_comes_out_of_the_same_space_where_sigma_has_full_rank(d: int) -> None:
    from clinometer.fit.solve import ridge_path_and_plain, ridge_shifted

    rng = np.random.default_rng(d)
    rows = rng.standard_normal((6 * d + 9, d))
    sigma, c = rows.T @ rows / len(rows), rng.standard_normal((2, d))
    ridges = np.geomspace(1e-4, 1e2, 7) * np.trace(sigma) / d
    found, solved = ridge_shifted(sigma, c, ridges, plain=True)
    assert found.shape == (8, 2, d) and solved.all()
    np.testing.assert_allclose(found[-1], np.linalg.solve(sigma, c.T).T, rtol=1e-8, atol=1e-9)
    # one null direction, of which c knows nothing: the small ridges are solved, and least squares is not unique
    null = rng.standard_normal(d)
    null /= np.linalg.norm(null)
    sigma = (
        sigma
        - np.outer(null, sigma @ null)
        - np.outer(sigma @ null, null)
        + (null @ sigma @ null) * np.outer(null, null)
    )
    c = c @ sigma
    found, solved = ridge_shifted(sigma, c, ridges, plain=True)
    assert not solved[-1] and (d == 1 or solved[:-1].all())
    path, plain = ridge_path_and_plain(np.zeros((d, d)), c, np.ones(3), 1e-3)
    assert plain is None and not path.any()


def test_many_penalties_of_a_wide_dump_choose_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    from clinometer.fit import solve

    world = cm.simulate(n_prompts=120, n_responses=6, dim=64, random_state=2)
    plain = cm.fit_value_direction(world, "s", pooled=False)
    monkeypatch.setattr(solve, "FEW", 8)
    again = cm.fit_value_direction(world, "s", pooled=False)
    np.testing.assert_array_equal(plain.alpha, again.alpha)
    np.testing.assert_allclose(again.fold_vectors, plain.fold_vectors, rtol=1e-6, atol=1e-9)
    for name in ("value", "rho2_debiased", "se", "rho2_se"):
        was, now = (getattr(fit.encoding_quality, name) for fit in (plain, again))
        np.testing.assert_allclose(now, was, rtol=1e-6)
        assert np.isfinite(now).all()


def _pooled(world: World, label: Floats) -> tuple[Floats, Floats, Floats]:
    """Weights omega_x w_i of all rows, rows and labels about their one mean."""
    weight = world.weights()
    weight = weight / weight.sum()
    return weight, world.phi - weight @ world.phi, label - weight @ label


@pytest.mark.parametrize("alpha", [0.0, 0.1])
@pytest.mark.parametrize("memory_limit", [0, 1 << 34])
def test_over_all_rows_it_is_the_regression_of_all_rows(world: World, alpha: float, memory_limit: int) -> None:
    options: dict[str, Any] = {**world.options, "within": False, "memory_limit": memory_limit}
    fit = cm.fit_value_direction(world.phi, world.s, alpha=alpha, **options)
    at = folds(world, 5)
    for u, seen in [(fit.vector, at >= 0), *((fit.fold_vectors[f, 0], at != f) for f in range(5))]:
        x, s, w = world.phi[seen], world.s[seen], world.weights()[seen] / world.weights()[seen].sum()
        x, s = x - w @ x, s - w @ s
        sigma = (w[:, None] * x).T @ x
        want = np.linalg.solve(sigma + alpha * np.trace(sigma) / len(u) * np.eye(len(u)), x.T @ (w * s))
        np.testing.assert_allclose(u, want, rtol=1e-8, atol=1e-10)
    assert not fit.within and fit.pooled_quality is fit.encoding_quality and np.isnan(fit.linear_share).all()
    apart = cm.fit_value_direction(world.phi, world.s, alpha=alpha, **(options | {"within": True})).pooled_quality
    assert apart is not None and apart.value == pytest.approx(fit.encoding_quality.value)


def test_binary_methods_over_all_rows(world: World, tmp_path: Path) -> None:
    options: dict[str, Any] = {**world.options, "within": False}
    weight, x, _ = _pooled(world, world.y)
    high, low = weight * world.y, weight * (1 - world.y)
    gap = high @ x / high.sum() - low @ x / low.sum()
    fit = cm.fit_value_direction(world.phi, world.y, method="mean_difference", **options)
    np.testing.assert_allclose(fit.vector, gap, rtol=1e-8)
    sigma = (weight[:, None] * x).T @ x
    inside = sigma - high.sum() * low.sum() * np.outer(gap, gap)
    lda = cm.fit_value_direction(world.phi, world.y, method="lda", alpha=0, **options)
    np.testing.assert_allclose(lda.vector, np.linalg.solve(inside, gap), rtol=1e-7)
    ridge = 0.1 * np.trace(sigma) / len(gap)
    twin = LogisticRegression(C=1 / ridge, tol=1e-12, max_iter=10_000).fit(world.phi, world.y, sample_weight=weight)
    logistic = cm.fit_value_direction(world.phi, world.y, method="logistic", alpha=0.1, **options)
    np.testing.assert_allclose(logistic.vector, twin.coef_[0], rtol=1e-5, atol=1e-7)
    lda.save(tmp_path / "fit.safetensors")
    assert not cm.fit.DirectionFit.load(tmp_path / "fit.safetensors").within  # type: ignore[attr-defined]


def test_options_that_a_fit_has_no_use_for_are_refused(world: World) -> None:
    for method in ("least_squares", "mean_difference"):
        with pytest.raises(ValueError, match="has no penalty"):
            cm.fit_value_direction(world.phi, world.y, method=method, alpha=0.1, **world.options)
    pairs = np.array([[0, 1]])
    with pytest.raises(ValueError, match="both rows of a pair answer one prompt"):
        cm.fit_preference_direction(world.phi, pairs, [1.0], prompt_ids=world.ids, within=False)
    with pytest.raises(ValueError, match="give them to fit_value_direction"):
        cm.fit_generation_direction(world.phi, world.s, prompt_ids=world.ids, within=False)


def test_auc_is_of_rows_of_one_prompt() -> None:
    """A label that is mostly topic: rows of different prompts say nothing of how its rows are ordered inside them."""
    rng = np.random.default_rng(4)
    ids = np.repeat(np.arange(200), 6)
    phi = rng.normal(size=(1200, 3))
    label = (phi @ [1.0, 1.0, 0.0] + 3 * rng.normal(size=200)[ids] > 0) * 1.0
    q = cm.fit_value_direction(phi, label, method="logistic", prompt_ids=ids).encoding_quality
    assert q.auc[0] > 0.97
    topic = (rng.normal(size=200)[ids] > 0) * 1.0
    with pytest.warns(UserWarning, match="does not vary between responses"):
        flat = cm.fit_value_direction(phi, topic, method="lda", prompt_ids=ids, alpha=1.0)
    assert np.isnan(flat.encoding_quality.auc[0])  # no prompt has both


@pytest.mark.parametrize(("prompts", "rare"), [(10, False), (30, False), (30, True)])
def test_the_interval_of_the_quality_covers_its_mean(prompts: int, rare: bool) -> None:
    """At few prompts, and where few of them hold the rarer label; 2.5 standard errors of 150 draws about 95 %."""
    values, ci, ids = [], [], np.repeat(np.arange(prompts), 12)
    for seed in range(150):
        rng = np.random.default_rng([seed, prompts])
        phi = rng.normal(size=(len(ids), 3)).astype(np.float32)
        s = phi @ np.full(3, 3**-0.5) + rng.normal(size=len(ids))
        label = (s > 2.2) * 1.0 if rare else s
        q = cm.fit_value_direction(
            phi, label, alpha=0.1, prompt_ids=ids + 1000 * seed, pooled=False, n_threads=1
        ).encoding_quality
        values.append(q.value[0])
        ci.append(q.ci[0])
    low, high = np.array(ci).T
    mean = np.mean(values)
    assert 0.905 <= np.mean((low <= mean) & (mean <= high)) <= 1.0
    assert np.median(high - low) < 1.4 * 3.92 * np.std(values)
