"""Arguments of a pass, checked before any row is read."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clinometer import _core
from clinometer.dump import Dump

from .inputs import MODERATE, Call, refuse_extreme, run, tops
from .intake import numbers

Floats = NDArray[np.float64]


DEFAULT_KL = (0.1, 0.25, 0.5, 1.0)
_ROWS = 1e140  # the largest entry of a row, and one over the smallest, of which second moments are taken
_AT_ONCE = 1 << 13
_SOME = 64  # rows


def need_scores(call: Call) -> None:
    if call.n_scores == 0:
        raise ValueError("directions is empty, wanted at least one direction, column name or score")
    need_rows(call)


def need_moderate_scores(call: Call, most: float = MODERATE) -> None:
    """Refuse score columns and directions whose powers leave float64, for functions that take them as they are."""
    found = []
    if call.directions is not None:
        found.append(np.abs(call.directions).max(axis=1).reshape(-1, call.n_folds).max(axis=1))
    if call.columns is not None and call.columns.size:
        found.append(tops(call.columns))
    if found:
        top = np.concatenate(found)
        refuse_extreme("scores", call.names, top if call.order is None else top[call.order], most)


def need_rows(call: Call) -> None:
    if call.population.n_rows == 0:
        raise ValueError(f"{call.dump.name} has no rows to pass over ({call.population.n_dropped} prompts dropped)")


def need_squares(dump: Dump, squares: Floats) -> None:
    """Refuse rows whose squares leave float64, which those of float64 alone can; `squares` (d,) are means of them."""
    if dump.dtype != "float64":
        return
    odd = np.flatnonzero(~(squares < _ROWS**2) | (squares < _ROWS**-2))  # of columns that are constant, too
    if not len(odd):
        return
    top = np.zeros(len(odd))
    for start in range(0, dump.n_rows, _AT_ONCE):
        rows = dump.read(start, min(start + _AT_ONCE, dump.n_rows))[:, odd]
        top = np.fmax(top, np.abs(np.where(np.isfinite(rows), rows, 0.0)).max(axis=0))
    extreme = (top > _ROWS) | ((top > 0) & (top < 1 / _ROWS))
    if extreme.any():
        c = int(np.argmax(extreme))
        raise ValueError(
            f"{dump.name}: column {odd[c]} of the rows reaches {top[c]:.3g}, too {'large' if top[c] > 1 else 'small'} "
            f"for squares in float64: divide the rows by a constant, to between {1 / _ROWS:.0e} and {_ROWS:.0e}"
        )


def need_finite(dump: Dump, found: Floats, what: str) -> Floats:
    """What a pass found, unless it left float64 on the way."""
    if dump.nonfinite != "keep" and not np.isfinite(found).all():
        raise ValueError(f"{dump.name}: {what} leave float64: divide the rows, or the directions, by a constant")
    return found


def need_projection(call: Call, found: Floats) -> Floats:
    """Rows Sigma u, unless they left float64 at either end on the way."""
    if call.dump.dtype == "float64" and (np.abs(found).max(axis=1, initial=0.0) < 1e-290).any():
        need_squares(call.dump, np.zeros(call.dump.dim))
    return need_finite(call.dump, found, "rows Sigma u")


def need_float32(call: Call, table: NDArray[Any], first: int = 0) -> None:
    """Refuse scores, the call's from `first` on, that are infinite or nothing in float32 and something in float64."""
    if table.dtype == np.float64 or call.dump.nonfinite == "keep" or not len(table):
        return
    few = tops(table[:_SOME])  # of a column that is something there only the largest is left to be looked for
    largest = max(np.fmax.reduce(table, axis=None), -np.fmin.reduce(table, axis=None))
    if largest <= 1e38 and (few >= 1e-34).all():
        return
    top = tops(table)
    if (odd := (top > 1e38) | (top < 1e-34)).any():
        exact = _in_float64(call)[:, first : first + len(top)][:, odd]
        lost = np.isinf(top[odd])
        top = np.fmax.reduce(np.abs(exact), axis=0)
        extreme = (lost & np.isfinite(top)) | ((top > 0) & (top < 1e-34))
        if extreme.any():
            k = int(np.argmax(extreme))
            what = "large" if top[k] > 1 else "small"
            raise ValueError(f"scores reach {top[k]:.3g}, too {what} for float32; precision='double' gives float64")


def _in_float64(call: Call) -> Floats:
    """The scores of a call in float64, NaN where they are left out."""
    out = np.full((call.dump.n_rows, call.n_scores), np.nan)
    run(call, [_core.Scores(0, call.n_scores, out, False, False, False)], population=call.population)
    return out


def check_ddof(ddof: Any, base: str) -> int:
    if ddof not in (0, 1) or isinstance(ddof, bool):
        raise ValueError(f"ddof is {ddof!r}, wanted 0 or 1")
    if ddof == 1 and base == "logprob":
        raise ValueError("ddof=1 has no meaning for base='logprob': the candidates are the whole support; use ddof=0")
    return int(ddof)


def checked_betas(betas: ArrayLike, K: int) -> Floats:
    try:
        a = numbers("betas", betas) + 0.0  # -0.0 is 0
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
        a = np.atleast_1d(numbers("kl", kl))
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


def need_within(options: dict[str, Any]) -> None:
    """Refuse within=False where a policy is meant, not the rows."""
    if not options.get("within", True):
        raise ValueError("within is False; wanted True: a policy is renormalised inside every prompt")
