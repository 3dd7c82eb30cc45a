"""What judges can reach: ceilings to first order, and those of each layer's encoding (theory 4.4 and 4.5)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from clinometer import fit
from clinometer.arrays.coerce import as_numpy
from clinometer.common.options import listed
from clinometer.common.results import Axes, Result
from clinometer.dump import Dump, open_dump
from clinometer.engine import passes
from clinometer.engine.checks import need_within

from .arrays import Floats
from .best_of import expected_max_normal
from .rows import Scored, levels, scored


@dataclass(frozen=True, repr=False, eq=False)
class CeilingByLayer(Result):
    """Encoding quality and the gain it allows, by layer and value (L, J).

    `quality` is the out-of-fold within R^2 with `quality_ci` (L, J, 2), `correlation` the out-of-fold r; `ceiling`
    (L, B, J) = r sd_s sqrt(2 KL) and `best_of` (L, M, J) = e_n r sd_s are Gaussian-world gains of a judge that reads
    the layer that well, `oracle` (B, J) and `best_of_oracle` (M, J) the same for r = 1. `best` (J,) is a layer.

    `layers` (L,), `kl` (B,) and the best-of-n sizes `n` (M,) are those compared; gains are in units of the value.
    """

    axes: ClassVar[Axes] = {
        "layer value": "quality correlation",
        "layer value bound": "quality_ci",
        "layer kl value": "ceiling",
        "layer n value": "best_of",
        "kl value": "oracle",
        "n value": "best_of_oracle",
        "kl": "kl",
        "n": "n",
        "value": "best",
    }

    layers: tuple[Any, ...]
    quality: Floats
    quality_ci: Floats
    correlation: Floats
    ceiling: Floats
    best_of: Floats
    oracle: Floats
    best_of_oracle: Floats
    kl: Floats
    n: NDArray[np.int64]
    best: tuple[Any, ...]
    values: tuple[str, ...]


@listed("within")
def ceiling_by_layer(
    dump: Any, values: Any, layers: Any = None, *, kl: Any = None, n: Any = (4, 16), fits: Any = None, **options: Any
) -> CeilingByLayer:
    """Compare layers by how much of a value their directions hold, and by the gain that allows (theory 4.4).

    The ceiling at matched KL is r sd_s sqrt(2 KL), monotone in rho within the same rows and prompts. r is the quality
    of the fitted direction and lower than rho; if E[s | phi] is not linear a judge may exceed it.

    Parameters
    ----------
    dump : a dump with several layers, or a mapping of name to dump
    values : as in `clinometer.fit_value_direction`
    layers : layers to compare; None takes all that the dump has
    kl, n : KL levels and best-of-n sizes
    fits : keyword arguments of `fit_value_direction`

    Returns
    -------
    CeilingByLayer, gains (L, B, J) in units of the value
        Cost: one fit a layer.

    Errors: ValueError for a dump that names no layers, an empty mapping, or a column that a layer has not.

    >>> import clinometer as cm
    >>> world = cm.simulate(n_prompts=60, n_responses=8, dim=4, random_state=3)
    >>> ceiling_by_layer({"only": world}, "s").ceiling.shape
    (1, 4, 1)
    """
    sources = _sources(dump, layers)
    asked, sizes = levels(kl), np.atleast_1d(as_numpy(n, "n"))
    e = expected_max_normal(sizes)
    found = [fit.fit_value_direction(d, values, **(fits or {}), **options).encoding_quality for d in sources.values()]
    one = next(iter(sources.values()))
    s = scored(one, np.zeros((1, one.dim)), values, **options)
    sd = np.array([_spread(s, j) for j in range(s.values.shape[1])])
    quality, r = (np.stack([getattr(q, name) for q in found]) for name in ("value", "r"))
    line, names = np.sqrt(2.0 * asked)[:, None] * sd, tuple(sources)
    top = np.argmax(np.where(np.isnan(quality), -np.inf, quality), axis=0)
    return CeilingByLayer(
        names, quality, np.stack([q.ci for q in found]), r, r[:, None, :] * line, r[:, None, :] * e[:, None] * sd,
        line, e[:, None] * sd, asked, sizes, tuple(names[i] for i in top), s.call.value_names,
    )  # fmt: skip


def _sources(dump: Any, layers: Any) -> dict[Any, Any]:
    if isinstance(dump, dict):
        if not dump or layers is not None:
            raise ValueError("dump is a mapping; wanted at least one entry and layers=None")
        return {name: d if isinstance(d, Dump) else open_dump(d) for name, d in dump.items()}
    if not isinstance(dump, Dump):
        raise TypeError("dump: wanted a Dump with several layers, or a mapping of name to dump")
    chosen = dump.layers if layers is None else list(layers)
    if not chosen:
        raise ValueError(f"{dump.name} names no layers; wanted layers=, or a mapping of name to dump")
    return {layer: dump.select(layer=layer) for layer in chosen}


def _spread(s: Any, j: int) -> float:
    w = s.weights(j)
    return float(np.sqrt(w.mean(w.total(w.row * w.centre(s.value(j)) ** 2))))


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


@listed("within")
def judge_ceiling(dump: Any, judges: Any, values: Any, *, beta: float = 1.0, **options: Any) -> JudgeCeiling:
    """The most any judge of a set can gain to first order, and how near each comes.

    sup_C Cov(s, g_C)/beta <= sd(s) sup_C sd(g_C)/beta, standard deviations inside prompts (theory 4.5).
    A set closed under scaling has no finite bound: compare `per_kl` there. Equality needs one judge that is perfectly
    correlated inside prompts and also has the largest sd; a perfect correlation alone is not enough.

    Parameters
    ----------
    dump, judges, values, **options : as in `clinometer.cross_covariance`
    beta : strength of the tilt, > 0

    Returns
    -------
    JudgeCeiling, (K, J)
        Cost: two passes over the dump. For gains beyond the first order see `gain_kl_frontier`.

    Errors: ValueError where beta is not above 0 or a column is not in the dump.

    >>> import numpy as np
    >>> t = np.array([[0.0, 0.0], [1.0, 4.0]])
    >>> found = judge_ceiling(t, [[1.0, 0.0], [0.0, 1.0]], t[:, 0], prompt_ids=[0, 0])
    >>> found.gain.ravel().tolist(), found.ceiling.round(9).tolist(), found.attained.tolist()
    ([0.5, 2.0], [2.0], [True])
    """
    if not (np.isfinite(beta) and beta > 0.0):
        raise ValueError(f"beta is {beta!r}; wanted a finite number > 0")
    need_within(options)
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
