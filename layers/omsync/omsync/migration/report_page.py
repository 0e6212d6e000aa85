"""The plan's report as one self-contained HTML page: no script, no font, no picture from elsewhere. Ids and counts, never a value."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from html import escape
from typing import TYPE_CHECKING

from omsync.migration.certificate import STYLE

if TYPE_CHECKING:
    from omsync.migration.report import PlanReport

_MORE = ".bad{color:var(--bad);font-weight:600}.look{color:#a66300;font-weight:600}.ok{color:var(--good)}details summary{cursor:pointer;white-space:nowrap}"
_WORDS = {"bad": "would be quarantined", "look": "look", "note": "note"}


def page(made: PlanReport) -> str:
    """The page."""
    title = f"Plan of run {made.run}, migration {escape(made.migration)}"
    moment = datetime.fromtimestamp(made.at, UTC).strftime("%Y-%m-%d %H:%M:%S")
    if made.blocked:
        reasons = "".join(f"<li>{escape(one)}</li>" for one in made.blocked_because)
        verdict = f'<p class="verdict refused">The run cannot start:</p><ul>{reasons}</ul>'
    else:
        bad = sum(one.bad for one in made.tables)
        said = f"; {bad:,} rows would be quarantined" if bad else ""
        verdict = f'<p class="verdict issued">Nothing stops this run{said}.</p>'
    parts = [
        f'<h1>{title}</h1>{verdict}<p class="soft">{moment} UTC. Nothing was written to Salesforce.</p>',
        _findings(made),
        _tables(made),
        _needs(made),
        _checks(made),
    ]
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{title}</title><style>{STYLE}{_MORE}</style>'
    return f'<!doctype html><html lang="en"><head>{head}</head><body>{"".join(parts)}</body></html>\n'


def _section(title: str, names: Sequence[str], rows: Iterable[Sequence[str]], empty: str = "") -> str:
    """`rows` are cells of HTML; a name that ends in * is a column of numbers."""
    body = "".join(
        "<tr>"
        + "".join(f"<td{'' if name.endswith('*') else ' class=text'}>{cell}</td>" for name, cell in zip(names, row, strict=True))
        + "</tr>"
        for row in rows
    )
    if not body:
        return f'<h2>{title}</h2><p class="soft">{empty}</p>' if empty else ""
    head = "".join(f"<th{'' if name.endswith('*') else ' class=text'}>{name.rstrip('*')}</th>" for name in names)
    return f'<h2>{title}</h2><div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _findings(made: PlanReport) -> str:
    rows = [
        (
            escape(one.table),
            f'<span class="{one.weight}">{_WORDS[one.weight]}</span>',
            escape(one.kind),
            escape(one.field),
            f"{one.rows:,}",
            escape(one.message),
            escape(one.mend),
            f"<details><summary>{len(one.ids)} of {one.rows:,}</summary>{''.join(f'<code>{escape(name)}</code><br>' for name in one.ids)}</details>",
        )
        for one in made.findings
    ]
    return _section("Findings", ("table", "", "kind", "column", "rows*", "what", "how to mend", "ids"), rows, "none")


def _tables(made: PlanReport) -> str:
    rows = [
        (
            escape(one.table),
            escape(one.wave),
            f"{one.rows:,}",
            f"{sum(one.records.values()):,}",
            f"{one.not_sent:,}",
            f"{one.bad:,}",
            escape(", ".join(f"{name} {count:,}" for name, count in one.records.items())),
            f"{one.data_kb / 1024:,.1f}",
            f"{one.chunks:,}",
        )
        for one in made.tables
    ]
    return _section("Rows", ("table", "wave", "rows*", "to send*", "not sent*", "bad*", "records", "MB*", "chunks*"), rows)


def _needs(made: PlanReport) -> str:
    rows = [
        (
            '<span class="ok">ok</span>'
            if one.ok
            else '<span class="bad">too much</span>'
            if one.impossible
            else '<span class="look">tight</span>',
            escape(one.limit),
            f"{one.needed:,.1f}",
            "not told" if one.left is None else f"{one.left:,.0f}",
            "" if one.of is None else f"{one.of:,.0f}",
        )
        for one in made.needs
    ]
    return _section("What the run takes of the org's allocations, at most", ("", "allocation", "needed*", "left*", "of*"), rows)


def _checks(made: PlanReport) -> str:
    rank = {"stop": 0, "look": 1, "ok": 2}
    words = [("ok" if one.ok else "stop" if one.blocking else "look", one) for one in made.checks]
    rows = [
        (f'<span class="{"bad" if word == "stop" else word}">{word}</span>', escape(one.name), escape(one.detail), escape(one.mend))
        for word, one in sorted(words, key=lambda pair: rank[pair[0]])
    ]
    return _section("The org", ("", "check", "detail", "how to mend"), rows)
