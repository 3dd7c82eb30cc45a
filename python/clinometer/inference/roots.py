"""Where the KL of tilts comes to a level: a root for every tilt and node of `matched`, all sought in the same walks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from clinometer.common.threads import applied

if TYPE_CHECKING:
    from .matched import MatchedRows

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
SURE, CLOSE = 1e-10, 1e-8  # how well a level is met, and how near a line is to a cubic that meets it


class Curves:
    """KL over lam of tilts (C,) at every node, and the lam (C, M) where each comes to its level.

    Newton's steps in logarithms, inside brackets; two looks with their slopes give a cubic, which is taken without a
    third where it agrees with the last step. Every look is one walk over the rows for all tilts and nodes.
    """

    def __init__(self, rows: MatchedRows, scores: Floats, column: Ints, kl: Floats, start: Floats) -> None:
        self.rows, self.scores, self.column = rows, scores, column
        n, M = rows.responses.mean, len(rows.responses.nodes)
        with np.errstate(invalid="ignore", divide="ignore"):
            lam = np.where((start > 0) & np.isfinite(start), 1 / start, np.nan)
            guess = np.isnan(lam)
            lam[guess] = np.sqrt(2 * kl[guess] / variances(rows, scores, column[guess]))
            apart = np.array([np.sqrt((1 - 1 / n) / (1 - 1 / (n - m))) if m else 1.0 for m in range(M)])
            self.x, self.goal = np.log(lam[:, None] * apart), np.repeat(np.log(kl)[:, None], M, axis=1)
        self.low, self.high = np.full(self.x.shape, -np.inf), np.full(self.x.shape, np.inf)
        self.open = np.isfinite(self.x)
        self.seen = np.full((2, 3, *self.x.shape), np.nan)  # two looks: log lam, log KL and d log lam / d log KL

    def solved(self) -> Floats:
        """lam (C, M), NaN past the reach of the rows."""
        for _ in range(60):
            if not self.open.any():
                break
            self._look()
            self._step()
        self.x[self.open] = np.nan
        return np.asarray(np.exp(self.x))

    def _look(self) -> None:
        """One walk; where a curve has come to its limit below its level there is no root."""
        at = np.nonzero(self.open)
        lam, goal = np.exp(self.x[at]), np.exp(self.goal[at])
        kl, slope = self.rows.curve(self.scores, self.column[at[0]], lam, at[1]).T
        self.seen[0] = self.seen[1]
        with np.errstate(divide="ignore", invalid="ignore"):
            self.seen[1][:, *at] = np.log(lam), np.log(kl), kl / (lam * slope)
        ended = ~(kl >= goal) & ~(slope * lam >= 1e-6 * goal)
        self.x[at[0][ended], at[1][ended]], self.open[at[0][ended], at[1][ended]] = np.nan, False

    def _step(self) -> None:
        (x0, y0, d0), (x, y, d), goal = *self.seen, self.goal
        self.low = np.where(y < goal, np.fmax(self.low, x), self.low)
        self.high = np.where(y < goal, self.high, np.fmin(self.high, x))
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            line, h = x + np.clip((goal - y) * d, -2, 2), y - y0
            t, rise = (goal - y) / h, (x - x0) / h
            cubic = x + h * t * (d + t * (d0 + 2 * d - 3 * rise + t * (d0 + d - 2 * rise)))  # Hermite's
            middle = np.where(np.isinf(self.high), x + np.log(2), np.log((np.exp(self.low) + np.exp(self.high)) / 2))
        apart = np.abs(cubic - line)
        step = np.where(apart <= np.abs(line - x), cubic, line)
        inside = (step > self.low) & (step < self.high)
        done = (np.abs(y - goal) <= SURE) | (self.high - self.low <= 1e-14)
        self.x = np.where(self.open & ~done, np.where(inside, step, middle), self.x)
        self.open &= ~(done | (inside & (apart <= CLOSE)))


def variances(rows: MatchedRows, scores: Floats, columns: Ints) -> Floats:
    """Of scores inside prompts, (C,); NaN where nothing varies."""
    out = np.full(len(columns), np.nan)
    for k in np.unique(columns):
        t = rows.centred(scores[:, k])
        variance = float(applied(rows.prompts(rows.weight * t * t), rows.omega))
        out[columns == k] = variance if variance > 0 else np.nan
    return out
