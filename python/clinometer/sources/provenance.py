"""Where rows come from: the known keys of source, sampling and preprocessing, checked; others are kept."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from clinometer.common.visible import quote

_POLICIES = ("on_policy", "off_policy")


def _text(v: Any) -> bool:
    return isinstance(v, str)


def _number(v: Any) -> bool:
    return isinstance(v, (int, float)) and not isinstance(v, bool)


def _natural(v: Any) -> bool:
    return type(v) is int and v >= 0


def _one_of(*values: Any) -> Callable[[Any], bool]:
    return lambda v: v is None or (isinstance(v, str) and v in values)


_Known = Mapping[str, tuple[Callable[[Any], bool], str]]
_SOURCE: _Known = {
    "model": (_text, "a string"),
    "revision": (_text, "a string"),
    "layer": (lambda v: _natural(v) or (_text(v) and v.isdecimal()), "an integer >= 0"),
    "layer_convention": (_text, "a string"),
    "hook": (_text, "a string"),
    "position": (lambda v: _text(v) or type(v) is int, "a string or a token index"),
    "padding_side": (_one_of("left", "right"), '"left" or "right"'),
    "features": (lambda v: isinstance(v, list) and all(map(_text, v)), "a list of strings"),
    "drops": (lambda v: isinstance(v, list) and all(map(_text, v)), "a list of strings"),
    "chat_template_digest": (_text, "a string"),
    "prompt_format": (_one_of("chat", "plain"), '"chat" or "plain"'),
}
_SAMPLING: _Known = {
    "temperature": (_number, "a number"),
    "top_p": (_number, "a number"),
    "logprob": (_one_of("sum", "mean"), '"sum", "mean" or None'),
}
_PREPROCESSING: _Known = {
    "centered": (lambda v: isinstance(v, bool), "a boolean"),
    "whitened": (lambda v: isinstance(v, bool), "a boolean"),
    "stats_file": (lambda v: v is None or _text(v), "a file name or None"),
}


def as_json(value: Any, name: str) -> str:
    """Strict JSON; what JSON does not hold is a ValueError that names the argument."""
    try:
        json.dumps(value, ensure_ascii=False).encode("utf-8")  # halves of characters would not be read again
        return json.dumps(value, indent=1, ensure_ascii=True, allow_nan=False)
    except (TypeError, ValueError) as exc:
        raise ValueError(f"{name} cannot be written as JSON: {exc}") from exc


def _checked(value: Any, name: str, known: _Known) -> dict[str, Any]:
    if value is not None and not isinstance(value, Mapping):
        raise TypeError(f"{name} is a {type(value).__name__}; a mapping is wanted")
    out: dict[str, Any] = json.loads(as_json(dict(value or {}), name))
    for key, (test, wanted) in known.items():
        if out.get(key) is not None and not test(out[key]):
            raise ValueError(f"{name}[{key!r}] is {quote(repr(out[key]))}; {wanted} is wanted")
    return out


def as_policy(policy: Any) -> str | None:
    """Who wrote the responses."""
    if policy is not None and policy not in _POLICIES:
        raise ValueError(f"policy is {quote(policy)}; 'on_policy', 'off_policy' or None is wanted")
    return policy  # type: ignore[no-any-return]


def as_source(source: Any) -> dict[str, Any]:
    """Model, layer, position and the like."""
    return _checked(source, "source", _SOURCE)


def as_sampling(sampling: Any, policy: str | None) -> dict[str, Any]:
    """How responses were sampled; the policy is among it in the manifest."""
    out = _checked(sampling, "sampling", _SAMPLING)
    said = as_policy(out.pop("policy", None))
    if policy is not None and said is not None and said != policy:
        raise ValueError(f"policy is {policy!r} but sampling['policy'] is {said!r}")
    return {"policy": policy if policy is not None else said, **out}


def as_preprocessing(preprocessing: Any) -> dict[str, Any]:
    """What was done to the rows."""
    return _checked(preprocessing, "preprocessing", _PREPROCESSING)
