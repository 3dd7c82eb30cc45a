"""Responses drawn from the model itself: temperature 1, every token possible, randomness of each response its own."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .language_model import LanguageModel
from .prefix import Prefix

__all__ = ["not_applied", "sampled", "uniforms"]

# of a generation configuration, what says nothing about the distribution of responses
_NEUTRAL = {
    "transformers_version", "bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id", "do_sample",
    "use_cache", "cache_implementation", "max_length", "max_new_tokens", "return_dict_in_generate", "output_attentions",
    "output_hidden_states", "output_scores", "output_logits", "_from_model_config",
}  # fmt: skip
# settings that are off at 1; of the others, such as top_k, 1 is the strongest there is
_OFF_AT_1 = {
    "temperature", "top_p", "typical_p", "repetition_penalty", "encoder_repetition_penalty", "length_penalty",
    "num_beams", "num_beam_groups", "num_return_sequences",
}  # fmt: skip


def uniforms(seed: int, prompt_id: int | str, response: int, count: int) -> NDArray[np.float64]:
    """Numbers in [0, 1) that depend on the arguments alone; more of them begin with the same ones.

    >>> a, b = (uniforms(0, "p", 3, n).tolist() for n in (2, 4))
    >>> a == b[:2]
    True
    """
    digest = hashlib.sha256(json.dumps([seed, prompt_id]).encode()).digest()
    source = np.random.PCG64(np.random.SeedSequence(int.from_bytes(digest, "big"), spawn_key=(response,)))
    return np.ldexp((source.random_raw(count) >> np.uint64(11)).astype(np.float64), -53)


def sampled(lm: LanguageModel, prefix: Prefix, draws: NDArray[np.float64]) -> list[list[int]]:
    """One response to each sequence of `prefix`, which is used up; `draws` (B, longest) decide every token.

    A response ends with the first stop token, which is its last, or at `longest`. Rows that have ended leave the batch.
    """
    import torch

    responses: list[list[int]] = [[] for _ in draws]
    rows, logits = list(range(len(draws))), prefix.logits
    for step in range(draws.shape[1]):
        tokens = _drawn(logits, torch.from_numpy(draws[rows, step]))
        for row, token in zip(rows, tokens.tolist(), strict=True):
            if not _ended(responses[row], lm):
                responses[row].append(token)
        going = [k for k, row in enumerate(rows) if not _ended(responses[row], lm)]
        if not going or step + 1 == draws.shape[1]:
            break
        if len(rows) - len(going) >= len(rows) / 8:  # a copy of the cache costs less than rows that wait
            prefix, tokens, rows = prefix.take(going), tokens[going], [rows[k] for k in going]
        ids = tokens[:, None].to(lm.device)
        every = torch.arange(len(rows)), torch.zeros(len(rows), dtype=torch.long)
        logits, _ = lm.extend(prefix, ids, torch.ones_like(ids), every)
    return responses


def _ended(response: Sequence[int], lm: LanguageModel) -> bool:
    return bool(response) and response[-1] in lm.stop_ids


def _drawn(logits: Any, at: Any) -> Any:
    """The tokens (B,) whose stretches of the cumulative distribution hold `at`; the sum in float64 keeps rare ones."""
    import torch

    cumulative = logits.float().softmax(-1).double().cumsum(-1)
    total = cumulative[:, -1:]
    if not bool(torch.isfinite(total).all()):
        raise ValueError("the model gives logits that are not finite; nothing can be sampled from them")
    found = torch.searchsorted(cumulative, at.to(total.device)[:, None] * total, right=True)[:, 0]
    return found.clamp_max(logits.shape[-1] - 1).cpu()


def not_applied(model: Any) -> dict[str, Any]:
    """What the model's generation configuration would have changed about the responses."""
    config = getattr(model, "generation_config", None)
    told = config.to_diff_dict() if config is not None else {}
    return {k: v for k, v in sorted(told.items()) if k not in _NEUTRAL and not _idle(k, v)}


def _idle(name: str, value: Any) -> bool:
    """Whether a setting changes nothing."""
    if isinstance(value, (bool, list, dict, type(None))):
        return not value
    return bool(value == (1 if name in _OFF_AT_1 else 0))
