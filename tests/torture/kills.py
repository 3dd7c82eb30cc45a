"""kill -9 against DumpWriter: nothing that append returned from is lost, and the end has the same bytes.

    python tests/torture/kills.py --kills 100 [--state FILE] [--output FILE]
    LD_PRELOAD=faults.so python tests/torture/kills.py --every 1  # a kill before, in and after every system call

Children are forked, so the parent's memory is the reference. With --state a run that is interrupted goes on.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import random
import shutil
import signal
import struct
import sys
import tempfile
import time
from typing import Any

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from scenarios import Scenario, contents

ALL_CALLS = 63
BEFORE, AFTER, HALF = 2, 3, 4


def child(scenario: Scenario, path: str, arm: tuple[int, int] | None = None) -> tuple[int, int]:
    """Start a writer; its process id and the pipe that tells the rows that are in."""
    out, into = os.pipe()
    pid = os.fork()
    if pid:
        os.close(into)
        return pid, out
    status = 1
    try:
        if arm:
            ctypes.CDLL(None).fault_arm(ALL_CALLS, arm[0], ctypes.c_long(arm[1]), 0, os.path.dirname(path).encode())
        scenario.write(path, lambda n: void(os.write(into, struct.pack("<q", n))))
        status = 0
    finally:
        os._exit(status)


def void(value: Any) -> None:
    """Forget a value."""


def told(pipe: int) -> list[int]:
    """All that a writer said; the pipe is closed by its death."""
    data = b""
    while piece := os.read(pipe, 1 << 16):
        data += piece
    os.close(pipe)
    return [n for (n,) in struct.iter_unpack("<q", data[: len(data) // 8 * 8])]


class Watch:
    """Counts what went wrong in a chain of writers of one dump."""

    def __init__(self) -> None:
        self.lost = self.failed = self.differ = self.partial = 0

    def row(self) -> dict[str, int]:
        return {"lost rows": self.lost, "failed openings": self.failed, "other bytes": self.differ,
                "readable halves": self.partial}  # fmt: skip


def run_child(scenario: Scenario, path: str, reached: int, watch: Watch, delay: float | None, arm: Any = None) -> tuple:
    """One writer, killed after `delay`; the rows it reached, and whether it came to its end."""
    pid, pipe = child(scenario, path, arm)
    if delay is not None:
        time.sleep(delay)
        os.kill(pid, signal.SIGKILL)
    said = told(pipe)
    status = os.waitpid(pid, 0)[1]
    if said and said[0] < reached:
        watch.lost += 1
    if os.WIFEXITED(status) and os.WEXITSTATUS(status) != 0:
        watch.failed += 1
    return max(said, default=reached), os.WIFEXITED(status)


def random_kills(count: int, seed: int, state: str | None, watch: Watch, say: Any) -> dict[str, Any]:
    """`count` kills at random moments; every dump is resumed to its end and compared."""
    scenario = Scenario(20000, 1500, 200)
    rng = random.Random(seed)
    done = {"kills": 0, "dumps": 0}
    if state and os.path.exists(state):
        with open(state, encoding="utf-8") as file:
            kept = json.load(file)
        done, watch.__dict__ = kept["done"], kept["watch"]
        rng.seed(seed + done["kills"])
    with tempfile.TemporaryDirectory() as folder:
        start = time.monotonic()
        scenario.write(os.path.join(folder, "reference"))
        whole = time.monotonic() - start
        want = contents(os.path.join(folder, "reference"))
        path = os.path.join(folder, "dump")
        reached = 0
        while done["kills"] < count:
            reached, ended = run_child(scenario, path, reached, watch, rng.uniform(0, 0.8 * whole))
            done["kills"] += not ended
            if not ended and os.path.exists(os.path.join(path, "manifest.json")):
                watch.partial += contents(path).items() < want.items()  # a manifest means that all else is there
            if ended or done["kills"] == count:
                run_child(scenario, path, reached, watch, None)
                watch.differ += contents(path) != want
                shutil.rmtree(path)
                reached = 0
                done["dumps"] += 1
            if state:
                with open(state, "w", encoding="utf-8") as file:
                    json.dump({"done": done, "watch": watch.__dict__}, file)
            say(f"{done['kills']} kills")
    return {"random moments": "", **done, **watch.row()}


def every_call(watch: Watch, step: int) -> dict[str, Any]:
    """A kill before, after and in the middle of every step-th call of small dumps' writers."""
    calls = kills = 0
    for single in (False, True):
        done = every_call_of(Scenario(37, 8, 9, single=single), watch, step)
        calls, kills = calls + done[0], kills + done[1]
    return {"every call": "", "calls": calls, "kills": kills, **watch.row()}


def every_call_of(scenario: Scenario, watch: Watch, step: int) -> tuple[int, int]:
    """Calls of one scenario, and kills."""
    shim = ctypes.CDLL(None)
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "dump")
        shim.fault_arm(ALL_CALLS, 0, ctypes.c_long(0), 0, folder.encode())
        scenario.write(path)
        calls = shim.fault_disarm()
        want = contents(path)
        kills = 0
        for mode in (BEFORE, HALF, AFTER):
            for k in range(1 + mode % step, calls + 1, step):
                shutil.rmtree(path)
                reached, ended = run_child(scenario, path, 0, watch, None, (mode, k))
                kills += not ended
                run_child(scenario, path, reached, watch, None)
                watch.differ += contents(path) != want
    return calls, kills


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--every", type=int, metavar="STEP", help="kill at every STEP-th system call instead")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--state", help="where an interrupted run is kept")
    parser.add_argument("--output", help="file that the last line is appended to")
    args = parser.parse_args()
    watch = Watch()
    say = (lambda text: print(text, end="\r", file=sys.stderr)) if sys.stderr.isatty() else void
    row = every_call(watch, args.every) if args.every else random_kills(args.kills, args.seed, args.state, watch, say)
    line = "kill -9, " + ", ".join(f"{k} {v}".strip() for k, v in row.items())
    print(line)
    if args.output:
        with open(args.output, "a", encoding="utf-8") as file:
            file.write(line + "\n")
    if args.state and os.path.exists(args.state):
        os.unlink(args.state)
    return int(any(watch.row().values()))


if __name__ == "__main__":
    sys.exit(main())
