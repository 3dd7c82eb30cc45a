"""Measurements that need a process of their own: import time, the first answer, peak memory."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import clinometer

__all__ = ["FIRST_SECONDS", "IMPORT_SECONDS", "NotHere", "first_answer_seconds", "import_seconds",
           "need_room", "peak_bytes"]  # fmt: skip

IMPORT_SECONDS = 0.15
FIRST_SECONDS = 0.005
MEMORY_BETAS = 16
BASE_BYTES = 300 << 20
ROW_BYTES = 16
SPARE_BYTES = 2 << 30


class NotHere(Exception):
    """This machine cannot make the measurement."""


def need_room(folder: str, n_bytes: int) -> None:
    """Large files need that much free disk, and memory to stay in the page cache."""
    if n_bytes <= 1 << 30:
        return
    free = shutil.disk_usage(folder).free
    pages = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") + _cached()
    for what, has in (("on the disk", free), ("of memory", pages)):
        if has < n_bytes + SPARE_BYTES:
            raise NotHere(f"needs {(n_bytes + SPARE_BYTES) / 1e9:.0f} GB free {what}, {has / 1e9:.0f} GB are")


def _cached() -> int:
    """Pages that the system gives up when asked."""
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            return sum(int(line.split()[1]) << 10 for line in file if line.startswith("Cached:"))
    except OSError:
        return 0


def _python(code: str, *arguments: str) -> str:
    """What a fresh interpreter prints; it finds this package where it lies."""
    here = os.path.dirname(os.path.dirname(os.path.abspath(clinometer.__file__)))
    paths = [here, *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in paths if p)}
    run = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, env=env)
    if run.returncode:
        raise NotHere(f"a process failed: {(run.stderr.strip() or 'no message').splitlines()[-1]}")
    return run.stdout


_IMPORT = "import time; t = time.perf_counter(); import {0}; print(time.perf_counter() - t)"


def import_seconds(pairs: int) -> list[float]:
    """Seconds that `import clinometer` takes beyond `import numpy`, one number a pair of processes."""
    out = []
    for name in ("numpy", "clinometer"):
        _python(_IMPORT.format(name))
    for _ in range(pairs):
        before, after = (float(_python(_IMPORT.format(name))) for name in ("numpy", "clinometer"))
        out.append(after - before)
    return out


_FIRST = """
import sys, time
import numpy as np
import clinometer as cm
u = np.ones((int(sys.argv[2]), int(sys.argv[3])))
t = time.perf_counter()
cm.score(sys.argv[1], u)
print(time.perf_counter() - t)
"""


def first_answer_seconds(path: str, k: int, runs: int, d: int) -> list[float]:
    """Seconds of the first `score` of a process, from a path to the scores."""
    return [float(_python(_FIRST, path, str(k), str(d))) for _ in range(runs)]


_MEMORY = """
import sys, threading, time
import numpy as np
import clinometer as cm
path, kernel, k, b = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
peak, stop = [0], threading.Event()
def anonymous():  # mapped pages of the file are the system's, not ours
    with open("/proc/self/status", encoding="ascii") as file:
        for line in file:
            if line.startswith("RssAnon"):
                return int(line.split()[1]) << 10
def watch():
    while not stop.is_set():
        peak[0] = max(peak[0], anonymous())
        time.sleep(0.002)
n = cm.open_dump(path).n_rows
dump = cm.open_dump(path, prompt_ids=np.arange(n) // 16)
u = np.random.default_rng(0).standard_normal((k, dump.dim)) / dump.dim**0.5
values = np.random.default_rng(1).standard_normal((n, 1))
watcher = threading.Thread(target=watch)
watcher.start()
calls = {"score": lambda: cm.score(dump, u), "moments": lambda: cm.moments(dump),
         "tilt": lambda: cm.tilt(dump, u, np.geomspace(0.5, 20, b), values, pareto_k=False)}
calls[kernel]()
stop.set()
watcher.join()
print(peak[0])
"""


def peak_bytes(name: str, path: str, n: int, d: int, k: int) -> tuple[int, int]:
    """Peak of memory that is not mapped from files, interpreter included, and what the target allows.

    The ids and values that the caller holds are a result's size each and count as such.
    """
    if not os.path.exists("/proc/self/status"):
        raise NotHere("no /proc to read the memory of a process from")
    kernel = name.removeprefix("memory of ")
    peak = int(_python(_MEMORY, path, kernel, str(k), str(MEMORY_BETAS)))
    callers = 8 * n + 8 * n
    results = {"score": 4 * n * k, "moments": 8 * d * d, "tilt": 8 * n * k}[kernel]
    return peak, BASE_BYTES + callers + results + 3 * 8 * d * d + ROW_BYTES * n
