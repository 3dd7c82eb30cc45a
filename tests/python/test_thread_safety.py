"""Calls from several threads give what they give alone, and leave the process as it was."""

from __future__ import annotations

import locale
import os
import pickle
import threading
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import clinometer as cm
from clinometer import _core
from clinometer.common.notices import listening, tell
from clinometer.common.threads import shared
from clinometer.dump import DumpWriter


def at_once(calls: list[Callable[[], Any]]) -> list[Any]:
    """All calls begin together, each in a thread."""
    gate = threading.Barrier(len(calls))

    def run(call: Callable[[], Any]) -> Any:
        gate.wait()
        return call()

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(run, calls))


def process_state() -> tuple[Any, ...]:
    return (
        list(warnings.filters),
        warnings.showwarning,
        locale.setlocale(locale.LC_ALL),
        dict(os.environ),
        np.geterr(),
    )


def test_reports_in_threads_are_those_alone_with_their_own_notes() -> None:
    worlds = [cm.simulate(n_prompts=30 + k, n_responses=5, dim=3, random_state=k) for k in range(2)]
    kw: dict[str, Any] = {"constitutions": ["judge/c0"], "values": ["s"]}
    # one asks for more KL than its rows can reach, which a note says
    calls = [lambda k=k: cm.report(worlds[k], kl=[[0.2], [5.0]][k], **kw).to_json() for k in (0, 1)]
    alone = [call() for call in calls]
    before = process_state()  # SciPy adds a filter of its own when it is imported
    assert ["beyond what the rows can reach" in text for text in alone] == [False, True]
    assert at_once(calls * 3) == alone * 3
    assert process_state() == before


def test_a_listener_hears_its_own_thread_and_its_workers() -> None:
    def call(k: int) -> list[str]:
        with listening() as heard:
            shared(lambda i: tell(f"{k}.{i}", stacklevel=1), range(8), 4)
        return heard

    for k, heard in enumerate(at_once([lambda k=k: call(k) for k in range(6)])):
        assert sorted(heard) == [f"{k}.{i}" for i in range(8)]


def test_a_listener_takes_what_it_asked_for_and_no_more() -> None:
    with listening() as all_, listening("prompt ids") as some:
        tell("no prompt ids: one prompt", stacklevel=1)
        tell("kl: beyond", stacklevel=1)
    assert (some, all_) == (["no prompt ids: one prompt"], ["kl: beyond"])
    with pytest.warns(UserWarning, match="afterwards") as caught:
        tell("afterwards", stacklevel=1)
    assert caught[0].filename == __file__


def test_a_writer_shared_by_threads_keeps_every_batch_whole(tmp_path: Path) -> None:
    threads, batches, m = 4, 12, 5
    with DumpWriter(tmp_path / "d", dim=3, dtype="float32", shard_rows=37) as out:

        def write(t: int) -> None:
            for b in range(batches):
                code = t * batches + b
                out.append(np.full((m, 3), code, np.float32), np.full(m, code), value_code=np.full(m, float(code)))
                if b % 5 == 0:
                    out.flush()

        at_once([lambda t=t: write(t) for t in range(threads)])
    dump = cm.open_dump(tmp_path / "d")
    assert dump.n_rows == threads * batches * m
    rows, ids = dump.read(0, dump.n_rows), np.asarray(dump.prompt_ids)
    assert (rows == ids[:, None]).all() and (dump.column("value_code") == ids).all()
    assert (np.diff(np.flatnonzero(np.diff(ids))) % m == 0).all(), "batches are not mixed"
    assert sorted(np.unique(ids)) == list(range(threads * batches))


def test_a_writer_closed_by_one_thread_refuses_the_others(tmp_path: Path) -> None:
    out = DumpWriter(tmp_path / "d", dim=1, dtype="float32")
    out.append(np.ones((1, 1), np.float32), [1])

    def append() -> str:
        try:
            out.append(np.ones((1, 1), np.float32), [2])
        except ValueError as error:
            return str(error)
        return "in"

    said = at_once([out.close, append, append, out.close])
    assert all(one in (None, "in") or "finished dump" in one for one in said)
    assert cm.open_dump(tmp_path / "d").n_rows == 1 + said.count("in")


@pytest.mark.parametrize("start_row", [None, 0])
def test_a_fold_shared_by_threads_keeps_every_prompt_whole(start_row: int | None, tmp_path: Path) -> None:
    threads, blocks, prompts, n = 4, 6, 300, 8  # every block folds leaves, without the GIL
    rng = np.random.default_rng(0)
    x = rng.normal(size=(threads * blocks, prompts * n, 3)).astype(np.float32)
    ids = np.arange(threads * blocks * prompts).repeat(n).reshape(threads * blocks, -1)
    fold = cm.Fold(cm.stat.Moments(), dim=3, start_row=start_row)

    def feed(t: int) -> None:
        for b in range(t * blocks, (t + 1) * blocks):
            fold.absorb(x[b], ids[b])
            fold.save(tmp_path / f"{t}")

    at_once([lambda t=t: feed(t) for t in range(threads)])
    want = cm.moments(x.reshape(-1, 3), prompt_ids=ids.ravel())
    found = fold.finish()[0]
    assert fold.n_rows == x.shape[0] * x.shape[1]
    np.testing.assert_allclose(found.covariance, want.covariance, rtol=1e-6)
    copied = pickle.loads(pickle.dumps(cm.Fold(cm.stat.Moments(), dim=3)))
    copied.absorb(x[0], ids[0])
    assert copied.n_rows == prompts * n


def test_a_scan_in_use_is_refused_to_a_second_thread() -> None:
    n = 5000
    scan = _core.Scan([_core.Moments(2, 0, 1, 0, True)])
    said: list[str] = []

    def inside(done: int, total: int) -> None:
        for call in (scan.collapse, scan.nodes):
            with pytest.raises(RuntimeError, match="another thread is using it") as caught:
                call()
            said.append(str(caught.value))

    scan.absorb(segments=[(np.ones((n, 2), np.float32), 0)], dtype=0, n_dump=n, d=2, n_rows=n,
                offsets=np.array([0, n]), progress=inside)  # fmt: skip
    assert said and len(scan.collapse()) == 1


def test_a_statistic_scanned_by_many_threads_gives_each_its_own_scores() -> None:
    u, rows = np.eye(3)[:2], [np.full((200, 3), k + 1.0) for k in range(4)]
    statistic = cm.stat.Scores(u)
    dumps = [cm.open_dump(x, prompt_ids=np.arange(200) // 8) for x in rows]
    for found in at_once([lambda d=d: [cm.scan(d, statistic)[0] for _ in range(100)] for d in dumps]):
        assert len({float(x.max()) for x in found}) == 1 and found[0].min() == found[0].max()
    twice = cm.scan(dumps[0], statistic, cm.stat.Scores(2 * u), statistic)
    assert [float(x.max()) for x in twice] == [1.0, 2.0, 1.0]


def test_one_file_saved_by_many_threads_is_whole_and_alone(tmp_path: Path) -> None:
    worlds = [cm.simulate(n_prompts=20 + k, n_responses=4, dim=2, random_state=k) for k in range(3)]
    fits = [cm.fit_value_direction(world, "s", folds=2) for world in worlds]
    for _ in range(5):
        at_once([lambda f=f: f.save(tmp_path / "fit.safetensors") for f in fits * 2])
        vectors = cm.fit.DirectionFit.load(tmp_path / "fit.safetensors").vectors
        assert any(np.array_equal(vectors, f.vectors) for f in fits)
    assert [p.name for p in tmp_path.iterdir()] == ["fit.safetensors"]
