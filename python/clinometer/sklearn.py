"""The value probe as a scikit-learn estimator (extra ``sklearn``); nothing else in the package imports this."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

try:
    from sklearn.base import BaseEstimator, RegressorMixin
    from sklearn.metrics import r2_score
    from sklearn.utils.validation import check_is_fitted, column_or_1d, validate_data
except ImportError as error:
    raise ImportError("clinometer.sklearn needs scikit-learn: pip install 'clinometer[sklearn]'") from error

from .engine.population import fold_of

__all__ = ["ValueProbe"]

METHODS = ("ridge", "least_squares")


class ValueProbe(RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """Linear probe of a value inside prompts: `clinometer.fit_value_direction` behind fit and predict.

    s ~ <u, phi> with rows centred prompt by prompt (theory 1.1); quality is out of fold by prompt.

    Parameters
    ----------
    method : "ridge" or "least_squares" (minimum norm)
    alpha : penalty of ridge in units of tr(Sigma)/d, or "cv": the one with the least out-of-fold error; least squares
        has none
    folds : whole prompts are dealt to folds
    precision : "double", or "mixed" for long fits of float32 rows
    n_threads : threads of a fit; None takes the CPUs this process may use

    Attributes
    ----------
    coef_ : (d,) the direction u
    intercept_ : mean of y less <u, mean of X>, so that predictions are of the value itself
    alpha_ : the penalty taken
    direction_fit_ : DirectionFit, with .encoding_quality out of fold
    n_features_in_ : d

    Notes
    -----
    In a pipeline, groups arrive with ``probe.set_fit_request(groups=True)`` under metadata routing.

    Cost: that of `clinometer.fit_value_direction`. Errors: ValueError as there, and before `fit` NotFittedError.

    >>> import clinometer as cm
    >>> from clinometer.sklearn import ValueProbe
    >>> world = cm.simulate(n_prompts=60, n_responses=8, dim=4, random_state=0)
    >>> X, s = world.read(0, world.n_rows), world.column("s")
    >>> probe = ValueProbe().fit(X, s, groups=world.prompt_ids)
    >>> bool(abs(probe.score(X, s, groups=world.prompt_ids) - world.truth.rho2) < 0.1)
    True
    """

    def __init__(
        self, method: Literal["ridge", "least_squares"] = "ridge", alpha: Any = "cv", folds: int = 5,
        precision: str = "double", n_threads: int | None = None,
    ) -> None:  # fmt: skip
        self.method = method
        self.alpha = alpha
        self.folds = folds
        self.precision = precision
        self.n_threads = n_threads

    def fit(self, X: ArrayLike, y: ArrayLike, groups: ArrayLike | None = None) -> ValueProbe:
        """Fit on rows X (n, d) with values y (n,) of the prompts `groups` (n,).

        Without groups the fit is pooled, an ordinary ridge or least-squares regression over all rows, and so is its
        .encoding_quality; rows are dealt to folds in turn.
        """
        from .dump import open_dump
        from .fit import fit_value_direction

        if self.method not in METHODS:
            raise ValueError(f"method is {self.method!r}, wanted one of {', '.join(METHODS)}")
        rows, seen = validate_data(
            self, X, y, dtype=[np.float64, np.float32], order="C", y_numeric=True, ensure_min_samples=2
        )
        ids, folds = self._prompts(groups, len(rows))
        alike = np.bincount(np.arange(len(rows)) % folds).astype(float) if groups is None else None
        self.direction_fit_ = fit_value_direction(
            open_dump(rows, prompt_ids=ids), np.asarray(seen, np.float64), method=self.method,
            alpha=self.alpha if self.method == "ridge" else 0.0, folds=folds, pooled=False, within=groups is not None,
            prompt_weights=alike, precision=self.precision, n_threads=self.n_threads,
        )  # fmt: skip
        self.coef_ = self.direction_fit_.vector.copy()
        self.alpha_ = float(self.direction_fit_.alpha[0])
        self.intercept_ = float(np.mean(seen, dtype=np.float64) - np.mean(rows, axis=0, dtype=np.float64) @ self.coef_)
        return self

    def _prompts(self, groups: ArrayLike | None, n: int) -> tuple[NDArray[Any], int]:
        """Prompt of each row, and how many folds that many prompts allow."""
        if groups is None:
            folds = max(2, min(self.folds, n // 2))
            # folds go by a hash of the id: one id for each of them
            _, own = np.unique(fold_of(np.arange(64 * folds), folds), return_index=True)
            return own[np.arange(n) % len(own)], folds
        ids = column_or_1d(groups)
        if len(ids) != n:
            raise ValueError(f"groups has {len(ids)} entries but X has {n} rows")
        return ids, self.folds

    def predict(self, X: ArrayLike) -> NDArray[np.float64]:
        """<u, phi> + intercept of each row, (n,)."""
        check_is_fitted(self)
        rows = validate_data(self, X, dtype=[np.float64, np.float32], reset=False)
        return np.asarray(rows @ self.coef_ + self.intercept_, np.float64)

    def score(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None, groups: ArrayLike | None = None
    ) -> float:
        """Pooled R^2 of the predictions, over all rows; with groups within R^2, centred inside them, as in a fit."""
        predicted, seen = self.predict(X), np.asarray(y, np.float64)
        if groups is not None:
            _, at, counts = np.unique(column_or_1d(groups), return_inverse=True, return_counts=True)
            if len(at) != len(seen):
                raise ValueError(f"groups has {len(at)} entries but y has {len(seen)}")
            weight = np.ones(len(seen)) if sample_weight is None else np.asarray(sample_weight, np.float64)
            total = np.bincount(at, weight, len(counts))
            predicted, seen = (a - (np.bincount(at, weight * a, len(counts)) / total)[at] for a in (predicted, seen))
        return float(r2_score(seen, predicted, sample_weight=sample_weight))
