"""Warnings about what a tilt cannot change, given before its numbers are read as findings."""

from __future__ import annotations

import numpy as np

from clinometer.common.notices import tell
from clinometer.common.visible import few

from .inputs import Call

__all__ = ["warn_of_stillness"]


def warn_of_stillness(call: Call) -> None:
    """Warn of directions that are zero, and of prompts whose one response is all there is to choose from."""
    p = call.population
    if call.directions is not None:
        moved = np.asarray(call.directions.reshape(-1, call.n_folds, call.dump.dim).any(axis=(1, 2)))
        flat = np.append(~moved, np.full(call.n_scores - len(moved), False))
        flat = flat if call.order is None else flat[call.order]
        if flat.any():
            names = few([n for n, still in zip(call.names, flat, strict=True) if still], 20)
            tell(f"directions {names} are zero: so are their scores, and their tilt changes nothing", stacklevel=3)
    single = int((p.sizes == 1).sum())
    if single and call.within and p.base != "logprob":
        tell(
            f"{single} of {p.n_prompts} prompts have one response: no tilt changes them, yet they count "
            "in every mean; prompt_weights of 0 leave them out",
            stacklevel=3,
        )
