"""Quiet hours and the day that a cap counts, where the patient is."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

QUIET_FROM: Final = time(21)
QUIET_TO: Final = time(8)


def zone_of(name: object, company: str) -> ZoneInfo:
    """The patient's zone; the company's if there is none, or none of that name."""
    try:
        return ZoneInfo(str(name)) if name else ZoneInfo(company)
    except (ZoneInfoNotFoundError, ValueError):
        return ZoneInfo(company)


def quiet_until(now: datetime, zone: ZoneInfo) -> datetime | None:
    """In quiet hours the next 08:00 there, else None."""
    local = now.astimezone(zone)
    if QUIET_TO <= local.time() < QUIET_FROM:
        return None
    day = local.date() if local.time() < QUIET_TO else local.date() + timedelta(days=1)
    return datetime.combine(day, QUIET_TO, zone).astimezone(UTC)
