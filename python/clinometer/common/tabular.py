"""Results as tables: named axes, labels of their entries, cells in long form, pandas and xarray.

A result class says once which axes its arrays have (`Result.axes`); everything here follows from that. Cells and
labels are plain NumPy, so that notebooks show tables without pandas.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from .results import Result

Dims = tuple[str, ...]
Variables = dict[str, tuple[Dims, NDArray[Any]]]
# fields that name the entries of an axis, where it is not the axis's own name or its plural
LABELS = {
    "direction": ("directions", "names", "judges", "constitutions"), "value": ("values", "value_names"),
    "constitution": ("constitutions", "directions"),
}  # fmt: skip
BOUNDS = ("lower", "upper")
RENAMED = {"value": "estimate"}  # a field with the name of an axis
UNITS = {
    "kl": "nats", "kl_reached": "nats", "reverse_kl": "nats", "kl_horizon": "nats", "log_partition": "nats",
    "log_partition_centred": "nats", "kl_step": "nats", "stop_kl": "nats", "kl_bound": "nats", "peak_kl": "nats",
    "oracle_kl": "nats", "oracle_kl_max": "nats", "curve_kl": "nats", "pool_kl": "nats", "mixture_kl": "nats",
    "member_kl": "nats", "levels": "nats", "betas": "score units per nat", "half_angle": "radians",
    "drift": "radians", "drift_a": "radians", "gain": "units of the value", "gain_se": "units of the value",
    "ess": "share of a prompt's responses",
}  # fmt: skip


def variables(result: Result) -> Variables:
    """Arrays of a result and of the results inside it, each with the names of its axes."""
    held = result.to_dict()
    out: Variables = {}
    for dims, fields in result.axes.items():
        for name in fields.split():
            if (value := held.get(name)) is not None:
                array = np.asarray(value)
                found = _resolved(dims.split(), array.ndim, f"{type(result).__name__}.{name}")
                if found or isinstance(value, np.ndarray):
                    out[name] = found, array
    for name, value in held.items():
        if hasattr(type(value), "axes"):
            out |= {f"{name}.{inner}": one for inner, one in variables(value).items()}
    return out


def _resolved(dims: list[str], ndim: int, where: str) -> Dims:
    """Axes of an array of `ndim` axes: "name?" may be missing in front, "..." stands for any number of them."""
    if dims[:1] == ["..."]:
        extra = ndim - len(dims) + 1
        return (*(f"batch_{i + 1}" for i in range(extra)), *dims[1:])
    if dims and dims[0].endswith("?"):
        dims = [dims[0][:-1], *dims[1:]][len(dims) - ndim :]
    if len(dims) != ndim:
        raise TypeError(f"{where} has {ndim} axes and its class names {dims}")
    return tuple(dims)


def scalars(result: Result) -> dict[str, Any]:
    """What a result holds beside arrays: numbers, words and lists of them, None left out."""
    arrays = variables(result)
    out: dict[str, Any] = {}
    used = {field for _, field in labels_of(result, arrays).values()}
    for name, value in result.to_dict().items():
        if hasattr(type(value), "axes"):
            out |= {f"{name}.{inner}": held for inner, held in scalars(value).items()}
        elif name not in arrays and name not in used and value is not None:
            out[name] = _plain(value)
    return out


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic) or (isinstance(value, np.ndarray) and value.ndim == 0):
        return value.item()
    if isinstance(value, (tuple, list)):
        return [_plain(v) for v in value]
    return json.dumps(value, default=str) if isinstance(value, dict) else value


def sizes_of(arrays: Variables) -> dict[str, int]:
    return {d: n for dims, a in arrays.values() for d, n in zip(dims, a.shape, strict=True)}


def labels_of(result: Result, arrays: Variables) -> dict[str, tuple[NDArray[Any], str]]:
    """Labels of the entries of each axis that has them, with the field they come from."""
    held, out = result.to_dict(), {}
    for dim, size in sizes_of(arrays).items():
        stem = dim.removesuffix("_2")
        if dim == "bound":
            out[dim] = np.array(BOUNDS), ""
            continue
        for field in (*LABELS.get(stem, ()), stem + "s", stem):
            given = held.get(field)
            a = np.asarray(given) if isinstance(given, (tuple, np.ndarray)) else np.zeros(0)
            if a.ndim == 2 and field == "betas" and len(a) and (a == a[0]).all():
                a = a[0]
            if a.ndim == 1 and len(a) == size:
                out[dim] = a, field
                break
    return out


def _main(result: Result, arrays: Variables) -> Dims:
    """Axes of the long table: those of the first array the class names."""
    fields = next(iter(result.axes.values()), "").split()
    return next((arrays[f][0] for f in fields if f in arrays), ())


def cells(result: Result) -> dict[str, NDArray[Any]]:
    """Columns of the long table: a row for every cell of the first axes that the class of the result names.

    Arrays over some of those axes are repeated along the others; one more axis with names spreads into columns
    ("ci_lower", "values[helpful]"); arrays with other axes are left out. Without axes: one row of scalars.
    """
    arrays = variables(result)
    main, labels = _main(result, arrays), labels_of(result, arrays)
    if not main:
        return {k: np.array([v]) for k, v in _flat(scalars(result)).items() if not isinstance(v, list)}
    sizes = sizes_of(arrays)
    shape = tuple(sizes[d] for d in main)
    columns: dict[str, NDArray[Any]] = {}
    spent = set()
    for axis, dim in enumerate(main):
        own, field = labels.get(dim, (None, ""))
        if own is None and dim + "s" in arrays and set(arrays[dim + "s"][0]) <= set(main):
            field = dim + "s"  # its entries differ along other axes, as betas solved from KL do
            own_dims, values = arrays[field]
        else:
            own_dims, values = (dim,), np.arange(shape[axis]) if own is None else own
        columns[dim] = _spread(values, own_dims, main, shape)
        spent.add(field)
    for field, (dims, a) in arrays.items():
        if field in spent:
            continue
        name = _called(field, sizes)
        if set(dims) <= set(main):
            columns[name] = _spread(a, dims, main, shape)
        elif set(dims[:-1]) == set(main) and dims[-1] in labels:
            for i, label in enumerate(labels[dims[-1]][0]):
                column = f"{name}_{label}" if dims[-1] == "bound" else f"{name}[{label}]"
                columns[column] = _spread(a[..., i], dims[:-1], main, shape)
    return columns


def _called(field: str, sizes: dict[str, int]) -> str:
    return RENAMED.get(field, field + "_") if field in sizes else field


def _flat(held: dict[str, Any]) -> dict[str, Any]:
    """Short lists of numbers spread over columns, as responses_1, responses_2."""
    out: dict[str, Any] = {}
    for name, value in held.items():
        if isinstance(value, list) and len(value) <= 4:
            out |= {f"{name}_{i + 1}": v for i, v in enumerate(value)}
        else:
            out[name] = value
    return out


def _spread(a: NDArray[Any], dims: Dims, main: Dims, shape: tuple[int, ...]) -> NDArray[Any]:
    """One number for every cell of `main`, in C order."""
    order = [dims.index(d) for d in main if d in dims]
    kept = [n if d in dims else 1 for d, n in zip(main, shape, strict=True)]
    return np.broadcast_to(np.transpose(a, order).reshape(kept), shape).reshape(-1)


def frame(result: Result) -> Any:
    """The long table as a pandas DataFrame; what is not an array goes to ``.attrs``."""
    try:
        import pandas as pd
    except ImportError as error:
        raise ImportError("to_frame needs pandas: pip install 'clinometer[frame]'") from error
    made = pd.DataFrame(cells(result))
    made.attrs = scalars(result)
    return made


def polars(result: Result) -> Any:
    """The long table as a polars DataFrame."""
    try:
        import polars as pl
    except ImportError as error:
        raise ImportError("to_polars needs polars: pip install polars") from error
    return pl.DataFrame({name: column.tolist() for name, column in cells(result).items()})


def datasets(result: Result) -> Any:
    """The long table as a Hugging Face Dataset."""
    try:
        from datasets import Dataset
    except ImportError as error:
        raise ImportError("to_datasets needs datasets: pip install datasets") from error
    return Dataset.from_dict({name: column.tolist() for name, column in cells(result).items()})


def xarray(result: Result) -> Any:
    """Every array as a variable of an xarray Dataset with labelled axes; the rest as attributes."""
    try:
        import xarray as xr
    except ImportError as error:
        raise ImportError("to_xarray needs xarray: pip install 'clinometer[frame]'") from error
    arrays = variables(result)
    labels = labels_of(result, arrays)
    coords = {dim: (dim, values) for dim, (values, _) in labels.items()}
    ours = {field for dim, (_, field) in labels.items() if np.ndim(result.to_dict().get(field, ())) == 1}
    sizes = sizes_of(arrays)
    data = {
        _called(name, sizes): (dims, a, {"units": UNITS[name]} if name in UNITS else {})
        for name, (dims, a) in arrays.items()
        if name not in ours
    }
    made = xr.Dataset(data, coords, {**scalars(result), "result": type(result).__name__})
    return made.set_coords([name for name in ("betas", "fit_status") if name in data])
