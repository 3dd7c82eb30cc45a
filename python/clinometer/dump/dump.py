"""The dump that the rest of the package works with: segments of rows, columns, and where they came from."""

from __future__ import annotations

import hashlib
import operator
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from clinometer.arrays.dlpack import decode_bfloat16
from clinometer.common.visible import did_you_mean, few, quote
from clinometer.sources.found import Lazy

from . import selecting
from .segments import Candidate, Segment

if TYPE_CHECKING:
    from clinometer.sources.found import Texts

    from .directions import Directions

_SEPARATORS = "_:/"
_FINGERPRINT_ROWS = 64


@dataclass(frozen=True, repr=False, eq=False)
class Dump:
    """Rows phi (N, d) with prompt ids and columns; opened by `open_dump`, never modified.

    Attributes
    ----------
    segments : tuple of Segment
        The rows in order, as views of memory maps or of the caller's memory.
    n_rows, dim : int
        N and d.
    dtype : str
        "float32" | "float16" | "bfloat16" | "float64", as stored.
    prompt_ids : array (N,) or None
        int64, uint64 or strings; rows of a prompt need not be adjacent.
    columns, extras : Mapping
        Arrays (N,) by name, and the other tensors by name; read when asked for, bfloat16 as float32.
    layers : list of int
        Layers found among the tensors that can serve as phi.
    source : dict
        What the file says of its origin.
    policy : "on_policy" | "off_policy" | None
    sampling, preprocessing : dict
        How the responses were sampled and what was done to the rows, as the manifest says.
    nonfinite : "raise" | "drop" | "keep"
    path, name : str
        Where it lies (None in memory), and a short description for messages.
    pairs, directions, texts : Mapping, Directions, Texts, or None
        Saved beside the rows: pairs, whose row numbers count from 0 in this dump, and prompts with responses.
    tensor : str or None
        Name of the tensor that is phi.
    truth : Truth or None
        What a simulated dump was drawn from.
    left_out : Mapping
        What the source holds besides and is not read, by name, and why.

    ``read(start, stop)`` gives rows as a new array, ``column(name)`` a column by its full or short name.

    >>> import numpy as np
    >>> from clinometer.dump import open_dump
    >>> dump = open_dump(np.eye(3, 4, dtype=np.float32), prompt_ids=[5, 5, 9])
    >>> dump.n_rows, dump.dim, dump.n_prompts, dump.read(1, 2).tolist()
    (3, 4, 2, [[0.0, 1.0, 0.0, 0.0]])
    """

    segments: tuple[Segment, ...]
    n_rows: int
    dim: int
    dtype: str
    prompt_ids: NDArray[Any] | None = None
    columns: Lazy = field(default_factory=lambda: Lazy({}))
    extras: Lazy = field(default_factory=lambda: Lazy({}))
    layers: list[int] = field(default_factory=list)
    source: dict[str, Any] = field(default_factory=dict)
    policy: str | None = None
    sampling: dict[str, Any] = field(default_factory=dict)
    preprocessing: dict[str, Any] = field(default_factory=dict)
    nonfinite: str = "raise"
    path: str | None = None
    name: str = "array"
    pairs: Mapping[str, NDArray[Any]] | None = None
    directions: Directions | None = None
    texts: Texts | None = None
    truth: Any = None
    tensor: str | None = None
    left_out: Mapping[str, str] = field(default_factory=dict)
    labels: NDArray[Any] | None = None  # of a frame's rows, where rows came as one and they are not 0, 1, ...
    candidates: Mapping[str, Candidate] = field(default_factory=lambda: MappingProxyType({}))

    @cached_property
    def n_prompts(self) -> int:
        """Distinct prompt ids; 1 for a dump without ids, 0 without rows."""
        if self.prompt_ids is None:
            return min(self.n_rows, 1)
        return len(np.unique(self.prompt_ids))

    @cached_property
    def prompts(self) -> NDArray[Any]:
        """Distinct prompt ids (G,) by first appearance: the order of every array that has an entry for each prompt."""
        if self.prompt_ids is None:
            return np.zeros(self.n_prompts, np.int64)
        first = np.unique(self.prompt_ids, return_index=True)[1]
        out: NDArray[Any] = self.prompt_ids[np.sort(first)]
        out.flags.writeable = False
        return out

    @cached_property
    def _starts(self) -> NDArray[np.int64]:
        """The first row of each segment: of 100,000 a few are looked at for a few rows."""
        return np.array([s.row_start for s in self.segments], np.int64)

    @property
    def origin(self) -> dict[str, Any]:
        """`source` with the layer that the name of the tensor tells."""
        chosen = None if self.tensor is None else self.candidates.get(self.tensor)
        told = None if chosen is None else chosen.layer
        return dict(self.source or {}) if told is None else {**(self.source or {}), "layer": told}

    @property
    def features(self) -> tuple[str, ...] | None:
        """Names of the columns of phi, where rows came as a frame or their file says so."""
        names = (self.source or {}).get("features")
        told = isinstance(names, list) and len(names) == self.dim == len(set(map(str, names)))
        return tuple(map(str, names)) if told and names is not None else None

    def read(self, start: int, stop: int, dtype: Any = None) -> NDArray[Any]:
        """Decode the rows [start, stop) into a new array.

        Parameters
        ----------
        start, stop : int
            0 <= start <= stop <= n_rows.
        dtype : float32, float64 or None
            None: float32, and float64 of a float64 dump.

        Returns
        -------
        array (m, d)
            A copy: exact for every stored dtype unless float32 is asked of a float64 dump. Cost:
            those rows only.
        """
        first, last = operator.index(start), operator.index(stop)
        if not 0 <= first <= last <= self.n_rows:
            bounds = f"0 <= start <= stop <= {self.n_rows}"
            raise ValueError(f"start and stop are {first} and {last}; {bounds} is wanted")
        want = np.dtype(dtype if dtype is not None else "float64" if self.dtype == "float64" else "float32")
        if want.str[1:] not in ("f4", "f8"):
            raise ValueError(f"dtype is {want}; float32 or float64 is wanted")
        out = np.empty((last - first, self.dim), want)
        for piece, at in self._pieces(first, last):
            out[at : at + len(piece)] = decode_bfloat16(piece) if self.dtype == "bfloat16" else piece
        self.check(first, last)
        return out

    def spans(self, first: int, last: int) -> Iterator[tuple[Segment, int, int]]:
        """The segments with some of the rows [first, last), and which of their own these are; nothing is read."""
        starts = self._starts
        begin = max(int(np.searchsorted(starts, first, "right")) - 1, 0)
        for segment in self.segments[begin : int(np.searchsorted(starts, last))]:
            low, high = (min(max(row - segment.row_start, 0), len(segment.array)) for row in (first, last))
            if low < high:
                yield segment, low, high

    def _pieces(self, first: int, last: int) -> Iterator[tuple[NDArray[Any], int]]:
        for segment, low, high in self.spans(first, last):
            yield segment.array[low:high], segment.row_start + low - first

    def check(self, start: int = 0, stop: int | None = None) -> None:
        """Raise DumpChangedError if a file behind the rows [start, stop) is not the one that was opened."""
        seen: set[int] = set()
        for segment, _, _ in self.spans(start, self.n_rows if stop is None else stop):
            if segment.file is not None and id(segment.file) not in seen:
                seen.add(id(segment.file))
                segment.file.check()

    def release(self) -> None:
        """Unmap the rows read so far: until then their pages count as memory of this process. Reads map them again."""
        for segment in self.segments:
            if release := getattr(segment.file, "release", None):  # that of the compiled module has one
                release()

    def resolve_column(self, name: str) -> str:
        """The name a column is kept under: itself, value_<name>, judge_x for judge/x, logp for logprob."""
        for alias in _aliases(name):
            if alias in self.columns:
                return alias
        held = few([quote(c) for c in self.columns], 20) or "none"
        extra = next((a for a in _aliases(name) if a in self.extras), None)
        hint = f" ({quote(extra)} is a tensor that does not have one entry per row)" if extra else ""
        more = "" if self.columns else "; open_dump(columns=) or Fold.absorb adds some"
        near = did_you_mean(name.removeprefix("-"), self.columns)
        unread = "; ".join(f"{quote(n)} {why}" for n, why in list(self.left_out.items())[:20])
        left = f"; left out: {unread}" if unread else ""
        raise ValueError(f"no column {quote(name)}{hint} in {self.name}; it has: {held}{near or more}{left}")

    def has_column(self, name: str) -> bool:
        """Whether `resolve_column` finds it."""
        return any(alias in self.columns for alias in _aliases(name))

    def column(self, name: str) -> NDArray[Any]:
        """The column (N,) that `resolve_column` finds; ValueError where there is none."""
        return self.columns[self.resolve_column(name)]

    def select(self, *, prompts: Any = None, layer: int | None = None, tensor: str | None = None) -> Dump:
        """Keep some prompts, or take another tensor of the same files as phi.

        Parameters
        ----------
        prompts : array of ids or None
            Rows of these prompts stay, in the dump's order.
        layer, tensor : int, str or None
            Another candidate, chosen as in `open_dump`.

        Returns
        -------
        Dump
            Columns and per-row extras follow the rows; extras of another length are left out of a selection
            of prompts, since they may hold row numbers. Small selections are copied, large ones are views.
        """
        out = self
        if layer is not None or tensor is not None:
            out = selecting.take_candidate(out, tensor, layer)
        if prompts is not None:
            out = selecting.take_prompts(out, prompts)
        return out

    def fingerprint(self, order: NDArray[np.int64] | None = None) -> str:
        """SHA-256 of sizes, dtype, prompt ids and up to 64 evenly spread rows: the same in any container.

        `order` (d,) gives that of the same rows with their columns in this order.
        """
        return self._fingerprint if order is None else self._digest(order)

    @cached_property
    def _fingerprint(self) -> str:
        return self._digest(slice(None))

    def _digest(self, order: Any) -> str:
        digest = hashlib.sha256(f"{self.n_rows} {self.dim} {self.dtype}\n".encode())
        ids = self.prompt_ids
        if ids is None:
            digest.update(b"no ids")
        elif ids.dtype.kind in "UT":
            for text in ids.tolist():
                raw = text.encode("utf-8", "surrogatepass")
                digest.update(b"%d:" % len(raw) + raw)
        else:
            digest.update(np.ascontiguousarray(ids, ids.dtype.newbyteorder("<")).tobytes())
        count = min(self.n_rows, _FINGERPRINT_ROWS)
        for row in ((self.n_rows - 1) * k // max(count - 1, 1) for k in range(count)):
            for piece, _ in self._pieces(row, row + 1):
                digest.update(np.ascontiguousarray(piece[:, order], piece.dtype.newbyteorder("<")).tobytes())
        self.check()
        return digest.hexdigest()

    def with_options(self, **changes: Any) -> Dump:
        """A copy with some fields changed."""
        return replace(self, **changes)

    def __len__(self) -> int:
        return self.n_rows

    def __repr__(self) -> str:
        return f"Dump({self.name}: {self.n_rows} x {self.dim} {self.dtype}, {len(self.columns)} columns)"


def _aliases(name: str) -> Iterator[str]:
    yield name
    if name == "logprob":
        yield "logp"
    for role in ("value", "judge"):
        rest = name[len(role) + 1 :]
        if name.startswith(role) and rest and name[len(role)] in _SEPARATORS:
            for mark in _SEPARATORS:
                yield role + mark + rest
    for mark in _SEPARATORS:
        yield "value" + mark + name
