"""What lies beside the rows of a dump: pairs, directions, texts."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .files import quote
from .safetensors import Payload, write_safetensors
from .tensors import TAGS

__all__ = ["write_directions", "write_pairs", "write_text"]


def _pair_tensors(pairs: Any, n_rows: int) -> dict[str, NDArray[Any]]:
    if isinstance(pairs, Mapping):
        out = {str(name): np.asarray(value) for name, value in pairs.items()}
    else:
        ends, prob = pairs if isinstance(pairs, tuple) and len(pairs) == 2 and np.ndim(pairs[0]) == 2 else (pairs, None)
        ends = np.asarray(ends)
        if ends.ndim != 2 or ends.shape[1] != 2:
            raise ValueError(f"pairs has shape {ends.shape}; (P, 2) is wanted")
        out = {"chosen": ends[:, 0], "rejected": ends[:, 1]}
        if prob is not None:
            out["prob"] = np.asarray(prob)
    if not {"chosen", "rejected"} <= set(out):
        raise ValueError(f"pairs holds {sorted(out)}; chosen and rejected are wanted")
    count = len(out["chosen"])
    for name, array in out.items():
        is_end = name in ("chosen", "rejected")
        if array.ndim < 1 or len(array) != count or (is_end and array.ndim != 1) or array.dtype.str[1:] not in TAGS:
            raise ValueError(
                f"pairs[{quote(name)}] has shape {array.shape} and dtype {array.dtype}; {count} rows wanted"
            )
        if is_end:
            if array.dtype.kind not in "iu":
                raise TypeError(f"pairs[{quote(name)}] has dtype {array.dtype}; row numbers are wanted")
            if count and not 0 <= int(array.min()) <= int(array.max()) < n_rows:
                raise ValueError(f"pairs[{quote(name)}] holds rows outside 0 .. {n_rows - 1}")
            out[name] = array.astype(np.int64)
    return out


def _one(array: NDArray[Any]) -> list[bytes]:
    return [array.tobytes()]


def write_pairs(folder: str, pairs: Any, n_rows: int) -> str:
    """Write pairs.safetensors: chosen and rejected rows (P,), and prob and others (P, ...)."""
    payloads = {}
    for name, array in _pair_tensors(pairs, n_rows).items():
        little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
        payloads[name] = Payload(TAGS[little.dtype.str[1:]], little.shape, partial(_one, little))
    write_safetensors(os.path.join(folder, "pairs.safetensors"), payloads)
    return "pairs.safetensors"


def write_directions(folder: str, directions: Any, n_rows: int) -> str:
    """Write directions.safetensors."""
    from ..directions import Directions

    if not isinstance(directions, Directions):
        raise TypeError(f"directions is a {type(directions).__name__}; Directions are wanted")
    directions.save(os.path.join(folder, "directions.safetensors"))
    return "directions.safetensors"


def write_text(folder: str, texts: Any, n_rows: int) -> str:
    """Write text.jsonl: one object per row."""
    count = 0
    with open(os.path.join(folder, "text.jsonl"), "xb") as out:
        for count, item in enumerate(texts, 1):
            if isinstance(item, Mapping) and {"prompt", "response"} <= set(item):
                line = dict(item)
            elif isinstance(item, (tuple, list)) and len(item) == 2:
                line = {"prompt": item[0], "response": item[1]}
            else:
                raise TypeError(f"texts[{count - 1}] is neither (prompt, response) nor a mapping of them")
            out.write(json.dumps(line, ensure_ascii=True, allow_nan=False).encode("ascii") + b"\n")
        if count != n_rows:
            raise ValueError(f"texts has {count} entries; {n_rows} are wanted, one per row")
        out.flush()
        os.fsync(out.fileno())
    return "text.jsonl"
