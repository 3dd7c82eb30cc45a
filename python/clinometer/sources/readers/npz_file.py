"""Arrays in NumPy's archive format."""

from __future__ import annotations

from clinometer.files.plain import PlainFile
from clinometer.sources import npz
from clinometer.sources.found import Found, How

SUFFIXES = (".npz",)


def read(path: str, how: How) -> Found:
    left_out: dict[str, str] = {}
    return Found(npz.open_tensors(PlainFile(path), left_out), left_out=left_out)
