"""python -m experiments STEP [--size full|quarter|small] [--part K/N]: see README.md beside this file."""

from __future__ import annotations

import argparse
import os
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # nothing is looked up

from .costs import show_costs
from .forecast import write_forecast
from .kept import keep, restore
from .network import smollm2
from .page import write_page
from .predictions import read_layers
from .rows import judge, sample
from .runner import train, train_by_workers
from .settings import Settings, full, quarter, small
from .table import show

STEPS = ("sample", "judges", "forecast", "train", "layers", "table")


def step(s: Settings, what: str, lm: Any = None) -> None:
    """One step, with the model where it needs one; each goes on where a stopped call was."""
    if what == "forecast":
        write_forecast(s)
    elif what == "table":
        print(show(s))
    elif what == "page":
        print(write_page(s))
    elif what == "costs":
        print(show_costs(s))
    elif what == "keep":
        print(f"kept in {keep(s)}: commit it")
    else:
        {"sample": sample, "judges": judge, "layers": read_layers, "train": train, "restore": restore}[what](
            s, smollm2() if lm is None else lm
        )


def main() -> None:
    asked = argparse.ArgumentParser(prog="python -m experiments", description=__doc__)
    asked.add_argument("step", choices=[*STEPS, "costs", "page", "keep", "restore", "all"])
    asked.add_argument("--size", choices=["full", "quarter", "small"], default="full")
    asked.add_argument("--part", help="K/N: of the policies every N-th from K on, in this process")
    asked.add_argument("--arm", choices=["", "dpo", "gradient"], default="", help="train the policies of one arm alone")
    asked.add_argument("--workers", type=int, choices=[1, 2], default=2)
    given = asked.parse_args()
    s = {"full": full, "quarter": quarter, "small": small}[given.size]()
    for what in STEPS if given.step == "all" else (given.step,):
        if what == "train" and given.part:
            part, parts = map(int, given.part.split("/"))
            train(s, smollm2(), part, parts, given.arm)
        elif what == "train":
            train_by_workers(s, given.workers, given.arm)
        else:
            step(s, what)


if __name__ == "__main__":
    main()
