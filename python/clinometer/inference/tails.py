"""Values whose gain has an error that these rows cannot show, because too little of what makes it was drawn."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from clinometer.engine.population import Population

from .gains import unit_sums

__all__ = ["SCARCE", "unseen"]

Floats = NDArray[np.float64]
SCARCE = 10  # responses, and prompts, that must differ from the rest of their prompt for an error to be seen


def unseen(value: Floats, ranked: NDArray[np.int32], each: Floats, share: Floats, p: Population) -> str:
    """Why there is no error: "rare" or "".

    `ranked` (N,) are positions inside prompts by ascending value, `each` (N,) the responses of a row, `share` (G,) the
    weights of prompts with labels enough.

    Rare: fewer than ten responses, or prompts, differ from the commonest value of their prompt (or than a quarter of
    what there could be). What was not drawn is what bounds miss: with two events they fall short of the truth in a
    quarter of dumps, with ten in one of twenty.
    """
    at = ranked + np.repeat(p.offsets[:-1], p.sizes)
    f, prompt = value[at], np.repeat(np.arange(p.n_prompts), p.sizes)
    known = share > 0
    each = np.where(np.isnan(f) | ~known[prompt], 0.0, each[at])
    n, first = np.add.reduceat(each, p.offsets[:-1]), p.offsets[:-1]
    runs = np.flatnonzero(np.r_[True, (f[1:] != f[:-1]) | (prompt[1:] != prompt[:-1])])
    differ = n - np.maximum.reduceat(np.add.reduceat(each, runs), np.searchsorted(runs, first))
    units = unit_sums(np.stack([differ > 0, known], axis=1).astype(float), p) > 0
    most = np.maximum(n - 1, 0).sum(), units[:, 1].sum()
    if differ.sum() < min(SCARCE, most[0] / 4) or units[:, 0].sum() < min(SCARCE, most[1] / 4):
        return "rare"
    return ""
