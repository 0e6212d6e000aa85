"""Service Cloud's cases are the OMS's tickets: a coordinator opens, works on and closes one in Salesforce, and the OMS follows."""

from __future__ import annotations

import pytest

from tests.e2e.world import Row, World
from tests.polling import until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]


def tickets(world: World, patient: Row) -> list[Row]:
    return world.oms.rows("support_cases", patient_id=patient["id"])


def test_a_coordinators_case_is_a_ticket_from_opening_to_reopening(world: World) -> None:
    patient = world.patient()
    account = world.account(patient, seconds=60)
    told = {"AccountId": account, "Type": "billing", "Subject": "Charged twice", "Priority": "high", "Origin": "phone", "Status": "new"}
    case = world.org.create("Case", RecordTypeId=world.org.record_type("Case", "Billing"), **told)
    [ticket] = until(lambda: tickets(world, patient), seconds=60)
    assert (ticket["category"], ticket["subject"], ticket["status"], ticket["closed_at"]) == ("billing", "Charged twice", "new", None)

    world.org.edit("Case", case, Status="escalated")
    world.holds("support_cases", ticket["id"], "status", "escalated", seconds=60)
    world.org.edit("Case", case, Status="closed", Resolution__c="One charge refunded")
    row = world.holds("support_cases", ticket["id"], "status", "closed", seconds=60)
    assert row["resolution"] == "One charge refunded"
    assert row["closed_at"] >= row["opened_at"]
    world.org.edit("Case", case, Status="open")
    assert world.holds("support_cases", ticket["id"], "status", "open", seconds=60)["closed_at"] is None
    world.agrees({"support_cases": [ticket["id"]]})


def test_a_case_of_a_record_type_that_is_not_ours_stays_here(world: World) -> None:
    """Other teams have Cases too."""
    patient = world.patient()
    account = world.account(patient, seconds=60)
    foreign = world.org.create(
        "Case", user="admin", RecordTypeId=world.org.record_type("Case", "Integration"), AccountId=account, Subject="Ours"
    )
    known = {"AccountId": account, "Type": "other", "Subject": "Theirs", "Status": "new", "Origin": "web"}
    world.org.create("Case", RecordTypeId=world.org.record_type("Case", "General"), **known)
    [ticket] = until(lambda: tickets(world, patient), seconds=60)
    world.quiet()
    assert [row["subject"] for row in tickets(world, patient)] == [ticket["subject"]] == ["Theirs"]
    assert world.field("Case", foreign, "OMS_Id__c") is None
