"""The screen of candidates against cross_covariance, SciPy's procedures and worlds without an effect."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import stdtr
from scipy.stats import false_discovery_control

import clinometer as cm
from clinometer import theory
from clinometer.theory import gauge as _gauge
from clinometer.theory import screening


def world(unequal: bool = True) -> tuple[cm.Dump, np.ndarray, np.ndarray]:
    dump = cm.simulate(n_prompts=90, n_responses=6, dim=9, n_values=2, unequal=unequal, random_state=3)
    values = np.stack([dump.column("s"), dump.column("s2")], axis=1)
    return dump, values, np.random.default_rng(0).standard_normal((60, 9))


def in_random_order(scores: np.ndarray, values: np.ndarray, ids: np.ndarray, counts: object = None) -> np.ndarray:
    """Errors (M, J) of mean covariances, were the values shuffled inside prompts: n numbers in random order have with n
    others a sample covariance of variance s_a^2 s_b^2 / (n - 1), over all n! orders."""
    out = np.zeros((scores.shape[1], 2))
    for j in range(2):
        terms = []
        for g in np.unique(ids):
            some = (ids == g) & ~np.isnan(values[:, j])
            rows = np.repeat(np.flatnonzero(some), 1 if counts is None else np.asarray(counts)[some])
            if len(rows) > 1:
                terms.append(scores[rows].var(axis=0, ddof=1) * values[rows, j].var(ddof=1) / (len(rows) - 1))
        out[:, j] = np.sqrt(np.sum(terms, axis=0)) / len(terms)
    return out


@pytest.mark.parametrize("case", ["plain", "gaps", "shuffled", "clusters", "counts", "logprob", "offset", "blocks"])
def test_gains_and_errors_are_those_of_cross_covariance(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    dump, values, u = world()
    options: dict[str, object] = {}
    rng = np.random.default_rng(1)
    phi, ids = dump.read(0, dump.n_rows, np.float64), np.asarray(dump.prompt_ids)
    if case == "gaps":
        values[::4, 1] = np.nan
        values[ids < 3, 0] = np.nan
    if case == "shuffled":
        order = rng.permutation(dump.n_rows)
        phi, ids, values = phi[order], ids[order], values[order]
    if case in ("clusters", "blocks"):
        options["clusters"] = np.arange(90) // 4
    if case == "blocks":
        monkeypatch.setattr(_gauge, "BLOCK", 64)
    if case == "counts":
        options |= {"base": "counts", "counts": rng.integers(0, 4, dump.n_rows) + (np.arange(dump.n_rows) % 3 == 0)}
        singles = np.flatnonzero(np.bincount(ids) == 1)
        options["counts"][np.isin(ids, singles)] = 2
    if case == "logprob":
        options |= {"base": "logprob", "logprobs": rng.standard_normal(dump.n_rows)}
    if case == "offset":
        phi = phi + 1e4
    source = cm.open_dump(phi, prompt_ids=ids)
    found = theory.screen(source, u, values, keep=60, **options)
    want = cm.cross_covariance(source, u, values, precision="double", **options)
    least = np.zeros((60, 2)) if case == "logprob" else in_random_order(phi @ u.T, values, ids, options.get("counts"))
    for j in range(2):
        for number, gain, se, r in (
            (found.worst[j], found.worst_gain[j], found.worst_se[j], found.worst_correlation[j]),
            (found.best[j], found.best_gain[j], found.best_se[j], found.best_correlation[j]),
        ):
            assert sorted(number) == list(range(60))
            np.testing.assert_allclose(gain, want.value[number, j], atol=1e-9)
            np.testing.assert_allclose(se, np.maximum(want.se[number, j], least[number, j]), atol=1e-9)
            np.testing.assert_allclose(r, want.correlation[number, j], atol=1e-9)
        z = found.worst_gain[j] / found.worst_se[j]
        assert (np.diff(z) >= 0).all()


@pytest.mark.parametrize("method", ["bh", "by", "bonferroni"])
def test_findings_are_those_of_the_procedure(method: str) -> None:
    dump, values, u = world()
    found = theory.screen(dump, u, values, method=method)
    want = cm.cross_covariance(dump, u, values, precision="double")
    least = in_random_order(dump.read(0, dump.n_rows, np.float64) @ u.T, values, np.asarray(dump.prompt_ids))
    p = 2 * stdtr(89, -np.abs(want.value / np.maximum(want.se, least)))
    for j in range(2):
        hit = (
            60 * p[:, j] <= 0.05 if method == "bonferroni" else false_discovery_control(p[:, j], method=method) <= 0.05
        )
        np.testing.assert_array_equal(found.status[:, j], np.where(hit, np.sign(want.value[:, j]), 0))
        assert found.n_harmful[j] + found.n_helpful[j] == hit.sum()
    assert (found.n_harmful + found.n_helpful + found.n_undetermined + found.n_flat == 60).all()


def test_blocks_arrays_and_files_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    dump, values, u = world()
    whole = theory.screen(dump, u, values)
    monkeypatch.setattr(screening, "MEMORY", 1)
    parts = theory.screen(dump, lambda: (u[a : a + 7] for a in range(0, 60, 7)), values)
    for name, a in whole.to_dict().items():
        if isinstance(a, np.ndarray):
            np.testing.assert_allclose(a, getattr(parts, name), rtol=1e-12, err_msg=name)


def test_few_findings_are_false() -> None:
    share = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        phi = rng.standard_normal((600, 40))
        u = np.eye(40)
        values = phi[:, :4].sum(axis=1) * 0.5 + rng.standard_normal(600)
        found = theory.screen(cm.open_dump(phi, prompt_ids=np.repeat(np.arange(100), 6)), u, values, fdr=0.2)
        hit = found.status[:, 0] != 0
        share.append(hit[4:].sum() / max(hit.sum(), 1))
        assert hit[:4].all()
    assert np.mean(share) < 0.2 * 36 / 40 + 0.05


def test_rare_features_and_a_rare_value_that_seldom_meet_are_no_finding() -> None:
    """Where they never do, every prompt has nearly the same small negative covariance: by its spread alone a third of
    these dumps have a finding."""
    found = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        phi, value = (rng.random((480, 40)) < 0.05).astype(float), (rng.random(480) < 0.03).astype(float)
        made = theory.screen(cm.open_dump(phi, prompt_ids=np.repeat(np.arange(60), 8)), np.eye(40), value)
        found.append(((made.status == 1) | (made.status == -1)).any())
    assert np.sum(found) <= 8  # 3 of 60 at most, in the mean


def test_flat_and_fragile_candidates_are_counted() -> None:
    rng = np.random.default_rng(5)
    phi = np.column_stack([rng.standard_normal(4000), rng.standard_normal(4000), np.zeros(4000)])
    s = 0.3 * phi[:, 0] + 0.06 * phi[:, 1] + 0.1 * rng.standard_normal(4000)
    dump = cm.open_dump(phi, prompt_ids=np.repeat(np.arange(400), 10))
    found = theory.screen(dump, np.array([[0, 0, 1.0], [1.0, 0, 0], [0, 1.0, 0], [-1.0, 0, 0]]), s, fragile=0.4)
    assert found.status[:, 0].tolist() == [2, 1, 1, -1]
    assert found.n_flat[0] == 1 and found.n_fragile[0] == 1
    assert found.worst[0, 0] == 3 and found.best[0, 0] == 1 and found.worst[0, 3] == -1
    # the robustness radius in units of the candidate's sd is its correlation with the value
    m = cm.moments(dump, covariance=True)
    radius = theory.robustness_radius([0.3, 0.06, 0.0], [1.0, 0.0, 0.0], m)[0, 0]
    assert found.best_correlation[0, 0] == pytest.approx(radius * 0.98, rel=0.06)


def test_errors_name_what_is_wrong() -> None:
    dump, values, u = world()
    for bad, kind, message in (
        ({"directions": u[:, :3]}, ValueError, "3 columns"),
        ({"directions": np.where(u > 1, np.nan, u)}, ValueError, "candidate"),
        ({"directions": []}, ValueError, "empty"),
        ({"directions": 5}, TypeError, "wanted an array"),
        ({"fdr": 1.0}, ValueError, "fdr"),
        ({"method": "holm"}, ValueError, "method"),
        ({"keep": 0}, ValueError, "keep"),
        ({"within": False}, ValueError, "within"),
    ):
        with pytest.raises(kind, match=message):
            theory.screen(dump, **{"directions": u, "values": values, **bad})
    phi = np.ones((4, 2))
    phi[2, 1] = np.inf
    with pytest.raises(cm.DumpError, match="row 2"):
        theory.screen(cm.open_dump(phi, prompt_ids=[0, 0, 1, 1]), np.eye(2), np.arange(4.0))
    one = theory.screen(cm.open_dump(np.eye(3), prompt_ids=[0, 0, 0]), np.eye(3), np.arange(3.0))
    assert (one.status == 0).all() and one.n_undetermined[0] == 3  # one cluster: no error, no finding
