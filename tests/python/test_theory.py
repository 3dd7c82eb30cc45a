"""Theorems about finished numbers: each test states one and checks it against another route."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from clinometer import theory

SEED = 20240517


def covariance(rng: np.random.Generator, d: int) -> np.ndarray:
    root = rng.standard_normal((d, d))
    return root @ root.T / d


# ---- directions


@pytest.mark.parametrize("d", [1, 3, 7, 17, 33])
def test_score_correlations_do_not_change_under_a_linear_map(d: int) -> None:
    rng = np.random.default_rng(SEED + d)
    sigma, a = covariance(rng, d), rng.standard_normal((d, d)) + 3.0 * np.eye(d)
    u, v = rng.standard_normal((3, d)), rng.standard_normal((2, d))
    inverse = np.linalg.inv(a)
    moved = theory.score_correlation(u @ inverse, v @ inverse, a @ sigma @ a.T)
    np.testing.assert_allclose(moved, theory.score_correlation(u, v, sigma), atol=1e-9)
    assert moved.shape == (3, 2)


def test_score_correlation_is_the_correlation_of_scores() -> None:
    rng = np.random.default_rng(SEED)
    phi = rng.standard_normal((500, 6)) @ rng.standard_normal((6, 6))
    u, v = rng.standard_normal((2, 6)), rng.standard_normal((3, 6))
    want = np.corrcoef(np.hstack([phi @ u.T, phi @ v.T]).T)[:2, 2:]
    moments = SimpleNamespace(covariance=np.cov(phi.T))
    np.testing.assert_allclose(theory.score_correlation(u, v, moments), want, atol=1e-12)


def test_score_correlation_edges() -> None:
    assert np.isnan(theory.score_correlation([0.0, 0.0], [1.0, 0.0])).all()
    # (1, -1) lies in the null space of this Sigma.
    assert np.isnan(theory.score_correlation([1.0, -1.0], [1.0, 0.0], np.ones((2, 2)))).all()
    huge = theory.score_correlation([1e300, 1e300], [1e-300, 0.0], 1e300 * np.eye(2))
    np.testing.assert_allclose(huge, [[np.sqrt(0.5)]])
    with pytest.raises(ValueError, match="v has 3 columns; wanted 2"):
        theory.score_correlation([1.0, 0.0], [1.0, 0.0, 0.0])
    with pytest.raises(ValueError, match="sigma is 3 x 3; wanted 2 x 2"):
        theory.score_correlation([1.0, 0.0], [1.0, 0.0], np.eye(3))
    with pytest.raises(ValueError, match="not symmetric"):
        theory.score_correlation([1.0, 0.0], [1.0, 0.0], [[1.0, 0.5], [0.0, 1.0]])


def test_policy_direction_shapes_and_limits() -> None:
    rng = np.random.default_rng(SEED)
    g, c = rng.standard_normal(5), rng.standard_normal((3, 5))
    assert theory.policy_direction(g, c[0], 2.0).shape == (1, 5)
    several = theory.policy_direction(g, c, [0.5, np.inf])
    assert several.shape == (3, 2, 5)
    np.testing.assert_array_equal(several[:, 0], g + 2.0 * c)
    np.testing.assert_array_equal(several[:, 1], np.broadcast_to(g, (3, 5)))
    for bad in (0.0, -1.0, np.nan):
        with pytest.raises(ValueError, match="beta"):
            theory.policy_direction(g, c, bad)


def test_proposition_5_the_cosine_is_not_alpha() -> None:
    for alpha, cosine in [(0.1, 0.1104), (0.5, 0.7071)]:
        got = theory.score_correlation([alpha, 1.0 - alpha], [1.0, 0.0])[0, 0]
        assert got == pytest.approx(cosine, abs=5e-5)


def test_a_negative_cosine_can_gain() -> None:
    u_star, u_c, sigma = [1.0, 3.0], [1.0, -1.0], np.diag([10.0, 0.1])
    assert theory.score_correlation(u_star, u_c)[0, 0] < 0
    assert theory.robustness_radius(u_star, u_c, sigma)[0, 0] > 0


# ---- worst directions


@pytest.mark.parametrize("metric", ["kl", "euclid"])
@pytest.mark.parametrize("m", [1, 3, 6])
def test_worst_direction_beats_random_ones(metric: str, m: int) -> None:
    rng = np.random.default_rng(SEED + m)
    sigma, u, basis = covariance(rng, 6), rng.standard_normal(6), rng.standard_normal((m, 6))
    worst = theory.worst_direction(u, sigma, basis, metric=metric, radius=2.0)
    form = sigma if metric == "kl" else np.eye(6)
    assert worst.direction @ form @ worst.direction == pytest.approx(4.0)
    assert u @ sigma @ worst.direction == pytest.approx(worst.value)
    others = rng.standard_normal((20_000, m)) @ basis
    others *= 2.0 / np.sqrt(np.einsum("nd,de,ne->n", others, form, others))[:, None]
    assert worst.value <= (others @ sigma @ u).min() + 1e-12
    # And it lies in the span.
    coefficients = np.linalg.lstsq(basis.T, worst.direction, rcond=None)[0]
    np.testing.assert_allclose(coefficients @ basis, worst.direction, atol=1e-9)


def test_worst_direction_closed_forms() -> None:
    rng = np.random.default_rng(SEED)
    sigma, u = covariance(rng, 5), rng.standard_normal(5)
    sd = np.sqrt(u @ sigma @ u)
    worst = theory.worst_direction(u, sigma)
    np.testing.assert_allclose(worst.direction, -u / sd, atol=1e-9)
    assert worst.value == pytest.approx(-sd)
    idle = theory.worst_direction([1.0, 0.0], None, [0.0, 1.0])
    assert idle.value == 0.0 and np.isnan(idle.direction).all()


@pytest.mark.parametrize("metric", ["kl", "euclid"])
def test_robustness_radius_is_the_distance_to_no_gain(metric: str) -> None:
    rng = np.random.default_rng(SEED)
    sigma, u_star, u_c = covariance(rng, 4), rng.standard_normal(4), rng.standard_normal(4)
    radius = theory.robustness_radius(u_star, u_c, sigma, metric=metric)[0, 0]
    # Moving by the radius in the worst direction (or its opposite) lands exactly on zero gain.
    step = theory.worst_direction(u_star, sigma, metric=metric, radius=abs(radius)).direction
    assert u_star @ sigma @ (u_c + np.sign(radius) * step) == pytest.approx(0.0, abs=1e-12)
    assert np.isnan(theory.robustness_radius([0.0, 0.0], [1.0, 0.0], metric=metric)).all()
    with pytest.raises(ValueError, match="metric"):
        theory.robustness_radius(u_star, u_c, metric="l1")  # type: ignore[arg-type]


# ---- best of n


def test_expected_max_normal_table_and_closed_forms() -> None:
    table = {
        2: 0.56419,
        3: 0.84628,
        4: 1.02938,
        5: 1.16296,
        8: 1.42360,
        16: 1.76599,
        32: 2.06967,
        64: 2.34373,
    }
    got = theory.expected_max_normal(list(table))
    np.testing.assert_allclose(got, list(table.values()), atol=5e-6)
    root = 1.0 / np.sqrt(np.pi)
    closed = [0.0, root, 1.5 * root, 6.0 * root * np.arctan(np.sqrt(2.0)) / np.pi]
    np.testing.assert_allclose(theory.expected_max_normal([1, 2, 3, 4]), closed, atol=1e-12)


@pytest.mark.parametrize("n", [5, 17, 128, 10**4, 10**9])
def test_expected_max_normal_against_arbitrary_precision(n: int) -> None:
    mpmath = pytest.importorskip("mpmath")
    with mpmath.workdps(25):
        want = mpmath.quad(lambda x: x * n * mpmath.npdf(x) * mpmath.ncdf(x) ** (n - 1), list(range(-10, 13)))
    assert float(theory.expected_max_normal(n)) == pytest.approx(float(want), abs=1e-10)


def test_expected_max_normal_shapes_and_errors() -> None:
    assert np.ndim(theory.expected_max_normal(7)) == 0
    assert theory.expected_max_normal([[2, 3], [3, 2]]).shape == (2, 2)
    assert theory.expected_max_normal(np.zeros(0, int)).shape == (0,)
    values = theory.expected_max_normal(np.arange(1, 200))
    assert (np.diff(values) > 0).all() and (np.diff(values, 2) < 0).all()
    for bad in (0, -3, 2.5, [1, 0]):
        with pytest.raises(ValueError, match="n is"):
            theory.expected_max_normal(bad)
    with pytest.raises(TypeError, match="n is"):
        theory.expected_max_normal(["2"])  # type: ignore[list-item]


# ---- profiles


def test_tradeoff_profile_is_the_covariance_of_scores() -> None:
    rng = np.random.default_rng(SEED)
    phi = rng.standard_normal((400, 7)) @ rng.standard_normal((7, 7))
    values, directions = rng.standard_normal((3, 7)), rng.standard_normal((2, 7))
    want = np.cov(np.hstack([phi @ directions.T, phi @ values.T]).T)[:2, 2:]
    np.testing.assert_allclose(theory.tradeoff_profile(values, np.cov(phi.T), directions), want, rtol=1e-9)
    assert theory.tradeoff_profile(values, None, directions[0]).shape == (1, 3)


def test_classify_every_class() -> None:
    rows = [[1, 2], [-1, -2], [1, -1], [1, 0], [-1, 0], [0, 0], [1, -1]]
    want = ["pareto_improving", "pareto_degrading", "tradeoff", "weakly_improving", "weakly_degrading"]
    want += ["neutral", "tradeoff"]
    got = theory.classify(rows)
    assert got.tolist() == want and got.dtype.kind == "U"
    assert theory.classify([1.0, 0.0]).shape == (1,)
    with pytest.raises(ValueError, match="profile is NaN at direction 1, value 0"):
        theory.classify([[1.0, 2.0], [np.nan, 1.0]])


def test_classify_with_errors() -> None:
    rows = [[5.0, 5.0], [-5.0, -5.0], [5.0, -5.0], [5.0, -1.0], [1.0, -1.0], [5.0, 0.0]]
    want = [
        "pareto_improving",
        "pareto_degrading",
        "tradeoff",
        "undetermined",
        "undetermined",
        "undetermined",
    ]
    assert theory.classify(rows, se=1.0).tolist() == want
    # A third value in doubt does not undo a trade-off, and known zeros classify as without errors.
    assert theory.classify([5.0, -5.0, 0.1], se=1.0).tolist() == ["tradeoff"]
    assert (theory.classify(rows, se=0.0) == theory.classify(rows)).all()
    assert theory.classify([1.97, 1.97], se=1.0).tolist() == ["pareto_improving"]
    assert theory.classify([1.97, 1.97], se=1.0, z=2.0).tolist() == ["undetermined"]
    with pytest.raises(ValueError, match="se holds a negative"):
        theory.classify([1.0], se=[-1.0])
    with pytest.raises(ValueError, match="profile has shape"):
        theory.classify(np.zeros((2, 0)))


@pytest.mark.parametrize("metric", ["kl", "euclid"])
def test_optimal_direction_beats_random_ones(metric: str) -> None:
    rng = np.random.default_rng(SEED)
    sigma, values, weights = covariance(rng, 5), rng.standard_normal((3, 5)), np.array([1.0, 0.2, 2.0])
    best = theory.optimal_direction(values, sigma, weights, metric=metric)
    form = sigma if metric == "kl" else np.eye(5)
    assert best @ form @ best == pytest.approx(1.0)
    combined = weights @ values
    others = rng.standard_normal((50_000, 5))
    others /= np.sqrt(np.einsum("nd,de,ne->n", others, form, others))[:, None]
    value = combined @ sigma @ best
    assert value >= (others @ sigma @ combined).max()
    want = np.sqrt(combined @ sigma @ combined) if metric == "kl" else np.linalg.norm(sigma @ combined)
    assert value == pytest.approx(want)


def test_optimal_directions_agree_only_on_eigenvectors() -> None:
    sigma = np.diag([4.0, 1.0])
    along = [theory.optimal_direction([1.0, 0.0], sigma, [1.0], metric=m) for m in ("kl", "euclid")]
    across = [theory.optimal_direction([1.0, 1.0], sigma, [1.0], metric=m) for m in ("kl", "euclid")]
    assert theory.score_correlation(along[0], along[1])[0, 0] == pytest.approx(1.0)
    assert theory.score_correlation(across[0], across[1])[0, 0] < 0.95
    assert np.isnan(theory.optimal_direction([0.0, 1.0], np.diag([1.0, 0.0]), [1.0])).all()


# ---- solid angles


def test_pareto_fraction_two_values_never_above_half() -> None:
    for theta in np.linspace(0.0, np.pi, 9):
        got = theory.pareto_fraction([[1.0, np.cos(theta)], [np.cos(theta), 1.0]])
        assert got == pytest.approx((np.pi - theta) / (2.0 * np.pi), abs=1e-8)
        assert got <= 0.5
    assert theory.pareto_fraction(np.eye(2)) == 0.25
    assert theory.pareto_fraction([[3.0]]) == 0.5
    assert theory.pareto_fraction([[0.0]]) == 0.0


@pytest.mark.parametrize("k", [3, 4, 7, 17, 64])
def test_pareto_fraction_equal_correlations(k: int) -> None:
    assert theory.pareto_fraction(0.5 * np.eye(k) + 0.5) == pytest.approx(1.0 / (k + 1), rel=1e-9)
    assert theory.pareto_fraction(np.eye(k)) == pytest.approx(0.5**k, rel=1e-9)
    assert theory.pareto_fraction(np.ones((k, k))) == pytest.approx(0.5, rel=1e-9)
    # The one-dimensional integral near .5 joins the closed form.
    near = theory.pareto_fraction((0.5 - 1e-6) * np.eye(k) + 0.5 + 1e-6)
    assert near == pytest.approx(1.0 / (k + 1), rel=1e-3) and near > 1.0 / (k + 1)


def test_pareto_fraction_lattice_agrees_with_closed_forms() -> None:
    from clinometer.theory import fraction

    rng = np.random.default_rng(SEED)
    for _ in range(5):
        rows = rng.standard_normal((3, 4))
        r = fraction.normalised(rows @ rows.T)
        assert r is not None
        assert fraction._lattice(r, 8192, 12, 0) == pytest.approx(theory.pareto_fraction(r), rel=1e-3)
    for k, r in [(8, 0.5), (16, 0.5), (5, 0.0)]:
        matrix = (1 - r) * np.eye(k) + r
        assert fraction._lattice(matrix, 8192, 12, 0) == pytest.approx(theory.pareto_fraction(matrix), rel=5e-3)


@pytest.mark.parametrize(("k", "d"), [(4, 4), (5, 2), (6, 3), (7, 12)])
def test_pareto_fraction_against_counting(k: int, d: int) -> None:
    rng = np.random.default_rng(SEED + k)
    rows = rng.standard_normal((k, d))
    rows *= np.sign(rows @ rng.standard_normal(d))[:, None]
    share = float((rng.standard_normal((400_000, d)) @ rows.T > 0).all(axis=1).mean())
    got = theory.pareto_fraction(rows @ rows.T)
    assert got == pytest.approx(share, abs=5.0 * np.sqrt(share / 400_000) + 1e-5)


def test_pareto_fraction_of_an_empty_cone_is_zero() -> None:
    rng = np.random.default_rng(SEED)
    rows = rng.standard_normal((6, 8))
    rows[-1] = -(np.arange(1.0, 6.0) @ rows[:-1])
    assert theory.pareto_fraction(rows @ rows.T) == 0.0
    angles = 2.0 * np.pi * np.arange(3) / 3.0
    plane = np.column_stack([np.cos(angles), np.sin(angles)])
    assert theory.pareto_fraction(plane @ plane.T) == 0.0
    with pytest.raises(ValueError, match="negative eigenvalue"):
        theory.pareto_fraction([[1.0, 2.0, -2.0], [2.0, 1.0, 2.0], [-2.0, 2.0, 1.0]])


# ---- spectra


@pytest.mark.parametrize("d", [1, 3, 17, 33])
def test_effective_rank_of_identity_and_rank_one(d: int) -> None:
    full = theory.effective_rank(np.eye(d))
    assert (full.participation, full.stable) == (d, d) and full.entropy == pytest.approx(d)
    assert full.energy == int(np.ceil(0.9 * d))
    one = theory.effective_rank(np.eye(d)[:1].T @ np.eye(d)[:1])
    assert (one.participation, one.entropy, one.stable, one.energy) == (1.0, 1.0, 1.0, 1)


def test_effective_rank_routes_and_scale() -> None:
    rng = np.random.default_rng(SEED)
    sigma = covariance(rng, 9)
    want = np.trace(sigma) ** 2 / (sigma**2).sum()
    for source in (sigma, SimpleNamespace(covariance=sigma), np.linalg.eigvalsh(sigma)):
        assert theory.effective_rank(source).participation == pytest.approx(want)
    for scale in (1e300, 1e-300):
        scaled = theory.effective_rank(scale * np.array([1.0, 2.0, 3.0]))
        assert scaled.participation == pytest.approx(36.0 / 14.0)
    zero = theory.effective_rank(np.zeros(4))
    assert (zero.participation, zero.entropy, zero.stable, zero.energy) == (0.0, 0.0, 0.0, 0)
    with pytest.raises(ValueError, match="threshold"):
        theory.effective_rank([1.0], threshold=0.0)
    with pytest.raises(ValueError, match="eigenvalues"):
        theory.effective_rank([1.0, -1.0])


def test_value_concentration_null_is_uniform() -> None:
    rng = np.random.default_rng(SEED)
    d, m = 40, 6
    sigma = np.diag(1.0 / np.arange(1, d + 1))
    result = theory.value_concentration(rng.standard_normal((2000, d)), sigma, m)
    assert result.share.mean() == pytest.approx(m / d, abs=0.01) and result.null_mean == m / d
    for p in (result.p_value, result.variance_p_value):
        assert np.abs(np.sort(p) - (np.arange(2000) + 0.5) / 2000).max() < 1.63 / np.sqrt(2000) + 0.01
    assert not result.tie


def test_value_concentration_estimator_artefact() -> None:
    # Sigma u for a random u looks concentrated where u is not (theory 5.2).
    rng = np.random.default_rng(SEED)
    d, m = 60, 6
    sigma, u = np.diag(1.0 / np.arange(1, d + 1)), rng.standard_normal((200, d))
    assert theory.value_concentration(u, sigma, m).share.mean() < 0.15
    assert theory.value_concentration(u @ sigma, sigma, m).share.mean() > 0.8


def test_value_concentration_edges() -> None:
    tied = theory.value_concentration([1.0, 0.0, 0.0], np.eye(3), 1)
    assert tied.tie
    whole = theory.value_concentration([1.0, 2.0], np.diag([2.0, 1.0]), 2)
    assert whole.share[0] == 1.0 and whole.p_value[0] == 1.0 and not whole.tie
    assert np.isnan(theory.value_concentration([0.0, 0.0], np.diag([2.0, 1.0]), 1).share).all()
    assert theory.value_concentration([1.0, 0.0, 0.0], np.diag([1.0, 1.0, 0.0])).m == 2
    with pytest.raises(ValueError, match="m is 4"):
        theory.value_concentration([1.0, 0.0], np.eye(2), 4)


# ---- worked examples


def test_toy_table() -> None:
    toy = theory.toy_example()
    np.testing.assert_allclose(toy.cosine_after, [0.573, 0.713, -0.402, -0.564], atol=5e-4)
    np.testing.assert_allclose(toy.cosine_before, 0.1, atol=5e-4)
    np.testing.assert_allclose(toy.gain, [0.9, 1.8, -0.8, -1.6])
    np.testing.assert_allclose(toy.kl, [0.5, 2.0, 0.5, 2.0], atol=1e-3)
    np.testing.assert_allclose(toy.vector[1], [1.9, 1.867], atol=1e-12)
    lines = str(toy).splitlines()
    assert len(lines) == 5 and "0.100 -> 0.573" in lines[1]


def test_pooled_covariance_promises_the_wrong_sign() -> None:
    example = theory.pooled_versus_within()
    assert example.within == pytest.approx(-1.0, abs=0.02)
    assert example.pooled == pytest.approx(8.0, abs=0.6)
    assert (example.gain < 0).all() and (np.diff(example.gain) < 0).all()
    # Without topics the two covariances agree.
    plain = theory.pooled_versus_within(0.0)
    assert plain.within == pytest.approx(plain.pooled, abs=0.01)
    with pytest.raises(ValueError, match="n_prompts"):
        theory.pooled_versus_within(n_prompts=1)
