"""Games of very many columns: reads of all columns, seconds, peak memory.

    python benchmarks/lp_wide.py [--columns 10000000] [--values 4] [--folder DIR]

Each line is a fresh process: columns in memory, the same columns in a mapped file (float64 and float32), and a game
over candidate directions on a dump (one third of the columns). "beyond" is the peak resident size less the size of
what was given: mapped pages can be dropped at any time and are not counted as ours.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import clinometer as cm
from clinometer import lp

BLOCK = 1 << 20


def anonymous() -> int:
    """Peak of what this process itself holds: its resident size less mapped files, sampled by `watch`."""
    with open("/proc/self/status", encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("RssAnon")) << 10


def filled(table: np.ndarray, seed: int) -> None:
    for begin in range(0, table.shape[1], BLOCK):
        rng = np.random.default_rng([seed, begin])
        part = table[:, begin : begin + BLOCK]
        part[:] = rng.standard_normal(part.shape)


def watched(call: object) -> tuple[object, float, int]:
    """The result, seconds, and the most this process held while the call ran."""
    import threading

    peak, stop = [anonymous()], threading.Event()

    def watch() -> None:
        while not stop.wait(0.002):
            peak[0] = max(peak[0], anonymous())

    before = anonymous()
    thread = threading.Thread(target=watch)
    thread.start()
    start = time.perf_counter()
    result = call()  # type: ignore[operator]
    seconds = time.perf_counter() - start
    stop.set()
    thread.join()
    return result, seconds, peak[0] - before


def row(kind: str, k: int, n: int, folder: str, out: object) -> None:
    """One line of the table, in a process of its own."""
    if kind == "dump":
        world = cm.simulate(n_prompts=2000, n_responses=8, dim=32, random_state=0)
        rng = np.random.default_rng(1)
        values = [rng.standard_normal(len(world)) + cm.score(world, np.eye(32)[j % 32])[:, 0] for j in range(k)]
        path = Path(folder) / "directions.npy"
        directions = np.lib.format.open_memmap(path, "w+", np.float32, (n, 32))
        filled(directions.T, 2)
        directions.flush()
        given = np.load(path, mmap_mode="r")
        (found, seconds, beyond) = watched(lambda: lp.ensemble(lp.game(world, given, np.stack(values, axis=1))))
        size = 4 * n * 32
    else:
        dtype = np.float32 if kind.endswith("float32") else np.float64
        size = k * n * dtype().itemsize
        if kind.startswith("mapped"):
            path = Path(folder) / "columns.npy"
            table = np.lib.format.open_memmap(path, "w+", dtype, (k, n))
            filled(table, 0)
            table.flush()
            table = np.load(path, mmap_mode="r")
        else:
            table = np.empty((k, n), dtype)
            filled(table, 0)
        found, seconds, beyond = watched(lambda: lp.ensemble(table))
    whole = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
    out.put((kind, n, size, found.n_passes, seconds, beyond, whole, found.value, found.upper - found.lower))  # type: ignore[attr-defined]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--columns", type=int, default=10_000_000)
    parser.add_argument("--values", type=int, default=4)
    parser.add_argument("--folder", default=None, help="where mapped files go; default a temporary folder")
    args = parser.parse_args()
    print(f"{'columns':18}{'k':>4}{'n':>12}{'GB':>7}{'passes':>8}{'seconds':>9}{'GB/s':>7}{'beyond, MB':>12}"
          f"{'peak RSS, MB':>14}{'value':>10}{'gap':>9}")  # fmt: skip
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        for n in (args.columns // 10, args.columns):
            for kind in ("in memory", "mapped", "mapped float32", "dump"):
                queue = context.Queue()
                m = n // 3 if kind == "dump" else n
                process = context.Process(target=row, args=(kind, args.values, m, folder, queue))
                process.start()
                name, m, size, passes, seconds, beyond, whole, value, gap = queue.get(timeout=3600)
                process.join()
                print(f"{name:18}{args.values:4}{m:12}{size / 1e9:7.2f}{passes:8}{seconds:9.3f}"
                      f"{passes * size / seconds / 1e9:7.1f}{beyond / 1e6:12.0f}{whole / 1e6:14.0f}{value:10.4f}"
                      f"{gap:9.0e}", flush=True)  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
