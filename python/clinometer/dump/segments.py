"""Consecutive rows of a dump, and the tensors that can serve as its phi."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from clinometer.files.plain import MappedLike
from clinometer.sources.window import Window


@dataclass(frozen=True)
class Segment:
    """Consecutive rows: `array` (m, d) with contiguous rows in memory, or a Window; bfloat16 as uint16."""

    array: NDArray[Any] | Window
    row_start: int
    file: MappedLike | None = None


@dataclass(frozen=True)
class Candidate:
    """A tensor that can serve as phi; its segments are mapped when it is chosen."""

    name: str
    n_rows: int
    dim: int
    dtype: str
    layer: int | None
    segments: Callable[[], tuple[Segment, ...]]
