"""Dumps behind URLs: windows over ranges of bytes, from memory:// and a web server on this machine."""

from __future__ import annotations

import re
import sys
import threading
import tracemalloc
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import safetensors.numpy

import clinometer as cm
from clinometer.dump import open_dump, write_dump
from clinometer.errors import DumpChangedError, DumpError
from clinometer.files.plain import PlainFile
from clinometer.sources import window as window_module

N, D = 20011, 5
IDS = np.arange(N) // 7


def rows(n: int = N, d: int = D, dtype: Any = np.float32) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(n, d)).astype(dtype)


@pytest.fixture
def memory() -> Iterator[Any]:
    fs = fsspec.filesystem("memory")
    yield fs
    fs.store.clear()
    fs.pseudo_dirs[:] = [""]


def upload(fs: Any, folder: Path, to: str) -> None:
    for file in folder.iterdir():
        fs.pipe(f"{to}/{file.name}", file.read_bytes())


class Ranges(BaseHTTPRequestHandler):
    """A web server of a few files that honours ranges, or does not."""

    files: ClassVar[dict[str, bytes]] = {}
    honest = True
    asked: ClassVar[list[tuple[str, int]]] = []

    def do_HEAD(self) -> None:
        self._answer(head=True)

    def do_GET(self) -> None:
        self._answer(head=False)

    def _answer(self, *, head: bool) -> None:
        data = self.files.get(self.path)
        if data is None:
            self.send_error(404)
            return
        found = re.fullmatch(r"bytes=([0-9]+)-([0-9]+)", self.headers.get("Range", ""))
        if found and self.honest:
            a, b = int(found[1]), min(int(found[2]) + 1, len(data))
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {a}-{b - 1}/{len(data)}")
            body = data[a:b]
        else:
            self.send_response(200)
            body = data
        if self.honest:
            self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.asked.append((self.path, 0 if head else len(body)))
        if not head:
            self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(Ranges, "files", {})
    monkeypatch.setattr(Ranges, "asked", [])
    with ThreadingHTTPServer(("127.0.0.1", 0), Ranges) as http:
        thread = threading.Thread(target=http.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}"
        http.shutdown()
        thread.join()


def test_a_folder_in_memory_passes_like_an_array(tmp_path: Path, memory: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    phi, f = rows(), np.linspace(-1, 1, N)
    write_dump(
        tmp_path / "d", {3: phi, 4: phi[:, :2]}, prompt_ids=IDS, columns={"value_f": f}, shard_rows=6000,
        texts=[(f"p{k}", "r") for k in range(N)], pairs=[[0, 1]], policy="on_policy",
    )  # fmt: skip
    upload(memory, tmp_path / "d", "/d")
    monkeypatch.setattr(window_module, "WINDOW_BYTES", 8192 * D * 4)
    dump = open_dump("memory://d", layer=3)
    assert dump.policy == "on_policy" and dump.n_prompts == IDS[-1] + 1 and dump.texts is not None
    assert (
        dump.texts[N - 1]["prompt"] == f"p{N - 1}" and dump.pairs is not None and dump.pairs["chosen"].tolist() == [0]
    )
    local = open_dump(tmp_path / "d", layer=3)
    assert dump.fingerprint() == local.fingerprint()
    u = np.random.default_rng(1).normal(size=(2, D))
    for call in (
        lambda x: cm.moments(x).covariance,
        lambda x: cm.tilt(x, u, [0.5], ["f"]).gain,
        lambda x: cm.score(x, u),
        lambda x: cm.moments(open_dump(x, prompt_ids=np.random.default_rng(2).integers(0, 2000, N))).covariance,
    ):
        np.testing.assert_array_equal(call(dump), call(local))
    with pytest.raises(DumpError, match="several tensors"):
        open_dump("memory://d")


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_single_files_in_memory(tmp_path: Path, memory: Any, dtype: Any) -> None:
    phi = rows(50, 7, dtype)
    np.save(tmp_path / "x.npy", phi)
    np.save(tmp_path / "big.npy", phi.astype(phi.dtype.newbyteorder(">")))
    np.save(tmp_path / "f.npy", np.asfortranarray(phi))
    np.savez(tmp_path / "x.npz", phi=phi)
    safetensors.numpy.save_file({"phi": phi, "prompt_id": np.arange(50) // 5}, tmp_path / "x.safetensors")
    table = pa.table({"phi": pa.FixedSizeListArray.from_arrays(pa.array(phi.reshape(-1)), 7)})
    pq.write_table(table, tmp_path / "x.parquet")
    with pa.OSFile(str(tmp_path / "x.arrow"), "wb") as out, pa.ipc.new_file(out, table.schema) as writer:
        writer.write_table(table, 20)
    upload(memory, tmp_path, "/f")
    want = phi.astype(np.float64 if dtype is np.float64 else np.float32)
    for name in ("x.npy", "big.npy", "x.safetensors", "x.parquet", "x.arrow"):
        dump = open_dump(f"memory://f/{name}")
        np.testing.assert_array_equal(dump.read(0, 50), want)
        np.testing.assert_array_equal(dump.read(13, 17), want[13:17])
    for name in ("f.npy", "x.npz"):
        with pytest.raises(DumpError, match="over a network"):
            open_dump(f"memory://f/{name}").read(0, 1)
    np.testing.assert_array_equal(open_dump((tmp_path / "x.npy").as_uri()).read(0, 50), want)
    with pytest.raises(DumpError, match="host"):
        open_dump("file://elsewhere/x.npy")


def test_requests_in_memory(tmp_path: Path, memory: Any) -> None:
    states = rows(12, 4).reshape(3, 4, 4)
    for k in range(2):
        tensors = {"hidden_states": states + k, "token_ids": np.arange(3)}
        safetensors.numpy.save_file(tensors, tmp_path / f"hs_{k}.safetensors")
    upload(memory, tmp_path, "/r")
    dump = open_dump("memory://r", pool="last", prompt_tokens={0: 1, 1: 1}, layer=2)
    np.testing.assert_array_equal(dump.read(0, 2), np.stack([states[-1, 2], states[-1, 2] + 1]))


def test_a_web_server_is_asked_for_windows_only(tmp_path: Path, server: str) -> None:
    phi = rows(200_000, 33, np.float16)
    safetensors.numpy.save_file({"phi": phi, "value_f": phi[:, 0].astype(np.float32)}, tmp_path / "x.safetensors")
    Ranges.files["/x.safetensors"] = (tmp_path / "x.safetensors").read_bytes()
    dump = open_dump(f"{server}/x.safetensors", prompt_ids=np.arange(len(phi)) // 8)
    assert sum(n for _, n in Ranges.asked) < 8192  # the header
    np.testing.assert_array_equal(dump.read(199_990, 200_000), phi[-10:].astype(np.float32))
    assert sum(n for _, n in Ranges.asked) < 16384
    want = cm.moments(open_dump(phi, prompt_ids=np.arange(len(phi)) // 8)).covariance
    np.testing.assert_array_equal(cm.moments(dump).covariance, want)
    Ranges.files["/d/manifest.json"] = b"{}"
    with pytest.raises(DumpError, match=r"manifest\.json.*format"):
        open_dump(f"{server}/d")
    with pytest.raises(DumpError, match="cannot be read"):
        open_dump(f"{server}/gone.npy")


def test_memory_is_bounded_by_windows(tmp_path: Path, memory: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    n, d = 8 * 8192, 64
    phi = np.zeros((n, d), np.float32)
    phi[:, 0] = np.arange(n)
    np.save(tmp_path / "x.npy", phi)
    upload(memory, tmp_path, "/m")
    monkeypatch.setattr(window_module, "WINDOW_BYTES", 8192 * d * 4)
    dump = open_dump("memory://m/x.npy", prompt_ids=np.arange(n) // 8)
    tracemalloc.start()
    cm.covariance_projection(dump, np.ones((1, d)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 0.7 * phi.nbytes, "two windows of an eighth each, and their copies on the way"


def test_a_local_copy_is_kept_where_asked_for(tmp_path: Path, server: str, memory: Any) -> None:
    phi = rows(50, 7)
    np.save(tmp_path / "x.npy", phi)
    Ranges.files["/x.npy"] = (tmp_path / "x.npy").read_bytes()
    memory.pipe("/x.npy", (tmp_path / "x.npy").read_bytes())
    for url in ("simplecache::memory://x.npy", f"simplecache::{server}/x.npy"):
        np.testing.assert_array_equal(open_dump(url).read(0, 50), phi)


def test_what_cannot_be_read_by_ranges_is_refused(
    tmp_path: Path, server: str, memory: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.save(tmp_path / "x.npy", rows(50, 7))
    Ranges.files["/x.npy"] = (tmp_path / "x.npy").read_bytes()
    monkeypatch.setattr(Ranges, "honest", False)
    with pytest.raises(DumpError, match="does not serve ranges"):
        open_dump(f"{server}/x.npy")
    with pytest.raises(DumpError):
        open_dump("memory://gone.npy")
    with pytest.raises(DumpError):
        open_dump("memory://gone")
    with pytest.raises((DumpError, ImportError), match="nosuch"):
        open_dump("nosuchprotocol://x.npy")
    memory.pipe("/w/manifest.json", b'{"format": "clinometer-dump", "version": 1, "n_rows": 1, "shards": '
                b'[{"file": "../x.npy", "row_start": 0, "rows": 1}]}')  # fmt: skip
    with pytest.raises(DumpError, match="plain file name"):
        open_dump("memory://w")


def test_a_remote_file_that_changes_is_an_error(tmp_path: Path, memory: Any) -> None:
    np.save(tmp_path / "x.npy", rows(50, 7))
    raw = (tmp_path / "x.npy").read_bytes()
    memory.pipe("/x.npy", raw)
    dump = open_dump("memory://x.npy")
    memory.pipe("/x.npy", raw[:-1] + b"\0")
    with pytest.raises(DumpChangedError):
        dump.read(0, 50)
    memory.pipe("/x.npy", raw)
    dump, file = open_dump("memory://x.npy"), PlainFile("memory://x.npy")
    memory.pipe("/x.npy", raw[:500])
    with pytest.raises(DumpChangedError):
        cm.moments(open_dump(dump, prompt_ids=np.zeros(50, int)))
    with pytest.raises(DumpChangedError):
        file.read(600, 10)
    with pytest.raises(DumpError, match="ends at byte"):
        file.read(len(raw), 1)


def test_without_fsspec_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fsspec.core", None)
    with pytest.raises(ImportError, match=r"clinometer\[cloud\]"):
        open_dump("s3://bucket/x.npy")


def test_without_pyarrow_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x.parquet").write_bytes(b"PAR1")
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(ImportError, match=r"clinometer\[arrow\]"):
        open_dump(tmp_path / "x.parquet")
