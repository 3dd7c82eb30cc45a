"""A value's gain against KL as inline SVG: a line a constitution, bars of 95 %."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from .safe import markup
from .verdict import Z95

if TYPE_CHECKING:
    from .result import Report

__all__ = ["frontier"]

WIDTH, HEIGHT = 440, 240
LEFT, RIGHT, TOP, BOTTOM = 62, 12, 12, 34
COLOURS = 6
Scale = Callable[[float], float]


def frontier(report: Report, j: int) -> str:
    """The figure of value j; lines start at the base policy, (0, 0)."""
    x, y, ends = _scales(report, j)
    marks = [_axes(x, y, ends)]
    for k in range(len(report.constitutions)):
        marks.append(_curve(report, k, j, x, y))
    name = markup(report.values[j] + ("" if j < report.n_requested else " (length)"))
    return (
        f'<figure><figcaption>{name}</figcaption><svg viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" '
        f'height="{HEIGHT}" role="img"><title>gain in {name} against KL</title>\n'
        + "\n".join(marks)
        + "</svg></figure>"
    )


def _scales(report: Report, j: int) -> tuple[Scale, Scale, tuple[float, float, float]]:
    t = report.tilt
    gain, bar = t.gain[..., j], Z95 * np.nan_to_num(t.gain_se[..., j])
    reach = np.concatenate([(gain - bar).ravel(), (gain + bar).ravel(), [0.0]])
    reach = reach[np.isfinite(reach)]
    low, high = float(reach.min()), float(reach.max())
    if not high > low:
        low, high = low - 1.0, high + 1.0
    right = float(t.kl.max(initial=0.0)) or 1.0
    wide, tall = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
    return (
        lambda v: LEFT + wide * v / right,
        # halved first, so that gains near the largest float do not overflow
        lambda v: TOP + tall * ((high / 2 - v / 2) / (high / 2 - low / 2)),
        (right, low, high),
    )


def _axes(x: Scale, y: Scale, ends: tuple[float, float, float]) -> str:
    right, low, high = ends
    floor = HEIGHT - BOTTOM
    out = [
        f'<path class="axis" fill="none" d="M{LEFT} {TOP}V{floor}H{WIDTH - RIGHT}"/>',
        f'<path class="zero" fill="none" d="M{LEFT} {y(0.0):.1f}H{WIDTH - RIGHT}"/>',
        f'<text x="{(LEFT + WIDTH) / 2:.0f}" y="{HEIGHT - 4}" text-anchor="middle">KL, nats</text>',
    ]
    for v in (low, high):
        out.append(f'<text x="{LEFT - 5}" y="{y(v) + 4:.1f}" text-anchor="end">{v:+.3g}</text>')
    for v in (0.0, right / 2, right):
        anchor = "end" if v == right else "middle"
        out.append(f'<text x="{x(v):.1f}" y="{floor + 14}" text-anchor="{anchor}">{v:.2g}</text>')
    return "\n".join(out)


def _curve(report: Report, k: int, j: int, x: Scale, y: Scale) -> str:
    t, colour = report.tilt, k % COLOURS
    order = [int(b) for b in np.argsort(t.kl[k], kind="stable") if np.isfinite(t.gain[k, b, j])]
    points = " ".join(f"{x(t.kl[k, b]):.1f},{y(t.gain[k, b, j]):.1f}" for b in order)
    dash = ("", ' stroke-dasharray="6 3"', ' stroke-dasharray="2 2"')[k // COLOURS % 3]
    start = f"{x(0.0):.1f},{y(0.0):.1f}"
    out = [f'<polyline class="s{colour}" fill="none" stroke-width="1.5"{dash} points="{start} {points}"/>']
    for b in order:
        at, gain, bar = x(t.kl[k, b]), t.gain[k, b, j], Z95 * t.gain_se[k, b, j]
        if np.isfinite(bar):
            out.append(f'<path class="s{colour}" d="M{at:.1f} {y(gain - bar):.1f}V{y(gain + bar):.1f}"/>')
        fill = 'fill="none"' if report.past_horizon[k, b] else ""
        kind = f"s{colour}" if report.past_horizon[k, b] else f"s{colour} f{colour}"
        said = markup(f"{report.constitutions[k]}: KL {t.kl[k, b]:.3g}, gain {gain:+.4g}")
        out.append(
            f'<circle class="{kind}" {fill} cx="{at:.1f}" cy="{y(gain):.1f}" r="3"><title>{said}</title></circle>'
        )
    return "\n".join(out)
