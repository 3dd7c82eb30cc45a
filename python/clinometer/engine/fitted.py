"""What a fit returns: directions, their fold fits and how well they do out of fold; its file; which prompts it has
seen, told by their id and first row."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from clinometer.arrays.dlpack import decode_bfloat16
from clinometer.common.notices import tell
from clinometer.common.resampling import t_bounds
from clinometer.common.results import Axes, Result
from clinometer.common.visible import few
from clinometer.dump import Dump
from clinometer.dump.directions import Directions, columns_of
from clinometer.dump.steering import SUFFIXES
from clinometer.errors import bad
from clinometer.files import strictjson
from clinometer.files.plain import PlainFile
from clinometer.sources.safetensors import Payload, read_header, write_safetensors

from .population import Population, hash_of, mixed

if TYPE_CHECKING:
    from .population import Population

Floats = NDArray[np.float64]


@dataclass(frozen=True, repr=False, eq=False)
class EncodingQuality(Result):
    """Out-of-fold quality of J fits (theory 1.4).

    How good a fit is: `value` with `ci`, of the direction that is there. `rho2_debiased` with `rho2_ci` says how good
    any linear direction could be with more labels, `auc` how often two responses are told apart.

    Attributes
    ----------
    value : (J,) R^2 = 1 - SSE/SST of the fold fits on the prompts they did not see; negative is legitimate
    ci : (J, 2) 95 % interval of what `value` is on average over dumps of this size, fits at this penalty: prompts,
        rows and labels vary, the penalty does not (of binary methods the directions do not either): one that was
        chosen by cross-validation on 10 prompts varies enough to be missed. By Student's t on the delete-one
        influence of each prompt or cluster, through the fit too: its slope, and the spread of its curvature; with no
        more degrees of freedom than units that share out the label's variance
    r, auc : (J,) correlation; chance that of two rows of a prompt with different labels, where there are two, the
        higher label's scores higher, ties half; NaN for other labels, or where no prompt has both. A `pooled_quality`
        takes pairs of rows of a fold
    rho2_debiased : (J,) share of the label's variance that is linear in phi at all, free of the noise of the fit:
        covariance of label and out-of-fold least squares over the label's variance. NaN unless N - G > 2 d in
        the rows of every fit
    rho2_ci : (J, 2) its 95 % interval, of the true share, by the influence of each prompt or cluster
    se, rho2_se : (J,) their errors; units, rho2_units (J,) the effective number of prompts or clusters, less 1 the
        degrees of freedom (`common.resampling.worth`)
    """

    axes: ClassVar[Axes] = {
        "direction": "value r auc rho2_debiased se rho2_se units rho2_units",
        "direction bound": "ci rho2_ci",
    }

    value: Floats
    ci: Floats
    r: Floats
    auc: Floats
    rho2_debiased: Floats
    rho2_ci: Floats
    se: Floats
    rho2_se: Floats
    units: Floats
    rho2_units: Floats

    def interval(self, level: float = 0.95) -> Floats:
        """`ci` at another level, (J, 2)."""
        return t_bounds(self.value, self.se, self.units, level)

    def rho2_interval(self, level: float = 0.95) -> Floats:
        """`rho2_ci` at another level, (J, 2)."""
        return t_bounds(self.rho2_debiased, self.rho2_se, self.rho2_units, level)


@dataclass(frozen=True, repr=False, eq=False)
class DirectionFit(Result):
    """Directions fitted on a dump, with the fold fits that score it out of fold.

    A pass over prompts that the fit has seen scores each by the fold that did not see it ("cross-fitted"), and
    other prompts by `vectors` ("given"). Prompts are recognised by id and first row, also in a selection.

    Attributes
    ----------
    vectors, fold_vectors : (J, d) and (F, J, d); fold f never saw the prompts dealt to f
    intercepts : (J,) of logistic fits, the position bias of pairs; otherwise 0
    alpha : (J,) penalty in units of tr(Sigma)/d, massive columns in their own unit
    encoding_quality, pooled_quality : inside prompts; over all rows, of directions fitted to all rows, where topic
        alone can make it large (None where not asked for)
    within : False: fitted to all rows about their one mean, and its quality is over all rows too
    labels : for each direction "scores", "binary", "soft", "hard", or "separable": hard labels that the direction
        separates without error, so that its norm is the penalty's and beta means nothing (theory 1.3)

    names, method, source : names of the directions, how they were fitted, where (model, layer, position)
    fingerprint : `Dump.fingerprint` of the dump it was fitted on
    n_pairs : pairs of a preference fit
    """

    axes: ClassVar[Axes] = {
        "direction": "alpha intercepts labels",
        "direction feature": "vectors",
        "fold direction feature": "fold_vectors",
    }

    vectors: Floats
    fold_vectors: Floats
    names: tuple[str, ...]
    method: str
    alpha: Floats
    encoding_quality: EncodingQuality
    n_rows: int
    n_prompts: int
    n_dropped: int
    fingerprint: str = field(repr=False)
    source: dict[str, Any] = field(default_factory=dict, repr=False)
    pooled_quality: EncodingQuality | None = None
    intercepts: Floats = field(default_factory=lambda: np.zeros(0))
    labels: tuple[str, ...] = ()
    n_pairs: int = 0
    _seen: NDArray[np.uint64] = field(default_factory=lambda: np.zeros(0, np.uint64))  # keys of prompts, sorted
    _folds: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))  # and their folds
    _training: Any = None  # labels, kept for errors that include them; not saved
    within: bool = True

    @property
    def vector(self) -> Floats:
        """The direction of a single value, (d,)."""
        if len(self.vectors) != 1:
            raise ValueError(f"this fit holds {len(self.vectors)} directions; use .vectors")
        return np.asarray(self.vectors[0])

    @property
    def linear_share(self) -> Floats:
        """Share of a judge's within-prompt variance that is linear in phi, out of fold, (J,).

        NaN for pairs, and for fits over all rows.

        What a direction keeps of the judge it was fitted to (theory 10.1).
        """
        known = self.within and not self.n_pairs
        return self.encoding_quality.value if known else np.full(len(self.vectors), np.nan)

    @property
    def quality_status(self) -> tuple[str, ...]:
        """Of each direction "ok", or why its quality has no interval."""
        out = []
        for j, se in enumerate(self.encoding_quality.se):
            if self.labels and self.labels[j] == "separable":
                out.append("the labels are separable: how sure the predictions are is set by the penalty alone")
            elif np.isnan(se):
                out.append("the labels do not vary, or come from fewer than two prompts or clusters")
            else:
                out.append("ok")
        return tuple(out)

    def directions(self) -> Directions:
        """The full fits as `Directions`: for other dumps. On the dump of the fit a pass calls them "in-sample"."""
        return Directions(self.names, self.vectors, source={**self.source, "fitted_on": self.fingerprint})

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a safetensors file atomically; a pass takes its path like the fit itself."""
        _save(self, path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> DirectionFit:
        """Read what `save` wrote, bit for bit; a malformed file is a DumpError."""
        return cls(**_load(path))

    def _for_dump(self, dump: Dump, p: Population) -> tuple[str, NDArray[np.int64] | None]:
        """Fit status in a pass, and for each prompt the fold that did not see it: F where none did."""
        if self.vectors.shape[1] != dump.dim:
            raise ValueError(f"the fit has {self.vectors.shape[1]} columns but rows of the dump have {dump.dim}")
        order = columns_of(self.source, dump)
        fold = folds_of_seen(dump, p, self._seen, self._folds, len(self.fold_vectors), order)
        known = fold < len(self.fold_vectors)
        if dump.fingerprint(order) == self.fingerprint and not known.all():
            tell(
                f"the fit of {few(self.names)} saw these rows under other prompt ids, so it cannot "
                "be applied out of fold: gains are optimistic; fit with the prompt ids of this pass",
                stacklevel=6,
            )
            return "in-sample", None
        return ("cross-fitted", fold) if known.any() else ("given", None)


def load_any(path: str | os.PathLike[str]) -> DirectionFit | Directions:
    """What a file of ours or of another tool holds: a fit, or directions."""
    return DirectionFit.load(path) if _holds_fit(path) else Directions.load(path)


FORMAT = "clinometer-fit"
PLAIN = ("method", "n_rows", "n_prompts", "n_dropped", "n_pairs", "fingerprint", "within")
TEXTS = ("method", "fingerprint")
LISTS = ("names", "labels")
ARRAYS = ("vectors", "fold_vectors", "alpha", "intercepts")
QUALITIES = ("encoding_quality", "pooled_quality")
PARTS = tuple(f.name for f in fields(EncodingQuality))


def _save(fit: DirectionFit, path: str | os.PathLike[str]) -> None:
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


def _holds_fit(path: str | os.PathLike[str]) -> bool:
    """Whether a file is a fit that `save` wrote, rather than directions."""
    if os.fspath(path).lower().endswith(SUFFIXES):
        return False
    file = PlainFile(path)
    if file.read(0, min(file.size, 9))[8:] != b"{":  # no safetensors
        return False
    return read_header(file)[1].get("format") == FORMAT


def _load(path: str | os.PathLike[str]) -> dict[str, Any]:
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


COLUMNS = 16


def gather(
    dump: Dump, rows: NDArray[np.int64], columns: slice | NDArray[np.int64] = slice(None)
) -> NDArray[np.float64]:
    """Rows of the dump by number, in that order, as float64, with all or some of their columns."""
    out = np.empty((len(rows), len(np.arange(dump.dim)[columns])))
    for segment in dump.segments:
        at = rows - segment.row_start
        here = np.flatnonzero((at >= 0) & (at < len(segment.array)))
        piece = segment.array[at[here]][:, columns]
        out[here] = decode_bfloat16(piece) if dump.dtype == "bfloat16" else piece
    dump.check()
    return out


def prompt_keys(dump: Dump, p: Population, order: NDArray[np.int64] | None = None) -> NDArray[np.uint64]:
    """A 64-bit key of each prompt, from its id and the first entries of its first row, with columns in this order."""
    first = slice(COLUMNS) if order is None else order[:COLUMNS]
    rows = gather(dump, p.rows[p.offsets[:-1]], first) + 0.0  # -0.0 and 0.0 are one number
    key = hash_of(p.ids)
    for column in np.ascontiguousarray(rows.T).view(np.uint64):
        key = mixed(key ^ column)
    return key


def folds_of_seen(
    dump: Dump,
    p: Population,
    seen: NDArray[np.uint64],
    folds: NDArray[np.int64],
    unseen: int,
    order: NDArray[np.int64] | None = None,
) -> NDArray[np.int64]:
    """Fold of each prompt of a population, `unseen` for prompts whose key is not among those seen (sorted)."""
    keys = prompt_keys(dump, p, order)
    if not len(seen):
        return np.full(len(keys), unseen, np.int64)
    at = np.minimum(np.searchsorted(seen, keys), len(seen) - 1)
    return np.where(seen[at] == keys, folds[at], unseen).astype(np.int64)
