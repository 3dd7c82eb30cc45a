"""What a capture is asked for, checked before any pass: prompts as tokens, responses, layers, position."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from clinometer.models import LanguageModel

__all__ = ["Position", "Request", "as_position", "as_request"]

Prompt = str | Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Position:
    """Which tokens of a response a row is the mean of."""

    name: str
    tokens: slice

    def count(self, n_tokens: int) -> int:
        """How many of them a response of so many tokens has."""
        return len(range(*self.tokens.indices(n_tokens)))


def as_position(position: Any) -> Position:
    """ "last", "mean_response" or (a, b) as a slice of the response."""
    named = {"last": slice(-1, None), "mean_response": slice(None)}
    if isinstance(position, str) and position in named:
        return Position(position, named[position])
    whole = isinstance(position, (tuple, list)) and len(position) == 2
    if whole and type(position[0]) is int and (position[1] is None or type(position[1]) is int):
        a, b = position
        return Position(f"response[{a}:{'' if b is None else b}]", slice(a, b))
    raise ValueError(
        f"position is {position!r:.80}; 'last', 'mean_response' or (a, b), the tokens response[a:b], is wanted"
    )


@dataclass(frozen=True)
class Request:
    """Prompts with their tokens and ids; given responses, or how many to draw and how long they may be."""

    prompts: Sequence[Prompt]
    tokens: list[list[int]]
    ids: list[int] | list[str]
    given: list[list[list[int]]] | None
    n: int
    longest: int
    seed: int

    def counts(self, k: int) -> int:
        """Responses of prompt k."""
        return self.n if self.given is None else len(self.given[k])

    @property
    def n_rows(self) -> int:
        return sum(map(self.counts, range(len(self.tokens))))

    def digest(self) -> str:
        """Of all that decides which rows come in which order, the model aside."""
        said = json.dumps([self.tokens, self.ids, self.given]).encode()
        return "sha256:" + hashlib.sha256(said).hexdigest()

    def units(self, n_done: int, budget: int) -> Iterator[list[int]]:
        """Runs of prompts that go together after the first `n_done` rows; the same ones wherever one begins."""
        unit: list[int] = []
        rows = widest = 0
        for k, prompt in enumerate(self.tokens):
            count = self.counts(k)
            if n_done > 0:
                n_done -= count
                continue
            longest = self.longest if self.given is None else max(map(len, self.given[k]), default=0)
            wide = max(widest, len(prompt) + longest)
            if unit and (rows + count) * wide > budget:
                yield unit
                unit, rows, wide = [], 0, len(prompt) + longest
            unit.append(k)
            rows, widest = rows + count, wide
        if unit:
            yield unit


def as_request(
    lm: LanguageModel, prompts: Any, *, responses: Any, prompt_ids: Any, chat: bool | None, n: int, longest: int,
    seed: int,
) -> Request:  # fmt: skip
    """Everything checked; errors name the argument."""
    if isinstance(prompts, (str, Mapping)) or not isinstance(prompts, Iterable) or not (prompts := list(prompts)):
        raise ValueError(
            f"prompts is {'empty' if prompts == [] else type(prompts).__name__}; "
            "a sequence of prompts, each a str or messages, is wanted"
        )
    for name, value in (("n", n), ("max_new_tokens", longest)):
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
            raise ValueError(f"{name} is {value!r}; a positive integer is wanted")
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or seed < 0:
        raise ValueError(f"random_state is {seed!r}; an integer >= 0 is wanted")
    tokens = [_tokens(lm, p, k, chat) for k, p in enumerate(prompts)]
    for k, t in enumerate(tokens):
        if not t:
            raise ValueError(f"prompts[{k}] has no tokens; at least one is wanted, such as the first-token mark")
    chats = [chat if isinstance(p, str) else True for p in prompts]
    given = None if responses is None else _given(lm, responses, chats)
    for k, t in enumerate(tokens):
        answer = longest if given is None else max(map(len, given[k]), default=0)
        lm.check_length(len(t) + answer, f"prompts[{k}] with a response of up to {answer} tokens")
    return Request(prompts, tokens, _ids(prompt_ids, len(tokens)), given, int(n), int(longest), int(seed))


def _tokens(lm: LanguageModel, prompt: Any, k: int, chat: bool | None) -> list[int]:
    try:
        return lm.prompt_tokens(prompt, chat=chat)
    except (TypeError, ValueError) as error:
        raise type(error)(f"prompts[{k}]: {error}") from None


def _given(lm: LanguageModel, responses: Any, chats: Sequence[bool | None]) -> list[list[list[int]]]:
    if isinstance(responses, str) or len(responses) != len(chats):
        raise ValueError(f"responses has {len(responses)} entries; {len(chats)} are wanted, a list for each prompt")
    out: list[list[list[int]]] = []
    for k, several in enumerate(responses):
        if isinstance(several, str):
            raise TypeError(f"responses[{k}] is a str; a list of responses, each a str or tokens, is wanted")
        if not len(several):
            raise ValueError(f"responses[{k}] is empty; at least one response is wanted, or leave the prompt out")
        out.append([
            lm.response_tokens(r, chat=chats[k]) if isinstance(r, str) else [int(t) for t in r] for r in several
        ])  # fmt: skip
        for j, tokens in enumerate(out[-1]):
            if not tokens:
                raise ValueError(f"responses[{k}][{j}] has no tokens, so no states; give its end token at least")
            if not 0 <= min(tokens) <= max(tokens) < lm.vocabulary:
                raise ValueError(f"responses[{k}][{j}] holds tokens outside 0 .. {lm.vocabulary - 1}")
    return out


def _ids(prompt_ids: Any, count: int) -> list[int] | list[str]:
    if prompt_ids is None:
        return list(range(count))
    out = [i.item() if isinstance(i, np.generic) else i for i in prompt_ids]
    kind = {type(i) for i in out}
    if len(out) != count or len(set(out)) != count or kind not in ({int}, {str}):
        raise ValueError(f"prompt_ids are not {count} distinct integers or strings, one for each prompt")
    return out
