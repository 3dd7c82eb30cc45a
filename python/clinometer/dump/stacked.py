"""One layer of tensors (rows, layers, d): states stacked along a middle axis, as models return them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clinometer.files.plain import MappedLike
from clinometer.sources.tensors import FLOAT_NAMES, Part, Tensor, Virtual
from clinometer.sources.window import Window

from .segments import Candidate, Segment

__all__ = ["stacked"]


def stacked(tensors: Mapping[str, Tensor]) -> dict[str, Candidate]:
    """Every entry of the middle axis of float tensors of three, as candidates named <name>_L<entry>.

    The axis may as well be responses of a prompt; only a caller who asks for a layer says that it is not.
    """
    out = {}
    for name, t in tensors.items():
        if len(t.shape) != 3 or t.tag not in FLOAT_NAMES:
            continue
        n, layers, d = t.shape
        tag = "F32" if isinstance(t, Virtual) and t.tag == "BF16" else t.tag  # read whole, it is float32
        for layer in range(layers):
            here = f"{name}_L{layer}"
            out[here] = Candidate(here, n, d, FLOAT_NAMES[tag], layer, partial(_segments, t, layer))
    return out


def _segments(tensor: Tensor, layer: int) -> tuple[Segment, ...]:
    if isinstance(tensor, Virtual):
        return (Segment(tensor.read()[:, layer], 0),)
    out, at = [], 0
    for part in tensor.parts:
        array, file = _rows(part, layer)
        out.append(Segment(array, at, file))
        at += len(array)
    return tuple(out)


def _rows(part: Part, layer: int) -> tuple[NDArray[Any] | Window, MappedLike | None]:
    """The rows as they lie, a stride of all layers apart; by windows where they are remote or turned."""
    n, layers, d = part.shape
    native = part.dtype.newbyteorder("=")
    if not (part.file.remote or part.swap or part.fortran):
        mapped, watch = part.file.map()
        stored: NDArray[Any] = mapped[part.offset : part.offset + part.nbytes].view(part.dtype).reshape(part.shape)
        return stored[:, layer], watch

    def fetch(first: int, last: int) -> NDArray[Any]:
        if part.fortran:
            mapped, _ = part.file.map()
            turned = mapped[part.offset : part.offset + part.nbytes].view(part.dtype).reshape(part.shape, order="F")
            return np.array(turned[first:last, layer], native, order="C")
        width = layers * d * part.dtype.itemsize
        raw = part.file.read(part.offset + first * width, (last - first) * width)
        rows = np.frombuffer(raw, part.dtype).reshape(last - first, layers, d)
        return np.array(rows[:, layer], native)

    return Window((n, d), native, fetch, part.file.path), part.file
