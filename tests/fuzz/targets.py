"""One target per format: seeds, a mutator, and a law. A DumpError is a refusal; anything else that is raised, and any
difference from the format's own library on an input that was accepted, is a finding."""

from __future__ import annotations

import io
import itertools
import json
import os
import random
import resource
import struct
import sys
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors
import safetensors.numpy

from clinometer.dump import open_dump, write_dump
from clinometer.dump.directions import Directions
from clinometer.errors import DumpError
from clinometer.files.plain import PlainFile
from clinometer.sources.gguf import read_gguf
from clinometer.sources.npy import read_npy
from clinometer.sources.npz import open_tensors
from clinometer.sources.safetensors import read_header

sys.path.insert(0, str(Path(__file__).parent))
import mutators
import states

try:
    import arrow_files
except ImportError:  # pyarrow is an extra
    arrow_files = None  # type: ignore[assignment]

SLOW = 0.25  # CPU seconds of one input, of at most a few KiB, that are a finding
GROWN = 256 << 20  # bytes by which one input may raise the memory of the process
PHI = np.arange(6, dtype=np.float32).reshape(2, 3)


class Finding(AssertionError):
    """The law of a format does not hold for an input."""


@dataclass(frozen=True)
class Target:
    """How one format is fuzzed; `law` raises DumpError to refuse, Finding where it is broken."""

    seeds: Callable[[Path], list[bytes]]
    mutate: mutators.Mutator
    law: Callable[[bytes, Path], None]


def run(name: str, data: bytes, folder: Path) -> bool:
    """Whether an input was accepted; raises Finding."""
    start, before = time.process_time(), most_memory()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            TARGETS[name].law(data, folder)
        accepted = True
    except DumpError as error:
        accepted = False
        if not str(error).isprintable():
            raise Finding(f"{name}: a refusal with control characters: {error!r}") from error
    except Finding:
        raise
    except Exception as error:
        raise Finding(f"{name}: {type(error).__name__}: {error}") from error
    took = time.process_time() - start
    if took > SLOW and len(data) < 1 << 16:
        raise Finding(f"{name}: {took:.2f} s for {len(data)} bytes")
    if (grown := most_memory() - before) > GROWN:
        raise Finding(f"{name}: {grown >> 20} MiB more for {len(data)} bytes")
    return accepted


def most_memory() -> int:
    """Bytes that the process had at most so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


def need(truth: bool, what: str) -> None:
    """A Finding unless it holds."""
    if not truth:
        raise Finding(what)


def same(a: np.ndarray, b: np.ndarray) -> bool:
    """Equal in shape, dtype and bits."""
    a, b = np.ascontiguousarray(a), np.ascontiguousarray(b)
    return a.shape == b.shape and a.dtype == b.dtype and a.tobytes() == b.tobytes()


def put(folder: Path, name: str, data: bytes) -> Path:
    """A file in the scratch folder, written over in place."""
    path = folder / name
    path.write_bytes(data)
    return path


def law_safetensors(data: bytes, folder: Path) -> None:
    file = PlainFile(put(folder, "x.safetensors", data))
    parts, metadata = read_header(file)
    theirs = dict(safetensors.deserialize(data))
    need(set(theirs) == set(parts), "other tensors than the library's")
    for name, part in parts.items():
        need(list(part.shape) == list(theirs[name]["shape"]), f"another shape of {name!r}")
        size = len(theirs[name]["data"])
        need(file.read(part.offset, size) == bytes(theirs[name]["data"]), f"other bytes of {name!r}")
    need(all(isinstance(v, str) for v in metadata.values()), "metadata that is not text")


def law_npy(data: bytes, folder: Path) -> None:
    got = read_npy(PlainFile(put(folder, "x.npy", data))).read()
    want = np.load(io.BytesIO(data), allow_pickle=False)
    need(same(got, want.astype(want.dtype.newbyteorder("="))), "other values than NumPy's")


def law_npz(data: bytes, folder: Path) -> None:
    tensors = open_tensors(PlainFile(put(folder, "x.npz", data)))
    values = {name: tensor.read() for name, tensor in tensors.items() if not tensor.text}
    need(data[-22:-18] == b"PK\x05\x06" and data[:2] == b"PK", "bytes before or after the archive")
    with np.load(io.BytesIO(data), allow_pickle=False) as theirs:
        need({n.removesuffix(".npy") for n in theirs.files} == set(values), "other members than NumPy's")
        for name, got in values.items():
            want = theirs[name]
            need(same(got, want.astype(want.dtype.newbyteorder("="))), f"other values of {name!r} than NumPy's")


def law_index(data: bytes, folder: Path) -> None:
    inner = folder / "index"
    if not inner.exists():
        inner.mkdir()
        safetensors.numpy.save_file({"phi": PHI}, inner / "a.safetensors")
        safetensors.numpy.save_file({"value_x": PHI[:, 0].copy()}, inner / "b.safetensors")
    put(inner, "m.safetensors.index.json", data)
    dump = open_dump(inner)
    named = json.loads(data)["weight_map"]
    need(set(named) == {"phi", *dump.columns}, "other tensors than the index names")
    need(same(dump.read(0, 2), PHI), "other values than the shard's")


def law_manifest(data: bytes, folder: Path) -> None:
    inner = folder / "dump"
    if not inner.exists():
        write_dump(inner, PHI, prompt_ids=[1, 1], columns={"value_x": [0.5, 1.5]}, shard_rows=1)
    put(inner, "manifest.json", data)
    dump = open_dump(inner)
    need(same(dump.read(0, dump.n_rows), PHI[: dump.n_rows]), "other values than the shards'")
    need(dump.n_rows == json.loads(data)["n_rows"], "other rows than are stated")
    for name in dump.columns:
        need(len(dump.columns[name]) == dump.n_rows, f"column {name!r} of another length")


def law_gguf(data: bytes, folder: Path) -> None:
    file = PlainFile(put(folder, "x.gguf", data))
    parts, keys = read_gguf(file)
    spans = sorted((p.offset, p.offset + p.nbytes) for p in parts.values())
    need(all(a[1] <= b[0] for a, b in itertools.pairwise(spans)), "tensors overlap")
    need(all(0 <= a <= b <= len(data) for a, b in spans), "a tensor lies outside the file")
    for part in parts.values():
        part.read()
    need(len(keys) == struct.unpack("<Q", data[16:24])[0], "keys were lost")
    Directions.load(file.path)


def law_steering(data: bytes, folder: Path) -> None:
    got = Directions.load(put(folder, "x.svec", data))
    table = json.loads(data)
    vectors = table.get("directions", table)
    need(len(got) == len(vectors), "directions were lost")
    for key, vector in vectors.items():
        layer = int("".join(c for c in key.rsplit("L", 1)[-1].rsplit(".", 1)[-1] if c.isdigit()))
        need(same(got.for_layer(layer).vectors[0], np.array(vector, np.float64)), f"other values of {key!r}")


def law_requests(data: bytes, folder: Path) -> None:
    inner = folder / "requests"
    inner.mkdir(exist_ok=True)
    put(inner, "hs_0.safetensors", data)
    dump = open_dump(inner, pool="last", prompt_tokens={0: 1}, layer=0)
    theirs = safetensors.numpy.load(data)["hidden_states"]
    need(same(dump.read(0, 1)[0], theirs[-1, 0].astype(dump.read(0, 1).dtype)), "another last state")


SEEDS = tuple(k for k in range(13) if k != 2)  # of tables; 2 has lists of no width


def law_arrow(data: bytes, folder: Path) -> None:
    arrow_files.law(put(folder, "x.arrow", data))


def law_parquet(data: bytes, folder: Path) -> None:
    arrow_files.law(put(folder, "x.parquet", data))


def valid_arrow(rng: random.Random) -> bytes:
    """A table in either form of Arrow's files."""
    return arrow_files.valid(rng, parquet=False)


def valid_parquet(rng: random.Random) -> bytes:
    """A table in Parquet."""
    return arrow_files.valid(rng, parquet=True)


def seeds_safetensors(_: Path) -> list[bytes]:
    some = {"phi": PHI, "value_x": np.ones(2, np.float32), "prompt_id": np.array([1, 2])}
    halves = {"phi_L1": PHI.astype(np.float16), "t": np.zeros((2, 4), np.uint8), "e": np.zeros((0, 3), np.float32)}
    return [safetensors.numpy.save(some), safetensors.numpy.save(halves, {"policy": "on_policy"})]


def seeds_npy(_: Path) -> list[bytes]:
    out = []
    for array in (
        PHI,
        PHI.astype(">f8"),
        np.asfortranarray(PHI),
        np.array(["a", "bc"]),
        np.array([True]),
        np.float32(1),
    ):
        buffer = io.BytesIO()
        np.save(buffer, array)
        out.append(buffer.getvalue())
    return out


def seeds_npz(_: Path) -> list[bytes]:
    out = []
    for save in (np.savez, np.savez_compressed):
        buffer = io.BytesIO()
        save(buffer, phi=PHI, value_x=np.ones(2))
        out.append(buffer.getvalue())
    return out


def valid_safetensors(rng: random.Random) -> bytes:
    """A file of random tensors and metadata, written by the library."""
    kinds = ("f2", "f4", "f8", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "?")
    held = {}
    for k in range(rng.randrange(1, 5)):
        shape = [rng.choice((0, 1, 2, 3, 7)) for _ in range(rng.randrange(4))]
        kind = rng.choice(kinds)
        size = int(np.prod(shape)) * np.dtype(kind).itemsize
        raw = bytes(size) if kind == "?" else rng.randbytes(size)
        held[rng.choice(("phi", "value_x", "t\u00e9")) + str(k)] = np.frombuffer(raw, kind).reshape(shape)
    return safetensors.numpy.save(held, {"k": "v" * rng.randrange(9)} if rng.random() < 0.5 else None)


def valid_npy(rng: random.Random) -> bytes:
    """A file of a random array, written by NumPy."""
    kind = rng.choice(("<f2", ">f4", "<f8", "|i1", "<u2", ">i8", "|b1", "<U3", ">U2", "|S5", "<i4"))
    shape = [rng.choice((0, 1, 2, 3, 7)) for _ in range(rng.randrange(4))]
    count = int(np.prod(shape))
    ascii_ = "".join(rng.choices("abc", k=3))
    array = np.full(count, ascii_).astype(kind) if kind[1] in "US" else np.arange(count).astype(kind)
    buffer = io.BytesIO()
    np.save(buffer, np.asarray(array.reshape(shape), order=rng.choice("CF")))
    return buffer.getvalue()


def valid_npz(rng: random.Random) -> bytes:
    """An archive of random arrays, written by NumPy."""
    held = {f"a{k}": np.load(io.BytesIO(valid_npy(rng))) for k in range(rng.randrange(1, 4))}
    buffer = io.BytesIO()
    (np.savez_compressed if rng.random() < 0.5 else np.savez)(buffer, **held)
    return buffer.getvalue()


def mixed(valid: Callable[[random.Random], bytes], mutate: mutators.Mutator) -> mutators.Mutator:
    """A mutator that now and then begins with a new valid file, and leaves half of those as they are."""

    def both(data: bytes, rng: random.Random) -> bytes:
        if rng.random() < 0.75:
            return mutate(data, rng)
        made = valid(rng)
        return made if rng.random() < 0.5 else mutate(made, rng)

    return both


def seeds_index(_: Path) -> list[bytes]:
    table = {"metadata": {"total_size": 32}, "weight_map": {"phi": "a.safetensors", "value_x": "b.safetensors"}}
    return [json.dumps(table).encode()]


def seeds_manifest(folder: Path) -> list[bytes]:
    where = folder / "seed"
    write_dump(where, PHI, prompt_ids=[1, 1], columns={"value_x": [0.5, 1.5]}, shard_rows=1, source={"layer": 3})
    return [(where / "manifest.json").read_bytes()]


def gguf_bytes(vectors: Mapping[int, np.ndarray], alignment: int = 32) -> bytes:
    """A control vector in GGUF, as repeng writes it."""

    def text(value: str) -> bytes:
        return struct.pack("<Q", len(value)) + value.encode()

    keys = text("general.architecture") + struct.pack("<I", 8) + text("controlvector")
    keys += text("controlvector.model_hint") + struct.pack("<I", 8) + text("mistral")
    keys += text("controlvector.layer_count") + struct.pack("<II", 4, len(vectors))
    infos, body = b"", b""
    for layer, vector in vectors.items():
        body += bytes(-len(body) % alignment)
        infos += text(f"direction.{layer}") + struct.pack("<IQIQ", 1, len(vector), 0, len(body))
        body += vector.astype("<f4").tobytes()
    head = b"GGUF" + struct.pack("<IQQ", 3, len(vectors), 3) + keys + infos
    return head + bytes(-len(head) % alignment) + body + bytes(-len(body) % alignment)


def seeds_gguf(_: Path) -> list[bytes]:
    return [gguf_bytes({4: PHI[0], 7: PHI[1]}), gguf_bytes({0: np.arange(17.0)})]


def seeds_steering(_: Path) -> list[bytes]:
    table = {
        "model_type": "llama",
        "directions": {"3": [1.0, 2.0], "4": [0.5, 1e-3]},
        "explained_variances": {"3": 0.5},
    }
    return [json.dumps(table).encode(), json.dumps({"1": [0.25, 1], "2": [3, 4]}).encode()]


def seeds_requests(_: Path) -> list[bytes]:
    states = np.arange(24, dtype=np.float32).reshape(3, 2, 4)
    return [safetensors.numpy.save({"hidden_states": states, "token_ids": np.array([5, 6, 7])})]


TARGETS = {
    "safetensors": Target(seeds_safetensors, mixed(valid_safetensors, mutators.as_safetensors), law_safetensors),
    "npy": Target(seeds_npy, mixed(valid_npy, mutators.as_npy), law_npy),
    "npz": Target(seeds_npz, mixed(valid_npz, mutators.as_archive), law_npz),
    "index": Target(seeds_index, mutators.as_json, law_index),
    "manifest": Target(seeds_manifest, mutators.as_json, law_manifest),
    "gguf": Target(seeds_gguf, mutators.flip, law_gguf),
    "steering": Target(seeds_steering, mutators.as_json, law_steering),
    "requests": Target(seeds_requests, mutators.as_safetensors, law_requests),
    "state": Target(states.seeds, states.mutate, states.law),
    "fit": Target(states.seeds_fit, states.mutate_fit, states.law_fit),
}
if arrow_files is not None:
    TARGETS |= {
        "arrow": Target(
            lambda _: [valid_arrow(random.Random(k)) for k in SEEDS],
            mixed(valid_arrow, arrow_files.as_arrow),
            law_arrow,
        ),
        "parquet": Target(
            lambda _: [valid_parquet(random.Random(k)) for k in SEEDS],
            mixed(valid_parquet, arrow_files.as_parquet),
            law_parquet,
        ),
    }


def scratch() -> str:
    """Where inputs are written: in memory where there is such a folder."""
    return (
        "/dev/shm" if os.path.isdir("/dev/shm") and os.access("/dev/shm", os.W_OK) else os.environ.get("TMPDIR", "/tmp")
    )
