"""cm.lp.pareto and `clinometer pareto`: parts against their own functions, held-out gains against the truth."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import clinometer as cm
from clinometer import lp
from clinometer.cli import main

SEED = 8


def world(prompts: int = 60, n: int = 6, seed: int = SEED) -> tuple[cm.Dump, np.ndarray, np.ndarray]:
    """A dump whose three judge directions see two values, each with noise of its own."""
    rng = np.random.default_rng(seed)
    phi = rng.standard_normal((prompts * n, 5)) + np.repeat(rng.standard_normal((prompts, 5)), n, axis=0)
    values = phi[:, :2] + 0.5 * rng.standard_normal((prompts * n, 2))
    judges = np.array([[1.0, -0.3, 1, 0, 0], [-0.3, 1.0, 0, 1, 0], [0.1, 0.1, 0, 0, 1]])
    return cm.open_dump(phi, prompt_ids=np.repeat(np.arange(prompts), n)), judges, values


def test_parts_are_those_of_their_own_functions() -> None:
    dump, judges, values = world()
    found = lp.pareto(dump, judges, values, precision="double")
    want = cm.cross_covariance(dump, judges, values, ddof=0, precision="double").correlation
    np.testing.assert_allclose(found.gains, want, atol=1e-9)
    centred = values.reshape(60, 6, 2) - values.reshape(60, 6, 2).mean(axis=1, keepdims=True)
    gram = np.einsum("pni,pnj->ij", centred, centred)
    cone = cm.pareto_cone(gram=gram)
    assert found.margin == pytest.approx(cone.margin) and found.status == "improvable"
    np.testing.assert_allclose(found.direction, cone.weights, atol=1e-9)
    game = lp.ensemble(found.gains.T)
    assert found.mixture_value == game.value and found.mixture.tolist() == game.weights.tolist()
    assert found.alone_value == found.gains.min(axis=1).max() <= found.mixture_value + 1e-12


def test_front_is_that_of_the_gains() -> None:
    dump, judges, values = world()
    found = lp.pareto(dump, judges, values)
    assert np.array_equal(found.front, lp.pareto_front(found.gains)) and found.front.any()


def test_price_is_what_a_raised_floor_costs() -> None:
    dump, judges, values = world()
    found = lp.pareto(dump, judges, values)
    for i, j in [(0, 1), (1, 0)]:
        rows, goal = found.gains.T[[j]], found.gains.T[i]
        assert found.best[i] == pytest.approx(lp.constrained(rows, goal, [0.0]).value)
        raised = lp.constrained(rows, goal, [1e-6]).value
        assert (found.best[i] - raised) / 1e-6 == pytest.approx(found.price[i, j], abs=1e-3)
        assert found.price[i, i] == 0


def test_bounds_hold_the_gain_of_what_was_chosen() -> None:
    """The mixture (1, 1, 0)/2 is the best there is: its gain on fresh prompts lies within the bounds."""
    dump, judges, values = world(prompts=4000, seed=99)
    truth = lp.pareto(dump, judges, values)
    inside = [
        f.mixture_ci[0] <= truth.mixture_value <= f.mixture_ci[1]
        for f in (lp.pareto(*world(seed=s)) for s in range(40))
    ]
    assert np.mean(inside) >= 0.85
    first, narrow = lp.pareto(*world()), lp.pareto(*world(prompts=240))
    assert first.mixture_sure > 0.9 and first.sure > 0.999
    assert np.diff(narrow.mixture_ci)[0] < 0.75 * np.diff(first.mixture_ci)[0]
    assert (first.mixture_gain >= first.mixture_ci[0]).all()


def test_the_averaged_score_gains_what_the_mixture_does_at_a_smaller_kl() -> None:
    """Per sqrt(2 KL) of its own, a score gains its correlation: the average of the members' over the score's sd."""
    rng = np.random.default_rng(3)
    u, ids = rng.standard_normal((4000, 3)), np.arange(4000) // 8
    judges = 1.2 * u - 0.3 * u.sum(axis=1, keepdims=True)
    found = lp.pareto(cm.open_dump(u, prompt_ids=ids), cm.Scores(judges), u, splits=4)

    def centred(x: np.ndarray) -> np.ndarray:
        return x - x.reshape(-1, 8, x.shape[1]).mean(axis=1).repeat(8, axis=0)

    scores, values = centred(judges), centred(u)
    mixed = (scores / scores.std(axis=0)) @ found.mixture
    own = (mixed @ values) / len(mixed) / mixed.std() / values.std(axis=0)
    assert found.mixture_value == pytest.approx((found.gains.T @ found.mixture).min(), rel=1e-9)
    assert own.min() == pytest.approx(found.mixture_value / mixed.std(), rel=1e-6)
    assert own.min() > 5 * found.mixture_value


def test_a_mixture_of_noise_is_not_sure() -> None:
    """Of ten judges that know nothing there is always a mixture that raises both values on its own rows."""
    sure = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        noise, values = rng.standard_normal((240, 10)), rng.standard_normal((240, 2))
        found = lp.pareto(
            cm.open_dump(rng.standard_normal((240, 2)), prompt_ids=np.arange(240) // 8), cm.Scores(noise), values
        )
        assert found.mixture_value > 0
        sure.append(found.mixture_sure > 0.95)
    assert np.mean(sure) <= 0.12


def test_one_cluster_leaves_nothing_to_judge_by() -> None:
    dump, judges, values = world(prompts=12)
    one = lp.pareto(dump, judges, values, clusters=np.zeros(12, int))
    assert np.isnan(one.mixture_ci).all() and np.isnan(one.sure)


def test_rows_without_a_label_are_left_out() -> None:
    dump, judges, values = world()
    holed = values.copy()
    gone = np.arange(len(values)) % 7 == 3
    holed[gone, 1] = np.nan
    found = lp.pareto(dump, judges, holed)
    assert found.n_unlabelled == gone.sum()
    kept = np.flatnonzero(~gone)
    rows = dump.read(0, dump.n_rows)[kept].astype(float)
    rest = lp.pareto(cm.open_dump(rows, prompt_ids=np.asarray(dump.prompt_ids)[kept]), judges, values[kept])
    np.testing.assert_allclose(found.gains, rest.gains, atol=1e-5)


def test_one_value_and_constant_columns() -> None:
    dump, judges, values = world(prompts=8)
    found = lp.pareto(dump, judges, values[:, :1])
    assert found.margin == 1.0 and found.price.tolist() == [[0.0]]
    assert found.best[0] == found.gains.max() == pytest.approx(found.mixture_value)
    with pytest.raises(ValueError, match="does not vary"):
        lp.pareto(dump, judges, np.full((48, 1), 0.1))
    with pytest.raises(ValueError, match="splits is 0"):
        lp.pareto(dump, judges, values, splits=0)


def test_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    demo = str(Path(cm.__file__).parent / "data" / "demo")
    command = ["pareto", demo, "--layer", "24", "--value", "helpful", "--value=-harm", "--splits", "50"]
    assert main(command) == 0
    printed = capsys.readouterr().out
    assert "mixture" in printed and "judge/honest" in printed and "sure that all rise" in printed
    assert (
        "gains of each constitution" in printed
        and "    * " in printed
        and "next: cannot tell whether a mixture raises" in printed
    )
    assert main([*command, "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["status"] == "improvable" and len(record["mixture"]) == 2
    assert main(["pareto", demo, "--layer", "24"]) == 2
