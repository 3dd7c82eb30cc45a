"""Dumps: rows phi with prompt ids and columns, opened from files or memory and written as shards."""

from __future__ import annotations

from .digests import check_digests
from .dump import Dump, Segment
from .opening import open_dump
from .streaming import DumpWriter
from .texts import Texts
from .writer import write_dump

__all__ = ["Dump", "DumpWriter", "Segment", "Texts", "check_digests", "open_dump", "write_dump"]
