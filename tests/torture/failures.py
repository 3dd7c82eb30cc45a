"""The k-th open, write, fsync, rename, truncate or mkdir fails, for every k, under everything that writes files.

    LD_PRELOAD=faults.so python tests/torture/failures.py [NAME ...]

Each failure must be an OSError with its errno and a path that the caller knows; no half-written file may stay,
what was there before must be as it was (or already the new one, whole), and the next try must succeed.
"""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from scenarios import Scenario, contents

import clinometer as cm

OPEN, WRITE, SYNC, RENAME, CUT, MAKE = 1, 2, 4, 8, 16, 32
FAULTS = [(OPEN, errno.EMFILE), (WRITE, errno.ENOSPC), (WRITE | SYNC | CUT, errno.EIO), (RENAME, errno.EIO),
          (MAKE, errno.ENOSPC)]  # fmt: skip
SHIM = ctypes.CDLL(None)


@dataclass
class Operation:
    """Something that writes below a folder: `write(folder, new)` with new=False makes what is there before."""

    write: Callable[[str, bool], Any]
    resumes: bool = False


@dataclass
class Tally:
    """What was tried and what went wrong."""

    failures: int = 0
    wrong: list[str] = field(default_factory=list)


def operations() -> dict[str, Operation]:
    """Every writer of the package, on small data."""
    rng = np.random.default_rng(0)
    phi, ids = rng.normal(size=(60, 3)).astype(np.float32), np.arange(60) // 6
    columns = {"judge/kind": rng.normal(size=60), "helpful": phi @ [1.0, 0.5, 0.0], "n_tokens": np.arange(60) + 1.0}
    dumps = [cm.open_dump(phi * s, prompt_ids=ids, columns=columns, policy="on_policy") for s in (1, 2)]
    fits = [cm.fit_value_direction(d, "helpful", folds=2) for d in dumps]
    reports = [cm.report(dumps[0], constitutions=["judge/kind"], values=["helpful"], kl=[k]) for k in (0.1, 0.2)]
    scenario, single = Scenario(19, 8, 9), Scenario(19, 8, 9, single=True)
    texts = [(f"p{k}", "r") for k in range(60)]

    def fold(s: int) -> cm.Fold:
        out = cm.Fold(cm.stat.Moments(), dim=3)
        out.absorb(phi * s, ids)
        return out

    folds = [fold(1), fold(2)]
    directions = [cm.Directions(["a"], phi[:1] * s) for s in (1, 2)]

    def write_dump(f: str, new: bool) -> None:
        cm.write_dump(os.path.join(f, "d"), {4: phi + new, 8: phi}, prompt_ids=ids, columns=columns, texts=texts,
                      pairs=[[0, 1]], directions=directions[new], shard_rows=25)  # fmt: skip

    return {
        "DumpWriter": Operation(lambda f, new: scenario.write(os.path.join(f, "d")) if new else None, resumes=True),
        "DumpWriter, one tensor": Operation(
            lambda f, new: single.write(os.path.join(f, "d")) if new else None, resumes=True
        ),
        "write_dump": Operation(write_dump),
        "Directions.save": Operation(lambda f, new: directions[new].save(os.path.join(f, "u.safetensors"))),
        "DirectionFit.save": Operation(lambda f, new: fits[new].save(os.path.join(f, "fit.safetensors"))),
        "Fold.save": Operation(lambda f, new: folds[new].save(os.path.join(f, "fold"))),
        "Report.to_html": Operation(lambda f, new: reports[new].to_html(os.path.join(f, "r.html"))),
        "Report.to_json": Operation(lambda f, new: reports[new].to_json(os.path.join(f, "r.json"))),
    }


def snapshot(folder: str) -> dict[str, Any]:
    """Files of a folder and of its folders."""
    return {
        name: contents(path) if os.path.isdir(path) else open(path, "rb").read()
        for name in sorted(os.listdir(folder))
        for path in [os.path.join(folder, name)]
    }


def attempt(operation: Operation, folder: str, kinds: int, code: int, k: int) -> tuple[int, OSError | None, str]:
    """One try with the k-th call failing: calls seen, the error, and what is wrong with it."""
    SHIM.fault_arm(kinds, int(k > 0), ctypes.c_long(k), code, folder.encode())
    try:
        operation.write(folder, True)
        return SHIM.fault_disarm(), None, ""
    except OSError as exc:
        seen = SHIM.fault_disarm()
        if exc.errno != code:
            return seen, exc, f"errno {exc.errno} instead of {code}"
        name = os.fsdecode(exc.filename) if exc.filename is not None else ""
        return seen, exc, "" if name.startswith(folder) else f"no path in {exc}"
    except BaseException as exc:
        SHIM.fault_disarm()
        return 0, None, f"{type(exc).__name__}: {exc}"


def torture(name: str, operation: Operation, tally: Tally) -> None:
    """All failures of one operation."""
    with tempfile.TemporaryDirectory() as scratch:
        scratch = os.path.realpath(scratch)
        before, after, folder = (os.path.join(scratch, n) for n in ("before", "after", "tried"))
        for path in (before, after):
            os.mkdir(path)
            operation.write(path, False)
        operation.write(after, True)
        old, new = snapshot(before), snapshot(after)
        for kinds, code in FAULTS:
            k = 1
            while True:
                shutil.rmtree(folder, ignore_errors=True)
                shutil.copytree(before, folder)
                seen, error, wrong = attempt(operation, folder, kinds, code, k)
                where = f"{name}, call {k} of kinds {kinds}, {errno.errorcode[code]}"
                if wrong:
                    tally.wrong.append(f"{where}: {wrong}")
                if seen < k:
                    break
                tally.failures += 1
                left = snapshot(folder)
                if error is None and left != new:
                    tally.wrong.append(f"{where}: no error, and not the whole")
                if not operation.resumes and left not in (old, new):
                    tally.wrong.append(f"{where}: left {sorted(set(left) ^ set(old)) or 'other contents'}")
                try:
                    operation.write(folder, True)
                except Exception as exc:
                    tally.wrong.append(f"{where}: the next try: {type(exc).__name__}: {exc}")
                if snapshot(folder) != new:
                    tally.wrong.append(f"{where}: the next try did not make it whole")
                k += 1


def main() -> int:
    warnings.simplefilter("ignore")
    held = operations()
    status = 0
    for name in sys.argv[1:] or held:
        tally = Tally()
        torture(name, held[name], tally)
        print(f"{name:<24}{tally.failures:>6} failures injected{len(tally.wrong):>6} wrong")
        for line in tally.wrong[:20]:
            print("   ", line)
        status |= bool(tally.wrong)
    return status


if __name__ == "__main__":
    sys.exit(main())
