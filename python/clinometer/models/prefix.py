"""Prompts that have been read: their keys and values, and the logits of the token that follows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["Prefix", "padded", "refuse_nan"]


@dataclass
class Prefix:
    """G sequences in a cache, padded on the left. A pass over more tokens extends it in place.

    Attributes
    ----------
    cache : DynamicCache
    mask : LongTensor (G, P)
        1 for tokens, 0 for padding.
    logits : Tensor (G, V)
        Of the token after each sequence, as the model gives them.
    """

    cache: Any
    mask: Any
    logits: Any

    def take(self, rows: Sequence[int]) -> Prefix:
        """The sequences `rows`, which may repeat, as a copy of their own: one prompt for many responses."""
        import torch
        from transformers import DynamicCache

        at = torch.as_tensor(list(rows), device=self.mask.device)
        cache = DynamicCache()
        for number, layer in enumerate(self.cache.layers):
            there = at.to(layer.keys.device)
            cache.update(layer.keys[there], layer.values[there], number)
        return Prefix(cache, self.mask[at], self.logits[at])


def padded(sequences: Sequence[Sequence[int]], device: Any, *, left: bool) -> tuple[Any, Any]:
    """Token ids (B, longest) and their mask; padding has id 0, which the mask hides."""
    import torch

    width = max(map(len, sequences))
    ids = torch.zeros(len(sequences), width, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, tokens in enumerate(sequences):
        at = slice(width - len(tokens), width) if left else slice(0, len(tokens))
        ids[row, at] = torch.as_tensor(list(tokens), dtype=torch.long)
        mask[row, at] = 1
    return ids.to(device), mask.to(device)


def refuse_nan(log_probabilities: Any) -> None:
    """Refuse what a model that overflowed in its dtype gives."""
    if log_probabilities.isnan().any():
        raise ValueError("the model gives log-probabilities that are NaN; float16 overflows where bfloat16 does not")
