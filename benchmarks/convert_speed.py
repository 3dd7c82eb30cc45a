"""How fast `clinometer convert` is beside copying a file of as many bytes, and beside the format's own decoder alone.

    python benchmarks/convert_speed.py [--folder DIR] [--megabytes 512] [--rounds 7] [--dim 4096] [--formats npy ...]

Rounds are interleaved, and the order turns from round to round; every figure is of one round, the median is shown:

- copy: copy time / convert time; 1 is as fast as copying and forcing to the disk;
- alone: time of the format's own library for reading the same rows into memory, writing nothing, / convert time;
- share: the larger of the two, that is our part of what copy and decoder allow; 0.8 is wanted.

Sources are in the page cache; the target is a new folder. CPU is that of this process: the one that unpickles a .pt
is not in it. "start" is what a .pt of one row takes, nearly all of it torch's own import; its line without it follows.
"""

from __future__ import annotations

import argparse
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import warnings
import zipfile
import zlib
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import writer_speed

from clinometer.dump import write_dump
from clinometer.dump.converting import convert_dump

TOKENS = 4  # of the longest request: most of its rows are left out of the dump
TORCH = "import sys, torch; torch.load(sys.argv[1], weights_only=True)"


def requests(folder: Path, phi: np.ndarray) -> dict[str, Any]:
    """Hidden states of single requests, one layer."""
    folder.mkdir()
    for k, row in enumerate(phi):
        tokens = TOKENS - k % 3
        states = np.broadcast_to(row, (tokens, 1, phi.shape[1]))
        held = {"hidden_states": np.ascontiguousarray(states), "token_ids": np.arange(tokens)}
        save_safetensors(folder / f"hs_{k}.safetensors", held)
    return {"pool": "last", "prompt_tokens": dict.fromkeys(range(len(phi)), 1)}


def save_safetensors(path: Path, held: dict[str, np.ndarray]) -> None:
    from safetensors.numpy import save_file

    save_file(held, path)


def arrow(path: Path, phi: np.ndarray) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    lists = pa.FixedSizeListArray.from_arrays(pa.array(phi.reshape(-1)), phi.shape[1])
    table = pa.table({"phi": lists, "prompt_id": np.arange(len(phi)) // 32})
    if path.suffix == ".parquet":
        pq.write_table(table, path, row_group_size=8192, use_dictionary=False)
        return
    with pa.OSFile(str(path), "wb") as out, pa.ipc.new_stream(out, table.schema) as writer:
        writer.write_table(table, 1000)


def pickled(path: Path, phi: np.ndarray) -> None:
    import torch

    torch.save({"phi": torch.from_numpy(phi)}, path)


def formats(folder: Path, phi: np.ndarray, wanted: list[str]) -> dict[str, tuple[Path, dict[str, Any]]]:
    """Sources that can be made here, and the options that they are read with."""
    makers: dict[str, Callable[[Path], Any]] = {
        "x.safetensors": lambda p: save_safetensors(p, {"phi": phi}),
        "x.npy": lambda p: np.save(p, phi),
        "big-endian.npy": lambda p: np.save(p, phi.astype(phi.dtype.newbyteorder(">"))),
        "fortran.npy": lambda p: np.save(p, np.asfortranarray(phi)),
        "x.npz": lambda p: np.savez(p, phi=phi),
        "compressed.npz": lambda p: np.savez_compressed(p, phi=phi),
        "dump": lambda p: write_dump(p, phi, prompt_ids=np.arange(len(phi)) // 32),
        "x.arrow": lambda p: arrow(p, phi),
        "x.parquet": lambda p: arrow(p, phi),
        "requests": lambda p: requests(p, phi),
        "x.pt": lambda p: pickled(p, phi),
    }
    needs = {"x.arrow": "pyarrow", "x.parquet": "pyarrow", "x.pt": "torch"}
    out = {}
    for name, make in makers.items():
        if (wanted and name not in wanted) or (name in needs and find_spec(needs[name]) is None):
            continue
        out[name] = (folder / name, make(folder / name) or {})
    return out


def inflate(path: Path) -> None:
    """zlib over the first member of an archive, piece by piece."""
    with zipfile.ZipFile(path) as archive:
        at, size = archive.infolist()[0].header_offset, archive.infolist()[0].compress_size
    with path.open("rb") as file:
        file.seek(at + 26)
        file.seek(at + 30 + sum(struct.unpack("<2H", file.read(4))))
        decoder = zlib.decompressobj(-15)
        while size:
            piece = file.read(min(1 << 20, size))
            size -= len(piece)
            decoder.decompress(piece)


def last_states(folder: Path) -> None:
    """The last row and the tokens of every request, by the library."""
    from safetensors import safe_open

    for path in sorted(folder.iterdir()):
        with safe_open(path, "np") as file:
            states = file.get_slice("hidden_states")
            states[states.get_shape()[0] - 1 :]
            file.get_tensor("token_ids")


def parquet(path: Path) -> None:
    import pyarrow.parquet as pq

    pq.read_table(path)


def decoders(held: dict[str, tuple[Path, dict[str, Any]]]) -> dict[str, Callable[[], Any]]:
    """By source, what its own library does to have the rows in memory; those that lie as they are need none."""
    ways: dict[str, Callable[[Path], Any]] = {
        "big-endian.npy": lambda p: np.load(p).astype("<f2"),
        "fortran.npy": lambda p: np.ascontiguousarray(np.load(p)),
        "compressed.npz": inflate,
        "x.parquet": parquet,
        "requests": last_states,
        "x.pt": lambda p: subprocess.run([sys.executable, "-c", TORCH, str(p)], check=True),
    }
    return {name: partial(ways[name], path) for name, (path, _) in held.items() if name in ways}


def measured(ways: dict[str, Callable[[], Any]], rounds: int, target: str) -> dict[str, list[tuple[float, float]]]:
    """Wall and CPU seconds of every way in every round."""
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for r in range(rounds):
        for name in list(ways) if r % 2 else reversed(ways):
            times[name].append(writer_speed.seconds(ways[name]))
            if os.path.lexists(target):
                shutil.rmtree(target) if os.path.isdir(target) else os.unlink(target)
    return times


def line(name: str, size: float, wall: Any, cpu: Any, copy: Any, alone: Any) -> str:
    """A source's line: medians over the rounds."""
    shares = [copy / wall] + ([] if alone is None else [alone / wall, np.maximum(copy, alone) / wall])
    cells = [f"{np.median(x):>9.2f}" for x in shares]
    cells = [cells[0], f"{'-':>9}", cells[0]] if alone is None else cells
    rate = size / np.median(wall)
    return f"{name:<20}{np.median(wall):>8.3f}{rate:>8.0f}{''.join(cells)}{np.median(cpu):>9.3f}"


def report(times: dict[str, list[tuple[float, float]]], names: list[str], size: float) -> None:
    """The table."""
    wall = {name: np.array([t[0] for t in spent]) for name, spent in times.items()}
    cpu = {name: np.array([t[1] for t in spent]) for name, spent in times.items()}
    print(f"{'source':<20}{'wall s':>8}{'MB/s':>8}{'copy':>9}{'alone':>9}{'share':>9}{'CPU s':>9}")
    print(line("copy", size, wall["copy"], cpu["copy"], wall["copy"], None))
    for name in names:
        print(line(name, size, wall[name], cpu[name], wall["copy"], wall.get(f"{name} alone")))
        if name == "x.pt":
            start = wall["start"]
            print(line("  start", size, start, cpu["start"], wall["copy"], None))
            rest = np.maximum(wall[name] - start, 1e-3)
            print(line("  without start", size, rest, cpu[name], wall["copy"], None))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", help="where to write; default: the temporary folder")
    parser.add_argument("--megabytes", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--dim", type=int, default=4096)
    parser.add_argument("--formats", nargs="+", default=[])
    args = parser.parse_args()
    phi = writer_speed.Rows(args.megabytes * 1_000_000 // (2 * args.dim), args.dim).phi
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory(dir=args.folder) as at:
        scratch = Path(at)
        plain, target = scratch / "plain", str(scratch / "target")
        phi.tofile(plain)
        held = formats(scratch, phi, args.formats)
        size, n_rows = phi.nbytes / 1e6, len(phi)
        if "x.pt" in held:
            pickled(scratch / "one.pt", phi[:1].copy())
        del phi
        ways: dict[str, Callable[[], Any]] = {"copy": lambda: writer_speed.copy(str(plain), target)}
        alone = decoders(held)
        for name, (source, options) in held.items():
            ways[name] = partial(convert_dump, source, target, **options)
            if name in alone:
                ways[f"{name} alone"] = alone[name]
        if "x.pt" in held:
            ways["start"] = partial(convert_dump, scratch / "one.pt", target)
        times = measured(ways, args.rounds, target)
    print(f"{n_rows} x {args.dim} float16, {size:.0f} MB, {args.rounds} rounds")
    report(times, list(held), size)


if __name__ == "__main__":
    main()
