"""kill -9 at random moments of cm.capture and cm.judge: a run that goes on ends in the bytes of one that was let be.

    python tests/torture/model_kills.py [--kills 20] [--seed 0] [--kinds given pairwise]     # needs the extra torch

Models are tiny, of random weights. A moment is drawn over the time that an undisturbed run takes from its first
rows on.
"""

from __future__ import annotations

import argparse
import contextlib
import filecmp
import multiprocessing
import shutil
import signal
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "python"))
import tiny_models

import clinometer as cm

PROMPTS = [f"prompt number {k}" * (1 + k % 3) for k in range(12)]
GIVEN = [["", "a reply", f"another to {k}"] for k in range(12)]
PERSONAS = {"kind": ("You are kind.", "You are rude."), "short": ("Be short.", "Talk much.")}
KINDS = ("drawn", "given", "contrast", "pairwise")


def work(kind: str, out: str, said: Any) -> None:
    """36 rows in several batches, told as they come in."""
    import torch

    torch.set_num_threads(1)
    model, tokenizer = tiny_models.model("llama", max_position_embeddings=1024), tiny_models.tokenizer()
    options: dict[str, Any] = {"out": out, "progress": lambda done, _: said.send(done), "token_budget": 300}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # such a model is no good judge, and is told of
        if kind in ("drawn", "given"):
            options |= {"layers": [1, 2], "n": 3, "max_new_tokens": 12}
            cm.capture(model, tokenizer, PROMPTS, responses=GIVEN if kind == "given" else None, **options)
        else:
            cm.judge(model, tokenizer, Path(out).parent / "drawn", PERSONAS, kind=kind, **options)
    said.close()


def run(kind: str, out: Path, delay: float | None = None) -> tuple[int, float]:
    """One process, killed `delay` seconds after its first rows; its exit code, and how long it went on after them."""
    context = multiprocessing.get_context("forkserver")  # whose server has torch, and no thread yet
    context.set_forkserver_preload(["torch", "transformers.models.llama.modeling_llama", "clinometer.judging"])
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=work, args=(kind, str(out), there))
    process.start()
    there.close()
    begun = time.monotonic()
    with here, contextlib.suppress(EOFError):
        here.recv()
        begun = time.monotonic()
        if delay is None:
            while True:
                here.recv()
        process.join(delay)
        process.kill()
    process.join()
    code = process.exitcode or 0
    process.close()
    return code, time.monotonic() - begun


def same(a: Path, b: Path) -> bool:
    names = sorted(p.name for p in b.iterdir())
    return sorted(p.name for p in a.iterdir()) == names and filecmp.cmpfiles(a, b, names, shallow=False)[0] == names


def torture(kind: str, kills: int, rng: np.random.Generator, folder: Path) -> dict[str, int]:
    """Kill and go on until `kills` have hit; wiped and begun again where a run was done before."""
    if kind not in ("drawn", "given") and not (folder / "drawn").exists():
        run("drawn", folder / "drawn")
    whole, out = folder / kind, folder / f"{kind}-killed"
    code, length = run(kind, whole)
    assert code == 0, kind
    done = {"kills": 0, "unfinished": 0, "ends": 0, "wrong": 0}
    while done["kills"] < kills:
        for _ in range(int(rng.integers(1, 6))):
            done["kills"] += run(kind, out, rng.uniform(0, length))[0] == -signal.SIGKILL
            done["unfinished"] += not (out / "manifest.json").exists()
        done["wrong"] += not (run(kind, out)[0] == 0 and same(out, whole))
        done["ends"] += 1
        shutil.rmtree(out)
    return done


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    args = parser.parse_args()
    wrong = 0
    print(f"{'':10}{'kills':>8}{'left unfinished':>18}{'gone on to an end':>20}{'other bytes':>14}")
    for kind in args.kinds:
        with tempfile.TemporaryDirectory() as folder:
            found = torture(kind, args.kills, np.random.default_rng([args.seed, len(kind)]), Path(folder))
        print(
            f"{kind:10}{found['kills']:>8}{found['unfinished']:>18}{found['ends']:>20}{found['wrong']:>14}", flush=True
        )
        wrong += found["wrong"]
    return int(wrong > 0)


if __name__ == "__main__":
    raise SystemExit(main())
