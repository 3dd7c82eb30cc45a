"""What a game takes and returns: float64 problems, bounds, witnesses and a status drawn from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from clinometer.common.results import Axes, Result
from clinometer.engine.intake import numbers

Floats = NDArray[np.float64]
# in the order of clinometer::lp::Status
STATUS = np.array(["improvable", "blocked", "undecided", "invalid", "optimal", "infeasible"])


@dataclass(frozen=True, repr=False, eq=False)
class LPResult(Result):
    """One game, or P of them on a leading axis.

    Attributes
    ----------
    status : "improvable" (lower > 0), "blocked" (upper <= 0), "undecided"; of `constrained` "optimal",
        "infeasible", "undecided"; "invalid" for a problem of a batch that holds NaN or Inf
    value : what `weights` attain; equal to lower (-inf if infeasible)
    weights : v (d,) of a cone, w (m,) of an ensemble in the simplex
    dual : (k,) prices of the rows in the simplex; where infeasible, the Farkas certificate. Of rows more than 1e300
        apart in size it is a rounding: the smallest prices are below what a double holds, and the status is proved by
        prices of rows scaled to one size
    lower, upper : bounds of the value, from weights and dual, rounded outward
    violation : largest shortfall of a floor, in units of its row's largest entry of M and tau; 0 without floors
    scale_rows, scale_columns : factors the problem was multiplied by, or None
    n_passes : reads of all columns
    """

    axes: ClassVar[Axes] = {
        "problem?": "status value lower upper violation",
        "problem? column": "weights scale_columns",
        "problem? row": "dual scale_rows",
    }

    status: Any
    value: Any
    weights: Floats
    dual: Floats
    lower: Any
    upper: Any
    violation: Any = 0.0
    scale_rows: Floats | None = None
    scale_columns: Floats | None = None
    n_passes: int = 0


@dataclass(frozen=True, repr=False, eq=False)
class GramConeResult(Result):
    """Cones of which only the products of their rows are known; arrays have a leading axis P for a batch.

    Attributes
    ----------
    status : "improvable"; "undecided" below the Gram's resolution; "blocked" for a zero row; "invalid"
    margin : max over unit v of min_j <a_j / |a_j|, v>, attained by the weights; equal to lower
    weights : (k,) in the simplex, on unit rows: the best direction is sum_j weights_j a_j / |a_j|
    half_angle : radians, arcsin(margin)
    lower, upper : bounds of the margin
    """

    axes: ClassVar[Axes] = {
        "problem?": "status margin half_angle lower upper",
        "problem? value": "weights",
    }

    status: Any
    margin: Any
    weights: Floats
    half_angle: Any
    lower: Any
    upper: Any


@dataclass(frozen=True, repr=False, eq=False)
class PromptResult(Result):
    """One game for each of G prompts.

    Attributes
    ----------
    status : (G,) "improvable", "blocked" (t = 0 is proved), "undecided", "invalid" (NaN or Inf in the prompt),
        "left out" (dropped, or of weight 0: NaN in the other arrays)
    margin : (G,) t in within-prompt sd units, attained by the weights; equal to lower
    dual : (G, k) prices of the values, in the simplex; NaN for a value that is constant in the prompt
    weights : (N,) the policy q of each row of the dump; NaN for rows of dropped or invalid prompts
    lower, upper : (G,) bounds of t
    scale : (k,) the within-prompt sd of each value over all prompts
    prompts : (G,) ids, in the order of the arrays, which is that of `Dump.prompts`
    """

    axes: ClassVar[Axes] = {
        "prompt": "status margin lower upper prompts",
        "prompt value": "dual",
        "row": "weights",
        "value": "scale",
    }

    status: Any
    margin: Floats
    dual: Floats
    weights: Floats
    lower: Floats
    upper: Floats
    scale: Floats
    prompts: NDArray[Any]
    values: tuple[str, ...]
    n_rows: int
    n_prompts: int
    n_dropped: int


def named(codes: NDArray[np.int8], single: bool) -> Any:
    """Status codes as words; a str for one problem."""
    words = STATUS[codes]
    return str(words[0]) if single else words


def real_array(name: str, value: Any) -> Floats:
    """`value` as C-ordered float64; complex, text and objects are refused."""
    return np.ascontiguousarray(numbers(name, value))


def batch(name: str, value: Any, axes: str) -> tuple[Floats, bool]:
    """(P, a, b) and whether a single (a, b) came; `axes` names the last two in messages."""
    rows = real_array(name, value)
    if rows.ndim not in (2, 3):
        raise ValueError(f"{name} has shape {rows.shape}; wanted {axes}, or a batch with P in front")
    single = rows.ndim == 2
    if rows.shape[-2] == 0 or rows.shape[-1] == 0:
        raise ValueError(f"{name} has shape {rows.shape}; wanted at least one row and one column")
    if single:
        finite(name, rows)
    return (rows[None] if single else rows), single


def table(name: str, value: Any, *, narrow: bool = False) -> tuple[NDArray[Any], bool]:
    """Like `batch` for (k, m) with many columns: whether they are finite is left to the pass that reads them.

    With `narrow` float32 stays as it is.
    """
    given = value if narrow and getattr(value, "dtype", None) == np.float32 else None
    rows = real_array(name, value) if given is None else np.ascontiguousarray(given)
    if rows.ndim not in (2, 3) or 0 in rows.shape[-2:]:
        raise ValueError(f"{name} has shape {rows.shape}; wanted (k, m) or (P, k, m) with k and m at least 1")
    return (rows[None], True) if rows.ndim == 2 else (rows, False)


def factors(name: str, value: Any, count: int) -> Floats | None:
    """Positive finite factors (count,), or None."""
    if value is None:
        return None
    given = real_array(name, value)
    if given.shape != (count,):
        raise ValueError(f"{name} has shape {given.shape}; wanted ({count},)")
    if not ((given > 0) & np.isfinite(given)).all():
        raise ValueError(f"{name} holds a factor that is not positive and finite")
    return given


def finite(name: str, value: Floats) -> None:
    """Refuse NaN and Inf, naming the first."""
    bad = ~np.isfinite(value)
    if bad.any():
        at = tuple(int(i) for i in np.argwhere(bad)[0])
        raise ValueError(f"{name} holds {value[at]} at {list(at)}; wanted finite numbers")


def number_or_array(values: Floats, single: bool) -> Any:
    """A float for one problem, the array for a batch."""
    return float(values[0]) if single else values
