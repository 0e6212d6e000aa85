"""The moments emails are counted from: what a claim is about (its value), and when that is.

Looked at when an email is planned and again when it is due: another value then means that things have moved on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final

from omsync.emails.occurrences import compact
from omsync.emails.subject import Subject, moment

#: messages of one quarter of an hour are told in one email, when it is over
BATCH: Final = timedelta(minutes=15)
#: a prescription's renewal is due so long before it expires
BEFORE_EXPIRY: Final = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class Anchor:
    """`value` None: the transition's own version, which never moves."""

    value: str | None
    at: datetime


def trigger(subject: Subject) -> Anchor | None:
    """When it happened."""
    return Anchor(None, subject.at)


def visit_time(subject: Subject) -> Anchor | None:
    """When the visit begins."""
    if subject.row["scheduled_at"] is None:
        return None
    at = moment(subject.row["scheduled_at"])
    return Anchor(compact(at), at)


def message_batch(subject: Subject) -> Anchor | None:
    """The end of the quarter of an hour in which the message was written."""
    end = batch_end(written(subject))
    return Anchor(compact(end), end)


def next_order(subject: Subject) -> Anchor | None:
    """The morning of the plan's next order."""
    return _day(subject, subject.row["next_order_on"])


def supply_end(subject: Subject) -> Anchor | None:
    """The morning of the day on which the supply ends."""
    day = subject.supply_end
    return None if day is None else Anchor(f"{day:%Y%m%d}", subject.morning(day))


def renewal(subject: Subject) -> Anchor | None:
    """Now, if no refill is left; else a month before the prescription expires."""
    if subject.row["status"] == "depleted":
        return Anchor("depleted", subject.at)
    expires = subject.row["expires_on"]
    if expires is None:
        return None
    day = date.fromisoformat(str(expires))
    return Anchor(f"{day:%Y%m%d}", subject.morning(day - BEFORE_EXPIRY))


def written(subject: Subject) -> datetime:
    """When the message behind it was written."""
    return moment(subject.source["created_at"]) if subject.source is not None else subject.at


def batch_end(at: datetime) -> datetime:
    """The end of the quarter of an hour that holds a moment."""
    seconds = int(BATCH.total_seconds())
    return datetime.fromtimestamp((int(at.timestamp()) // seconds + 1) * seconds, UTC)


def _day(subject: Subject, value: object) -> Anchor | None:
    if value is None:
        return None
    day = date.fromisoformat(str(value))
    return Anchor(f"{day:%Y%m%d}", subject.morning(day))


BY_NAME: Final[Mapping[str, Callable[[Subject], Anchor | None]]] = {
    "trigger": trigger,
    "visit_time": visit_time,
    "message_batch": message_batch,
    "next_order": next_order,
    "supply_end": supply_end,
    "renewal": renewal,
}
