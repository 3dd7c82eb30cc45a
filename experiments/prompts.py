"""Distinct short prompts from templates, shuffled once and dealt to the splits, so that no split shares one."""

from __future__ import annotations

import random

TEMPLATES = (
    "How do I get better at {}?", "My friend is worried about {}. What do I say?", "Tell me one thing about {}.",
    "Is {} worth the time?", "I failed at {} again. Help me.", "Write two sentences on {}.",
    "What should a beginner know about {}?", "Give me a reason to start with {} today.",
    "What could go wrong with {}?", "Explain {} to my grandmother.", "I am proud of {}. What next?",
    "Why do people care about {}?", "Write a short note to somebody who taught me {}.", "What does {} cost me?",
    "Describe a good day with {}.", "My sister hates {}. Is she right?",
)  # fmt: skip
TOPICS = (
    "baking bread", "learning to swim", "a first job interview", "growing tomatoes", "playing chess",
    "saving money", "waking up early", "speaking in public", "walking in the rain", "keeping a diary",
    "fixing a bicycle", "learning the violin", "living alone", "owning a dog", "reading old books",
    "cooking for guests", "running ten miles", "moving to a new town", "sleeping well", "making new friends",
    "painting a room", "writing letters", "watching birds", "travelling by train", "drinking less coffee",
    "cleaning the kitchen", "saying sorry", "teaching a child to read", "eating less sugar", "planting a tree",
    "taking photographs", "asking for help", "learning a language", "working at night", "camping in winter",
    "mending clothes", "driving in the city", "looking after a cat", "singing in a choir", "building a shelf",
)  # fmt: skip


def prompts(counts: dict[str, int], room: dict[str, int] | None = None) -> dict[str, list[str]]:
    """Prompts of each split, in the order of `counts`; one with room for more than its count can grow later."""
    every = [template.format(topic) for template in TEMPLATES for topic in TOPICS]
    taken = counts | (room or {})
    if sum(taken.values()) > len(every):
        raise ValueError(f"counts asks for {sum(taken.values())} prompts; there are {len(every)}")
    random.Random(22).shuffle(every)
    dealt, at = {}, 0
    for split, count in counts.items():
        dealt[split] = every[at : at + count]
        at += taken[split]
    return dealt
