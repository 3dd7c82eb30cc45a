"""What lies in a folder: the files that are data, their order, and where a link among them may lead."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from itertools import pairwise

from clinometer.common.notices import tell
from clinometer.common.visible import quote
from clinometer.errors import bad

from .plain import REFUSED
from .remote import beside, is_url, listing

_PLAIN = re.compile(r"[^/\\:]+\Z").match
_NUMBER = re.compile(r"([0-9]+)")
_OF = re.compile(r"([0-9]+)-of-([0-9]+)(?=[^0-9]*\Z)")
_MANY = 1 << 20
# second copies as browsers, desktops and drives name them: "x (1)", "x copy 2", "x - Copy", "x (copy)", "Copy of x"
_COPY = re.compile(r"(?i)\Acopy of |(?: ?\([0-9]+\)| copy(?: [0-9]+)?| - copy(?: \([0-9]+\))?| \([^()]*copy\))\Z")
# where caches of one repository keep the files that its folders link to, from the folder that holds both
_STORES = ("blobs", ".git/annex/objects", ".dvc/cache")


def natural(name: str) -> tuple[list[tuple[int, str]], str]:
    """A sort key by which part.2 comes before part.10; names without numbers keep their alphabetical order.

    >>> sorted(["part.10", "part.2", "part.1"], key=natural)
    ['part.1', 'part.2', 'part.10']
    """
    pieces = _NUMBER.split(name)
    return [(int(piece), "") if k % 2 else (-1, piece) for k, piece in enumerate(pieces)], name


def numbered(names: Iterable[str]) -> bool:
    """Whether names differ in one number alone, as those of the shards of one table do."""
    split = [_NUMBER.split(name) for name in names]
    if len(split) < 2 or len({len(pieces) for pieces in split}) > 1:
        return False
    changing = [k for k, column in enumerate(zip(*split, strict=True)) if len(set(column)) > 1]
    return len(changing) == 1 and changing[0] % 2 == 1


def entries(folder: str) -> list[str]:
    """Names in a folder or behind a URL, hidden ones left out, numbers in their order; a DumpError if it is closed.

    Names that begin with a dot belong to file systems and tools (macOS puts a ._name beside every file).
    """
    try:
        held = listing(folder) if is_url(folder) else os.listdir(folder)
    except OSError as exc:
        if exc.errno in REFUSED:
            raise bad(folder, f"is a folder that cannot be opened ({exc.strerror})") from exc
        raise
    return sorted((name for name in held if not name.startswith(".")), key=natural)


def refuse_copies(folder: str, names: Iterable[str]) -> None:
    """Refuse a file whose name says that it is a copy of another one here: its rows would count twice."""
    held = set(names)
    for name in sorted(held, key=natural):
        stem, dot, ending = name.rpartition(".")
        first = _COPY.sub("", stem) + dot + ending
        if first != name and first in held:
            raise bad(folder, f"{quote(name)} has the name of a copy of {quote(first)}: remove or rename it", "folder")


def refuse_missing(folder: str, names: Iterable[str]) -> None:
    """Refuse shards named k-of-n that are not all there, a part of the table; others that leave out a number warn."""
    told = [found for found in map(_OF.search, names) if found]
    for n in {int(found[2]) for found in told}:
        there = {int(found[1]) for found in told if int(found[2]) == n}
        lost = sorted(set(range(n) if 0 in there else range(1, n + 1)) - there) if n <= _MANY else []
        if len(told) > 1 and lost:
            few = ", ".join(map(str, lost[:8])) + (", ..." if len(lost) > 8 else "")
            raise bad(folder, f"lacks number {few} of its {n} shards: fetch them, or open one file of those", "folder")
    tell_of_gaps(name for name in names if not _OF.search(name))


def tell_of_gaps(names: Iterable[str]) -> None:
    """Warn of numbers that shards named in a row leave out: a job of an array that failed leaves no file.

    Numbers are in a row where at least half of the neighbours differ by one and most of the row is there; steps of
    training (step-100, step-200) and dates are not.
    """
    held = list(names)
    if not numbered(held):
        return
    split = [_NUMBER.split(name) for name in held]
    at = next(k for k, column in enumerate(zip(*split, strict=True)) if len(set(column)) > 1)
    told = sorted(int(pieces[at]) for pieces in split)
    steps = [b - a for a, b in pairwise(told)]
    missing = sum(step - 1 for step in steps if step > 1)
    if 0 < missing <= len(held) and 2 * steps.count(1) >= len(steps):
        lost = [n for a, b in pairwise(told) for n in range(a + 1, b)]
        few = ", ".join(map(str, lost[:8])) + (", ..." if len(lost) > 8 else "")
        tell(
            f"{quote(held[0])} and its neighbours: number {few} is not among {len(held)} shards numbered in a row, "
            "and its rows are missing if there was one",
            stacklevel=9,
        )


def inside(folder: str, name: object, field: str, manifest: str) -> str:
    """The path of a file that a manifest names: directly in its folder, not by a link that leaves it.

    Links into the store of the repository that the folder belongs to are followed: snapshots of the Hugging Face hub,
    git-annex and DVC consist of them.
    """
    plain = _plain(name, field, manifest)
    if is_url(folder):
        return beside(folder, plain)
    path = os.path.join(folder, plain)
    if os.path.islink(path) and not _stays(os.path.realpath(folder), os.path.realpath(path)):
        raise bad(
            manifest,
            f"{quote(name)} is a link out of the dump's folder, which is followed only into the cache that a hub's "
            "snapshot, git-annex or DVC belongs to; cp -rL makes a folder of plain files, and so does "
            "snapshot_download(local_dir=...)",
            field,
        )
    return path


def _stays(folder: str, target: str) -> bool:
    """Whether a file lies in a folder, or in a store beside or above it that is one repository with it."""
    if os.path.dirname(target) == folder:
        return True
    for store in _STORES:
        root, _, _ = target.rpartition(f"{os.sep}{store.replace('/', os.sep)}{os.sep}")
        home = os.path.join(root, "snapshots") if store == "blobs" else root
        if root and os.path.commonpath([home, folder]) == home:
            return True
    return False


def all_inside(folder: str, names: list[str], field: str) -> list[str]:
    """As `inside` for very many names of a folder: it is listed once, where asking for each would take longer."""
    if is_url(folder):
        return [inside(folder, n, field, folder) for n in names]
    base = os.path.join(folder, "")
    links: set[str] = set()
    if os.path.isdir(folder):
        with os.scandir(folder) as listed:
            links = {entry.name for entry in listed if entry.is_symlink()}
    return [inside(folder, n, field, folder) if n in links else base + _plain(n, field, folder) for n in names]


def _plain(name: object, field: str, manifest: str) -> str:
    if not isinstance(name, str) or not name:
        raise bad(manifest, f"a file name is wanted, not {quote(name)}", field)
    if not _PLAIN(name) or name in (".", "..") or not name.isprintable():
        raise bad(manifest, f"{quote(name)} must be a plain file name in the dump's own folder", field)
    return name
