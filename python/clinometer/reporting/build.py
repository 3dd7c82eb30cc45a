"""report(): gather every section of a report from one dump."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..cone import ConeResult, pareto_cone
from ..directions import Directions
from ..dump import Dump, open_dump
from ..fit import DirectionFit, EncodingQuality, fit_preference_direction, fit_value_direction
from ..inputs import PASS_OPTIONS, prepare
from ..passes import DEFAULT_KL, cross_covariance, moments, score, tilt
from ..results import TiltResult
from .notes import coverage, diagnostics
from .result import Report
from .summary import classes, summarise, within_sd, without_flat

__all__ = ["report"]

SECTIONS = ("length", "encoding", "cone")
LENGTH = "n_tokens"
FOLDS = 5


def report(
    dump: Any, *, constitutions: Any = None, values: Any, kl: Any = None, pairs: Any = None, u_gen: Any = None,
    texts: Any = None, clusters: Any = None, sections: str | Iterable[str] = "all", **options: Any,
) -> Report:  # fmt: skip
    """Report what tilting the rows by each constitution does to each value (theory 2, 8, Details).

    Gains are E_x E_{pi_C}[f] - E_x E_{pi0}[f] with pi_C proportional to pi0 exp(score / beta), beta solved for
    each KL. Warnings of the passes become the report's notes.

    Parameters
    ----------
    dump : Dump, path or (N, d) array
    constitutions : judge columns, directions, fits or scores (K of them); None: the values act as judges
    values : column names ("-harm": smaller is better), (N,) or (N, J), or Directions
        A column n_tokens is added by itself as the length, outside the class.
    kl : nats, default 0.1, 0.25, 0.5, 1
    pairs : (rows (P, 2), prob (P,)) of within-prompt preferences, fitted to one more constitution
    u_gen : generation direction, fit or column, whose correlation with each value stands beside the judges'
    texts : sequence of texts by row, shown with the rows that the recommended tilt moves most
    clusters : (G,) or a per-prompt column for errors
    sections : "all", or any of "length", "encoding", "cone" beside the tilts
    **options : the base policy and pass options of `tilt`

    Returns
    -------
    Report, axes constitution, KL, value.

    Cost: four passes for the tilts and correlations, folds + 2 matrices of d^2 float64 for cone and encoding.

    >>> import clinometer as cm
    >>> r = cm.report(cm.simulate(n_prompts=60, n_responses=8, dim=4, random_state=1), values=["s"], kl=[0.1])
    >>> r.constitutions, r.tilt.gain.shape
    (('s',), (1, 1, 2))
    """
    chosen = _sections(sections)
    unknown = [name for name in options if name not in PASS_OPTIONS]
    if unknown:
        raise TypeError(f"report has no option {unknown[0]!r}; the pass options are {', '.join(PASS_OPTIONS)}")
    opened = open_dump(dump, prompt_ids=options.pop("prompt_ids", None))
    if clusters is not None:
        options["clusters"] = clusters
    levels = np.atleast_1d(np.asarray(DEFAULT_KL if kl is None else kl))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        opened, names = _values_as_columns(opened, values, options)
        length = _length(opened, names)
        shown = (*names, length) if length is not None and _listed(names, length) is None else names
        judges, self_judged, skipped = _judges(opened, constitutions, pairs, names, options)
        result = tilt(opened, judges, values=list(shown), kl=levels, **options)
        net = _net(opened, judges, shown, levels, length, options) if "length" in chosen else None
        call = prepare(opened, None, list(shown), **options)
        related = cross_covariance(opened, judges, list(shown), **_quiet(options)).correlation
        generation = None
        if u_gen is not None:
            generation = cross_covariance(opened, _direction(u_gen), list(shown), **_quiet(options)).correlation[0]
        sd = within_sd(call)
        fit, cone, missing = _geometry(opened, names, sd, chosen, options)
        made = Report(
            dump=summarise(call), constitutions=result.directions, values=shown, n_requested=len(names),
            self_judged=self_judged, kl=levels.astype(np.float64), tilt=result, net=net, length=length,
            classes=_classes(result, len(names), sd), value_sd=sd, correlation=related,
            generation_correlation=generation, cone=cone, encoding_quality=fit, examples=(), notes=(), not_covered=(),
        )  # fmt: skip
        if texts is not None:
            made = _with(made, examples=_examples(made, opened, judges, texts, options))
    said = [str(w.message) for w in caught if issubclass(w.category, UserWarning)]
    return _with(made, notes=diagnostics(made, [*skipped, *missing, *said]), not_covered=coverage(made))


def _with(made: Report, **changes: Any) -> Report:
    from dataclasses import replace

    return replace(made, **changes)


def _sections(given: str | Iterable[str]) -> frozenset[str]:
    if isinstance(given, str):
        given = SECTIONS if given == "all" else (given,)
    out = frozenset(given)
    if not out <= set(SECTIONS):
        unknown = sorted(map(str, out - set(SECTIONS)))[0]
        raise ValueError(f"sections holds {unknown!r}, wanted 'all' or any of {', '.join(SECTIONS)}")
    return out


def _quiet(options: dict[str, Any]) -> dict[str, Any]:
    return {**options, "progress": None}


def _values_as_columns(dump: Dump, values: Any, options: dict[str, Any]) -> tuple[Dump, tuple[str, ...]]:
    """The values by name; arrays and directions become columns of the dump under names of their own."""
    if isinstance(values, str):
        values = [values]
    if isinstance(values, (list, tuple)) and values and all(isinstance(v, str) for v in values):
        if len(set(values)) < len(values):
            raise ValueError(f"values {values!r} names a value twice")
        return dump, tuple(values)
    if isinstance(values, (Directions, DirectionFit)):
        table: NDArray[Any] = score(dump, values, **options)
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
    return fit_preference_direction(dump, pairs[0], pairs[1], **_quiet(options))


def _direction(u_gen: Any) -> Any:
    if isinstance(u_gen, (str, Directions, DirectionFit)):
        return u_gen
    vector = np.asarray(u_gen, np.float64)
    if vector.ndim != 1:
        raise ValueError(f"u_gen has shape {vector.shape}, wanted (d,), a fit or a column name")
    return vector[None]


def _net(
    dump: Dump,
    judges: list[Any],
    shown: tuple[str, ...],
    kl: Any,
    length: str | None,
    options: dict[str, Any],
) -> TiltResult | None:
    if length is None or not np.isfinite(dump.column(length).astype(np.float64)).all():
        return None
    return tilt(dump, judges, values=list(shown), kl=kl, adjust=length, pareto_k=False, **_quiet(options))


def _classes(result: TiltResult, n: int, sd: NDArray[np.float64]) -> NDArray[np.str_]:
    gain, se = without_flat(result.gain[..., :n], result.gain_se[..., :n], sd[:n])
    return np.stack([classes(gain[:, b], se[:, b]) for b in range(gain.shape[1])], axis=1)


def _geometry(
    dump: Dump, names: tuple[str, ...], sd: NDArray[np.float64], chosen: frozenset[str], options: dict[str, Any]
) -> tuple[EncodingQuality | None, ConeResult | None, list[str]]:
    """Fits of the values, their quality out of fold, and their cone under the within covariance."""
    if not chosen & {"encoding", "cone"}:
        return None, None, []
    within = {**_quiet(options), "within": True}
    n_prompts = prepare(dump, None, list(names), **within).population.n_prompts
    if n_prompts < FOLDS:
        return None, None, [f"cone and encoding quality need at least {FOLDS} prompts, there are {n_prompts}"]
    fit = fit_value_direction(dump, list(names), method="ridge", folds=FOLDS, pooled=False, **within)
    quality = fit.encoding_quality if "encoding" in chosen else None
    if "cone" not in chosen:
        return quality, None, []
    flat = [n for n, v, s in zip(names, fit.vectors, sd[: len(names)], strict=True) if s == 0 or not v.any()]
    if flat:
        return quality, None, [f"no cone: {', '.join(flat)} cannot be told from the rows inside prompts"]
    return quality, pareto_cone(fit.vectors, moments(dump, **within)), []


def _examples(
    made: Report, dump: Dump, judges: list[Any], texts: Any, options: dict[str, Any]
) -> tuple[dict[str, Any], ...]:
    from .moved import moved_rows

    return moved_rows(made, dump, judges, texts, options)
