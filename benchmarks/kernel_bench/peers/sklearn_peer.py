"""scikit-learn: the empirical covariance, on float32 rows; widening half precision is not charged to it."""

from __future__ import annotations

from typing import Any

import sklearn

from clinometer.bench.problem import Problem

from . import Settings

__all__ = ["KERNELS", "VERSION", "set_threads"]

VERSION = str(sklearn.__version__)


def set_threads(threads: int) -> None:
    """Its products are NumPy's."""


def covariance(p: Problem) -> Settings:
    """Covariance (d, d)."""
    from sklearn.covariance import EmpiricalCovariance

    x = p.rows.single()

    def call() -> Any:
        return EmpiricalCovariance(store_precision=False).fit(x).covariance_

    return {"EmpiricalCovariance": call}


KERNELS = {"covariance": covariance}
