"""Curves as an SVG, written by hand: a handful of panels, one above the other, with one axis of time, or of counts.

The picture has a light ground of its own, so that it can be read on a page of any colour.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from xml.sax.saxutils import escape

WIDTH: Final = 880
_LEFT, _RIGHT, _TOP, _BOTTOM = 72, 24, 58, 44
_HEADING = 58
"""Room above a panel, for its title and its legend."""

_CHARACTER = 6.6
"""Roughly how wide one is in the legend; a font that is wider costs some of the room between two entries."""

_INK, _FAINT, _GROUND, _SHADE = "#1f2328", "#d0d7de", "#ffffff", "#f6e3d4"
_FONT = "ui-sans-serif, system-ui, 'Segoe UI', Helvetica, Arial, sans-serif"


@dataclass(frozen=True, slots=True)
class Curve:
    """One line.

    Attributes:
        colour: Any that SVG knows, dark enough for a light ground.
        points: (where on the axis, value), in the order of the axis.
        is_dashed: To tell it from another of the same colour.
    """

    label: str
    colour: str
    points: Sequence[tuple[float, float]]
    is_dashed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """Curves on one scale.

    Attributes:
        ticks: (value, what to write beside it), rising; the first and the last are the ends of the scale.
        height: In pixels.
        is_logarithmic: Then every tick is above 0.
    """

    title: str
    curves: Sequence[Curve]
    ticks: Sequence[tuple[float, str]]
    height: int
    is_logarithmic: bool = False

    def share(self, value: float) -> float:
        """Where on the scale a value lies: 0 at the bottom, 1 at the top; what lies beyond is put at the end."""
        low, high = self.ticks[0][0], self.ticks[-1][0]
        value = min(max(value, low), high)
        if self.is_logarithmic:
            return math.log(value / low) / math.log(high / low)
        return (value - low) / (high - low)


@dataclass(frozen=True, slots=True)
class Interval:
    """A stretch of the axis, and what it is called."""

    begins_at: float
    ends_at: float
    label: str
    is_shaded: bool = True


def picture(
    title: str,
    subtitle: str,
    panels: Sequence[Panel],
    *,
    intervals: Sequence[Interval],
    ends_at: float,
    unit: str = "seconds",
) -> str:
    """The SVG document.

    Args:
        title: The first line, and what a screen reader says.
        subtitle: The second.
        panels: From the top.
        intervals: Shown in every panel; named in the last.
        ends_at: The end of the axis; it begins at 0.
        unit: What the axis counts.
    """
    height = _TOP + sum(_HEADING + panel.height for panel in panels) + _BOTTOM
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img"',
        f' width="{WIDTH}" height="{height}" font-family="{_FONT}" font-size="13" fill="{_INK}">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{WIDTH}" height="{height}" rx="8" fill="{_GROUND}" stroke="{_FAINT}"/>',
        _text(_LEFT, 30, title, size=18, weight=600),
        _text(_LEFT, 52, subtitle),
    ]
    top = _TOP
    for number, panel in enumerate(panels, start=1):
        top += _HEADING
        parts += _panel(panel, top, intervals, ends_at, names_intervals=number == len(panels))
        top += panel.height
    parts += _axis(top, ends_at, unit)
    return "\n".join([*parts, "</svg>", ""])


def _panel(
    panel: Panel, top: int, intervals: Sequence[Interval], ends_at: float, *, names_intervals: bool
) -> list[str]:
    def x(at: float) -> float:
        return _x(at, ends_at)

    def y(value: float) -> float:
        return top + panel.height * (1 - panel.share(value))

    right = WIDTH - _RIGHT
    parts = _heading(panel, top)
    for one in intervals:
        left, width = x(one.begins_at), x(one.ends_at) - x(one.begins_at)
        if one.is_shaded:
            parts.append(
                f'<rect x="{left:.1f}" y="{top}" width="{width:.1f}" height="{panel.height}" fill="{_SHADE}"/>'
            )
        if names_intervals:
            parts.append(_text(left + width / 2, top + panel.height - 8, one.label, anchor="middle"))
    for value, words in panel.ticks:
        parts.append(f'<path d="M{_LEFT} {y(value):.1f}H{right}" stroke="{_FAINT}"/>')
        parts.append(_text(_LEFT - 8, y(value) + 4, words, anchor="end"))
    for curve in panel.curves:
        line = " ".join(f"{x(at):.1f},{y(value):.1f}" for at, value in curve.points)
        parts.append(f'<polyline points="{line}" fill="none" {_stroke(curve)}/>')
    return parts


def _heading(panel: Panel, top: int) -> list[str]:
    """The title of a panel and, below it, the legend."""
    parts = [_text(_LEFT, top - 30, panel.title, weight=600)]
    left = float(_LEFT)
    for curve in panel.curves:
        parts.append(f'<path d="M{left:.0f} {top - 15}h20" {_stroke(curve)}/>')
        parts.append(_text(left + 26, top - 11, curve.label))
        left += 26 + _CHARACTER * len(curve.label) + 14
    return parts


def _axis(top: int, ends_at: float, unit: str) -> list[str]:
    step = next(step for step in (1, 2, 5, 10, 20, 30, 60, 120, math.inf) if ends_at / step <= 10)
    instants = [n * step for n in range(int(ends_at / step) + 1)] if step < math.inf else [0]
    parts = [_text(_x(at, ends_at), top + 18, f"{at:g}", anchor="middle") for at in instants]
    return [*parts, _text((_LEFT + WIDTH - _RIGHT) / 2, top + 36, unit, anchor="middle")]


def _x(at: float, ends_at: float) -> float:
    return _LEFT + (WIDTH - _LEFT - _RIGHT) * min(max(at / ends_at, 0.0), 1.0)


def _stroke(curve: Curve) -> str:
    dashes = ' stroke-dasharray="6 4"' if curve.is_dashed else ""
    return f'stroke="{escape(curve.colour)}" stroke-width="2" stroke-linejoin="round"{dashes}'


def _text(x: float, y: float, words: str, *, anchor: str = "start", size: int = 13, weight: int = 400) -> str:
    more = "".join(
        f' {name}="{value}"'
        for name, value, usual in (
            ("text-anchor", anchor, "start"),
            ("font-size", size, 13),
            ("font-weight", weight, 400),
        )
        if value != usual
    )
    return f'<text x="{x:.1f}" y="{y:.1f}"{more}>{escape(words)}</text>'
