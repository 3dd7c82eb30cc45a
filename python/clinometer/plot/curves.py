"""Gains along KL and along rounds, with bands, dashed where the rows cannot tell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clinometer.common.results import TiltResult
from clinometer.engine.stat import TiltSums
from clinometer.inference.policy import PolicyGains
from clinometer.reporting.result import Report
from clinometer.theory.frontier import GainKLFrontier
from clinometer.theory.iterated import Iteration

from .canvas import GREY, INK, Z95, Ink, canvas, chosen, distinct, inks, label_ends, name, titled, whiskers

Floats = NDArray[np.float64]
MOST_BANDS = 8  # more of them hide one another


@dataclass(frozen=True)
class _Line:
    """Points of a line, the points that have an error, and where it stops being supported."""

    x: Floats
    y: Floats
    at: Floats
    gain: Floats
    se: Floats
    open: Floats  # 1 where there is no upper bound, -1 where there is no lower one
    horizon: float = np.inf


def frontier(result: Any, ax: Any = None, *, value: Any = None, highlight: Any = None, oracle: bool = True) -> Any:
    """Draw the gain of one value against KL, a line for each constitution (theory 2.2 and 4.2).

    Parameters
    ----------
    result : GainKLFrontier (smooth curves, and the value's own tilt), TiltResult, TiltSums or Report
    ax : matplotlib Axes; None makes a figure
    value : name or position; default the first
    highlight : name, position, or several: the other constitutions turn grey and lose their labels
    oracle : draw the tilt by the value itself, where the result has it

    Returns
    -------
    Axes
        Of a report the gain of the policy with its 95 % bounds, as far as the rows can say. Of a tilt gain +- 1.96
        standard errors, solid up to each constitution's KL horizon and dashed past it. Bands are left out where more
        than eight would lie over one another.

    Errors: TypeError for another result; ValueError for a tilt without values or a name that it has not.

    >>> import clinometer as cm
    >>> world = cm.simulate(n_prompts=40, n_responses=8, dim=4, random_state=1)
    >>> ax = cm.plot.frontier(cm.tilt(world, ["judge/c0", "judge/c1"], values="s"), highlight="judge/c0")
    >>> ax.get_xlabel()
    'KL from the base policy (nats)'
    """
    held = result.policy if isinstance(result, Report) else result
    if not isinstance(held, (PolicyGains, TiltResult, TiltSums, GainKLFrontier)):
        raise TypeError(f"result is {type(result).__name__}; wanted a GainKLFrontier, TiltResult, TiltSums or Report")
    if not held.values:
        raise ValueError("result has no values, and so no gains; pass values= to the tilt")
    j = chosen(held.values, 0 if value is None else value, "value")
    lines = _frontier_lines(held, j) if isinstance(held, GainKLFrontier) else _tilt_lines(held, j)
    with canvas(ax) as ax:
        ends, past = [], False
        drawn = inks(held.directions, highlight)
        band = sum(ink.loud for ink in drawn) <= MOST_BANDS
        for line, one, ink in zip(lines, distinct(held.directions), drawn, strict=True):
            past |= _draw(ax, line, ink, band=band, in_kl=True)
            if ink.loud and len(line.x):
                ends.append((float(line.x[-1]), float(line.y[-1]), one, ink.colour))
        if oracle and isinstance(held, GainKLFrontier):
            x, y = _dense(np.append(0.0, held.oracle_kl[:, j]), np.append(0.0, held.oracle[:, j]))
            ax.plot(x, y, color=INK, linestyle=":", linewidth=1.2, label="the value itself")
            ends.append((float(x[-1]), float(y[-1]), "the value itself", INK))
        _zero(ax)
        ax.set_xlim(left=0.0)
        ax.set_xlabel("KL from the base policy (nats)")
        ax.set_ylabel(f"gain in {name(held.values[j])}", parse_math=False)
        faint = band and any(line.open.any() for line in lines)
        titled(ax, f"{name(held.values[j], 48)} at matched KL", _note(band, past, faint))
        label_ends(ax, ends)
    return ax


def prompts(
    report: Report, ax: Any = None, *, value: Any = None, kl: float | None = None, highlight: Any = None
) -> Any:
    """Draw the gains of single prompts from the lowest up: who loses under a mean (theory 2.9).

    Parameters
    ----------
    report : Report
    ax : matplotlib Axes; None makes a figure
    value : name or position; default the first
    kl : level to show, the nearest there is; default the largest with an estimate
    highlight : name, position, or several: the other constitutions turn grey and lose their labels

    Returns
    -------
    Axes
        The height at a share of the prompts is the gain that so many do not exceed; the area under a line is the gain
        of all. A prompt's gain has the noise of its few responses, so some lie below 0 by chance: the labels say
        which share loses beyond noise, at the least.

    Errors: TypeError for another result; ValueError where no gain has parts by prompt.

    >>> import clinometer as cm
    >>> world = cm.simulate(n_prompts=40, n_responses=8, dim=4, random_state=1)
    >>> made = cm.report(world, constitutions=["judge/c0"], values=["s"], kl=[0.1], sections=())
    >>> cm.plot.prompts(made).get_xlabel()
    'share of prompts (%)'
    """
    if not isinstance(report, Report):
        raise TypeError(f"report is {type(report).__name__}; wanted a Report")
    p = report.policy
    j, known = chosen(p.values, 0 if value is None else value, "value"), np.isfinite(p.gain).any(axis=(0, 2))
    if (p.kind == "pooled").all() or not known.any():
        raise ValueError("no gain of this report has parts by prompt: all are past the rows, or of within=False")
    b = int(np.flatnonzero(known)[-1]) if kl is None else int(np.abs(report.kl - kl).argmin())
    with canvas(ax) as ax:
        ends, held = [], p._held[:, j] > 0
        weight = p._held[held, j]
        for k, (one, ink) in enumerate(zip(distinct(p.directions), inks(p.directions, highlight), strict=True)):
            gain = p.gain[k, b, j] + p._influence[held, k, b, j] / weight
            order = np.argsort(gain)
            share = np.append(0.0, 100 * np.cumsum(weight[order]) / weight.sum())
            ax.stairs(gain[order], share, baseline=None, color=ink.colour, linewidth=ink.width, zorder=ink.order)
            if ink.loud:
                text = f"{one}: {100 * p.harmed[k, b, j]:.0f} % lose"
                ends.append((100.0, float(gain[order[-1]]), text, ink.colour))
        _zero(ax)
        ax.set_xlim(0.0, 100.0)
        ax.set_xlabel("share of prompts (%)")
        ax.set_ylabel(f"gain in {name(p.values[j])}", parse_math=False)
        several = "; a step is a mean of several" if report.dump.n_prompts > len(p._held) else ""
        note = (
            f"at {report.kl[b]:g} nats, with the noise of a prompt's responses{several}; lose: beyond it, at the least"
        )
        titled(ax, f"{name(p.values[j], 48)} by prompt", note)
        label_ends(ax, ends)
    return ax


def _tilt_lines(t: Any, j: int) -> list[_Line]:
    horizon = getattr(t, "kl_horizon", np.full(len(t.directions), np.inf))
    out = []
    for k in range(len(t.directions)):
        kl, gain, (se, open_) = t.kl[k], t.gain[k, :, j], (x[k, :, j] for x in whiskers(t))
        at = np.flatnonzero(np.isfinite(kl) & np.isfinite(gain))
        at = at[np.argsort(kl[at], kind="stable")]
        x, y = np.append(0.0, kl[at]), np.append(0.0, gain[at])
        out.append(_Line(*_dense(x, y), x, y, np.append(0.0, se[at]), np.append(0.0, open_[at]), _horizon(horizon[k])))
    return out


def _frontier_lines(f: GainKLFrontier, j: int) -> list[_Line]:
    out = []
    for k in range(len(f.directions)):
        x, y = np.append(0.0, f.curve_kl[k]), np.append(0.0, f.curve[k, :, j])
        at, gain = np.append(0.0, f.kl_reached[k]), np.append(0.0, f.gain[k, :, j])
        x, y = (np.append(a, b[at > x.max()]) for a, b in ((x, at), (y, gain)))
        se = np.append(0.0, f.gain_se[k, :, j])
        out.append(_Line(x, y, at, gain, se, np.zeros(len(se)), _horizon(f.kl_horizon[k])))
    return out


def _dense(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """More points between few: straight in sqrt(KL), as gains are to first order."""
    if len(x) < 2:
        return x, y
    fine = np.unique(np.append(x, np.linspace(0.0, np.sqrt(x[-1]), 65) ** 2))
    return fine, np.interp(np.sqrt(fine), np.sqrt(x), y)


def _horizon(kl: float) -> float:
    return np.inf if np.isnan(kl) else float(kl)


def iterate(
    result: Iteration, ax: Any = None, *, values: Any = None, highlight: Any = None, promise: bool = True
) -> Any:
    """Draw the gain of every value after each round of `clinometer.theory.iterate` (theory 6.4).

    Parameters
    ----------
    result : Iteration
    ax : matplotlib Axes; None makes a figure
    values : names or positions to draw; default all
    highlight : the other values turn grey
    promise : also draw, thin and dotted, the sum of what each round's first order promised

    Returns
    -------
    Axes
        Solid up to the round whose KL the rows can still tell (`stop`) and dashed after it; bands are +- 1.96
        standard errors. KL from the first policy is written under the rounds.

    Errors: TypeError for another result; ValueError for a value that it has not.

    >>> import clinometer as cm
    >>> world = cm.simulate(n_prompts=40, n_responses=8, dim=4, random_state=1)
    >>> cm.plot.iterate(cm.theory.iterate(world, "judge/c0", 6.0, "s", rounds=3)).get_xlabel()
    'round (KL from the first policy in nats)'
    """
    if not isinstance(result, Iteration):
        raise TypeError(f"result is {type(result).__name__}; wanted what clinometer.theory.iterate returns")
    given = range(len(result.values)) if values is None else [values] if isinstance(values, (str, int)) else values
    drawn = [chosen(result.values, v, "values") for v in given]
    names = [result.values[j] for j in drawn]
    rounds = np.arange(len(result.gain) + 1, dtype=np.float64)
    horizon = np.inf if result.stop is None else float(result.stop - 1)
    with canvas(ax) as ax:
        ends, past = [], False
        for j, one, ink in zip(drawn, distinct(names), inks(names, highlight), strict=True):
            y, se = np.append(0.0, result.gain[:, j]), np.append(0.0, result.gain_se[:, j])
            past |= _draw(ax, _Line(rounds, y, rounds, y, se, np.zeros(len(se)), horizon), ink)
            if promise:
                promised = np.append(0.0, np.cumsum(result.step[:, j]))
                ax.plot(rounds, promised, color=ink.colour, linestyle=":", linewidth=0.9, alpha=0.8)
            if ink.loud:
                ends.append((float(rounds[-1]), float(y[-1]), one, ink.colour))
        _zero(ax)
        ax.set_xlim(0.0, float(rounds[-1]) or 1.0)
        shown = np.unique(np.linspace(0, len(rounds) - 1, min(len(rounds), 8)).round().astype(int))
        kl = np.append(0.0, result.kl)
        ax.set_xticks(shown, [f"{i}\n{kl[i]:.2g}" for i in shown])
        ax.set_xlabel("round (KL from the first policy in nats)")
        ax.set_ylabel(
            "gain (each value's own units)" if len(names) > 1 else f"gain in {name(names[0])}", parse_math=False
        )
        note = _note(True, past) + ("; dotted: sum of first orders" if promise else "")
        titled(ax, f"Tilted again and again by {name(result.directions[0])}", note)
        label_ends(ax, ends)
    return ax


def _note(band: bool, past: bool, faint: bool = False) -> str:
    said = ["band: 95 % over prompts"] * band + ["faint: no bound on that side"] * faint
    said += ["dashed: past the KL up to which these rows can tell"] * past
    return "; ".join(said)


def _zero(ax: Any) -> None:
    ax.axhline(0.0, color=GREY, linewidth=0.8, zorder=1.5)


def _draw(ax: Any, line: _Line, ink: Ink, *, band: bool = True, in_kl: bool = False) -> bool:
    """The line in its two parts with its band and points; whether some of it lies past the horizon."""
    if not len(line.x):
        return False
    style = {"color": ink.colour, "linewidth": ink.width, "zorder": ink.order}
    if band and ink.loud:
        low, high = line.gain - Z95 * line.se, line.gain + Z95 * line.se
        bands = [(np.where(line.open < 0, line.gain, low), np.where(line.open > 0, line.gain, high), 0.13)]
        for under, over, alpha in [*bands, *[(low, high, 0.05)] * bool(line.open.any())]:
            (at, under), (_, over) = (_dense(line.at, y) if in_kl else (line.at, y) for y in (under, over))
            ax.fill_between(at, under, over, color=ink.colour, alpha=alpha, linewidth=0, zorder=ink.order - 0.5)
    cut = float(min(max(line.horizon, 0.0), line.x[-1]))
    middle = float(np.interp(cut, line.x, line.y))
    before, after = line.x < cut, line.x > cut
    if before.any():
        ax.plot(np.append(line.x[before], cut), np.append(line.y[before], middle), **style)
    if after.any():
        x, y = np.append(cut, line.x[after]), np.append(middle, line.y[after])
        ax.plot(x, y, linestyle=(0, (4, 2.2)), **style)
    ax.plot(line.at[1:], line.gain[1:], linestyle="", marker=ink.marker, color=ink.colour, zorder=ink.order)
    return bool(after.any())
