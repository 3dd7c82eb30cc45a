"""How much better a judge tracks a value than the generator does, with its error (theory 3.3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from clinometer.common.options import listed
from clinometer.common.resampling import t_bounds, unit_errors, worth
from clinometer.common.results import Axes, Result
from clinometer.engine.weights import Weights
from clinometer.fit.quality import curvature_error, scores_of
from clinometer.inference.intervals import check_level
from clinometer.inference.label_error import LabelError, label_errors, label_status

from .arrays import Floats, as_covariance, as_rows, need_same_features
from .geometry import score_correlation
from .rows import Scored, correlation_influence, correlations, per_prompt_grams, scored


@dataclass(frozen=True, repr=False, eq=False)
class GenerationJudgmentGap(Result):
    """corr(u_C, u*) - corr(u_gen, u*) for K constitutions and J values, (K, J), with intervals from a dump.

    Attributes
    ----------
    gap, judgment : (K, J); generation : (J,), correlations of scores
    cosine_gap : (K, J) the same difference of raw cosines, which a linear map of phi changes
    ci, se : (K, J, 2) and (K, J), NaN without a dump; of the mean over repeated dumps, fits to new labels included
        where all labels behind the fits are known (`labels_known`), by Student's t with `units` - 1 degrees of freedom
    """

    axes: ClassVar[Axes] = {
        "direction value": "gap judgment cosine_gap se units",
        "direction value bound": "ci",
        "value": "generation",
    }

    gap: Floats
    ci: Floats
    judgment: Floats
    generation: Floats
    cosine_gap: Floats
    se: Floats
    units: Floats
    labels_known: bool
    level: float

    def interval(self, level: float) -> Floats:
        """`ci` at another level."""
        return t_bounds(self.gap, self.se, self.units, level)


@listed("within")
def generation_judgment_gap(
    u_star: Any, u_c: Any, u_gen: Any, sigma: Any = None, *, level: float = 0.95, **options: Any
) -> GenerationJudgmentGap:
    """How much better a constitution's direction tracks a value than the generator's own (theory 3.3).

    gap = r(u_C, u*) - r(u_gen, u*) with Sigma-cosines r. Directions fitted on the same rows share their noise: pass
    `DirectionFit`s together with the dump, so that every prompt is scored out of fold. A correlation with a fit that
    is out of fold is that of the noisy fit: lower than the true direction's, and the interval is of its own mean.
    The error is that of the influence of each prompt or cluster, through the labels of the fits too, less the
    second order in the noise of the fits, which influences count twice: with fewer rows than d nearly half of it.

    Parameters
    ----------
    u_star : array (J, d), or what `clinometer.score` takes with a dump
    u_c : (K, d); u_gen : (d,)
    sigma : array (d, d), object with ``.covariance``, None (identity), or a dump
    level : coverage of `ci`

    Returns
    -------
    GenerationJudgmentGap
        NaN for directions without variance. Cost with a dump: three passes, and for each fit three passes and a solve.

    Errors: ValueError where widths differ or numbers are not finite; TypeError for names without a dump.

    >>> generation_judgment_gap([1.0, 0.0], [0.9, 0.436], [0.1, 0.995]).gap.round(3).tolist()
    [[0.8]]
    """
    if hasattr(sigma, "read") and hasattr(sigma, "n_rows"):
        return _gap_on_rows(u_star, u_c, u_gen, sigma, level, options)
    if options:
        raise TypeError(f"{', '.join(options)}: pass options need a dump as sigma")
    need_same_features(u_star=u_star, u_c=u_c, u_gen=u_gen, sigma=sigma)
    star, generator = as_rows("u_star", u_star), as_rows("u_gen", u_gen)
    matrix = as_covariance(sigma, star.shape[1])
    judged, made = score_correlation(u_c, star, matrix), score_correlation(generator, star, matrix)
    raw = score_correlation(u_c, star) - score_correlation(generator, star)
    if generator.shape[0] != 1:
        raise ValueError(f"u_gen holds {generator.shape[0]} rows; wanted one direction (d,)")
    nan = np.full(judged.shape, np.nan)
    return GenerationJudgmentGap(judged - made, np.stack([nan, nan], -1), judged, made[0], raw, nan, nan, False, level)


def _gap_on_rows(
    u_star: Any, u_c: Any, u_gen: Any, dump: Any, level: float, options: dict[str, Any]
) -> GenerationJudgmentGap:
    """The gap of scores on rows with its error."""
    check_level(level)
    parts = [scored(dump, u, None, **options) for u in (u_star, u_c, u_gen)]
    J, K, one = (p.scores.shape[1] for p in parts)
    if one != 1:
        raise ValueError(f"u_gen holds {one} rows; wanted one direction (d,)")
    w = parts[0].weights()
    x = w.centre(np.concatenate([p.scores for p in parts], axis=1))
    known = all(s == "ok" or s.startswith("a score") for p in parts for s in label_status(p.call))
    errors = [label_errors(p.call, None) for p in parts]
    r = correlations(np.tensordot(w.prompt, per_prompt_grams(parts[0], x), 1))
    gap, psi = r[J : J + K, :J] - r[J + K, :J], np.zeros((len(w.prompt), K, J))
    for j in range(J):
        generation, slopes = correlation_influence(w, x[:, J + K], x[:, j])
        from_gen = _through(errors[2], 0, slopes[0]) + _through(errors[0], j, slopes[1])
        for k in range(K):
            judgment, slopes = correlation_influence(w, x[:, J + k], x[:, j])
            from_judge = _through(errors[1], k, slopes[0]) + _through(errors[0], j, slopes[1])
            psi[:, k, j] = judgment - generation + from_judge - from_gen
    held = w.prompt[:, None]
    units, at = w.p.unit_sums(psi.reshape(len(psi), -1)), w.p.unit_sums(held)
    count = worth(units, at).reshape(K, J)
    square = unit_errors(units, at).reshape(K, J) ** 2
    square -= np.minimum(_counted_twice(w, parts, errors), square / 2)  # Efron and Stein: it is half at most
    se = np.where(np.isnan(gap), np.nan, np.sqrt(square))
    vectors = [p.call.directions for p in parts]
    raw = np.full((K, J), np.nan)
    if all(v is not None and len(v) == n for v, n in zip(vectors, (J, K, 1), strict=True)):
        raw = score_correlation(vectors[1], vectors[0]) - score_correlation(vectors[2], vectors[0])
    ci = t_bounds(gap, se, count, level)
    return GenerationJudgmentGap(gap, ci, r[J : J + K, :J], r[J + K, :J], raw, se, count, known, level)


def _counted_twice(w: Weights, parts: list[Scored], errors: list[dict[int, LabelError]]) -> Floats:
    """Variance (K, J) of the gap's second order in the noise of its fits, which influences count twice.

    Of fits on the unit sphere of Sigma the gap is <c - g, s>, c and g of constitution and generator, s of the value:
    linear in each, so that its second order is <noise of c - g, noise of s>. A unit moves both factors, and the sum of
    squared influences holds this variance once by either (Efron and Stein 1981: a jackknife counts the second order
    of a U statistic twice). The variance of half a quadratic form K in noise of covariance M is tr(K M)^2 / 2, M of
    the fold fits as in `curvature_error`. 0 where one side is given, or the sides have different folds.
    """
    (star, judge, generator), J, K = errors, parts[0].scores.shape[1], parts[1].scores.shape[1]
    out = np.zeros((K, J))
    folds = {len(e.fit.fold_vectors) for side in errors for e in side.values()}
    if not star or not (judge or generator) or len(folds) > 1:
        return out
    row = w.row * w.p.on_rows(w.prompt)

    def on_sphere(error: LabelError) -> Floats:
        x = w.centre(scores_of(error.call, error.fit.fold_vectors[:, error.j]))
        size = np.sqrt(row @ (x * x))
        return np.asarray(np.sqrt(row)[:, None] * x / np.where(size > 0, size, 1.0))

    made = on_sphere(generator[0]) if generator else 0.0
    judged = {k: (on_sphere(judge[k]) if k in judge else 0.0) - made for k in range(K)}
    for j, error in star.items():
        s = on_sphere(error)
        for k, difference in judged.items():
            if np.ndim(difference):
                gram = np.asarray(difference).T @ s
                out[k, j] = curvature_error(gram + gram.T) ** 2 / 4
    return out


def _through(errors: dict[int, LabelError], k: int, slopes: Floats) -> Floats | float:
    """What the labels of direction k do, (G,); 0 where it is given."""
    return errors[k].through_scores(slopes[:, None])[:, 0] if k in errors else 0.0
