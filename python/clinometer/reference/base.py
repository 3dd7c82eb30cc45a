"""The base policy of a dump: what each row and each prompt weighs (theory 0.2).

Every expectation of the package is `E[f] = sum_x omega_x sum_{i in x} w_i f_i`: a mean over prompts of
means over the responses of a prompt. This file turns the four kinds of dump into `w` and `omega`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal, TypedDict

import numpy as np
import numpy.typing as npt

__all__ = ["Array", "BaseOptions", "BaseWeights", "Block", "base_weights", "clustered_covariance"]

Array = npt.NDArray[np.float64]
Index = npt.NDArray[np.intp]
Mode = Literal["sampled", "counts", "logprob", "reweight"]


class BaseOptions(TypedDict, total=False):
    """Keyword arguments that describe the base policy, as `base_weights` takes them (theory 0.2)."""

    base: Mode
    logprobs: npt.ArrayLike | None
    counts: npt.ArrayLike | None
    proposal_logprobs: npt.ArrayLike | None
    prompt_weights: npt.ArrayLike | None
    clusters: npt.ArrayLike | None


@dataclass(frozen=True)
class Block:
    """Rows that share one normaliser: a prompt, or all rows at once when `within=False` (theory 0.3).

    `rows` (n,) are the positions of the rows of positive weight, `w` (n,) their weights, of sum 1, and `log_w`
    (n,), kept because exp(log_w) may underflow. `omega` is the weight of the block; the blocks sum to 1. `factor`
    turns a ddof=0 covariance into the unbiased one (NaN where none exists). `prompt` says which prompt, -1 for all
    of them.
    """

    rows: Index
    w: Array
    log_w: Array
    omega: float
    factor: float
    prompt: int

    def centre(self, column: Array) -> Array:
        """Return the rows of `column` minus their weighted mean, shape (n,) or (n, d)."""
        # Twice: the first subtraction leaves a rounding residue of the size of eps * |mean|.
        near_zero = column[self.rows] - column[self.rows[0]]
        centred = near_zero - self.w @ near_zero
        return np.asarray(centred - self.w @ centred)


@dataclass(frozen=True)
class BaseWeights:
    """Weights of the rows inside their prompts and of the prompts, prompts in order of first appearance (theory 0.2).

    `mode` is the base policy; `ids` (G,) the prompt ids and `prompt` (N,) which one a row belongs to; `log_w` (N,)
    log weights inside the prompt, -inf for a row that can never win, and `w` (N,) their exponentials, of sum 1 in
    each prompt; `draws` (N,) how many draws a row stands for (1, or its count); `omega` (G,) prompt weights, of
    sum 1; `clusters` (G,) what errors are clustered by.
    """

    mode: Mode
    ids: npt.NDArray[Any]
    prompt: Index
    log_w: Array
    w: Array
    draws: Array
    omega: Array
    clusters: npt.NDArray[Any]

    @cached_property
    def rows(self) -> list[Index]:
        """Row positions of each prompt, in row order; zero-weight rows included."""
        order = np.argsort(self.prompt, kind="stable")
        return list(np.split(order, np.cumsum(np.bincount(self.prompt, minlength=len(self.ids)))[:-1]))

    @property
    def factor(self) -> Array:
        """Factor of the unbiased covariance of each prompt, (G,); NaN for singletons and for `logprob`."""
        return np.array([self._factor(rows, self.w[rows]) for rows in self.rows])

    def _factor(self, rows: Index, w: Array) -> float:
        """1 / (1 - sum w^2 / draws): n/(n-1) for draws, 1/(1 - sum w^2) for `reweight`."""
        if self.mode == "logprob":
            return float("nan")
        positive = w > 0
        lost = float(np.sum(w[positive] ** 2 / self.draws[rows][positive]))
        return 1.0 / (1.0 - lost) if lost < 1.0 else float("nan")

    @property
    def row_weights(self) -> Array:
        """omega_x w_i, (N,), sum 1."""
        return np.asarray(self.omega[self.prompt] * self.w)

    def blocks(self, within: bool = True, *, ddof: int = 0) -> list[Block]:
        """Return the normalisers: one block a prompt, or one for everything.

        With ddof=1 the prompts without an unbiased factor are dropped and omega is renormalised.
        """
        if within:
            found = [self._block(x, rows) for x, rows in enumerate(self.rows) if self.omega[x] > 0]
        else:
            found = [self._everything()]
        if ddof == 1:
            if self.mode == "logprob":
                raise ValueError('ddof=1 makes no sense for base="logprob": no sampling error is left; use 0')
            found = [block for block in found if np.isfinite(block.factor)]
        total = sum(block.omega for block in found)
        return [replace(block, omega=block.omega / total) for block in found]

    def _block(self, x: int, rows: Index) -> Block:
        rows = rows[self.log_w[rows] > -np.inf]
        w, log_w = self.w[rows], self.log_w[rows]
        return Block(rows, w, log_w, float(self.omega[x]), self._factor(rows, w), x)

    def _everything(self) -> Block:
        rows = np.flatnonzero((self.log_w > -np.inf) & (self.omega[self.prompt] > 0))
        weights = self.row_weights[rows]
        log_w = self.log_w[rows] + np.log(self.omega[self.prompt[rows]])
        return Block(rows, weights / weights.sum(), log_w, 1.0, self._factor(rows, weights), -1)

    def labelled(self, value: Array) -> BaseWeights:
        """Return the weights that leave out the rows where `value` (N,) is NaN.

        The labelled rows of a prompt are renormalised; a prompt without any loses its omega.
        """
        if not np.isnan(value).any():
            return self
        log_w = np.where(np.isnan(value), -np.inf, self.log_w)
        alive = np.array([bool(np.any(log_w[rows] > -np.inf)) for rows in self.rows])
        omega = np.where(alive, self.omega, 0.0)
        if omega.sum() == 0:
            raise ValueError("values: a column has no labelled row of positive weight")
        for x in np.flatnonzero(alive):
            log_w[self.rows[x]] = log_softmax(log_w[self.rows[x]])
        return replace(self, log_w=log_w, w=np.exp(log_w), omega=omega / omega.sum())


def log_softmax(a: Array) -> Array:
    """log(exp(a) / sum exp(a)), shifted by the maximum: sequence log-probabilities of -500 are usual."""
    shifted = a - a.max()
    return np.asarray(shifted - np.log(np.exp(shifted).sum()))


def base_weights(
    n_rows: int,
    prompt_ids: npt.ArrayLike | None = None,
    *,
    base: Mode = "sampled",
    logprobs: npt.ArrayLike | None = None,
    counts: npt.ArrayLike | None = None,
    proposal_logprobs: npt.ArrayLike | None = None,
    prompt_weights: npt.ArrayLike | None = None,
    clusters: npt.ArrayLike | None = None,
) -> BaseWeights:
    """Weights of the base policy (theory 0.2).

    `sampled`: w = 1/n; `counts`: w ~ count; `logprob`: w ~ exp(log pi0); `reweight`:
    w ~ exp(log pi0 - log q). Each sums to one inside a prompt.

    Parameters
    ----------
    n_rows : number of rows N.
    prompt_ids : (N,) integers or strings in any order; None is one prompt.
    base, logprobs, counts, proposal_logprobs : the kind of dump and its (N,) columns.
    prompt_weights, clusters : (G,) in the order of the prompts' first rows.

    Returns
    -------
    BaseWeights, prompts in order of first appearance.

    >>> base_weights(3, ["b", "a", "b"]).w.tolist()
    [0.5, 1.0, 0.5]
    """
    if n_rows < 1:
        raise ValueError(f"n_rows is {n_rows}; a dump needs at least one row")
    ids = np.zeros(n_rows, dtype=np.intp) if prompt_ids is None else np.asarray(prompt_ids)
    if ids.shape != (n_rows,):
        raise ValueError(f"prompt_ids has shape {ids.shape}; expected ({n_rows},)")
    unique, first, inverse = np.unique(ids, return_index=True, return_inverse=True)
    appearance = np.argsort(first)
    prompt = np.argsort(appearance)[inverse.reshape(-1)]
    omega = _prompt_weights(prompt_weights, len(unique))
    grouped = np.arange(len(unique)) if clusters is None else np.asarray(clusters)
    if grouped.shape != (len(unique),):
        raise ValueError(f"clusters has shape {grouped.shape}; expected ({len(unique)},), one per prompt")

    draws = np.ones(n_rows)
    if base == "sampled":
        log_w = np.zeros(n_rows)
    elif base == "counts":
        draws = _column("counts", counts, n_rows)
        if not np.all((draws >= 0) & np.isfinite(draws)):
            raise ValueError("counts holds a negative or non-finite entry")
        log_w = np.log(draws, where=draws > 0, out=np.full(n_rows, -np.inf))
    elif base == "logprob":
        log_w = _column("logprobs", logprobs, n_rows)
    elif base == "reweight":
        proposal = _column("proposal_logprobs", proposal_logprobs, n_rows)
        if not np.isfinite(proposal).all():
            raise ValueError("proposal_logprobs must be finite: every row was drawn from the proposal")
        log_w = _column("logprobs", logprobs, n_rows) - proposal
    else:
        raise ValueError(f'base is {base!r}; expected "sampled", "counts", "logprob" or "reweight"')
    if not np.all(log_w < np.inf):
        raise ValueError("logprobs holds a NaN or +inf entry")

    result = BaseWeights(base, unique[appearance], prompt, log_w, log_w, draws, omega, grouped)
    log_w, w = log_w.copy(), np.zeros(n_rows)
    for x, rows in enumerate(result.rows):
        if np.all(log_w[rows] == -np.inf):
            raise ValueError(f"prompt {unique[appearance][x]!r}: every row has base weight zero")
        mass = np.exp(log_w[rows] - log_w[rows].max())  # 1 for every sampled row, so w is 1/n to the last bit
        log_w[rows], w[rows] = log_softmax(log_w[rows]), mass / mass.sum()
    return replace(result, log_w=log_w, w=w)


def _prompt_weights(prompt_weights: npt.ArrayLike | None, n_prompts: int) -> Array:
    if prompt_weights is None:
        return np.full(n_prompts, 1.0 / n_prompts)
    omega = np.asarray(prompt_weights, dtype=np.float64)
    if omega.shape != (n_prompts,):
        raise ValueError(f"prompt_weights has shape {omega.shape}; expected ({n_prompts},), one per prompt")
    if not (np.all(omega >= 0) and np.isfinite(omega).all() and omega.sum() > 0):
        raise ValueError("prompt_weights must be finite, non-negative and not all zero")
    return np.asarray(omega / omega.sum())


def _column(name: str, column: npt.ArrayLike | None, n_rows: int) -> Array:
    if column is None:
        raise ValueError(f"{name} is missing; this base needs one number per row")
    array = np.asarray(column, dtype=np.float64)
    if array.shape != (n_rows,):
        raise ValueError(f"{name} has shape {array.shape}; expected ({n_rows},)")
    return array


def clustered_covariance(influence: Array, clusters: npt.NDArray[Any]) -> Array:
    """Covariance of estimates from the influence of each prompt (theory 2.6).

    `C/(C-1) sum_c psi_c psi_c'`, psi_c the sum of the prompts of cluster c. With one prompt a cluster and
    psi_x = omega_x (c_x - mean) this is se^2 = G/(G-1) sum omega_x^2 (c_x - mean)^2.

    Parameters
    ----------
    influence : (G, J), NaN where a prompt takes no part in estimate j.
    clusters : (G,) labels.

    Returns
    -------
    (J, J); NaN for an estimate with fewer than two clusters.

    >>> import numpy as np
    >>> clustered_covariance(np.array([[1.0], [-1.0]]), np.array([0, 1])).round(9).tolist()
    [[4.0]]
    """
    present = ~np.isnan(influence)
    _, member = np.unique(clusters, return_inverse=True)
    sums = np.zeros((member.max() + 1, influence.shape[1]))
    np.add.at(sums, member.reshape(-1), np.where(present, influence, 0.0))
    count = np.array([len(np.unique(clusters[column])) for column in present.T], dtype=np.float64)
    scale = np.full(len(count), np.nan)
    scale[count >= 2] = np.sqrt(count[count >= 2] / (count[count >= 2] - 1))
    return np.asarray(sums.T @ sums * np.outer(scale, scale))


def as_columns(name: str, array: npt.ArrayLike, n_rows: int | None = None) -> Array:
    """Coerce to (N, J) float64; one dimension is one column."""
    columns = np.asarray(array, dtype=np.float64)
    columns = columns[:, None] if columns.ndim == 1 else columns
    if columns.ndim != 2 or (n_rows is not None and len(columns) != n_rows):
        wanted = "N" if n_rows is None else str(n_rows)
        raise ValueError(f"{name} has shape {np.shape(array)}; expected ({wanted},) or ({wanted}, columns)")
    return columns


def require_finite(name: str, array: Array) -> Array:
    """Refuse NaN and infinity: one such row poisons its whole prompt (theory 0.4)."""
    bad = ~np.isfinite(array)
    if bad.any():
        row = int(np.argwhere(bad)[0, 0])
        raise ValueError(f"{name} holds {int(bad.sum())} non-finite entries, the first in row {row}")
    return array


def require_values(values: Array) -> Array:
    """Refuse infinite values; NaN marks an unlabelled row."""
    if np.isinf(values).any():
        raise ValueError("values holds an infinite entry; NaN marks an unlabelled row")
    return values


def average(blocks: Iterable[Block], per_block: Iterable[Any]) -> Any:
    """Return sum_x omega_x c_x; NaN when no block is left."""
    terms = [block.omega * contribution for block, contribution in zip(blocks, per_block, strict=True)]
    return sum(terms) if terms else float("nan")
