"""From a path or URL to what it holds: the container is told by its name, a folder by its files."""

from __future__ import annotations

import os

from clinometer.common.notices import tell
from clinometer.common.visible import few, quote
from clinometer.errors import bad
from clinometer.files.folders import entries, inside, refuse_copies, refuse_missing
from clinometer.files.plain import PlainFile
from clinometer.files.urls import is_url, stem

from . import manifest, safetensors
from .arrow import find_arrow
from .arrow_folder import SUFFIXES as ARROW
from .found import Found, How
from .joining import is_shards, joined_arrays, joined_safetensors
from .readers import by_suffix
from .request_files import is_request
from .requests import find_requests

__all__ = ["HALVES", "PICKLES", "find"]

HALVES = ("float16", "bfloat16")
_INDEX = ".safetensors.index.json"
_OTHER_FILES = (".txt", ".gguf", ".json")  # that are no dumps, and no folders either
_UNFINISHED = (
    "an unfinished dump has none: DumpWriter goes on with it, DumpWriter.merge joins the parts of several writers"
)
_ARRAYS_OF = {
    (".h5", ".hdf5", ".he5"): "h5py.File(path)[name][:]",
    (".zarr", ".zarr.zip"): "zarr.open(path)[name][:]",
    (".mat",): "scipy.io.loadmat(path)[name]",
    (".csv", ".tsv"): "pandas.read_csv(path).to_numpy()",
    (".jsonl", ".ndjson"): "pandas.read_json(path, lines=True)",
    (".lance",): "lance.dataset(path).to_table()",
}
PICKLES = (".pt", ".pth", ".bin", ".pkl", ".ckpt")


def find(path: str, how: How) -> Found:
    """The tensors and facts of a file or folder; headers are read and checked, no row is."""
    found = _folder(path, how) if _is_folder(path) else _file(path, how)
    given = {"pool": how.pool, "prompt_tokens": how.prompt_tokens, "half_bits": how.half_bits}
    for name in (n for n, value in given.items() if value is not None and n not in found.takes):
        of = (
            "16-bit lists of Arrow and Parquet"
            if name == "half_bits"
            else "folders of hidden states of single requests"
        )
        raise bad(path, f"is for {of}, which this is not: leave it out", name)
    return found


def _file(path: str, how: How) -> Found:
    suffix = next((x for x in by_suffix() if stem(path).endswith(x)), None)
    if suffix is not None:
        return by_suffix()[suffix](path, how)
    PlainFile(path)
    raise bad(path, f"is not a {', '.join(sorted(by_suffix()))} file or a dump's folder" + _advice(path))


def _advice(path: str) -> str:
    if stem(path).endswith(PICKLES):
        return "; pickles are not opened here: `clinometer convert` turns one into a dump, in a process of its own"
    how = next((say for ends, say in _ARRAYS_OF.items() if stem(path).endswith(ends)), None)
    return f"; read it with {how} and pass the array" if how else ""


def _is_folder(path: str) -> bool:
    return not stem(path).endswith((*by_suffix(), *_OTHER_FILES, *PICKLES)) if is_url(path) else os.path.isdir(path)


def _folder(path: str, how: How) -> Found:
    if is_url(path) and _has(path, manifest.NAME):  # before asking for a list, which web servers do not have
        return manifest.read_manifest(path)
    names = entries(path)
    if manifest.NAME in names:
        return manifest.read_manifest(path)
    index = [n for n in names if n.endswith(_INDEX)]
    if len(index) == 1:
        return manifest.read_index(path, index[0])
    arrays = [n for n in names if n.endswith(".npy")]
    if arrays:
        refuse_copies(path, arrays)
        return _beside(Found(joined_arrays(path, arrays)), names, ".npy")
    stored = [n for n in names if n.endswith(".safetensors")]
    if stored and not index:
        return _beside(_loose(path, stored, how), names, ".safetensors")
    if "dataset_dict.json" in names or any(n.endswith(ARROW) for n in names):
        return find_arrow(path, how.half_bits, how.tensor)
    several = f"has {len(index)} indices; open one file or keep one index" if index else ""
    raise bad(
        path,
        several
        or f"has no {manifest.NAME} ({_UNFINISHED}), no safetensors index and no .npy, .safetensors, .arrow or "
        f".parquet files{_below(path, names)}",
    )


def _beside(found: Found, names: list[str], ending: str) -> Found:
    """With a word on data of other kinds in a folder, which is not read."""
    others = [n for n in names if n.endswith((*by_suffix(), *PICKLES)) and not n.endswith(ending)]
    found.left_out |= {n: f"is beside {ending} files, which alone are read" for n in others}
    if others:
        tell(f"{few([quote(n) for n in others])}: beside {ending} files and not read", stacklevel=6)
    return found


def _below(path: str, names: list[str]) -> str:
    """Where the data of a folder of folders may lie."""
    inner = [] if is_url(path) else [n for n in names if os.path.isdir(os.path.join(path, n))]
    return f"; it holds the folders {', '.join(map(quote, inner[:6]))}: open one of them" if inner else ""


def _has(folder: str, name: str) -> bool:
    try:
        PlainFile(inside(folder, name, "folder", folder))
    except ValueError:
        return False
    return True


def _loose(path: str, stored: list[str], how: How) -> Found:
    """Safetensors files that nothing ties together: one alone, the requests of a server, or numbered shards."""
    refuse_copies(path, stored)
    first = inside(path, stored[0], "folder", path)
    parts, _ = safetensors.read_header(PlainFile(first))
    if is_request(set(parts)):
        return find_requests(path, stored, how.pool, how.prompt_tokens)
    if any(n.startswith("phi-") for n in stored):
        raise bad(path, f"has no {manifest.NAME}: {_UNFINISHED}", "folder")
    if len(stored) == 1:
        return _file(first, how)
    if is_shards(stored):
        refuse_missing(path, stored)
        return joined_safetensors(path, stored).with_policy()
    raise bad(
        path,
        f"has {len(stored)} safetensors files and nothing that orders their rows (no {manifest.NAME}, no index, and "
        f"{quote(stored[0])} does not hold hidden_states and token_ids); open one of them, or name shards of one "
        "table part-0, part-1, ...",
        "folder",
    )
