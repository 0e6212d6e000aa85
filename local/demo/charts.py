"""The page's pictures as inline SVG: numbers in, markup out. Colours are the page's CSS variables, so that light and dark are the page's matter.

On a phone a picture is half as wide and its letters stay as large: the page's style doubles their size in the picture, so every text has room for that.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from html import escape

from local.demo.journal import Lag, percentile

_WIDE = 720
#: the dots of a distribution: width of a slot, distance in a slot, and how high a lane may become
_SLOT, _RISE, _LANE = 6, 5.2, 150
#: name, CSS class, seconds
type Series = tuple[str, str, Sequence[float]]


def flow() -> str:
    """OMS, omsync and Salesforce, and what goes between them: a dot on its way for each direction."""
    boxes = "".join(
        _box(*one)
        for one in (
            (0, "oms", "OMS", "orders and care"),
            (265, "mid", "omsync", "on AWS, 23 tables"),
            (530, "sf", "Salesforce", "the people's desk"),
        )
    )
    lines, dots = [], []
    for kind, y, pairs in (("flow-out", 62, ((190, 263), (455, 528))), ("flow-back", 98, ((265, 192), (530, 457)))):
        for number, (x1, x2) in enumerate(pairs):
            begin = number if kind == "flow-out" else 1 - number
            lines.append(f'<line class="{kind}" x1="{x1}" x2="{x2}" y1="{y}" y2="{y}" marker-end="url(#{kind}-head)"/>')
            motion = f'<animateMotion dur="2.4s" begin="{begin * 1.2:g}s" repeatCount="indefinite" path="M{x1} {y}H{x2}"/>'
            dots.append(f'<circle class="{kind}-head dot" r="5">{motion}</circle>')
    heads = "".join(_head(kind) for kind in ("flow-out", "flow-back"))
    content = f"<defs>{heads}</defs>{boxes}{''.join(lines)}{''.join(dots)}"
    return _svg(146, content, "The flow of the data: OMS, omsync, Salesforce")


def _box(x: int, kind: str, name: str, below: str) -> str:
    return (
        f'<g transform="translate({x} 14)"><rect class="box {kind}" x="1" y="1" width="188" height="130" rx="16"/>'
        f'<text class="name" x="95" y="62" text-anchor="middle">{name}</text>'
        f'<text class="note" x="95" y="94" text-anchor="middle">{below}</text></g>'
    )


def _head(kind: str) -> str:
    """An arrow's head."""
    return (
        f'<marker id="{kind}-head" viewBox="0 0 8 8" refX="6" refY="4" markerWidth="6" markerHeight="6" orient="auto">'
        f'<path class="{kind}-head" d="M0 0L8 4L0 8z"/></marker>'
    )


def distribution(series: Sequence[Series]) -> str:
    """Every lag as a dot on one axis per series (name, CSS class, seconds), with median and 99th percentile marked and told above."""
    series = [one for one in series if one[2]]
    if not series:
        return ""
    top = _nice(max(max(values) for _, _, values in series))
    left, right = 14, 22

    def x(value: float) -> float:
        return left + (_WIDE - left - right) * min(value / top, 1)

    parts, y = [], 0.0
    for name, kind, values in series:
        drawn, height = _lane(name, kind, values, x, y)
        parts.append(drawn)
        y += height
    return _svg(y + 34, _axis(top, x, y) + "".join(parts), "Distribution of the seconds until a change was seen on the other side")


def _lane(name: str, kind: str, values: Sequence[float], x: Callable[[float], float], y: float) -> tuple[str, float]:
    """A series' words and dots from `y` down, and how high it is."""
    slots: dict[int, list[float]] = {}
    for value in sorted(values):
        slots.setdefault(int(x(value) // _SLOT), []).append(value)
    most = max(len(some) for some in slots.values())
    half = min(_LANE / 2, max(24.0, most * _RISE / 2 + 6))
    middle, rise = y + 40 + half, min(_RISE, 2 * (half - 6) / max(1, most - 1))
    median, high = percentile(list(values), 0.5), percentile(list(values), 0.99)
    told = f"median {median:.1f} s · p99 {high:.1f} s · {len(values)} changes"
    parts = [f'<text class="label {kind}-word" x="14" y="{y + 24:.1f}">{escape(name)}</text>']
    parts.append(f'<text class="note" text-anchor="end" x="{_WIDE - 22}" y="{y + 24:.1f}">{told}</text>')
    for at in (median, high):
        parts.append(f'<line class="mark" x1="{x(at):.1f}" x2="{x(at):.1f}" y1="{middle - half:.1f}" y2="{middle + half:.1f}"/>')
    for slot, some in slots.items():
        for number, value in enumerate(some):
            offset = ((number + 1) // 2) * rise * (1 if number % 2 else -1)
            title = f"<title>{value:.2f} s</title>"
            parts.append(f'<circle class="{kind}" cx="{slot * _SLOT + _SLOT / 2:.1f}" cy="{middle + offset:.1f}" r="2.7">{title}</circle>')
    return "".join(parts), 2 * half + 48


def _axis(top: float, x: Callable[[float], float], bottom: float) -> str:
    """Lines at fifths, with their seconds below."""
    parts = []
    for number in range(6):
        at = x(top / 5 * number)
        anchor = "start" if number == 0 else "end" if number == 5 else "middle"
        parts.append(f'<line class="grid" x1="{at:.1f}" x2="{at:.1f}" y1="34" y2="{bottom:.1f}"/>')
        parts.append(f'<text class="note" text-anchor="{anchor}" x="{at:.1f}" y="{bottom + 22:.1f}">{top / 5 * number:g} s</text>')
    return "".join(parts)


def through_outage(lags: Sequence[Lag], outage: tuple[float, float], caught_up: float, held_up: Callable[[Lag], bool]) -> str:
    """When a change was made (across) and how long it took (up); the time in which Salesforce was away is shaded."""
    begin, end = outage
    window = (begin - 20, caught_up + 20)
    shown = [lag for lag in lags if lag.direction == "oms_to_salesforce" and window[0] <= lag.at <= window[1]]
    if not shown:
        return ""
    top = _nice(max(lag.seconds for lag in shown))
    height, left, bottom, roof = 290, 66, 66, 14

    def x(at: float) -> float:
        return left + (_WIDE - left - 14) * (at - window[0]) / (window[1] - window[0])

    def y(seconds: float) -> float:
        return height - bottom - (height - bottom - roof) * seconds / top

    parts = [f'<rect class="away" x="{x(begin):.1f}" y="{roof}" width="{x(end) - x(begin):.1f}" height="{height - bottom - roof}"/>']
    for share in (0.0, 0.5, 1.0):
        parts.append(f'<line class="grid" x1="{left}" x2="{_WIDE - 14}" y1="{y(top * share):.1f}" y2="{y(top * share):.1f}"/>')
        parts.append(f'<text class="note" text-anchor="end" x="{left - 8}" y="{y(top * share) + 5:.1f}">{top * share:g} s</text>')
    parts.append(f'<line class="mark" x1="{x(caught_up):.1f}" x2="{x(caught_up):.1f}" y1="{roof}" y2="{height - bottom}"/>')
    for lag in shown:
        kind = "hot" if held_up(lag) else "out"
        parts.append(f'<circle class="{kind}" cx="{x(lag.at):.1f}" cy="{y(lag.seconds):.1f}" r="3.2"/>')
    places = (
        (begin, "start", 26, "away"),
        (end, "end", 26, f"back, {end - begin:.0f} s"),
        (caught_up, "end", 52, f"all is there, {caught_up - begin:.0f} s"),
    )
    for at, anchor, below, text in places:
        parts.append(f'<text class="note" text-anchor="{anchor}" x="{x(at):.1f}" y="{height - bottom + below}">{text}</text>')
    return _svg(height, "".join(parts), "Seconds until a change arrived, by the time it was made, around the outage")


def climb(points: Sequence[tuple[float, int]]) -> str:
    """Rows verified over the migration's seconds."""
    if len(points) < 2:
        return ""
    last, top = max(at for at, _ in points) or 1, max(rows for _, rows in points) or 1
    height, left, bottom, roof = 220, 78, 34, 14

    def place(at: float, rows: float) -> tuple[float, float]:
        return left + (_WIDE - left - 16) * at / last, height - bottom - (height - bottom - roof) * rows / top

    parts = []
    for share in (0.0, 0.5, 1.0):
        y = place(0, top * share)[1]
        anchor = "start" if share == 0 else "end" if share == 1 else "middle"
        parts.append(f'<line class="grid" x1="{left}" x2="{_WIDE - 16}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text class="note" text-anchor="end" x="{left - 8}" y="{y + 5:.1f}">{top * share:,.0f}</text>')
        x = place(last * share, 0)[0]
        parts.append(f'<text class="note" text-anchor="{anchor}" x="{x:.1f}" y="{height - 8}">{last * share:.0f} s</text>')
    stairs = _stairs([place(at, rows) for at, rows in points])
    floor = height - bottom
    area = f"{stairs[0][0]:.1f},{floor} " + _points(stairs) + f" {stairs[-1][0]:.1f},{floor}"
    parts.append(f'<polygon class="under" points="{area}"/><polyline class="climb" points="{_points(stairs)}"/>')
    return _svg(height, "".join(parts), "Rows verified over the seconds of the migration")


def _points(places: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in places)


def _stairs(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """A line that holds its height until the next point."""
    found = [points[0]]
    for x, y in points[1:]:
        found += [(x, found[-1][1]), (x, y)]
    return found


def _nice(value: float) -> float:
    """The next 1, 2, 2.5 or 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(max(value, 0.1)))
    return next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= value)


def _svg(height: float, content: str, title: str) -> str:
    return f'<svg viewBox="0 0 {_WIDE} {height:.0f}" role="img" aria-label="{escape(title)}">{content}</svg>'
