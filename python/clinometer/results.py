"""Results: frozen dataclasses of arrays with their diagnostics beside the answer."""

from __future__ import annotations

import dataclasses
import html
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["CrossCovarianceResult", "Moments", "Result", "TiltResult", "TiltedMeanResult"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, repr=False, eq=False)
class Result:
    """Base of all results: export and display."""

    def to_dict(self) -> dict[str, Any]:
        """Every public field by name, arrays as they are."""
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if not f.name.startswith("_")}

    @property
    def state(self) -> bytes | None:
        """Bytes of the `Fold` this result comes from, for `clinometer.merge`; None of other results."""
        make = self.__dict__.get("_make_state")
        return None if make is None else make()

    def to_frame(self) -> Any:
        """A pandas DataFrame with one row per cell of the largest arrays (extra ``frame``)."""
        try:
            import pandas as pd
        except ImportError as error:
            raise ImportError("to_frame needs pandas: pip install 'clinometer[frame]'") from error
        arrays = {k: np.asarray(v) for k, v in self.to_dict().items() if isinstance(v, np.ndarray)}
        shape = max((a.shape for a in arrays.values()), key=lambda s: (len(s), int(np.prod(s))), default=())
        index = np.indices(shape).reshape(len(shape), -1) if shape else np.zeros((0, 1), int)
        columns: dict[str, Any] = {f"axis{i}": axis for i, axis in enumerate(index)}
        for name, a in arrays.items():
            if a.shape == shape:
                columns[name] = a.ravel()
        return pd.DataFrame(columns)

    def __repr__(self) -> str:
        parts = []
        for name, value in self.to_dict().items():
            if isinstance(value, np.ndarray):
                parts.append(f"{name}: {value.shape}" if value.size > 4 else f"{name}: {value.tolist()}")
            elif value is not None and not isinstance(value, dict):
                parts.append(f"{name}: {value!r}")
        return f"{type(self).__name__}(" + ", ".join(parts) + ")"

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><th>{html.escape(name)}</th><td>{html.escape(str(value))[:2000]}</td></tr>"
            for name, value in self.to_dict().items()
        )
        return f"<table><caption>{type(self).__name__}</caption>{rows}</table>"


@dataclass(frozen=True, repr=False, eq=False)
class Moments(Result):
    """Mean and covariance of the rows; within prompts unless said otherwise."""

    mean: Floats
    covariance: Floats | None
    variances: Floats
    n_rows: int
    n_prompts: int
    n_dropped: int
    within: bool


@dataclass(frozen=True, repr=False, eq=False)
class CrossCovarianceResult(Result):
    """Covariances of K scores and J values; `value`, `se`, `correlation` are (K, J)."""

    value: Floats
    se: Floats
    correlation: Floats
    covariance: Floats
    directions: tuple[str, ...]
    values: tuple[str, ...]
    n_rows: int
    n_prompts: int
    n_dropped: int
    n_unlabelled: NDArray[np.int64]
    fit_status: tuple[str, ...]

    def cov(self, k: int) -> Floats:
        """Joint (J, J) covariance over values of the estimates for direction k."""
        return np.asarray(self.covariance[k])


@dataclass(frozen=True, repr=False, eq=False)
class TiltResult(Result):
    """Exact tilts of the rows beside their expansions; axes are direction, beta, value.

    The fields are those of theory 2: `gain` exact on rows with `gain_se` clustered by prompt (or by the
    clusters given), `first_order` and `second_order` the predictions on these rows (ddof 0),
    `first_order_unbiased` with `first_order_se` the estimate of the population's first order (ddof 1). `kl` is that of
    the rows, which cannot exceed log n; `gaussian_kl` (K, B) is lam^2 Var/2 with the variance of the policy behind them
    (ddof 1): where it is much the larger of the two, the rows are too few for the tilt.
    `kl_horizon` is the KL up to which the bias of the rows stays below their error, which vanishes with many prompts;
    `kl_horizon_sized` that up to which gains are good to a tenth, or to their error.
    """

    betas: Floats
    baseline: Floats
    gain: Floats
    gain_se: Floats
    win_rate: Floats
    kl: Floats
    reverse_kl: Floats
    chi2: Floats
    ess: Floats
    ess_min: Floats
    max_ratio: Floats
    pareto_k: Floats
    log_partition: Floats
    log_partition_centred: Floats
    first_order: Floats
    second_order: Floats
    first_order_unbiased: Floats
    first_order_se: Floats
    linear_radius: Floats
    sign_flip: Floats
    kl_horizon: Floats
    gaussian_kl: Floats
    directions: tuple[str, ...]
    values: tuple[str, ...]
    n_rows: int
    n_prompts: int
    n_prompts_unbiased: int
    n_dropped: int
    n_unlabelled: NDArray[np.int64]
    fit_status: tuple[str, ...]
    policy: str | None = None
    kl_horizon_sized: Floats = field(default_factory=lambda: np.zeros(0))
    _gain_cov: Floats = field(default_factory=lambda: np.zeros((0, 0, 0, 0)))

    def gain_cov(self, k: int, b: int) -> Floats:
        """Joint (J, J) covariance over values of the gains at direction k and beta b."""
        return np.asarray(self._gain_cov[k, b])


@dataclass(frozen=True, repr=False, eq=False)
class TiltedMeanResult(Result):
    """Mean representation under each tilt, (K, B, d)."""

    mean: Floats
    betas: Floats
