"""How a gain depends on the labels that its direction was fitted to: g'H^-1 psi_x of each prompt (theory 10.3)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from clinometer import _core
from clinometer.engine.adjusting import Adjustment
from clinometer.engine.inputs import Call, Fitted, run
from clinometer.engine.pairs import Pairs
from clinometer.fit.curvature import Curvature, DenseCurvature, StreamedCurvature
from clinometer.fit.differences import Streamed
from clinometer.fit.generation import net_covariance
from clinometer.fit.krylov import Operator
from clinometer.fit.quality import out_of_fold, scores_of
from clinometer.fit.scatter import NULL_IN_DOUBLE, FoldScatter, fold_scatter
from clinometer.fit.solve import least_norm

from .gains import Cell

Floats = NDArray[np.float64]
Scatters = dict[tuple[bytes, bytes], FoldScatter]  # by what tells their rows apart
SCORES = ("ridge", "least_squares", "generation")


def label_status(call: Call) -> list[str]:
    """Of each direction "ok" where the labels behind it are known, or why an error cannot include them."""
    every = call.fitted if call.fitted else (None,) * call.n_scores
    return [_status(call, fitted, call.fit_status[k]) for k, fitted in enumerate(every)]


def _status(call: Call, fitted: Fitted | None, kind: str) -> str:
    if fitted is None:
        return "a score is not fitted" if kind == "score" else "the direction is given, not a fit of this dump"
    if fitted.fit.fingerprint != call.dump.fingerprint():
        return "the fit is of another dump"
    if fitted.fit._training is None:
        return "a fit loaded from a file does not hold its labels"
    if not fitted.fit.within:
        return "a fit over all rows (within=False) has no label error; fit inside prompts"
    if fitted.fit.method not in SCORES and fitted.fit.method != "bradley_terry":
        return f"method {fitted.fit.method!r} has no label error; fit by ridge or least_squares"
    return "ok"


def label_errors(call: Call, adjust: object) -> dict[int, LabelError]:
    """For each direction whose labels are known, what its labels add to the influence of a prompt."""
    known = [k for k, status in enumerate(label_status(call)) if status == "ok"]
    made: dict[int, LabelError] = {}
    scatters: Scatters = {}
    for k in known:
        fitted = call.fitted[k]
        assert fitted is not None
        if fitted.fit.method == "bradley_terry":
            made[k] = PairError(call, fitted, adjust)
        else:
            made[k] = ScoreError(call, fitted, adjust, scatters)
    return made


class LabelError(ABC):
    """The fit of one direction as a function of its labels; `present` (G,) are the prompts that have any."""

    present: NDArray[np.bool_]

    def __init__(self, call: Call, fitted: Fitted, adjust: object) -> None:
        self.call, self.fit, self.j, self.fold = call, fitted.fit, fitted.index, fitted.fold
        self.adjustment = None if adjust is None else Adjustment.of(call, adjust)

    def of_prompts(self, cells: list[Cell], t: Floats, slopes: list[Floats]) -> list[Floats]:
        """Influence of each prompt's labels on the gains of each cell, (G, J).

        The cells share a pass for their gradients, a solve, and a pass for the scores of what it gives.
        """
        by_score = [self.slopes(cell, t, slope) for cell, slope in zip(cells, slopes, strict=True)]
        return np.split(self.through_scores(np.concatenate(by_score, axis=1)), len(cells), axis=1)

    def through_scores(self, slopes: Floats) -> Floats:
        """Influence (G, m) on m quantities of which slopes (N, m) are the derivatives in each row's score."""
        return self.moved(self.sum_of_rows(slopes))

    def sum_of_rows(self, weights: Floats) -> Floats:
        state = _core.WeightedRows(self.call.dump.dim, np.ascontiguousarray(weights))
        plain = replace(self.call, values=None, progress=None)
        return np.asarray(run(plain, [state], population=self.call.population)[0].finish()["sum"])

    def slopes(self, cell: Cell, t: Floats, slope: Floats) -> Floats:
        """d gain at fixed beta, less slope times d KL, by each row's score, (N, J).

        d gain = lam Cov_p(f, phi) and d KL = lam^2 Cov_p(t, phi) by u, both means over prompts.
        """
        p = self.call.population
        if not 0 < cell.beta < np.inf:  # at either end small changes of the direction change nothing
            return np.zeros((p.n_rows, self.call.n_values))
        lam = 1 / cell.beta
        tilted, tc = cell.scores(t)
        of_kl = lam**2 * p.on_rows(p.prompt_weight()) * tilted * tc
        weights, shares = np.empty((p.n_rows, len(cell.labels))), p.on_rows(cell.share)
        for j, label in enumerate(cell.labels):
            q, f = label.moved()
            weights[:, j] = lam * shares[:, j] * q * f - slope[j] * of_kl
        return weights if self.adjustment is None else self.adjustment.transposed(weights)

    @abstractmethod
    def moved(self, gradient: Floats) -> Floats:
        """gradient (J, d) times H^-1 psi_x of each prompt, (G, J)."""


class ScoreError(LabelError):
    """Least squares and ridge, with covariates or without: H = Sigma + ridge, psi_x = omega_x Cov_x(phi, s - t).

    t is out of fold. Covariates z of a generation fit are taken out of phi, one coefficient over all prompts, and
    out of s - t (Frisch, Waugh and Lovell).
    """

    def __init__(self, call: Call, fitted: Fitted, adjust: object, scatters: Scatters) -> None:
        super().__init__(call, fitted, adjust)
        self.scatters = scatters
        label = np.asarray(self.fit._training["labels"])[:, self.j]
        z = self.fit._training.get("covariates", np.zeros((len(label), 0)))
        self.p = call.population.labelled(label)
        self.curvature = self._curvature(z)
        u = np.concatenate([self.fit.fold_vectors[:, [self.j]], self.fit.vectors[None, [self.j]]])
        t = out_of_fold(call, u, self.fold)[:, 0]
        weight = self.p.row_weight()
        self.present = (self.p.sums(weight) > 0) & (self.p.prompt_weight() > 0)
        e = np.where(weight > 0, np.nan_to_num(label[self.p.rows]) - t, 0.0)
        self.share = weight * self.p.on_rows(self.p.prompt_weight())
        self.z = self._centred(z[self.p.rows])
        e = self._centred(e)
        e = e - self.z @ np.linalg.lstsq(np.sqrt(self.share)[:, None] * self.z, np.sqrt(self.share) * e, rcond=1e-10)[0]
        self.residual = self.share * e

    def _centred(self, x: Floats) -> Floats:
        weight = self.p.row_weight().reshape(-1, *[1] * (x.ndim - 1))
        return np.asarray(x - self.p.on_rows(self.p.sums(weight * x)))

    def _curvature(self, z: Floats) -> Curvature:
        """H on rows net of the covariates z (N, C), and what takes them out of phi: coefficients (C, d)."""
        self.coefficients, alpha = np.zeros((0, self.call.dump.dim)), float(self.fit.alpha[self.j])
        if self.fit._training.get("by_passes"):
            operator = Operator(self.call, self.p)
            return StreamedCurvature(operator, alpha * float(operator.units()[0]))
        scatter = self._scatter(z)
        sigma, cross = scatter.part(None)  # (d, d), (C, d)
        if z.shape[1]:
            inner = scatter.matrix(None)[scatter.d :, scatter.d :]
            sigma, inverse = net_covariance(sigma, cross, inner, scatter.cutoff)
            self.coefficients = inverse @ cross
        return DenseCurvature(sigma, scatter.cutoff, alpha)

    def _scatter(self, z: Floats) -> FoldScatter:
        """Of the labelled rows and the covariates, which other directions of a fit to these rows share."""
        key = (self.p.row_weight().tobytes(), z.tobytes())
        if key not in self.scatters:
            none = np.zeros(self.call.population.n_prompts, np.int64)
            self.scatters[key] = fold_scatter(self.call, z, self.p, none, 1)
        return self.scatters[key]

    def moved(self, gradient: Floats) -> Floats:
        v = self.curvature.solve(gradient)
        along = scores_of(self.call, v) - self.z @ (self.coefficients @ v.T)
        psi = self.p.sums(self.residual[:, None] * along)
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
        self.present = np.bincount(self.prompt, minlength=call.population.n_prompts) > 0
        self.scale = np.asarray(self.fit._training["scale"])  # in these units the penalty is one number
        self.differences = Streamed(call, held.rows[known], self.scale).kept().rows
        z = self.fit._training["margins"][known, self.j]
        weight = held.weight[known] / held.weight[known].sum()
        self.residual, self.weight = weight * (prob[known] - expit(z)), weight
        self.curvature = weight * expit(z) * expit(-z)
        self.ridge = float(self.fit._training["ridge"][self.j])

    def moved(self, gradient: Floats) -> Floats:
        rows, k, p = self.differences, self.curvature, self.call.population
        if self.fit._training["position_bias"]:  # the intercept is free: partial it out of the curvature
            rows = rows - (k @ rows) / max(k.sum(), 1e-300)
        v = self._solve(np.sqrt(k)[:, None] * rows, gradient * self.scale)
        part = self.residual[:, None] * (rows @ v.T)
        part = part - np.outer(self.weight, part.sum(axis=0))
        return np.stack([np.bincount(self.prompt, column, p.n_prompts) for column in part.T], axis=1)

    def _solve(self, rows: Floats, g: Floats) -> Floats:
        """(rows' rows + ridge)^-1 g on the span of the rows, as psi lies there; least squares where singular."""
        if len(rows) < rows.shape[1] and self.ridge > 0:  # by the smaller matrix, (P, P)
            inner = rows @ rows.T + self.ridge * np.eye(len(rows))
            return np.asarray((g - np.linalg.solve(inner, rows @ g.T).T @ rows) / self.ridge)
        hessian = rows.T @ rows
        hessian.flat[:: len(hessian) + 1] += self.ridge
        return least_norm(hessian, g, NULL_IN_DOUBLE)
