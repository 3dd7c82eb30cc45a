"""How fast `clinometer convert` is beside copying a file of as many bytes and forcing it to the disk.

    python benchmarks/convert_speed.py [--folder DIR] [--megabytes 256] [--rounds 7] [--dim 4096] [--formats npy ...]

Rounds are interleaved, and the order turns from round to round. The figure is copy time / convert time of the same
round: 1 is as fast as copying, 0.8 is wanted where the source holds the bytes as they are stored. Sources are in the
page cache; the target is a new folder. CPU is that of this process: the one that unpickles a .pt is not in it.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import tempfile
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import writer_speed

from clinometer.dump import write_dump
from clinometer.dump.converting import convert_dump

TOKENS = 4  # of a request: as many rows are in a file as are left out of the dump


def requests(folder: Path, phi: np.ndarray) -> dict[str, Any]:
    """Hidden states of single requests, one layer."""
    folder.mkdir()
    for k, row in enumerate(phi):
        states = np.broadcast_to(row, (TOKENS, 1, phi.shape[1]))
        held = {"hidden_states": np.ascontiguousarray(states), "token_ids": np.arange(TOKENS)}
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", help="where to write; default: the temporary folder")
    parser.add_argument("--megabytes", type=int, default=256)
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
        ways: dict[str, Callable[[], Any]] = {"copy": lambda: writer_speed.copy(str(plain), target)}
        for name, (source, options) in held.items():
            ways[name] = lambda source=source, options=options: convert_dump(source, target, **options)
        times: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
        for r in range(args.rounds):
            for name in list(ways) if r % 2 else reversed(ways):
                times[name].append(writer_speed.seconds(ways[name]))
                shutil.rmtree(target) if os.path.isdir(target) else os.unlink(target)
    size = phi.nbytes / 1e6
    print(f"{len(phi)} x {args.dim} float16, {size:.0f} MB, {args.rounds} rounds; copy time / convert time")
    print(f"{'source':<18}{'wall s':>8}{'MB/s':>8}{'median':>9}{'of best':>9}{'CPU s':>9}")
    for name, spent in times.items():
        wall = [t[0] for t in spent]
        median = statistics.median(a[0] / b for a, b in zip(times["copy"], wall, strict=True))
        best = min(t[0] for t in times["copy"]) / min(wall)
        cpu = statistics.median(t[1] for t in spent)
        fast = size / statistics.median(wall)
        print(f"{name:<18}{statistics.median(wall):>8.3f}{fast:>8.0f}{median:>9.2f}{best:>9.2f}{cpu:>9.3f}")


if __name__ == "__main__":
    main()
