"""From a path or URL to what it holds: the container is told by its name, a folder by its files, several of which may
be shards of one table."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from itertools import groupby

from clinometer.common.notices import tell
from clinometer.common.visible import few, quote
from clinometer.errors import bad
from clinometer.files.folders import all_inside, entries, inside, natural, numbered, refuse_copies, refuse_missing
from clinometer.files.plain import PlainFile
from clinometer.files.remote import is_url, stem

from . import manifest, npy, safetensors
from .arrow import SUFFIXES as ARROW
from .arrow import find_arrow
from .found import Found, How, are_layers, are_stages
from .readers import by_suffix
from .requests import find_requests, is_request
from .safetensors import read_header
from .tensors import Part, Tensor

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
TABLES = (".csv", ".tsv", ".jsonl", ".ndjson", ".xlsx", ".parquet", ".feather", ".arrow")
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
    if any(n.endswith(".npz") for n in names):
        return "; of .npz files each is a dump: DumpWriter.append(open_dump(file)) of one after the other joins them"
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


# Files that differ in a number may be layers, sites or runs: rows go on from one to the next only where the names say
# that these are pieces, by a word or by a number padded with zeros.
_PIECE = re.compile(r"(?i)(?:\A|[^a-z])(?:part|shard|chunk|batch|rank|piece|slice)s?[^a-z0-9]?[0-9]")
_PADDED = re.compile(r"[0-9]{4,}")
_LAST = re.compile(r"[0-9]+(-of-[0-9]+)?(?=[^0-9]*\Z)")


def is_shards(names: Iterable[str]) -> bool:
    """Whether files of these names are consecutive rows of one table."""
    held = list(names)
    differ = numbered(held) and not are_layers(held) and not are_stages(held)
    return differ and all(_PIECE.search(n) or _PADDED.search(n) for n in held)


def joined_arrays(folder: str, names: list[str]) -> dict[str, Tensor]:
    """The .npy files of a folder by name; those that are shards of one array are one tensor."""
    out: dict[str, Tensor] = {}
    paths = dict(zip(names, all_inside(folder, names, "folder"), strict=True))
    for shared, group in groupby(sorted(names, key=_skeleton), _skeleton):
        files = sorted(group, key=natural)
        for name, members in ((shared, files),) if is_shards(files) else ((f[:-4], [f]) for f in files):
            refuse_missing(folder, members)
            out[name] = Tensor(name, _alike([_part(paths[f]) for f in members]))
    return {name: out[name] for name in sorted(out, key=natural)}


def _part(path: str) -> Part:
    with PlainFile(path, hold=True) as file:
        return npy.read_npy(file)


def _skeleton(name: str) -> str:
    """A file's name without its last number, or that of so many."""
    return _LAST.sub("", name[:-4]).strip("-_. ") or "phi"


def _alike(parts: list[Part]) -> tuple[Part, ...]:
    first = parts[0]
    for part in parts[1:]:
        if not part.shape or not first.shape or (part.shape[1:], part.tag) != (first.shape[1:], first.tag):
            held, wanted = (f"{p.shape} {p.tag}" for p in (part, first))
            raise bad(
                part.file.path,
                f"holds {held}, the first shard {wanted}: shards of one width and dtype are wanted",
                "header",
            )
    return tuple(parts)


def joined_safetensors(folder: str, names: list[str]) -> Found:
    """Safetensors files that are shards: every tensor has their rows one behind the other."""
    pieces: dict[str, list[Part]] = {}
    source: dict[str, str] = {}
    for k, path in enumerate(all_inside(folder, sorted(names, key=natural), "folder")):
        with PlainFile(path, hold=True) as file:
            parts, said = read_header(file)
        rows = {p.shape[0] for p in parts.values() if p.shape}
        if len(rows) != 1:
            shown = ", ".join(f"{quote(n)} {p.shape}" for n, p in list(parts.items())[:8])
            raise bad(path, f"is one of several shards, whose tensors have one entry a row; it holds {shown}", "header")
        manifest.add_shard(pieces, parts, rows.pop(), set() if k else None, path)
        source = said if not k else {key: value for key, value in source.items() if said.get(key) == value}
    return Found({name: Tensor(name, tuple(parts)) for name, parts in pieces.items()}, dict(source))
