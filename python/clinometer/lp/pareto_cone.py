"""The cone of Pareto-improving directions: is it open, how wide, and what proves it (theory 8.3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import ArrayLike

from clinometer.common.results import Axes, Result
from clinometer.dump.directions import in_order_of
from clinometer.fit.scale import unit_scale
from clinometer.theory.arrays import Floats, as_covariance, as_gram, as_rows, check_metric, need_same_features, spectrum
from clinometer.theory.fraction import RESOLUTION, normalised, pareto_fraction, pivoted_factor
from clinometer.theory.hull import Hull, certificate_residual, equal_products, is_witness, smallest_point, unit_rows

from .cone import cone as lp_cone

# A certificate is accepted if moving the rows by this share of their length makes it exact.
_CERTIFICATE = 1e-13


@dataclass(frozen=True, repr=False, eq=False)
class ConeResult(Result):
    """The cone {v: <a_j, v> > 0 for all j}, with its proof.

    Attributes
    ----------
    feasible : True, False, or None where neither a direction nor a certificate could be proved
    margin : max over unit v of min_j <a_j / |a_j|, v>; in the "kl" metric the best worst-case score
        correlation, which is the gain of every value in sd units per sqrt(2 KL)
    direction : (d,), or None if none was proved; v' Sigma v = 1 ("kl") or |v| = 1 ("euclid")
    weights : (k,) in the simplex, on unit rows: direction ~ sum_j weights_j / |a_j| u_j ("kl", or a_j)
    certificate : (k,) in the simplex with sum_j certificate_j a_j = 0, only if feasible is False; for rows whose
        lengths differ by more than 1e300 an entry rounds to 0, and `weights` (on unit rows) is the proof
    half_angle : radians, arcsin(margin): half-angle of the widest round cone inside
    fraction : share of isotropic directions (of this metric) inside; NaN if undecided
    """

    axes: ClassVar[Axes] = {
        "value": "weights certificate",
        "feature": "direction",
    }

    feasible: bool | None
    margin: float
    direction: Floats | None
    weights: Floats
    certificate: Floats | None
    half_angle: float
    fraction: float


def pareto_cone(
    values: Any = None,
    sigma: Any = None,
    *,
    metric: Literal["kl", "euclid"] = "kl",
    gram: ArrayLike | None = None,
    check_source: bool = True,
) -> ConeResult:
    """Directions that improve all values at once: whether there are any, the best one, and how many.

    margin = max_{|v| <= 1} min_j <a_j / |a_j|, v> = min over the simplex of sqrt(lambda' R lambda), with
    a_j = Sigma^(1/2) u_j ("kl") or Sigma u_j ("euclid") and R the cosines of the rows a_j (theory 8.3).
    `feasible` is True only with a direction whose products are positive in rational arithmetic on the rows;
    False only with no such direction and a Gordan certificate mu >= 0, |sum mu_j a_j| <= 1e-13 sum mu_j |a_j|
    rounding included; otherwise None. In the "kl" metric the margin is in sd of a value per sqrt(2 KL). With fewer
    values than dimensions the cone is open almost surely: read the margin. Rows that Sigma sends to its own rounding
    count as zero.

    Parameters
    ----------
    values : array (k, d) or (d,), or an object with ``.vectors``
    sigma : array (d, d), object with ``.covariance``, dump (weights 1/n within prompts), or None (identity)
    metric : "kl" or "euclid"
    gram : array (k, k), instead of values and sigma
        Products of the rows. It holds half their digits: margins below 1e-8 are undecided, and there is no
        direction (use the weights).
    check_source : refuse directions of another model, layer or position than the dump's

    Returns
    -------
    ConeResult
        Costs O(d^3) for Sigma, then O(k^2 d + k^4); the fraction imports SciPy for k > 3.

    Errors: ValueError where the metric is unknown or values are not finite; TypeError without values and gram.

    >>> cone = pareto_cone([[1.0, 0.0], [0.0, 1.0]])
    >>> cone.feasible, round(cone.margin, 4), cone.direction.round(4).tolist(), round(cone.fraction, 4)
    (True, 0.7071, [0.7071, 0.7071], 0.25)
    >>> pareto_cone([[1.0, 2.0], [-1.0, -2.0]]).certificate.tolist()
    [0.5, 0.5]
    """
    check_metric(metric)
    if gram is not None:
        if values is not None or sigma is not None:
            raise ValueError("gram comes with values or sigma; wanted either the Gram alone or the rows")
        return _from_gram(as_gram("gram", gram))
    if values is None:
        raise TypeError("values is None; wanted directions (k, d), or gram=")
    is_dump = hasattr(sigma, "read") and hasattr(sigma, "n_rows")
    need_same_features(values=values, sigma=None if is_dump else sigma)
    directions = as_rows("values", in_order_of(sigma, values, "values") if is_dump and check_source else values)
    if directions.shape[0] == 0:
        raise ValueError("values has no rows; wanted at least one value")
    if is_dump:
        rows, back = _rows_of_dump(directions, sigma, metric)
    else:
        rows, back = _rows(directions, as_covariance(sigma, directions.shape[1]), metric)
    return _solve(rows, back, directions)


def _rows(directions: Floats, sigma: Floats | None, metric: str) -> tuple[Floats, Floats | None]:
    """Rows a_j, and the map that takes a unit vector among them back to a direction (None: it is one)."""
    if sigma is None:
        return directions, None
    D = np.ones(len(sigma))
    if metric == "kl":  # scores know nothing of a column's unit: what is null is a matter of correlations
        D = unit_scale(np.diagonal(sigma))
        sigma, directions = sigma * np.outer(D, D), directions / D
    # A power of four keeps Sigma's square root exact to scale, and everything below in range.
    shift = int(np.frexp(np.abs(sigma).max(initial=0.0))[1]) // 2 * 2
    eigenvalues, vectors = spectrum(np.ldexp(sigma, -shift))
    power = np.sqrt(eigenvalues) if metric == "kl" else eigenvalues
    coordinates = np.ldexp(directions, -int(np.frexp(np.abs(directions).max(initial=0.0))[1])) @ vectors
    rows = coordinates * power
    noise = 4.0 * directions.shape[1] * np.finfo(np.float64).eps * np.linalg.norm(coordinates, axis=1)
    rows[np.linalg.norm(rows, axis=1) <= noise * power.max(initial=0.0)] = 0.0
    if metric == "euclid":
        return rows, vectors.T
    inverse = np.divide(1.0, power, out=np.zeros_like(power), where=power > 0.0)
    return rows, np.ldexp(inverse, -shift // 2)[:, None] * vectors.T * D


def _rows_of_dump(directions: Floats, dump: Any, metric: str) -> tuple[Floats, Floats | None]:
    """Rows from the dump itself, so that nothing is squared: centred scores (k, N), or Sigma u_j (k, d)."""
    ids = np.zeros(dump.n_rows) if dump.prompt_ids is None else np.asarray(dump.prompt_ids)
    prompts, counts = np.unique(ids, return_inverse=True, return_counts=True)[1:]
    step = max(1, 4_000_000 // max(1, directions.shape[1]))
    spans = [(a, min(dump.n_rows, a + step)) for a in range(0, dump.n_rows, step)]
    blocks = (np.asarray(dump.read(a, b), dtype=np.float64) for a, b in spans)
    scores = np.concatenate([directions @ block.T for block in blocks], axis=1)
    root = np.sqrt(1.0 / (counts.size * counts[prompts]))
    for row in scores:
        for _ in range(2):
            row -= (np.bincount(prompts, weights=row) / counts)[prompts]
    if metric == "kl":
        spread = np.abs(scores).max(axis=1, initial=0.0)
        return np.where(spread[:, None] > 0.0, scores * root, 0.0), np.zeros((0, 0))
    image = np.zeros_like(directions)
    origin = np.asarray(dump.read(0, 1), dtype=np.float64)
    for a, b in spans:
        image += (scores[:, a:b] * root[a:b] ** 2) @ (np.asarray(dump.read(a, b), dtype=np.float64) - origin)
    return image, None


def _solve(rows: Floats, back: Floats | None, directions: Floats) -> ConeResult:
    k = rows.shape[0]
    zero = ~rows.any(axis=1)
    if zero.any():
        certificate = np.zeros(k)
        certificate[np.argmax(zero)] = 1.0
        return ConeResult(False, 0.0, None, certificate, certificate.copy(), 0.0, 0.0)
    units = unit_rows(rows)
    frame = None
    reduced = units
    if rows.shape[1] > k:
        frame, triangle = np.linalg.qr(units.T)
        reduced = unit_rows(np.ascontiguousarray(triangle.T))
    hull = smallest_point(reduced)
    witness, margin = _witness(rows, units, reduced, hull, frame)
    if witness is None:
        return _without_witness(rows, units, hull)
    direction = _direction(witness, back, directions, rows, hull)
    half_angle = float(np.arcsin(margin))
    return ConeResult(True, margin, direction, hull.weights, None, half_angle, _fraction(units, margin))


def _witness(
    rows: Floats, units: Floats, reduced: Floats, hull: Hull, frame: Floats | None
) -> tuple[Floats | None, float]:
    """A unit vector with exactly positive products, the widest that can be proved, and its margin."""
    candidates: list[tuple[Floats, float]] = []
    if hull.open:
        normal = hull.normal if frame is None else frame @ hull.normal
        candidates.append((normal, hull.margin if hull.settled else float("nan")))
    resolved = equal_products(units, hull.weights > 0.0)
    if resolved is not None:
        exponent = int(np.frexp(np.abs(resolved).max())[1])
        resolved = np.ldexp(resolved, -exponent)
        candidates.append((resolved, float(np.ldexp(1.0 / np.linalg.norm(resolved), -exponent))))
    candidates.append((units.sum(axis=0), float("nan")))
    if not any(vector.any() and is_witness(rows, vector / np.linalg.norm(vector)) for vector, _ in candidates):
        # The linear program in twofold arithmetic finds a witness wherever doubles hold one with margin 1e-13.
        box = lp_cone(reduced, n_threads=1).weights
        candidates.append((box if frame is None else frame @ box, float("nan")))
    for vector, margin in candidates:
        if not vector.any():
            continue
        # The vector handed back is the one evaluated: normalising afterwards would round once more.
        unit = vector / np.linalg.norm(vector)
        if is_witness(rows, unit):
            return unit, min(1.0, margin if np.isfinite(margin) else max(0.0, float((units @ unit).min())))
    return None, 0.0


def _without_witness(rows: Floats, units: Floats, hull: Hull) -> ConeResult:
    if certificate_residual(units, hull.weights) > _CERTIFICATE:
        nan = float("nan")
        return ConeResult(None, hull.margin, None, hull.weights, None, float(np.arcsin(hull.margin)), nan)
    # Back on the rows as given: weights over lengths, taken in logarithms for rows of any size.
    _, exponent = np.frexp(np.abs(rows).max(axis=1))
    lengths = np.linalg.norm(np.ldexp(rows, -exponent[:, None]), axis=1)
    used = hull.weights > 0.0
    certificate = np.ldexp(hull.weights / lengths, exponent[used].min() - exponent)
    return ConeResult(False, 0.0, None, hull.weights, certificate / certificate.sum(), 0.0, 0.0)


def _direction(witness: Floats, back: Floats | None, directions: Floats, rows: Floats, hull: Hull) -> Floats:
    if back is None:
        return witness
    if back.size:
        return np.asarray(witness @ back)
    # Rows of a dump: the direction is the weighted sum of the values themselves, at unit score sd.
    scale = np.linalg.norm(rows, axis=1)
    mixed = hull.weights / scale
    return np.asarray(mixed @ directions / np.linalg.norm(mixed @ rows))


def _fraction(units: Floats, margin: float) -> float:
    # Two rows: the angle between them from the margin, which has more digits than their cosine.
    if units.shape[0] == 2:
        return float(np.arcsin(margin) / np.pi)
    return pareto_fraction(units @ units.T)


def _from_gram(gram: Floats) -> ConeResult:
    k = gram.shape[0]
    correlation = normalised(gram)
    if correlation is None:
        certificate = np.zeros(k)
        certificate[int(np.argmin(np.diagonal(gram)))] = 1.0
        return ConeResult(False, 0.0, None, certificate, certificate.copy(), 0.0, 0.0)
    factor, _ = pivoted_factor(correlation)
    hull = smallest_point(factor, dependent=RESOLUTION)
    # The direction sum_j lambda_j a_j / |a_j| has products R lambda: rows of R against the weights.
    proved = hull.open and hull.margin > RESOLUTION and is_witness(correlation, hull.weights)
    if not proved:
        margin = hull.margin if hull.open else 0.0
        return ConeResult(None, margin, None, hull.weights, None, float(np.arcsin(margin)), float("nan"))
    half_angle = float(np.arcsin(hull.margin))
    return ConeResult(True, hull.margin, None, hull.weights, None, half_angle, pareto_fraction(correlation))
