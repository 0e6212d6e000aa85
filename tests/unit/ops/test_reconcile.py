"""What a repair enqueues: looks by the live writers, never a write of its own, and not more than a person has agreed to."""

from __future__ import annotations

import uuid

import pytest

from omsync.reconciliation.compare import Comparison, Difference
from ops.connections import ConnectionFault
from ops.reconcile import Reconciler, told
from tests.unit.ops.conftest import Account

ADA, PILL, ACCOUNT = str(uuid.uuid4()), str(uuid.uuid4()), "001000000000001AAA"

DIFFERENCES = [
    Difference("different", f"patients/{ADA}", "Account", ("LastName",)),
    Difference("missing_in_oms", f"patients/{ACCOUNT}", "Account"),
    Difference("different", f"products/{PILL}", "Product2", ("Name",)),
    Difference("different", f"products/{PILL}", "PricebookEntry", ("UnitPrice",)),
    Difference("missing_in_oms", f"products/{uuid.uuid4()}", "Product2"),
]


def reconciler(account: Account) -> Reconciler:
    return Reconciler(account, say=lambda _: None)


def test_what_differs_is_looked_at_by_whoever_writes_it(account: Account) -> None:
    assert reconciler(account).repair(DIFFERENCES, at_most=10) == 3
    [pill] = account.read("MirrorQueue")
    assert (pill["table"], pill["id"], pill["row"], pill["origin"]) == ("products", PILL, None, "reconciliation")
    looks = account.read("SyncQueue")
    assert {(look["table"], look["id"]) for look in looks} == {("patients", ADA), (None, None)}
    assert {(look["sobject"], look["salesforce_id"]) for look in looks} == {(None, None), ("Account", ACCOUNT)}


def test_more_than_agreed_to_is_no_accident(account: Account) -> None:
    with pytest.raises(ConnectionFault, match="3 records differ, more than --at-most 2"):
        reconciler(account).repair(DIFFERENCES, at_most=2)
    assert account.read("MirrorQueue") == account.read("SyncQueue") == []


def test_programs_are_told_names_of_fields() -> None:
    made = Comparison("patients", "Account", records=2, values=90, differences=DIFFERENCES[:1])
    assert told([made], 0)["differ"] == 1
    [table] = told([made], 0)["tables"]  # type: ignore[misc]
    assert table["differences"] == [{"kind": "different", "record": f"patients/{ADA}", "fields": ["LastName"]}]  # type: ignore[index]
