"""The layer in the name of a tensor or a file."""

from __future__ import annotations

import re
from collections.abc import Iterable

__all__ = ["are_layers", "layer_of"]


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
