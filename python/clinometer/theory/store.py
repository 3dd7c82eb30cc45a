"""What a screen remembers: test statistics of every candidate, and the extremes (theory 6.2)."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from typing import Any

import numpy as np

from clinometer.common import memory

from .arrays import Floats
from .gauge import Gauge

__all__ = ["Store"]

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
