"""Printing: JSON where asked, tables otherwise; names from a dump never reach a terminal raw."""

from __future__ import annotations

import argparse
import re
import sys
from typing import Any

import numpy as np

from clinometer.common.visible import cut, fit, visible
from clinometer.files.atomic import save_text
from clinometer.reporting.export import dumps
from clinometer.reporting.text import number


def emit(args: argparse.Namespace, payload: Any) -> None:
    """Print and write the JSON that was asked for."""
    if not (args.json or args.json_file):
        return
    text = dumps(payload)
    if args.json_file:
        save_text(args.json_file, text + "\n")
    if args.json:
        print(text)


def written(args: argparse.Namespace, what: str, *, label: str = "wrote ", to_stderr: bool = False) -> None:
    """Say what was done, aside where stdout carries JSON."""
    aside = to_stderr or args.json
    who = "clinometer: " if aside else ""
    print(f"{who}{label}{visible(what)}", file=sys.stderr if aside else sys.stdout)


def tilt_table(t: Any) -> str:
    """A TiltResult or the sums of one as text, one block per direction and beta."""
    lines = [f"{t.n_rows} rows, {t.n_prompts} prompts, policy {visible(t.policy or 'unknown')}"]
    full = hasattr(t, "kl_horizon")  # merged shards have no scores for the horizon and the tail index
    for k, name in enumerate(t.directions):
        horizon = ""
        if full:
            from_where = f"beyond {t.kl_horizon[k]:.3g} nats" if t.kl_horizon[k] > 0 else "at every KL"
            horizon = (
                f"; {from_where} few responses bias gains of the rows by more than the error: `report` corrects them"
            )
        lines += ["", f"{cut(name)}   ({t.fit_status[k]}{horizon}{_explained(t, k)})"]
        for b in range(t.betas.shape[1]):
            cells = {
                "beta": t.betas,
                "kl": t.kl,
                "ESS": t.ess,
                "max ratio": t.max_ratio,
            }
            if full:
                cells["Pareto k"] = t.pareto_k
            lines.append("  " + "   ".join(f"{n} {number(a[k, b], sign=False)}" for n, a in cells.items()))
            for j, value in enumerate(t.values):
                gain = f"{number(t.gain[k, b, j]):>11} +- {number(t.gain_se[k, b, j], sign=False):<11}"
                win = number(t.win_rate[k, b, j], sign=False, digits=3)
                first = number(t.first_order[k, b, j])
                lines.append("    " + fit(value, 28) + f"{gain} first order {first:<11} win {win}")
    return "\n".join(line.rstrip() for line in lines)


def _explained(t: Any, k: int) -> str:
    """What the columns adjusted for say of a score, where there are any."""
    r2 = getattr(t, "adjusted_r2", None)
    if r2 is None:
        return ""
    share = f"{100 * r2[k]:.0f} %" if np.isfinite(r2[k]) else "none"
    return f"; net of columns that explain {share} of it"


def pareto_table(r: Any) -> str:
    """A ParetoResult as text; gains are correlations inside prompts."""

    def number_of(x: float) -> str:
        return number(x, digits=3)

    def sure(ci: Any, share: float) -> str:
        return f"   on other prompts [{number_of(ci[0])}, {number_of(ci[1])}] (95 %), {share:.0%} sure that all rise"

    def mixed(weights: Any, names: Any) -> list[str]:
        used = sorted((-w, cut(n)) for w, n in zip(weights, names, strict=True) if w > 0)
        return [f"    {-w:6.1%}  {name}" for w, name in used]

    lines = [
        f"{r.n_rows} rows, {r.n_prompts} prompts, {r.n_unlabelled} rows without every label left out",
        "gains are correlations of score and value inside prompts; a mixture's are averages of its members', each",
        "tilted alone: a tilt by the average of their unit-sd scores gains more at the same KL",
        "improvable: raises every value on these rows, which chose it; blocked: proved that none does",
        "",
        f"any score at all     worst gain {number_of(r.margin)}  {r.status}{sure(r.margin_ci, r.sure)}",
        *mixed(r.direction, r.values),
        f"mixture              worst gain {number_of(r.mixture_value)}  {r.mixture_status}"
        + sure(r.mixture_ci, r.mixture_sure),
        *mixed(r.mixture, r.constitutions),
        f"single constitution  worst gain {number_of(r.alone_value)}  {cut(r.constitutions[r.alone])}",
        "",
        "largest gain of a mixture if no other value may fall, and what raising a floor by 1 would cost it",
        "    " + fit("value", 24) + f"{'gain':>9}  " + "".join(f"{fit(v, 14):>16}" for v in r.values),
    ]
    for i, value in enumerate(r.values):
        cells = "".join(f"{'-' if i == j else number(x, sign=False, digits=3):>16}" for j, x in enumerate(r.price[i]))
        gain = number_of(r.best[i]) if r.best[i] == r.best[i] else "none"
        lines.append("    " + fit(value, 24) + f"{gain:>9}  " + cells)
    lines += ["", *_trade_offs(r), "", *_next_steps(r)]
    return "\n".join(line.rstrip() for line in lines)


MOST_CONSTITUTIONS = 40
SURE = 0.975


def _trade_offs(r: Any) -> list[str]:
    """Gains of the constitutions, the largest worst gain first; * marks those on the Pareto front."""
    order = sorted(range(len(r.gains)), key=lambda i: (-float(r.gains[i].min()), i))
    lines = [
        "gains of each constitution, * where no other gains as much of every value",
        "    " + fit("constitution", 26) + "".join(f"{fit(v, 14):>16}" for v in r.values),
    ]
    for i in order[:MOST_CONSTITUTIONS]:
        cells = "".join(f"{number(x, digits=3):>16}" for x in r.gains[i])
        lines.append("    " + ("* " if r.front[i] else "  ") + fit(r.constitutions[i], 24) + cells)
    if len(order) > MOST_CONSTITUTIONS:
        lines.append(f"    and {len(order) - MOST_CONSTITUTIONS} more; --json has them all")
    return lines


def _next_steps(r: Any) -> list[str]:
    """What the bounds say to do: train on the mixture, look for a constitution, or give up a floor."""
    worst = number(r.mixture_value, digits=3)
    if r.mixture_status == "improvable" and r.mixture_sure > SURE:
        lines = [f"next: the mixture raises every value, by {worst} sd per sqrt(2 KL) of its members on these rows"]
    elif r.mixture_status == "improvable":
        lines = ["next: cannot tell whether a mixture raises every value: on these rows, which chose it, it does"]
    elif r.status == "improvable":
        lines = ["next: no mixture of these raises every value, but a direction does: add a constitution near it"]
    else:
        lines = ["next: no direction is known to raise every value; lower a floor or leave a value out"]
    dear = [(x, i, j) for i, row in enumerate(r.price) for j, x in enumerate(row) if x > 0]
    if dear:
        price, i, j = max(dear)
        lines.append(
            f"      the dearest floor: each 0.01 asked of {cut(r.values[j])} takes "
            f"{number(0.01 * price, sign=False, digits=3)} from the best {cut(r.values[i])}"
        )
    return lines


# arguments of Python functions -> options; a message names an argument in front, or says what to pass
_WORDS = (
    (r"^values: ", "--value: "),
    (r"^(constitutions|clusters|logprobs|covariates|columns): ", r"--\1: "),
    (r"^prompt_ids: ", "--prompt-ids: "),
    (r"^(folds|alpha|method|base|precision) is ", r"--\1 is "),
    (r"^n_threads is ", "--threads is "),
    (r"choose with tensor=('[^']*'|\"[^\"]*\")", r"choose with --tensor \1"),
    (r" or layer=(\d+)", r" or --layer \1"),
    (r"open the dump with nonfinite='drop'", "pass --nonfinite drop"),
    (r"open_dump\(columns=\) or Fold\.absorb adds some", "--columns FILE.npz adds some"),
    (r"check_source=False", "--any-source"),
    (r"pass prompt_ids=", "pass --prompt-ids NAME|FILE"),
)


def in_options(message: str) -> str:
    """The message with options in place of arguments.

    >>> in_options("values: no column 'x' in d")
    "--value: no column 'x' in d"
    """
    for pattern, words in _WORDS:
        message = re.sub(pattern, words, message)
    return message
