"""A game whose columns are millions of candidate constitutions, measured on a dump (theory 9.1)."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clinometer import _core
from clinometer.common import memory
from clinometer.common.options import listed, used
from clinometer.dump.directions import in_order_of
from clinometer.theory.gauge import Gauge, gauge_of
from clinometer.theory.screening import blocks_of

Floats = NDArray[np.float64]
MEMORY = 1 << 28
SCALES = ("sd", None)
MOST_ROUNDS = 8
NEAR = 2048  # columns looked at again in float64 at first; each round adds up to 64


@dataclass(frozen=True, repr=False, eq=False)
class Game:
    """Row j is a value, column i a candidate direction: M_ji = E_x Cov(s_j, <u_i, phi>) scale_rows_j scale_columns_i.

    `table` (k, m) float32 holds M for the passes, in memory to 256 MiB and in a temporary file beyond. Certificates
    never come from it: `columns` and `price` form the entries anew in float64, from the directions and from what one
    reading of the dump left, E_x Cov(phi, s_j) (k, d).

    `scale_rows` (k,) and `scale_columns` (m,) are 1 over sd, or 1; `covariances` (k, d) is what was left, rows
    scaled; `values` names the rows; `directions` are the candidates as given; `n_rows`, `n_prompts` count what was
    read.
    """

    table: NDArray[np.float32]
    scale_rows: Floats
    scale_columns: Floats
    values: tuple[str, ...]
    n_rows: int
    n_prompts: int
    directions: Any
    covariances: Floats

    @property
    def shape(self) -> tuple[int, int]:
        """Values by candidates."""
        return self.table.shape[0], self.table.shape[1]

    def blocks(self) -> Iterator[tuple[int, Floats]]:
        """Where a block begins, and its columns (k, b) in float64."""
        at = 0
        for u in blocks_of(self.directions, self.covariances.shape[1]):
            yield at, (self.covariances @ u.T) * self.scale_columns[at : at + len(u)]
            at += len(u)

    def columns(self, at: NDArray[np.int64]) -> Floats:
        """(k, len(at)) in float64; one reading of the directions. `at` must ascend."""
        out = np.empty((len(self.covariances), len(at)))
        for begin, block in self.blocks():
            low, high = np.searchsorted(at, [begin, begin + block.shape[1]])
            out[:, low:high] = block[:, at[low:high] - begin]
        return out

    def price(self, dual: Floats, above: float, most: int) -> tuple[float, NDArray[np.int64]]:
        """An upper bound of max_i (dual' M)_i, and up to `most` columns above `above`; reads the directions."""
        top, best, size = -np.inf, np.zeros((0, 2)), (len(dual) + 4) * np.finfo(float).eps
        for begin, block in self.blocks():
            prices = dual @ block
            top = max(top, float((prices + size * (dual @ np.abs(block))).max()))
            found = np.flatnonzero(prices > above)
            best = np.concatenate([best, np.column_stack([prices[found], found + begin])])
            best = best[np.lexsort((best[:, 1], -best[:, 0]))[:most]]
        return top, np.sort(best[:, 1].astype(np.int64))


@listed("within", "clusters")
def game(dump: Any, directions: Any, values: Any, *, scale: str | None = "sd", **options: Any) -> Game:
    """The game of `ensemble` over candidate directions: its value is the best worst gain of a mixture (theory 9.1).

    Columns are candidates, not rows of the dump: M_ji is the first-order gain of value j under the score of candidate
    i. With scale "sd" (the default, recorded in the factors) rows are divided by the within-prompt sd of the value and
    columns by that of the candidate's score, so that entries are correlations and weights mix unit-sd scores; None
    leaves gains as they come. A candidate whose score does not vary inside prompts gets a column of zeros.

    Parameters
    ----------
    directions : array (m, d), a memory map, or a function that returns a fresh iterator of blocks (b, d): they are
        read once here, and again by `ensemble` for its certificate
    values : columns or arrays as everywhere
    scale : "sd" or None
    **options : as in `clinometer.cross_covariance`, with ``within=True``

    Returns
    -------
    Game
        Pass it to `ensemble`. Memory: (1 + 2 k) d^2 float64, k m float32 (beyond 256 MiB in a temporary file) and m
        float64. Cost: one reading of the dump a value, then k m d^2 multiply-adds.

    Errors: ValueError for candidates of another width, an unknown scale, or where a column is not in the dump.

    >>> import clinometer as cm, numpy as np
    >>> from clinometer import lp
    >>> world = cm.simulate(n_prompts=300, n_responses=8, dim=6, random_state=0)
    >>> table = lp.game(world, np.random.default_rng(0).standard_normal((1000, 6)), "s")
    >>> table.shape, lp.ensemble(table).status
    ((1, 1000), 'improvable')
    """
    if scale not in SCALES:
        raise ValueError(f"scale is {scale!r}; wanted 'sd' or None")
    if not (callable(directions) or hasattr(directions, "shape") or hasattr(directions, "vectors")):
        raise TypeError(
            f"directions is {type(directions).__name__}; wanted an array (m, d), a memory map or a function that "
            "returns a fresh iterator of blocks: they are read more than once"
        )
    call, gauge = gauge_of(dump, values, used("game", options, clusters="has no errors to cluster"))
    if call.check_source:
        directions = in_order_of(call.dump, directions, "directions")
    if scale == "sd" and not (gauge.spread > 0).all():
        name = call.value_names[int(np.argmin(gauge.spread > 0))]
        raise ValueError(f"values: {name} does not vary inside any prompt; leave it out, or pass scale=None")
    rows = 1.0 / gauge.spread if scale == "sd" else np.ones(call.n_values)
    table, columns = _measured(gauge, directions, call.dump.dim, rows, scale == "sd")
    return Game(
        table=table, scale_rows=rows, scale_columns=columns, values=call.value_names, n_rows=call.population.n_rows,
        n_prompts=call.population.n_prompts, directions=directions, covariances=gauge.c * rows[:, None],
    )  # fmt: skip


def _measured(gauge: Gauge, directions: Any, dim: int, rows: Floats, by_sd: bool) -> tuple[NDArray[np.float32], Floats]:
    """The table and the factors of its columns; columns arrive in blocks and are kept as they come."""
    k, parts, factors, size = len(rows), [], [], 0
    with tempfile.TemporaryFile(prefix="clinometer-") as file:
        for u in blocks_of(directions, dim):
            factor = np.ones(len(u))
            if by_sd:
                sd = gauge.sds(u)
                factor = np.divide(1.0, sd, out=np.zeros(len(u)), where=sd > 0)
            block = np.ascontiguousarray(((u @ gauge.c.T) * rows * factor[:, None]).T, np.float32)
            factors.append(factor)
            size += block.nbytes
            if size <= MEMORY:
                parts.append(block)
            else:
                for held in [*parts, block]:
                    memory.append(file, held, "a game's table")
                parts = []
        if not factors:
            raise ValueError("directions is empty, wanted at least one candidate")
        columns = np.concatenate(factors)
        if size <= MEMORY:
            return np.concatenate(parts, axis=1), columns
        return _by_rows(file, k, [len(f) for f in factors]), columns


def _by_rows(file: Any, k: int, lengths: list[int]) -> NDArray[np.float32]:
    """Blocks (k, b) one after another in a file, as one table (k, m) in another."""
    table = memory.empty((k, sum(lengths)), np.float32, -1, "a game's table")
    file.seek(0)
    at = 0
    for length in lengths:
        table[:, at : at + length] = np.fromfile(file, np.float32, k * length).reshape(k, length)
        at += length
    return table


def play(given: Game, threads: int) -> tuple[Any, ...]:
    """The answer of `_core.lp_ensemble` for the game in float64: solved on the table, then on the columns near its
    optimum, whose prices are held against all columns until the gap is closed."""
    _, lower, _, _, at, weight, dual, passes = _core.lp_ensemble(given.table, threads)
    held = np.union1d(_near(given.table, dual), at)
    for _ in range(MOST_ROUNDS):
        columns = given.columns(held)
        code, lower, upper, violation, at, weight, dual, _ = _core.lp_ensemble(columns, threads)
        top, more = given.price(dual, lower, 64)
        passes += 2
        upper = max(upper, top)
        size = float(np.abs(columns).max())
        fresh = np.setdiff1d(more, held)
        if upper - lower <= max(1e-9 * abs(lower), 1e-14 * size) or not len(fresh):
            break
        held = np.union1d(held, fresh)
    if code == 1 and upper > 0 and top > 0:  # blocked among those held, but not by all
        code = 2
    return code, lower, upper, violation, held[at], weight, dual, passes


def _near(table: NDArray[np.float32], dual: Floats) -> NDArray[np.int64]:
    """The NEAR columns of the largest price."""
    step = max(1, (1 << 22) // table.shape[0])
    price, at = np.zeros(0), np.zeros(0, np.int64)
    for begin in range(0, table.shape[1], step):
        part = dual @ table[:, begin : begin + step].astype(np.float64)
        price = np.concatenate([price, part])
        at = np.concatenate([at, np.arange(begin, begin + len(part))])
        if len(price) > NEAR:
            best = np.argpartition(-price, NEAR)[:NEAR]
            price, at = price[best], at[best]
    return at
