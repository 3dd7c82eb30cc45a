"""Folders of hidden states, one safetensors file per request, as vLLM and speculators write them."""

from __future__ import annotations

import hashlib
import os
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import strictjson
from .files import PlainFile, bad, inside, quote
from .manifest import Found
from .npz import open_tensors
from .safetensors import Seen, read_header
from .tensors import FLOAT_NAMES, Part, Tensor, Virtual, decode_bfloat16
from .windows import Window

__all__ = ["POOLS", "find_requests", "is_request"]

POOLS = ("last", "mean")
_INDEXED = re.compile(r"hs_([0-9]{1,15})\Z")
_PIECE = 8 << 20
_WANTED = "hidden_states (tokens, layers, d) and token_ids (tokens,) are wanted"


@dataclass(frozen=True)
class _Request:
    name: str
    states: Part
    prompt: int  # tokens before the response
    asked: bytes  # digest of these tokens: equal where the prompts are

    @property
    def tokens(self) -> int:
        return self.states.shape[0]


def is_request(names: set[str]) -> bool:
    """Whether a file's tensors are those of one request."""
    return {"hidden_states", "token_ids"} <= names


def find_requests(folder: str, files: list[str], pool: str | None, prompt_tokens: Any) -> Found:
    """One row per request: the state of the last token, or the mean over the response's tokens.

    Parameters
    ----------
    pool : "last" | "mean"
    prompt_tokens : mapping of request to its prompt's length in tokens, or a path: .json with such an object, .npz
        with arrays `request` (names, or the numbers of hs_<number>) and `prompt_tokens`.

    Prompts are recognised by their tokens: requests that begin with the same ones get the same `prompt_id`. Layers are
    numbered by their place in the file. Requests that `prompt_tokens` or the numbering names but the folder lacks are
    reported and listed in source["missing_requests"].
    """
    held = sorted((n.removesuffix(".safetensors") for n in files), key=_order)
    if pool not in POOLS:
        raise bad(
            folder,
            "holds hidden states of every token: say with pool='last' or pool='mean' how a response becomes one row",
            "pool",
        )
    if prompt_tokens is None:
        raise bad(
            folder,
            "does not say where prompts end and responses begin: give prompt_tokens=, the length of each request's "
            "prompt (a mapping, .json, or .npz with request and prompt_tokens)",
            "prompt_tokens",
        )
    lengths = _lengths(prompt_tokens)
    seen: Seen = {}
    requests = [_request(folder, name, lengths, seen) for name in held]
    _check_alike(requests)
    missing = _missing(held, lengths)
    source: dict[str, Any] = {"position": f"{pool} of response", "files": len(held)}
    if missing:
        shown = ", ".join(missing[:5]) + (", ..." if len(missing) > 5 else "")
        warnings.warn(
            f"{folder}: {len(missing)} of {len(missing) + len(held)} requests have no file: {shown}", stacklevel=2
        )
        source["missing_requests"] = missing
    return Found(_tensors(requests, pool), source)


def _order(name: str) -> tuple[int, int, str]:
    match = _INDEXED.match(name)
    return (0, int(match[1]), name) if match else (1, 0, name)


def _lengths(given: Any) -> dict[str, int]:
    if isinstance(given, (str, os.PathLike)):
        given = _saved_lengths(os.fspath(given))
    if not isinstance(given, Mapping):
        raise TypeError(f"prompt_tokens is a {type(given).__name__}; a mapping or a path to .json or .npz is wanted")
    out: dict[str, int] = {}
    for key, value in given.items():
        name = f"hs_{int(key)}" if isinstance(key, (int, np.integer)) else str(key)
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 0:
            raise ValueError(f"prompt_tokens[{quote(key)}] is {quote(value)}; a length in tokens is wanted")
        if name in out:
            raise ValueError(f"prompt_tokens names {quote(name)} twice")
        out[name] = int(value)
    return out


def _saved_lengths(path: str) -> Any:
    file = PlainFile(path)
    if path.endswith(".npz"):
        arrays = open_tensors(file)
        if not {"request", "prompt_tokens"} <= set(arrays):
            raise bad(path, f"holds {sorted(arrays)}; the arrays request and prompt_tokens are wanted")
        names, lengths = arrays["request"].read(), arrays["prompt_tokens"].read()
        if names.ndim != 1 or names.shape != lengths.shape or lengths.dtype.kind not in "iu":
            raise bad(path, f"has shapes {names.shape} and {lengths.shape}; one integer for each request is wanted")
        if len(np.unique(names)) != len(names):
            raise bad(path, "names a request twice", "request")
        return dict(zip(names.tolist(), lengths.tolist(), strict=True))
    return strictjson.loads(file.read(0, file.size), path, 0, "prompt_tokens")


def _request(folder: str, name: str, lengths: Mapping[str, int], seen: Seen) -> _Request:
    """What a file holds, looked at once: there may be very many, and opening one costs more than reading it."""
    file = PlainFile(inside(folder, f"{name}.safetensors", "folder", folder), hold=True)
    try:
        states, ids = _checked(file, seen)
        prompt = _prompt(name, states, lengths)
        asked = file.read(ids.offset, prompt * ids.dtype.itemsize)
    finally:
        file.release()
    return _Request(name, states, prompt, hashlib.blake2b(asked, digest_size=20).digest())


def _checked(file: PlainFile, seen: Seen) -> tuple[Part, Part]:
    """The states and the tokens."""
    path = file.path
    parts, _ = read_header(file, seen)
    if not is_request(set(parts)):
        raise bad(path, f"holds {sorted(parts)[:8]}; {_WANTED}", "header", 8)
    states, ids = parts["hidden_states"], parts["token_ids"]
    if len(ids.shape) != 1 or ids.tag not in ("I64", "I32", "U32", "I16", "U16", "U64"):
        raise bad(path, f"has shape {ids.shape} and dtype {ids.tag}; {_WANTED}", "tensor 'token_ids'", ids.offset)
    if len(states.shape) != 3 or states.tag not in FLOAT_NAMES or states.shape[0] != ids.shape[0]:
        swapped = len(states.shape) == 3 and states.shape[1] == ids.shape[0]
        hint = (
            " (its second axis is as long as token_ids: layers come first here, which is not read)" if swapped else ""
        )
        what = f"has shape {states.shape} and dtype {states.tag} beside {ids.shape[0]} token_ids; {_WANTED}{hint}"
        raise bad(path, what, "tensor 'hidden_states'", states.offset)
    return states, ids


def _prompt(name: str, states: Part, lengths: Mapping[str, int]) -> int:
    """Tokens before the response."""
    path = states.file.path
    if name not in lengths:
        raise bad(path, "the length of its prompt is not given, so its response is unknown", "prompt_tokens")
    if not lengths[name] < states.shape[0]:
        what = f"a prompt of {lengths[name]} tokens leaves no response of {states.shape[0]} tokens"
        raise bad(path, what, "prompt_tokens")
    return lengths[name]


def _check_alike(requests: list[_Request]) -> None:
    first = requests[0].states
    for r in requests[1:]:
        if (r.states.shape[1:], r.states.tag) != (first.shape[1:], first.tag):
            raise bad(
                r.states.file.path,
                f"has layers and width {r.states.shape[1:]} {r.states.tag}, the first request {first.shape[1:]} "
                f"{first.tag}",
                "tensor 'hidden_states'",
                r.states.offset,
            )


def _missing(held: list[str], lengths: Mapping[str, int]) -> list[str]:
    """Requests that were expected: named by the lengths, or below the largest number."""
    wanted = set(lengths)
    numbers = [int(m[1]) for m in map(_INDEXED.match, held) if m]
    if len(numbers) == len(held) and max(numbers) < 8 * len(held):  # else the numbers are names, not places
        wanted |= {f"hs_{k}" for k in range(max(numbers))}
    return sorted(wanted - set(held), key=_order)


def _tensors(requests: list[_Request], pool: str) -> dict[str, Tensor]:
    n, (_, layers, d), tag = len(requests), requests[0].states.shape, _tag(requests[0], pool)
    out: dict[str, Tensor] = {}
    for layer in range(layers):
        fetch = partial(_rows, requests, layer, pool)
        window = Window((n, d), _item(tag), fetch, os.path.dirname(requests[0].states.file.path))
        out[f"phi_{pool}_L{layer}"] = Virtual(
            f"phi_{pool}_L{layer}", (), stated=(tag, (n, d)), pieces=partial(_alone, window)
        )
    columns = {
        "prompt_id": ("I64", lambda: _prompt_ids(requests)),
        "n_tokens": ("I64", lambda: np.array([r.tokens - r.prompt for r in requests], np.int64)),
        "request": ("U1", lambda: np.array([r.name for r in requests], str)),
    }
    for name, (kind, values) in columns.items():
        out[name] = Virtual(name, (), stated=(kind, (n,)), values=values)
    return out


def _tag(request: _Request, pool: str) -> str:
    """The dtype of pooled rows."""
    held = request.states.tag
    return held if pool == "last" or held == "F64" else "F32"


def _alone(window: Window) -> list[tuple[NDArray[Any] | Window, Any]]:
    return [(window, None)]  # no file to watch: each is compared with what was opened whenever it is read


def _item(tag: str) -> str:
    return {"F16": "f2", "BF16": "u2", "F32": "f4", "F64": "f8"}[tag]


def _prompt_ids(requests: list[_Request]) -> NDArray[np.int64]:
    """The same number for the same prompt tokens, by first appearance."""
    known: dict[bytes, int] = {}
    out = np.empty(len(requests), np.int64)
    for k, r in enumerate(requests):
        out[k] = known.setdefault(r.asked, len(known))
    return out


def _rows(requests: list[_Request], layer: int, pool: str, first: int, last: int) -> NDArray[Any]:
    pooled = _last if pool == "last" else _mean
    out = np.empty((last - first, requests[0].states.shape[2]), _item(_tag(requests[0], pool)))
    for k, r in enumerate(requests[first:last]):
        out[k] = pooled(r, layer)
    return out


def _last(r: _Request, layer: int) -> NDArray[Any]:
    _, layers, d = r.states.shape
    width = d * r.states.dtype.itemsize
    at = r.states.offset + ((r.tokens - 1) * layers + layer) * width
    return np.frombuffer(r.states.file.read(at, width), r.states.dtype)


def _mean(r: _Request, layer: int) -> NDArray[Any]:
    """The mean over the response, summed in f64; float32, or float64 where states are."""
    _, layers, d = r.states.shape
    token = layers * d * r.states.dtype.itemsize
    step = max(1, _PIECE // max(token, 1))
    total = np.zeros(d)
    for at in range(r.prompt, r.tokens, step):
        m = min(step, r.tokens - at)
        raw = np.frombuffer(r.states.file.read(r.states.offset + at * token, m * token), r.states.dtype)
        rows = raw.reshape(m, layers, d)[:, layer]
        total += (decode_bfloat16(rows) if r.states.tag == "BF16" else rows).sum(axis=0, dtype=np.float64)
    mean = total / (r.tokens - r.prompt)
    return mean if r.states.tag == "F64" else mean.astype(np.float32)
