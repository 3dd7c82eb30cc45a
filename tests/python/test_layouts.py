"""What people have on their disks: every layout gives the rows that were meant, or an error that says what to do."""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import struct
import uuid
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

import clinometer as cm
from clinometer.dump import open_dump, write_dump
from clinometer.dump.converting import convert_dump
from clinometer.errors import DumpError

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")
pytestmark = pytest.mark.filterwarnings("error")

N, D = 24, 5
IDS = [f"p{k // 4}" for k in range(N)]


def rows(n: int = N, d: int = D, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)


def lists(phi: np.ndarray) -> Any:
    return pa.FixedSizeListArray.from_arrays(pa.array(phi.reshape(-1)), phi.shape[1])


def put_arrow(path: Path, table: Any) -> Path:
    with pa.OSFile(str(path), "wb") as out, pa.ipc.new_file(out, table.schema) as writer:
        writer.write_table(table)
    return path


def put_stream(path: Path, table: Any) -> Path:
    with pa.OSFile(str(path), "wb") as out, pa.ipc.new_stream(out, table.schema) as writer:
        writer.write_table(table, 7)
    return path


def put_parquet(path: Path, table: Any) -> Path:
    pq.write_table(table, path)
    return path


PUT: dict[str, Callable[[Path, Any], Path]] = {"arrow": put_arrow, "stream.arrow": put_stream, "parquet": put_parquet}

# Types of a column


def coded(values: list[Any], kind: Any) -> Any:
    words = sorted(set(values))
    return pa.DictionaryArray.from_arrays(pa.array([words.index(v) for v in values]), pa.array(words, kind))


def runs(values: list[Any], kind: Any) -> Any:
    ends = [k + 1 for k in range(len(values)) if k + 1 == len(values) or values[k + 1] != values[k]]
    return pa.RunEndEncodedArray.from_arrays(pa.array(ends, pa.int32()), pa.array([values[e - 1] for e in ends], kind))


NUMBERS = [7 * (k // 4) for k in range(N)]
UUIDS = [uuid.UUID(int=k // 4 + 2**127) for k in range(N)]
RAW = pa.array([u.bytes for u in UUIDS], pa.binary(16))
ID_TYPES: dict[str, tuple[Any, list[Any]]] = {
    **{str(t): (pa.array(IDS, t), IDS) for t in (pa.string(), pa.large_string(), pa.string_view())},
    **{f"coded {t}": (coded(IDS, t), IDS) for t in (pa.string(), pa.large_string(), pa.string_view())},
    **{str(t): (pa.array([x.encode() for x in IDS], t), IDS)
       for t in (pa.binary(), pa.large_binary(), pa.binary_view())},
    "binary of two bytes": (pa.array([x.encode() for x in IDS], pa.binary(2)), IDS),
    "runs of strings": (runs(IDS, pa.string()), IDS), "runs of numbers": (runs(NUMBERS, pa.int64()), NUMBERS),
    "coded numbers": (coded(NUMBERS, pa.int16()), NUMBERS),
    "uuid": (pa.ExtensionArray.from_storage(pa.uuid(), RAW), [str(u) for u in UUIDS]),
    **{f"decimal {p}": (pa.array([Decimal(k) for k in NUMBERS], pa.decimal128(p, 0)), NUMBERS) for p in (4, 18, 38)},
    "decimal256": (pa.array([Decimal(10**17 + k) for k in NUMBERS], pa.decimal256(60, 0)),
                   [10**17 + k for k in NUMBERS]),
    "decimal with a fraction": (pa.array([Decimal(k) for k in NUMBERS], pa.decimal128(9, 2)), NUMBERS),
    "uint64": (pa.array([2**63 + k for k in NUMBERS], pa.uint64()), [2**63 + k for k in NUMBERS]),
}  # fmt: skip
NO_IDS: dict[str, tuple[Any, str]] = {
    "bytes": (pa.array([bytes([255, k // 4]) for k in range(N)], pa.binary()), "binary"),
    "raw uuid": (RAW, "fixed_size_binary"),
    "time": (pa.array(NUMBERS, pa.timestamp("s")), "timestamp"), "date": (pa.array(NUMBERS, pa.date32()), "date32"),
    "lists": (pa.array([[k] for k in NUMBERS]), "list"), "struct": (pa.array([{"a": k} for k in NUMBERS]), "struct"),
    "nothing": (pa.nulls(N), "null"), "a null": (pa.array([None, *IDS[1:]]), "null"),
    "a null number": (pa.array([None, *NUMBERS[1:]]), "null"), "halves": (pa.array([k + 0.5 for k in NUMBERS]), "0.5"),
    "a null of a dictionary": (
        pa.DictionaryArray.from_arrays(pa.array([0, 1] * (N // 2)), pa.array(["a", None])), "null"),
    "a null of runs": (runs([None, *IDS[1:]], pa.string()), "null"),
    "wide": (pa.array([Decimal(10**30)] * N, pa.decimal128(38, 0)), "decimal"),
}  # fmt: skip


@pytest.mark.parametrize("kind", PUT)
@pytest.mark.parametrize("name", ID_TYPES)
def test_prompt_ids_of_any_type_are_read(tmp_path: Path, kind: str, name: str) -> None:
    column, want = ID_TYPES[name]
    if kind == "parquet" and (name.startswith("runs") or name == "coded string_view"):
        pytest.skip("pyarrow does not write it to Parquet")
    dump = open_dump(PUT[kind](tmp_path / f"x.{kind}", pa.table({"phi": lists(rows()), "prompt_id": column})))
    assert dump.prompt_ids is not None and dump.prompt_ids.tolist() == want and not dump.left_out


@pytest.mark.parametrize("kind", PUT)
@pytest.mark.parametrize("name", NO_IDS)
def test_prompt_ids_that_cannot_be_read_are_an_error(tmp_path: Path, kind: str, name: str) -> None:
    column, says = NO_IDS[name]
    if kind == "parquet" and name in ("a null of runs", "a null of a dictionary"):
        pytest.skip("pyarrow does not write it to Parquet")
    path = PUT[kind](tmp_path / f"x.{kind}", pa.table({"phi": lists(rows()), "prompt_id": column}))
    with pytest.raises(DumpError, match="prompt_id") as caught:
        open_dump(path)
    assert says in str(caught.value)
    assert open_dump(path, prompt_ids=IDS).n_prompts == N // 4


VALUE_TYPES = {
    "decimal": (pa.array([Decimal(k) / 4 for k in range(N)], pa.decimal128(9, 2)), [k / 4 for k in range(N)]),
    "decimal256": (pa.array([Decimal(k) / 4 for k in range(N)], pa.decimal256(50, 3)), [k / 4 for k in range(N)]),
    "wide whole": (pa.array([Decimal(10**25)] * N, pa.decimal128(38, 0)), [1e25] * N),
    "gaps": (pa.array([None, *range(1, N)], pa.int64()), [np.nan, *range(1, N)]),
    "gaps in booleans": (pa.array([None, *[True] * (N - 1)]), [np.nan, *[1.0] * (N - 1)]),
    "gaps in decimals": (pa.array([None, *[Decimal(1)] * (N - 1)], pa.decimal128(3, 1)), [np.nan, *[1.0] * (N - 1)]),
    "coded": (coded([k % 3 for k in range(N)], pa.int8()), [k % 3 for k in range(N)]),
    "nothing": (pa.nulls(N), [np.nan] * N),
}  # fmt: skip


@pytest.mark.parametrize("kind", PUT)
@pytest.mark.parametrize("name", VALUE_TYPES)
def test_values_of_any_type_are_numbers(tmp_path: Path, kind: str, name: str) -> None:
    column, want = VALUE_TYPES[name]
    table = pa.table({"phi": lists(rows()), "prompt_id": IDS, "judge/kind": column})
    got = open_dump(PUT[kind](tmp_path / f"x.{kind}", table)).column("judge/kind")
    np.testing.assert_array_equal(got.astype(float), want)


def test_what_is_left_out_is_named_where_it_is_missed(tmp_path: Path) -> None:
    when = pa.array(range(N), pa.timestamp("s"))
    table = pa.table({"phi": lists(rows()), "prompt_id": IDS, "when": when, "chat": [[{"role": "user"}]] * N})
    path = put_parquet(tmp_path / "x.parquet", table)
    with pytest.raises(ValueError, match=r"no column 'when'.*'when' has the type timestamp.*'chat' has the type"):
        cm.tilt(path, ["when"], [1.0], ["when"])
    assert set(convert_dump(path, tmp_path / "d").left_out) == {"when", "chat"}
    wide = pa.table({"phi": lists(rows()), "prompt_id": IDS, "n": pa.array([None, 2**53 + 1] * (N // 2))})
    with pytest.raises(DumpError, match="nulls beside integers"):
        open_dump(put_parquet(tmp_path / "w.parquet", wide)).column("n")


# Shards in order

PATTERNS = ("part.{}", "{}", "data_{}", "rank{}", "b{}c", "part-{}-of-12", "x_{:03d}", "2026-11-{}")


def shard_folder(folder: Path, pattern: str, suffix: str, phi: np.ndarray) -> Path:
    folder.mkdir()
    for k, piece in enumerate(np.array_split(phi, 12)):
        path = folder / f"{pattern.format(k)}{suffix}"
        if suffix == ".npy":
            np.save(path, piece)
        elif suffix == ".safetensors":
            safetensors.numpy.save_file({"phi": piece}, path)
        else:
            PUT[suffix[1:]](path, pa.table({"phi": lists(piece)}))
    return folder


@pytest.mark.parametrize("suffix", [".parquet", ".arrow", ".npy", ".safetensors"])
@pytest.mark.parametrize("pattern", PATTERNS)
def test_shards_come_in_the_order_of_their_numbers(tmp_path: Path, pattern: str, suffix: str) -> None:
    phi = rows(12 * 3)
    folder = shard_folder(tmp_path / "d", pattern, suffix, phi)
    try:
        dump = open_dump(folder, prompt_ids=np.arange(36) // 3)
    except DumpError as error:  # of these, numbers may as well be layers
        assert suffix in (".npy", ".safetensors") and "part-0" in str(error)
        assert "part" not in pattern and "rank" not in pattern
        return
    np.testing.assert_array_equal(dump.read(0, 36), phi)


def test_shards_of_arrays_have_their_columns_beside_them(tmp_path: Path) -> None:
    phi, ids = rows(36), np.arange(36) // 3
    for k, at in enumerate(range(0, 36, 3)):
        np.save(tmp_path / f"phi_shard{k}.npy", phi[at : at + 3])
        np.save(tmp_path / f"prompt_id_shard{k}.npy", ids[at : at + 3])
    dump = open_dump(tmp_path, prompt_ids="prompt_id_shard")
    assert dump.tensor == "phi_shard" and dump.n_prompts == 12
    np.testing.assert_array_equal(dump.read(0, 36), phi)
    np.save(tmp_path / "phi_shard12.npy", phi[:3, :2])
    with pytest.raises(DumpError, match="one width"):
        open_dump(tmp_path)


def test_shards_of_safetensors_hold_the_same_tensors(tmp_path: Path) -> None:
    phi, ids = rows(36), np.arange(36) // 3
    for k, at in enumerate(range(0, 36, 3)):
        held = {"acts": phi[at : at + 3], "prompt_id": ids[at : at + 3]}
        safetensors.numpy.save_file(held, tmp_path / f"chunk{k}.safetensors", {"model": "m", "k": str(k)})
    dump = open_dump(tmp_path)
    assert dump.n_prompts == 12 and dump.source == {"model": "m"}
    np.testing.assert_array_equal(dump.read(0, 36), phi)
    safetensors.numpy.save_file({"acts": phi[:3]}, tmp_path / "chunk12.safetensors")
    with pytest.raises(DumpError, match="not in every shard"):
        open_dump(tmp_path)


@pytest.mark.parametrize("suffix", [".npy", ".safetensors", ".parquet", ".arrow"])
@pytest.mark.parametrize("pattern", ["layer_{:04d}", "model.layers.{}", "phi_L{}", "part-layer.{}"])
def test_files_of_layers_are_no_shards(tmp_path: Path, pattern: str, suffix: str) -> None:
    folder = shard_folder(tmp_path / "d", pattern, suffix, rows(36))
    with pytest.raises(DumpError, match=r"open one of them|choose with"):
        open_dump(folder)
    if suffix == ".npy":
        assert open_dump(folder, layer=11, prompt_ids=[0, 0, 1]).n_rows == 3


def test_requests_come_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for k in (10, 2, 1):
        held = {"hidden_states": np.full((3, 1, 2), k, np.float32), "token_ids": np.arange(3)}
        safetensors.numpy.save_file(held, tmp_path / f"cmpl-a-{k}.safetensors")
    dump = open_dump(tmp_path, pool="last", prompt_tokens={f"cmpl-a-{k}": 1 for k in (10, 2, 1)})
    assert dump.read(0, 3)[:, 0].tolist() == [1, 2, 10]


# Arrow files whose stream is not whole


def test_arrow_files_are_opened_by_their_footer(tmp_path: Path) -> None:
    table = pa.table({"phi": lists(rows()), "prompt_id": IDS})
    whole = put_arrow(tmp_path / "x.arrow", table).read_bytes()
    end = len(whole) - 10 - int.from_bytes(whole[-10:-6], "little")
    bare = {"schema": whole[:8] + bytes(8) + whole[16:], "end": whole[: end - 8] + whole[end:]}
    for name, data in bare.items():
        (tmp_path / f"{name}.arrow").write_bytes(data)
        dump = open_dump(tmp_path / f"{name}.arrow")
        assert dump.n_prompts == N // 4 and (dump.read(0, N) == rows()).all()
    # two batches, and a footer that lists the second alone: the first would be lost
    with pa.OSFile(str(tmp_path / "two.arrow"), "wb") as out, pa.ipc.new_file(out, table.schema) as writer:
        for batch in table.to_batches(12):
            writer.write_batch(batch)
    two = (tmp_path / "two.arrow").read_bytes()
    size = int.from_bytes(two[-10:-6], "little")
    at = len(two) - 10 - size
    first = two.index(b"\xff\xff\xff\xff", 16)
    place = two.index(struct.pack("<q", first), at)  # its block, which another is put in the place of
    second = struct.unpack_from("<q", two, place + 24)[0]
    assert first < second < at
    lost = two[: place - 4] + struct.pack("<i", 1) + two[place + 24 : place + 48] + two[place + 24 :]
    for data in (lost, lost[:8] + bytes(8) + lost[16:]):
        (tmp_path / "lost.arrow").write_bytes(data)
        with pytest.raises(DumpError, match=r"lost\.arrow"):
            open_dump(tmp_path / "lost.arrow")


def test_polars_files(tmp_path: Path) -> None:
    pl = pytest.importorskip("polars")
    frame = pl.DataFrame({"phi": pl.Series(rows().tolist(), dtype=pl.Array(pl.Float32, D)), "prompt_id": IDS})
    frame.write_ipc(tmp_path / "a.arrow")
    frame.write_ipc_stream(tmp_path / "b.arrow")
    frame.write_parquet(tmp_path / "c.parquet")
    for name in ("a.arrow", "b.arrow", "c.parquet"):
        dump = open_dump(tmp_path / name)
        assert dump.n_prompts == N // 4 and (dump.read(0, N) == rows()).all()


# Folders of other tools


def links(root: Path, store: str, snapshot: str) -> Path:
    """A dump whose files lie in a store, as links."""
    write_dump(root / "plain", {3: rows()}, prompt_ids=IDS, columns={"judge/kind": np.arange(float(N))})
    folder = root / snapshot
    folder.mkdir(parents=True)
    (root / store).mkdir(parents=True)
    for k, name in enumerate(sorted(os.listdir(root / "plain"))):
        os.rename(root / "plain" / name, root / store / f"{k:064x}")
        os.symlink(os.path.relpath(root / store / f"{k:064x}", folder), folder / name)
    return folder


STORES = [
    ("datasets--me--acts/blobs", "datasets--me--acts/snapshots/1f3c"),
    ("models--me--acts/blobs", "models--me--acts/snapshots/1f3c/dump"),
    ("repo/.git/annex/objects/a/b", "repo/dump"), ("repo/.dvc/cache/files/md5/12", "repo/data/dump"),
]  # fmt: skip


@pytest.mark.parametrize(("store", "snapshot"), STORES)
def test_links_into_the_store_of_one_repository_are_followed(tmp_path: Path, store: str, snapshot: str) -> None:
    folder = links(tmp_path, store, snapshot)
    assert open_dump(folder).n_prompts == N // 4
    assert convert_dump(folder, tmp_path / "copy").n_rows == N
    elsewhere = tmp_path / "other" / "blobs"
    elsewhere.mkdir(parents=True)
    for name in os.listdir(folder):
        target = os.path.realpath(folder / name)
        os.rename(target, elsewhere / name)
        os.unlink(folder / name)
        os.symlink(elsewhere / name, folder / name)
    with pytest.raises(DumpError, match=r"link out of.*cp -rL"):
        open_dump(folder)


def test_derived_files_are_not_shards(tmp_path: Path) -> None:
    table = pa.table({"phi": lists(rows()), "prompt_id": IDS})
    put_stream(tmp_path / "generator-train.arrow", table)
    put_stream(tmp_path / "cache-0f1e2d3c4b5a6978.arrow", table)
    put_stream(tmp_path / "cache-0f1e2d3c4b5a6978_00000_of_00002.arrow", table)
    dump = open_dump(tmp_path)
    assert dump.n_rows == N and len(dump.source["files_left_out"]) == 2
    assert "cache-0f1e2d3c4b5a6978.arrow" in convert_dump(tmp_path, tmp_path / "d").left_out
    os.unlink(tmp_path / "generator-train.arrow")
    put_stream(tmp_path / "cache-aaaa.arrow", table)
    with pytest.raises(DumpError, match="several computations"):
        open_dump(tmp_path)
    put_stream(tmp_path / "generator-train.arrow", table)
    put_stream(tmp_path / "generator-test.arrow", table)
    with pytest.raises(DumpError, match="splits test, train"):
        open_dump(tmp_path)


@pytest.mark.parametrize("mark", ["_delta_log", ".hoodie", "metadata", "_versions"])
def test_tables_with_a_log_are_refused(tmp_path: Path, mark: str) -> None:
    (tmp_path / mark).mkdir()
    (tmp_path / mark / "v1.metadata.json").write_text("{}")
    inner = tmp_path / "data" / "day=1"
    inner.mkdir(parents=True)
    for folder in (tmp_path, inner):
        put_parquet(folder / "part-0.parquet", pa.table({"phi": lists(rows())}))
        with pytest.raises(DumpError, match=mark.replace(".", r"\.")):
            open_dump(folder)


@pytest.mark.parametrize("suffix", [".npy", ".safetensors", ".parquet", ".arrow"])
def test_hidden_files_beside_the_data_are_none_of_it(tmp_path: Path, suffix: str) -> None:
    folder = tmp_path / "d"
    shard_folder(folder, "part-{}", suffix, rows(36))
    for name in list(os.listdir(folder)):
        (folder / f"._{name}").write_bytes(b"\0\5\x16\7\0\2\0\0Mac OS X        " + bytes(64))
        (folder / f".{name}.crc").write_bytes(b"crc")
    (folder / "_metadata").write_bytes(b"PAR1")
    (folder / "_SUCCESS").touch()
    np.testing.assert_array_equal(open_dump(folder, prompt_ids=np.arange(36)).read(0, 36), rows(36))


@pytest.mark.parametrize(
    "copy",
    ["part-1 (1)", "part-1(2)", "part-1 copy", "part-1 copy 2", "part-1 - Copy (3)", "part-1 (copy)", "Copy of part-1"],
)
@pytest.mark.parametrize("suffix", [".parquet", ".arrow", ".npy", ".safetensors"])
def test_a_copy_of_a_shard_does_not_count_twice(tmp_path: Path, copy: str, suffix: str) -> None:
    phi = rows()
    put = {
        ".parquet": lambda path, x: pq.write_table(pa.table({"phi": lists(x)}), path),
        ".arrow": lambda path, x: put_arrow(path, pa.table({"phi": lists(x)})),
        ".npy": np.save,
        ".safetensors": lambda path, x: safetensors.numpy.save_file({"phi": x}, path),
    }[suffix]
    for k, piece in enumerate((phi[:16], phi[16:])):
        put(tmp_path / f"part-{k}{suffix}", piece)
    assert np.array_equal(open_dump(tmp_path).read(0, N), phi)
    shutil.copy(tmp_path / f"part-1{suffix}", tmp_path / f"{copy}{suffix}")
    with pytest.raises(DumpError, match=f"{re.escape(copy + suffix)}' has the name of a copy of 'part-1{suffix}'"):
        open_dump(tmp_path)


def test_shards_that_were_all_downloaded_a_second_time_are_read(tmp_path: Path) -> None:
    phi = rows()
    for k, piece in enumerate((phi[:16], phi[16:])):
        pq.write_table(pa.table({"phi": lists(piece)}), tmp_path / f"part-{k} (1).parquet")
    assert np.array_equal(open_dump(tmp_path).read(0, N), phi)


def test_folders_of_folders_say_what_to_open(tmp_path: Path) -> None:
    (tmp_path / "layer=1").mkdir()
    with pytest.raises(DumpError, match=r"'layer=1'.*open one of them"):
        open_dump(tmp_path)
    for name in ("x.h5", "x.csv", "x.mat"):
        (tmp_path / name).write_bytes(b"x")
        with pytest.raises(DumpError, match="pass the array"):
            open_dump(tmp_path / name)


# Layers


@pytest.mark.parametrize("how", ["npy", "npz", "packed", "fortran", "swapped", "safetensors"])
def test_a_layer_of_stacked_states(tmp_path: Path, how: str) -> None:
    a = rows(N * 3).reshape(N, 3, D)
    path = tmp_path / f"a.{'npz' if how in ('npz', 'packed') else 'safetensors' if how == 'safetensors' else 'npy'}"
    if how == "safetensors":
        safetensors.numpy.save_file({"acts": a}, path)
    elif how in ("npz", "packed"):
        {"npz": np.savez, "packed": np.savez_compressed}[how](path, acts=a)
    else:
        np.save(path, {"fortran": np.asfortranarray(a), "swapped": a.astype(">f4")}.get(how, a))
    with pytest.raises(DumpError, match=r"layer=0 to 2.*numpy\.repeat\(range\(24\), 3\)"):
        open_dump(path)
    dump = open_dump(path, layer=1, prompt_ids=IDS)
    assert dump.layers == [0, 1, 2]
    np.testing.assert_array_equal(dump.read(0, N), a[:, 1])
    np.testing.assert_array_equal(dump.select(layer=2).read(3, 7), a[3:7, 2])
    u = np.eye(2, D)
    got = cm.score(dump, u)
    np.testing.assert_array_equal(got, cm.score(np.ascontiguousarray(a[:, 1]), u, prompt_ids=IDS))
    with pytest.raises(DumpError, match="no tensor of layer 3"):
        open_dump(path, layer=3)


NAMES = (
    "blocks.{}.hook_resid_post", "model.layers.{}", "transformer.h.{}", "gpt_neox.layers.{}.mlp",
    "encoder.layer.{}.output", "layer_{}", "layers.{}.input", "acts_L{}", "hidden_{}", "hidden_states.{}",
)  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_layers_in_the_names_of_modules(tmp_path: Path, name: str) -> None:
    held = {name.format(layer): rows(seed=layer) for layer in (2, 12)}
    np.savez(tmp_path / "x.npz", **held)
    safetensors.numpy.save_file(held, tmp_path / "x.safetensors")
    (tmp_path / "d").mkdir()
    for key, array in held.items():
        np.save(tmp_path / "d" / f"{key}.npy", array)
    for source in ("x.npz", "x.safetensors", "d"):
        dump = open_dump(tmp_path / source, layer=12, prompt_ids=IDS)
        assert dump.layers == [2, 12] and (dump.read(0, N) == rows(seed=12)).all()
        assert (dump.select(layer=2).read(0, N) == rows(seed=2)).all()


# Odd tensors beside rows


def put_safetensors(path: Path, tensors: dict[str, tuple[str, list[int], bytes]]) -> Path:
    table, data = {}, b""
    for name, (kind, shape, raw) in tensors.items():
        table[name] = {"dtype": kind, "shape": shape, "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    head = json.dumps(table).encode()
    path.write_bytes(struct.pack("<Q", len(head)) + head + data)
    return path


ODD = {"F8_E4M3": 1.0, "F8_E5M2": 1.0, "F8_E4M3FNUZ": 1.0, "U4": 0.5, "C64": 8.0, "NEW": 3.0}


@pytest.mark.parametrize(("kind", "shape"), list(itertools.product(ODD, ([N], [N, 4]))))
def test_tensors_of_odd_dtypes_beside_rows_are_named(tmp_path: Path, kind: str, shape: list[int]) -> None:
    raw = bytes(int(np.prod(shape) * ODD[kind]))
    path = put_safetensors(
        tmp_path / "x.safetensors", {"odd": (kind, shape, raw), "phi": ("F32", [N, D], rows().tobytes())}
    )
    dump = open_dump(path, prompt_ids=IDS)
    np.testing.assert_array_equal(dump.read(0, N), rows())
    assert kind in dump.left_out["odd"] and not dump.columns and not dump.extras
    assert convert_dump(path, tmp_path / "d", prompt_ids=IDS).left_out == ("odd",)
    path = put_safetensors(tmp_path / "y.safetensors", {"odd": (kind, shape, raw)})
    with pytest.raises(DumpError, match=kind):
        open_dump(path)


def test_members_of_odd_dtypes_in_archives(tmp_path: Path) -> None:
    odd = {"when": np.zeros(N, "M8[s]"), "span": np.zeros(N, "m8[s]"), "z": np.zeros(N, complex),
           "table": np.zeros(N, [("a", "f4")])}  # fmt: skip
    for name, array in odd.items():
        np.savez(tmp_path / "x.npz", phi=rows(), prompt_id=np.arange(N) // 4, **{name: array})
        try:
            dump = open_dump(tmp_path / "x.npz")
        except DumpError as error:
            assert name == "table" and "structured" in str(error)
            continue
        assert dump.n_prompts == N // 4 and set(dump.left_out) == {name}
        np.savez(tmp_path / "x.npz", phi=rows(), prompt_id=array)
        with pytest.raises(DumpError, match="'prompt_id' is not read"):
            open_dump(tmp_path / "x.npz")


@pytest.mark.parametrize("shape", [(N, 1), (N + 1,), (1, N)])
def test_prompt_ids_of_another_shape_are_an_error(tmp_path: Path, shape: tuple[int, ...]) -> None:
    held = {"phi": rows(), "prompt_id": np.zeros(shape, np.int64)}
    np.savez(tmp_path / "x.npz", **held)
    safetensors.numpy.save_file(held, tmp_path / "x.safetensors")
    for name in ("x.npz", "x.safetensors"):
        with pytest.raises(DumpError, match=r"'prompt_id' has shape"):
            open_dump(tmp_path / name)
        assert open_dump(tmp_path / name, prompt_ids=IDS).n_prompts == N // 4


def test_options_of_another_kind_of_source_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", rows())
    for option in ({"pool": "last"}, {"prompt_tokens": {0: 1}}, {"half_bits": "float16"}):
        with pytest.raises(DumpError, match="leave it out"):
            open_dump(tmp_path / "x.npy", **option)


# Strings


def test_texts_keep_halves_of_characters(tmp_path: Path) -> None:
    texts = [("hi", "fine"), {"prompt": "a\ud83d", "response": "\udc00 b", "note": "\ud800"}]
    write_dump(tmp_path / "d", rows(2), prompt_ids=[0, 0], texts=texts, columns={"judge/k": [0.0, 1.0]})
    with cm.DumpWriter(tmp_path / "w", dim=D, dtype="float32") as out:
        out.append(rows(2), [0, 0], texts=texts)
    for name in ("d", "w"):
        held = open_dump(tmp_path / name).texts
        assert held is not None and held[1] == texts[1]
    shown = str(cm.examples(open_dump(tmp_path / "d"), "judge/k", kl=0.1, n=1))
    assert shown.encode("utf-8")


HALF = "b\ud83d"
WRITTEN: dict[str, Callable[[Path], Any]] = {
    "prompt_ids": lambda p: write_dump(p, rows(2), prompt_ids=["a", HALF]),
    "who": lambda p: write_dump(p, rows(2), columns={"who": ["a", HALF]}),
    "name": lambda p: write_dump(p, rows(2), columns={HALF: [1.0, 2.0]}),
    "source": lambda p: write_dump(p, rows(2), source={"model": HALF}),
    "appended": lambda p: cm.DumpWriter(p, dim=D, dtype="float32").append(rows(2), ["a", HALF]),
}


@pytest.mark.parametrize("what", WRITTEN)
def test_what_could_not_be_read_again_is_not_written(tmp_path: Path, what: str) -> None:
    with pytest.raises(ValueError, match=r"half of a character|cannot be written"):
        WRITTEN[what](tmp_path / "d")
    assert not (tmp_path / "d" / "manifest.json").exists()


def test_long_prompts_as_ids_take_the_memory_of_their_text(tmp_path: Path) -> None:
    import tracemalloc

    n = 2000
    ids = [f"prompt {k // 4} " + "x" * 100 for k in range(n)]
    ids[4:8] = ["y" * 50_000] * 4
    path = put_parquet(
        tmp_path / "x.parquet", pa.table({"phi": lists(rows(n)), "prompt_id": ids, "value_x": np.arange(n)})
    )
    tracemalloc.start()
    dump = open_dump(path)
    gain = cm.tilt(dump, np.eye(1, D), [1.0], ["x"]).gain
    assert tracemalloc.get_traced_memory()[1] < 40 << 20  # of one width they are 400 MB
    tracemalloc.stop()
    want = cm.tilt(rows(n), np.eye(1, D), [1.0], np.arange(n) * 1.0, prompt_ids=np.arange(n) // 4).gain
    assert dump.n_prompts == n // 4
    np.testing.assert_array_equal(gain, want)
    write_dump(tmp_path / "d", rows(n), prompt_ids=ids)
    again = open_dump(tmp_path / "d")
    assert again.prompt_ids is not None and again.prompt_ids.tolist() == ids
    assert dump.select(prompts=["y" * 50_000]).n_rows == 4
    with pytest.raises(ValueError, match="as wide as the longest"):
        write_dump(tmp_path / "e", rows(n), columns={"who": ["z" * 3_000_000, *ids[1:]]})


def labelled(phi: np.ndarray, ids: Any, **more: Any) -> Any:
    return pa.table({"phi": lists(phi), "prompt_id": ids, **more})


def test_prompts_of_several_files_with_one_numbering_are_told(tmp_path: Path) -> None:
    phi, y = rows(), np.arange(N, dtype=float)
    ids = np.arange(N // 2) // 4
    for k, half in enumerate((slice(0, N // 2), slice(N // 2, N))):
        pq.write_table(labelled(phi[half], ids + 100), tmp_path / f"part-{k}.parquet")
    with pytest.warns(UserWarning, match="3 prompt ids of one file start again in another, first '100' at row"):
        cm.tilt(tmp_path, np.eye(D), kl=[0.1], values=y)
    with pytest.warns(UserWarning, match="start again"):
        cm.fit_value_direction(tmp_path, y, alpha=1.0, folds=2)
    pq.write_table(labelled(phi[N // 2 :], ids + 103), tmp_path / "part-1.parquet")
    cm.tilt(tmp_path, np.eye(D), kl=[0.1], values=y)


def test_a_response_that_is_there_twice_is_told() -> None:
    phi, ids, number = rows(), np.arange(N) // 4, np.arange(N) % 4
    dump = open_dump(phi, prompt_ids=ids, columns={"response_id": number})
    cm.tilt(dump, np.eye(D), kl=[0.1], values=np.arange(N))
    number[7] = number[5]
    dump = open_dump(phi, prompt_ids=ids, columns={"response_id": number})
    with pytest.warns(UserWarning, match="1 rows have the prompt_id and response_id of another row, first 5 and 7"):
        cm.tilt(dump, np.eye(D), kl=[0.1], values=np.arange(N))


def test_rounds_of_one_response_to_each_prompt_and_prompts_across_a_border_are_not_told(tmp_path: Path) -> None:
    phi, y = rows(), np.arange(N, dtype=float)
    for k in range(4):
        pq.write_table(labelled(phi[6 * k : 6 * k + 6], np.arange(6)), tmp_path / f"part-{k}.parquet")
    cm.tilt(tmp_path, np.eye(D), kl=[0.1], values=y)
    for k in range(4):
        pq.write_table(labelled(phi[6 * k : 6 * k + 6], IDS[6 * k : 6 * k + 6]), tmp_path / f"part-{k}.parquet")
    cm.tilt(tmp_path, np.eye(D), kl=[0.1], values=y)


def test_a_file_of_labels_of_other_prompts_is_refused(tmp_path: Path) -> None:
    write_dump(tmp_path / "dump", rows(), prompt_ids=np.arange(N) // 4)
    np.savez(tmp_path / "same.npz", prompt_id=np.arange(N) // 4, y=np.arange(N))
    np.savez(tmp_path / "other.npz", prompt_id=np.arange(N) // 4 + 1, y=np.arange(N))
    assert open_dump(tmp_path / "dump", columns=tmp_path / "same.npz").n_prompts == 6
    with pytest.raises(ValueError, match=f"columns: {N} rows have another prompt_id than the dump's, first row 0: '1'"):
        open_dump(tmp_path / "dump", columns=tmp_path / "other.npz")
    with pytest.raises(ValueError, match=r"columns: .* another prompt_id"):
        open_dump(tmp_path / "dump", columns=tmp_path / "other.npz", prompt_ids=np.arange(N) // 2)
    given = open_dump(tmp_path / "dump", columns=tmp_path / "same.npz", prompt_ids=np.arange(N) // 2)
    assert given.n_prompts == 12


@pytest.mark.parametrize("suffix", [".parquet", ".arrow", ".safetensors", ".npy"])
@pytest.mark.parametrize("first", [0, 1])
def test_shards_of_a_stated_number_are_all_there_or_refused(suffix: str, first: int, tmp_path: Path) -> None:
    folder = shard_folder(tmp_path / "x", "part-{:05d}-of-00012", suffix, rows())
    if first:
        for k in range(11, -1, -1):
            (folder / f"part-{k:05d}-of-00012{suffix}").rename(folder / f"part-{k + 1:05d}-of-00012{suffix}")
    assert open_dump(folder).n_rows == N
    (folder / f"part-{first + 4:05d}-of-00012{suffix}").unlink()
    with pytest.raises(DumpError, match=f"lacks number {first + 4} of its 12 shards"):
        open_dump(folder)


def test_data_of_another_kind_beside_the_rows_is_named(tmp_path: Path) -> None:
    np.save(tmp_path / "phi.npy", rows())
    np.savez(tmp_path / "labels.npz", y=np.arange(N))
    with pytest.warns(UserWarning, match=r"'labels.npz': beside .npy files and not read"):
        dump = open_dump(tmp_path)
    with pytest.raises(ValueError, match=r"left out: 'labels.npz' is beside .npy files"):
        dump.resolve_column("y")


def test_labels_by_prompt_and_response_are_not_taken_for_rows_of_three_axes(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", phi=rows().reshape(6, 4, -1), y=np.ones((6, 4), np.float32))
    with pytest.raises(DumpError, match=r"'phi' \(6, 4, .*reshape"):
        open_dump(tmp_path / "x.npz")
    assert open_dump(tmp_path / "x.npz", tensor="y").dim == 4


@pytest.mark.parametrize("suffix", [".parquet", ".arrow", ".safetensors", ".npy"])
@pytest.mark.parametrize(("gone", "told"), [((5,), "5"), ((1, 2), "1, 2"), ((), None), ((0,), None), ((11,), None)])
def test_a_number_left_out_of_shards_in_a_row_is_named(
    suffix: str, gone: tuple[int, ...], told: str | None, tmp_path: Path
) -> None:
    folder = shard_folder(tmp_path / "x", "part-{}", suffix, rows())
    for k in gone:
        (folder / f"part-{k}{suffix}").unlink()
    if told is None:
        assert open_dump(folder).n_rows == N - 2 * len(gone)
        return
    with pytest.warns(UserWarning, match=f"number {told} is not among {12 - len(gone)} shards numbered in a row"):
        assert open_dump(folder).n_rows == N - 2 * len(gone)


@pytest.mark.parametrize("numbers", [(100, 200, 300), (0, 2), (20240130, 20240131, 20240201), (8, 16, 24, 32), (1, 10)])
def test_steps_and_dates_are_not_taken_for_gaps(numbers: tuple[int, ...], tmp_path: Path) -> None:
    for k in numbers:
        np.save(tmp_path / f"shard-{k}.npy", rows())
    assert open_dump(tmp_path).n_rows == N * len(numbers)


@pytest.mark.parametrize("suffix", [".parquet", ".arrow", ".safetensors", ".npy"])
@pytest.mark.parametrize(
    "names", [("step-100", "step-200"), ("x-checkpoint_000100", "x-checkpoint_000200"), ("epoch1", "epoch2")]
)
def test_files_of_stages_of_training_are_no_shards(names: tuple[str, ...], suffix: str, tmp_path: Path) -> None:
    folder = shard_folder(tmp_path / "x", "part-{}", suffix, rows())
    for k in range(2, 12):
        (folder / f"part-{k}{suffix}").unlink()
    for k, name in enumerate(names):
        (folder / f"part-{k}{suffix}").rename(folder / f"{name}{suffix}")
    with pytest.raises(DumpError, match=r"stage of training|nothing that orders|tensor="):
        open_dump(folder)
    (folder / f"{names[1]}{suffix}").rename(folder / f"{names[0]}-part-1{suffix}")
    (folder / f"{names[0]}{suffix}").rename(folder / f"{names[0]}-part-0{suffix}")
    assert open_dump(folder).n_rows == 4


def test_the_index_that_pandas_writes_beside_rows_is_compared(tmp_path: Path) -> None:
    """A frame that was shuffled and written keeps its index in a column; labels in the order before do not fit."""
    pd = pytest.importorskip("pandas")
    phi, y = rows(), np.arange(N, dtype=float)
    frame = pd.DataFrame({"prompt_id": np.arange(N) // 4, "phi": list(phi), "judge": phi[:, 0]})
    moved = frame.sample(frac=1.0, random_state=0)
    moved.to_parquet(tmp_path / "x.parquet")
    want = cm.tilt(frame, "judge", [1.0], y).gain
    got = cm.tilt(tmp_path / "x.parquet", "judge", [1.0], pd.Series(y)[moved.index]).gain
    np.testing.assert_allclose(got, want, rtol=1e-5)
    with pytest.raises(ValueError, match="label in its index"):
        cm.tilt(tmp_path / "x.parquet", "judge", [1.0], pd.Series(y))


def test_a_table_of_labels_is_written_beside_its_own_responses_alone(tmp_path: Path) -> None:
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame({"prompt_id": np.arange(N) // 4, "response_id": np.arange(N) % 4, "phi": list(rows())})
    labels = frame.drop(columns="phi").assign(y=np.arange(N))
    cm.write_dump(tmp_path / "a", frame, columns=labels)
    assert np.array_equal(open_dump(tmp_path / "a").columns["y"], np.arange(N))
    for wrong in (labels.assign(response_id=3 - np.arange(N) % 4), labels.assign(prompt_id=np.arange(N)[::-1] // 4)):
        with pytest.raises(ValueError, match=r"response_id|prompt_id"):
            cm.write_dump(tmp_path / "b", frame, columns=wrong)


@pytest.mark.parametrize("name", ["x.csv", "x.jsonl", "x.parquet"])
def test_tables_in_place_of_archives_and_directions_are_told_what_to_do(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("prompt_id,y\n1,2\n" * 9)
    with pytest.raises(DumpError, match="read it and pass the frame"):
        open_dump(rows(), columns=tmp_path / name)
    with pytest.raises(DumpError, match="is a table and holds no directions"):
        cm.Directions.load(tmp_path / name)
