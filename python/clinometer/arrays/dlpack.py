"""bfloat16, which NumPy has no dtype for: told apart, made float32, and through DLPack as 16-bit patterns."""

from __future__ import annotations

import ctypes
import weakref
from typing import Any

import numpy as np
from numpy.typing import NDArray

_BFLOAT, _BITS = 4, 16
_MOST_AXES = 64


class _DLTensor(ctypes.Structure):
    _fields_ = [
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    ]


class _Managed(ctypes.Structure):
    _fields_ = [
        ("tensor", _DLTensor),
        ("context", ctypes.c_void_p),
        ("deleter", ctypes.c_void_p),
    ]


def bfloat16_bits(value: Any) -> NDArray[np.uint16] | None:
    """A read-only view of the memory of a bfloat16 tensor in CPU memory; None for any other dtype.

    The tensor's owner is told when the last view is gone, as the protocol wants it.
    """
    api = ctypes.pythonapi
    api.PyCapsule_GetPointer.restype = ctypes.c_void_p
    api.PyCapsule_GetPointer.argtypes = [ctypes.py_object, ctypes.c_char_p]
    api.PyCapsule_SetName.argtypes = [ctypes.py_object, ctypes.c_char_p]
    capsule = value.__dlpack__()
    managed = ctypes.cast(api.PyCapsule_GetPointer(capsule, b"dltensor"), ctypes.POINTER(_Managed))
    t = managed.contents.tensor
    if (t.code, t.bits, t.lanes) != (_BFLOAT, _BITS, 1) or not 0 <= t.ndim <= _MOST_AXES:
        return None  # the capsule is still its own and frees the tensor
    shape = tuple(int(t.shape[k]) for k in range(t.ndim))
    if t.strides:
        strides = tuple(2 * int(t.strides[k]) for k in range(t.ndim))
    else:
        strides = tuple(2 * int(np.prod(shape[k + 1 :], dtype=np.int64)) for k in range(t.ndim))
    if 0 in shape:
        return np.zeros(shape, np.uint16)
    last = sum((n - 1) * s for n, s in zip(shape, strides, strict=True))
    if min(strides, default=0) < 0:
        return None
    api.PyCapsule_SetName(capsule, b"used_dltensor")
    address = t.data + t.byte_offset
    memory = (ctypes.c_uint8 * (last + 2)).from_address(address)
    weakref.finalize(memory, _release, managed)
    bits = np.frombuffer(memoryview(memory), np.uint16)
    return np.lib.stride_tricks.as_strided(bits, shape, strides, writeable=False)


def _release(managed: Any) -> None:
    deleter = managed.contents.deleter
    if deleter:
        ctypes.CFUNCTYPE(None, ctypes.c_void_p)(deleter)(ctypes.cast(managed, ctypes.c_void_p))


# NumPy has no bfloat16: a one-field record named so carries the fact until `arrays` reads it
BFLOAT16 = np.dtype([("bfloat16", "<u2")])


def is_bfloat16(dtype: np.dtype[Any]) -> bool:
    """Whether entries are bfloat16, under ml_dtypes' name or our marker."""
    return dtype.itemsize == 2 and (dtype.name == "bfloat16" or dtype.names == ("bfloat16",))


def decode_bfloat16(bits: NDArray[np.uint16]) -> NDArray[np.float32]:
    """The exact float32 values of bfloat16 bit patterns."""
    wide = bits.astype(np.uint32)
    wide <<= np.uint32(16)
    return wide.view(np.float32)
