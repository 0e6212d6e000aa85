"""Commands: set, executed once, answered, cleared."""

from __future__ import annotations

import threading
import uuid
from typing import Any

import httpx
import pytest

from .conftest import Oms, Row


def command(oms: Oms, table: str, row: Row, requested: str | None, key: str | None = None) -> httpx.Response:
    headers = {"Idempotency-Key": key or str(uuid.uuid4()), "X-Changed-By": "sync:salesforce"}
    return oms.http.patch(f"/v1/{table}/{row['id']}", json={"requested_action": requested}, headers=headers)


def test_a_command_is_executed_answered_and_cleared(oms: Oms) -> None:
    order = oms.placed_order()
    oms.act("pay-order", order_id=order["id"])
    answer = command(oms, "orders", order, "cancel")
    assert answer.status_code == 200
    done = answer.json()
    assert (done["status"], done["requested_action"], done["action_result"]) == ("cancelled", None, "done: cancel")
    payment = oms.http.get("/v1/payments", params={"order_id": order["id"]}).json()["items"][0]
    assert payment["amount_refunded_cents"] == payment["amount_captured_cents"] > 0
    history = oms.http.get("/v1/order_status_history", params={"order_id": order["id"]}).json()["items"]
    assert max(history, key=lambda entry: entry["seq"])["actor_type"] == "salesforce"


def test_a_refused_command_says_why_and_changes_nothing_else(oms: Oms) -> None:
    order = oms.filling_order()
    done = command(oms, "orders", order, "cancel").json()
    assert (done["status"], done["requested_action"]) == ("filling", None)
    assert done["action_result"] == "refused: status: orders cannot go from filling to cancelled"


def test_a_command_is_executed_once_however_often_it_is_tried(oms: Oms) -> None:
    order, key = oms.filling_order(), str(uuid.uuid4())
    oms.act("ship-order", order_id=order["id"])
    answers: list[httpx.Response] = []

    def attempt() -> None:
        answers.append(command(oms, "orders", order, "reship", key))

    threads = [threading.Thread(target=attempt) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {answer.status_code for answer in answers} == {200} and len({answer.text for answer in answers}) == 1
    reships = oms.http.get("/v1/orders", params={"parent_order_id": order["id"]}).json()["items"]
    assert [(row["order_type"], row["status"], row["total_cents"]) for row in reships] == [("reship", "approved", 0)]


def test_a_commands_key_is_one_among_all_clients(oms: Oms) -> None:
    order, key = oms.placed_order(), str(uuid.uuid4())
    assert command(oms, "orders", order, "cancel", key).status_code == 200
    row = oms.db.execute("SELECT client_id FROM idempotency_keys WHERE key = %s", [key]).fetchone()
    assert row == ("",)


def test_a_command_needs_a_key_and_comes_alone(oms: Oms) -> None:
    order = oms.placed_order()
    url = f"/v1/orders/{order['id']}"
    assert oms.http.patch(url, json={"requested_action": "cancel"}).status_code == 400
    both: dict[str, Any] = {"requested_action": "cancel", "agent_note": "x"}
    assert oms.http.patch(url, json=both, headers={"Idempotency-Key": "k-" + order["id"]}).status_code == 422
    assert command(oms, "orders", order, "explode").status_code == 422
    assert oms.http.patch(url, json={"requested_action": None}).status_code == 428  # clearing is an ordinary change
    assert command(oms, "orders", {"id": str(uuid.uuid4())}, "cancel").status_code == 404


@pytest.mark.parametrize(
    ("commands", "status"), [(["pause"], "paused"), (["pause", "resume"], "active"), (["cancel"], "cancelled"), (["skip_next"], "active")]
)
def test_a_subscription_obeys(oms: Oms, commands: list[str], status: str) -> None:
    body = {"patient_id": oms.patient()["id"], "product_id": oms.drug()["id"]}
    subscription = oms.act("start-subscription", **body)["subscriptions"][0]
    for requested in commands:
        done = command(oms, "subscriptions", subscription, requested).json()
        assert done["action_result"] == f"done: {requested}"
    assert done["status"] == status
    if commands == ["skip_next"]:
        assert done["next_order_on"] > subscription["next_order_on"]


def test_hold_and_release_bring_an_order_back_to_where_it_was(oms: Oms) -> None:
    order = oms.filling_order()
    held = command(oms, "orders", order, "hold").json()
    assert (held["status"], held["hold_reason"]) == ("on_hold", "agent_request")
    released = command(oms, "orders", order, "release").json()
    assert (released["status"], released["hold_reason"], released["action_result"]) == ("filling", None, "done: release")


def test_an_action_set_by_psql_can_be_executed(oms: Oms) -> None:
    order = oms.placed_order()
    oms.db.execute("UPDATE orders SET requested_action = 'cancel' WHERE id = %s", [order["id"]])
    done = oms.act("execute-requested-action", table="orders", id=order["id"])["orders"][0]
    assert (done["status"], done["requested_action"], done["action_result"]) == ("cancelled", None, "done: cancel")
    oms.refuse("execute-requested-action", table="orders", id=order["id"])
