"""The files of a dump that is being written: whose they are, and which are left from a kill."""

from __future__ import annotations

import contextlib
import os
import re
from dataclasses import dataclass

from clinometer.common.visible import quote
from clinometer.files.atomic import sync_folder
from clinometer.sources import manifest

from .shard import PART, shard_name
from .sidecars import DIRECTIONS, TEXT

__all__ = ["Names", "check_folder"]

_HALF = re.compile(r"\.(.+)\.[0-9]+\.[0-9a-f]{8}\.tmp\Z")
_OURS = re.compile(
    r"(manifest|part-[0-9]{5})\.json\Z|journal(-[0-9]{5})?\.part\Z|text(-[0-9]{5})?\.jsonl(\.part)?\Z|"
    r"(pairs(-[0-9]{5})?|directions)\.safetensors\Z|phi-([0-9]{5}-)?[0-9]{5,}\.safetensors(\.part|\.tmp)?\Z"
)


@dataclass(frozen=True)
class Names:
    """Where one writer's files lie: a whole dump, or part i of several."""

    folder: str
    part: int | None = None

    @property
    def tag(self) -> str:
        return "" if self.part is None else f"-{self.part:05d}"

    def path(self, stem: str, suffix: str = "") -> str:
        """<folder>/<stem>[-<part>]<suffix>."""
        return os.path.join(self.folder, f"{stem}{self.tag}{suffix}")

    @property
    def journal(self) -> str:
        return self.path("journal", PART)

    @property
    def text(self) -> str:
        return self.path("text", ".jsonl")

    @property
    def pairs(self) -> str:
        return self.path("pairs", ".safetensors")

    @property
    def done(self) -> str:
        """The file that says that this writer is through."""
        return os.path.join(self.folder, manifest.NAME) if self.part is None else self.path("part", ".json")

    def shard(self, k: int) -> str:
        return shard_name(k, self.part)

    def own_shards(self) -> list[str]:
        """Files of the folder that are shards of this writer, growing ones too."""
        middle = "" if self.part is None else rf"{self.part:05d}-"
        mine = re.compile(rf"phi-{middle}[0-9]{{5,}}\.safetensors({PART}|\.tmp)?\Z")
        return sorted(n for n in os.listdir(self.folder) if mine.match(n))

    def sweep(self) -> None:
        """Remove the halves of small files that a kill left under temporary names."""
        own = {os.path.basename(p) for p in (self.done, self.pairs)}
        own |= {DIRECTIONS, TEXT} if self.part is None else set()
        for name in os.listdir(self.folder):
            half = _HALF.match(name)
            if (half and half[1] in own) or (name.endswith(".tmp") and name in self.own_shards()):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(os.path.join(self.folder, name))

    def clean(self) -> None:
        """Remove what only an unfinished dump needs; the journal last, so that a kill leaves a cleaner to come."""
        self.sweep()
        grown = [os.path.join(self.folder, n) for n in self.own_shards() if n.endswith(PART)]
        for path in (*grown, self.text + PART, self.journal):
            with contextlib.suppress(FileNotFoundError):  # another that looked in may be cleaning too
                os.unlink(path)
        sync_folder(self.folder)


def check_folder(folder: str, part: int | None) -> None:
    """Refuse a folder with other files than a dump that is being written has, or of the other way to write."""
    if not os.path.isdir(folder):
        raise ValueError(f"path {quote(folder, 400)} exists and is not a folder")
    names = os.listdir(folder)
    for name in names:
        half = _HALF.match(name)
        if not _OURS.match(half[1] if half else name):
            raise ValueError(f"path {quote(folder, 400)} holds {quote(name)}, which is no file of a dump")
    alone = os.path.basename(Names(folder).journal)
    others = [n for n in names if n.startswith("journal-") or n.startswith("part-")]
    if part is None and others and manifest.NAME not in names:
        raise ValueError(
            f"path {quote(folder, 400)} holds parts of several writers ({quote(min(others))}); part= is wanted"
        )
    if part is not None and alone in names:
        raise ValueError(f"path {quote(folder, 400)} is written by one writer without part=")
