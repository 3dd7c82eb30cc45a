"""Directions that other tools trained: control vectors of repeng and steering vectors of activation-steering."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clinometer.common.visible import quote
from clinometer.errors import bad
from clinometer.files import strictjson
from clinometer.files.plain import PlainFile
from clinometer.sources.found import layer_of
from clinometer.sources.gguf import read_gguf
from clinometer.sources.npy import read_npy
from clinometer.sources.npz import open_tensors
from clinometer.sources.registry import PICKLES, TABLES
from clinometer.sources.safetensors import read_header
from clinometer.sources.tensors import FLOAT_NAMES, Part

SUFFIXES = (".gguf", ".svec", ".json", ".npz")
_LARGEST = 512 << 20
_LAYER = re.compile(r"(?:direction\.|.*_L)?([0-9]{1,9})\Z")


def read_layers(file: PlainFile, layer_offset: int) -> tuple[dict[int, Any], str, dict[str, Any]]:
    """One direction per layer from .gguf (repeng), .svec (activation-steering), .json or .npz by layer.

    Beside them the name of the file, and what it says of its source.

    A .json holds {"directions": {layer: [numbers]}, "model_type": ...} or the inner object alone, an .npz one array
    (d,) per layer under its number, `direction.<layer>` or `<name>_L<layer>`. Both tools number the blocks of a model
    from 0; dumps that call the embeddings layer 0 want layer_offset=1.
    """
    stem, suffix = os.path.splitext(os.path.basename(file.path))
    read = {".gguf": _gguf, ".npz": _npz}.get(suffix.lower(), _json)
    vectors, source = read(file)
    named: dict[int, Any] = {}
    for key, vector in vectors.items():
        match = _LAYER.match(key)
        layer = int(match[1]) if match is not None else layer_of(key)
        if layer is None or layer + layer_offset in named or layer + layer_offset < 0:
            raise bad(
                file.path,
                "is not the number of one layer; directions by name go into .npy or .safetensors",
                f"direction {quote(key)}",
            )
        named[layer + layer_offset] = vector
    return named, stem or "direction", source


def read_rows(file: PlainFile) -> tuple[list[str], NDArray[Any], dict[str, str]] | None:
    """Names, rows and source of an .npy file or of the tensors of a safetensors file; None for saved `Directions`."""
    stem, suffix = os.path.splitext(os.path.basename(file.path))
    head = file.read(0, min(file.size, 8))
    if head[:6] == b"\x93NUMPY":
        held: dict[str, Part] = {stem: read_npy(file)}
        source: dict[str, str] = {}
    elif head[:2] in (b"PK", b"\x80\x02", b"\x80\x04", b"\x80\x05") or suffix in PICKLES:
        how = "numpy.save(new, torch.load(path, weights_only=True).float().numpy())"
        raise bad(file.path, f"is a pickle, which is not opened here: save the direction as .npy, {how}", "magic", 0)
    elif suffix in TABLES:
        how = "scores in it are columns= of rows, a direction is saved by numpy.save"
        raise bad(file.path, f"is a table and holds no directions: {how}", "name")
    else:
        held, source = read_header(file)
        if "clinometer" in source.get("format", ""):
            return None
    names: list[str] = []
    rows: list[NDArray[Any]] = []
    for name, part in held.items():
        if part.tag not in FLOAT_NAMES or len(part.shape) not in (1, 2) or 0 in part.shape:
            what = f"has shape {part.shape} and dtype {part.tag}; directions are floats (d,) or (K, d)"
            raise bad(file.path, what, f"tensor {quote(name)}", part.offset)
        array = np.atleast_2d(part.read())
        names += [name] if len(array) == 1 else [f"{name}_{k}" for k in range(len(array))]
        rows.append(array)
    if len({r.shape[1] for r in rows}) != 1:
        shown = ", ".join(f"{quote(n)} {p.shape}" for n, p in list(held.items())[:8]) or "nothing"
        how = "Directions(names, safetensors.numpy.load_file(path)[name]) takes one tensor"
        raise bad(file.path, f"holds {shown}; directions of one width are wanted: {how}", "header")
    return names, np.concatenate(rows), source


def _gguf(file: PlainFile) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    parts, keys = read_gguf(file)
    if keys.get("general.architecture") != "controlvector":
        raise bad(file.path, f"holds {quote(keys.get('general.architecture'))}, not a controlvector", "architecture")
    odd = next((n for n in parts if not n.startswith("direction.")), None)
    if odd is not None:
        raise bad(file.path, "is not a direction", f"tensor {quote(odd)}", parts[odd].offset)
    count = keys.get("controlvector.layer_count")
    if count is not None and count != len(parts):
        raise bad(file.path, f"says {quote(count)} layers and holds {len(parts)}", "controlvector.layer_count")
    hint = keys.get("controlvector.model_hint")
    return {n: p.read() for n, p in parts.items()}, {"model_type": hint} if isinstance(hint, str) else {}


def _npz(file: PlainFile) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    return {name: tensor.read() for name, tensor in open_tensors(file).items()}, {}


def _json(file: PlainFile) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    if file.size > _LARGEST:
        raise bad(file.path, f"{file.size} bytes are over the limit of {_LARGEST}")
    table = strictjson.loads(file.read(0, file.size), file.path, 0, "directions")
    if not isinstance(table, dict):
        raise bad(file.path, "an object is wanted", "directions", 0)
    vectors = table.get("directions", table)
    if not isinstance(vectors, Mapping):
        raise bad(file.path, "an object of layers is wanted", "directions", 0)
    for layer, vector in vectors.items():
        if not isinstance(vector, list) or not all(type(x) in (int, float) for x in vector):
            raise bad(file.path, "a list of numbers is wanted", f"direction {quote(layer)}", 0)
    source = {}
    if vectors is not table:
        source = {k: table[k] for k in ("model_type", "explained_variances") if k in table}
    return {str(k): np.array(v, np.float64) for k, v in vectors.items()}, source
