"""How a gain moves with the labels that its direction was fitted to: g'H^-1 psi_x of each prompt (theory 10)."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
from numpy.typing import NDArray

from .. import _core
from ..fit.out_of_fold import out_of_fold, scores_of
from ..fit.pairs import Pairs, Streamed
from ..fit.scatter import fold_scatter
from ..fit.solve import ridge_path
from ..inputs import Call, Fitted, run
from ..passes import adjusted
from .gains import Cell, labelled_tilt, per_prompt, tilted_centred

__all__ = ["LabelError", "label_errors"]

Floats = NDArray[np.float64]


def label_errors(call: Call, adjust: object) -> dict[int, LabelError]:
    """For each direction whose labels are known, what its labels add to the influence of a prompt."""
    out: dict[int, LabelError] = {}
    for k, fitted in enumerate(call.fitted):
        if fitted is None or fitted.fit._training is None or fitted.fit.fingerprint != call.dump.fingerprint():
            continue
        if fitted.fit.method == "bradley_terry":
            out[k] = PairError(call, fitted, adjust)
        elif fitted.fit.method in ("ridge", "least_squares"):
            out[k] = ScoreError(call, fitted, adjust)
    return out


class LabelError(ABC):
    """The fit of one direction as a function of its labels."""

    def __init__(self, call: Call, fitted: Fitted, adjust: object) -> None:
        self.call, self.fit, self.j, self.fold, self.adjust = call, fitted.fit, fitted.index, fitted.fold, adjust

    def of_prompts(self, cell: Cell, t: Floats, slope: Floats) -> Floats:
        """Influence of each prompt's labels on the gains, (G, J)."""
        if not 0 < cell.beta < np.inf:  # at either end the direction's small moves move nothing
            return np.zeros((self.call.population.n_prompts, self.call.n_values))
        return self.moved(self.gradient(cell, t, slope))

    def gradient(self, cell: Cell, t: Floats, slope: Floats) -> Floats:
        """d gain / d u at fixed beta, less slope times d KL / d u, (J, d); one pass.

        d gain = lam Cov_p(f, phi) and d KL = lam^2 Cov_p(t, phi), both means over prompts.
        """
        p, lam = self.call.population, 1 / cell.beta
        tilted, tc = tilted_centred(cell, t, p)
        of_kl = lam**2 * np.repeat(p.prompt_weight(), p.sizes) * tilted * tc
        weights = np.empty((p.n_rows, self.call.n_values))
        for j in range(self.call.n_values):
            share, f = labelled_tilt(cell, np.asarray(self.call.values)[p.rows, j], j, p)
            weights[:, j] = lam * share * f - slope[j] * of_kl
        if self.adjust is not None:
            weights = self._adjusted(weights)
        done = run(self.call, [_core.WeightedRows(self.call.dump.dim, weights)], population=p)[0]
        return np.asarray(done.finish()["sum"])

    def _adjusted(self, weights: Floats) -> Floats:
        """Weights on phi that do to rows what `weights` do to rows net of the columns adjusted for."""
        p = self.call.population
        base = (p.row_weight() * np.repeat(p.prompt_weight(), p.sizes))[:, None]
        plain = np.divide(weights, base, out=np.zeros_like(weights), where=base > 0)
        net = adjusted(self.call, plain, self.adjust)
        centre = per_prompt(p.row_weight()[:, None] * net, p)
        return np.ascontiguousarray(base * (net - np.repeat(centre, p.sizes, axis=0)))

    @abstractmethod
    def moved(self, gradient: Floats) -> Floats:
        """gradient (J, d) times H^-1 psi_x of each prompt, (G, J)."""


class ScoreError(LabelError):
    """Ridge and least squares: H = Sigma + ridge, psi_x = omega_x Cov_x(phi, s - t) with t out of fold."""

    def __init__(self, call: Call, fitted: Fitted, adjust: object) -> None:
        super().__init__(call, fitted, adjust)
        label = np.asarray(self.fit._training["labels"])[:, self.j]
        self.p = call.population.labelled(label)
        none = np.zeros(call.population.n_prompts, np.int64)
        self.scatter = fold_scatter(call, np.zeros((len(label), 0)), self.p, none, 1)
        u = np.concatenate([self.fit.fold_vectors[:, [self.j]], self.fit.vectors[None, [self.j]]])
        t = out_of_fold(call, u, self.fold)[:, 0]
        weight = self.p.row_weight()
        e = np.where(weight > 0, np.nan_to_num(label[self.p.rows]) - t, 0.0)
        e = e - np.repeat(per_prompt(weight * e, self.p), self.p.sizes)
        self.residual = weight * np.repeat(self.p.prompt_weight(), self.p.sizes) * e

    def moved(self, gradient: Floats) -> Floats:
        alpha = np.array([self.fit.alpha[self.j]])
        v = ridge_path(self.scatter.part(None)[0], gradient, alpha, self.scatter.cutoff)[0]
        psi = per_prompt(self.residual[:, None] * scores_of(self.call, v), self.p)
        return np.asarray(psi - np.outer(self.p.prompt_weight(), psi.sum(axis=0)))


class PairError(LabelError):
    """Bradley-Terry: H = mean sig'(z) D D' + ridge, psi_x the mean of (p - sig(z)) D over all pairs, z out of fold."""

    def __init__(self, call: Call, fitted: Fitted, adjust: object) -> None:
        from scipy.special import expit

        super().__init__(call, fitted, adjust)
        held: Pairs = self.fit._training["pairs"]
        prob = held.prob[:, self.j]
        known = ~np.isnan(prob)
        self.prompt = held.prompt[known]
        self.differences = Streamed(call, held.rows[known]).kept().rows
        z = self.fit._training["margins"][known, self.j]
        weight = held.weight[known] / held.weight[known].sum()
        self.residual, self.weight = weight * (prob[known] - expit(z)), weight
        self.curvature = weight * expit(z) * expit(-z)
        self.ridge = float(self.fit._training["ridge"][self.j])

    def moved(self, gradient: Floats) -> Floats:
        rows, k, p = self.differences, self.curvature, self.call.population
        if self.fit._training["position_bias"]:  # the intercept is free: partial it out of the curvature
            rows = rows - (k @ rows) / max(k.sum(), 1e-300)
        v = self._solve(np.sqrt(k)[:, None] * rows, gradient)
        part = self.residual[:, None] * (rows @ v.T)
        part = part - np.outer(self.weight, part.sum(axis=0))
        return np.stack([np.bincount(self.prompt, column, p.n_prompts) for column in part.T], axis=1)

    def _solve(self, rows: Floats, g: Floats) -> Floats:
        """(rows' rows + ridge)^-1 g on the span of the rows, all that psi sees; least squares where singular."""
        if len(rows) < rows.shape[1] and self.ridge > 0:  # by the smaller matrix, (P, P)
            inner = rows @ rows.T + self.ridge * np.eye(len(rows))
            return np.asarray((g - np.linalg.solve(inner, rows @ g.T).T @ rows) / self.ridge)
        hessian = rows.T @ rows
        hessian.flat[:: len(hessian) + 1] += self.ridge
        return np.asarray(np.linalg.lstsq(hessian, g.T, rcond=1e-12)[0].T)
