"""Dumps of very many and very long things: 1e5 shards, 1e5 columns, names of 1e5 characters, 100 MB of texts.

    python tests/torture/sizes.py

Each must be written, opened, tilted, inspected and reported with the bits of the same rows in memory, in bounded time
and with bounded output.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np

import clinometer as cm

MOST = 100_000
SECONDS = 120.0  # of each row of the table, on a slow disk
CHARACTERS = 1_000_000  # of what is printed or written to a page


def rows(n: int) -> tuple[Any, Any, dict[str, Any]]:
    phi = np.random.default_rng(0).standard_normal((n, 4)).astype(np.float32)
    return phi, np.arange(n) // 8, {"value_a": phi[:, 0] ** 2, "judge/a": phi[:, 1].astype(float)}


def printed(path: Path, judge: str, value: str) -> int:
    """Characters that `inspect` and a report print of a dump."""
    said = subprocess.run([sys.executable, "-m", "clinometer", "inspect", str(path)], capture_output=True, text=True)
    made = cm.report(path, constitutions=[judge], values=[value], kl=[0.1], sections=())
    return len(said.stdout) + len(said.stderr) + len(made.to_html()) + len(made.to_text())


def on_disk(path: Path, n: int, more: dict[str, Any], judge: str = "judge/a", value: str = "a", **options: Any) -> int:
    """Write, open, tilt and show a dump; characters shown. Its tilt has the bits of the rows in memory."""
    phi, ids, columns = rows(n)
    columns |= more
    cm.write_dump(path, phi, prompt_ids=ids, columns=columns, **options)
    memory = cm.open_dump(phi, prompt_ids=ids, columns={k: columns[k] for k in (judge, f"value_{value}")})
    found, want = (cm.tilt(d, judge, [1.0], value).gain for d in (cm.open_dump(path), memory))
    if found.tobytes() != want.tobytes():
        raise SystemExit(f"{path.name}: the tilt has other bits than that of the same rows in memory")
    return printed(path, judge, value)


def texts() -> int:
    phi, ids, columns = rows(1000)
    given = [("p" * 1000, "r" * MOST)] * len(ids)
    made = cm.report(
        cm.open_dump(phi, prompt_ids=ids, columns=columns), constitutions=["judge/a"], values=["a"], kl=[0.1],
        texts=given, sections=(),
    )  # fmt: skip
    return len(made.to_html()) + len(made.to_json()) + len(made.to_text())


def main() -> int:
    warnings.simplefilter("ignore")
    status = 0
    with tempfile.TemporaryDirectory() as folder:
        many = {f"value_{k:06d}": np.zeros(64) + k for k in range(MOST)}
        judge, value = "judge/" + "g" * MOST, "v" * MOST
        phi = rows(64)[0]
        long = {judge: phi[:, 1].astype(float), f"value_{value}": phi[:, 2]}
        cases = {
            "1e5 shards of one row": lambda: on_disk(Path(folder, "shards"), MOST, {}, shard_rows=1),
            "1e5 columns": lambda: on_disk(Path(folder, "columns"), 64, many),
            "names of 1e5 characters": lambda: on_disk(Path(folder, "names"), 64, long, judge, value),
            "100 MB of texts": texts,
        }
        for name, case in cases.items():
            begun = time.monotonic()
            shown, took = case(), time.monotonic() - begun
            wrong = shown > CHARACTERS or took > SECONDS
            status |= int(wrong)
            print(f"{name:<26}{shown:>9} characters shown {took:6.1f} s  {'FAILED' if wrong else 'ok'}", flush=True)
    return status


if __name__ == "__main__":
    sys.exit(main())
