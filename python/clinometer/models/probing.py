"""Whether a model says of padded and cached tokens what it says of a sequence alone: asked once, of a few tokens."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from clinometer.common.visible import quote

from .prefix import Prefix
from .taps import still

if TYPE_CHECKING:
    from .language_model import LanguageModel

__all__ = ["refuse_odd"]

_EXACT, _ROUNDED = 0.05, 1.0  # nats a token: of float32, and of fewer bits, where an odd model is off by more


def refuse_odd(lm: LanguageModel, read: Callable[[list[list[int]]], Prefix]) -> None:
    """ValueError for a model whose log-probabilities change with padding or with the cache.

    Such are models that read both ways, count positions from another number, or know neither mask nor cache; none of
    them says so. `read` is the pass over prompts. Cost: four passes over a dozen tokens.
    """
    if lm.context is not None and lm.context < 7:
        return
    step = max(1, lm.vocabulary // 9)
    tokens = [k * step % lm.vocabulary for k in range(1, 8)]
    pairs = [(tokens[:5], tokens[5:]), (tokens[5:], tokens[:5])]
    found = lm.score(read([a for a, _ in pairs]), [b for _, b in pairs], ())
    off = max(float(abs(_alone(lm, *pair) - ours).max()) for pair, (ours, _) in zip(pairs, found, strict=True))
    exact = str(lm.model.dtype) in ("torch.float32", "torch.float64") and not getattr(lm.model, "is_quantized", False)
    if off > (_EXACT if exact else _ROUNDED):
        raise ValueError(
            f"model {quote(lm.name)} ({type(lm.model).__name__}) gives a token other log-probabilities in a padded "
            f"batch with a cache than alone, by {off:.2g} nats; a transformer that reads from left to right is wanted"
        )


def _alone(lm: LanguageModel, before: list[int], after: list[int]) -> Any:
    """log p of the tokens behind `before`, by the pass that transformers' manual shows."""
    import torch

    ids = torch.tensor([[*before, *after]], device=lm.device)
    with still(lm.model):
        made = lm.model(input_ids=ids, attention_mask=torch.ones_like(ids))
    logits = made.logits[0, len(before) - 1 : -1].double().cpu()
    return (logits - logits.logsumexp(-1, keepdim=True)).gather(1, torch.tensor(after)[:, None])[:, 0].numpy()
