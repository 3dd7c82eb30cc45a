"""Screening very many candidates for harm, with false-discovery control in bounded memory (theory 6.2)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from clinometer.common.options import listed
from clinometer.common.results import Axes, Result
from clinometer.dump.directions import check_given

from .arrays import Floats
from .gauge import BLOCK, gauge_of
from .store import Store

__all__ = ["Screen", "screen"]


@dataclass(frozen=True, repr=False, eq=False)
class Screen(Result):
    """What a screen of `n_candidates` found, by value, and the `keep` candidates at either end.

    `n_harmful`, `n_helpful`, `n_undetermined`, `n_flat` (J,) count candidates, `n_fragile` (J,) those found
    helpful whose robustness radius is below `fragile` sd of the score. `threshold` (J,) is the level that the
    p-values of findings do not pass, by `method` at `fdr`. `status` (M, J) int8: -1 harmful, 1 helpful, 0
    undetermined, 2 without within-prompt variance. For the extremes, most harmful first (least gain over its
    error): `worst` (J, keep) candidate numbers with `worst_gain`, `worst_se`, `worst_correlation`, `worst_p`, and
    `best` with `best_gain`, `best_se`, `best_correlation`, `best_p`. Gains are Cov(s, t), beta times the
    first-order gain, ddof 1, in units of the value and the score.
    """

    axes: ClassVar[Axes] = {
        "value rank": (
            "worst worst_gain worst_se worst_correlation worst_p best best_gain best_se best_correlation best_p"
        ),
        "value": "n_harmful n_helpful n_undetermined n_flat n_fragile threshold",
        "candidate value": "status",
    }

    n_candidates: int
    n_harmful: NDArray[np.int64]
    n_helpful: NDArray[np.int64]
    n_undetermined: NDArray[np.int64]
    n_flat: NDArray[np.int64]
    n_fragile: NDArray[np.int64]
    threshold: Floats
    status: NDArray[np.int8]
    worst: NDArray[np.int64]
    worst_gain: Floats
    worst_se: Floats
    worst_correlation: Floats
    worst_p: Floats
    best: NDArray[np.int64]
    best_gain: Floats
    best_se: Floats
    best_correlation: Floats
    best_p: Floats
    fdr: float
    method: str
    values: tuple[str, ...]
    n_prompts: int


@listed("within")
def screen(
    dump: Any, directions: Any, values: Any, *, fdr: float = 0.05, method: str = "bh", keep: int = 20,
    fragile: float = 0.1, **options: Any,
) -> Screen:  # fmt: skip
    """Flag harmful candidates among millions, controlling the share of false ones (theory 6.2).

    The gain of a candidate is u'c with c = E_x Cov(phi, s), and its clustered variance u'V u with V that of c: one
    reading of the dump gives c, V and Sigma, after which a candidate costs d^2 flops and no rows. Two-sided t tests
    with C - 1 degrees of freedom (C clusters), then Benjamini-Hochberg ("bh", valid for positively dependent tests),
    Benjamini-Yekutieli ("by", any dependence) or Bonferroni ("bonferroni"), per value.

    Parameters
    ----------
    directions : array (M, d), a memory map, a sequence of blocks (m, d), or a function that returns a fresh iterator
        of blocks; read once
    values : columns or arrays as everywhere
    fdr : level, in (0, 1)
    keep : extremes described
    fragile : robustness radius, in units of the candidate's own score sd, below which a helpful one is fragile; that
        is its correlation with the value
    **options : as in `clinometer.cross_covariance`, with ``within=True``

    Returns
    -------
    Screen
        Memory: (1 + 2 J) d^2 float64, 32 MiB of rows and 17 J bytes a candidate, 16 of which go to a temporary file
        beyond 256 MiB. Cost: one reading of the dump a value, then 4 J M d^2 flops.

    Errors: ValueError for candidates of another width or not finite, fdr outside (0, 1), keep below 1, or an
    unknown method.

    >>> import clinometer as cm, numpy as np
    >>> world = cm.simulate(n_prompts=300, n_responses=8, dim=6, random_state=0)
    >>> found = screen(world, np.random.default_rng(0).standard_normal((1000, 6)), "s")
    >>> found.n_candidates, bool(found.n_harmful[0] > 100), bool(found.worst_gain[0, 0] < 0)
    (1000, True, True)
    """
    if method not in ("bh", "by", "bonferroni"):
        raise ValueError(f"method is {method!r}; wanted 'bh', 'by' or 'bonferroni'")
    if not 0.0 < fdr < 1.0:
        raise ValueError(f"fdr is {fdr!r}; wanted a level in (0, 1)")
    if isinstance(keep, bool) or not isinstance(keep, (int, np.integer)) or keep < 1:
        raise ValueError(f"keep is {keep!r}; wanted a whole number >= 1")
    call, gauge = gauge_of(dump, values, options)
    if call.check_source:
        check_given(directions, call.dump)
    with Store(call.n_values, keep) as store:
        for block in blocks_of(directions, call.dump.dim):
            store.add(*gauge.measure(block))
        if store.n == 0:
            raise ValueError("directions is empty, wanted at least one candidate")
        found = store.finish(gauge, fdr, method, fragile)
    return Screen(**found, fdr=float(fdr), method=method, values=call.value_names, n_prompts=call.population.n_prompts)


def blocks_of(directions: Any, dim: int) -> Iterator[Floats]:
    given = getattr(directions, "vectors", directions)
    if callable(given):
        given = given()
    if isinstance(given, np.ndarray) and given.ndim <= 2:
        table = given[None, :] if given.ndim == 1 else given
        step = max(1, BLOCK // max(dim, 1))
        given = (table[a : a + step] for a in range(0, len(table), step))
    if not isinstance(given, Iterable):
        raise TypeError(f"directions is {type(directions).__name__}; wanted an array (M, d) or blocks of rows")
    at = 0
    for block in given:
        u = np.atleast_2d(np.asarray(block, np.float64))
        if u.ndim != 2 or u.shape[1] != dim:
            raise ValueError(f"directions has {u.shape[-1]} columns but rows of the dump have {dim}")
        if not np.isfinite(u).all():
            row = at + int(np.argmax(~np.isfinite(u).all(axis=1)))
            raise ValueError(f"directions holds NaN or Inf in candidate {row}; wanted finite numbers")
        at += len(u)
        yield u
