"""Screening very many candidates for harm, with false-discovery control in bounded memory (theory 6.2)."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from clinometer.common import memory
from clinometer.common.options import listed
from clinometer.common.results import Axes, Result
from clinometer.dump.directions import in_order_of
from clinometer.engine.intake import numbers

from .arrays import Floats
from .gauge import BLOCK, Gauge, gauge_of


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

    The gain of a candidate is u'c with c = E_x Cov(phi, s), and its clustered variance u'V u with V that of c, no less
    than it would be were the values in random order inside prompts, which rare features need: one reading of the dump
    gives c, V and Sigma, after which a candidate costs d^2 flops and no rows. Two-sided t tests
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
        Memory: (1 + 3 J) d^2 float64, 32 MiB of rows and 17 J bytes a candidate, 16 of which go to a temporary file
        beyond 256 MiB. Cost: one reading of the dump a value, then 6 J M d^2 flops.

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
        directions = in_order_of(call.dump, directions, "directions")
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
        u = np.atleast_2d(numbers("directions", block))
        if u.ndim != 2 or u.shape[1] != dim:
            raise ValueError(f"directions has {u.shape[-1]} columns but rows of the dump have {dim}")
        if not np.isfinite(u).all():
            row = at + int(np.argmax(~np.isfinite(u).all(axis=1)))
            raise ValueError(f"directions holds NaN or Inf in candidate {row}; wanted finite numbers")
        at += len(u)
        yield u


MEMORY = 1 << 28


class Store:
    """z = gain / se of every candidate in a growing file or array, and the extremes seen so far."""

    def __init__(self, J: int, keep: int) -> None:
        self.J, self.keep, self.n, self.bytes = J, keep, 0, 0
        self.parts: list[Floats] = []
        self.lengths: list[int] = []  # of the parts in the file
        self.file: Any = None
        # number, gain, se, sd of score: rows for each value and end
        self.ends = [[np.zeros((0, 4)) for _ in range(2)] for _ in range(J)]

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        if self.file is not None:
            self.file.close()

    def add(self, gain: Floats, se: Floats, sd: Floats) -> None:
        flat = ~(sd > 0.0)
        # Without an error (one cluster) there is no evidence; an effect without any spread is certain.
        sure = np.where(np.isnan(se) | (gain == 0.0), 0.0, np.copysign(np.inf, gain))
        with np.errstate(divide="ignore", invalid="ignore"):
            z = np.where(flat, np.nan, np.where(se > 0.0, gain / se, sure))
        self._keep(np.stack([z, np.where(flat, np.nan, gain / np.where(flat, 1.0, sd))]))
        number = np.arange(self.n, self.n + len(gain), dtype=np.float64)
        for j in range(self.J):
            rows = np.column_stack([number, gain[:, j], se[:, j], sd[:, j]])[~flat[:, j]]
            rank = z[~flat[:, j], j]
            for end, sign in enumerate((1.0, -1.0)):
                both = np.concatenate([self.ends[j][end], rows[np.argsort(sign * rank, kind="stable")[: self.keep]]])
                with np.errstate(divide="ignore", invalid="ignore"):
                    key = sign * np.where(both[:, 2] > 0.0, both[:, 1] / both[:, 2], np.sign(both[:, 1]) * np.inf)
                self.ends[j][end] = both[np.argsort(key, kind="stable")[: self.keep]]
        self.n += len(gain)

    def _keep(self, part: Floats) -> None:
        self.bytes += part.nbytes
        if self.file is None and self.bytes > MEMORY:
            self.file = tempfile.TemporaryFile(prefix="clinometer-")  # noqa: SIM115 closed by __exit__
            for held in self.parts:
                self._write(held)
            self.parts = []
        if self.file is None:
            self.parts.append(part)
        else:
            self._write(part)

    def _write(self, part: Floats) -> None:
        self.lengths.append(part.shape[1])
        memory.append(self.file, part, "a screen's statistics")

    def stored(self) -> Iterator[Floats]:
        """Blocks (2, m, J): z, and gain over score sd."""
        if self.file is None:
            yield from self.parts
            return
        self.file.seek(0)
        for m in self.lengths:
            yield np.fromfile(self.file, np.float64, 2 * m * self.J).reshape(2, m, self.J)

    def finish(self, gauge: Gauge, fdr: float, method: str, fragile: float) -> dict[str, Any]:
        """The fields of a Screen that depend on the candidates."""
        threshold = self._thresholds(gauge, fdr, method)
        status = np.empty((self.n, self.J), np.int8)
        n_fragile, at = np.zeros(self.J, np.int64), 0
        for z, reach in self.stored():
            found = _p_values(z, gauge.df) <= threshold
            block = np.where(np.isnan(z), 2, np.where(found, np.sign(z), 0)).astype(np.int8)
            n_fragile += ((block == 1) & (reach < fragile * gauge.spread)).sum(axis=0)
            status[at : at + len(z)] = block
            at += len(z)
        codes = {"n_harmful": -1, "n_helpful": 1, "n_undetermined": 0, "n_flat": 2}
        out: dict[str, Any] = {name: (status == code).sum(axis=0) for name, code in codes.items()}
        for end, name in enumerate(("worst", "best")):
            out |= _described(name, [self.ends[j][end] for j in range(self.J)], self.keep, gauge)
        return {**out, "n_candidates": self.n, "n_fragile": n_fragile, "threshold": threshold, "status": status}

    def _thresholds(self, gauge: Gauge, fdr: float, method: str) -> Floats:
        """Largest p called a finding: the largest m with #{p <= level m / M} >= m, by counting down from M."""
        tested = np.zeros(self.J)
        for z, _ in self.stored():
            tested += (~np.isnan(z)).sum(axis=0)
        safe = np.maximum(tested, 1.0)
        level = np.full(self.J, fdr)
        if method == "by":
            level = fdr / np.array([_harmonic(m) for m in safe])
        if method == "bonferroni":
            return np.asarray(level / safe)
        m = safe.copy()
        while True:
            count = np.zeros(self.J)
            for z, _ in self.stored():
                count += (_p_values(z, gauge.df) <= level * m / safe).sum(axis=0)
            if (count >= m).all():
                return np.asarray(level * m / safe)
            m = np.where(count < m, count, m)
            if not m.any():
                return np.zeros(self.J)


def _harmonic(m: float) -> float:
    from scipy.special import digamma

    return float(digamma(m + 1.0) + np.euler_gamma)


def _p_values(z: Floats, df: Floats) -> Floats:
    """Two-sided; NaN (never a finding) without variance or with fewer than two clusters."""
    from scipy.special import stdtr

    with np.errstate(invalid="ignore"):
        return np.asarray(2.0 * stdtr(np.where(df > 0, df, np.nan), -np.abs(z)))


def _described(name: str, ends: list[Floats], keep: int, gauge: Gauge) -> dict[str, Any]:
    """Numbers, gains, errors, correlations and p-values (J, keep); short lists end in -1 and NaN."""
    J = len(ends)
    number = np.full((J, keep), -1, np.int64)
    gain, se, r, p = (np.full((J, keep), np.nan) for _ in range(4))
    for j, rows in enumerate(ends):
        m = len(rows)
        if m == 0:
            continue
        number[j, :m] = rows[:, 0].astype(np.int64)
        gain[j, :m], se[j, :m] = rows[:, 1], rows[:, 2]
        if gauge.spread[j] > 0.0:
            r[j, :m] = rows[:, 1] / (rows[:, 3] * gauge.spread[j])
        with np.errstate(divide="ignore", invalid="ignore"):
            z = np.where(rows[:, 2] > 0.0, rows[:, 1] / rows[:, 2], np.sign(rows[:, 1]) * np.inf)
        p[j, :m] = _p_values(z, gauge.df[j : j + 1])
    parts = {"": number, "_gain": gain, "_se": se, "_correlation": r, "_p": p}
    return {name + suffix: part for suffix, part in parts.items()}
