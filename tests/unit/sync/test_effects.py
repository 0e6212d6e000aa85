"""How a batch runs its records."""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from omsync.platform.errors import Permanent, Retryable, Stale
from omsync.sync.effects import LOOKS, Await, Batch, PatchRow, ReadItem, ReadRow
from omsync.sync.ports import Answers, Patch, Ports
from omsync.sync.records import Item, OmsRow, Outcome, RecordKey

A, B, C = (RecordKey("t", name) for name in "abc")


@dataclass
class Recorder:
    """An OMS and a ledger that note the calls they get."""

    calls: list[tuple[str, list[str]]] = field(default_factory=list)
    stale: set[RecordKey] = field(default_factory=set)

    def read(self, keys: Sequence[RecordKey]) -> Answers[Any]:
        self.calls.append(("read", [key.id for key in keys]))
        return [OmsRow(key=key, version=1, values={}) for key in keys]

    def patch(self, patches: Sequence[Patch]) -> Answers[Any]:
        self.calls.append(("patch", [patch.key.id for patch in patches]))
        answers: list[Any] = []
        for patch in patches:
            answers.append(Stale("moved") if patch.key in self.stale else OmsRow(key=patch.key, version=2, values={}))
            self.stale.discard(patch.key)
        return answers


@dataclass
class Silent:
    """A ledger that knows nothing."""

    calls: list[tuple[str, list[str]]]

    def read(self, keys: Sequence[RecordKey]) -> Answers[Item | None]:
        self.calls.append(("item", [key.id for key in keys]))
        return [None] * len(keys)


def ports(oms: Recorder) -> Ports:
    nothing = cast("Any", None)
    return Ports(cast("Any", oms), nothing, cast("Any", Silent(oms.calls)), nothing, nothing, nothing, nothing)


def run(oms: Recorder, work: Any, *keys: RecordKey) -> list[Outcome]:
    batch = Batch(ports(oms), lambda wanted: cast("Coroutine[Any, Any, Outcome]", work(wanted.key)))
    for key in keys:
        batch.add(Await(key))
    for _ in batch.steps():
        pass
    return [batch.outcome(key) for key in keys]


async def look_and_patch(key: RecordKey) -> Outcome:
    while True:
        await ReadItem(key)
        row = await ReadRow(key)
        try:
            await PatchRow(Patch(key, "k", row.version if row else None, {}))
        except Stale:
            continue
        return Outcome("written", key)


def test_effects_of_a_kind_are_one_call() -> None:
    oms = Recorder()
    assert [outcome.kind for outcome in run(oms, look_and_patch, A, B, C)] == ["written"] * 3
    assert oms.calls == [("item", ["a", "b", "c"]), ("read", ["a", "b", "c"]), ("patch", ["a", "b", "c"])]


def test_a_record_that_begins_again_holds_up_nobody() -> None:
    oms = Recorder(stale={B})
    run(oms, look_and_patch, A, B)
    assert oms.calls[2:] == [("patch", ["a", "b"]), ("item", ["b"]), ("read", ["b"]), ("patch", ["b"])]


def test_a_straggler_catches_up_before_the_others_write() -> None:
    async def work(key: RecordKey) -> Outcome:
        if key == B:
            for _ in range(LOOKS - 1):
                await ReadItem(key)
        return await look_and_patch(key)

    oms = Recorder()
    run(oms, work, A, B)
    assert oms.calls[-1] == ("patch", ["a", "b"])


def test_neighbours_do_not_wait_for_a_record_that_begins_again_and_again() -> None:
    """It loses before it writes anything, always at the same place; the others have something to write."""

    async def work(key: RecordKey) -> Outcome:
        if key == B:
            for _ in range(20):
                await ReadItem(key)
                await ReadRow(key)
        return await look_and_patch(key)

    oms = Recorder()
    run(oms, work, A, B, C)
    patched = oms.calls.index(("patch", ["a", "c"]))
    assert sum(kind == "item" for kind, _ in oms.calls[:patched]) == LOOKS
    assert oms.calls[-1] == ("patch", ["b"])


def test_who_waits_for_a_hot_record_gets_it_all_the_same() -> None:
    async def work(key: RecordKey) -> Outcome:
        if key == A:
            return await Await(B)
        for _ in range(LOOKS + 3):
            await ReadItem(key)
        return await look_and_patch(key)

    assert [outcome.key for outcome in run(Recorder(), work, A, B)] == [B, B]


def test_an_awaited_record_runs_once_for_all_that_wait_and_their_outcome_is_its() -> None:
    async def work(key: RecordKey) -> Outcome:
        return await look_and_patch(key) if key == C else await Await(C)

    oms = Recorder()
    assert {outcome.key for outcome in run(oms, work, A, B)} == {C}
    assert sum(kind == "patch" for kind, _ in oms.calls) == 1


def test_records_that_wait_for_one_another_are_told_so() -> None:
    async def work(key: RecordKey) -> Outcome:
        return await Await(B if key == A else A)

    outcomes = run(Recorder(), work, A, B)
    assert all(isinstance(outcome.error, Retryable) or outcome.kind == "retryable" for outcome in outcomes)


def test_an_error_of_the_whole_call_is_each_record_s() -> None:
    class Down(Recorder):
        def read(self, keys: Sequence[RecordKey]) -> Answers[Any]:
            raise Retryable("away")

    assert [outcome.kind for outcome in run(Down(), look_and_patch, A, B)] == ["retryable"] * 2


def test_a_port_s_own_fault_is_raised() -> None:
    class Broken(Recorder):
        def read(self, keys: Sequence[RecordKey]) -> Answers[Any]:
            raise KeyError("bug")

    with pytest.raises(KeyError):
        run(Broken(), look_and_patch, A)


def test_what_is_stopped_ends_with_that_error() -> None:
    batch = Batch(ports(Recorder()), lambda wanted: cast("Coroutine[Any, Any, Outcome]", look_and_patch(cast("RecordKey", wanted.key))))
    batch.add(Await(A))
    next(batch.steps())
    batch.stop(Retryable("no time"))
    assert batch.outcome(A).kind == "retryable"


def test_a_permanent_error_is_a_permanent_outcome() -> None:
    async def work(key: RecordKey) -> Outcome:
        raise Permanent("no")

    [outcome] = run(Recorder(), work, A)
    assert (outcome.kind, str(outcome.error)) == ("permanent", "permanent: no")


def test_looking_up_many_parents_is_one_look() -> None:
    """Their items are read on the way: who has many parents is no hot record, and is written together with its neighbours."""
    oms = Recorder()

    async def work(key: RecordKey) -> Outcome:
        await ReadItem(key)
        if key == A:
            for number in range(LOOKS + 2):
                await ReadItem(RecordKey("parents", str(number)))
        await PatchRow(Patch(key, "k", 1, {}))
        return Outcome("written", key)

    run(oms, work, A, B)
    assert [ids for kind, ids in oms.calls if kind == "patch"] == [["a", "b"]]
