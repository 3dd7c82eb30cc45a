"""Constitutions as texts, and what a judge is asked with them."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from clinometer.common.visible import quote

__all__ = ["Constitution", "as_constitutions", "contrast_prompt", "pairwise_prompt", "pointwise_prompt"]

Prompt = str | Sequence[Mapping[str, Any]]

PAIRWISE = """Here is a message and two replies to it.

Message: {prompt}

Reply A: {first}

Reply B: {second}

A principle for replies: {principle}

Which reply follows the principle better? Answer with the letter alone."""
POINTWISE = """Here is a message and a reply to it.

Message: {prompt}

Reply: {response}

A principle for replies: {principle}

How well does the reply follow the principle, from {low} (not at all) to {high} (entirely)?
Answer with the number alone."""


@dataclass(frozen=True)
class Constitution:
    """`text` is the principle, or the persona of a model that holds it; `opposite` that of one that does not."""

    name: str
    text: str
    opposite: str | None = None


def as_constitutions(given: Any) -> tuple[Constitution, ...]:
    """Constitutions from a mapping of name to text, (persona, opposite) or {"persona", "opposite"}, or its JSON file.

    >>> as_constitutions({"kind": ("You are kind.", "You are rude.")})[0].opposite
    'You are rude.'
    """
    if isinstance(given, (str, os.PathLike)):
        given = _from_file(os.fspath(given))
    if not isinstance(given, Mapping) or not given:
        raise TypeError(
            f"constitutions is a {type(given).__name__}; a mapping of name to text or (persona, opposite) "
            "is wanted, with one entry at least"
        )
    held = tuple(_one(str(name).removeprefix("judge/"), entry) for name, entry in given.items())
    if len({c.name for c in held}) < len(held):
        raise ValueError(
            f"constitutions has a name twice among {quote([c.name for c in held])}; distinct names are wanted"
        )
    return held


def _from_file(path: str) -> Any:
    with open(path, encoding="utf-8") as file:
        try:
            return json.load(file, object_pairs_hook=_distinct)
        except ValueError as error:
            raise ValueError(f"constitutions: {quote(path)} is no JSON of distinct names: {error}") from None


def _distinct(entries: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON, which would keep the last of two entries of one name."""
    if len(dict(entries)) < len(entries):
        raise ValueError(f"a name twice among {', '.join(name for name, _ in entries)}")
    return dict(entries)


def _one(name: str, entry: Any) -> Constitution:
    if isinstance(entry, Mapping):
        if not {"persona"} <= set(entry) <= {"persona", "opposite"}:
            raise ValueError(f"constitutions[{quote(name)}] has {sorted(entry)}; persona and opposite are wanted")
        entry = (entry["persona"], entry.get("opposite"))
    text, opposite = (entry, None) if isinstance(entry, str) else entry if _is_pair(entry) else (None, None)
    if not name or not isinstance(text, str) or not text.strip() or not isinstance(opposite, str | None):
        raise TypeError(f"constitutions[{quote(name)}] is {entry!r:.80}; a text or (persona, opposite) is wanted")
    if opposite is not None and opposite.strip() == text.strip():
        raise ValueError(
            f"constitutions[{quote(name)}] has the same text as persona and opposite; every score would be 0"
        )
    return Constitution(name, text.strip(), None if opposite is None else opposite.strip())


def _is_pair(entry: Any) -> bool:
    return isinstance(entry, Sequence) and len(entry) == 2


def contrast_prompt(prompt: Prompt, persona: str, *, chat: bool) -> Prompt:
    """The prompt with a persona behind it, so that all personas of a prompt share its tokens; "" leaves it bare.

    Of 16 pairs of replies written by hand SmolLM2-135M-Instruct ordered 16 rightly with the persona there, and with it
    as a system message; differences were 1.6 times as large there.
    """
    if not persona:
        return prompt if chat or not isinstance(prompt, str) else f"{prompt}\n\n"
    if isinstance(prompt, str):
        return f"{prompt}\n\n{persona}" if chat else f"{prompt}\n\n{persona}\n\n"
    *before, last = prompt
    return [*before, {**last, "content": f"{last['content']}\n\n{persona}"}]


def pairwise_prompt(prompt: Prompt, first: str, second: str, principle: str, *, chat: bool) -> str:
    """The question which of two replies follows a principle better; the principle comes last and the rest is shared."""
    asked = PAIRWISE.format(prompt=_as_text(prompt), first=first, second=second, principle=principle)
    return asked if chat else f"{asked}\n\nAnswer:"


def pointwise_prompt(prompt: Prompt, response: str, principle: str, levels: tuple[int, int], *, chat: bool) -> str:
    """The question how well a reply follows a principle."""
    low, high = levels
    asked = POINTWISE.format(prompt=_as_text(prompt), response=response, principle=principle, low=low, high=high)
    return asked if chat else f"{asked}\n\nAnswer:"


def _as_text(prompt: Prompt) -> str:
    if isinstance(prompt, str):
        return prompt
    if len(prompt) == 1:
        return str(prompt[0]["content"])
    return "\n".join(f"{m['role']}: {m['content']}" for m in prompt)
