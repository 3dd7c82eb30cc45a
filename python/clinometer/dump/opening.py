"""open_dump: from a path or an array to a Dump."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clinometer.arrays.carriers import Carried, carried, is_array, refuse_row_numbers
from clinometer.arrays.coerce import as_column, as_ids, as_matrix
from clinometer.common.visible import few, quote, visible, without_secrets
from clinometer.errors import DumpError, bad
from clinometer.files.plain import MappedLike, PlainFile
from clinometer.files.remote import is_url, local_path, stem
from clinometer.sources import npy, npz
from clinometer.sources.found import Found, How, Lazy, layer_of
from clinometer.sources.registry import HALVES, TABLES, find
from clinometer.sources.requests import POOLS
from clinometer.sources.tensors import FLOAT_NAMES, Part, Tensor, Virtual
from clinometer.sources.window import Window

from .aligned import by_response, check_labels, flat, same_ids
from .directions import Directions, Scores
from .dump import Dump
from .schema import role
from .segments import Candidate, Segment
from .selecting import choose, layers_of

MAPS = 2048  # shards that are mapped; those of a dump of more are read by windows
_HINT = "; rows (n, d) of float16, bfloat16, float32 or float64 are wanted"
_POLICIES = ("on_policy", "off_policy")
_ROLES = ("prompt_id", "response_id", "logprob", "logp", "count", "proposal_logprob", "n_tokens")  # columns by name


def open_dump(
    source: Any,
    *,
    tensor: str | None = None,
    layer: int | None = None,
    prompt_ids: Any = None,
    columns: Any = None,
    policy: str | None = None,
    nonfinite: str = "raise",
    half_bits: str | None = None,
    pool: str | None = None,
    prompt_tokens: Any = None,
) -> Dump:
    """Open rows phi (N, d) from a file, a folder or memory without copying them.

    Parameters
    ----------
    source : path, URL, array (N, d), torch tensor, DLPack object or Dump
        A .safetensors, .npy or .npz file; a folder written by `write_dump`, of .npy files, or with a safetensors
        index; Arrow, Parquet and folders of Hugging Face datasets (extra `arrow`); folders of hidden states of
        single requests. s3://, https:// and the like go through fsspec (extra `cloud`) and are read by windows;
        simplecache::URL keeps a local copy.
    tensor : str, optional
        The tensor that is phi. Default: the 2-D float tensors named phi*, else every 2-D float tensor.
    layer : int, optional
        Keep the candidates named *_L<layer>, or after a module of that number (model.layers.12,
        blocks.12.hook_resid_post); else entry `layer` of the middle axis of a tensor (rows, layers, d). Several left:
        a DumpError that lists them.
    prompt_ids : array (N,), column name or path to .npy, optional
        Integers or strings in any order. Default: the column `prompt_id`.
    columns : mapping of arrays (N,) or path to .npz, optional
        More columns; they replace columns of the same name.
    policy : "on_policy" | "off_policy", optional
        Who wrote the responses. Default: what the file says.
    nonfinite : "raise" | "drop" | "keep"
        What a pass does with NaN and Inf. A Dump as source keeps its own rule against the default "raise".
    half_bits : "float16" | "bfloat16", optional
        What 16-bit integer lists of Arrow and Parquet are the bits of; without it they are refused.
    pool : "last" | "mean", optional
        How hidden states of single requests, as vLLM and speculators save them, become one row each.
    prompt_tokens : mapping of request to length, or path to .json or .npz, optional
        Where each request's response begins; needed with `pool`.

    Returns
    -------
    Dump
        Headers are read and checked against the files' sizes; rows and columns are read when used.

    Cost: the headers; O(1) memory beside ids and columns when they are asked for.
    Errors: DumpError for a file that is not what it claims to be, or a choice of tensors left open; ValueError and
    TypeError for an argument that does not fit the rows.

    >>> import numpy as np
    >>> open_dump(np.ones((4, 2), np.float16), prompt_ids=["a", "a", "b", "b"]).n_prompts
    2
    """
    _check_options(tensor, layer, policy, nonfinite)
    if half_bits not in (None, *HALVES):
        raise ValueError(f"half_bits is {quote(half_bits)}; 'float16', 'bfloat16' or None is wanted")
    if pool not in (None, *POOLS):
        raise ValueError(f"pool is {quote(pool)}; 'last', 'mean' or None is wanted")
    if isinstance(source, Dump):
        dump = source
        if tensor is not None or layer is not None:
            dump = dump.select(tensor=tensor, layer=layer)
    elif isinstance(source, (str, os.PathLike)):
        dump = _from_path(os.fspath(source), layer, How(tensor, half_bits, pool, prompt_tokens))
    elif is_array(source):
        if tensor is not None or layer is not None:
            raise ValueError(
                f"tensor and layer choose among tensors of a file; source is a {type(source).__name__} in memory: pass "
                "one column of vectors with the columns of numbers, or of an array (rows, layers, d) source[:, layer]"
            )
        if any(option is not None for option in (pool, prompt_tokens, half_bits)):
            raise ValueError("pool, prompt_tokens and half_bits say how files are read; source is an array")
        dump, prompt_ids = _from_memory(source, prompt_ids)
    elif isinstance(source, Scores):
        raise TypeError(
            "source is Scores, which have no rows phi: open_dump(scores.array, prompt_ids=...) makes rows of them, and "
            "the Scores are the constitutions= or directions= of those; tilt takes Scores alone"
        )
    else:
        raise TypeError(f"source is a {type(source).__name__}; a path, an array or a Dump is wanted")
    return with_arguments(dump, prompt_ids, columns, policy, nonfinite)


def _from_memory(source: Any, prompt_ids: Any) -> tuple[Dump, Any]:
    """Rows (N, d), or (G, n, d) of G prompts of n responses, with their prompt ids; a frame's other columns."""
    held = carried(source, "source")
    columns: dict[str, NDArray[Any]] = {}
    said: dict[str, Any] = {}
    if held.columns is not None:
        held, columns = _parted(held)
        said = {"features": list(held.features)} if held.features else {}
    array, grid = held.array, None
    if array.ndim == 3:
        grid = array.shape[:2]
        array = array.reshape(-1, array.shape[2])
    rows, dtype = as_matrix(array, "source")
    held_columns = Lazy({n: partial(as_column, c, f"column {quote(n)}", len(rows)) for n, c in columns.items()})
    labels = held.labels if grid is None else None
    dump = Dump((Segment(rows, 0),), len(rows), rows.shape[1], dtype, columns=held_columns, labels=labels, source=said)
    prompt_ids = held.labels if grid is not None and prompt_ids is None else prompt_ids
    if grid is None or isinstance(prompt_ids, (str, os.PathLike)):
        return dump, prompt_ids
    if prompt_ids is None:
        return dump, np.repeat(np.arange(grid[0]), grid[1])
    ids = carried(prompt_ids, "prompt_ids").column
    if ids.shape == grid[:1]:
        if len(np.unique(as_ids(ids, "prompt_ids", grid[0]))) < grid[0]:
            raise ValueError(
                f"source has shape {(*grid, rows.shape[1])}, taken as prompts of {grid[1]} responses, but prompt_ids "
                "repeat: if the middle axis is something else, layers say, pass source[:, k]"
            )
        ids = np.repeat(ids, grid[1])
    return dump, ids.reshape(-1)


def _parted(frame: Carried) -> tuple[Carried, dict[str, NDArray[Any]]]:
    """The rows of a frame, which are its one column of vectors or else its columns of numbers, and other columns.

    Without vectors, prompt_id and columns of a known role (value_*, judge_*, logprob and the like) are no features.
    """
    held = dict(frame.columns or {})
    vectors = [n for n, c in held.items() if c.ndim > 1]
    if len(vectors) > 1:
        raise ValueError(
            f"source has columns of vectors {few([quote(v) for v in vectors])}; rows are one of them: pass the frame "
            "without the others, .drop(columns=...) of pandas or .remove_columns(...) of a Dataset"
        )
    rows = vectors or [n for n in held if n not in _ROLES and role(n) not in ("value", "judge")]
    if not vectors:
        _refuse_labels(rows)
        refuse_row_numbers("source", {n: held[n] for n in rows})
    return replace(frame, columns={n: held.pop(n) for n in rows}), held


def _refuse_labels(names: list[str]) -> None:
    """Refuse columns beside those of f0, f1, ...: a label among the features predicts itself."""
    counted = [n for n in names if n[-1:].isdigit()]
    others = [quote(n) for n in names if n not in counted]
    if others and len(counted) > 1 and len({n.rstrip("0123456789") for n in counted}) == 1:
        raise ValueError(
            f"source has the columns {few(others, 8)} beside {quote(counted[0])} to {quote(counted[-1])}: are they "
            "rows or labels? Pass the columns of the rows alone, and labels by columns="
        )


def _check_options(tensor: Any, layer: Any, policy: Any, nonfinite: Any) -> None:
    if tensor is not None and not isinstance(tensor, str):
        raise TypeError(f"tensor is a {type(tensor).__name__}; a name is wanted")
    if layer is not None and (isinstance(layer, bool) or not isinstance(layer, (int, np.integer))):
        raise TypeError(f"layer is a {type(layer).__name__}; an integer is wanted")
    if policy is not None and policy not in _POLICIES:
        raise ValueError(f"policy is {quote(policy)}; 'on_policy', 'off_policy' or None is wanted")
    if nonfinite not in ("raise", "drop", "keep"):
        raise ValueError(f"nonfinite is {quote(nonfinite)}; 'raise', 'drop' or 'keep' is wanted")


def with_arguments(dump: Dump, prompt_ids: Any, columns: Any, policy: str | None, nonfinite: Any) -> Dump:
    given: Mapping[str, Any] = {}
    if columns is not None:
        given = given_columns(columns, dump.n_rows)
        if prompt_ids is None and "prompt_id" in given:
            held = _held_ids(dump)
            # a mapping may give other ids on purpose; a table or file of labels says which rows it has
            if held is not None and not isinstance(columns, Mapping):
                same_ids("columns", as_ids(given["prompt_id"], "columns['prompt_id']", dump.n_rows), held)
            prompt_ids = given["prompt_id"]
    ids = dump.prompt_ids
    if prompt_ids is None and ids is None and "prompt_id" not in dump.columns:
        _check_no_ids(dump)
    if prompt_ids is not None:
        own = given[prompt_ids] if isinstance(prompt_ids, str) and prompt_ids in given else _find_ids(dump, prompt_ids)
        found = carried(own, "prompt_ids")
        check_labels("prompt_ids", found, dump, None)
        ids = as_ids(by_response(found.column, dump.n_rows), "prompt_ids", dump.n_rows)
        if "prompt_id" in given:
            theirs, held = as_ids(given["prompt_id"], "columns['prompt_id']", dump.n_rows), _held_ids(dump)
            if held is None or not np.array_equal(theirs, held):  # else rows in their order, under other ids
                same_ids("columns", theirs, ids)
    if "response_id" in given and dump.has_column("response_id") and not isinstance(columns, Mapping):
        own = as_ids(given["response_id"], "columns['response_id']", dump.n_rows)
        same_ids("columns", own, dump.column("response_id"), "response_id")
    if ids is None and "prompt_id" in dump.columns:
        column = dump.columns["prompt_id"]
        try:
            ids = as_ids(column, "column 'prompt_id'", dump.n_rows)
        except (TypeError, ValueError) as exc:  # of the source, not of an argument
            raise DumpError(f"{dump.name}: {exc}; prompt_ids= gives others") from exc
    dump = replace(
        dump,
        prompt_ids=ids,
        policy=policy if policy is not None else dump.policy,
        nonfinite=nonfinite if nonfinite != "raise" else dump.nonfinite,
    )
    return dump if columns is None else replace(dump, columns=dump.columns.merged(_checked_columns(given, dump)))


def _held_ids(dump: Dump) -> NDArray[Any] | None:
    """The prompt ids that a dump has before any are given, if they can be read."""
    if dump.prompt_ids is not None or "prompt_id" not in dump.columns:
        return dump.prompt_ids
    try:
        return as_ids(dump.columns["prompt_id"], "column 'prompt_id'", dump.n_rows)
    except (TypeError, ValueError):
        return None


def _check_no_ids(dump: Dump) -> None:
    """Refuse prompt ids that are there and cannot be used: without them all rows would be one prompt."""
    why = dump.left_out.get("prompt_id")
    if why is None and "prompt_id" in dump.extras:
        shape = np.shape(dump.extras["prompt_id"])
        why = f"has shape {shape} where ({dump.n_rows},) is wanted"
    if why is not None:
        raise DumpError(
            f"{dump.name}: the column 'prompt_id' {why}; store integers or strings, one per row, or give prompt_ids="
        )


def given_columns(columns: Any, n_rows: int) -> Mapping[str, Any]:
    """Columns by name as they came: of a mapping, a frame or a file."""
    if isinstance(columns, (str, os.PathLike)):
        if stem(os.fspath(columns)).endswith(TABLES):
            how = "read it and pass the frame, or save its columns by numpy.savez(path, **frame)"
            raise bad(os.fspath(columns), f"is a table and no .npz archive: {how}", "columns")
        return npz.open_columns(PlainFile(columns), n_rows)
    if isinstance(columns, Mapping):
        for name in columns:
            if not isinstance(name, str) or not name:
                raise TypeError(f"columns has the key {quote(name)}; names are wanted")
        return {name: carried(value, f"columns[{quote(name)}]") for name, value in columns.items()}
    if is_array(columns):
        frame = carried(columns, "columns")
        if frame.columns is not None:
            return {name: replace(frame, columns=None, values=value) for name, value in frame.columns.items()}
    raise TypeError(f"columns is a {type(columns).__name__}; a mapping of arrays, a frame or a .npz path is wanted")


def _checked_columns(given: Mapping[str, Any], dump: Dump) -> Mapping[str, NDArray[Any]]:
    """Columns (N,), of (G, n) ones too; those that carry labels have the dump's."""
    if isinstance(given, Lazy):
        return given
    out = {}
    for name, value in given.items():
        called = f"columns[{quote(name)}]"
        check_labels(called, value, dump, dump.prompt_ids)
        out[name] = as_column(flat(called, value.column, dump.n_rows, dump.prompt_ids), called, dump.n_rows)
    return out


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


def _from_path(path: str, layer: int | None, how: How) -> Dump:
    local = local_path(path)
    path = path if local is None else local
    where = path if is_url(path) else os.path.abspath(path)
    return assemble(find(path, how), where, how.tensor, layer)


def _segments(tensor: Tensor) -> tuple[Segment, ...]:
    out = []
    at = 0
    if isinstance(tensor, Virtual) and tensor.pieces is not None:
        pieces = tensor.pieces()
    else:
        pieces = [part.matrix(len(tensor.parts) <= MAPS) for part in tensor.parts]
    for array, file in pieces:
        out.append(Segment(array, at, file))
        at += len(array)
    return tuple(out)


def assemble(found: Found, path: str, tensor: str | None, layer: int | None) -> Dump:
    """A Dump of what a path holds: phi is chosen, 1-D tensors of its length are columns, the others extras."""
    where = quote(path, 400)
    candidates = {}
    for name, t in found.tensors.items():
        if t.is_matrix and (found.phi is None or name in found.phi):
            at = layer_of(name) if layer_of(name) is not None else found.layer_of(name)
            load = _later(_segments, t)
            candidates[name] = Candidate(name, t.shape[0], t.shape[1], FLOAT_NAMES[t.tag], at, load)
    if layer is not None and found.phi is None and all(c.layer != layer for c in candidates.values()):
        candidates |= stacked(found.tensors)
    deep = [n for n, t in found.tensors.items() if n.startswith("phi") and len(t.shape) > 2 and n not in candidates]
    if deep and tensor is None and not any(n.startswith("phi") for n in candidates):
        candidates = {}
    if not candidates:
        raise DumpError(f"{where}: no 2-D float tensor to serve as phi; there are: {_shown(found)}{_HINT}")
    phi = choose(candidates, tensor, layer, where)
    columns: dict[str, Callable[[], NDArray[Any]]] = {}
    extras: dict[str, Callable[[], NDArray[Any]]] = {}
    left_out = dict(found.left_out)
    for name, t in found.tensors.items():
        if name == phi.name:
            continue
        if not t.is_readable:
            left_out[name] = f"has the dtype {t.tag}, which is not read: save it as F16, BF16 or F32"
            continue
        is_column = (len(t.shape) == 1 or t.text) and t.shape[0] == phi.n_rows
        (columns if is_column else extras)[name] = t.read
    return Dump(
        phi.segments(), phi.n_rows, phi.dim, phi.dtype,
        columns=Lazy(columns), extras=Lazy(extras), layers=layers_of(candidates.values()),
        source=found.source, policy=found.policy, sampling=found.sampling, preprocessing=found.preprocessing,
        path=without_secrets(path), name=visible(os.path.basename(stem(path)) or without_secrets(path)),
        pairs=found.load_pairs(), directions=_directions(found), texts=found.texts, tensor=phi.name,
        left_out=left_out, candidates=MappingProxyType(candidates),
    )  # fmt: skip


def _directions(found: Found) -> Directions | None:
    """The directions saved with the dump."""
    return Directions.load(found.files["directions"]) if "directions" in found.files else None


def _shown(found: Found) -> str:
    """The tensors there are, and what to do about those of three axes."""
    held = list(found.tensors.items())
    shown = [f"{quote(n)} {t.shape} {t.tag}" for n, t in held[:20]]
    shown += [f"{quote(n)}, which {why}" for n, why in list(found.left_out.items())[:8]]
    shapes = ", ".join(shown) or "none"
    cubes = [(n, t.shape) for n, t in held if len(t.shape) == 3 and t.tag in FLOAT_NAMES]
    if not cubes:
        return shapes
    name, (g, n, d) = cubes[0]
    return (
        f"{shapes}; if the middle axis of {quote(name)} is layers, layer=0 to {n - 1} takes one of them; if it is "
        f"responses to {g} prompts, save it as reshape({g * n}, {d}) with prompt ids numpy.repeat(range({g}), {n})"
    )


def _later(function: Callable[[Tensor], tuple[Segment, ...]], tensor: Tensor) -> Callable[[], tuple[Segment, ...]]:
    return lambda: function(tensor)


def stacked(tensors: Mapping[str, Tensor]) -> dict[str, Candidate]:
    """Every entry of the middle axis of float tensors of three, as candidates named <name>_L<entry>.

    The axis may as well be responses of a prompt; only a caller who asks for a layer says that it is not.
    """
    out = {}
    for name, t in tensors.items():
        if len(t.shape) != 3 or t.tag not in FLOAT_NAMES:
            continue
        n, layers, d = t.shape
        tag = "F32" if isinstance(t, Virtual) and t.tag == "BF16" else t.tag  # read whole, it is float32
        for layer in range(layers):
            here = f"{name}_L{layer}"
            out[here] = Candidate(here, n, d, FLOAT_NAMES[tag], layer, partial(_segments_of_layer, t, layer))
    return out


def _segments_of_layer(tensor: Tensor, layer: int) -> tuple[Segment, ...]:
    if isinstance(tensor, Virtual):
        return (Segment(tensor.read()[:, layer], 0),)
    out, at = [], 0
    for part in tensor.parts:
        array, file = _rows(part, layer)
        out.append(Segment(array, at, file))
        at += len(array)
    return tuple(out)


def _rows(part: Part, layer: int) -> tuple[NDArray[Any] | Window, MappedLike | None]:
    """The rows as they lie, a stride of all layers apart; by windows where they are remote or turned."""
    n, layers, d = part.shape
    native = part.dtype.newbyteorder("=")
    if not (part.file.remote or part.swap or part.fortran):
        mapped, watch = part.file.map()
        stored: NDArray[Any] = mapped[part.offset : part.offset + part.nbytes].view(part.dtype).reshape(part.shape)
        return stored[:, layer], watch

    def fetch(first: int, last: int) -> NDArray[Any]:
        if part.fortran:
            mapped, _ = part.file.map()
            turned = mapped[part.offset : part.offset + part.nbytes].view(part.dtype).reshape(part.shape, order="F")
            return np.array(turned[first:last, layer], native, order="C")
        width = layers * d * part.dtype.itemsize
        raw = part.file.read(part.offset + first * width, (last - first) * width)
        rows = np.frombuffer(raw, part.dtype).reshape(last - first, layers, d)
        return np.array(rows[:, layer], native)

    return Window((n, d), native, fetch, part.file.path), part.file
