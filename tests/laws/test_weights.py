"""Weights are copies and zero is absence: counts give what rows written out give, weight 0 what leaving out gives."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import clinometer as cm
from clinometer import lp, theory

D = 3
U = np.array([[1.0, -0.5, 0.2], [0.3, 1.0, -1.0]])
ROWWISE = {"row", "weights"}  # they name or follow rows of the dump, which differ
PROMPTWISE = {"status", "margin", "dual", "lower", "upper", "prompts"}  # of games, one for each prompt of the dump

PASSES: dict[str, Callable[..., Any]] = {
    "moments": lambda d, **o: cm.moments(d, ddof=1, **o),
    "moments, pooled": lambda d, **o: cm.moments(d, within=False, **o),
    "covariance_projection": lambda d, **o: cm.covariance_projection(d, U, **o),
    "cross_covariance": lambda d, **o: cm.cross_covariance(d, U, ["y", "z"], **o),
    "cross_covariance, pooled": lambda d, **o: cm.cross_covariance(d, U, ["y", "z"], within=False, **o),
    "tilt": lambda d, **o: cm.tilt(d, U, [1.0, 0.5], ["y", "z"], **o),
    "tilt, pooled": lambda d, **o: cm.tilt(d, U, [1.0, 0.5], ["y", "z"], within=False, **o),
    "tilt, kl and adjust": lambda d, **o: cm.tilt(d, ["z"], values=["y"], kl=[0.1, 0.3], adjust="n_tokens", **o),
    "tilted_mean": lambda d, **o: cm.tilted_mean(d, U, [1.0], **o),
    "scan": lambda d, **o: cm.scan(d, cm.stat.Tilt(U, "y", betas=[1.0]), **o),
    "prompt": lambda d, **o: lp.prompt(d, ["w", "z"], **o),
    "pareto": lambda d, **o: lp.pareto(d, ["w", "z"], ["y", "z"], splits=10, **o),
    "game": lambda d, **o: lp.game(d, U, ["w", "z"], **o),
    "cumulants": lambda d, **o: theory.cumulants(d, U, "y", **o),
    "gain_kl_frontier": lambda d, **o: theory.gain_kl_frontier(d, U, "y", kl=[0.1], **o),
    "judge_ceiling": lambda d, **o: theory.judge_ceiling(d, ["z"], ["y"], **o),
    "best_of_n": lambda d, **o: theory.best_of_n(d, "z", "w", [2], **o),
    "iterate": lambda d, **o: theory.iterate(d, U[:1], 1.0, "y", **o),
    "complementarity": lambda d, **o: theory.complementarity("w", "z", "y", dump=d, **o),
    "screen": lambda d, **o: theory.screen(d, U, "y", **o),
}


class World:
    """Prompts of several sizes in no order of their ids, some labels missing."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.prompts = rng.permutation(14) * 3
        self.ids = np.repeat(self.prompts, rng.integers(3, 7, 14))
        n = len(self.ids)
        self.phi, self.noise = rng.normal(size=(n, D)), rng.normal(size=(3, n))
        self.counts = rng.integers(0, 4, n).astype(float)
        first = np.unique(self.ids, return_index=True)[1]
        for k in (0, 1, 2):  # three responses stay in every prompt
            self.counts[first + k] = np.maximum(self.counts[first + k], 1)
        self.weights = rng.random(14) + 0.5
        self.weights[[0, 3, 4, 9]] = 0.0

    def dump(self, rows: Any) -> Any:
        phi = self.phi[rows]
        a, b, c = self.noise[:, rows]
        y = np.where(a > 1.2, np.nan, phi @ [1.0, -1.0, 0.5] + a)
        columns = {"y": y, "z": b + phi[:, 0], "w": c + phi[:, 1], "n_tokens": np.rint(20 + 5 * b)}
        return cm.open_dump(phi, prompt_ids=self.ids[rows], columns=columns)


@pytest.fixture(scope="module", params=[0, 1])
def world(request: pytest.FixtureRequest) -> World:
    return World(request.param)


def fields(result: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every array and number of a result, by name."""
    held = result.to_dict() if hasattr(result, "to_dict") else getattr(result, "__dict__", result)
    if isinstance(held, dict):
        for name, value in held.items():
            yield from fields(value, f"{path}.{name}" if path else str(name))
    elif isinstance(held, (list, tuple)) and any(hasattr(x, "to_dict") for x in held):
        for k, value in enumerate(held):
            yield from fields(value, f"{path}{k}")
    else:
        yield path, held


def same(got: Any, want: Any, leave: set[str]) -> None:
    mine, theirs = dict(fields(got)), dict(fields(want))
    assert mine.keys() == theirs.keys() and mine
    for name, x in mine.items():
        if name.split(".")[-1].lstrip("0123456789") in leave:
            continue
        a, b = np.asarray(x), np.asarray(theirs[name])
        if a.dtype.kind in "fiub":
            np.testing.assert_allclose(a.astype(float), b.astype(float), rtol=2e-6, atol=1e-9, err_msg=name)
        else:
            assert repr(x) == repr(theirs[name]) or (a == b).all(), name


def quiet(call: Callable[..., Any], *args: Any, **options: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of levels beyond the rows, which both sides say
        return call(*args, **options)


@pytest.mark.parametrize("name", PASSES)
def test_a_prompt_of_weight_zero_is_left_out(name: str, world: World) -> None:
    keep = world.weights > 0
    rows = np.isin(world.ids, world.prompts[keep])
    got = quiet(PASSES[name], world.dump(slice(None)), prompt_weights=world.weights, precision="double")
    want = quiet(PASSES[name], world.dump(rows), prompt_weights=world.weights[keep], precision="double")
    same(got, want, ROWWISE | (PROMPTWISE if name == "prompt" else set()))
    if name == "prompt":
        np.testing.assert_allclose(got.margin[keep], want.margin, rtol=1e-9)
        assert np.isnan(got.margin[~keep]).all() and (got.status[~keep] == "left out").all()
        assert got.prompts.tolist() == world.dump(slice(None)).prompts.tolist()


@pytest.mark.parametrize("name", PASSES)
def test_a_row_of_count_zero_is_left_out(name: str, world: World) -> None:
    counts = np.where(world.ids == world.prompts[2], 0.0, world.counts)  # and a prompt all of whose counts are 0
    rows = counts > 0
    got = quiet(PASSES[name], world.dump(slice(None)), base="counts", counts=counts, precision="double")
    want = quiet(PASSES[name], world.dump(rows), base="counts", counts=counts[rows], precision="double")
    same(got, want, ROWWISE | (PROMPTWISE if name == "prompt" else set()))


@pytest.mark.parametrize("name", PASSES)
def test_counts_are_copies(name: str, world: World) -> None:
    rows = np.repeat(np.arange(len(world.ids)), world.counts.astype(int))
    got = quiet(PASSES[name], world.dump(slice(None)), base="counts", counts=world.counts, precision="double")
    want = quiet(PASSES[name], world.dump(rows), precision="double")
    same(got, want, ROWWISE | {"n_rows", "n_unlabelled"})  # these say how many rows there are, not draws


def test_scores_of_rows_that_weigh_nothing_are_missing(world: World) -> None:
    whole = cm.score(world.dump(slice(None)), U)
    got = cm.score(world.dump(slice(None)), U, base="counts", counts=world.counts)
    np.testing.assert_array_equal(got, np.where(world.counts[:, None] == 0, np.nan, whole))


def test_a_fold_leaves_out_what_a_dump_does(world: World) -> None:
    dump = world.dump(slice(None))
    statistic = cm.stat.Tilt(U, "z", betas=[1.0])
    fold = cm.Fold(statistic, dim=D, base="counts")
    for a in range(0, len(world.ids), 7):
        b = slice(a, a + 7)
        fold.absorb(world.phi[b], world.ids[b], z=dump.columns["z"][b], count=world.counts[b])
    same(fold.finish()[0], cm.scan(dump, statistic, base="counts", counts=world.counts)[0], set())
