"""The options that passes share: their names and types for `help`, and the refusal of those a function does not use."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from .visible import did_you_mean

F = TypeVar("F", bound=Callable[..., Any])
# name: (type, default), as every pass takes them; columns go by name or as arrays
_OPTIONS: dict[str, tuple[str, Any]] = {
    "base": ("Literal['sampled', 'counts', 'logprob', 'reweight']", "sampled"),
    "logprobs": ("str | ArrayLike | None", None),
    "counts": ("str | ArrayLike | None", None),
    "proposal_logprobs": ("str | ArrayLike | None", None),
    "prompt_weights": ("str | Mapping[Any, float] | ArrayLike | None", None),
    "prompt_ids": ("str | ArrayLike | None", None),
    "clusters": ("str | Mapping[Any, Any] | ArrayLike | None", None),
    "within": ("bool", True),
    "precision": ("Literal['mixed', 'double']", "mixed"),
    "n_threads": ("int | None", None),
    "progress": ("bool | Callable[[int, int], None] | None", None),
    "check_source": ("bool", True),
}
PASS_OPTIONS = tuple(_OPTIONS)
_OF_DUMPS = ("tensor", "layer", "columns", "policy", "nonfinite", "half_bits", "pool", "prompt_tokens")


def listed(*unused: str) -> Callable[[F], F]:
    """Show the options in the signature of a function that hands ``**options`` on, but for the unused ones."""

    def show(function: F) -> F:
        signature = inspect.signature(function)
        own = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
        named = {p.name for p in own} | set(unused)
        more = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)
            for name, (kind, default) in _OPTIONS.items()
            if name not in named
        ]
        function.__signature__ = signature.replace(parameters=[*own, *more])  # type: ignore[attr-defined]
        return function

    return show


def used(function: str, options: dict[str, Any], **unused: str) -> dict[str, Any]:
    """The options, none of which is among the unused (name: why) unless it has its default."""
    for name, why in unused.items():
        default, given = _OPTIONS[name][1], options.get(name, _OPTIONS[name][1])
        if given is not default and (default is None or given is (not default)):
            raise ValueError(f"{name} is given, but {function} {why}; leave it out")
    return options


def one_by_one(columns: Mapping[str, Any], function: str) -> None:
    """Refuse columns={...} where each column is an argument: it would be one column of that name."""
    held = columns.get("columns")
    if isinstance(held, Mapping) or hasattr(held, "columns"):
        raise TypeError(f"columns is a {type(held).__name__}; {function} takes each column by its name: **columns")


def check_names(given: Iterable[str], known: Iterable[str] = PASS_OPTIONS) -> None:
    """Refuse a name that is no option of a pass, or not among those known."""
    for name in given:
        if name not in known:
            if name in _OF_DUMPS:
                raise TypeError(f"there is no option {name!r} here: pass open_dump(..., {name}=...) as the dump")
            near = did_you_mean(name, known)
            raise TypeError(f"there is no option {name!r}{near}; there are {', '.join(known)}")
