"""
The compiled core of clinometer: kernels, the fold and its statistics.
"""

from __future__ import annotations

import collections.abc
import typing

import numpy
import numpy.typing

__all__: list[str] = [
    "LEAF_ROWS",
    "CovarianceProjection",
    "CrossCovariance",
    "Jackknife",
    "LogRatios",
    "MappedFile",
    "Moments",
    "PairList",
    "Pairs",
    "Scan",
    "ScoreVariance",
    "Scores",
    "Statistic",
    "Tilt",
    "TiltedMean",
    "WeightedRows",
    "isa",
    "isa_available",
    "isa_select",
    "lp_cones",
    "lp_constrained",
    "lp_ensemble",
    "lp_ensembles",
    "lp_front",
    "lp_gram_cones",
    "lp_prompts",
    "lp_variances",
    "non_finite_rows",
    "pareto_tails",
    "probe_exp",
    "probe_exp_values",
    "probe_fma",
    "probe_read",
    "prompt_curve",
    "prompt_tilt",
    "solve_ridge",
]

class Statistic:
    """
    A mergeable state of one pass.
    """

    __hash__: typing.ClassVar[None] = None
    def __eq__(self, arg0: Statistic) -> bool: ...
    def empty(self) -> Statistic: ...
    def finish(self) -> dict: ...
    def merge(self, arg0: Statistic) -> None:
        """
        Absorb the state of later rows; it is used up.
        """
    def settings(self) -> dict:
        """
        What it was made with, arrays by name; states merge where this agrees.
        """
    def state(self) -> bytes: ...
    @property
    def span(self) -> int:
        """
        Leaves that share a state: where a pass may be cut.
        """

class Moments(Statistic):
    """
    Mean and covariance by fold.
    """
    def __getstate__(self) -> bytes: ...
    def __init__(
        self,
        arg0: typing.SupportsInt | typing.SupportsIndex,
        arg1: typing.SupportsInt | typing.SupportsIndex,
        arg2: typing.SupportsInt | typing.SupportsIndex,
        arg3: typing.SupportsInt | typing.SupportsIndex,
        arg4: bool,
    ) -> None: ...
    def __repr__(self) -> str: ...
    def __setstate__(self, arg0: bytes) -> None: ...

class CovarianceProjection(Statistic):
    """
    Sigma U without Sigma.
    """
    def __getstate__(self) -> bytes: ...
    def __init__(
        self,
        arg0: typing.SupportsInt | typing.SupportsIndex,
        arg1: typing.SupportsInt | typing.SupportsIndex,
        arg2: typing.SupportsInt | typing.SupportsIndex,
        arg3: typing.SupportsInt | typing.SupportsIndex,
    ) -> None: ...
    def __repr__(self) -> str: ...
    def __setstate__(self, arg0: bytes) -> None: ...

class CrossCovariance(Statistic):
    """
    Covariance of scores and values.
    """
    def __getstate__(self) -> bytes: ...
    def __init__(
        self,
        arg0: typing.SupportsInt | typing.SupportsIndex,
        arg1: typing.SupportsInt | typing.SupportsIndex,
        arg2: typing.SupportsInt | typing.SupportsIndex,
        arg3: typing.SupportsInt | typing.SupportsIndex,
        arg4: typing.SupportsInt | typing.SupportsIndex,
    ) -> None: ...
    def __repr__(self) -> str: ...
    def __setstate__(self, arg0: bytes) -> None: ...

class Tilt(Statistic):
    """
    Exact tilt with its expansions and errors.
    """
    def __getstate__(self) -> bytes: ...
    def __init__(
        self,
        score_at: typing.SupportsInt | typing.SupportsIndex,
        n_scores: typing.SupportsInt | typing.SupportsIndex,
        value_at: typing.SupportsInt | typing.SupportsIndex,
        n_values: typing.SupportsInt | typing.SupportsIndex,
        betas: typing.Annotated[numpy.typing.ArrayLike, numpy.float64],
        share_of_n: bool,
        single: bool,
        extras: bool = True,
    ) -> None: ...
    def __repr__(self) -> str: ...
    def __setstate__(self, arg0: bytes) -> None: ...

class Jackknife(Statistic):
    """
    Delete-one biases of each judge's own gain and KL, and the gain's error.
    """
    def __getstate__(self) -> bytes: ...
    def __init__(
        self,
        n_scores: typing.SupportsInt | typing.SupportsIndex,
        betas: typing.Annotated[numpy.typing.ArrayLike, numpy.float64],
        kl_too: bool = False,
    ) -> None: ...
    def __repr__(self) -> str: ...
    def __setstate__(self, arg0: bytes) -> None: ...

class ScoreVariance(Statistic):
    """
    Variance of each score inside prompts.
    """
    def __getstate__(self) -> bytes: ...
    def __init__(self, arg0: typing.SupportsInt | typing.SupportsIndex) -> None: ...
    def __repr__(self) -> str: ...
    def __setstate__(self, arg0: bytes) -> None: ...

class TiltedMean(Statistic):
    """
    Mean representation under each tilt.
    """
    def __getstate__(self) -> bytes: ...
    def __init__(
        self,
        arg0: typing.SupportsInt | typing.SupportsIndex,
        arg1: typing.SupportsInt | typing.SupportsIndex,
        arg2: typing.SupportsInt | typing.SupportsIndex,
        arg3: typing.Annotated[numpy.typing.ArrayLike, numpy.float64],
    ) -> None: ...
    def __repr__(self) -> str: ...
    def __setstate__(self, arg0: bytes) -> None: ...

class Scores(Statistic):
    """
    Writes scores.
    """
    def __getstate__(self) -> bytes: ...
    def __init__(
        self,
        arg0: typing.SupportsInt | typing.SupportsIndex,
        arg1: typing.SupportsInt | typing.SupportsIndex,
        arg2: numpy.ndarray[typing.Any, numpy.dtype[typing.Any]],
        arg3: bool,
        arg4: bool,
        arg5: bool,
    ) -> None: ...
    def __repr__(self) -> str: ...
    def __setstate__(self, arg0: bytes) -> None: ...
    def receive(
        self,
        arg0: numpy.ndarray[typing.Any, numpy.dtype[typing.Any]],
        arg1: typing.SupportsInt | typing.SupportsIndex,
        arg2: typing.Annotated[numpy.typing.ArrayLike, numpy.int64] | None,
    ) -> None:
        """
        Rows that a part has written, which are `row` in the dump.
        """
    def take(
        self, arg0: numpy.ndarray[typing.Any, numpy.dtype[typing.Any]], arg1: typing.SupportsInt | typing.SupportsIndex
    ) -> None:
        """
        In a part of a pass: the table that its rows go to, from canonical row `first` on.
        """

class LogRatios(Statistic):
    """
    Writes log-ratios.
    """
    def __getstate__(self) -> bytes: ...
    def __init__(
        self,
        arg0: typing.SupportsInt | typing.SupportsIndex,
        arg1: typing.SupportsInt | typing.SupportsIndex,
        arg2: typing.Annotated[numpy.typing.ArrayLike, numpy.float64],
        arg3: typing.Annotated[numpy.typing.ArrayLike, numpy.float64],
    ) -> None: ...
    def __repr__(self) -> str: ...
    def __setstate__(self, arg0: bytes) -> None: ...

class PairList:
    """
    Pairs of canonical rows with their labels.
    """
    def __getstate__(self) -> tuple[list[int], list[int], list[float], list[float], int]: ...
    def __init__(
        self,
        arg0: typing.Annotated[numpy.typing.ArrayLike, numpy.int64],
        arg1: typing.Annotated[numpy.typing.ArrayLike, numpy.int64],
        arg2: typing.Annotated[numpy.typing.ArrayLike, numpy.float64],
        arg3: typing.Annotated[numpy.typing.ArrayLike, numpy.float64],
    ) -> None: ...
    def __setstate__(self, arg0: tuple) -> None: ...

class Pairs(Statistic):
    """
    Bradley-Terry loss and gradient.
    """
    def __getstate__(self) -> bytes: ...
    def __init__(
        self,
        arg0: typing.SupportsInt | typing.SupportsIndex,
        arg1: typing.SupportsInt | typing.SupportsIndex,
        arg2: typing.SupportsInt | typing.SupportsIndex,
        arg3: PairList,
        arg4: typing.Annotated[numpy.typing.ArrayLike, numpy.float64],
    ) -> None: ...
    def __repr__(self) -> str: ...
    def __setstate__(self, arg0: bytes) -> None: ...
    def part(
        self, arg0: typing.SupportsInt | typing.SupportsIndex, arg1: typing.SupportsInt | typing.SupportsIndex
    ) -> PairList:
        """
        The pairs that canonical rows [begin, end) take part in.
        """
    def take(self, arg0: PairList, arg1: typing.SupportsInt | typing.SupportsIndex) -> None:
        """
        In a part of a pass: the pairs of its rows.
        """

class WeightedRows(Statistic):
    """
    Weighted sums of rows.
    """
    def __getstate__(self) -> bytes: ...
    def __init__(
        self,
        arg0: typing.SupportsInt | typing.SupportsIndex,
        arg1: typing.Annotated[numpy.typing.ArrayLike, numpy.float64],
    ) -> None: ...
    def __repr__(self) -> str: ...
    def __setstate__(self, arg0: bytes) -> None: ...
    def part(
        self, arg0: typing.SupportsInt | typing.SupportsIndex, arg1: typing.SupportsInt | typing.SupportsIndex
    ) -> numpy.typing.NDArray[numpy.float64]:
        """
        The weights of canonical rows [begin, end).
        """
    def take(
        self,
        arg0: typing.Annotated[numpy.typing.ArrayLike, numpy.float64],
        arg1: typing.SupportsInt | typing.SupportsIndex,
    ) -> None:
        """
        In a part of a pass: the weights of its rows, from canonical row `first` on.
        """

class MappedFile:
    """
    A read-only map of a plain file that survives the file shrinking.
    """
    def __init__(self, path: str) -> None: ...
    def check(self) -> None: ...
    def release(self) -> None: ...
    @property
    def path(self) -> str: ...
    @property
    def size(self) -> int: ...

class Scan:
    """
    The one ordered fold over any number of statistics.
    """
    def __init__(
        self, statistics: collections.abc.Sequence[Statistic], first_leaf: typing.SupportsInt | typing.SupportsIndex = 0
    ) -> None: ...
    def absorb(
        self,
        *,
        segments: list,
        dtype: typing.SupportsInt | typing.SupportsIndex,
        n_dump: typing.SupportsInt | typing.SupportsIndex,
        d: typing.SupportsInt | typing.SupportsIndex,
        n_rows: typing.SupportsInt | typing.SupportsIndex,
        offsets: typing.Annotated[numpy.typing.ArrayLike, numpy.int64],
        order: typing.Annotated[numpy.typing.ArrayLike, numpy.int64] | None = None,
        weight: typing.Annotated[numpy.typing.ArrayLike, numpy.float64] | None = None,
        omega: typing.Annotated[numpy.typing.ArrayLike, numpy.float64] | None = None,
        unbias: typing.Annotated[numpy.typing.ArrayLike, numpy.float64] | None = None,
        cluster: typing.Annotated[numpy.typing.ArrayLike, numpy.int64] | None = None,
        fold: typing.Annotated[numpy.typing.ArrayLike, numpy.int64] | None = None,
        directions: typing.Annotated[numpy.typing.ArrayLike, numpy.float64] | None = None,
        n_folds: typing.SupportsInt | typing.SupportsIndex = 1,
        columns: typing.Annotated[numpy.typing.ArrayLike, numpy.float64] | None = None,
        values: typing.Annotated[numpy.typing.ArrayLike, numpy.float64] | None = None,
        kept: typing.Annotated[numpy.typing.ArrayLike, numpy.float64] | None = None,
        origins: typing.Annotated[numpy.typing.ArrayLike, numpy.float64] | None = None,
        n_threads: typing.SupportsInt | typing.SupportsIndex = 1,
        in_double: bool = False,
        rounded: bool = False,
        progress: typing.Any = None,
        begin: typing.SupportsInt | typing.SupportsIndex = 0,
        end: typing.SupportsInt | typing.SupportsIndex = -1,
        first_row: typing.SupportsInt | typing.SupportsIndex = -1,
        first_dump_row: typing.SupportsInt | typing.SupportsIndex = 0,
    ) -> None: ...
    def collapse(self) -> list[Statistic]: ...
    def nodes(self) -> list:
        """
        The states as nodes (leaf, level, states) of the tree over the grid.
        """
    @property
    def needs_rows(self) -> bool:
        """
        Whether a statistic looks at rows, and not only at their scores.
        """
    @property
    def non_finite(self) -> int:
        """
        A row with NaN or Inf that ended a pass, or -1.
        """

def isa() -> str:
    """
    The kernel table in use.
    """

def isa_available() -> list[str]:
    """
    Kernel tables this build holds and this CPU runs, narrowest first.
    """

def isa_select(name: str) -> None: ...
def lp_cones(
    a: typing.Annotated[numpy.typing.ArrayLike, numpy.float64], n_threads: typing.SupportsInt | typing.SupportsIndex
) -> tuple:
    """
    status, lower, upper, weights, dual of cones (P, k, d).
    """

def lp_constrained(
    rows: typing.Annotated[numpy.typing.ArrayLike, numpy.float64],
    tau: typing.Annotated[numpy.typing.ArrayLike, numpy.float64],
    n_threads: typing.SupportsInt | typing.SupportsIndex,
) -> tuple:
    """
    The same for max c.w with M w >= tau; rows are c, then M.
    """

def lp_ensemble(
    m: numpy.ndarray[typing.Any, numpy.dtype[typing.Any]], n_threads: typing.SupportsInt | typing.SupportsIndex
) -> tuple:
    """
    status, lower, upper, violation, columns, weights, dual, passes of the game m (k, n).
    """

def lp_ensembles(
    m: typing.Annotated[numpy.typing.ArrayLike, numpy.float64], n_threads: typing.SupportsInt | typing.SupportsIndex
) -> tuple:
    """
    status, lower, upper, weights, dual, passes of games m (P, k, n).
    """

def lp_front(
    points: typing.Annotated[numpy.typing.ArrayLike, numpy.float64],
    n_threads: typing.SupportsInt | typing.SupportsIndex,
) -> numpy.typing.NDArray[numpy.bool]:
    """
    Points (n, k) that no other point dominates.
    """

def lp_gram_cones(
    grams: typing.Annotated[numpy.typing.ArrayLike, numpy.float64], n_threads: typing.SupportsInt | typing.SupportsIndex
) -> tuple:
    """
    status, lower, upper, weights of cones from Grams (P, k, k).
    """

def lp_prompts(
    values: typing.Annotated[numpy.typing.ArrayLike, numpy.float64],
    begin: typing.Annotated[numpy.typing.ArrayLike, numpy.int64],
    weight: typing.Annotated[numpy.typing.ArrayLike, numpy.float64],
    scale: typing.Annotated[numpy.typing.ArrayLike, numpy.float64],
    bound: typing.SupportsFloat | typing.SupportsIndex,
    kl: bool,
    n_threads: typing.SupportsInt | typing.SupportsIndex,
) -> tuple:
    """
    status, lower, upper, dual, weights of one game a prompt; bound is the ratio cap or the KL.
    """

def lp_variances(
    values: typing.Annotated[numpy.typing.ArrayLike, numpy.float64],
    begin: typing.Annotated[numpy.typing.ArrayLike, numpy.int64],
    weight: typing.Annotated[numpy.typing.ArrayLike, numpy.float64],
    n_threads: typing.SupportsInt | typing.SupportsIndex,
) -> numpy.typing.NDArray[numpy.float64]:
    """
    Within-prompt variances (k,) of values (N, k).
    """

def non_finite_rows(
    segments: list,
    dtype: typing.SupportsInt | typing.SupportsIndex,
    n: typing.SupportsInt | typing.SupportsIndex,
    d: typing.SupportsInt | typing.SupportsIndex,
) -> numpy.typing.NDArray[numpy.int64]: ...
def pareto_tails(
    kept: typing.Annotated[numpy.typing.ArrayLike, numpy.float64],
    betas: typing.Annotated[numpy.typing.ArrayLike, numpy.float64],
    offsets: typing.Annotated[numpy.typing.ArrayLike, numpy.int64],
    weight: typing.Annotated[numpy.typing.ArrayLike, numpy.float64] | None,
    base: typing.Annotated[numpy.typing.ArrayLike, numpy.float64] | None,
    every: typing.SupportsInt | typing.SupportsIndex,
    n_threads: typing.SupportsInt | typing.SupportsIndex,
) -> numpy.typing.NDArray[numpy.float64]:
    """
    Tail index of each tilt of kept scores, (K, B).
    """

def probe_exp(
    millions: typing.SupportsFloat | typing.SupportsIndex, threads: typing.SupportsInt | typing.SupportsIndex
) -> float:
    """
    f32 exponentials per second in the first-level cache at the level in use; that many millions a thread.
    """

def probe_exp_values(x: typing.Annotated[numpy.typing.ArrayLike, numpy.float32]) -> numpy.typing.NDArray[numpy.float32]:
    """
    What `probe_exp` computes; for tests, |x| < 87.
    """

def probe_fma(
    gigaflops: typing.SupportsFloat | typing.SupportsIndex, threads: typing.SupportsInt | typing.SupportsIndex
) -> float:
    """
    f32 flops per second of multiply-adds in registers at the widest level; that many gigaflops a thread.
    """

def probe_read(
    rows: numpy.ndarray[typing.Any, numpy.dtype[typing.Any]],
    streams: typing.SupportsInt | typing.SupportsIndex,
    threads: typing.SupportsInt | typing.SupportsIndex,
) -> float:
    """
    Seconds to read every byte of the rows, `streams` rows at a time.
    """

def prompt_curve(
    score: typing.Annotated[numpy.typing.ArrayLike, numpy.float64],
    column: typing.Annotated[numpy.typing.ArrayLike, numpy.int64],
    lam: typing.Annotated[numpy.typing.ArrayLike, numpy.float64],
    node: typing.Annotated[numpy.typing.ArrayLike, numpy.int64],
    offsets: typing.Annotated[numpy.typing.ArrayLike, numpy.int64],
    weight: typing.Annotated[numpy.typing.ArrayLike, numpy.float64],
    copies: typing.Annotated[numpy.typing.ArrayLike, numpy.float64] | None,
    blend: typing.Annotated[numpy.typing.ArrayLike, numpy.float64],
    omega: typing.Annotated[numpy.typing.ArrayLike, numpy.float64],
    n_threads: typing.SupportsInt | typing.SupportsIndex,
) -> numpy.typing.NDArray[numpy.float64]:
    """
    Mean KL of such tilts and its slope, (C, 2).
    """

def prompt_tilt(
    score: typing.Annotated[numpy.typing.ArrayLike, numpy.float64],
    column: typing.Annotated[numpy.typing.ArrayLike, numpy.int64],
    lam: typing.Annotated[numpy.typing.ArrayLike, numpy.float64],
    node: typing.Annotated[numpy.typing.ArrayLike, numpy.int64],
    offsets: typing.Annotated[numpy.typing.ArrayLike, numpy.int64],
    weight: typing.Annotated[numpy.typing.ArrayLike, numpy.float64],
    copies: typing.Annotated[numpy.typing.ArrayLike, numpy.float64] | None,
    values: typing.Annotated[numpy.typing.ArrayLike, numpy.float64],
    ranked: typing.Annotated[numpy.typing.ArrayLike, numpy.int32],
    blend: typing.Annotated[numpy.typing.ArrayLike, numpy.float64],
    n_threads: typing.SupportsInt | typing.SupportsIndex,
) -> numpy.typing.NDArray[numpy.float64]:
    """
    Tilts prompt by prompt, blended from those with and without each response and pair, (C, 2 + 6 J, G).
    """

def solve_ridge(
    sigma: typing.Annotated[numpy.typing.ArrayLike, numpy.float64],
    ridge: typing.SupportsFloat | typing.SupportsIndex,
    rhs: typing.Annotated[numpy.typing.ArrayLike, numpy.float64],
) -> typing.Any:
    """
    rhs (sigma + ridge I)^-1, or None if not positive definite.
    """

LEAF_ROWS: int = 8192
