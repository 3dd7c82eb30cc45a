"""Ctrl-C at random moments of every long call, and files that shrink at random moments under one.

    python tests/torture/interrupts.py [--trials 100] [--cuts 200] [NAME ...]

A call must end in a KeyboardInterrupt (p99 below half a second after the signal), one over a cut file in a
DumpChangedError, and the next call must give what it gave before.
"""

from __future__ import annotations

import argparse
import gc
import importlib.util
import os
import random
import signal
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from calls import calls, digest

import clinometer as cm

LIMIT = 0.5  # seconds from the signal to the exception, at the 99th of 100
SHORT = 0.05  # seconds: a call that takes less is not a long one


def interrupted(call: Callable[[], Any], after: float) -> float:
    """Seconds from a signal, sent `after` seconds from now, to the exception."""
    sent: list[float] = []

    def send() -> None:
        time.sleep(after)
        sent.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=send)
    try:
        thread.start()  # on a busy machine the signal may come before it returns
        while True:
            call()
    except KeyboardInterrupt:
        ended = time.monotonic()
    thread.join()
    return ended - sent[0]


def waits(call: Callable[[], Any], trials: int, rng: random.Random) -> str:
    """One line of what `trials` signals did, empty for a call that is too short to want one."""
    want = digest(call())
    begun = time.monotonic()
    call()
    took = time.monotonic() - begun
    if took < SHORT:
        return ""
    found = sorted(interrupted(call, rng.uniform(0, took)) for _ in range(trials))
    p50, p99 = found[len(found) // 2], found[min(len(found) - 1, int(0.99 * len(found)))]
    right = digest(call()) == want
    said = "ok" if p99 < LIMIT and right else "FAILED" if right else "FAILED: another answer afterwards"
    return f"of {took:6.2f} s  p50 {p50:.3f}  p99 {p99:.3f}  longest {found[-1]:.3f} s  {said}"


def cuts(count: int, folder: str, rng: random.Random) -> tuple[int, list[str]]:
    """Files cut at random moments of a pass, to random lengths; how many passes said so, and what was wrong."""
    rows, d, path = 20_000, 256, os.path.join(folder, "rows.npy")
    data = np.random.default_rng(0).standard_normal((rows, d), dtype=np.float32)
    u, ids = np.ones((2, d)), np.arange(rows) // 8
    small = digest(cm.moments(data[:64], prompt_ids=ids[:64]))
    passes: list[Callable[[cm.Dump], Any]] = [cm.moments, lambda f: cm.score(f, u), lambda f: cm.tilt(f, u, [1.0])]
    told, wrong = 0, []
    for trial in range(count):
        np.save(path, data)
        dump = cm.open_dump(path, prompt_ids=ids)
        size = rng.choice([0, 64, 4096, rng.randrange(os.path.getsize(path)), os.path.getsize(path) - 1])
        cut = threading.Timer(rng.uniform(0, 0.05), os.truncate, (path, size))
        cut.start()
        try:
            for _ in range(1000):
                passes[trial % 3](dump)
            wrong.append(f"cut to {size} bytes: nothing said")
        except cm.DumpChangedError as error:
            told += path in str(error)
        except Exception as error:
            wrong.append(f"cut to {size} bytes: {type(error).__name__}: {error}")
        cut.join()
        if digest(cm.moments(data[:64], prompt_ids=ids[:64])) != small:
            wrong.append(f"cut to {size} bytes: another answer afterwards")
    return told, wrong


def with_extras(dump: str, scratch: str) -> dict[str, Callable[[], Any]]:
    """A capture from a tiny model (extra `torch`) and passes on a Dask cluster (extra `dask`), where they are here."""
    out: dict[str, Callable[[], Any]] = {}
    if importlib.util.find_spec("torch") and importlib.util.find_spec("transformers"):
        sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "python"))
        import tiny_models

        model, tokenizer = tiny_models.model("llama", max_position_embeddings=512), tiny_models.tokenizer()

        def captured() -> Any:
            with tempfile.TemporaryDirectory(dir=scratch) as folder:
                made = os.path.join(folder, "d")
                prompts = [f"prompt {k}" for k in range(6)]
                cm.capture(model, tokenizer, prompts, layers=[1], n=3, max_new_tokens=8, out=made)
                return cm.open_dump(made).read(0, 18)

        out["capture"] = captured
    if importlib.util.find_spec("distributed"):
        from distributed import Client

        client, u = Client(n_workers=1, threads_per_worker=1, dashboard_address=":0"), np.eye(3, cm.open_dump(dump).dim)
        out["distributed.tilt"] = lambda: cm.distributed.tilt(dump, u, [1.0], ["good"], client=client)
    return out


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--cuts", type=int, default=200)
    parser.add_argument("--prompts", type=int, default=1000, help="of 8 responses")
    parser.add_argument("--dim", type=int, default=256, help="columns of a row")
    parser.add_argument("name", nargs="*", help="only these calls")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs have it ignored
    gc.disable()  # a signal inside a callback of the collector, as distributed has one, is lost to all
    rng, status = random.Random(0), 0
    with tempfile.TemporaryDirectory() as folder:
        told, wrong = cuts(args.cuts, folder, rng)
        status |= told != args.cuts
        print(
            f"files cut under a pass: {args.cuts}, errors that say so {told}, wrong {len(wrong)}",
            *wrong[:5],
            sep="\n  ",
        )
        every = calls(args.prompts, 8, args.dim, folder)
        for name, call in (every | with_extras(os.path.join(folder, f"d{args.prompts}"), folder)).items():
            if args.name and name not in args.name:
                continue
            said = waits(call, args.trials, rng)
            status |= "FAILED" in said
            if said:
                print(f"{name:<32}{said}", flush=True)
    return status


if __name__ == "__main__":
    sys.exit(main())
