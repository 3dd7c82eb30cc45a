"""Directions from data and what is said of them: every float field against solves and sums that are written out."""

from __future__ import annotations

import numpy as np
import pytest
from plain import Floats, Prompts, agree, freedom
from scipy import stats

import clinometer as cm
from clinometer import theory

RNG = np.random.default_rng(20264)
SIZES = RNG.integers(4, 9, 40)
IDS = np.repeat(np.arange(40), SIZES)
PHI = RNG.standard_normal((len(IDS), 3)) @ np.diag([2.0, 1.0, 0.5]) + 2 * RNG.standard_normal((40, 3))[IDS]
S = np.column_stack([PHI @ [0.5, 0.5, -1.0], PHI @ [0.1, -0.7, 0.2]]) + RNG.standard_normal((len(IDS), 2))
EXACT = {"prompt_ids": IDS, "precision": "double"}
P = Prompts(IDS)
WEIGHT = np.concatenate([np.full(len(r), 1 / len(r)) for r in P.rows]) / len(P.rows)


def centred(x: Floats) -> Floats:
    return np.concatenate([x[r] - x[r].mean(axis=0) for r in P.rows])


def bounds(x: Floats, se: Floats, units: Floats) -> Floats:
    """95 % by Student's t with units - 1 degrees of freedom."""
    half = stats.t.ppf(0.975, np.asarray(units) - 1) * se
    return np.stack([x - half, x + half], axis=-1)


def ridge(rows: np.ndarray, alpha: float) -> Floats:
    """(J, d) of these rows: (Sigma + alpha tr Sigma/d)^-1 c."""
    x, w = centred(PHI)[rows], WEIGHT[rows] / WEIGHT[rows].sum()
    sigma = sum(a * np.outer(b, b) for a, b in zip(w, x, strict=True))
    return np.linalg.solve(sigma + alpha * np.trace(sigma) / 3 * np.eye(3), x.T @ (w[:, None] * centred(S)[rows])).T


def folds_of(fit: cm.fit.DirectionFit, scores: Floats) -> np.ndarray:
    """The fold of every row: whose fit its out-of-fold score is."""
    every = np.einsum("fjd,nd->nfj", fit.fold_vectors, PHI)
    return np.abs(every - scores[:, None]).max(axis=2).argmin(axis=1)


@pytest.mark.parametrize("alpha", [0.0, 0.3])
def test_value_directions(alpha: float) -> None:
    fit = cm.fit_value_direction(PHI, S, alpha=alpha, **EXACT)
    scores = cm.score(cm.open_dump(PHI, prompt_ids=IDS), fit, precision="double")
    fold = folds_of(fit, scores)
    assert sorted(set(fold)) == list(range(5)) and all(len(set(fold[r])) == 1 for r in P.rows)
    apart = [ridge(np.flatnonzero(fold != f), alpha) for f in range(5)]
    np.testing.assert_allclose(scores, [PHI[i] @ apart[f].T for i, f in enumerate(fold)], rtol=1e-7)
    agree(fit, {
        "vectors": ridge(np.arange(len(IDS)), alpha), "fold_vectors": apart, "alpha": [alpha] * 2,
        "intercepts": [0.0, 0.0], "linear_share": fit.encoding_quality.value,
    }, apart="vector", rtol=1e-7)  # fmt: skip
    q, t, s = fit.encoding_quality, centred(scores), centred(S)
    left, total, cross = (WEIGHT @ x for x in ((s - t) ** 2, s * s, s * t))
    agree(q, {
        "value": 1 - left / total, "r": cross / np.sqrt(total * (WEIGHT @ t**2)), "ci": bounds(q.value, q.se, q.units),
        "rho2_ci": bounds(q.rho2_debiased, q.rho2_se, q.rho2_units), "auc": [np.nan, np.nan],
    }, apart="se rho2_se units rho2_units rho2_debiased", rtol=1e-7)  # fmt: skip
    if alpha == 0:  # least squares has no bias: its covariance with the label is that of what is linear
        np.testing.assert_allclose(q.rho2_debiased, cross / total, rtol=1e-7)
    assert (q.se > 0).all() and (q.rho2_se > 0).all() and (q.units > 1).all() and (q.rho2_units > 1).all()
    one = cm.fit_value_direction(PHI, S[:, 0], alpha=alpha, **EXACT)
    np.testing.assert_allclose(one.vector, ridge(np.arange(len(IDS)), alpha)[0], rtol=1e-7)


def test_labels_that_a_score_separates_have_an_area_of_one() -> None:
    # in one dimension a direction is a sign, and the label is the sign of the score inside its prompt
    x = centred(PHI)[:, :1]
    fit = cm.fit_value_direction(x, (x[:, 0] > 0) * 1.0, method="lda", prompt_ids=IDS, pooled=False)
    np.testing.assert_allclose(fit.encoding_quality.auc, 1.0, rtol=1e-12)


def test_logistic_fits_have_no_slope() -> None:
    label = (centred(S)[:, 0] + 0.3 > 0) * 1.0
    fit = cm.fit_value_direction(PHI, label, method="logistic", alpha=0.05, **EXACT)
    x = centred(PHI)
    unit = np.trace(x.T @ (WEIGHT[:, None] * x)) / 3
    chance = 1 / (1 + np.exp(-x @ fit.vector - fit.intercepts[0]))
    left = WEIGHT * (chance - label)
    assert left.sum() == pytest.approx(0, abs=1e-7) and abs(fit.intercepts[0]) > 0.05
    np.testing.assert_allclose(x.T @ left + 0.05 * unit * fit.vector, 0, atol=1e-7)


def test_the_gap_of_judgment_and_generation() -> None:
    star, judge, made = (
        np.array([0.5, 0.5, -1.0]),
        np.array([[0.4, 0.6, -0.9], [0.2, -0.3, 1.0]]),
        RNG.standard_normal(3),
    )
    dump = cm.open_dump(PHI, prompt_ids=IDS)
    found = theory.generation_judgment_gap(star, judge, made, dump, precision="double")
    x = centred(PHI)
    t, s, g = x @ judge.T, x @ star, x @ made

    def r(weight: Floats, a: Floats, b: Floats) -> float:
        return weight @ (a * b) / np.sqrt((weight @ (a * a)) * (weight @ (b * b)))

    def gap(weight: Floats) -> Floats:
        return np.array([r(weight, a, s) - r(weight, g, s) for a in t.T])

    # what a prompt does: the derivative in its weight
    step = 1e-4
    own = [step * (p == IDS) for p in range(40)]
    psi = np.array([gap(WEIGHT * (1 + w)) - gap(WEIGHT * (1 - w)) for w in own]) / (2 * step)
    se = np.sqrt(40 / 39 * (psi**2).sum(axis=0))
    units = 1 + freedom(psi)
    cosine = [(a @ star / np.linalg.norm(a) - made @ star / np.linalg.norm(made)) / np.linalg.norm(star) for a in judge]
    agree(found, {
        "gap": gap(WEIGHT)[:, None], "judgment": [[r(WEIGHT, a, s)] for a in t.T], "generation": [r(WEIGHT, g, s)],
        "cosine_gap": np.transpose([cosine]), "level": 0.95, "se": se[:, None], "units": units[:, None],
        "ci": bounds(gap(WEIGHT), se, units)[:, None],
    }, rtol=1e-5)  # fmt: skip


def test_what_a_second_judge_adds() -> None:
    judges = np.column_stack([S[:, 0] + RNG.standard_normal(len(IDS)), S[:, 1] + RNG.standard_normal(len(IDS))])
    value = S.sum(axis=1)
    found = theory.complementarity(*judges.T, value, prompt_ids=IDS)
    root = np.sqrt(WEIGHT)
    x, y = centred(judges) * root[:, None], centred(value) * root
    u = np.linalg.lstsq(x, y, rcond=None)[0]
    whole = np.sqrt(1 - ((y - x @ u) ** 2).sum() / (y @ y))
    a, b = (P.r(j, value) for j in judges.T)
    agree(found, {
        "together": [whole], "first": [a], "second": [b], "between": [P.r(*judges.T)], "weights": [u],
        "gain": [whole - max(a, b)],
    }, apart="ci")  # fmt: skip
    assert (found.ci > 0).all()  # bounds are Student's of the root of the gain
    np.testing.assert_allclose(np.sqrt(found.ci).mean(axis=1), np.sqrt(found.gain), rtol=1e-9)


def test_two_dumps_of_the_same_prompts() -> None:
    turned = PHI @ np.linalg.qr(RNG.standard_normal((3, 3)))[0] + 0.3 * RNG.standard_normal(PHI.shape)
    a, b = (cm.open_dump(x, prompt_ids=IDS, columns={"s": S[:, 0]}) for x in (PHI, turned))
    found = cm.compare(a, b, "s", fits={"alpha": 0.1}, precision="double")
    fits = [cm.fit_value_direction(x, "s", alpha=0.1, precision="double") for x in (a, b)]
    own = [cm.score(x, f, precision="double")[:, 0] for x, f in zip((a, b), fits, strict=True)]
    fold = np.abs(PHI @ fits[0].fold_vectors[:, 0].T - own[0][:, None]).argmin(axis=1)
    across = np.array([turned[i] @ fits[0].fold_vectors[f, 0] for i, f in enumerate(fold)])
    back = np.array([PHI[i] @ fits[1].fold_vectors[f, 0] for i, f in enumerate(fold)])
    s = centred(S[:, 0])
    quality = [1 - WEIGHT @ (s - centred(t)) ** 2 / (WEIGHT @ s**2) for t in own]
    r = [P.r(x, S[:, 0]) for x in (own[1], across)]
    agree(found, {
        "quality_a": [quality[0]], "quality_b": [quality[1]], "quality_change": [quality[1] - quality[0]],
        "own": [r[0]], "transfer": [r[1]], "transfer_loss": [r[0] - r[1]],
        "drift": [np.arccos(P.r(own[1], across))], "drift_a": [np.arccos(P.r(own[0], back))],
    }, apart="quality_ci transfer_ci", rtol=1e-7)  # fmt: skip
    for ci, x in (found.quality_ci, found.quality_change), (found.transfer_ci, found.transfer_loss):
        assert ci[0, 0] < ci[0, 1]
        np.testing.assert_allclose(ci.mean(axis=1), x, rtol=1e-9)
