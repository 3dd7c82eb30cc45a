"""Nodes of the tree over the grid of leaves: states that shards keep, so that merging gives one machine's bits.

A node is (leaf, level, states): one state for each statistic over the leaves [leaf, leaf + 2^level).
"""

from __future__ import annotations

import copy
from typing import Any

Node = tuple[int, int, list[Any]]


def push(nodes: list[Node], node: Node) -> None:
    """Append a node; siblings become their parent, as in the compiled scan. Uses the states up."""
    leaf, level, states = node
    while nodes and (leaf >> level) % 2 == 1 and nodes[-1][:2] == (leaf - (1 << level), level):
        left = nodes.pop()[2]
        for a, b in zip(left, states, strict=True):
            a.merge(b)
        leaf, level, states = leaf - (1 << level), level + 1, left
    nodes.append((leaf, level, states))


def copied(node: Node) -> Node:
    """A node of its own, for a merge that must not use this one up."""
    leaf, level, states = node
    return leaf, level, [copy.deepcopy(s) for s in states]


def collapse(nodes: list[Node]) -> list[Any]:
    """One state for each statistic, merged in leaf order. Uses the nodes up."""
    total = [s.empty() for s in nodes[0][2]]
    while nodes:
        for a, b in zip(total, nodes.pop(0)[2], strict=True):
            a.merge(b)
    return total
