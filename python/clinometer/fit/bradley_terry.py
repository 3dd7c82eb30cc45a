"""Bradley-Terry regression of many label columns and folds at once, along a path of penalties."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clinometer.common.notices import listening
from clinometer.common.threads import applied, product
from clinometer.engine.inputs import Call
from clinometer.engine.pairs import Pairs

from .descent import Metric, minimise, softplus
from .differences import (
    Dense,
    Differences,
    Streamed,
    margins,
    mean_squares,
    pair_loss_gradient,
    reduced,
    sampled,
    second_moment,
    weighted_mean,
)
from .scale import column_scale, null_space, without_null
from .scatter import NULL_IN_DOUBLE
from .solve import penalty_unit

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
WITNESS = 1e-8
FLAT = 1e-8  # curvature over that at 0 which only ever growing margins leave: they end near 1 - p = 1e-10
SQUARE = 4096  # dimensions up to which the curvature is kept as a matrix


@dataclass(frozen=True)
class PairFit:
    """The chosen fits; `margins` (P, K) are out of fold."""

    vectors: Floats
    fold_vectors: Floats
    intercepts: Floats
    alpha: Floats
    ridge: Floats
    margins: Floats
    separated: NDArray[np.bool_]


class BradleyTerry:
    """Fits of K label columns, each without each of F folds and then of all pairs: K (F + 1) problems."""

    def __init__(self, call: Call, pairs: Pairs, fold: Ints, n_folds: int, bias: bool, names: tuple[str, ...]) -> None:
        self.K, self.F, self.bias, self.names = pairs.prob.shape[1], n_folds, bias, names
        self.fold, known = fold, ~np.isnan(pairs.prob)
        self.prob = np.nan_to_num(pairs.prob)
        self.base = np.where(known, pairs.weight[:, None], 0.0)  # (P, K)
        weight = self.base.mean(axis=1)
        self.differences, self.basis, squares = reduced(Streamed(call, pairs.rows), weight)
        self.dim, self.scale = call.dump.dim, column_scale(squares)
        self.part, self.some = sampled(self.differences)
        self.spread = penalty_unit(squares)
        small = self.differences.dim <= SQUARE  # the curvature at 0, or its diagonal
        self.hessian = (second_moment if small else mean_squares)(self.differences, weight) / 4

    def _weights(self) -> Floats:
        """(P, K (F + 1)): what each problem gives a pair, columns summing to 1 (or 0 without pairs)."""
        seen = np.concatenate([self.fold[:, None] != np.arange(self.F), np.ones((len(self.fold), 1), bool)], axis=1)
        weight = (self.base[:, :, None] * seen[:, None, :]).reshape(len(self.fold), -1)
        total = weight.sum(axis=0)
        return np.asarray(weight / np.where(total > 0, total, 1.0))

    def path(self, grid: Floats) -> PairFit:
        """From the strongest penalty down, each start near the last fit; the best penalty of each column is kept."""
        M = self.K * (self.F + 1)
        u, b, best = np.zeros((M, self.differences.dim)), np.zeros(M), np.full(self.K, np.inf)
        kept_u, kept_b, kept_z = u.copy(), b.copy(), np.zeros((len(self.fold), M))
        alpha = np.zeros(self.K)
        prob, weight = np.repeat(self.prob, self.F + 1, axis=1), self._weights()
        for a in -np.sort(-grid):
            u, b = self._fit(float(a), u, b, prob, weight)
            if a == 0:
                u, b = self._of_least_norm(u, b, prob, weight)
            z = margins(self.differences, u, b)
            held = self._held_out(z)
            for k in np.flatnonzero(held < best):
                own = slice(k * (self.F + 1), (k + 1) * (self.F + 1))
                best[k], alpha[k], kept_u[own], kept_b[own], kept_z[:, own] = held[k], a, u[own], b[own], z[:, own]
        return self._result(kept_u, kept_b, kept_z, alpha)

    def _fit(
        self, alpha: float, u: Floats, b: Floats, prob: Floats, weight: Floats, differences: Differences | None = None
    ) -> tuple[Floats, Floats]:
        ridge, rows = alpha * self.spread, differences or self.differences

        def loss(u: Floats, b: Floats) -> tuple[Floats, Floats, Floats]:
            value, gradient, slope = pair_loss_gradient(rows, prob, weight, u, b)
            if alpha == 0:
                self._refuse_separable(u, b, prob, weight)
            return value + ridge / 2 * (u * u).sum(axis=1), gradient + ridge * u, slope

        diagonal = np.eye(len(self.hessian)) if self.hessian.ndim == 2 else 1.0
        metric = Metric(self.hessian + ridge * diagonal)
        return minimise(loss, u, b, metric, intercept=self.bias, what="fit_preference_direction")

    def _refuse_separable(self, u: Floats, b: Floats, prob: Floats, weight: Floats) -> None:
        """A direction that orders hard labels without error proves that no finite fit exists."""
        hit = _separates(margins(self.differences, u, b), prob, weight)
        if hit.any():
            raise self._no_finite_fit(int(np.argmax(hit)))

    def _no_finite_fit(self, problem: int) -> ValueError:
        return ValueError(
            f"alpha=0: the pairs of {self.names[problem // (self.F + 1)]!r} (or those without one fold) are separable: "
            "a direction orders them without error and the fit has no finite norm; use alpha='cv' or a number > 0, or "
            "give soft labels"
        )

    def _of_least_norm(self, u: Floats, b: Floats, prob: Floats, weight: Floats) -> tuple[Floats, Floats]:
        """Fits without a penalty, less what their pairs say nothing about.

        A direction that orders some pairs and ties the rest has no finite fit either: the loss still falls where the
        steps ended, and along it has no curvature left.
        """
        out_u, out_b = u.copy(), b.copy()
        for i, w in enumerate(weight.T):
            if not w.any():
                continue
            mean = weighted_mean(self.differences, w) if self.bias else np.zeros(u.shape[1])
            moment = second_moment(self.differences, w) - np.outer(mean, mean)
            lam, q, D, Z = null_space(moment, NULL_IN_DOUBLE)
            out_u[i] = without_null(u[i : i + 1], Z)[0]
            out_b[i] += applied(u[i] - out_u[i], mean)
            hard = ((prob[:, i] == 0) | (prob[:, i] == 1)) & (w > 0)
            if hard.any() and self._least_curvature(out_u[i], out_b[i], w, mean, D[:, None] * q / np.sqrt(lam)) < FLAT:
                raise self._no_finite_fit(i)
        return out_u, out_b

    def _least_curvature(self, u: Floats, b: float, w: Floats, mean: Floats, white: Floats) -> float:
        """Smallest eigenvalue of the curvature where differences are white (and beside them the bias, if any)."""
        from scipy.special import expit

        total = np.zeros((white.shape[1] + self.bias,) * 2)
        for at, rows in self.differences.chunks():
            z, x = applied(rows, u) + b, product(rows - mean, white)
            x = np.concatenate([x, np.ones((len(x), 1))], axis=1) if self.bias else x
            total += product(x.T, (w[at] * expit(z) * expit(-z))[:, None] * x)
        return float(np.linalg.eigvalsh(total).min(initial=1.0))

    def _separable(self, u: Floats, b: Floats) -> NDArray[np.bool_]:
        """Which columns have hard labels that some direction orders without error, (K,): one is looked for."""
        weight = self.base / self.base.sum(axis=0)
        found = _separates(margins(self.differences, u, b), self.prob, weight)
        open_ = np.where(weight > 0, np.isin(self.prob, (0.0, 1.0)), True).all(axis=0) & ~found
        if self.some is not self.differences and open_.any():  # what no direction orders keeps all from being ordered
            open_[open_] = self._ordered(
                self.some, u[open_], b[open_], *(x[self.part][:, open_] for x in (self.prob, weight))
            )
        if open_.any():
            found[open_] = self._ordered(self.differences, u[open_], b[open_], self.prob[:, open_], weight[:, open_])
        return found

    def _ordered(
        self, differences: Differences, u: Floats, b: Floats, prob: Floats, weight: Floats
    ) -> NDArray[np.bool_]:
        """Whether a fit almost without a penalty, which goes to where the labels are in order, has them so, (K,)."""
        total = weight.sum(axis=0)
        weight = weight / np.where(total > 0, total, 1.0)
        with listening():
            u, b = self._fit(WITNESS, u, b, prob, weight, differences)
        return np.asarray(_separates(margins(differences, u, b), prob, weight) | (total == 0))

    def _held_out(self, z: Floats) -> Floats:
        """Log-loss of each column (K,), every pair by the fit without its fold."""
        z = self._out_of_fold(z)
        return np.asarray((self.base * (softplus(z) - self.prob * z)).sum(axis=0))

    def _out_of_fold(self, z: Floats) -> Floats:
        cube = z.reshape(len(z), self.K, self.F + 1)
        return np.asarray(cube[np.arange(len(z)), :, self.fold])

    def _result(self, u: Floats, b: Floats, z: Floats, alpha: Floats) -> PairFit:
        full = (u if self.basis is None else product(u, self.basis.T)) * self.scale
        cube, F = full.reshape(self.K, self.F + 1, self.dim), self.F
        last = slice(F, None, F + 1)
        separated = self._separable(u[last], b[last])
        return PairFit(
            np.ascontiguousarray(cube[:, F]), np.ascontiguousarray(np.moveaxis(cube[:, :F], 0, 1)), b[last].copy(),
            alpha, alpha * self.spread, self._out_of_fold(z), separated,
        )  # fmt: skip

    def moved_error(self, fit: PairFit, k: int) -> Floats:
        """How each pair's label changes the squared error of column k through the fit, h'H^-1 psi_p, (P,).

        h is the slope in u of sum w (p - p^)^2 out of fold, H the curvature of the loss and psi_p = w (p - p^) D_p
        the label's pull on the fit. Zeros where the differences are too many to keep or too wide for a matrix.
        """
        from scipy.special import expit

        if not isinstance(self.differences, Dense) or self.differences.dim > SQUARE:
            return np.zeros(len(self.fold))
        rows, w = self.differences.rows, self.base[:, k] / self.base[:, k].sum()
        ridge = np.full(rows.shape[1], fit.ridge[k])
        if self.bias:
            rows, ridge = np.concatenate([rows, np.ones((len(rows), 1))], axis=1), np.append(ridge, 0.0)
        guess = expit(fit.margins[:, k])
        pull, curvature = w * (self.prob[:, k] - guess), w * guess * (1 - guess)
        slope = applied(rows.T, -2 * pull * guess * (1 - guess))
        hessian = product(rows.T, curvature[:, None] * rows) + np.diag(ridge)
        solved = np.asarray(np.linalg.lstsq(hessian, slope, rcond=1e-12)[0], np.float64)
        return np.asarray(pull * applied(rows, solved))


def _separates(z: Floats, prob: Floats, weight: Floats) -> NDArray[np.bool_]:
    """Which columns have hard labels alone and all of them on the right side, (M,)."""
    counted = weight > 0
    right = np.where(counted, (2 * prob - 1) * z > 0, True).all(axis=0)
    hard = np.where(counted, (prob == 0) | (prob == 1), True).all(axis=0)
    return np.asarray(right & hard & counted.any(axis=0))
