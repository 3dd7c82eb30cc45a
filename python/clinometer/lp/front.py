"""The points that no other point dominates."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from clinometer import _core
from clinometer.engine.inputs import thread_count

from .arrays import finite, real_array

__all__ = ["pareto_front"]


def pareto_front(points: Any, *, n_threads: int | None = None) -> NDArray[np.bool_]:
    """Which points are on the Pareto front: none is at least as large everywhere and larger somewhere (theory 9.1).

    Larger is better in every coordinate. Equal points stand or fall together, so a front may hold copies.

    Parameters
    ----------
    points : array (m, k), finite; one row a point

    Returns
    -------
    (m,) bool. Costs O(m log m) for k <= 3; above, at worst m times the size of the front.

    Errors: ValueError for another shape, NaN or Inf.

    >>> from clinometer import lp
    >>> lp.pareto_front([[1.0, 2.0], [2.0, 1.0], [1.0, 1.0], [2.0, 1.0]]).tolist()
    [True, True, False, True]
    """
    table = real_array("points", points)
    if table.ndim != 2 or table.shape[1] == 0:
        raise ValueError(f"points has shape {table.shape}; wanted (m, k) with k at least 1")
    finite("points", table)
    return np.asarray(_core.lp_front(table, thread_count(n_threads)))
