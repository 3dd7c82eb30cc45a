"""The report as aligned text, at most 110 columns."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from clinometer.common.escaping import fit, visible
from clinometer.inference.tails import in_words

from .sections_text import further
from .wrapping import COLUMNS, wrapped

if TYPE_CHECKING:
    from .result import Report

__all__ = ["COLUMNS", "CONE", "MOVES_NOTHING", "NAME", "heading", "legend", "number", "row", "text", "wrapped"]

NAME = 21
CONE = (
    "cone: all that raise every value at once; open: there are some; margin: what the best gives the value that gains "
    "least, in its sd, per sqrt(2 KL); half-angle: how far one may turn from the best and still raise all"
)
MOVES_NOTHING = "moves nothing: its scores are equal inside every prompt"
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


def text(report: Report) -> str:
    """The whole report."""
    lines = [*wrapped(report.verdict(), "verdict: ", "  "), "", *_head(report)]
    levels = [int(b) for b in np.argsort(report.kl, kind="stable")]
    for k in range(len(report.constitutions)):
        lines += ["", *_constitution(report, k, levels)]
    lines += ["", *legend(report, levels)]
    lines += ["", *_values(report)]
    lines += _cone(report)
    lines += further(report)
    lines += _examples(report)
    for title, sentences in (("notes", report.notes), ("not covered", report.not_covered)):
        lines += ["", title]
        for sentence in sentences:
            lines += wrapped(sentence, "  - ", "    ")
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
        far = f"horizon {number(report.horizon[k], sign=False, digits=2)} nats"
        about.append(MOVES_NOTHING if report.idle[k] else far)
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
    known = report.labels_known is not None and bool(report.labels_known[k])
    return [*lines, heading(known), *(row(report, k, b, j, known) for j in range(len(report.values)))]


def heading(known: bool) -> str:
    """What stands over the rows; `known`: of constitutions whose labels' error is known."""
    middle = f"{'with labels':<20}" if known else f"{'on rows':>10}{'in sd':>10}"
    start = "    " + fit("value", NAME) + f"{'gain':>10}{'+-se':>9}    {'95 %':<20}"
    return f"{start}{middle}{'win':>6}{'net of length':>15}"


def row(report: Report, k: int, b: int, j: int, known: bool) -> str:
    """One value under one constitution at one KL."""
    p = report.policy
    gain, se, own = p.gain[k, b, j], p.gain_se[k, b, j], report.gain_interval[k, b, j]
    # corrected for every number in the table, so that the best one may be picked by eye
    paid = report.chosen_bounds[k, b, j]
    clear = "**" if paid[0] > 0 or paid[1] < 0 else "*" if own[0] > 0 or own[1] < 0 else ""
    band = None if report.null_band is None else report.null_band[b, j]
    rows = report.gain_rows if report.gold is None else report.gold.gain_rows_values  # as the band's are
    chance = "~" if band is not None and rows is not None and band[0] <= rows[k, b, j] <= band[1] else " "
    net = "-" if report.net is None else number(report.net.gain[k, b, j])
    name = report.values[j] + ("" if j < report.n_requested else " (length)")
    if known and report.gain_interval_labels is not None:
        middle = f"{in_words(report.gain_interval_labels[k, b, j], ' '):<20}"
    else:
        middle = f"{number(report.gain_rows[k, b, j]):>10}{number(report.gain_sd[k, b, j], digits=2):>10}"
    error = "-" if p.skewed[j] else number(se, sign=False)  # it says how far the gain may be on one side alone
    return (
        "    " + fit(name, NAME) + f"{number(gain):>10}{error:>9}{clear:<2}{chance} {in_words(own, ' '):<20}"
        + middle + f"{number(p.win_rate[k, b, j], sign=False, digits=3):>6}{net:>15}"
    )  # fmt: skip


def legend(report: Report, levels: list[int]) -> list[str]:
    """What the columns and marks of the tables at these levels mean."""
    known = report.labels_known is not None and bool(report.labels_known.any())
    rows = "on rows: of the tilt of these rows; in sd: per sd inside prompts" if not known or len(levels) > 1 else ""
    said = [
        "gain: mean of a value under the policy at that KL less its mean now", rows, "95 %: given the judge",
        "at least, at most: too few extremes for both bounds" if report.policy.skewed.any() else "",
        "with labels: with the error of the labels that it was fitted to" if known else "",
        "* leaves out 0, ** also if widened for every number of the table",
        "" if report.null_band is None else "~ random directions do as much"
        + (f" ({report.as_given})" if report.gold is not None else ""),
        "win: chance to beat a response of now", "net of length: once length is out of the score",
        "ESS: share of responses that carry the tilt", "Pareto k: few rows decide above 0.7",
        "horizon: KL up to which these rows can tell" + (", > past it" if report.past_horizon[:, levels].any() else ""),
    ]  # fmt: skip
    return wrapped("; ".join(filter(None, said)), "", "  ")


def _values(report: Report) -> list[str]:
    """One line a value: spread, how well it is encoded, how judges correlate with it."""
    q = report.encoding_quality
    header = (
        "    "
        + fit("value", NAME)
        + f"{'baseline':>10}{'within sd':>11}{'R2 out of fold':>16}{'95 %':>17}{'r':>7}{'AUC':>7}"
    )
    kind = _given(report, "values (encoding quality of a ridge direction, within prompts, out of fold)")
    lines = [*kind, header]
    for j, name in enumerate(report.values):
        line = "    " + fit(name, NAME) + f"{number(report.tilt.baseline[j], sign=False):>10}"
        line += f"{number(report.value_sd[j], sign=False):>11}"
        if q is not None and j < report.n_requested:
            between = f"{number(q.ci[j, 0], digits=3)} {number(q.ci[j, 1], digits=3)}"
            line += f"{number(q.value[j], digits=3):>16}{between:>17}{number(q.r[j], digits=2):>7}"
            line += f"{number(q.auc[j], sign=False, digits=3):>7}"
        lines.append(line)
    lines += ["", *_given(report, "correlation of score and value inside prompts")]
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
    of = f", {report.as_given}" if report.gold is not None else ""
    first = (
        f"cone of {kind} that improve every value{of}: {state}, margin {c.margin:.3f}, half-angle "
        f"{np.degrees(c.half_angle):.1f} degrees ({CONE})"
    )
    best = f"best direction weights the values' unit directions {weights}" if c.direction is not None else ""
    return ["", *wrapped(first, "", "  "), *(wrapped(best, "  ", "  ") if best else [])]


def _given(report: Report, title: str) -> list[str]:
    """A title of numbers that gold labels do not correct."""
    return wrapped(f"{title}, {report.as_given}" if report.gold is not None else title, "", "  ")


def _examples(report: Report) -> list[str]:
    lines: list[str] = []
    for e in report.examples:
        head = f"x{e['ratio']:.2f}  prompt {visible(e['prompt_id'])} row {e['row']}: "
        lines += wrapped(head + visible(e["text"])[:200], "    ", "      ")
    title = "responses that gain and lose most probability under the recommended tilt"
    return ["", title, *lines] if lines else []
