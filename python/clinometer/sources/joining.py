"""Files of one folder as the shards of one table: which belong together, and in which order."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import groupby

from clinometer.common.visible import quote
from clinometer.errors import bad
from clinometer.files.folders import all_inside, natural, numbered, refuse_missing
from clinometer.files.plain import PlainFile

from . import manifest, npy
from .found import Found
from .layers import are_layers
from .safetensors import read_header
from .tensors import Part, Tensor

__all__ = ["is_shards", "joined_arrays", "joined_safetensors"]

# Files that differ in a number may be layers, sites or runs: rows go on from one to the next only where the names say
# that these are pieces, by a word or by a number padded with zeros.
_PIECE = re.compile(r"(?i)(?:\A|[^a-z])(?:part|shard|chunk|batch|rank|piece|slice)s?[^a-z0-9]?[0-9]")
_PADDED = re.compile(r"[0-9]{4,}")
_LAST = re.compile(r"[0-9]+(-of-[0-9]+)?(?=[^0-9]*\Z)")


def is_shards(names: Iterable[str]) -> bool:
    """Whether files of these names are consecutive rows of one table."""
    held = list(names)
    return numbered(held) and not are_layers(held) and all(_PIECE.search(n) or _PADDED.search(n) for n in held)


def joined_arrays(folder: str, names: list[str]) -> dict[str, Tensor]:
    """The .npy files of a folder by name; those that are shards of one array are one tensor."""
    out: dict[str, Tensor] = {}
    paths = dict(zip(names, all_inside(folder, names, "folder"), strict=True))
    for stem, group in groupby(sorted(names, key=_skeleton), _skeleton):
        files = sorted(group, key=natural)
        for name, members in ((stem, files),) if is_shards(files) else ((f[:-4], [f]) for f in files):
            refuse_missing(folder, members)
            out[name] = Tensor(name, _alike([_part(paths[f]) for f in members]))
    return {name: out[name] for name in sorted(out, key=natural)}


def _part(path: str) -> Part:
    with PlainFile(path, hold=True) as file:
        return npy.read_npy(file)


def _skeleton(name: str) -> str:
    """A file's name without its last number, or that of so many."""
    return _LAST.sub("", name[:-4]).strip("-_. ") or "phi"


def _alike(parts: list[Part]) -> tuple[Part, ...]:
    first = parts[0]
    for part in parts[1:]:
        if not part.shape or not first.shape or (part.shape[1:], part.tag) != (first.shape[1:], first.tag):
            held, wanted = (f"{p.shape} {p.tag}" for p in (part, first))
            raise bad(
                part.file.path, f"holds {held}, the first shard {wanted}: shards of one width are wanted", "header"
            )
    return tuple(parts)


def joined_safetensors(folder: str, names: list[str]) -> Found:
    """Safetensors files that are shards: every tensor has their rows one behind the other."""
    pieces: dict[str, list[Part]] = {}
    source: dict[str, str] = {}
    for k, path in enumerate(all_inside(folder, sorted(names, key=natural), "folder")):
        with PlainFile(path, hold=True) as file:
            parts, said = read_header(file)
        rows = {p.shape[0] for p in parts.values() if p.shape}
        if len(rows) != 1:
            shown = ", ".join(f"{quote(n)} {p.shape}" for n, p in list(parts.items())[:8])
            raise bad(path, f"is one of several shards, whose tensors have one entry a row; it holds {shown}", "header")
        manifest.add_shard(pieces, parts, rows.pop(), set() if k else None, path)
        source = said if not k else {key: value for key, value in source.items() if said.get(key) == value}
    return Found({name: Tensor(name, tuple(parts)) for name, parts in pieces.items()}, dict(source))
