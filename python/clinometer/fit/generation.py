"""The generation direction: log-probabilities on rows with prompt fixed effects (theory 1.2)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from clinometer.common.options import listed, used
from clinometer.common.threads import applied, product
from clinometer.engine.checks import need_rows
from clinometer.engine.fitted import DirectionFit, EncodingQuality, prompt_keys
from clinometer.engine.inputs import Call, column, prepare
from clinometer.engine.intake import by_row
from clinometer.engine.population import Population

from .options import check_alpha, check_folds
from .quality import grouping, out_of_fold, quality_of
from .scale import in_range, in_units
from .scatter import FoldScatter, fold_scatter
from .solve import ridge_path

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@listed("logprobs", "within", "check_source")
def fit_generation_direction(
    dump: Any, logprobs: Any = "logprob", *, covariates: Any = None, alpha: float = 0.0, folds: int = 5, **options: Any
) -> DirectionFit:
    """Fit u_gen with log pi0(y|x) = <u_gen, phi> - c(x): least squares with prompt fixed effects (theory 1.2).

    c(x) is centred out prompt by prompt, whatever its size. A sequence's log-probability grows with its length
    while phi is a mean over positions, so length confounds: name it, and other such columns, as covariates,
    which are partialled out inside prompts. In a sampled dump equal weights already give the projection under
    pi0.

    Parameters
    ----------
    logprobs : column name or (N,); NaN rows are left out
    covariates : column names, or (N,) or (N, C) array, finite
    alpha : ridge in units of tr(Sigma)/d of what the covariates leave, massive columns in their own unit as in
        `fit_value_direction`; 0 is least squares of minimum norm
    folds : prompts are dealt to folds by a hash of their id, or of their cluster where clusters are given

    Returns
    -------
    DirectionFit with .vectors (1, d). Its quality is of what the covariates leave of the log-probabilities: a
    low .value (within R^2 out of fold) says that Assumption 2 fails.

    Cost: one pass of N (d + C)^2 multiply-adds and (folds + 1) d^2 float64.

    Errors: DumpError for a row that holds NaN or Inf (the first and their number are named); ValueError for fewer
    than two folds, or a covariate that is not finite.

    >>> import clinometer as cm
    >>> world = cm.simulate(n_prompts=60, n_responses=8, dim=4, random_state=1)
    >>> fit = cm.fit_generation_direction(world, "logprob", covariates="n_tokens")
    >>> bool(abs(fit.vector - world.truth.u_gen).max() < 1e-4)
    True
    """
    check_folds(folds)
    if isinstance(alpha, str):
        raise ValueError(f"alpha is {alpha!r}, wanted a number >= 0")
    check_alpha(alpha)
    if logprobs is None:
        raise ValueError("logprobs is None, wanted a column name or an array (N,)")
    why = "is blind to a number for each prompt, c(x); for a fit over all rows give them to fit_value_direction"
    options = used("fit_generation_direction", options, within=why, check_source="takes no directions")
    call = prepare(dump, **options)
    need_rows(call)
    label = column(call.dump, logprobs, None, "logprobs", call.ids)
    assert label is not None
    table = np.concatenate([_checked(call, label)[:, None], _covariates(call, covariates)], axis=1)
    label_as_given = table[:, :1]
    table, exponent = in_range(table)
    p = call.population
    if p.n_prompts < folds:
        raise ValueError(f"folds is {folds} but there are {p.n_prompts} prompts")
    known = p.labelled(label)
    fold = p.folds(int(folds))
    scatter = fold_scatter(call, table, known, fold, int(folds))
    whole, _ = _partialled(scatter, None, float(alpha))
    parts = [_partialled(scatter, f, float(alpha)) for f in range(int(folds))]
    fold_vectors = np.stack([u for u, _ in parts])[:, None]
    quality = _quality(call, known, fold, fold_vectors, table, np.stack([g for _, g in parts]))
    whole, fold_vectors = (in_units(v, exponent[:1], ("logprobs",)) for v in (whole[None], fold_vectors))
    keys = prompt_keys(call.dump, p)
    order = np.argsort(keys)
    return DirectionFit(
        whole, fold_vectors, (_name(logprobs),), "generation", np.array([float(alpha)]), quality, p.n_rows,
        p.n_prompts, p.n_dropped, call.dump.fingerprint(), call.dump.origin, None, np.zeros(1),
        ("scores",), 0, keys[order], fold[order], {"labels": label_as_given, "covariates": table[:, 1:]},
    )  # fmt: skip


def _name(logprobs: Any) -> str:
    return logprobs if isinstance(logprobs, str) else "logprob"


def _checked(call: Call, label: Floats) -> Floats:
    rows = call.population.rows
    if (wrong := np.isinf(label[rows])).any():
        raise ValueError(
            f"logprobs: row {int(rows[np.argmax(wrong)])} is infinite; a response of probability 0 has no "
            "log-probability to fit: set it to NaN to leave it out"
        )
    if np.isnan(label[rows]).all():
        raise ValueError("logprobs holds NaN alone")
    return label


def _covariates(call: Call, given: Any) -> Floats:
    """Covariates of the dump's rows, (N, C)."""
    if given is None:
        return np.zeros((call.dump.n_rows, 0))
    named = isinstance(given, str) or (isinstance(given, (list, tuple)) and all(isinstance(x, str) for x in given))
    if not named:
        table, _ = by_row("covariates", given, call.dump, call.ids)
        given = list(np.atleast_2d(table.T))
    items = [given] if isinstance(given, str) else list(given)
    out = []
    for c, item in enumerate(items):
        found = column(call.dump, item, None, "covariates", call.ids)
        assert found is not None
        if not np.isfinite(found[call.population.rows]).all():
            which = item if isinstance(item, str) else f"column {c}"
            raise ValueError(f"covariates: {which!r} holds NaN or Inf in rows that count")
        out.append(found)
    return np.stack(out, axis=1)


def net_covariance(sigma: Floats, cross: Floats, inner: Floats, cutoff: float) -> tuple[Floats, Floats]:
    """Sigma (d, d) of what covariates leave of the rows, and inner^+ (C, C), by Frisch, Waugh and Lovell.

    cross (C, d) and inner (C, C) are the covariates' covariances with the rows and among themselves. Of a column they
    explain, rounding leaves a little; up to `cutoff` of its variance that is nothing.
    """
    scale = np.sqrt(np.diagonal(inner))
    scale = np.where(scale > 0, scale, 1.0)
    inverse = np.linalg.pinv(inner / np.outer(scale, scale), rcond=1e-10, hermitian=True) / np.outer(scale, scale)
    left = sigma - product(product(cross.T, inverse), cross)
    left = (left + left.T) / 2
    some = np.diagonal(left) > cutoff * np.diagonal(sigma)
    return np.ascontiguousarray(np.where(some[:, None] & some, left, 0.0)), inverse


def _partialled(scatter: FoldScatter, fold: int | None, alpha: float) -> tuple[Floats, Floats]:
    """Direction (d,) and covariate coefficients (C,) without a fold."""
    d, a = scatter.d, scatter.matrix(fold)
    c, cross, zs = a[d, :d], a[d + 1 :, :d], a[d + 1 :, d]
    left, inverse = net_covariance(a[:d, :d], cross, a[d + 1 :, d + 1 :], scatter.cutoff)
    net = np.where(np.diagonal(left) > 0, c - applied(product(cross.T, inverse), zs), 0.0)
    u = ridge_path(left, net[None], np.array([alpha]), scatter.cutoff)[0, 0]
    return u, applied(inverse, zs - applied(cross, u))


def _quality(
    call: Call, p: Population, fold: Ints, fold_vectors: Floats, table: Floats, coefficients: Floats
) -> EncodingQuality:
    """Quality of predictions of what each fold's covariate coefficients (F, C) leave of the log-probabilities."""
    t = out_of_fold(call, fold_vectors, fold)[:, 0]
    held = np.nan_to_num(table[p.rows])
    at = p.on_rows(fold)
    net = held[:, 0] - (held[:, 1:] * coefficients[at]).sum(axis=1)
    return quality_of(t, net, grouping(p), None)
