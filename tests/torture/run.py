"""The long tier behind `make torture`: every script here, one after the other, and a table of what they found.

    python tests/torture/run.py [--results FILE] [--kills 200] [STEP ...]

A run that is interrupted goes on with the step (and kill) where it stopped, as long as the commit is the same; steps
can be run one by one, and a run of all of them then prints the table.
Needs Linux and a C compiler (CC, else cc). Files go to memory (/dev/shm) unless TMPDIR says otherwise: what a killed
process leaves does not depend on the disk, and fsync takes no time there.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
KEPT = ROOT / "build" / "torture"


def steps(kills: int) -> dict[str, list[str]]:
    """Name of a step to script and arguments."""
    return {
        "random kills": ["kills.py", "--kills", str(kills), "--state", str(KEPT / "kills.json")],
        "kill at every call": ["kills.py", "--every", "1"],
        "kills of convert": ["convert_kills.py", "--kills", str(kills)],
        "failing calls": ["failures.py"],
        "failing allocations": ["allocations.py"],
        "interrupts and cut files": ["interrupts.py"],
        "paths of manifests": ["traversal.py"],
        "very many, very long": ["sizes.py"],
        "thread sanitizer": ["sanitizers.py", "thread"],
        "address and undefined-behaviour sanitizers": ["sanitizers.py", "address"],
    }


def commit() -> str:
    """The commit, with a mark where files differ from it."""
    asked = (["git", "rev-parse", "--short", "HEAD"], ["git", "status", "--porcelain", "-uno"])
    try:
        name, changed = (subprocess.run(c, cwd=ROOT, capture_output=True, text=True, check=True).stdout for c in asked)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return name.strip() + ("+" if changed.strip() else "")


def run(command: list[str], libraries: dict[str, str]) -> tuple[int, str, float]:
    """Exit code, what it printed, seconds."""
    begun = time.monotonic()
    memory = {"TMPDIR": "/dev/shm"} if os.access("/dev/shm", os.W_OK) else {}
    env = memory | os.environ | {"LD_PRELOAD": libraries.get(command[0], ""), "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, str(HERE / command[0]), *command[1:]], env=env, capture_output=True, text=True
    )
    return done.returncode, done.stdout + (done.stderr if done.returncode else ""), time.monotonic() - begun


def compiled(source: str, folder: str) -> str:
    """A library for LD_PRELOAD."""
    out = os.path.join(folder, source.replace(".c", ".so"))
    compiler = os.environ.get("CC", "cc")
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", out, str(HERE / source), "-ldl"], check=True)
    return out


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", help="file for the table")
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("step", nargs="*", help="only these")
    args = parser.parse_args()
    KEPT.mkdir(parents=True, exist_ok=True)
    state = KEPT / "done.json"
    table = {"commit": commit(), "kills": args.kills, "done": {}}
    if state.exists():
        before = json.loads(state.read_text())
        if (before["commit"], before["kills"]) == (table["commit"], table["kills"]):
            table = before
        else:
            (KEPT / "kills.json").unlink(missing_ok=True)
    about = [
        f"{datetime.date.today()}  commit {table['commit']}  Python {platform.python_version()}  {platform.platform()}"
    ]
    print(about[0], flush=True)
    status = 0
    with tempfile.TemporaryDirectory() as scratch:
        faults, allocations = (compiled(name, scratch) for name in ("faults.c", "allocations.c"))
        libraries = dict.fromkeys(("kills.py", "convert_kills.py", "failures.py", "traversal.py"), faults)
        libraries["allocations.py"] = allocations
        for name, command in steps(args.kills).items():
            if args.step and name not in args.step:
                continue
            if name not in table["done"]:
                table["done"][name] = run(command, libraries)
                state.write_text(json.dumps(table))
            code, said, took = table["done"][name]
            about.append(f"\n{name}: {'FAILED' if code else 'passed'} ({took:.0f} s)\n{said.rstrip()}")
            print(about[-1], flush=True)
            status |= int(code != 0)
    if args.results:
        Path(args.results).write_text("\n".join(about) + "\n")
    if not args.step:
        state.unlink()
    return status


if __name__ == "__main__":
    sys.exit(main())
