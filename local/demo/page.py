"""The demo's page: one HTML file that needs nothing else, made of what the journal holds."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

from local.demo import charts
from local.demo.journal import Journal, percentile
from local.demo.show import figures


def render(journal: Journal) -> str:
    """The page."""
    files = FileSystemLoader(Path(__file__).parent)
    environment = Environment(
        loader=files, autoescape=select_autoescape(default=True, default_for_string=True), undefined=StrictUndefined, trim_blocks=True
    )
    out, back = journal.seconds("oms_to_salesforce"), journal.seconds("salesforce_to_oms")
    total = journal.now()
    return environment.get_template("page.html.j2").render(
        broken=journal.broken,
        figures=[one for one in figures(journal) if one[0] not in ("promises broken", "seconds in all")],
        minutes=_duration(total),
        day=datetime.now(UTC).strftime("%-d %B %Y, %H:%M UTC"),
        steps=[step for step in journal.steps if step.facts or step.broken],
        flow=Markup(charts.flow(len(out), len(back), _median(out), _median(back))),
        lags=Markup(charts.distribution([("OMS to Salesforce", "out", out), ("Salesforce to OMS", "back", back)])),
        outage=_outage(journal),
        migration=_migration(journal),
        emails=_emails(journal),
        compared=journal.compared,
        timeline=Markup(charts.timeline(journal.steps, total)),
    )


def _migration(journal: Journal) -> dict[str, object] | None:
    told = journal.summary.get("migration")
    if told is None:
        return None
    text = (
        f"{told['source_rows']:,} rows of {told['tables']} tables in {told['runs']} runs, each with its certificate, while the company worked on. "
        f"{told['verified_rows']:,} were verified, every value of them; {told['not_sent_by_rule']:,} are not sent by rule, "
        f"{told['quarantined']} are in quarantine. {told['missing']} missing, {told['mismatched']} mismatched, {told['unknown']} unknown."
    )
    rows = [
        (one.table, float(one.verified), f"{one.verified:,} of {one.rows:,}")
        for one in journal.migrated
        if (one.rows and one.run < 4) or one.verified
    ]
    return {"text": text, "picture": Markup(charts.climb(journal.verified) + charts.bars(_by_table(rows)))}


def _by_table(rows: Sequence[tuple[str, float, str]]) -> list[tuple[str, float, str]]:
    """A table that two runs have looked at (run 4 takes the delta of all) is shown once, with its first."""
    return list({name: (name, value, text) for name, value, text in reversed(rows)}.values())[::-1]


def _emails(journal: Journal) -> dict[str, object] | None:
    told = journal.summary.get("emails")
    if told is None:
        return None
    text = (
        f"{told['flows_sent']} flows, {told['sent']} emails in the mailbox, {told['duplicates']} sent twice; "
        f"{told['skipped']} were held back, each with its reason on record. Reminders were due by the clock, which was advanced."
    )
    return {"text": text, "mails": journal.mails}


def _outage(journal: Journal) -> dict[str, object] | None:
    told = journal.summary.get("outage")
    if told is None or journal.outage is None:
        return None
    text = (
        f"For {told['seconds']} s every call was answered 503 while {told['changes']} changes were made in the OMS. "
        f"{told['caught_up_seconds']} s after the end all of them had arrived; {told['lost']} were lost, {told['dlq']} are in dead-letter queues."
        if not told["lost"]
        else f"For {told['seconds']} s every call was answered 503. {told['lost']} of {told['changes']} changes did not arrive in time."
    )
    return {"text": text, "picture": Markup(charts.through_outage(journal.lags, journal.outage, journal.held_up))}


def _median(values: Sequence[float]) -> float | None:
    return percentile(list(values), 0.5) if values else None


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} seconds"
