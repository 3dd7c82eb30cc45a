"""What a call is given by row and by prompt, laid over its dump in one way: row by row only with proof of the order.

Arrays have no names for their rows, so their order is the dump's. What carries ids (Series, frames, `Scores`) is
compared with the dump's, and a mapping or Series by prompt is looked up. Missing is one thing, whatever the carrier.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clinometer.arrays.carriers import EXACT, Carried, carried, refuse_row_numbers
from clinometer.arrays.coerce import as_ids, as_numpy
from clinometer.arrays.dlpack import decode_bfloat16, is_bfloat16
from clinometer.common.notices import tell
from clinometer.common.visible import quote
from clinometer.dump import Dump
from clinometer.dump.aligned import by_response, check_labels, flat, same_ids
from clinometer.dump.directions import in_order_of

Floats = NDArray[np.float64]
_IDS = ("prompt_id", "response_id")  # columns of a frame that say which rows they are
_SHOWN = 60
_SMALL_FLOATS = ("float8_e4m3fn", "float8_e5m2", "float4_e2m1fn")  # of ml_dtypes: exact in float64


def numbers(name: str, given: Any) -> Floats:
    """Real numbers of any carrier as float64, NaN where they are missing."""
    array = as_numpy(given, name)
    if is_bfloat16(array.dtype):
        return np.asarray(decode_bfloat16(np.ascontiguousarray(array.view(np.uint16))), np.float64)
    if array.dtype.kind not in "fiub" and array.dtype.name not in _SMALL_FLOATS:
        raise TypeError(f"{name} has dtype {_kind(array)}, wanted numbers")
    return exact(name, array)


def exact(name: str, array: NDArray[Any]) -> Floats:
    """Numbers as float64; integers beyond 2^53 that it does not hold are refused."""
    out = array.astype(np.float64)
    if array.dtype.itemsize == 8 and array.dtype.kind in "iu" and array.size and np.abs(out).max() > EXACT:
        with np.errstate(invalid="ignore"):
            lost = out.astype(array.dtype) != array
        if lost.any():
            raise ValueError(
                f"{name} holds {array[lost][0]}, which float64 does not tell apart from others: subtract a level"
            )
    return out


def _kind(array: NDArray[Any]) -> str:
    return "of strings, some missing" if array.dtype == object else str(array.dtype)


def vectors(name: str, given: Any, dump: Dump | None) -> tuple[Floats, tuple[str, ...] | None]:
    """Directions (K, d) of any carrier, with their names: a mapping's keys, a frame's row labels, that of a Series.

    With a dump their entries are in the order of its features, where both have names.
    """
    if isinstance(given, Mapping):
        if dump is not None and dump.dim > 1 and all(isinstance(v, (int, float, np.number)) for v in given.values()):
            raise ValueError(f"{name} is a mapping of numbers; entries by feature are a pandas.Series of it")
        rows = [vectors(f"{name}[{key!r}]", v, dump)[0].reshape(-1) for key, v in given.items()]
        if len({len(r) for r in rows}) != 1 or not all(isinstance(key, str) for key in given):
            raise ValueError(f"{name} is a mapping; names with vectors (d,) of one length are wanted")
        return np.stack(rows), tuple(given)
    held = carried(given, name)
    table = np.atleast_2d(numbers(name, held if dump is None else in_order_of(dump, held, name)))
    if held.columns is None:
        return table, (held.name,) if held.name is not None and len(table) == 1 else None
    named = held.labels is not None and held.labels.dtype.kind == "U"
    return table, tuple(map(str, held.labels)) if named and held.labels is not None else None


def by_row(name: str, given: Any, dump: Dump, ids: NDArray[Any] | None) -> tuple[Floats, tuple[str, ...] | None]:
    """Numbers (N,) or (N, J) of the rows of a dump, and the names that a frame or Series gives them.

    `ids` are the prompt ids of the call. (G, n) and (G, n, J) are taken where the rows are G prompts of n responses.
    """
    held = carried(given, name)
    columns = dict(held.columns or {})
    said = {key: columns.pop(key) for key in _IDS if key in columns}
    if held.responses is not None:
        said.setdefault("response_id", held.responses)
    refuse_row_numbers(name, columns)
    table = flat(
        name, numbers(name, held if held.columns is None else replace(held, columns=columns)), dump.n_rows, ids
    )
    if table.ndim not in (1, 2) or len(table) != dump.n_rows:
        n, wide = dump.n_rows, table.ndim in (1, 2) and table.shape[-1] == dump.dim
        hint = "; a direction is a value as Directions(names, vectors)" if wide else ""
        hint = hint or ("; a row without an entry has NaN (a left merge, .reindex)" if 0 < len(table) < n else "")
        raise ValueError(f"{name} has shape {table.shape}, wanted ({n},) or ({n}, J){hint}")
    for key, own in said.items():
        theirs = ids if key == "prompt_id" else dump.columns[key] if dump.has_column(key) else None
        if theirs is None and key == "prompt_id":
            raise ValueError(f"{name} carries prompt ids but {dump.name} has none to compare: pass prompt_ids=")
        if theirs is not None:
            same_ids(name, as_ids(own, f"{name}, column {key!r}", dump.n_rows), theirs, key)
        elif ids is not None:
            _refuse_shuffled(name, np.asarray(own), ids, dump)
    if len(said) < 2 or not dump.has_column("response_id"):  # else both ids have proved the order of the rows
        check_labels(name, held, dump, ids)
    called = tuple(columns) if held.columns is not None else () if held.name is None else (held.name,)
    fits = len(called) == (table.shape[1] if table.ndim == 2 else 1)
    return table, called if fits and not all(n.isdecimal() for n in called) else None


def _refuse_shuffled(name: str, responses: NDArray[Any], ids: NDArray[Any], dump: Dump) -> None:
    """Refuse response ids that count a prompt's responses, but not in the order of the rows, which have none."""
    if responses.dtype.kind not in "iu":
        return
    _, prompt = np.unique(ids, return_inverse=True)
    order, stable = np.lexsort((responses, prompt)), np.argsort(prompt, kind="stable")
    counted = (np.diff(responses[order]) == 1) | (np.diff(prompt[order]) != 0)
    if counted.all() and (order != stable).any():
        raise ValueError(
            f"{name} counts the responses of a prompt in column 'response_id', out of order, and {dump.name} has no "
            "response_id to compare: sort it as the rows are, or open the dump with columns={'response_id': ...}"
        )


def by_prompt(name: str, given: Any, prompts: NDArray[Any], row_ids: NDArray[Any], *, text: bool) -> NDArray[Any]:
    """An entry for each prompt (G,), in their order: from a mapping or Series by id, a column by row, or (G,) in order.

    `prompts` are distinct ids in the order of `Dump.prompts`, `row_ids` (N,) those of the rows. With `text` entries are
    labels (whole numbers or strings), else finite numbers; a prompt without an entry is an error.
    """
    keys: NDArray[Any] | None = None
    if isinstance(given, Mapping):
        keys = as_ids(list(given), f"{name}, its keys", len(given))
        given = list(given.values())
    held = carried(given, name)
    if held.columns is not None:
        rest = {n: c for n, c in held.columns.items() if n != "prompt_id"}
        if len(rest) != 1 or ("prompt_id" not in held.columns and held.labels is None):
            raise ValueError(f"{name} is a frame of {list(held.columns)}; prompt_id and one other column are wanted")
        if "prompt_id" in held.columns:
            own = held.columns["prompt_id"]
            keys, held = as_ids(own, f"{name}, column 'prompt_id'", len(own)), Carried(next(iter(rest.values())))
    labels, by_row_number = held.labels, len(held.column) == len(row_ids) > len(prompts)
    if labels is None and held.indexed and not by_row_number:
        labels = np.arange(len(held.array)) if np.array_equal(np.sort(prompts), np.arange(len(prompts))) else None
    if by_row_number and labels is not None and np.array_equal(np.sort(labels), np.arange(len(labels))):
        raise ValueError(
            f"{name} has an index of row numbers that are out of order, where prompt ids are wanted: .sort_index() "
            "or .reset_index(drop=True) of it is taken row by row"
        )
    if keys is None and labels is not None:
        keys = as_ids(labels, f"{name}, its index", len(labels))
    array = np.asarray(held.array)
    if array.ndim != 1:
        raise ValueError(f"{name} has shape {array.shape}, wanted ({len(prompts)},): one entry per prompt")
    if keys is None:
        if len(array) == len(prompts):
            return _entries(name, array, prompts, text)
        if len(array) != len(row_ids):
            raise ValueError(
                f"{name} has shape {array.shape}, wanted ({len(prompts)},): one entry per prompt, in the order of "
                "their first rows (Dump.prompts), or a mapping by prompt id"
            )
        keys = row_ids
    return _looked_up(name, keys, _entries(name, array, keys, text), prompts)


def _entries(name: str, array: NDArray[Any], keys: NDArray[Any], text: bool) -> NDArray[Any]:
    gap = np.array([x is None for x in array], bool) if array.dtype == object else None
    if gap is None and array.dtype.kind == "f":
        gap = np.isnan(array)
    if gap is not None and gap.any():
        raise ValueError(f"{name} has no entry for prompt {quote(keys[int(np.argmax(gap))], _SHOWN)} (missing)")
    if text:
        return as_ids(array.astype(np.int64) if array.dtype == bool else array, name, len(array))
    out = numbers(name, array)
    if not np.isfinite(out).all() or (out < 0).any() or not out.any():
        raise ValueError(f"{name} must be finite, not negative and not all zero")
    return out


def _looked_up(name: str, keys: NDArray[Any], entries: NDArray[Any], prompts: NDArray[Any]) -> NDArray[Any]:
    """Entries by key, one for each prompt; keys may repeat with one entry."""
    if len(keys) and len(prompts) and (keys.dtype.kind == "U") != (prompts.dtype.kind == "U"):
        kinds = ["text" if a.dtype.kind == "U" else "numbers" for a in (keys, prompts)]
        raise TypeError(f"{name} is keyed by {kinds[0]}, but prompt ids are {kinds[1]}")
    known, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    if (bad := entries[first][inverse] != entries).any():
        which = quote(keys[int(np.argmax(bad))], _SHOWN)
        raise ValueError(f"{name} varies inside a prompt: {which} has two entries")
    at = np.minimum(np.searchsorted(known, prompts), max(len(known) - 1, 0))
    absent = known[at] != prompts if len(known) else np.ones(len(prompts), bool)
    if absent.any():
        which = quote(prompts[int(np.argmax(absent))], _SHOWN)
        more = f" and {int(absent.sum()) - 1} others" if absent.sum() > 1 else ""
        raise ValueError(f"{name} has no entry for prompt {which}{more}")
    if len(known) > len(prompts):
        extra = quote(known[~np.isin(known, prompts)][0], _SHOWN)
        n = len(known) - len(prompts)
        which = f"prompt {extra}, which is" if n == 1 else f"{n} prompts, {extra} say, which are"
        tell(f"{name} has an entry for {which} not among the rows", stacklevel=7)
    return entries[first[at]]


def pairs_of(pairs: Any, prob: Any, ids: NDArray[Any] | None) -> tuple[NDArray[Any], Floats]:
    """Row numbers (P, 2), the preferred row first, and labels (P, K); a frame's columns chosen and rejected by name.

    A frame's column prompt_id must hold the prompts of its rows, and labels that carry an index that of the pairs.
    """
    held, labels = carried(pairs, "pairs"), carried(prob, "prob")
    table = held.array if held.columns is None else _ends(held.columns)
    if held.indexed and labels.indexed:
        ours, theirs = (np.arange(len(table)) if x.labels is None else x.labels for x in (held, labels))
        if len(ours) == len(theirs):
            same_ids("prob", theirs, ours, "label in its index")
    elif (labels.labels is not None) and (labels.labels.dtype.kind not in "iu" or (np.diff(labels.labels) <= 0).any()):
        raise ValueError(
            "prob has an index that is not in order, and pairs have none to compare: .reset_index(drop=True)"
        )
    if held.columns is not None and "prompt_id" in held.columns and ids is not None and table.dtype.kind in "iu":
        own = as_ids(held.columns["prompt_id"], "pairs, column 'prompt_id'", len(table))
        if len(table) and table.min() >= 0 and table.max() < len(ids):
            same_ids("pairs", own, np.asarray(ids)[table[:, 0]])
    table_of = numbers("prob", labels)
    return table, table_of[:, None] if table_of.ndim == 1 else table_of


def _ends(columns: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
    if {"chosen", "rejected"} <= set(columns):
        return np.stack([columns["chosen"], columns["rejected"]], axis=1)
    rest = [c for n, c in columns.items() if n != "prompt_id"]
    if len(rest) != 2:
        raise ValueError(f"pairs is a frame of {list(columns)}; the columns chosen and rejected are wanted")
    return np.stack(rest, axis=1)


def ids_of(given: Any, n_rows: int) -> NDArray[Any]:
    """Prompt ids (N,), or (G, n) of G prompts' n responses."""
    if type(given) is np.ndarray and given.dtype.kind in "iuU" and given.dtype.isnative and given.shape == (n_rows,):
        return given  # most often: the ids of a dump, which were read when it was opened
    return as_ids(by_response(carried(given, "prompt_ids").column, n_rows), "prompt_ids", n_rows)
