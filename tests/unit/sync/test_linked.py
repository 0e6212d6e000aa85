"""Staff linked later: the rows that name them are written again, once, and only when every writer knows of the link."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel

from omsync.mapping import load_mappings
from omsync.mapping.model import Row
from omsync.sync.linked import FEED, LinkedLater, staff_columns
from omsync.sync.staff import ASK_AGAIN_SECONDS

ADA, BEN = "0b6f4e2a-0000-4000-8000-000000000001", "0b6f4e2a-0000-4000-8000-000000000002"


@dataclass
class Oms:
    """Each member of staff is named by one row a table."""

    def rows(self, table: str, **where: str) -> Iterator[Row]:
        [person] = where.values()
        yield {"id": f"{table}-of-{person[-1]}", "version": 4}


@dataclass
class Cursors:
    position: str | None = None

    def read(self, feed: str) -> str | None:
        assert feed == FEED
        return self.position

    def move(self, feed: str, position: str, *, seen: str | None) -> bool:
        if seen != self.position:
            return False
        self.position = position
        return True


@dataclass
class World:
    linked: set[str] = field(default_factory=set)
    cursors: Cursors = field(default_factory=Cursors)
    sent: list[Any] = field(default_factory=list)
    clock: float = 1_000.0
    late: bool = False

    def send(self, messages: Sequence[BaseModel]) -> None:
        self.sent += messages

    def sweep(self, seconds: float = 300.0) -> int:
        self.clock += seconds
        look = LinkedLater(
            load_mappings(), lambda: frozenset(self.linked), Oms(), self.cursors, self, lambda: self.clock, lambda: self.late
        )
        return look.run()


def test_a_user_linked_later_has_the_rows_that_name_her_written_again_once() -> None:
    world = World(linked={ADA})
    assert world.sweep() == 0, "who was linked at the first look is the migration's"
    world.linked.add(BEN)
    assert world.sweep() == 0
    tables = [table for table, _ in staff_columns(load_mappings())]
    assert world.sweep() == len(tables)
    assert sorted((message.table, message.id, message.version) for message in world.sent) == sorted((t, f"{t}-of-2", 4) for t in tables)
    assert all(message.row is None for message in world.sent), "the writer reads the row as it is then"
    assert world.sweep() == 0


def test_no_writer_may_still_take_her_for_nobody() -> None:
    world = World()
    world.sweep()
    world.linked.add(ADA)
    world.sweep()
    assert world.sweep(seconds=ASK_AGAIN_SECONDS - 1) == 0
    assert world.sweep(seconds=2) > 0


def test_who_loses_the_user_and_gets_another_is_new_again() -> None:
    world = World(linked={ADA})
    world.sweep()
    world.linked.clear()
    world.sweep()
    world.linked.add(ADA)
    world.sweep()
    assert world.sweep() > 0


def test_a_look_that_runs_out_of_time_is_gone_on_with() -> None:
    world = World()
    world.sweep()
    world.linked |= {ADA, BEN}
    world.sweep()
    world.late = True
    assert world.sweep() == 0
    world.late = False
    assert world.sweep() == 2 * len(staff_columns(load_mappings()))
    assert json.loads(world.cursors.position or "")["noted"] == {}


def test_only_what_can_be_written_again_is() -> None:
    """A care owner is Salesforce's; an agent of a message is written once."""
    found = {("providers", "staff_user_id"), ("refunds", "requested_by_id"), ("order_status_history", "actor_id")}
    assert set(staff_columns(load_mappings())) == found
