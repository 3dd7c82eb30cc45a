"""What arrays come in, as NumPy arrays over the same memory where that can be: with names, labels and what is missing.

Libraries are told by their types' modules and asked through their own methods, so none is imported here. Missing
entries are NaN among numbers and None among strings (`objects`); bfloat16 keeps a dtype that `arrays` knows.
"""

from __future__ import annotations

import numbers
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .bfloat16 import BFLOAT16
from .dlpack import bfloat16_bits
from .held import Carried, from_numpy
from .libraries import BY_LIBRARY, from_arrow, through_arrow
from .objects import from_objects
from .strings import text_array

__all__ = ["carried", "is_array"]

_CPU_DEVICES = (1, 3, 11)  # DLPack: CPU, and memory of the host that CUDA or ROCm pinned
_LIBRARIES = ("torch", "pandas", "polars", "pyarrow", "datasets")
_PROTOCOLS = ("__dlpack__", "__array__", "__arrow_c_stream__", "__arrow_c_array__", "__arrow_array__")


def is_array(value: object) -> bool:
    """Whether it is an array or frame of any library, rather than a name, a path or a list."""
    return isinstance(value, np.ndarray) or any(hasattr(value, p) for p in _PROTOCOLS) or _library(value) is not None


def carried(value: Any, name: str) -> Carried:
    """What any supported array, frame, mapping of arrays or list holds; a TypeError says what else would do."""
    if isinstance(value, Carried):
        return value
    library = _library(value)
    if isinstance(value, np.ndarray):
        return from_numpy(value, name)
    if library is not None:
        return BY_LIBRARY[library](value, name)
    if isinstance(value, Mapping):
        return Carried(columns={_named(k, name): carried(v, f"{name}[{k!r}]").array for k, v in value.items()},
                       argument=name)  # fmt: skip
    if isinstance(value, (list, tuple)):
        return Carried(_listed(value, name))
    if isinstance(value, (numbers.Number, np.generic)) and not isinstance(value, np.str_):
        return Carried(np.asarray(value))  # its shape is what is refused
    arrow = through_arrow(value)
    if arrow is not None:
        return from_arrow(arrow, name)
    if hasattr(value, "__dlpack__"):
        return Carried(_from_dlpack(value, name))
    if hasattr(value, "__array__"):
        return from_numpy(np.asarray(value), name)
    fitted = ", .coef_ of it say" if hasattr(value, "coef_") else ""
    wanted = f"an array, a frame or a list is wanted{fitted}"
    ordered = hasattr(value, "__iter__") and not isinstance(value, (str, bytes, set, frozenset))
    hint = "; list(...) of it" if ordered else ""
    raise TypeError(f"{name} is a {type(value).__name__}; {wanted}{hint}")


def _library(value: object) -> str | None:
    roots = {c.__module__.split(".")[0] for c in type(value).__mro__}
    return next((x for x in _LIBRARIES if x in roots), None)


def _named(key: Any, name: str) -> str:
    if not isinstance(key, str):
        raise TypeError(f"{name} has the key {key!r}; names are wanted")
    return key


def _listed(value: Any, name: str) -> NDArray[Any]:
    if any(is_array(x) for x in {type(x): x for x in value}.values()):  # one of each type: lists may be long
        return from_objects(value, name)
    if value and all(type(x) is str for x in value):
        return text_array(value, name)
    try:
        array = np.asarray(value)
    except (ValueError, TypeError) as error:
        try:
            return from_objects(value, name)
        except (ValueError, TypeError) as why:
            raise type(why)(f"{why} ({error})" if name not in str(why) else str(why)) from None
    if array.dtype.kind in "US":  # NumPy makes strings of numbers, and of None, that stand beside them
        flat: list[Any] = list(value)
        for _ in range(array.ndim - 1):
            flat = [x for row in flat for x in row]
        return from_objects(flat, name).reshape(array.shape)
    return from_numpy(array, name).array


def _from_dlpack(value: Any, name: str) -> NDArray[Any]:
    device = value.__dlpack_device__() if hasattr(value, "__dlpack_device__") else (1, 0)
    if int(device[0]) not in _CPU_DEVICES:
        kind = f"{type(value).__module__.split('.')[0]}.{type(value).__name__}"
        raise TypeError(
            f"{name} is a {kind} on a device (DLPack type {int(device[0])}); an array in CPU memory is wanted"
        )
    try:
        return np.from_dlpack(value)
    except (BufferError, RuntimeError, TypeError):
        bits = bfloat16_bits(value)
        if bits is not None:
            return bits.view(BFLOAT16)
        if not hasattr(value, "__array__"):
            raise TypeError(f"{name}: NumPy cannot read this {type(value).__name__} through DLPack") from None
    return from_numpy(np.asarray(value), name).array
