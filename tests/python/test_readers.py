"""Readers: files that their own libraries wrote, bit for bit; passes over windows and arrays give the same bits."""

from __future__ import annotations

import ctypes
import gc
import io
import json
import os
import warnings
import weakref
import zipfile
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import safetensors.numpy

import clinometer as cm
from clinometer.dump import Dump, open_dump
from clinometer.dump.segments import Segment
from clinometer.errors import DumpChangedError, DumpError
from clinometer.files.streams import ahead
from clinometer.sources import window as window_module
from clinometer.sources.arrow_ends import _blocks, read_struct
from clinometer.sources.window import Window
from clinometer.stream.shards import shard

HALVES = {"float16": np.float16, "bfloat16": ml_dtypes.bfloat16}


def rows(n: int, d: int, dtype: Any = np.float32, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, d)).astype(dtype)


def stored(dump: Dump) -> bytes:
    return b"".join(np.ascontiguousarray(s.array[:]).tobytes() for s in dump.segments)


# Windows


@pytest.fixture
def small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(window_module, "WINDOW_BYTES", 9000 * 5 * 4)


@pytest.mark.parametrize("order", ["grouped", "scattered"])
@pytest.mark.parametrize("within", [True, False])
def test_passes_over_windows_have_the_bits_of_passes_over_arrays(
    tmp_path: Path, small_windows: None, order: str, within: bool
) -> None:
    n, d = 30011, 5
    rng = np.random.default_rng(1)
    phi, u, f = rows(n, d), rng.normal(size=(3, d)), rng.normal(size=n)
    ids = np.arange(n) // 7 if order == "grouped" else rng.integers(0, 4000, n)
    np.savez_compressed(tmp_path / "x.npz", phi=phi)
    with pytest.warns(UserWarning, match="compressed"):
        dump = open_dump(tmp_path / "x.npz", prompt_ids=ids)
    assert isinstance(dump.segments[0].array, Window)
    want = open_dump(phi, prompt_ids=ids)
    done: list[tuple[int, int]] = []
    got, same = (
        cm.scan(x, cm.stat.Moments(), cm.stat.Tilt(u, f, betas=[0.5]), within=within, progress=p)
        for x, p in ((dump, lambda *a: done.append(a)), (want, None))
    )
    assert (got[0].covariance == same[0].covariance).all() and (got[1].gain == same[1].gain).all()
    assert done[-1] == (n, n) and [a for a, _ in done] == sorted(a for a, _ in done)
    np.testing.assert_array_equal(cm.score(dump, u), cm.score(want, u))
    assert dump.fingerprint() == want.fingerprint()
    if within:
        parts = [shard(dump, k, 2, cm.stat.Moments()) for k in (1, 2)]
        assert (cm.merge(*parts).covariance == same[0].covariance).all()
    picked = np.unique(ids)[::3]
    np.testing.assert_array_equal(
        cm.moments(dump.select(prompts=picked)).covariance, cm.moments(want.select(prompts=picked)).covariance
    )
    fit, fitted = (cm.fit_value_direction(x, f) for x in (dump, want))
    np.testing.assert_array_equal(fit.vectors, fitted.vectors)


def test_a_window_never_gives_rows_that_were_not_fetched(tmp_path: Path, small_windows: None) -> None:
    phi = rows(20000, 5)
    phi[[3, 9999, 19999], [0, 1, 4]] = np.nan
    np.save(tmp_path / "x.npy", phi.astype(">f4"))
    with pytest.warns(UserWarning, match="big-endian"):
        dump = open_dump(tmp_path / "x.npy", prompt_ids=np.arange(20000) // 4)
    with pytest.raises(DumpError, match=r"3 rows hold NaN or Inf, first row 3"):
        cm.moments(dump)
    ids = np.arange(20000) // 4
    dropped = cm.moments(open_dump(dump, prompt_ids=ids, nonfinite="drop"))
    want = cm.moments(open_dump(phi, prompt_ids=ids, nonfinite="drop"))
    assert (dropped.covariance == want.covariance).all() and dropped.n_dropped == want.n_dropped > 0
    with pytest.raises(TypeError, match="windows"):
        np.asarray(dump.segments[0].array)
    with pytest.raises(IndexError):
        dump.segments[0].array[np.array([20000])]


def test_scores_that_are_columns_fetch_no_row(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "x.npz", phi=rows(50, 3), judge=np.arange(50.0), prompt_id=np.arange(50) // 5)
    with pytest.warns(UserWarning, match="compressed"):
        dump = open_dump(tmp_path / "x.npz")
    window = dump.segments[0].array
    assert isinstance(window, Window)
    window._fetch = lambda a, b: pytest.fail("a row was fetched")  # type: ignore[method-assign, return-value]
    assert cm.tilt(dump, ["judge"], [1.0], ["judge"]).gain[0, 0, 0] > 0


# Memory


class Exporter:
    """An object that knows DLPack and nothing else, made by hand: bfloat16 as no NumPy array can say it."""

    def __init__(self, bits: np.ndarray, device: int = 1, code: int = 4) -> None:
        from clinometer.arrays.dlpack import _DLTensor, _Managed

        self.bits, self.device, self.freed = bits, device, 0
        shape = (ctypes.c_int64 * bits.ndim)(*bits.shape)
        strides = (ctypes.c_int64 * bits.ndim)(*(s // 2 for s in bits.strides))
        tensor = _DLTensor(bits.ctypes.data, device, 0, bits.ndim, code, 16, 1, shape, strides, 0)
        kind = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
        self.deleter = kind(self._free)
        self.managed = _Managed(tensor, None, ctypes.cast(self.deleter, ctypes.c_void_p))

    def _free(self, _: Any) -> None:
        self.freed += 1

    def __dlpack_device__(self) -> tuple[int, int]:
        return (self.device, 0)

    def __dlpack__(self, **_: Any) -> Any:
        new = ctypes.pythonapi.PyCapsule_New
        new.restype, new.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
        return new(ctypes.addressof(self.managed), b"dltensor", None)


def test_bfloat16_through_dlpack_is_viewed_and_given_back() -> None:
    phi = rows(9, 7, ml_dtypes.bfloat16)
    source = Exporter(phi.view(np.uint16)[::2])
    dump = open_dump(source)
    assert dump.dtype == "bfloat16" and dump.segments[0].array.ctypes.data == phi.ctypes.data
    np.testing.assert_array_equal(dump.read(0, 5), phi[::2].astype(np.float32))
    kept = dump.segments[0].array
    del dump
    gc.collect()
    assert source.freed == 0
    del kept
    gc.collect()
    assert source.freed == 1
    with pytest.raises(TypeError, match="uint16"):
        open_dump(Exporter(phi.view(np.uint16), code=1))  # 16-bit unsigned integers are no bfloat16
    with pytest.raises(TypeError, match="device"):
        open_dump(Exporter(phi.view(np.uint16), device=2))


def test_torch_bfloat16_through_dlpack_alone() -> None:
    torch = pytest.importorskip("torch")

    class Only:
        def __init__(self, tensor: Any) -> None:
            self.tensor = tensor

        def __dlpack__(self, **_: Any) -> Any:
            return self.tensor.__dlpack__()

        def __dlpack_device__(self) -> tuple[int, int]:
            return (1, 0)

    tensor = torch.randn(5, 3).to(torch.bfloat16)
    dump = open_dump(Only(tensor))
    assert dump.segments[0].array.ctypes.data == tensor.data_ptr()
    np.testing.assert_array_equal(dump.read(0, 5), tensor.float().numpy())
    storage = weakref.ref(tensor.untyped_storage())
    del tensor, dump
    gc.collect()
    assert storage() is None

    class Cuda:
        def __dlpack__(self, **_: Any) -> Any:
            raise AssertionError("asked for memory of another device")

        def __dlpack_device__(self) -> tuple[int, int]:
            return (2, 0)

    with pytest.raises(TypeError, match="CPU"):
        open_dump(Cuda())
    with pytest.raises(TypeError, match="CPU"):
        open_dump(torch.empty(2, 2, device="meta"))


# npz


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_npz(tmp_path: Path, dtype: Any) -> None:
    phi = rows(33, 7, dtype)
    held = {"phi_L3": phi, "phi_L4": phi * 2, "value_x": np.arange(33.0), "prompt_id": np.arange(33) // 3}
    np.savez(tmp_path / "s.npz", **held)
    np.savez_compressed(tmp_path / "c.npz", **held)
    dump = open_dump(tmp_path / "s.npz", layer=4)
    assert isinstance(dump.segments[0].array, np.ndarray) and stored(dump) == (phi * 2).tobytes()
    with pytest.warns(UserWarning, match="'phi_L3' is compressed and cannot be mapped"):
        packed = open_dump(tmp_path / "c.npz", layer=3)
    assert stored(packed) == phi.tobytes() and packed.n_prompts == 11 and packed.layers == [3, 4]
    np.testing.assert_array_equal(packed.column("x"), np.arange(33.0))
    with pytest.warns(UserWarning, match="'phi_L4' is compressed"):
        np.testing.assert_array_equal(packed.select(layer=4).read(5, 9), dump.read(5, 9))
    for _ in range(2):  # back to the beginning, and on from the middle
        np.testing.assert_array_equal(packed.read(0, 2), phi[:2].astype(dump.read(0, 1).dtype))
        np.testing.assert_array_equal(packed.read(20, 30), phi[20:30].astype(dump.read(0, 1).dtype))
    before = os.stat(tmp_path / "c.npz")
    np.savez_compressed(tmp_path / "c.npz", phi_L3=phi)
    assert os.stat(tmp_path / "c.npz").st_size != before.st_size
    with pytest.raises(DumpChangedError):
        packed.read(0, 1)


def archive(*members: tuple[str, bytes], **more: Any) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", more.get("how", zipfile.ZIP_DEFLATED)) as file:
        for name, data in members:
            file.writestr(zipfile.ZipInfo(name), data, more.get("how", zipfile.ZIP_DEFLATED))
        file.comment = more.get("comment", b"")
    return out.getvalue()


def npy(array: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


def test_archives_that_hide_repeat_or_lie_are_refused(tmp_path: Path) -> None:
    good = npy(rows(4, 3))
    bomb = npy(np.zeros((1, 1), np.float32)).replace(b"(1, 1), ", b"(2**9,)"[:7] + b" ")
    huge = good.replace(b"(4, 3), ", b"(4,300),")
    plain = archive(("phi.npy", good))
    cases = {
        "comment": archive(("phi.npy", good), comment=b"more"),
        "text": archive(("phi.npy", good), ("readme.txt", b"x")),
        "bzip2": archive(("phi.npy", good), how=zipfile.ZIP_BZIP2),
        "prefix": b"x" * 7 + plain,
        "suffix": plain + b"x",
        "two arrays": archive(("phi.npy", good + good)),
        "truncated": archive(("phi.npy", good[:-1])),
        "claims": archive(("phi.npy", huge)),
        "literal": archive(("phi.npy", bomb)),
        "object": archive(("phi.npy", good.replace(b"<f4", b"|O "))),
        "flipped": plain[:60] + bytes([plain[60] ^ 255]) + plain[61:],
    }
    for name, data in cases.items():
        (tmp_path / "x.npz").write_bytes(data)
        with warnings.catch_warnings(), pytest.raises(DumpError, match=r"x\.npz"):
            warnings.simplefilter("ignore")
            open_dump(tmp_path / "x.npz").read(0, 4)
            pytest.fail(name)
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(tmp_path / "x.npz", "w") as file:
        file.writestr("phi.npy", good)
        file.writestr("phi.npy", good)
    with pytest.raises(DumpError, match="twice"):
        open_dump(tmp_path / "x.npz")


def test_a_bomb_takes_no_more_memory_than_a_window(tmp_path: Path) -> None:
    import tracemalloc

    n = 40_000_000
    with zipfile.ZipFile(tmp_path / "b.npz", "w", zipfile.ZIP_DEFLATED) as file, file.open("phi.npy", "w") as member:
        head = io.BytesIO()
        np.lib.format.write_array_header_1_0(head, {"descr": "<f4", "fortran_order": False, "shape": (n, 1)})
        member.write(head.getvalue())
        for _ in range(40):
            member.write(bytes(n // 10))
    with pytest.warns(UserWarning, match="compressed"):
        dump = open_dump(tmp_path / "b.npz")
    tracemalloc.start()
    assert dump.read(9_999_999, 10_000_000).tolist() == [[0.0]]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert dump.n_rows == n and peak < 32 << 20


# Arrow


def hf_folder(folder: Path, table: pa.Table, shards: int) -> Path:
    """What Dataset.save_to_disk leaves: shards in the stream format, and a state that gives their order."""
    folder.mkdir()
    names = [f"data-{k:05d}-of-{shards:05d}.arrow" for k in range(shards)]
    cut = np.linspace(0, table.num_rows, shards + 1).astype(int)
    for k, name in enumerate(names):
        part = table.slice(cut[k], cut[k + 1] - cut[k])
        with pa.OSFile(str(folder / name), "wb") as out, pa.ipc.new_stream(out, table.schema) as writer:
            for batch in part.to_batches(max_chunksize=10):
                writer.write_batch(batch)
    state = {"_data_files": [{"filename": n} for n in names], "_indices_data_files": None, "_split": None}
    (folder / "state.json").write_text(json.dumps(state))
    (folder / "dataset_info.json").write_text("{}")
    return folder


def table_of(phi: np.ndarray, kind: str) -> pa.Table:
    n, d = phi.shape
    flat = pa.array(phi.reshape(-1))
    if kind == "fixed":
        lists: Any = pa.FixedSizeListArray.from_arrays(flat, d)
    else:
        maker = pa.ListArray if kind == "list" else pa.LargeListArray
        lists = maker.from_arrays(
            pa.array(np.arange(0, n * d + 1, d), pa.int32() if kind == "list" else pa.int64()), flat
        )
    return pa.table(
        {
            "phi": lists, "prompt_id": np.arange(n) // 3, "value_x": np.linspace(0, 1, n), "ok": np.arange(n) % 2 == 0,
            "text": [f"r\u00e9{k % 4}" for k in range(n)], "chat": [[{"role": "user"}]] * n,
        }
    )  # fmt: skip


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("kind", ["fixed", "list", "large"])
def test_arrow_files_and_folders(tmp_path: Path, dtype: Any, kind: str) -> None:
    phi = rows(33, 7, dtype)
    table = table_of(phi, kind)
    with pa.OSFile(str(tmp_path / "x.arrow"), "wb") as out, pa.ipc.new_file(out, table.schema) as writer:
        writer.write_table(table, 9)
    pq.write_table(table, tmp_path / "x.parquet", row_group_size=10)
    (tmp_path / "p").mkdir()
    for k in range(3):
        pq.write_table(table.slice(11 * k, 11), tmp_path / "p" / f"part-{k}.parquet")
    for source in (tmp_path / "x.arrow", tmp_path / "x.parquet", tmp_path / "p", hf_folder(tmp_path / "h", table, 3)):
        dump = open_dump(source)
        assert (dump.n_rows, dump.dim, dump.dtype, dump.n_prompts) == (33, 7, np.dtype(dtype).name, 11)
        assert stored(dump) == phi.tobytes()
        np.testing.assert_array_equal(dump.column("x"), np.linspace(0, 1, 33))
        assert dump.columns["text"][5] == "r\u00e91" and dump.columns["ok"].dtype == bool
        assert dump.source["columns_left_out"] == ["chat"]
        zero_copy = source.name in ("x.arrow", "h")
        assert all(isinstance(s.array, np.ndarray) == zero_copy for s in dump.segments)
        if zero_copy:
            held = [s.array.__array_interface__["data"][0] for s in dump.segments]
            maps = [s.file for s in dump.segments]
            assert all(m is not None for m in maps) and len(set(held)) == len(held)
        np.testing.assert_array_equal(dump.read(13, 30), phi[13:30].astype(dump.read(0, 1).dtype))
        np.testing.assert_array_equal(dump.read(2, 5), phi[2:5].astype(dump.read(0, 1).dtype))


def test_zero_copy_rows_lie_in_the_map(tmp_path: Path) -> None:
    table = table_of(rows(20, 5), "fixed")
    with pa.OSFile(str(tmp_path / "x.arrow"), "wb") as out, pa.ipc.new_file(out, table.schema) as writer:
        writer.write_table(table)
    dump = open_dump(tmp_path / "x.arrow")
    at = dump.segments[0].array.__array_interface__["data"][0]
    with open("/proc/self/maps") as file:
        spans = [line.split()[0].split("-") for line in file if "x.arrow" in line]
    assert any(int(a, 16) <= at < int(b, 16) for a, b in spans)


@pytest.mark.parametrize("codec", ["lz4", "zstd"])
def test_compressed_arrow(tmp_path: Path, codec: str) -> None:
    phi = rows(200, 7)
    table = table_of(phi, "list")
    options = pa.ipc.IpcWriteOptions(compression=codec)
    with pa.OSFile(str(tmp_path / "x.arrow"), "wb") as out, pa.ipc.new_stream(out, table.schema, options=options) as w:
        w.write_table(table, 30)
    dump = open_dump(tmp_path / "x.arrow")
    assert stored(dump) == phi.tobytes() and dump.n_prompts == 67


@pytest.mark.parametrize("name", ["float16", "bfloat16"])
def test_half_bits_in_integers_are_read_only_when_said(tmp_path: Path, name: str) -> None:
    every = np.arange(65536, dtype=np.uint16).reshape(4096, 2, 8)
    flat = pa.array(every.view(np.int16).reshape(-1))
    inner = pa.ListArray.from_arrays(pa.array(np.arange(0, 65537, 8), pa.int32()), flat)

    class Array2D(pa.ExtensionType):
        def __init__(self) -> None:
            super().__init__(pa.list_(pa.list_(pa.int16())), "datasets.features.features.Array2DExtensionType")

        def __arrow_ext_serialize__(self) -> bytes:
            return b'[[2, 8], "int16"]'

    outer = pa.ListArray.from_arrays(pa.array(np.arange(0, 8193, 2), pa.int32()), inner)
    table = pa.table({"hidden_3": pa.ExtensionArray.from_storage(Array2D(), outer), "label": np.arange(4096)})
    for source in (hf_folder(tmp_path / "h", table, 2), tmp_path / "x.parquet"):
        if source.name.endswith(".parquet"):
            pq.write_table(table, source)
        with pytest.raises(DumpError, match=r"hidden_3.*half_bits"):
            open_dump(source)
        dump = open_dump(source, half_bits=name, layer=3, prompt_ids="dataset_row")
        assert (dump.n_rows, dump.dim, dump.dtype, dump.n_prompts) == (8192, 8, name, 4096)
        want = every.reshape(8192, 8).view(HALVES[name]).astype(np.float32)
        got = dump.read(0, 8192)
        nan = np.isnan(want)
        assert (np.isnan(got) == nan).all() and (got.view(np.uint32)[~nan] == want.view(np.uint32)[~nan]).all()
        assert stored(dump) == every.tobytes()
        assert dump.columns["label"][:4].tolist() == [0, 0, 1, 1] and dump.columns["position"][:3].tolist() == [0, 1, 0]
    with pytest.raises(ValueError, match="half_bits"):
        open_dump(tmp_path / "x.parquet", half_bits="int16")


def _column(values: Any, kind: Any) -> pa.Table:
    return pa.table({"phi": pa.array(values, kind)})


F32 = pa.float32()
BAD_ARROW = {
    "ragged": _column([[1.0, 2.0], [3.0]], pa.list_(F32)),
    "null row": _column([[1.0, 2.0], None], pa.list_(F32)),
    "null item": _column([[1.0, 2.0], [3.0, None]], pa.list_(F32, 2)),
    "integers": _column([[1, 2], [3, 4]], pa.list_(pa.int32())),
    "text": _column(["a", "b"], pa.string()),
    "ragged inside": _column([[[1.0], [2.0]], [[3.0]]], pa.list_(pa.list_(F32))),
    "null inside": _column([[[1.0], None], [[3.0], [4.0]]], pa.list_(pa.list_(F32))),
    "deep": _column([[[[1.0]]]], pa.list_(pa.list_(pa.list_(F32)))),
    "two widths": pa.table(
        {"a": pa.array([[[1.0], [2.0]]], pa.list_(pa.list_(F32))), "b": pa.array([[1.0]], pa.list_(F32))}
    ),
    "two": pa.table({"a": pa.array([[1.0]], pa.list_(F32)), "b": pa.array([[1.0]], pa.list_(F32))}),
    "none": pa.table({"x": [1.0]}),
}


@pytest.mark.parametrize("name", BAD_ARROW)
@pytest.mark.parametrize("suffix", [".arrow", ".parquet"])
def test_columns_that_are_no_rows_are_refused(tmp_path: Path, name: str, suffix: str) -> None:
    path = tmp_path / f"x{suffix}"
    if suffix == ".parquet":
        pq.write_table(BAD_ARROW[name], path)
    else:
        with pa.OSFile(str(path), "wb") as out, pa.ipc.new_file(out, BAD_ARROW[name].schema) as writer:
            writer.write_table(BAD_ARROW[name])
    with pytest.raises(DumpError, match=r"x\.(arrow|parquet)"):
        open_dump(path).read(0, 2)


def test_broken_arrow_files_and_folders_are_refused(tmp_path: Path) -> None:
    table = table_of(rows(20, 5), "fixed")
    for suffix in (".arrow", ".parquet"):
        path = tmp_path / f"x{suffix}"
        if suffix == ".parquet":
            pq.write_table(table, path)
        else:
            with pa.OSFile(str(path), "wb") as out, pa.ipc.new_file(out, table.schema) as writer:
                writer.write_table(table)
        whole = path.read_bytes()
        for cut in (0, 1, 5, 8, 100, len(whole) // 2, len(whole) - 9, len(whole) - 1):
            path.write_bytes(whole[:cut])
            with pytest.raises(DumpError, match="x"):
                open_dump(path).read(0, 20)
    folder = hf_folder(tmp_path / "h", table, 2)
    state = json.loads((folder / "state.json").read_text())
    names = [f["filename"] for f in state["_data_files"]]
    bad: list[Any] = [
        {"_data_files": [{"filename": f"../{names[0]}"}]}, {"_data_files": [{"filename": names[0]}] * 2},
        {"_data_files": 3}, {"_data_files": [3]}, {"_data_files": [{}]}, [], {"_data_files": []},
        {"_indices_data_files": [{"filename": "i"}]},
    ]  # fmt: skip
    for table_ in bad:
        (folder / "state.json").write_text(json.dumps(table_))
        with pytest.raises(DumpError):
            open_dump(folder)
    (folder / "state.json").unlink()
    other = table_of(rows(4, 6), "fixed")
    with pa.OSFile(str(folder / "z.arrow"), "wb") as out, pa.ipc.new_stream(out, other.schema) as w:
        w.write_table(other)
    with pytest.raises(DumpError, match="other columns"):
        open_dump(folder)
    (folder / "dataset_dict.json").write_text('{"splits": ["train"]}')
    with pytest.raises(DumpError, match="train"):
        open_dump(folder)


def test_bytes_that_an_arrow_reader_would_not_see_are_refused(tmp_path: Path) -> None:
    table = table_of(rows(20, 5), "fixed")
    made = {}
    for kind, writer in (("stream", pa.ipc.new_stream), ("file", pa.ipc.new_file)):
        out = io.BytesIO()
        with writer(out, table.schema) as w:
            w.write_table(table, 7)
        made[kind] = out.getvalue()
    out = io.BytesIO()
    pq.write_table(table, out, row_group_size=7, write_page_index=True)
    whole = out.getvalue()
    cases = {
        "two.arrow": made["stream"] * 2, "tail.arrow": made["stream"] + bytes(8), "open.arrow": made["stream"][:-8],
        "files.arrow": made["file"] * 2, "file-tail.arrow": made["file"] + bytes(8),
        "front.arrow": bytes(8) + made["file"],
        "two.parquet": whole * 2, "front.parquet": b"junk" + whole, "tail.parquet": whole + bytes(8),
    }  # fmt: skip
    for name, data in cases.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(DumpError, match=name):
            open_dump(tmp_path / name)
            pytest.fail(name)
    for name, data in (("a.arrow", made["stream"]), ("b.arrow", made["file"]), ("c.parquet", whole)):
        (tmp_path / name).write_bytes(data)
        assert open_dump(tmp_path / name).n_rows == 20


def test_an_arrow_file_that_shrinks_is_an_error(tmp_path: Path) -> None:
    table = table_of(rows(5000, 50), "fixed")
    with pa.OSFile(str(tmp_path / "x.arrow"), "wb") as out, pa.ipc.new_file(out, table.schema) as writer:
        writer.write_table(table)
    dump = open_dump(tmp_path / "x.arrow")
    os.truncate(tmp_path / "x.arrow", 4096)
    with pytest.raises(DumpChangedError):
        cm.moments(dump)


# Hidden states of single requests


def request(
    folder: Path, name: str, tokens: list[int], layers: int = 3, d: int = 5, dtype: Any = np.float32
) -> np.ndarray:
    states = rows(len(tokens) * layers, d, dtype, seed=len(name) + sum(tokens)).reshape(len(tokens), layers, d)
    safetensors.numpy.save_file(
        {"hidden_states": states, "token_ids": np.array(tokens, np.int64)}, folder / f"{name}.safetensors"
    )
    (folder / f"{name}.safetensors.lock").touch()
    return states


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, ml_dtypes.bfloat16])
def test_requests_become_rows(tmp_path: Path, dtype: Any) -> None:
    tokens = {f"hs_{k}": [1, 2, k % 2, *range(3, 4 + k % 3)] for k in (0, 1, 2, 10, 3)}
    states = {n: request(tmp_path, n, t, dtype=dtype) for n, t in tokens.items()}
    lengths = dict.fromkeys([0, 1, 2, 3, 10], 3)
    with pytest.warns(UserWarning, match="6 of 11 requests have no file: hs_4, hs_5"):
        last = open_dump(tmp_path, pool="last", prompt_tokens=lengths, layer=1)
    order = ["hs_0", "hs_1", "hs_2", "hs_3", "hs_10"]
    assert last.columns["request"].tolist() == order and last.layers == [0, 1, 2]
    assert stored(last) == b"".join(states[n][-1, 1].tobytes() for n in order)
    assert last.dtype == np.dtype(dtype).name and last.prompt_ids is not None
    assert last.prompt_ids.tolist() == [0, 1, 0, 1, 0] and last.column("n_tokens").tolist() == [1, 2, 3, 1, 2]
    assert last.source["missing_requests"][0] == "hs_4" and len(last.source["missing_requests"]) == 6
    with pytest.warns(UserWarning, match="no file"):
        mean = open_dump(tmp_path, pool="mean", prompt_tokens=lengths, tensor="phi_mean_L2")
    wide = np.float64 if dtype is np.float64 else np.float32
    want = np.stack([states[n][3:, 2].astype(np.float64).mean(axis=0) for n in order]).astype(wide)
    np.testing.assert_array_equal(mean.read(0, 5), want)
    gain = cm.tilt(last, np.ones((1, 5)), [1.0], ["n_tokens"])
    assert gain.n_prompts == 2


def test_requests_with_names_and_lengths_from_files(tmp_path: Path) -> None:
    folder = tmp_path / "r"
    folder.mkdir()
    a, b = request(folder, "cmpl-b", [7, 8, 9]), request(folder, "cmpl-a", [7, 8, 9, 4])
    (tmp_path / "l.json").write_text(json.dumps({"cmpl-a": 2, "cmpl-b": 1}))
    np.savez(tmp_path / "l.npz", request=np.array(["cmpl-a", "cmpl-b"]), prompt_tokens=np.array([2, 1]))
    for lengths in (tmp_path / "l.json", tmp_path / "l.npz", {"cmpl-a": 2, "cmpl-b": 1}):
        dump = open_dump(folder, pool="last", prompt_tokens=lengths, layer=0)
        np.testing.assert_array_equal(dump.read(0, 2), np.stack([b[-1, 0], a[-1, 0]]))
        assert dump.n_prompts == 2
    with pytest.warns(UserWarning, match="1 of 3 requests have no file: gone"):
        open_dump(folder, pool="last", prompt_tokens={"cmpl-a": 2, "cmpl-b": 1, "gone": 1}, layer=0)


def test_requests_are_refused_with_the_reason(tmp_path: Path) -> None:
    request(tmp_path, "hs_0", [1, 2, 3])
    ok = {0: 1}
    cases: list[tuple[dict[str, Any], str]] = [
        ({}, "pool='last'"), ({"pool": "last"}, "where prompts end"),
        ({"pool": "mean", "prompt_tokens": {}}, "length of its prompt is not given"),
        ({"pool": "mean", "prompt_tokens": {0: 3}}, "leaves no response"),
    ]  # fmt: skip
    for options, why in cases:
        with pytest.raises(DumpError, match=why):
            open_dump(tmp_path, **options)
    for wrong in ({0: -1}, {0: 1.5}, {0: True}, {"hs_0": 1, 0: 1}, [1], 3):
        with pytest.raises((ValueError, TypeError), match="prompt_tokens"):
            open_dump(tmp_path, pool="last", prompt_tokens=wrong)
    with pytest.raises(ValueError, match="pool is"):
        open_dump(tmp_path, pool="max", prompt_tokens=ok)
    states = rows(6, 4).reshape(2, 3, 4)
    ids = np.arange(3)
    odd = {
        "layers come first": {"hidden_states": states, "token_ids": ids},
        "beside 7 token_ids": {"hidden_states": states, "token_ids": np.arange(7)},
        "dtype F32": {"hidden_states": states.reshape(6, 4), "token_ids": np.arange(6)},
        "token_ids": {"hidden_states": np.zeros((3, 2, 4), np.float32), "token_ids": np.zeros(3, np.float32)},
        "are wanted": {"hidden_states": states},
        "layers and width": {"hidden_states": np.zeros((3, 1, 5), np.float32), "token_ids": ids},
    }
    for why, tensors in odd.items():
        safetensors.numpy.save_file(tensors, tmp_path / "hs_1.safetensors")
        with pytest.raises(DumpError, match=why):
            open_dump(tmp_path, pool="last", prompt_tokens={0: 1, 1: 1}, layer=0)
    os.unlink(tmp_path / "hs_1.safetensors")
    dump = open_dump(tmp_path, pool="last", prompt_tokens=ok, layer=0)
    request(tmp_path, "hs_0", [1, 2, 3, 4])
    with pytest.raises(DumpChangedError):
        dump.read(0, 1)


def test_requests_may_be_links_within_their_folder_only(tmp_path: Path) -> None:
    folder = tmp_path / "r"
    folder.mkdir()
    states = request(folder, "hs_0", [1, 2, 3])
    (folder / "hs_1.safetensors").symlink_to("hs_0.safetensors")
    dump = open_dump(folder, pool="last", prompt_tokens={0: 1, 1: 2}, layer=0)
    np.testing.assert_array_equal(dump.read(0, 2), states[[-1, -1], 0])
    request(tmp_path, "hs_2", [1, 2, 3])
    (folder / "hs_2.safetensors").symlink_to("../hs_2.safetensors")
    with pytest.raises(DumpError, match=r"hs_2.*link out of"):
        open_dump(folder, pool="last", prompt_tokens={0: 1, 1: 2, 2: 1}, layer=0)


@pytest.mark.parametrize("prompt", [1, 400, 600, 5000])
def test_prompts_of_requests_are_known_by_all_their_tokens(tmp_path: Path, prompt: int) -> None:
    """Whether or not the tokens come with the header, in the first bytes that are read."""
    for name, odd in (("hs_0", -1), ("hs_1", -1), ("hs_2", prompt - 1)):
        tokens = list(range(prompt + 2))
        if odd >= 0:
            tokens[odd] = 7_000
        request(tmp_path, name, tokens, layers=1, d=1)
    dump = open_dump(tmp_path, pool="last", prompt_tokens=dict.fromkeys(range(3), prompt))
    assert dump.prompt_ids is not None and dump.prompt_ids.tolist() == [0, 0, 1]
    assert dump.column("n_tokens").tolist() == [2, 2, 2]


def test_loose_safetensors(tmp_path: Path) -> None:
    safetensors.numpy.save_file({"acts": rows(4, 3)}, tmp_path / "a.safetensors")
    assert open_dump(tmp_path).tensor == "acts"
    safetensors.numpy.save_file({"acts": rows(4, 3)}, tmp_path / "b.safetensors")
    with pytest.raises(DumpError, match="nothing that orders"):
        open_dump(tmp_path)


def test_a_parquet_file_without_rows(tmp_path: Path) -> None:
    pq.write_table(table_of(rows(0, 5), "fixed"), tmp_path / "x.parquet")
    dump = open_dump(tmp_path / "x.parquet")
    assert (dump.n_rows, dump.dim) == (0, 5)


def test_numbers_in_a_footer_are_checked_before_pyarrow_sees_them() -> None:
    whole = {1: 3, 2: b"AB", 3: [1, -2], 4: {1: True}, 5: [(b"k", 1)], 6: bytes(8), 20: 7}
    data = bytes.fromhex("150618024142") + bytes.fromhex("19250203") + bytes.fromhex("1c1100")
    data += bytes.fromhex("1b0185016b02") + bytes.fromhex("17") + bytes(8) + bytes.fromhex("e50e00")
    assert read_struct(data) == whole
    for cut in range(len(data)):
        with pytest.raises(ValueError, match=r"ends|left"):
            read_struct(data[:cut])
    deep, endless, claims = b"\x1c" * 40, b"\x15" + b"\xff" * 11, b"\x19\xf5\xff\xff\xff\xff\x0f"
    for data, why in ((deep, "deeply"), (endless, "10 bytes"), (claims, "claimed"), (b"\x1d", "unknown type 13")):
        with pytest.raises(ValueError, match=why):
            read_struct(data)


def test_a_footer_of_an_arrow_file_lists_every_message_once(tmp_path: Path) -> None:
    table = table_of(rows(20, 5), "fixed")
    out = io.BytesIO()
    with pa.ipc.new_file(out, table.schema) as writer:
        writer.write_table(table, 7)
    whole = out.getvalue()
    begin = len(whole) - 10 - int.from_bytes(whole[-10:-6], "little")
    blocks = sorted(_blocks(whole[begin:-10]))
    assert len(blocks) == 3
    for start, head, _ in blocks:
        at = whole.index(start.to_bytes(8, "little") + head.to_bytes(4, "little"), begin)
        for other in (blocks[0][0] + 8, blocks[1][0], 0, -1):
            if other != start:
                (tmp_path / "x.arrow").write_bytes(
                    whole[:at] + other.to_bytes(8, "little", signed=True) + whole[at + 8 :]
                )
                with pytest.raises(DumpError, match=r"x\.arrow"):
                    open_dump(tmp_path / "x.arrow")
        longer = (head + 8).to_bytes(4, "little")
        (tmp_path / "x.arrow").write_bytes(whole[: at + 8] + longer + whole[at + 12 :])
        with pytest.raises(DumpError, match=r"x\.arrow"):
            open_dump(tmp_path / "x.arrow")


def test_a_check_of_the_files_reads_no_row() -> None:
    def fetch(first: int, last: int) -> np.ndarray:
        pytest.fail("a row was read")

    dump = Dump((Segment(Window((9, 4), "f4", fetch), 0),), 9, 4, "float32")
    dump.check()


@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_work_ahead_keeps_order_and_raises_in_its_turn(count: int) -> None:
    assert list(ahead([lambda k=k: k for k in range(count)])) == list(range(count))
    failing = ahead([lambda: 1, lambda: 1 // 0, lambda: 2])
    assert next(failing) == 1
    with pytest.raises(ZeroDivisionError):
        next(failing)


def test_what_is_unpacked_has_the_checksum_that_the_entry_says(tmp_path: Path) -> None:
    phi = np.zeros((3000, 50), np.float32)
    for how in (zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED):
        data = bytearray(archive(("value.npy", npy(phi[:, 0].copy())), how=how))
        for sign, at in ((b"PK\x03\x04", 14), (b"PK\x01\x02", 16)):
            data[data.index(sign) + at] ^= 1
        (tmp_path / "x.npz").write_bytes(data)
        with pytest.raises(DumpError, match=r"x\.npz.*(checksum|CRC)"):
            open_dump(phi, columns=tmp_path / "x.npz").column("value")
