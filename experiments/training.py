"""Losses of the two ways to train, and one run of training that can be stopped anywhere."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

WARM = 16  # the share of steps, one in so many, over which the learning rate rises
NORM = 1.0  # of the gradient, at most


def dpo_loss(ratio: Any, score: Any, beta: float) -> Any:
    """Mean over all pairs of -[p log sig(z) + (1 - p) log sig(-z)], z = beta (r_i - r_j), p = sig(s_i - s_j).

    ratio : (R,) log pi - log pi0; score (R,). The loss of drawn labels in its mean: least where r = s/beta + constant,
    which is the judge's tilt.
    """
    i, j = torch.triu_indices(len(score), len(score), 1)
    label = torch.sigmoid(score[i] - score[j])
    return torch.nn.functional.binary_cross_entropy_with_logits(beta * (ratio[i] - ratio[j]), label)


def policy_gradient_loss(logprob: Any, reference: Any, score: Any, beta: float) -> Any:
    """A loss whose gradient on responses drawn from pi is without bias that of -(E_pi[score] - beta KL(pi || pi0)).

    The reward score - beta (log pi - log pi0), each response's less the mean of the others' to the same prompt.
    """
    reward = (score - beta * (logprob - reference)).detach()
    n = len(reward)
    advantage = (reward - reward.mean()) * n / (n - 1)
    return -(advantage * logprob).mean()


@dataclass
class Training:
    """A run of `steps` steps of AdamW on the blocks of `top`; `loss(step)` decides everything by the step alone."""

    top: Any
    loss: Callable[[int], Any]
    steps: int
    rate: float
    path: Path
    every: int
    tag: dict[str, Any]  # what the run is: a checkpoint of another one is not gone on with

    def run(self) -> list[float]:
        """Losses of all steps; goes on from the last checkpoint of a run of the same tag."""
        parameters = list(self.top.layers.parameters())
        optimiser = torch.optim.AdamW(parameters, lr=self.rate, weight_decay=0.0)
        losses: list[float] = []
        if self.path.exists() and (held := torch.load(self.path, weights_only=True))["tag"] == self.tag:
            self.top.layers.load_state_dict(held["layers"])
            optimiser.load_state_dict(held["optimiser"])
            losses = list(held["losses"])
        for step in range(len(losses), self.steps):
            for group in optimiser.param_groups:
                group["lr"] = self.rate * min(1.0, WARM * (step + 1) / self.steps) * (1 - 0.9 * step / self.steps)
            optimiser.zero_grad(set_to_none=True)
            loss = self.loss(step)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, NORM)
            optimiser.step()
            losses.append(float(loss.detach()))
            if (step + 1) % self.every == 0 or step + 1 == self.steps:
                self._keep(optimiser, losses)
        return losses

    def _keep(self, optimiser: Any, losses: list[float]) -> None:
        state = {"layers": self.top.layers.state_dict(), "optimiser": optimiser.state_dict(), "losses": losses}
        half = self.path.with_suffix(f".{os.getpid()}")
        torch.save({"tag": self.tag, **state}, half)
        half.replace(self.path)
