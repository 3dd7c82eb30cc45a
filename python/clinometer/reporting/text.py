"""The report as aligned text, at most 110 columns."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from clinometer.common.escaping import fit, visible

from .sections_text import further
from .wrapping import COLUMNS, wrapped

if TYPE_CHECKING:
    from .result import Report

__all__ = ["number", "shown_levels", "text"]

NAME = 21
Floats = NDArray[np.float64]


def number(x: float, *, sign: bool = True, digits: int = 4) -> str:
    """A number in at most ten characters; "-" where there is none."""
    if np.isnan(x):
        return "-"
    if np.isinf(x):
        return "inf" if x > 0 else "-inf"
    plus = "+" if sign else ""
    small = x == 0 or 10.0**-digits <= abs(x) < 1e4
    return f"{x:{plus}.{digits}f}" if small else f"{x:{plus}.2e}"


def _short(x: float) -> str:
    return number(x, sign=False, digits=3)


def shown_levels(report: Report, every_kl: bool) -> list[int]:
    """Indices of the KL levels to show, ascending in KL: every one, or the two largest that have an estimate."""
    order = np.argsort(report.kl, kind="stable")
    told = order[~report.past_horizon[:, order].all(axis=0)]
    return [int(b) for b in (order if every_kl else (told if len(told) else order)[-2:])]


def text(report: Report, *, every_kl: bool = False) -> str:
    """The whole report."""
    lines = _head(report)
    levels = shown_levels(report, every_kl)
    for k in range(len(report.constitutions)):
        lines += ["", *_constitution(report, k, levels)]
    if len(levels) < len(report.kl):
        hidden = [f"{x:g}" for b, x in enumerate(report.kl) if b not in levels]
        lines += ["", f"not shown: kl {', '.join(hidden)}; to_text(every_kl=True) prints them"]
    lines += _reading(report)
    lines += ["", *_values(report)]
    lines += _cone(report)
    lines += further(report)
    lines += _examples(report)
    for title, sentences in (("notes", report.notes), ("not covered", report.not_covered)):
        lines += ["", title]
        for sentence in sentences:
            lines += wrapped(sentence, "  - ", "    ")
    lines += ["", *wrapped(report.verdict(), "verdict: ", "  ")]
    return "\n".join(line.rstrip() for line in lines)


def _head(report: Report) -> list[str]:
    d = report.dump
    site = "" if d.site is None else f", site {visible(d.site)}"
    low, middle, high = d.responses
    return [
        *wrapped(f"clinometer report: {visible(d.name)}{site}, {d.dim} dimensions, {d.dtype}", "", "  "),
        f"{d.n_rows} rows, {d.n_prompts} prompts, responses per prompt {low:g} / {middle:g} / {high:g} "
        f"(min / median / max), base {d.base}",
        d.kind,
    ]


def _constitution(report: Report, k: int, levels: list[int]) -> list[str]:
    t = report.tilt
    kind = "value as judge" if report.self_judged else "constitution"
    about = [t.fit_status[k]]
    if report.linear_share is not None and not np.isnan(report.linear_share[k]):
        about.append(f"linear share {number(report.linear_share[k], sign=False, digits=2)}")
    if report.label_status is not None:
        about.append("labels known" if report.label_status[k] == "ok" else f"no label error: {report.label_status[k]}")
    if not np.isnan(report.horizon[k]):
        about.append(f"KL horizon {number(report.horizon[k], sign=False, digits=2)} nats")
    lines = wrapped(f"{kind} {visible(report.constitutions[k])}   ({'; '.join(about)})", "", "  ")
    for b in levels:
        lines += _cell(report, k, b)
    return lines


def _cell(report: Report, k: int, b: int) -> list[str]:
    t = report.tilt
    mark = ">" if report.past_horizon[k, b] else " "
    reached = "" if report.reached[k, b] else f" (rows reach {t.kl[k, b]:.3g})"
    p = report.policy
    lines = wrapped(
        f"kl {report.kl[b]:g}{reached}   {report.classes[k, b]}   beta {_short(p.betas[k, b])}   "
        f"ESS {_short(t.ess[k, b])} (min {_short(t.ess_min[k, b])})   "
        f"Pareto k {number(t.pareto_k[k, b], sign=False, digits=2)}   "
        f"reverse KL {_short(t.reverse_kl[k, b])}",
        f" {mark}", "    ",
    )  # fmt: skip
    known = _with_labels(report, k)
    middle = f"{'with labels':<20}" if known else f"{'on rows':>10}{'in sd':>10}"
    lines.append(
        "    " + fit("value", NAME) + f"{'gain':>10}{'+-se':>9}    {'95 %':<20}" + middle + f"{'win':>6}"
        f"{'net of length':>15}"
    )
    return lines + [_row(report, k, b, j, known) for j in range(len(report.values))]


def _with_labels(report: Report, k: int) -> bool:
    return report.labels_known is not None and bool(report.labels_known[k])


def _pair(x: Floats) -> str:
    return " ".join("-" if np.isnan(v) else f"{v:+.3g}" for v in x)


def _row(report: Report, k: int, b: int, j: int, known: bool) -> str:
    p = report.policy
    gain, se, own = p.gain[k, b, j], p.gain_se[k, b, j], report.gain_interval[k, b, j]
    # corrected for every number in the table, so that the best one may be picked by eye
    paid = report.chosen_bounds[k, b, j]
    clear = "**" if paid[0] > 0 or paid[1] < 0 else "*" if own[0] > 0 or own[1] < 0 else ""
    band = None if report.null_band is None else report.null_band[b, j]
    chance = "~" if band is not None and band[0] <= report.gain_rows[k, b, j] <= band[1] else " "
    net = "-" if report.net is None else number(report.net.gain[k, b, j])
    name = report.values[j] + ("" if j < report.n_requested else " (length)")
    if known and report.gain_interval_labels is not None:
        middle = f"{_pair(report.gain_interval_labels[k, b, j]):<20}"
    else:
        middle = f"{number(report.gain_rows[k, b, j]):>10}{number(report.gain_sd[k, b, j], digits=2):>10}"
    return (
        "    " + fit(name, NAME) + f"{number(gain):>10}{number(se, sign=False):>9}{clear:<2}{chance} {_pair(own):<20}"
        + middle + f"{number(p.win_rate[k, b, j], sign=False, digits=3):>6}{net:>15}"
    )  # fmt: skip


def _reading(report: Report) -> list[str]:
    """What the marks mean, and what lies past the horizon, once."""
    marks = ["* the 95 % interval, given the judge, leaves out 0; ** also widened for every number of the table"]
    if report.null_band is not None:
        marks.append("~ within 95 % of random directions at this KL")
    if report.past_horizon.any():
        marks.append("> beyond the KL horizon: these rows give no estimate of the policy's gain")
    return ["", *wrapped("; ".join(marks), "", "  ")]


def _values(report: Report) -> list[str]:
    """One line a value: spread, how well it is encoded, how judges correlate with it."""
    q = report.encoding_quality
    header = (
        "    "
        + fit("value", NAME)
        + f"{'baseline':>10}{'within sd':>11}{'R2 out of fold':>16}{'95 %':>17}{'r':>7}{'AUC':>7}"
    )
    lines = ["values (encoding quality of a ridge direction, within prompts, out of fold)", header]
    for j, name in enumerate(report.values):
        line = "    " + fit(name, NAME) + f"{number(report.tilt.baseline[j], sign=False):>10}"
        line += f"{number(report.value_sd[j], sign=False):>11}"
        if q is not None and j < report.n_requested:
            between = f"{number(q.ci[j, 0], digits=3)} {number(q.ci[j, 1], digits=3)}"
            line += f"{number(q.value[j], digits=3):>16}{between:>17}{number(q.r[j], digits=2):>7}"
            line += f"{number(q.auc[j], sign=False, digits=3):>7}"
        lines.append(line)
    lines += ["", "correlation of score and value inside prompts"]
    who = list(zip(report.constitutions, report.correlation, strict=True))
    if report.generation_correlation is not None:
        who.append(("generation (u_gen)", report.generation_correlation))
    per_line = (COLUMNS - 4 - NAME) // 14
    for start in range(0, len(report.values), per_line):
        part = range(start, min(start + per_line, len(report.values)))
        lines.append("    " + fit("", NAME) + "".join("  " + fit(report.values[j], 12) for j in part))
        for name, row in who:
            cells = "".join(f"  {number(row[j], digits=2):<12}" for j in part)
            lines.append("    " + fit(name, NAME) + cells)
    return lines


def _cone(report: Report) -> list[str]:
    c = report.cone
    if c is None:
        return []
    state = {True: "open", False: "empty", None: "undecided"}[c.feasible]
    weights = ", ".join(
        f"{visible(v)} {w:.2f}" for v, w in zip(report.values[: report.n_requested], c.weights, strict=True)
    )
    kind = "directions" if c.direction is not None or report.encoding_quality is not None else "scores of any kind"
    first = (
        f"cone of {kind} that improve every value: {state}, margin {c.margin:.3f} sd per sqrt(2 KL) "
        f"of the worst value, half-angle {np.degrees(c.half_angle):.1f} degrees"
    )
    best = f"best direction weights the values' unit directions {weights}" if c.direction is not None else ""
    return ["", *wrapped(first, "", "  "), *(wrapped(best, "  ", "  ") if best else [])]


def _examples(report: Report) -> list[str]:
    lines: list[str] = []
    for e in report.examples:
        head = f"x{e['ratio']:.2f}  prompt {visible(e['prompt_id'])} row {e['row']}: "
        lines += wrapped(head + visible(e["text"])[:200], "    ", "      ")
    title = "responses that gain and lose most probability under the recommended tilt"
    return ["", title, *lines] if lines else []
