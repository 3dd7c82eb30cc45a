"""A Gaussian world in which the theory is exact, as a dump with its truth attached."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clinometer.common.results import Axes, Result
from clinometer.dump import Dump, open_dump
from clinometer.engine.intake import numbers

from .arrays import Floats


@dataclass(frozen=True, repr=False, eq=False)
class Truth(Result):
    """What `simulate` drew from: phi given x ~ N(prompt_means[x], sigma).

    Attributes
    ----------
    u_star : (d,) direction of the first value; u_values : (J, d) of all, each of within score sd 1
    u_gen : (d,) with log pi0(y given x) = <u_gen, phi> - c(x)
    u_c : (K, d) directions of the constitutions, within score sd `tilt_sd`
    rho2 : within-prompt share of a value's variance that its direction explains (theory 1.4)
    noise_sd : sd of the values' independent noise
    prompt_means : (G, d), in the order of the prompt ids 0 .. G - 1
    spectrum : (d,) eigenvalues of sigma; reflections : unit vectors (m, d) whose product turns the axes
    gaussian : False under heavy tails; then `gain` and `kl` hold to first and second order in 1/beta only
    """

    axes: ClassVar[Axes] = {
        "value feature": "u_values",
        "feature": "u_star u_gen spectrum",
        "direction feature": "u_c",
        "prompt feature": "prompt_means",
        "reflection feature": "reflections",
    }

    u_star: Floats
    u_values: Floats
    u_gen: Floats
    u_c: Floats
    rho2: float
    noise_sd: float
    prompt_means: Floats
    spectrum: Floats
    reflections: Floats
    gaussian: bool

    @cached_property
    def sigma(self) -> Floats:
        """The within-prompt covariance (d, d), formed on first use."""
        root = _turn(np.diag(np.sqrt(self.spectrum)), self.reflections)
        return np.asarray(root.T @ root)

    def gain(self, beta: ArrayLike) -> Floats:
        """Expected gain U Sigma u_C / beta, [constitution, beta, value] (theory 3.1)."""
        betas = np.atleast_1d(numbers("beta", beta))
        return np.asarray((self.u_c @ self.sigma @ self.u_values.T)[:, None, :] / betas[None, :, None])

    def kl(self, beta: ArrayLike) -> Floats:
        """KL of the tilted policy, u_C' Sigma u_C / (2 beta^2), [constitution, beta] (theory 3.1)."""
        betas = np.atleast_1d(numbers("beta", beta))
        squares = np.einsum("kd,de,ke->k", self.u_c, self.sigma, self.u_c)
        return np.asarray(squares[:, None] / (2.0 * betas**2))


def simulate(
    n_prompts: int = 200,
    n_responses: int = 16,
    dim: int = 32,
    *,
    n_constitutions: int = 2,
    n_values: int = 1,
    rho2: float = 0.5,
    alignment: ArrayLike | None = None,
    generation_alignment: float = 0.1,
    spectrum: Literal["power", "flat"] | ArrayLike = "power",
    tilt_sd: float = 1.0,
    prompt_sd: float = 1.0,
    mean: float = 0.0,
    length_alignment: float = 0.3,
    unequal: bool = False,
    heavy_tails: bool = False,
    dtype: Any = "float32",
    random_state: int = 0,
    world: int | None = None,
) -> Dump:
    """Draw a dump from a world where every first-order formula of the theory is exact.

    phi given x ~ N(mu_x, Sigma), mu_x = nu_x + Sigma u_gen, so that log pi0 = <u_gen, phi> - c(x) over the
    base measure N(nu_x, Sigma) (theory 1.2). A tilt by u_C moves every prompt's mean by
    Sigma u_C / beta and leaves Sigma alone, hence at every beta, in expectation over the rows drawn,
    gain = u*' Sigma u_C / beta and KL = u_C' Sigma u_C / (2 beta^2) (theory 3.1). On finitely many rows the
    plug-in gain is smaller, by the factors of theory 2.5.

    Parameters
    ----------
    n_prompts, n_responses, dim : G, responses in a prompt, d
    n_constitutions, n_values : K, J
    rho2 : within-prompt share of a value's variance explained by its direction, in (0, 1]
    alignment : number or (K,), correlation of a constitution's score with <u*, phi>; default .8 down to -.4
    generation_alignment : the same for u_gen
    spectrum : "power" (1/i), "flat" (ones), or eigenvalues (d,), zeros allowed
    tilt_sd : within-prompt sd of the judge scores and of <u_gen, phi>
    prompt_sd : sd of the prompt means in units of the within-prompt sd
    mean : a constant added to every coordinate of phi
    length_alignment : correlation of log n_tokens with the first judge's score, within prompts
    unequal : prompts of 1 to 2 n_responses - 1 responses instead of n_responses each
    heavy_tails : multivariate t with 5 degrees of freedom scaled to covariance Sigma, instead of normal
    dtype : "float32" | "float16" | "float64" | "bfloat16" (ml_dtypes)
    random_state : seed of the rows and, without `world`, of the directions
    world : seed of the directions alone: dumps of one world and several random_state are new rows from one truth

    Returns
    -------
    Dump
        On-policy rows grouped by prompt; columns `s`, `s2`, .. (values), `judge/c0`, .. (scores <u_C, phi>),
        `logprob`, `n_tokens`, computed in float64 from the rows as stored; `.truth` is a `Truth`.
        Costs O(N d), without a d x d matrix until ``truth.sigma`` is asked for.

    Errors: ValueError where a size is below 1, or rho2 outside (0, 1].

    >>> dump = simulate(n_prompts=3, n_responses=4, dim=5)
    >>> dump.n_rows, dump.dim, sorted(dump.columns)
    (12, 5, ['judge/c0', 'judge/c1', 'logprob', 'n_tokens', 's'])
    """
    _check_sizes(n_prompts=n_prompts, n_responses=n_responses, dim=dim, n_values=n_values)
    if n_constitutions < 0:
        raise ValueError(f"n_constitutions is {n_constitutions}; wanted a whole number >= 0")
    if not 0.0 < rho2 <= 1.0:
        raise ValueError(f"rho2 is {rho2!r}; wanted a number in (0, 1]")
    for name, scale in ("prompt_sd", prompt_sd), ("tilt_sd", tilt_sd):
        if not 0.0 <= scale < np.inf:
            raise ValueError(f"{name} is {scale!r}; wanted a finite number >= 0")
    rng = np.random.default_rng(random_state)
    frame = rng if world is None else np.random.default_rng(world)
    eigenvalues = _spectrum(spectrum, dim)
    aligned = _alignment(alignment, n_constitutions)
    generation = _correlation("generation_alignment", generation_alignment)
    length = _correlation("length_alignment", length_alignment)
    turns = frame.standard_normal((3, dim))
    turns /= np.linalg.norm(turns, axis=1)[:, None]
    u_values, u_c, u_gen = _directions(frame, eigenvalues, turns, n_values, aligned, generation, tilt_sd)
    base_means = mean + prompt_sd * _colour(rng.standard_normal((n_prompts, dim)), eigenvalues, turns)
    means = base_means + _turn(_turn(u_gen[None, :], turns[::-1]) * eigenvalues, turns)
    counts = rng.integers(1, 2 * n_responses, n_prompts) if unequal else np.full(n_prompts, n_responses)
    prompt_ids = np.repeat(np.arange(n_prompts, dtype=np.int64), counts)
    phi = _rows(rng, means, prompt_ids, eigenvalues, turns, heavy_tails, _dtype(dtype))
    noise_sd = float(np.sqrt((1.0 - rho2) / rho2))
    truth = Truth(u_values[0], u_values, u_gen, u_c, float(rho2), noise_sd, means, eigenvalues, turns, not heavy_tails)
    # log of the base measure's normaliser, which log pi0 must subtract for the density to integrate to one.
    offset = base_means @ u_gen + 0.5 * tilt_sd**2
    columns = _columns(rng, phi, prompt_ids, truth, means, offset, length)
    dump = open_dump(phi, prompt_ids=prompt_ids, columns=columns, policy="on_policy")
    return dataclasses.replace(dump, truth=truth)


def _check_sizes(**sizes: int) -> None:
    for name, size in sizes.items():
        if size != int(size) or size < 1:
            raise ValueError(f"{name} is {size!r}; wanted a whole number >= 1")


def _correlation(name: str, value: float) -> float:
    if not -1.0 <= value <= 1.0:
        raise ValueError(f"{name} is {value!r}; wanted a correlation from -1 to 1")
    return float(value)


def _alignment(alignment: ArrayLike | None, count: int) -> Floats:
    if alignment is None:
        return np.linspace(0.8, -0.4, count)
    values = numbers("alignment", alignment)
    if values.ndim > 1 or (values.ndim == 1 and values.size != count) or not (np.abs(values) <= 1.0).all():
        raise ValueError(f"alignment is {alignment!r}; wanted one correlation, or {count} of them")
    return np.broadcast_to(values, (count,)).copy()


def _spectrum(spectrum: Any, dim: int) -> Floats:
    if isinstance(spectrum, str):
        known = {"power": 1.0 / np.arange(1, dim + 1), "flat": np.ones(dim)}
        if spectrum not in known:
            raise ValueError(f"spectrum is {spectrum!r}; wanted 'power', 'flat' or eigenvalues ({dim},)")
        return known[spectrum]
    values = np.asarray(spectrum, dtype=np.float64)
    if values.shape != (dim,) or not (np.isfinite(values) & (values >= 0.0)).all() or not values.any():
        raise ValueError(f"spectrum has shape {values.shape}; wanted {dim} finite numbers >= 0, not all zero")
    return values


def _dtype(dtype: Any) -> np.dtype[Any]:
    if isinstance(dtype, str) and dtype == "bfloat16":
        import ml_dtypes

        dtype = ml_dtypes.bfloat16
    stored: np.dtype[Any] = np.dtype(dtype)
    return stored


def _turn(rows: Floats, turns: Floats) -> Floats:
    """Rows times a product of Householder reflections: a rotation for O(d) a row; reversed, its inverse."""
    for h in turns:
        rows = rows - np.outer(2.0 * (rows @ h), h)
    return rows


def _colour(normal: Floats, eigenvalues: Floats, turns: Floats) -> Floats:
    return _turn(normal * np.sqrt(eigenvalues), turns)


def _directions(
    rng: np.random.Generator,
    eigenvalues: Floats,
    turns: Floats,
    n_values: int,
    aligned: Floats,
    generation: float,
    tilt_sd: float,
) -> tuple[Floats, Floats, Floats]:
    """Values, constitutions and u_gen with the wanted Sigma-cosines to the first value.

    Built as vectors w = Sigma^(1/2) u on the eigenvectors with variance: orthogonal parts are drawn there.
    """
    alive = np.flatnonzero(eigenvalues > 0.0)
    target = np.concatenate([aligned, [generation]])
    if alive.size == 1 and (np.abs(target) < 1.0).any():
        # One dimension holds no orthogonal part: only the sign of an alignment can be kept.
        target = np.where(target < 0.0, -1.0, 1.0)
    values = _unit(rng.standard_normal((n_values, alive.size)))
    star = values[0]
    other = rng.standard_normal((target.size, alive.size))
    other = other - np.outer(other @ star, star)
    other = other - np.outer(other @ star, star)
    side = _unit(other) * np.sqrt(1.0 - target**2)[:, None] if alive.size > 1 else np.zeros_like(other)
    white = np.concatenate([values, tilt_sd * (target[:, None] * star + side)])
    coordinates = np.zeros((white.shape[0], eigenvalues.size))
    coordinates[:, alive] = white / np.sqrt(eigenvalues[alive])
    rows = _turn(coordinates, turns)
    return rows[:n_values], rows[n_values:-1], rows[-1]


def _unit(rows: Floats) -> Floats:
    return np.asarray(rows / np.linalg.norm(rows, axis=1)[:, None])


def _rows(
    rng: np.random.Generator,
    means: Floats,
    prompt_ids: NDArray[np.int64],
    eigenvalues: Floats,
    turns: Floats,
    heavy_tails: bool,
    dtype: np.dtype[Any],
) -> NDArray[Any]:
    """Rows in the stored dtype, drawn in blocks so that float64 copies stay small."""
    n, d = prompt_ids.size, eigenvalues.size
    phi = np.empty((n, d), dtype=dtype)
    block = max(1, 2_000_000 // d)
    for start in range(0, n, block):
        part = prompt_ids[start : start + block]
        normal = rng.standard_normal((part.size, d))
        if heavy_tails:
            # t with 5 degrees of freedom has variance 5/3; the factor makes it 1.
            normal *= np.sqrt(3.0 / rng.chisquare(5.0, part.size))[:, None]
        phi[start : start + block] = (means[part] + _colour(normal, eigenvalues, turns)).astype(dtype)
    return phi


def _columns(
    rng: np.random.Generator,
    phi: NDArray[Any],
    prompt_ids: NDArray[np.int64],
    truth: Truth,
    means: Floats,
    offset: Floats,
    length_alignment: float,
) -> dict[str, NDArray[Any]]:
    directions = np.concatenate([truth.u_values, truth.u_c, truth.u_gen[None, :]])
    block = max(1, 2_000_000 // phi.shape[1])
    scores = np.concatenate(
        [phi[a : a + block].astype(np.float64) @ directions.T for a in range(0, phi.shape[0], block)]
    )
    columns: dict[str, NDArray[Any]] = {}
    n_values, n_constitutions = truth.u_values.shape[0], truth.u_c.shape[0]
    for j in range(n_values):
        noise = truth.noise_sd * rng.standard_normal(prompt_ids.size)
        columns["s" if j == 0 else f"s{j + 1}"] = scores[:, j] + noise
    for c in range(n_constitutions):
        columns[f"judge/c{c}"] = np.ascontiguousarray(scores[:, n_values + c])
    columns["logprob"] = scores[:, -1] - offset[prompt_ids]
    length = rng.standard_normal(prompt_ids.size)
    if n_constitutions:
        tilt_sd = float(np.sqrt(np.mean((scores[:, n_values] - (means @ truth.u_c[0])[prompt_ids]) ** 2)))
        standard = (scores[:, n_values] - (means @ truth.u_c[0])[prompt_ids]) / (tilt_sd or 1.0)
        length = length_alignment * standard + np.sqrt(1.0 - length_alignment**2) * length
    columns["n_tokens"] = np.maximum(1, np.rint(np.exp(np.log(120.0) + 0.4 * length))).astype(np.int64)
    return columns
