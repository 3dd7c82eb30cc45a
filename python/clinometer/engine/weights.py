"""Base weights of rows inside prompts: sums, means with their errors, and tilts, of one label or of all rows."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from clinometer.common.resampling import t_bounds, unit_errors, worth
from clinometer.common.threads import applied

from . import kl as roots
from .inputs import Call
from .population import Population

Floats = NDArray[np.float64]
FLAT = 1e-12


@dataclass(frozen=True)
class Weights:
    """Base weights inside prompts over the rows that carry one label; unlabelled rows weigh 0.

    Rows are those of a population in canonical order, prompts together. `call` is whose scores are tilted.
    """

    p: Population
    call: Call | None = None

    @classmethod
    def of(cls, call: Call, j: int | None = None) -> Weights:
        """Of all rows of a call; with `j` of those that carry value j."""
        p = call.population
        return cls(p if j is None else p.labelled(np.asarray(call.values)[:, j]), call)

    @cached_property
    def row(self) -> Floats:
        return self.p.row_weight()

    @cached_property
    def prompt(self) -> Floats:
        return self.p.prompt_weight()

    @cached_property
    def seen(self) -> NDArray[np.bool_]:
        """Prompts (G,) with at least one row of positive weight."""
        return np.asarray(self.total(self.row) > 0.0)

    def total(self, x: Floats) -> Floats:
        """Sums over the rows of each prompt, (G, ...)."""
        return self.p.sums(x)

    def centre(self, x: Floats) -> Floats:
        """Less the prompt mean, twice: the first mean's rounding is itself a mean. Rows of weight 0 become 0."""
        w = self.row if x.ndim == 1 else self.row[:, None]
        x = np.where(w > 0.0, x, 0.0)
        for _ in range(2):
            x = np.where(w > 0.0, x - self.p.on_rows(self.total(w * x)), 0.0)
        return x

    def mean(self, per_prompt: Floats) -> Floats:
        """Weighted mean over prompts of (G, ...); NaN if no prompt has a label."""
        return np.asarray(self.prompt @ per_prompt) if self.seen.any() else np.full(per_prompt.shape[1:], np.nan)

    def joint(self, per_prompt: Floats) -> Floats:
        """Covariance (M, M) of the means of (G, M), clustered; NaN below two clusters (theory 2.6)."""
        psi = self.prompt[:, None] * (per_prompt - self.mean(per_prompt))
        present = np.broadcast_to((self.seen & (self.prompt > 0.0))[:, None], psi.shape)
        return roots.clustered(psi, present, self.p.cluster)

    def se(self, per_prompt: Floats) -> Floats:
        """Standard errors of the means of (G, ...)."""
        shape = per_prompt.shape[1:]
        flat = per_prompt.reshape(len(per_prompt), -1)
        columns = [self.joint(flat[:, m : m + 1])[0, 0] for m in range(flat.shape[1])]
        return np.asarray(np.sqrt(np.array(columns).reshape(shape)))

    def bounds(self, per_prompt: Floats, level: float = 0.95) -> Floats:
        """Bounds (2,) of the mean of (G,), by Student's t with as many degrees of freedom as effective prompts."""
        share = np.where(self.seen, self.prompt, 0.0)
        share = share / max(share.sum(), 1e-300)
        c = np.where(share > 0, per_prompt, 0.0)
        psi, held = (self.p.unit_sums(x[:, None]) for x in (share * (c - share @ c), share))
        return t_bounds(np.array(share @ c), unit_errors(psi, held)[0], worth(psi, held)[0], level)

    def log_ratio(self, t: Floats, lam: float) -> Floats:
        """log p/w of each row under the tilt by exp(lam t), -inf where it weighs nothing; lam inf is the argmax."""
        return np.asarray(self.log_ratios(t[:, None], lam)[0])

    def log_ratios(self, t: Floats, lam: float = 1.0) -> Floats:
        """`log_ratio` of each column of scores (N, K), (K, N): one walk."""
        assert self.call is not None
        with np.errstate(divide="ignore"):
            betas = np.full((t.shape[1], 1), 1.0 / np.float64(lam))
        return roots.log_ratios(self.call, np.ascontiguousarray(t), betas, self.p)

    def tilted(self, log_ratio: Floats) -> Floats:
        """Weights of the rows in a tilt, summing to 1 in each prompt."""
        with np.errstate(under="ignore"):
            return np.asarray(self.row * np.exp(log_ratio))

    def gains(self, t: Floats, lam: float, f: Floats) -> Floats:
        """Gain of a centred value in each prompt under the tilt by exp(lam t), (G,)."""
        return self.total(self.row * np.expm1(self.log_ratio(t, lam)) * f)

    def factor(self) -> Floats:
        """n/(n-1) of each prompt, 0 where a single response has no variance (theory 2.5)."""
        if self.p.unbias is not None:
            return np.where(self.seen, self.p.unbias, 0.0)
        n = self.p.sizes.astype(np.float64)
        return np.where(n > 1.0, n / np.where(n > 1.0, n - 1.0, 1.0), 0.0)

    def unbiased(self, per_prompt: Floats) -> Floats:
        """Mean over prompts of second moments with the ddof-1 factor; prompts without one are left out."""
        factor = self.factor()
        omega = np.where(factor > 0.0, self.prompt, 0.0)
        if not omega.sum() > 0.0:
            return np.full(per_prompt.shape[1:], np.nan)
        return np.asarray((omega * factor) @ per_prompt / omega.sum())


def within_sd(call: Call) -> Floats:
    """Within-prompt sd of each value, sqrt(E_x Var_{y|x} f) under the base policy, (J,); NaN rows left out. Of the
    policy, as gains are: the variance of n responses counts n/(n - 1) fold."""
    table = np.asarray(call.values, np.float64)
    return np.array([spread_within(table[:, j], call.effective()) for j in range(call.n_values)])


def spread_within(column: Floats, p: Population) -> float:
    """Within-prompt sd of one column (N,), NaN rows left out; exactly 0 where it is constant inside every prompt.

    Constant is what differs by FLAT of the column's own size: rounding, at any scale. NaN where no prompt tells: each
    has one label at most, among responses without one.
    """
    f, seen = column[p.rows], ~np.isnan(column[p.rows])
    known = p.sums(seen.astype(np.float64))
    if not ((known > 1) | (known == p.sizes)).any():
        return float("nan")
    labelled = p.labelled(column)
    # shifted by a value of the prompt itself, so that a constant leaves no rounding behind
    top = np.maximum.reduceat(np.where(seen, f, -np.inf), p.offsets[:-1])
    size = float(np.abs(f[seen]).max())
    f = np.where(seen, f, 0.0) - np.where(seen, p.on_rows(top), 0.0)
    scale = float(np.abs(f).max())
    if scale <= FLAT * size:
        return 0.0
    f, w = f / scale, labelled.row_weight()  # scaled, so that squares neither overflow nor vanish
    centred = f - p.on_rows(p.sums(w * f))
    # rows with their own log-probabilities are the policy, of which nothing was drawn
    factor = np.ones(p.n_prompts) if p.base == "logprob" else Weights(labelled).factor()
    omega = np.where(factor > 0, labelled.prompt_weight(), 0.0)
    total = float(omega.sum())
    return scale * float(np.sqrt(applied(factor * p.sums(w * centred**2), omega) / total)) if total > 0 else 0.0
