"""Results: frozen dataclasses of arrays with their diagnostics beside the answer."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Axes = dict[str, str]  # axes -> the fields that have them


@dataclass(frozen=True, repr=False, eq=False)
class Result:
    """Base of all results: export and display. Fields that mean the same in each:

    directions, values : names of the K directions or judges (also `constitutions`) and of the J values
    betas, kl : strengths of the tilt in score units a nat, and KL from the base policy in nats
    n_rows, n_prompts, n_dropped : rows and prompts that count, and prompts left out as not finite
    n_unlabelled : (J,) rows without a label of the value
    fit_status : (K,) "given", "score", "cross-fitted" or "in-sample"
    level : coverage of the intervals

    Gains are in units of their value; NAME_se is the standard error of NAME and NAME_ci or NAME_interval (..., 2)
    its bounds, in the unit of NAME. Correlations, shares and p-values have no unit.

    `axes` names the axes of every array field, "direction beta value" -> "gain gain_se"; those of its first entry
    make the rows of `to_frame`. An axis "name?" in front may be missing, "..." stands for any number of axes.
    """

    axes: ClassVar[Axes] = {}

    def to_dict(self) -> dict[str, Any]:
        """Every public field by name, arrays as they are."""
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if not f.name.startswith("_")}

    @property
    def state(self) -> bytes | None:
        """Bytes of the `Fold` this result comes from, for `clinometer.merge`; None of other results."""
        make = self.__dict__.get("_make_state")
        return None if make is None else make()

    def __getstate__(self) -> dict[str, Any]:
        """A pickle takes the bytes of the fold, and not the function that makes them."""
        held = dict(self.__dict__)
        if (make := held.pop("_make_state", None)) is not None:
            held["_make_state"] = _Kept(make())
        return held

    def to_frame(self) -> Any:
        """A pandas DataFrame in long form, a row for every cell of the main arrays (extra ``frame``).

        Axes are columns of their labels (names, betas, KLs), and arrays over some of the axes are repeated along
        the others. What is not an array is in ``.attrs``.
        """
        from .tabular import frame

        return frame(self)

    def to_polars(self) -> Any:
        """The table of `to_frame` as a polars DataFrame."""
        from .tabular import polars

        return polars(self)

    def to_datasets(self) -> Any:
        """The table of `to_frame` as a Dataset of Hugging Face ``datasets``."""
        from .tabular import datasets

        return datasets(self)

    def to_xarray(self) -> Any:
        """An xarray Dataset of all arrays with labelled axes, units and attributes (extra ``frame``)."""
        from .tabular import xarray

        return xarray(self)

    def __repr__(self) -> str:
        from .display import summary

        return summary(self)

    def _repr_html_(self) -> str:
        from .display import page

        return page(self)


@dataclass(frozen=True)
class _Kept:
    """Bytes of a fold that was pickled with its result."""

    held: bytes

    def __call__(self) -> bytes:
        return self.held


@dataclass(frozen=True, repr=False, eq=False)
class Moments(Result):
    """`mean` (d,), `covariance` (d, d) or None and `variances` (d,) of the rows, in the unit of phi and its square.

    Covariances are inside prompts unless `within` is False.
    """

    axes: ClassVar[Axes] = {
        "feature": "mean variances",
        "feature feature_2": "covariance",
    }

    mean: Floats
    covariance: Floats | None
    variances: Floats
    n_rows: int
    n_prompts: int
    n_dropped: int
    within: bool


@dataclass(frozen=True, repr=False, eq=False)
class CrossCovarianceResult(Result):
    """Covariances of K scores and J values, in units of both; `value`, `se`, `correlation` are (K, J).

    `covariance` (K, J, J) is that of the estimates, over values.
    """

    axes: ClassVar[Axes] = {
        "direction value": "value se correlation",
        "direction value value_2": "covariance",
        "value": "n_unlabelled",
        "direction": "fit_status",
    }

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
    """Exact tilts of the rows beside their expansions; axes are direction, beta, value (theory 2).

    `gain` (K, B, J) is exact on rows, with `gain_se` clustered by prompt (or by the clusters given), over
    `baseline` (J,); `win_rate` (K, B, J) the chance that a response of the tilt beats one of the base.
    `first_order` and `second_order` are the predictions on these rows (ddof 0), `first_order_unbiased` with
    `first_order_se` the estimate of the population's first order (ddof 1), from `n_prompts_unbiased` prompts of
    two responses or more. `gain_se` is the error of the rows' own `gain`, at betas as they stand (those that `kl=`
    solved for are held: at a fixed KL the error is another, of `gain_intervals(kl=)`), and not of the
    policy's, of which `gain` falls short by a term in 1/n: gain +- 1.96 gain_se is no 95 % interval (at 12 prompts
    it holds even its own mean in 91 %). Those by Student's t, of the rows' gain and of the policy's, are in
    `gain_intervals`. `kl` is that of the rows, which cannot exceed log n; `gaussian_kl` (K, B) is lam^2 Var/2 with
    the variance of the policy behind them (ddof 1): where it is much the larger of the two, the rows are too few
    for the tilt.
    (K, B) are also `reverse_kl` = KL(pi0 || pi) in nats, `chi2` = E[(pi/pi0)^2] - 1, the share of responses left
    `ess` = 1/(1 + chi2), mean over prompts, and `ess_min`, `max_ratio` the largest pi/pi0, and `log_partition`,
    with `log_partition_centred` for scores centred in the prompt, nats.
    `pareto_k` (K, B) is NaN where the ratios have no tail to fit, which is no good sign: `pareto_status` says why.
    `kl_horizon` (K,) is the KL up to which the bias of the rows stays below their error, which vanishes with many
    prompts; `kl_horizon_sized` that up to which gains are good to a tenth, or to their error (theory 2.8). Neither
    is the `horizon` of a report, up to which responses are enough for an estimate of the policy's gain (theory
    2.9).
    `linear_radius` and `sign_flip` (K, J), in 1/beta, are where the series leaves the first order by a tenth and
    where the gain returns to 0 (theory 2.4). With `adjust`, `adjusted_r2` (K,) is the share of each score's
    within-prompt variance that the columns explain, and `adjusted_gone` (K, J) the share of each gain, to first
    order and at equal KL, that goes with them.
    """

    axes: ClassVar[Axes] = {
        "direction beta value": ("gain gain_se win_rate first_order second_order first_order_unbiased first_order_se"),
        "direction beta": (
            "betas kl reverse_kl chi2 ess ess_min max_ratio pareto_k pareto_status log_partition log_partition_centred "
            "gaussian_kl"
        ),
        "direction value": "linear_radius sign_flip adjusted_gone",
        "direction": "kl_horizon kl_horizon_sized fit_status adjusted_r2",
        "value": "baseline n_unlabelled",
    }

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
    pareto_status: NDArray[np.str_] = field(default_factory=lambda: np.zeros((0, 0), np.str_))
    kl_horizon_sized: Floats = field(default_factory=lambda: np.zeros(0))
    adjusted_r2: Floats | None = None
    adjusted_gone: Floats | None = None
    _gain_cov: Floats = field(default_factory=lambda: np.zeros((0, 0, 0, 0)))

    @property
    def signs_differ(self) -> NDArray[np.bool_]:
        """Where a gain moves against its first order, [K, B, J]."""
        return np.asarray(np.sign(self.first_order) * np.sign(self.gain) < 0)  # their product may overflow

    def gain_cov(self, k: int, b: int) -> Floats:
        """Joint (J, J) covariance over values of the gains at direction k and beta b."""
        return np.asarray(self._gain_cov[k, b])


@dataclass(frozen=True, repr=False, eq=False)
class TiltedMeanResult(Result):
    """The `mean` representation under each tilt, (K, B, d), at `betas` (K, B)."""

    axes: ClassVar[Axes] = {
        "direction beta feature": "mean",
        "direction beta": "betas",
    }

    mean: Floats
    betas: Floats
