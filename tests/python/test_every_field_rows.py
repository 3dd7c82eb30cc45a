"""Theory on rows: every float field of every result against sums over prompts that are written out."""

from __future__ import annotations

import warnings
from itertools import combinations, product

import numpy as np
import pytest
from plain import Floats, Prompts, agree, error
from scipy import stats
from scipy.integrate import quad

import clinometer as cm
from clinometer import theory

SIZES = (4, 5, 6, 7, 5, 4, 8, 6)
IDS = np.repeat(np.arange(len(SIZES)), SIZES)
RNG = np.random.default_rng(20260)
PHI = RNG.standard_normal((len(IDS), 3)) @ RNG.standard_normal((3, 3)) + 4 * RNG.standard_normal((len(SIZES), 3))[IDS]
PHI = np.round(PHI, 3)
U = np.array([[0.5, -0.2, 0.1], [0.1, 0.3, 0.4]])
T = PHI @ U.T
VALUES = np.round(np.column_stack([T[:, 0] + RNG.standard_normal(len(IDS)), np.sin(T[:, 1]) - 0.4 * T[:, 0]]), 3)
EXACT = {"prompt_ids": IDS, "precision": "double"}
P = Prompts(IDS)
CELLS = list(product(range(2), range(2)))


def table(f: object, shape: tuple[int, ...]) -> Floats:
    """f(k, b, j) on every cell."""
    return np.array([f(*i) for i in np.ndindex(*shape)]).reshape(shape)  # type: ignore[operator]


def largest_normal(n: int) -> float:
    """E max of n standard normals, by quadrature."""
    return quad(lambda x: x * n * stats.norm.pdf(x) * stats.norm.cdf(x) ** (n - 1), -12, 12, epsabs=1e-13)[0]


def picks(t: Floats, n: int, replacement: bool) -> Floats:
    """Chance of every row to be the best of n, over all samples of its prompt; ties share."""
    p = np.zeros(len(t))
    for rows in P.rows:
        draws = list(product(rows, repeat=n) if replacement else combinations(rows, n))
        for draw in draws:
            best = [i for i in draw if t[i] == max(t[list(draw)])]
            for i in best:
                p[i] += 1 / len(best) / len(draws)
    return p


@pytest.mark.parametrize("replacement", [False, True])
def test_best_of_n(replacement: bool) -> None:
    coarse = np.round(T, 0)  # with ties
    found = theory.best_of_n(PHI, cm.Scores(coarse), VALUES, [2, 3], replacement=replacement, **EXACT)
    best = {n: [P.moved(picks(f, n, replacement), f) for f in VALUES.T] for n in (2, 3)}
    chosen = {n: [picks(t, n, replacement) for t in coarse.T] for n in (2, 3)}
    gains = {(k, n, j): P.moved(chosen[n][k], VALUES[:, j]) for k, n, j in product(range(2), (2, 3), range(2))}
    shape, e = (2, 2, 2), {n: largest_normal(n) for n in (2, 3)}
    ddof = 0 if replacement else 1  # without, rows stand for draws of the policy, and so does their spread
    sd = [np.sqrt(P.each(lambda r, f=f: f[r].var(ddof=ddof)).mean()) for f in VALUES.T]
    kl = table(lambda k, m: P.kl(chosen[m + 2][k]).mean() if replacement else np.nan, (2, 2))
    agree(found, {
        "gain": table(lambda k, m, j: gains[k, m + 2, j].mean(), shape),
        "gain_se": table(lambda k, m, j: error(gains[k, m + 2, j]), shape),
        "oracle": table(lambda k, m, j: best[m + 2][j].mean(), shape),
        "regret": table(lambda k, m, j: (best[m + 2][j] - gains[k, m + 2, j]).mean(), shape),
        "regret_se": table(lambda k, m, j: error(best[m + 2][j] - gains[k, m + 2, j]), shape),
        "normal": table(lambda k, m, j: e[m + 2] * P.r(coarse[:, k], VALUES[:, j]) * sd[j], shape),
        "kl": kl,
        "kl_bound": [np.log(n) - (n - 1) / n for n in (2, 3)],
        "efficiency": [e[n] / np.sqrt(2 * (np.log(n) - (n - 1) / n)) for n in (2, 3)],
    }, apart="gain_interval regret_interval")  # fmt: skip
    both = (found.gain, found.gain_se, found.gain_interval), (found.regret, found.regret_se, found.regret_interval)
    for at, se, ends in both:
        np.testing.assert_allclose(ends.mean(axis=-1), at, rtol=1e-9, atol=1e-12)
        assert (ends[..., 1] - at >= stats.t.ppf(0.975, len(SIZES) - 1) * se * (1 - 1e-9)).all()


def test_best_of_n_in_a_gaussian_world() -> None:
    e = largest_normal(5)
    bound = np.log(5) - 0.8
    agree(theory.best_of_n(5, 0.6, 2.0), {
        "gain": [[[1.2 * e]]], "oracle": [[[2 * e]]], "regret": [[[0.8 * e]]], "normal": [[[1.2 * e]]], "kl": [[bound]],
        "kl_bound": [bound], "efficiency": [e / np.sqrt(2 * bound)], "gain_se": [[[np.nan]]],
        "regret_se": [[[np.nan]]],
    }, apart="gain_interval regret_interval")  # fmt: skip


def test_the_frontier() -> None:
    levels = [0.1, 0.4]
    turning = np.column_stack([VALUES[:, 0], -((T[:, 0] - np.median(T[:, 0])) ** 2)])
    found = theory.gain_kl_frontier(PHI, U, turning, kl=levels, **EXACT)
    betas = table(lambda k, b: P.beta_at(T[:, k], levels[b]), (2, 2))
    own = table(lambda b, j: P.beta_at(turning[:, j], levels[b]), (2, 2))
    gains = {(k, b, j): P.moved(P.tilt(T[:, k], 1 / betas[k, b]), turning[:, j]) for k, b, j in np.ndindex(2, 2, 2)}
    best = {(b, j): P.moved(P.tilt(turning[:, j], 1 / own[b, j]), turning[:, j]) for b, j in np.ndindex(2, 2)}
    tops = [P.tilt(f, np.inf) for f in turning.T]
    r = table(lambda k, j: P.r(T[:, k], turning[:, j]), (2, 2))
    lams = [np.linspace(0, 1 / betas[k].min(), found.curve.shape[1] + 1) for k in range(2)]
    curves = {(k, j): np.array([P.moved(P.tilt(T[:, k], x), turning[:, j]) for x in lams[k]]) for k, j in CELLS}
    curve_kl = np.array([[P.kl(P.tilt(T[:, k], x)).mean() for x in lams[k]] for k in range(2)])

    def turn(k: int, j: int) -> tuple[float, float, float, float]:
        each = curves[k, j]
        down = found.shape[k, j] in ("falling", "falls then rises")
        at = int(np.argmin(each.mean(1)) if down else np.argmax(each.mean(1)))
        back = each[-1] - each[at]
        return each[at].mean(), curve_kl[k, at], back.mean(), float(error(back))

    turns = np.array([[turn(k, j) for j in range(2)] for k in range(2)])
    agree(found, {
        "kl": levels, "kl_reached": [levels, levels], "betas": betas,
        "gain": table(lambda k, b, j: gains[k, b, j].mean(), (2, 2, 2)),
        "gain_se": table(lambda k, b, j: error(gains[k, b, j]), (2, 2, 2)),
        "efficiency": table(lambda k, b, j: gains[k, b, j].mean() / best[b, j].mean(), (2, 2, 2)),
        "regret": table(lambda k, b, j: (best[b, j] - gains[k, b, j]).mean(), (2, 2, 2)),
        "regret_se": table(lambda k, b, j: error(best[b, j] - gains[k, b, j]), (2, 2, 2)),
        "gaussian": table(lambda k, b, j: r[k, j] * P.sd(turning[:, j]) * np.sqrt(2 * levels[b]), (2, 2, 2)),
        "correlation": r,
        "oracle": table(lambda b, j: best[b, j].mean(), (2, 2)),
        "oracle_se": table(lambda b, j: error(best[b, j]), (2, 2)), "oracle_kl": np.transpose([levels, levels]),
        "oracle_limit": [P.moved(p, f).mean() for p, f in zip(tops, turning.T, strict=True)],
        "oracle_kl_max": [P.kl(p).mean() for p in tops],
        "curve": table(lambda k, x, j: curves[k, j][x + 1].mean(), found.curve.shape), "curve_kl": curve_kl[:, 1:],
        "peak_gain": turns[..., 0], "peak_kl": turns[..., 1], "drop": turns[..., 2], "drop_se": turns[..., 3],
        "kl_horizon": [P.horizon(t) for t in T.T],
    }, rtol=1e-6, atol=1e-9)  # fmt: skip
    assert (found.peak_gain != 0).any() and (found.drop != 0).any()


def test_ensembles() -> None:
    W, betas = np.array([[0.2, 0.8], [0.5, 0.5]]), [3.0, 0.6]
    found = theory.ensembles(PHI, U, W, VALUES, betas, **EXACT)
    scale = np.array([P.sd(t) for t in T.T])
    t = T / scale
    pool = t @ W.T
    alone = {(k, b): P.tilt(t[:, k], 1 / betas[b]) for k, b in CELLS}
    pooled = {(m, b): P.tilt(pool[:, m], 1 / betas[b]) for m, b in CELLS}
    mixed = {(m, b): W[m, 0] * alone[0, b] + W[m, 1] * alone[1, b] for m, b in CELLS}
    member = table(lambda k, b, j: P.moved(alone[k, b], VALUES[:, j]).mean(), (2, 2, 2))
    of = {name: table(lambda m, b, j, p=p: P.moved(p[m, b], VALUES[:, j]).mean(), (2, 2, 2))
          for name, p in (("pool_gain", pooled), ("mixture_gain", mixed))}  # fmt: skip
    of |= {name: table(lambda m, b, j, p=p: error(P.moved(p[m, b], VALUES[:, j])), (2, 2, 2))
           for name, p in (("pool_se", pooled), ("mixture_se", mixed))}  # fmt: skip
    of |= {name: table(lambda m, b, p=p: P.kl(p[m, b]).mean(), (2, 2))
           for name, p in (("pool_kl", pooled), ("mixture_kl", mixed), ("member_kl", alone))}  # fmt: skip
    first = table(lambda m, b, j: P.cov(pool[:, m], VALUES[:, j]).mean() / betas[b], (2, 2, 2))
    agree(found, {
        **of, "member_gain": member, "first_order": first, "worst_member": member.min(axis=0), "scale": scale,
        "weights": W, "pool_betas": [betas, betas], "member_betas": [betas, betas],
    })  # fmt: skip


def test_cumulants() -> None:
    turning = np.column_stack([VALUES[:, 0], -((T[:, 0] - np.median(T[:, 0]) - 0.3) ** 2)])
    found = theory.cumulants(PHI, U, turning, **EXACT)

    def orders(f: Floats, t: Floats) -> Floats:
        def one(r: np.ndarray) -> list[float]:
            a, b = f[r] - f[r].mean(), t[r] - t[r].mean()
            k2 = np.mean(a * b)
            return [k2, np.mean(a * b**2), np.mean(a * b**3) - 3 * k2 * np.mean(b * b)]

        return P.each(one)

    of = {(k, j): orders(turning[:, j], T[:, k]) for k, j in CELLS}
    score = [orders(t, t) for t in T.T]
    k2 = table(lambda k, j: of[k, j][:, 0].mean(), (2, 2))
    agree(found, {
        "gain": table(lambda k, o, j: of[k, j][:, o].mean(), (2, 3, 2)),
        "gain_se": table(lambda k, o, j: error(of[k, j][:, o]), (2, 3, 2)),
        "score": [x.mean(axis=0) for x in score], "score_se": [error(x) for x in score], "q": 0.1,
        "z": k2 / table(lambda k, j: error(of[k, j][:, 0]), (2, 2)),
    }, apart="series_radius exact_radius sign_flip")  # fmt: skip
    # what the radii and the flip are, at themselves
    some = np.isfinite(found.sign_flip)
    assert some.any() and np.isfinite(found.exact_radius).any() and np.isfinite(found.series_radius).any()
    for k, j in CELLS:
        if np.isfinite(lam := found.exact_radius[k, j]):
            assert abs(P.gain(T[:, k], lam, turning[:, j]) / (lam * k2[k, j]) - 1) == pytest.approx(0.1, abs=1e-7)
        if np.isfinite(lam := found.series_radius[k, j]):
            terms = np.abs(found.gain[k, 1:, j] * [lam / 2, lam**2 / 6])  # the first of the two to reach a tenth
            assert terms.max() == pytest.approx(0.1 * abs(k2[k, j]), rel=1e-9) and lam > 0
        if some[k, j]:
            assert found.sign_flip[k, j] > 0
            assert P.gain(T[:, k], found.sign_flip[k, j], turning[:, j]) == pytest.approx(0, abs=1e-8)


@pytest.mark.parametrize("rebase", [True, False])
def test_iterated_rounds(rebase: bool) -> None:
    betas = [3.0, 2.0, 4.0]
    three = np.array([*U, [0.2, 0.2, -0.3]])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = theory.iterate(PHI, three, betas, VALUES, rebase=rebase, **EXACT)
    score, begin, before, want = np.zeros(len(IDS)), P.tilt(T[:, 0], 0.0), P.tilt(T[:, 0], 0.0), []
    for u, beta in zip(three, betas, strict=True):
        t = PHI @ u / beta
        at = before if rebase else begin
        step = [P.each(lambda r, f=f, q=at, t=t: q[r] @ (t[r] * f[r]) - (q[r] @ t[r]) * (q[r] @ f[r])).mean()
                for f in VALUES.T]  # fmt: skip
        score = score + t if rebase else t
        p = P.tilt(score, 1.0)
        gains = [P.moved(p, f) for f in VALUES.T]
        share = P.each(lambda r, p=p: 1 / (len(r) * (p[r] @ p[r])))
        want.append({
            "gain": [g.mean() for g in gains], "gain_se": [error(g) for g in gains], "step": step,
            "kl": P.kl(p).mean(), "kl_step": P.kl(p, at).mean(), "ess": share.mean(), "ess_min": share.min(),
            "max_ratio": P.each(lambda r, p=p: len(r) * p[r].max()).max(),
        })  # fmt: skip
        before = p
    limit = [P.gain(score, np.inf, f) if rebase else np.nan for f in VALUES.T]
    rounds = {name: [w[name] for w in want] for name in want[0]}
    agree(found, {**rounds, "limit": limit, "stop_kl": np.log(np.median(SIZES)) / 2})


def test_judge_ceiling() -> None:
    found = theory.judge_ceiling(PHI, U, VALUES, beta=2.0, **EXACT)
    cov = table(lambda k, j: P.unbiased(T[:, k], VALUES[:, j]).mean(), (2, 2))
    se = table(lambda k, j: error(P.unbiased(T[:, k], VALUES[:, j])), (2, 2))
    sd_t, sd_s = (np.sqrt([P.unbiased(a, a).mean() for a in x.T]) for x in (T, VALUES))
    bound = np.outer(sd_t, sd_s) / 2
    r = cov / np.outer(sd_t, sd_s)
    agree(found, {
        "gain": cov / 2, "gain_se": se / 2, "bound": bound, "correlation": r, "per_kl": r * sd_s,
        "promptability": r.max(axis=0), "ceiling": bound.max(axis=0), "beta": 2.0,
    })  # fmt: skip


@pytest.mark.parametrize("method", ["bh", "by", "bonferroni"])
def test_screen(method: str) -> None:
    many = np.random.default_rng(3).standard_normal((30, 3))
    found = theory.screen(PHI, many, VALUES, method=method, fdr=0.2, keep=4, **EXACT)
    t, G = PHI @ many.T, len(SIZES)
    cov = table(lambda k, j: P.unbiased(t[:, k], VALUES[:, j]).mean(), (30, 2))
    se = table(lambda k, j: error(P.unbiased(t[:, k], VALUES[:, j])), (30, 2))
    squares = [np.array([P.unbiased(a, a) for a in x.T]) for x in (t, VALUES)]
    sd_t, sd_s = (np.sqrt(x.mean(axis=1)) for x in squares)
    at_random = np.einsum("kg,jg,g->kj", *squares, 1 / (np.asarray(SIZES) - 1))  # values in any order inside prompts
    se = np.maximum(se, np.sqrt(at_random) / G)
    p = 2 * stats.t.sf(np.abs(cov / se), G - 1)
    rank = np.arange(1, 31)
    level = 0.2 / 30 * {"bh": rank, "by": rank / np.sum(1 / rank), "bonferroni": np.ones(30)}[method]
    below = np.sort(p, axis=0) <= level[:, None]
    last = [np.flatnonzero(b)[-1] if b.any() else -1 for b in below.T]
    threshold = [level[i] if i >= 0 or method == "bonferroni" else 0.0 for i in last]
    order = np.argsort(cov / se, axis=0)
    ends = {"worst": order[:4].T, "best": order[::-1][:4].T}
    want = {}
    for name, rows in ends.items():
        np.testing.assert_array_equal(getattr(found, name), rows)
        for field, x in ("gain", cov), ("se", se), ("correlation", cov / np.outer(sd_t, sd_s)), ("p", p):
            want[f"{name}_{field}"] = np.take_along_axis(x, rows.T, axis=0).T
    assert max(threshold) > 0
    agree(found, {**want, "threshold": threshold, "fdr": 0.2}, rtol=1e-7)


def test_ceilings_of_layers() -> None:
    a = cm.simulate(n_prompts=30, n_responses=6, dim=3, rho2=0.7, random_state=1)
    layers = {"a": a, "b": cm.simulate(n_prompts=30, n_responses=6, dim=3, rho2=0.2, random_state=1)}
    found = theory.ceiling_by_layer(layers, "s", kl=[0.2, 0.5], n=[2, 5])
    quality = [cm.fit_value_direction(d, "s").encoding_quality for d in layers.values()]
    r = np.array([q.r for q in quality])
    sd = Prompts(np.asarray(a.prompt_ids)).sd(np.asarray(a.column("s")))
    line, e = sd * np.sqrt([0.4, 1.0])[:, None], sd * np.array([[largest_normal(2)], [largest_normal(5)]])
    agree(found, {
        "quality": [q.value for q in quality], "quality_ci": [q.ci for q in quality], "correlation": r,
        "ceiling": r[:, None] * line, "best_of": r[:, None] * e, "oracle": line, "best_of_oracle": e,
        "kl": [0.2, 0.5],
    }, rtol=1e-6)  # fmt: skip


def test_learning_curves() -> None:
    # in one dimension a direction is a sign, and the correlation of the score with itself is 1 on any prompts
    rng = np.random.default_rng(4)
    ids, phi = np.repeat(np.arange(40), 4), rng.standard_normal((160, 1))
    pairs = np.arange(160).reshape(-1, 2)
    right = (phi[pairs[:, 0], 0] > phi[pairs[:, 1], 0]) * 1.0
    noisy = phi[:, 0] + rng.standard_normal(160)
    both = np.column_stack([phi[:, 0], noisy])
    found = theory.learning_curve(phi, pairs, right, both, sizes=[20, 50], repeats=3, prompt_ids=ids)
    np.testing.assert_allclose(found.correlation[..., 0], 1.0, rtol=1e-5)
    shares = np.array([[np.nan] * 3] * 2)
    for s, r in np.ndindex(2, 3):
        shares[s, r] = found.correlation[s, r, 1]
    agree(found, {
        "correlation": np.stack([np.ones((2, 3)), shares], axis=2), "mean": found.correlation.mean(axis=1),
        "sd": np.sqrt(((found.correlation - found.correlation.mean(axis=1, keepdims=True)) ** 2).sum(axis=1) / 2),
    }, rtol=1e-5, atol=1e-6)  # fmt: skip
