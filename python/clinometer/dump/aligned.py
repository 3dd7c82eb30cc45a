"""Whether what carries ids or labels has the rows of a dump in their order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clinometer.arrays.carriers import INDEX, Carried
from clinometer.arrays.strings import is_text
from clinometer.common.notices import tell
from clinometer.common.visible import quote

from .dump import Dump

_SHOWN = 60


def flat(name: str, table: NDArray[Any], n_rows: int, ids: NDArray[Any] | None) -> NDArray[Any]:
    """(G, n, ...) as (G n, ...), where prompts have n rows each, one prompt after the other."""
    if table.ndim < 2 or len(table) == n_rows or table.shape[0] * table.shape[1] != n_rows:
        return table
    grid = None if ids is None else np.asarray(ids).reshape(table.shape[:2])
    if grid is None or (grid != grid[:, :1]).any() or len(np.unique(grid[:, 0])) < len(grid):
        raise ValueError(
            f"{name} has shape {table.shape} for {n_rows} rows: entries by prompt and response want rows that are "
            f"{table.shape[0]} prompts of {table.shape[1]} responses one after the other, and these are not"
        )
    return table.reshape(n_rows, *table.shape[2:])


def by_response(ids: NDArray[Any], n_rows: int) -> NDArray[Any]:
    """Ids (G, n) that say the prompt of each of n responses, row after row, as (G n,)."""
    grid = ids.ndim == 2 and ids.size == n_rows and bool((ids == ids[:, :1]).all())
    return ids.reshape(-1) if grid else ids


def same_ids(name: str, own: NDArray[Any], theirs: NDArray[Any], what: str = "prompt_id") -> None:
    """Refuse ids that differ from the dump's in a row, naming the first."""
    theirs = np.asarray(theirs)
    if len(own) != len(theirs):
        raise ValueError(f"{name} has {len(own)} rows but the dump has {len(theirs)}")
    text = [a.dtype.kind in "UTO" for a in (own, theirs)]
    differ = np.ones(len(own), bool) if text[0] != text[1] else np.asarray(own != theirs)
    if differ.any():
        row = int(np.argmax(differ))
        mine, its = (quote(x[row], _SHOWN) for x in (own, theirs))
        raise ValueError(
            f"{name}: {int(differ.sum())} rows have another {what} than the dump's, first row {row}: {mine}, where the "
            f"dump has {its} ({'one is text and one a number' if text[0] != text[1] else 'bring them into its order'})"
        )


def check_features(mine: Sequence[str] | None, theirs: Sequence[str] | None, what: str) -> None:
    """Refuse rows whose columns have other names than those before them, or the same in another order."""
    if mine and theirs and tuple(mine) != tuple(theirs):
        at = next(
            (k for k, (a, b) in enumerate(zip(mine, theirs, strict=False)) if a != b), min(len(mine), len(theirs))
        )
        here, there = (quote(x[at], _SHOWN) if at < len(x) else "nothing" for x in (mine, theirs))
        raise ValueError(
            f"{what} has other columns than the rows before it, first column {at}: {here}, where those have {there}: "
            "bring them into one order (frame[names])"
        )


def same_labels(given: Mapping[str, Carried]) -> None:
    """Refuse arrays of one batch whose indices differ; those without an index have the order of the batch."""
    held = {name: np.arange(len(c.array)) if c.labels is None else c.labels for name, c in given.items() if c.indexed}
    for name, labels in list(held.items())[1:]:
        same_ids(name, labels, next(iter(held.values())), "label in its index")
    moved, plain = next((n for n, x in held.items() if _moved(x)), None), [n for n in given if n not in held]
    if moved and plain:
        _tell_of_no_index(plain[0], moved)


def _tell_of_no_index(name: str, rows: str) -> None:
    tell(
        f"{name} has no index and {rows} come from a frame whose index is out of order: taken row by row as they "
        "stand; .reset_index(drop=True) of the frame, .flatten_indices() of a Dataset, says that this is meant",
        stacklevel=7,
    )


def index_of(dump: Dump) -> NDArray[Any] | None:
    """The labels of a dump's rows: of a frame, or those that pandas wrote beside its rows where they are distinct."""
    if dump.labels is not None or not dump.has_column(INDEX):
        return dump.labels
    held = np.asarray(dump.column(INDEX))
    counted = held.dtype.kind in "iu" and np.array_equal(held, np.arange(len(held)))
    return None if counted or len(np.unique(held)) < len(held) else held


def check_labels(name: str, held: Carried, dump: Dump, ids: NDArray[Any] | None) -> None:
    """Compare the labels of rows with the dump's: its own labels, prompt ids or the column they are named after."""
    labels, theirs = held.labels, index_of(dump)
    if labels is None and held.indexed and theirs is not None:
        labels = np.arange(dump.n_rows)
    if labels is None and _moved(dump.labels) and len(held.array) == dump.n_rows:
        _tell_of_no_index(name, "the rows")
    if labels is None:
        return
    by_row = len(labels) == dump.n_rows
    if not by_row:  # of (G, n), prompt by prompt
        if ids is None or not len(labels) or dump.n_rows % len(labels):
            return
        ids = np.asarray(ids)[:: dump.n_rows // len(labels)]
    if theirs is not None and by_row:
        same_ids(name, labels, theirs, "label in its index")
    elif held.label_name in ("prompt_id", "prompt_ids") or (ids is not None and _same_set(labels, ids)):
        if ids is None:
            raise ValueError(f"{name} is labelled by prompt id but {dump.name} has no ids: pass prompt_ids=")
        same_ids(name, labels, ids)
    elif held.label_name is not None and by_row and dump.has_column(held.label_name):
        same_ids(name, labels, dump.column(held.label_name), held.label_name)
    elif by_row and dump.has_column("response_id") and _same_set(labels, responses := dump.column("response_id")):
        same_ids(name, labels, responses, "response_id")
    elif labels.dtype.kind not in "iu" or (np.diff(labels) <= 0).any():
        begins = ", ".join(quote(x, _SHOWN) for x in labels[:2])
        raise ValueError(
            f"{name} has an index ({begins}, ...) that is not the order of the dump's rows, nor its ids: sort it into "
            "that order (.sort_index() if the labels are row numbers, .loc[ids] if they are ids). Only then "
            ".reset_index(drop=True), .flatten_indices() of a Dataset, says so; rows out of order give wrong numbers"
        )


def _moved(labels: NDArray[Any] | None) -> bool:
    """Whether rows of a frame were sorted or shuffled: its labels are distinct numbers that do not ascend."""
    if labels is None or labels.dtype.kind not in "iu" or (np.diff(labels) >= 0).all():
        return False
    return len(np.unique(labels)) == len(labels)


def _same_set(labels: NDArray[Any], ids: NDArray[Any]) -> bool:
    if is_text(labels.dtype) != is_text(np.asarray(ids).dtype):
        return False
    return bool(np.array_equal(np.unique(labels), np.unique(ids)))
