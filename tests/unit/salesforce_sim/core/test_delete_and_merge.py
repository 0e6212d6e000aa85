"""The recycle bin, cascades, cleared lookups, merges."""

from __future__ import annotations

from collections.abc import Callable

from local.salesforce.dml_types import Error, Row
from local.salesforce.store import Store
from tests.unit.salesforce_sim.core.people import People

type Patient = Callable[..., Row]


def made(store: Store, people: People, name: str, **fields: object) -> str:
    result = store.insert(name, [fields], people.admin)[0]  # type: ignore[list-item]
    assert result.success, result.errors
    return str(result.id)


def value(store: Store, name: str, record_id: str, column: str) -> object:
    row = store.get(name, record_id)
    assert row is not None
    return row[column]


def test_a_delete_goes_to_the_recycle_bin_and_is_told(store: Store, people: People) -> None:
    shipment = made(store, people, "Shipment__c", OMS_Id__c="s")
    assert store.delete("Shipment__c", [shipment[:15]], people.admin)[0].success
    assert store.count("Shipment__c") == 0
    assert value(store, "Shipment__c", shipment, "IsDeleted") == 1
    assert [r[0] for r in store.deleted_between("Shipment__c", "2026-01-01", "2027-01-01")] == [shipment]
    again = store.delete("Shipment__c", [shipment, "a0X", "001B000001Lp1G2IAJ"], people.admin)
    assert [r.errors[0].status_code for r in again] == ["ENTITY_IS_DELETED", "MALFORMED_ID", "MALFORMED_ID"]
    assert again[0].errors[0] == Error("ENTITY_IS_DELETED", "entity is deleted", ())


def test_details_go_with_their_master_and_come_back(store: Store, people: People) -> None:
    shipment = made(store, people, "Shipment__c")
    event = made(store, people, "Shipment_Event__c", Shipment__c=shipment)
    lone = made(store, people, "Shipment_Event__c", Shipment__c=shipment)
    store.delete("Shipment_Event__c", [lone], people.admin)
    store.delete("Shipment__c", [shipment], people.admin)
    assert value(store, "Shipment_Event__c", event, "IsDeleted") == 1
    assert store.undelete([event], people.admin)[0].errors[0].status_code == "ENTITY_IS_DELETED"
    assert store.undelete([shipment], people.admin)[0].success
    assert value(store, "Shipment_Event__c", event, "IsDeleted") == 0
    assert value(store, "Shipment_Event__c", lone, "IsDeleted") == 1
    assert [r[0] for r in store.deleted_between("Shipment_Event__c", "2026-01-01", "2027-01-01")] == [lone]


def test_a_lookup_is_cleared_and_linked_again_unless_replaced(store: Store, people: People, patient: Patient) -> None:
    ada, bea = str(patient("Ada")["Id"]), str(patient("Bea")["Id"])
    kept, moved = (made(store, people, "Consent__c", Patient__c=ada, Version_Name__c="v") for _ in range(2))
    before = value(store, "Consent__c", kept, "SystemModstamp")
    store.delete("Account", [ada], people.admin)
    assert value(store, "Consent__c", kept, "Patient__c") is None
    assert str(value(store, "Consent__c", kept, "SystemModstamp")) > str(before)
    store.update("Consent__c", [{"Id": moved, "Patient__c": bea}], people.admin)
    store.undelete([ada], people.admin)
    assert value(store, "Consent__c", kept, "Patient__c") == ada
    assert value(store, "Consent__c", moved, "Patient__c") == bea


def test_some_children_forbid_the_delete(store: Store, people: People, patient: Patient) -> None:
    ada = str(patient("Lovelace", FirstName="Ada")["Id"])
    shipment = made(store, people, "Shipment__c")
    event = made(store, people, "Shipment_Event__c", Shipment__c=shipment, Guard__c=ada)
    result = store.delete("Account", [ada], people.admin)[0]
    assert result.errors[0].status_code == "DELETE_FAILED"
    assert result.errors[0].message == (
        "Your attempt to delete Ada Lovelace could not be completed because it is associated with the following shipment events.: SE-000001"
    )
    store.delete("Shipment_Event__c", [event], people.admin)
    made(store, people, "Case", AccountId=ada)
    assert "following cases.: 00000001" in store.delete("Account", [ada], people.admin)[0].errors[0].message


def test_a_hard_delete_leaves_nothing(store: Store, people: People) -> None:
    shipment = made(store, people, "Shipment__c")
    event = made(store, people, "Shipment_Event__c", Shipment__c=shipment)
    assert store.delete("Shipment__c", [shipment], people.admin, hard=True)[0].success
    assert store.get("Shipment__c", shipment) is None
    assert store.get("Shipment_Event__c", event) is None
    assert store.undelete([shipment], people.admin)[0].errors[0].status_code == "INVALID_CROSS_REFERENCE_KEY"
    assert len(store.deleted_between("Shipment__c", "2026-01-01", "2027-01-01")) == 1


def test_an_undelete_meets_a_live_namesake(store: Store, people: People) -> None:
    old = made(store, people, "Shipment__c", OMS_Id__c="s")
    store.delete("Shipment__c", [old], people.admin)
    live = made(store, people, "Shipment__c", OMS_Id__c="S")
    refused = store.undelete([old, live], people.admin)
    assert [r.errors[0].status_code for r in refused] == ["DUPLICATE_VALUE", "UNDELETE_FAILED"]
    assert live[:15] in refused[0].errors[0].message


def test_a_merge_buries_the_losers_and_moves_their_children(store: Store, people: People, patient: Patient) -> None:
    winner, loser = patient("Winner", OMS_Id__c="w"), patient("Loser", OMS_Id__c="l", PersonEmail="l@x.org")
    consent = made(store, people, "Consent__c", Patient__c=loser["Id"], Version_Name__c="v")
    case = made(store, people, "Case", ContactId=loser["PersonContactId"])
    note = made(store, people, "Clinical_Note__c", Patient__c=loser["Id"], Title__c="t")
    result = store.merge("Account", {"Id": winner["Id"], "PersonEmail": "l@x.org"}, [str(loser["Id"])], people.admin)  # type: ignore[arg-type]
    assert result.success, result.errors
    buried = store.get("Account", str(loser["Id"]))
    assert buried is not None
    assert (buried["IsDeleted"], buried["MasterRecordId"]) == (1, winner["Id"])
    assert value(store, "Contact", str(loser["PersonContactId"]), "MasterRecordId") == winner["PersonContactId"]
    assert value(store, "Consent__c", consent, "Patient__c") == winner["Id"]
    assert value(store, "Case", case, "ContactId") == winner["PersonContactId"]
    assert value(store, "Case", case, "AccountId") == winner["Id"]
    assert value(store, "Clinical_Note__c", note, "Sync_Save__c") == 1, "children that move fire no triggers"
    assert value(store, "Account", str(winner["Id"]), "PersonEmail") == "l@x.org"
    assert value(store, "Account", str(winner["Id"]), "Sync_Save__c") == 2


def test_a_refused_merge_changes_nothing(store: Store, people: People, patient: Patient) -> None:
    winner, loser = patient("Winner"), patient("Loser")
    business = made(store, people, "Account", Name="Business")
    attempts = [
        store.merge("Account", {"Id": winner["Id"], "Nope__c": 1}, [str(loser["Id"])], people.admin),  # type: ignore[arg-type]
        store.merge("Account", {"Id": winner["Id"]}, [business], people.admin),  # type: ignore[arg-type]
        store.merge("Account", {"Id": winner["Id"]}, [str(winner["Id"])], people.admin),  # type: ignore[arg-type]
        store.merge("Consent__c", {"Id": winner["Id"]}, [str(loser["Id"])], people.admin),  # type: ignore[arg-type]
        store.merge("Account", {"Id": "bad"}, [str(loser["Id"])], people.admin),
    ]
    assert [a.errors[0].status_code for a in attempts] == [
        "INVALID_FIELD",
        "INVALID_OPERATION",
        "INVALID_NUM_ARGS",
        "INVALID_TYPE_FOR_OPERATION",
        "MALFORMED_ID",
    ]
    assert value(store, "Account", str(loser["Id"]), "IsDeleted") == 0
    assert value(store, "Account", str(loser["Id"]), "MasterRecordId") is None
