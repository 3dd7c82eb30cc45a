"""Choosing on half of the prompts and judging on the other: the gain of the choice itself (theory 10.4)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clinometer.common.resampling import bucketed, unit_errors, worth
from clinometer.common.threads import product

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
CELLS = 1024  # at a time


def halves(units: int, splits: int, seed: int) -> Flags:
    """Random halves (splits, units)."""
    rng = np.random.default_rng(seed)
    return np.argsort(rng.random((splits, units)), axis=1) < units // 2


@dataclass(frozen=True)
class Judged:
    """What the cells chosen gain on prompts that did not choose them.

    `gain`, `se`, `optimism` (J,) are means over the splits with their error over prompts. Splits share their prompts,
    and where one noise is the best of many on every half the mean of its gains on the other halves is far from 0 more
    often than that error says. `gains`, `errors`, `freedom` (S, J) are of single splits, each of which is valid, and
    bounds and chances average over these.
    """

    gain: Floats
    se: Floats
    optimism: Floats
    gains: Floats
    errors: Floats
    freedom: Floats
    correlation: Floats  # (J, J) of the errors

    def chance(self, used: Flags, draws: int = 2048) -> float:
        """Mean over splits of the chance that every value used rises, by the t law on the half that judges.

        It is 1/2 for one value and less for several where no cell does anything. NaN where a value has no error.
        """
        z = self.gains[:, used] / np.where(self.errors[:, used] > 0, self.errors[:, used], np.nan)
        if not used.any() or not np.isfinite(z).all():
            return float("nan")
        values, vectors = np.linalg.eigh(self.correlation[np.ix_(used, used)])
        noise = np.random.default_rng(0).standard_normal((draws, z.shape[1]))
        noise = np.einsum("di,ji->dj", noise, vectors * np.sqrt(np.maximum(values, 0.0)))
        return float(np.mean([(one + noise > 0).all(axis=1).mean() for one in z]))

    def bounds(self, level: float) -> Floats:
        """(J, 2) of the gain of a cell chosen so."""
        p = [
            averaged_bounds(x, se, v, level)
            for x, se, v in zip(self.gains.T, self.errors.T, self.freedom.T, strict=True)
        ]
        return np.array(p)


def averaged_bounds(x: Floats, se: Floats, freedom: Floats, level: float) -> Floats:
    """Bounds from several splits (S,): twice the mean of p-values is a p-value whatever their dependence."""
    low = averaged_bound(lambda at: tail(x - at, se, freedom), x, se, level)
    high = averaged_bound(lambda at: tail(-x - at, se, freedom), -x, se, level)
    return np.array([low, -high])


def tail(x: Floats, se: Floats, freedom: Floats) -> Floats:
    """One-sided p-values of x > 0 by Student's t."""
    from scipy.special import stdtr

    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(stdtr(np.maximum(freedom, 1e-9), -x / se))


def averaged_bound(p: Callable[[float], Floats], x: Floats, se: Floats, level: float) -> float:
    """The largest number that gains are shown to exceed: where twice the mean of p(number) is half of 1 - level."""
    if not (np.isfinite(x).all() and np.isfinite(se).all()):
        return float("nan")
    if not se.max() > 0:  # an identity, such as a value against itself
        return float(x.min())
    span = 1e3 * float(se.max()) + float(np.ptp(x))
    low, high = float(x.min()) - span, float(x.max())
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if 2 * p(middle).mean() <= (1 - level) / 2 else (low, middle)
    return low


@dataclass(frozen=True)
class Split:
    """Halves of the units of M cells on J values.

    `units` (C, M, J) are weighted gains of units and `held` (C, J) their weights, so that a sum over some units over
    the sum of their weights is the gain on them; `flags` (S, C) is True in the half that chooses.
    """

    units: Floats
    held: Floats
    flags: Flags

    @classmethod
    def of(cls, units: Floats, held: Floats, splits: int, random_state: int) -> Split:
        """Random halves; at least 4 units."""
        if len(units) < 4:
            raise ValueError(
                f"there are {len(units)} prompts (or clusters), wanted at least 4 to choose on half of them"
            )
        units, held = bucketed(units), bucketed(held)
        return cls(units, held, halves(len(units), splits, random_state))

    def chosen(
        self, scale: Floats, weight: Floats | None = None, allowed: Flags | None = None, factor: Floats | None = None
    ) -> NDArray[np.int64]:
        """The cell with the largest objective on each half, (S,), among the cells allowed (M,).

        Bounds are `factor` (M, J) errors on that half below its gains, at the gains themselves without one.
        """
        M, S, used = self.units.shape[1], len(self.flags), np.flatnonzero(~np.isnan(scale)).tolist()
        of_low, of_gain = np.empty((2, S, M))
        for at in range(0, M, CELLS):
            some = slice(at, at + CELLS)
            low, gain = np.full((2, S, len(of_low[0, some]), len(scale)), np.nan)
            for j in used:
                gain[..., j], error = self._on_halves(some, j)
                low[..., j] = gain[..., j] - (0.0 if factor is None else factor[some, j]) * error
            of_low[:, some], of_gain[:, some] = (objective(x, weight, scale) for x in (low, gain))
        rank = ranked(of_low, of_gain, np.ones(M, bool) if allowed is None else allowed)
        return np.asarray(np.argmax(rank, axis=1))

    def _on_halves(self, some: slice, j: int) -> tuple[Floats, Floats]:
        """Gains (S, m) of some cells on value j on the halves that choose, and their errors, from sums of squares."""
        u, h, half = self.units[:, some, j], self.held[:, j, None], self.flags.astype(float)
        unit, mass = np.abs(u).max(initial=1e-300), max(float(h.sum()), 1e-300)
        u, h = u / unit, h / mass  # whose squares are in range
        total, count = product(half, h), product(half, (h > 0).astype(float))
        gain = _ratio(product(half, u), np.broadcast_to(total, (len(half), u.shape[1])))
        squares = product(half, u * u) - 2 * gain * product(half, u * h) + gain**2 * product(half, h * h)
        with np.errstate(divide="ignore", invalid="ignore"):  # NaN for halves of one unit or none
            error = np.sqrt(np.maximum(squares, 0.0) * count / (count - 1)) / total
        return gain * (unit / mass), error * (unit / mass)

    def judged(self, best: NDArray[np.int64]) -> Judged:
        """The cells chosen, on the other halves.

        A mean over splits is a mean over prompts: prompt x adds its gain in the cells that the halves without it
        chose. Its error is that of those numbers, and not the error on half of the prompts.
        """
        S, J = len(best), self.held.shape[1]
        every, errors, freedom, seen = (np.zeros((S, J)) for _ in range(4))
        psi = np.zeros(self.held.shape)
        for s, cell in enumerate(best):
            rest = ~self.flags[s]
            held, units = self.held[rest], self.units[rest, cell]
            mass = held.sum(axis=0)
            every[s] = _ratio(units.sum(axis=0), mass)
            own = _ratio(units - held * every[s], np.broadcast_to(mass, held.shape))
            errors[s], freedom[s] = unit_errors(own, held), worth(own, held) - 1
            psi[rest] += own / S
            seen[s] = _ratio(self.units[~rest, cell].sum(axis=0), self.held[~rest].sum(axis=0))
        joint = np.einsum("ci,cj->ij", psi, psi)
        size = np.sqrt(np.maximum(np.diag(joint), 1e-300))
        return Judged(
            every.mean(axis=0), unit_errors(psi, self.held), (seen - every).mean(axis=0), every, errors, freedom,
            joint / np.outer(size, size),
        )  # fmt: skip


def _ratio(sums: Floats, held: Floats) -> Floats:
    return np.divide(sums, held, out=np.full_like(sums, np.nan), where=held > 0)


def objective(low: Floats, weight: Floats | None, scale: Floats) -> Floats:
    """Of lower bounds (..., J): the worst, or the weighted mean, of those in sd; values without one do not vote."""
    used = ~np.isnan(scale)
    in_sd = low[..., used] / scale[used]
    if not used.any():
        return np.zeros(low.shape[:-1])
    if weight is None:
        return np.asarray(np.fmin.reduce(in_sd, axis=-1))
    known = ~np.isnan(in_sd)
    return np.where(known.any(axis=-1), np.where(known, in_sd, 0.0) @ weight[used], np.nan)


def ranked(of_low: Floats, of_gain: Floats, allowed: Flags) -> Floats:
    """What a choice takes the largest of: the objective of the lower bounds (..., M), or of the gains where no cell
    allowed (M,) has bounds; -inf for the other cells. Pages and halves of their prompts choose by it alike."""
    bounded = (np.isfinite(of_low) & allowed).any(axis=-1, keepdims=True)
    rank = np.where(bounded, of_low, of_gain)
    return np.where(allowed & ~np.isnan(rank), rank, -np.inf)
