"""Printing: JSON where asked, tables otherwise; names from a dump never reach a terminal raw."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from ..reporting.export import dumps
from ..reporting.safe import fit, visible
from ..reporting.text import number

__all__ = ["emit", "tilt_table", "written"]


def emit(args: argparse.Namespace, payload: Any) -> None:
    """Print and write the JSON that was asked for."""
    if not (args.json or args.json_file):
        return
    text = dumps(payload)
    if args.json_file:
        with open(args.json_file, "w", encoding="utf-8", newline="\n") as file:
            file.write(text + "\n")
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
        horizon = f"; KL horizon {number(t.kl_horizon[k], sign=False, digits=3)} nats" if full else ""
        lines += ["", f"{visible(name)}   ({t.fit_status[k]}{horizon})"]
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
