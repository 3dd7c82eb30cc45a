"""Arguments that every fit takes."""

from __future__ import annotations

from typing import Any

import numpy as np

ALPHAS = np.geomspace(1e-4, 1e2, 13)  # in units of tr(Sigma)/d


def check_folds(folds: Any) -> None:
    if not isinstance(folds, (int, np.integer)) or isinstance(folds, bool) or folds < 2:
        raise ValueError(f"folds is {folds!r}, wanted an integer of at least 2")


def check_alpha(alpha: Any) -> None:
    if isinstance(alpha, str) and alpha == "cv":
        return
    if not isinstance(alpha, (int, float, np.number)) or not np.isfinite(alpha) or alpha < 0:
        raise ValueError(f"alpha is {alpha!r}, wanted 'cv' or a number >= 0")
