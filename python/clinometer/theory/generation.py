"""How much of the generation direction the values explain, free of the noise of the fits: Proposition 5's alpha,
estimated (theory 3.3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from clinometer.common.notices import tell
from clinometer.common.options import listed
from clinometer.common.resampling import t_bounds, unit_errors, worth
from clinometer.common.results import Axes, Result
from clinometer.common.visible import visible
from clinometer.engine.checks import need_within
from clinometer.engine.inputs import Call, column, prepare
from clinometer.engine.population import Population
from clinometer.engine.weights import Weights
from clinometer.fit import fit_generation_direction, fit_value_direction
from clinometer.fit.options import check_folds
from clinometer.inference.intervals import check_level

from .arrays import Floats
from .rows import ratio, scored


@dataclass(frozen=True, repr=False, eq=False)
class GenerationShare(Result):
    """Share of the within-prompt variance of <u_gen, phi> that lies along the directions of J values.

    Attributes
    ----------
    share, share_se, units : squared multiple Sigma-correlation of u_gen and the values' directions, its error and what
        the prompts or clusters are worth for it; free of the noise of the fits, so that it may fall below 0
    share_ci : (2,) by Student's t on the share's own scale and on Fisher's of its root, the wider, within [0, 1]
    alpha, alpha_ci : Proposition 5's alpha of that share: u_gen = alpha u + (1 - alpha) n with orthonormal u, n
    cosine : (J,) Sigma-cosine of u_gen with each value's direction, NaN where the value is not detectably encoded
    resolved : (J,) whether the rows show well, by 6 errors, that the value is encoded; where one is not, share and
        alpha are lower bounds, mostly of the others, and a warning says so
    rho2, rho2_ci : (J,) and (J, 2) encoded share of each value, as `EncodingQuality.rho2_debiased`
    generation_quality : out-of-fold R^2 of the log-probabilities: low where Assumption 2 fails, and then alpha is of
        the part of them that phi holds

    n_incomplete : rows left out because a value or a log-probability is missing
    """

    axes: ClassVar[Axes] = {
        "value": "cosine rho2 resolved",
        "value bound": "rho2_ci",
        "bound": "share_ci alpha_ci",
    }

    share: float
    share_se: float
    share_ci: Floats
    units: float
    alpha: float
    alpha_ci: Floats
    cosine: Floats
    resolved: NDArray[np.bool_]
    rho2: Floats
    rho2_ci: Floats
    generation_quality: float
    values: tuple[str, ...]
    level: float
    n_rows: int
    n_prompts: int
    n_incomplete: int


def orthonormal_alpha(share: Any) -> Floats:
    """alpha with cos^2 = share, cos = alpha / sqrt(alpha^2 + (1 - alpha)^2) (theory 3.3); cut to [0, 1].

    `share` is a number or an array (J,), the result an array of its shape, without unit. Cost: O(J). Errors:
    ValueError for what is no number; NaN stays NaN.

    >>> orthonormal_alpha([0.0, 0.1104315**2, 0.5, 1.0]).round(4).tolist()
    [0.0, 0.1, 0.5, 1.0]
    """
    cos = np.sqrt(np.clip(np.asarray(share, np.float64), 0.0, 1.0))
    return np.asarray(cos / (cos + np.sqrt(1.0 - cos**2)))


@listed("within")
def generation_share(
    dump: Any, values: Any, logprobs: Any = "logprob", *, covariates: Any = None, folds: int = 5, level: float = 0.95,
    **options: Any,
) -> GenerationShare:  # fmt: skip
    """How much of what a model generates by, its values explain: Proposition 5's alpha from labelled text (theory 3.3).

    With directions by least squares, u'Sigma v = Cov(<u^, phi>, label of v) for a u^ fitted without the prompt, free of
    the fit's noise; so for log-probabilities and values one matrix of such covariances holds them all. The share is
    max_b (2 b'c - b'V b) / Var<u_gen, phi>, c the values' covariances with <u_gen, phi> and V among themselves, where
    each prompt is measured by the b of other folds: a value of noise gives 0 and not the 1/d of a random direction.
    Directions of V that its error hides count for little, so the share of hardly encoded values is low (`resolved`).

    Parameters
    ----------
    values : column names, (N,) or (N, J)
    logprobs, covariates : as in `clinometer.fit_generation_direction`; name the length, which confounds
    folds : prompts are dealt to folds by a hash of their id, or of their cluster where clusters are given
    level : coverage of the intervals
    **options : the base policy and pass options

    Returns
    -------
    GenerationShare
        On rows that have every value and a log-probability, and more than 2 d of them beyond the prompts in every
        fit, else a ValueError. Cost: two passes of N d^2 and three of N d.

    >>> import clinometer as cm
    >>> world = cm.simulate(n_prompts=300, n_responses=8, dim=4, generation_alignment=0.6, random_state=1)
    >>> found = cm.theory.generation_share(world, "s")
    >>> bool(found.share_ci[0] < 0.36 < found.share_ci[1]), round(found.alpha, 1)
    (True, 0.4)
    """
    check_level(level)
    check_folds(folds)
    need_within(options)
    call = prepare(dump, None, values, **options)
    if call.n_values == 0:
        raise ValueError("values is empty, wanted at least one value")
    logp, labels = _complete(call, logprobs)
    p = call.population.labelled(logp)
    fold = p.folds(int(folds))
    _enough(p, fold, int(folds), call)
    made = fit_generation_direction(call.dump, logp, covariates=covariates, folds=folds, **options)
    fits = fit_value_direction(
        call.dump, labels, method="least_squares", folds=folds, pooled=False, **options
    )  # fmt: skip
    w = Weights(p)
    t = w.centre(scored(call.dump, [made, fits], None, **options).scores)
    y = w.centre(np.nan_to_num(np.column_stack([logp, labels])[p.rows]))
    y[:, 0] = _net(w, y[:, 0], t[:, 0], np.asarray(made._training["covariates"])[p.rows])
    share, se, units, whole = explained_share(w, t, y, fold)
    ci = share_interval(share, se, units, level)
    quality = fits.encoding_quality
    resolved = quality.rho2_debiased > 2 * UNSURE * quality.rho2_se
    _warn(call.value_names, resolved)
    sd = np.sqrt(np.where(np.append(whole[0, 0] > 0, resolved), np.abs(np.diagonal(whole)), np.nan))
    return GenerationShare(
        share, se, ci, units, float(orthonormal_alpha(share)), orthonormal_alpha(ci), whole[0, 1:] / (sd[0] * sd[1:]),
        resolved, quality.rho2_debiased, quality.rho2_interval(level), float(made.encoding_quality.value[0]),
        call.value_names, float(level), int((w.row > 0).sum()), int(w.seen.sum()), int((w.row == 0).sum()),
    )  # fmt: skip


def _warn(names: tuple[str, ...], resolved: NDArray[np.bool_]) -> None:
    hidden = [visible(name) for name, seen in zip(names, resolved, strict=True) if not seen]
    if hidden:
        tell(
            f"generation_share: these rows do not show well that {', '.join(hidden)} is encoded: the share is a lower "
            "bound",
            stacklevel=3,
        )


def _complete(call: Call, logprobs: Any) -> tuple[Floats, Floats]:
    """Log-probabilities (N,) and values (N, J), NaN in rows where any of them is missing."""
    if logprobs is None:
        raise ValueError("logprobs is None, wanted a column name or an array (N,)")
    found = column(call.dump, logprobs, None, "logprobs")
    assert found is not None
    table = np.column_stack([found, np.asarray(call.values)])
    table[np.isnan(table).any(axis=1)] = np.nan
    if np.isnan(table[call.population.rows]).all():
        raise ValueError("values and logprobs have no row in common that holds all of them")
    return np.ascontiguousarray(table[:, 0]), np.ascontiguousarray(table[:, 1:])


def _enough(p: Population, fold: NDArray[np.int64], folds: int, call: Call) -> None:
    w = Weights(p)
    rows, prompts = w.total((w.row > 0).astype(float)), w.seen.astype(float)
    beyond = [float((rows - prompts)[fold != f].sum()) for f in range(folds)]
    if min(beyond) <= 2 * call.dump.dim:
        raise ValueError(
            f"{call.dump.name} has {min(beyond):.0f} complete rows beyond one a prompt in its smallest fit and d = "
            f"{call.dump.dim}; wanted more than 2 d: label more rows, or use fewer columns"
        )


def _net(w: Weights, label: Floats, t: Floats, z: Floats) -> Floats:
    """The label less what covariates z explain of its residual, inside prompts."""
    if not z.shape[1]:
        return label
    z = w.centre(z)
    root = np.sqrt(w.row * w.p.on_rows(w.prompt))
    return np.asarray(label - z @ np.linalg.lstsq(root[:, None] * z, root * (label - t), rcond=1e-10)[0])


UNSURE = 3.0  # an encoded variance of so many errors counts for half, one of twice as many for nearly all


def share_interval(share: float, se: float, units: float, level: float) -> Floats:
    """Bounds (2,) of a share in [0, 1]: by Student's t, of its own and of Fisher's scale of its root the wider.

    A share's error grows with it, so that low ones come with bounds that are too near; on Fisher's scale it does not,
    but near 0 that scale sees an effect in half an error.
    """
    plain = t_bounds(np.array(share), np.array(se), np.array(units), level)
    half = (plain[1] - plain[0]) / 2
    root = np.sqrt(np.clip(share, 0.0, 1.0 - 1e-12))
    slope = 2.0 * np.fmax(root, np.sqrt(half / 2.0)) * np.fmax(1.0 - root**2, half)  # no less than an error off an end
    reach = half / np.fmax(slope, 1e-300)
    fisher = np.tanh(np.maximum(np.arctanh(root) + reach * np.array([-1.0, 1.0]), 0.0)) ** 2
    return np.asarray(np.clip([np.minimum(fisher[0], plain[0]), np.maximum(fisher[1], plain[1])], 0.0, 1.0))


def explained_share(w: Weights, t: Floats, y: Floats, fold: NDArray[np.int64]) -> tuple[float, float, float, Floats]:
    """(share, error, effective units) and the covariances of all true scores (1 + J, 1 + J).

    From out-of-fold scores t and labels y, those of u_gen first. Of a unit, u'Sigma v has the influence t_u y_v +
    t_v y_u - t_u t_v through labels, fits and rows; the best b has none to first order.
    """
    cross = np.stack([w.total((w.row * a)[:, None] * y) for a in t.T], axis=1)  # <fit a, phi> with label b
    spread = np.stack([w.total((w.row * a)[:, None] * t) for a in t.T], axis=1)
    labels = np.stack([w.total((w.row * a)[:, None] * y) for a in y.T], axis=1)
    moved = cross + np.swapaxes(cross, 1, 2) - spread
    both = (cross + np.swapaxes(cross, 1, 2)) / 2
    explained, moves = np.zeros((2, len(fold)))
    for f in np.unique(fold):
        rest, here = np.where(fold != f, w.prompt, 0.0), fold == f
        b = _weights(w.p, rest, both, moved, labels[:, 1:, 1:])
        # of c the half whose labels are the values': the other knows the directions that b was fitted to
        explained[here] = 2 * cross[here, 0, 1:] @ b - both[here, 1:, 1:] @ b @ b
        moves[here] = 2 * moved[here, 0, 1:] @ b - moved[here, 1:, 1:] @ b @ b
    whole = np.tensordot(w.prompt, both, 1)
    if not whole[0, 0] > 0:
        return float("nan"), float("nan"), float("nan"), whole
    share = float(w.prompt @ explained / whole[0, 0])
    psi = (w.prompt * (moves - share * moved[:, 0, 0]) / whole[0, 0])[:, None]
    units, held = w.p.unit_sums(psi), w.p.unit_sums(w.prompt[:, None])
    units = units - held * units.sum()
    return share, float(unit_errors(units, held)[0]), float(worth(units, held)[0]), whole


def _weights(p: Population, omega: Floats, both: Floats, moved: Floats, labels: Floats) -> Floats:
    """b (J,) from prompts of weight omega: V^-1 c in units of the labels' spread, damped where V is unsure.

    An eigenvalue v of error e is inverted as v^3 / (v^4 + (3 e)^4), and not at all below 0. The error is of v as a
    share of the labels' spread: prompts that spread all scores alike make neither unsure.
    """
    v, c = np.tensordot(omega, both, 1)[1:, 1:], np.tensordot(omega, both, 1)[0, 1:]
    value, frame = np.linalg.eigh(np.tensordot(omega, labels, 1))
    alive = value > 1e-12 * value.max(initial=0.0)
    root = frame[:, alive] / np.sqrt(value[alive])  # labels become uncorrelated, of unit variance
    size, turn = np.linalg.eigh(root.T @ v @ root)
    root = root @ turn
    psi = np.einsum("gjk,ja,ka->ga", moved[:, 1:, 1:], root, root)
    psi -= size * np.einsum("gjk,ja,ka->ga", labels, root, root)
    units, held = (p.unit_sums(x) for x in (omega[:, None] * psi, omega[:, None]))
    error = np.nan_to_num(unit_errors(units - held / held.sum() * units.sum(axis=0), held), nan=np.inf)
    damped = np.where(size > 0, ratio(1.0, size * (1.0 + (UNSURE * ratio(error, size)) ** 4)), 0.0)
    return np.asarray(root @ (np.nan_to_num(damped) * (root.T @ c)))
