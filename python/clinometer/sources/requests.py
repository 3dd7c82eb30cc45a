"""Folders of hidden states, one safetensors file per request, as vLLM and speculators write them."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from clinometer.arrays.dlpack import decode_bfloat16
from clinometer.common.notices import tell
from clinometer.common.visible import quote
from clinometer.errors import bad
from clinometer.files import strictjson
from clinometer.files.folders import all_inside, natural
from clinometer.files.plain import PlainFile

from .found import Found
from .npz import open_tensors
from .safetensors import parse_header, read_head
from .tensors import FLOAT_NAMES, NUMPY_CODES, Tensor, Virtual
from .window import Window

POOLS = ("last", "mean")
_INDEXED = re.compile(r"hs_([0-9]{1,15})\Z")


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
    layouts: Layouts = {}
    paths = all_inside(folder, [f"{name}.safetensors" for name in held], "folder")
    requests = [read_request(path, name, lengths, layouts) for path, name in zip(paths, held, strict=True)]
    _check_alike(requests)
    missing = _missing(held, lengths)
    source: dict[str, Any] = {"position": f"{pool} of response", "files": len(held)}
    if missing:
        shown = ", ".join(missing[:5]) + (", ..." if len(missing) > 5 else "")
        tell(f"{folder}: {len(missing)} of {len(missing) + len(held)} requests have no file: {shown}", stacklevel=2)
        source["missing_requests"] = missing
    return Found(_tensors(requests, pool), source, takes=("pool", "prompt_tokens"))


def _order(name: str) -> tuple[Any, ...]:
    match = _INDEXED.match(name)
    return (0, int(match[1]), name) if match else (1, *natural(name))


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


def _check_alike(requests: list[Request]) -> None:
    first = requests[0].layout
    for layout, r in {r.layout: r for r in reversed(requests)}.items():  # by layout, the first file that has it
        if (layout.shape[1:], layout.tag) != (first.shape[1:], first.tag):
            raise bad(
                r.file.path,
                f"has layers and width {layout.shape[1:]} {layout.tag}, the first request {first.shape[1:]} "
                f"{first.tag}",
                "tensor 'hidden_states'",
                layout.states,
            )


def _missing(held: list[str], lengths: Mapping[str, int]) -> list[str]:
    """Requests that were expected: named by the lengths, or below the largest number."""
    wanted = set(lengths)
    numbers = [int(m[1]) for m in map(_INDEXED.match, held) if m]
    if len(numbers) == len(held) and max(numbers) < 8 * len(held):  # else the numbers are names, not places
        wanted |= {f"hs_{k}" for k in range(max(numbers))}
    return sorted(wanted - set(held), key=_order)


def _tensors(requests: list[Request], pool: str) -> dict[str, Tensor]:
    n, (_, layers, d), tag = len(requests), requests[0].layout.shape, pooled_tag(requests[0].layout, pool)
    out: dict[str, Tensor] = {}
    for layer in range(layers):
        fetch = partial(_rows, requests, layer, pool)
        window = Window((n, d), NUMPY_CODES[tag], fetch, os.path.dirname(requests[0].file.path))
        out[f"phi_{pool}_L{layer}"] = Virtual(
            f"phi_{pool}_L{layer}", (), stated=(tag, (n, d)), pieces=partial(_alone, window)
        )
    columns = {
        "prompt_id": ("I64", lambda: _prompt_ids(requests)),
        "n_tokens": ("I64", lambda: np.array([r.layout.shape[0] - r.prompt for r in requests], np.int64)),
        "request": ("U1", lambda: np.array([r.name for r in requests], str)),
    }
    for name, (kind, values) in columns.items():
        out[name] = Virtual(name, (), stated=(kind, (n,)), values=values)
    return out


def _alone(window: Window) -> list[tuple[NDArray[Any] | Window, Any]]:
    return [(window, None)]  # no file to watch: each is compared with what was opened whenever it is read


def _prompt_ids(requests: list[Request]) -> NDArray[np.int64]:
    """The same number for the same prompt tokens, by first appearance."""
    known: dict[bytes, int] = {}
    return np.array([known.setdefault(r.asked, len(known)) for r in requests], np.int64)


def _rows(requests: list[Request], layer: int, pool: str, first: int, last: int) -> NDArray[Any]:
    layout = requests[first].layout
    pooled = last_state if pool == "last" else mean_state
    out = np.empty((last - first, layout.shape[2]), NUMPY_CODES[pooled_tag(layout, pool)])
    for k, r in enumerate(requests[first:last]):
        out[k] = pooled(r, layer)
    return out


_PIECE = 8 << 20
_KEPT = 4096
_WANTED = "hidden_states (tokens, layers, d) and token_ids (tokens,) are wanted"
_IDS = ("I64", "I32", "U32", "I16", "U16", "U64")


class Layout(NamedTuple):
    """What a header says, checked."""

    states: int  # byte at which they begin
    shape: tuple[int, ...]  # (tokens, layers, d)
    tag: str
    ids: int
    id_bytes: int  # of one token


Layouts = dict[tuple[int, bytes], Layout]


class Request(NamedTuple):
    """A file, and what of it has to be known of every request of a folder."""

    name: str
    file: PlainFile
    layout: Layout
    prompt: int  # tokens before the response
    asked: bytes  # digest of these tokens: equal where the prompts are


def is_request(names: set[str]) -> bool:
    """Whether a file's tensors are those of one request."""
    return {"hidden_states", "token_ids"} <= names


def read_request(path: str, name: str, lengths: Mapping[str, int], layouts: Layouts) -> Request:
    """What a file holds, looked at once: there may be very many, and opening one costs more than reading it.

    Parameters
    ----------
    path, name : str
        The file, and the request's name in `lengths`, the prompts' lengths in tokens.
    layouts : dict
        By a file's size and header, to look up and to add to: of many files of a few shapes each is parsed once.
    """
    file = PlainFile(path, hold=True)
    try:
        head, begin = read_head(file)
        key = file.size, head[:begin]
        layout = layouts.get(key)
        if layout is None:
            layout = _layout(file, head[8:begin])
            if len(layouts) < _KEPT:
                layouts[key] = layout
        prompt = _prompt(path, name, layout, lengths)
        end = layout.ids + prompt * layout.id_bytes
        asked = head[layout.ids : end] if end <= len(head) else file.read(layout.ids, end - layout.ids)
    finally:
        file.release()
    return Request(name, file, layout, prompt, hashlib.blake2b(asked, digest_size=20).digest())


def _layout(file: PlainFile, header: bytes) -> Layout:
    path = file.path
    parts, _ = parse_header(file, header)
    if not is_request(set(parts)):
        raise bad(path, f"holds {sorted(parts)[:8]}; {_WANTED}", "header", 8)
    states, ids = parts["hidden_states"], parts["token_ids"]
    if len(ids.shape) != 1 or ids.tag not in _IDS:
        raise bad(path, f"has shape {ids.shape} and dtype {ids.tag}; {_WANTED}", "tensor 'token_ids'", ids.offset)
    if len(states.shape) != 3 or states.tag not in FLOAT_NAMES or states.shape[0] != ids.shape[0]:
        swapped = len(states.shape) == 3 and states.shape[1] == ids.shape[0]
        hint = (
            " (its second axis is as long as token_ids: layers come first here, which is not read)" if swapped else ""
        )
        what = f"has shape {states.shape} and dtype {states.tag} beside {ids.shape[0]} token_ids; {_WANTED}{hint}"
        raise bad(path, what, "tensor 'hidden_states'", states.offset)
    return Layout(states.offset, states.shape, states.tag, ids.offset, ids.dtype.itemsize)


def _prompt(path: str, name: str, layout: Layout, lengths: Mapping[str, int]) -> int:
    """Tokens before the response."""
    prompt, tokens = lengths.get(name), layout.shape[0]
    if prompt is None:
        raise bad(path, "the length of its prompt is not given, so its response is unknown", "prompt_tokens")
    if not prompt < tokens:
        raise bad(path, f"a prompt of {prompt} tokens leaves no response of {tokens} tokens", "prompt_tokens")
    return prompt


def pooled_tag(layout: Layout, pool: str) -> str:
    """The dtype of pooled rows."""
    return layout.tag if pool == "last" or layout.tag == "F64" else "F32"


def last_state(r: Request, layer: int) -> NDArray[Any]:
    """The response's last token."""
    tokens, layers, d = r.layout.shape
    dtype = np.dtype(NUMPY_CODES[r.layout.tag])
    width = d * dtype.itemsize
    return np.frombuffer(r.file.read(r.layout.states + ((tokens - 1) * layers + layer) * width, width), dtype)


def mean_state(r: Request, layer: int) -> NDArray[Any]:
    """The mean over the response, summed in f64; float32, or float64 where states are."""
    tokens, layers, d = r.layout.shape
    dtype = np.dtype(NUMPY_CODES[r.layout.tag])
    width = layers * d * dtype.itemsize
    step = max(1, _PIECE // max(width, 1))
    total = np.zeros(d)
    for at in range(r.prompt, tokens, step):
        m = min(step, tokens - at)
        raw = np.frombuffer(r.file.read(r.layout.states + at * width, m * width), dtype)
        rows = raw.reshape(m, layers, d)[:, layer]
        total += (decode_bfloat16(rows) if r.layout.tag == "BF16" else rows).sum(axis=0, dtype=np.float64)
    mean = total / (tokens - r.prompt)
    return mean if r.layout.tag == "F64" else mean.astype(np.float32)
