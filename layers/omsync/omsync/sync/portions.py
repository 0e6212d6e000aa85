"""A batch in portions that fit into memory. SQS counts messages, not what they bring: one row may be as long as a thousand others."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from omsync.mapping.model import Mappings

#: characters of rows worked on at once. Each is there several times: as an answer and parsed, of both sides, and as what is sent
PORTION = 8 * 1024 * 1024
#: taken for the length of a row that nobody has told: of a table with texts of any length, and of others
LONG, SHORT = 64 * 1024, 8 * 1024
#: fields from this length on make a table long
_LONG_FIELD = 100_000


def portions[T](items: Sequence[T], length: Callable[[T], int], limit: int = PORTION) -> Iterator[Sequence[T]]:
    """Items in order; each portion holds at most `limit`, or one item."""
    start = total = 0
    for place, item in enumerate(items):
        own = length(item)
        if place > start and total + own > limit:
            yield items[start:place]
            start, total = place, 0
        total += own
    if start < len(items):
        yield items[start:]


def row_length(row: Mapping[str, object]) -> int:
    """About how many characters a row has."""
    return sum(
        len(value) if isinstance(value, str) else 20 if not isinstance(value, Mapping | list) else len(str(value)) for value in row.values()
    )


def assumed(mappings: Mappings) -> Callable[[str | None, str | None], int]:
    """(table, object) -> how long a row is taken to be."""
    long: set[str] = set()
    for mapping in mappings:
        for target in mapping.targets:
            if any((one.length or 0) >= _LONG_FIELD for one in target.all_fields.values()):
                long |= {mapping.table, target.object}
    return lambda table, sobject: LONG if table in long or sobject in long else SHORT
