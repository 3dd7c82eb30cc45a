"""Judge scores and values of the counted rows, and weighted sums inside prompts: what the row-based theory needs.

Everything is float64 NumPy over canonical order (prompts together); the dump itself is read by the passes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clinometer.common.resampling import t_bounds, unit_errors, worth
from clinometer.engine import kl as roots
from clinometer.engine import stat
from clinometer.engine.checks import (
    DEFAULT_KL,
    check_strength,
    checked_betas,
    checked_kl,
    need_moderate_scores,
    need_scores,
)
from clinometer.engine.inputs import Call, prepare, run
from clinometer.engine.passes import adjusted, kept_scores
from clinometer.engine.population import Population
from clinometer.inference.gains import unit_sums

from .arrays import Floats

__all__ = ["Scored", "Weights", "betas_of", "kl_terms", "levels", "ratio", "rows_at", "scored", "tilts"]


@dataclass(frozen=True)
class Weights:
    """Base weights inside prompts over the rows that carry one label; unlabelled rows weigh 0."""

    p: Population

    @cached_property
    def row(self) -> Floats:
        return self.p.row_weight()

    @cached_property
    def prompt(self) -> Floats:
        return self.p.prompt_weight()

    @cached_property
    def seen(self) -> NDArray[np.bool_]:
        """Prompts (G,) with at least one row of positive weight."""
        return self.total(self.row) > 0.0

    def total(self, x: Floats) -> Floats:
        """Sums over the rows of each prompt, (G, ...)."""
        return np.asarray(np.add.reduceat(x, self.p.offsets[:-1], axis=0))

    def spread(self, per_prompt: NDArray[Any]) -> NDArray[Any]:
        """A number a prompt, repeated on its rows."""
        return np.repeat(per_prompt, self.p.sizes, axis=0)

    def centre(self, x: Floats) -> Floats:
        """Less the prompt mean, twice: the first mean's rounding is itself a mean. Rows of weight 0 become 0."""
        w = self.row if x.ndim == 1 else self.row[:, None]
        x = np.where(w > 0.0, x, 0.0)
        for _ in range(2):
            x = np.where(w > 0.0, x - self.spread(self.total(w * x)), 0.0)
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
        psi, held = (unit_sums(x[:, None], self.p) for x in (share * (c - share @ c), share))
        return t_bounds(np.array(share @ c), unit_errors(psi, held)[0], worth(psi, held)[0], level)

    def tilt(self, t: Floats, lam: float) -> tuple[Floats, Floats]:
        """Tilted weights p and log-ratios r of every row; lam = inf shares the argmax by base weight."""
        alive = self.row > 0.0
        top = np.maximum.reduceat(np.where(alive, t, -np.inf), self.p.offsets[:-1])
        x = np.where(alive, t - self.spread(np.where(np.isfinite(top), top, 0.0)), 0.0)
        if np.isinf(lam):
            x = np.where(x < 0.0, -np.inf, 0.0)
        else:
            x = lam * x
        with np.errstate(under="ignore"):
            mass = self.total(self.row * np.exp(x))
            log_mass = np.log(np.where(mass > 0.0, mass, 1.0))
            r = x - self.spread(log_mass)
            return self.row * np.exp(r), r

    def change(self, t: Floats, lam: float) -> tuple[Floats, Floats]:
        """p - w and r; at small tilts as w expm1(r), where the difference would cancel."""
        p, r = self.tilt(t, lam)
        return np.where(np.abs(r) < 0.5, self.row * np.expm1(np.minimum(r, 1.0)), p - self.row), r

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
        total = omega.sum()
        return (
            np.asarray((omega * factor) @ per_prompt / total) if total > 0.0 else np.full(per_prompt.shape[1:], np.nan)
        )


@dataclass(frozen=True)
class Scored:
    """Scores (N, K) and values (N, J) of the counted rows in canonical order; NaN is unlabelled."""

    call: Call
    scores: Floats
    values: Floats

    @property
    def population(self) -> Population:
        return self.call.population

    def weights(self, j: int | None = None) -> Weights:
        """Base weights; with `j` those over the rows that carry value j."""
        if j is None:
            return Weights(self.population)
        return Weights(self.population.labelled(np.asarray(self.call.values)[:, j]))

    def value(self, j: int) -> Floats:
        """Value j with 0 where unlabelled; such rows weigh 0."""
        return np.nan_to_num(self.values[:, j])

    def restricted(self, j: int) -> tuple[Call, Floats]:
        """The call over the prompts that carry value j, with that value alone, and the value as a judge (N', 1).

        Unlabelled rows weigh 0 and prompts without a label are taken out.
        """
        w = self.weights(j)
        p, rows = w.p, w.spread(w.seen)
        if not rows.any():
            raise ValueError(f"values: {self.call.value_names[j]!r} has no label in any prompt")
        kept = replace(
            p, offsets=np.append(0, np.cumsum(p.sizes[w.seen])).astype(np.int64), ids=p.ids[w.seen],
            order=np.ascontiguousarray(p.rows[rows]), weight=np.ascontiguousarray(w.row[rows]),
            omega=np.ascontiguousarray(w.prompt[w.seen]), unbias=np.ascontiguousarray(w.factor()[w.seen]),
            cluster=None if p.cluster is None else np.ascontiguousarray(p.cluster[w.seen]),
        )  # fmt: skip
        score = np.ascontiguousarray(self.value(j)[rows][:, None])
        values = np.ascontiguousarray(np.asarray(self.call.values)[:, j : j + 1])
        return replace(self.call, population=kept, values=values, progress=None), score

    def counts(self) -> dict[str, Any]:
        """The diagnostics every result carries."""
        p = self.population
        return {
            "n_rows": p.n_rows if p.n_stored is None else p.n_stored, "n_prompts": p.n_prompts,
            "n_dropped": p.n_dropped, "n_unlabelled": self.call.n_unlabelled, "fit_status": self.call.fit_status,
        }  # fmt: skip


def scored(dump: Any, directions: Any, values: Any, *, adjust: Any = None, **options: Any) -> Scored:
    """Check the arguments, read the dump once and gather scores and values in canonical order."""
    if not options.get("within", True):
        raise ValueError("within is False; wanted True: a policy is renormalised inside every prompt")
    call = prepare(dump, directions, values, **options)
    need_scores(call)
    need_moderate_scores(call)
    if values is not None and call.n_values == 0:
        raise ValueError("values is empty, wanted at least one value")
    call, kept = roots.written_out(call, np.asarray(adjusted(call, kept_scores(call), adjust)))
    rows = call.population.rows
    table = np.zeros((len(rows), 0)) if call.values is None else np.asarray(call.values)[rows]
    return Scored(call, kept, table)


def kl_terms(r: Floats) -> Floats:
    """e^r r - expm1(r), which is >= 0: sum_i w_i of it is KL(p || w) without cancellation (theory 2.2)."""
    r = np.where(np.isneginf(r), -np.inf, r)
    small = np.abs(r) < 1e-2
    x = np.where(small, r, 0.0)
    series = x * x * (0.5 + x * (1.0 / 3.0 + x * (0.125 + x * (1.0 / 30.0 + x * (1.0 / 144.0 + x / 840.0)))))
    with np.errstate(invalid="ignore"):
        direct = np.where(np.isneginf(r), 1.0, np.exp(r) * r - np.expm1(r))
    return np.where(small, series, direct)


def ratio(top: ArrayLike, bottom: ArrayLike) -> Floats:
    """top / bottom, NaN where the bottom is 0."""
    a, b = np.broadcast_arrays(np.asarray(top, np.float64), np.asarray(bottom, np.float64))
    out = np.full(a.shape, np.nan)
    np.divide(a, b, out=out, where=b != 0.0)
    return out


def levels(kl: Any) -> Floats:
    """KL levels in nats, checked; None takes the defaults of `tilt`."""
    return checked_kl(DEFAULT_KL if kl is None else kl)


def betas_of(call: Call, kept: Floats, betas: Any, kl: Any) -> Floats:
    """beta (K, B) from the one of betas and kl that is given."""
    check_strength(betas, kl, call.n_scores)
    if betas is not None:
        return checked_betas(betas, call.n_scores)
    return roots.solve(call, kept, levels(kl), call.names)


def tilts(call: Call, kept: Floats, betas: Floats) -> dict[str, Floats]:
    """What the compiled tilt gives of kept scores (N, K) at betas (K, B); beta 0 is the argmax limit."""
    statistic = stat.Tilt(betas=np.maximum(betas, 5e-324))
    state = statistic.state(call, 0, kept.shape[1], 0, call.n_values)
    return dict(run(call, [state], kept=np.ascontiguousarray(kept))[0].finish())


def rows_at(dump: Any, rows: NDArray[np.int64]) -> Floats:
    """Rows (m, d) of the dump in float64, in the order asked; near and consecutive ones are read together."""
    rows = np.asarray(rows, np.int64)
    if len(rows) and (low := int(rows.min())) + 4 * len(rows) > (high := int(rows.max())):
        return np.asarray(dump.read(low, high + 1)[rows - low], np.float64)
    out = np.empty((len(rows), dump.dim))
    starts = np.flatnonzero(np.append(True, np.diff(rows) != 1)) if len(rows) else np.zeros(0, np.int64)
    for a, b in zip(starts.tolist(), [*starts[1:].tolist(), len(rows)], strict=True):
        out[a:b] = dump.read(int(rows[a]), int(rows[b - 1]) + 1)
    return out
