"""Constitution directions from pairwise preferences (theory 1.3)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from clinometer.common.notices import tell
from clinometer.common.options import listed, used
from clinometer.common.threads import applied
from clinometer.engine.checks import need_rows
from clinometer.engine.fitted import DirectionFit, EncodingQuality, prompt_keys
from clinometer.engine.inputs import prepare
from clinometer.engine.pairs import Pairs, checked_pairs

from .bradley_terry import BradleyTerry
from .options import ALPHAS, check_alpha, check_folds
from .quality import made, of_units, ratio_quality, stacked

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@listed("within", "check_source")
def fit_preference_direction(
    dump: Any, pairs: Any, prob: Any, *, alpha: float | Literal["cv"] = "cv", folds: int = 5,
    position_bias: bool = False, names: Sequence[str] | None = None, **options: Any,
) -> DirectionFit:  # fmt: skip
    """Fit u with P(a > b) = sigmoid(<u, phi_a - phi_b>) to preferences, soft or hard (theory 1.3).

    Minimises the mean over pairs of -p log sig(z) - (1 - p) log sig(-z), plus ridge/2 |u|^2. With soft labels
    from a calibrated judge 1 unit of <u, phi> is 1 nat. Hard labels have no scale of their own: few pairs are
    always separable, the norm is then the penalty's, and only tilts at matched KL can be compared.

    Parameters
    ----------
    pairs : (P, 2) row numbers of the dump; both rows of a pair answer one prompt
    prob : (P,) or (P, K) for K constitutions, probability that the first row is preferred; NaN: not judged
    alpha : penalty in units of the mean square of a difference's entries, massive columns in their own unit as in
        `fit_value_direction`; "cv" picks by the log-loss of pairs of unseen prompts; 0 is the fit of minimum norm and
        refuses separable labels, which have no finite fit
    folds : prompts are dealt to folds by a hash of their id, or of their cluster where clusters are given
    position_bias : also fit an unpenalised intercept, the preference for whichever row comes first; .intercepts
    names : K names, default "pairs" or "pairs0", ..
    **options : base policy and pass options. A pair weighs what its prompt does; base weights are of rows, and only say
        which rows there are

    Returns
    -------
    DirectionFit with .vectors (K, d), .fold_vectors (F, K, d), .labels. Its quality is that of predicted
    probabilities out of fold: .value = 1 - sum (p - p^)^2 / sum (p - 1/2)^2, .r the correlation of p - 1/2 with
    p^ - 1/2, .auc the share of decided pairs ordered rightly. Separable labels get no interval (.quality_status).

    Cost: the rows of the pairs in float64 up to 1 GiB, else read again in each of some 10 to 30 steps a penalty; all
    constitutions and folds share a step. With P < d the work is in P dimensions.

    Errors: DumpError for a row that holds NaN or Inf (the first and their number are named); ValueError where a pair
    joins two prompts, a probability is outside [0, 1], or labels are separable and alpha is 0.

    >>> import numpy as np, clinometer as cm
    >>> phi, ids = np.array([[0.0], [1.0], [2.0], [0.0], [3.0]]), [0, 0, 0, 1, 1]
    >>> pairs, z = np.array([[1, 0], [2, 0], [4, 3]]), np.array([0.5, 1.0, 1.5])
    >>> fit = cm.fit_preference_direction(phi, pairs, 1 / (1 + np.exp(-z)), alpha=0, folds=2, prompt_ids=ids)
    >>> fit.vector.round(6).tolist()
    [0.5]
    """
    check_folds(folds)
    check_alpha(alpha)
    if not isinstance(position_bias, (bool, np.bool_)):
        raise TypeError(f"position_bias is {position_bias!r}, wanted True or False")
    why = "fits pairs, and both rows of a pair answer one prompt"
    call = prepare(dump, **used("fit_preference_direction", options, within=why, check_source="takes no directions"))
    need_rows(call)
    held = checked_pairs(call, pairs, prob)
    called = _names(names, held.prob.shape[1])
    p = call.population
    fold = p.folds(int(folds))
    _enough_prompts(held, fold, int(folds))
    grid = ALPHAS[::2] if isinstance(alpha, str) else np.array([float(alpha)])
    problem = BradleyTerry(call, held, fold[held.prompt], int(folds), bool(position_bias), called)
    fit = problem.path(grid)
    unit = held.prompt if p.cluster is None else p.cluster[held.prompt]
    quality = stacked([
        _quality(
            fit.margins[:, k], held.prob[:, k], held.weight, unit, problem.moved_error(fit, k), bool(fit.separated[k])
        )
        for k in range(len(called))
    ])  # fmt: skip
    labels = tuple(_kind(held.prob[:, k], bool(fit.separated[k])) for k in range(len(called)))
    _warn_separable(called, labels)
    keys = prompt_keys(call.dump, p)
    order = np.argsort(keys)
    return DirectionFit(
        fit.vectors, fit.fold_vectors, called, "bradley_terry", fit.alpha, quality, p.n_rows, p.n_prompts,
        p.n_dropped, call.dump.fingerprint(), call.dump.origin, None, fit.intercepts, labels,
        len(held.rows), keys[order], fold[order],
        {
            "pairs": held, "ridge": fit.ridge, "margins": fit.margins, "position_bias": bool(position_bias),
            "scale": problem.scale,
        },
    )  # fmt: skip


def _names(names: Sequence[str] | None, K: int) -> tuple[str, ...]:
    if names is None:
        return ("pairs",) if K == 1 else tuple(f"pairs{k}" for k in range(K))
    called = (names,) if isinstance(names, str) else tuple(names)
    if len(called) != K or len(set(called)) != K or not all(isinstance(n, str) and n for n in called):
        raise ValueError(f"names is {called!r}, wanted {K} distinct strings, one for each column of prob")
    return called


def _enough_prompts(held: Pairs, fold: Ints, folds: int) -> None:
    prompts = np.unique(held.prompt)
    if len(prompts) < folds:
        raise ValueError(
            f"folds is {folds} but the pairs come from {len(prompts)} prompts; pairs are numbers of rows of the dump, "
            "counted over all prompts"
        )


def _kind(prob: Floats, separated: bool) -> str:
    known = prob[~np.isnan(prob)]
    hard = bool(np.isin(known, (0.0, 0.5, 1.0)).all())
    return "separable" if hard and separated else "hard" if hard else "soft"


def _warn_separable(names: tuple[str, ...], labels: tuple[str, ...]) -> None:
    hit = [n for n, kind in zip(names, labels, strict=True) if kind == "separable"]
    if hit:
        tell(
            f"pairs of {', '.join(hit[:4])}: a direction orders them all without error, so its norm is set by the "
            "penalty and beta means nothing; compare at matched KL (kl=), or give soft labels",
            stacklevel=3,
        )


def _quality(
    z: Floats, prob: Floats, weight: Floats, unit: Ints, moved: Floats, separated: bool
) -> EncodingQuality:  # fmt: skip
    """Quality of out-of-fold margins z of the labels of one constitution.

    `moved` is what each label does to the squared error through the fit. Its slope is taken where the fold fits are,
    and so is the pair's own error: both hold the second order of the fit's noise, and influences count that twice as
    they are (Efron and Stein 1981), so no `curvature_error` is added. Separable labels have no interval:
    probabilities are as sure as the penalty makes them, and what an interval would say of 30 pairs held its target 4
    times in 5.
    """
    from scipy.special import expit

    known = ~np.isnan(prob)
    z, p, w, unit, moved = z[known], prob[known] - 0.5, weight[known], unit[known], moved[known]
    guess = expit(z) - 0.5
    sst = float(applied(p * p, w))
    if not sst > 0:
        return stacked([])
    sse_of, sst_of, through_fit, held = (
        of_units(unit, w, x) for x in (w * (p - guess) ** 2, w * p * p, moved * w.sum(), w)
    )
    value, se, units = ratio_quality(sse_of, sst_of, through_fit, held, 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        r = applied(p * guess, w) / np.sqrt(sst * applied(guess**2, w))
    decided = p != 0
    right = applied(0.5 + 0.5 * np.sign(z[decided] * p[decided]), w[decided]) / w[decided].sum()
    return made(value, np.nan if separated else se, units, float(r), float(right), np.nan, np.nan, np.nan)
