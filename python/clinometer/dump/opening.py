"""open_dump: from a path or an array to a Dump."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DumpError
from ..visible import visible
from . import manifest, npy, npz, safetensors
from .arrays import as_column, as_ids, as_matrix, is_array
from .dump import Candidate, Dump, Lazy, Segment
from .files import PlainFile, bad, inside, quote
from .selecting import choose, layer_of, layers_of
from .tensors import FLOAT_NAMES, Tensor

__all__ = ["open_dump"]

_POLICIES = ("on_policy", "off_policy")


def open_dump(
    source: Any,
    *,
    tensor: str | None = None,
    layer: int | None = None,
    prompt_ids: Any = None,
    columns: Any = None,
    policy: str | None = None,
    nonfinite: str = "raise",
) -> Dump:
    """Open rows phi (N, d) from a file, a folder or memory without copying them.

    Parameters
    ----------
    source : path, array (N, d), torch tensor, DLPack object or Dump
        A .safetensors or .npy file; a folder written by `write_dump`, of .npy files, or with a safetensors
        index.
    tensor : str, optional
        The tensor that is phi. Default: the 2-D float tensors named phi*, else every 2-D float tensor.
    layer : int, optional
        Keep the candidates named *_L<layer>. Several left: a DumpError that lists them.
    prompt_ids : array (N,), column name or path to .npy, optional
        Integers or strings in any order. Default: the column `prompt_id`.
    columns : mapping of arrays (N,) or path to .npz, optional
        More columns; they replace columns of the same name.
    policy : "on_policy" | "off_policy", optional
        Who wrote the responses. Default: what the file says.
    nonfinite : "raise" | "drop" | "keep"
        What a pass does with NaN and Inf. A Dump as source keeps its own rule against the default "raise".

    Returns
    -------
    Dump
        Headers are read and checked against the files' sizes; rows and columns are read when used.

    Examples
    --------
    >>> import numpy as np
    >>> open_dump(np.ones((4, 2), np.float16), prompt_ids=["a", "a", "b", "b"]).n_prompts
    2
    """
    _check_options(tensor, layer, policy, nonfinite)
    if isinstance(source, Dump):
        dump = source
        if tensor is not None or layer is not None:
            dump = dump.select(tensor=tensor, layer=layer)
    elif isinstance(source, (str, os.PathLike)):
        dump = _from_path(os.fspath(source), tensor, layer)
    elif is_array(source):
        if tensor is not None or layer is not None:
            raise ValueError("tensor and layer choose among tensors of a file; source is an array")
        rows, dtype = as_matrix(source, "source")
        dump = Dump((Segment(rows, 0),), len(rows), rows.shape[1], dtype)
    else:
        raise TypeError(f"source is a {type(source).__name__}; a path, an array or a Dump is wanted")
    return _with_arguments(dump, prompt_ids, columns, policy, nonfinite)


def _check_options(tensor: Any, layer: Any, policy: Any, nonfinite: Any) -> None:
    if tensor is not None and not isinstance(tensor, str):
        raise TypeError(f"tensor is a {type(tensor).__name__}; a name is wanted")
    if layer is not None and (isinstance(layer, bool) or not isinstance(layer, (int, np.integer))):
        raise TypeError(f"layer is a {type(layer).__name__}; an integer is wanted")
    if policy is not None and policy not in _POLICIES:
        raise ValueError(f"policy is {quote(policy)}; 'on_policy', 'off_policy' or None is wanted")
    if nonfinite not in ("raise", "drop", "keep"):
        raise ValueError(f"nonfinite is {quote(nonfinite)}; 'raise', 'drop' or 'keep' is wanted")


def _wanted(shape: tuple[int, ...]) -> str:
    """What to do about an array that is not rows; prompts x responses x width is the usual one."""
    if len(shape) != 3:
        return "a 2-D float array is wanted"
    g, n, d = shape
    return f"rows (n, d) are wanted: reshape({g * n}, {d}) with prompt ids numpy.repeat(range({g}), {n})"


def _with_arguments(dump: Dump, prompt_ids: Any, columns: Any, policy: str | None, nonfinite: str) -> Dump:
    if columns is not None:
        dump = replace(dump, columns=dump.columns.merged(_given_columns(columns, dump.n_rows)))
        if prompt_ids is None and "prompt_id" in _names_given(columns, dump):
            prompt_ids = dump.columns["prompt_id"]
    ids = dump.prompt_ids
    if prompt_ids is not None:
        ids = as_ids(_find_ids(dump, prompt_ids), "prompt_ids", dump.n_rows)
    elif ids is None and "prompt_id" in dump.columns:
        ids = as_ids(dump.columns["prompt_id"], "column 'prompt_id'", dump.n_rows)
    return replace(
        dump,
        prompt_ids=ids,
        policy=policy if policy is not None else dump.policy,
        nonfinite=nonfinite if nonfinite != "raise" else dump.nonfinite,
    )


def _names_given(columns: Any, dump: Dump) -> Mapping[str, Any]:
    """The names that the `columns` argument gives."""
    return columns if isinstance(columns, Mapping) else dump.columns


def _given_columns(columns: Any, n_rows: int) -> Mapping[str, NDArray[Any]]:
    if isinstance(columns, (str, os.PathLike)):
        return npz.open_columns(PlainFile(columns), n_rows)
    if not isinstance(columns, Mapping):
        raise TypeError(f"columns is a {type(columns).__name__}; a mapping of arrays or a path to .npz is wanted")
    for name in columns:
        if not isinstance(name, str) or not name:
            raise TypeError(f"columns has the key {quote(name)}; names are wanted")
    return {name: as_column(value, f"columns[{quote(name)}]", n_rows) for name, value in columns.items()}


def _find_ids(dump: Dump, prompt_ids: Any) -> Any:
    if isinstance(prompt_ids, str) and dump.has_column(prompt_ids):
        return dump.column(prompt_ids)
    if isinstance(prompt_ids, os.PathLike) or (isinstance(prompt_ids, str) and prompt_ids.endswith(".npy")):
        part = npy.read_npy(PlainFile(prompt_ids))
        if part.shape != (dump.n_rows,):
            raise bad(part.file.path, f"has shape {part.shape}; prompt_ids of shape ({dump.n_rows},) are wanted")
        return part.read()
    if isinstance(prompt_ids, str):
        dump.resolve_column(prompt_ids)
    return prompt_ids


def _from_path(path: str, tensor: str | None, layer: int | None) -> Dump:
    where = quote(path, 400)
    if os.path.isdir(path):
        found = _from_folder(path)
    elif path.endswith(".npy"):
        part = npy.read_npy(PlainFile(path))
        name = os.path.basename(path)[:-4]
        found = manifest.Found({name: Tensor(name, (part,))})
        if part.tag not in FLOAT_NAMES or len(part.shape) != 2:
            raise bad(path, f"has shape {part.shape} and dtype {part.tag}; {_wanted(part.shape)}", "header")
    elif path.endswith(".safetensors"):
        parts, metadata = safetensors.read_header(PlainFile(path))
        found = manifest.Found({n: Tensor(n, (p,)) for n, p in parts.items()}, dict(metadata))
        found.policy = metadata.get("policy") if metadata.get("policy") in _POLICIES else None
    else:
        PlainFile(path)
        raise bad(path, "is not a .safetensors or .npy file or a dump's folder" + _advice(path))
    return _assemble(found, where, os.path.abspath(path), tensor, layer)


def _advice(path: str) -> str:
    if path.endswith(".npz"):
        return "; an .npz cannot be mapped: unpack it into a folder of .npy files"
    if path.endswith((".pt", ".pth", ".bin", ".pkl")):
        return "; pickles are not read: save the tensors as safetensors"
    return ""


def _from_folder(path: str) -> manifest.Found:
    names = sorted(os.listdir(path))
    if manifest.NAME in names:
        return manifest.read_manifest(path)
    index = [n for n in names if n.endswith(".safetensors.index.json")]
    if len(index) == 1:
        return manifest.read_index(path, index[0])
    arrays = [n for n in names if n.endswith(".npy")]
    if not arrays:
        raise bad(
            path,
            f"has no {manifest.NAME} (an unfinished dump has none: DumpWriter goes on with it, DumpWriter.merge joins "
            "the parts of several writers), no safetensors index and no .npy files",
        )
    tensors = {}
    for file in arrays:
        part = npy.read_npy(PlainFile(inside(path, file, "folder", path)))
        tensors[file[:-4]] = Tensor(file[:-4], (part,))
    return manifest.Found(tensors)


def _segments(tensor: Tensor) -> tuple[Segment, ...]:
    out = []
    at = 0
    for part in tensor.parts:
        array, file = part.matrix()
        out.append(Segment(array, at, file))
        at += len(array)
    return tuple(out)


def _assemble(found: manifest.Found, where: str, path: str, tensor: str | None, layer: int | None) -> Dump:
    candidates = {}
    for name, t in found.tensors.items():
        if t.is_matrix and (found.phi is None or name in found.phi):
            at = layer_of(name) if layer_of(name) is not None else found.layer_of(name)
            load = _later(_segments, t)
            candidates[name] = Candidate(name, t.shape[0], t.shape[1], FLOAT_NAMES[t.tag], at, load)
    if not candidates:
        shapes = [f"{quote(n)} {t.shape} {t.tag}" for n, t in list(found.tensors.items())[:20]]
        raise DumpError(f"{where}: no 2-D float tensor to serve as phi; there are: {', '.join(shapes) or 'none'}")
    phi = choose(candidates, tensor, layer, where)
    columns: dict[str, Callable[[], NDArray[Any]]] = {}
    extras: dict[str, Callable[[], NDArray[Any]]] = {}
    for name, t in found.tensors.items():
        if name == phi.name:
            continue
        is_column = (len(t.shape) == 1 or t.text) and t.shape[0] == phi.n_rows
        (columns if is_column else extras)[name] = t.read
    return Dump(
        phi.segments(), phi.n_rows, phi.dim, phi.dtype,
        columns=Lazy(columns), extras=Lazy(extras), layers=layers_of(candidates.values()),
        source=found.source, policy=found.policy, sampling=found.sampling, preprocessing=found.preprocessing,
        path=path, name=visible(os.path.basename(path) or path),
        pairs=found.load_pairs(), directions=found.load_directions(), texts=found.texts, tensor=phi.name,
        candidates=MappingProxyType(candidates),
    )  # fmt: skip


def _later(function: Callable[[Tensor], tuple[Segment, ...]], tensor: Tensor) -> Callable[[], tuple[Segment, ...]]:
    return lambda: function(tensor)
