"""Correlations inside prompts, and the influence of each prompt on them (theory 2.6)."""

from __future__ import annotations

import numpy as np

from clinometer.engine.weights import Weights

from .arrays import Floats
from .rows import Scored, ratio

__all__ = ["correlation_influence", "correlations", "per_prompt_grams"]


def per_prompt_grams(s: Scored, columns: Floats, j: int | None = None) -> Floats:
    """Covariances (G, M, M) of the columns inside each prompt, ddof 0."""
    w = s.weights(j)
    x = w.centre(columns)
    M = x.shape[1]
    out = np.empty((w.p.n_prompts, M, M))
    for a in range(M):
        out[:, a, :] = w.total((w.row * x[:, a])[:, None] * x)
    return out


def correlations(gram: Floats) -> Floats:
    """Correlations of a covariance; NaN where a variance is 0."""
    sd = np.sqrt(np.maximum(np.diagonal(gram), 0.0))
    return np.clip(ratio(gram, np.outer(sd, sd)), -1.0, 1.0)


def correlation_influence(w: Weights, a: Floats, b: Floats) -> tuple[Floats, tuple[Floats, Floats]]:
    """Influence (G,) of prompts on the correlation of centred columns a and b, and its slopes (N,) in a and in b.

    r = C_ab / sqrt(C_aa C_bb): of a prompt C_ab,x/sqrt(..) - r/2 (C_aa,x/C_aa + C_bb,x/C_bb), times omega_x.
    """
    row = w.row * w.p.on_rows(w.prompt)
    (aa, bb), ab = (float(row @ (v * v)) for v in (a, b)), float(row @ (a * b))
    if not (aa > 0 and bb > 0):
        return np.full(len(w.prompt), np.nan), (np.zeros(len(a)), np.zeros(len(b)))
    r, scale = ab / np.sqrt(aa * bb), 1 / np.sqrt(aa * bb)
    psi = w.total(row * (a * b * scale - r / 2 * (a * a / aa + b * b / bb)))
    return psi, (row * (b * scale - r * a / aa), row * (a * scale - r * b / bb))
