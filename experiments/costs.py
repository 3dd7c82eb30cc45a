"""What every step cost, and what is left of a run by what its finished part cost."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np

from .settings import Settings

Line = tuple[str, float, float, float]


def markdown(head: list[str], body: list[list[Any]]) -> list[str]:
    """Lines of a table; numbers to four digits, "-" for what is not there."""

    def cell(x: Any) -> str:
        return x if isinstance(x, str) else "-" if x is None or not np.isfinite(x) else f"{x:.4g}"

    return ["| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *([cell(x) for x in r] for r in body))]


def costs(s: Settings) -> list[Line]:
    """Step, units, CPU seconds, wall seconds; a step that was gone on with counts all its calls."""
    total: dict[str, list[float]] = {}
    path = s.folder / "costs.jsonl"
    for line in path.read_text().splitlines() if path.exists() else ():
        found = json.loads(line)
        held = total.setdefault(found["what"], [0.0, 0.0, 0.0])
        whole = re.match("sample|judge|pair", found["what"])
        held[0] = max(held[0], found["units"]) if whole else held[0] + found["units"]
        held[1], held[2] = held[1] + found["cpu"], held[2] + found["wall"]
    return [(what, *numbers) for what, numbers in total.items()]  # type: ignore[misc]


def left(s: Settings) -> list[list[Any]]:
    """Step, how much is done and of how much, CPU seconds so far, and those left; NaN before any part has ended."""
    rows = {split: n * s.responses[split] for split, n in s.prompts.items()}
    judged = {split: n for split, n in rows.items() if split != "more"}
    out = [_of_rows(s, "sample", s.folder / "dumps", rows), _of_rows(s, "judge", s.folder / "judged", judged)]
    found = {path.stem: json.loads(path.read_text()) for path in (s.folder / "policies").glob("*.json")}
    for arm in dict.fromkeys(p["arm"] for p in s.policies):
        asked = [p["name"] for p in s.policies if p["arm"] == arm]
        spent = [found[name]["seconds"]["cpu"] for name in asked if name in found]
        mean = float(np.mean(spent)) if spent else np.nan
        out.append([f"policies, {arm}", len(spent), len(asked), sum(spent), mean * (len(asked) - len(spent))])
    return out


def _of_rows(s: Settings, step: str, folder: Path, wanted: dict[str, int]) -> list[Any]:
    """Rows that are there, an unfinished split's too; those left cost what those of the finished splits did."""
    whole = {split for split in wanted if (s.folder / "rows" / f"{split}.npz").exists()}  # restored ones among them
    done = {split: n if split in whole else _lines(folder / split) for split, n in wanted.items()}
    cpu = {c[0].split()[1].rstrip(","): c[2] for c in costs(s) if c[0].startswith(f"{step} ") and c[1]}
    finished = sum(done[split] for split in cpu)
    rate = sum(cpu.values()) / finished if finished else np.nan
    remain = sum(wanted.values()) - sum(done.values())
    return [f"{step}, rows", sum(done.values()), sum(wanted.values()), sum(cpu.values()), rate * remain]


def _lines(folder: Path) -> int:
    return sum(path.read_bytes().count(b"\n") for path in folder.glob("text*.jsonl*"))


def show_costs(s: Settings) -> str:
    """Both tables, which are there from the first step on."""
    ahead = markdown(["step", "done", "of", "CPU s so far", "CPU s left"], left(s))
    return "\n".join([*markdown(["step", "units", "CPU s", "wall s"], [list(row) for row in costs(s)]), "", *ahead])
