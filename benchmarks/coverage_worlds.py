"""Worlds of known truth for interval_coverage.py: one truth each, new prompts, rows and labels with every seed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

import clinometer as cm

__all__ = ["WORLDS", "Draw", "World", "draw"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class World:
    """G prompts of n responses in d dimensions; what differs from the plain one is named."""

    prompts: int = 100
    responses: int = 8
    dim: int = 16
    unequal: bool = False
    heavy_tails: bool = False
    clusters: int = 0  # of prompts that share what raises the value
    pairs: int = 0  # hard verdicts that the judge is fitted to, instead of scores


PLAIN = World()
WORLDS = {
    "equal": PLAIN,
    "unequal": replace(PLAIN, unequal=True),
    "heavy tails": replace(PLAIN, heavy_tails=True),
    "N < d": replace(PLAIN, prompts=36, responses=5, dim=200),
    "40 clusters": replace(PLAIN, prompts=200, clusters=40),
    "12 clusters": replace(PLAIN, prompts=120, clusters=12),
    "100 hard pairs": replace(PLAIN, pairs=100),
    "300 hard pairs": replace(PLAIN, pairs=300),
    "1000 hard pairs": replace(PLAIN, pairs=1000),
}
ALIGNMENT, GENERATION, RHO2, JUDGE_NOISE = 0.6, 0.1, 0.5, 1.0


@dataclass(frozen=True)
class Draw:
    """A dump, its pairs and verdicts (None: the judge is fitted to scores), and options of the passes."""

    dump: cm.Dump
    pairs: NDArray[np.int64] | None
    verdict: Floats | None
    options: dict[str, Any]


def draw(name: str, seed: int) -> Draw:
    """Dump `seed` of a world; its directions are those of every other seed, its rows those of no other world."""
    world, seed = WORLDS[name], seed + 1_000_000 * list(WORLDS).index(name)
    dump = cm.simulate(
        world.prompts, world.responses, world.dim, n_constitutions=1, alignment=[ALIGNMENT], rho2=RHO2,
        generation_alignment=GENERATION, unequal=world.unequal, heavy_tails=world.heavy_tails,
        random_state=seed, world=1,
    )  # fmt: skip
    rng = np.random.default_rng([seed, 1])
    ids, columns = np.asarray(dump.prompt_ids), {}
    options: dict[str, Any] = {}
    if world.clusters:
        cluster = np.arange(world.prompts) * world.clusters // world.prompts
        taste = rng.normal(size=(world.clusters, dump.dim))[cluster[ids]]
        columns["s"] = np.asarray(dump.column("s")) + 0.5 * (dump.read(0, dump.n_rows) * taste).sum(axis=1)
        options["clusters"] = cluster
    judge = np.asarray(dump.column("judge/c0"))
    columns["noisy judge"] = judge + JUDGE_NOISE * rng.normal(size=len(ids))
    columns["noisy logprob"] = np.asarray(dump.column("logprob")) + rng.normal(size=len(ids))
    truth = dump.truth
    dump = replace(dump.with_options(columns=dump.columns.merged(columns)), truth=truth)
    if not world.pairs:
        return Draw(dump, None, None, options)
    return Draw(dump, *_verdicts(ids, judge, world.pairs, rng), options)


def _verdicts(
    ids: NDArray[np.int64], judge: Floats, count: int, rng: np.random.Generator
) -> tuple[NDArray[np.int64], Floats]:
    """Pairs of rows of one prompt, and verdicts drawn with twice the judge's score as log-odds."""
    first = rng.integers(0, len(ids), count)
    starts, sizes = np.searchsorted(ids, ids[first]), np.bincount(ids)[ids[first]]
    second = starts + (first - starts + 1 + rng.integers(0, np.maximum(sizes - 1, 1))) % sizes
    prob = 1 / (1 + np.exp(-2 * (judge[first] - judge[second])))
    return np.stack([first, second], axis=1), (rng.random(count) < prob).astype(float)
