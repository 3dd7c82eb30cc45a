"""The public float fields of every result, and how one of them is made wrong.

A mutant is a field and a factor: from the moment a result is built, every float in that field (in arrays, tuples and
dicts too) is the factor times what it should be. `dataclasses.replace` carries a field that has been multiplied and
does not multiply it again, so this module is imported before the package.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import pkgutil
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

Seen = Callable[[str, bool], None]

ROWS = "Report rows"  # what to_frame, to_csv and check give of a report
BEHIND_METHODS = ("_gain_cov", "_cov", "_cov_labels", "_estimate_units")  # gain_cov, cov and at
PARTS = {("EncodingQuality", "made")}  # a part, of which another of its kind is put together: class, function
UNTOUCHED = ("bench", "reference", "_core", "__main__", "trl")  # no results in them; trl wants transformers

_carried: dict[type, set[str]] = {}
_replace = dataclasses.replace


def _remembering(obj: Any, /, **changes: Any) -> Any:
    _carried[type(obj)] = {f.name for f in dataclasses.fields(obj)} - set(changes)
    try:
        return _replace(obj, **changes)
    finally:
        _carried.pop(type(obj), None)


dataclasses.replace = _remembering


def results() -> list[type]:
    """Every class of results, all modules of the package imported."""
    import clinometer
    from clinometer.common.results import Result

    for found in pkgutil.walk_packages(clinometer.__path__, "clinometer."):
        if found.name.split(".")[1] not in UNTOUCHED:
            importlib.import_module(found.name)

    def below(cls: type) -> Iterator[type]:
        for sub in cls.__subclasses__():
            yield sub
            yield from below(sub)

    return sorted((c for c in below(Result) if c.__module__.startswith("clinometer.")), key=lambda c: c.__name__)


def declared(cls: type) -> list[str]:
    """Fields and properties of a class that are floats by their annotation."""
    fields = [f.name for f in dataclasses.fields(cls) if _is_float(f.type) and _in_scope(f.name)]
    return fields + [f"{name}()" for name, get in _properties(cls) if _is_float(get.__annotations__.get("return"))]


def _is_float(annotation: Any) -> bool:
    return "Floats" in str(annotation) or "float" in str(annotation)


def _is_name(annotation: Any) -> bool:
    """Names of layers, and ids, which may be floats."""
    return str(annotation).startswith(("tuple[Any", "NDArray[Any]"))


def _in_scope(name: str) -> bool:
    if name == "source":  # what a dump says of its model
        return False
    return not name.startswith("_") or name in BEHIND_METHODS


def _properties(cls: type) -> Iterator[tuple[str, Callable[[Any], Any]]]:
    for name in dir(cls):
        if name != "state" and not name.startswith("_"):
            found = getattr(cls, name)
            if isinstance(found, property) and found.fget is not None:
                yield name, found.fget
            elif isinstance(found, functools.cached_property):
                yield name, found.func


def times(x: Any, factor: float) -> Any:
    """The same with every float multiplied; whole numbers, words and other results as they are."""
    if isinstance(x, (float, np.floating)):
        return x * factor
    if isinstance(x, np.ndarray) and np.issubdtype(x.dtype, np.floating):
        return x * x.dtype.type(factor)
    if isinstance(x, dict):
        return {k: times(v, factor) for k, v in x.items()}
    if isinstance(x, (list, tuple)) and not hasattr(x, "_fields"):
        return type(x)(times(v, factor) for v in x)
    return x


def visible(x: Any) -> bool | None:
    """Whether a factor changes anything: some float is neither 0 nor NaN nor infinite; None without floats."""
    if isinstance(x, (float, np.floating)) or (isinstance(x, np.ndarray) and np.issubdtype(x.dtype, np.floating)):
        return bool(np.any(np.isfinite(x) & (np.asarray(x) != 0)))
    if isinstance(x, dict):
        return visible(list(x.values()))
    if isinstance(x, (list, tuple)):
        found = [v for v in map(visible, x) if v is not None]
        return any(found) if found else None
    return None


def watch(classes: list[type], seen: Seen) -> None:
    """Call seen("Class.field", visible) for the floats of every result that is built from now on."""
    for cls in classes:
        names = [f.name for f in dataclasses.fields(cls) if _in_scope(f.name) and not _is_name(f.type)]

        def look(self: Any, cls: type = cls, names: list[str] = names) -> None:
            for name in names:
                if (found := visible(getattr(self, name))) is not None:
                    seen(f"{cls.__name__}.{name}", found)

        _after_init(cls, look)
        for name, get in _properties(cls):

            def keep(x: Any, key: str = f"{cls.__name__}.{name}()") -> Any:
                if (found := visible(x)) is not None:
                    seen(key, found)
                return x

            _after_get(cls, name, get, keep)

    def rows(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
        for name in found[0] if found else ():
            if (some := visible([row[name] for row in found])) is not None:
                seen(f"{ROWS}.{name}", some)
        return found

    _after_records(rows)


def mutate(cls: type | None, name: str, factor: float) -> None:
    """Make a field, a property "name()", or without a class a column of a report's rows, come out multiplied."""
    if cls is None:
        _after_records(lambda found: [{**row, name: times(row[name], factor)} for row in found])
    elif name.endswith("()"):
        _after_get(cls, name[:-2], dict(_properties(cls))[name[:-2]], lambda x: times(x, factor))
    else:
        _after_init(cls, lambda self: object.__setattr__(self, name, times(getattr(self, name), factor)), name)


def _after_init(cls: type, then: Callable[[Any], None], name: str | None = None) -> None:
    before = cls.__init__

    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        carried = _carried.pop(type(self), ())
        before(self, *args, **kwargs)
        if name not in carried and (cls.__name__, sys._getframe(1).f_code.co_name) not in PARTS:
            then(self)

    cls.__init__ = init


def _after_get(cls: type, name: str, get: Callable[[Any], Any], then: Callable[[Any], Any]) -> None:
    setattr(cls, name, property(lambda self: then(get(self)), doc=get.__doc__))


def _after_records(then: Callable[[Any], Any]) -> None:
    from clinometer.reporting import export

    before = export.records
    export.records = lambda report: then(before(report))
