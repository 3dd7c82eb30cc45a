"""Arrays from memory (NumPy, ml_dtypes, CPU torch, DLPack, `__array__`) without a hidden conversion."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..notices import tell
from .dlpack import bfloat16_bits
from .tensors import decode_bfloat16, decode_utf8

__all__ = ["as_column", "as_ids", "as_matrix", "as_numpy", "is_array"]

_ROW_DTYPES = {"f2": "float16", "f4": "float32", "f8": "float64"}
_CPU_DEVICES = (1, 3, 11)  # DLPack: CPU, and memory of the host that CUDA or ROCm pinned


def is_array(value: object) -> bool:
    """Whether `as_numpy` has a way to read it."""
    return isinstance(value, np.ndarray) or hasattr(value, "__dlpack__") or hasattr(value, "__array__")


def _from_torch(value: Any, name: str) -> NDArray[Any]:
    torch = sys.modules["torch"]
    if value.device.type != "cpu":
        raise TypeError(f"{name} is a torch tensor on {value.device}; a CPU tensor is wanted (.cpu())")
    if value.layout != torch.strided:
        raise TypeError(f"{name} is a {value.layout} torch tensor; a dense one is wanted")
    value = value.detach()
    if value.dtype == torch.bfloat16:
        bits: NDArray[Any] = value.view(torch.int16).numpy()
        return bits.view(_bfloat16_marker())
    out: NDArray[Any] = value.numpy()
    return out


def _bfloat16_marker() -> np.dtype[Any]:
    # NumPy has no bfloat16: a one-field record named so carries the fact until `as_matrix` reads it.
    return np.dtype([("bfloat16", "<u2")])


def _is_bfloat16(dtype: np.dtype[Any]) -> bool:
    return dtype.itemsize == 2 and (dtype.name == "bfloat16" or dtype.names == ("bfloat16",))


def as_numpy(value: Any, name: str) -> NDArray[Any]:
    """A NumPy array over the same memory; bfloat16 keeps a dtype that `as_matrix` and `as_column` know."""
    if isinstance(value, np.ndarray):
        return np.asarray(value)
    if type(value).__module__.split(".")[0] == "torch" and hasattr(value, "detach"):
        return _from_torch(value, name)
    if hasattr(value, "__dlpack__"):
        device = value.__dlpack_device__() if hasattr(value, "__dlpack_device__") else (1, 0)
        if int(device[0]) not in _CPU_DEVICES:
            raise TypeError(f"{name} lies on a device (DLPack type {int(device[0])}); an array in CPU memory is wanted")
        try:
            return np.from_dlpack(value)
        except (BufferError, RuntimeError, TypeError):
            bits = bfloat16_bits(value)
            if bits is not None:
                return bits.view(_bfloat16_marker())
            if not hasattr(value, "__array__"):
                raise TypeError(f"{name}: NumPy cannot read this {type(value).__name__} through DLPack") from None
    if hasattr(value, "__array__"):
        return np.asarray(value)
    raise TypeError(f"{name} is a {type(value).__name__}; an array is wanted")


def as_matrix(value: Any, name: str, *, bits: bool = False) -> tuple[NDArray[Any], str]:
    """Rows as a 2-D array whose rows are contiguous, and the name of their dtype.

    Parameters
    ----------
    value : array
        (N, d) of float16, float32, float64 or bfloat16.
    name : str
        The argument's name, for messages.
    bits : bool
        Whether uint16 is taken as bfloat16 bit patterns.

    Returns
    -------
    rows, dtype
        (N, d), a view of the caller's memory where its inner stride allows it, else a copy with a warning;
        bfloat16 comes as uint16.
    """
    array = as_numpy(value, name)
    if array.ndim != 2:
        raise ValueError(f"{name} has shape {array.shape}; (rows, dim) is wanted")
    if array.shape[1] == 0:
        raise ValueError(f"{name} has rows of width 0")
    if _is_bfloat16(array.dtype):
        array, dtype = array.view(np.uint16), "bfloat16"
    elif bits and array.dtype == np.uint16:
        dtype = "bfloat16"
    elif array.dtype.str[1:] in _ROW_DTYPES:
        dtype = _ROW_DTYPES[array.dtype.str[1:]]
    else:
        raise TypeError(f"{name} has dtype {array.dtype}; float16, float32, float64 or bfloat16 is wanted")
    swapped = not array.dtype.isnative
    if not len(array):
        array = np.zeros(array.shape, array.dtype.newbyteorder("="))
    elif swapped or (array.shape[1] > 1 and array.strides[1] != array.itemsize):
        why = "big-endian" if swapped else "its rows are not contiguous"
        tell(f"{name}: {why}, {array.nbytes} bytes are copied", stacklevel=3)
        array = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("="))
    elif array.shape[1] == 1 and array.strides[1] != array.itemsize:
        array = np.lib.stride_tricks.as_strided(array, array.shape, (array.strides[0], array.itemsize))
    view = array.view()
    view.flags.writeable = False
    return view, dtype


def as_column(value: Any, name: str, n_rows: int) -> NDArray[Any]:
    """A per-row column (N,) of numbers, booleans or strings in native order; integers keep their dtype."""
    array = as_numpy(value, name) if is_array(value) else np.asarray(value)
    if array.ndim != 1 or len(array) != n_rows:
        raise ValueError(f"{name} has shape {array.shape}; ({n_rows},) is wanted, one entry per row")
    if _is_bfloat16(array.dtype):
        return decode_bfloat16(np.ascontiguousarray(array.view(np.uint16)))
    if array.dtype == object and all(isinstance(v, str) for v in array):
        array = array.astype(str) if n_rows else np.zeros(0, "U1")
    if array.dtype.kind == "S":
        array = decode_utf8(array)
    if array.dtype.kind not in "biufU" or (array.dtype.itemsize > 8 and array.dtype.kind == "f"):
        raise TypeError(f"{name} has dtype {array.dtype}; numbers, booleans or strings are wanted")
    out = array.astype(array.dtype.newbyteorder("="), copy=False).view()
    out.flags.writeable = False
    return out


def as_ids(value: Any, name: str, n_rows: int) -> NDArray[Any]:
    """Prompt ids (N,): int64 (uint64 where they need it) or strings; of floats only whole numbers pass."""
    array = as_column(value, name, n_rows)
    kind = array.dtype.kind
    if kind == "U":
        return array
    if kind == "f":
        if n_rows == 0:
            return np.zeros(0, np.int64)
        wrong = ~(np.abs(array) <= 2.0 ** (np.finfo(array.dtype).nmant + 1)) | (array != np.rint(array))
        if wrong.any():
            row = int(np.argmax(wrong))
            raise ValueError(f"{name} holds {array[row]} at row {row}; whole numbers or strings are wanted")
    elif kind == "b":
        raise TypeError(f"{name} has dtype bool; integers or strings are wanted")
    elif array.dtype == np.uint64 and n_rows and int(array.max()) > np.iinfo(np.int64).max:
        return array
    out = array.astype(np.int64)
    out.flags.writeable = False
    return out
