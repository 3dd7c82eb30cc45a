"""Value directions from labels (theory 1.1 and 10.1)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from clinometer.common.notices import listening, tell
from clinometer.common.options import listed
from clinometer.common.visible import few, visible
from clinometer.engine.fitted import DirectionFit, prompt_keys
from clinometer.engine.inputs import BARE, prepare
from clinometer.engine.weights import spread_within

from .binary import binary_labels
from .by_method import fit_values, quality_of_fits
from .curvature import Curvature
from .options import ALPHAS, check_alpha, check_folds
from .scale import in_range, in_units

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
BINARY = ("logistic", "lda", "mean_difference")
METHODS = ("ridge", "least_squares", *BINARY)
PENALISED = ("ridge", "logistic", "lda")
MEMORY = 16 * 2**30


@listed()
def fit_value_direction(
    dump: Any, values: Any, *,
    method: Literal["ridge", "least_squares", "logistic", "lda", "mean_difference"] = "ridge",
    alpha: float | Literal["cv"] = "cv", folds: int = 5, pooled: bool = True, memory_limit: float = MEMORY,
    **options: Any,
) -> DirectionFit:  # fmt: skip
    """Fit u with s ~ <u, phi> inside prompts; quality and later scores are out of fold by prompt (theory 1.1).

    Which is which (theory 10.1): least squares estimates u* and satisfies u'Sigma v = Cov(s, <v, phi>) for every v
    exactly on the rows; ridge breaks that identity and predicts better; the mean difference mu_1 - mu_0 of
    prompt-centred rows estimates Sigma u*, not u*; LDA is Sigma_w^-1 (mu_1 - mu_0), parallel to ridge at the same
    penalty; logistic regression of prompt-centred rows with one intercept has the scale of log-odds.

    Parameters
    ----------
    values : column names, (N,) or (N, J); NaN rows are left out of that value
    method : "ridge", "least_squares" (minimum norm), and for two-valued labels "logistic", "lda",
        "mean_difference"; the larger label counts as 1
    alpha : penalty in units of tr(Sigma)/d, for ridge, logistic (of the mean log-loss, on |u|^2/2) and lda:
        "cv" picks by out-of-fold error; or a number >= 0 (0: minimum norm). Columns that deviate some 23 times as much
        as the median one or more, massive activations, are divided by a power of two first, here and for the norm, so
        that one of them hides none of the others; the direction returned is of the rows as they are
    folds : prompts are dealt to folds by a hash of their id, or of their cluster where clusters are given
    pooled : also fit all rows without regard to prompts, for .pooled_quality; False saves that pass
    memory_limit : bytes; a ridge fit whose matrices need more, 32 folds d^2 at the peak, is solved by Lanczos steps on
        passes over the rows instead, to rounding and without rho2_debiased. alpha=0 and other methods need the matrices

    **options : base policy and pass options; within=False fits all rows about their one mean, weighted omega_x w_i, and
        both qualities are then of that fit

    Returns
    -------
    DirectionFit with .vectors (J, d), .fold_vectors (F, J, d), .encoding_quality

    The mean difference has the rows' own units: one massive column makes up nearly all of its length and its scores.

    Cost: one pass (two with pooled) of N d^2 multiply-adds for each set of labelled rows and two of N d for the
    quality; (folds + 1) d^2 float64, and 4 folds d^2 at the peak, where the pass hands them over; logistic adds
    some 20 passes a penalty. Fewer rows than d and matrices short of rank are fine. Without matrices: two passes a
    step, some 20 steps for a penalty of 1 and 200 for one of 1e-3 where few directions hold most of the variance, and
    (folds + 1) d float64 a step.

    Errors: DumpError for NaN or Inf in a row; ValueError where a column is not in the dump, method is unknown or
    wants two-valued labels, alpha is below 0, or folds below 2.

    >>> import clinometer as cm
    >>> world = cm.simulate(n_prompts=50, n_responses=8, dim=4, random_state=1)
    >>> cm.fit_value_direction(world, "s").vectors.shape
    (1, 4)
    """
    fit = fitted_with(dump, values, None, method, alpha, folds, pooled, memory_limit, **options).fit
    if still := [name for name, vector in zip(fit.names, fit.vectors, strict=True) if not vector.any()]:
        tell(
            f"values: {few(still)} {'does' if len(still) == 1 else 'do'} not vary between responses to the same "
            "prompt, or with no column of the rows: the direction is 0, of no quality. Labels of whole prompts want "
            "within=False",
            stacklevel=2,
        )
    return fit


@dataclass(frozen=True)
class Fitting:
    """A fit with what its passes left behind: no direction holds on to anything of d x d, or of N.

    `curvature` has, of each ridge or least-squares fit, the Sigma it was solved with; `scores` (N, J) and `beside`
    (N, m) are of the full fits and of the vectors beside them, where there were any.
    """

    fit: DirectionFit
    curvature: dict[int, Curvature]
    scores: Floats
    beside: Floats


def fitted_with(
    dump: Any, values: Any, beside: Floats | None, method: str = "ridge", alpha: Any = "cv", folds: int = 5,
    pooled: bool = False, memory_limit: float = MEMORY, **options: Any,
) -> Fitting:  # fmt: skip
    """`fit_value_direction`, with scores along further vectors (F, m, d) of its folds from the same reads."""
    if method not in METHODS:
        raise ValueError(f"method is {method!r}, wanted one of {', '.join(METHODS)}")
    check_folds(folds)
    check_alpha(alpha)
    if method not in PENALISED and not isinstance(alpha, str) and alpha != 0:
        raise ValueError(f"alpha is {alpha!r} with method={method!r}, which has no penalty; wanted method='ridge'")
    if not isinstance(pooled, (bool, np.bool_)):
        raise TypeError(f"pooled is {pooled!r}, wanted True or False")
    if isinstance(memory_limit, bool) or not isinstance(memory_limit, (int, float, np.number)) or not memory_limit >= 0:
        raise ValueError(f"memory_limit is {memory_limit!r}, wanted bytes, a number >= 0")
    with listening(BARE):  # here it is an error
        call = prepare(dump, None, values, any_size=True, **options)
    if call.n_values == 0:
        raise ValueError("values is empty, wanted at least one value")
    for name, gone in zip(call.value_names, call.n_unlabelled, strict=True):
        if gone == call.population.n_rows:
            raise ValueError(f"values: {visible(name)!r} has no label in any row that counts: there is nothing to fit")
    within, call, p = call.within, replace(call, within=True), call.population
    if p.n_prompts < folds:
        raise ValueError(f"folds is {folds} but there are {p.n_prompts} prompts")
    # prompt means off in the last bit are no labels: fitted, their rounding has a direction of any sign
    given = np.asarray(call.values, np.float64)
    flat = np.array([within and not spread_within(column, p) > 0 for column in given.T])
    if method in BINARY:
        call = replace(call, values=binary_labels(np.asarray(call.values), p, call.value_names, method))
    labels, exponent = np.asarray(call.values), np.zeros(call.n_values, np.int64)
    if method not in BINARY:
        scaled, exponent = in_range(labels)
        call = replace(call, values=scaled)
    grid = _grid(method, alpha)
    fold = p.folds(int(folds))
    by_passes = method == "ridge" and bool(grid.min() > 0) and 32 * folds * call.dump.dim**2 > memory_limit
    ways = [within, False] if pooled and within else [within]
    fits = [fit_values(call, method, grid, fold, int(folds), within=w, by_passes=by_passes) for w in ways]
    more = None if beside is None else np.concatenate([_at_every_fold(fits[0].vectors, folds), beside], axis=1)
    found = [quality_of_fits(call, f, fold, x, within=w) for f, x, w in zip(fits, (more, None), ways, strict=False)]
    qualities = [quality for quality, _ in found]
    fit, quality, over_all = fits[0], qualities[0], qualities[-1] if pooled else None
    vectors, fold_vectors = (in_units(v, exponent, call.value_names) for v in (fit.vectors, fit.fold_vectors))
    vectors, fold_vectors = (np.where(flat[:, None], 0.0, v) for v in (vectors, fold_vectors))
    keys = prompt_keys(call.dump, p)
    order = np.argsort(keys)
    made = DirectionFit(
        vectors, fold_vectors, call.value_names, method, fit.alpha, quality, p.n_rows, p.n_prompts,
        p.n_dropped, call.dump.fingerprint(), call.dump.origin, over_all, fit.intercepts,
        ("binary" if method in BINARY else "scores",) * call.n_values, 0, keys[order], fold[order],
        {"labels": labels, "by_passes": by_passes}, bool(within),
    )  # fmt: skip
    scores, J = found[0][1], call.n_values
    own = np.where(flat[: scores.shape[1]], 0.0, np.ldexp(scores[:, :J], exponent[: scores.shape[1]]))
    return Fitting(made, fit.curvature, own, scores[:, J:])


def _at_every_fold(vectors: Floats, folds: int) -> Floats:
    return np.broadcast_to(vectors, (folds, *vectors.shape))


def _grid(method: str, alpha: Any) -> Floats:
    if method not in PENALISED:
        return np.zeros(1)
    if isinstance(alpha, str):
        return ALPHAS[::2] if method == "logistic" else ALPHAS
    return np.array([float(alpha)])
