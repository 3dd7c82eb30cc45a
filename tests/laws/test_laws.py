"""The laws of every statistic: neutral empty state, cutting anywhere, pickling, and bits that depend on nothing."""

from __future__ import annotations

import functools
import hashlib
import itertools
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import clinometer as cm
from clinometer import _core

sys.path.insert(0, str(Path(__file__).parents[1] / "fuzz"))
import states

D, K, J = 5, 2, 2
BETAS = np.array([[3.0, 0.4], [5.0, 0.7]])
LEAF = _core.LEAF_ROWS

# how to make each statistic for n canonical rows; a new class without a line here fails test_every_statistic
MAKERS: dict[str, Callable[[int], Any]] = {
    "Moments": lambda n: _core.Moments(D, J, 2, 0, True),
    "CovarianceProjection": lambda n: _core.CovarianceProjection(D, 0, K, 0),
    "CrossCovariance": lambda n: _core.CrossCovariance(0, K, 0, J, 1),
    "Tilt": lambda n: _core.Tilt(0, K, 0, J, BETAS, False, True),
    "ScoreVariance": lambda n: _core.ScoreVariance(K),
    "Jackknife": lambda n: _core.Jackknife(K, BETAS, True),
    "TiltedMean": lambda n: _core.TiltedMean(D, 0, K, BETAS),
    "WeightedRows": lambda n: _core.WeightedRows(D, weights_of(n)),
    "Pairs": lambda n: _core.Pairs(D, 0, K, pairs_of(n), np.array([0.1, -0.2])),
    "Scores": lambda n: _core.Scores(0, K, np.zeros((n, K)), False, True, True),
    "LogRatios": lambda n: _core.LogRatios(0, K, BETAS, np.zeros((K * 2, n))),
}
BY_ROW = {"WeightedRows", "Pairs"}  # they name rows of the whole dump, which a part with rows of its own has not
WRITERS = {"Scores", "LogRatios"}  # they write to the caller's array and have no state to compare
ROWWISE = sorted(set(MAKERS) - WRITERS)


@functools.cache  # a state keeps a pointer to them, so they must outlive it
def weights_of(n: int) -> np.ndarray:
    return np.random.default_rng(1).random((n, 2))


@functools.cache
def pairs_of(n: int) -> Any:
    """Neighbours, and pairs far apart: many are divided by block and leaf borders."""
    rng = np.random.default_rng(2)
    first = np.append(np.arange(n - 1), rng.integers(0, n, 50))
    second = np.append(np.arange(1, n), (first[-50:] + rng.integers(1, n, 50)) % n)
    label = rng.random((len(first), K))
    label[::7, 1] = np.nan
    return _core.PairList(first, second, label, rng.random((len(first), 1)))


class Rows:
    """Rows of whole prompts, some longer than a leaf, ready for `_core.Scan`."""

    def __init__(self, sizes: list[int], seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.offsets = np.append(0, np.cumsum(sizes)).astype(np.int64)
        n, groups = int(self.offsets[-1]), len(sizes)
        self.prompt = np.repeat(np.arange(groups), sizes)
        centres = rng.normal(size=(groups, D))[self.prompt]
        self.phi = (rng.normal(size=(n, D)) + centres + 50).astype(np.float32)
        self.values = rng.normal(size=(n, J))
        self.values[rng.random(n) < 0.05, 1] = np.nan
        self.u = rng.normal(size=(K, D))
        self.fold = (np.arange(groups) % 2).astype(np.int64)
        self.omega = rng.random(groups) + 0.5
        self.cluster = (np.arange(groups) // 2).astype(np.int64)

    def absorb(self, scan: Any, first: int = 0, last: int | None = None, threads: int = 1) -> None:
        """Prompts [first, last) as a scan of their own would see them."""
        last = len(self.offsets) - 1 if last is None else last
        a, b = self.offsets[first], self.offsets[last]
        scan.absorb(
            segments=[(self.phi[a:b], 0)], dtype=0, n_dump=b - a, d=D, n_rows=b - a,
            offsets=self.offsets[first : last + 1] - a, omega=self.omega[first:last], fold=self.fold[first:last],
            cluster=self.cluster[first:last], directions=self.u, values=self.values[a:b], n_threads=threads,
            in_double=True,
        )  # fmt: skip

    def absorb_leaf(self, scan: Any, leaf: int) -> None:
        """One leaf of all rows."""
        scan.absorb(
            segments=[(self.phi, 0)], dtype=0, n_dump=len(self.phi), d=D, n_rows=len(self.phi), offsets=self.offsets,
            omega=self.omega, fold=self.fold, cluster=self.cluster, directions=self.u,
            values=np.nan_to_num(self.values), in_double=True, begin=leaf * LEAF, end=(leaf + 1) * LEAF,
        )  # fmt: skip

    def without_gaps(self) -> None:
        """Label every row: Moments takes values as further columns and its callers leave out the gaps."""
        self.values = np.nan_to_num(self.values)

    def state(self, make: Callable[[int], Any], first: int = 0, last: int | None = None) -> Any:
        scan = _core.Scan([make(int(self.offsets[-1]))])
        self.absorb(scan, first, last)
        return scan.collapse()[0]


def rows_for(name: str) -> Rows:
    rows = Rows([4, 1, 7, 33, 2, 15, 3, 17, 1, 6])
    if name == "Moments":
        rows.without_gaps()
    return rows


def agree(a: dict[str, np.ndarray], b: dict[str, np.ndarray], tolerance: float = 1e-9) -> None:
    assert a.keys() == b.keys() and a
    for name, want in a.items():
        scale = np.nanmax(np.abs(want), initial=1e-12)
        np.testing.assert_allclose(b[name], want, rtol=tolerance, atol=tolerance * scale, err_msg=name)


def test_every_statistic_of_the_core_is_covered() -> None:
    found = {n for n in dir(_core) if isinstance(c := getattr(_core, n), type) and issubclass(c, _core.Statistic)}
    assert found - {"Statistic"} == set(MAKERS)


@pytest.fixture
def small(request: pytest.FixtureRequest) -> Rows:
    params = request.node.callspec.params if hasattr(request.node, "callspec") else {}
    return rows_for(params.get("name", ""))


@pytest.fixture(scope="module")
def large() -> Rows:
    """More than three leaves; prompts straddle borders and one spans two of them."""
    sizes = [9000, *([17] * 700), 5000, 1, 3, *([7] * 500), 33]
    return Rows(sizes, seed=3)


@pytest.mark.parametrize("name", ROWWISE)
def test_empty_is_neutral_on_both_sides(name: str, small: Rows) -> None:
    state = small.state(MAKERS[name])
    want = state.finish()
    left = state.empty()
    left.merge(pickle.loads(pickle.dumps(state)))
    state.merge(state.empty())
    for got in (left.finish(), state.finish()):
        for key, array in want.items():
            np.testing.assert_array_equal(got[key], array, err_msg=key)


@pytest.mark.parametrize("name", sorted(set(ROWWISE) - BY_ROW))
@pytest.mark.parametrize("cut", [2, 4, 6, 8])
def test_cutting_between_clusters_and_merging_gives_the_whole(name: str, cut: int, small: Rows) -> None:
    # prompts are cut where a cluster of two ends: pieces that know nothing of each other
    head, tail = small.state(MAKERS[name], 0, cut), small.state(MAKERS[name], cut)
    head.merge(tail)
    agree(small.state(MAKERS[name]).finish(), head.finish())


@pytest.mark.parametrize("name", sorted(set(ROWWISE) - BY_ROW))
def test_merge_is_associative(name: str, small: Rows) -> None:
    def parts() -> list[Any]:
        return [small.state(MAKERS[name], a, b) for a, b in ((0, 2), (2, 6), (6, None))]

    a, b, c = parts()
    a.merge(b)
    a.merge(c)
    x, y, z = parts()
    y.merge(z)
    x.merge(y)
    agree(a.finish(), x.finish())


@pytest.mark.parametrize("name", ROWWISE)
@pytest.mark.parametrize("borders", [(1,), (2,), (1, 2)])
def test_cutting_at_leaf_borders_keeps_straddling_prompts(name: str, borders: tuple[int, ...], large: Rows) -> None:
    n = int(large.offsets[-1])
    assert n > 3 * LEAF
    ends = [0, *(b * LEAF for b in borders), n]
    whole = _core.Scan([MAKERS[name](n)])
    large.absorb(whole)
    cut = _core.Scan([MAKERS[name](n)])
    for begin, end in itertools.pairwise(ends):
        cut.absorb(
            segments=[(large.phi, 0)], dtype=0, n_dump=n, d=D, n_rows=n, offsets=large.offsets, omega=large.omega,
            fold=large.fold, cluster=large.cluster, directions=large.u, values=large.values, in_double=True,
            begin=begin, end=end,
        )  # fmt: skip
    a, b = whole.collapse()[0], cut.collapse()[0]
    for key, want in a.finish().items():  # on the grid of leaves the bits agree
        np.testing.assert_array_equal(b.finish()[key], want, err_msg=key)


@pytest.mark.parametrize("name", ROWWISE)
def test_a_pickled_state_is_the_same_state(name: str, small: Rows) -> None:
    state = small.state(MAKERS[name], 0, 4)
    again = pickle.loads(pickle.dumps(state))
    assert again == state and again.state() == state.state()
    for key, want in state.finish().items():
        np.testing.assert_array_equal(again.finish()[key], want)


@pytest.mark.parametrize("name", sorted(set(ROWWISE) - BY_ROW))
def test_a_pickled_state_merges_on(name: str, small: Rows) -> None:
    head, tail = (pickle.loads(pickle.dumps(small.state(MAKERS[name], *c))) for c in ((0, 4), (4, None)))
    head.merge(tail)
    agree(small.state(MAKERS[name]).finish(), head.finish())


@pytest.mark.parametrize("name", ROWWISE)
def test_a_damaged_state_is_refused(name: str, small: Rows) -> None:
    state = small.state(MAKERS[name], 0, 4)
    cls, raw = type(state), state.state()
    for bad in (raw[:-1], raw[: len(raw) // 2], raw + b"\0", b""):
        with pytest.raises(ValueError, match="state"):
            cls.__new__(cls).__setstate__(bad)


@pytest.mark.parametrize("name", ROWWISE)
def test_a_state_whose_lengths_disagree_is_refused(name: str, large: Rows) -> None:
    """Each array of a state emptied, halved and doubled; both ends of it lie inside a prompt."""
    n = int(large.offsets[-1])
    scan = _core.Scan([MAKERS[name](n)])
    large.absorb_leaf(scan, 2)
    state = scan.collapse()[0]
    parts = states.fields(state.state())
    for k, (tag, data) in enumerate(parts):
        for other in (b"", data[: len(data) // 16 * 8], data + data):
            if other == data or (name == "Pairs" and (k, other) == (3, b"")):  # no biases
                continue
            bad = states.joined([*parts[:k], (tag, other), *parts[k + 1 :]])
            with pytest.raises(ValueError, match="state"):
                type(state).__new__(type(state)).__setstate__(bad)


@pytest.mark.parametrize("name", sorted(set(ROWWISE) - BY_ROW - {"Jackknife", "ScoreVariance"}))
def test_states_of_different_settings_do_not_merge(name: str, small: Rows) -> None:
    other = {
        "Moments": lambda: _core.Moments(D, J, 2, 1, True),
        "Tilt": lambda: _core.Tilt(0, K, 0, J, BETAS + 1, False, True),
        "CovarianceProjection": lambda: _core.CovarianceProjection(D, 1, K, 0),
        "CrossCovariance": lambda: _core.CrossCovariance(0, K, 0, J, 0),
        "TiltedMean": lambda: _core.TiltedMean(D, 0, K, BETAS + 1),
    }[name]()  # fmt: skip
    with pytest.raises(ValueError, match="different settings"):
        small.state(MAKERS[name]).merge(other)


def test_states_of_different_statistics_do_not_merge(small: Rows) -> None:
    with pytest.raises(ValueError, match="different statistics"):
        small.state(MAKERS["Tilt"]).merge(small.state(MAKERS["Moments"]))


# The public passes: one hash whatever the threads, the cuts of the dump and the chunk size

PASSES: dict[str, Callable[..., Any]] = {
    "moments": lambda dump, r, **o: vars(cm.moments(dump, **o)),
    "pooled moments": lambda dump, r, **o: vars(cm.moments(dump, within=False, **o)),
    "variances": lambda dump, r, **o: vars(cm.moments(dump, covariance=False, **o)),
    "covariance_projection": lambda dump, r, **o: {"p": cm.covariance_projection(dump, r.u, **o)},
    "score": lambda dump, r, **o: {"s": cm.score(dump, r.u, **o)},
    "cross_covariance": lambda dump, r, **o: vars(cm.cross_covariance(dump, r.u, r.values, **o)),
    "tilt": lambda dump, r, **o: vars(cm.tilt(dump, r.u, BETAS, r.values, **o)),
    "tilt kl": lambda dump, r, **o: vars(cm.tilt(dump, r.u, None, r.values, kl=[0.2], pareto_k=False, **o)),
    "tilted_mean": lambda dump, r, **o: vars(cm.tilted_mean(dump, r.u, BETAS, **o)),
    "fit": lambda dump, r, **o: {"v": cm.fit_value_direction(dump, r.values, folds=2, **o).fold_vectors},
    "fit logistic": lambda dump, r, **o: vars(
        cm.fit_value_direction(dump, r.values[:, 0] > 0, method="logistic", alpha=1.0, folds=2, pooled=False, **o)
    ),
    "fit generation": lambda dump, r, **o: vars(
        cm.fit_generation_direction(dump, r.values[:, 0], covariates=np.nan_to_num(r.values[:, 1]), folds=2, **o)
    ),
    "gain_intervals": lambda dump, r, **o: vars(
        cm.inference.gain_intervals(dump, r.u, BETAS, r.values, replicates=20, **o)
    ),
}


def digest(results: dict[str, Any]) -> str:
    h = hashlib.sha256()
    for name in sorted(results):
        if isinstance(results[name], np.ndarray):
            h.update(name.encode() + np.ascontiguousarray(results[name]).tobytes())
    return h.hexdigest()


@pytest.fixture(scope="module")
def cuts(large: Rows, tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """The same rows in one array, in two shards, and in many uneven ones."""
    folder = tmp_path_factory.mktemp("cuts")
    dumps = [cm.open_dump(large.phi, prompt_ids=large.prompt)]
    for name, rows in (("two", 16001), ("many", 1777)):
        path: Path = folder / name
        cm.write_dump(path, large.phi, prompt_ids=large.prompt, shard_rows=rows)
        dumps.append(cm.open_dump(path))
    assert [len(d.segments) for d in dumps][:2] == [1, 2] and len(dumps[2].segments) > 10
    return dumps


@pytest.mark.parametrize("name", PASSES)
@pytest.mark.parametrize("precision", ["mixed", "double"])
def test_one_hash_for_any_threads_and_cuts(name: str, precision: str, large: Rows, cuts: list[Any]) -> None:
    seen = set()
    for threads, dump in zip([1, 2, 3], cuts, strict=True):
        seen.add(digest(PASSES[name](dump, large, n_threads=threads, precision=precision)))
    for threads in (2, 8):
        seen.add(digest(PASSES[name](cuts[0], large, n_threads=threads, precision=precision)))
    assert len(seen) == 1


def test_many_threads_on_every_cut(large: Rows, cuts: list[Any]) -> None:
    seen = {digest(PASSES["moments"](dump, large, n_threads=threads)) for dump in cuts for threads in (1, 2, 3, 8)}
    assert len(seen) == 1


def test_shuffled_rows_agree_with_grouped_ones(large: Rows) -> None:
    order = np.random.default_rng(5).permutation(len(large.phi))
    grouped = cm.tilt(large.phi, large.u, BETAS, large.values, prompt_ids=large.prompt, precision="double")
    shuffled = cm.tilt(
        large.phi[order],
        large.u,
        BETAS,
        large.values[order],
        prompt_ids=large.prompt[order],
        precision="double",
    )
    np.testing.assert_allclose(shuffled.gain, grouped.gain, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(shuffled.gain_se, grouped.gain_se, rtol=1e-9)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
@pytest.mark.parametrize("precision", ["mixed", "double"])
def test_a_narrow_dtype_gives_the_bits_of_its_float32_copy(dtype: Any, precision: str, large: Rows) -> None:
    narrow = large.phi.astype(dtype)
    wide = narrow.astype(np.float32)
    for name in ("moments", "tilt", "score", "covariance_projection"):
        a, b = (digest(PASSES[name](x, large, prompt_ids=large.prompt, precision=precision)) for x in (narrow, wide))
        assert a == b, name


def test_float64_copies_agree_in_double(large: Rows) -> None:
    a, b = (
        PASSES["tilt"](x, large, prompt_ids=large.prompt, precision="double")
        for x in (large.phi, large.phi.astype(np.float64))
    )
    assert digest(a) == digest(b)
