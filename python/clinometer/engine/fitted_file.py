"""Fits as safetensors files: arrays as tensors, the rest as JSON metadata."""

from __future__ import annotations

import json
import os
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from clinometer.dump.steering import SUFFIXES
from clinometer.errors import bad
from clinometer.files import strictjson
from clinometer.files.plain import PlainFile
from clinometer.sources.safetensors import Payload, read_header, write_safetensors

from .encoding_quality import EncodingQuality

if TYPE_CHECKING:
    from .fitted import DirectionFit

__all__ = ["holds_fit", "load", "save"]

FORMAT = "clinometer-fit"
PLAIN = ("method", "n_rows", "n_prompts", "n_dropped", "n_pairs", "fingerprint", "within")
TEXTS = ("method", "fingerprint")
LISTS = ("names", "labels")
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


def holds_fit(path: str | os.PathLike[str]) -> bool:
    """Whether a file is a fit that `save` wrote, rather than directions."""
    if os.fspath(path).lower().endswith(SUFFIXES):
        return False
    file = PlainFile(path)
    if file.read(0, min(file.size, 9))[8:] != b"{":  # no safetensors
        return False
    return read_header(file)[1].get("format") == FORMAT


def load(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The fields of the fit that `save` wrote."""
    file = PlainFile(path)
    parts, metadata = read_header(file)
    if metadata.get("format") != FORMAT:
        raise bad(file.path, "does not hold a saved fit", "__metadata__", 8)
    said = strictjson.loads(metadata.get("fit", "null").encode("utf-8"), file.path, 8, "__metadata__.fit")
    try:
        held = {name: np.asarray(part.read()) for name, part in parts.items()}
        _check_said(said)
        _check_held(held, len(said["names"]))
        made = _made(said, held)
    except (KeyError, TypeError, ValueError) as exc:
        raise bad(file.path, f"is not a whole saved fit ({exc})", "__metadata__.fit", 8) from exc
    return made


def _made(said: dict[str, Any], held: dict[str, NDArray[Any]]) -> dict[str, Any]:
    qualities: dict[str, EncodingQuality | None] = {}
    for name in QUALITIES:
        whole = f"{name}.value" in held
        qualities[name] = EncodingQuality(*(held[f"{name}.{p}"] for p in PARTS)) if whole else None
    lists = {"names": tuple(said["names"]), "labels": tuple(said["labels"]), "source": said["source"]}
    plain = {name: said[name] for name in PLAIN} | {name: held[name] for name in ARRAYS} | lists
    return {**plain, **qualities, "_seen": held["seen"].view(np.uint64), "_folds": held["folds"]}


def _need(truth: bool, what: str) -> None:
    if not truth:
        raise ValueError(what)


def _check_said(said: Any) -> None:
    _need(isinstance(said, dict), "no fields of a fit")
    said.setdefault("within", True)  # fits over all rows are newer than the format
    _need(said.keys() == {*PLAIN, *LISTS, "source"}, "other fields than a fit has")
    kinds = dict.fromkeys(TEXTS, str) | {"within": bool}
    for name in PLAIN:
        kind = kinds.get(name, int)
        good = type(said[name]) is kind and (kind is not int or 0 <= said[name] < 1 << 62)
        _need(good, f"{name} is {said[name]!r}")
    for name in LISTS:
        _need(
            isinstance(said[name], list) and all(isinstance(x, str) for x in said[name]), f"{name} is no list of texts"
        )
    _need(isinstance(said["source"], dict), "source is no mapping")
    _need(said["n_prompts"] <= said["n_rows"], f"{said['n_prompts']} prompts of {said['n_rows']} rows")
    J = len(said["names"])
    _need(J > 0 and len(said["labels"]) in (0, J), f"{J} names and {len(said['labels'])} labels")


def _check_held(held: dict[str, NDArray[Any]], J: int) -> None:
    """Every tensor is there, of its type, and as long as the names and `fold_vectors` say."""
    F, _, d = held["fold_vectors"].shape
    prompts = held["seen"].shape
    shapes: dict[str, tuple[int, ...]] = {
        "vectors": (J, d), "fold_vectors": (F, J, d), "alpha": (J,), "intercepts": (J,), "folds": prompts[:1],
        "seen": prompts[:1],
    }  # fmt: skip
    for name in QUALITIES:
        if name == QUALITIES[0] or any(n.startswith(f"{name}.") for n in held):
            shapes |= {f"{name}.{part}": (J, 2) if part.endswith("ci") else (J,) for part in PARTS}
    _need(held.keys() == shapes.keys(), f"other tensors than a fit has: {sorted(held.keys() ^ shapes.keys())[:3]}")
    for name, shape in shapes.items():
        kind = np.int64 if name in ("seen", "folds") else np.float64
        a = held[name]
        _need(
            a.shape == shape and a.dtype == kind,
            f"tensor {name!r} is {a.dtype} {a.shape}, wanted {kind.__name__} {shape}",
        )
    for name in ("vectors", "fold_vectors"):
        _need(d > 0 and bool(np.isfinite(held[name]).all()), f"tensor {name!r} has no columns, or NaN or Inf")
    _need(bool((held["alpha"] >= 0).all()), "tensor 'alpha' is negative, or NaN")
    _need(not np.isnan(held["intercepts"]).any(), "tensor 'intercepts' holds NaN")
    folds, seen = held["folds"], held["seen"].view(np.uint64)
    _need(bool(((folds >= 0) & (folds < F)).all()), "tensor 'folds' names a fold that is not there")
    _need(bool((seen[1:] >= seen[:-1]).all()), "tensor 'seen' is not in order")
