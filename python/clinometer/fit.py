"""Value directions from labels: within-prompt ridge, least squares and mean difference (theory 1, 10)."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import _core
from .dump import Dump
from .inputs import Call, prepare, run
from .population import Population
from .results import Result

__all__ = ["DirectionFit", "EncodingQuality", "fit_value_direction"]

Floats = NDArray[np.float64]
METHODS = ("ridge", "least_squares", "mean_difference")
ALPHAS = np.geomspace(1e-4, 1e2, 13)
BOOTSTRAP = 400
SMALL = 1024  # d up to which one thread solves


@dataclass(frozen=True, repr=False, eq=False)
class EncodingQuality(Result):
    """Out-of-fold quality of J fits: within R^2 with a 95 % interval over prompts, r and AUC (theory 1, Def 1)."""

    value: Floats
    ci: Floats
    r: Floats
    auc: Floats


@dataclass(frozen=True, repr=False, eq=False)
class DirectionFit(Result):
    """Directions fitted on a dump, with the fold fits that score it out of fold.

    `vectors` is (J, d), `fold_vectors` (F, J, d): fold f never saw the prompts that hash to f.
    """

    vectors: Floats
    fold_vectors: Floats
    names: tuple[str, ...]
    method: str
    alpha: Floats
    encoding_quality: EncodingQuality
    n_rows: int
    n_prompts: int
    n_dropped: int
    fingerprint: str = field(repr=False)
    source: dict[str, Any] = field(default_factory=dict, repr=False)

    @property
    def vector(self) -> Floats:
        """The direction of a single value, (d,)."""
        if len(self.vectors) != 1:
            raise ValueError(f"this fit holds {len(self.vectors)} directions; use .vectors")
        return np.asarray(self.vectors[0])

    def _for_dump(self, dump: Dump) -> list[tuple[str, Floats, str]]:
        """(name, (F, d) vectors, fit status) for a pass: out of fold on the dump it was fitted on."""
        if self.vectors.shape[1] != dump.dim:
            raise ValueError(f"the fit has {self.vectors.shape[1]} columns but rows of the dump have {dump.dim}")
        if dump.fingerprint() == self.fingerprint:
            return [(n, self.fold_vectors[:, j], "cross-fitted") for j, n in enumerate(self.names)]
        return [(n, self.vectors[j : j + 1], "given") for j, n in enumerate(self.names)]


def fit_value_direction(
    dump: Any, values: Any, *, method: str = "ridge", alpha: Any = "cv", folds: int = 5, **options: Any
) -> DirectionFit:
    """Fit u with s ~ <u, phi> inside prompts; quality and later scores are out of fold by prompt (theory 1, A1).

    Least squares satisfies u'Sigma v = Cov(s, <v, phi>) for every v exactly on the rows; ridge, in units of
    tr(Sigma)/d, breaks that identity and predicts better. The mean difference estimates Sigma u, not u.

    Parameters
    ----------
    values : column names, (N,) or (N, J); NaN rows are left out of that value
    method : "ridge", "least_squares" (minimum norm) or "mean_difference" (two-valued labels only)
    alpha : "cv" picks among 13 penalties by out-of-fold error; or a number >= 0
    folds : prompts are dealt to folds by a hash of their id

    Returns
    -------
    DirectionFit with .vectors (J, d), .fold_vectors (F, J, d), .encoding_quality

    Cost: one pass and folds + 1 matrices of d^2 float64 for each set of labelled rows.

    >>> import clinometer as cm
    >>> world = cm.simulate(n_prompts=50, n_responses=8, dim=4, random_state=1)
    >>> cm.fit_value_direction(world, "s").vectors.shape
    (1, 4)
    """
    if method not in METHODS:
        raise ValueError(f"method is {method!r}, wanted one of {', '.join(METHODS)}")
    if not isinstance(folds, (int, np.integer)) or isinstance(folds, bool) or folds < 2:
        raise ValueError(f"folds is {folds!r}, wanted an integer of at least 2")
    if not (isinstance(alpha, str) and alpha == "cv") and (
        not isinstance(alpha, (int, float, np.number)) or not np.isfinite(alpha) or alpha < 0
    ):
        raise ValueError(f"alpha is {alpha!r}, wanted 'cv' or a number >= 0")
    call = prepare(dump, None, values, **options)
    if call.n_values == 0:
        raise ValueError("values is empty, wanted at least one value")
    if call.population.n_prompts < folds:
        raise ValueError(f"folds is {folds} but there are {call.population.n_prompts} prompts")
    call, scale = _in_range(call)
    fits: list[Any] = [None] * call.n_values
    for group in _label_groups(np.asarray(call.values)):
        for j, fit in zip(group, _fit_group(call, group, method, alpha, int(folds)), strict=True):
            fits[j] = fit
    fold_vectors = np.stack([f[1] for f in fits], axis=1)
    quality = _quality(call, fold_vectors, int(folds))
    p = call.population
    with np.errstate(over="ignore", under="ignore"):
        vectors, fold_vectors = (np.ldexp(v, scale[:, None]) for v in (np.stack([f[0] for f in fits]), fold_vectors))
    lost = ~np.isfinite(vectors).all(axis=1) | ~np.isfinite(fold_vectors).all(axis=(0, 2))
    if lost.any():
        raise ValueError(f"values: {call.value_names[int(np.argmax(lost))]!r} is too large for a direction in float64")
    return DirectionFit(
        vectors, fold_vectors, call.value_names, method, np.array([f[2] for f in fits]),
        quality, p.n_rows, p.n_prompts, p.n_dropped, call.dump.fingerprint(), dict(call.dump.source or {}),
    )  # fmt: skip


def _in_range(call: Call) -> tuple[Call, NDArray[np.int64]]:
    """Values over a power of two each, which is exact, and its exponents: f32 lanes hold their squares."""
    values = np.asarray(call.values)
    top = np.abs(np.nan_to_num(values)).max(axis=0, initial=0.0)
    exponent = np.frexp(top)[1].astype(np.int64)
    return replace(call, values=np.ascontiguousarray(np.ldexp(values, -exponent))), exponent


def _label_groups(values: Floats) -> list[list[int]]:
    """Values labelled on the same rows share their matrices."""
    groups: dict[bytes, list[int]] = {}
    for j in range(values.shape[1]):
        groups.setdefault(np.packbits(np.isnan(values[:, j])).tobytes(), []).append(j)
    return list(groups.values())


def _fit_group(call: Call, group: list[int], method: str, alpha: Any, folds: int) -> list[tuple[Floats, Floats, float]]:
    """(vector, fold vectors, alpha) of each value of a group, from one pass and folds + 1 decompositions."""
    values = np.ascontiguousarray(np.asarray(call.values)[:, group])
    if method == "mean_difference":
        _need_two_levels(values, [call.value_names[j] for j in group])
    p = call.population.labelled(values[:, 0])
    one = replace(call, values=values, fold=call.population.folds(folds), within=True)
    state = _core.Moments(call.dump.dim, len(group), folds, 0, True)
    scatter = run(one, [state], population=p)[0].finish()["scatter"]
    total, d = scatter.sum(axis=0), call.dump.dim
    held = [total - s for s in scatter]
    grid = np.zeros(1) if method != "ridge" else ALPHAS if isinstance(alpha, str) else np.array([float(alpha)])
    paths = np.stack([_solve(method, h, d, grid, p, call.dump.dtype) for h in held])  # (F, A, G, d)
    best = [_least_error(paths[:, :, g], scatter, d, d + g) for g in range(len(group))]
    chosen = np.unique(best)
    whole = dict(zip(chosen.tolist(), _solve(method, total, d, grid[chosen], p, call.dump.dtype), strict=True))
    return [(whole[a][g], paths[:, a, g], float(grid[a])) for g, a in enumerate(best)]


def _least_error(paths: Floats, scatter: Floats, d: int, column: int) -> int:
    """Index of the penalty with the least out-of-fold error, u'S u - 2 u'c on the fold left out."""
    error = [
        sum(u[a] @ s[:d, :d] @ u[a] - 2 * u[a] @ s[:d, column] for u, s in zip(paths, scatter, strict=True))
        for a in range(paths.shape[1])
    ]
    return int(np.argmin(error))


def _need_two_levels(values: Floats, names: list[str]) -> None:
    for name, column in zip(names, values.T, strict=True):
        levels = len(np.unique(column[~np.isnan(column)]))
        if levels > 2:
            raise ValueError(f"mean_difference needs two-valued labels; {name!r} has {levels} values")


def _solve(method: str, moments: Floats, d: int, alphas: Floats, p: Population, dtype: str) -> Floats:
    """(Sigma + alpha tr(Sigma)/d I)^+ c for each alpha and value, (A, G, d)."""
    sigma = np.ascontiguousarray((moments[:d, :d] + moments[:d, :d].T) / 2)
    c = np.ascontiguousarray(moments[d:, :d])
    if method == "mean_difference":
        return c[None]
    mean = float(np.trace(sigma)) / d
    return np.stack([_ridge(sigma, float(a) * mean, c) if a > 0 else _least_norm(sigma, c, p, dtype) for a in alphas])


def _ridge(sigma: Floats, ridge: float, c: Floats) -> Floats:
    """By Cholesky: on one thread to d = 1024, which stays quick on a busy machine, and by SciPy beyond."""
    if ridge == 0:
        return np.zeros_like(c)
    if len(sigma) <= SMALL:
        out = _core.solve_ridge(sigma, ridge, c)
    else:
        from scipy.linalg import LinAlgError, cho_factor, cho_solve

        try:
            out = cho_solve(cho_factor(sigma + ridge * np.eye(len(sigma)), lower=True), c.T).T
        except LinAlgError:
            out = None
    if out is None:  # a penalty below the rounding of Sigma
        out = np.linalg.lstsq(sigma + ridge * np.eye(len(sigma)), c.T, rcond=None)[0].T
    return np.ascontiguousarray(out)


def _least_norm(sigma: Floats, c: Floats, p: Population, dtype: str) -> Floats:
    """Minimum-norm solution; eigenvalues below max(N - G, d) eps are null (theory Details)."""
    lam, q = np.linalg.eigh(sigma)
    # f32 lanes bound what sums of rows can resolve, whatever the stored dtype
    eps = 2.3e-16 if dtype == "float64" else 1.2e-7
    keep = lam > min(max(p.n_rows - p.n_prompts, len(lam)) * eps, 1e-3) * max(lam.max(initial=0.0), 0.0)
    return np.asarray(np.where(keep, (c @ q) / np.where(keep, lam, 1.0), 0.0) @ q.T)


def _quality(call: Call, fold_vectors: Floats, folds: int) -> EncodingQuality:
    """Out-of-fold within R^2, its bootstrap interval over prompts, r and AUC."""
    from .passes import kept_scores

    J = call.n_values
    stacked = np.ascontiguousarray(np.moveaxis(fold_vectors, 0, 1).reshape(-1, call.dump.dim))
    scored = replace(
        call,
        directions=stacked,
        n_folds=folds,
        columns=None,
        names=call.value_names,
        fold=call.population.folds(folds),
    )
    predicted = kept_scores(scored)
    value, ci, r, auc = np.empty(J), np.empty((J, 2)), np.empty(J), np.empty(J)
    for j in range(J):
        s = np.asarray(call.values)[:, j]
        p = call.population.labelled(s)
        value[j], ci[j], r[j], auc[j] = _quality_one(predicted[:, j], np.nan_to_num(s[p.rows]), p)
    return EncodingQuality(value, ci, r, auc)


def _quality_one(t: Floats, s: Floats, p: Any) -> tuple[float, Floats, float, float]:
    w, starts, omega = p.row_weight(), p.offsets[:-1], p.prompt_weight()

    def per(a: Floats) -> Floats:
        return np.asarray(np.add.reduceat(w * a, starts))

    tc, sc = t - np.repeat(per(t), p.sizes), s - np.repeat(per(s), p.sizes)
    sse, sst, cross, tt = (omega * per(a) for a in ((sc - tc) ** 2, sc * sc, sc * tc, tc * tc))
    if sst.sum() <= 0:
        return np.nan, np.full(2, np.nan), np.nan, np.nan
    rng = np.random.default_rng(0)
    counts = rng.multinomial(len(sst), np.full(len(sst), 1 / len(sst)), size=BOOTSTRAP)
    with np.errstate(divide="ignore", invalid="ignore"):
        replicates = 1 - (counts @ sse) / (counts @ sst)
        r = float(cross.sum() / np.sqrt(tt.sum() * sst.sum()))
    return float(1 - sse.sum() / sst.sum()), np.nanquantile(replicates, [0.025, 0.975]), r, _auc(tc, s, w > 0)


def _auc(t: Floats, s: Floats, seen: NDArray[np.bool_]) -> float:
    """Chance that a prompt-centred score ranks a higher label above a lower one; NaN unless two-valued."""
    levels = np.unique(s[seen])
    if len(levels) != 2:
        return float("nan")
    t, high = t[seen], s[seen] == levels[1]
    _, inverse, counts = np.unique(t, return_inverse=True, return_counts=True)
    mid = np.cumsum(counts) - (counts - 1) / 2
    n1, n0 = high.sum(), (~high).sum()
    return float((mid[inverse][high].sum() - n1 * (n1 + 1) / 2) / (n1 * n0))
