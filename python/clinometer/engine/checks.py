"""Arguments of a pass, checked before any row is read."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .inputs import Call

Floats = NDArray[np.float64]

__all__ = ["DEFAULT_KL", "check_ddof", "check_strength", "checked_betas", "checked_kl", "need_rows", "need_scores"]


DEFAULT_KL = (0.1, 0.25, 0.5, 1.0)


def need_scores(call: Call) -> None:
    if call.n_scores == 0:
        raise ValueError("directions is empty, wanted at least one direction, column name or score")
    need_rows(call)


def need_rows(call: Call) -> None:
    if call.population.n_rows == 0:
        raise ValueError(f"{call.dump.name} has no rows to pass over ({call.population.n_dropped} prompts dropped)")


def check_ddof(ddof: Any, base: str) -> int:
    if ddof not in (0, 1) or isinstance(ddof, bool):
        raise ValueError(f"ddof is {ddof!r}, wanted 0 or 1")
    if ddof == 1 and base == "logprob":
        raise ValueError("ddof=1 has no meaning for base='logprob': the candidates are the whole support; use ddof=0")
    return int(ddof)


def checked_betas(betas: ArrayLike, K: int) -> Floats:
    try:
        a = np.asarray(betas, np.float64) + 0.0  # -0.0 is 0
    except (TypeError, ValueError):
        raise TypeError(f"betas is {betas!r}, wanted numbers") from None
    if a.ndim == 0:
        a = a[None]
    if a.ndim == 1:
        a = np.broadcast_to(a, (K, len(a)))
    if a.ndim != 2 or a.shape[0] != K or a.shape[1] == 0:
        raise ValueError(f"betas has shape {np.shape(betas)}, wanted (B,) or ({K}, B)")
    if not (a >= 0).all():
        wanted = "every beta >= 0 (inf is the base policy, 0 the argmax limit, nan of a report no estimate)"
        raise ValueError(f"betas holds {float(a[~(a >= 0)][0])!r}, wanted {wanted}")
    return np.ascontiguousarray(a)


def checked_kl(kl: ArrayLike) -> Floats:
    try:
        a = np.atleast_1d(np.asarray(kl, np.float64))
    except (TypeError, ValueError):
        raise TypeError(f"kl is {kl!r}, wanted numbers in nats") from None
    if a.ndim != 1 or len(a) == 0 or not np.isfinite(a).all() or not (a > 0).all():
        raise ValueError(f"kl is {kl!r}, wanted a 1-D list of finite numbers > 0 (nats)")
    return a


def check_strength(betas: Any, kl: Any, K: int) -> None:
    if betas is not None and kl is not None:
        raise ValueError("give betas or kl, not both")
    if betas is not None:
        checked_betas(betas, K)
    elif kl is not None:
        checked_kl(kl)
