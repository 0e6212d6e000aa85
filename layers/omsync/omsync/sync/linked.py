"""Staff who get their User later: the rows that named them when they were nobody are written again.

A User is linked by a migration, by the matcher of staff, or by an administrator in Salesforce, which no event tells. So the sweep compares who is
linked with whom it remembers.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Final, Protocol

from omsync.mapping.model import Mappings, Row
from omsync.sync.doors import Outbound
from omsync.sync.messages import MirrorMessage
from omsync.sync.staff import ASK_AGAIN_SECONDS

FEED: Final = "staff/linked"
#: messages sent at once
_PART: Final = 500


class StaffRows(Protocol):
    """The OMS."""

    def rows(self, table: str, **where: str) -> Iterator[Row]: ...


class Remembered(Protocol):
    """`stores.Cursors`."""

    def read(self, feed: str) -> str | None: ...

    def move(self, feed: str, position: str, *, seen: str | None) -> bool: ...


@dataclass(frozen=True, slots=True)
class LinkedLater:
    """One look. `linked`: OMS ids of staff that have an active User; whoever was there at the first look is the migration's."""

    mappings: Mappings
    linked: Callable[[], AbstractSet[str]]
    oms: StaffRows
    remembered: Remembered
    mirror: Outbound
    now: Callable[[], float]
    time_is_up: Callable[[], bool] = lambda: False

    def run(self) -> int:
        """Rows enqueued. Somebody new is noted first and worked on when every writer must have asked who is linked: see `StaffDirectory`."""
        position, linked = self.remembered.read(FEED), self.linked()
        if position is None:
            self.remembered.move(FEED, _text(linked, {}), seen=None)
            return 0
        told = json.loads(position)
        known, noted = set(told["known"]) & linked, {one: at for one, at in told["noted"].items() if one in linked}
        total = 0
        for one in sorted(noted):
            if self.time_is_up():
                break
            if self.now() - noted[one] > ASK_AGAIN_SECONDS:
                total += self._write_again(one)
                known.add(one)
        waiting = {one: noted.get(one, self.now()) for one in linked - known}
        if (text := _text(known, waiting)) != position:
            self.remembered.move(FEED, text, seen=position)  # refused: another sweep was quicker and has done the same
        return total

    def _write_again(self, oms_id: str) -> int:
        total, part = 0, list[MirrorMessage]()
        for table, column in staff_columns(self.mappings):
            for row in self.oms.rows(table, **{column: oms_id}):
                row_id, version = str(row["id"]), int(str(row["version"]))
                part.append(MirrorMessage(correlation_id=f"linked.{row_id}", origin="sweep", table=table, id=row_id, version=version))
                if len(part) == _PART:
                    self.mirror.send(part)
                    total, part = total + len(part), []
        self.mirror.send(part)
        return total + len(part)


def staff_columns(mappings: Mappings) -> list[tuple[str, str]]:
    """(table, column) of mirrored rows that name staff in a field that can be written again. What Salesforce owns is its own affair."""
    found: dict[tuple[str, str], None] = {}
    for mapping in mappings:
        for one in (one for target in mapping.targets for one in target.all_fields.values()):
            for name in one.sources:
                column = mapping.columns.get(name)
                refers = column is not None and column.references == "staff_users"
                if refers and mapping.mode == "mirrored" and one.owner == "oms" and not one.create_only:
                    found[mapping.table, name] = None
    return list(found)


def _text(known: AbstractSet[str], noted: Mapping[str, float]) -> str:
    return json.dumps({"known": sorted(known), "noted": dict(sorted(noted.items()))}, separators=(",", ":"))
