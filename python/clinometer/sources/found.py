"""What a path holds before phi is chosen; its arrays are read when they are first asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from numpy.typing import NDArray

from clinometer.common.visible import few, quote
from clinometer.files.plain import PlainFile

from .safetensors import read_header
from .tensors import Tensor
from .texts import Texts

__all__ = ["Found", "How", "Lazy"]


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
