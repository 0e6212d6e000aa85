"""What becomes of a queue's records: each ends done, sent again, isolated or in the DLQ with its cause; none is lost."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

import pytest
from pydantic import BaseModel

from omsync.platform.errors import OmsyncError, Permanent, Retryable, Stale
from omsync.sync.breaker import PAUSE as BREAKER_PAUSE
from omsync.sync.breaker import THRESHOLD, Breakers, BreakerState, System, absent, attend
from omsync.sync.consume import (
    GIVE_UP_ATTEMPTS,
    MAX_DELAY,
    NOT_REACHED,
    PATIENCE,
    SOON_DELAY,
    SPREAD_SECONDS,
    SUSPECT_RECEIVES,
    Consumer,
    QueueRecord,
    Result,
)
from omsync.sync.ports import MissingParent
from omsync.sync.stores import EventSourceValves


class Message(BaseModel):
    correlation_id: str = "c"
    attempt: int = 0
    name: str


@dataclass
class Queue:
    sent: list[tuple[str, int]] = field(default_factory=list)
    down: bool = False
    calls: int = 0

    def send_raw(self, messages: Sequence[tuple[str, int]]) -> None:
        if self.down:
            raise Retryable("SQS is away")
        self.calls += 1
        self.sent += messages

    @property
    def names(self) -> list[str]:
        return [json.loads(body)["name"] for body, _ in self.sent]


@dataclass
class Failures:
    rows: list[Result] = field(default_factory=list)

    def record(self, result: Result, *, body: str, correlation_id: str, request_id: str) -> None:
        self.rows.append(result)


@dataclass
class Counts:
    seen: dict[str, int] = field(default_factory=dict)

    def count(self, outcome: str, number: int) -> None:
        self.seen[outcome] = self.seen.get(outcome, 0) + number


@dataclass
class Store:
    states: dict[System, BreakerState] = field(default_factory=dict)

    def read(self, system: System) -> BreakerState:
        return self.states.get(system, BreakerState())

    def count(self, system: System) -> int:
        self.states[system] = BreakerState(self.read(system).failures + 1, self.read(system).open_since)
        return self.states[system].failures

    def reset(self, system: System) -> None:
        self.states[system] = BreakerState()

    def open(self, system: System, since: float) -> bool:
        if self.read(system).open:
            return False
        self.states[system] = BreakerState(self.read(system).failures, since)
        return True

    def close(self, system: System) -> None:
        self.states[system] = BreakerState()


@dataclass
class Valves:
    away: Collection[System] | None = None

    def set(self, away: Collection[System]) -> None:
        self.away = away


@dataclass
class House:
    worker: Callable[[Sequence[Message]], Sequence[Result]]
    isolated: bool = False
    queue: Queue = field(default_factory=Queue)
    dlq: Queue = field(default_factory=Queue)
    isolation: Queue = field(default_factory=Queue)
    failures: Failures = field(default_factory=Failures)
    counts: Counts = field(default_factory=Counts)
    store: Store = field(default_factory=Store)
    valves: Valves = field(default_factory=Valves)
    clock: list[float] = field(default_factory=lambda: [1000.0])

    @property
    def breakers(self) -> Breakers:
        return Breakers(self.store, self.valves, lambda: self.clock[0])

    def handle(self, *records: QueueRecord) -> list[str]:
        consumer = Consumer(
            Message, self.worker, self.queue, self.dlq, self.isolation, self.failures, self.breakers, ("salesforce", "oms"), self.counts,
            self.isolated, random.Random(1),
        )  # fmt: skip
        return consumer.handle(records, request_id="r")


def record(name: str, *, receives: int = 1, attempt: int = 0) -> QueueRecord:
    return QueueRecord(f"m-{name}", receives, json.dumps({"correlation_id": "c", "attempt": attempt, "name": name}))


def always(fault: OmsyncError | None) -> Callable[[Sequence[Message]], list[Result]]:
    return lambda messages: [Result("applied" if fault is None else "failed", fault) for _ in messages]


def test_what_is_done_is_deleted() -> None:
    house = House(always(None))
    assert house.handle(record("a"), record("b")) == []
    assert house.counts.seen["applied"] == 2
    assert house.queue.sent == house.dlq.sent == []


def test_one_bad_record_does_not_touch_its_neighbours() -> None:
    def worker(messages: Sequence[Message]) -> list[Result]:
        return [Result("failed", Permanent("no", code="X")) if message.name == "bad" else Result("applied") for message in messages]

    house = House(worker)
    assert house.handle(record("a"), record("bad"), record("b")) == []
    assert house.dlq.names == ["bad"]
    assert [result.fault.code for result in house.failures.rows if result.fault] == ["X"]
    assert house.counts.seen == {"applied": 2, "permanent": 1, "isolated": 0}


@pytest.mark.parametrize("fault", [Retryable("later"), Stale("moved")])
def test_what_may_work_later_is_a_new_message_with_a_delay(fault: OmsyncError) -> None:
    house = House(always(fault))
    assert house.handle(record("a", attempt=4)) == []
    [(body, delay)] = house.queue.sent
    assert json.loads(body)["attempt"] == 5
    assert 8 <= delay <= 16
    assert house.dlq.sent == []


def test_the_other_side_s_wish_for_a_pause_is_kept_within_sqs_s_limit() -> None:
    house = House(always(Retryable("later", after=300.0)))
    house.handle(record("a"))
    assert house.queue.sent[0][1] >= 300
    other = House(always(Retryable("later", after=86_400.0)))
    other.handle(record("a", attempt=50))
    assert other.queue.sent[0][1] == MAX_DELAY


def test_an_outage_of_any_length_puts_nothing_into_the_dlq() -> None:
    house = House(always(Retryable("away", code="salesforce.unreachable")))
    house.handle(record("a", attempt=100_000))
    assert house.dlq.sent == []


WAITS = [Retryable("away", code="salesforce.unreachable"), Retryable("away", code="oms.503"), Retryable("held", code="sync.lease")]


@pytest.mark.parametrize("fault", WAITS)
def test_what_met_an_absent_system_is_back_within_a_minute_of_its_return(fault: OmsyncError) -> None:
    """However long it was away, and however often the message met that."""
    house = House(always(fault))
    for attempt in range(0, 200, 5):
        house.handle(record("a", attempt=attempt))
    assert max(delay for _, delay in house.queue.sent) <= SOON_DELAY


def test_an_absent_system_s_fault_brings_no_orphan_nearer_to_its_end() -> None:
    house, attempt = House(always(Retryable("away", code="oms.503"))), 0
    for _ in range(10 * GIVE_UP_ATTEMPTS):
        house.handle(record("a", attempt=attempt))
        attempt = json.loads(house.queue.sent[-1][0])["attempt"]
    assert attempt < PATIENCE


def test_trouble_that_lasts_is_asked_after_less_and_less_often() -> None:
    """A brown-out of a quarter of an hour delays nobody by more than a minute; a record that is refused all day costs few calls."""
    house, seconds = House(always(Retryable("no", code="UNKNOWN_EXCEPTION"))), 0
    for attempt in range(2 * PATIENCE):
        house.handle(record("a", attempt=attempt))
        body, delay = house.queue.sent[-1]
        assert json.loads(body)["attempt"] == attempt + 1
        assert delay <= SOON_DELAY or seconds > 900
        seconds += delay
    assert delay >= MAX_DELAY / 2


def test_a_thousand_messages_that_come_again_are_one_call_of_the_sender() -> None:
    house = House(always(Retryable("later")))
    house.handle(*(record(f"{number}", attempt=3) for number in range(1000)))
    assert (house.queue.calls, len(house.queue.sent)) == (1, 1000)
    assert len({delay for _, delay in house.queue.sent}) > 1


def test_a_parent_that_never_comes_ends_in_the_dlq() -> None:
    house = House(always(MissingParent("not yet", field="Patient__r", external_id="x")))
    house.handle(record("a", attempt=GIVE_UP_ATTEMPTS - 1), record("b", attempt=GIVE_UP_ATTEMPTS))
    assert house.queue.names == ["a"]
    assert house.dlq.names == ["b"]


def test_a_message_that_may_kill_its_process_is_isolated_before_it_is_worked_on() -> None:
    seen: list[str] = []

    def worker(messages: Sequence[Message]) -> list[Result]:
        seen.extend(message.name for message in messages)
        return [Result("applied") for _ in messages]

    house = House(worker)
    assert house.handle(record("killer", receives=SUSPECT_RECEIVES), record("a")) == []
    assert seen == ["a"]
    assert house.isolation.names == ["killer"]


def test_the_isolation_queue_works_on_suspects() -> None:
    house = House(always(None), isolated=True)
    assert house.handle(record("killer", receives=SUSPECT_RECEIVES)) == []
    assert house.isolation.sent == []
    assert house.counts.seen["applied"] == 1


def test_what_was_not_reached_goes_back_at_once_and_counts_no_attempt() -> None:
    house = House(lambda messages: [NOT_REACHED for _ in messages])
    house.handle(record("a", attempt=2))
    [(body, delay)] = house.queue.sent
    assert (json.loads(body)["attempt"], delay) == (2, 0)


def test_many_that_were_not_reached_come_back_a_few_at_a_time() -> None:
    """Together they would be too much for the next invocation, too."""
    house = House(lambda messages: [NOT_REACHED for _ in messages])
    house.handle(*(record(f"{number}") for number in range(200)))
    delays = [delay for _, delay in house.queue.sent]
    assert max(delays.count(second) for second in set(delays)) < 40
    assert max(delays) <= SPREAD_SECONDS


@pytest.mark.parametrize("body", ["", "{", "[]", "null", '{"name": 3}', "\ud800"])
def test_an_unreadable_message_goes_to_the_dlq_as_it_is(body: str) -> None:
    house = House(always(None))
    assert house.handle(QueueRecord("m", 1, body)) == []
    assert house.dlq.sent == [(body, 0)]
    assert house.failures.rows[0].kind == "unreadable"


@pytest.mark.parametrize("fault", [Retryable("later"), Permanent("no")])
def test_what_cannot_be_sent_on_stays_with_sqs(fault: OmsyncError) -> None:
    house = House(always(fault), queue=Queue(down=True), dlq=Queue(down=True))
    assert house.handle(record("a")) == ["m-a"]


@pytest.mark.parametrize(("code", "system"), [("salesforce.login", "salesforce"), ("oms.login", "oms")])
def test_a_refused_log_in_buries_nothing_and_opens_the_breaker(code: str, system: System) -> None:
    """An expired certificate, a frozen user: thousands of messages can do nothing about it, and are as good as ever once it is mended."""

    def worker(messages: Sequence[Message]) -> list[Result]:
        raise Permanent("invalid_grant", code=code)

    house = House(worker)
    for _ in range(THRESHOLD):
        house.handle(record("a", attempt=100), record("b"))
    assert (house.dlq.sent, house.failures.rows) == ([], [])
    assert max(delay for _, delay in house.queue.sent) <= SOON_DELAY
    assert house.store.read(system).open


def test_a_fault_of_the_whole_batch_is_each_record_s() -> None:
    def worker(messages: Sequence[Message]) -> list[Result]:
        raise Retryable("no answer", code="salesforce.unreachable")

    house = House(worker)
    house.handle(record("a"), record("b"))
    assert house.queue.names == ["a", "b"]


def test_the_breaker_opens_after_batches_that_met_nothing_but_an_absent_system() -> None:
    house = House(always(Retryable("no answer", code="salesforce.unreachable")))
    for _ in range(THRESHOLD):
        house.handle(record("a"), record("b"))
    assert house.store.read("salesforce").open
    assert house.valves.away == {"salesforce"}
    assert not house.store.read("oms").open


def test_while_a_breaker_is_open_nothing_is_called() -> None:
    calls: list[int] = []

    def worker(messages: Sequence[Message]) -> list[Result]:
        calls.append(len(messages))
        return [Result("applied") for _ in messages]

    house = House(worker)
    house.store.open("oms", 1.0)
    house.handle(record("a"))
    assert calls == []
    assert BREAKER_PAUSE <= house.queue.sent[0][1] <= SOON_DELAY


def test_a_brown_out_in_which_something_gets_through_opens_nothing() -> None:
    def worker(messages: Sequence[Message]) -> list[Result]:
        return [Result("failed", Retryable("x", code="HTTP_503")) if n % 2 else Result("applied") for n in range(len(messages))]

    house = House(worker)
    for _ in range(THRESHOLD * 3):
        house.handle(record("a"), record("b"))
    assert not house.store.read("salesforce").open


def test_a_success_ends_the_row_of_failures() -> None:
    house = House(always(Retryable("x", code="HTTP_503")))
    for _ in range(THRESHOLD - 1):
        house.handle(record("a"))
    house.worker = always(None)
    house.handle(record("a"))
    house.worker = always(Retryable("x", code="HTTP_503"))
    house.handle(record("a"))
    assert not house.store.read("salesforce").open


def test_the_round_closes_a_breaker_whose_system_answers_and_says_how_long_it_was_away() -> None:
    house, back = House(always(None)), []
    house.store.open("salesforce", 400.0)
    told = attend(house.breakers, {"salesforce": lambda: True, "oms": lambda: True}, lambda system, away: back.append((system, away)))
    assert told == {"salesforce": "closed again", "oms": "closed"}
    assert back == [("salesforce", 600.0)]
    assert house.valves.away == set()


def test_the_round_puts_queues_right_that_stand_otherwise_than_their_breaker() -> None:
    house = House(always(None))
    house.store.open("salesforce", 1.0)
    house.valves.away = {"oms"}
    attend(house.breakers, {"salesforce": lambda: False, "oms": lambda: False}, lambda *_: None)
    assert house.valves.away == {"salesforce"}


class Mappings:
    """Lambda's event source mappings, one a queue."""

    class exceptions:  # noqa: N801 (boto3's name)
        class ResourceInUseException(Exception): ...

    def __init__(self, *arns: str) -> None:
        self.states, self.switched = dict.fromkeys(arns, "Enabled"), list[tuple[str, bool]]()

    def list_event_source_mappings(self, *, EventSourceArn: str) -> dict[str, object]:  # noqa: N803
        return {"EventSourceMappings": [{"UUID": EventSourceArn, "State": self.states[EventSourceArn]}]}

    def update_event_source_mapping(self, *, UUID: str, Enabled: bool) -> None:  # noqa: N803
        self.states[UUID] = "Enabled" if Enabled else "Disabled"
        self.switched.append((UUID, Enabled))


def test_a_queue_that_needs_both_systems_waits_for_both() -> None:
    """One system's breaker must not open what the other's holds."""
    house, lambdas = House(always(None)), Mappings("mirror", "sync")
    queues: dict[System, list[str]] = {"salesforce": ["mirror", "sync"], "oms": ["mirror", "sync"]}
    breakers = Breakers(house.store, EventSourceValves(lambdas, queues), lambda: 1000.0)  # type: ignore[arg-type]
    house.store.open("salesforce", 1.0)
    for _ in range(2):
        attend(breakers, {"salesforce": lambda: False, "oms": lambda: True}, lambda *_: None)
        assert lambdas.states == {"mirror": "Disabled", "sync": "Disabled"}
    assert lambdas.switched == [("mirror", False), ("sync", False)], "the second round finds them as they should be"
    house.store.open("oms", 1.0)
    attend(breakers, {"salesforce": lambda: True, "oms": lambda: False}, lambda *_: None)
    assert lambdas.states == {"mirror": "Disabled", "sync": "Disabled"}
    attend(breakers, {"salesforce": lambda: True, "oms": lambda: True}, lambda *_: None)
    assert lambdas.states == {"mirror": "Enabled", "sync": "Enabled"}


@pytest.mark.parametrize(
    ("fault", "system"),
    [
        (Retryable("x", code="salesforce.unreachable"), "salesforce"),
        (Retryable("x", code="HTTP_503"), "salesforce"),
        (Retryable("x", code="oms.503"), "oms"),
        (Retryable("x", code="UNABLE_TO_LOCK_ROW"), None),
        (MissingParent("x", field="f", external_id="e"), None),
        (Permanent("x", code="oms.400"), None),
        (None, None),
    ],
)
def test_a_troublesome_record_is_told_from_an_absent_system(fault: OmsyncError | None, system: str | None) -> None:
    assert absent(fault) == system


def test_what_is_too_much_for_a_batch_is_sent_again_unread() -> None:
    house = House(always(None))
    assert house.handle(QueueRecord("1", 1, "not even json", postponed=True)) == []
    assert [body for body, _ in house.queue.sent] == ["not even json"]
    assert house.dlq.sent == []
