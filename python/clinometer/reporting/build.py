"""report(): gather every section of a report from one dump."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clinometer.arrays.carriers import carried
from clinometer.common.notices import listening
from clinometer.common.options import check_names, listed
from clinometer.dump import Dump, open_dump
from clinometer.dump.directions import Directions
from clinometer.engine.checks import DEFAULT_KL, checked_kl
from clinometer.engine.inputs import prepare
from clinometer.engine.passes import cross_covariance, score
from clinometer.errors import DumpChangedError
from clinometer.fit import DirectionFit, fit_preference_direction
from clinometer.fit.value import Fitting
from clinometer.inference.tails import reach
from clinometer.lp.pareto_cone import ConeResult
from clinometer.values import found_in_texts

from . import encoding_sections, inference_sections
from .export import command
from .foundation import Scene, gather
from .notes import coverage, diagnostics, needs
from .responses import moved_rows
from .result import Report
from .summary import classes, summarise, without_flat
from .verdict import choose, trusted

SECTIONS = (
    "length", "encoding", "cone", "intervals", "null", "selection", "pareto", "baselines", "iterate", "spectrum",
    "layers",
)  # fmt: skip
WITHIN = ("intervals", "null", "selection", "pareto", "baselines", "iterate")  # of tilts inside prompts alone
LENGTH = "n_tokens"
_ERRORS = ("within", "clusters")  # options of tilts and errors, which scores have not


@listed()
def report(
    dump: Any, *, constitutions: Any = None, values: Any, kl: ArrayLike | None = None,
    pairs: tuple[ArrayLike, ArrayLike] | None = None, u_gen: Any = None, texts: Sequence[str] | None = None,
    clusters: str | Mapping[Any, Any] | ArrayLike | None = None,
    groups: str | Sequence[str] | Mapping[str, ArrayLike] | None = None, gold: Any = None,
    sections: str | Iterable[str] = "all", **options: Any,
) -> Report:  # fmt: skip
    """Report what tilting the rows by each constitution does to each value (theory 2.9, 8.4 and 10.4).

    Gains are E_x E_{pi_C}[f] - E_x E_{pi0}[f] with pi_C proportional to pi0 exp(score / beta), beta solved for
    each KL. Warnings of the passes become the report's notes, and so does why a section cannot be had.

    Parameters
    ----------
    dump : Dump, path or (N, d) array
    constitutions : judge columns, directions, fits or scores (K of them); None: the values act as judges
    values : column names ("-harm": smaller is better), (N,) or (N, J), Directions, or values of the dump's texts: names
        such as "words" and "regex:PATTERN", and functions of a text (`clinometer.values`)
        A column n_tokens is added by itself as the length, outside the class.
    kl : nats, default 0.1, 0.25, 0.5, 1
    pairs : (rows (P, 2), prob (P,)) of within-prompt preferences, fitted to one more constitution
    u_gen : generation direction, fit or column, whose correlation with each value stands beside the judges'
    texts : sequence of texts by row, default the dump's own, shown with the rows the recommended tilt changes most
    clusters : (G,) or a per-prompt column for errors
    groups : per-prompt columns that split the table into subgroups, or a mapping of name to labels: by prompt id, or
        (G,) or (N,) in the dump's order, as `clusters`; whole numbers or strings, none missing
    gold : gold labels of the values on some prompts, as `ppi_gain` takes them; they correct the gains: of the policy,
        of the rows, net of length, of groups and of halves. What stays of the values as given says so
    sections : "all", or any of "length", "encoding", "cone", "intervals", "null", "selection", "pareto",
        "baselines", "iterate", "spectrum", "layers" beside the tilts
        Without "encoding" the cone is that of the labels themselves, of scores of any kind.
    **options : the base policy and pass options of `tilt`

    Returns
    -------
    Report, axes constitution, KL, value.

    Cost: one read for the scores and one for the null band; everything else runs on 8 N K bytes of kept scores.
    "encoding" fits the values in one covariance pass and three of N d, with (5 + 1) d^2 float64, which serve the cone
    and the simpler measures too ("baselines" without it is one read more), and "layers" does so for each site.
    "spectrum" takes that covariance where some value is complete; else seven passes of 32 directions, or a covariance
    of its own up to d = 512.

    Errors: ValueError where a column is not in the dump, a kl is not above 0, or a section is unknown; DumpError
    for NaN or Inf in a row.

    >>> import clinometer as cm
    >>> r = cm.report(cm.simulate(n_prompts=60, n_responses=8, dim=4, random_state=1), values=["s"], kl=[0.1])
    >>> r.constitutions, r.tilt.gain.shape
    (('s',), (1, 1, 2))
    """
    chosen = _sections(sections)
    check_names(options, list(inspect.signature(report).parameters))
    given = {
        "constitutions": constitutions, "values": values, "kl": kl, "pairs": pairs, "u_gen": u_gen, "texts": texts,
        "clusters": clusters, "groups": groups, "gold": gold,
        "sections": None if sections == "all" else sorted(chosen), **options,
    }  # fmt: skip
    opened = open_dump(dump, prompt_ids=options.pop("prompt_ids", None))
    if clusters is not None:
        options["clusters"] = clusters
    levels = checked_kl(DEFAULT_KL if kl is None else kl)
    with listening() as said:
        opened, names = _values_as_columns(*found_in_texts(opened, values), options)
        length = _length(opened, names)
        shown = (*names, length) if length is not None and _listed(names, length) is None else names
        judges, self_judged, skipped = _judges(opened, constitutions, pairs, names, options)
        if not options.get("within", True):
            left = sorted(chosen & set(WITHIN))
            skipped += [f"within=False: no {', '.join(left)}, which are of tilts inside prompts"] if left else []
            chosen -= set(WITHIN)
        s = gather(
            opened, judges, shown, len(names), levels, length, options, variances="null" in chosen,
            folds=encoding_sections.FOLDS if "baselines" in chosen else 0, net="length" in chosen, gold=gold,
        )  # fmt: skip
        made = _first(s, self_judged, chosen, u_gen)
        made = replace(made, **_inside(s, made, chosen), **_fits(s, chosen, pairs), groups=s.groups(groups))
        shown_texts = opened.texts if texts is None else texts
        if shown_texts is not None:
            made = replace(made, examples=moved_rows(made, s.call, s.kept, shown_texts))
    made = replace(made, needs=needs(made), command=command(opened, given))
    notes = diagnostics(made, [*skipped, *s.notes, *said])
    return replace(made, notes=notes, not_covered=coverage(made))


def _first(s: Scene, self_judged: bool, chosen: frozenset[str], u_gen: Any) -> Report:
    """The report of the tilts alone, with what is read off the scores."""
    generation = None
    if u_gen is not None:
        quiet = {**s.options, "progress": None}
        generation = cross_covariance(s.dump, _direction(u_gen, s.dump), list(s.values), **quiet).correlation[0]
    made = Report(
        dump=summarise(s.call), constitutions=s.tilt.directions, values=s.values, n_requested=s.n_requested,
        self_judged=self_judged, kl=s.levels, tilt=s.shown_tilt, net=s.net(),
        policy=s.policy, horizon=s.horizon, compared=1.0, gold=s.gold,
        length=s.length, classes=np.zeros((0, 0), str), value_sd=s.sd, correlation=s.correlation(),
        generation_correlation=generation, cone=None, encoding_quality=None, examples=(), notes=(), not_covered=(),
        **inference_sections.value_correlation(s),
    )  # fmt: skip
    return replace(made, classes=_classes(made), compared=s.policy.comparisons(trusted(made), made.n_requested))


def _inside(s: Scene, made: Report, chosen: frozenset[str]) -> dict[str, Any]:
    """Sections on kept scores."""
    out: dict[str, Any] = {}
    makers: dict[str, Callable[[], dict[str, Any]]] = {
        "intervals": lambda: inference_sections.intervals(s), "null": lambda: inference_sections.null(s),
        "selection": lambda: inference_sections.selection(s, made.compared),
        "pareto": lambda: inference_sections.mixtures(s),
        "iterate": lambda: inference_sections.rounds(s, choose(made).index),  # type: ignore[union-attr]
    }  # fmt: skip
    for name, make in makers.items():
        if name in chosen:
            out |= _tried(s, name, make) or {}
    return out


def _tried(s: Scene, name: str, make: Callable[[], Any]) -> Any:
    """A section, or None and a note that says why it cannot be had."""
    try:
        return make()
    except DumpChangedError:  # the other sections are of other rows
        raise
    except ValueError as error:
        s.notes.append(f"no {name}: {error}")
        return None


def _fits(s: Scene, chosen: frozenset[str], pairs: Any) -> dict[str, Any]:
    """Sections that rest on directions fitted to the values, which are fitted once."""
    out: dict[str, Any] = {}
    wanted = bool(chosen & {"encoding", "layers"})
    fitting = _tried(s, "encoding", lambda: encoding_sections.fitted(s)) if wanted else None
    fit = None if fitting is None else fitting.fit
    vectors = None if fit is None else fit.vectors[: s.n_requested]
    if "encoding" in chosen:
        out["linear_share"] = encoding_sections.linear_share(s, fit)
        if fit is not None:
            out["encoding_quality"] = encoding_sections.quality(s, fit)
    cone = None
    if chosen & {"cone", "layers"} and not (wanted and fit is None):
        cone = _value_cone(s, fitting)
    if "cone" in chosen:
        out["cone"] = cone
    if "baselines" in chosen:
        out["baselines"] = _tried(s, "baselines", lambda: encoding_sections.baselines(s, fitting))
    if "spectrum" in chosen:
        out["spectrum"] = _tried(s, "spectrum", lambda: encoding_sections.spectrum(s, vectors, fitting))
    if "layers" in chosen and fit is not None and len(s.dump.candidates) > 1:
        out["layers"] = _tried(s, "layers", lambda: encoding_sections.layers(s, fit, cone, pairs))
    return out


def _value_cone(s: Scene, fitting: Fitting | None) -> ConeResult | None:
    """The cone of the fitted directions, or of the labels; None with a note where a value is flat."""
    n = s.n_requested
    blank = [False] * n if fitting is None else [not v.any() for v in fitting.fit.vectors[:n]]
    flat = [v for v, none, sd in zip(s.values, blank, s.sd, strict=False) if none or not sd > 0]
    if flat:
        s.notes.append(f"no cone: {', '.join(flat)} cannot be told from the rows inside prompts")
        return None
    if fitting is None:
        return _tried(s, "cone", lambda: encoding_sections.label_cone(s))  # type: ignore[no-any-return]
    vectors, scores = fitting.fit.vectors[:n], fitting.scores[:, :n]
    return _tried(s, "cone", lambda: encoding_sections.value_cone(s, scores, vectors))  # type: ignore[no-any-return]


def _sections(given: str | Iterable[str]) -> frozenset[str]:
    if isinstance(given, str):
        given = SECTIONS if given == "all" else (given,)
    out = frozenset(given)
    if not out <= set(SECTIONS):
        unknown = sorted(map(str, out - set(SECTIONS)))[0]
        raise ValueError(f"sections holds {unknown!r}, wanted 'all' or any of {', '.join(SECTIONS)}")
    return out


def _values_as_columns(dump: Dump, values: Any, options: dict[str, Any]) -> tuple[Dump, tuple[str, ...]]:
    """The values by name; arrays and directions become columns of the dump under names of their own."""
    if isinstance(values, str):
        values = [values]
    if isinstance(values, (list, tuple)) and values and all(isinstance(v, str) for v in values):
        if len(set(values)) < len(values):
            raise ValueError(f"values {values!r} names a value twice")
        return dump, tuple(values)
    if isinstance(values, (Directions, DirectionFit)):
        table: NDArray[Any] = score(dump, values, **{n: v for n, v in options.items() if n not in _ERRORS})
        names = tuple(map(str, values.names))
    else:
        call = prepare(dump, None, values, **options)
        if call.values is None or call.n_values == 0:
            raise ValueError("values is empty, wanted at least one value")
        table, names = call.values, call.value_names
    held = {n if not dump.has_column(n) else f"value:{n}": table[:, j] for j, n in enumerate(names)}
    return dump.with_options(columns=dump.columns.merged(held)), tuple(held)


def _length(dump: Dump, names: tuple[str, ...]) -> str | None:
    """The length column's name where there is a numeric one."""
    if not dump.has_column(LENGTH) or dump.column(LENGTH).dtype.kind not in "fiub":
        return None
    return LENGTH


def _listed(names: tuple[str, ...], length: str) -> str | None:
    return next((n for n in names if n in (length, "-" + length)), None)


def _judges(
    dump: Dump, constitutions: Any, pairs: Any, names: tuple[str, ...], options: dict[str, Any]
) -> tuple[list[Any], bool, list[str]]:
    """What tilts: constitutions and pairs, else those values that are complete."""
    judges: list[Any] = []
    if constitutions is not None:
        many = isinstance(constitutions, (list, tuple)) and any(
            not np.isscalar(c) or isinstance(c, str) for c in constitutions
        )
        judges += list(constitutions) if many else [constitutions]
    if pairs is not None:
        judges.append(_pair_fit(dump, pairs, options))
    if judges:
        return judges, False, []
    call = prepare(dump, None, list(names))
    complete = ~np.isnan(np.asarray(call.values)).any(axis=0)
    skipped = [
        f"{n} has unlabelled rows, so it cannot act as a judge" for n, c in zip(names, complete, strict=True) if not c
    ]
    kept = [n for n, c in zip(names, complete, strict=True) if c]
    if not kept:
        raise ValueError("constitutions is None and every value has unlabelled rows; pass constitutions=")
    return kept, True, skipped


def _pair_fit(dump: Dump, pairs: Any, options: dict[str, Any]) -> DirectionFit:
    if not isinstance(pairs, (list, tuple)) or len(pairs) != 2:
        raise ValueError("pairs must be (rows (P, 2), prob (P,)), within-prompt row numbers and preferences")
    return fit_preference_direction(dump, pairs[0], pairs[1], **{**options, "progress": None})


def _direction(u_gen: Any, dump: Dump) -> Any:
    if isinstance(u_gen, str):
        return _known(dump, u_gen)
    if isinstance(u_gen, (Directions, DirectionFit)):
        return u_gen
    vector = carried(u_gen, "u_gen").array
    if vector.shape != (dump.dim,):
        raise ValueError(
            f"u_gen has shape {vector.shape}, wanted ({dump.dim},), a number for each column of the rows; or a fit, "
            "or the name of a column"
        )
    return vector if isinstance(u_gen, (list, tuple)) else u_gen


def _known(dump: Dump, u_gen: str) -> str:
    """The name of a column or of its negative; what reads it would take a missing one for a constitution."""
    if not dump.has_column(u_gen):
        try:
            dump.resolve_column(u_gen.removeprefix("-"))
        except ValueError as error:
            raise ValueError(f"u_gen: {error}") from None
    return u_gen


def _classes(made: Report) -> NDArray[np.str_]:
    """By the 95 % bounds that the table shows."""
    n = made.n_requested
    half = reach(made.gain_interval, made.gain)
    gain, half = without_flat(made.gain[..., :n], half[..., :n], made.value_sd[:n])
    return np.stack([classes(gain[:, b], half[:, b], z=1.0) for b in range(gain.shape[1])], axis=1)
