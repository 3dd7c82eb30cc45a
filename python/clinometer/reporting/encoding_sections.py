"""Sections that need directions fitted to the values: encoding, cone, layers, spectrum, simpler measures."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clinometer.arrays.carriers import Carried
from clinometer.common.notices import listening
from clinometer.common.threads import heard, images
from clinometer.dump import Dump
from clinometer.dump.directions import Directions
from clinometer.engine.passes import moments, tilt
from clinometer.engine.population import Population
from clinometer.fit import DirectionFit, EncodingQuality, fit_preference_direction, fit_value_direction
from clinometer.fit.curvature import DenseCurvature
from clinometer.fit.quality import out_of_fold, scores_of
from clinometer.fit.value import Fitting, fitted_with
from clinometer.inference.simpler import Baselines, baselines_of
from clinometer.lp.pareto_cone import ConeResult, pareto_cone
from clinometer.theory import effective_rank
from clinometer.theory.spectra import randomised_spectrum, subspace

from .foundation import Scene

Floats = NDArray[np.float64]
FOLDS = 5
EXACT_DIM, LEADING = 512, 16  # dimensions up to which a spectrum is taken whole; eigenvalues shown


def fitted(s: Scene) -> Fitting:
    """One fit of the values asked for and of the judges that are columns, out of fold; they share their matrices.

    Its reads also give the scores of the full fits, and of the values' mean differences where these are wanted.
    """
    if s.call.population.n_prompts < FOLDS:
        raise ValueError(f"at least {FOLDS} prompts are wanted, there are {s.call.population.n_prompts}")
    bare = np.isnan(np.asarray(s.call.values)[s.call.population.rows, : s.n_requested]).all(axis=0)
    if bare.any():
        raise ValueError(f"{s.values[int(np.argmax(bare))]} has no label in any row that counts")
    table = np.full((s.dump.n_rows, len(_columns(s))), np.nan)
    table[s.call.population.rows] = s.kept[:, _columns(s)]
    labels = np.concatenate([np.asarray(s.call.values)[:, : s.n_requested], table], axis=1)
    beside = np.zeros((FOLDS, 0, s.dump.dim)) if s.differences is None else s.differences
    return fitted_with(s.dump, Carried(labels, labels=s.dump.labels), beside, folds=FOLDS, **s.quiet)


def _sigma(s: Scene, fitting: Fitting | None) -> Floats | None:
    """Sigma (d, d) of the rows, as in the fit of a value that all of them carry; None where there is no such."""
    if fitting is None:
        return None
    labels = fitting.fit._training["labels"][s.call.population.rows]
    complete = np.flatnonzero(~np.isnan(labels).any(axis=0)).tolist()
    whole = [fitting.curvature[j] for j in complete if j in fitting.curvature]
    return next((c.sigma for c in whole if isinstance(c, DenseCurvature)), None)


def _columns(s: Scene) -> list[int]:
    return [k for k, status in enumerate(s.call.fit_status) if status == "score"]


def quality(s: Scene, fit: DirectionFit) -> EncodingQuality:
    """Of the values asked for."""
    q = fit.encoding_quality
    return EncodingQuality(*(getattr(q, name)[: s.n_requested] for name in (f.name for f in fields(EncodingQuality))))


def linear_share(s: Scene, fit: DirectionFit | None) -> Floats:
    """Share of each judge's variance that is linear in phi, out of fold; 1 for directions, NaN where unknown."""
    out = np.ones(len(s.call.names))
    for i, k in enumerate(_columns(s)):
        out[k] = np.nan if fit is None else fit.encoding_quality.value[s.n_requested + i]
    for k, own in enumerate(s.call.fitted):
        if own is not None:
            out[k] = own.fit.linear_share[own.index]
    return out


def label_cone(s: Scene) -> ConeResult:
    """The cone of scores of any kind that improve every value, from the labels themselves."""
    p, table = _complete(s)
    return _cone(np.where((p.row_weight() > 0)[:, None], np.nan_to_num(table[p.rows]), 0.0), p)[0]


def _complete(s: Scene) -> tuple[Population, Floats]:
    """The rows that carry every value asked for, and those values."""
    table = np.asarray(s.call.values)[:, : s.n_requested]
    return s.call.population.labelled(np.where(np.isnan(table).any(axis=1), np.nan, 0.0)), table


def value_cone(s: Scene, scores: Floats, vectors: Floats) -> ConeResult:
    """The cone of directions in phi that raise every fitted value, whose scores are (N, J)."""
    cone, lengths, frame = _cone(scores, s.call.population)
    if not cone.feasible:
        return cone
    mixed = cone.weights / lengths
    return replace(cone, direction=mixed @ vectors / np.linalg.norm(mixed @ frame))


def _cone(z: Floats, p: Population) -> tuple[ConeResult, Floats, Floats]:
    """Cone of columns z (N, k) under their within covariance, by QR; lengths (k,) and rows (k, k) of what it saw."""
    weight = p.row_weight()
    z = z - p.on_rows(z[p.offsets[:-1]])
    z = z - p.on_rows(p.sums(weight[:, None] * z))
    root = np.sqrt(weight * p.on_rows(p.prompt_weight()))
    triangle = np.asarray(np.linalg.qr(root[:, None] * z, mode="r"))
    rows = np.ascontiguousarray(triangle.T)
    lengths = np.linalg.norm(rows, axis=1)
    return replace(pareto_cone(rows), direction=None), lengths, rows


def layers(s: Scene, fit: DirectionFit, cone: ConeResult | None, pairs: Any) -> tuple[dict[str, Any], ...]:
    """A small multiverse over the sites of the dump: how each encodes the values, and gains that depend on it."""
    own = s.dump.tensor
    sites = [c for c in s.dump.candidates.values() if c.n_rows == s.dump.n_rows and c.dim]
    if own is not None and own.startswith("phi"):
        sites = [c for c in sites if c.name.startswith("phi")]
    out = []
    for site in sites:
        dump, at, found = s.dump, fit, cone
        if site.name != own:
            dump = s.dump.select(tensor=site.name).with_options(columns=s.dump.columns)
            quiet = replace(s.call, dump=dump, values=None, progress=None)
            labels = np.asarray(s.call.values)[:, : s.n_requested]
            at = fit_value_direction(dump, labels, method="ridge", folds=FOLDS, pooled=False, **s.quiet)
            flat = not (s.sd[: s.n_requested] > 0).all() or not at.vectors.any(axis=1).all()
            found = None if flat else value_cone(s, scores_of(quiet, at.vectors), at.vectors)
        q = at.encoding_quality
        names, gain = _gains_of_site(s, dump, site.layer, pairs)
        out.append({
            "site": site.name, "layer": site.layer, "dim": site.dim, "quality": q.value[: s.n_requested],
            "quality_ci": q.ci[: s.n_requested], "margin": np.nan if found is None else found.margin,
            "constitutions": names, "gain": gain,
        })  # fmt: skip
    return tuple(out)


def _gains_of_site(s: Scene, dump: Dump, layer: int | None, pairs: Any) -> tuple[tuple[str, ...], Floats | None]:
    """Gains of the constitutions that are directions of this very layer or are fitted to pairs on it."""
    judges: list[Any] = []
    for judge in s.judges:
        if isinstance(judge, Directions) and layer is not None and judge.dim == dump.dim:
            judges += [judge.for_layer(layer)] if layer in map(judge.layer, range(len(judge))) else []
    names = [name for judge in judges for name in judge.names]
    if dump is s.dump:  # already there
        ks = [k for k, name in enumerate(s.call.names) if name in names]
        ks += [len(s.call.names) - 1] if pairs is not None else []
        return tuple(s.call.names[k] for k in ks), s.tilt.gain[ks] if ks else None
    if pairs is not None:
        judges.append(fit_preference_direction(dump, pairs[0], pairs[1], **s.quiet))
    if not judges:
        return (), None
    found = tilt(dump, judges, values=list(s.values), kl=s.levels, pareto_k=False, **s.quiet)
    return found.directions, found.gain


def spectrum(s: Scene, vectors: Floats | None, fitting: Fitting | None) -> dict[str, Any]:
    """Leading eigenvalues and effective ranks of Sigma, and the share of each value's direction among the leading.

    Of the Sigma that a fit has made, else of passes over the rows.
    """
    d, sigma = s.dump.dim, _sigma(s, fitting)
    values, turn, found = _whole(s, sigma) if d <= EXACT_DIM else _leading(s, sigma)
    leading = min(len(values), d)
    m_used = min(max(1, int(np.ceil(found["participation"] or 0.0))), leading)
    share = np.full(s.n_requested, np.nan)
    if vectors is not None:
        power = (vectors**2).sum(axis=1)
        inside = ((vectors @ turn[:m_used].T) ** 2).sum(axis=1)
        share = np.divide(inside, power, out=share, where=power > 0)
    return {"eigenvalues": values[:LEADING], **found, "m": m_used, "concentration": share, "null": m_used / d}


Spectrum = tuple[Floats, Floats, dict[str, Any]]  # eigenvalues, their vectors as rows, ranks


def _whole(s: Scene, sigma: Floats | None) -> Spectrum:
    """Every eigenvalue."""
    held = np.asarray(moments(s.dump, **s.quiet).covariance) if sigma is None else sigma
    values, turn = heard(lambda: np.linalg.eigh(held))
    values = np.maximum(values[::-1], 0.0)
    rank = effective_rank(values)
    found = {"effective_rank": rank.entropy, "participation": rank.participation, "stable": rank.stable}
    return values, turn[:, ::-1].T, found


def _leading(s: Scene, sigma: Floats | None) -> Spectrum:
    """The leading eigenvalues; the participation ratio is exact where Sigma is there, and else probed."""
    if sigma is None:
        part = randomised_spectrum(s.dump, LEADING, **s.quiet)
        found = {"effective_rank": None, "participation": part.participation, "stable": part.stable}
        return part.eigenvalues, part.eigenvectors, found
    rng = np.random.default_rng(0)
    values, turn, basis, _ = subspace(lambda u: images(sigma, u), len(sigma), 2 * LEADING, 6, rng)
    trace, square, top = float(np.trace(sigma)), float(np.einsum("ij,ij->", sigma, sigma)), float(values[0])
    found = {
        "effective_rank": None, "participation": trace**2 / square if square > 0 else 0.0,
        "stable": trace / top if top > 0 else 0.0,
    }  # fmt: skip
    return values[:LEADING], turn[:LEADING] @ basis, found


def baselines(s: Scene, fitting: Fitting | None) -> Baselines:
    """`clinometer.inference.baselines` with the scores and the fit that are there already."""
    assert s.differences is not None
    call, p = replace(s.call, progress=None), s.call.population
    with listening():
        if fitting is None:
            along = out_of_fold(replace(call, values=None), s.differences, p.folds(FOLDS))
            return baselines_of(call, s.kept, s.origins, None, along)
        ridge = fitting.fit.vectors[: s.n_requested]
        return baselines_of(call, s.kept, s.origins, ridge, fitting.beside)
