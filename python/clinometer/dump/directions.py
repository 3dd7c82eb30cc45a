"""Directions in activation space with names and origin, and scores that came from elsewhere."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from clinometer.arrays.carriers import Carried, carried, is_array, refuse_row_numbers
from clinometer.arrays.coerce import as_ids, as_matrix
from clinometer.arrays.dlpack import decode_bfloat16, is_bfloat16
from clinometer.common.notices import tell
from clinometer.common.visible import few, quote, visible
from clinometer.errors import DumpError, bad
from clinometer.files import strictjson
from clinometer.files.plain import PlainFile
from clinometer.sources.found import layer_of
from clinometer.sources.safetensors import Payload, read_header, write_safetensors

from . import steering
from .aligned import same_ids, same_labels

if TYPE_CHECKING:
    from .dump import Dump

_SOURCE_KEYS = ("model", "layer", "position")


def _vectors(value: Any) -> NDArray[Any]:
    array = carried(value, "vectors").array
    if array.ndim == 1:
        array = array[None, :]
    if array.dtype.kind in "iub" and array.dtype.names is None:
        array = array.astype(np.float64)
    if array.ndim == 2 and array.shape[1] > 1 and array.strides[1] != array.itemsize:
        array = np.ascontiguousarray(array)  # a few rows: a copy without the warning that rows of a dump deserve
    rows, dtype = as_matrix(array, "vectors")
    wide = decode_bfloat16(rows) if dtype == "bfloat16" else rows
    out = np.array(wide, np.float64 if dtype == "float64" else np.float32, order="C")
    wrong = ~np.isfinite(out).all(axis=1)
    if wrong.any():
        raise ValueError(f"vectors holds NaN or Inf in row {int(np.argmax(wrong))}; finite numbers are wanted")
    out.flags.writeable = False
    return out


def features_of(given: Any) -> tuple[str, ...] | None:
    """The names of the entries of vectors or rows, where what holds them has names."""
    source = getattr(given, "source", None)
    if isinstance(source, Mapping):
        return tuple(source.get("features") or ()) or None
    return carried(given, "array").features if is_array(given) else None


def in_order_of(dump: Dump, given: Any, argument: str) -> Any:
    """Vectors with their entries in the order of the dump's features, by name where both have names.

    Directions, or a fit, of another model, layer or position than the dump's are refused; arrays have none.
    """
    if isinstance(given, Directions):
        given.check_source(dump.origin, visible(dump.name))
    elif isinstance(source := getattr(given, "source", None), Mapping):
        check_origin(source, dump.origin, "the fit comes", dump.name)
    if isinstance(names := getattr(given, "source", None), Mapping):
        order = feature_order(names.get("features"), dump, argument)
        return given if order is None else given.vectors[:, order]
    if not is_array(given) and not isinstance(given, Carried):
        return given
    held = carried(given, argument)
    names, theirs = held.features, getattr(dump, "features", None)
    if names is None and held.indexed and theirs and all(map(str.isdecimal, theirs)):
        names = _numbers(held.array.shape[-1])
    order = feature_order(names, dump, argument)
    return held.array if order is None else np.atleast_2d(held.array)[:, order]


def _numbers(n: int) -> tuple[str, ...]:
    return tuple(map(str, range(n)))


def feature_order(mine: Any, dump: Dump, whose: str) -> NDArray[np.int64] | None:
    """Where each feature of the dump lies among those of a vector; None: at its place. Other names are refused."""
    theirs = _features(dump, mine)
    if not mine or theirs == tuple(mine):
        return None
    if theirs is None:
        if len(mine) == dump.dim:
            tell(
                f"{whose}: entries are named {few([quote(n) for n in mine])}, but the columns of {dump.name} have no "
                "names: taken in order; check_source=False says that this is meant",
                stacklevel=6,
            )
        return None
    at = {name: k for k, name in enumerate(mine)}
    lost, more = [n for n in theirs if n not in at], [n for n in at if n not in set(theirs)]
    if lost or more or len(at) != len(mine):
        what = [f"no entry for {few([quote(n) for n in lost])}"] if lost else []
        what += [f"one for {few([quote(n) for n in more])}"] if more else []
        raise ValueError(
            f"{whose}: the rows of {dump.name} are {few([quote(n) for n in theirs])}, and there is "
            f"{' and '.join(what) or 'a name twice'}; check_source=False takes entries in order"
        )
    return np.array([at[name] for name in theirs])


def columns_of(source: Mapping[str, Any], dump: Dump) -> NDArray[np.int64] | None:
    """The dump's columns in the order that they had where a fit was made; None: that of the dump."""
    mine = source.get("features")
    theirs = _features(dump, mine)
    if not mine or theirs is None or theirs == tuple(mine) or set(mine) != set(theirs):
        return None
    at = {name: k for k, name in enumerate(theirs)}
    return np.array([at[name] for name in mine])


def _features(dump: Dump, mine: Any) -> tuple[str, ...] | None:
    """The names of a dump's columns; their numbers where they have none and are asked for by number."""
    own: tuple[str, ...] | None = getattr(dump, "features", None)
    return _numbers(dump.dim) if own is None and mine and all(map(str.isdecimal, mine)) else own


def check_origin(mine: Mapping[str, Any], theirs: Mapping[str, Any], whose: str, what: str) -> None:
    """Refuse a model, layer or position that both sides state and that differs."""
    for key in _SOURCE_KEYS:
        a, b = mine.get(key), theirs.get(key)
        if a is not None and b is not None and str(a) != str(b):
            own, other = (quote(x) if isinstance(x, str) and not x.isdecimal() else x for x in (a, b))
            raise ValueError(f"{whose} from {key} {own} but {what} from {other}; check_source=False allows it")


class Directions:
    """Named rows (K, d), the `directions` of every pass; immutable.

    Parameters
    ----------
    names : sequence of K strings
        Distinct names.
    vectors : array (K, d)
        Kept as float32, or float64 where they are; one direction may be (d,).
    roles : sequence of K strings or mapping of name to string, optional
        Such as "constitution" or "value".
    source : mapping, optional
        Where they were fitted: model, layer, position. `layers`, a list of K integers,
        gives each its own layer.

    Errors: ValueError for names that are not K distinct strings, or vectors that are not finite. Memory: O(K d), a
    copy.

    >>> a = Directions(["kind", "honest"], [[1.0, 0.0], [0.0, 2.0]])
    >>> (0.5 * a).vectors.tolist(), len(a)
    ([[0.5, 0.0], [0.0, 1.0]], 2)
    """

    __array_ufunc__ = None  # an array on the other side of * must not multiply entry by entry

    names: tuple[str, ...]
    vectors: NDArray[Any]
    roles: tuple[str | None, ...]
    source: dict[str, Any]

    def __init__(
        self,
        names: Sequence[str],
        vectors: Any,
        roles: Sequence[str | None] | Mapping[str, str] | None = None,
        source: Mapping[str, Any] | None = None,
    ) -> None:
        given_rows = carried(vectors, "vectors")
        rows = _vectors(given_rows)
        held = (names,) if isinstance(names, str) else tuple(names)
        if len(held) != len(rows) or not all(isinstance(n, str) and n for n in held):
            raise ValueError(f"names has {len(held)} entries; {len(rows)} non-empty strings are wanted")
        if len(set(held)) != len(held):
            raise ValueError(f"names holds {quote(next(n for n in held if held.count(n) > 1))} twice")
        if isinstance(roles, Mapping):
            if unknown := [r for r in roles if r not in held]:
                raise ValueError(f"roles names {quote(unknown[0])}, which is not among the names")
            roles = [roles.get(n) for n in held]
        given = (None,) * len(held) if roles is None else tuple(roles)
        if len(given) != len(held) or not all(r is None or isinstance(r, str) for r in given):
            raise ValueError(f"roles has {len(given)} entries; {len(held)} strings or None are wanted")
        origin = dict(source or {})
        if given_rows.features:
            origin.setdefault("features", list(given_rows.features))
        layers = origin.get("layers")
        if layers is not None and (len(layers) != len(held) or not all(type(x) is int for x in layers)):
            raise ValueError(f"source['layers'] is {quote(layers)}; {len(held)} integers are wanted")
        for key, value in (("names", held), ("vectors", rows), ("roles", given), ("source", origin)):
            object.__setattr__(self, key, value)

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"Directions cannot be changed; {name} is set when they are made")

    @classmethod
    def from_layers(
        cls, vectors: Mapping[int, Any], name: str = "direction", source: Mapping[str, Any] | None = None
    ) -> Directions:
        """One direction (d,) per layer, named `<name>_L<layer>`; `for_layer` picks one.

        >>> Directions.from_layers({7: [1.0, 0.0], 8: [0.0, 1.0]}, "kind").for_layer(8).names
        ('kind_L8',)
        """
        if not isinstance(vectors, Mapping) or not vectors:
            raise ValueError(f"vectors is {quote(vectors, 40)}; a mapping of layers to arrays (d,) is wanted")
        held: dict[int, NDArray[Any]] = {}
        for layer, vector in vectors.items():
            if isinstance(layer, bool) or not isinstance(layer, (int, np.integer)) or layer < 0:
                raise TypeError(f"vectors has the key {quote(layer)}; layers (int >= 0) are wanted")
            row = _vectors(vector)
            if len(row) != 1:
                raise ValueError(f"vectors[{layer}] has shape {row.shape}; one direction (d,) is wanted")
            held[int(layer)] = row
        widths = {row.shape[1] for row in held.values()}
        if len(widths) > 1:
            raise ValueError(f"vectors have the widths {sorted(widths)}; one width is wanted")
        layers = sorted(held)
        rows = np.concatenate([held[layer] for layer in layers])
        return cls([f"{name}_L{x}" for x in layers], rows, source={**(source or {}), "layers": layers})

    @property
    def dim(self) -> int:
        """Width d of a direction."""
        return int(self.vectors.shape[1])

    def layer(self, k: int) -> int | None:
        """The layer of direction k: from source["layers"], its name's suffix _L<l>, or source["layer"]."""
        if self.source.get("layers") is not None:
            return int(self.source["layers"][k])
        named = layer_of(self.names[k])
        if named is not None:
            return named
        layer = self.source.get("layer")
        return int(layer) if type(layer) is int or (isinstance(layer, str) and layer.isdecimal()) else None

    def for_layer(self, layer: int) -> Directions:
        """The directions of one layer, in their order; none there is a ValueError."""
        keep = [k for k in range(len(self)) if self.layer(k) == layer]
        if not keep:
            held = sorted({x for x in map(self.layer, range(len(self))) if x is not None})
            raise ValueError(f"layer {layer!r} has no directions; there are: {held}")
        source = {k: v for k, v in self.source.items() if k != "layers"} | {"layer": int(layer)}
        return Directions([self.names[k] for k in keep], self.vectors[keep], [self.roles[k] for k in keep], source)

    def check_source(self, source: Mapping[str, Any], what: str = "the dump") -> None:
        """Raise ValueError if model, layer or position is stated on both sides and differs, for any direction."""
        check_origin({**self.source, "layer": None}, source, "directions come", what)
        layers = [self.layer(k) for k in range(len(self))]
        for name, layer in zip(self.names, layers, strict=True):
            try:
                check_origin({"layer": layer}, source, f"direction {quote(name)} comes", what)
            except ValueError as error:
                here = source.get("layer")
                some = str(here) in map(str, layers)
                raise ValueError(f"{error}{f', .for_layer({here}) picks' if some else ''}") from None

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a safetensors file atomically: tensor "vectors"; names, roles, source as JSON metadata."""
        try:
            json.dumps([self.names, self.roles, self.source], ensure_ascii=False).encode("utf-8")  # no half characters
            metadata = {
                "format": "clinometer-directions",
                "names": json.dumps(self.names),
                "roles": json.dumps(self.roles),
                "source": json.dumps(self.source, allow_nan=False),
            }
        except (TypeError, ValueError) as exc:
            raise ValueError(f"names, roles or source cannot be written as JSON: {exc}") from exc
        little = self.vectors.astype(self.vectors.dtype.newbyteorder("<"))
        payload = Payload("F64" if little.itemsize == 8 else "F32", little.shape, lambda: [little.tobytes()])
        write_safetensors(path, {"vectors": payload}, metadata)

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, layer_offset: int = 0) -> Directions:
        """Read what `save` wrote, or directions from other tools; a malformed file is a DumpError.

        One direction per layer: repeng's .gguf, activation-steering's .svec, and .json or .npz by layer. Their layers
        are the blocks of a model from 0; `layer_offset` is added (1 for dumps that call the embeddings layer 0).
        Arrays (d,) or (K, d): .npy, and the tensors of any safetensors file; every row is a direction.
        """
        layered = os.fspath(path).lower().endswith(steering.SUFFIXES)
        if layer_offset and not layered:
            raise ValueError("layer_offset is for directions of other tools; saved Directions state their layers")
        file = PlainFile(path)
        named = steering.read_layers(file, layer_offset) if layered else None
        rows = None if layered else steering.read_rows(file)
        try:
            if named is not None:
                return cls.from_layers(named[0], named[1], source=named[2])
            if rows is not None:
                return cls(rows[0], rows[1], source=rows[2])
        except DumpError:
            raise
        except (TypeError, ValueError) as exc:
            raise bad(file.path, str(exc), "directions") from exc
        return cls._saved(file)

    @classmethod
    def _saved(cls, file: PlainFile) -> Directions:
        parts, metadata = read_header(file)
        if set(parts) != {"vectors"}:
            fit = "; it holds a fit, which its path stands for in every argument, or DirectionFit.load" * (
                "fit" in metadata
            )
            raise bad(file.path, f"does not hold saved directions{fit}", "__metadata__", 8)
        held = {}
        for key in ("names", "roles", "source"):
            held[key] = strictjson.loads(metadata.get(key, "null").encode("utf-8"), file.path, 8, f"__metadata__.{key}")
        if not isinstance(held["names"], list) or not isinstance(held["source"], dict):
            raise bad(file.path, "names must be a list and source an object", "__metadata__", 8)
        try:
            return cls(held["names"], parts["vectors"].read(), held["roles"], held["source"])
        except (TypeError, ValueError) as exc:
            raise bad(file.path, str(exc), "tensor 'vectors'", parts["vectors"].offset) from exc

    def _combined(self, other: Directions, sign: float) -> Directions:
        if other.dim != self.dim or len({len(self), len(other), 1}) > 2:
            raise ValueError(f"other has shape {other.vectors.shape}; {self.vectors.shape} or one direction is wanted")
        other.check_source(self.source, "the others")
        mine, theirs = self.source.get("features"), other.source.get("features")
        if mine and theirs and list(mine) != list(theirs):
            shown = (few([quote(n) for n in names]) for names in (theirs, mine))
            raise ValueError("other has entries for {} and these for {}: bring both into one order".format(*shown))
        mark = "+" if sign > 0 else "-"
        count = max(len(self), len(other))
        left, right = (list(d.names) * (count if len(d) == 1 else 1) for d in (self, other))
        names = [a if a == b else f"{a}{mark}{b}" for a, b in zip(left, right, strict=True)]
        roles = self.roles if len(self) == count else other.roles
        return Directions(names, self.vectors + sign * other.vectors, roles, other.source | self.source)

    def __add__(self, other: Any) -> Directions:
        return self._combined(other, 1.0) if isinstance(other, Directions) else NotImplemented

    def __sub__(self, other: Any) -> Directions:
        return self._combined(other, -1.0) if isinstance(other, Directions) else NotImplemented

    def __mul__(self, factor: Any) -> Directions:
        if np.ndim(factor) != 0 or isinstance(factor, (bool, str, Directions)):
            return NotImplemented
        return Directions(self.names, self.vectors * float(factor), self.roles, self.source)

    __rmul__ = __mul__

    def __truediv__(self, factor: Any) -> Directions:
        if np.ndim(factor) != 0 or isinstance(factor, (bool, str, Directions)):
            return NotImplemented
        return Directions(self.names, self.vectors / float(factor), self.roles, self.source)

    def __neg__(self) -> Directions:
        return self * -1.0

    def __len__(self) -> int:
        return len(self.names)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Directions):
            return NotImplemented
        mine = (self.names, self.roles, self.source, self.vectors.dtype, self.vectors.shape)
        theirs = (other.names, other.roles, other.source, other.vectors.dtype, other.vectors.shape)
        return mine == theirs and self.vectors.tobytes() == other.vectors.tobytes()

    __hash__ = None  # type: ignore[assignment]

    def __reduce__(self) -> tuple[Any, ...]:
        return Directions, (self.names, self.vectors, self.roles, self.source)

    def __repr__(self) -> str:
        shown = ", ".join(quote(n, 20) for n in self.names[:4]) + (", ..." if len(self) > 4 else "")
        return f"Directions({len(self)} x {self.dim} {self.vectors.dtype}: {shown})"


@dataclass(frozen=True, eq=False, repr=False)
class Scores:
    """Scores (N, K) of rows computed elsewhere, one column per constitution.

    Parameters
    ----------
    array : array (N, K) or (N,), or (G, n, K) of G prompts of n responses
        Of any library; float32 or float64 is kept, other numbers are converted, missing ones are NaN.
    prompt_ids : array (N,), optional
        Integers or strings, compared row by row with those of a dump. Default: a frame's column prompt_id.
    names : sequence of K strings, optional
        Default: the columns of a frame, else score0, score1, ...

    Errors: TypeError for what are no numbers; ValueError for names of another number. Memory: O(N K), no copy of
    float arrays.

    >>> Scores([[0.1, 2.0], [0.3, 1.0]]).names
    ('score0', 'score1')
    """

    array: NDArray[Any]
    prompt_ids: NDArray[Any] | None = None
    names: tuple[str, ...] | None = None
    labels: Carried | None = field(default=None, init=False)  # of a frame's rows
    response_ids: NDArray[Any] | None = field(default=None, init=False)  # of a frame that has them
    grid: tuple[int, ...] | None = field(default=None, init=False)  # prompts and responses of each, where given so

    def __post_init__(self) -> None:
        held = carried(self.array, "array")
        columns, ids = dict(held.columns or {}), self.prompt_ids
        own, responses = columns.pop("prompt_id", None), columns.pop("response_id", held.responses)
        refuse_row_numbers("array", columns)
        if held.columns is None and held.array.ndim == 3:
            object.__setattr__(self, "grid", held.array.shape[:2])
        table = _table(held if held.columns is None else replace(held, columns=columns))
        called = tuple(columns) if held.columns is not None else () if held.name is None else (held.name,)
        fits = len(called) == table.shape[1] and not all(n.isdecimal() for n in called)
        default = called if fits else tuple(f"score{k}" for k in range(table.shape[1]))
        names = default if self.names is None else tuple(self.names)
        if len(names) != table.shape[1] or len(set(names)) != len(names) or not all(isinstance(n, str) for n in names):
            raise ValueError(f"names is {quote(names)}; {table.shape[1]} distinct strings are wanted")
        ids = own if ids is None else ids
        if held.label_name == "prompt_id" and ids is None:
            ids = held.labels
        object.__setattr__(self, "array", table)
        object.__setattr__(self, "names", names)
        if held.indexed:
            object.__setattr__(self, "labels", replace(held, values=None, columns=None))
        if ids is not None:
            if self.prompt_ids is not None:
                same_labels({"array": held, "prompt_ids": carried(ids, "prompt_ids")})
            if own is not None:
                same_ids("prompt_ids", as_ids(ids, "prompt_ids", len(table)), as_ids(own, "prompt_id", len(table)))
            object.__setattr__(self, "prompt_ids", as_ids(ids, "prompt_ids", len(table)))
        if responses is not None:
            object.__setattr__(self, "response_ids", as_ids(responses, "response_id", len(table)))

    def own_ids(self) -> NDArray[Any] | None:
        """The prompt ids that the scores bring: those given, or 0, 1, ... for (G, n, K)."""
        if self.prompt_ids is not None or self.grid is None:
            return self.prompt_ids
        return np.repeat(np.arange(self.grid[0]), self.grid[1])

    def __len__(self) -> int:
        return len(self.array)

    def __repr__(self) -> str:
        rows, count = self.array.shape
        return f"Scores({rows} x {count} {self.array.dtype})"


def _table(held: Carried) -> NDArray[Any]:
    """Scores (N, K) in float32 or float64, read-only."""
    array = held.array
    if array.ndim == 3:
        array = array.reshape(-1, array.shape[2])
    array = array[:, None] if array.ndim == 1 else array
    if array.ndim != 2 or array.shape[1] == 0:
        raise ValueError(f"array has shape {array.shape}; (N, K) with K >= 1 is wanted")
    if is_bfloat16(array.dtype):
        array = decode_bfloat16(np.ascontiguousarray(array.view(np.uint16)))
    if array.dtype.kind not in "biuf" or (array.dtype.kind == "f" and array.dtype.itemsize > 8):
        raise TypeError(f"array has dtype {array.dtype}; numbers are wanted")
    wide = np.float32 if array.dtype.kind == "f" and array.dtype.itemsize <= 4 else np.float64
    kept: NDArray[Any] = np.array(array, wide, order="C")
    kept.flags.writeable = False
    return kept
