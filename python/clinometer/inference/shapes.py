"""What scores are like inside prompts: how their spread differs, how long their tails are, whether labels go with them.

Each is a way in which the estimates of `matched` can be off that no number of prompts removes (theory 2.9).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .matched import PAIRS, MatchedRows, Tilts
from .spread import Spread, spread
from .tails import excess

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
SURE = 0.0005  # chance that labels are said to be missing by a score, one side, for all scores and values together


class Shapes:
    """Of columns of scores (N, K), each centred once."""

    def __init__(self, rows: MatchedRows, scores: Floats) -> None:
        self.rows, self.scores, self.p = rows, scores, rows.p
        made = [self._of(rows.centred(t)) for t in scores.T]
        self.spreads, self.tails = [law for law, _ in made], np.array([far for _, far in made])

    def _of(self, t: Floats) -> tuple[Spread, float]:
        """How the spread differs between prompts, and the mean excess of scores over the spread of their prompt: that
        some are wide is no tail. Rows with weights of their own do not tell."""
        rows = self.rows
        if self.p.base == "reweight":
            return Spread(0.0, np.ones(self.p.n_prompts)), 0.0
        unit = t / max(float(np.abs(t).max(initial=0.0)), 1e-300)
        second, fourth = (rows.prompts(rows.weight * unit**k) for k in (2, 4))
        law, some = spread(second, fourth, rows.responses.n, rows.omega), rows.weight > 0
        if law.log_sd > 0:
            t = t * self.p.on_rows(law.usual)
        return law, excess(t[some], None if rows.copies is None else rows.copies[some])

    def overshoot(self, tilts: Tilts) -> Floats:
        """Share (C,) by which gains may be too high because prompts differ in the spread of the score."""
        rows = self.rows
        if rows.exact or rows.few or rows.silent:
            return np.zeros(len(tilts.column))
        each = zip(tilts.column, tilts.kl, strict=True)
        return np.array([float(self.spreads[c].overshoot(kl, rows.reach)) for c, kl in each])

    def outweighing(self, tilts: Tilts) -> Floats:
        """How many responses of a prompt outweigh all of them together under tilts (C,); 0 where the rows are the
        policy. Of 16 responses where there are more, which no pairs are left out of.

        With k the tail index of the weights, n P(w > n E[w]) is n^{1 - 1/k}. Terms of that order in n are not of the
        law by which gains are taken to many responses (theory 2.9). k is lam times the excess of the scores. Where rows
        come with weights of their own it is that of the log-weights, and they count ten times: of Gaussian rows sampled
        at temperature 0.6 or 0.7 gains are seen to fall short from a tenth of the limit on, at 0.85 not.
        """
        if self.rows.exact or self.rows.silent:
            return np.zeros(len(tilts.column))
        n, weighed = min(self.rows.responses.mean, PAIRS[1]), self.p.base == "reweight"
        with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
            if weighed:
                k = np.array([self._weighed(c, b) for c, b in zip(tilts.column, tilts.beta, strict=True)])
            else:
                k = self.tails[tilts.column] / tilts.beta
            return np.asarray(np.minimum((10 if weighed else 1) * n ** (1 - 1 / k), n))

    def _weighed(self, column: int, beta: float) -> float:
        """Mean excess of the logarithms of the rows' own weights and a tilt's together."""
        some = self.rows.weight > 0
        own = self.rows.weight * self.p.on_rows(self.rows.responses.n)
        t = self.rows.centred(self.scores[:, column])
        return excess((np.log(own) + t / beta)[some], None) if beta > 0 else 0.0

    def labels_miss(self) -> Flags:
        """Whether labels of a value are missing by the score, (K, J): the completed column takes them to be missing
        whatever the score is. A false one is to be seen in one of a thousand dumps."""
        from scipy.special import ndtri

        rows = self.rows
        out = np.zeros((self.scores.shape[1], len(rows.known)), bool)
        partial = np.flatnonzero(rows.gain_of >= len(rows.known))
        sure = ndtri(1 - SURE / max(len(partial) * len(out), 1))
        for j in partial:
            seen = np.where(np.isnan(rows.values[j]), 0.0, 1.0)
            apart = (rows.weight * (seen - self.p.on_rows(rows.prompts(rows.weight * seen))))[:, None] * self.scores
            units = self.p.unit_sums(rows.omega[:, None] * self.p.sums(apart))
            out[:, j] = np.abs(units.sum(axis=0)) > sure * np.sqrt((units**2).sum(axis=0))
        return out
