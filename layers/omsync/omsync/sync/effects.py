"""How many records are synchronised at once: each record is a coroutine that awaits *effects*, the batch performs alike ones together.

The protocol of a record (`converge`, `births`, ...) reads as straight-line code: `row = await ReadRow(key)`. There is no event loop: the
batch collects what its coroutines wait for, makes one port call for all effects of a kind, and hands each coroutine its own answer or
raises its own error in it. Kinds are performed in the order of `stage`, the earliest first, so that records which had to begin again
catch up with the others, and writes go out together. Nobody waits for a record that begins again and again: after `LOOKS` looks it comes last.

`Batch.steps()` stops before every port call: that is where a simulation preempts or kills it.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator, Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, cast

from omsync.platform.errors import OmsyncError, Permanent, Retryable
from omsync.sync.ports import (
    Answers,
    Attachment,
    CaseRequest,
    CaseStatus,
    Conflict,
    Creation,
    Inquiry,
    Lookup,
    Patch,
    Ports,
    Write,
)
from omsync.sync.records import Item, OmsRow, Outcome, RecordKey, SalesforceRecord, SalesforceRef

#: looks at a record for which its neighbours wait
LOOKS = 3

type Steps[T] = Coroutine[Effect[object], object, T]


class Effect[T]:
    """Something that a port does. Awaiting it gives the port's answer or raises the error it answered."""

    stage: ClassVar[int]

    @classmethod
    def kind(cls) -> type[Effect[object]]:
        """Effects of one kind are performed together."""
        return cast("type[Effect[object]]", cls)

    def __await__(self) -> Generator[Effect[object], object, T]:
        return cast(T, (yield cast("Effect[object]", self)))

    @classmethod
    def perform(cls, ports: Ports, effects: Sequence[Effect[object]]) -> Answers[object]:
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class FindKey(Effect[RecordKey | None]):
    stage = 0
    salesforce_id: str

    @classmethod
    def perform(cls, ports: Ports, effects: Sequence[Effect[object]]) -> Answers[object]:
        return ports.ledger.find([effect.salesforce_id for effect in cast("Sequence[FindKey]", effects)])


@dataclass(frozen=True, slots=True)
class ReadItem(Effect[Item | None]):
    stage = 1
    key: RecordKey

    @classmethod
    def perform(cls, ports: Ports, effects: Sequence[Effect[object]]) -> Answers[object]:
        return ports.ledger.read([effect.key for effect in cast("Sequence[ReadItem]", effects)])


@dataclass(frozen=True, slots=True)
class Settle(Effect[OmsRow | None]):
    stage = 2
    inquiry: Inquiry

    @classmethod
    def perform(cls, ports: Ports, effects: Sequence[Effect[object]]) -> Answers[object]:
        return ports.oms.settle([effect.inquiry for effect in cast("Sequence[Settle]", effects)])


class See(Effect[SalesforceRecord | None]):
    """A look at Salesforce. By either id it is one call: calls are what Salesforce counts."""

    stage = 3

    @classmethod
    def kind(cls) -> type[Effect[object]]:
        return cast("type[Effect[object]]", See)

    @classmethod
    def perform(cls, ports: Ports, effects: Sequence[Effect[object]]) -> Answers[object]:
        return ports.salesforce.look([effect.wanted for effect in cast("Sequence[ReadRecord | FindRecord]", effects)])


@dataclass(frozen=True, slots=True)
class ReadRecord(See):
    wanted: SalesforceRef


@dataclass(frozen=True, slots=True)
class FindRecord(See):
    wanted: Lookup


@dataclass(frozen=True, slots=True)
class ReadRow(Effect[OmsRow | None]):
    stage = 5
    key: RecordKey

    @classmethod
    def perform(cls, ports: Ports, effects: Sequence[Effect[object]]) -> Answers[object]:
        return ports.oms.read([effect.key for effect in cast("Sequence[ReadRow]", effects)])


@dataclass(frozen=True, slots=True)
class GetCase(Effect[CaseStatus]):
    stage = 6
    key: str

    @classmethod
    def perform(cls, ports: Ports, effects: Sequence[Effect[object]]) -> Answers[object]:
        return ports.cases.status([effect.key for effect in cast("Sequence[GetCase]", effects)])


@dataclass(frozen=True, slots=True)
class Ensure(Effect[None]):
    stage = 7
    parent: RecordKey

    @classmethod
    def perform(cls, ports: Ports, effects: Sequence[Effect[object]]) -> Answers[object]:
        return ports.family.ensure([effect.parent for effect in cast("Sequence[Ensure]", effects)])


@dataclass(frozen=True, slots=True)
class SaveItem(Effect[Item]):
    stage = 8
    item: Item

    @classmethod
    def perform(cls, ports: Ports, effects: Sequence[Effect[object]]) -> Answers[object]:
        return ports.ledger.save([effect.item for effect in cast("Sequence[SaveItem]", effects)])


@dataclass(frozen=True, slots=True)
class CreateRow(Effect[OmsRow]):
    stage = 10
    creation: Creation

    @classmethod
    def perform(cls, ports: Ports, effects: Sequence[Effect[object]]) -> Answers[object]:
        return ports.oms.create([effect.creation for effect in cast("Sequence[CreateRow]", effects)])


@dataclass(frozen=True, slots=True)
class PatchRow(Effect[OmsRow]):
    stage = 11
    patch: Patch

    @classmethod
    def perform(cls, ports: Ports, effects: Sequence[Effect[object]]) -> Answers[object]:
        return ports.oms.patch([effect.patch for effect in cast("Sequence[PatchRow]", effects)])


@dataclass(frozen=True, slots=True)
class Undelete(Effect[None]):
    stage = 12
    ref: SalesforceRef

    @classmethod
    def perform(cls, ports: Ports, effects: Sequence[Effect[object]]) -> Answers[object]:
        return ports.salesforce.undelete([effect.ref for effect in cast("Sequence[Undelete]", effects)])


@dataclass(frozen=True, slots=True)
class WriteRecord(Effect[str]):
    stage = 13
    write: Write

    @classmethod
    def perform(cls, ports: Ports, effects: Sequence[Effect[object]]) -> Answers[object]:
        return ports.salesforce.write([effect.write for effect in cast("Sequence[WriteRecord]", effects)])


@dataclass(frozen=True, slots=True)
class LogConflict(Effect[None]):
    stage = 9
    conflict: Conflict

    @classmethod
    def perform(cls, ports: Ports, effects: Sequence[Effect[object]]) -> Answers[object]:
        return ports.conflicts.log([effect.conflict for effect in cast("Sequence[LogConflict]", effects)])


@dataclass(frozen=True, slots=True)
class Attach(Effect[None]):
    stage = 14
    attachment: Attachment

    @classmethod
    def perform(cls, ports: Ports, effects: Sequence[Effect[object]]) -> Answers[object]:
        return ports.salesforce.attach([effect.attachment for effect in cast("Sequence[Attach]", effects)])


@dataclass(frozen=True, slots=True)
class OpenCase(Effect[None]):
    stage = 14
    request: CaseRequest

    @classmethod
    def perform(cls, ports: Ports, effects: Sequence[Effect[object]]) -> Answers[object]:
        return ports.cases.open([effect.request for effect in cast("Sequence[OpenCase]", effects)])


@dataclass(frozen=True, slots=True)
class CloseCase(Effect[None]):
    stage = 15
    key: str

    @classmethod
    def perform(cls, ports: Ports, effects: Sequence[Effect[object]]) -> Answers[object]:
        return ports.cases.close([effect.key for effect in cast("Sequence[CloseCase]", effects)])


@dataclass(frozen=True, slots=True)
class Relink(Effect[None]):
    stage = 16
    parent: RecordKey

    @classmethod
    def perform(cls, ports: Ports, effects: Sequence[Effect[object]]) -> Answers[object]:
        return ports.family.relink([effect.parent for effect in cast("Sequence[Relink]", effects)])


@dataclass(frozen=True, slots=True)
class Await(Effect[Outcome]):
    """Another record of this batch, begun if it is not in it. Raises `InCycle` if nobody else can go on."""

    stage = 99
    key: RecordKey | SalesforceRef
    salesforce: SalesforceRef | None = None  # where the record was seen, if its item may not know


class InCycle(Retryable):
    """Records of the batch wait for one another."""

    def __init__(self) -> None:
        super().__init__("records wait for one another", code="sync.cycle")


class Task:
    """One record's coroutine, and what it waits for."""

    def __init__(self, work: Steps[Outcome]) -> None:
        self.work = work
        self.waits_for: Effect[object] | None = None
        self.outcome: Outcome | None = None
        self.looks = 0
        self._own: RecordKey | None = None  # the first item it reads; others are its parents'
        self.advance(None)

    @property
    def late(self) -> bool:
        """It has begun again more often than its neighbours have time for."""
        return self.looks > LOOKS

    def advance(self, answer: object) -> None:
        """Hand over an answer, or raise it if it is an error, and run to the next effect or the end."""
        try:
            self.waits_for = self.work.throw(answer) if isinstance(answer, OmsyncError) else self.work.send(answer)
            if isinstance(self.waits_for, ReadItem):
                self._own = self._own or self.waits_for.key
                self.looks += self.waits_for.key == self._own
        except StopIteration as end:
            self._end(cast(Outcome, end.value))
        except OmsyncError as error:
            self._end(failure(error))
        except Exception as fault:  # noqa: BLE001  (one record's surprise must not stop its neighbours; its message may hold values)
            self._end(failure(Permanent(f"unexpected {type(fault).__name__} at {_place(fault)}", code="sync.bug")))

    def stop(self, error: OmsyncError) -> None:
        self.work.close()
        self._end(failure(error))

    def _end(self, outcome: Outcome) -> None:
        self.waits_for, self.outcome = None, outcome


def _place(fault: BaseException) -> str:
    trace = fault.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f"{trace.tb_frame.f_code.co_name}:{trace.tb_lineno}" if trace is not None else "?"


def failure(error: OmsyncError) -> Outcome:
    """An error as an outcome. A `Stale` that reaches this far may be tried again."""
    return Outcome("permanent" if isinstance(error, Permanent) else "retryable", error=error)


class Batch:
    """Runs records to their outcomes."""

    def __init__(self, ports: Ports, begin: Callable[[Await], Steps[Outcome]]) -> None:
        self._ports, self._begin = ports, begin
        self._tasks: dict[Hashable, Task] = {}

    def add(self, wanted: Await) -> None:
        if wanted.key not in self._tasks:
            self._tasks[wanted.key] = Task(self._begin(wanted))

    def outcome(self, key: RecordKey | SalesforceRef) -> Outcome:
        outcome = self._tasks[key].outcome
        if outcome is None:
            raise RuntimeError(f"{key} is not finished")
        return outcome

    def stop(self, error: OmsyncError) -> None:
        """End what is not finished: safe at any point, whoever comes next resolves what was begun."""
        for task in self._unfinished():
            task.stop(error)

    def steps(self) -> Iterator[None]:
        """Pauses before every port call, ends when all are finished."""
        while True:
            self._join()
            waiting = [task for task in self._unfinished() if not isinstance(task.waits_for, Await)]
            if not waiting:
                return
            kinds: dict[type[Effect[object]], list[Task]] = {}
            for task in [task for task in waiting if not task.late] or waiting:
                kinds.setdefault(cast("Effect[object]", task.waits_for).kind(), []).append(task)
            kind = min(kinds, key=lambda kind: kind.stage)
            yield
            self._perform(kind, kinds[kind])

    def _unfinished(self) -> list[Task]:
        return [task for task in self._tasks.values() if task.outcome is None]

    def _perform(self, kind: type[Effect[object]], tasks: list[Task]) -> None:
        effects = [cast("Effect[object]", task.waits_for) for task in tasks]
        try:
            answers = kind.perform(self._ports, effects)
        except OmsyncError as error:  # the whole call
            answers = [error] * len(tasks)
        for task, answer in zip(tasks, answers, strict=True):
            task.advance(answer)

    def _join(self) -> None:
        """Bring those on whose awaited record is finished; if all wait for one another, tell one of them."""
        while True:
            waiting = [task for task in self._unfinished() if isinstance(task.waits_for, Await)]
            moved = False
            for task in waiting:
                wanted = cast(Await, task.waits_for)
                self.add(wanted)
                if (outcome := self._tasks[wanted.key].outcome) is not None:
                    task.advance(outcome)
                    moved = True
            if moved:
                continue
            if waiting and len(waiting) == len(self._unfinished()):
                waiting[0].advance(InCycle())
                continue
            return
