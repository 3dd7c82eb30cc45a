"""The Gaussian world: what it promises exactly, checked on the rows it draws."""

from __future__ import annotations

import numpy as np
import pytest

from clinometer.theory import score_correlation
from clinometer.theory.simulation import simulate


def rows_of(dump: object) -> np.ndarray:
    return np.asarray(dump.read(0, dump.n_rows), dtype=np.float64)  # type: ignore[attr-defined]


def within(ids: np.ndarray, x: np.ndarray) -> np.ndarray:
    counts = np.bincount(ids)
    sums = np.zeros((counts.size, *x.shape[1:]))
    np.add.at(sums, ids, x)
    return x - (sums / counts.reshape(-1, *[1] * (x.ndim - 1)))[ids]


@pytest.fixture(scope="module")
def world() -> object:
    return simulate(400, 64, 8, n_values=2, dtype="float64", random_state=3)


def test_directions_have_the_wanted_correlations(world: object) -> None:
    truth = world.truth  # type: ignore[attr-defined]
    got = score_correlation(np.vstack([truth.u_c, truth.u_gen]), truth.u_star, truth.sigma)[:, 0]
    np.testing.assert_allclose(got, [0.8, -0.4, 0.1], atol=1e-12)
    for u in (*truth.u_values, *truth.u_c, truth.u_gen):
        assert u @ truth.sigma @ u == pytest.approx(1.0)
    np.testing.assert_allclose(np.sort(np.linalg.eigvalsh(truth.sigma)), np.sort(truth.spectrum), atol=1e-12)


def test_rows_have_the_stated_means_and_covariance(world: object) -> None:
    phi, ids, truth = rows_of(world), world.prompt_ids, world.truth  # type: ignore[attr-defined]
    centred = phi - truth.prompt_means[ids]
    n = phi.shape[0]
    np.testing.assert_allclose(centred.mean(axis=0), 0.0, atol=5 / np.sqrt(n))
    np.testing.assert_allclose(centred.T @ centred / n, truth.sigma, atol=6 / np.sqrt(n))


def test_columns_are_what_they_say(world: object) -> None:
    phi, ids, truth, columns = rows_of(world), world.prompt_ids, world.truth, world.columns  # type: ignore[attr-defined]
    np.testing.assert_allclose(columns["judge/c1"], phi @ truth.u_c[1], atol=1e-10)
    for j, name in enumerate(["s", "s2"]):
        noise = columns[name] - phi @ truth.u_values[j]
        assert noise.std() == pytest.approx(truth.noise_sd, rel=0.03)
        explained = np.var(within(ids, phi @ truth.u_values[j])) / np.var(within(ids, columns[name]))
        assert explained == pytest.approx(truth.rho2, abs=0.02)
    assert columns["n_tokens"].dtype.kind == "i" and columns["n_tokens"].min() >= 1
    length = np.corrcoef(within(ids, np.log(columns["n_tokens"])), within(ids, columns["judge/c0"]))[0, 1]
    assert length == pytest.approx(0.3, abs=0.03)
    # Assumption 2: within prompts log pi0 is linear in phi with direction u_gen.
    fit = np.linalg.lstsq(within(ids, phi), within(ids, np.asarray(columns["logprob"])), rcond=None)[0]
    np.testing.assert_allclose(fit, truth.u_gen, atol=1e-9)


def test_the_base_policy_is_normalised() -> None:
    # pi0 = base measure * exp(logprob): the mean of exp(-logprob) under pi0 is the base measure's mass, 1.
    dump = simulate(20_000, 4, 3, tilt_sd=0.5, random_state=1)
    mass = np.exp(-np.asarray(dump.columns["logprob"]))
    assert mass.mean() == pytest.approx(1.0, abs=5 * mass.std() / np.sqrt(mass.size))


@pytest.mark.parametrize("beta", [1.0, 2.0])
def test_gain_and_kl_of_the_exact_tilt(beta: float) -> None:
    dump = simulate(60, 20_000, 4, n_constitutions=3, prompt_sd=2.0, dtype="float64", random_state=5)
    truth, ids, s = dump.truth, dump.prompt_ids, np.asarray(dump.columns["s"])
    assert truth.gain(beta).shape == (3, 1, 1) and truth.kl([beta, 1.0]).shape == (3, 2)
    for c in range(3):
        t = within(ids, np.asarray(dump.columns[f"judge/c{c}"])) / beta
        z = np.bincount(ids, np.exp(t)) / 20_000
        p = np.exp(t) / z[ids] / ids.size
        assert p @ s - s.mean() == pytest.approx(truth.gain(beta)[c, 0, 0], abs=0.02)
        assert p @ t - np.log(z).mean() == pytest.approx(truth.kl(beta)[c, 0], rel=0.03)
        assert truth.gain(beta)[c, 0, 0] == pytest.approx(truth.u_star @ truth.sigma @ truth.u_c[c] / beta)


def test_heavy_tails_keep_the_covariance() -> None:
    dump = simulate(200, 400, 3, heavy_tails=True, spectrum="flat", prompt_sd=0.0, dtype="float64")
    centred = rows_of(dump) - dump.truth.prompt_means[dump.prompt_ids]
    np.testing.assert_allclose(np.cov(centred.T), np.eye(3), atol=0.06)
    assert (centred**4).mean() / (centred**2).mean() ** 2 > 4.5
    assert not dump.truth.gaussian


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_dtypes_and_scores_of_stored_rows(dtype: str) -> None:
    if dtype == "bfloat16":
        pytest.importorskip("ml_dtypes")
    dump = simulate(3, 5, 7, dtype=dtype, mean=100.0)
    assert dump.dtype == dtype
    np.testing.assert_allclose(dump.columns["judge/c0"], rows_of(dump) @ dump.truth.u_c[0], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("g", "n", "d"), [(1, 1, 1), (1, 3, 1), (3, 1, 7), (7, 15, 33), (2, 2, 2)])
def test_odd_sizes(g: int, n: int, d: int) -> None:
    dump = simulate(g, n, d)
    assert (dump.n_rows, dump.dim, dump.n_prompts) == (g * n, d, g)
    assert dump.policy == "on_policy"
    assert all(np.isfinite(dump.columns[name]).all() for name in dump.columns)


def test_options() -> None:
    uneven = simulate(300, 4, 3, unequal=True)
    counts = np.bincount(uneven.prompt_ids)
    assert counts.min() == 1 and counts.max() == 7
    low = simulate(50, 20, 4, spectrum=[2.0, 1.0, 0.0, 0.0], n_constitutions=1, alignment=0.6)
    assert np.linalg.matrix_rank(low.truth.sigma) == 2
    assert score_correlation(low.truth.u_c, low.truth.u_star, low.truth.sigma)[0, 0] == pytest.approx(0.6)
    assert "judge/c0" not in simulate(2, 2, 2, n_constitutions=0).columns
    perfect = simulate(2, 5, 3, rho2=1.0, dtype="float64")
    np.testing.assert_allclose(perfect.columns["s"], rows_of(perfect) @ perfect.truth.u_star, atol=1e-12)


def test_dumps_of_one_world_share_their_directions_alone() -> None:
    a, b = (simulate(20, 4, 6, random_state=seed, world=9) for seed in (0, 1))
    for name in ("u_values", "u_c", "u_gen", "sigma"):
        np.testing.assert_array_equal(getattr(a.truth, name), getattr(b.truth, name))
    assert not np.array_equal(a.read(0, 4), b.read(0, 4))
    assert not np.array_equal(a.truth.prompt_means, b.truth.prompt_means)
    assert not np.array_equal(a.truth.u_star, simulate(20, 4, 6, random_state=0, world=8).truth.u_star)


def test_a_seed_gives_the_same_dump() -> None:
    first, again, other = simulate(4, 3, 5), simulate(4, 3, 5), simulate(4, 3, 5, random_state=1)
    np.testing.assert_array_equal(rows_of(first), rows_of(again))
    np.testing.assert_array_equal(first.columns["s"], again.columns["s"])
    assert (rows_of(first) != rows_of(other)).any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_prompts": 0}, "n_prompts is 0"),
        ({"dim": 2.5}, "dim is 2.5"),
        ({"rho2": 0.0}, "rho2"),
        ({"alignment": [0.1]}, "alignment"),
        ({"alignment": 1.5}, "alignment"),
        ({"spectrum": "steep"}, "spectrum"),
        ({"spectrum": [1.0, -1.0]}, "spectrum"),
        ({"generation_alignment": 2.0}, "generation_alignment"),
        ({"n_constitutions": -1}, "n_constitutions"),
    ],
)
def test_errors_name_the_argument(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        simulate(**{"dim": 2, **options})  # type: ignore[arg-type]
