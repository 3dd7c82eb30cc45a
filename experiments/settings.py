"""What a run consists of: its sizes, the policies it trains, and where its files lie."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent
Spec = dict[str, Any]


@dataclass(frozen=True)
class Settings:
    """One run.

    Attributes
    ----------
    folder : dumps, scores, residuals and policies; never in git
    forecast : the file that is frozen before any training
    committed : whether training wants that file in git, unchanged
    prompts, room, responses : of each split, and the prompts it may grow to, which no other has; "train" is forecast
        from and trained on, "valid" chooses beta by its KL, "held" is measured on, "more" are further prompts for the
        widest arm
    blocks : how many blocks at the top are trained; phi are the states that enter them
    kl : levels of the forecast curve
    aim : how far past the forecast's 1/beta the first try of DPO goes, since part of the slope arrives
    tries : runs of training a policy may take to come within `near` of its KL
    layers : layers that the train split is read at, beside the one whose states phi are
    second : the policy of which a second round's responses are drawn, to so many of the train prompts
    """

    name: str
    folder: Path
    forecast: Path
    committed: bool = True
    prompts: dict[str, int] = field(default_factory=lambda: {"train": 256, "held": 96, "valid": 32, "more": 256})
    room: dict[str, int] = field(default_factory=dict)
    responses: dict[str, int] = field(default_factory=lambda: {"train": 16, "held": 32, "valid": 16, "more": 16})
    max_new_tokens: int = 16
    token_budget: int = 8192
    constitutions: int = 12
    blocks: int = 4
    kl: tuple[float, ...] = (0.01, 0.02, 0.05, 0.1, 0.2, 0.35, 0.5)
    learning_rate: float = 5e-5
    aim: float = 3.0
    tries: int = 2
    near: float = 1.5
    gradient_steps: int = 128
    fresh: int = 8
    checkpoint_every: int = 32
    layers: tuple[int, ...] = (1, 5, 10, 15, 20, 26, 29)
    second: tuple[str, int] = ("dpo-text_cheerful-kl0.1-seed0", 128)
    policies: tuple[Spec, ...] = ()

    @property
    def kept(self) -> Path:
        """What git holds of a run beside its forecast."""
        return self.forecast.parent.parent / "kept" / self.name


def full(root: Path = HERE) -> Settings:
    return Settings("full", root / "runs" / "full", root / "frozen" / "full.json", policies=_policies(256))


def quarter(root: Path = HERE) -> Settings:
    """Under a quarter of full's rows and half of its steps: what two cores do in an afternoon."""
    return Settings(
        "quarter", root / "runs" / "quarter", root / "frozen" / "quarter.json",
        prompts={"train": 96, "held": 48, "valid": 32}, room={"train": 128, "held": 64},
        responses={"train": 16, "held": 16, "valid": 8},
        gradient_steps=64, second=("dpo-text_cheerful-kl0.1-seed0", 48), policies=_policies(96, more=False),
    )  # fmt: skip


def small(root: Path = HERE) -> Settings:
    """A quarter of an hour: that every step runs on the real model, not that it shows anything."""
    sizes = {"train": 32, "held": 24, "valid": 8}
    return Settings(
        "small", root / "runs" / "small", root / "runs" / "small.json", committed=False, prompts=sizes,
        responses={"train": 8, "held": 8, "valid": 8}, constitutions=4, tries=1, gradient_steps=8, fresh=4,
        second=("dpo-text_cheerful-kl0.1-seed0", 16), policies=(
            dpo("planted"), dpo("text/cheerful"), dpo("length"), policy_gradient("planted"),
        ),
    )  # fmt: skip


def dpo(judge: str, kl: float = 0.1, seed: int = 0, prompts: int | None = None, passes: int = 1, **more: Any) -> Spec:
    return _named({"arm": "dpo", "judge": judge, "kl": kl, "seed": seed, "prompts": prompts, "passes": passes} | more)


def policy_gradient(judge: str, kl: float = 0.1, seed: int = 0, **more: Any) -> Spec:
    return _named({"arm": "gradient", "judge": judge, "kl": kl, "seed": seed, "prompts": None, "passes": 1} | more)


def _named(spec: Spec) -> Spec:
    parts = [spec["arm"], spec["judge"], f"kl{spec['kl']:g}", f"seed{spec['seed']}"]
    parts += [f"prompts{spec['prompts']}"] if spec["prompts"] else []
    parts += [f"passes{spec['passes']}"] if spec["passes"] > 1 else []
    return {"name": "-".join(p.replace("/", "_") for p in parts)} | spec


def _policies(train: int, more: bool = True) -> tuple[Spec, ...]:
    """47 policies; the first six touch every kind, so that a day that ends early has something of each.

    train : prompts of the train split; the data arm has a quarter and half of them, and twice as many if there are more
    """
    first = [
        dpo("planted", fresh=True), dpo("text/cheerful", fresh=True), dpo("length"), dpo("noise"),
        policy_gradient("planted", fresh=True), dpo("planted", prompts=train // 4, passes=4),
    ]  # fmt: skip
    texts = ["kind", "unsure", "careful", "practical", "curious", "formal", "personal", "thankful", "lively"]
    breadth = [
        dpo(f"text/{name}", fresh=name in ("kind", "curious", "lively", "careful", "formal", "personal"))
        for name in texts
    ]
    breadth += [dpo(j, fresh=True) for j in ("not/cheerful", "not/careful", "value/you", "value/exclaims", "probe")]
    levels = [dpo(j, kl) for j in ("planted", "text/cheerful", "text/curious", "value/you") for kl in (0.03, 0.25)]
    repeats = [
        dpo(j, seed=seed) for j in ("planted", "text/cheerful", "text/curious", "value/you") for seed in (1, 2)
    ]  # fmt: skip
    gradients = [policy_gradient(j, fresh=j == "value/you") for j in ("value/you", "value/exclaims", "length")]
    gradients.append(policy_gradient("text/cheerful", fresh=True))
    data = [dpo(j, prompts=n) for j in ("planted", "text/cheerful") for n in (train // 4, train // 2)]
    data += [dpo("planted", prompts=2 * train)] if more else []
    memorised = [dpo("text/cheerful", prompts=train // 4, passes=4), dpo("planted", prompts=train, passes=4)]
    return (*first, *breadth, *gradients, *data, *memorised, *levels, *repeats)


def plain(found: Any) -> Any:
    """As JSON holds it: lists for arrays, null for what is not finite."""
    if isinstance(found, dict):
        return {str(k): plain(v) for k, v in found.items()}
    if isinstance(found, (list, tuple)):
        return [plain(v) for v in found]
    if isinstance(found, (np.ndarray, np.generic)):
        return plain(found.tolist())
    return None if isinstance(found, float) and not np.isfinite(found) else found


def write_json(path: Path, found: Any) -> None:
    """Whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.with_name(path.name + f".{os.getpid()}")
    half.write_text(json.dumps(plain(found)) + "\n")
    half.replace(path)


def digest(*arrays: Any) -> str:
    """Of the arrays' types, shapes and bytes."""
    found = hashlib.sha256()
    for array in map(np.ascontiguousarray, arrays):
        found.update(f"{array.dtype.str}{array.shape}".encode() + array.tobytes())
    return "sha256:" + found.hexdigest()


@contextmanager
def timed(s: Settings, what: str) -> Iterator[list[float]]:
    """Adds a line to the table of costs; the block appends how many units it did."""
    begin, cpu, units = time.monotonic(), time.process_time(), [0.0]
    try:
        yield units
    finally:
        _add_line(s, what, sum(units), time.monotonic() - begin, time.process_time() - cpu)


def _add_line(s: Settings, what: str, units: float, wall: float, cpu: float) -> None:
    line = {"what": what, "units": units, "wall": wall, "cpu": cpu}
    s.folder.mkdir(parents=True, exist_ok=True)
    with (s.folder / "costs.jsonl").open("a") as file:
        file.write(json.dumps(line) + "\n")
