"""Any source as a dump of our own format, window by window, and on from where a kill stopped it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from clinometer.common.notices import listening
from clinometer.common.visible import few, quote
from clinometer.errors import DumpError, bad
from clinometer.files.atomic import save_text, sync_folder
from clinometer.files.folders import numbered
from clinometer.files.plain import PlainFile, RemoteFile
from clinometer.files.remote import is_url, stem
from clinometer.sources import manifest
from clinometer.sources.pickled import Pickled
from clinometer.sources.registry import PICKLES
from clinometer.sources.window import sub

from .dump import Dump
from .dump_writer import DumpWriter
from .opening import assemble, open_dump, with_arguments
from .segments import Candidate, Segment

_BATCH_BYTES = 64 << 20
_RESERVED = {"self", "phi", "prompt_ids", "texts"}


@dataclass(frozen=True)
class Converted:
    """What a conversion did."""

    path: str
    n_rows: int
    tensors: tuple[str, ...]
    columns: tuple[str, ...]
    left_out: tuple[str, ...]  # what is in the source and not in the dump: tensors without an entry a row, odd types
    rows_before: int  # found there from an earlier run that was stopped


def convert_dump(
    source: Any,
    path: str | os.PathLike[str],
    *,
    dtype: str | None = None,
    shard_rows: int | None = None,
    digests: bool = False,
    progress: Callable[[int, int], None] | None = None,
    **options: Any,
) -> Converted:
    """Write a source as a dump; called again after a kill it goes on after the last rows that are in.

    Every tensor that can serve as phi is kept under its name, unless `tensor` or `layer` chooses one; columns, prompt
    ids, texts, pairs and directions follow. The bytes do not depend on how often it was stopped.

    Parameters
    ----------
    source : whatever `open_dump` takes, or a .pt file (extra `torch`), which a process of its own unpickles with
        torch's restricted loader
    path : path
        The new dump's folder; a finished dump is not written over.
    dtype : "float16" | "bfloat16" | "float32" | "float64", optional
        Stored dtype. Default: as in the source.
    shard_rows, digests
        As in `DumpWriter`.
    progress : function of (rows done, rows in all), optional
    **options
        As in `open_dump`.

    Returns
    -------
    Converted
        Cost: one read and one write; a few batches of 64 MiB are in memory, and the columns.

    >>> import numpy as np, os, tempfile
    >>> from clinometer.dump import open_dump
    >>> from clinometer.dump.converting import convert_dump
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     np.save(os.path.join(folder, "phi.npy"), np.eye(3, dtype=">f4"))
    ...     made = convert_dump(os.path.join(folder, "phi.npy"), os.path.join(folder, "d"))
    ...     made.n_rows, open_dump(made.path).read(1, 2).tolist()
    (3, [[0.0, 1.0, 0.0]])
    """
    target = os.path.realpath(os.fspath(path))
    with _opened(source, options) as (dump, names):
        print_ = _print(_identity(source, dump), names, dtype, shard_rows, digests, options)
        note = os.path.join(os.path.dirname(target), f".{os.path.basename(target)}.converting.json")
        if not os.path.lexists(note) and _is_made(dump, names, target, dtype):
            return _made(dump, names, target, dump.n_rows)  # a run that was stopped in its very last step
        _check_begun(target, note, print_)
        with _kept(note, target, print_):
            made = _write(dump, names, target, dtype, shard_rows, digests, progress)
    return made


@contextlib.contextmanager
def _opened(source: Any, options: dict[str, Any]) -> Iterator[tuple[Dump, list[str]]]:
    """The source with one of its tensors as phi, and the names of all that are to be written."""
    chosen = options.get("tensor") is not None or options.get("layer") is not None
    with contextlib.ExitStack() as stack:
        stack.enter_context(listening("clinometer convert"))  # it is being done
        if isinstance(source, (str, os.PathLike)) and os.fspath(source).endswith(PICKLES):
            found = stack.enter_context(Pickled(os.fspath(source))).found()

            def reopen(tensor: str | None) -> Dump:
                made = assemble(found, os.path.abspath(os.fspath(source)), tensor, options.get("layer"))
                given = (options.get("prompt_ids"), options.get("columns"), options.get("policy"))
                return with_arguments(made, *given, "keep")
        else:

            def reopen(tensor: str | None) -> Dump:
                return open_dump(source, **{**options, "tensor": tensor, "nonfinite": "keep"})

        try:
            dump = reopen(options.get("tensor"))
            names = [dump.tensor or "phi"]
            if not chosen and dump.candidates:
                phi = [c.name for c in dump.candidates.values() if c.name.startswith("phi")]
                names = phi if dump.tensor in phi else names
        except DumpError as error:
            if not error.candidates or chosen:
                raise
            names = list(error.candidates)
            dump = reopen(names[0])
        _check_rows(dump, names)
        _check_names(dump)
        yield dump, names


def _check_rows(dump: Dump, names: list[str]) -> None:
    counts = {n: dump.candidates[n].n_rows for n in names if n in dump.candidates}
    if len(set(counts.values())) > 1:
        rows = "; shards of one table are called part-0, part-1, ..." if numbered(counts) else ""
        shown = few([f"{quote(n)} {c}" for n, c in counts.items()], 8)
        raise DumpError(f"{dump.name}: tensors have different numbers of rows ({shown}); choose one with tensor={rows}")


def _check_names(dump: Dump) -> None:
    if clash := sorted(set(dump.columns) & _RESERVED):
        raise DumpError(f"{dump.name}: columns cannot be named {few(list(map(quote, clash)))} in a dump; rename them")


def _print(identity: Any, names: list[str], *rest: Any) -> dict[str, Any]:
    """What must be the same for a stopped conversion to go on: the source's files, and what was asked for."""
    options = [repr(x) if not isinstance(x, Mapping) else sorted((k, repr(v)) for k, v in x.items()) for x in rest]
    said = json.dumps([identity, names, options], sort_keys=True)
    return {"converting": hashlib.sha256(said.encode("utf-8", "surrogatepass")).hexdigest()}


def _identity(source: Any, dump: Dump) -> Any:
    """What tells whether a source is the one that was begun with, without reading its rows where they are files."""
    if not isinstance(source, (str, os.PathLike)):
        return dump.fingerprint()
    path = os.fspath(source)
    if is_url(path):
        far = [s.file for s in dump.segments if isinstance(s.file, RemoteFile)]
        return [stem(path), sorted({(f.path, f.size, f.version) for f in far})]
    path = os.path.realpath(path)
    if not os.path.isdir(path):
        status = os.stat(path)
        return [path, [[os.path.basename(path), status.st_size, status.st_mtime_ns]]]
    with os.scandir(path) as held:  # one look at each, and there may be very many
        return [path, sorted([e.name, e.stat().st_size, e.stat().st_mtime_ns] for e in held)]


def _is_made(dump: Dump, names: list[str], target: str, dtype: str | None) -> bool:
    """Whether a finished dump lies there that holds these very rows, as far as a sample of them shows."""
    if not os.path.lexists(os.path.join(target, manifest.NAME)):
        return False
    sites = _sites(dump, names)
    try:
        held = open_dump(target, tensor=next(iter(sites)), nonfinite="keep")
    except DumpError:
        return False
    alike = set(held.candidates) == set(sites) and dtype in (None, dump.dtype)
    return alike and held.fingerprint() == dump.fingerprint()


def _check_begun(target: str, note: str, print_: dict[str, Any]) -> None:
    """Whether what lies at the target is the beginning of this very conversion."""
    begun = os.path.isdir(target) and bool(os.listdir(target))
    if not os.path.lexists(note):
        if begun:
            whole = os.path.lexists(os.path.join(target, manifest.NAME))
            what = "is a dump already" if whole else "holds something else than the beginning of this conversion"
            raise ValueError(f"path {quote(target, 400)} {what}; remove it or choose another path")
        return
    file = PlainFile(note)
    if file.read(0, file.size) != _said(print_):
        raise bad(
            target,
            "was begun from another source or with other options, or the source has changed since; remove "
            f"it and {quote(note, 400)}, or choose another path",
        )


def _said(print_: dict[str, Any]) -> bytes:
    return json.dumps(print_).encode("ascii") + b"\n"


@contextlib.contextmanager
def _kept(note: str, target: str, print_: dict[str, Any]) -> Iterator[None]:
    """The note beside the target that says what is being converted, there until all is written."""
    if not os.path.lexists(note):
        os.makedirs(os.path.dirname(note), exist_ok=True)
        save_text(note, _said(print_).decode("ascii"))
    try:
        yield
    except BaseException:
        if not os.path.isdir(target) or not os.listdir(target):  # refused before anything was begun
            os.unlink(note)
        raise
    os.unlink(note)
    sync_folder(os.path.dirname(note))


def _write(
    dump: Dump, names: list[str], target: str, dtype: str | None, shard_rows: int | None, digests: bool, progress: Any
) -> Converted:
    sites = _sites(dump, names)
    columns = {n: dump.columns[n] for n in dump.columns if n != "prompt_id"}
    row_bytes = sum(c.dim * {"float64": 8, "float32": 4}.get(c.dtype, 2) for c in sites.values())
    step = max(1, _BATCH_BYTES // row_bytes)
    writer = DumpWriter(
        target, dim={n: c.dim for n, c in sites.items()}, dtype={n: dtype or c.dtype for n, c in sites.items()},
        source=dict(dump.source), policy=dump.policy, directions=dump.directions, shard_rows=shard_rows,
        digests=digests, **_more(dump),
    )  # fmt: skip
    with writer:
        before = writer.n_rows
        if not writer.finished:
            segments = {n: c.segments() for n, c in sites.items()}
            for first in range(before, dump.n_rows, step):
                last = min(first + step, dump.n_rows)
                phi = {n: _range(segments[n], c, first, last) for n, c in sites.items()}
                ids = None if dump.prompt_ids is None else dump.prompt_ids[first:last]
                texts = None if dump.texts is None else [dump.texts[k] for k in range(first, last)]
                writer.append(phi, ids, texts=texts, **{n: c[first:last] for n, c in columns.items()})
                if progress is not None:
                    progress(last, dump.n_rows)
            if dump.pairs is not None and not writer.n_pairs:
                writer.append_pairs(dump.pairs)
            dump.check()
    return _made(dump, names, target, before)


def _made(dump: Dump, names: list[str], target: str, before: int) -> Converted:
    left = [n for n in dump.extras if n not in names] + list(dump.left_out)
    columns = [n for n in dump.columns if n != "prompt_id"]
    ids = ["prompt_id"] if dump.prompt_ids is not None else []
    return Converted(target, dump.n_rows, tuple(_sites(dump, names)), (*ids, *columns), tuple(left), before)


def _sites(dump: Dump, names: list[str]) -> dict[str, Candidate]:
    """What is written, by name; a layer that only the source's own naming tells goes into the name."""
    if dump.candidates:
        held = [(n, dump.candidates[n]) for n in names]
        told = len(held) > 1
        return {
            f"{n}_L{c.layer}" if told and c.layer is not None and not n.endswith(f"_L{c.layer}") else n: c
            for n, c in held
        }
    return {"phi": Candidate("phi", dump.n_rows, dump.dim, dump.dtype, None, lambda: dump.segments)}


def _more(dump: Dump) -> dict[str, Any]:
    return {k: getattr(dump, k) for k in ("sampling", "preprocessing") if getattr(dump, k, None)}


def _range(segments: tuple[Segment, ...], c: Candidate, first: int, last: int) -> Dump:
    """Rows [first, last) of a tensor as a dump of their own; nothing is read yet."""
    out = []
    for s in segments:
        low, high = max(first, s.row_start), min(last, s.row_start + len(s.array))
        if low < high:
            out.append(Segment(sub(s.array, low - s.row_start, high - s.row_start), low - first, s.file))
    return Dump(tuple(out), last - first, c.dim, c.dtype)
