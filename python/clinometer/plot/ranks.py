"""Spectra, with the effective ranks that sum them up."""

from __future__ import annotations

from typing import Any

import numpy as np

from clinometer.theory.shift import ShiftRank
from clinometer.theory.spectra import EffectiveRank, RandomisedSpectrum, effective_rank, eigenvalues_of

from .canvas import INK, PALETTE, canvas, label_ends, titled

RANKS = ("participation", "entropy", "stable", "energy")


def spectrum(result: Any, ax: Any = None) -> Any:
    """Draw eigenvalues from the largest down, and where four effective ranks lie (theory 5.1).

    Parameters
    ----------
    result : Moments, a covariance (d, d), eigenvalues (d,), RandomisedSpectrum (bars are bounds of its error),
        ShiftRank (squared singular values), or EffectiveRank (the four ranks alone)
    ax : matplotlib Axes; None makes a figure

    Returns
    -------
    Axes
        Both axes logarithmic: number of the eigenvalue, and its share of the trace.

    Errors: TypeError for another result; ValueError for a matrix that is not square, or a spectrum of zeros.

    >>> import numpy as np, clinometer as cm
    >>> cm.plot.spectrum(np.geomspace(1, 1e-3, 50)).get_yscale()
    'log'
    """
    if isinstance(result, EffectiveRank):
        return _ranks(result, ax)
    bound = None
    if isinstance(result, RandomisedSpectrum):
        values, total = result.eigenvalues, result.trace
        bound = result.residual
        marks = {"participation": result.participation, "stable": result.stable}
    else:
        if isinstance(result, str) or result is None or hasattr(result, "verdict"):
            what = repr(result) if isinstance(result, str) or result is None else type(result).__name__
            raise TypeError(
                f"result is {what}; wanted Moments, a covariance, eigenvalues, RandomisedSpectrum, ShiftRank or "
                "EffectiveRank"
            )
        values = result.singular_values**2 if isinstance(result, ShiftRank) else eigenvalues_of(result)
        values = np.sort(np.asarray(values, np.float64))[::-1]
        total = float(values.sum())
        rank = effective_rank(values)
        marks = {n: float(getattr(rank, n)) for n in RANKS}
        marks[f"{rank.threshold:.0%} of the trace"] = marks.pop("energy")
    if not total > 0.0:
        raise ValueError("the spectrum is zero; there is nothing to draw")
    number = np.arange(1, len(values) + 1)
    shown = values > values[0] * np.finfo(np.float64).eps
    with canvas(ax) as ax:
        share = values / total
        ax.set_xscale("log")
        ax.set_yscale("log")
        ax.plot(number[shown], share[shown], color=PALETTE[0], marker="o" if len(values) <= 64 else None)
        if bound is not None:
            low = np.maximum(values - bound, values[-1] * 1e-3) / total
            ax.fill_between(number, low, (values + bound) / total, color=PALETTE[0], alpha=0.2, linewidth=0)
        ends = []
        for (what, at), colour in zip(marks.items(), PALETTE[1:], strict=False):
            if at > 0:
                ax.axvline(at, color=colour, linewidth=1.2, linestyle="--")
                height = float(np.exp(np.interp(np.log(at), np.log(number[shown]), np.log(share[shown]))))
                ends.append((at, height, f"{what} {at:.3g}", colour))
        ax.set_xlabel("number of the eigenvalue, from the largest")
        ax.set_ylabel("share of the trace")
        note = "" if bound is None else f"band: bounds of the error of the {len(values)} found"
        titled(ax, "Spectrum and effective ranks", note)
        label_ends(ax, ends)
    return ax


def _ranks(r: EffectiveRank, ax: Any) -> Any:
    with canvas(ax, (6.4, 2.4)) as ax:
        values = [float(getattr(r, n)) for n in RANKS]
        ax.plot(values, np.arange(4), linestyle="", marker="o", color=PALETTE[0], markersize=6)
        for y, x in enumerate(values):
            ax.annotate(f"{x:.3g}", (x, y), (7, 0), textcoords="offset points", va="center", fontsize=8, color=INK)
        ax.set_yticks(np.arange(4), [*RANKS[:3], f"{r.threshold:.0%} of the trace"])
        ax.set_ylim(3.5, -0.5)
        ax.set_xlim(0.0, 1.15 * max(values) or 1.0)
        ax.grid(False, axis="y")
        ax.set_xlabel("effective number of dimensions")
        titled(ax, "Effective ranks")
    return ax
