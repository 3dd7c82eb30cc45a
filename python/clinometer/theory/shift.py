"""How many dimensions training changed: effective ranks of the difference of two aligned dumps (theory 5.3)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from clinometer.arrays.coerce import as_ids
from clinometer.common.results import Axes, Result
from clinometer.dump import Dump, open_dump
from clinometer.dump.aligned import same_ids
from clinometer.engine import kl as roots
from clinometer.engine.fitted import gather

from .arrays import Floats
from .spectra import EffectiveRank, effective_rank

ROWS = 1 << 21


@dataclass(frozen=True, repr=False, eq=False)
class ShiftRank(Result):
    """Effective ranks of D = phi_after - phi_before (n, d), about zero and about its mean.

    `uncentred` and `centred` hold participation (sum sv^2)^2 / sum sv^4, entropy of sv^2, stable and energy ranks of
    D's singular values; `roy_vetterli` and `roy_vetterli_centred` = exp(H(sv / sum sv)), which is larger.
    `mean_share` = n |mean|^2 / |D|_F^2: a constant shift alone gives uncentred rank 1 and the rank of noise centred.
    `participation_se` is the error of the uncentred participation, clustered by prompt; `participation_unbiased`
    removes what finitely many rows take from it, by products of rows of different prompts only (NaN if they cannot
    tell).
    `singular_values` (min(n, d),) are those of the uncentred D, and `length` its root mean squared row.
    """

    axes: ClassVar[Axes] = {"component": "singular_values"}

    uncentred: EffectiveRank
    centred: EffectiveRank
    roy_vetterli: float
    roy_vetterli_centred: float
    mean_share: float
    participation_se: float
    participation_unbiased: float
    singular_values: Floats
    length: float
    n_rows: int


def shift_rank(after: Any, before: Any, *, threshold: float = 0.9, clusters: Any = None) -> ShiftRank:
    """Effective dimensions of the change between two dumps of the same rows (theory 5.3).

    Parameters
    ----------
    after, before : dumps or arrays (n, d), the same responses in the same order
    threshold : share of the energy for the energy rank
    clusters : labels (n,) of rows that go together, for the error and the unbiased participation; None takes the
        prompt ids of `before`

    Returns
    -------
    ShiftRank
        Cost: four reads of both dumps, n d^2 flops and d x d float64; for the leading part at large d see
        `randomised_spectrum`.

    Errors: ValueError for rows of another shape or not finite, or a threshold outside (0, 1]; TypeError for what
    is no dump.

    >>> import numpy as np
    >>> before = np.random.default_rng(0).standard_normal((40, 5))
    >>> found = shift_rank(before + [1.0, 0, 0, 0, 0], before)
    >>> round(found.uncentred.participation, 6), round(found.mean_share, 6)
    (1.0, 1.0)
    """
    a, b = (x if isinstance(x, Dump) else open_dump(x) for x in (after, before))
    labels = _aligned(a, b, clusters)
    n, d = a.n_rows, a.dim
    gram, total = np.zeros((d, d)), np.zeros(d)
    spans = [(at, min(n, at + max(1, ROWS // d))) for at in range(0, n, max(1, ROWS // d))]
    top = max(float(np.abs(_difference(a, b, *span)).max(initial=0.0)) for span in spans)
    if top == 0.0:
        raise ValueError("after equals before in every row; wanted a shift")
    power = int(np.frexp(top)[1])  # fourth powers of differences near 1 stay in float64
    for low, high in spans:
        D = np.ldexp(_difference(a, b, low, high), -power)
        gram += D.T @ D
        total += D.sum(axis=0)
    energy, square = float(np.trace(gram)), float((gram * gram).sum())
    spread = gram - np.outer(total, total) / n
    values, inner = (np.maximum(np.linalg.eigvalsh(m)[::-1], 0.0) for m in (gram, spread))
    # What cancels against the mean leaves rounding of the size of the uncentred values.
    inner = np.where(inner > 4.0 * max(n, d) * np.finfo(float).eps * values[0], inner, 0.0)
    own_energy, own_square = _own(a, b, power, labels)
    apart = square - own_square
    return ShiftRank(
        effective_rank(values, threshold=threshold), effective_rank(inner, threshold=threshold),
        _roy_vetterli(values), _roy_vetterli(inner), float(total @ total) / (n * energy),
        _error(a, b, spans, power, gram, energy, square, labels),
        (energy**2 - own_energy) / apart if labels.any() and apart > 1e-9 * square else float("nan"),
        np.ldexp(np.sqrt(values[: min(n, d)]), power), float(np.ldexp(np.sqrt(energy / n), power)), n,
    )  # fmt: skip


def _aligned(a: Dump, b: Dump, clusters: Any) -> NDArray[np.int64]:
    if (a.n_rows, a.dim) != (b.n_rows, b.dim):
        raise ValueError(f"after is {a.n_rows} x {a.dim} but before is {b.n_rows} x {b.dim}; wanted the same rows")
    if a.n_rows == 0:
        raise ValueError("after and before have no rows")
    if a.labels is not None or b.labels is not None:
        ours, theirs = (np.arange(a.n_rows) if d.labels is None else d.labels for d in (a, b))
        same_ids("after", ours, theirs, "label in its index")
    if a.has_column("response_id") and b.has_column("response_id"):
        same_ids("after", a.column("response_id"), b.column("response_id"), "response_id")
    ids = [d.prompt_ids for d in (a, b)]
    if ids[0] is not None and ids[1] is not None and not np.array_equal(ids[0], ids[1]):
        raise ValueError("after and before have different prompt ids; wanted the same rows in the same order")
    given = clusters if clusters is not None else ids[1] if ids[1] is not None else ids[0]
    if given is None:
        return np.arange(a.n_rows)
    labels = as_ids(given, "clusters", a.n_rows)
    return np.unique(labels, return_inverse=True)[1].astype(np.int64)


def _difference(a: Dump, b: Dump, low: int, high: int) -> Floats:
    D = a.read(low, high, np.float64) - b.read(low, high, np.float64)
    if not np.isfinite(D).all():
        row = low + int(np.argmax(~np.isfinite(D).all(axis=1)))
        raise ValueError(f"row {row} of the difference holds NaN or Inf; wanted finite rows")
    return np.asarray(D)


def _own(a: Dump, b: Dump, power: int, labels: NDArray[np.int64]) -> tuple[float, float]:
    """Sums over clusters of the squared trace and the squared norm of a cluster's own Gram matrix."""
    order, sizes = np.argsort(labels, kind="stable"), np.bincount(labels)
    begins = np.cumsum(sizes) - sizes
    trace = square = 0.0
    for size in np.unique(sizes).tolist():
        starts = begins[sizes == size]
        many = 1 if size > a.dim else max(1, ROWS // (a.dim * size))
        for at in range(0, len(starts), many):
            rows = order[starts[at : at + many, None] + np.arange(size)]
            if size > a.dim:
                gram = np.sum([x.T @ x for x in _pieces(a, b, rows[0], power)], axis=0)
            else:
                x = _rows(a, b, rows.ravel(), power).reshape(*rows.shape, a.dim)
                gram = x @ x.swapaxes(1, 2)  # as large a norm as its transpose's, and smaller
            trace += float((np.trace(gram, axis1=-2, axis2=-1) ** 2).sum())
            square += float((gram * gram).sum())
    return trace, square


def _rows(a: Dump, b: Dump, rows: NDArray[np.int64], power: int) -> Floats:
    return np.ldexp(gather(a, rows) - gather(b, rows), -power)


def _pieces(a: Dump, b: Dump, rows: NDArray[np.int64], power: int) -> Iterator[Floats]:
    step = max(1, ROWS // a.dim)
    for at in range(0, len(rows), step):
        yield _rows(a, b, rows[at : at + step], power)


def _roy_vetterli(squares: Floats) -> float:
    sv = np.sqrt(squares)
    share = sv[sv > 0.0] / sv.sum() if sv.any() else np.zeros(0)
    return float(np.exp(-(share * np.log(share)).sum())) if share.size else 0.0


def _error(
    a: Dump,
    b: Dump,
    spans: list[tuple[int, int]],
    power: int,
    gram: Floats,
    energy: float,
    square: float,
    labels: NDArray[np.int64],
) -> float:
    """Infinitesimal jackknife of energy^2 / square: the influence of a row, summed over its cluster."""
    psi = np.zeros(int(labels.max()) + 1)
    for low, high in spans:
        D = np.ldexp(_difference(a, b, low, high), -power)
        length, curve = (D * D).sum(axis=1), np.einsum("nd,nd->n", D @ gram, D)
        influence = 2.0 * energy / square * (length - energy / square * curve)
        psi += np.bincount(labels[low:high], weights=influence, minlength=len(psi))
    out = roots.clustered(psi[:, None], np.ones((len(psi), 1), bool), None)
    return float(np.sqrt(out[0, 0]))
