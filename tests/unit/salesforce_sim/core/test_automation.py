"""The org's triggers: counting, stamping, announcing. The Apex tests of SharedRecordsTest.cls, against the simulator."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from local.salesforce.dml_types import Row
from local.salesforce.schema import Org
from local.salesforce.store import Store
from tests.unit.salesforce_sim.core.people import People

type Patient = Callable[..., Row]


def stamps(store: Store, record_id: object, name: str = "Account") -> dict[str, list[object]]:
    row = store.get(name, str(record_id))
    assert row is not None
    return json.loads(str(row["Sync_Stamps__c"] or "{}"))


def announced(store: Store) -> list[dict[str, object]]:
    return [dict(payload) for _, _, name, payload, _ in store.events_after(0) if name == "Record_Changed__e"]


def test_a_persons_insert_is_counted_stamped_and_announced(store: Store, people: People, patient: Patient) -> None:
    ada = patient("Rivera", PersonMobilePhone="+1")
    assert ada["Sync_Save__c"] == 1
    assert set(stamps(store, ada["Id"])) == {"LastName", "PersonMobilePhone", "SMS_Opt_In__pc"}
    assert stamps(store, ada["Id"])["LastName"] == [1, ada["SystemModstamp"]]
    assert announced(store) == [
        {
            "Object__c": "Account",
            "Record_Id__c": ada["Id"],
            "Change__c": "CREATE",
            "Record_Type__c": "Patient",
            "Save__c": 1.0,
            "Master_Id__c": None,
            "At__c": ada["SystemModstamp"],
        }
    ]


def test_an_edit_stamps_only_what_changed_and_case_counts(store: Store, people: People, patient: Patient) -> None:
    ada = patient("Rivera", PersonMobilePhone="+1")
    store.update("Account", [{"Id": ada["Id"], "LastName": "RIVERA", "PersonMobilePhone": "+1", "Site": "x"}], people.admin)
    assert stamps(store, ada["Id"])["LastName"][0] == 2
    assert stamps(store, ada["Id"])["PersonMobilePhone"][0] == 1
    store.update("Account", [{"Id": ada["Id"], "PersonMobilePhone": None}], people.admin)
    assert stamps(store, ada["Id"])["PersonMobilePhone"][0] == 3


def test_the_integration_users_save_is_counted_but_neither_stamped_nor_announced(store: Store, people: People, patient: Patient) -> None:
    ada = patient()
    told, before = len(announced(store)), stamps(store, ada["Id"])
    assert store.update("Account", [{"Id": ada["Id"], "PersonMobilePhone": "2", "Sync_Seen__c": 1}], people.integration)[0].success
    row = store.get("Account", str(ada["Id"]))
    assert row is not None
    assert (row["Sync_Save__c"], stamps(store, ada["Id"]), len(announced(store))) == (2, before, told)


def test_the_integration_user_must_have_seen_the_latest_save(store: Store, people: People, patient: Patient) -> None:
    ada = patient()
    store.update("Account", [{"Id": ada["Id"], "LastName": "Okafor"}], people.admin)
    stale = store.update("Account", [{"Id": ada["Id"], "PersonMobilePhone": "9", "Sync_Seen__c": 1}], people.integration)[0]
    assert stale.errors[0].message == "OMSYNC_STALE"
    assert store.update("Account", [{"Id": ada["Id"], "PersonMobilePhone": "9", "Sync_Seen__c": 2}], people.integration)[0].success


def test_nothing_a_client_sends_for_the_count_or_the_stamps_counts(store: Store, patient: Patient) -> None:
    ada = patient("Rivera", Sync_Save__c=41, Sync_Stamps__c='{"LastName": [99, "2099-01-01T00:00:00.000Z"]}')
    assert ada["Sync_Save__c"] == 1
    assert stamps(store, ada["Id"])["LastName"][0] == 1


def test_pharmacies_are_mirrored_so_they_are_not_counted(store: Store, people: People, record_types: dict[str, str]) -> None:
    result = store.insert("Account", [{"RecordTypeId": record_types["Pharmacy"], "Name": "Main", "Sync_Save__c": 7}], people.admin)[0]
    row = store.get("Account", str(result.id))
    assert row is not None
    assert (row["Sync_Save__c"], announced(store)) == (7, [])


def test_deletes_undeletes_and_merges_are_announced(store: Store, people: People, patient: Patient) -> None:
    winner, loser = patient("Winner"), patient("Loser")
    store.delete("Account", [str(loser["Id"])], people.admin)
    store.undelete([str(loser["Id"])], people.admin)
    store.merge("Account", {"Id": winner["Id"]}, [str(loser["Id"])], people.admin)  # type: ignore[arg-type]
    told = [(a["Change__c"], a["Record_Id__c"], a["Master_Id__c"]) for a in announced(store)[2:]]
    assert told == [
        ("DELETE", loser["Id"], None),
        ("UNDELETE", loser["Id"], None),
        ("MERGE", loser["Id"], winner["Id"]),
        ("UPDATE", winner["Id"], None),
    ]


def test_children_that_fall_with_their_parent_are_not_announced(store: Store, people: People, patient: Patient) -> None:
    ada = patient()
    store.insert("Order", [{"AccountId": ada["Id"], "EffectiveDate": "2026-01-01", "Status": "draft"}], people.admin)
    store.delete("Account", [str(ada["Id"])], people.admin)
    assert [(a["Object__c"], a["Change__c"]) for a in announced(store)] == [
        ("Account", "CREATE"),
        ("Order", "CREATE"),
        ("Account", "DELETE"),
    ]


def test_mail_is_announced_when_it_comes_and_not_when_it_changes(store: Store, people: People) -> None:
    mail = store.insert("EmailMessage", [{"Subject": "Hi"}], people.admin)[0]
    store.update("EmailMessage", [{"Id": mail.id, "Delivery__c": "sent"}], people.admin)
    assert [(a["Change__c"], a["Save__c"]) for a in announced(store)] == [("CREATE", None)]


def test_of_our_own_cases_only_the_closing_is_announced(store: Store, people: People, record_types: dict[str, str]) -> None:
    """This project's Case has no shared fields, so every Case is announced; the closing of an integration Case in any event."""
    case = store.insert("Case", [{"Subject": "Held", "RecordTypeId": record_types["Integration"]}], people.admin)[0]
    handler = store.dml.triggers["Case"]
    row = store.get("Case", str(case.id))
    assert row is not None
    closed = row | {"IsClosed": 1}
    assert handler.is_closed_integration_case(closed, row)
    assert not handler.is_closed_integration_case(closed, closed)
    assert not handler.is_closed_integration_case(closed | {"RecordTypeId": record_types["General"]}, row)


def test_damaged_stamps_start_again(store: Store, people: People, patient: Patient) -> None:
    ada = patient()
    with store.write() as tx:
        tx.connection.execute("UPDATE Account SET Sync_Stamps__c = '{\"LastName\": [1,' WHERE Id = ?", (ada["Id"],))
    store.update("Account", [{"Id": ada["Id"], "PersonMobilePhone": "3"}], people.admin)
    assert set(stamps(store, ada["Id"])) == {"PersonMobilePhone"}


def test_what_is_rolled_back_is_not_announced(store: Store, people: People) -> None:
    strict = replace(people.admin, all_or_none=True)
    store.insert("Clinical_Note__c", [{"Title__c": "a"}, {"Status__c": "nope"}], strict)
    assert announced(store) == []
    store.insert("Clinical_Note__c", [{"Title__c": "a"}, {"Status__c": "nope"}], people.admin)
    assert len(announced(store)) == 1


def test_a_signed_note_is_final(store: Store, people: People) -> None:
    note = str(store.insert("Clinical_Note__c", [{"Title__c": "a", "Status__c": "signed"}], people.admin)[0].id)
    refused = store.update("Clinical_Note__c", [{"Id": note, "Title__c": "b"}], people.coordinator)[0]
    assert refused.errors[0].message == "A signed note can't be changed"


def test_handlers_follow_the_metadata(org: Org, project: Path) -> None:
    assert org.triggers["EmailMessage"] == {"after insert", "after delete", "after undelete"}
    assert {(s.object, s.field) for s in org.sync_fields} >= {("Account", "Preferred_Name__pc"), ("Order", "ShippingCity")}
    assert next(s.record_types for s in org.sync_fields if s.object == "Account") == {"Patient"}
    assert project.is_dir()


@pytest.mark.parametrize("times", [3])
def test_listeners_wake_after_the_commit(store: Store, people: People, times: int) -> None:
    seen: list[int] = []
    store.on_events(lambda: seen.append(len(announced(store))))
    for _ in range(times):
        store.insert("Clinical_Note__c", [{"Title__c": "a"}], people.admin)
    store.insert("Shipment__c", [{}], people.admin)
    assert seen == [1, 2, 3]
