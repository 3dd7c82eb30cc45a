"""The process that unpickles a .pt file for `clinometer convert`: torch's restricted loader or nothing.

Talks over its standard streams: first one line of JSON, the tensors or an error, where in the file those lie that can
be mapped, the lists of strings, and what is left out and why; then for every line [tensor, first, last] read, the bytes
of those rows. Nothing here falls back to a loader that can run code.
"""

from __future__ import annotations

import json
import os
import re
import sys
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any

_OLDEST = (2, 10)  # the restricted loader of earlier versions has known holes
_DEPTH = 8
_OLD = (0x1950A86A20F9469CFC6C).to_bytes(10, "little")  # what the format before torch 1.6 begins with


class Held:
    """What a file holds, by the path to it: tensors, lists of strings, facts, and what is none of these."""

    def __init__(self, torch: Any) -> None:
        self.torch = torch
        self.tensors: dict[str, Any] = {}
        self.texts: dict[str, list[str]] = {}
        self.facts: dict[str, Any] = {}
        self.left_out: dict[str, str] = {}

    def take(self, value: Any, name: str = "", depth: int = 0) -> None:
        """Sort in nested mappings and lists; lists of numbers count as one tensor."""
        torch = self.torch
        if depth > _DEPTH:
            raise ValueError(f"{name}: is nested more than {_DEPTH} deep")
        if isinstance(value, torch.Tensor):
            self._tensor(value, name or "phi")
        elif isinstance(value, Mapping):
            for key, item in value.items():
                here = f"phi_L{key}" if isinstance(key, int) and not name else str(key)
                self.take(item, f"{name}.{here}" if name else here, depth + 1)
        elif isinstance(value, (list, tuple)) and value:
            self._list(value, name, depth)
        elif type(value) in (str, int, float, bool):
            self.facts[name or "value"] = value
        elif value is not None and value != [] and value != ():
            self.left_out[name or "value"] = f"is a {type(value).__name__}, which is not read"

    def _list(self, value: Sequence[Any], name: str, depth: int) -> None:
        if all(type(x) is str for x in value):
            self.texts[name or "texts"] = list(value)
        elif (tensor := self._numbers(value)) is not None:
            self._tensor(tensor, name or "values")
        elif _has_tensor(self.torch, value):
            for k, item in enumerate(value):
                self.take(item, f"{name}.{k}" if name else f"phi_{k}", depth + 1)
        else:
            self.left_out[name or "values"] = "is a list, and not of tensors, numbers or strings alone"

    def _numbers(self, value: Sequence[Any]) -> Any:
        """(Nested) lists of numbers as a tensor of their kind, None for others."""
        first: Any = value
        while isinstance(first, (list, tuple)) and first:
            first = first[0]
        if type(first) not in (bool, int, float):
            return None
        try:
            dtype = self.torch.tensor(value).dtype
            return self.torch.tensor(value, dtype=self.torch.float64 if dtype.is_floating_point else dtype)
        except (ValueError, TypeError, RuntimeError, OverflowError):  # ragged, mixed with others, or too large
            return None

    def _tensor(self, tensor: Any, name: str) -> None:
        if name in self.tensors:
            raise ValueError(f"the tensor {name!r} occurs twice")
        if tensor.layout != self.torch.strided:
            raise ValueError(f"the tensor {name!r} is {tensor.layout}; a dense one is wanted")
        if tensor.dtype in _tags(self.torch):
            self.tensors[name] = tensor.detach()
        else:
            self.left_out[name] = f"has the dtype {tensor.dtype}, which is not read: convert it with .to(torch.float32)"


def _has_tensor(torch: Any, value: Any, depth: int = 0) -> bool:
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, (list, tuple)) and depth <= _DEPTH:
        return any(_has_tensor(torch, item, depth + 1) for item in value)
    return isinstance(value, torch.Tensor)


def _load(path: str) -> tuple[Any, Held]:
    import torch

    version = tuple(int(x) for x in torch.__version__.split("+")[0].split(".")[:2])
    if version < _OLDEST:
        raise ImportError(f"torch {torch.__version__} is older than 2.10, whose restricted loader is the first wanted")
    held = Held(torch)
    mapped = zipfile.is_zipfile(path)
    if not mapped:
        _check_old(path)
    held.take(torch.load(path, weights_only=True, mmap=mapped, map_location="cpu"))
    return torch, held


def _check_old(path: str) -> None:
    """Refuse what is no file of torch.save: an archive, or, before torch 1.6, pickles behind a number."""
    with open(path, "rb") as file:
        head = file.read(16)
    if head[:2] == b"PK":
        raise ValueError("the end of its archive is missing: it was cut")
    if _OLD not in head:
        raise ValueError("it is no file of torch.save; save tensors with torch.save, or arrays with numpy.savez")


def reason(error: Exception) -> str:
    """What torch refused: the last of its many lines say it, the first are about how to switch its check off.

    >>> reason(ValueError("options: \\x1b[1mdo those steps\\x1b[0m\\nUnsupported global: GLOBAL a.b was not allowed"))
    'it holds a.b: save tensors, lists and numbers alone (torch.as_tensor(array), array.tolist())'
    """
    text = re.sub(r"\x1b\[[0-9;]*m", "", str(error))
    found = re.search(r"(?:GLOBAL|class|function) ([A-Za-z_][\w.]*\.[\w.]+)", text)
    if "TorchScript" in text:
        return "it is a TorchScript program: save its tensors alone"
    if found is not None:
        return f"it holds {found[1]}: save tensors, lists and numbers alone (torch.as_tensor(array), array.tolist())"
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    said = next((line for line in lines if "error:" in line.lower()), lines[0] if lines else "")
    return f"{type(error).__name__}: {said}"[:300]


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
        torch, held = _load(path)
        found, tags = held.tensors, _tags(torch)
        said = [{"name": n, "tag": tags[t.dtype], "shape": list(t.shape)} for n, t in found.items()]
        answer: dict[str, Any] = {"tensors": said, "places": _places(torch, path, found)}
        answer |= {"texts": held.texts, "facts": held.facts, "left_out": held.left_out}
    except ImportError as exc:
        answer = {"missing": str(exc)}
    except Exception as exc:  # whatever a hostile file makes the loader raise is told, and nothing else is tried
        answer = {"error": reason(exc)}
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
