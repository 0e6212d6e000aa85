"""The demo's page: one HTML file that needs nothing else, made of what the journal holds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

from local.demo import charts
from local.demo.journal import Journal, StepRecord, percentile


@dataclass(frozen=True, slots=True)
class Tile:
    """A figure at the top of the page: the figure, what it is, and what else there is to know."""

    value: str
    name: str
    more: str = ""
    good: bool = True


@dataclass(frozen=True, slots=True)
class Bar:
    """A row of a bar chart: where it begins and how long it is, in percent of the whole width."""

    name: str
    share: float
    text: str
    begin: float = 0.0
    wrong: bool = False


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
        tiles=list(tiles(journal)),
        minutes=_duration(total),
        day=datetime.now(UTC).strftime("%-d %B %Y, %H:%M UTC"),
        steps=[step for step in journal.steps if step.facts or step.broken],
        flow=Markup(charts.flow()),
        said=[
            (kind, f"{arrow} {len(seconds)} changes seen in {where}, half of them within {percentile(seconds, 0.5):.1f} s")
            for kind, arrow, where, seconds in (("o", "→", "Salesforce", out), ("b", "←", "the OMS", back))
            if seconds
        ],
        lags=Markup(charts.distribution([("OMS to Salesforce", "out", out), ("Salesforce to OMS", "back", back)])),
        outage=_outage(journal),
        migration=_migration(journal),
        emails=_emails(journal),
        compared=journal.compared,
        compared_bars=_bars((one.table, one.values, f"{one.values:,}") for one in journal.compared),
        timeline=list(_timeline(journal.steps, total)),
    )


def tiles(journal: Journal) -> Iterable[Tile]:
    """The figures at the top, as far as they were seen."""
    told = journal.summary
    for direction, name in (("oms_to_salesforce", "OMS to Salesforce"), ("salesforce_to_oms", "Salesforce to OMS")):
        if seconds := journal.seconds(direction):  # type: ignore[arg-type]
            more = f"median of {len(seconds)} changes, 99 in 100 within {percentile(seconds, 0.99):.1f}\u00a0s"
            yield Tile(f"{percentile(seconds, 0.5):.1f} s", name, more)
    if one := told.get("migration"):
        wrong = sum(int(str(one[name])) for name in ("missing", "mismatched", "unknown"))
        more = f"of {one['source_rows']:,}; {one['not_sent_by_rule']:,} not sent by rule, {one['quarantined']} in quarantine"
        yield Tile(f"{one['verified_rows']:,}", "rows migrated, each verified", more)
        yield Tile(str(wrong), "rows missing, different or unknown", f"{one['runs']} of 4 certificates issued", good=not wrong)
    if "lost" in (one := told.get("outage", {})):
        more = f"of {one['changes']} made while Salesforce was away; {one['dlq']} dead letters"
        yield Tile(str(one["lost"]), "changes lost", more, good=not one["lost"] and not one["dlq"])
    if one := told.get("emails"):
        more = f"{one['sent']} emails, {one['duplicates']} of them twice"
        yield Tile(f"{one['flows_sent']} of 22", "email flows sent", more, good=one["flows_sent"] == 22 and not one["duplicates"])
    if one := told.get("sync"):
        yield Tile(str(one["conflicts"]), "conflict, decided by policy", "one phone number, changed on both sides at once")
    if journal.compared:
        different = sum(one.different for one in journal.compared)
        values = sum(one.values for one in journal.compared)
        yield Tile(str(different), "records differ at the end", f"of {values:,} values compared on both sides", good=not different)


def _migration(journal: Journal) -> dict[str, object] | None:
    told = journal.summary.get("migration")
    if told is None:
        return None
    text = (
        f"{told['source_rows']:,} rows of {told['tables']} tables in {told['runs']} runs, each with its certificate, while the company worked on. "
        f"{told['verified_rows']:,} were verified, every value of them; {told['not_sent_by_rule']:,} are not sent by rule, "
        f"{told['quarantined']} are in quarantine. {told['missing']} missing, {told['mismatched']} mismatched, {told['unknown']} unknown."
    )
    rows = [(one.table, one.verified, f"{one.verified:,} of {one.rows:,}") for one in journal.migrated if one.rows]
    return {"text": text, "runs": journal.runs, "picture": Markup(charts.climb(journal.verified)), "bars": _bars(rows)}


def _bars(rows: Iterable[tuple[str, int, str]]) -> list[Bar]:
    found = list(rows)
    top = max((value for _, value, _ in found), default=0) or 1
    return [Bar(name, round(100 * value / top, 1), text) for name, value, text in found]


def _timeline(steps: Sequence[StepRecord], total: float) -> Iterable[Bar]:
    """What took how long: a bar per step on the demo's clock."""
    for step in steps:
        begin, share = 100 * step.began / max(total, 1), 100 * step.seconds / max(total, 1)
        yield Bar(step.title, round(share, 2), f"{step.seconds:.0f} s", round(begin, 2), wrong=bool(step.broken))


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
    told = journal.summary.get("outage", {})
    if "lost" not in told or journal.outage is None:
        return None
    text = (
        f"For {told['seconds']} s every call was answered 503 while {told['changes']} changes were made in the OMS. "
        f"{told['caught_up_seconds']} s after the end all of them had arrived; {told['lost']} were lost, {told['dlq']} are in dead-letter queues."
        if not told["lost"]
        else f"For {told['seconds']} s every call was answered 503. {told['lost']} of {told['changes']} changes did not arrive in time."
    )
    caught_up = journal.caught_up or journal.outage[1]
    return {"text": text, "picture": Markup(charts.through_outage(journal.lags, journal.outage, caught_up, journal.held_up))}


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} seconds"
