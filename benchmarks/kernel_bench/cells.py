"""What is measured: a list of cells, as data."""

from __future__ import annotations

from dataclasses import dataclass

from clinometer.bench.rows import SHORT

__all__ = ["GROUPS", "Cell", "Sizes", "cells"]

ALL = ("bfloat16", "float16", "float32")
LEAF = 8192
DIRECTIONS = (1, 2, 3, 4, 8, 16, 32, 48, 64, 128, 256, 512)


@dataclass(frozen=True)
class Cell:
    """One line of measurements.

    `how` says what the call is compared with: "peers" and the limits; "parts", the sum of what it fuses; "extras",
    the same tilt without its further moments; "accuracy", what the mode allows; "odd", the next larger round size
    `other`; "threads", one thread; "growth", the time per row and direction at the smaller size `other`; "whole",
    scoring the same rows; "report", two passes of scores and a second; the rest are measurements of small.py.
    """

    how: str
    kernel: str
    dtype: str = "bfloat16"
    k: int = 1
    d: int = 0
    n: int = 0
    group: int = 16
    other: tuple[int, int, int, int] | None = None  # n, d, k and group of the round size
    shifted: bool = False  # rows begin at an odd byte
    mean: float = 0.0  # of every column, on rows in memory

    @property
    def name(self) -> str:
        """`kernel dtype size`, which targets.py matches."""
        words = [self.kernel if self.how in ("peers", *SINGLE) else f"{self.how} {self.kernel}"]
        if self.d:
            words += [SHORT[self.dtype], f"n={self.n}", f"d={self.d}", f"K={self.k}"]
            words += [f"group={self.group}"] * (self.group != 16) + ["unaligned"] * self.shifted
            words += [f"mean={self.mean:g}"] * (self.mean != 0)
        return " ".join(words)


@dataclass(frozen=True)
class Sizes:
    """Widths and rows of the grid of scores, and of the rest: several times the last cache, leaves for every thread."""

    grid: tuple[tuple[int, int], ...] = ((576, 32 * LEAF), (1024, 16 * LEAF), (3072, 8 * LEAF), (4096, 4 * LEAF))
    narrow: int = 1024
    wide: int = 4096
    narrow_rows: int = 8 * LEAF
    wide_rows: int = 8 * LEAF
    gram_rows: int = 2 * LEAF
    scores: tuple[int, ...] = (1 << 20, 1 << 18, 1 << 16)
    growth: tuple[int, ...] = (10**5, 10**6, 10**7)
    growth_d: int = 256
    memory: tuple[int, int] = (10**6, 256)
    report_rows: int = 4 * LEAF


SINGLE = ("import", "first", "memory", "report")
Cells = list[Cell]


def _half(n: int) -> int:
    """Half the rows, in whole prompts."""
    return max(n // 32, 1) * 16


def _score(s: Sizes) -> Cells:
    """Every K at every width and number of rows of the grid; without a grid, four shapes."""
    few = (
        (1, s.wide, s.wide_rows), (8, s.wide, s.wide_rows), (64, s.wide, _half(s.wide_rows)),
        (512, s.narrow, s.narrow_rows),
    )  # fmt: skip
    shapes = [(k, d, n) for d, n in s.grid for k in DIRECTIONS] or few
    return [Cell("peers", "score", t, k, d, n) for t in ALL for k, d, n in shapes]


def _tilt(s: Sizes) -> Cells:
    stage = [
        Cell("peers", kernel, "float32", k, 1, n)
        for kernel in ("tilt", "tilt_global")
        for k, n in zip((1, 16, 128), s.scores, strict=True)
    ]
    shapes = ((s.narrow, s.narrow_rows), (s.wide, _half(s.wide_rows)))
    fused = [Cell("parts", "fused", t, k, d, n) for t in ALL[::2] for d, n in shapes for k in (1, 16, 128)]
    return [*stage, Cell("extras", "tilt", "float32", 16, 1, s.scores[1]), *fused]


def _second_moments(s: Sizes) -> Cells:
    means = [Cell("peers", "tilted_mean", t, 4, s.wide, _half(s.wide_rows)) for t in ALL]
    products = [
        Cell("peers", "covariance_projection", t, k, s.wide, s.wide_rows if k == 1 else _half(s.wide_rows))
        for t in ALL for k in (1, 16, 128)
    ]  # fmt: skip
    full = [Cell("peers", "covariance", t, 1, s.narrow, _half(s.narrow_rows)) for t in ALL]
    full += [Cell("peers", "covariance", t, 1, s.wide, s.gram_rows) for t in ALL[::2]]
    full += [Cell("peers", "covariance_within", "bfloat16", 1, s.narrow, _half(s.narrow_rows))]
    pairs = [Cell("peers", "bradley_terry", t, 1, s.wide, _half(s.wide_rows)) for t in ALL]
    return [*means, *products, *full, *pairs]


def _odd(s: Sizes) -> Cells:
    n, d = _half(s.narrow_rows), s.narrow
    cells = []
    for kernel, k in (("score", 1), ("score", 8), ("score", 64), ("tilted_mean", 4), ("covariance_projection", 16)):
        cells.append(Cell("odd", kernel, "bfloat16", k, d - 1, n, other=(n, d, k, 16)))
    cells += [Cell("odd", "score", "bfloat16", k - 1, d, n, other=(n, d, k, 16)) for k in (8, 16, 32, 64)]
    cells += [
        Cell("odd", "score", "float32", 7, d - 1, n, other=(n, d, 8, 16)),
        Cell("odd", "score", "bfloat16", 8, d, n - 1, other=(n, d, 8, 16)),
        Cell("odd", "score", "bfloat16", 8, d, n, other=(n, d, 8, 16), shifted=True),
        Cell("odd", "covariance_projection", "bfloat16", 15, d, n, other=(n, d, 16, 16)),
        Cell("odd", "covariance", "bfloat16", 1, d - 1, _half(n), other=(_half(n), d, 1, 16)),
    ]
    m = s.scores[1]
    return [
        *cells,
        Cell("odd", "tilt", "float32", 15, 1, m, other=(m, 1, 16, 16)),
        Cell("odd", "tilt", "float32", 16, 1, m // 16 * 15, group=15, other=(m, 1, 16, 16)),
    ]


def _rest(s: Sizes) -> Cells:
    half, n = _half(s.narrow_rows), s.growth[0]
    threads = [
        Cell("threads", "score", "bfloat16", 64, s.narrow, s.narrow_rows),
        Cell("threads", "covariance_projection", "bfloat16", 128, s.narrow, half),
        Cell("threads", "covariance", "bfloat16", 1, s.narrow, half),
        Cell("threads", "tilt", "float32", 16, 1, s.scores[1]),
    ]
    wider = [Cell("growth", "score", "bfloat16", k, s.narrow, half, other=(half, s.narrow, 16, 16)) for k in (64, 256)]
    longer = [Cell("growth", "score", "bfloat16", 1, s.growth_d, m, other=(n, s.growth_d, 1, 16)) for m in s.growth[1:]]
    small = [Cell("import", "import"), Cell("first", "first answer", "float32", 8, 512, 1000)]
    shifted = [
        Cell("accuracy", kernel, "float32", 4, 256, LEAF, mean=mean)
        for mean in (1e3, 1e6)
        for kernel in ("score", "fused", "tilted_mean", "covariance_projection", "covariance", "covariance_within")
    ]
    memory = [
        Cell("memory", f"memory of {name}", "bfloat16", 4, *s.memory[::-1]) for name in ("score", "tilt", "moments")
    ]
    small.append(Cell("whole", "tilt", "float32", 4, s.growth_d, n))
    small.append(Cell("report", "report", "bfloat16", 32, s.wide, s.report_rows))
    return [*threads, *wider, *small, *shifted, *memory, *longer]


GROUPS = {"score": _score, "tilt": _tilt, "moments": _second_moments, "odd": _odd, "rest": _rest}


def cells(groups: list[str], sizes: Sizes) -> Cells:
    """Every cell of the groups named; the largest file comes last."""
    return [cell for name in GROUPS if name in groups for cell in GROUPS[name](sizes)]
