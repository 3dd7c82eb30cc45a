"""The passes over rows: every float field of every result against sums over prompts that are written out."""

from __future__ import annotations

import numpy as np
import pytest
from plain import Floats, Prompts, agree, error

import clinometer as cm
from clinometer import reference
from clinometer.engine import stat

SIZES = (5, 6, 7, 8, 5, 9)
IDS = np.repeat(np.arange(len(SIZES)), SIZES)
RNG = np.random.default_rng(20263)
PHI = np.round(RNG.standard_normal((len(IDS), 3)) + 2 * RNG.standard_normal((len(SIZES), 3))[IDS], 3)
U = np.array([[0.9, -0.4, 0.2], [0.2, 0.6, 0.8]])
T = PHI @ U.T
# the second value rises with the second score and then falls: its gain changes sign
P = Prompts(IDS)
OFF = T[:, 1] - P.each(lambda r: T[r, 1].mean())[IDS] - 0.4
VALUES = np.round(np.column_stack([T[:, 0] + RNG.standard_normal(len(IDS)), -(OFF**2)]), 1)
BETAS = [20.0, 0.7, 0.1]
EXACT = {"prompt_ids": IDS, "precision": "double"}
SHAPE = (2, 3, 2)


def table(f: object, shape: tuple[int, ...]) -> Floats:
    """f of the indices of every cell."""
    return np.array([f(*i) for i in np.ndindex(*shape)]).reshape(shape)  # type: ignore[operator]


def wins(p: Floats, f: Floats) -> Floats:
    """Chance in every prompt that a row drawn by p beats one drawn evenly; ties count half."""
    return P.each(lambda r: p[r] @ [np.mean((f[i] > f[r]) + 0.5 * (f[i] == f[r])) for i in r])


def tilts() -> dict[str, Floats]:
    """What a tilt says, by its fields."""
    p = {(k, b): P.tilt(T[:, k], 1 / BETAS[b]) for k, b in np.ndindex(2, 3)}
    lam = 1 / np.array(BETAS)

    def by_prompt(f: object) -> Floats:
        return table(lambda k, b: P.each(lambda r: f(p[k, b][r], T[r, k] * lam[b])).mean(), (2, 3))  # type: ignore[operator]

    def central(k: int, j: int) -> Floats:
        """k2, k3 and k4 of value j with score k."""

        def one(r: np.ndarray) -> list[float]:
            a, t = VALUES[r, j] - VALUES[r, j].mean(), T[r, k] - T[r, k].mean()
            return [np.mean(a * t), np.mean(a * t**2), np.mean(a * t**3) - 3 * np.mean(a * t) * np.mean(t * t)]

        return P.each(one).mean(axis=0)

    k2, k3, k4 = np.moveaxis(np.array([[central(k, j) for j in range(2)] for k in range(2)]), 2, 0)
    own = table(lambda k, j: P.unbiased(T[:, k], VALUES[:, j]).mean(), (2, 2))
    own_se = table(lambda k, j: error(P.unbiased(T[:, k], VALUES[:, j])), (2, 2))
    kl = by_prompt(lambda q, x: sum(a * np.log(a * len(q)) for a in q))
    return {
        "betas": np.array([BETAS, BETAS]), "baseline": P.each(lambda r: VALUES[r].mean(axis=0)).mean(axis=0),
        "gain": table(lambda k, b, j: P.moved(p[k, b], VALUES[:, j]).mean(), SHAPE),
        "gain_se": table(lambda k, b, j: error(P.moved(p[k, b], VALUES[:, j])), SHAPE),
        "win_rate": table(lambda k, b, j: wins(p[k, b], VALUES[:, j]).mean(), SHAPE), "kl": kl,
        "reverse_kl": by_prompt(lambda q, x: np.mean(-np.log(q * len(q)))),
        "chi2": by_prompt(lambda q, x: len(q) * q @ q - 1), "ess": by_prompt(lambda q, x: 1 / (len(q) * q @ q)),
        "ess_min": table(lambda k, b: P.each(lambda r: 1 / (len(r) * p[k, b][r] @ p[k, b][r])).min(), (2, 3)),
        "max_ratio": table(lambda k, b: P.each(lambda r: len(r) * p[k, b][r].max()).max(), (2, 3)),
        "log_partition": by_prompt(lambda q, x: np.log(np.mean(np.exp(x)))),
        "log_partition_centred": by_prompt(lambda q, x: np.log(np.mean(np.exp(x - x.mean())))),
        "first_order": table(lambda k, b, j: lam[b] * k2[k, j], SHAPE),
        "second_order": table(lambda k, b, j: lam[b] * k2[k, j] + lam[b] ** 2 / 2 * k3[k, j], SHAPE),
        "first_order_unbiased": table(lambda k, b, j: lam[b] * own[k, j], SHAPE),
        "first_order_se": table(lambda k, b, j: lam[b] * own_se[k, j], SHAPE),
        "linear_radius": np.minimum(0.2 * np.abs(k2 / k3), np.sqrt(0.6 * np.abs(k2 / k4))),
        "gaussian_kl": table(lambda k, b: lam[b] ** 2 / 2 * P.unbiased(T[:, k], T[:, k]).mean(), (2, 3)),
        "pareto_k": table(lambda k, b: reference.pareto_k(np.log(
            np.concatenate([len(r) * p[k, b][r] for r in P.rows]))), (2, 3)),
    }  # fmt: skip


def test_tilt() -> None:
    found, want = cm.tilt(PHI, U, BETAS, VALUES, **EXACT), tilts()
    want["kl_horizon"] = np.array([P.horizon(t) for t in T.T])
    agree(found, want, apart="sign_flip kl_horizon_sized adjusted_r2 adjusted_gone")
    assert np.isfinite(found.pareto_k).all() and found.kl_horizon.any()
    for k, j in np.ndindex(2, 2):
        if np.isfinite(lam := found.sign_flip[k, j]):
            assert lam > 0 and P.gain(T[:, k], lam, VALUES[:, j]) == pytest.approx(0, abs=1e-8)
    assert np.isfinite(found.sign_flip).any()
    for k, b in np.ndindex(2, 3):
        moved = np.array([P.moved(P.tilt(T[:, k], 1 / BETAS[b]), f) for f in VALUES.T])
        np.testing.assert_allclose(found.gain_cov(k, b), np.cov(moved) / len(SIZES), rtol=1e-9)


def test_what_a_column_explains_of_a_score() -> None:
    # a line fitted to all rows: the score less its regression on the column inside prompts
    z = np.round(T[:, 0] + RNG.standard_normal(len(IDS)), 1)
    found = cm.tilt(PHI, U, BETAS, VALUES, adjust=cm.inference.Adjust(z, method="linear"), **EXACT)
    slope = [P.cov(t, z).mean() / P.cov(z, z).mean() for t in T.T]
    left = np.stack([t - b * z for t, b in zip(T.T, slope, strict=True)], axis=1)
    per_kl = [[[P.cov(t, f).mean() / P.sd(t) for f in VALUES.T] for t in x.T] for x in (T, left)]
    np.testing.assert_allclose(found.adjusted_r2, [P.r(t, z) ** 2 for t in T.T], rtol=1e-9)
    np.testing.assert_allclose(found.adjusted_gone, 1 - np.array(per_kl[1]) / per_kl[0], rtol=1e-8)
    gain = [[P.gain(t, 1 / beta, VALUES[:, 0]) for beta in BETAS] for t in left.T]
    np.testing.assert_allclose(found.gain[..., 0], gain, rtol=1e-7)


def test_sizes_are_good_to_the_cap_where_errors_are_larger_than_biases() -> None:
    # four prompts that disagree: the error of a gain is larger than its bias as far as half the log of n
    t = np.concatenate([s * np.random.default_rng(i).permutation(np.linspace(-1, 1, 8)) for i, s in
                        enumerate((0.2, 1.0, 3.0, 9.0))])  # fmt: skip
    ids = np.repeat(np.arange(4), 8)
    prompts = Prompts(ids)
    found = cm.tilt(cm.Scores(t, prompt_ids=ids), None, kl=[0.1], values=t)
    strongest = prompts.tilt(t, 2 * np.sqrt(np.log(8)) / prompts.sd(t))  # where levels end: twice that of the cap
    assert found.kl_horizon_sized[0] == pytest.approx(min(np.log(8) / 2, prompts.kl(strongest).mean()), rel=1e-9)


def test_sums_of_a_tilt_in_a_scan() -> None:
    dump = cm.open_dump(PHI, prompt_ids=IDS)
    found = cm.scan(dump, stat.Tilt(U, values=VALUES, betas=BETAS), precision="double")[0]
    want = tilts()
    known = [name for name in found.arrays if name in want]
    assert {"gain", "kl", "win_rate"} <= set(known)
    for name in known:
        np.testing.assert_allclose(found.arrays[name], want[name], rtol=1e-9, err_msg=name)


def test_tilted_means() -> None:
    found = cm.tilted_mean(PHI, U, BETAS, **EXACT)
    mean = table(lambda k, b, d: P.each(lambda r: P.tilt(T[:, k], 1 / BETAS[b])[r] @ PHI[r, d]).mean(), (2, 3, 3))
    if isinstance(found, np.ndarray):
        np.testing.assert_allclose(found, mean, rtol=1e-9)
    else:
        agree(found, {"mean": mean, "betas": [BETAS, BETAS]})


@pytest.mark.parametrize("within", [True, False])
def test_moments(within: bool) -> None:
    mean = P.each(lambda r: PHI[r].mean(axis=0)).mean(axis=0)
    inside = np.mean([np.cov(PHI[r].T) for r in P.rows], axis=0)
    weight = np.concatenate([np.full(len(r), 1 / len(r) / len(SIZES)) for r in P.rows])
    pooled = sum(w * np.outer(x - mean, x - mean) for w, x in zip(weight, PHI, strict=True))
    found = cm.moments(PHI, within=within, ddof=1 if within else 0, **EXACT)
    covariance = inside if within else pooled
    agree(found, {"mean": mean, "covariance": covariance, "variances": np.diagonal(covariance)})


def test_cross_covariance() -> None:
    found = cm.cross_covariance(PHI, U, VALUES, **EXACT)
    each = {(k, j): P.unbiased(T[:, k], VALUES[:, j]) for k, j in np.ndindex(2, 2)}
    sd = [np.sqrt([P.unbiased(a, a).mean() for a in x.T]) for x in (T, VALUES)]
    cov = table(lambda k, j: each[k, j].mean(), (2, 2))
    agree(found, {
        "value": cov, "se": table(lambda k, j: error(each[k, j]), (2, 2)), "correlation": cov / np.outer(*sd),
        "covariance": [np.cov([each[k, 0], each[k, 1]]) / len(SIZES) for k in range(2)],
    })  # fmt: skip


def test_the_loss_of_pairs() -> None:
    pairs = np.array([[r[a], r[b]] for r in P.rows for a, b in ((0, 1), (2, 3), (4, 1))])
    prob, bias = np.random.default_rng(1).uniform(0, 1, len(pairs)), np.array([0.3, -0.2])
    dump = cm.open_dump(PHI, prompt_ids=IDS)
    statistic = stat.Pairs(U, pairs=pairs, prob=prob, bias=bias)
    found = cm.scan(dump, statistic, precision="double")[0]
    D = PHI[pairs[:, 0]] - PHI[pairs[:, 1]]
    z = D @ U.T + bias
    loss = (np.log1p(np.exp(z)) - prob[:, None] * z).mean(axis=0)
    left = (1 / (1 + np.exp(-z)) - prob[:, None]).T
    agree(found, {
        "loss": loss, "gradient": left @ D / len(D), "bias_gradient": left.mean(axis=1), "weight": [len(pairs)] * 2,
    })  # fmt: skip


def test_examples() -> None:
    tokens = np.arange(len(IDS)) + 1.0
    dump = cm.open_dump(PHI, prompt_ids=IDS, columns={"n_tokens": tokens})
    found = cm.examples(dump, U[0], kl=0.3, n=3, values=VALUES, precision="double")
    beta = P.beta_at(T[:, 0], 0.3)
    p, size = P.tilt(T[:, 0], 1 / beta), np.array(SIZES)[IDS]
    order = np.argsort(-p * size)
    rows = [*order[:3], *order[-3:]]
    np.testing.assert_array_equal(found.row, rows)
    agree(found, {
        "kl": 0.3, "beta": beta, "before": 1 / size[rows], "after": p[rows], "ratio": p[rows] * size[rows],
        "values": VALUES[rows], "mean_values": VALUES.mean(axis=0), "n_tokens": tokens[rows],
    }, rtol=1e-6)  # fmt: skip


def test_what_a_world_says_of_itself() -> None:
    dump = cm.simulate(20, 12, 4, n_values=2, rho2=1.0, tilt_sd=1.5, mean=2.0, dtype="float64", random_state=3)
    t, phi, ids = dump.truth, dump.read(0, dump.n_rows, np.float64), np.asarray(dump.prompt_ids)

    def solved(name: str) -> Floats:
        """The direction that gives a column without noise, inside prompts."""
        means = np.array([phi[ids == g].mean(axis=0) for g in range(20)])
        s = np.asarray(dump.column(name), float)
        own = np.array([s[ids == g].mean() for g in range(20)])
        return np.linalg.lstsq(phi - means[ids], s - own[ids], rcond=None)[0]

    root = np.eye(4)
    for h in t.reflections:
        root = root - 2 * np.outer(root @ h, h)
    lam = 1 / np.arange(1, 5)
    sigma = root.T @ np.diag(lam) @ root
    for u, sd in (t.u_values, 1.0), (t.u_c, 1.5), (t.u_gen[None], 1.5):  # of a score inside prompts
        np.testing.assert_allclose(np.einsum("kd,de,ke->k", u, sigma, u), sd**2, rtol=1e-9)
    agree(t, {
        "u_star": solved("s"), "u_values": [solved("s"), solved("s2")], "u_gen": solved("logprob"),
        "u_c": [solved("judge/c0"), solved("judge/c1")], "rho2": 1.0, "noise_sd": 0.0, "spectrum": lam,
        "sigma": sigma,
    }, apart="prompt_means reflections", rtol=1e-7)  # fmt: skip
    np.testing.assert_allclose(np.linalg.norm(t.reflections, axis=1), 1, rtol=1e-12)
    # the normaliser of the policy: log pi0 = <u_gen, phi> - <u_gen, mean> + sd^2/2
    normaliser = phi @ t.u_gen - np.asarray(dump.column("logprob"))
    np.testing.assert_allclose((t.prompt_means @ t.u_gen)[ids], normaliser + 1.5**2 / 2, rtol=1e-9)
    noisy = cm.simulate(3, 2, 2, rho2=0.2).truth
    assert noisy.rho2 == 0.2 and noisy.noise_sd == pytest.approx(2.0)
