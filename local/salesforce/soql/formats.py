"""Values as FORMAT() and toLabel() show them to an en_US user."""

from __future__ import annotations

import datetime as dt

from local.salesforce.dml_types import Stored
from local.salesforce.schema import FieldType, Kind


def label(field: FieldType, stored: Stored) -> Stored:
    """A picklist value's label; of several values, each one's."""
    if not isinstance(stored, str) or not field.picklist:
        return stored
    labels = {value.value: value.label for value in field.picklist}
    return ";".join(labels.get(part, part) for part in stored.split(";"))


def formatted(field: FieldType, stored: Stored) -> str | None:
    """Numbers with thousands separators, money in dollars, dates as 1/31/2026, times as 1/31/2026, 1:05 PM (UTC)."""
    if stored is None:
        return None
    if field.kind is Kind.CURRENCY:
        return f"-${-float(stored):,.2f}" if float(stored) < 0 else f"${float(stored):,.2f}"
    if field.is_number:
        digits = field.scale if field.kind is not Kind.INTEGER else 0
        return f"{float(stored):,.{digits}f}" + ("%" if field.kind is Kind.PERCENT else "")
    if field.kind is Kind.CHECKBOX:
        return "true" if stored else "false"
    if field.kind is Kind.DATE:
        day = dt.date.fromisoformat(str(stored))
        return f"{day.month}/{day.day}/{day.year}"
    if field.kind is Kind.DATETIME:
        at = dt.datetime.fromisoformat(str(stored))
        return f"{at.month}/{at.day}/{at.year}, {at.hour % 12 or 12}:{at.minute:02d} {'AM' if at.hour < 12 else 'PM'}"
    return str(stored)
