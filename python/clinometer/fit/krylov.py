"""Ridge fits for d too large for a d x d matrix: Lanczos on passes over the rows, for all penalties at once.

A step multiplies each system's vector by its covariance, which is never formed: a pass for scores and one for their
weighted rows. Sigma + a I has the Krylov space of Sigma whatever a is, so one space serves every penalty. Chosen over
random projections because it is exact: the residual is known at every step and goes to rounding.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from clinometer import _core
from clinometer.common.notices import tell
from clinometer.common.threads import applied
from clinometer.engine.checks import need_squares
from clinometer.engine.inputs import Call, run
from clinometer.engine.population import Population

from .quality import out_of_fold, scores_of
from .scale import column_scale
from .solve import penalty_unit

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
RESIDUAL = 1e-11
STEPS = 400


class Operator:
    """Covariances within prompts of p, one for each system: of all prompts, or of those outside a fold.

    Massive columns are in their own unit (`columns.column_scale`): systems are solved for u over `scale`.
    """

    def __init__(
        self, call: Call, p: Population, fold: Ints | None = None, without: Ints | None = None, *, pooled: bool = False
    ) -> None:  # fmt: skip
        """fold is of each prompt; without (K,) what each system leaves out, -1 for nothing; pooled: over all rows."""
        plain: dict[str, object] = {"values": None, "columns": None, "progress": None, "n_folds": 1, "fold": None}
        self.call = replace(call, population=p, within=True, in_double=True, **plain)  # type: ignore[arg-type]
        self.p, self.pooled, self.without = p, pooled, np.full(1, -1) if without is None else without
        omega, at = p.prompt_weight(), np.zeros(p.n_prompts, np.int64) if fold is None else fold
        kept = at[:, None] != self.without
        mass = applied(kept.T, omega)
        row = p.row_weight()[:, None]
        self.weight = row * p.on_rows(omega[:, None] * kept / np.where(mass > 0, mass, 1.0))

    def rows(self, weights: Floats) -> Floats:
        """Sums of rows under weights (N, K), (K, d); one pass."""
        state = _core.WeightedRows(self.call.dump.dim, np.ascontiguousarray(weights))
        return np.asarray(run(self.call, [state], population=self.p)[0].finish()["sum"])

    def in_prompts(self, x: Floats) -> Floats:
        """Columns (N, K) less their means in prompts, or in folds if pooled."""
        p = self.p
        mean = p.sums(p.row_weight()[:, None] * x)
        return np.asarray(x - p.on_rows(mean))

    def centred(self, x: Floats) -> Floats:
        """Columns (N, K) or (N, 1) less what each system takes for their means, (N, K)."""
        return x - (self.weight * x).sum(axis=0) if self.pooled else self.in_prompts(x)

    def covariance(self, label: Floats) -> Floats:
        """Cov(phi, label) of each system, (K, d), label (N,) or (N, K) in canonical order."""
        held = label[:, None] if label.ndim == 1 else label
        return self.rows(self.weight * self.centred(held)) * self.scale

    def __matmul__(self, v: Floats) -> Floats:
        """Each system's covariance times its own row of v (K, d)."""
        return self.covariance(scores_of(self.call, v * self.scale))

    @cached_property
    def variances(self) -> Floats:
        """Diagonal of each system's Sigma, (K, d); one pass for each that is different."""
        different, at = np.unique(self.without, return_index=True)
        found = {int(f): self._variances(self.weight[:, k]) for f, k in zip(different, at, strict=True)}
        return np.stack([found[int(f)] for f in self.without])

    def _variances(self, weight: Floats) -> Floats:
        if self.pooled:
            p = replace(self.p.pooled(), weight=np.ascontiguousarray(weight))
        else:
            p = replace(self.p, omega=np.ascontiguousarray(self.p.sums(weight)))
        done = run(self.call, [_core.Moments(self.call.dump.dim, 0, 1, 0, False)], population=p)[0].finish()
        variances = np.asarray(done["scatter"][0, :, 0] / done["mass"][0])
        need_squares(self.call.dump, variances)
        return variances

    @cached_property
    def scale(self) -> Floats:
        """What columns are multiplied by in each system, (K, d)."""
        return np.stack([column_scale(v) for v in self.variances])

    def units(self) -> Floats:
        """tr(Sigma)/d of each system: what a penalty is measured in (theory 10.2)."""
        return np.array([penalty_unit(v) for v in self.variances])


class Krylov:
    """Solutions of (Sigma_k + ridge I) u = b_k for any ridge > 0, better with each `step`."""

    def __init__(self, operator: Operator, b: Floats) -> None:
        self.operator, self.size = operator, np.linalg.norm(b, axis=1)
        alive = self.size > 0
        first = np.where(alive[:, None], b / np.where(alive, self.size, 1.0)[:, None], 0.0)
        self.basis = [first]
        self.diagonal: list[Floats] = []
        self.side: list[Floats] = []

    def step(self) -> None:
        """One more vector of every space, kept orthogonal to all before it: Lanczos loses that by itself."""
        v = self.basis[-1]
        w = self.operator @ v
        self.diagonal.append((v * w).sum(axis=1))
        basis = np.stack(self.basis)  # (steps, K, d)
        for _ in range(2):
            w = w - np.einsum("ik,ikd->kd", np.einsum("ikd,kd->ik", basis, w), basis)
        length = np.linalg.norm(w, axis=1)
        length = np.where(length > 1e-14 * np.max(np.abs(self.diagonal), axis=0), length, 0.0)
        self.side.append(length)
        self.basis.append(np.where(length[:, None] > 0, w / np.where(length > 0, length, 1.0)[:, None], 0.0))

    def coordinates(self, ridge: Floats) -> tuple[Floats, Floats]:
        """(coefficients (steps, K), residual over |b| (K,)) at the ridge (K,) of each system."""
        from scipy.linalg import eigh_tridiagonal

        d, e = np.stack(self.diagonal), np.stack(self.side)
        y, residual = np.zeros(d.shape), np.zeros(d.shape[1])
        for k in np.flatnonzero(self.size):
            stop = int(np.argmax(e[:, k] == 0)) + 1 if (e[:, k] == 0).any() else len(d)  # the space is whole
            lam, q = eigh_tridiagonal(d[:stop, k], e[: stop - 1, k])
            y[:stop, k] = self.size[k] * applied(q, q[0] / (np.maximum(lam, 0.0) + ridge[k]))
            residual[k] = e[stop - 1, k] * abs(y[stop - 1, k]) / self.size[k]
        return y, residual

    def solution(self, ridge: Floats) -> Floats:
        """(K, d) at the ridge of each system, from the steps made so far."""
        y, _ = self.coordinates(ridge)
        return np.asarray(np.einsum("ik,ikd->kd", y, np.stack(self.basis[: len(y)])))

    def solve(self, ridge: Floats) -> Floats:
        """Step until the residual is rounding; warns where it is not after 400 steps."""
        while not self.settled(ridge):
            self.step()
        return self.solution(ridge)

    def settled(self, ridge: Floats) -> bool:
        """Whether every residual is down to rounding, or the steps are used up."""
        if not self.diagonal:
            return not self.size.any()
        worst = float(self.coordinates(ridge)[1].max(initial=0.0))
        if worst > RESIDUAL and len(self.diagonal) >= STEPS:
            tell(
                f"ridge without a d x d matrix: residual {worst:.1e} after {STEPS} steps; use a larger alpha or "
                "memory_limit",
                stacklevel=6,
            )
            return True
        return worst <= RESIDUAL


def ridge_by_passes(
    operator: Operator, fold: Ints, n_folds: int, label: Floats, grid: Floats
) -> tuple[Floats, Floats, int, Floats]:
    """Fits of a label (N,), canonical, at the penalty of least out-of-fold error: (full (d,), by fold (F, d), index in
    grid, ridge (F + 1,)). The operator leaves out each fold in turn and then nothing.

    From the largest penalty down, as long as one of the last two was better than all before: small penalties take
    many steps, and where the error rises they are not wanted.
    """
    label = np.where(operator.weight[:, -1] > 0, label, 0.0)
    krylov, units = Krylov(operator, operator.covariance(label)), operator.units()
    centred = operator.in_prompts(label[:, None])[:, 0]
    best, worse, kept = np.inf, 0, (np.zeros(operator.scale.shape), 0)
    for a in np.argsort(-grid, kind="stable").tolist():
        u = krylov.solve(grid[a] * units) * operator.scale
        t = operator.in_prompts(out_of_fold(operator.call, u[:n_folds, None], fold))[:, 0]
        error = float(applied(t * t - 2 * t * centred, operator.weight[:, -1]))
        worse = 0 if error < best else worse + 1
        if error < best:
            best, kept = error, (u, a)
        if worse == 2:
            break
    u, chosen = kept
    return u[-1], u[:-1], chosen, grid[chosen] * units
