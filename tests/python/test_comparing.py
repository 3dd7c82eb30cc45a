"""Comparisons of dumps and examples of responses, against fits, rotations and the tilt written out."""

from __future__ import annotations

import numpy as np
import pytest

import clinometer as cm


def pair(noise: float = 0.0, rotate: bool = False, seed: int = 1) -> tuple[cm.Dump, cm.Dump]:
    a = cm.simulate(n_prompts=150, n_responses=6, dim=5, rho2=0.6, spectrum="flat", random_state=seed)
    rng = np.random.default_rng(seed)
    phi = a.read(0, a.n_rows, np.float64)
    turn = np.linalg.qr(rng.standard_normal((5, 5)))[0] if rotate else np.eye(5)
    after = phi @ turn + noise * rng.standard_normal(phi.shape)
    columns = {"s": a.column("s")}
    return a, cm.open_dump(after, prompt_ids=a.prompt_ids, columns=columns)


FITS = {"alpha": 0.01}


def test_identical_rows_change_nothing() -> None:
    a, _ = pair()
    found = cm.compare(a, a, "s", fits=FITS)
    assert found.quality_change[0] == 0.0 and (found.quality_ci == 0.0).all()
    assert found.drift[0] == pytest.approx(0.0, abs=1e-6) and found.shift is None and found.same_rows
    fit = cm.fit_value_direction(a, "s", **FITS).encoding_quality
    assert found.quality_a[0] == pytest.approx(fit.value[0], abs=1e-6)
    assert found.own[0] == pytest.approx(fit.r[0], abs=1e-6) == pytest.approx(found.transfer[0], abs=1e-6)


def test_a_rotation_keeps_quality_and_breaks_transfer() -> None:
    a, b = pair(rotate=True)
    found = cm.compare(a, b, "s", fits=FITS)
    assert found.quality_b[0] == pytest.approx(found.quality_a[0], abs=1e-4)
    assert found.transfer[0] < found.own[0] - 0.1 and found.transfer_ci[0, 0] > 0.0
    # the angle is that of both directions under b's rows
    fa, fb = (cm.fit_value_direction(x, "s", **FITS) for x in (a, b))
    want = np.arccos(cm.theory.score_correlation(fa.vectors, fb.vectors, cm.moments(b)))[0, 0]
    assert found.drift[0] == pytest.approx(want, abs=0.1)
    assert found.shift is not None and found.shift.n_rows == a.n_rows
    assert "transfer r" in str(found) and "shift" in str(found)


def test_noise_costs_quality_beyond_its_interval() -> None:
    a, b = pair(noise=1.0)
    found = cm.compare(a, b, "s", fits=FITS)
    assert found.quality_ci[0, 1] < 0.0 and found.quality_change[0] < -0.1


@pytest.mark.parametrize(("prompts", "worse"), [(10, 0.3), (40, 1.0)])
def test_the_intervals_cover_what_changes_on_average(prompts: int, worse: float) -> None:
    """Two copies with noise of their own, turned: 2.5 standard errors of 120 dumps about 95 %."""
    turn, made, ids = (
        np.eye(4) + 0.3 * np.random.default_rng(5).normal(size=(4, 4)),
        [],
        np.repeat(np.arange(prompts), 8),
    )
    for seed in range(120):
        rng = np.random.default_rng([seed, prompts])
        phi = rng.normal(size=(len(ids), 4))
        columns = {"s": phi @ np.full(4, 0.5) + rng.normal(size=len(ids))}
        noisy = [phi + noise * rng.normal(size=phi.shape) for noise in (0.3, worse)]
        a, b = (
            cm.open_dump(x.astype(np.float32), prompt_ids=ids + 1000 * seed, columns=columns)
            for x in (noisy[0], noisy[1] @ turn)
        )
        made.append(cm.compare(a, b, "s"))
    for at, ci in (("quality_change", "quality_ci"), ("transfer_loss", "transfer_ci")):
        x = np.array([getattr(m, at)[0] for m in made])
        low, high = np.array([getattr(m, ci)[0] for m in made]).T
        assert np.mean((low <= x.mean()) & (x.mean() <= high)) >= 0.9
        assert np.median(high - low) < 1.35 * 3.92 * x.std()


def test_clusters_are_paired_and_methods_without_label_errors_too() -> None:
    a, b = pair(noise=0.5)
    twice = [
        cm.open_dump(
            np.tile(x.read(0, x.n_rows), (2, 1)), columns={"s": np.tile(x.column("s"), 2)},
            prompt_ids=np.concatenate([x.prompt_ids, np.asarray(x.prompt_ids) + 1000]),
        )
        for x in (a, b)
    ]  # fmt: skip
    blind, seen = (cm.compare(*twice, "s", fits=FITS, **o) for o in ({}, {"clusters": np.arange(300) % 150}))
    assert np.ptp(seen.quality_ci) == pytest.approx(np.sqrt(2) * np.ptp(blind.quality_ci), rel=0.1)
    binary = [
        cm.open_dump(x.read(0, x.n_rows), prompt_ids=x.prompt_ids, columns={"s": (x.column("s") > 0) * 1.0})
        for x in (a, b)
    ]
    assert np.isfinite(cm.compare(*binary, "s", fits={"method": "lda"}).quality_ci).all()


def test_prompts_are_matched_by_id_and_not_by_order() -> None:
    a, b = pair(noise=0.5)
    order = np.random.default_rng(0).permutation(b.n_rows)
    mixed = cm.open_dump(
        b.read(0, b.n_rows, np.float64)[order],
        prompt_ids=b.prompt_ids[order],
        columns={"s": b.column("s")[order]},
    )
    x, y = cm.compare(a, b, "s", fits=FITS), cm.compare(a, mixed, "s", fits=FITS)
    for name in ("quality_b", "quality_ci", "transfer", "transfer_ci", "drift"):
        np.testing.assert_allclose(getattr(x, name), getattr(y, name), atol=1e-6)
    assert not y.same_rows and y.shift is None


def test_what_cannot_be_compared_is_refused() -> None:
    a, b = pair()
    wide = cm.open_dump(
        np.hstack([b.read(0, b.n_rows), b.read(0, b.n_rows)]), prompt_ids=b.prompt_ids, columns={"s": b.column("s")}
    )
    with pytest.raises(ValueError, match="transfer=False"):
        cm.compare(a, wide, "s")
    found = cm.compare(a, wide, "s", transfer=False, fits=FITS)
    assert np.isnan(found.transfer[0]) and np.isnan(found.drift[0]) and np.isfinite(found.quality_ci).all()
    with pytest.raises(ValueError, match=r"150 prompts and dump_b 100, 100 of them in both"):
        cm.compare(a, b.select(prompts=np.arange(100)), "s")
    with pytest.raises(ValueError, match="values_b holds 2"):
        cm.compare(a, b, "s", values_b=["s", "s"])


# ---- examples


def test_examples_are_the_ends_of_the_tilt() -> None:
    world = cm.simulate(n_prompts=20, n_responses=7, dim=4, unequal=True, random_state=9)
    texts = [{"prompt": f"p{i}", "response": f"r{i}\x1b[31m"} for i in range(world.n_rows)]
    found = cm.examples(world, "judge/c0", kl=0.3, n=4, texts=texts, values=["s", "-s"])
    beta = cm.tilt(world, "judge/c0", kl=[0.3]).betas[0, 0]
    assert found.beta == pytest.approx(beta) and found.kl == pytest.approx(0.3)
    ratio = np.empty(world.n_rows)
    ids, t = np.asarray(world.prompt_ids), world.column("judge/c0")
    for g in np.unique(ids):
        e = np.exp(t[ids == g] / beta)
        ratio[ids == g] = e / e.mean()
    order = np.argsort(-ratio)
    assert found.row.tolist() == order[:4].tolist() + order[-4:].tolist()
    np.testing.assert_allclose(found.ratio, ratio[found.row], rtol=1e-9)
    np.testing.assert_allclose(found.after, found.before * found.ratio)
    np.testing.assert_array_equal(found.values, np.column_stack([world.column("s"), -world.column("s")])[found.row])
    np.testing.assert_array_equal(found.n_tokens, world.column("n_tokens")[found.row])
    assert found.prompts[0] == f"p{found.row[0]}" and found.gains.tolist() == [True] * 4 + [False] * 4
    shown = str(found)
    assert "gain most" in shown and "lose most" in shown and "\x1b" not in shown


def test_examples_edges() -> None:
    flat = cm.examples(np.ones((4, 1)), [[1.0]], prompt_ids=[0, 0, 1, 1])
    assert flat.row.size == 0 and flat.kl == 0.0  # nothing moves, so nothing gains or loses
    few = cm.examples(np.array([[0.0], [1.0]]), [[1.0]], kl=0.1, n=9, prompt_ids=[0, 0])
    assert few.row.tolist() == [1, 0]
    never = cm.examples(
        np.array([[0.0], [1.0], [9.0]]), [[1.0]], kl=0.1, n=9, prompt_ids=[0] * 3, base="counts", counts=[1, 1, 0]
    )
    assert never.row.tolist() == [1, 0]  # a response of weight 0 cannot gain
    world = np.eye(3)
    for bad, message in (
        ({"n": 0}, "n is 0"),
        ({"kl": [0.1, 0.2]}, "one level"),
        ({"texts": ["a"]}, "texts has 1 entries"),
        ({"within": False}, "within"),
        ({"constitution": np.eye(3)}, "holds 3 directions"),
    ):
        with pytest.raises(ValueError, match=message):
            cm.examples(world, **{"constitution": [[1.0, 0, 0]], "prompt_ids": [0, 0, 0], **bad})
