"""Labelers of several sizes on one axis: how a judge's quality and gain grow with the model, by meta-regression and
rank correlation (theory 4.4)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike

from clinometer.common.options import listed
from clinometer.common.resampling import t_bounds, unit_errors, worth
from clinometer.common.results import Axes, Result
from clinometer.common.visible import few, visible
from clinometer.dump import Dump, open_dump
from clinometer.engine.inputs import prepare
from clinometer.inference.intervals import check_kl, check_level, policy_gain
from clinometer.inference.tails import in_words

from .arrays import Floats
from .rows import correlation_influence, scored


@dataclass(frozen=True, repr=False, eq=False)
class LabelerScaling(Result):
    """Judges of M models, smallest first, against J values.

    Attributes
    ----------
    sizes : (M,) parameters
    quality : (M, J) within-prompt correlation of the judge, out of fold where it is a fit, with the value
    gain : (M, J) gain of the value at the KL asked for, in its units
    quality_se, gain_se : (M, J); quality_ci, gain_ci : (M, J, 2), those of correlations on Fisher's scale
    quality_slope, gain_slope : (J,) change for ten times the parameters: weighted regression on log10 size, whose
        error holds what models scatter about the line
    quality_slope_ci, gain_slope_ci : (J, 2) by Student's t with M - 2 degrees of freedom; NaN of fewer than 3 models
    quality_tau, gain_tau : (J,) Kendall's rank correlation with size, which asks for no line
    quality_p, gain_p : (J,) its exact two-sided p-value: no less than 2/M! whatever the models do
    """

    axes: ClassVar[Axes] = {
        "model value": "quality quality_se gain gain_se",
        "model value bound": "quality_ci gain_ci",
        "model": "sizes",
        "value": "quality_slope gain_slope quality_tau gain_tau quality_p gain_p",
        "value bound": "quality_slope_ci gain_slope_ci",
    }

    sizes: Floats
    quality: Floats
    quality_se: Floats
    quality_ci: Floats
    gain: Floats
    gain_se: Floats
    gain_ci: Floats
    quality_slope: Floats
    quality_slope_ci: Floats
    gain_slope: Floats
    gain_slope_ci: Floats
    quality_tau: Floats
    quality_p: Floats
    gain_tau: Floats
    gain_p: Floats
    models: tuple[str, ...]
    values: tuple[str, ...]
    kl: float
    level: float

    def __str__(self) -> str:
        lines = []
        for j, name in enumerate(self.values):
            lines.append(f"{visible(name)}: quality r and gain at KL {self.kl:g}")
            for i, model in enumerate(self.models):
                a, b = self.quality_ci[i, j]
                lines.append(
                    f"  {visible(model):>12}  {self.quality[i, j]:+.3f} ({a:+.3f} to {b:+.3f})"
                    f"  {self.gain[i, j]:+.4g} ({in_words(self.gain_ci[i, j], form='{:+.4g}'.format)})"
                )
            low, high = self.quality_slope_ci[j]
            sure = f"({low:+.3f} to {high:+.3f})" if np.isfinite(low) else "(no interval)"
            lines.append(
                f"  ten times the parameters: {self.quality_slope[j]:+.3f} {sure} in r, "
                f"rank correlation {self.quality_tau[j]:+.2f} (p {self.quality_p[j]:.2g})"
            )
        return "\n".join(lines)


@listed("within")
def labeler_scaling(
    dumps: Mapping[str, Any], judge: Any, values: Any, *, sizes: Mapping[str, float] | ArrayLike | None = None,
    kl: float = 0.1, level: float = 0.95, **options: Any,
) -> LabelerScaling:  # fmt: skip
    """How a judge's quality, and the gain it allows, grow with the model that judges (theory 4.4).

    The gain at matched KL is r sd(s) sqrt(2 KL) in the Gaussian world, r the judge's correlation with the value: each
    model's r and gain come with their errors from its own dump. The trend is a meta-regression on log10 size with
    weights 1/(se^2 + tau^2), tau^2 the models' own scatter (Paule and Mandel 1982), and the error from the observed
    scatter (Hartung and Knapp 2001; Sidik and Jonkman 2002). That stays right where models share prompts: what
    shifts all of them alike changes no slope.

    Parameters
    ----------
    dumps : mapping of name to dump, a model each; d may differ
    judge : what `clinometer.tilt` takes as one direction, most often a column that every dump has; or a mapping of name
        to that, for fits (which are applied out of fold)
    values : columns, which every dump has in the same units; gold labels where there are any
    sizes : parameters by name, or in the order of `dumps`; None reads them from names such as "135M" or "qwen-1.7B"
    kl : KL at which gains are compared
    level : coverage of the intervals
    **options : base policy and pass options, for all dumps

    Returns
    -------
    LabelerScaling, (M, J)
        Cost: two passes over each dump.

    Errors: ValueError for fewer than two models, a name without a size, or a level outside (0, 1).

    >>> import clinometer as cm
    >>> models = {
    ...     name: cm.simulate(150, 8, 4, n_constitutions=1, alignment=a, world=1, random_state=r)
    ...     for r, (name, a) in enumerate({"135M": 0.2, "360M": 0.35, "1.7B": 0.6, "7B": 0.8}.items())
    ... }
    >>> found = cm.theory.labeler_scaling(models, "judge/c0", "s")
    >>> found.sizes[-1].item(), found.quality_tau.tolist(), bool(found.quality_slope_ci[0, 0] > 0)
    (7000000000.0, [1.0], True)
    """
    check_level(level)
    kl = check_kl(kl)
    if not isinstance(dumps, Mapping) or len(dumps) < 2:
        raise ValueError("dumps: wanted a mapping of name to dump with two models or more")
    count = counted(list(map(str, dumps)), sizes)
    judges = judge if isinstance(judge, Mapping) else dict.fromkeys(dumps, judge)
    if missing := [str(name) for name in dumps if name not in judges]:
        raise ValueError(f"judge has no entry for {few(missing)}")
    order = np.argsort(count, kind="stable")
    names = [list(dumps)[i] for i in order]
    opened = [d if isinstance(d, Dump) else open_dump(d) for d in (dumps[n] for n in names)]
    called = {_checked(d, judges[n], values, options) for d, n in zip(opened, names, strict=True)}
    if len(called) > 1:
        raise ValueError("values have not the same names in every dump")
    parts = [_Model(d, judges[n], values, kl, level, options) for d, n in zip(opened, names, strict=True)]
    x = np.log10(count[order])
    quality, quality_se, gain, gain_se = (
        np.stack([getattr(part, name) for part in parts]) for name in ("r", "r_se", "gain", "gain_se")
    )
    trend, of_gain = (trends(x, y, se, level) for y, se in ((quality, quality_se), (gain, gain_se)))
    return LabelerScaling(
        count[order], quality, quality_se, np.stack([p.r_ci for p in parts]), gain, gain_se,
        np.stack([p.gain_ci for p in parts]), trend[0], trend[1], of_gain[0], of_gain[1], trend[2], trend[3],
        of_gain[2], of_gain[3], tuple(map(str, names)), parts[0].names, kl, float(level),
    )  # fmt: skip


def _checked(dump: Dump, judge: Any, values: Any, options: dict[str, Any]) -> tuple[str, ...]:
    """Names of the values of one model; nothing is read."""
    call = prepare(dump, judge, values, **options)
    if call.n_scores != 1:
        raise ValueError(f"judge holds {call.n_scores} judges; wanted one")
    if call.n_values == 0:
        raise ValueError("values is empty, wanted at least one value")
    return call.value_names


class _Model:
    """Quality and gain of one model's judge, (J,), with errors and intervals."""

    def __init__(self, dump: Dump, judge: Any, values: Any, kl: float, level: float, options: dict[str, Any]) -> None:
        s = scored(dump, judge, values, **options)
        self.names = s.call.value_names
        found = [self._quality(s, j, level) for j in range(len(self.names))]
        self.r, self.r_se, self.r_ci = (np.array(x) for x in zip(*found, strict=True))
        gain = policy_gain(dump, judge, values, kl, options)
        self.gain, self.gain_se, self.gain_ci = gain.gain, gain.se, gain.interval(level)

    @staticmethod
    def _quality(s: Any, j: int, level: float) -> tuple[float, float, Floats]:
        """Correlation with value j, its error, and the interval on Fisher's scale, where it is nearly normal."""
        w = s.weights(j)
        a, b = w.centre(s.scores[:, 0]), w.centre(s.value(j))
        row = w.row * w.p.on_rows(w.prompt)
        with np.errstate(divide="ignore", invalid="ignore"):
            r = float((row @ (a * b)) / np.sqrt((row @ (a * a)) * (row @ (b * b))))
        psi = correlation_influence(w, a, b)[0]
        units, held = (w.p.unit_sums(x[:, None]) for x in (psi, w.prompt))
        se = unit_errors(units, held)
        z, slope = np.arctanh(np.array([r]) * (1 - 1e-12)), max(1.0 - r * r, 1e-12)
        return r, float(se[0]), np.tanh(t_bounds(z, se / slope, worth(units, held), level)[0])


UNITS = {"K": 1e3, "M": 1e6, "B": 1e9, "T": 1e12}


def parameters(name: str) -> float:
    """Parameters that a model's name says: the last number with K, M, B or T behind it.

    >>> parameters("SmolLM2-135M-Instruct"), parameters("1.7B"), parameters("qwen2.5-0.5b")
    (135000000.0, 1700000000.0, 500000000.0)
    """
    found = re.findall(r"(?<![A-Za-z0-9.])(\d+(?:\.\d+)?)([KMBTkmbt])(?![A-Za-z0-9])", name)
    if not found:
        raise ValueError(f"sizes is None and the name {name!r} says no size such as 135M or 1.7B; pass sizes=")
    number, unit = found[-1]
    return float(round(float(number) * UNITS[unit.upper()], 6))


def counted(names: list[str], given: Any) -> Floats:
    if given is None:
        found = [parameters(name) for name in names]
    elif isinstance(given, Mapping):
        if missing := [name for name in names if name not in given]:
            raise ValueError(f"sizes has no entry for {few(missing)}")
        found = [given[name] for name in names]
    elif isinstance(given, (Sequence, np.ndarray)) and not isinstance(given, str):
        found = list(given)
    else:
        raise TypeError(f"sizes is {given!r}, wanted a mapping of name to parameters, or one number a dump")
    count = np.asarray(found, np.float64)
    if count.shape != (len(names),) or not (np.isfinite(count) & (count > 0)).all():
        raise ValueError(f"sizes is {given!r}, wanted {len(names)} finite numbers > 0")
    if len(np.unique(count)) < 2:
        raise ValueError(f"sizes: all models have {count[0]:g} parameters; wanted two sizes or more")
    return count


def trends(x: Floats, y: Floats, se: Floats, level: float) -> tuple[Floats, Floats, Floats, Floats]:
    """Slopes (J,), their intervals (J, 2), rank correlations and p-values (J,) of columns y (M, J)."""
    from scipy.stats import kendalltau

    lines = [slope(x, column, error, level) for column, error in zip(y.T, se.T, strict=True)]
    ranks = [kendalltau(x, column) for column in y.T]
    slopes, ci = (np.array(part) for part in zip(*lines, strict=True))
    return slopes, ci, np.array([k.statistic for k in ranks]), np.array([k.pvalue for k in ranks])


def slope(x: Floats, y: Floats, se: Floats, level: float) -> tuple[float, Floats]:
    """Meta-regression of y on x, and its interval."""
    if not (np.isfinite(y) & np.isfinite(se)).all():
        return float("nan"), np.full(2, np.nan)
    from scipy.optimize import brentq

    known = np.where(se > 0, se, max(float(se.max()), 1e-300) * 1e-3) ** 2

    def excess(tau2: float) -> float:
        """How much more models scatter than errors and tau^2 say."""
        _, residual, _, freedom = _line(x, y, 1 / (known + tau2))
        return float((residual**2 / (known + tau2)).sum()) - freedom

    far = 4.0 * float(np.ptp(y)) ** 2 * len(y)
    tau2 = float(brentq(excess, 0.0, far)) if len(y) > 2 and excess(0.0) > 0 else 0.0
    slope, residual, spread, freedom = _line(x, y, 1 / (known + tau2))
    if freedom < 1:
        return slope, np.full(2, np.nan)
    error = np.sqrt(float((residual**2 / (known + tau2)).sum()) / freedom / spread)
    return slope, t_bounds(np.array(slope), np.array(error), np.array(freedom + 1), level)


def _line(x: Floats, y: Floats, w: Floats) -> tuple[float, Floats, float, int]:
    """Slope, residuals, weighted spread of x and degrees of freedom."""
    dx, dy = x - w @ x / w.sum(), y - w @ y / w.sum()
    spread = float(w @ (dx * dx))
    slope = float(w @ (dx * dy)) / spread
    return slope, dy - slope * dx, spread, len(x) - 2
