"""Policies: trained one by one to a KL chosen on the validation split, measured on the held-out one, kept as JSON."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

import clinometer as cm
from clinometer.models import LanguageModel

from .forecast import curve_of, file_digest, frozen_for_training, strength_at
from .measuring import by_samples, by_weights, likeness, matched_se
from .network import Halves, Pack, drawn, halves, pack
from .rows import VALUES, Rows, computed, directions, packs, rows, text_scores
from .settings import Settings, Spec, timed, write_json
from .training import Training, dpo_loss, policy_gradient_loss

RATE_KL = 0.1  # at which the first try has the learning rate of the settings
BESIDE = 8  # prompts that responses are drawn to side by side: the weights are read once for all of them


@dataclass
class World:
    """What all policies of a run share: the model, the forecast, and packs with cached states of each split."""

    s: Settings
    lm: LanguageModel
    forecast: dict[str, Any]

    def __post_init__(self) -> None:
        self.halves: Halves = halves(self.lm, self.s.blocks)
        self.made = directions(self.s)
        self._splits: dict[str, list[tuple[str, list[int], Pack]]] = {}
        self._rows: dict[str, Rows] = {}

    def split(self, name: str) -> list[tuple[str, list[int], Pack]]:
        if name not in self._splits:
            self._splits[name] = packs(self.s, self.lm, name)
        return self._splits[name]

    def rows(self, name: str) -> Rows:
        if name not in self._rows:
            self._rows[name] = rows(self.s, name)
        return self._rows[name]

    def table(self, name: str, what: str) -> Any:
        """Scores (G, n, K), values (G, n, J) or reference log-probabilities (G, n) of a split."""
        found = getattr(self.rows(name), what)
        return found.reshape(len(self.split(name)), -1, *found.shape[1:])

    def residual(self, name: str, at: int) -> Any:
        """States that enter the trained blocks, of a prompt with all its responses; computed once for all policies."""
        path = self.s.folder / "residual" / name / f"{at}.npy"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            half = path.with_suffix(f".{os.getpid()}.npy")
            np.save(half, self.halves.residual(self.split(name)[at][2]).numpy())
            half.replace(path)
        return torch.from_numpy(np.load(path))

    def logprobs(self, name: str, at: int, top: Any = None) -> Any:
        return self.halves.logprobs(self.split(name)[at][2], self.residual(name, at), top)

    def reference(self, name: str) -> Any:
        """log pi0 (G, n) by the same arithmetic as the policy's."""
        path = self.s.folder / "residual" / f"{name}.npy"
        if not path.exists():
            with timed(self.s, f"cached states of {name}, prompts") as units:
                found, half = self._every(name, None), path.with_suffix(f".{os.getpid()}.npy")
                self._check(name, found)
                np.save(half, found)
                half.replace(path)
                units.append(len(self.split(name)))
        return np.load(path)

    def _check(self, name: str, found: Any) -> None:
        """Refuse cached states of other rows, and a forward pass that is not the one that responses were drawn by."""
        off = float(abs(found - self.table(name, "logprob")).max())
        if not off < 0.02:
            raise ValueError(f"log-probabilities of {name} are {off:.3g} nats from those of its dump: remove residual/")

    def ratios(self, name: str, top: Any) -> Any:
        return self._every(name, top) - self.reference(name)

    def _every(self, name: str, top: Any) -> Any:
        with torch.no_grad():
            return np.stack([self.logprobs(name, k, top).double().numpy() for k in range(len(self.split(name)))])


def order(world: World, spec: Spec) -> list[tuple[str, int]]:
    """Prompts of a DPO run, a step each: every response is seen once in each pass."""
    n, n_train = spec["prompts"] or len(world.split("train")), len(world.split("train"))
    every = [("train", k) for k in range(min(n, n_train))] + [("more", k) for k in range(n - n_train)]
    mixed = np.random.default_rng(spec["seed"])
    return [every[k] for _ in range(spec["passes"]) for k in mixed.permutation(len(every))]


def dpo_run(world: World, spec: Spec, top: Any, beta: float) -> tuple[Any, int]:
    """Loss of each step, and how many steps there are."""
    k, asked = world.forecast["judges"].index(spec["judge"]), order(world, spec)
    for name in dict(asked):
        world.reference(name)

    def loss(step: int) -> Any:
        name, at = asked[step]
        score = torch.tensor(world.table(name, "scores")[at, :, k])
        ratio = world.logprobs(name, at, top).double() - torch.tensor(world.reference(name)[at])
        return dpo_loss(ratio, score, beta)

    return loss, len(asked)


def gradient_run(world: World, spec: Spec, top: Any, beta: float) -> tuple[Any, int]:
    """The same for the policy gradient: each step draws responses of its own from the policy as it is."""

    def loss(step: int) -> Any:
        prompt, asked, _ = world.split("train")[step % len(world.split("train"))]
        seed = 1_000_000 * (spec["seed"] + 1) + step
        (responses,) = sampled_by(world, top, [asked], world.s.responses["train"], seed, [f"train{step}"])
        p = pack(asked, responses)
        residual = world.halves.residual(p)
        score = torch.tensor(own_scores(world, spec["judge"], prompt, responses, p.mean_of(residual)))
        with torch.no_grad():
            reference = world.halves.logprobs(p, residual).double()
        return policy_gradient_loss(world.halves.logprobs(p, residual, top).double(), reference, score, beta)

    return loss, world.s.gradient_steps


def sampled_by(
    world: World, top: Any, prompts: list[list[int]], n: int, seed: int, names: list[str]
) -> list[list[list[int]]]:
    with world.halves.as_policy(top):
        return drawn(world.lm, prompts, n, world.s.max_new_tokens, seed, names)


def sampled_to(world: World, top: Any, split: str, most: int, n: int, seed: int, of: str) -> Iterator[Any]:
    """Number, prompt and the policy's own responses to a split's first prompts, a few prompts side by side."""
    some = list(enumerate(world.split(split)[:most]))
    for at in range(0, len(some), BESIDE):
        part = some[at : at + BESIDE]
        found = sampled_by(world, top, [a for _, (_, a, _) in part], n, seed, [f"{of}{k}" for k, _ in part])
        for (k, (prompt, asked, _)), responses in zip(part, found, strict=True):
            yield k, prompt, asked, responses


def own_scores(world: World, judge: str, prompt: str, responses: list[list[int]], phi: Any) -> Any:
    """A judge's scores of new responses, in the same units as the rows'."""
    texts = [world.lm.response_text(r) for r in responses]
    kind, _, name = judge.partition("/")
    raw = (
        text_scores(world.s, world.lm, name, prompt, texts) * (-1 if kind == "not" else 1)
        if kind in ("text", "not") else computed(world.made, texts, responses, phi)[0][judge]
    )  # fmt: skip
    return raw / world.made["scale"][world.forecast["judges"].index(judge)]


def trained(world: World, spec: Spec, path: Path) -> tuple[Any, list[dict[str, float]]]:
    """The blocks, and every try, until the KL on the validation split is near the one wanted.

    What is changed is the learning rate: Adam's steps do not know the scale of a loss, so that 1/beta hardly matters to
    a policy that ends far from its optimum; the first goes with sqrt(KL), as the correction does. Where responses are
    repeated the optimum is reached on them, and 1/beta is changed.
    """
    strength = strength_at(world.forecast, spec["judge"], spec["kl"]) * (world.s.aim if spec["arm"] == "dpo" else 1.0)
    rate = world.s.learning_rate * float(np.sqrt(spec["kl"] / RATE_KL))
    run = {"dpo": dpo_run, "gradient": gradient_run}[spec["arm"]]
    tries: list[dict[str, float]] = []
    while True:
        top = world.halves.trainable()
        loss, steps = run(world, spec, top, 1 / strength)
        tag = {"name": spec["name"], "strength": strength, "rate": rate}
        saved = path.with_suffix(f".try{len(tries)}.pt")
        losses = Training(top, loss, steps, rate, saved, world.s.checkpoint_every, tag).run()
        kl = float(by_weights(world.ratios("valid", top), world.table("valid", "values"))["kl"])
        ends = float(np.mean(losses[:8])), float(np.mean(losses[-8:]))
        tries.append({"strength": strength, "rate": rate, "kl": kl, "first_losses": ends[0], "last_losses": ends[1]})
        off = max(kl, 1e-6) / spec["kl"]
        if len(tries) == world.s.tries or 1 / world.s.near < off < world.s.near:
            return top, tries
        change = float(np.clip(off**-0.5, 0.25, 4.0))
        strength, rate = (strength * change, rate) if spec["passes"] > 1 else (strength, rate * change)


def measured(world: World, spec: Spec, ratio: Any) -> dict[str, Any]:
    """The policy by its log-ratios on held-out rows, beside its forecast at the KL that it has there."""
    k = world.forecast["judges"].index(spec["judge"])
    scores = world.table("held", "scores")
    both = np.concatenate([world.table("held", "values"), scores], axis=2)
    found = by_weights(ratio, both)
    gain, se, slope = curve_of(world.forecast, spec["judge"]).at(float(found["kl"]))
    own = len(world.forecast["values"]) - len(world.forecast["judges"]) + k
    out = {name: value for name, value in found.items() if not name.startswith("_")}
    return out | {
        "forecast_gain": gain, "forecast_se": se, "matched_se": matched_se(found, np.nan_to_num(slope)),
        "efficiency": found["gain"][own] / gain[own], "own": own, **likeness(ratio, scores[:, :, k]),
    }  # fmt: skip


def measured_on_seen(world: World, spec: Spec, top: Any) -> dict[str, float]:
    """On the first prompts that were trained on: the mean ratio shows memorising, likeness what the blocks can hold."""
    if spec["arm"] != "dpo":
        return {}
    some = sorted({k for name, k in order(world, spec) if name == "train"})[:32]
    with torch.no_grad():
        now = np.stack([world.logprobs("train", k, top).double().numpy() for k in some])
    ratio, k = now - world.reference("train")[some], world.forecast["judges"].index(spec["judge"])
    found = by_weights(ratio, world.table("train", "values")[some])
    out = {name: float(found[name]) for name in ("kl", "mean_ratio", "mean_ratio_se")}
    return out | likeness(ratio, world.table("train", "scores")[some, :, k])


def measured_shift(world: World, top: Any) -> dict[str, float]:
    """Effective dimensions of what training does to the last states of the first held-out prompts' responses."""
    some = list(enumerate(world.split("held")[:32]))

    def states(blocks: Any) -> Any:
        with torch.no_grad():
            found = [p.mean_of(world.halves.states(p, world.residual("held", k), blocks)) for k, (_, _, p) in some]
        return np.concatenate(found)

    groups = np.repeat(np.arange(len(some)), world.s.responses["held"])
    found = cm.theory.shift_rank(states(top), states(None), clusters=groups)
    return {
        "participation": found.uncentred.participation, "about its mean": found.centred.participation,
        "mean share": found.mean_share, "length": found.length,
    }  # fmt: skip


def second_round(world: World, spec: Spec, top: Any) -> None:
    """A dump of the policy's own responses to train prompts, scored by the judge as it was and by the policy itself."""
    name = spec["judge"]
    rows_of: list[tuple[Any, ...]] = []
    n = world.s.responses["train"]
    for k, prompt, asked, responses in sampled_to(world, top, "train", world.s.second[1], n, 98, "second"):
        p = pack(asked, responses)
        residual = world.halves.residual(p)
        phi, texts = p.mean_of(residual), [world.lm.response_text(r) for r in responses]
        score = own = own_scores(world, name, prompt, responses, phi)
        if name.startswith(("text/", "not/")):
            with world.halves.as_policy(top):
                own = own_scores(world, name, prompt, responses, phi)
        rows_of.append((phi, np.full(len(phi), k), score, own, computed(world.made, texts, responses, phi)[1]))
    phi, ids, score, own, values = map(np.concatenate, zip(*rows_of, strict=True))
    columns = {"as it was": score, "itself": own} | dict(zip(VALUES, values.T, strict=True))
    cm.write_dump(world.s.folder / "second", phi, prompt_ids=ids, columns=columns, policy="on_policy")


def measured_afresh(world: World, top: Any) -> dict[str, Any]:
    """From the policy's own responses to the held-out prompts."""
    ratios, values = [], []
    n = len(world.split("held"))
    for _, _, asked, responses in sampled_to(world, top, "held", n, world.s.fresh, 99, "held"):
        p = pack(asked, responses)
        residual = world.halves.residual(p)
        with torch.no_grad():
            pair = [world.halves.logprobs(p, residual, t).double().numpy() for t in (top, None)]
        ratios.append(pair[0] - pair[1])
        texts = [world.lm.response_text(r) for r in responses]
        values.append(computed(world.made, texts, responses, p.mean_of(residual))[1])
    return by_samples(np.stack(ratios), np.stack(values), world.table("held", "values").mean(1))


def policy(world: World, spec: Spec) -> dict[str, Any]:
    """Train and measure one policy, unless its file is there."""
    path = world.s.folder / "policies" / f"{spec['name']}.json"
    if path.exists():
        found: dict[str, Any] = json.loads(path.read_text())
        return found
    path.parent.mkdir(parents=True, exist_ok=True)
    begin, cpu = time.monotonic(), time.process_time()
    with timed(world.s, f"policy {spec['arm']}, tries") as units:
        top, tries = trained(world, spec, path)
        units.append(len(tries))
    with timed(world.s, "measuring, policies") as units:
        ratio = world.ratios("held", top)
        np.save(path.with_suffix(".npy"), ratio)
        made = {"spec": spec, "forecast": file_digest(world.s), "tries": tries, "held": measured(world, spec, ratio)}
        made |= {"seen": measured_on_seen(world, spec, top), "shift": measured_shift(world, top)}
        units.append(1)
    if spec.get("fresh"):
        with timed(world.s, "fresh samples, policies") as units:
            made["fresh"] = measured_afresh(world, top)
            units.append(1)
    if spec["name"] == world.s.second[0] and not (world.s.folder / "second").exists():
        with timed(world.s, "second round, prompts") as units:
            second_round(world, spec, top)
            units.append(world.s.second[1])
    made["seconds"] = {"wall": time.monotonic() - begin, "cpu": time.process_time() - cpu}
    write_json(path, made)
    for saved in path.parent.glob(f"{spec['name']}.try*.pt"):
        saved.unlink()
    return policy(world, spec)


def train(s: Settings, lm: LanguageModel, part: int = 0, parts: int = 1, arm: str = "") -> None:
    """Every `parts`-th policy from `part` on, of one arm if it is named. Refused without a frozen forecast."""
    held = frozen_for_training(s)
    torch.set_num_threads(1)
    world = World(s, lm, held)
    for spec in [p for p in s.policies if arm in ("", p["arm"])][part::parts]:
        if not strength_at(held, spec["judge"], spec["kl"]) > 0:
            print(f"{spec['name']}: left out, the forecast has no policy of this judge", flush=True)
            continue
        found = policy(world, spec)
        kl, efficiency = (found["held"][name] for name in ("kl", "efficiency"))
        print(
            f"{spec['name']}: KL {kl:.3f} (asked {spec['kl']:g}), efficiency {efficiency or float('nan'):.2f}",
            flush=True,
        )


def train_by_workers(s: Settings, workers: int, arm: str = "") -> None:
    """Two processes of one thread each, at most: threads that compete for cores collapse."""
    frozen_for_training(s)
    asked = [sys.executable, "-m", "experiments", "train", "--size", s.name, "--arm", arm]
    running = [subprocess.Popen([*asked, "--part", f"{k}/{workers}"]) for k in range(workers)]
    if failed := [code for p in running if (code := p.wait())]:
        raise SystemExit(f"{len(failed)} of {workers} workers failed; what is finished is kept, call again")
