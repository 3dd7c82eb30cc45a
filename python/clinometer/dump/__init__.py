"""Dumps: rows phi with prompt ids and columns, opened from files or memory and written as shards."""

from __future__ import annotations

from clinometer.sources.found import Texts

from .dump import Dump
from .dump_writer import DumpWriter
from .opening import open_dump
from .segments import Segment
from .shard import check_digests
from .writer import write_dump

__all__ = ["Dump", "DumpWriter", "Segment", "Texts", "check_digests", "open_dump", "write_dump"]
