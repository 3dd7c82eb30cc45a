"""Gain against KL, beside the value's own tilt and the Gaussian line, with the shape of every curve (theory 4.2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from clinometer.common.notices import listening
from clinometer.common.options import listed
from clinometer.common.results import Axes, Result
from clinometer.engine import kl as roots
from clinometer.engine.weights import Weights

from .arrays import Floats
from .rows import Scored, kl_terms, levels, ratio, scored, tilts

GRID = 24


@dataclass(frozen=True, repr=False, eq=False)
class GainKLFrontier(Result):
    """Gains at matched KL; axes are direction, KL level, value.

    `gain`, `gain_se`, `efficiency` (gain over the oracle's), `gaussian` (r sd_s sqrt(2 KL), what a Gaussian world
    gives), `regret` = oracle - gain and `regret_se`, paired by prompt, are (K, B, J); `kl` (B,) is what was asked and
    `kl_reached` (K, B) what the rows allow; `oracle`, `oracle_se`, `oracle_kl` are (B, J), the tilt by the value
    itself; `oracle_limit` and `oracle_kl_max` (J,) its end at beta = 0. `curve` (K, L, J) holds the exact gains on an
    even grid of 1/beta, with `curve_kl` (K, L). `shape` (K, J) says what the curve does; `peak_gain`, `peak_kl`,
    `drop`, `drop_se` are (K, J): where it turns and how far it goes back from there.

    `correlation` (K, J) is r, inside prompts; `kl_horizon` (K,) as in `clinometer.tilt` (theory 2.8). Gains are in
    units of the value.
    """

    axes: ClassVar[Axes] = {
        "direction kl value": "gain gain_se efficiency regret regret_se gaussian",
        "direction kl": "betas kl_reached",
        "kl": "kl",
        "direction value": "correlation shape peak_gain peak_kl drop drop_se",
        "kl value": "oracle oracle_se oracle_kl",
        "value": "oracle_limit oracle_kl_max n_unlabelled",
        "direction step value": "curve",
        "direction step": "curve_kl",
        "direction": "kl_horizon fit_status",
    }

    kl: Floats
    kl_reached: Floats
    betas: Floats
    gain: Floats
    gain_se: Floats
    efficiency: Floats
    regret: Floats
    regret_se: Floats
    gaussian: Floats
    correlation: Floats
    oracle: Floats
    oracle_se: Floats
    oracle_kl: Floats
    oracle_limit: Floats
    oracle_kl_max: Floats
    curve: Floats
    curve_kl: Floats
    shape: NDArray[np.str_]
    peak_gain: Floats
    peak_kl: Floats
    drop: Floats
    drop_se: Floats
    kl_horizon: Floats
    directions: tuple[str, ...]
    values: tuple[str, ...]
    n_rows: int
    n_prompts: int
    n_dropped: int
    n_unlabelled: NDArray[np.int64]
    fit_status: tuple[str, ...]

    @property
    def non_monotone(self) -> NDArray[np.bool_]:
        """(K, J), True where a value turns back by more than its error."""
        return np.asarray(np.char.find(self.shape, "then") >= 0)

    def __str__(self) -> str:
        lines = []
        for k, name in enumerate(self.directions):
            for j, value in enumerate(self.values):
                gains = "  ".join(f"{g:+.3g}" for g in self.gain[k, :, j])
                line = f"{name} -> {value}: {gains} at KL {', '.join(f'{x:g}' for x in self.kl)}; {self.shape[k, j]}"
                if self.non_monotone[k, j]:
                    line += f" (turns at KL {self.peak_kl[k, j]:.3g}, then {self.drop[k, j]:+.3g})"
                elif abs(self.drop[k, j]) > self.drop_se[k, j] > 0.0:
                    turn = f"{self.drop[k, j]:+.3g} +- {self.drop_se[k, j]:.2g}"
                    line += f" (may turn at KL {self.peak_kl[k, j]:.3g}: {turn} from there)"
                lines.append(line)
        return "\n".join(lines)


@listed("within")
def gain_kl_frontier(
    dump: Any, directions: Any, values: Any, *, kl: Any = None, z: float = 3.0, adjust: Any = None, **options: Any
) -> GainKLFrontier:
    """Exact gains of judges at matched KL, and of the oracle that tilts by the value itself.

    By the Gibbs variational principle the tilt by s with one global beta gives the largest E s of any policy with
    that mean KL, so oracle - gain >= 0 is the regret on these rows (theory 4.2). Where some carry no label, regret and
    efficiency compare tilts that spend the KL on those that do, while gain stays that of the tilt of all rows. With
    labels from the same rows the oracle also exploits their noise. In a Gaussian world both are lines in sqrt(2 KL):
    r sd_s and sd_s.

    Parameters
    ----------
    dump, directions, values, adjust, **options : as in `clinometer.tilt`, with ``within=True``
    kl : nats, default 0.1, 0.25, 0.5, 1
    z : standard errors that a turn of a curve needs; three, because the turning point is picked from the curve

    Returns
    -------
    GainKLFrontier, gains (K, B, J) in units of the value
        ``.shape`` is "rising", "falling", "rises then falls", "falls then rises", "unsettled" or "flat"; paired
        errors clustered by prompt. Cost: one pass over the dump, then 30 passes over the scores.

    Errors: ValueError where a kl is not above 0, z is below 0, a column is not in the dump, or within is False.

    >>> import clinometer as cm
    >>> world = cm.simulate(n_prompts=200, n_responses=16, dim=4, random_state=1)
    >>> found = gain_kl_frontier(world, "judge/c0", "s", kl=[0.25, 0.5])
    >>> found.shape.tolist(), bool((found.efficiency < 1).all())
    ([['rising']], True)
    """
    if not z >= 0.0:
        raise ValueError(f"z is {z!r}; wanted a number >= 0")
    asked = levels(kl)
    if values is None:
        raise TypeError("values is None; wanted names of columns or an array")
    s = scored(dump, directions, values, adjust=adjust, **options)
    call, (K, J) = s.call, (s.call.n_scores, s.call.n_values)
    betas = roots.solve(call, s.scores, asked, call.names)
    state = tilts(call, s.scores, betas)
    oracle = [_oracle(s, j, asked) for j in range(J)]
    sd = np.sqrt(roots.score_variance(call, s.scores))
    moved = [_curve(s, k, _grid(betas[k], float(sd[k])), z) for k in range(K)]
    correlation, spread = _correlations(s)
    reached = state["kl"]
    line = correlation[:, None, :] * spread * np.sqrt(2.0 * reached)[:, :, None]
    best = np.stack([o[0] for o in oracle], axis=1)
    efficiency = ratio(state["gain"], best[None])
    regret = _regret(s, betas, np.stack([o[5] for o in oracle]), asked, best, efficiency)
    turns: dict[str, Any] = {name: np.stack([m[name] for m in moved]) for name in (*_TURN, "shape", "curve")}
    ends: dict[str, Any] = {
        "oracle": best, "oracle_se": np.stack([o[1] for o in oracle], axis=1),
        "oracle_kl": np.stack([o[2] for o in oracle], axis=1), "oracle_limit": np.array([o[3] for o in oracle]),
        "oracle_kl_max": np.array([o[4] for o in oracle]),
    }  # fmt: skip
    return GainKLFrontier(
        kl=asked, kl_reached=reached, betas=betas, gain=state["gain"], gain_se=state["gain_se"],
        efficiency=efficiency, regret=regret[0], regret_se=regret[1], gaussian=line,
        correlation=correlation,
        curve_kl=np.stack([m["kl"] for m in moved]), kl_horizon=roots.horizon(call, s.scores, sd * sd),
        directions=call.names, values=call.value_names, **ends, **turns, **s.counts(),
    )  # fmt: skip


_TURN = ("peak_gain", "peak_kl", "drop", "drop_se")


def _correlations(s: Scored) -> tuple[Floats, Floats]:
    """Within correlations (K, J) on the rows and the values' sds (J,), ddof 0."""
    K, J = s.scores.shape[1], s.values.shape[1]
    r, spread = np.empty((K, J)), np.empty(J)
    for j in range(J):
        w = s.weights(j)
        f, t = w.centre(s.value(j)), w.centre(s.scores)
        variance = w.mean(w.total(w.row * f * f))
        spread[j] = np.sqrt(variance)
        both = w.mean(w.total((w.row * f)[:, None] * t))
        r[:, j] = ratio(both, spread[j] * np.sqrt(w.mean(w.total(w.row[:, None] * t * t))))
    return r, spread


def _regret(
    s: Scored, betas: Floats, oracle_betas: Floats, asked: Floats, oracle: Floats, efficiency: Floats
) -> tuple[Floats, Floats]:
    """Gain of the value's own tilt (J, B) less that of every judge (K, B), per prompt: means and errors (K, B, J).

    Both spend their KL on the rows that carry the value; where some do not, `efficiency` is of these rows too.
    """
    shape = (*betas.shape, s.values.shape[1])
    mean, se = np.empty(shape), np.empty(shape)
    for j in range(shape[2]):
        w, own = s.weights(j), s.value(j)
        f, partial = w.centre(own), bool(np.isnan(s.values[:, j]).any())
        with np.errstate(divide="ignore"):
            lam, oracle_lam = 1.0 / (_on_labelled(s, j, asked) if partial else betas), 1.0 / oracle_betas[j]
        for b in range(shape[1]):
            best = w.gains(own, oracle_lam[b], f)
            gains = np.stack([w.gains(t, x, f) for t, x in zip(s.scores.T, lam[:, b], strict=True)], axis=1)
            lost = best[:, None] - gains
            mean[:, b, j], se[:, b, j] = w.mean(lost), w.se(lost)
            if partial:
                efficiency[:, b, j] = ratio(w.mean(gains), oracle[b, j])
    return mean, se


def _on_labelled(s: Scored, j: int, asked: Floats) -> Floats:
    """Betas (K, B) at which the judges spend the KL asked on the rows that carry value j."""
    call, _ = s.restricted(j)
    w = s.weights(j)
    with listening("kl: beyond"):
        return roots.solve(call, np.ascontiguousarray(s.scores[w.p.on_rows(w.seen)]), asked, s.call.names)


def _oracle(s: Scored, j: int, asked: Floats) -> tuple[Floats, Floats, Floats, float, float, Floats]:
    """Gain, error and KL of the tilt by value j itself, both ends of its curve, and the betas."""
    call, score = s.restricted(j)
    with listening("kl: beyond"):  # past the rows' reach the oracle is the mean of maxima, which is what is wanted
        betas = roots.solve(call, score, asked, (s.call.value_names[j],))
    every = np.append(betas, [[0.0]], axis=1)
    out = tilts(call, score, every)
    gain, se, kl = out["gain"][0, :, 0], out["gain_se"][0, :, 0], out["kl"][0]
    return gain[:-1], se[:-1], kl[:-1], float(gain[-1]), float(kl[-1]), betas[0]


def _grid(betas: Floats, sd: float) -> Floats:
    """An even grid of 1/beta up to the strongest level; the argmax limit is stood in for by 50 sd of the score."""
    beta = float(betas.min())
    if np.isinf(beta):
        return np.zeros(GRID)
    return np.linspace(0.0, 50.0 / sd if beta == 0.0 else 1.0 / beta, GRID + 1)[1:]


def _curve(s: Scored, k: int, lam: Floats, z: float) -> dict[str, Any]:
    t, whole, J = s.scores[:, k], s.weights(), s.values.shape[1]
    kl = np.array([whole.mean(whole.total(whole.row * kl_terms(whole.log_ratio(t, x)))) for x in lam])
    parts = [_turns(s.weights(j), t, s.value(j), lam, kl, z) for j in range(J)]
    out: dict[str, Any] = {name: np.array([p[name] for p in parts]) for name in (*_TURN, "shape")}
    return {**out, "curve": np.stack([p["curve"] for p in parts], axis=1), "kl": kl}


def _turns(w: Weights, t: Floats, f: Floats, lam: Floats, kl: Floats, z: float) -> dict[str, Any]:
    """Where the gain turns back, by paired differences of per-prompt gains."""
    f = w.centre(f)
    gains = np.stack([np.zeros(w.p.n_prompts), *(w.gains(t, x, f) for x in lam)], axis=1)
    curve, se = w.mean(gains), w.se(gains)
    high, low = int(np.argmax(curve)), int(np.argmin(curve))
    fall, rise = (gains[:, -1] - gains[:, at] for at in (high, low))
    fall_se, rise_se = float(w.se(fall)), float(w.se(rise))
    up, down = curve[high] > z * se[high], curve[low] < -z * se[low]
    falls, rises = w.mean(fall) < -z * fall_se, w.mean(rise) > z * rise_se
    downward = down and not (up and falls)
    at, turn, turn_se = (low, float(w.mean(rise)), rise_se) if downward else (high, float(w.mean(fall)), fall_se)
    if not lam.any() or not np.ptp(curve) > 0.0:
        shape = "flat"
    elif downward:
        shape = "falls then rises" if rises else "falling"
    else:
        shape = "rises then falls" if up and falls else "rising" if up else "unsettled"
    peak_kl = float(np.append(0.0, kl)[at])
    return {
        "curve": curve[1:], "shape": shape, "peak_gain": float(curve[at]), "peak_kl": peak_kl, "drop": turn,
        "drop_se": turn_se,
    }  # fmt: skip
