"""Responses of some prompts and their rows: drawn or given, scored by one pass, pooled."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clinometer.models import LanguageModel, Prefix, sampled, uniforms

from .request import Position, Request

__all__ = ["rows_of"]


def rows_of(
    lm: LanguageModel, request: Request, unit: Sequence[int], layers: Sequence[int], position: Position, budget: int
) -> tuple[dict[int, NDArray[np.float32]], list[int] | list[str], dict[str, Any], list[dict[str, Any]]]:
    """What `DumpWriter.append` takes for all responses of the prompts `unit`: phi, prompt ids, columns, texts."""
    prefix = lm.prefix([request.tokens[k] for k in unit])
    pairs = [(at, j) for at, k in enumerate(unit) for j in range(request.counts(k))]
    responses = _responses(lm, request, unit, prefix, pairs, budget)
    phi = {layer: np.full((len(pairs), lm.dim), np.nan, np.float32) for layer in layers}
    logprob = np.zeros(len(pairs))
    for batch in lm.batches([request.tokens[unit[at]] for at, _ in pairs], responses, budget):
        there = prefix.take([pairs[i][0] for i in batch])
        made = lm.score(there, [responses[i] for i in batch], layers)
        for i, (logprobs, hidden) in zip(batch, made, strict=True):
            logprob[i] = logprobs.sum()
            if position.count(len(responses[i])):
                for layer in layers:
                    phi[layer][i] = _pooled(hidden[layer], position)
    columns = {
        "logprob": logprob, "n_tokens": np.array([len(r) for r in responses]),
        "response_id": np.array([j for _, j in pairs]), "ended": np.array([r[-1] in lm.stop_ids for r in responses]),
    }  # fmt: skip
    ids: Any = [request.ids[unit[at]] for at, _ in pairs]
    texts = [_text(lm, request.prompts[unit[at]], r) for (at, _), r in zip(pairs, responses, strict=True)]
    return phi, ids, columns, texts


def _responses(
    lm: LanguageModel, request: Request, unit: Sequence[int], prefix: Prefix, pairs: Sequence[tuple[int, int]],
    budget: int,
) -> list[list[int]]:  # fmt: skip
    if request.given is not None:
        return [request.given[unit[at]][j] for at, j in pairs]
    out: list[list[int]] = []
    for part in _parts(pairs, max(1, budget // (prefix.mask.shape[1] + request.longest))):
        draws = [uniforms(request.seed, request.ids[unit[at]], j, request.longest) for at, j in part]
        out += sampled(lm, prefix.take([at for at, _ in part]), np.stack(draws))
    return out


def _parts(pairs: Sequence[tuple[int, int]], step: int) -> Iterator[Sequence[tuple[int, int]]]:
    return (pairs[a : a + step] for a in range(0, len(pairs), step))


def _pooled(hidden: Any, position: Position) -> NDArray[np.float32]:
    """The mean of states (T, d) over the position, summed in float64."""
    found: NDArray[np.float32] = hidden[position.tokens].double().mean(0).float().cpu().numpy()
    return found


def _text(lm: LanguageModel, prompt: Any, response: list[int]) -> dict[str, Any]:
    """Prompt and response as text, with the tokens that the numbers are of: text may be split otherwise again."""
    said = {"prompt": prompt} if isinstance(prompt, str) else {"prompt": prompt[-1].get("content"), "messages": prompt}
    return said | {"response": lm.response_text(response), "tokens": response}
