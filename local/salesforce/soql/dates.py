"""SOQL's date literals as half-open ranges of days. Weeks begin on Sunday, fiscal years in January (an org's defaults)."""

from __future__ import annotations

import datetime as dt

from local.salesforce.soql.nodes import DateLiteral

_MONTHS = {"MONTH": 1, "QUARTER": 3, "YEAR": 12}


def bounds(literal: DateLiteral, today: dt.date) -> tuple[dt.date, dt.date]:
    """The days of a literal: first day, and the day after the last. Beyond the calendar they are clamped."""
    if literal.name in ("LAST_90_DAYS", "NEXT_90_DAYS"):
        literal = DateLiteral(literal.name.replace("90", "N"), 90)
    if literal.n is None:
        return _plain(literal.name, today)
    return _counted(literal.name, literal.n, today)


def _plain(name: str, today: dt.date) -> tuple[dt.date, dt.date]:
    if name in ("YESTERDAY", "TODAY", "TOMORROW"):
        shift = ("YESTERDAY", "TODAY", "TOMORROW").index(name) - 1
        return _step("DAY", today, shift), _step("DAY", today, shift + 1)
    which, _, unit = name.replace("FISCAL_", "").partition("_")
    shift = {"LAST": -1, "THIS": 0, "NEXT": 1}[which]
    return _step(unit, today, shift), _step(unit, today, shift + 1)


def _counted(name: str, n: int, today: dt.date) -> tuple[dt.date, dt.date]:
    name = name.replace("FISCAL_", "")
    if name.endswith("_AGO"):
        unit = name.removeprefix("N_").removesuffix("S_AGO")
        return _step(unit, today, -n), _step(unit, today, 1 - n)
    which, _, unit = name.removesuffix("S").partition("_N_")
    if which == "NEXT":
        return _step(unit, today, 1), _step(unit, today, n + 1)
    # LAST_N_DAYS takes in today; the larger units end with the last whole one (SOQL reference, "Date Formats and Date Literals").
    return _step(unit, today, -n), _step(unit, today, 1 if unit == "DAY" else 0)


def _step(unit: str, today: dt.date, by: int) -> dt.date:
    """The first day of the unit that lies `by` units from the one that holds `today`."""
    try:
        if unit == "DAY":
            return today + dt.timedelta(days=by)
        if unit == "WEEK":
            return today + dt.timedelta(days=7 * by - (today.weekday() + 1) % 7)
        size = _MONTHS[unit]
        month = (today.year * 12 + today.month - 1) // size * size + by * size
        return dt.date(month // 12, month % 12 + 1, 1)
    except (OverflowError, ValueError):
        return dt.date.max if by > 0 else dt.date.min
