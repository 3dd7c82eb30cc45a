"""What judges can reach: first-order ceilings, the gap to the generator, and what a second judge adds (theory 3, 4)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clinometer import passes
from clinometer.results import Result
from clinometer.theory._arrays import Floats, as_covariance, as_rows
from clinometer.theory._rows import Scored, ratio, scored
from clinometer.theory.geometry import score_correlation

__all__ = [
    "Complementarity",
    "GenerationJudgmentGap",
    "JudgeCeiling",
    "complementarity",
    "generation_judgment_gap",
    "judge_ceiling",
]

DRAWS = 400


@dataclass(frozen=True, repr=False, eq=False)
class JudgeCeiling(Result):
    """First-order gains of a promptable set against their Cauchy-Schwarz bound; axes are direction, value.

    `gain` = Cov(s, g)/beta with `gain_se`, `bound` = sd_s sd_g / beta and `correlation` (K, J); `best` and
    `promptability` (J,) the judge of largest correlation and that correlation, `ceiling` (J,) = sup of the bounds.
    `attained` (J,): the judge of largest correlation is also the one of largest sd, and its correlation is 1.
    `per_kl` (K, J) = sd_s r, the gain per sqrt(2 KL), which no scaling of a judge changes.
    """

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


@dataclass(frozen=True, repr=False, eq=False)
class Complementarity(Result):
    """Within multiple correlation of each value on two judges, less the larger single one; arrays are (J,).

    `together` is the multiple correlation, `first` and `second` the single ones, `gain` = together - max(|first|,
    |second|) >= 0 with `ci` (J, 2); `weights` (J, 2) the regression weights in score units, `between` the judges' own
    correlation (J,).
    """

    gain: Floats
    ci: Floats
    together: Floats
    first: Floats
    second: Floats
    between: Floats
    weights: Floats
    values: tuple[str, ...]
    n_prompts: int


def complementarity(
    dump: Any, judge_a: Any, judge_b: Any, value: Any, *, draws: int = DRAWS, random_state: int = 0, **options: Any
) -> Complementarity:
    """What a second judge adds to the best single one (theory, Details: complementarity).

    R^2 = c' V^-1 c / Var(s) with V the judges' within-prompt covariance and c their covariances with the value. Never
    negative on the rows it is computed on; two useless judges show about 1/sqrt(N).

    Parameters
    ----------
    judge_a, judge_b : one direction, column or score each
    value : one or more values
    draws, random_state : bootstrap over prompts for the interval

    Returns
    -------
    Complementarity
        Cost: two passes over the dump.

    Examples
    --------
    >>> import numpy as np
    >>> t = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])
    >>> found = complementarity(t, [[1.0, 0.0]], [[0.0, 1.0]], t.sum(axis=1), prompt_ids=[0, 0, 0, 0])
    >>> round(float(found.together[0]), 6), round(float(found.gain[0]), 4)
    (1.0, 0.2929)
    """
    parts = [scored(dump, judge, value, **options) for judge in (judge_a, judge_b)]
    for name, part in zip(("judge_a", "judge_b"), parts, strict=True):
        if part.scores.shape[1] != 1:
            raise ValueError(f"{name} holds {part.scores.shape[1]} judges; wanted one")
    s, J = parts[0], parts[0].values.shape[1]
    out = np.empty((J, 5))
    ci, weights = np.empty((J, 2)), np.empty((J, 2))
    for j in range(J):
        w = s.weights(j)
        grams = per_prompt_grams(s, np.column_stack([parts[0].scores, parts[1].scores, s.value(j)]), j)
        out[j], weights[j] = _together(np.tensordot(w.prompt, grams, 1))
        boot = [
            _together(np.tensordot(x, grams, 1))[0][0] for x in resampled(w.prompt, draws, random_state, w.p.cluster)
        ]
        ci[j] = interval(np.array(boot))
    return Complementarity(
        out[:, 0], ci, out[:, 1], out[:, 2], out[:, 3], out[:, 4], weights, s.call.value_names, s.population.n_prompts
    )


def _together(gram: Floats) -> tuple[Floats, Floats]:
    """(gain, multiple correlation, both single ones, between) and the weights, from a 3 x 3 covariance."""
    r = correlations(gram)
    if np.isnan(r[2, 2]):
        return np.full(5, np.nan), np.full(2, np.nan)
    scale = np.sqrt(np.diagonal(gram)[:2])
    inner, cross = np.nan_to_num(r[:2, :2]), np.nan_to_num(r[:2, 2])
    solved = np.linalg.pinv(inner, rcond=1e-10, hermitian=True) @ cross
    together = float(np.sqrt(np.clip(cross @ solved, 0.0, 1.0)))
    single = float(np.abs(cross).max())
    weights = ratio(solved * np.sqrt(gram[2, 2]), scale)
    return np.array([max(0.0, together - single), max(together, single), r[0, 2], r[1, 2], r[0, 1]]), weights


def per_prompt_grams(s: Scored, columns: Floats, j: int | None = None) -> Floats:
    """Covariances (G, M, M) of the columns inside each prompt, ddof 0."""
    w = s.weights(j)
    x = w.centre(columns)
    M = x.shape[1]
    out = np.empty((w.p.n_prompts, M, M))
    for a in range(M):
        out[:, a, :] = w.total((w.row * x[:, a])[:, None] * x)
    return out


def correlations(gram: Floats) -> Floats:
    """Correlations of a covariance; NaN where a variance is 0."""
    sd = np.sqrt(np.maximum(np.diagonal(gram), 0.0))
    return np.clip(ratio(gram, np.outer(sd, sd)), -1.0, 1.0)


def resampled(omega: Floats, draws: int, random_state: int, cluster: NDArray[np.int64] | None = None) -> Floats:
    """Prompt weights (draws, G) of bootstrap samples of whole clusters."""
    labels = np.arange(len(omega)) if cluster is None else cluster
    C = int(labels.max()) + 1
    if C < 2:
        return np.full((1, len(omega)), np.nan)
    counts = np.random.default_rng(random_state).multinomial(C, np.full(C, 1.0 / C), size=draws)
    weight = omega * counts[:, labels]
    total = weight.sum(axis=1, keepdims=True)
    return np.asarray(weight / np.where(total > 0.0, total, np.nan))


def interval(boot: Floats) -> Floats:
    """95 % percentile interval over the first axis, put last; NaN if no draw is finite."""
    if np.isnan(boot).all():
        return np.full((*boot.shape[1:], 2), np.nan)
    return np.moveaxis(np.asarray(np.nanquantile(boot, [0.025, 0.975], axis=0)), 0, -1)
