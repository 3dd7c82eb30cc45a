"""Malformed files: each is a DumpError that names the file, at once and without memory; nothing here runs code."""

from __future__ import annotations

import ast
import contextlib
import gc
import json
import os
import time
import tracemalloc
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import malformed
import pytest
import safetensors.numpy

import clinometer
from clinometer.dump import open_dump, write_dump
from clinometer.dump.directions import Directions
from clinometer.errors import DumpError
from clinometer.files.plain import PlainFile
from clinometer.sources.gguf import read_gguf
from clinometer.sources.npz import open_tensors
from clinometer.sources.safetensors import read_header

SECONDS = 0.05
BYTES = 16 << 20


def read_all(path: Path) -> None:
    """Open and touch every row, as a user would."""
    dump = open_dump(path)
    dump.read(0, min(dump.n_rows, 10))


def unpack_all(path: Path) -> None:
    for tensor in open_tensors(PlainFile(path)).values():
        tensor.read()
    read_all(path)


def refused(cases: Iterable[malformed.Case], folder: Path, call: Callable[[Path], Any]) -> int:
    """Every case raises a DumpError naming a file, in time; how many there were."""
    count = 0
    for what, name, data in cases:
        path = folder / name
        path.write_bytes(data)
        begun = time.process_time()
        with warnings.catch_warnings(), pytest.raises(DumpError) as caught:
            warnings.simplefilter("ignore")
            call(path)
            pytest.fail(f"accepted: {what}")
        took = time.process_time() - begun
        if took > SECONDS:  # once more: the collector of the tests before may have had its turn
            gc.collect()
            begun = time.process_time()
            with warnings.catch_warnings(), pytest.raises(DumpError):
                warnings.simplefilter("ignore")
                call(path)
            took = time.process_time() - begun
        said = str(caught.value)
        assert took < SECONDS, f"{what}: {took:.3f} s"
        assert said.isprintable() and len(said) < 3000 and str(folder)[:20] in said, what
        count += 1
    return count


def test_safetensors(tmp_path: Path) -> None:
    assert refused(malformed.safetensors_files(), tmp_path, read_all) > 150


def test_npy(tmp_path: Path) -> None:
    assert refused(malformed.npy_files(), tmp_path, read_all) > 120


def test_npz(tmp_path: Path) -> None:
    assert refused(malformed.npz_files(), tmp_path, unpack_all) > 100


def test_index(tmp_path: Path) -> None:
    safetensors.numpy.save_file({"phi": malformed.PHI}, tmp_path / "a.safetensors")
    safetensors.numpy.save_file({"value_x": malformed.PHI[:, 0].copy()}, tmp_path / "b.safetensors")
    assert refused(malformed.index_files(), tmp_path, lambda path: read_all(path.parent)) > 50


def test_manifests(tmp_path: Path) -> None:
    write_dump(tmp_path / "d", malformed.PHI, shard_rows=1)
    table = json.loads((tmp_path / "d" / "manifest.json").read_text())
    assert refused(malformed.manifests(table), tmp_path / "d", lambda path: read_all(path.parent)) > 150


def test_gguf(tmp_path: Path) -> None:
    assert refused(malformed.gguf_files(), tmp_path, Directions.load) > 100


def test_refusals_name_field_and_offset(tmp_path: Path) -> None:
    """Of a header's own faults: where in the file the reader stood."""
    for what, name, data in malformed.safetensors_files():
        (tmp_path / name).write_bytes(data)
        try:
            read_header(PlainFile(tmp_path / name))
        except DumpError as error:
            assert ", byte " in str(error), what
    for what, name, data in malformed.gguf_files():
        (tmp_path / name).write_bytes(data)
        try:
            read_gguf(PlainFile(tmp_path / name))
        except DumpError as error:
            assert ", byte " in str(error), what


def test_no_claim_takes_memory(tmp_path: Path) -> None:
    every = [*malformed.safetensors_files(), *malformed.npy_files(), *malformed.npz_files(), *malformed.gguf_files()]
    small = [case for case in every if len(case[2]) < 1 << 18]
    worst = 0
    for _, name, data in small[::2]:
        (tmp_path / name).write_bytes(data)
        tracemalloc.start()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                (Directions.load if name.endswith("gguf") else unpack_all if name.endswith("npz") else read_all)(
                    tmp_path / name
                )
        except DumpError:
            pass
        worst = max(worst, tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert worst < BYTES


@pytest.mark.parametrize("kind", ["names", "text", "number", "metadata"])
def test_headers_are_read_in_linear_time(tmp_path: Path, kind: str) -> None:
    def header(n: int) -> bytes:
        if kind == "names":
            held = {f"t{k}": {"dtype": "U8", "shape": [1], "data_offsets": [k, k + 1]} for k in range(n // 60)}
            return malformed.container(held, bytes(n // 60))
        if kind == "metadata":
            return malformed.container({"__metadata__": {f"k{k}": "v" for k in range(n // 12)}})
        filler = b'"' + b"\\u00e9" * (n // 6) + b'"' if kind == "text" else b"[" + b"1," * (n // 2) + b"1]"
        return malformed.container(b'{"a":' + filler + b"}")

    def seconds(n: int) -> float:
        (tmp_path / "x.safetensors").write_bytes(header(n))
        best = float("inf")
        for _ in range(5):
            gc.collect()
            begun = time.process_time()
            with contextlib.suppress(DumpError):
                read_header(PlainFile(tmp_path / "x.safetensors"))
            best = min(best, time.process_time() - begun)
        return best

    # eight times the bytes: a quadratic reader takes 64 times as long, and a busy machine does not make a linear one so
    small, limit, large = seconds(1 << 17), seconds(1 << 18), seconds(1 << 20)
    assert large < 40 * max(small, 1e-3)
    assert limit < 4 * SECONDS
    (tmp_path / "x.safetensors").write_bytes(header(1 << 18))
    tracemalloc.start()
    with contextlib.suppress(DumpError):
        read_header(PlainFile(tmp_path / "x.safetensors"))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < BYTES


def test_special_files_and_links_out_of_the_folder(tmp_path: Path) -> None:
    outside = tmp_path / "outside.safetensors"
    safetensors.numpy.save_file({"phi": malformed.PHI}, outside)
    for name in ("x.safetensors", "x.npy", "x.npz", "x.arrow", "x.parquet", "x.pt"):
        os.mkfifo(tmp_path / name)
        begun = time.monotonic()
        with pytest.raises(DumpError):
            open_dump(tmp_path / name)
        assert time.monotonic() - begun < 5
        os.unlink(tmp_path / name)
    for name in ("x.gguf", "x.svec", "x.npz", "x.safetensors"):
        os.mkfifo(tmp_path / name)
        with pytest.raises(DumpError, match="pipe"):
            Directions.load(tmp_path / name)
        os.unlink(tmp_path / name)
    for name in ("phi.npy", "hs_0.safetensors", "data.arrow", "part.parquet"):
        folder = tmp_path / f"of-{name}"
        folder.mkdir()
        os.symlink(outside, folder / name)
        with pytest.raises(DumpError, match="link out of"):
            open_dump(folder, pool="last", prompt_tokens={0: 1})
    with pytest.raises(DumpError, match="device"):
        open_dump("/dev/zero")
    os.symlink("loop.npy", tmp_path / "loop.npy")
    with pytest.raises(DumpError):
        open_dump(tmp_path / "loop.npy")


def test_sparse_files_open_at_once(tmp_path: Path) -> None:
    rows = 2**31 + 5
    head = malformed.container({"phi": malformed.entry("F16", (rows, 2), (0, 4 * rows))})
    text = f"{{'descr': '<f2', 'fortran_order': False, 'shape': ({rows}, 2), }}\n"
    for name, start in (("x.safetensors", head), ("x.npy", malformed.npy_header(text))):
        with open(tmp_path / name, "wb") as out:
            out.write(start)
            out.truncate(len(start) + 4 * rows)
        open_dump(tmp_path / name)  # once, for what is imported on the way
        tracemalloc.start()
        begun = time.process_time()
        dump = open_dump(tmp_path / name)
        assert time.process_time() - begun < 0.1 and tracemalloc.get_traced_memory()[1] < BYTES
        tracemalloc.stop()
        assert dump.n_rows == rows and dump.read(rows - 1, rows).tolist() == [[0.0, 0.0]]
        os.unlink(tmp_path / name)
    for shape, why in (((2**40, 0), "width 0"), ((0, 0), "width 0")):
        (tmp_path / "x.safetensors").write_bytes(
            malformed.container({"phi": malformed.entry(shape=shape, offsets=(0, 0))})
        )
        begun = time.process_time()
        with pytest.raises(DumpError, match=why):
            open_dump(tmp_path / "x.safetensors")
        assert time.process_time() - begun < SECONDS
    (tmp_path / "x.safetensors").write_bytes(
        malformed.container({"phi": malformed.entry(shape=(0, 3), offsets=(0, 0))})
    )
    assert open_dump(tmp_path / "x.safetensors").n_rows == 0


def test_nothing_in_the_package_runs_code() -> None:
    """No pickle, eval, exec or literal_eval by any name or spelling that a parser sees."""
    names = {"eval", "exec", "literal_eval", "compile", "__import__"}
    modules = {"pickle", "cPickle", "_pickle", "marshal", "shelve", "dill", "cloudpickle", "ast", "code"}
    found = []
    for path in sorted(Path(clinometer.__file__).parent.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            where = f"{path.name}:{getattr(node, 'lineno', 0)}"
            if isinstance(node, ast.Import):
                found += [where for a in node.names if a.name.split(".")[0] in modules]
            elif isinstance(node, ast.ImportFrom) and node.module:
                found += [where] if node.module.split(".")[0] in modules else []
            elif isinstance(node, (ast.Name, ast.Attribute)):
                called = node.id if isinstance(node, ast.Name) else node.attr
                wrong = called in names and (isinstance(node, ast.Name) or called != "compile")  # re.compile
                found += [where] if wrong else []
            elif isinstance(node, ast.keyword) and node.arg in ("allow_pickle", "weights_only"):
                safe = isinstance(node.value, ast.Constant) and node.value.value is (node.arg == "weights_only")
                found += [] if safe else [where]
    assert not found
