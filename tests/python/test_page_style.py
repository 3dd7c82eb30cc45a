"""The page's colours: seen against the paper, and told apart by readers who lack a cone."""

from __future__ import annotations

import re
from itertools import combinations

import numpy as np
import pytest
from numpy.typing import NDArray

from clinometer.reporting.page.document import WEB

Floats = NDArray[np.float64]
# full dichromacy in linear RGB: G. M. Machado, M. M. Oliveira, L. A. F. Fernandes, IEEE TVCG 15 (2009), severity 1
SIGHT = {
    "all cones": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]],
}
TO_XYZ = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]


def palettes() -> dict[str, dict[str, str]]:
    """Custom properties of the light and of the dark scheme."""
    css = (WEB / "report.css").read_text()
    light, dark = re.findall(r":root \{(.*?)\}", css, re.DOTALL)[:2]
    return {name: dict(re.findall(r"--(\w+): (#\w+)", block)) for name, block in (("light", light), ("dark", dark))}


def linear(colour: str) -> Floats:
    v = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(v <= 0.04045, v / 12.92, ((v + 0.055) / 1.055) ** 2.4)


def lab(rgb: Floats) -> Floats:
    f = np.cbrt(np.maximum(np.asarray(TO_XYZ) @ np.clip(rgb, 0, 1) / [0.9505, 1.0, 1.089], 0.008856))
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def contrast(a: str, b: str) -> float:
    light, dark = sorted((float(np.array(TO_XYZ[1]) @ linear(c)) for c in (a, b)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_lines_and_text_are_seen(scheme: str) -> None:
    held = palettes()[scheme]
    for name in [f"k{i}" for i in range(8)] + ["up", "down"]:
        assert contrast(held[name], held["paper"]) >= 3, name  # WCAG 1.4.11, graphics
    for name in ("ink", "dim", "accent", "good", "bad", "mixed", "open"):
        assert contrast(held[name], held["paper"]) >= 4.5, name


@pytest.mark.parametrize("sight", SIGHT)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colours_are_told_apart(scheme: str, sight: str) -> None:
    held = palettes()[scheme]
    seen = {n: lab(np.asarray(SIGHT[sight]) @ linear(held[n])) for n in (*(f"k{i}" for i in range(8)), "up", "down")}
    assert np.linalg.norm(seen["up"] - seen["down"]) > 25
    near = {
        (a, b): float(np.linalg.norm(seen[a] - seen[b]))
        for a, b in combinations([f"k{i}" for i in range(8)], 2)
    }  # fmt: skip
    # shapes tell all of them apart; the first four, which most pages use, differ widely in colour too
    assert min(near.values()) > 12, min(near, key=near.__getitem__)
    assert min(x for (_, b), x in near.items() if int(b[1]) < 4) > 20
