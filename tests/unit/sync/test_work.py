"""The consumers' work: which record a message means, and who deals with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import pytest
from pydantic import ValidationError

from omsync.mapping import load_mappings
from omsync.mapping.compiled import Compiled, compile_mapping
from omsync.platform.errors import OmsyncError, Permanent, Retryable
from omsync.sync.consume import Result
from omsync.sync.messages import MirrorMessage, SyncMessage
from omsync.sync.records import EPOCH, Outcome, RecordKey, RecordRef, SalesforceRef
from omsync.sync.staff import ASK_AGAIN_SECONDS, StaffDirectory, StaffMatcher, User
from omsync.sync.work import MappedRoutes, MirrorWorker, SyncWorker

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
A, B, C = (f"00000000-0000-4000-8000-00000000000{letter}" for letter in "abc")


@cache
def compiled(table: str) -> Compiled:
    return compile_mapping(load_mappings()[table])


@dataclass
class Lag:
    seen: list[tuple[str, float]] = field(default_factory=list)

    def observe(self, origin: str, seconds: float) -> None:
        self.seen.append((origin, seconds))


@dataclass
class Synchroniser:
    asked: list[RecordRef] = field(default_factory=list)
    outcome: Outcome = field(default_factory=lambda: Outcome("written", RecordKey("orders", A)))

    def synchronise(self, refs: Sequence[RecordRef], *, deadline: int | None = None) -> list[Outcome]:
        self.asked += refs
        return [self.outcome for _ in refs]


def look(**values: Any) -> SyncMessage:
    return SyncMessage(correlation_id="c", **{"origin": "oms", **values})


def work(synchroniser: Synchroniser, *messages: SyncMessage, cases: Mapping[str, str] | None = None) -> tuple[list[Result], Lag]:
    lag = Lag()
    worker = SyncWorker(synchroniser, lambda ids: {one: cases[one] for one in ids if cases and one in cases}, lambda: 0, lag, lambda: NOW)
    return worker(messages), lag


def test_a_record_named_twice_is_looked_at_once() -> None:
    synchroniser = Synchroniser()
    results, _ = work(synchroniser, look(table="orders", id=A), look(table="orders", id=A), look(sobject="Order", salesforce_id="801"))
    assert synchroniser.asked == [RecordKey("orders", A), SalesforceRef("Order", "801")]
    assert [result.kind for result in results] == ["written"] * 3


def test_closing_one_of_our_cases_is_a_look_at_the_record_it_was_opened_for() -> None:
    synchroniser = Synchroniser()
    case = {"sobject": "Case", "record_type": "Integration", "origin": "salesforce"}
    results, _ = work(synchroniser, look(salesforce_id="500a", **case), look(salesforce_id="500b", **case), cases={"500a": f"patients/{B}"})
    assert synchroniser.asked == [RecordKey("patients", B)]
    assert [result.kind for result in results] == ["written", "ignored"]


def test_a_hint_from_a_partner_event_bus_is_the_same_look() -> None:
    body = {
        "correlation_id": "e1", "origin": "salesforce", "sobject": "Account", "salesforce_id": "001a", "change": "UPDATE",
        "record_type": "", "master_id": "", "committed_at": "1795359295305",
    }  # fmt: skip
    message = SyncMessage.model_validate(body)
    assert (message.record_type, message.master_id) == (None, None)
    assert message.committed_at == datetime(2026, 11, 22, 14, 54, 55, 305000, tzinfo=UTC)


def test_a_message_that_names_nothing_is_an_error() -> None:
    [result] = work(Synchroniser(), look())[0]
    assert isinstance(result.fault, Permanent)


def test_a_failure_names_its_record() -> None:
    """The outcome of an error has no key; without the error's the failure row, its cause and the log line would name nobody."""
    failed = Outcome("permanent", error=Permanent("too long", code="STRING_TOO_LONG", record=f"orders/{A}"))
    [result] = work(Synchroniser(outcome=failed), look(sobject="Order", salesforce_id="801"))[0]
    assert result.record == f"orders/{A}"
    bug = Outcome("permanent", error=Permanent("unexpected KeyError", code="sync.bug"))
    [result] = work(Synchroniser(outcome=bug), look(sobject="Order", salesforce_id="801"))[0]
    assert result.record == "Order/801"


def test_what_the_deadline_cut_off_is_not_reached() -> None:
    stopped = Outcome("retryable", error=Retryable("no time left", code="sync.deadline"))
    [result] = work(Synchroniser(outcome=stopped), look(table="orders", id=A))[0]
    assert not result.reached


ORDER = RecordKey("orders", A)
HINT: dict[str, Any] = {"sobject": "Order", "salesforce_id": "801", "origin": "salesforce", "committed_at": NOW - timedelta(seconds=3)}
EVENT: dict[str, Any] = {"table": "orders", "id": A, "committed_at": NOW - timedelta(seconds=2)}


def measured(outcome: Outcome, *messages: dict[str, Any]) -> list[tuple[str, float]]:
    return sorted(work(Synchroniser(outcome=outcome), *(look(**message) for message in messages))[1].seen)


def micros(moment: datetime) -> int:
    return (moment - EPOCH) // timedelta(microseconds=1)


def test_lag_is_measured_once_for_each_side_whose_change_was_carried() -> None:
    """By whichever message: the other side's is often sooner, and finds the record in step when it comes itself."""
    edited = micros(NOW - timedelta(seconds=5))
    both = Outcome("written", ORDER, brought={"oms": None, "salesforce": edited})
    assert measured(both, EVENT, HINT, HINT) == [("oms", 2.0), ("salesforce", 5.0)]
    assert measured(Outcome("written", ORDER, brought={"salesforce": edited}), EVENT) == [("salesforce", 5.0)]
    assert measured(Outcome("written", ORDER, brought={"salesforce": None}), HINT, EVENT) == [("salesforce", 3.0)]


def test_nothing_is_measured_where_nothing_was_carried_or_nobody_pushed() -> None:
    assert measured(Outcome("in_step", ORDER), EVENT, HINT) == []
    assert measured(Outcome("written", ORDER), EVENT) == [], "Salesforce was only told the version"
    assert measured(Outcome("written", ORDER, brought={"oms": 1}), {**EVENT, "origin": "sweep"}) == []


@dataclass
class Users:
    there: list[User]
    named: dict[str, str] = field(default_factory=dict)

    def find(self, wanted: Mapping[str, Sequence[str]]) -> list[User]:
        return self.there

    def name(self, ids: Mapping[str, str]) -> dict[str, OmsyncError | None]:
        self.named |= ids
        return dict.fromkeys(ids)


class Oms:
    def batch_get(self, table: str, ids: Sequence[str]) -> dict[str, Any]:
        row = {"id": A, "employee_no": "E1", "full_name": "Ada", "email": "ada@upscript.example", "sso_subject": "sso|1", "is_active": True}
        return {A: row} if A in ids else {}


def match(*users: User) -> tuple[list[str], dict[str, str]]:
    org = Users(list(users))
    results = StaffMatcher(compiled, org, Oms()).write(
        [MirrorMessage(correlation_id="c", origin="oms", table="staff_users", id=A, version=1)]
    )
    return [result.kind for result in results], org.named


@pytest.mark.parametrize(
    ("users", "kind", "named"),
    [
        (
            [User("005a", None, {"FederationIdentifier": "sso|1"}), User("005b", None, {"Email": "ada@upscript.example"})],
            "applied",
            {"005a": A},
        ),
        ([User("005b", None, {"Email": "ADA@upscript.example"})], "applied", {"005b": A}),
        ([User("005a", A, {"FederationIdentifier": "sso|1"})], "unchanged", {}),
        ([User("005a", B, {"FederationIdentifier": "sso|1"})], "skipped", {}),
        ([User("005a", None, {"EmployeeNumber": "E1"}), User("005b", None, {"EmployeeNumber": "E1"})], "skipped", {}),
        ([], "skipped", {}),
    ],
)
def test_staff_are_matched_once_by_the_best_sign_and_never_guessed(users: list[User], kind: str, named: dict[str, str]) -> None:
    assert match(*users) == ([kind], named)


def test_somebody_linked_a_moment_ago_is_not_written_as_nobody() -> None:
    clock, linked, asked = [0.0], set[str](), list[float]()

    def ask() -> frozenset[str]:
        asked.append(clock[0])
        return frozenset(linked)

    directory = StaffDirectory(ask, lambda: clock[0])
    assert A not in directory
    assert C not in directory
    assert len(asked) == 1, "one question answers for a batch"
    linked.add(B)
    directory.begin()
    assert B in directory, "an id met for the first time is asked for"
    assert A not in directory
    assert len(asked) == 2, "staff without a User cost no query a record"
    linked.add(A)
    clock[0] = ASK_AGAIN_SECONDS
    directory.begin()
    assert A in directory


class Writer:
    def __init__(self, kind: str) -> None:
        self.kind = kind

    def write(self, messages: Sequence[MirrorMessage]) -> list[Result]:
        return [Result(self.kind, record=message.table) for message in messages]


def test_staff_and_mirrored_rows_go_to_their_own_writers_and_answers_keep_their_places() -> None:
    messages = [
        MirrorMessage(correlation_id="c", origin="sweep", table=table, id=A, version=1) for table in ("payments", "staff_users", "refunds")
    ]
    results = MirrorWorker(Writer("applied"), Writer("matched"), Lag(), lambda: NOW)(messages)
    assert [(result.record, result.kind) for result in results] == [
        ("payments", "applied"),
        ("staff_users", "matched"),
        ("refunds", "applied"),
    ]


def test_the_mappings_say_whose_a_table_or_object_is() -> None:
    routes = MappedRoutes(load_mappings())
    assert routes.is_mirrored("payments")
    assert not routes.is_mirrored("orders")
    assert routes.shared_owner("patient_addresses", {"id": A, "patient_id": B}) == ("patients", B)
    assert routes.shared_owner("orders", {"id": A}) == ("orders", A)
    assert routes.shared_owner("payments", {"id": A}) is None
    assert routes.is_shared_object("Account", "Patient")
    assert not routes.is_shared_object("Account", "Pharmacy")
    assert routes.is_shared_object("Case", "Integration")
    assert not routes.is_shared_object("Opportunity", None)


def test_a_message_whose_row_is_none_is_a_bad_message_and_not_a_bad_batch() -> None:
    told = {"correlation_id": "c", "origin": "oms", "table": "payments", "id": A, "version": 1}
    with pytest.raises(ValidationError, match="no id or no version"):
        MirrorMessage.model_validate({**told, "row": {"note": "sent by hand"}})
    assert MirrorMessage.model_validate({**told, "row": None}).row is None
