"""The same quantities in NumPy, as a careful user would write them: chunked float32, one read of the rows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .rows import GROUP, Floats, Rows

__all__ = ["covariance", "covariance_projection", "score", "tilt", "tilt_rows", "tilted_mean"]

Singles = NDArray[np.float32]
TILT_CELLS = 1 << 18  # exponentials held at once: 2 MiB of float64


def score(rows: Rows, directions: Singles, out: Singles) -> Singles:
    """Scores (N, K)."""
    if rows.dtype == "float32":
        return np.matmul(rows.stored, directions.T, out=out)
    for begin, x in rows.chunks():
        np.matmul(x, directions.T, out=out[begin : begin + len(x)])
    return out


def tilt(scores: Floats, values: Floats, betas: Floats) -> tuple[Floats, Floats, Floats]:
    """Gain (K, B, J), KL (K, B) and log partition (K, B), averaged over prompts; scores (N, K), values (N, J)."""
    (n, k), b, j = scores.shape, len(betas), values.shape[1]
    groups = n // GROUP
    gain, kl, log_partition = np.zeros((j, k * b)), np.zeros(k * b), np.zeros(k * b)
    step = max(TILT_CELLS // (GROUP * k * b), 1)
    for g in range(0, groups, step):
        cut = slice(g * GROUP, (g + step) * GROUP)
        t, f = scores[cut].reshape(-1, GROUP, k), values[cut].reshape(-1, GROUP, j)
        top = t.max(axis=1, keepdims=True)
        x = ((t - top)[..., None] / betas).reshape(len(t), GROUP, k * b)
        e = np.exp(x)
        z = e.sum(axis=1, keepdims=True)
        e /= z
        log_z = np.log(z[:, 0] / GROUP)
        gain += np.matmul((f - f.mean(axis=1, keepdims=True)).transpose(0, 2, 1), e).sum(axis=0)
        kl += (np.einsum("gim,gim->gm", e, x) - log_z).sum(axis=0)
        log_partition += (log_z + (top[:, 0, :, None] / betas).reshape(len(t), k * b)).sum(axis=0)
    return (
        (gain / groups).reshape(j, k, b).transpose(1, 2, 0),
        (kl / groups).reshape(k, b),
        (log_partition / groups).reshape(k, b),
    )


def tilt_rows(rows: Rows, directions: Singles, values: Floats, betas: Floats) -> tuple[Floats, Floats, Floats]:
    """Scores of the rows, then `tilt`."""
    out = np.empty((rows.n, len(directions)), np.float32)
    return tilt(score(rows, directions, out).astype(np.float64), values, betas)


def tilted_mean(rows: Rows, directions: Singles, betas: Floats) -> Floats:
    """Mean rows (K, B, d) under each tilt."""
    k, b = len(directions), len(betas)
    out = np.zeros((k * b, rows.d))
    for _, x in rows.chunks():
        t = (x @ directions.T).reshape(-1, GROUP, k)
        below = t - t.max(axis=1, keepdims=True)
        w = np.exp((below[..., None] / betas.astype(np.float32)).reshape(len(t), GROUP, k * b))
        w /= w.sum(axis=1, keepdims=True)
        out += w.reshape(-1, k * b).T @ x
    return (out / (rows.n // GROUP)).reshape(k, b, rows.d)


def covariance_projection(rows: Rows, directions: Singles) -> Floats:
    """Within-prompt Sigma u (K, d): centring the scores inside prompts is enough."""
    k = len(directions)
    out = np.zeros((k, rows.d))
    for _, x in rows.chunks():
        s = (x @ directions.T).reshape(-1, GROUP, k)
        out += (s - s.mean(axis=1, keepdims=True)).reshape(-1, k).T @ x
    return out / rows.n


def covariance(rows: Rows) -> Floats:
    """Within-prompt covariance (d, d); X^T X of one array is a SYRK in NumPy."""
    out = np.zeros((rows.d, rows.d))
    for _, x in rows.chunks():
        grouped = x.reshape(-1, GROUP, rows.d)
        centred = (grouped - grouped.mean(axis=1, keepdims=True)).reshape(-1, rows.d)
        out += centred.T @ centred
    return out / rows.n
