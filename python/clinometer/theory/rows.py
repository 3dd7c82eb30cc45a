"""Judge scores and values of the counted rows: what the row-based theory needs.

Everything is float64 NumPy over canonical order (prompts together); the dump itself is read by the passes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clinometer.engine import kl as roots
from clinometer.engine import stat
from clinometer.engine.checks import (
    DEFAULT_KL,
    check_strength,
    checked_betas,
    checked_kl,
    need_moderate_scores,
    need_scores,
    need_within,
)
from clinometer.engine.inputs import Call, prepare, run
from clinometer.engine.passes import adjusted, kept_scores
from clinometer.engine.population import Population
from clinometer.engine.weights import Weights

from .arrays import Floats


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
        return Weights.of(self.call, j)

    def value(self, j: int) -> Floats:
        """Value j with 0 where unlabelled; such rows weigh 0."""
        return np.nan_to_num(self.values[:, j])

    def restricted(self, j: int) -> tuple[Call, Floats]:
        """The call over the prompts that carry value j, with that value alone, and the value as a judge (N', 1).

        Unlabelled rows weigh 0 and prompts without a label are taken out.
        """
        w = self.weights(j)
        p, rows = w.p, w.p.on_rows(w.seen)
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
    need_within(options)
    call = prepare(dump, directions, values, **options)
    need_scores(call)
    need_moderate_scores(call)
    if values is not None and call.n_values == 0:
        raise ValueError("values is empty, wanted at least one value")
    return scored_of(call, np.asarray(adjusted(call, kept_scores(call), adjust)))


def scored_of(call: Call, kept: Floats) -> Scored:
    """Kept scores (N, K) with the values of their rows; whole counts are written out."""
    call, kept = roots.written_out(call, kept)
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
