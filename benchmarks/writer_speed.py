"""How fast DumpWriter is beside copying a file of the same bytes and forcing it to the disk.

    python benchmarks/writer_speed.py [--folder DIR] [--megabytes 512] [--rounds 7] [--dim 4096]

Rounds are interleaved, and the order turns from round to round. The figure is copy time / writer time of the same
round: 1 is as fast as copying. Rows are in memory; the copy reads a file that is in the page cache.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable

import numpy as np

from clinometer.dump import DumpWriter, write_dump

PIECE = 8 << 20


def copy(source: str, target: str) -> None:
    """Read, write, fsync: what any writer must at least do."""
    with open(source, "rb", buffering=0) as file, open(target, "xb", buffering=0) as out:
        while piece := file.read(PIECE):
            out.write(piece)
        os.fsync(out.fileno())


class Rows:
    """Rows of activations with the columns that a judge pipeline has."""

    def __init__(self, n_rows: int, dim: int) -> None:
        rng = np.random.default_rng(0)
        block = rng.normal(size=(min(n_rows, 4096), dim)).astype(np.float16)
        self.phi = np.resize(block, (n_rows, dim))
        self.ids = np.arange(n_rows) // 32
        self.columns = {name: rng.normal(size=n_rows).astype(np.float32) for name in ("judge/a", "value_b", "logprob")}

    def append(self, path: str, batch: int, dtype: str = "float16") -> None:
        """Write by batches."""
        with DumpWriter(path, dim=self.phi.shape[1], dtype=dtype) as out:
            for low in range(0, len(self.phi), batch):
                cut = slice(low, low + batch)
                out.append(self.phi[cut], self.ids[cut], **{n: c[cut] for n, c in self.columns.items()})

    def write(self, path: str) -> None:
        """Write in one call."""
        write_dump(path, self.phi, prompt_ids=self.ids, columns=self.columns)


def seconds(call: Callable[[], None]) -> tuple[float, float]:
    """Wall and processor time; what was written before is out of the way first."""
    os.sync()
    start, spent = time.perf_counter(), time.process_time()
    call()
    return time.perf_counter() - start, time.process_time() - spent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", help="where to write; default: the temporary folder")
    parser.add_argument("--megabytes", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--dim", type=int, default=4096)
    args = parser.parse_args()
    rows = Rows(args.megabytes * 1_000_000 // (2 * args.dim), args.dim)
    with tempfile.TemporaryDirectory(dir=args.folder) as scratch:
        source, target = os.path.join(scratch, "source"), os.path.join(scratch, "target")
        rows.append(source, 1024)
        shard = os.path.join(source, "phi-00000.safetensors")
        ways: dict[str, Callable[[], None]] = {
            "copy": lambda: copy(shard, target),
            "DumpWriter, 32 rows an append": lambda: rows.append(target, 32),
            "DumpWriter, 1024 rows an append": lambda: rows.append(target, 1024),
            "write_dump": lambda: rows.write(target),
        }
        times: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
        for r in range(args.rounds):
            for name in list(ways) if r % 2 else reversed(ways):
                times[name].append(seconds(ways[name]))
                shutil.rmtree(target) if os.path.isdir(target) else os.unlink(target)
        size = os.path.getsize(shard) / 1e6
    print(f"{len(rows.phi)} x {args.dim} float16, {size:.0f} MB, {args.rounds} rounds; copy time / this one's")
    print(f"{'':<32}{'wall s':>8}{'median':>9}{'of best':>9}{'CPU s':>9}{'median':>9}{'of best':>9}")
    for name, spent in times.items():
        line = f"{name:<32}"
        for k in range(2):
            mine, plain = [t[k] for t in spent], [t[k] for t in times["copy"]]
            median = statistics.median(a / b for a, b in zip(plain, mine, strict=True))
            line += f"{statistics.median(mine):>{8 + k}.3f}{median:>9.2f}{min(plain) / min(mine):>9.2f}"
        print(line)


if __name__ == "__main__":
    main()
