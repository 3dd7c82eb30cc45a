"""What a judge said of a dump, and whether that can be trusted: places, length, agreement, sameness."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from clinometer.common.results import Axes, Result
from clinometer.common.visible import visible

from .pairs import clustered_mean

__all__ = ["ALIKE", "CONSTANT", "FOLLOWS_LENGTH", "SAME_ANSWER", "Judgment", "assessed"]

Floats = NDArray[np.float64]

SAME_ANSWER = 0.9  # share of the most frequent answer from which a judge says the same to everything
CONSTANT = 0.1  # spread inside prompts, as a share of the scale or of the mean score, below which it does so too
FOLLOWS_LENGTH = 0.5  # correlation with length inside prompts, either sign
ALIKE = 0.9  # correlation of two constitutions' scores inside prompts, either sign


@dataclass(frozen=True, repr=False, eq=False)
class Judgment(Result):
    """A judge's scores with what they rest on; axes are row, constitution and pair.

    Attributes
    ----------
    scores : (N, K) as written to the columns judge/NAME: nats ("contrast", "pairwise") or rating points ("pointwise")
    pairs : (P, 2) row numbers; prob : (P, K) probability that the first is the better
    position_bias, position_bias_se : (K,) nats of log-odds towards the reply that stands first, taken out of prob and
        scores; NaN unless pairwise
    order_agreement : (K,) share of pairs whose verdict is the same in both orders; NaN unless pairwise
    ties : (K,) share of pairs with |prob - 1/2| <= the tie asked for
    same_answer : (K,) share of the most frequent answer: the letter, pairwise; the half of the scale, pointwise; the
        sign, contrast
    spread : (K,) sd inside prompts as a share of the scale's length, pointwise, or of |mean score|, contrast; NaN
        pairwise, where scores have no mean
    length_correlation : (K,) with the number of tokens, inside prompts
    correlation : (K, K) of scores inside prompts
    gold_agreement, gold_se : (K,) share of within-prompt pairs that gold labels order which the scores order alike,
        ties half, each prompt weighing as much as its pairs, with the error over prompts; NaN without gold labels
    warnings : (W,) strings
    dump : Dump with the new columns, None of numbers alone

    constitutions, kind : names of the K constitutions, and how they were asked
    """

    axes: ClassVar[Axes] = {
        "constitution": (
            "position_bias position_bias_se order_agreement ties same_answer spread length_correlation gold_agreement "
            "gold_se"
        ),
        "row constitution": "scores",
        "pair end": "pairs",
        "pair constitution": "prob",
        "constitution constitution_2": "correlation",
        "note": "warnings",
    }

    constitutions: tuple[str, ...]
    kind: str
    scores: Floats
    pairs: NDArray[np.int64]
    prob: Floats
    position_bias: Floats
    position_bias_se: Floats
    order_agreement: Floats
    ties: Floats
    same_answer: Floats
    spread: Floats
    length_correlation: Floats
    correlation: Floats
    gold_agreement: Floats
    gold_se: Floats
    warnings: NDArray[np.str_]
    n_rows: int
    n_prompts: int
    dump: Any = field(default=None, compare=False)

    def to_dict(self) -> dict[str, Any]:
        """Every public field by name but the dump."""
        return {name: value for name, value in super().to_dict().items() if name != "dump"}

    def __str__(self) -> str:
        lines = [f"{self.kind} judge: {self.n_rows} responses to {self.n_prompts} prompts"]
        wide = max(12, *(len(visible(n)) for n in self.constitutions))
        lines.append(f"{'':{wide}}{'same answer':>13}{'length r':>10}{'place':>18}{'orders':>8}{'gold':>16}")
        for k, name in enumerate(self.constitutions):
            place = _with_error(self.position_bias[k], self.position_bias_se[k], "+.2f")
            gold = _with_error(self.gold_agreement[k], self.gold_se[k], ".2f")
            same, length = _cell(self.same_answer[k], ".2f"), _cell(self.length_correlation[k], "+.2f")
            orders = _cell(self.order_agreement[k], ".2f")
            lines.append(f"{visible(name):{wide}}{same:>13}{length:>10}{place:>18}{orders:>8}{gold:>16}")
        return "\n".join([*lines, *(f"warning: {w}" for w in self.warnings)])


def _cell(x: float, form: str) -> str:
    return f"{x:{form}}" if np.isfinite(x) else "-"


def _with_error(x: float, se: float, form: str) -> str:
    return f"{x:{form}} +- {se:.2f}" if np.isfinite(x) else "-"


def assessed(
    names: Sequence[str], kind: str, scores: Any, prompt_ids: Any, *, n_tokens: Any = None, pairs: Any = None,
    prob: Any = None, order_logits: Any = None, gold: Any = None, levels: tuple[int, int] = (1, 5), tie: float = 0.0,
    dump: Any = None,
) -> Judgment:  # fmt: skip
    """A Judgment from a judge's numbers, whoever made them.

    Parameters
    ----------
    names : K constitutions; kind : "contrast" | "pairwise" | "pointwise"
    scores : (N, K); prompt_ids : (N,); n_tokens : (N,), optional
    pairs : (P, 2) rows; prob : (P, K); order_logits : (P, K, 2) log-odds for the first reply, in either order
    gold : (N,) or (N, K) labels, NaN where there are none
    levels : ends of the scale; tie : |prob - 1/2| that counts as undecided

    >>> from clinometer.judging import assessed
    >>> found = assessed(["kind"], "contrast", [[1.0], [2.0], [0.0], [3.0]], [0, 0, 1, 1], gold=[0, 1, 1, 0])
    >>> found.gold_agreement.tolist(), found.same_answer.tolist()
    ([0.5], [0.75])
    """
    table = np.asarray(scores, np.float64)
    n, K = table.shape
    units, at = np.unique(np.asarray(prompt_ids), return_inverse=True)
    ends = np.zeros((0, 2), np.int64) if pairs is None else np.asarray(pairs, np.int64)
    chance = np.zeros((0, K)) if prob is None else np.asarray(prob, np.float64)
    bias = bias_se = agreement = nothing = np.full(K, np.nan)
    same = _same_sign(table, kind, levels)
    if order_logits is not None and len(ends):
        logits = np.asarray(order_logits, np.float64)
        bias, bias_se = clustered_mean(logits.mean(axis=2), at[ends[:, 0]])
        agreement = (np.sign(logits[:, :, 0]) == -np.sign(logits[:, :, 1])).mean(axis=0)
        first = (logits > 0).mean(axis=(0, 2))
        same = np.maximum(first, 1 - first)
    inside = _centred(table, at, len(units))
    correlation = _correlation(inside, inside)
    length = nothing if n_tokens is None else _length_correlation(inside, n_tokens, at, len(units))
    gold_agreement, gold_se = (nothing, nothing) if gold is None else _gold(table, gold, at, len(units))
    spread = _spread(table, inside, kind, levels)
    made = Judgment(
        tuple(names), kind, table, ends, chance, bias, bias_se, agreement,
        (abs(chance - 0.5) <= tie).mean(axis=0) if len(chance) else nothing, same, spread, length, correlation,
        gold_agreement, gold_se, np.zeros(0, np.str_), n, len(units), dump,
    )  # fmt: skip
    return replace(made, warnings=np.array(_warnings(made), np.str_))


def _same_sign(table: Floats, kind: str, levels: tuple[int, int]) -> Floats:
    if not len(table) or kind == "pairwise":  # whose answers are letters: without pairs there are none
        return np.full(table.shape[1], np.nan)
    high = (table > (sum(levels) / 2 if kind == "pointwise" else 0.0)).mean(axis=0)
    return np.asarray(np.maximum(high, 1 - high))


def _centred(table: Floats, at: NDArray[np.int64], units: int) -> Floats:
    """Less the mean of its prompt; rows with NaN stay NaN and count for nothing."""
    known = ~np.isnan(table)
    sums, count = np.zeros((units, table.shape[1])), np.zeros((units, table.shape[1]))
    np.add.at(sums, at, np.where(known, table, 0))
    np.add.at(count, at, known)
    return np.asarray(table - (sums / np.maximum(count, 1))[at])


def _correlation(a: Floats, b: Floats) -> Floats:
    """(K, M), NaN where one of the two is constant inside prompts."""
    a, b = np.nan_to_num(a), np.nan_to_num(b)
    scale = np.sqrt(np.outer((a**2).sum(axis=0), (b**2).sum(axis=0)))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(scale > 0, a.T @ b / scale, np.nan))


def _length_correlation(inside: Floats, n_tokens: Any, at: NDArray[np.int64], units: int) -> Floats:
    length = _centred(np.asarray(n_tokens, np.float64)[:, None], at, units)
    return _correlation(inside, length)[:, 0]


def _spread(table: Floats, inside: Floats, kind: str, levels: tuple[int, int]) -> Floats:
    sd = np.sqrt((inside**2).mean(axis=0)) if len(inside) else np.full(table.shape[1], np.nan)
    if kind == "pointwise":
        return np.asarray(sd / (levels[1] - levels[0]))
    if kind == "pairwise" or not len(table):
        return np.full(table.shape[1], np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(sd > 0, sd / abs(table.mean(axis=0)), 0.0))


def _gold(table: Floats, gold: Any, at: NDArray[np.int64], units: int) -> tuple[Floats, Floats]:
    labels = np.asarray(gold, np.float64)
    labels = np.broadcast_to(labels[:, None] if labels.ndim == 1 else labels, table.shape)
    alike, of = [], []
    for unit in range(units):
        rows = np.flatnonzero(at == unit)
        i, j = np.triu_indices(len(rows), 1)
        truth = np.sign(labels[rows[i]] - labels[rows[j]])
        right = (np.sign(table[rows[i]] - table[rows[j]]) * truth + 1) / 2
        alike.append(np.where(abs(truth) == 1, right, np.nan))
        of.append(np.full(len(i), unit))
    if not alike or not sum(map(len, alike)):
        return np.full(table.shape[1], np.nan), np.full(table.shape[1], np.nan)
    return clustered_mean(np.concatenate(alike), np.concatenate(of))


def _warnings(made: Judgment) -> list[str]:
    """What a reader of the scores should know, by thresholds named above."""
    out = []
    for k, name in enumerate(made.constitutions):
        called = visible(name)
        if made.kind == "pairwise" and made.same_answer[k] >= SAME_ANSWER:
            out.append(
                f"{called}: {made.same_answer[k]:.0%} of answers are the same letter, whichever reply stands there "
                f"(position bias {made.position_bias[k]:+.2f} nats); a judge this size may not compare at all"
            )
        if made.spread[k] < CONSTANT and made.same_answer[k] >= SAME_ANSWER:
            out.append(
                f"{called}: says the same to {made.same_answer[k]:.0%} of responses, and its spread inside prompts is "
                f"{made.spread[k]:.1%} of {'the scale' if made.kind == 'pointwise' else 'its mean'}"
            )
        if abs(made.length_correlation[k]) >= FOLLOWS_LENGTH:
            r = made.length_correlation[k]
            out.append(f"{called}: follows length (correlation {r:+.2f} inside prompts); adjust='n_tokens' removes it")
    for i, j in zip(*np.triu_indices(len(made.constitutions), 1), strict=True):
        if abs(r := made.correlation[i, j]) >= ALIKE:
            pair = f"{visible(made.constitutions[i])} and {visible(made.constitutions[j])}"
            how = "alike" if r > 0 else "as opposites"
            out.append(f"{pair} are answered {how} (correlation {r:+.2f} inside prompts)")
    return out
