"""What a path holds before phi is chosen: arrays read when they are first asked for, layers, texts beside the rows."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clinometer.common.visible import few, quote
from clinometer.errors import bad
from clinometer.files import strictjson
from clinometer.files.plain import PlainFile

from .safetensors import read_header
from .tensors import Tensor


class Lazy(Mapping[str, NDArray[Any]]):
    """Arrays by name, each read when first asked for and then kept."""

    def __init__(self, loaders: Mapping[str, Callable[[], NDArray[Any]]]) -> None:
        self._loaders = dict(loaders)
        self._kept: dict[str, NDArray[Any]] = {}

    def __getitem__(self, name: str) -> NDArray[Any]:
        if name not in self._kept:
            array = self._loaders[name]().view()
            array.flags.writeable = False
            self._kept[name] = array
        return self._kept[name]

    def __contains__(self, name: object) -> bool:
        return name in self._loaders

    def __iter__(self) -> Iterator[str]:
        return iter(self._loaders)

    def __len__(self) -> int:
        return len(self._loaders)

    def __repr__(self) -> str:
        return f"{{{few([quote(k) for k in self._loaders], 20)}}}"

    def map(self, function: Callable[[NDArray[Any]], NDArray[Any]]) -> Lazy:
        """The same names, each array passed through `function` when it is read."""

        def load(name: str) -> NDArray[Any]:
            return function(self[name])

        return Lazy({name: partial(load, name) for name in self})

    def only(self, names: Iterable[str]) -> Lazy:
        """These names alone."""
        return Lazy({name: partial(self.__getitem__, name) for name in names})

    def merged(self, other: Mapping[str, NDArray[Any]]) -> Lazy:
        """These arrays and those of `other`, which win; nothing is read yet."""
        mine = {name: partial(self.__getitem__, name) for name in self}
        return Lazy(mine | {name: partial(other.__getitem__, name) for name in other})


@dataclass(frozen=True)
class How:
    """What a container does not say of itself."""

    tensor: str | None = None
    half_bits: str | None = None
    pool: str | None = None
    prompt_tokens: Any = None


@dataclass
class Found:
    """What a path holds before phi is chosen."""

    tensors: dict[str, Tensor]
    source: dict[str, Any] = field(default_factory=dict)
    policy: str | None = None
    sampling: dict[str, Any] = field(default_factory=dict)
    preprocessing: dict[str, Any] = field(default_factory=dict)
    phi: set[str] | None = None
    layers: dict[str, int] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    texts: Texts | None = None
    left_out: dict[str, str] = field(default_factory=dict)  # what is there and is not read, and why
    takes: tuple[str, ...] = ()  # arguments of open_dump that say how this kind is read

    def with_policy(self) -> Found:
        """With the policy that the metadata of safetensors may state."""
        said = self.source.get("policy")
        self.policy = said if said in ("on_policy", "off_policy") else None
        return self

    def layer_of(self, name: str) -> int | None:
        """The layer that the manifest or the metadata gives for a tensor whose name has none."""
        layer = self.layers.get(name, self.source.get("layer"))
        if isinstance(layer, str) and layer.isdecimal() and len(layer) < 10:
            return int(layer)
        return layer if type(layer) is int else None

    def load_pairs(self) -> Mapping[str, Any] | None:
        """The tensors of the pairs file, read when used."""
        if "pairs" not in self.files:
            return None
        parts, _ = read_header(PlainFile(self.files["pairs"]))
        return Lazy({name: part.read for name, part in parts.items()})


_BLOCK = 16 << 20


class Texts:
    """`texts[row]` -> {"prompt": ..., "response": ...}; the file is indexed when first used.

    Texts are what the model wrote, halves of characters included: .encode("utf-8", "replace") replaces those.
    """

    def __init__(self, file: PlainFile, n_rows: int, rows: NDArray[Any] | None = None) -> None:
        self._file = file
        self._total = n_rows
        self._rows = rows
        self._ends: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return self._total if self._rows is None else len(self._rows)

    def __getitem__(self, row: int) -> dict[str, Any]:
        at = operator.index(row)
        if not -len(self) <= at < len(self):
            raise IndexError(f"row {at} of {len(self)} texts")
        at %= len(self)
        line = at if self._rows is None else int(self._rows[at])
        ends = self._index()
        start = int(ends[line - 1]) if line else 0
        raw = self._file.read(start, int(ends[line]) - start)
        value = strictjson.loads(raw, self._file.path, start, f"line {line + 1}", halves=True)
        if not isinstance(value, dict):
            raise bad(self._file.path, "an object is wanted", f"line {line + 1}", start)
        return value

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (self[row] for row in range(len(self)))

    def take(self, rows: NDArray[Any]) -> Texts:
        """The texts of these rows."""
        out = Texts(self._file, self._total, rows if self._rows is None else self._rows[rows])
        out._ends = self._ends
        return out

    def _index(self) -> NDArray[np.int64]:
        if self._ends is None:
            found = []
            for start in range(0, self._file.size, _BLOCK):
                block = self._file.read(start, min(_BLOCK, self._file.size - start))
                found.append(np.flatnonzero(np.frombuffer(block, np.uint8) == 10) + (start + 1))
            ends = np.concatenate(found) if found else np.zeros(0, np.int64)
            if len(ends) != self._total or (len(ends) and ends[-1] != self._file.size):
                raise bad(self._file.path, f"{len(ends)} lines; one per row is wanted, {self._total}")
            self._ends = ends.astype(np.int64)
        return self._ends


_SUFFIX = re.compile(r"_L([0-9]{1,9})\Z")


# the block of a model in the name of its module or hook: model.layers.12, blocks.12.hook_resid_post, transformer.h.12
_MODULE = re.compile(
    r"(?:\A|[._/-])(?:(?:blocks?|layers?|hidden(?:_states?)?)[._/-]?|h\.)([0-9]{1,9})(?=\Z|[._/-])", re.IGNORECASE
)


def layer_of(name: str) -> int | None:
    """The layer in a tensor's name: 24 of phi_mean_L24, else that of the module it was taken at.

    >>> [layer_of(n) for n in ("phi_mean_L24", "blocks.12.hook_resid_post", "model.layers.3", "layer_7", "phi")]
    [24, 12, 3, 7, None]
    """
    match = _SUFFIX.search(name)
    found = {int(match[1])} if match else {int(x) for x in _MODULE.findall(name)}
    return found.pop() if len(found) == 1 else None


def are_layers(files: Iterable[str]) -> bool:
    """Whether files are named after several layers, and so hold the same rows, not consecutive ones."""
    layers = {layer_of(name.rpartition(".")[0]) for name in files}
    return len(layers) > 1 and None not in layers


# a stage of training in the name of a file: step-100, checkpoint_2000, epoch3
_STAGE = re.compile(r"(?i)(?:\A|[^a-z])(?:step|epoch|checkpoint|ckpt)s?[^a-z0-9]?([0-9]+)")


def are_stages(files: Iterable[str]) -> bool:
    """Whether files are named after several stages of training, and so hold the same rows of several models."""
    stages = {int(found[1]) if (found := _STAGE.search(name)) else None for name in files}
    return len(stages) > 1 and None not in stages
