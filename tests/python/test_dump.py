"""Dumps: round trips bit for bit, and refusals that name what is wrong."""

from __future__ import annotations

import io
import json
import os
import struct
import sys
import zipfile
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st

import clinometer as cm
from clinometer.dump import Dump, open_dump, write_dump
from clinometer.dump.blocks import to_bfloat16
from clinometer.dump.directions import Directions
from clinometer.errors import DumpChangedError, DumpError
from clinometer.files.plain import PlainFile
from clinometer.reporting import build
from clinometer.sources.npy import read_npy
from clinometer.sources.safetensors import read_header

pytestmark = pytest.mark.filterwarnings("error")
BF16 = ml_dtypes.bfloat16


def rows(n: int, d: int, dtype: Any = np.float32, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, d)).astype(dtype)


def bits(array: np.ndarray) -> bytes:
    return np.ascontiguousarray(array).view(np.uint8).tobytes()


def stored(dump: Dump) -> bytes:
    return b"".join(bits(s.array) for s in dump.segments)


def container(header: Any, data: bytes = b"", length: int | None = None) -> bytes:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(raw) if length is None else length) + raw + data


def entry(dtype: Any = "F32", shape: Any = (1, 2), offsets: Any = (0, 8), **more: Any) -> dict[str, Any]:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets), **more}


# Memory


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, BF16])
@pytest.mark.parametrize("shape", [(0, 3), (1, 1), (3, 7), (17, 33)])
def test_array_is_viewed_and_decoded(dtype: Any, shape: tuple[int, int]) -> None:
    phi = rows(*shape, dtype)
    dump = open_dump(phi)
    assert dump.dtype == np.dtype(dtype).name
    assert shape[0] == 0 or np.shares_memory(dump.segments[0].array, phi)
    want = phi.astype(np.float64 if dtype is np.float64 else np.float32)
    np.testing.assert_array_equal(dump.read(0, shape[0]), want)
    assert dump.read(0, shape[0]).dtype == want.dtype
    assert dump.n_prompts == min(shape[0], 1)
    with pytest.raises(ValueError, match="start and stop"):
        dump.read(0, shape[0] + 1)


def test_strided_rows_are_viewed_and_columns_copied_with_the_bytes_named() -> None:
    wide = rows(9, 8)
    view = open_dump(wide[::-2, 1:5])
    assert np.shares_memory(view.segments[0].array, wide)
    np.testing.assert_array_equal(view.read(1, 4), wide[::-2, 1:5][1:4])
    with pytest.warns(UserWarning, match="144 bytes"):
        turned = open_dump(np.asfortranarray(wide[:, :4]))
    np.testing.assert_array_equal(turned.read(0, 9), wide[:, :4])
    with pytest.warns(UserWarning, match="big-endian, 288 bytes"):
        swapped = open_dump(wide.astype(">f4"))
    np.testing.assert_array_equal(swapped.read(0, 9), wide)


def test_the_caller_cannot_be_modified_through_the_dump() -> None:
    phi = rows(3, 2)
    dump = open_dump(phi)
    assert not dump.segments[0].array.flags.writeable and phi.flags.writeable
    with pytest.raises(AttributeError):
        dump.n_rows = 5  # type: ignore[misc]


@pytest.mark.parametrize(
    "bad", [np.zeros(3), np.zeros((2, 2, 2, 1)), np.zeros((3, 0)), np.zeros((2, 2), int), [[1.0]], None]
)
def test_wrong_sources(bad: Any) -> None:
    with pytest.raises((ValueError, TypeError), match="source"):
        open_dump(bad)


def test_a_dlpack_object_and_an_array_object_are_viewed() -> None:
    phi = rows(4, 3)

    class Exports:
        def __init__(self, device: int) -> None:
            self.device = device

        def __dlpack__(self, **kw: Any) -> Any:
            return phi.__dlpack__(**kw)

        def __dlpack_device__(self) -> tuple[int, int]:
            return (self.device, 0)

    class Array:
        def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
            return phi

    for source in (Exports(1), Array()):
        assert np.shares_memory(open_dump(source).segments[0].array, phi)
    with pytest.raises(TypeError, match="device"):
        open_dump(Exports(2))


def test_torch_tensors_are_viewed() -> None:
    torch = pytest.importorskip("torch")
    phi = torch.randn(5, 3).to(torch.bfloat16).requires_grad_()
    dump = open_dump(phi)
    assert dump.dtype == "bfloat16" and dump.segments[0].array.ctypes.data == phi.data_ptr()
    np.testing.assert_array_equal(dump.read(0, 5), phi.detach().float().numpy())
    assert open_dump(torch.ones(2, 2, dtype=torch.float16)).dtype == "float16"


@pytest.mark.parametrize("dtype", ["float16", "float32", "bfloat16"])
def test_jax_arrays_are_viewed(dtype: str) -> None:
    jnp = pytest.importorskip("jax.numpy")
    phi = jnp.arange(15, dtype=dtype).reshape(5, 3)
    dump = open_dump(phi)
    assert dump.dtype == dtype and dump.segments[0].array.ctypes.data == phi.unsafe_buffer_pointer()
    np.testing.assert_array_equal(dump.read(0, 5), np.arange(15).reshape(5, 3))


def test_array_api_arrays_are_viewed() -> None:
    strict = pytest.importorskip("array_api_strict")
    phi = rows(4, 3)
    assert np.shares_memory(open_dump(strict.asarray(phi, copy=False)).segments[0].array, phi)


def test_cupy_arrays_are_refused_by_name() -> None:
    def no(*_: Any, **__: Any) -> Any:
        raise AssertionError("nothing is asked of memory of another device")

    body = {"__dlpack__": no, "__array__": no, "__dlpack_device__": lambda _: (2, 0), "shape": (4, 3)}
    phi = type("ndarray", (), {**body, "__module__": "cupy"})()
    for call in (lambda: open_dump(phi), lambda: open_dump(rows(4, 3), columns={"value_v": phi})):
        with pytest.raises(TypeError, match=r"is a cupy\.ndarray on a device .*; an array in CPU memory is wanted"):
            call()


def test_every_half_pattern_decodes_exactly() -> None:
    every = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    for dtype in (BF16, np.float16):
        got = open_dump(every.view(dtype)).read(0, 256)
        want = every.view(dtype).astype(np.float32)
        nan = np.isnan(want)
        assert (np.isnan(got) == nan).all()
        np.testing.assert_array_equal(got.view(np.uint32)[~nan], want.view(np.uint32)[~nan])


@given(st.lists(st.floats(width=64, allow_nan=True), min_size=1, max_size=40))
@settings(max_examples=200, deadline=None)
def test_bfloat16_is_the_nearest_with_ties_to_even(values: list[float]) -> None:
    x = np.array(values)
    single = x.astype(np.float32) if np.all(~(np.abs(x) > 3e38)) else np.zeros(1, np.float32)
    want = single.astype(BF16).view(np.uint16)
    got = to_bfloat16(single)
    nan = np.isnan(single)
    np.testing.assert_array_equal(got[~nan], want[~nan])
    assert np.isnan(got.view(BF16).astype(np.float32))[nan].all()


def test_bfloat16_of_float64_rounds_once() -> None:
    # Just above a tie: rounding to float32 first would land on the tie and go to even.
    x = np.array([1 + 2.0**-8 + 2.0**-40, 1 + 2.0**-8, 1 + 2.0**-8 - 2.0**-40, -(1 + 2.0**-8 + 2.0**-40)])
    got = (to_bfloat16(x).astype(np.uint32) << 16).view(np.float32)
    np.testing.assert_array_equal(got, [1 + 2.0**-7, 1.0, 1.0, -(1 + 2.0**-7)])


# Ids and columns


@pytest.mark.parametrize(
    ("ids", "count"),
    [
        ([5, 5, -3], 2),
        (np.array([2**64 - 1, 0, 0], np.uint64), 2),
        (["a", "b", "a"], 2),
        (np.array([1.0, 1.0, 2.0]), 2),
        (np.array([b"x", b"y", b"z"]), 3),
        (np.array(["p", "q", "p"], object), 2),
    ],
)
def test_prompt_ids(ids: Any, count: int) -> None:
    dump = open_dump(rows(3, 2), prompt_ids=ids)
    assert dump.n_prompts == count and dump.prompt_ids is not None and dump.prompt_ids.shape == (3,)


@pytest.mark.parametrize("ids", [[1, 2], [1.5, 1, 2], [np.nan, 1, 2], [[1, 1, 2]], [True, False, True], 7, "nothing"])
def test_wrong_prompt_ids(ids: Any) -> None:
    with pytest.raises((ValueError, TypeError), match=r"prompt_ids|nothing"):
        open_dump(rows(3, 2), prompt_ids=ids)


def test_column_names_resolve() -> None:
    held = {"value_helpful": [1.0, 2.0], "judge:kind": [0, 1], "logp": [0.0, 0.0], "value/x": [1, 2]}
    dump = open_dump(rows(2, 2), columns=held)
    for asked, got in {
        "helpful": "value_helpful",
        "value:helpful": "value_helpful",
        "judge/kind": "judge:kind",
        "judge_kind": "judge:kind",
        "logprob": "logp",
        "x": "value/x",
        "logp": "logp",
    }.items():
        assert dump.resolve_column(asked) == got
    with pytest.raises(ValueError, match=r"no column 'kind'.*it has.*logp"):
        dump.resolve_column("kind")
    assert dump.columns["judge:kind"].dtype.kind == "i"
    for wrong in ({"x": [1.0]}, {"x": [[1.0], [2.0]]}, {1: [1, 2]}, [1, 2], {"x": [1j, 2j]}):
        with pytest.raises((ValueError, TypeError), match="columns"):
            open_dump(rows(2, 2), columns=wrong)


def test_a_prompt_id_column_given_later_is_used() -> None:
    dump = open_dump(open_dump(rows(3, 2), prompt_ids=[0, 1, 2]), columns={"prompt_id": [4, 4, 4]})
    assert dump.n_prompts == 1
    assert open_dump(rows(3, 2), columns={"who": [1, 1, 2]}, prompt_ids="who").n_prompts == 2


def test_columns_and_ids_from_archives(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "c.npz", a=np.arange(4.0), b=np.array(["x", "yy", "", "z"]))
    np.save(tmp_path / "ids.npy", np.array(["u", "v", "u", "v"]))
    dump = open_dump(rows(4, 2), columns=tmp_path / "c.npz", prompt_ids=tmp_path / "ids.npy")
    assert dump.column("a").tolist() == [0, 1, 2, 3] and dump.column("b").tolist() == ["x", "yy", "", "z"]
    assert dump.n_prompts == 2
    with pytest.raises(DumpError, match="wanted"):
        open_dump(rows(5, 2), columns=tmp_path / "c.npz")
    raw = bytearray((tmp_path / "c.npz").read_bytes())
    for cut in (0, 10, len(raw) // 2, len(raw) - 5):
        (tmp_path / "t.npz").write_bytes(raw[:cut])
        with pytest.raises(DumpError, match=r"t.npz"):
            open_dump(rows(4, 2), columns=tmp_path / "t.npz")
    buffer = io.BytesIO()
    np.save(buffer, np.zeros(4))
    head = buffer.getvalue().replace(b"(4,), ", b"(2**9,)"[:6])
    with zipfile.ZipFile(tmp_path / "l.npz", "w") as archive:
        archive.writestr("a.npy", head)
    with pytest.raises(DumpError):
        open_dump(rows(4, 2), columns=tmp_path / "l.npz")


# Our folders


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, BF16])
@pytest.mark.parametrize(("n", "shard"), [(0, None), (1, 1), (17, 5), (33, 33), (15, None)])
def test_round_trip(tmp_path: Path, dtype: Any, n: int, shard: int | None) -> None:
    phi = rows(n, 7, dtype)
    columns = {
        "judge/kind": np.arange(n, dtype=np.float32),
        "n_tokens": np.arange(n, dtype=np.int32),
        "ok": np.arange(n) % 2 == 0,
        "who": np.array([f"m\u00e9{k % 3}" for k in range(n)], "U3"),
        "logprob": np.linspace(-1, 0, n),
    }
    ids = np.arange(n) // 3
    write_dump(
        tmp_path / "d",
        phi,
        prompt_ids=ids,
        columns=columns,
        source={"model": "m", "layer": 4, "odd": [1]},
        shard_rows=shard,
        policy="on_policy",
    )
    dump = open_dump(tmp_path / "d")
    assert (dump.n_rows, dump.dim, dump.dtype, dump.policy) == (n, 7, np.dtype(dtype).name, "on_policy")
    assert dump.source["odd"] == [1] and dump.layers == [4] and dump.nonfinite == "raise"
    assert stored(dump) == bits(phi)
    for name, column in columns.items():
        np.testing.assert_array_equal(dump.columns[name], column)
        assert dump.columns[name].dtype.kind == column.dtype.kind
    np.testing.assert_array_equal(dump.prompt_ids, ids)
    assert dump.fingerprint() == open_dump(phi, prompt_ids=ids.astype(np.int32)).fingerprint()
    if n:
        assert dump.fingerprint() != open_dump(phi, prompt_ids=ids + 1).fingerprint()
        assert len(dump.segments) == (1 if shard is None else -(-n // shard))
    shards = sorted(tmp_path.glob("d/*.safetensors"))
    theirs = [safetensors.numpy.load_file(s) for s in shards]
    assert b"".join(bits(t["phi"]) for t in theirs) == bits(phi)


def test_layers_pairs_directions_and_texts(tmp_path: Path) -> None:
    phi = {8: rows(6, 3, seed=1), 24: rows(6, 5, np.float16, seed=2)}
    u = Directions(["kind"], np.ones((1, 5)), source={"layer": 24})
    texts = [(f"p{k}", "r\u2028\n" + "x" * k) for k in range(6)]
    write_dump(
        tmp_path / "d",
        phi,
        prompt_ids=list("aabbcc"),
        pairs=([[0, 1], [2, 3], [4, 5]], [1.0, 0.5, 0.0]),
        directions=u,
        texts=texts,
        shard_rows=4,
    )
    with pytest.raises(DumpError, match=r"phi_L8.*phi_L24.*tensor='phi_L8' or layer=8"):
        open_dump(tmp_path / "d")
    dump = open_dump(tmp_path / "d", layer=24)
    assert dump.layers == [8, 24] and dump.dim == 5 and dump.directions == u
    assert dump.select(layer=8).read(0, 6).tobytes() == phi[8].tobytes()
    assert dump.texts is not None and dump.texts[5] == {"prompt": "p5", "response": "r\u2028\nxxxxx"}
    assert [t["prompt"] for t in dump.texts] == [f"p{k}" for k in range(6)]
    part = dump.select(prompts=["c", "a"])
    assert part.n_rows == 4 and part.n_prompts == 2 and part.texts is not None and part.pairs is not None
    assert part.texts[2]["prompt"] == "p4" and part.pairs["chosen"].tolist() == [0, 2]
    assert part.pairs["prob"].tolist() == [1.0, 0.0]
    np.testing.assert_array_equal(part.read(0, 4), phi[24][[0, 1, 4, 5]].astype(np.float32))
    np.testing.assert_array_equal(part.select(layer=8).read(0, 4), phi[8][[0, 1, 4, 5]])
    with pytest.raises(ValueError, match="'zz'"):
        dump.select(prompts=["a", "zz"])
    with pytest.raises(DumpError, match="layer 9"):
        dump.select(layer=9)


def test_dtypes_are_converted_and_overflow_refused(tmp_path: Path) -> None:
    phi = rows(5, 3)
    write_dump(tmp_path / "a", phi, dtype="bfloat16")
    assert stored(open_dump(tmp_path / "a")) == bits(phi.astype(BF16))
    write_dump(tmp_path / "b", phi.astype(BF16).view(np.uint16), dtype="bfloat16")
    assert stored(open_dump(tmp_path / "b")) == bits(phi.astype(BF16))
    write_dump(tmp_path / "c", open_dump(tmp_path / "a"), dtype="float64")
    np.testing.assert_array_equal(open_dump(tmp_path / "c").read(0, 5), phi.astype(BF16).astype(np.float64))
    with pytest.raises(ValueError, match=r"70000.*row 3.*float16"):
        write_dump(tmp_path / "d", np.where(np.arange(5)[:, None] == 3, np.float32(7e4), phi), dtype="float16")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "b", "c"]
    with pytest.raises(TypeError, match="uint16"):
        write_dump(tmp_path / "d", np.zeros((2, 2), np.uint16))


def test_replacing_and_refusing_targets(tmp_path: Path) -> None:
    write_dump(tmp_path / "d", rows(3, 2))
    old = open_dump(tmp_path / "d")
    before = old.read(0, 3)
    write_dump(tmp_path / "d", rows(4, 2, seed=9))
    assert open_dump(tmp_path / "d").n_rows == 4
    with pytest.raises(DumpChangedError):
        old.read(0, 3)
    assert before.shape == (3, 2)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("mine")
    (tmp_path / "file").write_text("x")
    for name in ("other", "file"):
        with pytest.raises(ValueError, match="path"):
            write_dump(tmp_path / name, rows(1, 1))

    def broken() -> Any:
        yield ("p", "r")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_dump(tmp_path / "d", rows(2, 2), texts=broken())
    assert open_dump(tmp_path / "d").n_rows == 4
    assert sorted(p.name for p in tmp_path.iterdir()) == ["d", "file", "other"]


def test_unfinished_folder_is_refused(tmp_path: Path) -> None:
    write_dump(tmp_path / "d", rows(3, 2))
    os.unlink(tmp_path / "d" / "manifest.json")
    with pytest.raises(DumpError, match="unfinished"):
        open_dump(tmp_path / "d")


def _set(*path: Any) -> Any:
    *keys, value = path

    def change(table: Any) -> None:
        for key in keys[:-1]:
            table = table[key]
        table[keys[-1]] = value

    return change


@pytest.mark.parametrize(
    "change",
    [
        _set("shards", 0, "file", name)
        for name in (
            "../x.safetensors",
            "/etc/passwd",
            "a/b",
            "..",
            "",
            7,
            None,
            "a\0b",
            "C:x",
            "a\\b",
            "gone.safetensors",
            "link",
            "pipe",
            "manifest.json",
        )
    ]
    + [_set("shards", 0, "rows", r) for r in (2, 4, -1, 1.0, True, 2**70, None)]
    + [
        _set("shards", 1, "row_start", 0),
        _set("shards", 1, "file", "phi-00000.safetensors"),
        _set("shards", []),
        _set("shards", {}),
        _set("shards", [1]),
        _set("shards", 0, "bytes", 1),
        _set("n_rows", 7),
        _set("n_rows", "6"),
        _set("version", 2),
        _set("format", "x"),
        _set("tensors", 0, "d", 3),
        _set("tensors", 0, "dtype", "float16"),
        _set("tensors", 0, "name", "x"),
        _set("tensors", 3),
        _set("columns", [{"name": "phi", "dtype": "string"}]),
        _set("columns", [3]),
        _set("source", 3),
        _set("files", {"text": "../t"}),
    ],
)
def test_wrong_manifests(tmp_path: Path, change: Any) -> None:
    folder = tmp_path / "d"
    write_dump(folder, rows(6, 2), shard_rows=3)
    outside = tmp_path / "out.safetensors"
    outside.write_bytes((folder / "phi-00000.safetensors").read_bytes())
    os.symlink(outside, folder / "link")
    os.mkfifo(folder / "pipe")
    table = json.loads((folder / "manifest.json").read_text())
    change(table)
    (folder / "manifest.json").write_text(json.dumps(table))
    with pytest.raises(DumpError, match=r"manifest|phi-|gone|pipe"):
        open_dump(folder)


def test_unknown_manifest_keys_are_kept(tmp_path: Path) -> None:
    write_dump(tmp_path / "d", rows(2, 2))
    path = tmp_path / "d" / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"preprocessing": {"centered": True}, "odd": [1]}))
    dump = open_dump(tmp_path / "d")
    assert dump.source["odd"] == [1] and dump.preprocessing == {"centered": True}


# Foreign files


def test_choosing_among_tensors(tmp_path: Path) -> None:
    file = tmp_path / "x.safetensors"
    tensors = {
        "phi_last_L2": rows(4, 3),
        "phi_mean_L2": rows(4, 3),
        "phi_mean_L12": rows(4, 5),
        "other": rows(4, 2),
        "prompt_id": np.array([1, 1, 2, 2], np.int32),
        "raw": rows(4, 3, np.float64),
        "pair_a": np.zeros(9, np.int32),
    }
    safetensors.numpy.save_file(tensors, file, metadata={"policy": "off_policy", "model": "m"})
    with pytest.raises(DumpError, match=r"phi_last_L2.*phi_mean_L2.*tensor="):
        open_dump(file, layer=2)
    dump = open_dump(str(file), tensor="phi_mean_L2")
    assert dump.policy == "off_policy" and dump.layers == [2, 12] and dump.n_prompts == 2
    assert set(dump.extras) == {"phi_last_L2", "phi_mean_L12", "other", "raw", "pair_a"} and set(dump.columns) == {
        "prompt_id"
    }
    assert open_dump(file, layer=12).dim == 5 and open_dump(file, tensor="other").dim == 2
    for kw in ({"layer": 3}, {"tensor": "prompt_id"}, {"tensor": "phi_mean_L2", "layer": 12}):
        with pytest.raises(DumpError, match="there are"):
            open_dump(file, **kw)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="'pair_a' is a tensor that does not"):
        dump.column("pair_a")
    assert set(dump.select(prompts=[2]).extras) == {"phi_last_L2", "phi_mean_L12", "other", "raw"}


def test_folder_of_arrays_and_index(tmp_path: Path) -> None:
    phi = rows(5, 3, np.float16)
    np.save(tmp_path / "phi.npy", phi)
    np.save(tmp_path / "value_x.npy", np.arange(5))
    np.save(tmp_path / "prompt_id.npy", np.array(list("aabbb")))
    dump = open_dump(tmp_path)
    assert dump.n_prompts == 2 and dump.column("x").tolist() == [0, 1, 2, 3, 4] and stored(dump) == bits(phi)
    assert open_dump(tmp_path / "phi.npy").fingerprint() == open_dump(phi).fingerprint()
    index = tmp_path / "i"
    index.mkdir()
    safetensors.numpy.save_file({"phi": phi}, index / "a.safetensors")
    safetensors.numpy.save_file({"prompt_id": np.arange(5)}, index / "b.safetensors")
    table = {"weight_map": {"phi": "a.safetensors", "prompt_id": "b.safetensors"}}
    (index / "model.safetensors.index.json").write_text(json.dumps(table))
    assert open_dump(index).n_prompts == 5
    table["weight_map"].pop("prompt_id")
    table["weight_map"]["ghost"] = "b.safetensors"
    (index / "model.safetensors.index.json").write_text(json.dumps(table))
    with pytest.raises(DumpError, match="ghost"):
        open_dump(index)


@pytest.mark.parametrize("order", ["fortran", "big"])
def test_fortran_and_big_endian_files_are_right_and_announced(tmp_path: Path, order: str) -> None:
    phi = rows(7, 3)
    np.save(tmp_path / "phi.npy", np.asfortranarray(phi) if order == "fortran" else phi.astype(">f4"))
    with pytest.warns(UserWarning, match="84 bytes"):
        dump = open_dump(tmp_path / "phi.npy")
    np.testing.assert_array_equal(dump.read(0, 7), phi)


BAD_SAFETENSORS = {
    "empty": b"",
    "seven": b"1234567",
    "length 0": container(b""),
    "length max": container(b"{}", length=2**64 - 1),
    "length long": container(b"{}", length=3),
    "not object": container(b"[]"),
    "space first": container(b" {}"),
    "truncated": container({"phi": entry()}, b"1234567"),
    "leftover": container({"phi": entry()}, b"123456789"),
    "overlap": container({"a": entry(), "b": entry(offsets=(4, 12))}, bytes(12)),
    "hole": container({"a": entry(), "b": entry(offsets=(12, 20))}, bytes(20)),
    "same": container({"a": entry(), "b": entry()}, bytes(8)),
    "wrap": container({"phi": entry(shape=(2**62, 4), offsets=(0, 0))}),
    "wrap zero": container({"phi": entry(shape=(2**62, 4, 0), offsets=(0, 0))}),
    "4 TiB": container({"phi": entry(shape=(2**20, 2**20), offsets=(0, 2**42))}, bytes(8)),
    "dtype": container({"phi": entry("F33")}, bytes(8)),
    "dtype kind": container({"phi": entry(3)}, bytes(8)),
    "dtype lie": container({"phi": entry("F64")}, bytes(8)),
    "negative": container({"phi": entry(shape=(-1, -2))}, bytes(8)),
    "float shape": container({"phi": entry(shape=(1.0, 2))}, bytes(8)),
    "bool shape": container({"phi": entry(shape=(True, 2))}, bytes(8)),
    "backwards": container({"phi": entry(offsets=(8, 0))}, bytes(8)),
    "three offsets": container({"phi": entry(offsets=(0, 8, 8))}, bytes(8)),
    "extra key": container({"phi": entry(x=1)}, bytes(8)),
    "no dtype": container({"phi": {"shape": [], "data_offsets": [0, 4]}}, bytes(4)),
    "entry list": container({"phi": []}),
    "metadata": container({"__metadata__": {"a": 1}}),
    "duplicate": container(b'{"phi":%s,"phi":%s}' % ((json.dumps(entry()).encode(),) * 2), bytes(8)),
    "duplicate key": container(b'{"phi":{"dtype":"F32","dtype":"F32","shape":[1,2],"data_offsets":[0,8]}}', bytes(8)),
    "deep": container(b'{"a":' + b"[" * 100000 + b"]" * 100000 + b"}"),
    "utf8": container(b'{"\xff":1}'),
    "surrogate": container(b'{"\\ud800":%s}' % json.dumps(entry()).encode(), bytes(8)),
    "nan": container(b'{"a":NaN}'),
    "digits": container(b'{"phi":{"dtype":"F32","shape":[%s],"data_offsets":[0,8]}}' % (b"9" * 5000), bytes(8)),
    "garbage": b"\x93NUMPY\x01\x00" + bytes(200),
    "json trail": container(b"{}{}"),
    "no tensor": container(b"{}"),
    "width 0": container({"phi": entry(shape=(2**40, 0), offsets=(0, 0))}),
    "3-D": container({"phi": entry(shape=(1, 1, 2))}, bytes(8)),
}


@pytest.mark.parametrize("kind", BAD_SAFETENSORS)
def test_malformed_safetensors(tmp_path: Path, kind: str) -> None:
    (tmp_path / "bad.safetensors").write_bytes(BAD_SAFETENSORS[kind])
    with pytest.raises(DumpError, match=r"bad\.safetensors") as caught:
        open_dump(tmp_path / "bad.safetensors")
    if kind not in ("no tensor", "width 0", "3-D"):
        assert ", byte " in str(caught.value)


def npy(header: str, data: bytes = b"", version: tuple[int, int] = (1, 0)) -> bytes:
    raw = header.encode("latin-1")
    size = len(raw).to_bytes(2 if version[0] == 1 else 4, "little")
    return b"\x93NUMPY" + bytes(version) + size + raw + data


GOOD = "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 2), }\n"
BAD_NPY = {
    "empty": b"",
    "magic": b"\x93NUMPX" + bytes(60),
    "short": b"\x93NUMPY\x01\x00",
    "version": npy(GOOD, bytes(8), (4, 0)),
    "truncated": npy(GOOD, bytes(7)),
    "leftover": npy(GOOD, bytes(9)),
    "two arrays": npy(GOOD, bytes(8)) * 2,
    "header long": npy(GOOD, b"")[:40],
    "object": npy(GOOD.replace("<f4", "|O"), bytes(8)),
    "void": npy(GOOD.replace("<f4", "|V2"), bytes(4)),
    "structured": npy(GOOD.replace("'<f4'", "[('a', '<f4')]"), bytes(8)),
    "code": npy("__import__('os').system('true')"),
    "call": npy(GOOD.replace("(1, 2)", "tuple()"), bytes(8)),
    "negative": npy(GOOD.replace("1, 2", "-1, -2"), bytes(8)),
    "wrap": npy(GOOD.replace("1, 2", "4611686018427387904, 4"), b""),
    "huge": npy(GOOD.replace("1, 2", "9" * 4000), b""),
    "float": npy(GOOD.replace("1, 2", "1.0, 2"), bytes(8)),
    "bool": npy(GOOD.replace("False", "0"), bytes(8)),
    "duplicate": npy(GOOD.replace("{", "{'descr': '<f4', "), bytes(8)),
    "missing": npy("{'descr': '<f4', 'shape': (1, 2)}", bytes(8)),
    "unknown": npy(GOOD.replace("{", "{'x': '<f4', "), bytes(8)),
    "trail": npy(GOOD + "x", bytes(8)),
    "no comma": npy(GOOD.replace("1, 2", "2"), bytes(8)),
    "escape": npy(GOOD.replace("<f4", "\\x3cf4"), bytes(8)),
    "parens": npy("(" * 60000, b""),
    "int": npy(GOOD.replace("<f4", "<i4"), bytes(8)),
    "no order": npy(GOOD.replace("<f4", "|f4"), bytes(8)),
    "width 0": npy(GOOD.replace("1, 2", "1099511627776, 0"), b""),
    "3-D": npy(GOOD.replace("1, 2", "1, 1, 2"), bytes(8)),
    "complex": npy(GOOD.replace("<f4", "<c8"), bytes(8 * 2)),
    "utf8": b"\x93NUMPY\x03\x00\x04\x00\x00\x00\xff\xff\xff\xff",
    "4 TiB": npy(GOOD.replace("1, 2", "1048576, 1048576"), b""),
}


@pytest.mark.parametrize("kind", BAD_NPY)
def test_malformed_npy(tmp_path: Path, kind: str) -> None:
    (tmp_path / "bad.npy").write_bytes(BAD_NPY[kind])
    with pytest.raises(DumpError, match=r"bad\.npy"):
        open_dump(tmp_path / "bad.npy")


@pytest.mark.parametrize("name", ["x.safetensors", "x.npy", "x.txt", "x.pt", "x.npz"])
def test_what_is_no_plain_file_is_refused_without_hanging(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    for make in (
        lambda: None,
        lambda: os.mkfifo(path),
        lambda: os.symlink(name, path),
        lambda: os.symlink("/dev/zero", path),
    ):
        make()
        with pytest.raises(DumpError):
            open_dump(path)
        if os.path.lexists(path):
            os.unlink(path)
    path.mkdir()
    with pytest.raises(DumpError):
        open_dump(path)
    with pytest.raises(DumpError):
        open_dump(str(tmp_path / "a\0b.npy"))


def test_a_file_that_changes_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "x.safetensors"
    safetensors.numpy.save_file({"phi": rows(4, 3), "value_x": np.ones(4)}, file)
    dump = open_dump(file)
    dump.read(0, 4)
    os.replace(_copy(file, tmp_path / "y"), file)
    with pytest.raises(DumpChangedError):
        dump.read(0, 4)
    with pytest.raises(DumpChangedError):
        dump.column("x")


def test_a_file_replaced_in_the_middle_of_a_report_is_an_error_and_no_missing_section(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, gather, file = rows(60, 3), build.gather, tmp_path / "x.safetensors"
    safetensors.numpy.save_file({"phi": x, "value_x": x[:, 0].copy(), "prompt_id": np.arange(60) // 6}, file)

    def gather_and_replace(*args: Any, **kw: Any) -> Any:
        found = gather(*args, **kw)
        os.replace(_copy(file, tmp_path / "y"), file)
        return found

    dump = open_dump(file)
    assert cm.report(dump, constitutions=[[1.0, 0.0, 0.0]], values=["x"], kl=[0.1]).cone is not None
    monkeypatch.setattr(build, "gather", gather_and_replace)
    with pytest.raises(DumpChangedError):
        cm.report(dump, constitutions=[[1.0, 0.0, 0.0]], values=["x"], kl=[0.1])


def _copy(source: Path, target: Path) -> Path:
    target.write_bytes(source.read_bytes())
    return target


def test_messages_show_no_control_characters(tmp_path: Path) -> None:
    name = "phi\n\x1b[31m\u202e"
    safetensors.numpy.save_file({name: rows(2, 2), "phi2": rows(2, 2)}, tmp_path / "x.safetensors")
    with pytest.raises(DumpError) as caught:
        open_dump(tmp_path / "x.safetensors")
    assert str(caught.value).isprintable()


def test_a_large_sparse_file_opens_at_once(tmp_path: Path) -> None:
    header = container({"phi": entry("F16", (2**31 + 5, 2), (0, 4 * (2**31 + 5)))})
    with open(tmp_path / "big.safetensors", "wb") as out:
        out.write(header)
        out.truncate(len(header) + 4 * (2**31 + 5))
    dump = open_dump(tmp_path / "big.safetensors")
    assert dump.n_rows == 2**31 + 5 and dump.read(2**31 + 4, 2**31 + 5).tolist() == [[0.0, 0.0]]


@given(data=st.data())
@settings(max_examples=300, deadline=None)
def test_mutated_headers_agree_with_the_library_or_are_refused(data: st.DataObject, tmp_path_factory: Any) -> None:
    base = safetensors.numpy.save({"phi": rows(2, 3), "value_x": np.ones(2, np.float32)})
    raw = bytearray(base)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(raw) - 1))
        raw[at] = data.draw(st.sampled_from(list(b'0123456789[]{}",:FU ')) | st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "mutant.safetensors"
    path.write_bytes(raw)
    try:
        parts, _ = read_header(PlainFile(path))
    except DumpError:
        return
    theirs = safetensors.deserialize(bytes(raw))
    assert {n: tuple(t["shape"]) for n, t in theirs} == {n: p.shape for n, p in parts.items()}
    for name, tensor in theirs:
        assert PlainFile(path).read(parts[name].offset, len(tensor["data"])) == bytes(tensor["data"])


@given(data=st.data())
@settings(max_examples=300, deadline=None)
def test_mutated_npy_is_read_as_numpy_does_or_refused(data: st.DataObject, tmp_path_factory: Any) -> None:
    buffer = io.BytesIO()
    np.save(buffer, rows(2, 3))
    raw = bytearray(buffer.getvalue())
    for _ in range(data.draw(st.integers(1, 2))):
        at = data.draw(st.integers(0, 80))
        raw[at] = data.draw(st.sampled_from(list(b"0123456789(){}',:<>|fiu ")) | st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "mutant.npy"
    path.write_bytes(raw)
    try:
        got = read_npy(PlainFile(path)).read()
    except DumpError:
        return
    want = np.load(path)
    np.testing.assert_array_equal(got, want)
    assert got.dtype == want.dtype.newbyteorder("=")


def test_a_file_that_shrinks_under_a_compiled_map_is_an_error_not_a_death(tmp_path: Path) -> None:
    pytest.importorskip("clinometer._core")
    file = tmp_path / "x.safetensors"
    safetensors.numpy.save_file({"phi": rows(4096, 64)}, file)
    dump = open_dump(file)
    os.truncate(file, 4096)
    with pytest.raises(DumpChangedError):
        dump.read(0, 4096)


def test_without_the_compiled_module_files_are_mapped_by_numpy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "clinometer._core", None)
    phi = rows(5, 3, BF16)
    write_dump(tmp_path / "d", phi, shard_rows=2)
    dump = open_dump(tmp_path / "d")
    assert stored(dump) == bits(phi)
    write_dump(tmp_path / "d", phi)
    with pytest.raises(DumpChangedError):
        dump.read(0, 5)
