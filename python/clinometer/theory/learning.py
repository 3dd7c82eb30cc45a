"""How a judge's quality grows with its pairs, and how a value's ceiling moves with the layer (theory 4)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clinometer import fit
from clinometer.dump import Dump, open_dump
from clinometer.results import Result
from clinometer.theory._arrays import Floats
from clinometer.theory._rows import levels, ratio, rows_at, scored
from clinometer.theory.order import expected_max_normal

__all__ = ["CeilingByLayer", "LearningCurve", "bradley_terry", "ceiling_by_layer", "learning_curve"]


def bradley_terry(difference: Floats, prob: Floats, *, ridge: float = 1e-2) -> Floats:
    """u minimising mean of -p log sig(z) - (1 - p) log sig(-z) + ridge tr(C)/(2 d) |u|^2, z = D u (theory 1, (5)).

    C is the second moment of the differences (P, d). Newton with halving, in the rows' span where P < d, which the
    ridge does not notice.
    """
    D, p = np.asarray(difference, np.float64), np.asarray(prob, np.float64)
    P, d = D.shape
    penalty = ridge * float((D * D).sum()) / max(P * d, 1)
    if penalty == 0.0:
        return np.zeros(d)
    frame = None
    if d > P:
        frame, triangle = np.linalg.qr(D.T)
        D = np.ascontiguousarray(triangle.T)
    u = np.zeros(D.shape[1])

    def loss(at: Floats) -> float:
        z = D @ at
        return float((np.logaddexp(0.0, z) - p * z).mean() + 0.5 * penalty * at @ at)

    now = loss(u)
    for _ in range(100):
        s = 1.0 / (1.0 + np.exp(-np.clip(D @ u, -700.0, 700.0)))
        gradient = D.T @ (s - p) / P + penalty * u
        hessian = (D * (s * (1.0 - s))[:, None]).T @ D / P + penalty * np.eye(len(u))
        step = np.linalg.solve(hessian, gradient)
        size = 1.0
        while (new := loss(u - size * step)) > now and size > 1e-10:
            size *= 0.5
        u, done = u - size * step, float(gradient @ step) <= 1e-14 * max(now, 1e-300)
        now = min(now, new)
        if done:
            break
    return u if frame is None else np.asarray(frame @ u)


@dataclass(frozen=True, repr=False, eq=False)
class LearningCurve(Result):
    """Out-of-fold within correlation of a fitted judge with each value; axes are size, repeat, value.

    `n_pairs` (S,), `correlation` (S, R, J), its `mean` and `sd` over repeats (S, J), `n_prompts` (S, R) prompts that
    gave the pairs, `n_held_out` (R,) prompts that were scored.
    """

    n_pairs: NDArray[np.int64]
    correlation: Floats
    mean: Floats
    sd: Floats
    n_prompts: NDArray[np.int64]
    n_held_out: NDArray[np.int64]
    values: tuple[str, ...]


def learning_curve(
    dump: Any, pairs: ArrayLike, prob: ArrayLike, values: Any, *, sizes: Any = None, repeats: int = 8,
    held_out: float = 0.25, ridge: float = 1e-2, random_state: int = 0, **options: Any,
) -> LearningCurve:  # fmt: skip
    """Quality of the direction fitted on m pairs, against m (theory, Details: learning curve).

    In every repeat a random share of the prompts is held out for scoring; the others give their pairs prompt by
    prompt in a random order, so that larger sizes contain smaller ones. Spread over repeats is of prompts and pairs.

    Parameters
    ----------
    pairs : array (P, 2) of row numbers, both of one prompt; the first is preferred with probability `prob`
    prob : array (P,) in [0, 1]
    values : what the correlation is with
    sizes : numbers of pairs; None doubles from 1/16 of what every repeat has
    repeats, held_out, random_state : number of splits, share of prompts scored, seed
    ridge : penalty in units of the mean squared entry of the differences

    Returns
    -------
    LearningCurve
        Cost: S x R small fits and one pass over the dump.

    Examples
    --------
    >>> import clinometer as cm, numpy as np
    >>> world = cm.simulate(n_prompts=80, n_responses=8, dim=4, random_state=2)
    >>> pairs = np.arange(640).reshape(-1, 2)
    >>> margin = world.column("s")[pairs[:, 0]] - world.column("s")[pairs[:, 1]]
    >>> curve = learning_curve(world, pairs, (margin > 0) * 1.0, "s", sizes=[8, 200], repeats=4)
    >>> bool(curve.mean[1, 0] > curve.mean[0, 0])
    True
    """
    dump = dump if isinstance(dump, Dump) else open_dump(dump, prompt_ids=options.get("prompt_ids"))
    if not 0.0 < held_out < 1.0:
        raise ValueError(f"held_out is {held_out!r}; wanted a share in (0, 1)")
    if repeats < 1:
        raise ValueError(f"repeats is {repeats!r}; wanted at least 1")
    anchor = scored(dump, np.zeros((1, dump.dim)), values, **options)
    first, p, prompt = _pairs(dump, anchor.population, pairs, prob)
    G = anchor.population.n_prompts
    rng = np.random.default_rng(random_state)
    splits = [rng.permutation(G) for _ in range(repeats)]
    cut = max(1, round(held_out * G))
    order = [_prompt_by_prompt(prompt, split[cut:]) for split in splits]
    steps = _steps(sizes, min(len(o) for o in order))
    difference = rows_at(dump, first[:, 0]) - rows_at(dump, first[:, 1])
    fits = [[bradley_terry(difference[o[:m]], p[o[:m]], ridge=ridge) for o in order] for m in steps]
    u = np.array(fits).reshape(-1, dump.dim)
    s = scored(dump, u, values, **options)
    out = np.empty((len(steps), repeats, s.values.shape[1]))
    used = np.array([[len(np.unique(prompt[o[:m]])) for o in order] for m in steps])
    for r, split in enumerate(splits):
        out[:, r] = _held_out_correlations(s, split[:cut], np.arange(len(steps)) * repeats + r)
    sd = out.std(axis=1, ddof=1) if repeats > 1 else np.full(out[:, 0].shape, np.nan)
    return LearningCurve(steps, out, out.mean(axis=1), sd, used, np.full(repeats, cut), s.call.value_names)


def _pairs(dump: Any, p: Any, pairs: ArrayLike, prob: ArrayLike) -> tuple[NDArray[np.int64], Floats, NDArray[np.int64]]:
    """Pairs (P, 2), their soft labels and the canonical prompt of each; pairs of dropped prompts go."""
    rows, label = np.asarray(pairs), np.asarray(prob, np.float64)
    if rows.ndim != 2 or rows.shape[1] != 2 or rows.dtype.kind not in "iu":
        raise ValueError(f"pairs has shape {rows.shape} and dtype {rows.dtype}; wanted whole numbers (P, 2)")
    if label.shape != (len(rows),) or not ((label >= 0.0) & (label <= 1.0)).all():
        raise ValueError(f"prob has shape {label.shape}; wanted {len(rows)} numbers in [0, 1]")
    if len(rows) == 0 or rows.min() < 0 or rows.max() >= dump.n_rows:
        raise ValueError(f"pairs names rows outside 0 .. {dump.n_rows - 1}, or none at all")
    of_row = np.full(dump.n_rows, -1)
    of_row[p.rows] = np.repeat(np.arange(p.n_prompts), p.sizes)
    prompt = of_row[rows]
    apart = np.flatnonzero(prompt[:, 0] != prompt[:, 1])
    if apart.size:
        raise ValueError(f"pairs[{apart[0]}] joins rows of two prompts; wanted both of one")
    alive = prompt[:, 0] >= 0
    return rows[alive].astype(np.int64), label[alive], prompt[alive, 0]


def _prompt_by_prompt(prompt: NDArray[np.int64], prompts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Pairs of these prompts, prompts in the order given."""
    place = np.full(int(max(prompt.max(), prompts.max())) + 1, -1)
    place[prompts] = np.arange(len(prompts))
    order = np.argsort(place[prompt], kind="stable")
    return order[place[prompt][order] >= 0]


def _steps(sizes: Any, available: int) -> NDArray[np.int64]:
    if sizes is None:
        sizes = np.unique(np.maximum(1, available // 2 ** np.arange(4, -1, -1)))
    steps = np.atleast_1d(np.asarray(sizes))
    if steps.dtype.kind not in "iu" or steps.size == 0 or not ((steps >= 1) & (steps <= available)).all():
        raise ValueError(f"sizes is {sizes!r}; wanted whole numbers from 1 to {available}, the pairs of every repeat")
    return steps.astype(np.int64)


def _held_out_correlations(s: Any, prompts: NDArray[np.int64], columns: NDArray[np.int64]) -> Floats:
    """Within correlations (len(columns), J) on these prompts."""
    out = np.empty((len(columns), s.values.shape[1]))
    for j in range(out.shape[1]):
        w = s.weights(j)
        omega = np.zeros(w.p.n_prompts)
        omega[prompts] = w.prompt[prompts]
        f, t = w.centre(s.value(j)), w.centre(s.scores[:, columns])
        both = omega @ w.total((w.row * f)[:, None] * t)
        out[:, j] = ratio(both, np.sqrt((omega @ w.total(w.row * f * f)) * (omega @ w.total(w.row[:, None] * t * t))))
    return out


@dataclass(frozen=True, repr=False, eq=False)
class CeilingByLayer(Result):
    """Encoding quality and the gain it allows, by layer and value (L, J).

    `quality` is the out-of-fold within R^2 with `quality_ci` (L, J, 2), `correlation` the out-of-fold r; `ceiling`
    (L, B, J) = r sd_s sqrt(2 KL) and `best_of` (L, M, J) = e_n r sd_s are Gaussian-world gains of a judge that reads
    the layer that well, `oracle` (B, J) and `best_of_oracle` (M, J) the same for r = 1. `best` (J,) is a layer.
    """

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


def ceiling_by_layer(
    dump: Any, values: Any, layers: Any = None, *, kl: Any = None, n: Any = (4, 16), fits: Any = None, **options: Any
) -> CeilingByLayer:
    """Compare layers by how much of a value their directions hold, and by the gain that allows (theory 4, Cor 7).

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
    CeilingByLayer
        Cost: one fit a layer.

    Examples
    --------
    >>> import clinometer as cm
    >>> world = cm.simulate(n_prompts=60, n_responses=8, dim=4, random_state=3)
    >>> ceiling_by_layer({"only": world}, "s").ceiling.shape
    (1, 4, 1)
    """
    sources = _sources(dump, layers)
    asked, sizes = levels(kl), np.atleast_1d(np.asarray(n))
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
