"""Passes by the workers of a Dask cluster give the bits of one thread, whoever dies on the way."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import clinometer as cm
from clinometer import _core

pytest.importorskip("distributed", reason="needs dask and distributed")
from distributed import Client, LocalCluster

from clinometer import distributed as away
from clinometer.dump.blocks import to_bfloat16

LEAF = int(_core.LEAF_ROWS)
RNG = np.random.default_rng(5)
# prompts of one row, prompts over several leaves, and no border of prompts on one of leaves
SIZES = np.concatenate([[3, 9500], RNG.integers(1, 60, 4000), [20000, 1], RNG.integers(1, 50, 2000)])
IDS = np.repeat(np.arange(len(SIZES)), SIZES)
N = len(IDS)
D = 19
U = RNG.normal(size=(3, D))
pytestmark = pytest.mark.slow


def columns() -> dict[str, Any]:
    rng = np.random.default_rng(6)
    return {
        "value_a": np.where(rng.random(N) < 0.05, np.nan, rng.normal(size=N)),
        "value_b": (rng.random(N) < 0.4) * 1.0,
        "judge_c": rng.normal(size=N),
        "logprob": rng.normal(size=N) - 30,
        "n_tokens": rng.integers(1, 90, N),
        "cluster": IDS // 3,
    }


@pytest.fixture(scope="module")
def dump(tmp_path_factory: Any) -> cm.Dump:
    path = tmp_path_factory.mktemp("dumps") / "grouped"
    phi = (RNG.normal(size=(N, D)) * 2 + 30).astype(np.float16)
    cm.write_dump(path, phi, prompt_ids=IDS, columns=columns(), shard_rows=70_001)
    return cm.open_dump(path)


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: Any) -> cm.Dump:
    """Rows of prompts apart from each other."""
    path, order = tmp_path_factory.mktemp("dumps") / "mixed", RNG.permutation(N)
    phi = RNG.normal(size=(N, D)).astype(np.float32)
    cm.write_dump(path, phi, prompt_ids=IDS[order], columns={n: c[order] for n, c in columns().items()})
    return cm.open_dump(path)


def workers(n: int) -> Iterator[Client]:
    with (
        LocalCluster(n_workers=n, threads_per_worker=1, dashboard_address=":0") as cluster,
        Client(cluster) as made,
    ):
        yield made


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    yield from workers(2)


@pytest.fixture(scope="module")
def four() -> Iterator[Client]:
    yield from workers(4)


def same(got: Any, want: Any) -> None:
    """Every array of two results, bit for bit."""
    if isinstance(want, np.ndarray):
        np.testing.assert_array_equal(got, want)
        return
    if isinstance(want, list):
        for one, other in zip(got, want, strict=True):
            same(one, other)
        return
    a, b = got.to_dict(), want.to_dict()
    assert a.keys() == b.keys()
    arrays = [n for n, x in b.items() if isinstance(x, np.ndarray)]
    assert arrays
    for name in arrays:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)


CALLS: dict[str, tuple[str, tuple[Any, ...], dict[str, Any]]] = {
    "tilt at betas": ("tilt", (U, [0.5, 3.0, np.inf], ["a", "-b"]), {}),
    "tilt at levels of KL by a judge and directions": ("tilt", (["judge_c", *U], None, "a"), {"kl": [0.1, 0.5]}),
    "tilt, base logprob, clusters": ("tilt", (U, [0.7], "b"), {"base": "logprob", "clusters": "cluster"}),
    "tilt net of length": ("tilt", (U[:1], [0.7], "b"), {"adjust": "n_tokens"}),
    "tilt over all rows": ("tilt", (U, [0.7], "b"), {"within": False}),
    "moments": ("moments", (), {}),
    "moments over all rows": ("moments", (), {"within": False, "ddof": 1}),
    "scores": ("score", (U,), {}),
    "scores in double": ("score", (U,), {"precision": "double"}),
    "projection": ("covariance_projection", (U,), {}),
    "tilted means": ("tilted_mean", (U, [1.0, 2.0]), {}),
    "several statistics": (
        "scan", (cm.stat.Moments(), cm.stat.Tilt(U, "a", betas=[1.0]), cm.stat.CrossCovariance(U, "b")), {},
    ),
    "a ridge fit": ("fit_value_direction", (["a", "b"],), {}),
    "a logistic fit, in rounds of passes": ("fit_value_direction", ("b",), {"method": "logistic", "alpha": 1.0}),
    "a ridge fit without matrices": ("fit_value_direction", ("a",), {"memory_limit": 0, "alpha": 1.0}),
    "a generation direction": ("fit_generation_direction", ("logprob",), {}),
}  # fmt: skip


@pytest.mark.parametrize("name", CALLS)
def test_workers_give_the_bits_of_one_thread(name: str, dump: cm.Dump, mixed: cm.Dump, client: Client) -> None:
    function, given, options = CALLS[name]
    for source in (dump,) if function.startswith("fit") else (dump, mixed):
        want = getattr(cm, function, None) or getattr(away, function).__wrapped__
        same(
            getattr(away, function)(source, *given, client=client, **options),
            want(source, *given, **options, n_threads=1),
        )


def test_pairs_divided_by_leaves(dump: cm.Dump, client: Client) -> None:
    starts = np.append(0, np.cumsum(SIZES))[:-1][SIZES > 1]
    pairs = np.stack([starts, starts + SIZES[SIZES > 1] - 1], axis=1)  # first and last row: some leaves apart
    prob = RNG.random(len(pairs))
    options: dict[str, Any] = {"alpha": 0.5}
    same(
        away.fit_preference_direction(dump, pairs, prob, client=client, **options),
        cm.fit_preference_direction(dump, pairs, prob, **options, n_threads=1),
    )


def test_a_report_is_the_same_page(dump: cm.Dump, client: Client) -> None:
    given: dict[str, Any] = {
        "constitutions": "judge_c",
        "values": ["a", "b"],
        "kl": [0.2],
        "sections": ["length", "encoding"],
    }
    assert away.report(dump, **given, client=client).to_json() == cm.report(dump, **given).to_json()


@pytest.mark.parametrize("name", ["tilt at betas", "moments", "scores", "a ridge fit"])
def test_a_worker_killed_in_mid_pass_changes_nothing(name: str, dump: cm.Dump, four: Client) -> None:
    function, given, options = CALLS[name]
    want = getattr(cm, function)(dump, *given, **options, n_threads=1)
    four.wait_for_workers(4)
    pids = list(four.run(os.getpid).values())
    killed: list[int] = []
    seen: list[tuple[int, int]] = []

    def progress(done: int, total: int) -> None:
        seen.append((done, total))
        if not killed and done < total // 2:
            killed.append(pids[1])
            os.kill(pids[1], signal.SIGKILL)

    got = getattr(away, function)(dump, *given, **options, client=four, progress=progress)
    assert killed and killed[0] not in four.run(os.getpid).values()
    first = [done for done, _ in seen[: 1 + next(i for i, (done, total) in enumerate(seen) if done == total)]]
    assert first == sorted(set(first))  # each part once, whatever was done again
    same(got, want)


def test_workers_that_cannot_do_it_say_so_before_any_work(dump: cm.Dump, client: Client, monkeypatch: Any) -> None:
    with pytest.raises(ValueError, match="no worker reads"):
        away.tilt(np.zeros((4, 2)), U, [1.0], client=client)
    monkeypatch.setattr(away, "__version__", "0.0.0")
    source = away._source(dump)
    other = away.Source(**{**vars(source), "version": "0.0.0"})
    monkeypatch.setattr(away, "_source", lambda _: other)
    with pytest.raises(RuntimeError, match=r"tcp://.*: RuntimeError: clinometer .* here, 0\.0\.0 at the caller's"):
        away.moments(dump, client=client)
    gone = away.Source(**{**vars(source), "path": str(dump.path) + "-elsewhere"})
    monkeypatch.setattr(away, "_source", lambda _: gone)
    with pytest.raises(RuntimeError, match=r"tcp://.*-elsewhere"):
        away.moments(dump, client=client)


def test_rows_with_nan_are_counted_as_on_one_machine(tmp_path: Path, client: Client) -> None:
    phi = np.ones((3 * LEAF + 5, 2), np.float32)
    phi[[7, 2 * LEAF, 3 * LEAF + 4], 1] = [np.nan, np.inf, -np.inf]
    cm.write_dump(tmp_path / "d", phi, prompt_ids=np.arange(len(phi)) // 4)
    with pytest.raises(cm.DumpError, match="3 rows hold NaN or Inf, first row 7"):
        away.moments(tmp_path / "d", client=client)
    dropped = cm.open_dump(tmp_path / "d", nonfinite="drop")
    same(away.moments(dropped, client=client), cm.moments(dropped))


def test_fewer_rows_than_a_leaf_and_a_selection(dump: cm.Dump, client: Client, tmp_path: Path) -> None:
    cm.write_dump(tmp_path / "d", np.arange(6.0, dtype=np.float32).reshape(3, 2), prompt_ids=[0, 0, 1])
    same(away.moments(tmp_path / "d", client=client), cm.moments(tmp_path / "d"))
    with pytest.raises(RuntimeError, match="holds other rows"):
        away.moments(dump.select(prompts=[0, 1]), client=client)


def test_a_task_leaves_no_page_of_the_dump_with_its_worker(tmp_path: Path) -> None:
    """Dask pauses a worker whose resident memory nears its limit, and rows that were read would count."""
    rows = np.ones((1 << 15, 1024), np.float16)
    cm.write_dump(tmp_path / "d", rows, prompt_ids=np.arange(len(rows)) // 16)
    source = away._source(cm.open_dump(tmp_path / "d"))

    def shared() -> int:
        return int(Path("/proc/self/statm").read_text().split()[2]) * os.sysconf("SC_PAGESIZE")

    held = away.opened(source)
    held.release()
    before = shared()
    cm.moments(held)
    assert shared() - before > rows.nbytes // 2
    assert away.bad_rows(source, 0, len(rows)).size == 0
    assert shared() - before < rows.nbytes // 8
    np.testing.assert_array_equal(held.read(5, 7), rows[5:7])


def test_rounded_directions_are_rounded_by_every_worker(tmp_path: Path, client: Client) -> None:
    """Five directions and more: workers multiply bfloat16 as one machine does, where it does."""
    rows = to_bfloat16(RNG.normal(size=(20_000, 40)).astype(np.float32))
    cm.write_dump(tmp_path / "d", rows.view([("bfloat16", "<u2")]), prompt_ids=np.arange(20_000) // 8)
    u = RNG.normal(size=(6, 40))
    got = away.score(tmp_path / "d", u, precision="bfloat16", client=client)
    assert got.tobytes() == cm.score(tmp_path / "d", u, precision="bfloat16").tobytes()
    assert got.tobytes() != cm.score(tmp_path / "d", u).tobytes()
