"""Closed forms of the Gaussian world, tilts of linear and quadratic values and random cones, and two examples: the toy
in two dimensions and a pooled covariance of the wrong sign (theory 3.1, 3.4, 7.3 and 8.3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike

from clinometer.common.results import Axes, Result
from clinometer.engine.intake import numbers

from .arrays import Floats, as_covariance, as_rows, as_vector, need_same_features, times_sigma
from .geometry import policy_direction, score_correlation, sigma_sd, unit_rows, unit_sigma


@dataclass(frozen=True, repr=False, eq=False)
class GaussianTilt(Result):
    """`gain` (K, B, J) and `kl` (K, B) of linear values, exact at every beta of `betas` (B,) in a Gaussian world."""

    axes: ClassVar[Axes] = {
        "direction beta value": "gain",
        "direction beta": "kl",
        "beta": "betas",
    }

    gain: Floats
    kl: Floats
    betas: Floats


def gaussian_tilt(values: Any, sigma: Any, directions: Any, betas: ArrayLike) -> GaussianTilt:
    """Tilt of phi given x ~ N(mu_x, Sigma): the mean moves by Sigma u_C / beta, Sigma stays (theory 3.1).

    gain = u*' Sigma u_C / beta and KL = u_C' Sigma u_C / (2 beta^2), so gain = r sd(<u*, phi>) sqrt(2 KL).

    Parameters
    ----------
    values : array (J, d); directions : (K, d); sigma : (d, d), object with ``.covariance`` or None
    betas : numbers > 0, (B,) or one

    Returns
    -------
    GaussianTilt

    Cost: O(K d^2 + J K (d + B)).
    Errors: ValueError where widths differ, numbers are not finite, or a beta is not above 0.

    >>> found = gaussian_tilt([1.0, 0.0], None, [0.9, 0.436], 1.0)
    >>> found.gain.item(), found.kl.round(3).item()
    (0.9, 0.5)
    """
    need_same_features(values=values, sigma=sigma, directions=directions)
    rows, of_values = unit_rows(as_rows("values", values))
    tilts, of_tilts = unit_rows(as_rows("directions", directions, rows.shape[1]))
    matrix, half = unit_sigma(as_covariance(sigma, rows.shape[1]))
    beta = _betas(betas)
    strength, of_betas = np.frexp(beta)
    gain = (tilts @ times_sigma(rows, matrix).T)[:, None, :] / strength[:, None]
    pushed = of_tilts[:, None] + half - of_betas  # the power of sd(<u_C, phi>) / beta
    kl = np.ldexp((sigma_sd(tilts, matrix)[:, None] / strength) ** 2 / 2.0, 2 * pushed)
    return GaussianTilt(np.ldexp(gain, pushed[:, :, None] + half + of_values), kl, beta)


def _betas(betas: ArrayLike) -> Floats:
    beta = np.atleast_1d(numbers("betas", betas))
    if beta.ndim != 1 or not (beta > 0.0).all():
        raise ValueError(f"betas is {betas!r}; wanted numbers > 0")
    return beta


@dataclass(frozen=True, repr=False, eq=False)
class QuadraticTilt(Result):
    """Tilts of f = -(<v, phi> - tau)^2; arrays are (B,), gains in units of f.

    `gain` is exact, `first_order` = 2 (tau - m) h and `second_order` = gain (the series ends there). It improves
    only for `shift` h between 0 and 2 (tau - m); `best_beta` puts h at tau - m (inf or negative: no beta improves)
    and reaches `best_gain`; beyond `sign_flip`, in 1/beta, the gain is negative.
    """

    axes: ClassVar[Axes] = {"beta": "gain first_order shift"}

    gain: Floats
    first_order: Floats
    shift: Floats
    best_beta: float
    best_gain: float
    sign_flip: float


def quadratic_tilt(v: Any, tau: float, mean: float, sigma: Any, u_c: Any, betas: ArrayLike) -> QuadraticTilt:
    """A value with an optimum inside the range, and a linear judge that overshoots it (theory 7.3).

    With m = E <v, phi> and h = v' Sigma u_C / beta the gain is 2 (tau - m) h - h^2 in a Gaussian world: the first
    order goes on promising a gain after the overshoot.

    Parameters
    ----------
    v, u_c : array (d,)
    tau, mean : target of <v, phi>, and its mean under the base policy
    sigma : (d, d), object with ``.covariance`` or None
    betas : numbers > 0

    Returns
    -------
    QuadraticTilt
        ``.sign_flip`` is the 1/beta beyond which the value is lower than before.

    Cost: O(d^2 + B).
    Errors: ValueError where widths differ or a beta is not above 0.

    >>> found = quadratic_tilt([1.0], 1.0, 0.0, None, [1.0], [1.0, 0.4])
    >>> found.gain.round(6).tolist(), found.first_order.round(6).tolist(), found.best_beta
    ([1.0, -1.25], [2.0, 5.0], 1.0)
    """
    need_same_features(v=v, sigma=sigma, u_c=u_c)
    value = as_vector("v", v)
    tilt = as_vector("u_c", u_c, value.size)
    matrix, beta = as_covariance(sigma, value.size), _betas(betas)
    push, room = float(times_sigma(value[None], matrix)[0] @ tilt), float(tau) - float(mean)
    h = push / beta
    improves = push * room > 0.0
    return QuadraticTilt(
        2.0 * room * h - h * h, 2.0 * room * h, h, push / room if improves else float("inf"),
        room * room if improves else 0.0, 2.0 * room / push if improves else 0.0,
    )  # fmt: skip


def wendel_probability(k: int, d: int) -> float:
    """Chance that k isotropic random values in d dimensions can all be improved at once (theory 8.3).

    2^(1-k) sum_{i<d} C(k-1, i): 1 for k <= d, 1/2 at k = 2 d.

    Cost: k binomial coefficients.
    Errors: ValueError where k or d is no whole number >= 1.

    >>> wendel_probability(3, 3), wendel_probability(4, 2)
    (1.0, 0.5)
    """
    from math import comb

    for name, number in ("k", k), ("d", d):
        if isinstance(number, bool) or not isinstance(number, (int, np.integer)) or number < 1:
            raise ValueError(f"{name} is {number!r}; wanted a whole number >= 1")
    return float(sum(comb(k - 1, i) for i in range(min(d, k))) / 2 ** (k - 1))


@dataclass(frozen=True, repr=False, eq=False)
class ToyExample(Result):
    """Rows (R,) of the toy table; `print` shows it.

    `names` with `beta`; `vector` (R, 2) = u_gen + u/beta and `normalised` (R, 2), of unit length; `cosine_before`
    and `cosine_after` (R,) of u_gen and of the vector with u*; `gain` and `kl` (R,), nats, in the Gaussian world.
    """

    axes: ClassVar[Axes] = {
        "name": "beta cosine_before cosine_after gain kl",
        "name feature": "vector normalised",
    }

    names: tuple[str, ...]
    beta: Floats
    vector: Floats
    normalised: Floats
    cosine_before: Floats
    cosine_after: Floats
    gain: Floats
    kl: Floats

    def __str__(self) -> str:
        head = f"{'constitution':<13}{'beta':>5}  {'u_gen + u_C/beta':<18}{'normalised':<18}"
        head += f"{'cosine':<17}{'gain':>7}{'KL':>6}"
        lines = [head]
        for i, name in enumerate(self.names):
            pairs = [f"({v[0]:.3f}, {v[1]:.3f})" for v in (self.vector[i], self.normalised[i])]
            cosine = f"{self.cosine_before[i]:.3f} -> {self.cosine_after[i]:.3f}"
            lines.append(
                f"{name:<13}{self.beta[i]:>5g}  {pairs[0]:<18}{pairs[1]:<18}{cosine:<17}"
                f"{self.gain[i]:>+7.3f}{self.kl[i]:>6.2f}"
            )
        return "\n".join(lines)


def toy_example() -> ToyExample:
    """Two constitutions, one aligned and one adversarial, at two strengths in the plane.

    u* = (1, 0), u_gen = (.1, .995), u_C = (.9, .436), u_adv = (-.8, .6), Sigma = I (theory 3.4). In the
    Gaussian world the gain u*'u_C / beta is exact and KL = |u_C|^2 / (2 beta^2). The cosine saturates at that
    of u_C; the gain does not.

    Returns
    -------
    ToyExample
        Four rows: (u_C, u_adv) x (beta 1, .5).

    Cost: four rows of two numbers.

    >>> toy_example().cosine_after.round(3).tolist()
    [0.573, 0.713, -0.402, -0.564]
    """
    u_star, u_gen = np.array([1.0, 0.0]), np.array([0.1, 0.995])
    cases = {"aligned": np.array([0.9, 0.436]), "adversarial": np.array([-0.8, 0.6])}
    betas = np.array([1.0, 0.5])
    names = tuple(name for name in cases for _ in betas)
    beta = np.tile(betas, len(cases))
    tilts = np.repeat(np.array(list(cases.values())), betas.size, axis=0)
    vector = policy_direction(u_gen, np.array(list(cases.values())), betas).reshape(-1, 2)
    return ToyExample(
        names=names,
        beta=beta,
        vector=vector,
        normalised=vector / np.linalg.norm(vector, axis=1)[:, None],
        cosine_before=np.repeat(score_correlation(u_gen, u_star)[0], beta.size),
        cosine_after=score_correlation(vector, u_star)[:, 0],
        gain=tilts @ u_star / beta,
        kl=(tilts**2).sum(axis=1) / (2.0 * beta**2),
    )


@dataclass(frozen=True, repr=False, eq=False)
class PooledVersusWithin(Result):
    """`within` and `pooled`, covariances of a value and a tilt score, and the exact gains on the rows.

    `gain` (B,) at each `inverse_beta` (B,), 1/beta.
    """

    axes: ClassVar[Axes] = {"inverse_beta": "gain inverse_beta"}

    within: float
    pooled: float
    inverse_beta: Floats
    gain: Floats


def pooled_versus_within(
    topic_sd: float = 3.0, *, n_prompts: int = 4000, n_responses: int = 32, random_state: int = 0
) -> PooledVersusWithin:
    """A value and a judge that agree across prompts and disagree inside every prompt.

    f = topic + z, t = topic - z, with the topic fixed by the prompt and z ~ N(0, 1) (theory 0.3): the
    covariance within prompts is -1 and the pooled one topic_sd^2 - 1. A policy is renormalised inside each
    prompt, so every tilt lowers f, though the pooled formula promises a gain.

    Parameters
    ----------
    topic_sd : standard deviation of the topic
    n_prompts, n_responses : size of the sample, at least 2 each
    random_state : seed

    Returns
    -------
    PooledVersusWithin
        ``.gain`` follows ``.inverse_beta`` = .1, .25, .5, 1 and is computed on the rows.

    Cost: O(n_prompts n_responses).
    Errors: ValueError for a size below 2.

    >>> example = pooled_versus_within()
    >>> example.within < 0 < example.pooled, bool((example.gain < 0).all())
    (True, True)
    """
    if n_prompts < 2 or n_responses < 2:
        raise ValueError(f"n_prompts, n_responses are {n_prompts}, {n_responses}; wanted at least 2 each")
    rng = np.random.default_rng(random_state)
    topic = topic_sd * rng.standard_normal((n_prompts, 1))
    z = rng.standard_normal((n_prompts, n_responses))
    value, score = topic + z, topic - z
    centred_value = value - value.mean(axis=1, keepdims=True)
    centred_score = score - score.mean(axis=1, keepdims=True)
    strengths = np.array([0.1, 0.25, 0.5, 1.0])
    gains = np.empty(strengths.size)
    for i, strength in enumerate(strengths):
        weight = np.exp(strength * (centred_score - centred_score.max(axis=1, keepdims=True)))
        gains[i] = float(((weight * centred_value).sum(axis=1) / weight.sum(axis=1)).mean())
    within = float((centred_value * centred_score).sum() / (n_prompts * (n_responses - 1)))
    pooled = float(((value - value.mean()) * (score - score.mean())).sum() / (value.size - 1))
    return PooledVersusWithin(within, pooled, strengths, gains)
