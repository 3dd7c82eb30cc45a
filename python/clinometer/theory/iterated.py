"""Rounds of RLAIF: exact tilts by accumulated scores, their KL, and when to stop (theory 6, section 9.4)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clinometer import _core
from clinometer.inputs import run
from clinometer.results import Result
from clinometer.theory._arrays import Floats
from clinometer.theory._rows import Scored, kl_terms, scored

__all__ = ["Iteration", "drifting_projection", "iterate"]


@dataclass(frozen=True, repr=False, eq=False)
class Iteration(Result):
    """T rounds; axes are round, value.

    `gain` with `gain_se` (T, J) is measured from the first policy, `step` = Cov of value and round score under the
    policy the round starts from, over beta: the gain its first order promises. `kl` (T,) from the first policy,
    `kl_step` (T,) from the policy before; `ess`, `ess_min`, `max_ratio` (T,). `limit` (J,) is the gain of always
    choosing the response of largest accumulated score. `stop` is the first round (1-based) whose KL exceeds
    log(median n)/2, `stop_kl`, beyond which rows cannot tell the policy (None: no round does), and `falls` (J,) the
    first round after which a value turns down by more than two paired errors (0: none).
    """

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


def iterate(
    dump: Any, directions: Any, beta: ArrayLike, values: Any, *, rebase: bool = True, rounds: int | None = None,
    **options: Any,
) -> Iteration:  # fmt: skip
    """Repeated RLAIF with one constitution, or with one a round.

    With the reference re-based every round, log pi_T = log pi0 + sum_t <u_t, phi>/beta_t: T rounds are one exact
    tilt by the accumulated score, T/beta for a fixed constitution. There is no fixed point short of the argmax of
    that score: the direction converges, the policy does not (theory 6). With the reference kept at pi0 a round
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
        Cost: one pass over the dump, then T tilts of the scores; N T float64.

    Examples
    --------
    >>> import clinometer as cm, numpy as np
    >>> world = cm.simulate(n_prompts=50, n_responses=8, dim=4)
    >>> three = iterate(world, "judge/c0", 6.0, "s", rounds=3)
    >>> once = cm.tilt(world, "judge/c0", [2.0], "s")
    >>> bool(np.isclose(three.gain[2, 0], once.gain[0, 0, 0]))
    True
    """
    if not isinstance(rebase, (bool, np.bool_)):
        raise TypeError(f"rebase is {rebase!r}, wanted True or False")
    s = scored(dump, directions, values, **options)
    T, lam = _strengths(s, beta, rounds)
    each = s.scores[:, [0] * T] if s.scores.shape[1] == 1 else s.scores
    kept = np.ascontiguousarray(np.cumsum(each * lam, axis=1) if rebase else each * lam)
    J = s.values.shape[1]
    one = replace(s.call, progress=None)
    out = run(one, [_core.Tilt(0, T, 0, J, np.ones((T, 1)), s.population.base == "reweight")], kept=kept)[0].finish()
    step, falls = np.empty((T, J)), np.zeros(J, np.int64)
    for j in range(J):
        step[:, j], falls[j] = _steps(s, j, kept, each * lam, rebase)
    sizes = s.population.sizes
    stop_kl = float(np.log(np.median(sizes[sizes > 1])) / 2.0) if (sizes > 1).any() else 0.0
    kl = out["kl"][:, 0]
    beyond = np.flatnonzero(kl > stop_kl)
    last = np.ascontiguousarray(kept[:, -1:])
    limit = run(one, [_core.Tilt(0, 1, 0, J, np.zeros((1, 1)), False)], kept=last)[0].finish()["gain"][0, 0]
    return Iteration(
        gain=out["gain"][:, 0], gain_se=out["gain_se"][:, 0], step=step, kl=kl, kl_step=_between(s, kept, rebase, kl),
        ess=out["ess"][:, 0], ess_min=out["ess_min"][:, 0], max_ratio=out["max_ratio"][:, 0],
        limit=limit if rebase else np.full(J, np.nan), stop=int(beyond[0]) + 1 if beyond.size else None,
        stop_kl=stop_kl, falls=falls, rebase=bool(rebase),
        directions=s.call.names, values=s.call.value_names, **s.counts(),
    )  # fmt: skip


def _strengths(s: Scored, beta: ArrayLike, rounds: int | None) -> tuple[int, Floats]:
    betas, K = np.asarray(beta, np.float64), s.scores.shape[1]
    if betas.ndim > 1 or not (betas > 0.0).all() or betas.size == 0:
        raise ValueError(f"beta is {beta!r}; wanted numbers > 0, one or one a round")
    if rounds is not None and (isinstance(rounds, bool) or not isinstance(rounds, (int, np.integer)) or rounds < 1):
        raise ValueError(f"rounds is {rounds!r}; wanted a whole number >= 1")
    T = K if K > 1 else int(rounds) if rounds is not None else betas.size if betas.ndim else 8
    if rounds is not None and rounds != T:
        raise ValueError(f"rounds is {rounds} but there are {K} directions; wanted one direction or one a round")
    if betas.ndim and betas.size not in (1, T):
        raise ValueError(f"beta has {betas.size} entries for {T} rounds")
    return T, np.broadcast_to(1.0 / betas, (T,))


def _steps(s: Scored, j: int, kept: Floats, each: Floats, rebase: bool) -> tuple[Floats, int]:
    """First-order gain of every round from the policy it starts at, and the first round that turns down."""
    w, T = s.weights(j), kept.shape[1]
    f = w.centre(s.value(j))
    promised, gains = np.empty(T), np.zeros((w.p.n_prompts, T + 1))
    for i in range(T):
        q = w.tilt(kept[:, i - 1], 1.0)[0] if i and rebase else w.row
        t = each[:, i] - w.spread(w.total(q * each[:, i]))
        promised[i] = w.mean(w.total(q * t * f) - w.total(q * t) * w.total(q * f))
        gains[:, i + 1] = w.total(w.change(kept[:, i], 1.0)[0] * f)
    drop = np.diff(gains, axis=1)
    turned = np.flatnonzero(w.mean(drop) < -2.0 * np.nan_to_num(w.se(drop), nan=np.inf))
    turned = turned[turned > 0] if turned.size and w.mean(drop)[0] >= 0.0 else turned[:0]
    return promised, int(turned[0]) if turned.size else 0


def _between(s: Scored, kept: Floats, rebase: bool, kl: Floats) -> Floats:
    """KL(pi_t || pi_(t-1)); with the reference kept it is KL(pi_t || pi0)."""
    if not rebase:
        return kl.copy()
    w, out, before = s.weights(), np.empty(kept.shape[1]), np.zeros(len(kept))
    previous = w.row
    for i in range(kept.shape[1]):
        p, now = w.tilt(kept[:, i], 1.0)
        ratio = np.where(previous > 0.0, now - before, 0.0)
        out[i] = w.mean(w.total(previous * kl_terms(ratio)))
        before, previous = now, p
    return out


def drifting_projection(rounds: ArrayLike, *, step: float, start: float = 0.0, strength: float = 1.0) -> Floats:
    """Gain after T re-based rounds with a constitution that turns by `step` radians a round (Sigma = I).

    strength [sin(T th/2) / sin(th/2)] cos(a0 + (T-1) th/2), strength = |u_C| |u*| / beta (theory 6): it peaks at
    T = ceil((pi/2 - a0)/th), falls after that and goes negative. For th = 0 it grows as T cos(a0) without end.

    Parameters
    ----------
    rounds : whole numbers T >= 0
    step, start : th and the first angle a0 to the value, in radians

    Returns
    -------
    array of the shape of `rounds`

    Examples
    --------
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
