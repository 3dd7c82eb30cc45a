"""How a judge's quality grows with the pairs it is fitted on (theory 10.3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clinometer.common.options import listed
from clinometer.common.results import Axes, Result
from clinometer.dump import Dump, open_dump
from clinometer.engine.intake import pairs_of
from clinometer.fit.scale import column_scale, in_range

from .arrays import Floats
from .rows import ratio, rows_at, scored


@dataclass(frozen=True, repr=False, eq=False)
class LearningCurve(Result):
    """Out-of-fold within correlation of a fitted judge with each value; axes are size, repeat, value.

    `n_pairs` (S,), `correlation` (S, R, J), its `mean` and `sd` over repeats (S, J), `n_prompts` (S, R) prompts that
    gave the pairs, `n_held_out` (R,) prompts that were scored.
    """

    axes: ClassVar[Axes] = {
        "n_pairs value": "mean sd",
        "n_pairs repeat value": "correlation",
        "n_pairs": "n_pairs",
        "n_pairs repeat": "n_prompts",
        "repeat": "n_held_out",
    }

    n_pairs: NDArray[np.int64]
    correlation: Floats
    mean: Floats
    sd: Floats
    n_prompts: NDArray[np.int64]
    n_held_out: NDArray[np.int64]
    values: tuple[str, ...]


@listed("within")
def learning_curve(
    dump: Any, pairs: ArrayLike, prob: ArrayLike, values: Any, *, sizes: Any = None, repeats: int = 8,
    held_out: float = 0.25, ridge: float = 1e-2, random_state: int = 0, **options: Any,
) -> LearningCurve:  # fmt: skip
    """Quality of the direction fitted on m pairs, against m (theory 10.3).

    In every repeat a random share of the prompts is held out for scoring; the others give their pairs prompt by
    prompt in a random order, so that larger sizes contain smaller ones. Spread over repeats is of prompts and pairs.

    Parameters
    ----------
    pairs : array (P, 2) of row numbers, both of one prompt; the first is preferred with probability `prob`
    prob : array (P,) in [0, 1]
    values : what the correlation is with
    sizes : numbers of pairs; None doubles from 1/16 of what every repeat has
    repeats, held_out, random_state : number of splits, share of prompts scored, seed
    ridge : penalty in units of the mean squared entry of the differences, massive columns in their own unit

    Returns
    -------
    LearningCurve
        Cost: S x R small fits and one pass over the dump.

    Errors: ValueError where a pair joins two prompts, prob or held_out is out of range, or a size is more than the
    pairs of every repeat.

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
    if not ridge >= 0.0:
        raise ValueError(f"ridge is {ridge!r}; wanted a number >= 0")
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
    rows, labels = pairs_of(pairs, prob, None)
    label = labels[:, 0] if labels.shape[1] == 1 else labels
    if rows.ndim != 2 or rows.shape[1] != 2 or rows.dtype.kind not in "iu":
        raise ValueError(f"pairs has shape {rows.shape} and dtype {rows.dtype}; wanted whole numbers (P, 2)")
    if label.shape != (len(rows),) or not ((label >= 0.0) & (label <= 1.0)).all():
        raise ValueError(f"prob has shape {label.shape}; wanted {len(rows)} numbers in [0, 1]")
    if len(rows) == 0 or rows.min() < 0 or rows.max() >= dump.n_rows:
        raise ValueError(f"pairs names rows outside 0 .. {dump.n_rows - 1}, or none at all")
    of_row = np.full(dump.n_rows, -1)
    of_row[p.rows] = p.on_rows(np.arange(p.n_prompts))
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


def bradley_terry(difference: Floats, prob: Floats, *, ridge: float = 1e-2) -> Floats:
    """u minimising mean of -p log sig(z) - (1 - p) log sig(-z) + ridge tr(C)/(2 d) |u|^2, z = D u (theory 1.3).

    C is the second moment of the differences (P, d), with massive columns in their own unit as in every fit. Newton
    with halving, in the rows' span where P < d, which the ridge does not notice.
    """
    D, p = np.asarray(difference, np.float64), np.asarray(prob, np.float64)
    P, d = D.shape
    D, exponent = in_range(D.reshape(-1, 1))  # squares of rows in any unit fit float64
    D = D.reshape(P, d)
    scale = column_scale((D * D).mean(axis=0))
    D = D * scale
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
    return np.asarray(np.ldexp(scale * (u if frame is None else frame @ u), -exponent))
