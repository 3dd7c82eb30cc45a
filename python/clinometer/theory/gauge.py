"""What a gain and its error need of a dump: Cov(phi, s) of every prompt, its spread, and Sigma (theory 2.6 and 6.2)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clinometer.engine.checks import need_within
from clinometer.engine.inputs import Call, prepare
from clinometer.engine.population import Population
from clinometer.engine.weights import Weights
from clinometer.errors import DumpError

from .arrays import Floats
from .rows import Scored, rows_at

BLOCK = 1 << 22


class Gauge:
    """c (J, d), V, chance and Sigma (J, d, d) on the rows that carry each value, one reading of them a value.

    V is clustered as `Weights.joint`; its sums are taken about the mean of the first block, which is near c, and
    moved to c at the end. `chance` is the variance of c were the values in random order inside prompts, and the least
    that an error may be: a rare score and a rare value that never meet in these rows have nearly the same small
    covariance in every prompt, which V takes for certain. Memory: 3 J d^2 and a block.
    """

    def __init__(self, s: Scored) -> None:
        J, d = s.values.shape[1], s.call.dump.dim
        self.c, self.spread = np.zeros((J, d)), np.zeros(J)
        self.V, self.chance, self.sigma = np.empty((J, d, d)), np.zeros((J, d, d)), np.zeros((J, d, d))
        self.df = np.zeros(J)
        for j in range(J):
            self._value(s, j)

    def _value(self, s: Scored, j: int) -> None:
        w = s.weights(j)
        factor = w.factor() if s.population.base != "logprob" else w.seen.astype(np.float64)
        omega = np.where(factor > 0.0, w.prompt, 0.0)
        omega = omega / (omega.sum() or 1.0)
        f = w.centre(s.value(j))
        variance = w.total(w.row * f * f)
        self.spread[j] = np.sqrt(float((omega * factor) @ variance))
        # n/(n - 1) less 1 is 1/(n - 1); of base "logprob", where all responses are there and none by chance, it is 0
        drawn = (omega * factor) ** 2 * variance * np.maximum(factor - 1.0, 0.0)
        d = s.call.dump.dim
        shift, first_sum = np.zeros(d), np.zeros(d)
        square, cross, mass, used = np.zeros((d, d)), np.zeros(d), 0.0, 0
        for first, last, groups in _blocks_of_clusters(w.p, d):
            terms, (inner, at_random) = _covariances(s, w, f, first, last, (omega * factor, drawn))
            self.sigma[j] += inner
            self.chance[j] += at_random
            part = omega[first:last]
            if first == 0 and part.any():
                shift = part @ (terms * factor[first:last, None]) / part.sum()
            psi = np.add.reduceat(part[:, None] * (terms * factor[first:last, None] - shift), groups)
            weight = np.add.reduceat(part, groups)
            square += psi.T @ psi
            cross += weight @ psi
            first_sum += psi.sum(axis=0)
            mass, used = mass + float(weight @ weight), used + int((weight > 0.0).sum())
        self.c[j] = shift * omega.sum() + first_sum
        move = self.c[j] - shift
        square += mass * np.outer(move, move) - np.outer(cross, move) - np.outer(move, cross)
        self.df[j] = used - 1
        self.V[j] = square * (used / (used - 1)) if used > 1 else np.nan

    def measure(self, u: Floats) -> tuple[Floats, Floats, Floats]:
        """Gains, errors and score sds (m, J) of candidates (m, d)."""
        gain = u @ self.c.T
        seen, least = (np.stack([np.einsum("md,md->m", u @ V, u) for V in Vs], axis=1) for Vs in (self.V, self.chance))
        variance = np.where(np.isnan(seen), np.nan, np.maximum(seen, np.maximum(least, 0.0)))
        return gain, np.sqrt(variance), np.stack([_sds(u, sigma) for sigma in self.sigma], axis=1)

    def sds(self, u: Floats) -> Floats:
        """Score sds (m,) of candidates on the rows that carry every value (those of the first, if all rows do)."""
        return _sds(u, self.sigma[0])


def gauge_of(dump: Any, values: Any, options: dict[str, Any]) -> tuple[Call, Gauge]:
    """The checked call of many candidates against the values of a dump, and what their gains need of it."""
    need_within(options)
    call = prepare(dump, None, values, **options)
    if call.n_values == 0:
        raise ValueError("values is empty, wanted at least one value")
    if call.population.n_rows == 0:
        raise ValueError(f"{call.dump.name} has no rows to pass over")
    labels = np.asarray(call.values)[call.population.rows]
    return call, Gauge(Scored(call, np.zeros((len(labels), 0)), labels))


def _sds(u: Floats, sigma: Floats) -> Floats:
    square = np.einsum("md,md->m", u @ sigma, u)
    scale = np.abs(u) @ np.sqrt(np.maximum(np.diagonal(sigma), 0.0))
    return np.sqrt(np.where(square > 1e-13 * scale**2, square, 0.0))


def _blocks_of_clusters(p: Population, dim: int) -> Iterator[tuple[int, int, NDArray[np.int64]]]:
    """Ranges of prompts of about BLOCK numbers that cut no cluster, and where clusters start in them."""
    G = p.n_prompts
    starts = np.arange(G) if p.cluster is None else np.flatnonzero(np.append(True, np.diff(p.cluster) != 0))
    rows, begin = max(1, BLOCK // max(dim, 1)), 0
    row_at = p.offsets[np.append(starts, G)]
    while begin < len(starts):
        end = max(begin + 1, int(np.searchsorted(row_at, row_at[begin] + rows, side="right")) - 1)
        first, last = int(starts[begin]), int(starts[end]) if end < len(starts) else G
        yield first, last, starts[begin:end] - first
        begin = end


def _covariances(
    s: Scored, w: Weights, f: Floats, first: int, last: int, shares: tuple[Floats, ...]
) -> tuple[Floats, list[Floats]]:
    """Cov(phi, s) of the prompts (m, d), and the sums of their Cov(phi) (d, d) by each of the shares (G,)."""
    low, high = int(w.p.offsets[first]), int(w.p.offsets[last])
    phi = rows_at(s.call.dump, w.p.rows[low:high])
    if not np.isfinite(phi).all():
        bad = int(w.p.rows[low + int(np.argmax(~np.isfinite(phi).all(axis=1)))])
        raise DumpError(f"{s.call.dump.name}: row {bad} holds NaN or Inf; open the dump with nonfinite='drop'")
    starts, sizes, row = w.p.offsets[first:last] - low, w.p.sizes[first:last], w.row[low:high, None]
    phi -= phi[0]
    for _ in range(2):
        phi -= np.repeat(np.add.reduceat(row * phi, starts), sizes, axis=0)
    sums = [(row * np.repeat(share[first:last], sizes)[:, None] * phi).T @ phi for share in shares]
    return np.add.reduceat(row * f[low:high, None] * phi, starts), sums
