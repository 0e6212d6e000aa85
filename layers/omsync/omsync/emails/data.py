"""What an email says beside its words: each variable's value, from rows and a language's phrases. Nothing of a drug, a condition, a provider."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from html import escape
from typing import Final

from omsync.emails.anchors import BATCH, batch_end, written
from omsync.emails.flows import Flow
from omsync.emails.subject import Subject, moment
from omsync.platform.errors import Permanent

CARRIERS: Final = {"usps": "USPS", "ups": "UPS", "fedex": "FedEx", "dhl": "DHL", "ontrac": "OnTrac", "lasership": "LaserShip"}
#: a name is greeted with at most so many characters
NAME_LENGTH: Final = 40
_SYMBOLS: Final = {"USD": "$", "EUR": "€", "GBP": "£", "CAD": "CA$"}


@dataclass(frozen=True, slots=True)
class Writer:
    """Values for one email in one language."""

    phrases: Mapping[str, str]
    login_url: str
    postal_address: str
    verify_url: Callable[[Subject], str]
    unsubscribe_url: Callable[[Subject], str]

    def data(self, flow: Flow, subject: Subject) -> dict[str, str]:
        """Exactly the variables of the flow. Raises Permanent if one has no value."""
        values = {name: self._value(name, subject) for name in sorted(flow.variables)}
        if empty := [name for name, value in values.items() if not value]:
            raise Permanent(f"{flow.flow}: no value for {', '.join(empty)}", code="emails.data", field=empty[0])
        return values

    def _value(self, name: str, subject: Subject) -> str:
        match name:
            case "name":
                return first_name(subject)
            case "name_html":
                return escape(first_name(subject))
            case "reference":
                return reference(str(subject.row["id"]))
            case "login_url":
                return self.login_url
            case "postal_address":
                return self.postal_address
            case "postal_address_html":
                return escape(self.postal_address)
            case "verify_url":
                return self.verify_url(subject)
            case "unsubscribe_url":
                return self.unsubscribe_url(subject)
        return _EXTRA[name](subject, self.phrases)


def first_name(subject: Subject) -> str:
    """What the patient is called, in one line; nobody is nameless."""
    name = str(subject.patient["preferred_name"] or subject.patient["first_name"] or "")
    # braces would be a template's, a line break a second line of the greeting
    plain = re.sub(r"[\x00-\x1f{}<>]+", " ", name).strip()[:NAME_LENGTH].strip()
    return plain or "there"


def reference(row_id: str) -> str:
    """What a patient reads out to us: the beginning of an opaque id."""
    return f"{row_id[:4]}-{row_id[4:8]}".upper()


def money(cents: object, currency: object) -> str:
    """12840, USD -> $128.40"""
    symbol = _SYMBOLS.get(str(currency), f"{currency} ")
    return f"{symbol}{int(str(cents)) / 100:,.2f}"


def day_text(value: object) -> str:
    """A date as people write it."""
    day = value if isinstance(value, date) else date.fromisoformat(str(value)[:10])
    return f"{day:%B} {day.day}, {day.year}"


def time_text(at: datetime) -> str:
    """A local time with its zone: `Thursday, March 12, 2026 at 3:30 PM CDT`."""
    hour = at.hour % 12 or 12
    return f"{at:%A}, {day_text(at.date())} at {hour}:{at:%M} {'AM' if at.hour < 12 else 'PM'} {at.tzname()}"


type Phrases = Mapping[str, str]


def _total(subject: Subject, phrases: Phrases) -> str:
    return money(subject.row["total_cents"], subject.row["currency"])


def _date(subject: Subject, phrases: Phrases) -> str:
    match subject.table:
        case "subscriptions":
            return day_text(subject.row["next_order_on"])
        case "prescriptions":
            return day_text(subject.row["expires_on"]) if subject.row["expires_on"] else phrases["date_unknown"]
        case "orders" if subject.occurrence is not None and subject.occurrence.flow == "refill-due" and subject.supply_end:
            return day_text(subject.supply_end)
    return day_text(moment(subject.row["placed_at"]).astimezone(subject.zone).date())


def _visit_time(subject: Subject, phrases: Phrases) -> str:
    return time_text(moment(subject.row["scheduled_at"]).astimezone(subject.zone))


def _count(subject: Subject, phrases: Phrases) -> str:
    end = batch_end(written(subject))
    number = len(subject.unread(end - BATCH, end))
    return phrases["messages_one"] if number == 1 else phrases["messages_many"].format(count=number)


def _amount(subject: Subject, phrases: Phrases) -> str:
    if subject.table == "payments":
        return money(subject.row["amount_cents"], subject.row["currency"])
    if subject.table == "subscriptions":
        return money(subject.row["price_cents"], subject.row["currency"])
    cents = sum(int(row["amount_cents"]) for row in subject.refunds)
    return phrases["refund"].format(amount=money(cents, subject.row["currency"])) if cents else phrases["refund_none"]


def _new_date(subject: Subject, phrases: Phrases) -> str:
    expected = subject.row["expected_on"]
    # a date that has passed is no news
    if expected is None or date.fromisoformat(str(expected)) < subject.now.astimezone(subject.zone).date():
        return phrases["new_date_unknown"]
    return phrases["new_date"].format(date=day_text(expected))


def _carrier(subject: Subject, phrases: Phrases) -> str:
    return CARRIERS.get(str(subject.row["carrier"] or "").lower(), phrases["carrier_unknown"])


def _tracking(subject: Subject, phrases: Phrases) -> str:
    number = re.sub(r"[^A-Za-z0-9 -]", "", str(subject.row["tracking_number"] or "")).strip()[:40]
    return number or phrases["tracking_unknown"]


def _eta(subject: Subject, phrases: Phrases) -> str:
    expected = subject.row["estimated_delivery_on"]
    return phrases["eta"].format(date=day_text(expected)) if expected else phrases["eta_unknown"]


_EXTRA: Final[Mapping[str, Callable[[Subject, Phrases], str]]] = {
    "total": _total,
    "date": _date,
    "visit_time": _visit_time,
    "count": _count,
    "amount": _amount,
    "new_date": _new_date,
    "carrier": _carrier,
    "tracking": _tracking,
    "eta": _eta,
}
EXTRA_NAMES: Final = frozenset(_EXTRA) | {"verify_url"}
