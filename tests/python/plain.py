"""A comparison that no float field of a result escapes, and the sums over prompts that it is made against."""

from __future__ import annotations

import dataclasses
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clinometer.verify.worlds import Prompts, error

__all__ = ["Floats", "Prompts", "agree", "error", "freedom"]

Floats = NDArray[np.float64]


def agree(found: Any, want: dict[str, Any], *, apart: str = "", rtol: float = 1e-9, atol: float = 1e-13) -> None:
    """Every public float field and property of `found` is what `want` says, and each one is in it or in `apart`.

    `apart` names the fields that another test takes. A field that nobody takes fails: new fields need their law.
    """
    named = {f.name: f.type for f in dataclasses.fields(found)}
    named |= {k: get.__annotations__.get("return") for k in dir(type(found)) if (get := _getter(type(found), k))}
    floats = {k for k, v in named.items() if ("Floats" in str(v) or "float" in str(v)) and not k.startswith("_")}
    assert set(want) | set(apart.split()) >= floats, f"without a law: {floats - set(want) - set(apart.split())}"
    for name, value in want.items():
        x, y = np.asarray(getattr(found, name), float), np.asarray(value, float)
        assert x.shape == y.shape, f"{name} has shape {x.shape}, wanted {y.shape}"
        np.testing.assert_allclose(x, y, rtol=rtol, atol=atol, err_msg=name)


def freedom(psi: Floats) -> Floats:
    """Degrees of freedom of an error from equal units (C, ...) of these influences, by Satterthwaite: a variance is
    known the worse, the further their kurtosis is above 3."""
    n, square = len(psi), (psi**2).sum(axis=0)
    return np.asarray(2 / (2 / (n - 1) + np.maximum((psi**4).sum(axis=0) / square**2 - 3 / n, 0)))


def _getter(cls: type, name: str) -> Any:
    p = getattr(cls, name, None)
    return (
        None
        if name == "state"
        else p.fget
        if isinstance(p, property)
        else p.func
        if isinstance(p, cached_property)
        else None
    )
