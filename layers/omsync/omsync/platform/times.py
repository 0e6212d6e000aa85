"""Moments as whole microseconds since 1970: exact, which a float of seconds is not."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@lru_cache(1024)  # the columns of a row were mostly edited together
def microseconds(moment: str | datetime) -> int:
    """An ISO 8601 text, or an aware datetime. Raises ValueError or TypeError for anything else, a naive one included."""
    delta = (datetime.fromisoformat(moment) if isinstance(moment, str) else moment) - _EPOCH
    return (delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds
