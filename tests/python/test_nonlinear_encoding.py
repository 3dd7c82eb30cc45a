"""The nonlinear share of a value: worlds of known correlation ratio, exact kernel ridge, and what must not matter."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest
from scipy import stats

import clinometer as cm
from clinometer import theory
from clinometer.engine.inputs import prepare
from clinometer.engine.population import fold_of
from clinometer.engine.weights import Weights
from clinometer.theory import gauge as _gauge
from clinometer.theory.nested import feature_maker, out_of_fold

pytest.importorskip("sklearn")

G, N, D = 160, 8, 4
IDS = np.repeat(np.arange(G), N)


def _rows(seed: int = 0, topic: float = 1.0) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    return topic * rng.normal(size=(G, D))[IDS] + rng.normal(size=(G * N, D)), rng.normal(size=G * N)


def _encoding(phi: Any, s: Any, **options: Any) -> theory.NonlinearEncoding:
    return theory.nonlinear_encoding(phi, s, **{"prompt_ids": IDS, "n_features": 80, **options})


def test_a_linear_value_gains_nothing() -> None:
    phi, noise = _rows()
    found = _encoding(phi, phi @ [1.0, -1.0, 0.5, 0.0] + noise)
    assert found.linear_ci[0, 0] < 2.25 / 3.25 < found.linear_ci[0, 1]
    assert found.difference_ci[0, 0] <= 0.0 <= found.difference_ci[0, 1] and abs(found.difference[0]) < 0.005


@pytest.mark.parametrize("features", ["fourier", "nystroem"])
@pytest.mark.parametrize(
    ("value", "eta2"),
    [
        (lambda x: x[:, 0] * x[:, 1], 3 / 4),  # within prompts Var = 1 + mu_0^2 + mu_1^2, 3 on average
        (lambda x: x[:, 0] ** 2 / np.sqrt(2), 3 / 4),  # (2 + 4 mu^2)/2
        (lambda x: 1.5 * np.sign(x[:, 0] * x[:, 1]), None),
    ],
)
def test_what_no_linear_judge_sees(value: Any, eta2: float | None, features: str) -> None:
    phi, noise = _rows(1)
    found = _encoding(phi, value(phi) + noise, features=features)
    assert abs(found.linear[0]) < 0.05 and found.difference_ci[0, 0] > 0.2
    assert found.nonlinear_r[0] ** 2 >= found.nonlinear[0] - 1e-12  # R^2 of a prediction is no more than its r^2
    if eta2 is not None:  # from below, and near
        assert found.nonlinear_ci[0, 0] < eta2 and found.nonlinear[0] > 0.85 * eta2


def test_topics_are_no_encoding() -> None:
    phi, noise = _rows(2, topic=3.0)
    mean = np.stack([phi[x == IDS].mean(axis=0) for x in range(G)])[IDS]
    found = _encoding(phi, np.stack([10 * mean[:, 0] ** 2 + noise, mean[:, 0]], axis=1))
    assert abs(found.linear[0]) < 0.03 and abs(found.nonlinear[0]) < 0.03
    assert np.isnan([found.nonlinear[1], found.linear[1], found.difference_ci[1, 0]]).all()  # nothing to encode


@pytest.mark.parametrize("features", ["fourier", "nystroem"])
def test_the_scale_of_a_column_does_not_matter(features: str) -> None:
    phi, noise = _rows(3)
    s = np.sign(phi[:, 0] * phi[:, 1]) + phi[:, 3] + noise
    scale = np.array([1.0, 1.0, 2.0**13, 2.0**-9])
    plain, massive = (_encoding(x, s, features=features) for x in (phi, phi * scale))
    for name in ("linear", "nonlinear", "difference_se", "nonlinear_r"):
        np.testing.assert_allclose(getattr(massive, name), getattr(plain, name), rtol=1e-9)
    assert plain.difference_ci[0, 0] > 0.05


def test_all_rows_as_landmarks_are_exact_kernel_ridge() -> None:
    from sklearn.kernel_ridge import KernelRidge
    from sklearn.linear_model import Ridge
    from sklearn.metrics.pairwise import rbf_kernel

    g, n, alpha, folds = 24, 5, 0.1, 3
    ids, rng = np.repeat(np.arange(g), n), np.random.default_rng(4)
    phi = rng.normal(size=(g * n, 3))
    s = np.sin(2 * phi[:, 0]) * phi[:, 1] + 0.5 * phi[:, 2] + 0.1 * rng.normal(size=g * n)
    found = theory.nonlinear_encoding(
        phi, s, prompt_ids=ids, features="nystroem", n_features=g * n, gammas=[1.0], alphas=[alpha], folds=folds
    )
    assert (found.alpha == alpha).all()
    inside = np.eye(g * n) - (ids[:, None] == ids) / n  # takes prompt means out
    scaled = (phi - phi.mean(axis=0)) / phi.std(axis=0)
    kernel = inside @ rbf_kernel(scaled, gamma=1.0 / 3) @ inside
    y, x, fold = inside @ s, inside @ scaled, np.repeat(fold_of(np.arange(g), folds), n)
    errors = np.zeros((2, g * n))
    for f in range(folds):
        seen, held = fold != f, fold == f
        sd = np.sqrt((x[seen] ** 2).sum(axis=0))
        plain = Ridge(alpha=alpha, fit_intercept=False).fit(x[seen] / sd, y[seen])  # tr/d of unit columns is 1
        left = y[seen] - plain.predict(x[seen] / sd)
        unit = np.trace(kernel[np.ix_(seen, seen)]) / (g * n)  # mean variance of a feature, times m
        curved = KernelRidge(alpha=alpha * unit, kernel="precomputed").fit(kernel[np.ix_(seen, seen)], left)
        first = plain.predict(x[held] / sd)
        second = first + curved.predict(kernel[np.ix_(held, seen)])
        errors[:, held] = (y[held] - first) ** 2, (y[held] - second) ** 2
    want = 1 - errors.sum(axis=1) / (y @ y)
    assert found.linear[0] == pytest.approx(want[0], abs=1e-9)
    assert found.nonlinear[0] == pytest.approx(want[1], abs=1e-6) and want[1] > want[0] + 0.1


def test_a_fold_knows_nothing_of_its_labels() -> None:
    phi, noise = _rows(5)
    s = phi[:, 0] * phi[:, 1] + noise
    call = prepare(phi, None, s, prompt_ids=IDS)
    w, fold = Weights(call.population), call.population.folds(4)
    mine = np.repeat(fold, N) == 2
    make = feature_maker(call.dump, w, "fourier", 40, 0)
    grids = np.array([0.5, 2.0]), np.array([0.01, 1.0, 100.0])
    seen = [
        out_of_fold(call.dump, w, label[:, None], make, *grids, fold, 4)
        for label in (s, np.where(mine, 1e3 * phi[:, 2], s))
    ]
    assert np.array_equal(seen[0][0][:2, mine], seen[1][0][:2, mine])
    assert seen[0][1][2].alpha == seen[1][1][2].alpha and seen[0][1][2].gamma == seen[1][1][2].gamma
    assert not np.array_equal(seen[0][0][:2, ~mine], seen[1][0][:2, ~mine])


def test_blocks_and_order_of_rows_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    phi, noise = _rows(6)
    s = phi[:, 0] * phi[:, 1] + noise
    whole = _encoding(phi, s)
    order = np.random.default_rng(0).permutation(G * N)
    monkeypatch.setattr(_gauge, "BLOCK", 3000)
    for again in (_encoding(phi, s), _encoding(phi[order], s[order], prompt_ids=IDS[order])):
        for name in ("linear", "nonlinear", "nonlinear_se", "linear_r"):
            np.testing.assert_allclose(getattr(again, name), getattr(whole, name), rtol=1e-6)
        assert np.array_equal(again.alpha, whole.alpha) and np.array_equal(again.gamma, whole.gamma)


def test_rows_without_a_label_are_left_out() -> None:
    phi, noise = _rows(7)
    s = phi[:, 0] * phi[:, 1] + noise
    some = np.where((IDS < 100) & (np.arange(G * N) % 4 != 0), s, np.nan)
    found = _encoding(phi, np.stack([s, some, s + 5 * IDS], axis=1))
    kept = ~np.isnan(some)
    alone = _encoding(phi[kept], some[kept], prompt_ids=IDS[kept])
    assert found.n_unlabelled.tolist() == [0, (~kept).sum(), 0]
    assert found.nonlinear[1] == pytest.approx(alone.nonlinear[0], rel=1e-8)
    assert found.difference_se[1] == pytest.approx(alone.difference_se[0], rel=1e-8)
    assert found.nonlinear[2] == pytest.approx(found.nonlinear[0], rel=1e-6)  # a constant in a prompt says nothing


def test_the_linear_part_is_the_fit_of_the_package() -> None:
    phi, noise = _rows(10, topic=0.0)
    s = phi @ [1.0, -1.0, 0.5, 0.0] + 2 * noise
    found = _encoding(phi, s, alphas=[0.3], gammas=[1.0])
    scaled = phi / np.sqrt(cm.moments(phi, prompt_ids=IDS, precision="double").variances)
    want = cm.fit_value_direction(scaled, s, alpha=0.3, prompt_ids=IDS, precision="double").encoding_quality
    assert found.linear[0] == pytest.approx(want.value[0], abs=1e-3)
    assert found.linear_r[0] == pytest.approx(want.r[0], abs=1e-3)
    assert found.linear_se[0] == pytest.approx(want.se[0], rel=0.02)
    assert found.units[0, 0] == pytest.approx(want.units[0], rel=0.02)


@pytest.mark.parametrize("level", [0.8, 0.95])
def test_bounds_are_student_s(level: float) -> None:
    phi, noise = _rows(11)
    found = _encoding(phi, phi[:, 0] * phi[:, 1] + phi[:, 2] + noise, level=level)
    assert found.difference[0] == pytest.approx(found.nonlinear[0] - found.linear[0], abs=1e-12)
    for i, name in enumerate(("linear", "nonlinear", "difference")):
        half = stats.t.ppf(0.5 + level / 2, found.units[0, i] - 1) * getattr(found, f"{name}_se")[0]
        centre = getattr(found, name)[0]
        np.testing.assert_allclose(getattr(found, f"{name}_ci")[0], [centre - half, centre + half])


def test_the_error_is_a_jackknife_s() -> None:
    """Leaving prompts out moves the mean of R^2, fits included, as much as the error says."""
    g, ids = 60, np.repeat(np.arange(60), 6)
    rng = np.random.default_rng(12)
    phi = rng.normal(size=(g * 6, 2))
    s = np.sin(2 * phi[:, 0]) + 0.7 * rng.normal(size=g * 6)  # bounded: no row has much leverage
    options: dict[str, Any] = {"n_features": 40, "gammas": [0.5], "alphas": [0.1], "folds": 4}
    whole = theory.nonlinear_encoding(phi, s, prompt_ids=ids, **options)
    left = []
    for x in range(0, g, 3):
        keep = (ids < x) | (ids >= x + 3)
        left.append(theory.nonlinear_encoding(phi[keep], s[keep], prompt_ids=ids[keep], **options).nonlinear[0])
    jackknife = float(np.sqrt(19 / 20 * ((np.array(left) - np.mean(left)) ** 2).sum()))
    assert 0.7 < whole.nonlinear_se[0] / jackknife < 1.4


def test_clusters_are_the_units_and_the_folds() -> None:
    phi, noise = _rows(9)
    s = phi[:, 0] * phi[:, 1] + noise
    found = _encoding(phi, s, clusters=np.arange(G) // 8)
    assert found.units.max() <= 20.0 and found.difference_ci[0, 0] > 0.3
    one = _encoding(phi[:40], s[:40], prompt_ids=IDS[:40], clusters=np.zeros(5))  # nothing is held out, nothing known
    assert np.isnan(one.nonlinear_se[0])


def test_what_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    phi, noise = _rows(8)
    for options, message in (
        ({"folds": 2}, "folds is 2, wanted at least 3"),
        ({"features": "wavelets"}, "features is 'wavelets', wanted one of fourier, nystroem"),
        ({"n_features": 0}, "n_features is 0"),
        ({"gammas": [1.0, 0.0]}, "gammas is"),
        ({"alphas": []}, "alphas is"),
        ({"level": 1.0}, "level is 1.0"),
        ({"within": False}, "within is False"),
    ):
        with pytest.raises(ValueError, match=message):
            _encoding(phi, noise, **options)
    bare = pytest.warns(UserWarning, match="no row that counts has a label")
    with bare, pytest.raises(ValueError, match="'value1' has no label"):
        _encoding(phi, np.stack([noise, np.full(G * N, np.nan)], axis=1))
    phi[17, 2] = np.nan
    with pytest.raises(cm.DumpError, match="row 17"):
        _encoding(phi, noise)
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(ImportError, match=r"clinometer\[sklearn\]"):
        _encoding(phi, noise)
