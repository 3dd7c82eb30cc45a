"""What judges can reach: first-order ceilings, and the gap to the generator (theory 3, 4)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from clinometer import passes
from clinometer.results import Axes, Result
from clinometer.theory._arrays import Floats, as_covariance, as_rows
from clinometer.theory._bootstrap import correlations, interval, per_prompt_grams, resampled
from clinometer.theory._rows import Scored, scored
from clinometer.theory.geometry import score_correlation

__all__ = ["GenerationJudgmentGap", "JudgeCeiling", "generation_judgment_gap", "judge_ceiling"]

DRAWS = 400


@dataclass(frozen=True, repr=False, eq=False)
class JudgeCeiling(Result):
    """First-order gains of a promptable set against their Cauchy-Schwarz bound; axes are direction, value.

    `gain` = Cov(s, g)/beta with `gain_se`, `bound` = sd_s sd_g / beta and `correlation` (K, J); `best` and
    `promptability` (J,) the judge of largest correlation and that correlation, `ceiling` (J,) = sup of the bounds.
    `attained` (J,): the judge of largest correlation is also the one of largest sd, and its correlation is 1.
    `per_kl` (K, J) = sd_s r, the gain per sqrt(2 KL), which no scaling of a judge changes.
    """

    axes: ClassVar[Axes] = {
        "direction value": "gain gain_se bound correlation per_kl",
        "value": "best promptability ceiling attained",
    }

    gain: Floats
    gain_se: Floats
    bound: Floats
    correlation: Floats
    per_kl: Floats
    best: NDArray[np.int64]
    promptability: Floats
    ceiling: Floats
    attained: NDArray[np.bool_]
    beta: float
    directions: tuple[str, ...]
    values: tuple[str, ...]
    n_rows: int
    n_prompts: int
    n_dropped: int


def judge_ceiling(dump: Any, judges: Any, values: Any, *, beta: float = 1.0, **options: Any) -> JudgeCeiling:
    """The most any judge of a set can gain to first order, and how near each comes.

    sup_C Cov(s, g_C)/beta <= sd(s) sup_C sd(g_C)/beta, standard deviations inside prompts (theory 4, Prop 25).
    A set closed under scaling has no finite bound: compare `per_kl` there. Equality needs one judge that is perfectly
    correlated inside prompts and also has the largest sd; a perfect correlation alone is not enough.

    Parameters
    ----------
    dump, judges, values, **options : as in `clinometer.cross_covariance`
    beta : strength of the tilt, > 0

    Returns
    -------
    JudgeCeiling
        Cost: two passes over the dump. For gains beyond the first order see `gain_kl_frontier`.

    Examples
    --------
    >>> import numpy as np
    >>> t = np.array([[0.0, 0.0], [1.0, 4.0]])
    >>> found = judge_ceiling(t, [[1.0, 0.0], [0.0, 1.0]], t[:, 0], prompt_ids=[0, 0])
    >>> found.gain.ravel().tolist(), found.ceiling.round(9).tolist(), found.attained.tolist()
    ([0.5, 2.0], [2.0], [True])
    """
    if not (np.isfinite(beta) and beta > 0.0):
        raise ValueError(f"beta is {beta!r}; wanted a finite number > 0")
    if not options.get("within", True):
        raise ValueError("within is False; wanted True: a policy is renormalised inside every prompt")
    s = scored(dump, judges, values, **options)
    options = {**options, "ddof": 0 if s.population.base == "logprob" else 1}
    c = passes.cross_covariance(dump, judges, values, **options)
    spread_t, spread_s = _spreads(s, ddof=options["ddof"])
    bound = spread_t * spread_s[None, :] / beta
    r = c.correlation
    known = np.where(np.isnan(r), -np.inf, r)
    tied = known >= known.max(axis=0) - 1e-12  # of equally correlated judges the one of largest sd gains most
    best = np.where(np.isnan(r).all(axis=0), -1, np.argmax(np.where(tied, spread_t, -np.inf), axis=0))
    columns = np.arange(r.shape[1])
    top = np.where(best < 0, np.nan, r[best, columns])
    widest = spread_t[best, columns] >= spread_t.max(axis=0) * (1.0 - 1e-9)
    return JudgeCeiling(
        c.value / beta, c.se / beta, bound, r, r * spread_s, best, top, bound.max(axis=0),
        widest & (top >= 1.0 - 1e-9), float(beta), c.directions, c.values, c.n_rows, c.n_prompts, c.n_dropped,
    )  # fmt: skip


def _spreads(s: Scored, ddof: int) -> tuple[Floats, Floats]:
    """Within sds of scores (K, J) and values (J,), on the rows that carry each value."""
    K, J = s.scores.shape[1], s.values.shape[1]
    scores, values = np.empty((K, J)), np.empty(J)
    for j in range(J):
        w = s.weights(j)
        both = np.concatenate([s.value(j)[:, None], s.scores], axis=1)
        squares = w.total(w.row[:, None] * w.centre(both) ** 2)
        sd = np.sqrt(w.unbiased(squares) if ddof else w.mean(squares))
        values[j], scores[:, j] = sd[0], sd[1:]
    return scores, values


@dataclass(frozen=True, repr=False, eq=False)
class GenerationJudgmentGap(Result):
    """corr(u_C, u*) - corr(u_gen, u*) for K constitutions and J values, (K, J), with bootstrap intervals from a dump.

    `judgment` (K, J), `generation` (J,) and `gap` are correlations of scores; `cosine_gap` is the same difference of
    raw cosines, which a linear map of phi changes. `ci` (K, J, 2) is NaN without a dump.
    """

    axes: ClassVar[Axes] = {
        "direction value": "gap judgment cosine_gap",
        "direction value bound": "ci",
        "value": "generation",
    }

    gap: Floats
    ci: Floats
    judgment: Floats
    generation: Floats
    cosine_gap: Floats


def generation_judgment_gap(
    u_star: Any, u_c: Any, u_gen: Any, sigma: Any = None, *, draws: int = DRAWS, random_state: int = 0, **options: Any
) -> GenerationJudgmentGap:
    """How much better a constitution's direction tracks a value than the generator's own (theory 3, Prop 5).

    gap = r(u_C, u*) - r(u_gen, u*) with Sigma-cosines r. Directions fitted on the same rows share their noise: pass
    `DirectionFit`s together with the dump, so that every prompt is scored out of fold.

    Parameters
    ----------
    u_star : array (J, d), or what `clinometer.score` takes with a dump
    u_c : (K, d); u_gen : (d,)
    sigma : array (d, d), object with ``.covariance``, None (identity), or a dump
    draws, random_state : bootstrap over prompts, with a dump

    Returns
    -------
    GenerationJudgmentGap
        NaN for directions without variance. Cost with a dump: one pass, and draws products of G x (K + J + 1)^2.

    Examples
    --------
    >>> generation_judgment_gap([1.0, 0.0], [0.9, 0.436], [0.1, 0.995]).gap.round(3).tolist()
    [[0.8]]
    """
    if hasattr(sigma, "read") and hasattr(sigma, "n_rows"):
        return _gap_on_rows(u_star, u_c, u_gen, sigma, draws, random_state, options)
    if options:
        raise TypeError(f"{', '.join(options)}: pass options need a dump as sigma")
    star, generator = as_rows("u_star", u_star), as_rows("u_gen", u_gen)
    matrix = as_covariance(sigma, star.shape[1])
    judged, made = score_correlation(u_c, star, matrix), score_correlation(generator, star, matrix)
    raw = score_correlation(u_c, star) - score_correlation(generator, star)
    if generator.shape[0] != 1:
        raise ValueError(f"u_gen holds {generator.shape[0]} rows; wanted one direction (d,)")
    return GenerationJudgmentGap(judged - made, np.full((*judged.shape, 2), np.nan), judged, made[0], raw)


def _gap_on_rows(
    u_star: Any, u_c: Any, u_gen: Any, dump: Any, draws: int, random_state: int, options: dict[str, Any]
) -> GenerationJudgmentGap:
    parts = [scored(dump, u, None, **options) for u in (u_star, u_c, u_gen)]
    J, K, one = (p.scores.shape[1] for p in parts)
    if one != 1:
        raise ValueError(f"u_gen holds {one} rows; wanted one direction (d,)")
    w = parts[0].weights()
    t = np.concatenate([p.scores for p in parts], axis=1)
    grams = per_prompt_grams(parts[0], t)

    def gaps(weight: Floats) -> tuple[Floats, Floats]:
        r = correlations(np.tensordot(weight, grams, 1))
        return r[J : J + K, :J], r[J + K, :J]

    judged, made = gaps(w.prompt)
    boot = np.stack([np.subtract(*gaps(x)) for x in resampled(w.prompt, draws, random_state, w.p.cluster)])
    vectors = [p.call.directions for p in parts]
    raw = np.full((K, J), np.nan)
    if all(v is not None and len(v) == n for v, n in zip(vectors, (J, K, 1), strict=True)):
        raw = score_correlation(vectors[1], vectors[0]) - score_correlation(vectors[2], vectors[0])
    return GenerationJudgmentGap(judged - made, interval(boot), judged, made, raw)
