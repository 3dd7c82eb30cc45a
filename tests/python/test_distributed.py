"""Passes by the workers of a Dask cluster give the bits of one thread, whoever dies on the way."""

from __future__ import annotations

import io
import os
import shutil
import signal
import sys
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import clinometer as cm
from clinometer import _core
from clinometer.common import progress
from clinometer.sources import window

pytest.importorskip("distributed", reason="needs dask and distributed")
from distributed import Client, LocalCluster
from test_remote import Ranges

from clinometer import distributed as away
from clinometer.distributed import cut

LEAF = int(_core.LEAF_ROWS)
RNG = np.random.default_rng(5)
# prompts of one row, prompts over several leaves, and no border of prompts on one of leaves
SIZES = np.concatenate([[3, 9500], RNG.integers(1, 60, 4000), [20000, 1], RNG.integers(1, 50, 2000)])
IDS = np.repeat(np.arange(len(SIZES)), SIZES)
N = len(IDS)
D = 19
U = RNG.normal(size=(3, D))
pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def many_tasks(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Small dumps are cut as large ones are, into a leaf a task; into some seven tasks where there are many passes."""
    monkeypatch.setattr(away, "LEAST_BYTES", 1 << 21 if "fit" in request.node.name else 0)


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
    four.wait_for_workers(4, timeout=120)
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


ROUNDS = CALLS["a logistic fit, in rounds of passes"]


def between_passes(monkeypatch: pytest.MonkeyPatch, happens: dict[int, Callable[[], None]]) -> list[int]:
    """Do something when the tasks of a pass have been sent; the passes so far."""
    sent, seen = away.Cluster._sent, [0]

    def also(*args: Any) -> Any:
        out = sent(*args)
        seen[0] += 1
        happens.get(seen[0], lambda: None)()
        return out

    monkeypatch.setattr(away.Cluster, "_sent", also)
    return seen


def test_a_worker_that_dies_twice_while_a_fit_iterates(dump: cm.Dump, client: Client, monkeypatch: Any) -> None:
    killed: list[int] = []

    def kill() -> None:
        client.wait_for_workers(2, timeout=120)
        killed.append(client.run(os.getpid, nanny=False)[client.cluster.workers[0].worker_address])
        os.kill(killed[-1], signal.SIGKILL)

    seen = between_passes(monkeypatch, {5: kill, 10: kill})
    want = cm.fit_value_direction(dump, *ROUNDS[1], **ROUNDS[2], n_threads=1)
    same(away.fit_value_direction(dump, *ROUNDS[1], **ROUNDS[2], client=client), want)
    assert len(set(killed)) == 2 and seen[0] > 10


def test_a_dump_that_changes_between_passes(dump: cm.Dump, client: Client, tmp_path: Path, monkeypatch: Any) -> None:
    shutil.copytree(dump.path, tmp_path / "d")
    (file, *_) = sorted((tmp_path / "d").glob("phi*.safetensors"))

    def change() -> None:
        with open(file, "r+b") as opened:
            opened.seek(-2, os.SEEK_END)  # of a row of which no worker has a digest
            opened.write(b"\0\0")

    between_passes(monkeypatch, {5: change})
    with pytest.raises(cm.DumpChangedError, match=file.name):
        away.fit_value_direction(tmp_path / "d", *ROUNDS[1], **ROUNDS[2], client=client)
    same(away.moments(tmp_path / "d", client=client), cm.moments(tmp_path / "d"))  # as it is now


def test_a_closed_client_is_refused(dump: cm.Dump, client: Client) -> None:
    with Client(client.scheduler.address, set_as_default=False) as other:
        assert away.moments(dump, client=other).n_rows == N
    with pytest.raises(ValueError, match="client is closed"):
        away.moments(dump, client=other)


@pytest.mark.parametrize("sizes", [[7], [4 * LEAF + 3], [5] * 1000, [1]], ids=str)
def test_one_prompt_and_more_workers_than_leaves(sizes: list[int], four: Client, tmp_path: Path) -> None:
    ids, rng = np.repeat(np.arange(len(sizes)), sizes), np.random.default_rng(1)
    phi, value = rng.normal(size=(len(ids), 3)).astype(np.float32), rng.normal(size=len(ids))
    cm.write_dump(tmp_path / "d", phi, prompt_ids=ids, columns={"value_a": value})
    same(away.moments(tmp_path / "d", client=four), cm.moments(tmp_path / "d"))
    calls = [f(tmp_path / "d", U[:, :3], [1.0], "a", **o) for f, o in ((away.tilt, {"client": four}), (cm.tilt, {}))]
    same(*calls)


def test_no_rows_are_refused_as_on_one_machine(four: Client, tmp_path: Path) -> None:
    cm.write_dump(tmp_path / "d", np.zeros((0, 3), np.float32), prompt_ids=np.zeros(0, int))
    for function, options in ((away.moments, {"client": four}), (cm.moments, {})):
        with pytest.raises(ValueError, match="d has no rows to pass over"):
            function(tmp_path / "d", **options)


def test_workers_read_a_dump_of_a_web_server(dump: cm.Dump, client: Client, monkeypatch: Any) -> None:
    assert dump.path is not None
    files = {f"/d/{file.name}": file.read_bytes() for file in Path(dump.path).iterdir()}
    monkeypatch.setattr(Ranges, "files", files)
    with ThreadingHTTPServer(("127.0.0.1", 0), Ranges) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{http.server_port}/d"
        same(away.tilt(url, U, [0.5], "a", client=client), cm.tilt(dump, U, [0.5], "a", n_threads=1))
        same(away.moments(url, client=client), cm.moments(dump, n_threads=1))
        http.shutdown()


def test_a_task_holds_two_windows_of_a_remote_dump(monkeypatch: pytest.MonkeyPatch) -> None:
    fsspec = pytest.importorskip("fsspec")
    rows, d, a_window = 16 * LEAF, 64, LEAF * 64 * 4
    fsspec.filesystem("memory").pipe("/two/x.npy", npy(np.random.default_rng(0).normal(size=(rows, d))))
    monkeypatch.setattr(window, "WINDOW_BYTES", a_window)
    monkeypatch.setattr(away, "TASKS_A_THREAD", 1)
    dump = cm.open_dump("memory://two/x.npy", prompt_ids=np.arange(rows) // 8)
    u, spans = np.ones((1, d)), []
    monkeypatch.setattr(away, "cut", lambda *a: spans.append(a[-1] - a[-2]) or cut(*a))
    with (
        LocalCluster(n_workers=1, threads_per_worker=1, processes=False, dashboard_address=":0") as cluster,
        Client(cluster) as one,
    ):
        away.covariance_projection(dump, u, client=one)  # what is loaded once
        tracemalloc.start()
        got = away.covariance_projection(dump, u, client=one)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert spans == [rows, rows]  # one task, and windows of a leaf
    assert peak < 6 * a_window  # two, and copies on the way from the store
    np.testing.assert_array_equal(got, cm.covariance_projection(dump, u))
    fsspec.filesystem("memory").store.clear()


def npy(array: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, np.asarray(array, np.float32))
    return file.getvalue()


def test_progress_is_a_line_of_the_terminal(dump: cm.Dump, client: Client, monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.setattr(progress, "PATIENCE", -1.0)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    away.moments(dump, client=client, progress=True)
    assert f"\r{N:,} of {N:,} rows" in capsys.readouterr().err


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
