"""Encoding quality by layer, checkpoint or model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clinometer.fit import DirectionFit, EncodingQuality
from clinometer.theory.ceilings import CeilingByLayer
from clinometer.theory.comparing import Comparison

from .canvas import GREY, canvas, distinct, inks, label_ends, name, titled

Floats = NDArray[np.float64]


def layers(result: Any, ax: Any = None, *, highlight: Any = None, names: Any = None) -> Any:
    """Draw how much of each value a linear direction finds, layer by layer (theory 4.4).

    Parameters
    ----------
    result : CeilingByLayer; Comparison (from a to b, with the interval of the change at b); or a mapping of layer to
        DirectionFit or EncodingQuality
    ax : matplotlib Axes; None makes a figure
    highlight : values to keep in colour
    names : for a Comparison the names of a and b; for EncodingQuality the names of the values

    Returns
    -------
    Axes
        Out-of-fold R^2 inside prompts, bands 95 %. Layers with numbers are drawn to scale.

    Errors: TypeError for another result; ValueError for names of another number.

    >>> import clinometer as cm
    >>> world = cm.simulate(n_prompts=40, n_responses=8, dim=4, random_state=3)
    >>> fits = {layer: cm.fit_value_direction(world, "s") for layer in (8, 16)}
    >>> cm.plot.layers(fits).get_xlabel()
    'layer'
    """
    where, values, quality, interval, what = _read(result, names)
    numbers = all(isinstance(x, (int, float, np.number)) for x in where)
    x = np.asarray(where, np.float64) if numbers else np.arange(len(where), dtype=np.float64)
    order = np.argsort(x, kind="stable")
    with canvas(ax) as ax:
        ends, shown = [], distinct(values)
        for j, ink in enumerate(inks(values, highlight)):
            y, low, high = quality[order, j], interval[order, j, 0], interval[order, j, 1]
            if ink.loud:
                ax.fill_between(x[order], low, high, color=ink.colour, alpha=0.13, linewidth=0)
            ax.plot(x[order], y, color=ink.colour, marker=ink.marker, linewidth=ink.width, zorder=ink.order)
            if len(x) == 1 and ink.loud:
                ax.plot([x[0]] * 2, [low[0], high[0]], color=ink.colour, linewidth=1.0)
            if ink.loud:
                ends.append((float(x[order][-1]), float(y[-1]), shown[j], ink.colour))
        ax.axhline(0.0, color=GREY, linewidth=0.8, zorder=1.5)
        if len(x) <= 12 or not numbers:
            ax.set_xticks(x, [name(w, 16) for w in where], parse_math=False)
        ax.set_xlabel("layer" if numbers else "")
        ax.set_ylabel("R2 inside prompts, out of fold")
        titled(ax, "How much of each value is linear", what)
        label_ends(ax, ends)
    return ax


def _read(result: Any, names: Any) -> tuple[list[Any], list[str], Floats, Floats, str]:
    """Places, names of values, quality (L, J), interval (L, J, 2), and what the band is."""
    if isinstance(result, CeilingByLayer):
        return list(result.layers), list(result.values), result.quality, result.quality_ci, "band: 95 % over prompts"
    if isinstance(result, Comparison):
        where = ["a", "b"] if names is None else list(names)
        if len(where) != 2:
            raise ValueError(f"names has {len(where)} entries; a Comparison wants two, for a and b")
        quality = np.stack([result.quality_a, result.quality_b])
        change = result.quality_a[:, None] + result.quality_ci
        interval = np.stack([np.repeat(result.quality_a[:, None], 2, axis=1), change])
        return where, list(result.values), quality, interval, "band: 95 % interval of the change, paired by prompt"
    if isinstance(result, Mapping) and result:
        parts = [f.encoding_quality if isinstance(f, DirectionFit) else f for f in result.values()]
        if all(isinstance(q, EncodingQuality) for q in parts):
            first = next(iter(result.values()))
            held = first.names if isinstance(first, DirectionFit) else names
            held = [f"value {j}" for j in range(len(parts[0].value))] if held is None else list(held)
            quality, interval = np.stack([q.value for q in parts]), np.stack([q.ci for q in parts])
            return list(result), held, quality, interval, "band: 95 % over prompts"
    raise TypeError(
        f"result is {type(result).__name__}; wanted a CeilingByLayer, Comparison or mapping of layer to DirectionFit"
    )
