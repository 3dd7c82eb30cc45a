"""The report as aligned text, at most 110 columns."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from clinometer.common.results import Result
from clinometer.common.visible import fit, visible
from clinometer.inference.tails import in_words

if TYPE_CHECKING:
    from .result import Report

NAME = 21
CONE = (
    "cone: all that raise every value at once; open: there are some; margin: what the best gives the value that gains "
    "least, in its sd, per sqrt(2 KL), on these very rows: where R2 out of fold is about 0, so is what it gains; "
    "half-angle: how far one may turn from the best and still raise all"
)
MIXED = "each tilted alone by its unit-sd score (a tilt by the averaged score gains more at the same KL)"
STATUS = {
    "given": "given: a direction as it came", "cross-fitted": "cross-fitted: by a fit that did not see the prompt",
    "in-sample": "in-sample: fitted to these very rows",
}  # fmt: skip
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
        f"{d.n_rows} rows, {d.prompts}, responses per prompt {low:g} / {middle:g} / {high:g} "
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
        middle = f"{number(report.gain_rows[k, b, j]):>10}{number(round(report.gain_sd[k, b, j], 2), digits=2):>10}"
    error = "-" if p.skewed[k, b, j] else number(se, sign=False)  # it says how far the gain may be on one side alone
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
        "win: chance to beat a response of now", "net of length: at this KL with length out of the score",
        "ESS: share of responses that carry the tilt", "Pareto k: few rows decide above 0.7",
        "horizon: KL up to which these rows can tell" + (", > past it" if report.past_horizon[:, levels].any() else ""),
        *(words for status, words in STATUS.items() if status in report.tilt.fit_status),
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
            low, high, value, auc = (number(round(x, 3), digits=3) for x in (*q.ci[j], q.value[j], q.auc[j]))
            line += f"{value:>16}{f'{low} {high}':>17}{number(round(q.r[j], 2), digits=2):>7}{auc.lstrip('+'):>7}"
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


SECTION_NAME, CELL = 22, 12
MANY = 12  # rows of a table, or sites, before the rest is left to the JSON


def further(report: Report) -> list[str]:
    """Every section that there is, each with an empty line before it."""
    parts = (_groups, _gold, _mixtures, _halves, _simpler, _layers, _spectrum, _rounds)
    return [line for part in parts for line in part(report)]


def _lines(sentence: str) -> list[str]:
    return wrapped(sentence, "", "  ")


def _as_given(report: Report, sentence: str) -> str:
    return f"{sentence} ({report.as_given})" if report.gold is not None else sentence


def _table(title: str, head: list[str], rows: list[tuple[str, list[Any]]]) -> list[str]:
    """Names and up to six cells a line; numbers to three digits."""
    per_line, out = 7, ["", title]
    for start in range(0, len(head), per_line):
        out.append(
            "    " + fit("", SECTION_NAME) + "".join(f" {fit(h, CELL - 1)}" for h in head[start : start + per_line])
        )
        for name, cells in rows[:MANY]:
            line = "".join(f" {_entry(x):<{CELL - 1}}" for x in cells[start : start + per_line])
            out.append("    " + fit(name, SECTION_NAME) + line)
    if len(rows) > MANY:
        out.append(f"    and {len(rows) - MANY} more, in to_json()")
    return out


def _entry(x: Any) -> str:
    if isinstance(x, str):
        return fit(x, CELL - 1)
    return "-" if x is None or np.isnan(x) else f"{x:+.3g}"


def _groups(report: Report) -> list[str]:
    """Subgroups under the recommended cell; ** where bounds that pay for all subgroups and values leave out 0."""
    best, out = report.best(), []
    for g in report.groups if best is not None else ():
        k, b = best.index  # type: ignore[union-attr]

        def shown(m: int, j: int, g: Any = g, k: int = k, b: int = b) -> str:
            low, high = g.paid[m, k, b, j]
            return "-" if np.isnan(low) else f"{g.gain[m, k, b, j]:+.3g}{'**' if low > 0 or high < 0 else ''}"

        rows = [(f"{name} ({n})", [shown(m, j) for j in range(len(report.values))])
                for m, (name, n) in enumerate(zip(g.groups, g.n_prompts, strict=True))]  # fmt: skip
        title = (
            f"by {visible(g.column)} (prompts): gains of {visible(report.constitutions[k])} at {report.kl[b]:g} nats"
            + (", by the gold labels of each" if report.gold is not None else "")
        )
        out += _table(fit(title, 106).rstrip(), list(report.values), rows)
    return out


def _gold(report: Report) -> list[str]:
    g, best = report.gold, report.best()
    if g is None or best is None:
        return []
    k, b = best.index
    rows = [(v, [g.gain_values[k, b, j], report.gain[k, b, j], g.shared[k, b, j], float(g.n_gold[j])])
            for j, v in enumerate(report.values[: report.n_requested])]  # fmt: skip
    title = "by gold labels: gain of the values as given, corrected, what judge and value share, prompts with gold"
    return _table(title, ["as given", "corrected", "shared", "gold"], rows)


def _mixtures(report: Report) -> list[str]:
    p = report.pareto
    if p is None:
        return []
    used = np.flatnonzero(p.mixture > 5e-3)
    mixture = ", ".join(f"{visible(p.constitutions[i])} {p.mixture[i]:.2f}" for i in used[:MANY])
    alone, between = visible(p.constitutions[p.alone]), f"{p.mixture_ci[0]:+.3f} to {p.mixture_ci[1]:+.3f}"
    first = (
        f"best mixture of the constitutions, {MIXED}: {mixture}; worst value {p.mixture_value:+.3f} sd per "
        f"sqrt(2 KL) of its members on these rows, {between} (95 %) on prompts that did not choose it, "
        f"{100 * p.mixture_sure:.0f} % sure that all rise; {alone} alone {p.alone_value:+.3f}; any score at all "
        f"{p.margin:.3f} ({p.margin_ci[0]:.3f} to {p.margin_ci[1]:.3f})"
    )
    out = ["", *_lines(_as_given(report, first))]
    for i, name in enumerate(p.values):
        prices = [
            f"{visible(p.values[j])} {p.price[i, j]:.2g}"
            for j in range(len(p.values))
            if j != i and np.isfinite(p.price[i, j]) and p.price[i, j] > 5e-4
        ]
        if len(p.values) > 1 and np.isfinite(p.best[i]):
            cost = f"; a unit more of a floor costs it: {', '.join(prices)}" if prices else ""
            out += _lines(f"  most of {visible(name)} while no other value falls: {p.best[i]:+.3f}{cost}")
        elif len(p.values) > 1:
            out += _lines(f"  no mixture raises {visible(name)} while no other value falls")
    return out


def _halves(report: Report) -> list[str]:
    r = report.selection
    if r is None:
        return []
    order = np.argsort(-r.share, axis=None, kind="stable")[:4]
    cells = [divmod(int(i), r.share.shape[1]) for i in order]
    chosen = ", ".join(
        f"{visible(r.constitutions[k])} at {r.levels[b]:g} {100 * r.share[k, b]:.0f} %"
        for k, b in cells
        if r.share[k, b] > 0
    )
    held = ", ".join(
        f"{visible(v)} {g:+.3g} ({in_words(ends)}; optimism {o:+.2g})"
        for v, g, ends, o in zip(r.values[: report.n_requested], r.gain, r.interval, r.optimism, strict=False)
    )
    return ["", *_lines(f"chosen on half of the prompts: {chosen}; on the other half it gains {held}")]


def _simpler(report: Report) -> list[str]:
    base = report.baselines
    if base is None:
        return []
    rows = [
        (f"{name}, {kind}", list(table[k]))
        for k, name in enumerate(report.constitutions)
        for kind, table in (
            ("cosine", base.cosine), ("shift", base.projection_difference), ("pooled r", base.pooled_correlation)
        )
        if not np.isnan(table[k]).all()
    ]  # fmt: skip
    title = "simpler measures, without KL or units: cosine, shift of the top response in sd, pooled correlation"
    if report.gold is not None:
        title = title.replace("measures,", "measures (values as given),").replace("correlation", "r")
    return _table(title, list(report.values), rows) if rows else []


def _layers(report: Report) -> list[str]:
    if not report.layers:
        return []
    head = ["margin", *(f"R2 {v}" for v in report.values[: report.n_requested])]
    rows = [(str(site["site"]), [site["margin"], *site["quality"]]) for site in report.layers]
    return _table("layers and positions of the dump: margin of the cone, R2 of each value out of fold", head, rows)


def _spectrum(report: Report) -> list[str]:
    s = report.spectrum
    if s is None:
        return []
    top = ", ".join(f"{x:.3g}" for x in s["eigenvalues"][:5])
    shares = ", ".join(
        f"{visible(v)} {x:.2f}" for v, x in zip(report.values, s["concentration"], strict=False) if not np.isnan(x)
    )
    within = (
        f"; share of each value's direction{' (as given)' * (report.gold is not None)} in the first {s['m']} (chance "
        f"{s['null']:.2g}): {shares}"
        if shares
        else ""
    )
    return ["", *_lines(
        f"within-prompt spectrum: eigenvalues {top}, participation {s['participation']:.3g} of {report.dump.dim}, "
        f"stable rank {s['stable']:.3g}{within}"
    )]  # fmt: skip


def _rounds(report: Report) -> list[str]:
    found = report.iterated
    if found is None:
        return []
    head = ["KL", "ESS", *report.values]
    rows = [
        (f"round {r}", [kl, ess, *gain])
        for r, kl, ess, gain in zip(found["rounds"], found["kl"], found["ess"], found["gain"], strict=True)
    ]
    title = f"rounds of {visible(found['constitution'])} at beta {found['beta']:.3g}, each from the previous policy; "
    title += "-: past the horizon"
    if report.gold is not None:
        title += " (values as given)"
    return _table(fit(title, 106).rstrip(), head, rows)


COLUMNS = 110
LONGEST, KEPT = 200, 80  # characters of a name that is shown whole, and of what is kept of a longer one


def shortened(report: Report) -> Report:
    """The report with overlong names cut wherever they stand: for pages and sentences, never for frames and JSON."""
    names = {*report.constitutions, *report.values, report.dump.name, report.dump.site or ""}
    names |= {n for g in report.groups for n in (g.column, *g.groups)} | {str(e["prompt_id"]) for e in report.examples}
    long = sorted((n for n in names if len(n) > LONGEST), key=lambda n: (-len(n), n))
    # numbered, as names that differ at their end alone would be one
    cut = {n: f"{n[:KEPT]}... ({len(n) - KEPT:,} more characters, long name {i})" for i, n in enumerate(long, 1)}

    def walk(x: Any) -> Any:
        if isinstance(x, str):
            for name, short in cut.items():
                x = x.replace(name, short)
        elif isinstance(x, dict):
            return {walk(k): walk(v) for k, v in x.items()}
        elif type(x) in (list, tuple):
            return type(x)(map(walk, x))
        elif isinstance(x, Result):
            held = walk(vars(x))
            x = object.__new__(type(x))
            vars(x).update(held)
        return x

    return walk(report) if cut else report


def wrapped(sentence: str, first: str, rest: str) -> list[str]:
    return textwrap.wrap(visible(sentence), COLUMNS, initial_indent=first, subsequent_indent=rest) or [first]
