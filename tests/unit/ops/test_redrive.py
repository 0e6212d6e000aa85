"""Redriving a DLQ: chosen messages go back to work as at their first attempt, the others stay, and nothing is lost on the way."""

from __future__ import annotations

import hashlib
import json
import uuid

import pytest

from omsync.platform.errors import OmsyncError
from ops import queues
from ops.causes import causes
from ops.connections import ConnectionFault
from ops.queues import Waiting
from ops.redrive import afresh, destination, queue_named, run
from tests.unit.ops.conftest import Account

ADA, BOB = str(uuid.uuid4()), str(uuid.uuid4())


def look_at(row_id: str, attempt: int = 0) -> dict[str, object]:
    return {"correlation_id": f"c-{row_id}", "origin": "oms", "table": "patients", "id": row_id, "attempt": attempt}


def about(row_id: str) -> object:
    return lambda message: message.is_about("patients", row_id)


def test_one_records_messages_go_back_and_the_others_stay(account: Account) -> None:
    account.put("SyncDlq", look_at(ADA, 7), look_at(BOB, 3), look_at(ADA, 1))
    done = run(account, "Sync", about(ADA), dry_run=False)  # type: ignore[arg-type]
    assert [message.record for message in done.sent] == [f"patients/{ADA}"] * 2
    assert done.left == 1
    assert account.read("SyncQueue") == [look_at(ADA, 0), look_at(ADA, 0)]
    assert account.read("SyncDlq") == [look_at(BOB, 3)]  # visible again at once, untouched


def test_all_of_a_long_dlq_goes_back(account: Account) -> None:
    ids = {str(uuid.uuid4()) for _ in range(25)}
    account.put("MirrorDlq", *(look_at(row_id, 2) for row_id in ids))
    done = run(account, "Mirror", lambda _: True, dry_run=False)
    assert (len(done.sent), done.left) == (25, 0)
    assert {message["id"] for message in account.read("MirrorQueue")} == ids
    assert account.read("MirrorDlq") == []


def test_a_dry_run_changes_nothing(account: Account) -> None:
    account.put("SyncDlq", look_at(ADA, 5))
    done = run(account, "Sync", lambda _: True, dry_run=True)
    assert (len(done.sent), done.left) == (1, 1)
    assert account.read("SyncQueue") == []
    assert account.read("SyncDlq") == [look_at(ADA, 5)]


def test_a_message_stays_in_the_dlq_if_it_cannot_be_sent(account: Account) -> None:
    account.put("SyncDlq", look_at(ADA, 5))
    account.sqs.delete_queue(QueueUrl=account.queues["SyncQueue"])
    with pytest.raises(OmsyncError):
        run(account, "Sync", lambda _: True, dry_run=False)
    assert account.read("SyncDlq") == [look_at(ADA, 5)]


def test_a_long_body_is_told_by_what_it_points_at(account: Account) -> None:
    reference = account.payloads.put(json.dumps(look_at(ADA)))
    account.put("MirrorDlq", reference, account.payloads.put(json.dumps(look_at(BOB))))
    done = run(account, "Mirror", about(ADA), dry_run=False)  # type: ignore[arg-type]
    assert ([message.record for message in done.sent], done.left) == ([f"patients/{ADA}"], 1)
    assert account.read("MirrorQueue") == [json.loads(reference)]


def test_what_is_no_message_of_ours_goes_back_as_it_is(account: Account) -> None:
    account.put("SyncDlq", "not json", "[1, 2]")
    done = run(account, "Sync", lambda _: True, dry_run=False)
    assert [message.record for message in done.sent] == ["unknown", "unknown"]
    bodies = [message.body for message in queues.look(account, "SyncQueue")]
    assert sorted(bodies) == ["[1, 2]", "not json"]


def test_only_the_attempt_is_reset() -> None:
    body = json.dumps({"attempt": 9, "note": "Größe ☃", "row": {"a": None}})
    assert json.loads(afresh(body)) == {"attempt": 0, "note": "Größe ☃", "row": {"a": None}}
    first = '{"attempt": 0,  "row": 1}'
    assert afresh(first) == first


@pytest.mark.parametrize("said", ["sync", "Sync", "SyncQueue", "sync-dlq", "SyncDlq"])
def test_a_queue_may_be_named_as_one_thinks_of_it(account: Account, said: str) -> None:
    assert queue_named(account, said) == "Sync"


def test_an_unknown_queue_is_told_with_those_there_are(account: Account) -> None:
    with pytest.raises(
        ConnectionFault, match="there are async, email, emailfeedback, emailrules, isolation, lifecycle, lifecyclebus, mirror, sync"
    ):
        queue_named(account, "orders")


def test_what_nobody_takes_stays_and_holds_up_nobody(account: Account) -> None:
    """A DLQ without a queue: each message names its target, or it does not."""
    assert destination(account, "Async") == "their targets"
    target = "arn:aws:sqs:us-east-1:123456789012:SyncQueue"
    account.put("AsyncDlq", {"detail": "meant for nobody we know"})
    account.put_undelivered("AsyncDlq", {"id": "for the queue"}, TARGET_ARN=target)
    account.put_undelivered("AsyncDlq", {"id": "for a stranger"}, TARGET_ARN=target.replace("SyncQueue", "Other"))
    done = run(account, "Async", lambda _: True, dry_run=False)
    assert (len(done.sent), done.left) == (1, 2)
    assert sorted(why.partition(":")[0] for _, why in done.refused)[0] == "arn"
    assert any("names no target" in why for _, why in done.refused)
    assert account.read("SyncQueue") == [{"id": "for the queue"}]
    assert len(account.read("AsyncDlq")) == 2


def test_a_record_is_told_by_either_systems_id() -> None:
    def waiting(**content: object) -> Waiting:
        return Waiting("SyncDlq", "m", "r", json.dumps(content), json.dumps(content), queues.datetime.now(queues.UTC), 1)

    hint = waiting(sobject="Account", salesforce_id="001000000000001AAA")
    assert hint.record == "Account/001000000000001AAA"
    assert hint.is_about("patients", ADA, ["001000000000001AAA"])
    order = waiting(table="orders", id=BOB, row={"patient_id": ADA})
    assert not order.is_about("patients", ADA)  # it only mentions the patient
    assert waiting(detail={"id": ADA}).is_about("patients", ADA)  # an event names no record: a mention must do


def test_an_email_is_about_what_set_it_off() -> None:
    def record(**content: object) -> str:
        return Waiting("EmailDlq", "m", "r", json.dumps(content), json.dumps(content), queues.datetime.now(queues.UTC), 1).record

    assert record(flow="order-delivered", transition={"table": "orders", "id": BOB}) == f"orders/{BOB}"
    assert record(flow="finish-intake", occurrence={"source": f"intake_responses/{ADA}"}) == f"intake_responses/{ADA}"
    assert record(source="omsync.lifecycle", detail={"table": "orders", "id": BOB}) == f"orders/{BOB}"
    assert record(detail={"payload": {"Object__c": "Account", "Record_Id__c": "001000000000001AAA"}}) == "Account/001000000000001AAA"
    assert record(requestPayload={}) == "unknown"


def test_each_message_is_told_with_its_own_cause(account: Account) -> None:
    """By its body: a record may have failed before for something else, and what named no record has a row all the same."""
    known, nameless, foreign = json.dumps(look_at(ADA)), json.dumps({"correlation_id": "c"}), json.dumps({"detail": "AWS put it there"})
    rows = ((f"patients/{ADA}", "another body", "old"), (f"patients/{ADA}", known, "refused"), ("unknown", nameless, "omsync.message"))
    for number, (record, body, code) in enumerate(rows):
        sk = f"{record}#{hashlib.sha256(body.encode()).hexdigest()[:16]}"
        row = {"pk": code, "sk": sk, "record": record, "failed_at": f"2026-01-0{number + 1}", "code": code, "message": "why"}
        account.dynamodb.put_item(TableName="Failure", Item={name: {"S": value} for name, value in row.items()})
    account.put("SyncDlq", known, nameless, foreign)
    waiting = queues.look(account, "SyncDlq")
    told = causes(account, waiting)
    assert {message.body: told.get(message.message_id) for message in waiting} == {
        known: "refused (why)",
        nameless: "omsync.message (why)",
        foreign: None,
    }


def test_what_nobody_needs_is_removed_and_the_others_stay(account: Account) -> None:
    account.put("SyncDlq", look_at(ADA), look_at(BOB))
    done = run(account, "Sync", about(ADA), dry_run=False, remove=True)  # type: ignore[arg-type]
    assert ([message.record for message in done.sent], done.left) == ([f"patients/{ADA}"], 1)
    assert account.read("SyncQueue") == []
    assert account.read("SyncDlq") == [look_at(BOB)]
