"""Arrow IPC and Parquet files (extra `arrow`)."""

from __future__ import annotations

from clinometer.files.plain import PlainFile
from clinometer.sources.arrow import SUFFIXES as SUFFIXES
from clinometer.sources.arrow import find_arrow
from clinometer.sources.found import Found, How


def read(path: str, how: How) -> Found:
    PlainFile(path)
    return find_arrow(path, how.half_bits, how.tensor)
