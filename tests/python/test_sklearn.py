"""The scikit-learn estimator: scikit-learn's own checks, and equality with the function it wraps."""

from __future__ import annotations

import pickle
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

import clinometer as cm

pytest.importorskip("sklearn")
import sklearn
from sklearn.base import clone, is_regressor
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import GroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from clinometer.sklearn import ValueProbe

G, N, D = 30, 6, 4


@parametrize_with_checks([ValueProbe(), ValueProbe(method="least_squares", n_threads=1)])  # type: ignore[misc]
def test_what_scikit_learn_asks_of_estimators(estimator: Any, check: Any) -> None:
    check(estimator)


@pytest.fixture(scope="module")
def rows() -> tuple[Any, Any, Any]:
    rng = np.random.default_rng(0)
    ids = np.repeat(np.arange(G), N)
    X = rng.normal(size=(G * N, D)) + 5 * rng.normal(size=(G, D))[ids]
    y = X @ [1.0, -1.0, 0.5, 0.0] + 10 * rng.normal(size=G)[ids] + 0.3 * rng.normal(size=G * N)
    return X, y, ids


def test_it_is_the_fit_of_the_package(rows: Any) -> None:
    X, y, ids = rows
    probe = ValueProbe(alpha=0.1, folds=3).fit(X, y, groups=ids)
    want = cm.fit_value_direction(X, y, alpha=0.1, folds=3, prompt_ids=ids, precision="double")
    assert np.array_equal(probe.coef_, want.vector) and probe.alpha_ == 0.1 and probe.n_features_in_ == D
    assert np.array_equal(probe.direction_fit_.encoding_quality.value, want.encoding_quality.value)
    assert probe.predict(X).mean() == pytest.approx(y.mean())
    again = pickle.loads(pickle.dumps(probe))
    assert np.array_equal(again.predict(X), probe.predict(X))
    assert is_regressor(probe) and clone(probe).get_params() == probe.get_params()


def test_groups_take_the_prompts_out(rows: Any) -> None:
    X, y, ids = rows
    probe = ValueProbe(method="least_squares").fit(X, y, groups=ids)
    centred = [a - np.stack([a[ids == g].mean(axis=0) for g in range(G)])[ids] for a in (X, y)]
    assert probe.coef_ == pytest.approx(LinearRegression().fit(*centred).coef_)
    residual = centred[1] - centred[0] @ probe.coef_
    assert probe.score(X, y, groups=ids) == pytest.approx(1 - (residual**2).sum() / (centred[1] ** 2).sum())
    weight = np.random.default_rng(1).integers(1, 4, G * N)
    copies = np.repeat(np.arange(G * N), weight)
    assert probe.score(X, y, weight, groups=ids) == pytest.approx(probe.score(X[copies], y[copies], groups=ids[copies]))
    assert probe.score(X, y, groups=ids) > 0.8 > probe.score(X, y)  # the prompts' own level is not to be had


def test_without_groups_it_is_a_regression_over_all_rows(rows: Any) -> None:
    X, y, _ = rows
    probe = ValueProbe(method="least_squares", folds=2).fit(X, y)
    plain = LinearRegression().fit(X, y)
    assert probe.coef_ == pytest.approx(plain.coef_, rel=1e-9)
    assert probe.score(X, y) == pytest.approx(plain.score(X, y), rel=1e-9)
    assert not probe.direction_fit_.within


def test_in_pipelines_and_cross_validation(rows: Any) -> None:
    X, y, ids = rows
    with sklearn.config_context(enable_metadata_routing=True):
        probe = ValueProbe(folds=3).set_fit_request(groups=True).set_score_request(groups=True)
        steps = make_pipeline(StandardScaler(), probe)
        scores = cross_val_score(steps, X, y, params={"groups": ids}, cv=GroupKFold(3))
    assert scores.shape == (3,) and scores.min() > 0.8


def test_mistakes_are_named(rows: Any) -> None:
    X, y, ids = rows
    with pytest.raises(ValueError, match="groups has 3 entries but X has 180 rows"):
        ValueProbe().fit(X, y, groups=ids[:3])
    with pytest.raises(ValueError, match="method is 'lasso'"):
        ValueProbe(method="lasso").fit(X, y)
    with pytest.raises(ValueError, match="alpha is -1"):
        ValueProbe(alpha=-1).fit(X, y)
    with pytest.raises(ValueError, match="groups has 3 entries but y has 180"):
        ValueProbe().fit(X, y).score(X, y, groups=ids[:3])


def test_the_package_does_not_import_it_and_says_what_is_missing() -> None:
    program = (
        "import sys; import numpy as np, clinometer as cm\n"
        "x = np.eye(2)\ncm.fit_value_direction(np.eye(8), x[:, [0]].repeat(4), prompt_ids=np.arange(8) // 2, folds=2)\n"
        "assert 'sklearn' not in sys.modules\nsys.modules['sklearn'] = None\n"
        "try:\n    import clinometer.sklearn\nexcept ImportError as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert "pip install 'clinometer[sklearn]'" in done.stdout, done.stderr
