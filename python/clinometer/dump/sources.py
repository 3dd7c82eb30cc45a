"""From a path or URL to what it holds: the container is told by its name, a folder by its files."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from . import manifest, npy, npz, safetensors
from .files import PlainFile, bad, entries, inside, quote
from .remote import listing
from .request_files import is_request
from .requests import find_requests
from .tensors import FLOAT_NAMES, Tensor
from .urls import is_url, stem

__all__ = ["HALVES", "PICKLES", "How", "find"]

HALVES = ("float16", "bfloat16")
_POLICIES = ("on_policy", "off_policy")
_INDEX = ".safetensors.index.json"
_ARROW = (".arrow", ".parquet", ".feather", ".ipc")
_FILES = (".npy", ".npz", ".safetensors", ".txt", ".gguf", ".json", *_ARROW)
_UNFINISHED = (
    "an unfinished dump has none: DumpWriter goes on with it, DumpWriter.merge joins the parts of several writers"
)
PICKLES = (".pt", ".pth", ".bin", ".pkl", ".ckpt")


@dataclass(frozen=True)
class How:
    """What a container does not say of itself."""

    tensor: str | None = None
    half_bits: str | None = None
    pool: str | None = None
    prompt_tokens: Any = None


def find(path: str, how: How) -> manifest.Found:
    """The tensors and facts of a file or folder; headers are read and checked, no row is."""
    if _is_folder(path):
        return _folder(path, how)
    name = stem(path)
    if name.endswith(".npy"):
        return _npy(path)
    if name.endswith(".npz"):
        return manifest.Found(npz.open_tensors(PlainFile(path)))
    if name.endswith(".safetensors"):
        return _safetensors(path)
    if name.endswith(_ARROW):
        from .arrow import find_arrow

        PlainFile(path)
        return find_arrow(path, how.half_bits, how.tensor)
    PlainFile(path)
    known = ".safetensors, .npy, .npz, .arrow or .parquet file"
    raise bad(path, f"is not a {known} or a dump's folder" + _advice(path))


def _advice(path: str) -> str:
    if stem(path).endswith(PICKLES):
        return "; pickles are not opened here: `clinometer convert` turns one into a dump, in a process of its own"
    return ""


def _is_folder(path: str) -> bool:
    return not stem(path).endswith((*_FILES, *PICKLES)) if is_url(path) else os.path.isdir(path)


def _npy(path: str) -> manifest.Found:
    part = npy.read_npy(PlainFile(path))
    name = os.path.basename(stem(path))[:-4]
    if part.tag not in FLOAT_NAMES or len(part.shape) != 2:
        raise bad(path, f"has shape {part.shape} and dtype {part.tag}; {_wanted(part.shape)}", "header")
    return manifest.Found({name: Tensor(name, (part,))})


def _wanted(shape: tuple[int, ...]) -> str:
    """What to do about an array that is not rows; prompts x responses x width is the usual one."""
    if len(shape) != 3:
        return "a 2-D float array is wanted: rows (n, d) of float16, float32 or float64"
    g, n, d = shape
    return f"rows (n, d) are wanted: reshape({g * n}, {d}) with prompt ids numpy.repeat(range({g}), {n})"


def _safetensors(path: str) -> manifest.Found:
    parts, metadata = safetensors.read_header(PlainFile(path))
    found = manifest.Found({n: Tensor(n, (p,)) for n, p in parts.items()}, dict(metadata))
    found.policy = metadata.get("policy") if metadata.get("policy") in _POLICIES else None
    return found


def _folder(path: str, how: How) -> manifest.Found:
    if is_url(path) and _has(path, manifest.NAME):  # before asking for a list, which web servers do not have
        return manifest.read_manifest(path)
    names = listing(path) if is_url(path) else entries(path)
    if manifest.NAME in names:
        return manifest.read_manifest(path)
    index = [n for n in names if n.endswith(_INDEX)]
    if len(index) == 1:
        return manifest.read_index(path, index[0])
    arrays = [n for n in names if n.endswith(".npy")]
    if arrays:
        return manifest.Found({f[:-4]: _array(path, f) for f in arrays})
    stored = [n for n in names if n.endswith(".safetensors")]
    if stored and not index:
        return _loose(path, stored, how)
    if "dataset_dict.json" in names or any(n.endswith(_ARROW) for n in names):
        from .arrow import find_arrow

        return find_arrow(path, how.half_bits, how.tensor)
    several = f"has {len(index)} indices; open one file or keep one index" if index else ""
    raise bad(
        path,
        several
        or f"has no {manifest.NAME} ({_UNFINISHED}), no safetensors index and no .npy, .safetensors, .arrow or "
        ".parquet files",
    )


def _has(folder: str, name: str) -> bool:
    try:
        PlainFile(inside(folder, name, "folder", folder))
    except ValueError:
        return False
    return True


def _array(folder: str, name: str) -> Tensor:
    return Tensor(name[:-4], (npy.read_npy(PlainFile(inside(folder, name, "folder", folder))),))


def _loose(path: str, stored: list[str], how: How) -> manifest.Found:
    """Safetensors files that nothing ties together: one alone, or the requests of a server."""
    first = inside(path, stored[0], "folder", path)
    parts, _ = safetensors.read_header(PlainFile(first))
    if is_request(set(parts)):
        return find_requests(path, stored, how.pool, how.prompt_tokens)
    if any(n.startswith("phi-") for n in stored):
        raise bad(path, f"has no {manifest.NAME}: {_UNFINISHED}", "folder")
    if len(stored) == 1:
        return _safetensors(first)
    raise bad(
        path,
        f"has {len(stored)} safetensors files and nothing that orders their rows (no {manifest.NAME}, no index, and "
        f"{quote(stored[0])} does not hold hidden_states and token_ids); open one of them",
        "folder",
    )
