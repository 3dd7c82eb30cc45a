"""Dumps: rows phi with prompt ids and columns, opened from files or memory and written as shards."""

from __future__ import annotations

from clinometer.sources.texts import Texts

from .digests import check_digests
from .dump import Dump
from .dump_writer import DumpWriter
from .opening import open_dump
from .segments import Segment
from .writer import write_dump

__all__ = ["Dump", "DumpWriter", "Segment", "Texts", "check_digests", "open_dump", "write_dump"]
