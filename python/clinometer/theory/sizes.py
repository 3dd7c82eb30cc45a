"""Numbers of parameters, given or read from the names of models."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from clinometer.common.visible import few

from .arrays import Floats

__all__ = ["counted", "parameters"]

UNITS = {"K": 1e3, "M": 1e6, "B": 1e9, "T": 1e12}


def parameters(name: str) -> float:
    """Parameters that a model's name says: the last number with K, M, B or T behind it.

    >>> parameters("SmolLM2-135M-Instruct"), parameters("1.7B"), parameters("qwen2.5-0.5b")
    (135000000.0, 1700000000.0, 500000000.0)
    """
    found = re.findall(r"(?<![A-Za-z0-9.])(\d+(?:\.\d+)?)([KMBTkmbt])(?![A-Za-z0-9])", name)
    if not found:
        raise ValueError(f"sizes is None and the name {name!r} says no size such as 135M or 1.7B; pass sizes=")
    number, unit = found[-1]
    return float(round(float(number) * UNITS[unit.upper()], 6))


def counted(names: list[str], given: Any) -> Floats:
    if given is None:
        found = [parameters(name) for name in names]
    elif isinstance(given, Mapping):
        if missing := [name for name in names if name not in given]:
            raise ValueError(f"sizes has no entry for {few(missing)}")
        found = [given[name] for name in names]
    elif isinstance(given, (Sequence, np.ndarray)) and not isinstance(given, str):
        found = list(given)
    else:
        raise TypeError(f"sizes is {given!r}, wanted a mapping of name to parameters, or one number a dump")
    count = np.asarray(found, np.float64)
    if count.shape != (len(names),) or not (np.isfinite(count) & (count > 0)).all():
        raise ValueError(f"sizes is {given!r}, wanted {len(names)} finite numbers > 0")
    if len(np.unique(count)) < 2:
        raise ValueError(f"sizes: all models have {count[0]:g} parameters; wanted two sizes or more")
    return count
