"""The kinds of arrays that people have, each made from a NumPy array: what the intake is tried with."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import numpy as np

Array = Any


class SpeaksDlpack:
    """DLPack alone."""

    def __init__(self, array: Array) -> None:
        self._array = array

    def __dlpack__(self, **options: Any) -> Any:
        return self._array.__dlpack__(**options)

    def __dlpack_device__(self) -> Any:
        return self._array.__dlpack_device__()


class SpeaksArray:
    """`__array__` alone."""

    def __init__(self, array: Array) -> None:
        self._array = array

    def __array__(self, dtype: Any = None, copy: Any = None) -> Array:
        return np.asarray(self._array, dtype)


def _module(name: str) -> Any:
    return importlib.import_module(name)


def _torch(dtype: str | None = None, grad: bool = False, inference: bool = False) -> Callable[[Array], Any]:
    def make(a: Array) -> Any:
        torch = _module("torch")
        with torch.inference_mode(inference):
            out = torch.tensor(a)
            out = out if dtype is None else out.to(getattr(torch, dtype))
        return out.requires_grad_() if grad else out

    return make


def _jax(dtype: str | None = None) -> Callable[[Array], Any]:
    def make(a: Array) -> Any:
        if a.dtype.kind not in ("f" if dtype else "fi"):
            _no()
        return _module("jax.numpy").asarray(a, dtype)

    return make


def _table(a: Array, names: list[str] | None = None) -> dict[str, Array]:
    if a.ndim == 1:
        return {"one" if names is None else names[0]: a}
    return {f"c{k}" if names is None else names[k]: np.ascontiguousarray(a[:, k]) for k in range(a.shape[1])}


def _arrow(a: Array) -> Any:
    pa = _module("pyarrow")
    if a.ndim == 1:
        return pa.array(a)
    return pa.FixedSizeListArray.from_arrays(pa.array(a.reshape(-1)), a.shape[1])


def _chunked(a: Array) -> Any:
    pa = _module("pyarrow")
    return pa.chunked_array([_arrow(a[: len(a) // 3]), _arrow(a[len(a) // 3 :])])


# name: (library or None, maker); a maker raises TypeError for what the kind cannot hold
CARRIERS: dict[str, tuple[str | None, Callable[[Array], Any]]] = {
    "NumPy": (None, lambda a: a),
    "NumPy masked": (None, np.ma.masked_array),
    "NumPy StringDType": (None, lambda a: a.astype(np.dtypes.StringDType()) if a.dtype.kind == "U" else _no()),
    "list": (None, lambda a: a.tolist()),
    "mapping of names": (None, lambda a: _table(a)),
    "list of Decimal": (
        None, lambda a: [Decimal(str(x)) for x in a.tolist()] if a.dtype.kind in "fi" and a.ndim == 1 else _no()
    ),
    "JAX": ("jax", _jax()),
    "JAX bfloat16": ("jax", _jax("bfloat16")),
    "`__dlpack__` (others)": (None, lambda a: SpeaksDlpack(a) if a.dtype.kind in "fi" else _no()),
    "`__array__` (others)": (None, SpeaksArray),
    "torch": ("torch", lambda a: _torch()(a) if a.dtype.kind in "fi" else _no()),
    "torch bfloat16": ("torch", lambda a: _torch("bfloat16")(a) if a.dtype.kind == "f" else _no()),
    "torch, requires grad": ("torch", lambda a: _torch(grad=True)(a) if a.dtype.kind == "f" else _no()),
    "torch, inference mode": ("torch", lambda a: _torch(inference=True)(a) if a.dtype.kind in "fi" else _no()),
    "pandas Series": ("pandas", lambda a: _module("pandas").Series(a) if a.ndim == 1 else _no()),
    "pandas Series, nullable": (
        "pandas", lambda a: _module("pandas").Series(a).convert_dtypes() if a.ndim == 1 else _no()
    ),
    "pandas DataFrame": ("pandas", lambda a: _module("pandas").DataFrame(_table(a))),
    "xarray DataArray": ("xarray", lambda a: _module("xarray").DataArray(a)),
    "polars Series": ("polars", lambda a: _module("polars").Series(a)),
    "polars DataFrame": ("polars", lambda a: _module("polars").DataFrame(_table(a))),
    "pyarrow Array": ("pyarrow", _arrow),
    "pyarrow ChunkedArray": ("pyarrow", _chunked),
    "pyarrow dictionary": ("pyarrow", lambda a: _arrow(a).dictionary_encode() if a.ndim == 1 else _no()),
    "pyarrow Table": ("pyarrow", lambda a: _module("pyarrow").table(_table(a))),
    "Hugging Face Dataset": ("datasets", lambda a: _module("datasets").Dataset.from_dict(_table(a))),
    "column of a Dataset": (
        "datasets", lambda a: _module("datasets").Dataset.from_dict({"c": a.tolist()})["c"]
    ),
}  # fmt: skip


def _no() -> Any:
    raise TypeError("this kind does not hold such an array")


def available() -> Iterator[str]:
    """The kinds whose library is here."""
    for name, (library, _) in CARRIERS.items():
        if library is None or importlib.util.find_spec(library) is not None:
            yield name


def made(name: str, array: Array) -> Any:
    """An array in a carrier; TypeError where the kind does not hold such ones."""
    return CARRIERS[name][1](array)
