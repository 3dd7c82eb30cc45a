"""States of shards, saved fits and directions, mutated as what they are: fields of a state emptied, halved, doubled,
changed, or swapped with those of another state; entries of headers; every checksum made right again."""

from __future__ import annotations

import json
import random
import struct
import zlib
from functools import cache
from pathlib import Path
from typing import Any

import mutators
import numpy as np

import clinometer as cm
from clinometer.engine.fitted import load_any
from clinometer.stream.fold_file import encode
from clinometer.stream.fold_read import read
from clinometer.stream.shards import shard

N, D = 8192 + 40, 2
NUMBERS = (0.0, -1.0, float("nan"), float("inf"), 1e308, 5e-324)


def parse(data: bytes) -> tuple[dict[str, Any], list[bytes]]:
    """Header and blobs of a state file."""
    n = int.from_bytes(data[:8], "little")
    header, rest, blobs, at = json.loads(data[12 : 12 + n]), data[12 + n :], [], 0
    for size, *_ in header["blobs"]:
        blobs.append(rest[at : at + size])
        at += size
    return header, blobs


def build(header: dict[str, Any], blobs: list[bytes]) -> bytes:
    """A state file of them, with lengths and checksum that fit."""
    shapes = header.get("blobs")
    if isinstance(shapes, list) and len(shapes) == len(blobs) and all(isinstance(s, list) for s in shapes):
        shapes = [[len(b), *s[1:]] for s, b in zip(shapes, blobs, strict=True)]
    head = json.dumps({**header, "blobs": shapes}).encode("utf-8", "surrogatepass")
    body = b"".join(blobs)
    check = zlib.crc32(body, zlib.crc32(head))
    return len(head).to_bytes(8, "little") + check.to_bytes(4, "little") + head + body


def fields(state: bytes) -> list[tuple[bytes, bytes]]:
    """Tag and bytes of each field of one state."""
    out, at = [], 0
    while at < len(state):
        n = struct.unpack("<Q", state[at + 1 : at + 9])[0]
        out.append((state[at : at + 1], state[at + 9 : at + 9 + 8 * n]))
        at += 9 + 8 * n
    return out


def joined(parts: list[tuple[bytes, bytes]]) -> bytes:
    """One state of its fields."""
    return b"".join(tag + struct.pack("<Q", len(data) // 8) + data for tag, data in parts)


def _other(tag: bytes, data: bytes, rng: random.Random) -> bytes:
    """Another field in the place of one."""
    kind = rng.randrange(6)
    if kind == 0:
        return b""
    if kind == 1:
        return data[: len(data) // 16 * 8]
    if kind == 2:
        return data + data
    if kind == 3:
        return data + bytes(8)
    edge = rng.choice(mutators.EDGES) % 2**64
    new = struct.pack("<d", rng.choice(NUMBERS)) if tag == b"d" else struct.pack("<Q", edge)
    at = rng.randrange(max(1, len(data) // 8)) * 8
    return data[:at] + new + data[at + 8 :]


def _state(blobs: list[bytes], rng: random.Random, whole: list[int]) -> None:
    """One change to the fields of one state, or to two of them."""
    at = rng.choice(whole)
    parts = fields(blobs[at])
    k = rng.randrange(len(parts))
    if rng.random() < 0.75:
        parts[k] = (parts[k][0], _other(*parts[k], rng))
    else:
        other = fields(rng.choice(tuple(_states()))) if rng.random() < 0.5 else parts
        parts[k] = other[rng.randrange(len(other))]
    blobs[at] = joined(parts)


def mutate(data: bytes, rng: random.Random) -> bytes:
    """A state file with a few changes, most of them inside its states."""
    try:
        return mutators.flip(data, rng) if rng.random() < 0.05 else _mutated(data, rng)
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, struct.error, RecursionError):
        return mutators.flip(data, rng)  # of a file that is none any more


def _mutated(data: bytes, rng: random.Random) -> bytes:
    header, blobs = parse(data)
    whole = [k for k, s in enumerate(header["blobs"]) if len(s) == 1 and blobs[k]]
    for _ in range(rng.choice((1, 1, 2))):
        kind = rng.random()
        if whole and kind < 0.6:
            _state(blobs, rng, whole)
        elif kind < 0.65 and len(blobs) > 1:
            a, b = rng.sample(range(len(blobs)), 2)
            blobs[a], blobs[b] = blobs[b], blobs[a]
        elif kind < 0.7 and blobs:
            at = rng.randrange(len(blobs))
            blobs[at] = mutators.flip(blobs[at], rng)
        else:
            header = mutators.tree(header, rng)
    return build(header, blobs)


@cache
def _rows() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    value = rng.normal(size=N)
    value[::11] = np.nan
    return rng.normal(size=(N, D)).astype(np.float32), np.arange(N) // 7, value


@cache
def _shards() -> dict[str, tuple[bytes, bytes]]:
    """Both halves of a pass of each kind; a prompt lies on their border."""
    x, ids, value = _rows()
    u = [[1.0, 0.5], [0.0, 2.0]]
    kinds = {
        "tilt": cm.stat.Tilt(u, "v", betas=[0.5, 2.0]), "moments": cm.stat.Moments(),
        "cross": cm.stat.CrossCovariance(u, ["v", "w"]), "projection": cm.stat.CovarianceProjection(u),
    }  # fmt: skip
    options: dict[str, Any] = {"prompt_ids": ids, "columns": {"v": value, "w": x[:, 0] ** 2}}
    dump = cm.open_dump(x, **options)
    made = {name: tuple(encode(shard(dump, i, 2, s)) for i in (1, 2)) for name, s in kinds.items()}
    return made  # type: ignore[return-value]


@cache
def _states() -> tuple[bytes, ...]:
    """All states of the shards."""
    out = []
    for data in (d for pair in _shards().values() for d in pair):
        header, blobs = parse(data)
        out += [b for s, b in zip(header["blobs"], blobs, strict=True) if len(s) == 1]
    return tuple(out)


def _fed() -> cm.Fold:
    """A small fold whose rows all wait."""
    x, ids, value = _rows()
    fold = cm.Fold(cm.stat.Moments(), cm.stat.Tilt([[1.0, 0.0]], "-v", betas=[1.0]), dim=D)
    fold.absorb(x[:30], ids[:30].astype(str), v=value[:30])
    return fold


def seeds(_: Path) -> list[bytes]:
    """Shards of every kind, a fold of waiting rows, and one that has merged another."""
    merged, later = _fed(), cm.Fold(cm.stat.Moments(), cm.stat.Tilt([[1.0, 0.0]], "-v", betas=[1.0]), dim=D)
    x, ids, value = _rows()
    later.absorb(x[35:60], ids[35:60].astype(str), v=value[35:60])
    merged.merge(later)
    return [*(d for pair in _shards().values() for d in pair), encode(_fed()), encode(merged)]


def law(data: bytes, folder: Path) -> None:
    """A fold that is read can be saved again with the same bytes of states, finished and merged."""
    fold = read(data, cm.Fold)
    again = read(encode(fold), cm.Fold)
    assert [s.state() for _, _, n in again.nodes for s in n] == [s.state() for _, _, n in fold.nodes for s in n]
    kinds = [type(s) for s in fold.statistics]
    fold.finish()
    for pair in _shards().values():
        half = 0 if fold.start_row else 1
        other = read(pair[half], cm.Fold)
        if [type(s) for s in other.statistics] == kinds and fold.dump_facts is not None:
            try:
                cm.merge(*((other, fold) if half == 0 else (fold, other)))
            except ValueError as error:
                if not str(error).startswith(("merge: ", "states: ", "states ")):
                    raise


def seeds_fit(folder: Path) -> list[bytes]:
    """Fits with and without pooled quality, and directions."""
    x, ids, value = (a[:200] for a in _rows())
    y = x[:, 0] + np.nan_to_num(value)
    cm.fit_value_direction(x, y, prompt_ids=ids).save(folder / "a")
    cm.fit_value_direction(x, y > 0, prompt_ids=ids, method="logistic", alpha=1.0, pooled=False).save(folder / "b")
    cm.Directions(["u", "v_L3"], x[:2], ["value", None], {"model": "m", "layers": [2, 3]}).save(folder / "c")
    return [(folder / name).read_bytes() for name in "abc"]


def mutate_fit(data: bytes, rng: random.Random) -> bytes:
    """The header, or the JSON inside its metadata, or the numbers."""
    n = struct.unpack("<Q", data[:8])[0] if len(data) > 8 else 0
    kind = rng.random()
    if kind < 0.4 or not 0 < n <= len(data) - 8:
        return mutators.as_safetensors(data, rng)
    head, body = data[8 : 8 + n], bytearray(data[8 + n :])
    try:
        header = json.loads(head)
        said = header["__metadata__"]
        name = rng.choice(sorted(said))
        said[name] = mutators.as_json(said[name].encode(), rng).decode("utf-8", "replace")
        head = json.dumps(header).encode()
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError):
        return mutators.flip(data, rng)
    if kind > 0.8 and len(body) >= 8:
        at = rng.randrange(len(body) // 8) * 8
        body[at : at + 8] = struct.pack("<d", rng.choice(NUMBERS))
    return struct.pack("<Q", len(head)) + head + bytes(body)


def law_fit(data: bytes, folder: Path) -> None:
    """What is read scores rows, and is the same after it has been saved again."""
    path = folder / "x.fit"
    path.write_bytes(data)
    fit = load_any(path)
    x, ids, _ = (a[:200] for a in _rows())
    scores = np.zeros((200, 0))
    if fit.vectors.shape[1] == D:  # of any size: float32 may have no room for them
        scores = cm.score(cm.open_dump(x, prompt_ids=ids), fit, precision="double")
    assert scores.shape in ((200, len(fit.vectors)), (200, 0))
    fit.save(folder / "y.fit")
    assert load_any(folder / "y.fit").vectors.tobytes() == fit.vectors.tobytes()
