"""The page's pictures as inline SVG: numbers in, markup out. Colours are the page's CSS variables, so that light and dark are the page's matter."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from html import escape

from local.demo.journal import Lag, StepRecord, percentile

_WIDE = 720


def distribution(series: Sequence[tuple[str, str, Sequence[float]]]) -> str:
    """Every lag as a dot on one axis per series (name, CSS class, seconds), with median and 99th percentile marked."""
    series = [one for one in series if one[2]]
    if not series:
        return ""
    top = _nice(max(max(values) for _, _, values in series))
    row, left, right = 84, 16, 16
    height = row * len(series) + 30

    def x(value: float) -> float:
        return left + (_WIDE - left - right) * min(value / top, 1)

    parts = [_grid(top, x, height - 24)]
    for number, (name, kind, values) in enumerate(series):
        base = number * row + 22
        parts.append(f'<text class="label" x="{left}" y="{base - 4}">{escape(name)}, {len(values)} changes</text>')
        middle = base + 30
        slots: dict[int, int] = {}
        for value in sorted(values):
            slot = int(x(value) // 5)
            stacked = slots.get(slot, 0)
            slots[slot] = stacked + 1
            offset = (1 if stacked % 2 else -1) * ((stacked + 1) // 2) * 4.2
            parts.append(f'<circle class="{kind}" cx="{x(value):.1f}" cy="{middle + max(-24.0, min(24.0, offset)):.1f}" r="2.6"/>')
        for share, text in ((0.5, "median"), (0.99, "p99")):
            at = percentile(list(values), share)
            anchor = "end" if x(at) > _WIDE - 90 else "start"
            shift = -4 if anchor == "end" else 4
            level = base - 4 if share == 0.5 and x(at) > 260 else base + 8
            parts.append(f'<line class="mark" x1="{x(at):.1f}" x2="{x(at):.1f}" y1="{middle - 27}" y2="{middle + 27}"/>')
            below = level + (0 if share == 0.5 else 46)
            parts.append(f'<text class="note" text-anchor="{anchor}" x="{x(at) + shift:.1f}" y="{below}">{text} {at:.1f} s</text>')
    return _svg(height, "".join(parts), "Distribution of the seconds until a change was seen on the other side")


def through_outage(lags: Sequence[Lag], outage: tuple[float, float], held_up: Callable[[Lag], bool]) -> str:
    """When a change was made (across) and how long it took (up); the time in which Salesforce was away is shaded."""
    begin, end = outage
    window = (begin - 20, end + 40)
    shown = [lag for lag in lags if lag.direction == "oms_to_salesforce" and window[0] <= lag.at <= window[1]]
    if not shown:
        return ""
    top = _nice(max(lag.seconds for lag in shown))
    height, left, bottom, roof = 230, 44, 34, 14

    def x(at: float) -> float:
        return left + (_WIDE - left - 12) * (at - window[0]) / (window[1] - window[0])

    def y(seconds: float) -> float:
        return height - bottom - (height - bottom - roof) * seconds / top

    parts = [f'<rect class="away" x="{x(begin):.1f}" y="{roof}" width="{x(end) - x(begin):.1f}" height="{height - bottom - roof}"/>']
    parts.append(f'<text class="label" x="{x(begin) + 6:.1f}" y="{roof + 16}">Salesforce away</text>')
    for share in (0.0, 0.5, 1.0):
        parts.append(f'<line class="grid" x1="{left}" x2="{_WIDE - 12}" y1="{y(top * share):.1f}" y2="{y(top * share):.1f}"/>')
        parts.append(f'<text class="note" text-anchor="end" x="{left - 6}" y="{y(top * share) + 4:.1f}">{top * share:g} s</text>')
    for lag in shown:
        kind = "hot" if held_up(lag) else "out"
        parts.append(f'<circle class="{kind}" cx="{x(lag.at):.1f}" cy="{y(lag.seconds):.1f}" r="3"/>')
    for at, text in ((begin, "0 s"), (end, f"{end - begin:.0f} s")):
        parts.append(f'<text class="note" text-anchor="middle" x="{x(at):.1f}" y="{height - bottom + 16}">{text}</text>')
    parts.append(
        f'<text class="note" text-anchor="middle" x="{(x(begin) + x(end)) / 2:.1f}" y="{height - 4}">when the change was made in the OMS</text>'
    )
    return _svg(height, "".join(parts), "Seconds until a change arrived, by the time it was made, around the outage")


def timeline(steps: Sequence[StepRecord], total: float) -> str:
    """What took how long: a bar per step on the demo's clock."""
    row, left = 22, 250
    height = row * len(steps) + 24

    def x(at: float) -> float:
        return left + (_WIDE - left - 40) * at / max(total, 1)

    parts = []
    for number, step in enumerate(steps):
        top = number * row
        kind = "bad" if step.broken else "bar"
        width = max(2.0, x(step.began + step.seconds) - x(step.began))
        title = step.title if len(step.title) < 40 else f"{step.title[:38]}…"
        parts.append(f'<text class="note" text-anchor="end" x="{left - 10}" y="{top + 15}">{escape(title)}</text>')
        parts.append(f'<rect class="{kind}" x="{x(step.began):.1f}" y="{top + 4}" width="{width:.1f}" height="{row - 8}" rx="3"/>')
        parts.append(f'<text class="note" x="{x(step.began) + width + 5:.1f}" y="{top + 15}">{step.seconds:.0f} s</text>')
    for at in range(0, int(total) + 1, 60):
        parts.append(f'<line class="grid" x1="{x(at):.1f}" x2="{x(at):.1f}" y1="0" y2="{height - 20}"/>')
        parts.append(f'<text class="note" text-anchor="middle" x="{x(at):.1f}" y="{height - 5}">{at // 60} min</text>')
    return _svg(height, "".join(parts), "The demo's steps on its clock")


def flow(out: int, back: int, out_median: float | None, back_median: float | None) -> str:
    """OMS, omsync and Salesforce, and what went between them. Boxes turn upright on a phone by the page's style."""
    seconds = [f"{one:.1f} s at the median" if one is not None else "" for one in (out_median, back_median)]
    boxes = "".join(
        _box(*one)
        for one in ((0, "oms", "OMS", "23 tables"), (285, "mid", "omsync", "on AWS"), (570, "sf", "Salesforce", "for the people"))
    )
    arrows = "".join(
        f'<line class="{kind}" x1="{x1}" x2="{x2}" y1="{y}" y2="{y}" marker-end="url(#{kind}-head)"/>'
        for kind, y, pairs in (("flow-out", 50, ((154, 278), (439, 563))), ("flow-back", 84, ((281, 157), (566, 442))))
        for x1, x2 in pairs
    )
    heads = "".join(_head(kind) for kind in ("flow-out", "flow-back"))
    words = (
        f'<text class="label" x="360" y="142" text-anchor="middle">→ {out} changes seen in Salesforce, {seconds[0]}</text>'
        f'<text class="label" x="360" y="172" text-anchor="middle">← {back} changes seen in the OMS, {seconds[1]}</text>'
    )
    return _svg(184, f"<defs>{heads}</defs>{boxes}{arrows}{words}", "The flow of the data: OMS, omsync, Salesforce")


def climb(points: Sequence[tuple[float, int]]) -> str:
    """Rows verified over the migration's seconds."""
    if len(points) < 2:
        return ""
    last, top = max(at for at, _ in points) or 1, max(rows for _, rows in points) or 1
    height, left, bottom, roof = 180, 64, 28, 14

    def place(at: float, rows: float) -> tuple[float, float]:
        return left + (_WIDE - left - 16) * at / last, height - bottom - (height - bottom - roof) * rows / top

    parts = []
    for share in (0.0, 0.5, 1.0):
        y = place(0, top * share)[1]
        parts.append(f'<line class="grid" x1="{left}" x2="{_WIDE - 16}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text class="note" text-anchor="end" x="{left - 6}" y="{y + 4:.1f}">{top * share:,.0f}</text>')
        parts.append(
            f'<text class="note" text-anchor="middle" x="{place(last * share, 0)[0]:.1f}" y="{height - 8}">{last * share:.0f} s</text>'
        )
    steps = " ".join(f"{x:.1f},{y:.1f}" for x, y in _stairs([place(at, rows) for at, rows in points]))
    parts.append(f'<polyline class="climb" points="{steps}"/>')
    return _svg(height, "".join(parts), "Rows verified over the seconds of the migration")


def _stairs(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """A line that holds its height until the next point."""
    found = [points[0]]
    for x, y in points[1:]:
        found += [(x, found[-1][1]), (x, y)]
    return found


def _box(x: int, kind: str, name: str, below: str) -> str:
    return (
        f'<g transform="translate({x} 20)"><rect class="box {kind}" width="150" height="92" rx="12"/>'
        f'<text class="name" x="75" y="42" text-anchor="middle">{name}</text>'
        f'<text class="note" x="75" y="64" text-anchor="middle">{below}</text></g>'
    )


def _head(kind: str) -> str:
    """An arrow's head."""
    return (
        f'<marker id="{kind}-head" viewBox="0 0 8 8" refX="6" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        f'<path class="{kind}-head" d="M0 0L8 4L0 8z"/></marker>'
    )


def bars(rows: Sequence[tuple[str, float, str]]) -> str:
    """A bar per row (name, length, what is written beside it)."""
    top = max((value for _, value, _ in rows), default=0) or 1
    row, left = 22, 180
    parts = []
    for number, (name, value, text) in enumerate(rows):
        y, width = number * row, (_WIDE - left - 150) * value / top
        parts.append(f'<text class="note" text-anchor="end" x="{left - 10}" y="{y + 15}">{escape(name)}</text>')
        parts.append(f'<rect class="bar" x="{left}" y="{y + 4}" width="{max(2.0, width):.1f}" height="{row - 8}" rx="3"/>')
        parts.append(f'<text class="note" x="{left + max(2.0, width) + 6:.1f}" y="{y + 15}">{escape(text)}</text>')
    return _svg(row * len(rows), "".join(parts), "Rows by table")


def _grid(top: float, x: Callable[[float], float], bottom: float) -> str:
    step = top / 5
    parts = []
    for number in range(6):
        at = x(step * number)
        anchor = "start" if number == 0 else "end" if number == 5 else "middle"
        parts.append(f'<line class="grid" x1="{at:.1f}" x2="{at:.1f}" y1="8" y2="{bottom}"/>')
        parts.append(f'<text class="note" text-anchor="{anchor}" x="{at:.1f}" y="{bottom + 18}">{step * number:g} s</text>')
    return "".join(parts)


def _nice(value: float) -> float:
    """The next 1, 2, 2.5 or 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(max(value, 0.1)))
    return next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= value)


def _svg(height: float, content: str, title: str) -> str:
    return f'<svg viewBox="0 0 {_WIDE} {height:.0f}" role="img" aria-label="{escape(title)}">{content}</svg>'
