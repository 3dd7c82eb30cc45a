"""kill -9 at random moments of `clinometer convert`: python tests/torture/convert_kills.py [--kills 100] [--seed 0].

Conversions of every kind of source are killed at random moments, several times each, and started again until they
finish. Nothing that was in may be lost or done again beyond one batch, and the finished dump must have the bytes of one
that was never killed. Prints what was counted; the exit code is 1 where a dump differs.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy

# What a child runs: batches of a quarter MiB, so that there are many moments between them
CHILD = """
import sys
from clinometer.dump import converting
converting._BATCH_BYTES = 1 << 18
tell = lambda done, total: print(done, flush=True)
converting.convert_dump(sys.argv[1], sys.argv[2], shard_rows=3000, progress=tell)
"""


def sources(folder: Path, rows: int = 40_000, dim: int = 64) -> dict[str, Path]:
    """Sources of the same rows, by the reader that they go through."""
    phi = np.random.default_rng(0).normal(size=(rows, dim)).astype(np.float16)
    more = {"prompt_id": np.arange(rows) // 7, "value_x": np.arange(rows) / rows}
    texts = {"who": np.array([f"m{k % 5}" for k in range(rows)])}
    safetensors.numpy.save_file({"phi_L1": phi, "phi_L2": phi[:, :5].copy(), **more}, folder / "x.safetensors")
    np.savez_compressed(folder / "x.npz", phi=phi, **more, **texts)
    np.save(folder / "x.npy", phi.astype(">f2"))
    out = {name: folder / name for name in ("x.safetensors", "x.npz", "x.npy")}
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        return out
    lists = pa.FixedSizeListArray.from_arrays(pa.array(phi.reshape(-1)), dim)
    pq.write_table(pa.table({"phi": lists, **more, **texts}), folder / "x.parquet", row_group_size=7000)
    return out | {"x.parquet": folder / "x.parquet"}


def digest(folder: Path) -> str:
    """Names and bytes of everything in a folder."""
    out = hashlib.sha256()
    for file in sorted(folder.iterdir()):
        out.update(file.name.encode() + b"\0" + file.read_bytes())
    return out.hexdigest()


def wait(child: subprocess.Popen[bytes], seconds: float) -> bool:
    """Whether it is still running after so many seconds."""
    end = time.monotonic() + seconds
    while child.poll() is None and time.monotonic() < end:
        time.sleep(0.001)
    return child.poll() is None


def until_done(source: Path, target: Path, rng: random.Random, kills: int, length: float) -> dict[str, Any]:
    """Convert under kills; what was counted. `length` is how long the rows of an undisturbed run take, in seconds."""
    counted = {"kills": 0, "resumed": 0, "redone": 0, "lost": 0, "seconds": 0.0}
    reached = 0
    while True:
        with tempfile.TemporaryFile() as out:
            child = subprocess.Popen(
                [sys.executable, "-W", "ignore", "-c", CHILD, str(source), str(target)], stdout=out
            )
            while child.poll() is None and not os.fstat(out.fileno()).st_size:
                time.sleep(0.001)  # most of a short run is the start of the interpreter
            begun = time.monotonic()
            if counted["kills"] < kills and wait(child, rng.uniform(0.0, length)):
                child.send_signal(signal.SIGKILL)
                counted["kills"] += 1
            child.wait()
            counted["seconds"] = time.monotonic() - begun
            out.seek(0)
            seen = [int(line) for line in out.read().split(b"\n")[:-1] if line.isdigit()]
        if seen and reached:
            counted["resumed"] += 1
            # the first batch of a run ends one batch after the rows that it found; a batch may have been in, untold
            counted["redone"] += seen[0] <= reached
            counted["lost"] += seen[0] < reached
        reached = max([reached, *seen])
        if child.returncode == 0:
            return counted
        if child.returncode != -signal.SIGKILL:
            raise RuntimeError(f"{source.name}: convert ended with {child.returncode}")


def torture(kills: int, seed: int, rows: int = 40_000, kinds: tuple[str, ...] = ()) -> dict[str, Any]:
    """Kill until `kills` are spent, source after source; the sums and whether every dump was the same."""
    rng, total = random.Random(seed), {"kills": 0, "resumed": 0, "redone": 0, "lost": 0, "dumps": 0, "different": 0}
    with tempfile.TemporaryDirectory() as at:
        folder = Path(at)
        held = {k: path for k, path in sources(folder, rows).items() if not kinds or k in kinds}
        whole, length = {}, {}
        for name, source in held.items():
            length[name] = until_done(source, folder / f"whole-{name}", rng, 0, 0.0)["seconds"]
            whole[name] = digest(folder / f"whole-{name}")
        while total["kills"] < kills:
            for name, source in held.items():
                target = folder / "killed"
                wanted = min(5, kills - total["kills"])
                counted = until_done(source, target, rng, wanted, length[name])
                for key in ("kills", "resumed", "redone", "lost"):
                    total[key] += counted[key]
                total["dumps"] += 1
                total["different"] += digest(target) != whole[name] or (folder / ".killed.converting.json").exists()
                for file in target.iterdir():
                    file.unlink()
                target.rmdir()
                if total["kills"] >= kills:
                    break
    return total


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    total = torture(args.kills, args.seed)
    print(
        f"{total['kills']} kills over {total['dumps']} conversions, {total['resumed']} went on from rows that were in; "
        f"{total['lost']} lost rows, {total['redone']} did rows again, {total['different']} dumps differ"
    )
    return int(bool(total["different"] or total["lost"]))


if __name__ == "__main__":
    sys.exit(main())
