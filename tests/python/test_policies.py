"""Ensembles, iterated tilts, scalarisations and closed forms against direct simulation and quadrature."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import rel_entr

import clinometer as cm
from clinometer import theory
from clinometer.theory.hull import smallest_point, unit_rows

IDS = np.repeat(np.arange(30), 9)
PROMPTS = [np.flatnonzero(g == IDS) for g in range(30)]


def world(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    phi = rng.standard_normal((len(IDS), 3)) + rng.standard_normal((30, 3))[IDS]
    return phi, np.column_stack([phi[:, 0] + phi[:, 1] ** 2, rng.standard_normal(len(IDS))])


def policy(t: np.ndarray) -> np.ndarray:
    out = np.empty(len(t))
    for at in PROMPTS:
        e = np.exp(t[at] - t[at].max())
        out[at] = e / e.sum()
    return out


def gain(p: np.ndarray, f: np.ndarray) -> float:
    return float(np.mean([p[at] @ f[at] - f[at].mean() for at in PROMPTS]))


def divergence(p: np.ndarray, q: np.ndarray) -> float:
    return float(np.mean([rel_entr(p[at], q[at]).sum() for at in PROMPTS]))


# ---- ensembles


def test_pool_and_mixture_are_what_they_say() -> None:
    phi, f = world()
    u = np.array([[1.0, 0.0, 0.0], [0.0, 3.0, 0.0]])
    W = np.array([[0.3, 0.7], [1.0, 0.0]])
    dump = cm.open_dump(phi, prompt_ids=IDS)
    found = theory.ensembles(dump, u, W, f, [0.8, 3.0], precision="double")
    sd = np.sqrt(np.diagonal(cm.cross_covariance(dump, u, phi @ u.T, ddof=0, precision="double").value))
    np.testing.assert_allclose(found.scale, sd, rtol=1e-6)
    t = phi @ u.T / sd
    for b, beta in enumerate([0.8, 3.0]):
        members = [policy(t[:, i] / beta) for i in range(2)]
        for m in range(2):
            pool, mixture = policy(t @ W[m] / beta), W[m, 0] * members[0] + W[m, 1] * members[1]
            for j in range(2):
                assert found.pool_gain[m, b, j] == pytest.approx(gain(pool, f[:, j]), abs=1e-7)
                assert found.mixture_gain[m, b, j] == pytest.approx(gain(mixture, f[:, j]), abs=1e-7)
            uniform = np.full(len(IDS), 1 / 9)
            assert found.pool_kl[m, b] == pytest.approx(divergence(pool, uniform), abs=1e-7)
            assert found.mixture_kl[m, b] == pytest.approx(divergence(mixture, uniform), abs=1e-7)
            assert found.mixture_kl[m, b] <= W[m] @ found.member_kl[:, b] + 1e-12
    np.testing.assert_allclose(found.mixture_gain, np.einsum("mk,kbj->mbj", W, found.member_gain), atol=1e-12)
    np.testing.assert_allclose(found.pool_gain[1], found.member_gain[0], atol=1e-12)  # a single member is no ensemble
    np.testing.assert_allclose(found.worst_member, found.member_gain.min(axis=0))


def test_pool_and_mixture_agree_at_first_order_only() -> None:
    phi, f = world(1)
    args = (cm.open_dump(phi, prompt_ids=IDS), np.eye(3), [1 / 3, 1 / 3, 1 / 3], f)
    weak, strong = theory.ensembles(*args, [1e3]), theory.ensembles(*args, [0.3])
    np.testing.assert_allclose(weak.pool_gain * 1e3, weak.mixture_gain * 1e3, atol=2e-3)
    np.testing.assert_allclose(weak.pool_gain * 1e3, weak.first_order * 1e3, atol=2e-3)
    assert np.abs(strong.pool_gain - strong.mixture_gain).max() > 0.05
    same = theory.ensembles(*args, kl=[0.2])
    np.testing.assert_allclose(same.pool_kl, 0.2, rtol=1e-6)
    np.testing.assert_allclose(same.member_kl, 0.2, rtol=1e-6)
    assert (same.mixture_kl < 0.2).all()


def test_the_longest_member_decides_unless_standardised() -> None:
    phi, _ = world(2)
    u = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 100.0]])
    dump = cm.open_dump(phi, prompt_ids=IDS)
    raw = theory.ensembles(dump, u, [0.5, 0.5], phi[:, 2], [50.0], standardise=False)
    alone = theory.ensembles(dump, u, [0.0, 1.0], phi[:, 2], [100.0], standardise=False)
    fair = theory.ensembles(dump, u, [0.5, 0.5], phi[:, 2], [1.0])
    assert raw.pool_gain.item() == pytest.approx(alone.pool_gain.item(), rel=0.02)
    assert fair.pool_gain.item() < 0.8 * fair.member_gain[1].item()
    for weights in ([0.5, 0.6], [1.5, -0.5], [1.0]):
        with pytest.raises(ValueError, match="weights"):
            theory.ensembles(dump, u, weights, phi[:, 2], [1.0])


# ---- iterated


@pytest.mark.parametrize("beta", [4.0, [3.0, 5.0, 2.0, 9.0]])
def test_rounds_are_one_tilt_by_the_accumulated_score(beta: object) -> None:
    phi, f = world(3)
    u = np.random.default_rng(0).standard_normal((4, 3))
    found = theory.iterate(phi, u, beta, f, prompt_ids=IDS, precision="double")
    p = np.full(len(IDS), 1 / 9)
    for t in range(4):  # round after round, each from the policy before
        b = np.broadcast_to(beta, (4,))[t]
        score = phi @ u[t] / b
        promised = [
            np.mean([(p[a] * (score[a] - p[a] @ score[a])) @ (f[a, j] - p[a] @ f[a, j]) for a in PROMPTS])
            for j in range(2)
        ]
        np.testing.assert_allclose(found.step[t], promised, atol=1e-9)
        new = p * np.exp(score)
        for at in PROMPTS:
            new[at] /= new[at].sum()
        np.testing.assert_allclose(found.gain[t], [gain(new, f[:, j]) for j in range(2)], atol=1e-9)
        assert found.kl_step[t] == pytest.approx(divergence(new, p), rel=1e-9)
        assert found.kl[t] == pytest.approx(divergence(new, np.full(len(IDS), 1 / 9)), rel=1e-9)
        p = new


def test_a_fixed_constitution_has_no_fixed_point_short_of_the_argmax() -> None:
    phi, f = world(4)
    with pytest.warns(UserWarning, match="the KL of round 1 exceeds 1.1"):
        found = theory.iterate(phi, [1.0, 0.0, 0.0], 0.05, f, rounds=400, prompt_ids=IDS)
    best = [f[at[np.argmax(phi[at, 0])]] - f[at].mean(axis=0) for at in PROMPTS]
    np.testing.assert_allclose(found.limit, np.mean(best, axis=0), atol=1e-9)
    np.testing.assert_allclose(found.gain[-1], found.limit, atol=1e-2)
    assert found.kl[-1] == pytest.approx(np.log(9), rel=1e-2)
    assert (np.diff(found.kl) > 0).all()
    assert found.stop == int(np.argmax(found.kl > np.log(9) / 2)) + 1 and "stop before round" in str(found)
    with pytest.warns(UserWarning, match="cannot tell the policy"):
        kept = theory.iterate(phi, [1.0, 0.0, 0.0], 0.05, f, rounds=3, rebase=False, prompt_ids=IDS)
    np.testing.assert_allclose(kept.gain, np.broadcast_to(found.gain[0], (3, 2)), atol=1e-9)
    assert np.isnan(kept.limit).all()


def test_rounds_that_help_and_then_harm_are_said_to() -> None:
    rng = np.random.default_rng(5)
    t = rng.standard_normal((800, 20)).ravel()
    ids = np.repeat(np.arange(800), 20)
    f = np.column_stack([-((t - 0.8) ** 2), t])
    found = theory.iterate(t[:, None], [1.0], 4.0, f, rounds=8, prompt_ids=ids)
    peak = int(np.argmax(found.gain[:, 0])) + 1
    assert found.falls[0] in (peak, peak + 1)  # the first step down may be within its error
    assert found.falls[1] == 0
    for bad in ({"rounds": 0}, {"beta": 0.0}, {"beta": [1.0, 2.0], "rounds": 3}, {"within": False}):
        with pytest.raises(ValueError, match=r"rounds|beta|within"):
            theory.iterate(t[:, None], [1.0], **{"beta": 1.0, "values": f, "prompt_ids": ids, **bad})


@pytest.mark.parametrize("step", [0.3, 0.0, -0.7, 2 * np.pi])
@pytest.mark.parametrize("start", [0.0, 0.4])
def test_drift_by_rotation(step: float, start: float) -> None:
    angles = start + step * np.arange(20)
    want = np.append(0.0, np.cumsum(1.7 * np.cos(angles)))
    np.testing.assert_allclose(
        theory.drifting_projection(np.arange(21), step=step, start=start, strength=1.7), want, atol=1e-9
    )
    if step == 0.3:
        assert int(np.argmax(want)) == int(np.ceil((np.pi / 2 - start) / step)) and want.min() < 0


# ---- scalarisations


@pytest.mark.parametrize("kind", ["weighted", "worst_case", "constrained"])
def test_slopes_are_one_sided_derivatives(kind: str) -> None:
    rng = np.random.default_rng(6)
    levels, rates = rng.integers(0, 3, (200, 3)).astype(float), rng.standard_normal((200, 3))
    options = {
        "weighted": {"weights": [0.2, 0.0, 3.0]}, "worst_case": {"scale": [1.0, 2.0, 0.5]},
        "constrained": {"floors": [0.0, 1.0]},
    }[kind]  # fmt: skip
    at = theory.scalarise(levels, rates, kind=kind, **options)
    h = 1e-6
    after = theory.scalarise(levels + h * rates, kind=kind, tol=0.0, **options)
    ok = at.feasible
    with np.errstate(invalid="ignore"):
        slope = (after.value - at.value) / h
    np.testing.assert_allclose(slope[ok], at.rate[ok], rtol=1e-5, atol=1e-8)
    assert kind == "constrained" or ok.all()
    if kind == "constrained":
        assert 0 < ok.sum() < 200 and np.isneginf(at.rate[ok]).any() and np.isneginf(at.value[~ok]).all()


def test_a_tradeoff_harms_the_worst_case_only_at_the_bottleneck() -> None:
    first = theory.scalarise([0.0, 1.0], [1.0, -1.0], kind="worst_case")
    assert first.rate == 1.0 and first.active.tolist() == [True, False]
    later = theory.scalarise(np.array([0.5, 0.5]), [1.0, -1.0], kind="worst_case")
    assert later.rate == -1.0 and later.active.all()
    for bad in ({"kind": "best"}, {"kind": "worst_case", "scale": [0.0, 1.0]}, {"weights": [1.0]}):
        with pytest.raises(ValueError, match=r"kind|scale|weights"):
            theory.scalarise([1.0, 2.0], **bad)
    with pytest.raises(TypeError, match="floors"):
        theory.scalarise([1.0, 2.0], kind="constrained")


@pytest.mark.parametrize("J", [1, 2, 4])
def test_class_probabilities_against_draws(J: int) -> None:
    rng = np.random.default_rng(J)
    root = rng.standard_normal((J, max(1, J - 1)))  # singular for J > 1
    profile, cov = rng.standard_normal((3, J)), root @ root.T
    found = theory.class_probabilities(profile, cov)
    draws = profile[:, None] + rng.standard_normal((200_000, root.shape[1])) @ root.T
    np.testing.assert_allclose(found.improving, (draws > 0).all(axis=2).mean(axis=1), atol=5e-3)
    np.testing.assert_allclose(found.degrading, (draws < 0).all(axis=2).mean(axis=1), atol=5e-3)
    np.testing.assert_allclose(found.improving + found.degrading + found.tradeoff, 1.0)


def test_joint_errors_settle_what_single_ones_do_not() -> None:
    together = theory.class_probabilities([2.0, 2.0], [[1.0, 0.99], [0.99, 1.0]]).improving
    apart = theory.class_probabilities([2.0, 2.0], np.eye(2)).improving
    assert together > apart + 0.015
    certain = theory.class_probabilities([[1.0, 2.0], [0.0, 1.0]], np.zeros((2, 2)))
    assert certain.improving.tolist() == [1.0, 0.0]
    assert np.isnan(theory.class_probabilities([np.nan, 1.0], np.eye(2)).improving[0])


def test_value_angles_are_those_of_scores() -> None:
    rng = np.random.default_rng(7)
    u, root = rng.standard_normal((3, 5)), rng.standard_normal((5, 5))
    sigma = root @ root.T
    scores = np.linalg.cholesky(sigma).T @ u.T
    want = np.arccos(np.clip(np.corrcoef(np.vstack([scores, -scores]).T), -1, 1))
    np.testing.assert_allclose(theory.value_angles(u, sigma), want, atol=1e-7)
    two = theory.value_angles(u[:2], sigma)[0, 1]
    gram = u[:2] @ sigma @ u[:2].T
    assert theory.pareto_fraction(gram) == pytest.approx((np.pi - two) / (2 * np.pi), abs=1e-9)


# ---- closed forms


def test_gaussian_and_quadratic_tilts_by_quadrature() -> None:
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    weights = weights / weights.sum()
    sd, tau, mean = 1.3, 0.9, 0.2
    x = mean + sd * nodes
    for beta in (0.7, 2.0):
        p = weights * np.exp(x / beta - (x / beta).max())
        p /= p.sum()
        linear = theory.gaussian_tilt([1.0], [[sd**2]], [1.0], beta)
        assert linear.gain.item() == pytest.approx(p @ x - mean, abs=1e-9)
        assert linear.kl.item() == pytest.approx(rel_entr(p, weights).sum(), abs=1e-9)
        curved = theory.quadratic_tilt([1.0], tau, mean, [[sd**2]], [1.0], beta)
        assert curved.gain.item() == pytest.approx((p - weights) @ -((x - tau) ** 2), abs=1e-8)
    best = theory.quadratic_tilt([1.0], tau, mean, [[sd**2]], [1.0], curved.best_beta)
    assert best.gain.item() == pytest.approx(best.best_gain) == pytest.approx((tau - mean) ** 2)
    flip = theory.quadratic_tilt([1.0], tau, mean, [[sd**2]], [1.0], 1 / best.sign_flip)
    assert flip.gain.item() == pytest.approx(0.0, abs=1e-12) and flip.first_order.item() > 0
    assert np.isinf(theory.quadratic_tilt([1.0], -1.0, 0.0, None, [1.0], 1.0).best_beta)


@pytest.mark.parametrize(("k", "d"), [(3, 2), (5, 3), (6, 3), (2, 4)])
def test_wendel_against_random_cones(k: int, d: int) -> None:
    rng = np.random.default_rng(k)
    open_ = np.mean([smallest_point(unit_rows(rng.standard_normal((k, d)))).open for _ in range(600)])
    assert open_ == pytest.approx(theory.wendel_probability(k, d), abs=0.065)
    with pytest.raises(ValueError, match="k is 0"):
        theory.wendel_probability(0, d)
