"""One safetensors file, whose metadata may state where its rows come from."""

from __future__ import annotations

from clinometer.files.plain import PlainFile
from clinometer.sources import safetensors
from clinometer.sources.found import Found, How
from clinometer.sources.tensors import Tensor

SUFFIXES = (".safetensors",)


def read(path: str, how: How) -> Found:
    left_out: dict[str, str] = {}
    parts, metadata = safetensors.read_header(PlainFile(path), left_out)
    if left_out and not parts:
        safetensors.read_header(PlainFile(path))  # nothing is known: the error says where
    return Found({n: Tensor(n, (p,)) for n, p in parts.items()}, dict(metadata), left_out=left_out).with_policy()
