"""What every plot shares: the figure, the colours, names as text, labels that do not overlap."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clinometer.common.visible import visible

# Okabe and Ito's colours without the yellow, which a white page swallows
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#5B4A9E")
MARKERS = ("o", "s", "^", "D", "v", "P")
INK, GREY = "#222222", "#8c8c8c"
Z95 = 1.959963984540054
STYLE = {
    "font.size": 9.0, "axes.titlesize": 10.0, "axes.labelsize": 9.0, "xtick.labelsize": 8.0, "ytick.labelsize": 8.0,
    "legend.fontsize": 8.0, "legend.frameon": False, "axes.spines.top": False, "axes.spines.right": False,
    "axes.edgecolor": INK, "axes.labelcolor": INK, "text.color": INK, "xtick.color": INK, "ytick.color": INK,
    "lines.linewidth": 1.6, "lines.markersize": 4.0, "axes.axisbelow": True, "grid.color": "#e6e6e6",
    "grid.linewidth": 0.6, "axes.unicode_minus": False, "text.usetex": False,
}  # fmt: skip
SMALL = 7.5
LONGEST = 28


def whiskers(held: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Errors whose 1.96-fold is how far 95 % bounds reach, by Student's t where there are any; and 1 where the upper
    bound is open, -1 where the lower one is."""
    if not hasattr(held, "interval"):
        return np.asarray(held.gain_se), np.zeros(held.gain_se.shape)
    open_ = np.isposinf(held.interval[..., 1]) * 1.0 - np.isneginf(held.interval[..., 0])
    low, high = np.moveaxis(held.interval, -1, 0)
    with np.errstate(invalid="ignore"):
        far = np.select([open_ > 0, open_ < 0], [held.gain - low, high - held.gain], (high - low) / 2)
    return far / Z95, open_


@contextmanager
def canvas(ax: Any, size: tuple[float, float] = (6.4, 4.0)) -> Iterator[Any]:
    """The Axes to draw on, under our style; a new figure of `size` inches where `ax` is None."""
    try:
        import matplotlib
    except ImportError as error:
        raise ImportError("cm.plot needs matplotlib: pip install 'clinometer[plot]'") from error
    with matplotlib.rc_context(STYLE):
        if ax is None:
            from matplotlib import pyplot

            _, ax = pyplot.subplots(figsize=size, layout="constrained")
        elif not hasattr(ax, "plot"):
            raise TypeError(f"ax is {type(ax).__name__}; wanted a matplotlib Axes or None")
        ax.grid(True, color=STYLE["grid.color"], linewidth=STYLE["grid.linewidth"])
        yield ax


def name(text: object, longest: int = LONGEST) -> str:
    """A name as text: nothing hidden in it, and not longer than a label may be."""
    shown = visible(text)
    return shown if len(shown) <= longest else shown[: longest * 3 // 5] + ".." + shown[-(longest * 2 // 5 - 2) :]


def distinct(texts: Sequence[object]) -> list[str]:
    """Names as `name` gives them, cut later where cutting would make two of them the same."""
    for longest in (LONGEST, 2 * LONGEST):
        shown = [name(t, longest) for t in texts]
        if len(set(shown)) == len(set(texts)):
            return shown
    return [visible(t) for t in texts]


def titled(ax: Any, title: str, note: str = "") -> None:
    """A title at the left, and a smaller line under it."""
    ax.set_title(title, loc="left", pad=16.0 if note else 6.0, parse_math=False)
    if note:
        text = ax.annotate(
            note, (0.0, 1.0), (0.0, 5.0), "axes fraction", "offset points", fontsize=SMALL, color=GREY, va="bottom",
            parse_math=False,
        )  # fmt: skip
        text.set_in_layout(False)  # like the title, it may reach over the margin at the right


@dataclass(frozen=True)
class Ink:
    """How one of several things is drawn."""

    colour: str
    marker: str
    loud: bool  # False: in the background, without a label

    @property
    def width(self) -> float:
        return 1.6 if self.loud else 0.8

    @property
    def order(self) -> float:
        return 3.0 if self.loud else 2.0


def inks(names: Sequence[str], highlight: Any = None) -> list[Ink]:
    """Colour and marker of each name; all different up to 42 names, grey where others are highlighted."""
    asked = () if highlight is None else (highlight,) if isinstance(highlight, (str, int)) else tuple(highlight)
    loud = {chosen(names, one, "highlight") for one in asked}
    out, used = [], 0
    for i in range(len(names)):
        if loud and i not in loud:
            out.append(Ink(GREY, "o", False))
            continue
        out.append(Ink(PALETTE[used % len(PALETTE)], MARKERS[used // len(PALETTE) % len(MARKERS)], True))
        used += 1
    return out


def chosen(names: Sequence[Any], given: Any, argument: str) -> int:
    """Position of a name, or a position as it is."""
    if given in names:
        return names.index(given)
    if isinstance(given, (int, np.integer)) and -len(names) <= given < len(names):
        return int(given) % len(names)
    raise ValueError(f"{argument} is {given!r}; wanted one of {', '.join(repr(n) for n in names)}")


def label_ends(ax: Any, ends: Sequence[tuple[float, float, str, str]]) -> None:
    """Write each (x, y, text, colour) at the right of the axes, at its height or as near as the others let it."""
    ends = [e for e in ends if np.isfinite(e[0]) and np.isfinite(e[1])]
    if not ends:
        return
    ax.autoscale_view()
    height = ax.get_window_extent().height / ax.figure.dpi * 72.0
    size = SMALL if len(ends) * SMALL * 1.3 < height else max(4.0, height / len(ends) / 1.3)
    at = ax.transAxes.inverted().transform(ax.transData.transform([(x, y) for x, y, *_ in ends]))[:, 1]
    for (x, y, text, colour), where in zip(ends, spaced(at, size * 1.25 / height), strict=True):
        ax.annotate(
            text, (x, y), (1.03, where), "data", "axes fraction", color=colour, fontsize=size, va="center",
            annotation_clip=False, parse_math=False,
            arrowprops={"arrowstyle": "-", "color": colour, "lw": 0.5, "alpha": 0.6, "shrinkA": 1, "shrinkB": 2,
                        "relpos": (0.0, 0.5)},
        )  # fmt: skip


def spaced(at: NDArray[np.float64], gap: float) -> NDArray[np.float64]:
    """Heights at least `gap` apart, in the same order, as near as possible to `at` in the sense of least squares.

    Heights less i * gap are an isotonic regression, solved by pooling neighbours that violate the order; the pools
    are then kept inside [0, 1].

    >>> spaced(np.array([0.5, 0.5, 0.9]), 0.1).round(2).tolist()
    [0.45, 0.55, 0.9]
    """
    order = np.argsort(at, kind="stable")
    free = at[order] - gap * np.arange(len(at))
    pools: list[list[float]] = []  # mean, count
    for x in free:
        pools.append([float(x), 1.0])
        while len(pools) > 1 and pools[-2][0] > pools[-1][0]:
            (a, n), (b, m) = pools[-2], pools[-1]
            pools[-2:] = [[(a * n + b * m) / (n + m), n + m]]
    level = np.repeat([p[0] for p in pools], [int(p[1]) for p in pools])
    top = max(0.0, 1.0 - gap * (len(at) - 1))
    out = np.empty(len(at))
    out[order] = np.clip(level, 0.0, top) + gap * np.arange(len(at))
    return out


def show_key(ax: Any, **options: Any) -> None:
    """The legend at the right of the axes, outside, its names as plain text."""
    key = ax.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), **options)
    for text in key.get_texts():
        text.set_parse_math(False)
