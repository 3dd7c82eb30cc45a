"""HTML tables, and the gains as tables for readers without JavaScript."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from clinometer.common.visible import markup
from clinometer.inference.tails import in_words
from clinometer.reporting.text import number

if TYPE_CHECKING:
    from clinometer.reporting.result import Report

MINUS, MINUS_SIGN = re.compile(r"(?:(?<=^)|(?<=[ (]))-(?=\d)"), "\u2212"  # of numbers, as wide as their plus
SHORT = ' class="short"'  # a heading that is not broken, as "-harm" would be behind its hyphen
MARK = {True: " >", False: ""}  # past the horizon


def table(caption: str, head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A table whose first column names the rows. Cells are escaped here and nowhere else."""
    first = "".join(f'<th scope="col"{SHORT if len(c) <= 12 else ""}>{markup(c)}</th>' for c in head)
    body = []
    for name, *cells in rows:
        tds = "".join(f"<td>{markup(MINUS.sub(MINUS_SIGN, c))}</td>" for c in cells)
        body.append(f'<tr><th scope="row">{markup(name)}</th>{tds}</tr>\n')
    text = f"<caption>{markup(caption)}</caption>" if caption else ""
    return (
        f'<div class="wide" tabindex="0" role="region" aria-label="{markup(caption or "table")}"><table>{text}'
        f"<thead><tr>{first}</tr></thead><tbody>\n{''.join(body)}</tbody></table></div>"
    )


def between(low: float, high: float) -> str:
    """An interval, or the bound that there is; "-" where it is unknown."""
    none = np.isnan(low) and np.isnan(high)
    return "-" if none else in_words(np.array([low, high]), form=lambda x: number(x, digits=3))


def sized(x: float, *, sign: bool = False, digits: int = 4) -> str:
    """A number to some digits, zeros at its end among them."""
    return number(x) if not np.isfinite(x) else f"{x:{'+' if sign else ''}#.{digits}g}".removesuffix(".")


def fixed(x: float) -> str:
    """Two decimals and a sign, for correlations."""
    return "-" if np.isnan(x) else f"{x:+.2f}"


def percent(x: float) -> str:
    """A share in percent."""
    return "-" if np.isnan(x) else f"{100 * x:.0f}\u00a0%"


def value_label(report: Report, j: int) -> str:
    """The value's name; says so where it is the length that was added."""
    return report.values[j] + ("" if j < report.n_requested else " (length)")


def gain_table(report: Report, b: int) -> str:
    """Every constitution and value at one KL."""
    head = [
        "constitution", "class", "value", "gain, sd", "gain", "95 %, given the judge", "95 %, with its labels",
        "win rate", "first order", "net of length", "null band",
    ]  # fmt: skip
    rows = (_gain_row(report, k, b, j) for k in range(len(report.constitutions)) for j in range(len(report.values)))
    caption = (
        f"Gains at KL {report.kl[b]:g} nats; > past the horizon, the KL up to which these rows say what a policy "
        "gains; != first order has the other sign"
    )
    return table(caption, head, rows)


def _gain_row(report: Report, k: int, b: int, j: int) -> list[str]:
    t = report.tilt
    gain, first = report.gain[k, b, j], t.first_order[k, b, j]
    given = between(*report.gain_interval[k, b, j])
    labels = report.gain_interval_labels
    flipped = " !=" if np.sign(first) * np.sign(gain) < 0 else ""
    in_sd = gain / report.value_sd[j] if report.value_sd[j] > 0 else float("nan")
    return [
        report.constitutions[k], str(report.classes[k, b]).replace("_", " "), value_label(report, j),
        fixed(in_sd) + MARK[bool(report.past_horizon[k, b])], number(gain), given,
        "-" if labels is None else between(*labels[k, b, j]),
        number(report.policy.win_rate[k, b, j], sign=False, digits=3), number(first) + flipped,
        "-" if report.net is None else number(report.net.gain[k, b, j]),
        "-" if report.null_band is None else between(*report.null_band[b, j]),
    ]  # fmt: skip


def frontier_tables(report: Report) -> str:
    """A table a value of the gain, in sd, at every KL."""
    order = np.argsort(report.kl, kind="stable")
    head = ["constitution", *(f"KL {report.kl[b]:g}" for b in order)]
    made = []
    for j in range(len(report.values)):
        rows = ([name, *(_point(report, k, int(b), j) for b in order)] for k, name in enumerate(report.constitutions))
        made.append(table(f"Gain in {value_label(report, j)}, sd, +- 95 %; > past the horizon", head, rows))
    return "\n".join(made)


def _point(report: Report, k: int, b: int, j: int) -> str:
    if not report.value_sd[j] > 0:
        return "-"
    ends, gain = report.gain_interval[k, b, j] / report.value_sd[j], fixed(report.gain[k, b, j] / report.value_sd[j])
    error = f" ({in_words(ends, form=fixed)})" if np.isinf(ends).any() else f" +- {(ends[1] - ends[0]) / 2:.2f}"
    return f"{gain}{error}{MARK[bool(report.past_horizon[k, b])]}"
