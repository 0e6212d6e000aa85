"""Values as PostgreSQL's COPY text: moments, days, ids, escaped texts, and rows collected per table."""

from __future__ import annotations

import hashlib
import random
from datetime import UTC, datetime, timedelta

NULL = "\\N"
TRUE, FALSE = "t", "f"

#: Seeded rows carry the smallest transaction id there is. Every cursor of a reader of the change feeds is a later one, so
#: they lie behind all of them, saved or yet to be saved: they are history, not news.
HISTORY_XID = "3"

#: the last moment of seeded history, in seconds since 1970: fixed, so that a seed means the same rows on every day
END = int(datetime(2026, 6, 30, tzinfo=UTC).timestamp())
DAY, HOUR, MINUTE = 86_400, 3_600, 60

_DAYS = [(datetime(1970, 1, 1, tzinfo=UTC) + timedelta(days=number)).strftime("%Y-%m-%d") for number in range(24_000)]
_MINUTES = [f"T{number // 60:02d}:{number % 60:02d}:" for number in range(1440)]
_SECONDS = [f"{number:02d}." for number in range(60)]
_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})
_UUID_BITS = 0xFFFFFFFF_FFFF_0FFF_3FFF_FFFFFFFFFFFF
_UUID_VERSION_4 = 0x00000000_0000_4000_8000_000000000000


def moment(second: int) -> str:
    """Seconds since 1970 as ISO-8601 UTC; the microseconds follow from the second, so equal moments are equal."""
    rest = second % DAY
    return f"{_DAYS[second // DAY]}{_MINUTES[rest // 60]}{_SECONDS[rest % 60]}{second * 7919 % 1_000_000:06d}Z"


def day(second: int) -> str:
    """The UTC date of a moment (from 1970 on)."""
    return _DAYS[second // DAY]


def uuid(chance: random.Random) -> str:
    """A version 4 UUID without hyphens, as PostgreSQL also reads it."""
    return f"{chance.getrandbits(128) & _UUID_BITS | _UUID_VERSION_4:032x}"


def escaped(text: str) -> str:
    """Free text for COPY."""
    return text.translate(_ESCAPES)


def array(values: list[str]) -> str:
    """A text[] of plain words."""
    return "{" + ",".join(values) + "}"


def sha256(text: str) -> str:
    """The hash the OMS keeps of a body."""
    return hashlib.sha256(text.encode()).hexdigest()


def tail(created: int, updated: int, version: int = 1, deleted: int | None = None) -> str:
    """The six common columns that end every row."""
    end = NULL if deleted is None else moment(deleted)
    return f"{moment(created)}\t{moment(updated)}\t{version}\t{HISTORY_XID}\toms\t{end}"


class Rows:
    """Rows of a chunk by table, ready for COPY."""

    def __init__(self, tables: tuple[str, ...], edit_times: dict[str, str]) -> None:
        """`edit_times`: table -> its edited_at as JSON text in which @ stands for the moment."""
        self.lines: dict[str, list[str]] = {table: [] for table in tables}
        self.edit_times = edit_times

    def add(self, table: str, *values: str) -> None:
        """Values in the order of COLUMNS, the last one made by `tail`."""
        self.lines[table].append("\t".join(values))

    def edits(self, table: str, updated: int) -> str:
        """edited_at of a row of a shared table."""
        return self.edit_times[table].replace("@", moment(updated))
