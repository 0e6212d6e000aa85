"""What the consumers of the queues do with a batch of messages: mirrored rows to the blind writer, looks at shared records to the synchroniser."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from omsync.mapping.model import Mappings
from omsync.platform.errors import Permanent
from omsync.sync.consume import NOT_REACHED, Result
from omsync.sync.messages import MirrorMessage, SyncMessage
from omsync.sync.portions import portions, row_length
from omsync.sync.records import EPOCH, Outcome, RecordKey, RecordRef, SalesforceRef

#: the record type of the Cases that omsync itself opens; closing one settles what it was opened for
INTEGRATION_CASE = ("Case", "Integration")


@dataclass(frozen=True, slots=True)
class MappedRoutes:
    """`doors.Routes`, answered by the mappings."""

    mappings: Mappings

    def is_mirrored(self, table: str) -> bool:
        """One way and blind; staff, who are only matched, travel with them."""
        return self.mappings[table].mode in ("mirrored", "matched")

    def shared_owner(self, table: str, row: Mapping[str, object]) -> tuple[str, str] | None:
        """An address is its patient's; any other shared row is its own."""
        mode = self.mappings[table].mode
        if mode == "shared":
            return table, str(row["id"])
        if mode == "embedded":
            return "patients", str(row["patient_id"])
        return None

    def is_shared_object(self, sobject: str, record_type: str | None) -> bool:
        """Ours to sync, or one of our own Cases, whose closing is announced."""
        if (sobject, record_type) == INTEGRATION_CASE:
            return True
        mapping = self.mappings.for_record(sobject, record_type)
        return mapping is not None and mapping.mode == "shared"


class Synchronises(Protocol):
    """The synchroniser."""

    def synchronise(self, refs: Sequence[RecordRef], *, deadline: int | None = None) -> list[Outcome]: ...


class Lag(Protocol):
    """The lag metric."""

    def observe(self, origin: str, seconds: float) -> None:
        """From a change's commit on its side until now."""


@dataclass(frozen=True, slots=True)
class SyncWorker:
    """Looks at the shared records that messages name. `deadline()` in microseconds since 1970."""

    synchroniser: Synchronises
    case_records: Callable[[Sequence[str]], Mapping[str, str]]
    deadline: Callable[[], int]
    lag: Lag
    now: Callable[[], datetime]
    assumed: Callable[[str | None, str | None], int] = lambda _table, _object: 0

    def __call__(self, messages: Sequence[SyncMessage]) -> list[Result]:
        """One result a message; a record named twice is looked at once."""
        refs = self._refs(messages)
        wanted: dict[RecordRef, int] = {}
        for message, ref in zip(messages, refs, strict=True):
            if isinstance(ref, tuple):
                wanted[ref] = max(wanted.get(ref, 0), message.length or self.assumed(message.table, message.sobject))
        outcomes: dict[RecordRef, Outcome] = {}
        for portion in portions(list(wanted), wanted.__getitem__):
            outcomes |= zip(portion, self.synchroniser.synchronise(portion, deadline=self.deadline()), strict=True)
        results = [_result(ref, outcomes[ref]) if isinstance(ref, tuple) else ref for ref in refs]
        self._measure(messages, refs, outcomes)
        return results

    def _measure(self, messages: Sequence[SyncMessage], refs: Sequence[RecordRef | Result], outcomes: Mapping[RecordRef, Outcome]) -> None:
        """Lag, once for each side of a record whose change was carried across, whichever message made us look.

        What a sweep alone found says nothing about latency.
        """
        pushes: dict[RecordKey, list[SyncMessage]] = {}
        for message, ref in zip(messages, refs, strict=True):
            if isinstance(ref, tuple) and (key := outcomes[ref].key) is not None and message.origin in ("oms", "salesforce"):
                pushes.setdefault(key, []).append(message)
        brought = {outcome.key: outcome.brought for outcome in outcomes.values() if outcome.key in pushes}
        now = self.now()
        for key, sides in brought.items():
            for side, since in sides.items():
                told = [one.committed_at for one in pushes[key] if one.origin == side and one.committed_at is not None]
                moment = EPOCH + timedelta(microseconds=since) if since is not None else min(told, default=None)
                if moment is not None:
                    self.lag.observe(side, (now - moment).total_seconds())

    def _refs(self, messages: Sequence[SyncMessage]) -> list[RecordRef | Result]:
        """Which record each message means; a Result for one that means none."""
        cases = [message.salesforce_id for message in messages if _is_case(message) and message.salesforce_id]
        named = self.case_records(cases) if cases else {}
        return [_case_ref(named.get(message.salesforce_id or "")) if _is_case(message) else _ref(message) for message in messages]


def _is_case(message: SyncMessage) -> bool:
    return (message.sobject, message.record_type) == INTEGRATION_CASE


def _case_ref(record: str | None) -> RecordRef | Result:
    """The record that a Case of ours was opened for. A Case about a cause rather than a record means none."""
    table, _, row_id = (record or "").partition("/")
    return RecordKey(table, row_id) if table and row_id else Result("ignored")


def _ref(message: SyncMessage) -> RecordRef | Result:
    if message.table is not None and message.id is not None:
        return RecordKey(message.table, message.id)
    if message.sobject is not None and message.salesforce_id is not None:
        return SalesforceRef(message.sobject, message.salesforce_id)
    return Result("unreadable", Permanent("the message names no record", code="omsync.message"))


def _result(ref: RecordRef, outcome: Outcome) -> Result:
    named = outcome.error.record if outcome.error is not None else None
    record = str(outcome.key) if outcome.key is not None else named or str(ref)
    if outcome.error is not None and outcome.error.code == "sync.deadline":
        return NOT_REACHED
    return Result(outcome.kind, outcome.error, record)


def observe(lag: Lag, origin: str, committed_at: datetime | None, result: Result, now: datetime) -> None:
    """Measure a push that brought something; what a sweep found says nothing about latency."""
    brought = result.fault is None and result.kind in ("written", "applied")
    if brought and committed_at is not None and origin in ("oms", "salesforce"):
        lag.observe(origin, (now - committed_at).total_seconds())


class Writes(Protocol):
    """The blind writer, or the matcher of staff."""

    def write(self, messages: Sequence[MirrorMessage]) -> list[Result]: ...


@dataclass(frozen=True, slots=True)
class MirrorWorker:
    """Writes mirrored rows, and matches staff."""

    writer: Writes
    staff: Writes
    lag: Lag
    now: Callable[[], datetime]
    assumed: Callable[[str | None, str | None], int] = lambda _table, _object: 0

    def __call__(self, messages: Sequence[MirrorMessage]) -> list[Result]:
        """One result a message."""
        results: list[Result] = [NOT_REACHED] * len(messages)
        for writer, chosen in (
            (self.staff, [n for n, message in enumerate(messages) if message.table == "staff_users"]),
            (self.writer, [n for n, message in enumerate(messages) if message.table != "staff_users"]),
        ):
            for portion in portions(chosen, lambda n: self._length(messages[n])):
                for number, result in zip(portion, writer.write([messages[n] for n in portion]), strict=True):
                    results[number] = result
        for message, result in zip(messages, results, strict=True):
            observe(self.lag, message.origin, message.committed_at, result, self.now())
        return results

    def _length(self, message: MirrorMessage) -> int:
        return row_length(message.row) if message.row is not None else self.assumed(message.table, None)


class SuspectMessage(SyncMessage):
    """A message in the isolation queue: a mirrored row's, or a look at a shared record."""

    version: int | None = None
    row: dict[str, Any] | None = None


def suspects(
    mirror: Callable[[Sequence[MirrorMessage]], list[Result]], sync: Callable[[Sequence[SyncMessage]], list[Result]]
) -> Callable[[Sequence[SuspectMessage]], list[Result]]:
    """Works on suspects one by one, each as its own kind."""

    def work(messages: Sequence[SuspectMessage]) -> list[Result]:
        results: list[Result] = []
        for message in messages:
            if message.version is not None:
                results += mirror([MirrorMessage.model_validate(message.model_dump())])
            else:
                results += sync([message])
        return results

    return work


def utc_now() -> datetime:
    """Now."""
    return datetime.now(UTC)
