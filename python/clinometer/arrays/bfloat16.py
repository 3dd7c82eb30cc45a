"""bfloat16, which NumPy has no dtype for: told apart, and made float32."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["BFLOAT16", "decode_bfloat16", "is_bfloat16"]

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
