"""The share of a value that any function of phi could hold, beside the linear share (theory 4.3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clinometer.common.options import listed
from clinometer.common.resampling import t_bounds
from clinometer.common.results import Axes, Result
from clinometer.engine.checks import need_within
from clinometer.engine.inputs import prepare
from clinometer.engine.weights import Weights
from clinometer.fit.options import ALPHAS, check_folds
from clinometer.fit.quality import ratio_quality
from clinometer.fit.scale import in_range
from clinometer.inference.intervals import check_level

from .arrays import Floats
from .nested import feature_maker, out_of_fold
from .rows import ratio

KINDS = ("fourier", "nystroem")


@dataclass(frozen=True, repr=False, eq=False)
class NonlinearEncoding(Result):
    """How much of J values a linear and a nonlinear function of phi predict inside prompts, out of fold.

    Attributes
    ----------
    linear, nonlinear : (J,) R^2 = 1 - SSE/SST of out-of-fold predictions, whole prompts held out; negative is
        legitimate. Their limits with many prompts are rho^2, and eta^2 = Var E[s | phi] / Var s as far as a sum of a
        linear function and the features reaches it
    difference : (J,) nonlinear - linear, paired on the same prompts
    linear_ci, nonlinear_ci, difference_ci : (J, 2) by Student's t over prompts or clusters; of the R^2 on new
        prompts, on average, of fits to as many
    linear_se, nonlinear_se, difference_se : (J,)
    units : (J, 3) effective number of prompts or clusters for these three, less 1 the degrees of freedom
    linear_r, nonlinear_r : (J,) correlations of the predictions with the value: what Theorem 6 calls rho, and eta
    gamma, alpha, linear_alpha : (F, J) bandwidth and penalties that each fold's training prompts chose; an alpha of
        inf takes no feature

    n_features : M, random features or landmarks
    """

    axes: ClassVar[Axes] = {
        "value": "linear nonlinear difference linear_se nonlinear_se difference_se linear_r nonlinear_r n_unlabelled",
        "value bound": "linear_ci nonlinear_ci difference_ci",
        "value part": "units",
        "fold value": "gamma alpha linear_alpha",
    }

    linear: Floats
    nonlinear: Floats
    difference: Floats
    linear_ci: Floats
    nonlinear_ci: Floats
    difference_ci: Floats
    linear_se: Floats
    nonlinear_se: Floats
    difference_se: Floats
    units: Floats
    linear_r: Floats
    nonlinear_r: Floats
    gamma: Floats
    alpha: Floats
    linear_alpha: Floats
    values: tuple[str, ...]
    features: str
    n_features: int
    level: float
    n_rows: int
    n_prompts: int
    n_dropped: int
    n_unlabelled: NDArray[np.int64]


@listed("within")
def nonlinear_encoding(
    dump: Any, values: Any, *, n_features: int = 300, features: str = "fourier", gammas: ArrayLike = (0.25, 1.0, 4.0),
    alphas: ArrayLike | None = None, folds: int = 5, level: float = 0.95,
    random_state: int = 0, **options: Any,
) -> NonlinearEncoding:  # fmt: skip
    """Correlation ratio of values given phi, inside prompts, by kernel ridge on random features (theory 4.3).

    The best judge that reads phi alone correlates with a value as eta, eta^2 = Var E[s | phi] / Var s, and rho^2, its
    linear share, is the ceiling only where E[s | phi] is linear. Here E[s | phi] is a linear function plus a
    function in the space of the kernel exp(-gamma |x - y|^2 / d), fitted in turn to what the former leaves, with
    prompt fixed effects. A prediction of finite data: `nonlinear` and `nonlinear_r`^2 are below eta^2 on average, so
    the lower bound of an interval is one for eta^2 and the upper bound is not. Errors take as given which features
    and penalties the folds chose, so that the upper bound of `difference_ci` lies below what another draw of rows
    finds on average in up to a fifth of dumps with a weak curvature; where no fold took a feature it is NaN.

    Parameters
    ----------
    values : column names, (N,) or (N, J); NaN rows are left out of that value
    n_features : random features, or landmarks of Nystroem
    features : "fourier" (scikit-learn's RBFSampler) or "nystroem" (Nystroem on rows drawn at random)
    gammas : bandwidths in units of 1/d, for columns scaled to unit variance over all rows
    alphas : penalties, in units of the mean variance of a column or a feature; default 1e-4 .. 100. Bandwidth and
        penalties are chosen for every fold by cross-validation among the prompts of the others
    folds : prompts are dealt to folds by a hash of their id, or of their cluster where clusters are given; 3 or more
    level : coverage of the intervals
    random_state : seed of the features
    **options : the base policy and pass options

    Returns
    -------
    NonlinearEncoding
        Needs scikit-learn (extra ``sklearn``). Cost: a read of the rows for scales, and for each gamma two with
        N (d + M)^2 multiply-adds; folds (d + M)^2 float64; some 2 folds^2 solves of d and of M unknowns a gamma.

    Notes
    -----
    Rahimi and Recht, "Random features for large-scale kernel machines", NIPS 2007. Williams and Seeger, "Using the
    Nystroem method to speed up kernel machines", NIPS 2000.

    Errors: ValueError where folds is below 3, features is unknown, or a gamma or n_features is not above 0;
    ImportError without scikit-learn.

    >>> import clinometer as cm, numpy as np
    >>> rng = np.random.default_rng(0)
    >>> phi, ids = rng.normal(size=(800, 2)), np.repeat(np.arange(100), 8)
    >>> found = cm.theory.nonlinear_encoding(phi, phi[:, 0] * phi[:, 1], prompt_ids=ids, n_features=100)
    >>> bool(abs(found.linear[0]) < 0.1), bool(found.nonlinear[0] > 0.9), bool(found.difference_ci[0, 0] > 0.8)
    (True, True, True)
    """
    _need_sklearn()
    _check(n_features, features, folds)
    check_level(level)
    bandwidths, penalties = _positive("gammas", gammas), _positive("alphas", ALPHAS[::2] if alphas is None else alphas)
    need_within(options)
    call = prepare(dump, None, values, **options)
    p = call.population
    if call.n_values == 0:
        raise ValueError("values is empty, wanted at least one value")
    if p.n_prompts < folds:
        raise ValueError(f"folds is {folds} but there are {p.n_prompts} prompts")
    table, fold = np.asarray(call.values)[p.rows], p.folds(int(folds))
    if (bare := np.isnan(table).all(axis=0)).any():
        raise ValueError(f"values: {call.value_names[int(np.argmax(bare))]!r} has no label in any prompt")
    parts: list[dict[str, Any]] = [{} for _ in range(call.n_values)]
    for js in _same_rows(table):
        w = Weights(p.labelled(np.asarray(call.values)[:, js[0]]))
        labels = in_range(np.where(w.row[:, None] > 0, np.nan_to_num(table[:, js]), 0.0))[0]  # shares have no unit
        make = feature_maker(call.dump, w, features, int(n_features), random_state)
        found = out_of_fold(call.dump, w, labels, make, bandwidths, penalties, fold, int(folds))
        for i, j in enumerate(js):
            parts[j] = _measured(w, labels[:, i], found[0][..., i], float(level))
            parts[j] |= {name: np.array([getattr(c, name)[i] for c in found[1]]) for name in CHOSEN}
    stacked = {name: np.stack([part[name] for part in parts], axis=int(name in CHOSEN)) for name in parts[0]}
    return NonlinearEncoding(
        **stacked, values=call.value_names, features=features, n_features=int(n_features), level=float(level),
        n_rows=p.n_rows, n_prompts=p.n_prompts, n_dropped=p.n_dropped, n_unlabelled=call.n_unlabelled,
    )  # fmt: skip


CHOSEN = ("gamma", "alpha", "linear_alpha")


def _need_sklearn() -> None:
    try:
        import sklearn  # noqa: F401
    except ImportError as error:
        raise ImportError("nonlinear_encoding needs scikit-learn: pip install 'clinometer[sklearn]'") from error


def _check(n_features: Any, features: Any, folds: Any) -> None:
    if isinstance(n_features, bool) or not isinstance(n_features, (int, np.integer)) or n_features < 1:
        raise ValueError(f"n_features is {n_features!r}, wanted a whole number >= 1")
    if features not in KINDS:
        raise ValueError(f"features is {features!r}, wanted one of {', '.join(KINDS)}")
    check_folds(folds)
    if folds < 3:
        raise ValueError(f"folds is {folds}, wanted at least 3: penalties are chosen among the folds that train a fit")


def _positive(name: str, given: ArrayLike) -> Floats:
    grid = np.atleast_1d(np.asarray(given, np.float64))
    if grid.ndim != 1 or not grid.size or not (np.isfinite(grid) & (grid > 0)).all():
        raise ValueError(f"{name} is {given!r}, wanted finite numbers > 0")
    return grid


def _same_rows(table: Floats) -> list[list[int]]:
    """Values grouped by the rows that carry them."""
    groups: dict[bytes, list[int]] = {}
    for j, column in enumerate(table.T):
        groups.setdefault(np.isnan(column).tobytes(), []).append(j)
    return list(groups.values())


def _measured(w: Weights, label: Floats, found: Floats, level: float) -> dict[str, Any]:
    """R^2 of both predictions, their difference, errors and correlations, from what rows are given (5, N).

    To each prompt's own error comes what its rows do to the errors of other folds through the fits.
    """
    s = w.centre(label)
    row = w.row * w.p.on_rows(w.prompt)
    scale = float(np.abs(label[w.row > 0]).max(initial=0.0))
    if not float(row @ (s * s)) > (1e-14 * scale) ** 2:  # constant but for rounding
        s = np.full(len(s), np.nan)
    t, u, pull, pull_linear, pull_features = (w.centre(x) for x in found)
    moved = (pull * (s - t), pull_linear * (s - t) + pull_features * (s - u))
    of_prompt = np.stack([w.total(row * x) for x in ((s - t) ** 2, (s - u) ** 2, s * s, *moved)], axis=1)
    units, held = w.p.unit_sums(of_prompt), w.p.unit_sums(w.prompt[:, None])[:, 0]
    plain, kernel, whole, fit, fits = units[held > 0].T
    held = held[held > 0]
    parts = ((plain, fit), (kernel, fits), (whole - plain + kernel, fits - fit))
    results = [ratio_quality(error, whole, through, held, 0.0) for error, through in parts]
    value, se, worth = (np.array(x) for x in zip(*results, strict=True))
    ci = t_bounds(value, se, worth, level)
    ci[2] = np.where(se[2] == 0, np.nan, ci[2])  # no fold took a feature: no error says how much there could be
    r = [ratio(row @ (s * x), np.sqrt((row @ (s * s)) * (row @ (x * x)))) for x in (t, u)]
    out: dict[str, Any] = {"units": worth, "linear_r": r[0], "nonlinear_r": r[1]}
    for i, name in enumerate(("linear", "nonlinear", "difference")):
        out |= {name: value[i], f"{name}_se": se[i], f"{name}_ci": ci[i]}
    return out
