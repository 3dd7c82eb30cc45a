"""DumpWriter: the bytes of write_dump whatever the batches, resumed, refused, in parts; and what survives."""

from __future__ import annotations

import gc
import itertools
import json
import multiprocessing
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy

import clinometer as cm
from clinometer import _core
from clinometer.dump import check_digests, open_dump, write_dump
from clinometer.dump import journal as unfinished
from clinometer.dump import shard as shards
from clinometer.dump.dump_writer import DumpWriter
from clinometer.files import atomic

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests" / "torture"))
from scenarios import Scenario, contents  # noqa: E402


@pytest.fixture(scope="module")
def scenario() -> Scenario:
    return Scenario(60, 7, 17)


@pytest.fixture(scope="module")
def whole(scenario: Scenario, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    path = tmp_path_factory.mktemp("whole") / "d"
    scenario.write(str(path))
    return contents(str(path))


# The same bytes


@pytest.mark.parametrize("cuts", [[60], [7, 14, 60], [1] * 60, [59, 60], [6, 8, 33, 34, 60]])
def test_batches_do_not_change_the_bytes(
    tmp_path: Path, scenario: Scenario, whole: dict[str, bytes], cuts: list[int]
) -> None:
    if cuts == [1] * 60:
        cuts = list(range(1, 61))
    with DumpWriter(tmp_path / "d", **scenario.options) as out:
        for low, high in zip([0, *cuts], cuts, strict=False):
            assert out.append(**scenario.batch(low, high)) == high
        for pair in scenario.pairs:
            out.append_pairs([pair])
    assert contents(str(tmp_path / "d")) == whole


def test_the_system_is_told_once_of_what_it_may_begin_to_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: dict[int, list[tuple[int, int]]] = {}
    monkeypatch.setattr(shards, "begin_writing", lambda fd, first, last: told.setdefault(fd, []).append((first, last)))
    phi = {"a": np.zeros((3000, 1031), np.float32), "b": np.ones((3000, 997), np.float16)}
    with DumpWriter(tmp_path / "d", dim={"a": 1031, "b": 997}, dtype={"a": "float32", "b": "float16"}) as out:
        for k in range(0, 3000, 100):
            out.append({name: rows[k : k + 100] for name, rows in phi.items()})
        assert out._growing is not None
        places = out._growing.shards[0].places
    (ranges,) = told.values()
    of_a = [r for r in ranges if r[0] < places["b"]]
    assert of_a[0][0] == places["a"] and 2 == len(of_a) < len(ranges) == 3
    assert all(b - a + (1 << 16) >= 4 << 20 and b % (1 << 16) == 0 for a, b in ranges)
    assert all(b == a for (_, b), (a, _) in itertools.pairwise(of_a)), "no byte twice, none between"
    assert of_a[-1][1] <= places["a"] + phi["a"].nbytes
    monkeypatch.undo()
    monkeypatch.setattr(atomic, "_linux", lambda name: None)  # where the system cannot be told
    write_dump(tmp_path / "e", phi)
    assert contents(str(tmp_path / "d")) == contents(str(tmp_path / "e"))


@pytest.mark.parametrize("n_rows", [1, 6, 7, 8, 60])
def test_write_dump_writes_the_same_bytes(tmp_path: Path, n_rows: int) -> None:
    s = Scenario(n_rows, 7, 17)
    s.write(str(tmp_path / "a"))
    phi = {layer: p[:n_rows] for layer, p in s.phi.items()}
    options = {k: v for k, v in s.options.items() if k not in ("dim", "dtype")}
    bits = open_dump(tmp_path / "a", layer=24)
    assert bits.dtype == "bfloat16"
    pairs = np.reshape(s.pairs, (-1, 2)).astype(int)
    write_dump(tmp_path / "b", {8: phi[8], 24: bits}, prompt_ids=s.ids, columns=s.columns, texts=s.texts,
               pairs=pairs, **options)  # fmt: skip
    mine, theirs = contents(str(tmp_path / "a")), contents(str(tmp_path / "b"))
    assert mine == theirs


def test_what_was_written_is_read_back(tmp_path: Path, scenario: Scenario) -> None:
    scenario.write(str(tmp_path / "d"))
    dump = open_dump(tmp_path / "d", layer=24)
    want = scenario.phi[24].astype(ml_dtypes.bfloat16)
    np.testing.assert_array_equal(dump.read(0, 60), want.astype(np.float32))
    np.testing.assert_array_equal(dump.select(layer=8).read(0, 60), scenario.phi[8])
    for name, column in scenario.columns.items():
        np.testing.assert_array_equal(dump.columns[name], column)
    assert dump.prompt_ids is not None and dump.prompt_ids.tolist() == scenario.ids.tolist()
    assert dump.texts is not None and [tuple(t.values()) for t in dump.texts] == scenario.texts
    assert dump.pairs is not None and dump.pairs["rejected"].tolist() == [b for _, b in scenario.pairs]
    assert dump.policy == "on_policy" and dump.source["position"] == "last"
    theirs = [safetensors.numpy.load_file(p) for p in sorted((tmp_path / "d").glob("phi-*"))]
    got = np.concatenate([t["phi_L24"] for t in theirs])
    assert got.dtype == ml_dtypes.bfloat16 and got.tobytes() == want.tobytes()


def test_torch_bfloat16_goes_in_as_it_is(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    phi = torch.randn(5, 3).to(torch.bfloat16)
    with DumpWriter(tmp_path / "d", dim=3, dtype="bfloat16") as out:
        out.append(phi[:2], [1, 1])
        out.append(phi[2:].view(torch.int16).numpy().view(np.uint16), [1, 2, 2])
    np.testing.assert_array_equal(open_dump(tmp_path / "d").read(0, 5), phi.float().numpy())


@pytest.mark.parametrize("kind", ["float16", "bfloat16"])
def test_every_half_pattern_is_exact_at_every_level(tmp_path: Path, kind: str) -> None:
    patterns = np.arange(65536, dtype=np.uint16)
    held = patterns.view(np.float16 if kind == "float16" else ml_dtypes.bfloat16)
    with DumpWriter(tmp_path / "all", dim=64, dtype=kind, shard_rows=301) as out:
        for low in range(0, 1024, 100):
            out.append(held.reshape(1024, 64)[low : low + 100])
    assert b"".join(s.array.tobytes() for s in open_dump(tmp_path / "all").segments) == patterns.tobytes()
    # a score is the row minus its leaf's shift, times the direction: leaves that begin with zeros have no shift
    finite = held[np.isfinite(held.astype(np.float32))]
    leaves = [np.concatenate([np.zeros(64, held.dtype), finite[k : k + 8128]]) for k in range(0, len(finite), 8128)]
    rows = np.concatenate(leaves)
    with DumpWriter(tmp_path / "finite", dim=1, dtype=kind, shard_rows=9999) as out:
        out.append(rows[:, None], np.zeros(len(rows), int))
    before = _core.isa()
    try:
        for level in _core.isa_available():
            _core.isa_select(level)
            for precision, wide in (("mixed", np.float32), ("double", np.float64)):
                got = cm.score(tmp_path / "finite", np.ones((1, 1)), precision=precision)[:, 0]
                np.testing.assert_array_equal(got, rows.astype(wide), err_msg=level)
    finally:
        _core.isa_select(before)


def test_numpy_alone_reads_and_writes_bfloat16(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['ml_dtypes'] = None; sys.modules['torch'] = None\n"
        "import numpy as np; from clinometer.dump import DumpWriter, open_dump\n"
        "bits = np.arange(65536, dtype=np.uint16).reshape(-1, 256)\n"
        "with DumpWriter(sys.argv[1], dim=256, dtype='bfloat16') as out: out.append(bits)\n"
        "assert open_dump(sys.argv[1]).segments[0].array.tobytes() == bits.tobytes()"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "d")], check=True)


# Going on


def test_resuming_goes_on_after_the_last_append(tmp_path: Path, scenario: Scenario, whole: dict[str, bytes]) -> None:
    path = tmp_path / "d"
    for low, high in zip(scenario.borders[:-1], scenario.borders[1:], strict=True):
        out = DumpWriter(path, **scenario.options)
        assert out.n_rows == low and not out.finished
        out.append(**scenario.batch(low, high))
        with pytest.raises(cm.DumpError, match="unfinished"):
            open_dump(path)
        out.release()
    scenario.write(str(path))
    assert contents(str(path)) == whole
    again = DumpWriter(path, **scenario.options)
    assert again.finished and again.n_rows == 60
    again.close()
    with pytest.raises(ValueError, match="finished dump of 60 rows"):
        again.append(**scenario.batch(0, 1))
    assert contents(str(path)) == whole


def test_after_a_restart_of_the_machine_what_was_flushed_is_there(
    tmp_path: Path, scenario: Scenario, whole: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "d"
    out = DumpWriter(path, **scenario.options)
    borders = scenario.borders
    out.append(**scenario.batch(0, borders[1]))
    out.flush()
    out.append(**scenario.batch(borders[1], borders[2]))
    out.append_pairs([[0, 1]])
    growing = out._growing
    assert growing is not None
    growing_shards = list(growing.shards.items())
    out.release()
    for k, shard in growing_shards:  # pages that never reached the disk
        raw = bytearray(Path(shard.part).read_bytes())
        for site in shard.sites:
            synced = max(borders[1] - k * growing.step, 0) * site.row_bytes
            low, high = shard.places[site.name] + synced, shard.places[site.name] + growing.step * site.row_bytes
            raw[low:high] = bytes(max(min(high, len(raw)) - low, 0))
        Path(shard.part).write_bytes(raw)
    monkeypatch.setattr(unfinished, "boot", lambda: "another")
    out = DumpWriter(path, **scenario.options)
    assert (out.n_rows, out.n_pairs) == (borders[1], 0)
    out.release()
    scenario.write(str(path))
    assert contents(str(path)) == whole


@pytest.mark.parametrize("single", [False, True])
@pytest.mark.parametrize("rows", [1, 6, 7, 9, 20])
@pytest.mark.parametrize("step", ["dump_writer.save_manifest", "writer_rows.save_pairs", "writer_rows.shard_entry"])
def test_rows_may_follow_a_close_that_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: int, single: bool, step: str
) -> None:
    s = Scenario(21, 7, 9, single=single)
    with DumpWriter(tmp_path / "want", **s.options) as out:
        out.append(**s.batch(0, 21))
        out.append_pairs([[0, 0]])

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device", "x")

    path = tmp_path / "d"
    out = DumpWriter(path, **s.options)
    out.append(**s.batch(0, rows))
    out.append_pairs([[0, 0]])
    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space"):
        patch.setattr(f"clinometer.dump.{step}", full)
        out.close()
    with pytest.raises(ValueError, match="closed; open it again"):
        out.append(**s.batch(rows, 21))
    for low, high in ((rows, rows + 1), (rows + 1, 21)):
        out = DumpWriter(path, **s.options)
        assert out.n_rows == low
        if high > low:
            out.append(**s.batch(low, high))
        out.release()
    with DumpWriter(path, **s.options) as out:
        assert (out.n_rows, out.n_pairs) == (21, 1)
    assert contents(str(path)) == contents(str(tmp_path / "want"))


def test_what_an_append_left_that_did_not_return_is_gone(tmp_path: Path, scenario: Scenario) -> None:
    s = Scenario(9, 4, 9)
    with DumpWriter(tmp_path / "want", **s.options) as out:
        out.append(**s.batch(0, 9))
    out = DumpWriter(tmp_path / "d", **s.options)
    out.append(**s.batch(0, 2))
    out.release()
    folder = tmp_path / "d"
    for name in ("text.jsonl.part", "phi-00000.safetensors.part"):
        with open(folder / name, "ab") as file:
            file.write(b"\xee" * 9999)
    (folder / "phi-00001.safetensors.part").write_bytes(b"\xee" * 9999)
    (folder / "phi-00000.safetensors.tmp").write_bytes(b"x")
    (folder / ".manifest.json.17.0123abcd.tmp").write_bytes(b"{")
    with DumpWriter(folder, **s.options) as out:
        out.append(**s.batch(2, 9))
    assert contents(str(folder)) == contents(str(tmp_path / "want"))


@pytest.mark.parametrize("n", [0, 1, 7, 8])
def test_a_damaged_tail_of_the_journal_is_never_taken_for_rows(tmp_path: Path, n: int) -> None:
    out = DumpWriter(tmp_path / "d", dim=2, dtype="float32")
    ends = []
    for k in range(8):
        out.append(np.full((1, 2), k, np.float32), [k])
        ends.append((tmp_path / "d" / "journal.part").stat().st_size)
    out.release()
    journal = tmp_path / "d" / "journal.part"
    raw = journal.read_bytes()
    kept = raw[: ends[n - 1]] if n else raw[: ends[0] - 40]
    for tail in (b"", b"\0" * 4096, b"\xff" * 40, raw[ends[min(n, 7)] - 9 : ends[min(n, 7)]]):
        journal.write_bytes(kept + tail)
        out = DumpWriter(tmp_path / "d", dim=2, dtype="float32")
        assert out.n_rows == n
        out.release()
    if n:  # a bit of the last record that counts
        place = ends[n - 1] - 1
        journal.write_bytes(raw[:place] + bytes([raw[place] ^ 1]) + raw[place + 1 :])
        out = DumpWriter(tmp_path / "d", dim=2, dtype="float32")
        assert out.n_rows == n - 1
        out.release()
    out = DumpWriter(tmp_path / "d", dim=2, dtype="float32")
    with out:
        for k in range(out.n_rows, 8):
            out.append(np.full((1, 2), k, np.float32), [k])
    np.testing.assert_array_equal(open_dump(tmp_path / "d").read(0, 8)[:, 0], np.arange(8))


def test_other_settings_are_refused_by_name(tmp_path: Path, scenario: Scenario) -> None:
    path, options = tmp_path / "d", scenario.options
    out = DumpWriter(path, **options)
    out.append(**scenario.batch(0, 9))
    out.release()
    changes: dict[str, Any] = {
        "dtype": {8: "float32", 24: "float16"}, "dim": {8: 65, 24: 34}, "shard_rows": 8, "policy": None,
        "source": {"model": "other"}, "sampling": {"temperature": 1.0}, "preprocessing": {"centered": True},
        "columns": {"x": "float32"}, "digests": False, "directions": cm.Directions(["u"], [[1.0]]),
    }  # fmt: skip
    # of these the entry that differs is named
    inside = dict.fromkeys(("dtype", "dim", "columns", "source", "sampling", "preprocessing"), "['")
    for name, value in changes.items():
        with pytest.raises(cm.DumpError, match=f"other settings: {re.escape(name + inside.get(name, ' is'))}"):
            DumpWriter(path, **{**options, name: value})
    with pytest.raises(ValueError, match="one writer without part"):
        DumpWriter(path, **options, part=(0, 2))
    with DumpWriter(path, **options) as out:
        out.append(**scenario.batch(9, 60))
    for name in ("dtype", "dim", "policy", "source", "sampling", "preprocessing"):
        with pytest.raises(cm.DumpError, match=f"other settings: {re.escape(name + inside.get(name, ' is'))}"):
            DumpWriter(path, **{**options, name: changes[name]})


def test_lost_files_are_refused_and_not_papered_over(tmp_path: Path, scenario: Scenario) -> None:
    out = DumpWriter(tmp_path / "d", **scenario.options)
    out.append(**scenario.batch(0, 20))
    out.append(**scenario.batch(20, 21))
    out.release()
    kept = contents(str(tmp_path / "d"))
    for name in ("phi-00000.safetensors", "phi-00002.safetensors.part", "text.jsonl.part", "journal.part"):
        (tmp_path / "d" / name).unlink()
        with pytest.raises(cm.DumpError, match=r"gone|ends before|journal knows nothing"):
            DumpWriter(tmp_path / "d", **scenario.options)
        for file in (tmp_path / "d").iterdir():
            file.unlink()
        for file, data in kept.items():
            (tmp_path / "d" / file).write_bytes(data)
    out = DumpWriter(tmp_path / "d", **scenario.options)
    assert out.n_rows == 21
    out.release()


def test_a_writer_that_is_dropped_lets_go(tmp_path: Path, scenario: Scenario) -> None:
    out = DumpWriter(tmp_path / "d", **scenario.options)
    out.append(**scenario.batch(0, 9))
    del out
    gc.collect()
    with pytest.raises(KeyboardInterrupt), DumpWriter(tmp_path / "d", **scenario.options) as out:
        raise KeyboardInterrupt
    out = DumpWriter(tmp_path / "d", **scenario.options)
    assert out.n_rows == 9


def test_a_source_that_changes_while_it_is_copied_is_an_error(tmp_path: Path) -> None:
    write_dump(tmp_path / "a", np.ones((5, 3), np.float32))
    dump = open_dump(tmp_path / "a")
    os.utime(tmp_path / "a" / "phi-00000.safetensors", (1, 1))
    with pytest.raises(cm.DumpChangedError):
        write_dump(tmp_path / "b", dump)
    out = DumpWriter(tmp_path / "c", dim=3, dtype="float32")
    with pytest.raises(cm.DumpChangedError):
        out.append(dump)
    assert DumpWriter(tmp_path / "c", dim=3, dtype="float32").n_rows == 0
    assert not (tmp_path / "b").exists()


def test_a_second_writer_and_foreign_folders_are_refused(tmp_path: Path) -> None:
    options: dict[str, Any] = {"dim": 2, "dtype": "float32"}
    out = DumpWriter(tmp_path / "d", **options)
    with pytest.raises(cm.DumpError, match="another writer"):
        DumpWriter(tmp_path / "d", **options)
    out.release()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    for name in ("other", "file"):
        with pytest.raises(ValueError, match="path"):
            DumpWriter(tmp_path / name, **options)
    assert [p.name for p in (tmp_path / "other").iterdir()] == ["notes.txt"]


# Batches


def refused(**options: Any) -> Callable[..., tuple[dict[str, Any], dict[str, Any]]]:
    return lambda **call: (options, call)


PHI = np.ones((2, 3), np.float32)


@pytest.mark.parametrize(
    ("call", "match"),
    [
        ({"phi": PHI[:, :2], "a": [1, 2]}, "'phi' has rows of width 2; 3 is wanted"),
        ({"phi": PHI[0], "a": [1, 2]}, "shape"),
        ({"phi": {8: PHI}, "a": [1, 2]}, "phi"),
        ({"phi": PHI.astype(int), "a": [1, 2]}, "dtype int64"),
        ({"phi": PHI * 1e6, "a": [1, 2]}, "beyond the range of float16"),
        ({"phi": PHI}, r"columns \"\['a'\]\" are missing"),
        ({"phi": PHI, "a": [1, 2], "b": [1, 2]}, r"\['b'\]\" were not in"),
        ({"phi": PHI, "a": [1, 2, 3]}, "one entry per row"),
        ({"phi": PHI, "a": ["x", "y"]}, "int64 is wanted, as in the batches before"),
        ({"phi": PHI, "a": [1, 2.5]}, "2.5 at row 1, which int64 does not hold"),
        ({"phi": PHI, "a": [1, 2], "texts": [("p", "r")] * 2}, "texts is given for some"),
        ({"phi": PHI, "prompt_ids": [1, 1], "a": [1, 2]}, "prompt_id"),
    ],
)
def test_wrong_batches_are_named_and_leave_the_writer_as_it_was(tmp_path: Path, call: Any, match: str) -> None:
    with DumpWriter(tmp_path / "d", dim=3, dtype="float16") as out:
        out.append(PHI, a=[3, 4])
        with pytest.raises((ValueError, TypeError), match=match):
            out.append(**call)
        assert out.append(PHI * 2, a=np.array([5, 6], np.int8)) == 4
    dump = open_dump(tmp_path / "d")
    assert dump.column("a").tolist() == [3, 4, 5, 6] and dump.read(0, 4)[:, 0].tolist() == [1, 1, 2, 2]


def test_a_first_batch_that_is_refused_settles_nothing(tmp_path: Path) -> None:
    with DumpWriter(tmp_path / "d", dim=3, dtype="float16") as out:
        with pytest.raises(ValueError, match="beyond"):
            out.append(PHI * 1e6, a_column_with_a_long_name=[1, 2], another=["x", "y"])
        out.append(PHI, b=[1, 2])
    assert set(open_dump(tmp_path / "d").columns) == {"b"}


def test_stated_columns_round_and_have_their_dtype_without_rows(tmp_path: Path) -> None:
    columns = {"judge/kind": "float32", "who": "string", "prompt_id": "int64"}
    with DumpWriter(tmp_path / "a", dim=3, dtype="float32", columns=columns) as out:
        out.append(PHI, [1, 2], who=["a", "b"], **{"judge/kind": [0.1, 1]})
        with pytest.raises(TypeError, match="string is wanted"):
            out.append(PHI, [1, 2], who=[1, 2], **{"judge/kind": [0.1, 1]})
    assert open_dump(tmp_path / "a").column("judge/kind").tolist() == [np.float32(0.1), 1.0]
    with DumpWriter(tmp_path / "b", dim=3, dtype="float32", columns=columns):
        pass
    empty = open_dump(tmp_path / "b")
    assert empty.n_rows == 0 and {n: c.dtype.kind for n, c in empty.columns.items()} == {
        "judge/kind": "f", "who": "U", "prompt_id": "i"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"dim": 0}, "dim is '0'"),
        ({"dim": True}, "dim is"),
        ({"dim": {}}, "empty mapping"),
        ({"dim": {-1: 3}}, "key '-1'"),
        ({"dtype": "int8"}, "dtype is 'int8'"),
        ({"dtype": {8: "float32"}}, "keys"),
        ({"columns": {"x": "object"}}, "columns"),
        ({"columns": {"prompt_id": "float32"}}, "prompt_id"),
        ({"columns": {"phi": "float32"}}, "no free name"),
        ({"part": (2, 2)}, "part is"),
        ({"policy": "x"}, "policy is 'x'"),
        ({"source": {"layer": -1}}, r"source\['layer'\]"),
        ({"source": {"padding_side": "both"}}, r"source\['padding_side'\]"),
        ({"sampling": {"logprob": "max"}}, r"sampling\['logprob'\]"),
        ({"source": {"x": float("nan")}}, "source cannot be written"),
        ({"shard_rows": 0}, "shard_rows"),
        ({"directions": [[1.0]]}, "directions"),
    ],
)
def test_wrong_settings(tmp_path: Path, options: dict[str, Any], match: str) -> None:
    with pytest.raises((ValueError, TypeError), match=match):
        DumpWriter(tmp_path / "d", **{"dim": 3, "dtype": "float32", **options})
    assert not (tmp_path / "d").exists()


# Parts


def write_part(path: str, seed: int, i: int, n: int) -> None:
    s = Scenario(60, 7, 17, seed)
    bounds = [60 * k // n for k in range(n + 1)]
    with DumpWriter(path, **s.options, part=(i, n)) as out:
        for low in range(bounds[i], bounds[i + 1], 4):
            high = min(low + 4, bounds[i + 1])
            out.append(**s.batch(low, high), response_id=np.arange(low, high))
        out.append_pairs([[0, 1]])


def test_several_processes_write_one_dump(tmp_path: Path, scenario: Scenario) -> None:
    context = multiprocessing.get_context("spawn")
    for name, order in (("a", [0, 1, 2]), ("b", [2, 0, 1])):
        path = str(tmp_path / name)
        jobs = [context.Process(target=write_part, args=(path, 0, i, 3)) for i in order]
        if name == "a":
            for job in jobs:
                job.start()
            for job in jobs:
                job.join()
            assert [job.exitcode for job in jobs] == [0, 0, 0]
        else:
            for i in order:
                write_part(path, 0, i, 3)
        with pytest.raises(cm.DumpError, match=r"DumpWriter\.merge"):
            open_dump(path)
        DumpWriter.merge(path)
        DumpWriter.merge(path)
    assert contents(str(tmp_path / "a")) == contents(str(tmp_path / "b"))
    dump = open_dump(tmp_path / "a", layer=8)
    np.testing.assert_array_equal(dump.read(0, 60), scenario.phi[8])
    assert dump.texts is not None and [tuple(t.values()) for t in dump.texts] == scenario.texts
    assert dump.pairs is not None and dump.pairs["chosen"].tolist() == [0, 20, 40]
    assert check_digests(tmp_path / "a") == len(dump.segments)
    out = DumpWriter(tmp_path / "a", **scenario.options, part=(1, 3))
    assert out.finished and out.n_rows == 60


def test_holes_and_twins_of_parts_are_found(tmp_path: Path, scenario: Scenario) -> None:
    path = str(tmp_path / "d")
    with pytest.raises(cm.DumpError, match="no finished part"):
        (tmp_path / "d").mkdir()
        DumpWriter.merge(path)
    write_part(path, 0, 0, 3)
    write_part(path, 0, 2, 3)
    with pytest.raises(cm.DumpError, match="part 1 of 3 is missing"):
        DumpWriter.merge(path)
    DumpWriter(path, **scenario.options, part=(1, 3)).release()
    with pytest.raises(cm.DumpError, match="part 1 of 3 is not finished"):
        DumpWriter.merge(path)
    with DumpWriter(path, **scenario.options, part=(1, 3)) as out:  # the rows of part 0 again
        out.append(**scenario.batch(0, 5), response_id=np.arange(5))
    with pytest.raises(cm.DumpError, match="rows 0 and 20 are both prompt 'p0', response '0'"):
        DumpWriter.merge(path)
    with pytest.raises(cm.DumpError, match="part is"):
        DumpWriter(path, **scenario.options, part=(1, 4))
    with pytest.raises(ValueError, match="parts of several writers"):
        DumpWriter(path, **scenario.options)
    (tmp_path / "d" / "phi-00001-00000.safetensors").unlink()
    with pytest.raises(cm.DumpError, match="phi-00001-00000"):
        DumpWriter.merge(path)
    assert not (tmp_path / "d" / "manifest.json").exists()


def test_stray_shards_and_other_settings_of_parts_are_refused(tmp_path: Path, scenario: Scenario) -> None:
    path = str(tmp_path / "d")
    for i in range(3):
        write_part(path, 0, i, 3)
    extra = tmp_path / "d" / "phi-00007-00000.safetensors"
    extra.write_bytes((tmp_path / "d" / "phi-00001-00000.safetensors").read_bytes())
    with pytest.raises(cm.DumpError, match="no part names"):
        DumpWriter.merge(path)
    extra.unlink()
    part = tmp_path / "d" / "part-00001.json"
    kept = part.read_text()
    for key, value in {"source": {"model": "x"}, "part": [1, 4]}.items():
        part.write_text(json.dumps({**json.loads(kept), key: value}))
        with pytest.raises(cm.DumpError, match=key):
            DumpWriter.merge(path)
    part.write_text(kept)
    DumpWriter.merge(path)
    assert open_dump(path, layer=8).n_rows == 60


def test_an_empty_part_is_no_hole(tmp_path: Path) -> None:
    for i in range(3):
        with DumpWriter(tmp_path / "d", dim=2, dtype="float32", part=(i, 3)) as out:
            if i == 1:
                out.append(np.ones((2, 2), np.float32), [1, 2], x=[1, 2])
    DumpWriter.merge(tmp_path / "d")
    assert open_dump(tmp_path / "d").n_rows == 2
    assert sorted(p.name for p in (tmp_path / "d").iterdir()) == ["manifest.json", "phi-00001-00000.safetensors"]


def test_digests_find_a_flipped_bit(tmp_path: Path) -> None:
    write_dump(tmp_path / "d", np.ones((9, 5), np.float32), shard_rows=4, digests=True)
    assert check_digests(tmp_path / "d") == 3
    file = tmp_path / "d" / "phi-00001.safetensors"
    raw = bytearray(file.read_bytes())
    raw[-1] ^= 1
    file.write_bytes(raw)
    open_dump(tmp_path / "d")  # sizes and headers are as stated
    with pytest.raises(cm.DumpError, match=r"phi-00001.*digest"):
        check_digests(tmp_path / "d")


# Torture, a little of it: `make torture` does more


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    if not sys.platform.startswith("linux"):
        pytest.skip("system calls are made to fail through LD_PRELOAD")
    library = tmp_path_factory.mktemp("shim") / "faults.so"
    source = ROOT / "tests" / "torture" / "faults.c"
    subprocess.run(
        [os.environ.get("CC", "cc"), "-shared", "-fPIC", "-o", str(library), str(source), "-ldl"], check=True
    )
    memory = {"TMPDIR": "/dev/shm"} if os.access("/dev/shm", os.W_OK) else {}
    return os.environ | memory | {"LD_PRELOAD": str(library), "OPENBLAS_NUM_THREADS": "1"}


@pytest.mark.parametrize(
    "command",
    [["kills.py", "--kills", "5"], ["kills.py", "--every", "9"], ["failures.py"], ["traversal.py"]],
    ids=" ".join,
)
def test_torture(shim: dict[str, str], command: list[str]) -> None:
    script = str(ROOT / "tests" / "torture" / command[0])
    done = subprocess.run([sys.executable, script, *command[1:]], env=shim, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
