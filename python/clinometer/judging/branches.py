"""Log-probabilities of responses in contexts that begin alike: what is shared is read once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clinometer.models import LanguageModel, Prefix
from clinometer.models.prefix import padded, refuse_nan

__all__ = ["Group", "branch_logprobs"]

Floats = NDArray[np.float64]
Tokens = Sequence[int]


@dataclass(frozen=True)
class Group:
    """C contexts that begin alike, each followed by any of R responses."""

    contexts: Sequence[Tokens]
    responses: Sequence[Tokens]

    @property
    def size(self) -> int:
        """Tokens of the contexts with padding."""
        return len(self.contexts) * max(map(len, self.contexts))


def branch_logprobs(lm: LanguageModel, groups: Sequence[Group], token_budget: int) -> Iterator[Floats]:
    """log p(response | context), (C, R) float64 in nats, group by group in order.

    A group's common first tokens are read once (not by models whose layers see a window), the rest of each context from
    there, and every response from its context's keys and values. Cost: the distinct tokens of the contexts, and C times
    those of the responses. At most `token_budget` tokens are in the cache at once, or one sequence.
    """
    for batch in _batches(groups, token_budget):
        prefix = _read(lm, batch)
        at = 0
        for group in batch:
            rows = range(at, at + len(group.contexts))
            yield _responses(lm, prefix, rows, group, token_budget)
            at += len(group.contexts)


def _batches(groups: Sequence[Group], budget: int) -> Iterator[list[Group]]:
    batch: list[Group] = []
    for group in groups:
        if batch and sum(g.size for g in batch) + group.size > budget:
            yield batch
            batch = []
        batch.append(group)
    if batch:
        yield batch


def _read(lm: LanguageModel, batch: Sequence[Group]) -> Prefix:
    """All contexts of the groups, in order."""
    import torch

    shared = [_common(g.contexts) for g in batch]
    contexts = [context for g in batch for context in g.contexts]
    if not all(shared) or len(contexts) == len(batch) or _has_windows(lm):
        return lm.prefix(contexts)
    trunk = lm.prefix([g.contexts[0][:n] for g, n in zip(batch, shared, strict=True)])
    prefix = trunk.take([i for i, g in enumerate(batch) for _ in g.contexts])
    rest = [context[n:] for g, n in zip(batch, shared, strict=True) for context in g.contexts]
    ids, mask = padded(rest, lm.device, left=True)
    last = torch.arange(len(ids)), torch.full((len(ids),), ids.shape[1] - 1)
    prefix.logits, _ = lm.extend(prefix, ids, mask, last)
    return prefix


def _has_windows(lm: LanguageModel) -> bool:
    """Whether layers see a window only: it counts the padding between what is shared and the rest."""
    config = lm.model.config.get_text_config()
    kinds = getattr(config, "layer_types", None)
    if kinds is not None:
        return bool(set(kinds) - {"full_attention"})
    names = ("sliding_window", "attention_chunk_size", "attention_window", "local_attention", "window_size")
    return any(getattr(config, name, None) is not None for name in names)


def _common(contexts: Sequence[Tokens]) -> int:
    """Tokens that all contexts begin with, one of each left over."""
    n = min(map(len, contexts)) - 1
    first = contexts[0]
    for other in contexts[1:]:
        n = next((i for i in range(n) if other[i] != first[i]), n)
    return n


def _responses(lm: LanguageModel, prefix: Prefix, rows: range, group: Group, budget: int) -> Floats:
    out = np.zeros((len(rows), len(group.responses)))
    if all(len(r) == 1 for r in group.responses):
        found: Any = prefix.logits[list(rows)].float().log_softmax(-1)
        refuse_nan(found)
        return np.asarray(found[:, [r[0] for r in group.responses]].double().cpu().numpy())
    cells = [(c, r) for c in range(len(rows)) for r in range(len(group.responses))]
    width = prefix.mask.shape[1] + max(map(len, group.responses))
    lm.check_length(width, "a prompt with a constitution and its longest response")
    step = max(1, budget // width)
    for start in range(0, len(cells), step):
        part = cells[start : start + step]
        branches = prefix.take([rows[c] for c, _ in part])
        scored = lm.score(branches, [group.responses[r] for _, r in part])
        for (c, r), (logprobs, _) in zip(part, scored, strict=True):
            out[c, r] = logprobs.sum()
    return out
