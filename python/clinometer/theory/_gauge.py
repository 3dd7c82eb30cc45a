"""What a gain and its error need of a dump: Cov(phi, s) of every prompt, its spread, and Sigma (theory 2, SE; 6)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from clinometer.errors import DumpError
from clinometer.theory._arrays import Floats
from clinometer.theory._rows import Scored, Weights, rows_at

__all__ = ["BLOCK", "Gauge"]

BLOCK = 1 << 22


class Gauge:
    """c (J, d), V (J, d, d) and Sigma (J, d, d) on the rows that carry each value, from per-prompt covariances."""

    def __init__(self, s: Scored) -> None:
        J, d = s.values.shape[1], s.call.dump.dim
        self.c, self.spread = np.zeros((J, d)), np.zeros(J)
        self.V, self.sigma = np.empty((J, d, d)), np.zeros((J, d, d))
        self.df = np.zeros(J)
        for j in range(J):
            self._value(s, j)

    def _value(self, s: Scored, j: int) -> None:
        w, ddof = s.weights(j), s.population.base != "logprob"
        factor = w.factor() if ddof else w.seen.astype(float)
        omega = np.where(factor > 0.0, w.prompt, 0.0)
        omega = omega / (omega.sum() or 1.0)
        f = w.centre(s.value(j))
        terms = np.empty((w.p.n_prompts, s.call.dump.dim))
        for first, last in _prompt_blocks(w.p.offsets, s.call.dump.dim):
            terms[first:last], inner = _covariances(s, w, f, first, last, omega * factor)
            self.sigma[j] += inner
        terms *= factor[:, None]
        self.c[j] = omega @ terms
        self.spread[j] = np.sqrt(float((omega * factor) @ w.total(w.row * f * f)))
        psi = omega[:, None] * (terms - self.c[j])
        present = omega > 0.0
        label = np.arange(len(omega)) if w.p.cluster is None else w.p.cluster
        psi, used = np.where(present[:, None], psi, 0.0), np.unique(label[present])
        if w.p.cluster is not None:
            grouped = np.zeros((int(label.max()) + 1, psi.shape[1]))
            np.add.at(grouped, label, psi)
            psi = grouped
        C = len(used)
        self.df[j] = C - 1
        self.V[j] = psi.T @ psi * (C / (C - 1)) if C > 1 else np.nan

    def measure(self, u: Floats) -> tuple[Floats, Floats, Floats]:
        """Gains, errors and score sds (m, J) of candidates (m, d)."""
        gain = u @ self.c.T
        variance = np.stack([np.einsum("md,md->m", u @ V, u) for V in self.V], axis=1)
        square = np.stack([np.einsum("md,md->m", u @ sigma, u) for sigma in self.sigma], axis=1)
        scale = np.stack([np.abs(u) @ np.sqrt(np.maximum(np.diagonal(x), 0.0)) for x in self.sigma], axis=1)
        square = np.where(square > 1e-13 * scale**2, square, 0.0)
        return gain, np.sqrt(np.maximum(variance, 0.0)), np.sqrt(square)


def _prompt_blocks(offsets: NDArray[np.int64], dim: int) -> Iterator[tuple[int, int]]:
    """Ranges of prompts of about BLOCK numbers each."""
    first, rows = 0, max(1, BLOCK // max(dim, 1))
    while first < len(offsets) - 1:
        last = int(np.searchsorted(offsets, offsets[first] + rows, side="right")) - 1
        last = max(last, first + 1)
        yield first, last
        first = last


def _covariances(s: Scored, w: Weights, f: Floats, first: int, last: int, omega: Floats) -> tuple[Floats, Floats]:
    """Cov(phi, s) of the prompts (m, d), and their share of Sigma."""
    low, high = int(w.p.offsets[first]), int(w.p.offsets[last])
    phi = rows_at(s.call.dump, w.p.rows[low:high])
    if not np.isfinite(phi).all():
        bad = int(w.p.rows[low + int(np.argmax(~np.isfinite(phi).all(axis=1)))])
        raise DumpError(f"{s.call.dump.name}: row {bad} holds NaN or Inf; open the dump with nonfinite='drop'")
    starts, sizes, row = w.p.offsets[first:last] - low, w.p.sizes[first:last], w.row[low:high, None]
    phi -= phi[0]
    for _ in range(2):
        phi -= np.repeat(np.add.reduceat(row * phi, starts), sizes, axis=0)
    weighted = row * np.repeat(omega[first:last], sizes)[:, None]
    return np.add.reduceat(row * f[low:high, None] * phi, starts), (weighted * phi).T @ phi
