"""Plots of results: each takes a result and an Axes, and returns the Axes (extra ``plot``).

Nothing is shown and no global setting of matplotlib changes; without ``ax`` a figure is made. Colours are told apart
by colour-blind readers, bands are 95 % intervals, and lines are dashed where the rows no longer support the size of a
gain (theory 2.8).
"""

from __future__ import annotations

from .bars import cone
from .curves import frontier, iterate, prompts
from .depth import layers
from .dots import tradeoffs
from .ranks import spectrum

__all__ = ["cone", "frontier", "iterate", "layers", "prompts", "spectrum", "tradeoffs"]
