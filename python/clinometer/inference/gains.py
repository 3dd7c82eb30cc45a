"""Gains prompt by prompt from kept scores, which is all that errors and resampling need."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clinometer.common.threads import applied
from clinometer.engine.inputs import Call
from clinometer.engine.weights import Weights

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Label:
    """A centred value on the rows that carry it, and how their tilt moves them among each other."""

    weights: Weights
    value: Floats
    log_ratio: Floats

    def moved(self) -> tuple[Floats, Floats]:
        """Tilted weights of the rows, summing to 1 in a prompt, and the value less its tilted mean."""
        return _under(self.weights, self.log_ratio, self.value)


@dataclass(frozen=True)
class Cell:
    """One direction at one beta: what each prompt adds to gain and KL, and the rows behind that.

    `gain` (G, J) and `kl` (G,) are of single prompts; `share` (G, J) are the prompts' weights, 0 where a value
    has no label and summing to 1, so that sum(share * gain) is the gain.
    """

    k: int
    b: int
    beta: float
    weights: Weights
    log_ratio: Floats
    labels: list[Label]
    gain: Floats
    share: Floats
    kl: Floats

    def total(self) -> Floats:
        """The gains (J,); NaN without a label."""
        total = (self.share * np.nan_to_num(self.gain)).sum(axis=0)
        return np.where((self.share > 0).any(axis=0), total, np.nan)

    def scores(self, t: Floats) -> tuple[Floats, Floats]:
        """Tilted weights of the rows, summing to 1 in a prompt, and scores less their tilted mean."""
        return _under(self.weights, self.log_ratio, self.weights.centre(t))

    def slope_in_kl(self, t: Floats) -> Floats:
        """d gain / d KL along the tilt, Cov_p(f, t) / (lam Var_p(t)), (J,)."""
        tilted, tc = self.scores(t)
        variance = float(applied(self.weights.p.on_rows(self.weights.prompt) * tilted, tc**2))
        if not variance > 0 or not 0 < self.beta < np.inf:
            return np.zeros(len(self.labels))
        moved = [label.moved() for label in self.labels]
        shares = self.weights.p.on_rows(self.share)
        along = [float(applied(share * q, f * tc)) for share, (q, f) in zip(shares.T, moved, strict=True)]
        return self.beta * np.array(along) / variance


def _under(w: Weights, log_ratio: Floats, x: Floats) -> tuple[Floats, Floats]:
    q = w.tilted(log_ratio)
    return q, np.where(w.row > 0, x - w.p.on_rows(w.total(q * x)), 0.0)


def cells(call: Call, kept: Floats, betas: Floats) -> Iterator[Cell]:
    """Every direction and beta in turn, betas (K, B) each > 0 or inf; nothing is read again."""
    whole = Weights.of(call)
    labelled = [Weights.of(call, j) for j in range(call.n_values)]
    table = np.nan_to_num(np.asarray(call.values)[call.population.rows])
    values = [w.centre(f) for w, f in zip(labelled, table.T, strict=True)]
    with np.errstate(divide="ignore"):
        strengths = 1 / betas
    for (k, b), lam in np.ndenumerate(strengths):
        own = whole.log_ratio(kept[:, k], lam)
        # the tilt among labelled rows alone has a normaliser of its own
        ratios = [own if w.p is whole.p else w.log_ratio(kept[:, k], lam) for w in labelled]
        labels = [Label(*of) for of in zip(labelled, values, ratios, strict=True)]
        yield _cell(k, b, float(betas[k, b]), whole, own, labels)


def _cell(k: int, b: int, beta: float, whole: Weights, own: Floats, labels: list[Label]) -> Cell:
    gain, share = np.full((2, whole.p.n_prompts, len(labels)), np.nan)
    for j, label in enumerate(labels):
        w = label.weights
        moved = w.total(w.row * np.expm1(label.log_ratio) * label.value)
        gain[:, j], share[:, j] = np.where(w.seen, moved, np.nan), np.nan_to_num(w.prompt)
    tilted = whole.tilted(own)
    return Cell(
        k, b, float(beta), whole, own, labels, gain, share, whole.total(tilted * np.where(tilted > 0, own, 0.0))
    )
