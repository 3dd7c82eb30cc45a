"""Which constitution to take, and one honest sentence about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from clinometer.common.results import Axes, Result
from clinometer.common.visible import few, visible
from clinometer.inference.split import objective, ranked
from clinometer.inference.tails import nearest, reach

from .summary import classes, without_flat

if TYPE_CHECKING:
    from .result import Report

Floats = NDArray[np.float64]


@dataclass(frozen=True, repr=False, eq=False)
class Choice(Result):
    """The recommended cell: a constitution at a KL; `gain`, `lower`, `upper` are (J,), of the values asked for.

    The bounds hold together at 95 % for every cell that could have been picked (`PolicyGains.comparisons`), so having
    picked the best is paid for. `kind` is the class under those bounds. A bound that a skewed value does not have is
    infinite.

    `index` is its place (k, b), `n_cells` how many cells could be picked; `past_horizon`: no cell has an estimate;
    `idle`: the judge's scores are equal inside every prompt. Gains are in units of the value.
    """

    axes: ClassVar[Axes] = {"value": "gain lower upper"}

    constitution: str
    kl: float
    index: tuple[int, int]
    values: tuple[str, ...]
    gain: Floats
    lower: Floats
    upper: Floats
    kind: str
    n_cells: int
    past_horizon: bool
    idle: bool = False


def trusted(report: Report) -> NDArray[np.bool_]:
    """Cells (K, B) with an estimate, from which a choice is made; where there is none, all of judges that move."""
    inside = ~report.past_horizon
    moving = np.broadcast_to(~report.idle[:, None], inside.shape)
    return next((some for some in (inside, moving) if some.any()), np.ones_like(inside))


def worst_bounds(report: Report) -> Floats:
    """What cells (K, B) are chosen by: the lower bound of the worst value, in sd."""
    n = report.n_requested
    return objective(nearest(report.chosen_bounds[..., :n, :], report.gain[..., :n]), None, _scale(report))


def _scale(report: Report) -> Floats:
    """The sd of the values asked for, NaN for those that do not vary."""
    sd = report.value_sd[: report.n_requested]
    return np.where(sd > 0, sd, np.nan)


def choose(report: Report, floor: float | Mapping[str, float] | None = None) -> Choice | None:
    """The trusted cell whose worst value has the largest lower bound in sd, or under a floor that of largest mean gain
    in sd; None if a floor rules out all."""
    n = report.n_requested
    cells, sd = trusted(report), report.value_sd[:n]
    bounds, scale = report.chosen_bounds[..., :n, :], _scale(report)
    gain, half = without_flat(report.gain[..., :n], reach(bounds, report.gain[..., :n]), sd)
    lower, upper = np.moveaxis(np.where((sd == 0)[:, None], 0.0, bounds), -1, 0)
    aim = worst_bounds(report)
    if floor is not None:
        cells = cells & (lower >= _floors(floor, report.values[:n])).all(axis=-1)
        if not cells.any():
            return None
        aim = objective(gain, np.full(n, 1 / n), scale)
    rank = ranked(aim.ravel(), objective(gain, None, scale).ravel(), cells.ravel())
    k, b = divmod(int(np.argmax(rank)), len(report.kl))
    kind = str(classes(gain[k, b], half[k, b], z=1.0)[0])
    return Choice(
        report.constitutions[k], float(report.kl[b]), (k, b), report.values[:n], gain[k, b], lower[k, b],
        upper[k, b], kind, int(cells.sum()), bool(report.past_horizon[k, b]), bool(report.idle[k]),
    )  # fmt: skip


def _floors(floor: float | Mapping[str, float], values: tuple[str, ...]) -> Floats:
    if isinstance(floor, Mapping):
        unknown = [v for v in floor if v not in values]
        if unknown:
            raise ValueError(
                f"floor names {visible(unknown[0])!r}, which is not among the values asked for: {few(values)}"
            )
        out = np.array([float(floor.get(v, -np.inf)) for v in values])
    elif isinstance(floor, bool) or not isinstance(floor, (int, float, np.number)):
        raise TypeError(f"floor is {floor!r}, wanted a number or a mapping from value to number")
    else:
        out = np.full(len(values), float(floor))
    if np.isnan(out).any():
        raise ValueError("floor is NaN, wanted a number or a mapping from value to number")
    return out


def verdict(report: Report) -> str:
    """A few plain sentences about the recommended cell; "Cannot tell" is one of the answers, with its reason."""
    from .caveats import caveats, open_by_labels

    best = choose(report)
    assert best is not None  # None only under a floor
    judge = f"{visible(best.constitution)} at {best.kl:g} nats"
    if report.self_judged:
        judge = f"the value {visible(best.constitution)} used as a judge at {best.kl:g} nats"
    known = zip(best.values, best.gain, np.isnan(best.gain), strict=True)
    gains = ", ".join(f"{visible(v)} unknown" if no else f"{visible(v)} {g:+.3g}" for v, g, no in known)
    paid = f"95 % bounds, corrected for {best.n_cells} choices of judge and KL" if best.n_cells > 1 else "95 % bounds"
    shaky = open_by_labels(report, best)
    blind = _blind(report, best)
    return " ".join(
        [
            _claim(report, best, judge, gains, paid, shaky, blind),
            *_mixed(report, best),
            *caveats(report, best),
            *_chance(report),
            *_asks(report),
        ]
    )


def _mixed(report: Report, best: Choice) -> list[str]:
    """A mixture of judges that is sure to raise every value where no judge alone is."""
    p = report.pareto
    if p is None or best.kind == "pareto_improving" or not (p.mixture_sure >= 0.95 and p.mixture_ci[0] > 0):
        return []
    parts = [f"{visible(n)} {w:.2f}" for n, w in zip(p.constitutions, p.mixture, strict=True) if w > 5e-3]
    if len(parts) < 2:
        return []
    least = f"the least by {p.mixture_ci[0]:+.3f} to {p.mixture_ci[1]:+.3f} sd per sqrt(2 KL)"
    return [f"A mixture of judges raises every value, {least} on prompts that did not choose it: {', '.join(parts)}."]


def _chance(report: Report) -> list[str]:
    if report.chance is None or np.isnan(report.chance):
        return []
    x = 100 * report.chance
    said = "above 99 %" if x > 99 else "below 1 %" if x < 1 else f"{x:.0f} %"
    some = "every value" if (report.value_sd[: report.n_requested] > 0).all() else "every value that varies"
    return [f"Chance that a choice made like this raises {some}: {said}."]


def _asks(report: Report) -> list[str]:
    return [f"To decide: {'; '.join(report.needs)}."] if report.needs else []


def _claim(
    report: Report, best: Choice, judge: str, gains: str, paid: str, shaky: tuple[str, ...], blind: tuple[str, ...]
) -> str:
    def up_or_down(up: bool) -> str:
        hit = best.lower > 0 if up else best.upper < 0
        return ", ".join(visible(v) for v, h in zip(best.values, hit, strict=True) if h and v not in shaky)

    if best.idle:
        alone = report.dump.responses[2] <= 1
        why = (
            "every prompt has a single response" if alone else "the scores of every judge are equal inside every prompt"
        )
        return f"{_start(judge)} moves nothing: {why}."
    if best.past_horizon:
        why = "every KL asked for is beyond the horizon of these rows"
        return f"Cannot tell whether any choice improves every value: {why}."
    match "undetermined" if shaky else best.kind:
        case "pareto_improving":
            return f"{_start(judge)} raises every value: {gains} ({paid})."
        case "pareto_degrading":
            return f"Even the best choice, {judge}, lowers every value: {gains} ({paid})."
        case "tradeoff":
            return (
                f"Even the best choice, {judge}, is a trade-off: it raises {up_or_down(True)} and lowers "
                f"{up_or_down(False)} ({gains}; {paid})."
            )
        case "weakly_improving" | "weakly_degrading" | "neutral":
            words = {"weakly_improving": "raises some values and changes no other", "neutral": "changes no value"}
            did = words.get(best.kind, "lowers some values and changes no other")
            return f"{_start(judge)} {did}: {gains} ({paid})."
    both = ((True, "raises"), (False, "lowers"))
    settled = [f"{word} {up_or_down(up)}" for up, word in both if up_or_down(up)]
    known = f"; what is settled: it {' and '.join(settled)}" if settled else ""
    return (
        f"Cannot tell whether any choice improves every value: the best, {judge}, gives {gains} ({paid}), but "
        f"{_reason(best, shaky, blind)}{known}."
    )


def _blind(report: Report, best: Choice) -> tuple[str, ...]:
    """Why values that may vary have no error."""
    found = np.where(report.policy.labelled_by_score[best.index[0]], "by score", report.policy.unseen)
    held = list(zip(best.values, found, report.value_sd != 0, strict=False))

    def named(kind: str) -> str:
        return ", ".join(visible(v) for v, why, may in held if why == kind and may)

    out = []
    if rare := named("rare"):
        out.append(f"too few responses differ in {rare} for an interval")
    if alone := named("alone"):
        out.append(f"no prompt has two labels of {alone}")
    if by_score := named("by score"):
        out.append(f"labels of {by_score} are missing by the score of {visible(best.constitution)}")
    return tuple(out)


def _reason(best: Choice, shaky: tuple[str, ...], blind: tuple[str, ...]) -> str:
    if blind:
        return " and ".join(blind)
    if np.isnan(best.lower).any():
        return "there is no standard error"
    wide = [visible(v) for v, a, b in zip(best.values, best.lower, best.upper, strict=True) if a <= 0 <= b]
    parts = [f"the bounds of {', '.join(wide)} include 0"] if wide else []
    if shaky:
        names = ", ".join(map(visible, shaky))
        parts.append(f"with the error of the labels behind the judge's direction those of {names} include 0")
    return " and ".join(parts) if parts else "not every value rises"


def _start(text: str) -> str:
    return text if not text.startswith("the value ") else "T" + text[1:]
