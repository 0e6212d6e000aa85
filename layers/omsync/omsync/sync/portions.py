"""A batch in portions that fit into memory. SQS counts messages, not what they bring: one row may be as long as a thousand others."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from omsync.mapping.model import Mappings

#: characters of rows worked on at once. Each is there several times: as an answer and parsed, of both sides, and as what is sent
PORTION = 6 * 1024 * 1024
#: taken for the length of a row that nobody has told, its long texts aside
SHORT = 6 * 1024
#: fields from this length on are long texts: taken to be full
LONG_TEXT = 100_000


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
    lengths: dict[str, int] = {}
    for mapping in mappings:
        for target in mapping.targets:
            texts = sum(one.length or 0 for one in target.all_fields.values() if (one.length or 0) >= LONG_TEXT)
            for name in (mapping.table, target.object):
                lengths[name] = max(lengths.get(name, 0), SHORT + texts)
    return lambda table, sobject: lengths.get(table or "", 0) or lengths.get(sobject or "", SHORT)
