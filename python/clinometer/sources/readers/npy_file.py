"""One array in NumPy's format, under the name of its file."""

from __future__ import annotations

import os

from clinometer.files.plain import PlainFile
from clinometer.files.remote import stem
from clinometer.sources import npy
from clinometer.sources.found import Found, How
from clinometer.sources.tensors import Tensor

SUFFIXES = (".npy",)


def read(path: str, how: How) -> Found:
    name = os.path.basename(stem(path))[:-4]
    return Found({name: Tensor(name, (npy.read_npy(PlainFile(path)),))})
