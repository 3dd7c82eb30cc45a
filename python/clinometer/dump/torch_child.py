"""The process that unpickles a .pt file for `clinometer convert`: torch's restricted loader or nothing.

Talks over its standard streams: first one line of JSON, the tensors or an error, and where in the file those lie that
can be mapped; then for every line [tensor, first, last] read, the bytes of those rows. Nothing here falls back to a
loader that can run code.
"""

from __future__ import annotations

import json
import os
import sys
import zipfile
from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ["main"]

_OLDEST = (2, 10)  # the restricted loader of earlier versions has known holes
_DEPTH = 8


def _tensors(torch: Any, value: Any, name: str, depth: int = 0) -> Iterator[tuple[str, Any]]:
    """Every tensor of nested mappings and lists, under the path to it; lists of numbers count as one."""
    if depth > _DEPTH:
        raise ValueError(f"{name}: is nested more than {_DEPTH} deep")
    if isinstance(value, torch.Tensor):
        yield name or "phi", value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            here = f"phi_L{key}" if isinstance(key, int) and not name else str(key)
            yield from _tensors(torch, item, f"{name}.{here}" if name else here, depth + 1)
    elif isinstance(value, (list, tuple)) and value:
        if all(type(x) in (int, float, bool) for x in value):
            yield name or "values", torch.tensor(value)
        else:
            for k, item in enumerate(value):
                yield from _tensors(torch, item, f"{name}.{k}" if name else f"phi_{k}", depth + 1)


def _load(path: str) -> tuple[Any, dict[str, Any]]:
    import torch

    version = tuple(int(x) for x in torch.__version__.split("+")[0].split(".")[:2])
    if version < _OLDEST:
        raise ImportError(f"torch {torch.__version__} is older than 2.10, whose restricted loader is the first wanted")
    found = dict[str, Any]()
    for name, tensor in _tensors(torch, torch.load(path, weights_only=True, mmap=True, map_location="cpu"), ""):
        if name in found:
            raise ValueError(f"the tensor {name!r} occurs twice")
        if tensor.layout != torch.strided:
            raise ValueError(f"the tensor {name!r} is {tensor.layout}; a dense one is wanted")
        found[name] = tensor.detach()
    return torch, found


def _places(torch: Any, path: str, found: Mapping[str, Any]) -> dict[str, int]:
    """Offsets in the file of the tensors that lie in torch's map of it, row by row: the caller maps these itself.

    Empty where the system does not tell what is mapped, or the bytes in the map are turned.
    """
    try:
        with open("/proc/self/maps", encoding="utf-8", errors="surrogateescape") as lines:
            rows = [line.split(None, 5) for line in lines]
        inode = str(os.stat(path).st_ino)
        if not _is_native(path):
            return {}
    except (OSError, zipfile.BadZipFile):
        return {}
    held = [(*(int(x, 16) for x in row[0].split("-")), int(row[2], 16)) for row in rows if row[4] == inode]
    out: dict[str, int] = {}
    for name, tensor in found.items():
        size = tensor.numel() * tensor.element_size()
        if size and tensor.is_contiguous() and not tensor.is_neg():
            at = tensor.data_ptr()
            inside = [at - low + start for low, high, start in held if low <= at and at + size <= high]
            out |= {name: inside[0]} if inside else {}
    return out


def _is_native(path: str) -> bool:
    """Whether the file has this machine's byte order: torch turns other bytes inside its map."""
    with zipfile.ZipFile(path) as archive:
        said = [archive.read(n) for n in archive.namelist() if n.endswith("/byteorder")]
    return (said or [b"little"]) == [sys.byteorder.encode("ascii")]


def _tags(torch: Any) -> dict[Any, str]:
    return {
        torch.float16: "F16", torch.bfloat16: "BF16", torch.float32: "F32", torch.float64: "F64", torch.bool: "BOOL",
        torch.int8: "I8", torch.uint8: "U8", torch.int16: "I16", torch.int32: "I32", torch.int64: "I64",
    }  # fmt: skip


def main(path: str) -> int:
    """Serve one file until standard input ends."""
    out = sys.stdout.buffer
    try:
        torch, found = _load(path)
        tags = _tags(torch)
        said = [{"name": n, "tag": tags[t.dtype], "shape": list(t.shape)} for n, t in found.items() if t.dtype in tags]
        answer: dict[str, Any] = {"tensors": said, "places": _places(torch, path, found)}
    except ImportError as exc:
        answer = {"missing": str(exc)}
    except Exception as exc:  # whatever a hostile file makes the loader raise is told, and nothing else is tried
        answer = {"error": f"{type(exc).__name__}: {exc}"[:2000]}
    out.write(json.dumps(answer).encode("ascii") + b"\n")
    out.flush()
    for line in sys.stdin.buffer if "tensors" in answer else ():
        name, first, last = json.loads(line)
        tensor = found[name]
        rows = tensor if tensor.dim() == 0 else tensor[first:last]
        rows = rows.contiguous()
        if rows.numel():
            out.write(rows.reshape(-1).view(torch.uint8).numpy().data)
        out.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
