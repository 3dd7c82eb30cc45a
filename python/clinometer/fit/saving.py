"""Fits as safetensors files: arrays as tensors, the rest as JSON metadata."""

from __future__ import annotations

import json
import os
from dataclasses import fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..directions import Directions
from ..dump import strictjson
from ..dump.files import PlainFile, bad
from ..dump.safetensors import Payload, read_header, write_safetensors
from .result import DirectionFit, EncodingQuality

__all__ = ["load", "load_any", "save"]

FORMAT = "clinometer-fit"
PLAIN = ("method", "n_rows", "n_prompts", "n_dropped", "n_pairs", "fingerprint", "within")
ARRAYS = ("vectors", "fold_vectors", "alpha", "intercepts")
QUALITIES = ("encoding_quality", "pooled_quality")
PARTS = tuple(f.name for f in fields(EncodingQuality))


def save(fit: DirectionFit, path: str | os.PathLike[str]) -> None:
    """Write atomically; labels kept for errors are left out."""
    tensors = {name: _payload(getattr(fit, name)) for name in ARRAYS}
    for name in QUALITIES:
        if (quality := getattr(fit, name)) is not None:
            tensors |= {f"{name}.{part}": _payload(getattr(quality, part)) for part in PARTS}
    tensors |= {"seen": _payload(fit._seen.view(np.int64)), "folds": _payload(fit._folds)}
    said = {name: getattr(fit, name) for name in PLAIN} | {
        "names": fit.names, "labels": fit.labels, "source": fit.source
    }  # fmt: skip
    try:
        metadata = {"format": FORMAT, "fit": json.dumps(said, allow_nan=False)}
    except (TypeError, ValueError) as exc:
        raise ValueError(f"source cannot be written as JSON: {exc}") from exc
    write_safetensors(path, tensors, metadata)


def _payload(a: NDArray[Any]) -> Payload:
    kind = "F64" if a.dtype.kind == "f" else "I64"
    little = np.ascontiguousarray(a, "<f8" if kind == "F64" else "<i8")
    return Payload(kind, little.shape, lambda: [little.tobytes()])


def load_any(path: str | os.PathLike[str]) -> DirectionFit | Directions:
    """What a file of ours holds: a fit, or directions."""
    from ..steering import SUFFIXES

    if os.fspath(path).lower().endswith(SUFFIXES):
        return Directions.load(path)
    file = PlainFile(path)
    if file.read(0, min(file.size, 9))[8:] != b"{":  # no safetensors
        return Directions.load(path)
    return load(path) if read_header(file)[1].get("format") == FORMAT else Directions.load(path)


def load(path: str | os.PathLike[str]) -> DirectionFit:
    """Read what `save` wrote."""
    file = PlainFile(path)
    parts, metadata = read_header(file)
    if metadata.get("format") != FORMAT:
        raise bad(file.path, "does not hold a saved fit", "__metadata__", 8)
    said = strictjson.loads(metadata.get("fit", "null").encode("utf-8"), file.path, 8, "__metadata__.fit")
    try:
        held = {name: np.asarray(part.read()) for name, part in parts.items()}
        made = _made(said, held)
        _check(made)
    except (KeyError, TypeError, ValueError) as exc:
        raise bad(file.path, f"is not a whole saved fit ({exc})", "__metadata__.fit", 8) from exc
    return made


def _made(said: dict[str, Any], held: dict[str, NDArray[Any]]) -> DirectionFit:
    qualities: dict[str, EncodingQuality | None] = {}
    for name in QUALITIES:
        whole = f"{name}.value" in held
        qualities[name] = EncodingQuality(*(held[f"{name}.{p}"] for p in PARTS)) if whole else None
    if qualities["encoding_quality"] is None:
        raise KeyError("encoding_quality.value")
    lists = {"names": tuple(said["names"]), "labels": tuple(said["labels"]), "source": dict(said["source"])}
    said.setdefault("within", True)  # fits over all rows are newer than the format
    plain = {name: said[name] for name in PLAIN} | {name: held[name] for name in ARRAYS} | lists
    seen = held["seen"].astype(np.int64).view(np.uint64)
    return DirectionFit(**plain, **qualities, _seen=seen, _folds=held["folds"])  # type: ignore[arg-type]


def _check(fit: DirectionFit) -> None:
    J, F = len(fit.names), len(fit.fold_vectors)
    shapes = {
        "vectors": fit.vectors.shape == (J, fit.vectors.shape[-1]),
        "fold_vectors": fit.fold_vectors.shape == (F, *fit.vectors.shape),
        "alpha": fit.alpha.shape == (J,) and fit.intercepts.shape == (J,) and len(fit.labels) == J,
        "folds": fit._folds.shape == fit._seen.shape and bool(((fit._folds >= 0) & (fit._folds < F)).all()),
        "within": isinstance(fit.within, bool),
        "seen": bool((fit._seen[1:] >= fit._seen[:-1]).all()),
    }
    for name, good in shapes.items():
        if not good:
            raise ValueError(f"{name!r} does not fit the others")
