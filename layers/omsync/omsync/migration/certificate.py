"""The certificate as one self-contained HTML page: no script, no font, no picture from elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from html import escape

from omsync.migration.model import DELTA, Certificate, TableResult

STYLE = """
:root{--ink:#1b2430;--soft:#5c6b7a;--line:#d9e0e7;--good:#1a7f4b;--bad:#b3261e;--bar:#2f6fb2;--paper:#fff;--band:#f5f7fa}
@media (prefers-color-scheme:dark){:root{--ink:#e6ebf0;--soft:#9aa8b6;--line:#33404d;--good:#4cc38a;--bad:#ff8a80;--bar:#6aa9e9;--paper:#12181f;--band:#1a222b}}
body{font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper);max-width:1100px;margin:2rem auto;padding:0 1rem}
h1{font-size:1.6rem;margin:0 0 .2rem}h2{font-size:1.1rem;margin:2rem 0 .5rem}
.verdict{font-weight:600;font-size:1.1rem}.issued{color:var(--good)}.refused{color:var(--bad)}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}th,td{padding:.35rem .6rem;border-bottom:1px solid var(--line);text-align:right}
th:first-child,td:first-child,td.text,th.text{text-align:left}thead th{color:var(--soft);font-weight:600}tfoot td{font-weight:600}
tbody tr:nth-child(even){background:var(--band)}code{font-size:.85em;word-break:break-all}.soft{color:var(--soft)}.scroll{overflow-x:auto}
td code{white-space:nowrap;word-break:normal}.hash code{white-space:normal;word-break:break-all}
figure{margin:0}figcaption{display:flex;justify-content:space-between;color:var(--soft);font-size:.85rem}
svg{display:block;width:100%;height:200px;border-left:1px solid var(--line);border-bottom:1px solid var(--line)}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.35rem .8rem;margin:0;align-items:center}dt{text-align:right}
dd{margin:0;display:flex;gap:.5rem;align-items:center;color:var(--soft);font-size:.85rem}dd i{background:var(--bar);height:1rem;min-width:1px}
@media (max-width:600px){body{margin:1rem auto;font-size:14px}dt{font-size:.85rem}th,td{padding:.3rem .4rem}}
"""


def page(made: Certificate) -> str:
    """The page."""
    verdict = "issued" if made.issued else "refused"
    said = "Not proven: " + "; ".join(made.refused_because)
    if made.issued:
        kept = sum(table.quarantined for table in made.tables)
        rows = f"every row but {kept:,} in quarantine" if kept else "every row"
        said = f"{'Certificate issued' if made.certified else 'Verified'}: every value of {rows} is in Salesforce."
    parts = [
        f"<h1>Migration {escape(made.migration)}, run {made.run}</h1>",
        f'<p class="verdict {verdict}">{escape(said)}</p>',
        f'<p class="soft">{_time(made.at)} UTC, omsync {escape(made.version or "-")}, planned {_time(made.planned_at)}'
        f"{f', signed by {escape(made.signed_by)}' if made.signed_by else ''}</p>",
        _tables([table for table in made.tables if table.told]),
        "<h2>Rows verified over time</h2>",
        _curve(made.progress),
        "<h2>Rows per second, planning to verified</h2>",
        _bars([table for table in made.tables if table.told]),
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
    rows = [(t.title, *_numbers(t), f"{t.seconds:,.1f}") for t in tables]
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
    """Rows verified against seconds since planning. Words stand beside the picture, so that they keep their size on a phone."""
    if not points:
        return '<p class="soft">nothing yet</p>'
    last, most = max(points[-1][0], 0.1), max(points[-1][1], 1)
    line = " ".join(f"{x / last * 1000:.1f},{200 - y / most * 196:.1f}" for x, y in ((0.0, 0), *points))
    curve = f'<polyline fill="none" stroke="var(--bar)" stroke-width="2" vector-effect="non-scaling-stroke" points="{line}"/>'
    label = f"{most:,} rows verified in {last:,.0f} seconds"
    picture = f'<svg viewBox="0 0 1000 200" preserveAspectRatio="none" role="img" aria-label="{label}">{curve}</svg>'
    above, below = f"<span>{most:,} rows</span>", f"<span>0 s</span><span>{last:,.0f} s</span>"
    return f"<figure><figcaption>{above}</figcaption>{picture}<figcaption>{below}</figcaption></figure>"


def _bars(tables: Sequence[TableResult]) -> str:
    shown = [table for table in tables if table.rows]
    if not shown:
        return '<p class="soft">nothing yet</p>'
    most = max(max(table.rate for table in shown), 0.1)
    bars = "".join(
        f'<dt>{escape(table.title)}</dt><dd><i style="width:{table.rate / most * 80:.1f}%"></i>{table.rate:,.0f}</dd>' for table in shown
    )
    return f"<dl>{bars}</dl>"


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
    return _section("Quarantine", ("table", "id", "field", "reason"), rows, len(made.quarantine), made.quarantined_rows)


def _mismatches(made: Certificate) -> str:
    rows = "".join(
        f'<tr><td>{escape(one.table)}</td><td class="text"><code>{escape(one.id)}</code></td><td class="text">{one.kind}</td>'
        f'<td class="text">{escape(", ".join(one.fields))}</td></tr>'
        for one in made.mismatches
    )
    return _section("Rows that differ", ("table", "id", "kind", "fields"), rows, len(made.mismatches), made.differing_rows)


def _hashes(made: Certificate) -> str:
    rows = "".join(
        f'<tr><td>{escape(one.table)}</td><td class="text"><code>{one.sha256}</code></td></tr>' for one in made.tables if one.wave != DELTA
    )
    section = _section("SHA-256 over the manifests", ("table", "hash"), rows)
    return f'<div class="hash">{section}<p class="soft">Certificate: <code>{made.sha256}</code></p></div>'


def _section(title: str, names: Sequence[str], rows: str, shown: int = 0, of: int = 0) -> str:
    if not rows:
        return ""
    head = "".join(f'<th class="text">{name}</th>' for name in names)
    cut = f'<p class="soft">{shown:,} of {of:,}; all: omsync migrate report --output DIR</p>' if shown < of else ""
    return f'<h2>{title}</h2>{cut}<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'
