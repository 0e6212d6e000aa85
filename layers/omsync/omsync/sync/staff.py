"""Staff are matched, never created: a User gets its OMS id once, found by FederationIdentifier, else EmployeeNumber, else Email."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from omsync.mapping.compiled import Compiled
from omsync.mapping.model import Json, Row
from omsync.platform.errors import OmsyncError
from omsync.sync.consume import Result
from omsync.sync.messages import MirrorMessage

#: how long a member of staff without a User is taken to have none
ASK_AGAIN_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class User:
    """A User of the org. `values`: the match fields' normal values."""

    id: str
    oms_id: str | None
    values: Mapping[str, Json]


class Users(Protocol):
    """The org's users."""

    def find(self, wanted: Mapping[str, Sequence[str]]) -> Sequence[User]:
        """Active users with one of these values in one of these fields, or with one of the `OMS_Id__c` among them."""

    def name(self, ids: Mapping[str, str]) -> Mapping[str, OmsyncError | None]:
        """Salesforce id -> OMS id, written once; the answer by Salesforce id."""


@dataclass(slots=True)
class StaffDirectory:
    """Who among the staff has a User, as a container of OMS ids.

    It asks the org again when it first meets an id that it does not know, and once a minute after that: somebody hired and linked a moment
    ago must not be written as nobody, and staff without a User must not cost a query a record. One question answers for a whole batch,
    whose messages were sent before it began.
    """

    ask: Callable[[], Container[str]]
    now: Callable[[], float]
    _known: Container[str] = frozenset()
    _asked: float | None = None  # in this batch
    _unknown: dict[str, float] = field(default_factory=dict)

    def begin(self) -> None:
        """A new batch."""
        self._asked = None

    def __contains__(self, oms_id: object) -> bool:
        if oms_id in self._known:
            return True
        asked = self._unknown.get(str(oms_id))
        if asked is None or self.now() - asked >= ASK_AGAIN_SECONDS:
            if self._asked is None:
                self._known, self._asked = self.ask(), self.now()
            self._unknown[str(oms_id)] = self._asked
        return oms_id in self._known


class Rows(Protocol):
    """The OMS."""

    def batch_get(self, table: str, ids: Sequence[str]) -> Mapping[str, Row]: ...


@dataclass(frozen=True, slots=True)
class StaffMatcher:
    """Matches rows of `staff_users` to Users."""

    compiled: Callable[[str], Compiled]
    users: Users
    oms: Rows

    def write(self, messages: Sequence[MirrorMessage]) -> list[Result]:
        """One result a message: applied, unchanged, or skipped where the org has no such user."""
        table = "staff_users"
        rows = self.oms.batch_get(table, list(dict.fromkeys(message.id for message in messages)))
        wanted = {row_id: self.compiled(table).match_values(row) for row_id, row in rows.items()}
        values: dict[str, list[str]] = {"OMS_Id__c": list(wanted)}
        for match in wanted.values():
            for name, value in match.items():
                values.setdefault(name, []).append(str(value))
        users = self.users.find(values) if wanted else []
        known = {user.oms_id: user for user in users if user.oms_id}
        chosen = {row_id: user for row_id, match in wanted.items() if row_id not in known and (user := _best(match, users))}
        answers = self.users.name({user.id: row_id for row_id, user in chosen.items()}) if chosen else {}
        results: dict[str, Result] = {}
        for row_id in wanted:
            fault = answers.get(chosen[row_id].id) if row_id in chosen else None
            kind = "unchanged" if row_id in known else "applied" if row_id in chosen else "skipped"
            results[row_id] = Result(kind, fault, f"{table}/{row_id}")
        return [results.get(message.id, Result("skipped", record=f"{table}/{message.id}")) for message in messages]


def _best(match: Mapping[str, Json], users: Sequence[User]) -> User | None:
    """The one user that bears the best match value. Two of them are no match: a person decides, not we."""
    for name, value in match.items():
        found = [user for user in users if user.oms_id is None and str(user.values.get(name) or "").lower() == str(value).lower()]
        if found:
            return found[0] if len(found) == 1 else None
    return None
