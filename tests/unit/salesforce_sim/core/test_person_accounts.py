"""A Person Account is one record: an Account and a Contact that always agree."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from local.salesforce.dml_types import Row
from local.salesforce.schema import Org
from local.salesforce.store import Store
from tests.unit.salesforce_sim.core.people import People

type Patient = Callable[..., Row]


def contact_of(store: Store, account: Row) -> Row:
    row = store.get("Contact", str(account["PersonContactId"]))
    assert row is not None
    return row


def agree(store: Store, account_id: str) -> None:
    """Every value that Account shows of its person is the Contact's."""
    account = store.get("Account", account_id)
    assert account is not None
    contact = contact_of(store, account)
    shown = [f for f in store.org.objects["Account"].fields.values() if f.person and f.stored]
    assert len(shown) > 40
    assert {f.name: account[f.name] for f in shown} == {f.name: contact[str(f.person)] for f in shown}
    assert (account["Name"], account["IsDeleted"]) == (contact["Name"], contact["IsDeleted"])


def test_a_person_is_an_account_and_a_contact(store: Store, patient: Patient) -> None:
    ada = patient(
        "Lovelace",
        FirstName="Ada",
        MiddleName="King",
        Suffix="Countess",
        PersonEmail="ada@example.org",
        PersonMailingStreet="1 Main\nApt 2",
        PersonMailingCity="London",
        Phone="1",
        Preferred_Name__pc="A",
        SMS_Opt_In__pc=True,
    )
    contact = contact_of(store, ada)
    assert ada["Name"] == "Ada King Lovelace Countess"
    assert (ada["IsPersonAccount"], contact["IsPersonAccount"], contact["AccountId"]) == (1, 1, ada["Id"])
    assert (contact["Email"], contact["MailingCity"], contact["Phone"], contact["SMS_Opt_In__c"]) == ("ada@example.org", "London", "1", 1)
    agree(store, str(ada["Id"]))


def test_an_update_reaches_both_sides(store: Store, people: People, patient: Patient) -> None:
    ada = patient("Byron", FirstName="Ada", PersonEmail="a@x.org", Preferred_Name__pc="A")
    change = {"Id": ada["Id"], "LastName": "Lovelace", "PersonEmail": None, "Preferred_Name__pc": "B", "Site": "x"}
    assert store.update("Account", [change], people.admin)[0].success
    contact = contact_of(store, ada)
    assert (contact["Name"], contact["Email"], contact["Preferred_Name__c"]) == ("Ada Lovelace", None, "B")
    agree(store, str(ada["Id"]))


def test_a_write_to_the_contact_is_a_write_to_the_account(store: Store, people: People, patient: Patient) -> None:
    ada = patient("Lovelace", PersonMobilePhone="1")
    result = store.update("Contact", [{"Id": ada["PersonContactId"], "MobilePhone": "2", "Preferred_Name__c": "A"}], people.admin)[0]
    assert (result.success, result.id) == (True, ada["PersonContactId"])
    account = store.get("Account", str(ada["Id"]))
    assert account is not None
    assert (account["PersonMobilePhone"], account["Preferred_Name__pc"], account["Sync_Save__c"]) == ("2", "A", 2)
    agree(store, str(ada["Id"]))


def test_businesses_have_a_name_and_people_have_parts(store: Store, people: People, record_types: dict[str, str]) -> None:
    business = {"RecordTypeId": record_types["Pharmacy"]}
    person = {"RecordTypeId": record_types["Patient"]}
    records = [
        business | {"Name": "Main Street"},
        business | {"Name": "x", "FirstName": "y"},
        business | {"Name": "x", "PersonEmail": "y@z.org"},
        business,
        person | {"Name": "x", "LastName": "y"},
        person | {"FirstName": "x"},
        {"LastName": "No record type"},
        {"Name": "No record type"},
    ]
    results = store.insert("Account", records, people.admin)  # type: ignore[arg-type]
    assert [r.success for r in results] == [True, False, False, False, False, False, True, True]
    assert results[4].errors[0].fields == ("Name",)
    assert results[4].errors[0].status_code == "INVALID_FIELD_FOR_INSERT_UPDATE"
    assert results[5].errors[0].message == "Required fields are missing: [LastName]"
    default = store.get("Account", str(results[6].id))
    assert default is not None
    assert (default["RecordTypeId"], default["IsPersonAccount"]) == (record_types["Patient"], 1)
    assert store.count("Contact") == 1


def test_a_person_stays_a_person(store: Store, people: People, patient: Patient, record_types: dict[str, str]) -> None:
    ada = patient()
    result = store.update("Account", [{"Id": ada["Id"], "RecordTypeId": record_types["Pharmacy"]}], people.admin)[0]
    assert result.errors[0].status_code == "INVALID_FIELD_FOR_INSERT_UPDATE"


def test_a_unique_contact_field_is_unique_among_people_and_contacts(store: Store, people: People, patient: Patient) -> None:
    patient("A", OMS_Id__pc="one")
    twice = store.insert("Account", [{"LastName": "B", "OMS_Id__pc": "ONE"}, {"LastName": "C", "OMS_Id__pc": "two"}], people.admin)
    assert [r.success for r in twice] == [False, True]
    assert twice[0].errors[0].status_code == "DUPLICATE_VALUE"
    assert store.insert("Contact", [{"LastName": "D", "OMS_Id__c": "two"}], people.admin)[0].errors[0].status_code == "DUPLICATE_VALUE"
    within = store.insert("Account", [{"LastName": "E", "OMS_Id__pc": "three"}, {"LastName": "F", "OMS_Id__pc": "three"}], people.admin)
    assert [r.success for r in within] == [True, False]


def test_the_contact_of_a_person_goes_only_with_its_account(store: Store, people: People, patient: Patient) -> None:
    ada = patient()
    assert store.delete("Contact", [str(ada["PersonContactId"])], people.admin)[0].errors[0].status_code == "DELETE_FAILED"
    assert store.delete("Account", [str(ada["Id"])], people.admin)[0].success
    assert contact_of(store, ada)["IsDeleted"] == 1
    assert store.undelete([str(ada["Id"])], people.admin)[0].success
    agree(store, str(ada["Id"]))


def test_upserts_of_people_by_external_id(store: Store, people: People) -> None:
    def upsert(**fields: object) -> object:
        record = {"OMS_Id__c": "p-1", **fields}
        return store.upsert("Account", "OMS_Id__c", [record], people.admin)[0].created  # type: ignore[list-item]

    assert upsert(LastName="A", PersonBirthdate="1990-01-01") is True
    assert upsert(PersonHomePhone="5") is False
    row = store.find("Account", "OMS_Id__c", "p-1")[0]
    assert (row["LastName"], row["PersonHomePhone"], row["PersonBirthdate"]) == ("A", "5", "1990-01-01")
    agree(store, str(row["Id"]))


@pytest.mark.parametrize("name", ["PersonEmail", "PersonMailingCity", "X", "Preferred_Name__pc", "PersonContactId"])
def test_account_shows_what_contact_has(org: Org, name: str) -> None:
    field = org.objects["Account"].field(name)
    assert (field is None) == (name == "X")
