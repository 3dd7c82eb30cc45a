"""The same numbers by other ways: scans, streams, files; what stands beside a gain; signs corrected for being many."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

import clinometer as cm
from clinometer import theory
from clinometer.engine import stat

from .definitions import BETAS, U, gains_of, ids_of, rows_of
from .registry import Check, at_most, claim, near
from .worlds import Floats, furthest, gaussian_grid, generator


@claim("def", "several statistics in one read: gains, covariances, Sigma u and scores (largest relative error)")
def _() -> Check:
    phi, t, values, prompts = rows_of()
    sigma = np.mean([np.cov(phi[r].T) for r in prompts.rows], axis=0)
    tilt, cross, image, scores, moments = cm.scan(
        cm.open_dump(phi, prompt_ids=ids_of()),
        stat.Tilt(U, values=values, betas=list(BETAS)), stat.CrossCovariance(U, values=values),
        stat.CovarianceProjection(U, ddof=1), stat.Scores(U), stat.Moments(ddof=1), precision="double",
    )  # fmt: skip
    cov = [[prompts.unbiased(a, f).mean() for f in values.T] for a in t.T]
    pairs = [(tilt.gain, gains_of()), (cross.value, cov), (image, U @ sigma), (scores, t), (moments.covariance, sigma)]
    return near(furthest(pairs), 0.0, 1e-9)


@claim("def", "rows that stream in, and halves that are merged: gains (largest relative error)")
def _() -> Check:
    phi, _, values, prompts = rows_of()
    ids = ids_of()
    half = int(np.flatnonzero(ids == len(prompts.rows) // 2)[0])
    folds = [cm.Fold(stat.Tilt(U, values=["a", "b"], betas=list(BETAS)), dim=4, precision="double") for _ in range(3)]
    for fold, parts in zip(
        folds, ([range(half), range(half, len(ids))], [range(half)], [range(half, len(ids))]), strict=True
    ):
        for part in parts:
            rows = np.array(part)
            fold.absorb(phi[rows], ids[rows], a=values[rows, 0], b=values[rows, 1])
    whole, merged = folds[0].finish()[0], folds[1].merge(folds[2]).finish()[0]
    return near(furthest([(whole.gain, gains_of()), (merged.gain, gains_of())]), 0.0, 1e-9)


@claim("def", "a dump and directions written to files and read back: gains (largest relative error)")
def _() -> Check:
    phi, _, values, _ = rows_of()
    columns = {"a": values[:, 0], "b": values[:, 1]}
    with tempfile.TemporaryDirectory() as folder:
        at = Path(folder)
        cm.write_dump(at / "whole", phi, prompt_ids=ids_of(), columns=columns)
        with cm.DumpWriter(at / "grown", dim=4, dtype="float64") as writer:
            writer.append(phi, ids_of(), **columns)
        cm.Directions(("p", "q"), U).save(at / "u.safetensors")
        u = cm.Directions.load(at / "u.safetensors")
        found = [cm.tilt(at / name, u, list(BETAS), ["a", "b"], precision="double") for name in ("whole", "grown")]
        return near(furthest([(x.gain, gains_of()) for x in found]), 0.0, 1e-9)


@claim("def", "the score of a sum of directions, twice the first less the second (largest relative error)")
def _() -> Check:
    phi, t, _, _ = rows_of()
    a, b = (cm.Directions(("u",), u[None]) for u in U)
    return near(furthest([(cm.score(phi, a * 2.0 - b, precision="double")[:, 0], 2 * t[:, 0] - t[:, 1])]), 0.0, 1e-9)


@claim("def", "the responses that gain and lose most are those of largest and least p over 1/n, by that ratio")
def _() -> Check:
    phi, t, _, prompts = rows_of()
    found = cm.examples(phi, U[0], kl=0.2, n=3, prompt_ids=ids_of(), precision="double")
    p = prompts.tilt(t[:, 0], 1 / prompts.beta_at(t[:, 0], 0.2))
    size = np.array([len(r) for r in prompts.rows])[ids_of()]
    rows = np.argsort(-p * size)[[0, 1, 2, -3, -2, -1]]
    pairs = [(found.row, rows), (found.ratio, (p * size)[rows]), (found.before, 1 / size[rows]), (found.after, p[rows])]
    return near(furthest(pairs), 0.0, 1e-6)


@claim("def", "correlations that stand beside a gain: mean over prompts, and pooled (largest relative error)")
def _() -> Check:
    phi, t, values, prompts = rows_of()
    found = cm.inference.baselines(phi, U, values, prompt_ids=ids_of(), precision="double")
    w = np.concatenate([np.full(len(r), 1 / len(r)) for r in prompts.rows]) / len(prompts.rows)

    def pooled(a: Floats, f: Floats) -> float:
        return float(
            np.cov(np.stack([a, f]), aweights=w)[0, 1] / np.sqrt(np.cov(a, aweights=w) * np.cov(f, aweights=w))
        )

    def inside(a: Floats, f: Floats) -> float:
        r = [np.corrcoef(a[r], f[r])[0, 1] for r in prompts.rows if np.ptp(a[r]) and np.ptp(f[r])]
        return float(np.mean(r))

    pairs = [(found.pooled_correlation[k, j], pooled(a, f)) for k, a in enumerate(t.T) for j, f in enumerate(values.T)]
    pairs += [(found.correlation[k, j], inside(a, f)) for k, a in enumerate(t.T) for j, f in enumerate(values.T)]
    return near(furthest(pairs), 0.0, 1e-6)


@claim("def", "the loss of pairs is its definition, and its slope what a step changes (largest relative error)")
def _() -> Check:
    phi, _, _, prompts = rows_of()
    pairs = np.array([[r[0], r[1]] for r in prompts.rows if len(r) > 1])
    prob = generator(301).random(len(pairs))

    def loss(u: Floats) -> float:
        z = (phi[pairs[:, 0]] - phi[pairs[:, 1]]) @ u
        return float(np.mean(np.log1p(np.exp(z)) - prob * z))

    found = cm.scan(
        cm.open_dump(phi, prompt_ids=ids_of()), stat.Pairs(U[:1], pairs=pairs, prob=prob), precision="double"
    )[0]
    step = 1e-5 * np.eye(4)
    slope = [(loss(U[0] + h) - loss(U[0] - h)) / 2e-5 for h in step]
    return near(furthest([(found.loss, [loss(U[0])]), (found.gradient[0], slope)]), 0.0, 1e-6)


@claim("T3", "closed Gaussian gains and KL of two directions, against integrals (largest relative error)")
def _() -> Check:
    sigma, judges = np.array([[1.0, 0.3], [0.3, 0.5]]), np.array([[0.6, -0.2], [0.1, 0.9]])
    dump = gaussian_grid(sigma)
    values = dump.read(0, dump.n_rows, np.float64) @ np.array([[1.0, 0.4], [-0.3, 0.8]])
    exact = cm.tilt(dump, judges, [2.0, 0.9], values, base="logprob", precision="double")
    closed = theory.gaussian_tilt([[1.0, -0.3], [0.4, 0.8]], sigma, judges, [2.0, 0.9])
    return near(furthest([(closed.gain, exact.gain), (closed.kl, exact.kl)]), 0.0, 1e-6)


@claim("signs", "Holm and Benjamini-Hochberg against their definitions, 200 p-values (largest relative error)")
def _() -> Check:
    p = generator(302).random(200) ** 3
    order = np.sort(p)
    holm = [max((200 - i) * q for i, q in enumerate(order) if q <= x) for x in p]
    bh = [min(200 * q / (i + 1) for i, q in enumerate(order) if q >= x) for x in p]
    pairs = [(cm.inference.holm(p), np.minimum(holm, 1)), (cm.inference.benjamini_hochberg(p), np.minimum(bh, 1))]
    return near(furthest(pairs), 0.0, 1e-12)


@claim("signs", "false signs among 40 noise judges beside 10 real ones, Benjamini-Hochberg at .1 (mean share of 200)")
def _() -> Check:
    from scipy.special import ndtr

    shares = []
    for seed in range(200):
        z = generator(1000 + seed).standard_normal(50) + 4.0 * (np.arange(50) < 10)
        found = cm.inference.benjamini_hochberg(2 * ndtr(-np.abs(z))) <= 0.1
        shares.append(found[10:].sum() / max(int(found.sum()), 1))
    return at_most(float(np.mean(shares)), 0.1)


@claim("def", "a value with a minus sign loses what it gained, and wins as often as it lost (largest relative error)")
def _() -> Check:
    phi, _, values, _ = rows_of()
    dump = cm.open_dump(phi, prompt_ids=ids_of(), columns={"a": values[:, 0]})
    found = cm.tilt(dump, U, list(BETAS), ["a", "-a"], precision="double")
    gains, wins = (-found.gain[..., 1], gains_of()[..., 0]), (1 - found.win_rate[..., 1], found.win_rate[..., 0])
    return near(furthest([gains, wins]), 0.0, 1e-9)
