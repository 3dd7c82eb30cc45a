"""Passes over a dump by the workers of a Dask cluster, to the bits of one machine (extra ``dask``).

`tilt`, `moments`, `score`, `scan`, the fits and `report` are those of the package with `client=`. What they do on
numbers stays here; each read of the rows becomes a task for every range of whole leaves, whose states merge along the
tree of one machine. So neither the workers, their threads nor the order of arrival change a bit, and what Dask does
again after it has lost a worker counts once. Workers open the dump by its path or URL themselves.

>>> import clinometer as cm
>>> where = "tcp://scheduler:8786"
>>> cm.distributed.tilt("s3://bucket/dump", "judge", kl=[0.5], values="helpful", client=where)  # doctest: +SKIP
"""

from __future__ import annotations

import copy
import functools
import hashlib
import inspect
import os
import uuid
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import __version__, _core
from .dump import Dump, open_dump
from .engine import passes
from .engine import scan as scans
from .engine.fitted import gather
from .engine.inputs import LEAF, WIDTHS, Call, absorb, elsewhere, non_finite_rows, refuse_non_finite
from .engine.population import Population
from .fit import fit_generation_direction as generation
from .fit import fit_preference_direction as preference
from .fit import fit_value_direction as value
from .reporting import report as reported
from .stream.nodes import Node, collapse, copied, push

__all__ = [
    "covariance_projection", "cross_covariance", "fit_generation_direction", "fit_preference_direction",
    "fit_value_direction", "moments", "report", "scan", "score", "tilt", "tilted_mean",
]  # fmt: skip

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
TASK_BYTES = 1 << 29  # of rows that a task goes over, at most: what a lost worker costs
TASKS_A_THREAD = 8


@dataclass(frozen=True)
class Source:
    """A dump as a worker must find it, and what must be the same there for the same bits."""

    path: str
    tensor: str | None
    shape: tuple[int, int]
    dtype: str
    rows: str  # a digest of up to 64 of them
    version: str = __version__
    isa: str = field(default_factory=_core.isa)


@dataclass(frozen=True)
class Work:
    """What all tasks of a pass share."""

    source: Source
    states: list[Any]
    directions: Floats | None
    n_folds: int
    in_double: bool
    rounded: bool
    n_scores: int
    origins: bool


@dataclass(frozen=True)
class Part:
    """Canonical rows [begin, end): their prompts with one more on either side, and arrays of the rows.

    Arrays by canonical row begin with `first_row`, the first of a prompt where rows are not in canonical order; columns
    and values, which go by row of the dump, with `first_dump_row`.
    """

    begin: int
    end: int
    first_row: int
    first_dump_row: int
    prompts: dict[str, Any]
    rows: dict[str, Any]
    given: list[Any]  # of each statistic what it takes for these rows, None for most


def _digest(dump: Dump) -> str:
    rows = np.unique(np.linspace(0, max(dump.n_rows - 1, 0), min(dump.n_rows, 64)).astype(np.int64))
    return hashlib.sha256(gather(dump, rows).tobytes()).hexdigest()


def _source(dump: Dump) -> Source:
    return Source(str(dump.path), dump.tensor, (dump.n_rows, dump.dim), dump.dtype, _digest(dump))


@functools.lru_cache(maxsize=4)
def opened(source: Source) -> Dump:
    """On a worker: the dump, once it is known to be the caller's."""
    if source.version != __version__:
        raise RuntimeError(f"clinometer {__version__} here, {source.version} at the caller's")
    if source.isa != _core.isa():
        raise RuntimeError(
            f"kernels {_core.isa()} here, {source.isa} at the caller's, whose last bits differ: set CLINOMETER_ISA to "
            "one that all have"
        )
    dump = open_dump(source.path, tensor=source.tensor)
    if (dump.n_rows, dump.dim) != source.shape or dump.dtype != source.dtype or _digest(dump) != source.rows:
        raise RuntimeError(f"{dump.name} holds other rows here than at the caller's")
    return dump


@contextmanager
def _released(dump: Dump) -> Iterator[None]:
    """Gives back the pages of mapped files after a task: Dask counts them as the worker's, and pauses it at 80 %."""
    try:
        yield
    finally:
        dump.release()


def _why_not(source: Source) -> str | None:
    try:
        opened(source)
    except Exception as error:  # whatever it is, the caller is told
        return f"{type(error).__name__}: {error}"
    return None


# ---- tasks


def pass_over(work: Work, part: Part) -> tuple[list[Any], tuple[int, list[Any], Floats | None]]:
    """Nodes of a part's leaves; then a row with NaN or Inf or -1, tables of scores and their origins."""
    dump = opened(work.source)
    prompts, rows = part.prompts, part.rows
    population = Population(
        dump.n_rows, prompts["offsets"], np.zeros(len(prompts["offsets"]) - 1, np.int64), rows["order"],
        rows["weight"], prompts["omega"], prompts["unbias"], prompts["cluster"],
    )  # fmt: skip
    call = Call(
        dump, population, in_double=work.in_double, rounded=work.rounded, directions=work.directions,
        n_folds=work.n_folds, fold=prompts["fold"], columns=rows["columns"], values=rows["values"],
    )  # fmt: skip
    states, tables = copy.deepcopy(work.states), []
    for state, given in zip(states, part.given, strict=True):
        if isinstance(state, _core.Scores):
            made = state.settings()
            shape = (part.end - part.begin, int(made["n_scores"][0]))
            tables.append(np.empty(shape, np.float32 if made["single"][0] else np.float64))
            given = tables[-1]
        if given is not None:
            state.take(given, part.begin)
    leaves = -(-(part.end - part.begin) // LEAF)
    origins = np.zeros((leaves, 2, work.n_folds, work.n_scores)) if work.origins else None
    scan = _core.Scan(states, part.begin // LEAF)
    with _released(dump):
        absorb(
            call, scan, population=population, begin=part.begin, end=part.end, origins=origins,
            part=(part.first_row, part.first_dump_row),
        )  # fmt: skip
    if scan.non_finite >= 0:
        return [], (scan.non_finite, [], None)
    return scan.nodes(), (-1, tables, origins)


def merge(earlier: Any, later: Any) -> list[Any]:
    """Nodes of two neighbours, those of tasks or of earlier merges; of copies, since merging uses states up."""
    nodes, more = _nodes_of(earlier), _nodes_of(later)
    for node in more:
        push(nodes, node)
    return nodes


def _nodes_of(done: Any) -> list[Node]:
    """Copies of the nodes of a task, which has tables beside them, or of a merge."""
    return [copied(node) for node in (done if isinstance(done, list) else done[0])]


def beside(done: tuple[list[Any], Any]) -> Any:
    """What a task returns beside its nodes."""
    return done[1]


def bad_rows(source: Source, begin: int, end: int) -> Ints:
    """Rows [begin, end) that hold NaN or Inf."""
    dump = opened(source)
    with _released(dump):
        return non_finite_rows(dump, begin, end)


# ---- here


def cut(call: Call, p: Population, statistics: list[Any], begin: int, end: int) -> Part:
    """The part of rows [begin, end) with the arrays that a task needs of it."""
    first, last = (int(np.searchsorted(p.offsets, row, side="right")) - 1 for row in (begin, end - 1))
    g0, g1 = max(first - 1, 0), min(last + 2, p.n_prompts)
    here = slice(begin if p.order is None else int(p.offsets[first]), end)
    fold = call.fold if p.n_prompts == len(call.population.ids) else None
    by_prompt = {"omega": p.omega, "unbias": p.unbias, "cluster": p.cluster, "fold": fold}
    order = None if p.order is None else p.order[here]
    used = np.arange(begin, end) if p.order is None else p.order[begin:end]
    low = int(used.min())
    return Part(
        begin, end, here.start, low,
        {"offsets": p.offsets[g0 : g1 + 1], **{n: None if a is None else a[g0:g1] for n, a in by_prompt.items()}},
        {
            "order": order, "weight": None if p.weight is None else p.weight[here],
            "columns": _of_rows(call.columns, used, low), "values": _of_rows(call.values, used, low),
        },
        [s.part(begin, end) if hasattr(s, "part") else None for s in statistics],
    )  # fmt: skip


def _of_rows(table: Floats | None, rows: Ints, low: int) -> Floats | None:
    """The rows wanted of a table in the order of the dump, and zeros between them."""
    if table is None:
        return None
    out = np.zeros((int(rows.max()) + 1 - low, table.shape[1]))
    out[rows - low] = table[rows]
    return out


class Cluster:
    """Reads rows on the workers of a client, in place of this process."""

    def __init__(self, client: Any, dump: Dump) -> None:
        source = _source(dump)
        self.client = client
        self.known: dict[int, tuple[Dump, Source | None]] = {id(dump.segments): (dump, source)}
        if why := self._refused(source):
            raise RuntimeError(f"client: workers cannot pass over {dump.name}: {why}")

    def _refused(self, source: Source) -> str:
        said = self.client.run(_why_not, source, on_error="return")
        if not said:
            return "there are none; start some before the call"
        return "; ".join(f"{at}: {why}" for at, why in said.items() if why is not None)

    def _source_of(self, dump: Dump) -> Source | None:
        """None of rows that are in memory, or of a selection: this process reads those."""
        if dump.path is None or dump.n_rows == 0:
            return None
        if id(dump.segments) not in self.known:
            source = _source(dump)
            self.known[id(dump.segments)] = (dump, None if self._refused(source) else source)
        return self.known[id(dump.segments)][1]

    def _cuts(self, n_rows: int, span: int, row_bytes: int) -> list[tuple[int, int]]:
        """Ranges of a power of two of leaves: a few for each thread of the cluster."""
        tasks = TASKS_A_THREAD * max(sum(self.client.nthreads().values()), 1)
        step = span * LEAF
        while 2 * step * tasks <= n_rows and 2 * step * row_bytes <= TASK_BYTES:
            step *= 2
        return [(a, min(a + step, n_rows)) for a in range(0, n_rows, step)]

    def _submit(self, function: Callable[..., Any], *args: Any) -> Any:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Sending large graph")
            return self.client.submit(function, *args, key=f"{function.__name__}-{uuid.uuid4().hex}", pure=False)

    def non_finite_rows(self, dump: Dump) -> Ints | None:
        """Rows that hold NaN or Inf, found by the workers."""
        source = self._source_of(dump)
        if source is None:
            return None
        cuts = self._cuts(dump.n_rows, 1, dump.dim * WIDTHS[dump.dtype])
        found = self.client.gather([self._submit(bad_rows, source, a, b) for a, b in cuts])
        return np.concatenate([np.zeros(0, np.int64), *found])

    def run(self, call: Call, statistics: list[Any], p: Population, origins: Floats | None) -> list[Any] | None:
        """The fold of `engine.inputs.run` by the workers."""
        reads = call.directions is not None or _core.Scan(statistics).needs_rows
        source = self._source_of(call.dump) if reads and p.n_rows else None
        if source is None:
            return None
        states = [s.empty() for s in statistics]
        work = self._submit(
            _itself,
            Work(
                source, states, call.directions, call.n_folds, call.in_double, call.rounded, call.n_scores,
                origins is not None,
            ),
        )  # fmt: skip
        row_bytes = call.dump.dim * WIDTHS[call.dump.dtype]
        cuts = self._cuts(p.n_rows, max(s.span for s in statistics), row_bytes)
        tasks = [self._submit(pass_over, work, cut(call, p, statistics, a, b)) for a, b in cuts]
        root = self._merged(tasks)
        self._take_tables(call, statistics, p, origins, dict(zip(tasks, cuts, strict=True)))
        return list(collapse(_nodes_of(root.result())))

    def _merged(self, tasks: list[Any]) -> Any:
        """The tree over neighbours; any tree over them gives the same nodes."""
        while len(tasks) > 1:
            pairs = [self._submit(merge, *tasks[i : i + 2]) for i in range(0, len(tasks) - 1, 2)]
            tasks = pairs + tasks[2 * len(pairs) :]
        return tasks[0]

    def _take_tables(
        self, call: Call, statistics: list[Any], p: Population, origins: Floats | None, tasks: dict[Any, Any]
    ) -> None:
        """Scores and origins into the caller's arrays, in the order of the rows.

        Not by `as_completed`, which is seen to wait for ever for results that are there.
        """
        waiting = [(self._submit(beside, task), ends) for task, ends in tasks.items()][::-1]
        tables_of = [s for s in statistics if isinstance(s, _core.Scores)]
        rows_done = 0
        while waiting:
            future, (begin, end) = waiting.pop()  # the last reference to it: its worker may forget the result
            bad, tables, made = future.result()
            if bad >= 0:
                refuse_non_finite(call, p)
            for state, table in zip(tables_of, tables, strict=True):
                by_dump = p.order is not None and not state.settings()["canonical"][0]
                state.receive(table, begin, p.order[begin:end] if by_dump and p.order is not None else None)
            if origins is not None:
                origins[begin // LEAF : begin // LEAF + len(made)] = made
            rows_done += end - begin
            if call.progress is not None:
                call.progress(rows_done, p.n_rows)


def _itself(x: Any) -> Any:
    return x


@contextmanager
def _client(given: Any) -> Iterator[Any]:
    """A client as given, or one of a cluster or address, closed afterwards; None is the one in use."""
    try:
        from distributed import Client, default_client
    except ImportError as error:
        raise ImportError("clinometer.distributed needs dask: pip install 'clinometer[dask]'") from error
    if isinstance(given, Client):
        yield given
    elif given is not None:
        with Client(given, set_as_default=False) as made:
            yield made
    else:
        try:
            held = default_client()
        except ValueError:
            raise ValueError("client is None and no dask client is in use; wanted a Client or an address") from None
        yield held


def _on_workers(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function with its rows read by the workers of `client`."""

    @functools.wraps(function)
    def call(dump: Any, *args: Any, client: Any = None, **options: Any) -> Any:
        held = open_dump(dump) if isinstance(dump, (str, os.PathLike)) else dump
        if not isinstance(held, Dump) or held.path is None:
            raise ValueError(
                "dump is in the memory of this process, which no worker reads; wanted a path or URL, or a Dump of one "
                "(cm.write_dump makes one)"
            )
        with _client(client) as at:
            token = elsewhere.set(Cluster(at, held))
            try:
                return function(held, *args, **options)
            finally:
                elsewhere.reset(token)

    signature = inspect.signature(function)
    own = inspect.Parameter("client", inspect.Parameter.KEYWORD_ONLY, default=None, annotation="Client | str | None")
    named = list(signature.parameters.values())
    at = next((i for i, x in enumerate(named) if x.kind is x.VAR_KEYWORD), len(named))
    call.__signature__ = signature.replace(parameters=[*named[:at], own, *named[at:]])  # type: ignore[attr-defined]
    return call


tilt = _on_workers(passes.tilt)
moments = _on_workers(passes.moments)
score = _on_workers(passes.score)
covariance_projection = _on_workers(passes.covariance_projection)
cross_covariance = _on_workers(passes.cross_covariance)
tilted_mean = _on_workers(passes.tilted_mean)
scan = _on_workers(scans.scan)
fit_value_direction = _on_workers(value)
fit_preference_direction = _on_workers(preference)
fit_generation_direction = _on_workers(generation)
report = _on_workers(reported)
