"""Arrays from memory, of any carrier, as rows, columns and prompt ids without a hidden conversion."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from clinometer.common.notices import tell

from .carriers import carried
from .dlpack import decode_bfloat16, is_bfloat16

_ROW_DTYPES = {"f2": "float16", "f4": "float32", "f8": "float64"}


def as_numpy(value: Any, name: str) -> NDArray[Any]:
    """A NumPy array, over the same memory where it can be; bfloat16 keeps a dtype that the others here know.

    Missing entries are NaN among numbers and None among strings.
    """
    return carried(value, name).array


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
    if is_bfloat16(array.dtype):
        array, dtype = array.view(np.uint16), "bfloat16"
    elif bits and array.dtype == np.uint16:
        dtype = "bfloat16"
    elif array.dtype.str[1:] in _ROW_DTYPES:
        dtype = _ROW_DTYPES[array.dtype.str[1:]]
    else:
        hint = " (.astype('float32'))" if array.dtype.kind in "iub" else ""
        if array.dtype.kind in "iu" and array.dtype.itemsize == 2:
            hint = " (.view(ml_dtypes.bfloat16) or .view('float16') if these are the bits of floats)"
        raise TypeError(f"{name} has dtype {array.dtype}; float16, float32, float64 or bfloat16 is wanted{hint}")
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
    array = carried(value, name).column
    if array.ndim != 1 or len(array) != n_rows:
        raise ValueError(f"{name} has shape {array.shape}; ({n_rows},) is wanted, one entry per row")
    if is_bfloat16(array.dtype):
        return decode_bfloat16(np.ascontiguousarray(array.view(np.uint16)))
    if array.dtype == object:
        row = next(k for k, x in enumerate(array) if x is None)
        raise ValueError(f"{name} has no string at row {row} (missing); give it one, or leave out the row")
    if array.dtype.kind not in "biufUT" or (array.dtype.itemsize > 8 and array.dtype.kind == "f"):
        hint = " (.astype(str))" if array.dtype.kind in "mM" else ""
        raise TypeError(f"{name} has dtype {array.dtype}; numbers, booleans or strings are wanted{hint}")
    out = (array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))).view()
    out.flags.writeable = False
    return out


def as_ids(value: Any, name: str, n_rows: int) -> NDArray[Any]:
    """Prompt ids (N,): int64 (uint64 where they need it) or strings; of floats only whole numbers pass."""
    held = carried(value, name).column
    if held.ndim == 1 and len(held) == n_rows and (gap := _missing(held)) is not None:
        raise ValueError(
            f"{name} has no id at row {gap} (missing: None, NaN, NA, masked or null); "
            "give it one, or leave out the rows without"
        )
    array = as_column(held, name, n_rows)
    kind = array.dtype.kind
    if kind in "UT":
        return array
    if kind == "f":
        if n_rows == 0:
            return np.zeros(0, np.int64)
        wrong = ~(np.abs(array) <= 2.0 ** (np.finfo(array.dtype).nmant + 1)) | (array != np.rint(array))
        if wrong.any():
            row = int(np.argmax(wrong))
            raise ValueError(
                f"{name} holds {array[row]} at row {row}; whole numbers that {array.dtype} tells apart, or strings, "
                "are wanted (integers kept as integers)"
            )
    elif kind == "b":
        raise TypeError(f"{name} has dtype bool; integers or strings are wanted")
    elif array.dtype == np.uint64 and n_rows and int(array.max()) > np.iinfo(np.int64).max:
        return array
    out = array.astype(np.int64, copy=False).view()
    out.flags.writeable = False
    return out


def _missing(array: NDArray[Any]) -> int | None:
    """The first row without an entry."""
    if array.dtype == object:
        gaps = np.array([x is None for x in array], bool)
    elif array.dtype.kind in "fM":
        gaps = np.isnan(array) if array.dtype.kind == "f" else np.isnat(array)
    else:
        return None
    return int(np.argmax(gaps)) if gaps.any() else None
