"""What `clinometer inspect` shows of a dump."""

from __future__ import annotations

import argparse
from itertools import islice
from typing import Any

import numpy as np

from clinometer.common.notices import listening
from clinometer.common.visible import cut, fit, visible, width
from clinometer.dump import Dump, open_dump
from clinometer.engine.inputs import non_finite_rows
from clinometer.engine.population import Population, population
from clinometer.engine.weights import spread_within
from clinometer.errors import DumpError
from clinometer.reporting.text import number

from .sources import located, reading

MOST = 200  # of sites, columns and other tensors: nobody reads more, and there may be a hundred thousand


def look(args: argparse.Namespace) -> dict[str, Any]:
    """Everything `inspect` says, as plain data."""
    dump, chosen = _open(args)
    with listening():  # said below, in its own words
        p = population(dump.n_rows, dump.prompt_ids)
    sizes = p.sizes
    bad = non_finite_rows(dump) if dump.n_rows else np.zeros(0, np.int64)
    extras = {n: list(a.shape) for n, a in islice(dump.extras.items(), MOST) if n not in dump.candidates}
    out: dict[str, Any] = {
        "name": dump.name, "n_rows": dump.n_rows, "dim": dump.dim, "dtype": dump.dtype, "tensor": dump.tensor,
        "sites": [
            {"name": c.name, "layer": c.layer, "rows": c.n_rows, "dim": c.dim, "dtype": c.dtype}
            for c in islice(dump.candidates.values(), MOST)
        ],
        "n_sites": len(dump.candidates), "n_columns": len(dump.columns), "n_extras": len(dump.extras),
        "n_prompts": dump.n_prompts, "has_prompt_ids": dump.prompt_ids is not None,
        "responses": [float(f(sizes)) if len(sizes) else 0.0 for f in (np.min, np.median, np.max)],
        "n_singletons": int((sizes == 1).sum()), "policy": dump.policy, "source": dict(dump.source or {}),
        "n_nonfinite_rows": len(bad),
        "columns": [_column(n, dump.columns[n], p) for n in islice(dump.columns, MOST)], "extras": extras,
    }  # fmt: skip
    out["warnings"] = _warnings(dump, out, chosen)
    return out


def _open(args: argparse.Namespace) -> tuple[Dump, bool]:
    """The dump, and whether its tensor was picked here: one inspects before knowing the names."""
    rest = {**reading(args), "nonfinite": args.nonfinite}
    try:
        return open_dump(located(args.dump), **rest), False
    except DumpError as error:
        if not error.candidates:
            raise
        return open_dump(located(args.dump), **{**rest, "tensor": error.candidates[0]}), True


def _column(name: str, column: Any, p: Population) -> dict[str, Any]:
    out: dict[str, Any] = {"name": name, "dtype": str(column.dtype)}
    if column.dtype.kind not in "fiub":
        return {**out, "distinct": len(np.unique(column))}
    a = np.asarray(column, np.float64)
    seen = np.isfinite(a)
    out |= {"nan": int(np.isnan(a).sum()), "mean": float(a[seen].mean()) if seen.any() else float("nan")}
    return {**out, "within_sd": spread_within(np.where(seen, a, np.nan), p)}


def _warnings(dump: Dump, found: dict[str, Any], chosen: bool) -> list[str]:
    out = []
    if chosen:
        out.append(f"several tensors can be phi; shown is {dump.tensor}, choose with --tensor or --layer")
    if dump.prompt_ids is None:
        out.append(
            "no prompt ids: all rows would be taken as one prompt; pass --prompt-ids NAME|FILE.npy, or a column "
            "prompt_id in --columns FILE.npz"
        )
    out += [f"left out: {n!r} {why}" for n, why in dump.left_out.items()]
    if not dump.columns:
        out.append("no columns: labels and judges of the rows come from --columns FILE.npz")
    if found["n_singletons"]:
        out.append(
            f"{found['n_singletons']} of {found['n_prompts']} prompts have a single response, which no tilt changes"
        )
    if 1 < found["responses"][1] <= 4:
        out.append("four responses per prompt or fewer: too few to estimate gains except at small KL")
    if dump.policy is None:
        out.append("policy unknown: results are a re-weighting of these rows, not a forecast")
    elif dump.policy == "off_policy":
        out.append("off policy: results are a re-weighting of these rows, not a forecast")
    if found["n_nonfinite_rows"]:
        count = found["n_nonfinite_rows"]
        out.append(f"{count} rows hold NaN or Inf: passes refuse them; --nonfinite drop leaves out their prompts")
    if not dump.has_column("n_tokens"):
        out.append("no column n_tokens: gains net of length cannot be computed")
    return out


def shown(found: dict[str, Any]) -> str:
    """The same as text."""
    low, middle, high = found["responses"]
    lines = [
        f"{visible(found['name'])}: {found['n_rows']} rows x {found['dim']} {found['dtype']}"
        + (f", tensor {visible(found['tensor'])}" if found["tensor"] is not None else ""),
        f"{found['n_prompts']} prompts, responses per prompt {low:g} / {middle:g} / {high:g} (min / median / max)",
        f"policy {found['policy'] or 'unknown'}",
    ]
    if found["source"]:
        lines.append("source " + visible(", ".join(f"{k}: {v}" for k, v in found["source"].items()))[:300])
    if found["sites"]:
        lines += ["", "sites"]
        lines += [f"  {cut(s['name'])}  {s['rows']} x {s['dim']} {s['dtype']}" for s in found["sites"]]
        lines += _more(found["n_sites"])
    room = min(48, max([width(cut(c["name"])) for c in found["columns"]] + [6]))
    if found["columns"]:
        lines += ["", "  " + fit("column", room) + f"  {'dtype':<9}{'mean':>12}{'within sd':>12}{'NaN':>9}"]
    lines += ["  " + fit(cut(c["name"]), room) + "  " + _line(c) for c in found["columns"]]
    lines += _more(found["n_columns"])
    if found["extras"]:
        lines += ["", "other tensors"]
        lines += [f"  {cut(n)}  {' x '.join(map(str, s))}" for n, s in found["extras"].items()]
        lines += _more(found["n_extras"])
    lines += ["", *[f"warning: {visible(w)}" for w in found["warnings"]]]
    return "\n".join(line.rstrip() for line in lines).rstrip()


def _more(count: int) -> list[str]:
    return [f"  ... and {count - MOST:,} more"] if count > MOST else []


def _line(c: dict[str, Any]) -> str:
    if "distinct" in c:
        return f"{visible(c['dtype']):<9}{c['distinct']:>12} distinct"
    mean, spread = number(c["mean"], sign=False), number(c["within_sd"], sign=False)
    return f"{c['dtype']:<9}{mean:>12}{spread:>12}{c['nan']:>9}"
