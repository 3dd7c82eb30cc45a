"""Fuzz every format for a while: python tests/fuzz/fuzz.py [--seconds 600] [--formats npy ...].

Inputs are kept where they reach new lines of the package, which tracing a tenth of them shows. A run goes on where an
interrupted one stopped. Prints executions and findings per format, as a table for benchmarks/results; the exit code
is 1 where there is a finding.
"""

from __future__ import annotations

import argparse
import datetime
import hashlib
import json
import os
import platform
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import safetensors

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
from targets import TARGETS, Finding, run, scratch  # noqa: E402

WORK = HERE / ".work"
CORPUS = HERE / "corpus"
BATCH = 2000
KEPT = 400  # inputs of a format that are mutated further


class Lines:
    """The lines of the package that an input reaches, by the interpreter's tracing."""

    def __init__(self) -> None:
        self.seen: set[tuple[str, int]] = set()
        self.new = False

    def __call__(self, frame: FrameType, event: str, arg: Any) -> Any:
        if f"{os.sep}clinometer{os.sep}" not in frame.f_code.co_filename:
            return None
        return self._line

    def _line(self, frame: FrameType, event: str, arg: Any) -> Any:
        place = (frame.f_code.co_filename, frame.f_lineno)
        if event == "line" and place not in self.seen:
            self.seen.add(place)
            self.new = True
        return self._line


def state_of(name: str) -> dict[str, Any]:
    path = WORK / f"{name}.json"
    if path.exists():
        return dict(json.loads(path.read_text()))
    return {"executions": 0, "accepted": 0, "seconds": 0.0, "findings": [], "batch": 0}


def save(name: str, state: dict[str, Any]) -> None:
    temporary = WORK / f"{name}.json.tmp"
    temporary.write_text(json.dumps(state))
    os.replace(temporary, WORK / f"{name}.json")


def fuzz(name: str, seconds: float) -> None:
    """Batches of one format until its time is used up; each is saved, so a kill loses less than one."""
    target, state, lines = TARGETS[name], state_of(name), Lines()
    held = WORK / name
    held.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=scratch()) as at:
        folder = Path(at)
        pool = target.seeds(folder)
        pool += [p.read_bytes() for where in (CORPUS / name, held) if where.exists() for p in sorted(where.iterdir())]
        for data in pool:
            traced(name, data, folder, lines)
        while state["seconds"] < seconds:
            begun, rng = time.monotonic(), random.Random(f"{name} {state['batch']}")
            for k in range(BATCH):
                data = target.mutate(rng.choice(pool), rng)
                # tracing is slow: a tenth of the inputs look for new lines, all are judged
                look = k % 10 == 0
                try:
                    state["accepted"] += traced(name, data, folder, lines) if look else run(name, data, folder)
                except Finding as finding:
                    note(held, state, data, str(finding))
                if look and lines.new and len(pool) < KEPT and len(data) < 1 << 14:
                    pool.append(data)
                    (held / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)
                state["executions"] += 1
            state["batch"] += 1
            state["seconds"] += time.monotonic() - begun
            save(name, state)


def traced(name: str, data: bytes, folder: Path, lines: Lines) -> bool:
    lines.new = False
    sys.settrace(lines)
    try:
        return run(name, data, folder)
    finally:
        sys.settrace(None)


def note(held: Path, state: dict[str, Any], data: bytes, what: str) -> None:
    kind = what[:120]
    if kind not in [f["what"][:120] for f in state["findings"]]:
        file = f"finding-{hashlib.sha256(data).hexdigest()[:16]}"
        (held.parent / file).write_bytes(data)
        state["findings"].append({"what": what[:300], "file": file})


def table(names: list[str]) -> str:
    """Executions and findings as aligned text."""
    rows = [["format", "executions", "accepted", "seconds", "findings", "corpus"]]
    for name in names:
        state = state_of(name)
        kept = sum(1 for where in (CORPUS / name, WORK / name) if where.exists() for _ in where.iterdir())
        numbers = (state["executions"], state["accepted"], round(state["seconds"]), len(state["findings"]), kept)
        rows.append([name, *(f"{n:,}" for n in numbers)])
    return "\n".join(row[0].ljust(12) + "".join(cell.rjust(13) for cell in row[1:]) for row in rows)


def about() -> str:
    """Date, commit, versions."""
    asked = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=HERE, capture_output=True, text=True)
    commit = asked.stdout.strip() or "unknown"
    versions = f"NumPy {np.__version__}, safetensors {safetensors.__version__}, Python {platform.python_version()}"
    return f"{datetime.date.today()}  commit {commit}  {versions}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=600, help="of each format, over all runs")
    parser.add_argument("--formats", nargs="+", choices=list(TARGETS), default=list(TARGETS))
    parser.add_argument("--results", help="file for the table")
    parser.add_argument("--one", choices=list(TARGETS), help=argparse.SUPPRESS)
    args = parser.parse_args()
    WORK.mkdir(exist_ok=True)
    if args.one:
        fuzz(args.one, args.seconds)
        return 0
    died = []
    for name in args.formats:
        # a process of its own: a crash of the interpreter is a finding and not the end
        code = subprocess.run([sys.executable, __file__, "--one", name, "--seconds", str(args.seconds)]).returncode
        if code:
            died.append(f"{name}: the process ended with {code}")
    said = [f"{about()}", table(args.formats)]
    findings = [f"{n}: {f['what']} ({f['file']})" for n in args.formats for f in state_of(n)["findings"]]
    said += [*findings, *died]
    print("\n".join(said))
    if args.results:
        Path(args.results).write_text("\n".join(said) + "\n")
    return int(bool(findings or died))


if __name__ == "__main__":
    sys.exit(main())
