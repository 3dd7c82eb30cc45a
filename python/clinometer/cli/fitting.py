"""`clinometer fit`: directions from labels, pairs or log-probabilities, saved for --constitutions."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from clinometer.common.visible import cut, did_you_mean, visible
from clinometer.common.visible import fit as padded
from clinometer.reporting.text import number

from .output import emit, written

if TYPE_CHECKING:
    from clinometer.dump import Dump
    from clinometer.fit import DirectionFit


def fit(args: argparse.Namespace) -> int:
    """Fit, save, and say how well the directions do on prompts they did not see."""
    from .sources import no_values, opened, pass_options

    asked = {"--value": args.value, "--pairs": args.pairs, "--generation": args.generation}
    kinds = [kind for kind, given in asked.items() if given]
    if len(kinds) > 1:
        raise ValueError(f"{' and '.join(kinds)} fit different things: give one of them, and a file for each")
    alpha = _alpha(args.alpha)
    _refuse_others(args, kinds[0] if kinds else "--value")
    dump = opened(args)
    options = pass_options(args)
    if args.clusters is not None:
        options["clusters"] = args.clusters
    if not kinds:
        raise no_values(dump, "--value NAME, or --pairs A,B,PROB, or --generation")
    made = _fitted(args, dump, alpha, options)
    made.save(args.output)
    emit(args, {"file": args.output, **summary(made)})
    if not args.json:
        print(fit_table(made))
    written(args, f"{args.output}; use it as --constitutions {args.output}")
    return 0


def _fitted(args: argparse.Namespace, dump: Dump, alpha: Any, options: dict[str, Any]) -> DirectionFit:
    from clinometer.fit import fit_generation_direction, fit_preference_direction, fit_value_direction

    if args.pairs:
        pairs, prob, names = _pairs(dump, args.pairs)
        how = {"alpha": alpha, "folds": args.folds, "position_bias": args.position_bias}
        return fit_preference_direction(dump, pairs, prob, names=names, **how, **options)
    if args.generation:
        alpha = 0.0 if alpha == "cv" else alpha
        how = {"covariates": args.covariates or None, "alpha": alpha, "folds": args.folds}
        return fit_generation_direction(dump, args.logprobs or "logprob", **how, **options)
    how = {"method": args.method or "ridge", "alpha": alpha, "folds": args.folds}
    return fit_value_direction(dump, args.value, **how, **options)


def _refuse_others(args: argparse.Namespace, kind: str) -> None:
    """Options of another kind of fit would be ignored in silence."""
    own = {"--method": "--value", "--position-bias": "--pairs"}
    own |= dict.fromkeys(("--logprobs", "--covariates"), "--generation")
    for option, wanted in own.items():
        if getattr(args, option[2:].replace("-", "_")) and wanted != kind:
            raise ValueError(f"{option} goes with {wanted}, and not with {kind}")


def _alpha(given: str) -> Any:
    if given == "cv":
        return given
    try:
        return float(given)
    except ValueError:
        raise ValueError(f"--alpha is {given!r}, wanted cv or a number >= 0") from None


def _pairs(dump: Dump, given: list[str]) -> tuple[NDArray[Any], NDArray[Any], list[str]]:
    """Rows (P, 2), probabilities (P, K) and K names, from "A,B" or "A,B,PROB.." of the dump's tensors."""
    parts = [[name.strip() for name in one.split(",")] for one in given]
    if short := [one for one, names in zip(given, parts, strict=True) if len(names) < 2]:
        raise ValueError(
            f"--pairs is {short[0]!r}; wanted A,B,PROB: tensors of two row numbers and of the probability that A wins"
        )
    ends = {tuple(names[:2]) for names in parts}
    if len(ends) > 1:
        raise ValueError("--pairs: all of one fit share A and B; fit others into a file of their own")
    a, b = ends.pop()
    first, second = _tensor(dump, a), _tensor(dump, b)
    names = [name for one in parts for name in one[2:]]
    columns = [_tensor(dump, name) for name in names]
    if wrong := [n for n, c in zip([b, *names], [second, *columns], strict=True) if len(c) != len(first)]:
        raise ValueError(f"--pairs: {wrong[0]!r} does not have one entry for each of the {len(first)} pairs of {a!r}")
    pairs = np.stack([first, second], axis=1)
    if not names:
        return pairs, np.ones(len(pairs)), [f"{a}>{b}"]
    return pairs, np.stack([np.asarray(c, np.float64) for c in columns], axis=1), names


def _tensor(dump: Dump, name: str) -> NDArray[Any]:
    """A 1-D tensor of the dump or of its pairs."""
    for held in (dump.pairs or {}, dump.extras, dump.columns):
        if name in held and np.ndim(found := held[name]) == 1:
            return np.asarray(found)
    known = [*(dump.pairs or {}), *(n for n in dump.extras if n not in dump.candidates)]
    there = ", ".join(repr(visible(n)) for n in known) or "none; write_dump(..., pairs=) makes some"
    hint = did_you_mean(name, known)
    raise ValueError(f"--pairs: no tensor {name!r} in {dump.name}; of pairs there are {there}{hint}")


def summary(made: DirectionFit) -> dict[str, Any]:
    """What the table shows, as plain data."""
    q, pooled = made.encoding_quality, made.pooled_quality
    return {
        "method": made.method, "n_rows": made.n_rows, "n_prompts": made.n_prompts, "n_dropped": made.n_dropped,
        "n_pairs": made.n_pairs, "folds": len(made.fold_vectors),
        "directions": [
            {
                "name": name, "labels": made.labels[j], "alpha": made.alpha[j], "r2": q.value[j], "r2_ci": q.ci[j],
                "r": q.r[j], "auc": q.auc[j], "rho2_debiased": q.rho2_debiased[j], "rho2_ci": q.rho2_ci[j],
                "pooled_r2": None if pooled is None else pooled.value[j],
            }
            for j, name in enumerate(made.names)
        ],
    }  # fmt: skip


def fit_table(made: DirectionFit) -> str:
    """Quality of each direction out of fold, with intervals, at most 110 columns wide."""
    said = summary(made)
    counts = f"{said['n_rows']} rows, {said['n_prompts']} prompts"
    counts += f", {said['n_pairs']} pairs" if said["n_pairs"] else ""
    heads = (("alpha", 9), ("R2", 9), ("95 %", 18), ("r", 7), ("AUC", 7), ("noise-free R2", 15), ("pooled", 9))
    lines = [
        f"{counts}; {made.method}, {said['folds']} folds by prompt; quality on prompts that a fit did not see",
        "",
        padded("direction", 26) + "".join(f"{head:>{room}}" for head, room in heads),
    ]
    for one in said["directions"]:
        low, high = one["r2_ci"]
        pooled = "-" if one["pooled_r2"] is None else number(one["pooled_r2"], digits=3)
        lines.append(
            padded(one["name"], 26) + f"{one['alpha']:>9.3g}{number(one['r2'], digits=3):>9}"
            f"{number(low, digits=3) + ' ' + number(high, digits=3):>18}{number(one['r'], digits=2):>7}"
            f"{number(one['auc'], digits=3, sign=False):>7}{number(one['rho2_debiased'], digits=3):>15}{pooled:>9}"
        )
    lines += [f"{cut(n)}: {_SAID[k]}" for n, k in zip(made.names, made.labels, strict=True) if k in _SAID]
    return "\n".join(lines)


_SAID = {
    "hard": "hard labels have no scale of their own; compare tilts at matched KL",
    "separable": "separated without error: the direction's length is the penalty's, compare tilts at matched KL",
}
