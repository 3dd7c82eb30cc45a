"""Rounds of RLAIF: exact tilts by accumulated scores, their KL, and when to stop (theory 6.4)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clinometer.common.notices import tell
from clinometer.common.options import listed
from clinometer.common.results import Axes, Result
from clinometer.engine.intake import numbers
from clinometer.engine.weights import Weights

from .arrays import Floats
from .rows import Scored, kl_terms, scored, tilts


@dataclass(frozen=True, repr=False, eq=False)
class Iteration(Result):
    """T rounds; axes are round, value.

    `gain` with `gain_se` (T, J) is measured from the first policy, `step` = Cov of value and round score under the
    policy the round starts from, over beta: the gain its first order promises. `kl` (T,) from the first policy,
    `kl_step` (T,) from the policy before; `ess`, `ess_min`, `max_ratio` (T,). `limit` (J,) is the gain of always
    choosing the response of largest accumulated score. `stop` is the first round (1-based) whose KL exceeds
    log(median n)/2, `stop_kl`, beyond which rows cannot tell the policy (None: no round does), and `falls` (J,) the
    first round after which a value turns down by more than two paired errors (0: none).

    `rebase` is as asked for.
    """

    axes: ClassVar[Axes] = {
        "round value": "gain gain_se step",
        "round": "kl kl_step ess ess_min max_ratio",
        "value": "limit falls n_unlabelled",
        "direction": "fit_status",
    }

    gain: Floats
    gain_se: Floats
    step: Floats
    kl: Floats
    kl_step: Floats
    ess: Floats
    ess_min: Floats
    max_ratio: Floats
    limit: Floats
    stop: int | None
    stop_kl: float
    falls: NDArray[np.int64]
    rebase: bool
    directions: tuple[str, ...]
    values: tuple[str, ...]
    n_rows: int
    n_prompts: int
    n_dropped: int
    n_unlabelled: NDArray[np.int64]
    fit_status: tuple[str, ...]

    @property
    def rounds(self) -> int:
        """T."""
        return len(self.kl)

    def __str__(self) -> str:
        lines = [f"{'round':>5}{'KL':>9}{'step KL':>9}{'ESS':>7}" + "".join(f"{v[:18]:>20}" for v in self.values)]
        for i in range(self.rounds):
            gains = "".join(f"{g:>+12.4g} +- {s:<5.2g}" for g, s in zip(self.gain[i], self.gain_se[i], strict=True))
            lines.append(f"{i + 1:>5}{self.kl[i]:>9.3g}{self.kl_step[i]:>9.3g}{self.ess[i]:>7.2g}" + gains)
        if self.stop is not None:
            lines.append(f"stop before round {self.stop}: its KL exceeds {self.stop_kl:.3g}, what these rows can tell")
        return "\n".join(lines)


@listed("within")
def iterate(
    dump: Any, directions: Any, beta: ArrayLike, values: Any, *, rebase: bool = True, rounds: int | None = None,
    **options: Any,
) -> Iteration:  # fmt: skip
    """Repeated RLAIF with one constitution, or with one a round.

    With the reference re-based every round, log pi_T = log pi0 + sum_t <u_t, phi>/beta_t: T rounds are one exact
    tilt by the accumulated score, T/beta for a fixed constitution. There is no fixed point short of the argmax of
    that score: the direction converges, the policy does not (theory 6.4). With the reference kept at pi0 a round
    repeated adds nothing.

    Parameters
    ----------
    dump, values, **options : as in `clinometer.tilt`, with ``within=True``
    directions : one constitution, used in every round, or T of them in order
    beta : number > 0, or one a round (T,)
    rebase : whether a round's reference is the policy of the round before
    rounds : T, for one constitution; default 8

    Returns
    -------
    Iteration
        With a warning where a round goes beyond `stop_kl`. Cost: one pass over the dump, then one of T tilts of the
        scores; memory 8 N (K + T + 6).

    Errors: ValueError where a beta is not above 0, rounds is below 1, or directions, betas and rounds do not
    agree.

    >>> import clinometer as cm, numpy as np
    >>> world = cm.simulate(n_prompts=50, n_responses=8, dim=4)
    >>> three = iterate(world, "judge/c0", 6.0, "s", rounds=3)
    >>> once = cm.tilt(world, "judge/c0", [2.0], "s")
    >>> bool(np.isclose(three.gain[2, 0], once.gain[0, 0, 0]))
    True
    """
    if not isinstance(rebase, (bool, np.bool_)):
        raise TypeError(f"rebase is {rebase!r}, wanted True or False")
    return iterate_of(scored(dump, directions, values, **options), beta, rounds, rebase)


def iterate_of(s: Scored, beta: ArrayLike, rounds: int | None, rebase: bool = True) -> Iteration:
    """`iterate` of scores that are there already."""
    lam = _strengths(s, beta, rounds)
    sizes = s.population.sizes
    stop_kl = float(np.log(np.median(sizes[sizes > 1])) / 2.0) if (sizes > 1).any() else 0.0
    found = _rounds(s, lam, bool(rebase))
    beyond = np.flatnonzero(found["kl"] > stop_kl)
    if beyond.size and s.population.base != "logprob":  # a fixed set of candidates has no draws to run out of
        tell(
            f"iterate: the KL of round {beyond[0] + 1} exceeds {stop_kl:.3g}, half the log of the median number of "
            "responses; from there on these rows cannot tell the policy",
            stacklevel=3,
        )
    return Iteration(
        stop=int(beyond[0]) + 1 if beyond.size else None, stop_kl=stop_kl, rebase=bool(rebase),
        directions=s.call.names, values=s.call.value_names, **found, **s.counts(),
    )  # fmt: skip


FROM_TILT = ("gain", "gain_se", "kl", "ess", "ess_min", "max_ratio")


def _rounds(s: Scored, lam: Floats, rebase: bool) -> dict[str, Any]:
    """Every round, from the log-ratios of its policy to the first one."""
    steps = np.stack([s.scores[:, min(i, s.scores.shape[1] - 1)] * x for i, x in enumerate(lam)], axis=1)
    totals = np.cumsum(steps, axis=1) if rebase else steps
    weights = [s.weights(j) for j in range(s.values.shape[1])]
    whole = s.weights()
    every = whole.log_ratios(totals)
    start = np.zeros((1, len(totals)))
    before = np.append(start, every[:-1], axis=0) if rebase else np.repeat(start, len(lam), axis=0)
    out: dict[str, Any] = {"kl_step": np.array([_between(whole, x, y) for x, y in zip(every, before, strict=True)])}
    out["step"] = np.empty((len(lam), len(weights)))
    out["falls"] = np.zeros(len(weights), np.int64)
    for j, w in enumerate(weights):
        f, own = w.centre(s.value(j)), every if w.p is whole.p else w.log_ratios(totals)
        gains = [w.total(w.row * np.expm1(r) * f) for r in own]
        out["falls"][j] = _falls(w, np.stack([np.zeros(w.p.n_prompts), *gains], axis=1))
        begin = [start[0], *own[:-1]] if rebase else [start[0]] * len(lam)
        out["step"][:, j] = [_promised(w, f, r, t) for r, t in zip(begin, steps.T, strict=True)]
    table = np.append(totals, totals[:, -1:], axis=1)  # the last again for its limit
    tilted = tilts(replace(s.call, progress=None), table, np.append(np.ones(len(lam)), 0.0)[:, None])
    out |= {name: tilted[name][:-1, 0] for name in FROM_TILT}
    out["limit"] = tilted["gain"][-1, 0] if rebase else np.full(len(weights), np.nan)
    return out


def _strengths(s: Scored, beta: ArrayLike, rounds: int | None) -> Floats:
    """1/beta of every round."""
    betas, K = numbers("beta", beta), s.scores.shape[1]
    if betas.ndim > 1 or not (betas > 0.0).all() or betas.size == 0:
        raise ValueError(f"beta is {beta!r}; wanted numbers > 0, one or one a round")
    if rounds is not None and (isinstance(rounds, bool) or not isinstance(rounds, (int, np.integer)) or rounds < 1):
        raise ValueError(f"rounds is {rounds!r}; wanted a whole number >= 1")
    T = K if K > 1 else int(rounds) if rounds is not None else betas.size if betas.ndim else 8
    if rounds is not None and rounds != T:
        raise ValueError(f"rounds is {rounds} but there are {K} directions; wanted one direction or one a round")
    if betas.ndim and betas.size not in (1, T):
        raise ValueError(f"beta has {betas.size} entries for {T} rounds")
    return np.broadcast_to(1.0 / betas, (T,))


def _promised(w: Weights, f: Floats, log_ratio: Floats, t: Floats) -> float:
    """Covariance of a value and the round's score under the policy the round starts from."""
    q = w.tilted(log_ratio)
    t = t - w.p.on_rows(w.total(q * t))
    return float(w.mean(w.total(q * t * f)))


def _falls(w: Weights, gains: Floats) -> int:
    """First round after which the mean of per-prompt gains (G, T + 1) drops, if its first round did not."""
    change = np.diff(gains, axis=1)
    mean, se = w.mean(change), np.nan_to_num(w.se(change), nan=np.inf)
    turned = np.flatnonzero(mean < -2.0 * se)
    return int(turned[0]) if turned.size and mean[0] >= 0.0 else 0


def _between(w: Weights, now: Floats, before: Floats) -> float:
    """KL of two policies given by their log-ratios to the first one."""
    base = w.tilted(before)
    step = np.subtract(now, before, out=np.zeros_like(now), where=base > 0.0)
    return float(w.mean(w.total(base * kl_terms(step))))


def drifting_projection(rounds: ArrayLike, *, step: float, start: float = 0.0, strength: float = 1.0) -> Floats:
    """Gain after T re-based rounds with a constitution that turns by `step` radians a round (Sigma = I).

    strength [sin(T th/2) / sin(th/2)] cos(a0 + (T-1) th/2), strength = |u_C| |u*| / beta (theory 6.5): it peaks at
    T = ceil((pi/2 - a0)/th), falls after that and goes negative. For th = 0 it grows as T cos(a0) without end.

    Parameters
    ----------
    rounds : whole numbers T >= 0, one or (R,)
    step, start : th and the first angle a0 to the value, in radians

    Returns
    -------
    array of the shape of `rounds`

    Cost: O(1) a round.
    Errors: ValueError for a round that is no whole number >= 0.

    >>> import numpy as np
    >>> drifting_projection([1, 2, 3], step=np.pi / 3).round(6).tolist()
    [1.0, 1.5, 1.0]
    """
    T = np.asarray(rounds, np.float64)
    if not ((T >= 0.0) & (np.floor(T) == T)).all():
        raise ValueError(f"rounds is {rounds!r}; wanted whole numbers >= 0")
    half = 0.5 * float(step)
    if abs(np.sin(half)) < 1e-12:  # no turn, or whole turns: every round pulls the same way
        return np.asarray(strength * T * np.cos(start))
    return np.asarray(strength * np.sin(T * half) / np.sin(half) * np.cos(start + (T - 1.0) * half))
