"""One request's file: where its states and tokens lie, where its response begins, and its pooled row."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from clinometer.arrays.bfloat16 import decode_bfloat16
from clinometer.errors import bad
from clinometer.files.plain import PlainFile

from .safetensors import parse_header, read_head
from .tensors import FLOAT_NAMES, NUMPY_CODES

__all__ = ["Layout", "Layouts", "Request", "is_request", "last_state", "mean_state", "pooled_tag", "read_request"]

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
