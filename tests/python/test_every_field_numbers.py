"""Theory on finished numbers: every float field of every result against closed forms, loops, quadrature or draws."""

from __future__ import annotations

import numpy as np
import pytest
from plain import Prompts, agree
from scipy import stats
from scipy.integrate import quad

import clinometer as cm
from clinometer import theory

RNG = np.random.default_rng(20261)
ROOT = RNG.standard_normal((4, 4))
SIGMA = ROOT @ ROOT.T
VALUES = RNG.standard_normal((2, 4))
JUDGES = RNG.standard_normal((3, 4))


def form(u: np.ndarray, v: np.ndarray) -> float:
    """u' Sigma v, entry by entry."""
    return float(sum(u[a] * SIGMA[a, b] * v[b] for a in range(4) for b in range(4)))


def test_gaussian_tilts() -> None:
    betas = [0.5, 3.0]
    agree(theory.gaussian_tilt(VALUES, SIGMA, JUDGES, betas), {
        "gain": [[[form(s, c) / b for s in VALUES] for b in betas] for c in JUDGES],
        "kl": [[form(c, c) / (2 * b * b) for b in betas] for c in JUDGES], "betas": betas,
    })  # fmt: skip


@pytest.mark.parametrize("tau", [3.0, -3.0])
def test_quadratic_tilts(tau: float) -> None:
    v, c, m = VALUES[0], JUDGES[0], 0.4
    betas, pull, sd = np.array([0.7, 5.0]), form(VALUES[0], JUDGES[0]), np.sqrt(form(VALUES[0], VALUES[0]))

    def mean(at: float) -> float:
        """E -(x - tau)^2 for x ~ N(at, sd^2)."""
        return quad(lambda z: -((at + sd * z - tau) ** 2) * stats.norm.pdf(z), -12, 12, epsabs=1e-12)[0]

    def slope(at: float) -> float:
        return (mean(at + 1e-3) - mean(at - 1e-3)) / 2e-3  # exact: the mean is a parabola

    gain = np.array([mean(m + pull / b) - mean(m) for b in betas])
    best = pull / (tau - m) if pull * (tau - m) > 0 else np.inf
    improves = np.isfinite(best)
    agree(theory.quadratic_tilt(v, tau, m, SIGMA, c, betas), {
        "gain": gain, "first_order": [slope(m) * pull / b for b in betas], "shift": pull / betas, "best_beta": best,
        "best_gain": mean(tau) - mean(m) if improves else 0.0,
        "sign_flip": 2 * (tau - m) / pull if improves else 0.0,
    }, rtol=1e-7)  # fmt: skip


@pytest.mark.parametrize("metric", ["kl", "euclid"])
def test_worst_directions(metric: str) -> None:
    basis = JUDGES[:2]
    found = theory.worst_direction(VALUES[0], SIGMA, basis, metric=metric, radius=1.5)
    # on the circle of the span, in coordinates that make the ball round
    ball = SIGMA if metric == "kl" else np.eye(4)
    root = np.linalg.cholesky(basis @ ball @ basis.T)
    frame = np.linalg.solve(root, basis)
    pull = np.array([form(VALUES[0], f) for f in frame])
    direction = -1.5 * (pull / np.hypot(*pull)) @ frame
    agree(found, {"direction": direction, "value": form(VALUES[0], direction)})


def ranks(lam: np.ndarray) -> dict[str, float]:
    share = lam / lam.sum()
    entropy = float(np.exp(sum(-x * np.log(x) for x in share if x > 0)))
    return {"participation": lam.sum() ** 2 / (lam**2).sum(), "entropy": entropy, "stable": lam.sum() / lam.max()}


def test_effective_ranks() -> None:
    agree(theory.effective_rank(SIGMA, threshold=0.8), {**ranks(np.linalg.eigvalsh(SIGMA)), "threshold": 0.8})


def test_concentration_of_a_value_in_the_plane() -> None:
    # of a random direction in the plane x/y is Cauchy: the null laws of both shares are closed
    lam, u = np.array([4.0, 1.0]), np.array([1.0, 0.7])
    found = theory.value_concentration(u, np.diag(lam), 1, draws=1_000_000)
    s = u[0] ** 2 * 4 / (u[0] ** 2 * 4 + u[1] ** 2)
    agree(found, {
        "share": [1 / 1.49], "null_mean": 0.5, "p_value": [2 / np.pi * np.arctan(0.7)], "variance_share": [s],
    }, apart="variance_null_mean variance_p_value")  # fmt: skip
    assert found.variance_null_mean == pytest.approx(2 / 3, abs=0.002)
    beyond = 2 / np.pi * np.arctan(np.sqrt(4 * (1 - s) / s))
    np.testing.assert_allclose(found.variance_p_value, beyond, atol=0.002)


def test_concentration_in_more_dimensions() -> None:
    u = RNG.standard_normal((3, 4))
    lam, axes = np.linalg.eigh(SIGMA)
    square = (u @ axes[:, ::-1]) ** 2
    share = square[:, :2].sum(axis=1) / square.sum(axis=1)
    found = theory.value_concentration(u, SIGMA, 2, draws=10)
    np.testing.assert_allclose(found.share, share, rtol=1e-9)
    np.testing.assert_allclose(found.p_value, stats.beta.sf(share, 1, 1), rtol=1e-9)
    weighted = square * lam[::-1]
    np.testing.assert_allclose(found.variance_share, weighted[:, :2].sum(axis=1) / weighted.sum(axis=1), rtol=1e-9)


def test_rank_of_a_shift() -> None:
    rng = np.random.default_rng(5)
    ids = np.repeat(np.arange(12), 3)
    before = rng.standard_normal((36, 4))
    D = rng.standard_normal((36, 4)) * [2.0, 1.0, 0.5, 0.2] + [1.0, 0.3, 0.0, 0.0] + rng.standard_normal((12, 4))[ids]
    a, b = (cm.open_dump(x, prompt_ids=ids) for x in (before + D, before))
    found = theory.shift_rank(a, b)
    D = (before + D) - before

    def participation(weight: np.ndarray) -> float:
        gram = sum(w * np.outer(x, x) for w, x in zip(weight, D, strict=True))
        return np.trace(gram) ** 2 / (gram**2).sum()

    # a prompt's influence: the derivative in its weight
    even, step = np.ones(36), 1e-5
    psi = np.array([participation(even + step * (ids == g)) - participation(even - step * (ids == g))
                    for g in range(12)]) / (2 * step)  # fmt: skip
    apart = [(i, j) for i in range(36) for j in range(36) if ids[i] != ids[j]]
    lengths = sum((D[i] @ D[i]) * (D[j] @ D[j]) for i, j in apart)
    products = sum((D[i] @ D[j]) ** 2 for i, j in apart)
    of_all, of_rest = (np.linalg.svd(x, compute_uv=False) for x in (D, D - D.mean(axis=0)))
    agree(found, {
        "roy_vetterli": ranks(of_all)["entropy"], "roy_vetterli_centred": ranks(of_rest)["entropy"],
        "mean_share": 36 * (D.mean(axis=0) ** 2).sum() / (D**2).sum(),
        "participation_unbiased": lengths / products, "singular_values": of_all,
        "length": np.sqrt((D**2).sum(axis=1).mean()), "participation_se": np.sqrt(12 / 11 * (psi**2).sum()),
    }, rtol=1e-7)  # fmt: skip
    for part, sv in (found.uncentred, of_all), (found.centred, of_rest):
        agree(part, {**ranks(sv**2), "threshold": 0.9})


def test_a_spectrum_by_sketches() -> None:
    # the operator is ours: what it was asked for says which basis and probes the estimates rest on
    d, rank = 30, 3
    root = np.random.default_rng(6).standard_normal((d, d)) / np.arange(1, d + 1)
    sigma = root.T @ root
    asked = []

    def image(u: np.ndarray) -> np.ndarray:
        asked.append(u)
        return u @ sigma

    trace = float(np.trace(sigma))
    found = theory.randomised_spectrum(image, rank, oversample=2, n_iterations=1, n_probes=8, trace=trace, dim=d)
    basis, probes = asked[-2:]
    lam, turn = np.linalg.eigh(basis @ sigma @ basis.T)
    lam, vectors = lam[::-1][:rank], (turn.T @ basis)[::-1][:rank]
    vectors = vectors * np.sign([v[np.abs(v).argmax()] for v in vectors])[:, None]
    span = basis.T @ basis
    rest = (np.eye(d) - span) @ sigma @ (np.eye(d) - span)
    draws = np.array([(rest @ g) @ (rest @ g) for g in probes])
    square = (sigma**2).sum() - (rest**2).sum() + draws.mean()
    se = draws.std(ddof=1) / np.sqrt(8)
    agree(found, {
        "eigenvalues": lam, "eigenvectors": vectors, "trace": trace, "square": square, "square_se": se,
        "residual": [np.linalg.norm(v @ sigma - x * v) for x, v in zip(lam, vectors, strict=True)],
        "participation": trace**2 / square, "participation_se": trace**2 / square**2 * se, "stable": trace / lam[0],
        "energy_share": np.cumsum(lam) / trace,
    }, rtol=1e-7, atol=1e-10)  # fmt: skip


def test_scalarised_values() -> None:
    levels, rates, w = RNG.standard_normal((5, 3)), RNG.standard_normal((5, 3)), np.array([0.5, 2.0, 1.0])
    weighted = theory.scalarise(levels, rates, weights=w)
    agree(weighted, {"value": [sum(w * x) for x in levels], "rate": [sum(w * x) for x in rates]})
    worst = [min(x / w) for x in levels]
    at = [int(np.argmin(x / w)) for x in levels]
    found = theory.scalarise(levels, rates, kind="worst_case", scale=w)
    agree(found, {"value": worst, "rate": [rates[i, j] / w[j] for i, j in enumerate(at)]})
    floors = [-9.0, -9.0]
    found = theory.scalarise(levels, rates, kind="constrained", floors=floors)
    agree(found, {"value": levels[:, 0], "rate": rates[:, 0]})


def test_probabilities_of_classes() -> None:
    # two normals of correlation r: P(both > 0) by one integral
    profile, sd, r = np.array([[0.6, 0.2], [-0.5, 0.3]]), np.array([1.0, 0.7]), 0.4

    def both(mean: np.ndarray) -> float:
        def inside(x: float) -> float:
            given = mean[1] / sd[1] + r * (x - mean[0] / sd[0])
            return stats.norm.pdf(x - mean[0] / sd[0]) * stats.norm.cdf(given / np.sqrt(1 - r * r))

        return quad(inside, 0, 12)[0]

    up, down = (np.array([both(s * m) for m in profile]) for s in (1, -1))
    joint = np.outer(sd, sd) * [[1, r], [r, 1]]
    found = theory.class_probabilities(profile, joint)
    agree(found, {"improving": up, "degrading": down, "tradeoff": 1 - up - down}, rtol=1e-6)


def test_the_toy() -> None:
    star, start = np.array([1.0, 0.0]), np.array([0.1, 0.995])
    judge = np.array([[0.9, 0.436]] * 2 + [[-0.8, 0.6]] * 2)
    beta = np.array([1.0, 0.5, 1.0, 0.5])
    after = np.array([start + c / b for c, b in zip(judge, beta, strict=True)])
    size = np.array([np.hypot(*v) for v in after])
    agree(theory.toy_example(), {
        "beta": beta, "vector": after, "normalised": after / size[:, None],
        "cosine_before": [0.1 / np.hypot(0.1, 0.995)] * 4, "cosine_after": after[:, 0] / size,
        "gain": [star @ c / b for c, b in zip(judge, beta, strict=True)],
        "kl": [c @ c / (2 * b * b) for c, b in zip(judge, beta, strict=True)],
    })  # fmt: skip


def test_pooled_against_within() -> None:
    found = theory.pooled_versus_within(2.0, n_prompts=30, n_responses=6, random_state=3)
    rng = np.random.default_rng(3)
    topic, z = 2.0 * rng.standard_normal((30, 1)), rng.standard_normal((30, 6))
    f, t, lam = topic + z, topic - z, [0.1, 0.25, 0.5, 1.0]
    prompts = Prompts(np.repeat(np.arange(30), 6))
    agree(found, {
        "within": np.mean([np.cov(a, b)[0, 1] for a, b in zip(f, t, strict=True)]),
        "pooled": np.cov(f.ravel(), t.ravel())[0, 1], "inverse_beta": lam,
        "gain": [prompts.gain(t.ravel(), x, f.ravel()) for x in lam],
    })  # fmt: skip
