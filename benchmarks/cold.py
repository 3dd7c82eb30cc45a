"""How busy a cold disk is kept while rows are scored: a file that is not in the page cache, beside its parts.

    python benchmarks/cold.py [--folder DIR] [--gigabytes 2] [--rounds 5] [--dim 4096]

A pass can take no less than reading the file cold or scoring it warm, whichever is longer. The figure is that bound
over the time of the cold pass, round by round: 1 is perfect overlap. Reading is the faster of one and of two streams
through a map. The file's pages are dropped before each cold call (posix_fadvise, no rights needed); a virtual disk's
host may still hold them.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import mmap
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Callable

import numpy as np

import clinometer as cm

PIECE = 8 << 20


def make(path: str, gigabytes: float, dim: int) -> int:
    """A file of f16 rows; its number of rows."""
    block = np.random.default_rng(0).standard_normal((4096, dim)).astype(np.float16)
    blocks = max(int(gigabytes * 1e9 / block.nbytes), 1)
    phi = np.lib.format.open_memmap(path, mode="w+", dtype=np.float16, shape=(blocks * len(block), dim))
    for low in range(0, len(phi), len(block)):
        phi[low : low + len(block)] = block
    phi.flush()
    return len(phi)


def drop(path: str) -> None:
    """Forget the file's pages."""
    handle = os.open(path, os.O_RDONLY)
    os.fsync(handle)
    os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(handle)


def touch(words: np.ndarray) -> None:
    """Read all of it."""
    for at in range(0, len(words), PIECE // 8):
        words[at : at + PIECE // 8].sum()


def read(path: str, streams: int) -> None:
    """Every word of the file through a map, in equal runs side by side."""
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as view:
        words = np.frombuffer(view, np.uint64, count=len(view) // 8)
        cuts = np.linspace(0, len(words), streams + 1).astype(int)

        threads = [threading.Thread(target=touch, args=(words[low:high],)) for low, high in itertools.pairwise(cuts)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        del words, threads


def seconds(call: Callable[[], object]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def row(path: str, n_rows: int, dim: int, k: int, rounds: int) -> str:
    """One line of the table: best times, and the median share of the bound."""
    directions = np.random.default_rng(1).standard_normal((k, dim)).astype(np.float32)
    ids = np.arange(n_rows) // 16
    out = np.empty((n_rows, k), np.float32)

    def score() -> None:
        cm.score(cm.open_dump(path, prompt_ids=ids), directions, out=out)

    score()
    times: dict[str, list[float]] = {"disk": [], "warm": [], "cold": []}
    for _ in range(rounds):
        streams = []
        for count in (1, 2):
            drop(path)
            streams.append(seconds(functools.partial(read, path, count)))
        times["disk"].append(min(streams))
        times["warm"].append(seconds(score))
        drop(path)
        times["cold"].append(seconds(score))
    shares = [max(d, w) / c for d, w, c in zip(times["disk"], times["warm"], times["cold"], strict=True)]
    best = "".join(f"{min(times[name]):>10.3f}" for name in ("disk", "warm", "cold"))
    return f"{k:>6}{best}{statistics.median(shares):>10.2f}  [{min(shares):.2f}, {max(shares):.2f}]"


def look_ahead(path: str) -> str:
    """What the kernel reads ahead by itself on the disk of this file."""
    device = os.stat(path).st_dev
    for part in ("queue", "../queue"):
        name = f"/sys/dev/block/{os.major(device)}:{os.minor(device)}/{part}/read_ahead_kb"
        if os.path.exists(name):
            with open(name) as file:
                return f"{file.read().strip()} KiB"
    return "unknown"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", default=None, help="where to put the file; not a tmpfs")
    parser.add_argument("--gigabytes", type=float, default=2.0)
    parser.add_argument("--dim", type=int, default=4096)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--directions", type=int, nargs="+", default=[1, 8, 64, 256])
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        path = os.path.join(folder, "phi.npy")
        n_rows = make(path, args.gigabytes, args.dim)
        size = os.path.getsize(path) / 1e9
        print(f"{n_rows} x {args.dim} float16, {size:.2f} GB; the kernel's own read-ahead: {look_ahead(path)}")
        print(f"{'K':>6}{'disk s':>10}{'warm s':>10}{'cold s':>10}{'overlap':>10}  [least, most of {args.rounds}]")
        for k in args.directions:
            print(row(path, n_rows, args.dim, k, args.rounds), flush=True)


if __name__ == "__main__":
    main()
