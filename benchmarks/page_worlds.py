"""Worlds whose policy is known exactly, for page_coverage.py: what the best tilt of a judge gains at a KL."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import ndtr, ndtri
from scipy.stats import t as student

import clinometer as cm

__all__ = ["KINDS", "WORLDS", "World", "draw", "truth"]

Floats = NDArray[np.float64]
GRID = 1201  # points of the judge's and of the value's own noise, for the truth


def gauss(z: Floats, u: Floats) -> tuple[Floats, Floats]:
    """A linear value of a normal score: exact in closed form too, corr sd sqrt(2 KL)."""
    return z, 0.8 * z + 0.6 * ndtri(u)


def scale(z: Floats, u: Floats) -> tuple[Floats, Floats]:
    """A judge on a scale from 1 to 5."""
    return np.clip(np.round(3 + z), 1, 5), 0.8 * z + 0.6 * ndtri(u)


def rare(z: Floats, u: Floats) -> tuple[Floats, Floats]:
    """A value of 0 and 1 that is 1 in 2 % of responses."""
    return z, (0.6 * z + 0.8 * ndtri(u) > -ndtri(0.02)) * 1.0


def lognormal(z: Floats, u: Floats) -> tuple[Floats, Floats]:
    """A skewed value."""
    return z, np.exp(0.6 * z + 0.8 * ndtri(u))


def lowered(z: Floats, u: Floats) -> tuple[Floats, Floats]:
    """A skewed value that the judge lowers."""
    return z, np.exp(0.8 * ndtri(u) - 0.6 * z)


def t3(z: Floats, u: Floats) -> tuple[Floats, Floats]:
    """A value with the tails of Student's t at three degrees of freedom."""
    return z, 0.5 * z + student.ppf(u, 3)


def laplace(z: Floats, u: Floats) -> tuple[Floats, Floats]:
    """A judge whose scores have tails like exp(-|t|), of unit spread."""
    t = np.sign(z) * -np.log(2 * ndtr(-np.abs(z))) / np.sqrt(2)
    return t, 0.8 * t + 0.6 * ndtri(u)


def severity(z: Floats, u: Floats) -> tuple[Floats, Floats]:
    """A value that is 0 in 80 % of responses and skewed in the others."""
    return z, np.where(u > 0.8, np.exp(ndtri(np.maximum((u - 0.8) / 0.2, 1e-12)) + 0.5 * z), 0.0)


def null(z: Floats, u: Floats) -> tuple[Floats, Floats]:
    """A judge that knows nothing of the value."""
    return z, ndtri(u)


def null_skewed(z: Floats, u: Floats) -> tuple[Floats, Floats]:
    """A judge that knows nothing of a skewed value."""
    return z, np.exp(ndtri(u))


def null_rare(z: Floats, u: Floats) -> tuple[Floats, Floats]:
    """A judge of 0 and 1 that knows nothing of a harm in 3 % of responses, which is counted as -1."""
    return (z > 1.28) * 1.0, -((u < 0.03) * 1.0)


KINDS: dict[str, Callable[[Floats, Floats], tuple[Floats, Floats]]] = {
    f.__name__: f for f in (gauss, scale, rare, lognormal, lowered, t3, laplace, severity, null, null_skewed, null_rare)
}


@dataclass(frozen=True)
class World:
    """G prompts of n responses, K judges of which the first knows the value, clusters that share an effect."""

    kind: str
    responses: int
    prompts: int
    judges: int = 1
    clusters: int = 0

    @property
    def name(self) -> str:
        extra = f", {self.judges} judges" if self.judges > 1 else f", {self.clusters} clusters" if self.clusters else ""
        return f"{self.kind}, {self.prompts} x {self.responses}{extra}"


WORLDS = [
    *(World("gauss", n, g) for n in (4, 8, 16, 64) for g in (5, 12, 50, 400)),
    *(
        World(kind, n, g)
        for kind in ("scale", "rare", "lognormal", "t3", "laplace")
        for n, g in ((8, 12), (8, 100), (16, 400), (64, 50))
    ),
    World("gauss", 8, 120, clusters=10), World("gauss", 8, 400, clusters=40),
    *(
        World("null", n, g, k)
        for n, g, k in ((8, 5, 1), (8, 12, 1), (8, 12, 30), (8, 100, 10), (8, 50, 100), (16, 400, 10))
    ),
    *(World(kind, 8, g) for kind in ("lowered", "null_skewed") for g in (12, 100)),
    *(World(kind, 8, g) for kind in ("severity", "null_rare") for g in (60, 200)),
]  # fmt: skip


def draw(world: World, seed: int) -> cm.Dump:
    """Columns judge/0 .. and value of one dump."""
    rng = np.random.default_rng([seed, WORLDS.index(world)])
    shape = world.prompts * world.responses
    z, u = rng.normal(size=(world.judges, shape)), rng.random(shape)
    t, f = KINDS[world.kind](z[0], u)
    ids = np.repeat(np.arange(world.prompts), world.responses)
    if world.clusters:
        tilted = rng.normal(size=world.clusters)[np.arange(world.prompts) * world.clusters // world.prompts]
        f = f + 0.5 * tilted[ids] * t
    columns = {"judge/0": t, **{f"judge/{k}": z[k] for k in range(1, world.judges)}, "value": f}
    return cm.open_dump(np.zeros((shape, 1), np.float32), prompt_ids=ids, columns=columns, policy="on_policy")


@cache
def truth(kind: str, kl: float) -> tuple[float, float]:
    """Gain and win rate of the policy, on a grid of both noises; nothing is sampled."""
    v = np.linspace(-7.5, 7.5, GRID)
    z, noise = (x.ravel() for x in np.meshgrid(v, v))
    base = np.exp(-(z**2 + noise**2) / 2)
    base /= base.sum()
    t, f = KINDS[kind](z, ndtr(noise))

    def tilted(lam: float) -> Floats:
        w = base * np.exp(lam * (t - t.max()))
        return w / w.sum()

    def reached(lam: float) -> float:
        w = tilted(lam)
        return float(w @ np.log(w / base))

    w = tilted(brentq(lambda lam: reached(lam) - kl, 1e-6, 5.0))
    order = np.argsort(f, kind="stable")
    first = np.flatnonzero(np.append(True, np.diff(f[order]) > 0))
    mass = np.add.reduceat(base[order], first)
    rank = np.repeat(np.cumsum(mass) - mass / 2, np.diff(np.append(first, len(f))))
    return float(w @ f - base @ f), float(w[order] @ rank)
