"""The sweep's side of the OMS's feed: what it asks of Salesforce, what it enqueues, and when its cursor moves."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, cast

import pytest

from omsync.mapping import load_mappings
from omsync.oms.client import Change, ChangePage
from omsync.platform.errors import Retryable
from omsync.sync.ports import DeletedPage
from omsync.sync.sweep import Sweep

TABLE, OBJECT = "order_items", "OrderItem"
IDS = [str(uuid.UUID(int=number)) for number in range(1, 501)]


@dataclass
class Queue:
    away: bool = False
    sent: list[Any] = field(default_factory=list)

    def send(self, messages: Iterable[Any]) -> None:
        if self.away:
            raise Retryable("away", code="aws.unreachable")
        self.sent += messages


@dataclass
class Org:
    """Salesforce's side: which version it has of what, and how often it was asked."""

    stored: dict[str, int] = field(default_factory=dict)
    asked: list[tuple[str, int]] = field(default_factory=list)

    def versions(self, sobject: str, ids: Sequence[str]) -> dict[str, int]:
        self.asked.append((sobject, len(ids)))
        return {one: self.stored[one] for one in ids if one in self.stored}

    def touched(self, sobject: str, since: datetime, after: str) -> list[Any]:
        return []

    def deleted(self, sobject: str, start: datetime, end: datetime) -> DeletedPage:
        return DeletedPage((), end)


class Oms:
    """A feed with one page of one table."""

    def changes(self, table: str, after: str | None, *, limit: int = 1000) -> ChangePage:
        changes = [Change(one, 2, "portal", deleted=False) for one in IDS] if table == TABLE and after == "0" else []
        return ChangePage(tuple(changes), "9", more=False)

    def now_cursor(self) -> str:
        return "0"


@dataclass
class Cursors:
    positions: dict[str, str] = field(default_factory=lambda: {f"oms/{TABLE}": "0"})

    def read(self, feed: str) -> str | None:
        return self.positions.get(feed)

    def move(self, feed: str, position: str, *, seen: str | None) -> bool:
        if self.positions.get(feed) != seen:
            return False
        self.positions[feed] = position
        return True


@dataclass
class House:
    org: Org = field(default_factory=Org)
    mirror: Queue = field(default_factory=Queue)
    cursors: Cursors = field(default_factory=Cursors)

    def sweep(self) -> dict[str, int]:
        return Sweep(
            mappings=load_mappings(),
            oms=Oms(),
            salesforce=cast(Any, self.org),
            ledger=cast(Any, None),
            cursors=self.cursors,
            mirror=cast(Any, self.mirror),
            sync=cast(Any, Queue()),
            relink=lambda keys: [],
            linked_later=lambda: 0,
            now=lambda: datetime(2026, 11, 22, tzinfo=UTC),
        ).run()


def test_a_page_of_mirrored_rows_is_asked_about_once_and_what_is_behind_is_enqueued() -> None:
    house = House(Org(stored={one: 2 if number % 2 else 1 for number, one in enumerate(IDS)} | {IDS[1]: 3}))
    del house.org.stored[IDS[2]]
    assert house.sweep()[f"oms/{TABLE}"] == 250
    assert house.org.asked == [(OBJECT, 500)]
    assert [message.id for message in house.mirror.sent] == IDS[::2]
    assert {(message.table, message.version) for message in house.mirror.sent} == {(TABLE, 2)}


def test_a_cursor_stays_until_its_page_is_enqueued() -> None:
    house = House(mirror=Queue(away=True))
    with pytest.raises(Retryable):
        house.sweep()
    assert house.cursors.positions[f"oms/{TABLE}"] == "0"
    house.mirror.away = False
    house.sweep()
    assert house.cursors.positions[f"oms/{TABLE}"] == "9"
    assert len(house.mirror.sent) == 500
    house.sweep()
    assert len(house.mirror.sent) == 500


def test_a_first_round_only_takes_down_where_it_stands() -> None:
    house = House(cursors=Cursors({}))
    assert not any(house.sweep().values())
    assert house.mirror.sent == []
    assert house.cursors.positions[f"oms/{TABLE}"] == "0"
