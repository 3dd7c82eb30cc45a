"""What gains mean nothing: those of random directions, and of judges whose scores were shuffled in each prompt."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from clinometer import _core
from clinometer.common.options import listed, used
from clinometer.common.results import Axes, Result
from clinometer.engine import kl as roots
from clinometer.engine.checks import DEFAULT_KL, checked_kl
from clinometer.engine.inputs import Call, prepare, run
from clinometer.engine.passes import in_range, kept_scores
from clinometer.engine.population import Population

from .intervals import check_level

Floats = NDArray[np.float64]
STRIP_BYTES = 1 << 28


@dataclass(frozen=True, repr=False, eq=False)
class NullBand(Result):
    """Gains of `draws` nulls at each `kl` (B,): `gain` (K, M, B, J), `interval` (K, B, J, 2), in units of the value.

    K is the number of `judges` shuffled, or 1 for random directions (`kind` "permuted" or "random").
    """

    axes: ClassVar[Axes] = {
        "judge kl value bound": "interval",
        "judge draw kl value": "gain",
        "kl": "kl",
    }

    kl: Floats
    gain: Floats
    interval: Floats
    kind: str
    judges: tuple[str, ...]
    values: tuple[str, ...]
    level: float

    def p_value(self, gain: Any) -> Floats:
        """Two-sided p of gains (K', B, J) at the same KL, K' = K or, for random directions, any: (K', B, J).

        (1 + number of nulls at least as far from the mean of nulls and gain) / (1 + M), never 0. The gain is in that
        mean, so that under the null all M + 1 are alike.
        """
        a = np.asarray(gain, np.float64)
        M, cells = self.gain.shape[1], self.gain.shape[2:]
        if a.ndim != 3 or a.shape[1:] != cells or (self.kind == "permuted" and len(a) != len(self.gain)):
            raise ValueError(f"gain has shape {a.shape}, wanted ({len(self.gain)}, {cells[0]}, {cells[1]})")
        middle = (self.gain.sum(axis=1, keepdims=True) + a[:, None]) / (M + 1)
        far = np.abs(self.gain - middle) >= np.abs(a[:, None] - middle) * (1 - 1e-12)
        return np.asarray((1 + far.sum(axis=1)) / (1 + M))


@listed("within", "clusters")
def null_band(
    dump: Any, values: Any, *, judges: Any = None, kl: Any = None, draws: int = 200, level: float = 0.95,
    random_state: int = 0, **options: Any,
) -> NullBand:  # fmt: skip
    """Gains at each KL of judges that know nothing of the values (theory 10.4).

    Without judges: directions with independent normal entries in the units of each column's within-prompt sd,
    as every direction at a KL has the same score sd in nats. With judges (columns, scores, directions, fits):
    their own scores shuffled inside each prompt, which keeps their spread, ties and tails and cuts every tie to
    the values. A gain inside the band is what chance gives; with random directions the band also shows how much
    the geometry of phi alone favours a value.

    Parameters
    ----------
    values : as in `tilt`
    judges : as `directions` in `tilt`, or None for random directions
    kl : nats, default 0.1, 0.25, 0.5, 1
    draws : nulls M (for each judge)
    random_state : seed; the same seed gives the same nulls

    Returns
    -------
    NullBand with .gain (K, M, B, J), .interval (K, B, J, 2), .p_value(gain)

    Cost: a pass of N d M multiply-adds for random directions, one for judges; then tilts of N M kept scores.

    Errors: ValueError where a column is not in the dump, draws is below 1, a kl is not above 0, or level is
    outside (0, 1).

    >>> import clinometer as cm
    >>> world = cm.simulate(n_prompts=60, n_responses=8, dim=4, random_state=1)
    >>> band = cm.inference.null_band(world, "s", judges="judge/c0", kl=[0.1], draws=50)
    >>> gain = cm.tilt(world, "judge/c0", values="s", kl=[0.1]).gain
    >>> band.interval.shape, bool(gain[0, 0, 0] > band.interval[0, 0, 0, 1])
    ((1, 1, 1, 2), True)
    """
    check_level(level)
    if isinstance(draws, bool) or not isinstance(draws, (int, np.integer)) or draws < 1:
        raise ValueError(f"draws is {draws!r}, wanted a whole number >= 1")
    levels = checked_kl(DEFAULT_KL if kl is None else kl)
    options = used("null_band", options, within="is of tilts inside prompts", clusters="has no errors to cluster")
    call = prepare(dump, judges, values, **options)
    if call.n_values == 0:
        raise ValueError("values is empty, wanted at least one value")
    if call.population.n_rows == 0:
        raise ValueError(f"{call.dump.name} has no rows to pass over")
    rng = np.random.default_rng(random_state)
    if judges is None:
        gain = _random(call, levels, int(draws), rng)[None]
    else:
        kept = kept_scores(call)
        gain = np.stack([_permuted(call, kept[:, k], levels, int(draws), rng) for k in range(call.n_scores)])
    tail = (1 - level) / 2
    # a further null falls beyond the i-th of M with chance i / (M + 1); NumPy's own rule is too narrow by that
    interval = np.moveaxis(np.quantile(gain, [tail, 1 - tail], axis=1, method="weibull"), 0, -1)
    kind = "random" if judges is None else "permuted"
    return NullBand(levels, gain, interval, kind, call.names, call.value_names, float(level))


def _strips(call: Call, draws: int) -> list[int]:
    step = max(1, STRIP_BYTES // (8 * max(call.population.n_rows, 1)))
    return [min(step, draws - start) for start in range(0, draws, step)]


def _random(call: Call, levels: Floats, draws: int, rng: np.random.Generator) -> Floats:
    """Gains (M, B, J) of random directions."""
    state = _core.Moments(call.dump.dim, 0, 1, 0, False)
    bare = replace(call, values=None, progress=None)
    variances = run(bare, [state])[0].finish()["scatter"][0, : call.dump.dim, 0]
    scale = np.where(variances > 0, 1 / np.sqrt(np.where(variances > 0, variances, 1.0)), 0.0)
    out = []
    for m in _strips(call, draws):
        u = rng.standard_normal((m, call.dump.dim)) * scale
        names = tuple(map(str, range(m)))
        out.append(null_gains(call, kept_scores(replace(call, directions=u, columns=None, names=names)), levels))
    return np.concatenate(out)


def _permuted(call: Call, t: Floats, levels: Floats, draws: int, rng: np.random.Generator) -> Floats:
    """Gains (M, B, J) of one judge's scores, shuffled inside prompts."""
    prompt = np.repeat(np.arange(call.population.n_prompts), call.population.sizes)
    out = []
    for m in _strips(call, draws):
        kept = np.empty((len(t), m))
        for i in range(m):
            kept[:, i] = t[_shuffle(prompt, call.population, rng)]
        out.append(null_gains(call, kept, levels))
    return np.concatenate(out)


def _shuffle(prompt: NDArray[np.int64], p: Population, rng: np.random.Generator) -> NDArray[np.int64]:
    """A random order of the rows of every prompt; rows are sorted by prompt, so only they change places."""
    return np.lexsort((rng.random(p.n_rows), prompt))


def null_gains(call: Call, kept: Floats, levels: Floats, variance: Floats | None = None) -> Floats:
    """Gains (M, B, J) at each KL of many kept scores, whose variances inside prompts (M,) may be known."""
    names = tuple(map(str, range(kept.shape[1])))
    quiet = replace(call, names=names, progress=None)
    kept, exponent = in_range(kept)
    betas = roots.solve(quiet, kept, levels, names, None if exponent.any() else variance)
    state = _core.Tilt(0, kept.shape[1], 0, call.n_values, betas, False, not call.in_double, False)
    return np.asarray(run(quiet, [state], kept=kept)[0].finish()["gain"])
