"""The table that is kept: counts, then every survivor with its reason."""

from __future__ import annotations

import datetime
import platform
import subprocess
from collections import Counter
from pathlib import Path

from session import FACTORS, mutant
from state import State, file_of

__all__ = ["table"]

REASONS = {
    "Truth.reflections": "a reflection along h is that along -h",
    "LPResult.violation": "rounding, at most 1e-13 by contract",
}


def table(state: State, fields: list[str]) -> str:
    """Text of at most 120 columns."""
    built = {f for s in state.seen.values() for f, visible in s.get("fields", {}).items() if visible}
    lines = [f"{datetime.date.today()}, commit {_commit(state.root)}, Python {platform.python_version()}"]
    lines += [f"{len(fields)} float fields of results; one is multiplied, and a test or a claim of verify notices:"]
    for factor in FACTORS:
        n = sum(mutant(f, factor) in state.noticed for f in fields)
        lines.append(f"  x {factor:<5g} {n} of {len(fields)} ({100 * n / len(fields):.1f} %)")
    new = sum(mutant(f, x) not in state.noticed and mutant(f, x) not in state.survived for f in fields for x in FACTORS)
    lines += [f"  {new} mutants have not met their tests yet"] if new else []
    lines += ["", "not noticed"]
    for f in fields:
        left = [f"{x:g}" for x in FACTORS if mutant(f, x) in state.survived]
        if left:
            none = "" if f in built else "no quick test builds one with a number in it"
            lines.append(f"  {f:<44} x {', '.join(left):<9} {REASONS.get(f, none)}".rstrip())
    lines += ["", "what notices"]
    count = Counter(file_of(by) for by in state.noticed.values())
    lines += [f"  {n:4d}  {file}" for file, n in count.most_common()]
    return "\n".join(lines) + "\n"


def _commit(root: Path) -> str:
    """The commit, with a mark where files differ from it."""

    def git(*args: str) -> str:
        return subprocess.run(["git", *args], cwd=root, capture_output=True, text=True, check=True).stdout.strip()

    try:
        return git("rev-parse", "--short", "HEAD") + ("+" if git("status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
