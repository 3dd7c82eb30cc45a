"""The share of one direction's score variance that others explain, free of the noise of the fits (theory 3.3)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from clinometer.common.resampling import t_bounds, unit_errors, worth
from clinometer.engine.population import Population
from clinometer.engine.weights import Weights

from .arrays import Floats
from .rows import ratio

__all__ = ["UNSURE", "explained_share", "share_interval"]

UNSURE = 3.0  # an encoded variance of so many errors counts for half, one of twice as many for nearly all


def share_interval(share: float, se: float, units: float, level: float) -> Floats:
    """Bounds (2,) of a share in [0, 1]: by Student's t, of its own and of Fisher's scale of its root the wider.

    A share's error grows with it, so that low ones come with bounds that are too near; on Fisher's scale it does not,
    but near 0 that scale sees an effect in half an error.
    """
    plain = t_bounds(np.array(share), np.array(se), np.array(units), level)
    half = (plain[1] - plain[0]) / 2
    root = np.sqrt(np.clip(share, 0.0, 1.0 - 1e-12))
    slope = 2.0 * np.fmax(root, np.sqrt(half / 2.0)) * np.fmax(1.0 - root**2, half)  # no less than an error off an end
    reach = half / np.fmax(slope, 1e-300)
    fisher = np.tanh(np.maximum(np.arctanh(root) + reach * np.array([-1.0, 1.0]), 0.0)) ** 2
    return np.asarray(np.clip([np.minimum(fisher[0], plain[0]), np.maximum(fisher[1], plain[1])], 0.0, 1.0))


def explained_share(w: Weights, t: Floats, y: Floats, fold: NDArray[np.int64]) -> tuple[float, float, float, Floats]:
    """(share, error, effective units) and the covariances of all true scores (1 + J, 1 + J).

    From out-of-fold scores t and labels y, those of u_gen first. Of a unit, u'Sigma v has the influence t_u y_v +
    t_v y_u - t_u t_v through labels, fits and rows; the best b has none to first order.
    """
    cross = np.stack([w.total((w.row * a)[:, None] * y) for a in t.T], axis=1)  # <fit a, phi> with label b
    spread = np.stack([w.total((w.row * a)[:, None] * t) for a in t.T], axis=1)
    labels = np.stack([w.total((w.row * a)[:, None] * y) for a in y.T], axis=1)
    moved = cross + np.swapaxes(cross, 1, 2) - spread
    both = (cross + np.swapaxes(cross, 1, 2)) / 2
    explained, moves = np.zeros((2, len(fold)))
    for f in np.unique(fold):
        rest, here = np.where(fold != f, w.prompt, 0.0), fold == f
        b = _weights(w.p, rest, both, moved, np.tensordot(rest, labels, 1)[1:, 1:])
        # of c the half whose labels are the values': the other knows the directions that b was fitted to
        explained[here] = 2 * cross[here, 0, 1:] @ b - both[here, 1:, 1:] @ b @ b
        moves[here] = 2 * moved[here, 0, 1:] @ b - moved[here, 1:, 1:] @ b @ b
    whole = np.tensordot(w.prompt, both, 1)
    if not whole[0, 0] > 0:
        return float("nan"), float("nan"), float("nan"), whole
    share = float(w.prompt @ explained / whole[0, 0])
    psi = (w.prompt * (moves - share * moved[:, 0, 0]) / whole[0, 0])[:, None]
    units, held = w.p.unit_sums(psi), w.p.unit_sums(w.prompt[:, None])
    units = units - held * units.sum()
    return share, float(unit_errors(units, held)[0]), float(worth(units, held)[0]), whole


def _weights(p: Population, omega: Floats, both: Floats, moved: Floats, labels: Floats) -> Floats:
    """b (J,) from prompts of weight omega: V^-1 c in units of the labels' spread, damped where V is unsure.

    An eigenvalue v of error e is inverted as v^3 / (v^4 + (3 e)^4), and not at all below 0.
    """
    v, c = np.tensordot(omega, both, 1)[1:, 1:], np.tensordot(omega, both, 1)[0, 1:]
    value, frame = np.linalg.eigh(labels)
    alive = value > 1e-12 * value.max(initial=0.0)
    root = frame[:, alive] / np.sqrt(value[alive])  # labels become uncorrelated, of unit variance
    size, turn = np.linalg.eigh(root.T @ v @ root)
    root = root @ turn
    psi = np.einsum("gjk,ja,ka->ga", moved[:, 1:, 1:], root, root)
    units, held = (p.unit_sums(x) for x in (omega[:, None] * psi, omega[:, None]))
    error = np.nan_to_num(unit_errors(units - held / held.sum() * units.sum(axis=0), held), nan=np.inf)
    damped = np.where(size > 0, ratio(1.0, size * (1.0 + (UNSURE * ratio(error, size)) ** 4)), 0.0)
    return np.asarray(root @ (np.nan_to_num(damped) * (root.T @ c)))
