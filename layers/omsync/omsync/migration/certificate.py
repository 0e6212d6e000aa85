"""The certificate as one self-contained HTML page: no script, no font, no picture from elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from html import escape

from omsync.migration.model import Certificate, TableResult

STYLE = """
:root{--ink:#1b2430;--soft:#5c6b7a;--line:#d9e0e7;--good:#1a7f4b;--bad:#b3261e;--bar:#2f6fb2;--paper:#fff;--band:#f5f7fa}
@media (prefers-color-scheme:dark){:root{--ink:#e6ebf0;--soft:#9aa8b6;--line:#33404d;--good:#4cc38a;--bad:#ff8a80;--bar:#6aa9e9;--paper:#12181f;--band:#1a222b}}
body{font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper);max-width:1100px;margin:2rem auto;padding:0 1rem}
h1{font-size:1.6rem;margin:0 0 .2rem}h2{font-size:1.1rem;margin:2rem 0 .5rem}
.verdict{font-weight:600;font-size:1.1rem}.issued{color:var(--good)}.refused{color:var(--bad)}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}th,td{padding:.35rem .6rem;border-bottom:1px solid var(--line);text-align:right}
th:first-child,td:first-child,td.text,th.text{text-align:left}thead th{color:var(--soft);font-weight:600}tfoot td{font-weight:600}
tbody tr:nth-child(even){background:var(--band)}code{font-size:.85em;word-break:break-all}.soft{color:var(--soft)}.scroll{overflow-x:auto}
svg{width:100%;height:auto}
"""


def page(made: Certificate) -> str:
    """The page."""
    verdict = "issued" if made.issued else "refused"
    said = "Not proven: " + "; ".join(made.refused_because)
    if made.issued:
        said = f"{'Certificate issued' if made.certified else 'Verified'}: every value of every row is in Salesforce."
    parts = [
        f"<h1>Migration {escape(made.migration)}, run {made.run}</h1>",
        f'<p class="verdict {verdict}">{escape(said)}</p>',
        f'<p class="soft">{_time(made.at)} UTC, omsync {escape(made.version or "-")}, planned {_time(made.planned_at)}'
        f"{f', signed by {escape(made.signed_by)}' if made.signed_by else ''}</p>",
        _tables(made.tables),
        "<h2>Rows verified over time</h2>",
        _curve(made.progress),
        "<h2>Rows per second, planning to verified</h2>",
        _bars(made.tables),
        _not_sent(made.tables),
        _quarantine(made),
        _mismatches(made),
        _hashes(made),
    ]
    title = f"Migration {escape(made.migration)}, run {made.run}"
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{title}</title><style>{STYLE}</style>'
    return f'<!doctype html><html lang="en"><head>{head}</head><body>{"".join(parts)}</body></html>\n'


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _tables(tables: Sequence[TableResult]) -> str:
    names = (
        "table",
        "rows",
        "verified",
        "not sent",
        "quarantined",
        "missing",
        "mismatched",
        "unknown",
        "by live sync",
        "API calls",
        "seconds",
    )
    head = "".join(f"<th>{name}</th>" for name in names)
    rows = [(t.table, *_numbers(t), f"{t.seconds:,.1f}") for t in tables]
    body = "".join("<tr>" + "".join(f"<td>{_cell(value)}</td>" for value in row) + "</tr>" for row in rows)
    sums = [sum(column) for column in zip(*(_numbers(t) for t in tables), strict=True)] if tables else []
    foot = "<tr><td>all</td>" + "".join(f"<td>{value:,}</td>" for value in sums) + "<td></td></tr>"
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody><tfoot>{foot}</tfoot></table></div>'


def _numbers(table: TableResult) -> tuple[int, ...]:
    not_sent = sum(table.not_sent.values())
    return (
        table.rows,
        table.verified,
        not_sent,
        table.quarantined,
        table.missing,
        table.mismatched,
        table.unknown,
        table.handed,
        table.calls,
    )


def _cell(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else escape(str(value))


def _curve(points: Sequence[tuple[float, int]]) -> str:
    """Rows verified against seconds since planning."""
    if not points:
        return '<p class="soft">nothing yet</p>'
    width, height, left, low = 1000, 240, 80, 30
    last, most = max(points[-1][0], 0.1), max(points[-1][1], 1)
    xy = [
        (left, height - low),
        *((left + x / last * (width - left - 10), height - low - y / most * (height - low - 15)) for x, y in points),
    ]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in xy)
    ticks = "".join(
        f'<text x="{left - 8}" y="{height - low - share * (height - low - 15) + 4:.0f}" text-anchor="end" fill="var(--soft)" font-size="12">'
        f"{most * share:,.0f}</text>"
        for share in (0, 0.5, 1)
    )
    foot = f'<text x="{width - 10}" y="{height - 8}" text-anchor="end" fill="var(--soft)" font-size="12">{last:,.0f} s</text>'
    axis = f'<line x1="{left}" y1="{height - low}" x2="{width - 10}" y2="{height - low}" stroke="var(--line)"/>'
    curve = f'<polyline fill="none" stroke="var(--bar)" stroke-width="2" points="{line}"/>'
    label = f"{most:,} rows verified in {last:,.0f} seconds"
    return f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{label}">{axis}{ticks}{curve}{foot}</svg>'


def _bars(tables: Sequence[TableResult]) -> str:
    shown = [table for table in tables if table.rows]
    if not shown:
        return '<p class="soft">nothing yet</p>'
    most, high = max(max(table.rate for table in shown), 0.1), 26
    bars = "".join(
        f'<text x="190" y="{place * high + 17}" text-anchor="end" fill="var(--ink)" font-size="13">{escape(table.table)}</text>'
        f'<rect x="200" y="{place * high + 4}" width="{max(1.0, table.rate / most * 680):.1f}" height="{high - 8}" fill="var(--bar)"/>'
        f'<text x="{208 + table.rate / most * 680:.0f}" y="{place * high + 17}" fill="var(--soft)" font-size="12">{table.rate:,.0f}</text>'
        for place, table in enumerate(shown)
    )
    return f'<svg viewBox="0 0 1000 {len(shown) * high}" role="img" aria-label="rows per second by table">{bars}</svg>'


def _not_sent(tables: Sequence[TableResult]) -> str:
    rows = "".join(
        f'<tr><td>{escape(table.table)}</td><td>{count:,}</td><td class="text">{escape(reason)}</td></tr>'
        for table in tables
        for reason, count in sorted(table.not_sent.items())
    )
    return _section("Not sent by rule", ("table", "rows", "reason"), rows)


def _quarantine(made: Certificate) -> str:
    rows = "".join(
        f'<tr><td>{escape(one.table)}</td><td class="text"><code>{escape(one.id)}</code></td><td class="text">{escape(one.field or "-")}</td>'
        f'<td class="text">{escape(one.code)}: {escape(one.message)}</td></tr>'
        for one in made.quarantine
    )
    return _section("Quarantine", ("table", "id", "field", "reason"), rows)


def _mismatches(made: Certificate) -> str:
    rows = "".join(
        f'<tr><td>{escape(one.table)}</td><td class="text"><code>{escape(one.id)}</code></td><td class="text">{one.kind}</td>'
        f'<td class="text">{escape(", ".join(one.fields))}</td></tr>'
        for one in made.mismatches
    )
    return _section("Rows that differ", ("table", "id", "kind", "fields"), rows)


def _hashes(made: Certificate) -> str:
    rows = "".join(f'<tr><td>{escape(one.table)}</td><td class="text"><code>{one.sha256}</code></td></tr>' for one in made.tables)
    return _section("SHA-256 over the manifests", ("table", "hash"), rows) + f'<p class="soft">Certificate: <code>{made.sha256}</code></p>'


def _section(title: str, names: Sequence[str], rows: str) -> str:
    if not rows:
        return ""
    head = "".join(f'<th class="text">{name}</th>' for name in names)
    return f'<h2>{title}</h2><div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'
