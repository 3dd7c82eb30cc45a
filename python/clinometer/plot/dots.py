"""What each constitution does to each value: dots with 95 % whiskers about zero."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clinometer.common.results import CrossCovarianceResult, TiltResult
from clinometer.engine.stat import TiltSums
from clinometer.reporting.result import Report
from clinometer.theory.ceilings import JudgeCeiling

from .canvas import GREY, Z95, canvas, chosen, distinct, inks, name, show_key, titled, whiskers

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class _Profile:
    table: Floats  # (K, J)
    se: Floats
    open: Floats  # 1 where there is no upper bound, -1 where there is no lower one
    constitutions: tuple[str, ...]
    values: tuple[str, ...]
    axis: str
    title: str
    past: NDArray[np.bool_]  # (K,)


def tradeoffs(
    result: Any, ax: Any = None, *, kl: float | None = None, se: Any = None, constitutions: Any = None,
    values: Any = None, highlight: Any = None,
) -> Any:  # fmt: skip
    """Draw the profile of every constitution over the values (theory 8.1).

    Parameters
    ----------
    result : Report (gains in sd of each value), TiltResult or TiltSums (in the values' own units),
        CrossCovarianceResult, JudgeCeiling, or an array (K, J) as `clinometer.theory.tradeoff_profile` gives
    ax : matplotlib Axes; None makes a figure whose height follows the number of constitutions
    kl : level to show, of a report or tilt: the nearest there is; default 0.5
    se : standard errors (K, J) of an array
    constitutions, values : names for an array; of other results, the ones to show
    highlight : constitutions to keep in colour

    Returns
    -------
    Axes
        A row for each constitution, a dot for each value with gain +- 1.96 standard errors; hollow dots lie past the
        KL horizon.

    Errors: TypeError for another result; ValueError for names of another number, or se beside a result that has
    its own.

    >>> import clinometer as cm
    >>> cm.plot.tradeoffs([[0.2, -0.1], [0.1, 0.3]], se=0.05, values=["kind", "brief"]).get_xlabel()
    'first-order gain x beta'
    """
    p = _profile(result, kl, se, constitutions, values)
    K, J = p.table.shape
    with canvas(ax, (6.4, 1.3 + max(2.0, 0.13 * K * (1 + 0.5 * J)))) as ax:
        loud = [ink.loud for ink in inks(p.constitutions, highlight)]
        offset = (np.arange(J) - (J - 1) / 2.0) * min(0.8 / J, 0.22)
        for j, ink in enumerate(inks(p.values)):
            ax.plot([], [], color=ink.colour, marker=ink.marker, linestyle="", label=name(p.values[j]))
            for k in range(K):
                colour, length = ink.colour if loud[k] else GREY, Z95 * p.se[k, j]
                ends, at = length * np.array([[p.open[k, j] >= 0], [p.open[k, j] <= 0]]), (p.table[k, j], k + offset[j])
                ax.errorbar(
                    *at, xerr=ends if np.isfinite(length) else None, color=colour, marker=ink.marker,
                    markerfacecolor="white" if p.past[k] else colour, elinewidth=1.1, linestyle="", zorder=3,
                )  # fmt: skip
                if p.open[k, j]:
                    ax.errorbar(*at, xerr=length, xlolims=p.open[k, j] > 0, xuplims=p.open[k, j] < 0, color=colour,
                                elinewidth=1.1, linestyle="", zorder=2.9)  # fmt: skip
        ax.axvline(0.0, color=GREY, linewidth=0.8, zorder=1.5)
        ax.set_yticks(np.arange(K), distinct(p.constitutions), parse_math=False)
        ax.set_ylim(K - 0.5, -0.5)
        ax.grid(False, axis="y")
        ax.set_xlabel(p.axis)
        note = "whiskers: 95 % over prompts" if np.isfinite(p.se).any() else ""
        note += "; arrows: no bound on that side" if p.open.any() else ""
        titled(ax, p.title, note + ("; hollow: past the KL up to which these rows can tell" if p.past.any() else ""))
        show_key(ax)
    return ax


def _profile(result: Any, kl: float | None, se: Any, constitutions: Any, values: Any) -> _Profile:
    if isinstance(result, Report):
        with np.errstate(divide="ignore", invalid="ignore"):
            error = np.where(result.value_sd > 0, whiskers(result.policy)[0] / result.value_sd, np.nan)
        p = _of_tilt(result.policy, result.gain_sd, error, kl, "gain in within-prompt sd of the value")
    elif isinstance(result, (TiltResult, TiltSums)):
        p = _of_tilt(result, result.gain, result.gain_se, kl, "gain (each value's own units)")
    elif isinstance(result, CrossCovarianceResult):
        axis = "Cov(score, value) = first-order gain x beta"
        p = _named(result.value, result.se, result.directions, result.values, axis)
    elif isinstance(result, JudgeCeiling):
        p = _named(
            result.gain, result.gain_se, result.directions, result.values, f"first-order gain at beta {result.beta:g}"
        )
    else:
        return _of_array(result, se, constitutions, values)
    if se is not None:
        raise ValueError("se is for an array; this result has its own errors")
    rows, columns = _picked(p.constitutions, constitutions, "constitutions"), _picked(p.values, values, "values")
    at = np.ix_(rows, columns)
    return _Profile(
        p.table[at], p.se[at], p.open[at], tuple(p.constitutions[i] for i in rows), tuple(p.values[i] for i in columns),
        p.axis, p.title, p.past[rows],
    )  # fmt: skip


def _picked(held: tuple[str, ...], given: Any, argument: str) -> list[int]:
    if given is None:
        return list(range(len(held)))
    return [chosen(held, one, argument) for one in ([given] if isinstance(given, (str, int)) else given)]


def _named(table: Floats, se: Floats, constitutions: Any, values: Any, axis: str) -> _Profile:
    return _Profile(
        table, se, np.zeros(table.shape), tuple(constitutions), tuple(values), axis, "Each constitution on each value",
        np.zeros(len(table), bool),
    )  # fmt: skip


def _of_tilt(t: Any, gain: Floats, se: Floats, kl: float | None, axis: str) -> _Profile:
    """Of each constitution the beta whose KL is nearest to the one asked for."""
    at = np.abs(t.kl - (0.5 if kl is None else kl)).argmin(axis=1)
    k = np.arange(len(at))
    reached = t.kl[k, at]
    past = (reached > getattr(t, "kl_horizon", np.full(len(at), np.inf))) | np.isnan(gain[k, at]).any(axis=1)
    low, high = reached.min(), reached.max()
    levels = f"{low:.3g}" if high - low < 0.005 * high else f"{low:.3g} to {high:.3g}"
    title = f"Each constitution at KL {levels} nats"
    open_ = whiskers(t)[1][k, at]
    return _Profile(gain[k, at], se[k, at], open_, tuple(t.directions), tuple(t.values), axis, title, past)


def _of_array(given: Any, se: Any, constitutions: Any, values: Any) -> _Profile:
    try:
        table = np.atleast_2d(np.asarray(given, np.float64))
    except (TypeError, ValueError):
        table = np.zeros(0)
    if table.ndim != 2 or not table.size:
        raise TypeError(
            f"result is {type(given).__name__} of shape {np.shape(given)}; wanted a Report, TiltResult, TiltSums, "
            "CrossCovarianceResult, JudgeCeiling or an array (K, J)"
        )
    K, J = table.shape
    rows = tuple(f"direction {k}" for k in range(K)) if constitutions is None else tuple(constitutions)
    columns = tuple(f"value {j}" for j in range(J)) if values is None else tuple(values)
    for what, names, n in (("constitutions", rows, K), ("values", columns, J)):
        if len(names) != n:
            raise ValueError(f"{what} has {len(names)} names; the profile has {n}")
    error = np.full((K, J), np.nan) if se is None else np.broadcast_to(np.asarray(se, np.float64), (K, J))
    return _named(table, error, rows, columns, "first-order gain x beta")
