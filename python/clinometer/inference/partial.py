"""Values that lack labels inside prompts, made whole so that tilts of all responses can be read off them (theory 2.12).

A tilt among the labelled responses alone has fewer of them, down to two, than any law takes to many. But scores are
known of every response. Of m labels among n, in any of the ways to pick them, (n - 1)/(m - 1) times a label less their
mean, and 0 where there is none, is on average each value less the mean of its prompt: sums over responses keep their
mean whatever the scores are (Horvitz and Thompson 1952). The same goes for pairs of labels, with n (n - 1)/(m (m - 1)).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from clinometer.engine.population import Population

Floats = NDArray[np.float64]


def completed(
    f: Floats, order: NDArray[np.int32], weight: Floats, each: Floats, p: Population
) -> tuple[Floats, Floats]:  # fmt: skip
    """Two columns (N,) without gaps whose gains are the value's gain, and its win rate less 1/2.

    f (N,) NaN where there is no label; `order` (N,) places inside prompts by ascending value, NaN last; `weight` (N,)
    base weights, of which a row of `each` responses has so many alike. 0 in prompts of fewer than two labels.
    """
    known = np.where(np.isnan(f), 0.0, weight)
    total = p.sums(known)
    with np.errstate(divide="ignore", invalid="ignore"):
        alike, alike_known = (p.sums(np.where(each > 0, w * w / each, 0.0)) for w in (weight, known))
        # n (n - 1)/(m (m - 1)) of equal weights 1/n, in terms of any
        pairs = (1 - alike) / (total**2 - alike_known)
        pairs = p.on_rows(np.where(np.isfinite(pairs) & (total**2 > alike_known), pairs, 0.0))
    held = np.nan_to_num(f)
    off = p.on_rows(total) * held - p.on_rows(p.sums(known * held))
    return tuple(np.where(known > 0, pairs * x, 0.0) for x in (off, _ahead(f, order, known, p)))  # type: ignore[return-value]


def _ahead(f: Floats, order: NDArray[np.int32], known: Floats, p: Population) -> Floats:
    """By how much the weights of a prompt's labels below each row exceed those above, halved, (N,)."""
    at = order + p.on_rows(p.offsets[:-1])
    prompt, x, w = p.on_rows(np.arange(p.n_prompts)), f[at], known[at]
    first = np.r_[True, (x[1:] != x[:-1]) | (prompt[1:] != prompt[:-1])]
    run, starts = np.cumsum(first) - 1, np.flatnonzero(first)
    equal = np.add.reduceat(w, starts)
    below = np.cumsum(w) - w  # of earlier prompts too, whose sums are taken off
    before = p.sums(known)
    before = p.on_rows(np.cumsum(before) - before)
    out = np.empty(len(f))
    out[at] = (below[starts] + equal / 2)[run] - before - p.on_rows(p.sums(known)) / 2
    return out
