"""What the theory names and a dump estimates: a correlation ratio, alpha, drift of a judge, scaling of labelers."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np

import clinometer as cm
from clinometer import theory

from .registry import Check, at_least, at_most, claim, near, same
from .worlds import generator, prompts

if find_spec("sklearn") is not None:  # an extra: without it there is nothing to measure

    @claim("T6", "E[s | phi] = x y is nonlinear: linear out-of-fold R^2 of a product")
    def _() -> Check:
        return near(float(_product().linear[0]), 0.0, 0.02)

    @claim("T6", "... and the best judge of phi has eta^2 = 3/4: out-of-fold R^2 of kernel ridge on random features")
    def _() -> Check:
        return near(float(_product().nonlinear[0]), 0.75, 0.03)


def _product() -> theory.NonlinearEncoding:
    """A product of coordinates with topic effects, and noise of a third of its variance within prompts."""
    rng, ids = generator(160), prompts(300, 8)
    phi = rng.standard_normal((300, 2))[ids] + rng.standard_normal((2400, 2))
    s = phi[:, 0] * phi[:, 1] + rng.standard_normal(2400)
    return theory.nonlinear_encoding(phi, s, prompt_ids=ids, n_features=60, gammas=[0.25])


@claim("P5", "alpha from labelled text, of a world with cosine .5, where it is .366")
def _() -> Check:
    world = cm.simulate(n_prompts=1500, n_responses=8, dim=6, generation_alignment=0.5, random_state=161)
    return near(theory.generation_share(world, "s").alpha, 0.5 / (0.5 + np.sqrt(0.75)), 0.03)


@claim("P5", "values of noise explain no part of the generation direction (share)")
def _() -> Check:
    world = cm.simulate(n_prompts=1500, n_responses=8, dim=6, generation_alignment=0.5, random_state=162)
    return near(theory.generation_share(world, generator(162).standard_normal((world.n_rows, 3))).share, 0.0, 0.01)


def _drift(step: float, seed: int) -> theory.JudgeDrift:
    """Five rounds of a noisy judge that starts at .4 from u* and turns by `step` a round."""
    rounds = [
        cm.simulate(150, 8, 5, n_constitutions=1, alignment=np.cos(0.4 + step * r), world=1, random_state=seed + r)
        for r in range(5)
    ]
    noisy = [np.asarray(d.column("judge/c0")) + generator(seed).standard_normal(d.n_rows) for d in rounds]
    return theory.judge_drift(rounds, noisy, "s", bound=2.0)


@claim("9.4", "a judge that turns by .45 a round, from .4: angle of u_C between rounds 1 and 5, noise of fits removed")
def _() -> Check:
    return near(float(_drift(0.45, 170).angle[4]), 4 * 0.45, 0.2)


@claim("9.4", "... is stopped in round 4 or 5, when its value falls: past pi/2 and not before")
def _() -> Check:
    return same(_drift(0.45, 170).stop in (4, 5), True)


@claim("9.4", "a judge that stays is never stopped: stops of 6 trainings of 5 rounds")
def _() -> Check:
    return at_most(sum(_drift(0.0, 200 + 10 * i).stop is not None for i in range(6)), 0)


@claim("8.3", "five labelers whose correlation grows by .1 for ten times the parameters: slope over it")
def _() -> Check:
    models = {
        f"{10**m}M": cm.simulate(
            400, 8, 4, n_constitutions=1, alignment=0.2 + 0.1 * np.sqrt(2) * m, world=1, random_state=180 + m
        )
        for m in range(5)
    }
    return near(float(theory.labeler_scaling(models, "judge/c0", "s").quality_slope[0]) / 0.1, 1.0, 0.15)


@claim("8.3", "... and the rank correlation of gain and size")
def _() -> Check:
    models = {
        name: cm.simulate(300, 8, 4, n_constitutions=1, alignment=a, world=1, random_state=190)
        for name, a in (("1B", 0.5), ("10M", 0.1), ("10B", 0.8))
    }
    return at_least(float(theory.labeler_scaling(models, "judge/c0", "s").gain_tau[0]), 1.0)
