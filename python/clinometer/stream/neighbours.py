"""Folds whose rows follow each other made one: placed ones by their nodes, others by their states."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clinometer.dump.aligned import check_features

from .fold_file import described
from .nodes import push

if TYPE_CHECKING:
    from .fold import Fold


def append(first: Fold, other: Fold) -> None:
    """Merge unplaced folds of different prompts."""
    if other.start_row is not None:
        raise ValueError(f"merge: other is placed at row {other.start_row} but this Fold has no start_row")
    _need_alike(first, other)
    both = first.seen.keys() & other.seen.keys()
    if both:
        raise ValueError(f"merge: prompt {next(iter(both))!r} is in both folds")
    mine, theirs = first.total(), other.total()
    for a, b in zip(mine, theirs, strict=False):
        a.merge(b)
    if not mine:
        first.call, first.shares = other.call, other.shares
    _count(first, other)
    kept = {n: getattr(first, n) for n in ("n_rows", "features", "seen", "unlabelled", "call", "shares")}
    first._begin_empty()
    vars(first).update(kept, before=mine or theirs)
    other._begin_empty()


def adjoin(first: Fold, other: Fold) -> None:
    """Merge placed folds that are neighbours: their nodes, and the leaves on the border between them."""
    _need_alike(first, other)
    _need_neighbours(first, other)
    if other.n_rows == 0:
        return
    if first.n_rows == 0:
        own = {"statistics": first.statistics, "options": first.options, "turn": first.turn}
        vars(first).update(vars(other), **own)
        other._begin_empty()
        return
    first.settle()
    other.settle()
    if first.call is None:
        first.call, first.shares = other.call, other.shares
    if other.open_left:
        first.waiting += other.waiting
        first._flush()
    else:
        if other.head is not None:
            first.bridge(*other.head)
        for node in other.nodes:
            push(first.nodes, node)
        first.waiting, first.begin, first.folded_to = other.waiting, other.begin, other.folded_to
    _count(first, other)
    other._begin_empty()


def _need_alike(first: Fold, other: Fold) -> None:
    check_features(other.features, first.features, "merge: other")
    if len({isinstance(next(iter(fold.seen)), str) for fold in (first, other) if fold.seen}) > 1:
        raise ValueError("merge: prompt ids of one fold are text and those of the other numbers")
    mine, theirs = described(first), described(other)
    for name, wanted in mine.items():
        if first.n_rows and other.n_rows and theirs[name] != wanted:
            raise ValueError(f"merge: the two folds differ in {name}: {theirs[name]} and {wanted}")


def _need_neighbours(first: Fold, other: Fold) -> None:
    if other.start_row is None:
        raise ValueError(f"merge: this Fold is placed at row {first.start_row} but other has no start_row")
    if other.start_row != first.end_row:
        what = "overlap or are out of order" if other.start_row < first.end_row else "leave a gap"
        raise ValueError(
            f"merge: rows [{first.start_row}, {first.end_row}) and [{other.start_row}, {other.end_row}) {what}; "
            f"wanted the shard that begins at row {first.end_row}"
        )
    if first.n_rows and other.n_rows and (first.dump_facts is None) != (other.dump_facts is None):
        raise ValueError("merge: one fold is a shard of a dump, the other was fed rows; they do not know their border")
    if not (first.seen and other.seen):
        return
    shared = first.seen.keys() & other.seen.keys()
    if next(reversed(first.seen)) == next(iter(other.seen)):
        shared.discard(next(iter(other.seen)))
    if shared:
        raise ValueError(f"merge: prompt {next(iter(shared))!r} is in both folds and does not lie on their border")


def _count(first: Fold, other: Fold) -> None:
    first.n_rows += other.n_rows
    first.features = first.features or other.features
    first.seen |= other.seen
    if first.dump_facts is not None and other.dump_facts is not None:
        first.dump_facts["prompts"] += other.dump_facts["prompts"]
        return
    for name, n in other.unlabelled.items():
        first.unlabelled[name] = first.unlabelled.get(name, 0) + n
