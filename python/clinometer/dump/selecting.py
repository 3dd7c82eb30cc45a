"""Choosing phi among tensors, and rows among prompts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from clinometer.arrays.coerce import as_ids
from clinometer.arrays.strings import is_text
from clinometer.common.notices import tell
from clinometer.common.visible import did_you_mean, quote
from clinometer.errors import DumpError
from clinometer.files.folders import numbered
from clinometer.sources.window import sub

if TYPE_CHECKING:
    from .dump import Dump
from .segments import Candidate, Segment

_COPY_AT_MOST = 64 << 20
_SEGMENTS_AT_MOST = 65536


def layers_of(candidates: Iterable[Candidate]) -> list[int]:
    """The distinct layers of the candidates, ascending."""
    return sorted({c.layer for c in candidates if c.layer is not None})


def choose(candidates: Mapping[str, Candidate], tensor: str | None, layer: int | None, where: str) -> Candidate:
    """The one candidate that `tensor` and `layer` leave, or a DumpError that says how to choose."""
    pool = list(candidates.values())
    if tensor is not None:
        if tensor not in candidates:
            near = did_you_mean(tensor, candidates)
            raise DumpError(f"{where}: no 2-D float tensor {quote(tensor)}; there are: {_listed(pool)}{near}")
        pool = [candidates[tensor]]
    if layer is not None:
        kept = [c for c in pool if c.layer == layer]
        if not kept:
            raise DumpError(f"{where}: no tensor of layer {layer}; there are: {_listed(pool)}")
        pool = kept
    pool = [c for c in pool if c.name.startswith("phi")] or pool
    if len(pool) == 1:
        if pool[0].dim == 0:
            raise DumpError(f"{where}: the rows of {quote(pool[0].name)} have width 0")
        return pool[0]
    if not pool:
        raise DumpError(f"{where}: no 2-D tensor of float16, bfloat16, float32 or float64 to serve as phi")
    error = DumpError(f"{where}: several tensors can be phi: {_listed(pool)}; choose with {_how(pool)}")
    error.candidates = tuple(c.name for c in pool)
    raise error


def _listed(pool: Iterable[Candidate]) -> str:
    shown = [f"{quote(c.name)} ({c.n_rows}, {c.dim}) {c.dtype}" for c in pool]
    more = f" and {len(shown) - 20} more" if len(shown) > 20 else ""
    return (", ".join(shown[:20]) or "none") + more


def _how(pool: list[Candidate]) -> str:
    layers = [c.layer for c in pool]
    by_layer = [x for x in layers if x is not None and layers.count(x) == 1]
    hint = f"tensor={quote(pool[0].name)}"
    rows = "; if they are consecutive rows of one table, name their files part-0, part-1, ..."
    return hint + (f" or layer={by_layer[0]}" if by_layer else rows if numbered(c.name for c in pool) else "")


def take_candidate(dump: Dump, tensor: str | None, layer: int | None) -> Dump:
    """The same rows under another tensor of the same files."""
    if not dump.candidates:
        raise ValueError(f"layer and tensor choose among tensors of a file; {dump.name} has only its rows")
    new = choose(dump.candidates, tensor, layer, dump.name)
    if new.n_rows != dump.n_rows:
        raise DumpError(
            f"{dump.name}: {quote(new.name)} has {new.n_rows} rows, not {dump.n_rows}; open it with tensor="
        )
    return replace(dump, segments=new.segments(), dim=new.dim, dtype=new.dtype, tensor=new.name, directions=None)


def take_prompts(dump: Dump, prompts: Any) -> Dump:
    """The rows whose prompt is in `prompts`, in their order."""
    if dump.prompt_ids is None:
        raise ValueError(f"prompts cannot be selected: {dump.name} has no prompt ids")
    wanted = np.atleast_1d(np.asarray(prompts)) if not isinstance(prompts, np.ndarray) else prompts
    wanted = as_ids(wanted, "prompts", len(wanted))
    if is_text(wanted.dtype) != is_text(dump.prompt_ids.dtype) and len(wanted):
        raise TypeError(f"prompts has dtype {wanted.dtype} but the dump's ids have {dump.prompt_ids.dtype}")
    if wanted.dtype.kind != dump.prompt_ids.dtype.kind:
        wanted = wanted.astype(dump.prompt_ids.dtype)
    missing = ~np.isin(wanted, dump.prompt_ids)
    if missing.any():
        raise ValueError(f"prompts holds {quote(wanted[missing][0])}, which is not a prompt id of {dump.name}")
    rows = np.flatnonzero(np.isin(dump.prompt_ids, wanted))
    old = dump.n_rows

    def cut(array: NDArray[Any]) -> NDArray[Any]:
        return array[rows]

    def cut_candidate(c: Candidate) -> Candidate:
        return replace(c, n_rows=len(rows), segments=lambda: _take_rows(c.segments(), rows, c.dim))

    per_row = [n for n in dump.extras if _per_row(dump, n, old)]
    return replace(
        dump,
        segments=_take_rows(dump.segments, rows, dump.dim),
        n_rows=len(rows),
        prompt_ids=cut(dump.prompt_ids),
        columns=dump.columns.map(cut),
        extras=dump.extras.only(per_row).map(cut),
        pairs=_cut_pairs(dump.pairs, rows, old),
        texts=None if dump.texts is None else dump.texts.take(rows),
        truth=None,
        labels=None if dump.labels is None else cut(dump.labels),
        candidates=MappingProxyType({n: cut_candidate(c) for n, c in dump.candidates.items() if c.n_rows == old}),
        name=f"{dump.name} (selection)",
    )


def _per_row(dump: Dump, name: str, n_rows: int) -> bool:
    if name in dump.candidates:
        return dump.candidates[name].n_rows == n_rows
    array = dump.extras[name]
    return array.ndim > 1 and len(array) == n_rows


def _cut_pairs(pairs: Mapping[str, NDArray[Any]] | None, rows: NDArray[Any], old: int) -> Any:
    """Pairs whose two rows both stay, renumbered."""
    if pairs is None:
        return None
    place = np.full(old, -1, np.int64)
    place[rows] = np.arange(len(rows))
    ends = {name: place[pairs[name]] for name in ("chosen", "rejected") if name in pairs}
    keep = np.all([e >= 0 for e in ends.values()], axis=0)
    return MappingProxyType({name: ends.get(name, array)[keep] for name, array in pairs.items()})


def _take_rows(segments: tuple[Segment, ...], rows: NDArray[Any], dim: int) -> tuple[Segment, ...]:
    """Views of the runs of `rows`; a copy where that is small or the runs are too many."""
    out: list[Segment] = []
    runs = 0
    at = 0
    slices: list[tuple[Segment, list[NDArray[Any]]]] = []
    for segment in segments:
        low, high = np.searchsorted(rows, [segment.row_start, segment.row_start + len(segment.array)])
        local = rows[low:high] - segment.row_start
        if len(local):
            pieces = np.split(local, np.flatnonzero(np.diff(local) != 1) + 1)
            runs += len(pieces)
            slices.append((segment, pieces))
    itemsize = segments[0].array.itemsize if segments else 0
    nbytes = len(rows) * dim * itemsize
    copy = runs > 1 and (nbytes <= _COPY_AT_MOST or runs > _SEGMENTS_AT_MOST)
    if copy and nbytes > _COPY_AT_MOST:
        tell(f"the selected rows lie in {runs} runs: {nbytes} bytes are copied", stacklevel=4)
    for segment, pieces in slices:
        if copy:
            chunk = segment.array[np.concatenate(pieces)]
            chunk.flags.writeable = False
            if segment.file is not None:
                segment.file.check()
            out.append(Segment(chunk, at, None))
            at += len(chunk)
            continue
        for run in pieces:
            out.append(Segment(sub(segment.array, run[0], run[-1] + 1), at, segment.file))
            at += len(run)
    return tuple(out)
