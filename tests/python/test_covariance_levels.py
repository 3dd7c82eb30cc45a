"""Covariances on every instruction set: prompts far apart beside their spread, even and uneven weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import clinometer as cm


def rows(dtype: str, sizes: np.ndarray, d: int, ratio: float) -> np.ndarray:
    """Prompts `ratio` spreads apart; bfloat16 as floats that it holds."""
    rng = np.random.default_rng(len(sizes))
    x = (ratio * rng.normal(size=(len(sizes), d))).repeat(sizes, axis=0) + rng.normal(size=(sizes.sum(), d))
    if dtype == "bfloat16":
        bits: np.ndarray = x.astype(np.float32).view(np.uint32) & np.uint32(0xFFFF0000)
        return bits.view(np.float32)
    return x.astype(dtype)


@pytest.mark.parametrize("ratio", [0.0, 30.0, 1000.0])
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("even", [True, False])
def test_a_covariance_is_the_twins(isa: str, dtype: str, ratio: float, even: bool) -> None:
    """What the error is of: the rounding of rows less the shift of their leaf, which is as far as prompts lie apart."""
    rng = np.random.default_rng(1)
    sizes = np.full(90, 7) if even else rng.integers(1, 60, 90)
    x = rows(dtype, sizes, 33, ratio)
    ids = np.repeat(np.arange(len(sizes)), sizes)
    base: dict[str, Any] = {} if even else {"base": "counts", "counts": rng.integers(1, 9, len(ids))}
    got = cm.moments(x, prompt_ids=ids, **base)
    want = cm.reference.moments(x.astype(float), ids, **base)["covariance"]
    assert got.covariance is not None
    spread = np.sqrt(np.diag(want))
    error = np.abs(got.covariance - want) / np.outer(spread, spread)
    assert error.max() < 2e-6 + 2e-8 * ratio
    lean = cm.moments(x, prompt_ids=ids, covariance=False, **base)
    np.testing.assert_allclose(lean.variances, np.diag(want), rtol=2e-6 + 2e-8 * ratio)
