"""Differences phi_a - phi_b of pairs, in memory or read again, their moments, and the Bradley-Terry loss on them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clinometer import _core
from clinometer.common.threads import applied, heard, product
from clinometer.engine.checks import need_squares
from clinometer.engine.fitted import gather
from clinometer.engine.inputs import Call, run
from clinometer.engine.pairs import pair_list
from clinometer.errors import DumpError

from .descent import softplus
from .scale import column_scale

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
KEPT_BYTES = 1 << 30
CHUNK_BYTES = 1 << 25
SAMPLE, SAMPLE_BYTES = 16, 1 << 28  # pairs a dimension whose order is looked at first where all are too many to keep


class Dense:
    """Differences (P, d) held in memory."""

    def __init__(self, rows: Floats) -> None:
        self.rows = rows

    @property
    def dim(self) -> int:
        return int(self.rows.shape[1])

    def chunks(self) -> Iterator[tuple[slice, Floats]]:
        """(which pairs, their differences), in order."""
        yield slice(0, len(self.rows)), self.rows


class Streamed:
    """Differences phi_a - phi_b read again in every sweep, in float64, which is exact for what is stored."""

    def __init__(self, call: Call, rows: Ints, scale: Floats | None = None) -> None:
        """scale (d,): powers of two that columns are multiplied by, which is exact; None is 1."""
        self.call, self.dump, self.pairs = call, call.dump, rows
        self.scale = np.ones(call.dump.dim) if scale is None else scale

    @property
    def dim(self) -> int:
        return self.dump.dim

    def chunks(self) -> Iterator[tuple[slice, Floats]]:
        """(which pairs, their differences), in order; NaN or Inf in a row is refused."""
        step = max(1, CHUNK_BYTES // (8 * self.dim))
        for start in range(0, len(self.pairs), step):
            part = self.pairs[start : start + step]
            found = gather(self.dump, part[:, 0]) - gather(self.dump, part[:, 1])
            if not np.isfinite(found).all():
                i = int(np.argmax(~np.isfinite(found).all(axis=1)))
                raise DumpError(f"{self.dump.name}: rows {part[i].tolist()} of pair {start + i} hold NaN or Inf")
            yield slice(start, start + len(part)), found * self.scale

    def kept(self) -> Dense:
        """All of them in memory."""
        return Dense(np.concatenate([rows for _, rows in self.chunks()]))


Differences = Dense | Streamed


def pair_loss_gradient(
    differences: Differences, prob: Floats, weight: Floats, u: Floats, bias: Floats
) -> tuple[Floats, Floats, Floats]:
    """Bradley-Terry losses of M directions with their gradients, one sweep over the pairs.

    loss_m = sum_p weight_pm (log(1 + exp(z)) - prob_pm z), z = <u_m, phi_a - phi_b> + bias_m: the cross-entropy
    -p log sig(z) - (1 - p) log sig(-z) of theory 1.3.

    Parameters
    ----------
    prob, weight : (P, M)
    u, bias : (M, d), (M,)

    Returns
    -------
    losses (M,), gradients (M, d), slopes in the bias (M,)
    """
    if isinstance(differences, Streamed):
        return _compiled(differences, prob, weight, u, bias)
    from scipy.special import expit

    loss, slope, gradient = np.zeros(len(u)), np.zeros(len(u)), np.zeros_like(u)
    for at, rows in differences.chunks():
        z = product(rows, u.T) + bias
        p, w = prob[at], weight[at]
        loss += (w * (softplus(z) - p * z)).sum(axis=0)
        residual = w * (expit(z) - p)
        slope += residual.sum(axis=0)
        gradient += product(residual.T, rows)
    return loss, gradient, slope


def _compiled(
    streamed: Streamed, prob: Floats, weight: Floats, u: Floats, bias: Floats
) -> tuple[Floats, Floats, Floats]:
    """The same in one pass over the dump, in f64 lanes: an optimiser's line search follows differences of losses."""
    plain: dict[str, Any] = {"columns": None, "values": None, "n_folds": 1, "fold": None, "order": None}
    own = np.ascontiguousarray(u * streamed.scale)
    call = replace(streamed.call, directions=own, progress=None, in_double=True, **plain)
    pairs = pair_list(call, streamed.pairs, prob, weight)
    s = run(call, [_core.Pairs(call.dump.dim, 0, len(u), pairs, np.ascontiguousarray(bias))])[0].finish()
    return s["loss"], s["gradient"] * streamed.scale, s["bias_gradient"]


def mean_squares(differences: Differences, weight: Floats) -> Floats:
    """Mean square of each column of the differences under weights (P,), (d,)."""
    share = weight / max(weight.sum(), 1e-300)
    total = np.zeros(differences.dim)
    for at, rows in differences.chunks():
        total += np.einsum("p,pd,pd->d", share[at], rows, rows)
    return total


def weighted_mean(differences: Differences, weight: Floats) -> Floats:
    """Mean of the differences under weights (P,), (d,)."""
    return np.asarray(sum(applied(rows.T, weight[at]) for at, rows in differences.chunks()) / max(weight.sum(), 1e-300))


def second_moment(differences: Differences, weight: Floats) -> Floats:
    """sum w D'D / sum w of the differences, (d, d)."""
    root, total = np.sqrt(weight / max(weight.sum(), 1e-300)), np.zeros((differences.dim, differences.dim))
    for at, rows in differences.chunks():
        scaled = rows * root[at, None]
        total += product(scaled.T, scaled)
    return total


def margins(differences: Differences, u: Floats, bias: Floats) -> Floats:
    """z = <u_m, phi_a - phi_b> + bias_m of every pair, (P, M)."""
    return np.concatenate([product(rows, u.T) + bias for _, rows in differences.chunks()])


def sampled(differences: Differences) -> tuple[Ints, Dense]:
    """Every so many of the pairs (S,) and their differences: all where they are in memory."""
    if isinstance(differences, Dense):
        return np.arange(len(differences.rows)), differences
    count, d = len(differences.pairs), differences.dim
    part = np.arange(0, count, max(1, count // max(min(SAMPLE * d, SAMPLE_BYTES // (8 * d)), 1)))
    return part, Streamed(differences.call, differences.pairs[part], differences.scale).kept()


def reduced(streamed: Streamed, weight: Floats) -> tuple[Differences, Floats | None, Floats]:
    """Differences in memory where they fit, and in P coordinates with their basis (d, P) where P < d; and the mean
    square of each column before massive ones are brought to the scale of the others.

    A ridge fit lies in the span of the differences, so nothing is lost.
    """
    P, d = len(streamed.pairs), streamed.dim
    if 8 * P * d > KEPT_BYTES:
        squares = mean_squares(streamed, weight)
        need_squares(streamed.call.dump, squares)
        return Streamed(streamed.call, streamed.pairs, column_scale(squares)), None, squares
    dense = streamed.kept()
    with np.errstate(over="ignore"):
        squares = mean_squares(dense, weight)
    need_squares(streamed.call.dump, squares)
    dense.rows *= column_scale(squares)
    if d <= P:
        return dense, None, squares
    basis, upper = heard(lambda: np.linalg.qr(dense.rows.T))
    return Dense(np.ascontiguousarray(upper.T)), np.ascontiguousarray(basis), squares
