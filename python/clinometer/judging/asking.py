"""What is asked of the model about the responses to one prompt, and what its answers say."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clinometer.common.visible import quote
from clinometer.models import LanguageModel

from . import constitutions as asked
from .branches import Group, branch_logprobs
from .constitutions import Constitution
from .pairs import debiased, pair_scores, within_prompt_pairs

__all__ = ["KINDS", "Judged", "Settings", "judged"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Settings:
    lm: LanguageModel
    held: tuple[Constitution, ...]
    kind: str
    levels: tuple[int, int]
    per_token: bool
    wanted_pairs: int | None
    tie: float
    seed: int
    budget: int

    @property
    def chat(self) -> bool:
        return getattr(self.lm.tokenizer, "chat_template", None) is not None

    def said(self) -> dict[str, Any]:
        """How the scores were made, for the dump's source."""
        templates = asked.PAIRWISE + asked.POINTWISE
        how = {
            "kind": self.kind, "model": self.lm.name, "dtype": str(self.lm.model.dtype).removeprefix("torch."),
            "chat_template_digest": self.lm.template_digest, "weights_digest": self.lm.weights_digest,
            "per_token": self.per_token, "levels": list(self.levels),
            "pairs_per_prompt": self.wanted_pairs, "tie": self.tie, "random_state": self.seed,
            "question_digest": "sha256:" + hashlib.sha256(templates.encode()).hexdigest(),
        }  # fmt: skip
        return how | {"constitutions": {c.name: {"persona": c.text, "opposite": c.opposite} for c in self.held}}


@dataclass
class Judged:
    """Of the n responses to one prompt: scores (n, K), pairs (P, 2) of them, prob (P, K), order_logits (P, K, 2)."""

    scores: Floats
    pairs: NDArray[np.int64]
    prob: Floats
    order_logits: Floats | None = None


def judged(s: Settings, prompt: Any, responses: Sequence[str], prompt_id: Any) -> Judged:
    """What the judge says of the responses to a prompt."""
    pairs = within_prompt_pairs(len(responses), s.wanted_pairs, prompt_id, s.seed)
    made = KINDS[s.kind](s, prompt, responses, pairs)
    made.prob[abs(made.prob - 0.5) <= s.tie] = 0.5
    return made


def _contrast(s: Settings, prompt: Any, responses: Sequence[str], pairs: NDArray[np.int64]) -> Judged:
    texts = list(dict.fromkeys(t for c in s.held for t in (c.text, c.opposite or "")))
    contexts = [s.lm.prompt_tokens(asked.contrast_prompt(prompt, t, chat=s.chat)) for t in texts]
    tokens = [s.lm.response_tokens(r, end=False) for r in responses]
    (found,) = branch_logprobs(s.lm, [Group(contexts, tokens)], s.budget)
    by_text = dict(zip(texts, found, strict=True))
    scores = np.stack([by_text[c.text] - by_text[c.opposite or ""] for c in s.held], axis=1)
    if s.per_token:
        scores /= np.maximum([[len(t)] for t in tokens], 1)
    return Judged(scores, pairs, _sigmoid(scores[pairs[:, 0]] - scores[pairs[:, 1]]))


def _pairwise(s: Settings, prompt: Any, responses: Sequence[str], pairs: NDArray[np.int64]) -> Judged:
    letters = [_label(s, letter) for letter in "AB"]
    K = len(s.held)
    groups = [
        Group([
            s.lm.prompt_tokens(asked.pairwise_prompt(prompt, responses[a], responses[b], c.text, chat=s.chat))
            for c in s.held
        ], letters)
        for i, j in pairs for a, b in ((i, j), (j, i))
    ]  # fmt: skip
    found = np.array(list(branch_logprobs(s.lm, groups, s.budget))).reshape(len(pairs), 2, K, 2)
    odds = np.moveaxis(found[..., 0] - found[..., 1], 1, 2)  # (P, K, order)
    preference, _, _ = debiased(odds[:, :, 0], odds[:, :, 1], np.zeros(len(pairs)))
    return Judged(pair_scores(len(responses), pairs, preference), pairs, _sigmoid(preference), odds)


def _pointwise(s: Settings, prompt: Any, responses: Sequence[str], pairs: NDArray[np.int64]) -> Judged:
    numbers = np.arange(s.levels[0], s.levels[1] + 1)
    labels = [_label(s, str(r)) for r in numbers]
    groups = [
        Group([
            s.lm.prompt_tokens(asked.pointwise_prompt(prompt, response, c.text, s.levels, chat=s.chat)) for c in s.held
        ], labels)
        for response in responses
    ]  # fmt: skip
    found = np.array(list(branch_logprobs(s.lm, groups, s.budget)))  # (n, K, R)
    p = _whole_answers(np.exp(found - found.max(axis=2, keepdims=True)), labels)
    p /= p.sum(axis=2, keepdims=True)
    a, b = p[pairs[:, 0]], p[pairs[:, 1]]
    below = np.cumsum(b, axis=2) - b / 2
    return Judged(p @ numbers, pairs, (a * below).sum(axis=2))


def _whole_answers(p: Floats, labels: Sequence[Sequence[int]]) -> Floats:
    """Probabilities (n, K, R) of answers from those of their tokens: of "1" without "10", "11", .., which begin so."""
    out = p.copy()
    for r in sorted(range(len(labels)), key=lambda r: -len(labels[r])):
        size = len(labels[r])
        longer = [j for j, other in enumerate(labels) if len(other) > size and other[:size] == labels[r]]
        out[..., r] -= out[..., longer].sum(axis=-1)
    return np.maximum(out, 0)


def _label(s: Settings, text: str) -> list[int]:
    """Tokens of an answer, behind a chat's generation prompt or behind "Answer:"."""
    tokens = s.lm.response_tokens(text, end=False) if s.chat else _continued(s.lm, "Answer:", f" {text}")
    if not tokens:
        raise ValueError(f"the tokenizer of {quote(s.lm.name)} has no tokens for the answer {text!r}")
    return tokens


def _continued(lm: LanguageModel, before: str, text: str) -> list[int]:
    """Tokens of a text behind another: alone, some tokenizers put a space in front of it."""
    begin, whole = (lm.response_tokens(t, end=False) for t in (before, before + text))
    return whole[len(begin) :] if whole[: len(begin)] == begin else lm.response_tokens(text, end=False)


def _sigmoid(z: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-np.clip(z, -700, 700))))


KINDS = {"contrast": _contrast, "pairwise": _pairwise, "pointwise": _pointwise}
