"""From what a caller passes to what the fold takes: dump, population, scored directions, values."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from clinometer import _core
from clinometer.arrays.carriers import Carried, carried
from clinometer.common.notices import tell
from clinometer.common.options import check_names
from clinometer.common.visible import few, quote, visible
from clinometer.dump import Dump, open_dump
from clinometer.dump.aligned import check_labels, flat, same_ids
from clinometer.dump.directions import Directions, Scores, check_origin, columns_of, feature_order, in_order_of
from clinometer.dump.windows import is_windowed, placeholder, resident
from clinometer.errors import DumpError
from clinometer.sources.window import Window

from .cautions import warn_of_twins
from .fitted import DirectionFit, load_any
from .intake import by_row, exact, ids_of, vectors
from .population import Population, population

Floats = NDArray[np.float64]
_WEIGHED_BY: dict[Any, tuple[str, ...]] = {
    "sampled": (), "counts": ("counts",), "logprob": ("logprobs",), "reweight": ("logprobs", "proposal_logprobs"),
}  # fmt: skip
LEAF = int(_core.LEAF_ROWS)
BARE = "no row that counts has a label of"
DTYPES = {"float32": 0, "float16": 1, "bfloat16": 2, "float64": 3}
WIDTHS = {"float32": 4, "float16": 2, "bfloat16": 2, "float64": 8}  # bytes
MODERATE = 1e65  # the largest value, and one over the smallest, of passes that do not bring values to a common size


@dataclass(frozen=True)
class Fitted:
    """Direction `index` of a fit, and for each prompt the fold that did not see it."""

    fit: Any
    index: int
    fold: NDArray[np.int64]


@dataclass
class Call:
    """One pass over one dump: everything checked, nothing read yet."""

    dump: Dump
    population: Population
    within: bool = True
    in_double: bool = False
    n_threads: int = 1
    progress: Any = None
    ids: NDArray[Any] | None = None  # of each row of the dump, as this call has them
    check_source: bool = True
    directions: Floats | None = None
    n_folds: int = 1
    fold: NDArray[np.int64] | None = None
    columns: Floats | None = None
    values: Floats | None = None
    order: NDArray[np.int64] | None = None  # where the caller's scores lie among the fold's; None: as they are
    names: tuple[str, ...] = ()  # in the caller's order
    value_names: tuple[str, ...] = ()
    fit_status: tuple[str, ...] = ()
    fitted: tuple[Fitted | None, ...] = ()  # of each direction, where it is applied out of fold
    n_unlabelled: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    tables: dict[int, list[tuple[NDArray[Any], int]]] = field(default_factory=dict)  # that statistics write to
    rounded: bool = False  # directions hold bfloat16 numbers

    @property
    def n_scores(self) -> int:
        return len(self.names)

    @property
    def n_values(self) -> int:
        return 0 if self.values is None else int(self.values.shape[1])

    def effective(self) -> Population:
        return self.population if self.within else self.population.pooled()


def thread_count(n_threads: int | None) -> int:
    """The caller's number, or the least of the environment's and the CPUs this process may use."""
    if n_threads is not None:
        if isinstance(n_threads, bool) or not isinstance(n_threads, (int, np.integer)):
            raise TypeError(f"n_threads is {n_threads!r}, wanted a positive integer or None")
        if n_threads < 1:
            raise ValueError(f"n_threads is {n_threads}, wanted at least 1")
        return int(n_threads)
    limit = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
    for name in ("OMP_NUM_THREADS", "CLINOMETER_NUM_THREADS"):
        text = os.environ.get(name, "").split(",")[0].strip()
        if text.isdigit() and int(text) > 0:
            limit = int(text) if name.startswith("CLINOMETER") else min(limit, int(text))
    return limit


def prepare(
    source: Any,
    directions: Any = None,
    values: Any = None,
    *,
    base: str = "sampled",
    logprobs: Any = None,
    counts: Any = None,
    proposal_logprobs: Any = None,
    prompt_weights: Any = None,
    prompt_ids: Any = None,
    clusters: Any = None,
    within: bool = True,
    precision: str = "mixed",
    n_threads: int | None = None,
    progress: Any = None,
    check_source: bool = True,
    any_size: bool = False,
    **unknown: Any,
) -> Call:
    """Check every argument and gather what one pass needs; raises before any row is read.

    `any_size` is for passes that bring values to a common size themselves.
    """
    check_names(unknown)
    _check_base(base, logprobs=logprobs, counts=counts, proposal_logprobs=proposal_logprobs)
    if precision not in ("mixed", "double"):
        more = "; only cm.score has 'bfloat16'" if precision == "bfloat16" else ""
        raise ValueError(f"precision is {precision!r}, wanted 'mixed' or 'double'{more}")
    if not isinstance(within, (bool, np.bool_)):
        raise TypeError(f"within is {within!r}, wanted True or False")
    if not isinstance(check_source, (bool, np.bool_)):
        raise TypeError(f"check_source is {check_source!r}, wanted True or False")
    if progress is not None and progress is not True and progress is not False and not callable(progress):
        raise TypeError(f"progress is {progress!r}, wanted None, True or a function of (done, total)")
    if not isinstance(source, Dump) and not isinstance(prompt_ids, str):
        source, prompt_ids = open_dump(source, prompt_ids=prompt_ids), None
    dump = source if isinstance(source, Dump) else open_dump(source)
    threads = thread_count(n_threads)
    call = Call(dump, None, bool(within), precision == "double", threads, _progress(progress, dump))  # type: ignore[arg-type]
    call.ids, call.check_source = _ids(dump, prompt_ids, directions), bool(check_source)
    warn_of_twins(call)
    with_logs, reweight = base in ("logprob", "reweight"), base == "reweight"
    extra = {
        "logprobs": column(dump, logprobs, "logprob" if with_logs else None, "logprobs", call.ids),
        "counts": column(dump, counts, "count" if base == "counts" else None, "counts", call.ids),
        "proposal_logprobs": column(
            dump, proposal_logprobs, "proposal_logprob" if reweight else None, "proposal_logprobs", call.ids
        ),
    }
    logs = extra["logprobs"]
    if logs is not None and len(logs) and ((logs > 0) & np.isfinite(logs)).all():
        tell("logprobs are all above 0: are they negative log-likelihoods? Their negatives are wanted", stacklevel=3)
    projected = _resolve_directions(call, directions)
    along = _resolve_values(call, values)
    if not any_size:
        _need_moderate(call)
    clusters = _prompt_column(dump, clusters, "clusters")
    prompt_weights = _prompt_column(dump, prompt_weights, "prompt_weights")
    call.population = population(
        dump.n_rows, call.ids, base=base, prompt_weights=prompt_weights, clusters=clusters,
        drop=lambda rows: non_finite(call, extra, rows), **extra,
    )  # fmt: skip
    _check_values(call)
    _stack(call, projected)
    if along is not None:
        _score_values(call, along, values.names)
    return call


def _check_base(base: Any, **given: Any) -> None:
    """Refuse a column that the base does not weigh by."""
    if base not in _WEIGHED_BY:
        raise ValueError(f"base is {base!r}, wanted one of {', '.join(_WEIGHED_BY)}")
    for name, value in given.items():
        if value is not None and name not in _WEIGHED_BY[base]:
            other = " or ".join(repr(b) for b, names in _WEIGHED_BY.items() if name in names)
            raise ValueError(f"{name} is given, but base={base!r} does not weigh by it; base={other} does")


def column(
    dump: Dump, given: Any, default: str | None, argument: str, ids: NDArray[Any] | None = None
) -> Floats | None:
    """A per-row column by name or array, as float64; None where neither is there."""
    if given is None:
        if default is None or not dump.has_column(default):
            return None
        given = default
    if isinstance(given, str):
        return _required(dump, given, argument)
    a, _ = by_row(argument, given, dump, dump.prompt_ids if ids is None else ids)
    if a.size != dump.n_rows:
        raise ValueError(f"{argument} has shape {a.shape}, wanted ({dump.n_rows},)")
    return a.reshape(-1)


def _ids(dump: Dump, given: Any, directions: Any) -> NDArray[Any] | None:
    """Prompt ids of the rows: given by name or array, else the dump's, else those that scores bring."""
    if given is not None:
        if isinstance(given, str):
            return ids_of(dump.columns[_name(dump, given, "prompt_ids")], dump.n_rows)
        held = carried(given, "prompt_ids")
        check_labels("prompt_ids", held, dump, None)
        return ids_of(held, dump.n_rows)
    if dump.prompt_ids is not None:
        return dump.prompt_ids
    items = directions if isinstance(directions, (list, tuple)) else [directions]
    brought = [ids for x in items if isinstance(x, Scores) and (ids := x.own_ids()) is not None]
    found = next((ids for ids in brought if len(ids) == dump.n_rows), None)
    near = [quote(n) for n in dump.columns if found is None and _squeezed(n) in ("promptid", "promptids")]
    if near:
        raise ValueError(f"prompt_ids: {dump.name} has no column 'prompt_id' but {few(near)}: say which holds them")
    return found


def _squeezed(name: str) -> str:
    return "".join(c for c in name.lower() if c.isalnum())


def _prompt_column(dump: Dump, given: Any, argument: str) -> Any:
    """A column of the dump by its name; of what has the index of the rows its entries; anything else as it is."""
    if isinstance(given, str):
        return np.asarray(dump.columns[_name(dump, given, argument)])
    if given is None or dump.labels is None or isinstance(given, Mapping):
        return given
    held = carried(given, argument)
    own = held.labels is not None and np.array_equal(held.labels, dump.labels)
    return replace(held, labels=None) if own else held


def _progress(given: Any, dump: Dump) -> Callable[[int, int], None] | None:
    if given is None or given is False:
        return None
    if given is not True:
        return given  # type: ignore[no-any-return]
    from clinometer.common.progress import bar

    return bar(row_bytes=dump.dim * WIDTHS[dump.dtype])


def _is_names(x: Any) -> bool:
    return isinstance(x, str) or (isinstance(x, (list, tuple)) and len(x) > 0 and all(isinstance(i, str) for i in x))


@dataclass(frozen=True)
class _Projected:
    """A direction before the prompts are known: one vector, or the fold fits of a fit and its full fit last."""

    name: str
    vectors: Floats
    fit: Any = None
    index: int = 0
    status: str = "given"


def _resolve_directions(call: Call, given: Any) -> list[_Projected]:
    """Fill columns (N, K'), names and order; the directions to project, which the fold takes first, are returned."""
    if given is None:
        return []
    projected: list[_Projected] = []
    columns: list[tuple[str, Floats]] = []
    items = list(given) if isinstance(given, (list, tuple)) and not _numeric(given) else [given]
    is_column: list[bool] = []
    for item in items:
        before = len(columns)
        _resolve_one(call, item, projected, columns)
        is_column += [len(columns) > before] * (len(projected) + len(columns) - len(is_column))
    if not all(np.isfinite(one.vectors).all() for one in projected):
        raise ValueError("directions hold NaN or Inf")
    if columns:
        call.columns = np.ascontiguousarray(np.stack([c for _, c in columns], axis=1), np.float64)
    # sorted by kind, stably, the caller's list is the fold's: the inverse says where each of its scores lies
    order = np.argsort(np.argsort(is_column, kind="stable"), kind="stable")
    if projected and columns and (order != np.arange(len(order))).any():
        call.order = order
    names = [one.name for one in projected] + [n for n, _ in columns]
    call.names, call.fit_status = tuple(names[i] for i in order), ("score",) * len(names)
    return projected


def _stack(call: Call, projected: list[_Projected]) -> None:
    """Fill directions (K * folds, d) and the fold of each prompt; fits dealt differently share their refinement."""
    if not projected:
        return
    found = {id(one.fit): one.fit._for_dump(call.dump, call.population) for one in projected if one.fit is not None}
    plain: tuple[str, NDArray[np.int64] | None] = ("given", None)
    ways = [found.get(id(one.fit), plain) if one.fit is not None else plain for one in projected]
    dealt = {id(fold): fold for _, fold in ways if fold is not None}
    cells = np.stack(list(dealt.values()), axis=1) if dealt else np.zeros((call.population.n_prompts, 0), np.int64)
    kinds, call_fold = np.unique(cells, axis=0, return_inverse=True) if dealt else (np.zeros((1, 0), np.int64), None)
    at = {key: i for i, key in enumerate(dealt)}
    stacked = []
    for one, (_, fold) in zip(projected, ways, strict=True):
        pick = np.full(len(kinds), len(one.vectors) - 1) if fold is None else kinds[:, at[id(fold)]]
        stacked.append(one.vectors[pick])
    call.directions = np.ascontiguousarray(np.concatenate(stacked), np.float64)
    call.n_folds = max(len(kinds), 1)
    call.fold = None if call.n_folds == 1 or call_fold is None else call_fold.reshape(-1).astype(np.int64)
    statuses = [one.status if status == "given" else status for one, (status, _) in zip(projected, ways, strict=True)]
    fitted = [
        None if fold is None else Fitted(one.fit, one.index, fold)
        for one, (_, fold) in zip(projected, ways, strict=True)
    ]
    n_columns = len(call.names) - len(projected)
    order = range(len(call.names)) if call.order is None else call.order
    call.fit_status = tuple((statuses + ["score"] * n_columns)[i] for i in order)
    call.fitted = tuple((fitted + [None] * n_columns)[i] for i in order)


def _numeric(x: Sequence[Any]) -> bool:
    return len(x) > 0 and all(
        isinstance(i, (int, float, np.number)) or (isinstance(i, (list, tuple)) and _numeric(i)) for i in x
    )


def _resolve_one(call: Call, item: Any, projected: list[_Projected], columns: list[tuple[str, Floats]]) -> None:
    dump = call.dump
    if isinstance(item, str) and not dump.has_column(item) and os.path.exists(item):
        item = _saved(item, call)
    if isinstance(item, os.PathLike):
        item = _saved(item, call)
    if isinstance(item, str):
        sign, name = signed(dump, item, "constitutions")
        columns.append((item, sign * _required(dump, name, "constitutions")))
    elif isinstance(item, Scores):
        a = np.asarray(item.array, np.float64)
        if len(a) != dump.n_rows:
            raise ValueError(f"scores have {len(a)} rows but the dump has {dump.n_rows}")
        if item.prompt_ids is not None and call.ids is not None:
            same_ids(f"scores {few(item.names or ())}", item.prompt_ids, call.ids)
        if item.response_ids is not None and dump.has_column("response_id"):
            theirs = dump.column("response_id")
            same_ids(f"scores {few(item.names or ())}", item.response_ids, theirs, "response_id")
        if item.grid is not None and item.prompt_ids is None:
            flat("scores", a.reshape(*item.grid, -1), dump.n_rows, call.ids)
        if item.prompt_ids is None or item.response_ids is None or not dump.has_column("response_id"):
            check_labels("scores", item.labels or Carried(item.array), dump, call.ids)
        columns.extend((str(n), np.ascontiguousarray(a[:, k])) for k, n in enumerate(item.names or []))
    elif isinstance(item, DirectionFit):
        if item.vectors.shape[1] != dump.dim:
            raise ValueError(f"the fit has {item.vectors.shape[1]} columns but rows of the dump have {dump.dim}")
        every = np.concatenate([item.fold_vectors, item.vectors[None]])
        if call.check_source:
            check_origin(item.source, dump.origin, "the fit comes", dump.name)
            if (order := feature_order(item.source.get("features"), dump, "the fit")) is not None:
                every = every[..., order]
        projected.extend(_Projected(n, every[:, j], item, j) for j, n in enumerate(item.names))
    else:
        status = "given"
        checked = dump if call.check_source else None
        if isinstance(item, Directions):
            rows = _oriented(item, call, "directions")
            names, status = tuple(item.names), _in_sample(item, call)
        else:
            rows, given = vectors("directions", item, checked)
            names = given or tuple(f"direction{len(projected) + k}" for k in range(len(rows)))
        _check_width(dump, rows, "directions")
        projected.extend(_Projected(n, v[None], status=status) for n, v in zip(names, rows, strict=True))


def _saved(path: Any, call: Call) -> Any:
    """The fit or the directions that a file holds; of several layers those of the dump's own, and it says so."""
    found = load_any(path)
    if not call.check_source or not isinstance(found, Directions):
        return found
    held = sorted({x for x in map(found.layer, range(len(found))) if x is not None})
    own = [x for x in held if str(x) == str(call.dump.origin.get("layer"))]
    if not own or own == held:
        return found
    others = ", ".join(str(x) for x in held if x not in own)
    tell(f"{visible(path)}: directions of layer {own[0]}, the dump's, are taken, not those of {others}", stacklevel=6)
    return found.for_layer(own[0])


def _oriented(given: Directions, call: Call, argument: str) -> Floats:
    """The vectors, in the order of the dump's features, after a look at where they come from."""
    _check_width(call.dump, np.asarray(given.vectors), argument)
    held = in_order_of(call.dump, given, argument) if call.check_source else given
    return np.asarray(getattr(held, "vectors", held), np.float64)


def _in_sample(given: Directions, call: Call) -> str:
    """Status of directions that say which dump they were fitted on."""
    if given.source.get("fitted_on") is None:
        return "given"
    if given.source["fitted_on"] != call.dump.fingerprint(columns_of(given.source, call.dump)):
        return "given"
    tell(
        f"directions {few(given.names)} were fitted on these rows: gains are optimistic; "
        "pass the DirectionFit, which is applied out of fold",
        stacklevel=6,
    )
    return "in-sample"


def _name(dump: Dump, name: str, argument: str) -> str:
    try:
        return dump.resolve_column(name)
    except ValueError as error:
        raise ValueError(f"{argument}: {error}") from None


def _required(dump: Dump, name: str, argument: str) -> Floats:
    a = np.asarray(dump.columns[_name(dump, name, argument)])
    if a.dtype.kind not in "fiub":
        raise TypeError(f"{argument}: column {name!r} has dtype {a.dtype}, wanted numbers")
    return exact(f"{argument}: column {name!r}", a)


def signed(dump: Dump, name: str, argument: str) -> tuple[float, str]:
    """Sign and column of "-name", which is a column of that very name or the negative of another, but never both."""
    if not name.startswith("-"):
        return 1.0, name
    if not dump.has_column(name):
        return -1.0, name[1:]
    if dump.has_column(name[1:]):
        raise ValueError(f"{argument}: {name!r} is a column, and so is {name[1:]!r}, whose negative it would name")
    return 1.0, name


def _resolve_values(call: Call, given: Any) -> Floats | None:
    """Fill values and their names; of Directions the vectors that are to give them are returned."""
    if given is None:
        return None
    if isinstance(given, Directions):
        return _oriented(given, call, "values")  # scored at the end of `prepare`, when every argument has been checked
    if isinstance(given, DirectionFit):
        raise TypeError("values is a DirectionFit; cm.score(dump, fit) is its value of each row, out of fold")
    if _is_names(given):
        names = (given,) if isinstance(given, str) else tuple(given)
        columns = []
        for name in names:
            sign, bare = signed(call.dump, name, "values")
            columns.append(sign * _required(call.dump, bare, "values"))
        values = np.stack(columns, axis=1)
    else:
        values, called = by_row("values", given, call.dump, call.ids)
        values = values[:, None] if values.ndim == 1 else values
        names = called or tuple(f"value{j}" for j in range(values.shape[1]))
        if minus := [name for name in names if name.startswith("-")]:
            tell(
                f"values: {few(minus)} taken as given: a minus turns a column of the dump round, and no array",
                stacklevel=4,
            )
    call.values = np.ascontiguousarray(values, np.float64)
    call.value_names = names
    return None


def _check_values(call: Call) -> None:
    """No infinite label among the rows that count, and how many of theirs are missing."""
    if call.values is None:
        return
    whole = call.population.n_rows == call.dump.n_rows
    values = call.values if whole else call.values[call.population.rows]
    if np.isinf(values).any():
        j = int(np.argmax(np.isinf(values).any(axis=0)))
        raise ValueError(f"values: {call.value_names[j]!r} holds infinities; NaN means unlabelled, Inf is not a label")
    call.n_unlabelled = _unlabelled(values)
    tell_of_bare(call.value_names, call.n_unlabelled, len(values), stacklevel=5)


def tell_of_bare(names: Iterable[str], gone: Iterable[int], n_rows: int, *, stacklevel: int) -> None:
    """Name the values of which every row lacks its label."""
    bare = ", ".join(visible(name) for name, n in zip(names, gone, strict=True) if 0 < n_rows == n)
    if bare:
        tell(f"values: {BARE} {bare}: numbers of it are nan", stacklevel=stacklevel)


def _need_moderate(call: Call) -> None:
    """Errors are made of fourth powers, which leave float64 where values are very large or very small."""
    if call.values is not None and call.values.size:
        refuse_extreme("values", call.value_names, tops(call.values))


def tops(columns: Floats) -> Floats:
    """Largest magnitude in each column (N, m), NaN left out; along wide rows, as NumPy is slow along short ones."""
    top, m = np.zeros(columns.shape[1]), max(columns.shape[1], 1)
    whole = len(columns) // (wide := max(1, 256 // m)) * wide
    for part in (np.ascontiguousarray(columns[:whole]).reshape(-1, wide * m), columns[whole:]):
        if part.size:
            high = np.fmax(np.fmax.reduce(part, axis=0), -np.fmin.reduce(part, axis=0))
            top = np.fmax(top, np.fmax.reduce(high.reshape(-1, m), axis=0))
    return top


def refuse_extreme(what: str, names: tuple[str, ...], top: Floats, most: float = MODERATE) -> None:
    """Name the first whose squares, and products of them, leave float64."""
    extreme = np.isfinite(top) & ((top > most) | ((top > 0) & (top < 1 / most)))
    if extreme.any():
        j = int(np.argmax(extreme))
        size = "large" if top[j] > 1 else "small"
        raise ValueError(
            f"{what}: {visible(names[j])!r} reaches {top[j]:.3g}, too {size} for squares in float64: "
            f"divide it by a constant, to between {1 / most:.0e} and {most:.0e}"
        )


def _unlabelled(values: Floats) -> NDArray[np.int64]:
    """NaN in each column; most have none, and adding up takes ten times as long as looking."""
    missing = np.isnan(values)
    return np.asarray(missing.sum(axis=0), np.int64) if missing.any() else np.zeros(values.shape[1], np.int64)


def _score_values(call: Call, vectors: Floats, names: tuple[str, ...]) -> None:
    """Values along directions: the value of a row is its score; one pass."""
    vectors = np.ascontiguousarray(vectors)
    scores = np.full((call.dump.n_rows, len(vectors)), np.nan)
    plain: dict[str, Any] = {"columns": None, "values": None, "n_folds": 1, "fold": None, "order": None}
    own = replace(call, directions=vectors, progress=None, **plain)
    run(own, [_core.Scores(0, len(vectors), scores, False, False, False)], population=call.population)
    call.values, call.value_names = scores, tuple(names)
    _check_values(call)


def _check_width(dump: Dump, vectors: Floats, argument: str) -> None:
    if vectors.ndim != 2:
        raise ValueError(f"{argument} has shape {vectors.shape}, wanted (K, {dump.dim})")
    if vectors.shape[1] != dump.dim:
        scores = dump.n_rows in vectors.shape
        hint = ": a direction is a row, so .T of it" if len(vectors) == dump.dim else ""
        hint = hint or (": a score for each row is cm.Scores(array)" if scores else "")
        raise ValueError(f"{argument} has {vectors.shape[-1]} columns but rows of the dump have {dump.dim}{hint}")


def non_finite(call: Call, columns: dict[str, Floats | None], rows: NDArray[np.int64]) -> NDArray[np.int64] | None:
    """Of the rows that count, those to drop under nonfinite='drop'; columns with NaN raise under 'raise'."""
    dump = call.dump
    here = None if len(rows) == dump.n_rows else np.isin(np.arange(dump.n_rows), rows)

    def among(bad: Any) -> NDArray[np.int64]:
        return np.flatnonzero(bad if here is None else bad & here)

    bad = np.zeros(0, np.int64) if call.columns is None else among(~np.isfinite(call.columns).all(axis=1))
    gaps = {name: among(np.isnan(a)) for name, a in columns.items() if a is not None and np.isnan(a).any()}
    if dump.nonfinite != "drop":
        for name, at in gaps.items():
            if len(at):
                raise DumpError(f"{name}: {len(at)} NaN (missing), first at row {at[0]}")
        if len(bad):
            raise DumpError(
                f"{dump.name}: {len(bad)} rows of the scores hold NaN or Inf, first row {bad[0]}; "
                "open the dump with nonfinite='drop' to leave out their prompts"
            )
        return None
    found = non_finite_rows(dump) if dump.dim else bad
    held = found if here is None else found[here[found]]
    return np.unique(np.concatenate([bad, *gaps.values(), held]))


def segments_of(dump: Dump) -> tuple[list[tuple[NDArray[Any], int]], int, int, int]:
    held = [(s.array, s.row_start) for s in dump.segments if not isinstance(s.array, Window)]
    return held, DTYPES[dump.dtype], dump.n_rows, dump.dim


class Elsewhere(Protocol):
    """Other processes that read rows in place of this one."""

    def run(self, call: Call, statistics: list[Any], p: Population, origins: Floats | None) -> list[Any] | None:
        """The states of a fold over the rows of p, as `run` here gives them; None if the rows are not theirs."""

    def non_finite_rows(self, dump: Dump) -> NDArray[np.int64] | None:
        """Rows that hold NaN or Inf, None if the rows are not theirs."""


elsewhere: ContextVar[Elsewhere | None] = ContextVar("elsewhere", default=None)


def non_finite_rows(dump: Dump, begin: int = 0, end: int = -1) -> NDArray[np.int64]:
    """Of the rows [begin, end) those that hold NaN or Inf, ascending; one pass over the rows."""
    away, end = elsewhere.get(), dump.n_rows if end < 0 else end
    if away is not None and (there := away.non_finite_rows(dump)) is not None:
        return there
    windows = [(begin, end, segments_of(dump)[0])]
    found = []
    for first, last, segments in resident(dump, None, None, begin, end, LEAF) if is_windowed(dump) else windows:
        held = [(a[max(first - at, 0) : last - at], max(first - at, 0) + at) for a, at in segments if at < last]
        held = [(a, at - first) for a, at in held if len(a)]
        found.append(_core.non_finite_rows(held, DTYPES[dump.dtype], last - first, dump.dim) + first)
    return np.concatenate(found) if found else np.zeros(0, np.int64)


def run(
    call: Call, statistics: list[Any], *, kept: Floats | None = None, population: Population | None = None,
    origins: Floats | None = None,
) -> list[Any]:  # fmt: skip
    """One ordered fold of the statistics over the call's rows (or over kept scores)."""
    away = elsewhere.get() if kept is None else None
    if away is not None and (done := away.run(call, statistics, population or call.effective(), origins)) is not None:
        return done
    scan = _core.Scan(statistics)
    absorb(call, scan, kept=kept, population=population, origins=origins)
    return list(scan.collapse())


def absorb(
    call: Call, scan: Any, *, kept: Floats | None = None, population: Population | None = None,
    begin: int = 0, end: int = -1, origins: Floats | None = None, part: tuple[int, int] | None = None,
) -> None:  # fmt: skip
    """Fold the call's canonical rows [begin, end) into a scan.

    `origins` (leaves, 2, folds, scores) takes what scores are relative to, or gives it for kept ones. Of a `part`
    arrays by canonical row begin with its first number and columns and values with its second, origins with its first
    leaf; a row with NaN or Inf is then left to the caller (`scan.non_finite`).
    """
    p = population or call.effective()
    end = p.n_rows if end < 0 else end
    reads = kept is None and (call.directions is not None or scan.needs_rows)
    first_row, first_dump_row = part or (-1, 0)
    for first, last, segments in _windows(call, p, reads, begin, end, max(first_row, 0)):
        scan.absorb(
            segments=segments, dtype=DTYPES[call.dump.dtype], n_dump=call.dump.n_rows, d=call.dump.dim,
            n_rows=p.n_rows, offsets=p.offsets, order=p.order,
            weight=p.weight, omega=p.omega, unbias=p.unbias, cluster=p.cluster,
            fold=call.fold if p.n_prompts == len(call.population.ids) else None,
            directions=call.directions if kept is None else None, n_folds=call.n_folds,
            columns=call.columns if kept is None else None, values=call.values, kept=kept, origins=origins,
            n_threads=call.n_threads, in_double=call.in_double, rounded=call.rounded,
            progress=_share_of(call.progress, first - begin, end - begin), begin=first, end=last,
            first_row=first_row, first_dump_row=first_dump_row,
        )  # fmt: skip
        if scan.non_finite >= 0:
            break
    if reads:  # of 100,000 files that takes a second, and a report is many passes over scores
        check_files(call.dump)
    if scan.non_finite >= 0 and part is None:
        refuse_non_finite(call, p)


def refuse_non_finite(call: Call, p: Population) -> None:
    """Name and count the rows of p that no pass can use."""
    bad = non_finite_rows(call.dump)
    bad = bad if p.n_rows == call.dump.n_rows else bad[np.isin(bad, p.rows)]
    raise DumpError(
        f"{call.dump.name}: {len(bad)} rows hold NaN or Inf, first row {bad[0]}; "
        "open the dump with nonfinite='drop' to leave out their prompts"
    )


def _windows(call: Call, p: Population, reads: bool, begin: int, end: int, first_row: int) -> Any:
    """(first, last, segments): all at once where rows are in memory or not read, else windows of whole leaves."""
    if not is_windowed(call.dump):
        return [(begin, end, segments_of(call.dump)[0])]
    if reads:
        return resident(call.dump, p.order, p.offsets, begin, end, LEAF, first_row)
    return [(begin, end, placeholder(call.dump))]


def _share_of(progress: Any, before: int, total: int) -> Any:
    """Progress of one window as progress of the pass."""
    if progress is None:
        return None
    return lambda done, _: progress(before + done, total)


def check_files(dump: Dump) -> None:
    """Refuse files that have changed since the dump was opened."""
    for s in dump.segments:
        check = getattr(s.file, "check", None)
        if check is not None:
            check()
