"""Draws of simulated worlds that go on where they were stopped: a line of JSON a dump, under a hash of the code."""

from __future__ import annotations

import ast
import hashlib
import json
import subprocess
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["Draws", "commit", "fingerprint"]


@dataclass(frozen=True)
class Draws:
    """The file of dumps that are done, the fingerprint that they must bear, and the names of all worlds."""

    state: Path
    code: str
    worlds: Sequence[str]

    def kept(self) -> dict[str, dict[int, Any]]:
        """Dumps that are done, by world and seed."""
        done: dict[str, dict[int, Any]] = {world: {} for world in self.worlds}
        for line in self.state.read_text().splitlines() if self.state.exists() else []:
            try:
                one = json.loads(line)
            except json.JSONDecodeError:  # cut off while it was written
                continue
            if one["code"] == self.code and one["world"] in done:
                done[one["world"]][one["seed"]] = one["of"]
        return done

    def run(
        self, measured: Callable[[str, int], Any], worlds: Iterable[str], dumps: int, minutes: float, batch: int
    ) -> dict[str, dict[int, Any]]:
        """Draw what is missing, a batch of each of these worlds in turn, until all is done or time is up."""
        end, done, worlds = time.monotonic() + 60 * minutes, self.kept(), list(worlds)
        cut = self.state.exists() and self.state.read_bytes()[-1:] not in (b"", b"\n")
        with self.state.open("a") as file:
            file.write("\n" * cut)  # or the next dump would be lost with a line that was cut off
            for start in range(0, dumps, batch):
                for world in worlds:
                    for seed in range(start, min(start + batch, dumps)):
                        if seed in done[world]:
                            continue
                        if time.monotonic() > end:
                            return done
                        done[world][seed] = one = measured(world, seed)
                        line = {"code": self.code, "world": world, "seed": seed, "of": one}
                        file.write(json.dumps(line) + "\n")
                    file.flush()
        return done


def fingerprint(files: Iterable[Path]) -> str:
    """Of the code whose numbers these are: its statements, not its comments, docstrings or where it imports from."""
    return hashlib.sha256("".join(_statements(p) for p in sorted(files)).encode()).hexdigest()[:16]


def _statements(path: Path) -> str:
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        for name in ("body", "orelse"):
            held = getattr(node, name, None)
            if isinstance(held, list):
                setattr(node, name, [x for x in held if not _changes_no_number(x)])
    return ast.dump(tree)


def _changes_no_number(node: ast.stmt) -> bool:
    text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    return text or isinstance(node, (ast.Import, ast.ImportFrom))


def commit() -> str:
    out = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=Path(__file__).parent, capture_output=True, text=True
    )
    return out.stdout.strip() or "unknown"
