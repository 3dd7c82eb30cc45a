"""SciPy: softmax and log-sum-exp for the tilt, the BLAS routine SYRK for the covariance."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy

from clinometer.bench.problem import Problem
from clinometer.bench.rows import Floats

from . import Settings

__all__ = ["KERNELS", "VERSION", "set_threads"]

VERSION = scipy.__version__
TILT_CELLS = 1 << 18
GRAM_ROWS = 4096


def set_threads(threads: int) -> None:
    """SciPy's BLAS takes its threads from the environment."""


def tilt(p: Problem) -> Settings:
    """Gain, KL and log partition from softmax and logsumexp over the prompt."""
    from scipy.special import logsumexp, softmax

    group, betas, m = p.rows.group, p.betas.astype(np.float32), p.k * len(p.betas)
    step = max(TILT_CELLS // (group * m), 1) * group

    def call() -> tuple[Floats, Floats, Floats]:
        sums = np.zeros((p.values.shape[1] + 2, m))
        for i in range(0, p.rows.n, step):
            t, f = (a[i : i + step].reshape(-1, group, a.shape[1]) for a in (p.scores, p.values))
            x = (t[..., None] / betas).reshape(len(t), group, m)
            w, log = softmax(x, axis=1), logsumexp(x, axis=1) - np.log(group)
            sums[:-2] += np.matmul((f - f.mean(axis=1, keepdims=True)).transpose(0, 2, 1), w).sum(axis=0)
            sums[-2] += ((w * x).sum(axis=1) - log).sum(axis=0)
            sums[-1] += log.sum(axis=0)
        mean = (sums * (group / p.rows.n)).reshape(-1, p.k, len(betas))
        return mean[:-2].transpose(1, 2, 0), mean[-2], mean[-1]

    return {"softmax, logsumexp": call}


def covariance(p: Problem) -> Settings:
    """Covariance (d, d): the lower triangle of each chunk by SYRK, added in float64."""
    from scipy.linalg.blas import ssyrk

    pilot = p.rows.exact(slice(0, 1024)).mean(axis=0).astype(np.float32)

    def call() -> Any:
        out, total = np.zeros((p.rows.d, p.rows.d)), np.zeros(p.rows.d)
        for _, x in p.rows.chunks(4 * GRAM_ROWS * p.rows.d):
            centred = x - pilot
            out += ssyrk(1.0, centred.T).T  # the transpose of its upper triangle, contiguous
            total += centred.sum(axis=0, dtype=np.float64)
        out = np.tril(out) + np.tril(out, -1).T
        return out / p.rows.n - np.outer(total, total) / p.rows.n**2

    return {"ssyrk": call}


KERNELS = {"tilt": tilt, "covariance": covariance}
