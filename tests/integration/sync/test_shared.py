"""Shared records between the reference OMS and the Salesforce simulator, by the product's own adapters, rules and ledger."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import boto3
import pytest
import requests
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from moto import mock_aws

from omsync.cases.service import Cases
from omsync.mapping import load_mappings
from omsync.oms.client import Connection as OmsConnection
from omsync.oms.client import OmsClient
from omsync.oms.rows import OmsRows
from omsync.platform.bootstrap_sync import SystemClock
from omsync.salesforce import soap
from omsync.salesforce.auth import Connection
from omsync.salesforce.client import SalesforceClient
from omsync.salesforce.org import org_ids
from omsync.salesforce.records import SalesforceRecords
from omsync.sync.births import oms_id
from omsync.sync.converge import Synchroniser
from omsync.sync.digests import Digests
from omsync.sync.ledger import DynamoLedger
from omsync.sync.ports import Answers, Conflict, Ports
from omsync.sync.records import Outcome, RecordKey, RecordRef, SalesforceRef
from omsync.sync.rules import MappedRegistry, Org

MAPPINGS = load_mappings()
OMS_CLIENT = ("operator", "operator-secret")


@dataclass
class Log:
    """`ConflictLog`."""

    conflicts: list[Conflict] = field(default_factory=list)

    def log(self, conflicts: Sequence[Conflict]) -> Answers[None]:
        self.conflicts += conflicts
        return [None] * len(conflicts)


@dataclass
class Relatives:
    """`FamilyPort`: notes whose children are to be linked again."""

    relinked: list[RecordKey] = field(default_factory=list)

    def ensure(self, parents: Sequence[RecordKey]) -> Answers[None]:
        raise AssertionError(f"no mirrored parent is missing here: {parents}")

    def relink(self, parents: Sequence[RecordKey]) -> Answers[None]:
        self.relinked += parents
        return [None] * len(parents)


class Person:
    """Somebody at work in Salesforce."""

    def __init__(self, simulator: Any, user: str) -> None:
        session = simulator.admin("login-as", {"user": user})
        self.base = f"{simulator.url}/services/data/v67.0"
        self.headers = {"Authorization": f"Bearer {session['access_token']}"}

    def _call(self, method: str, path: str, **more: Any) -> Any:
        answer = requests.request(method, f"{self.base}/{path}", headers=self.headers, timeout=30, **more)
        assert answer.status_code < 300, answer.text
        return answer.json() if answer.content else None

    def create(self, sobject: str, **fields: object) -> str:
        return str(self._call("POST", f"sobjects/{sobject}", json=fields)["id"])

    def edit(self, sobject: str, record_id: str, **fields: object) -> None:
        self._call("PATCH", f"sobjects/{sobject}/{record_id}", json=fields)

    def delete(self, sobject: str, record_id: str) -> None:
        self._call("DELETE", f"sobjects/{sobject}/{record_id}")

    def merge(self, winner: str, loser: str) -> None:
        """Two accounts, as a person merges them in the user interface."""
        token = self.headers["Authorization"].removeprefix("Bearer ")
        envelope = (
            '<env:Envelope xmlns:env="http://schemas.xmlsoap.org/soap/envelope/" xmlns="urn:partner.soap.sforce.com" '
            'xmlns:o="urn:sobject.partner.soap.sforce.com">'
            f"<env:Header><SessionHeader><sessionId>{token}</sessionId></SessionHeader></env:Header><env:Body><merge><request>"
            f"<masterRecord><o:type>Account</o:type><o:Id>{winner}</o:Id></masterRecord><recordToMergeIds>{loser}</recordToMergeIds>"
            "</request></merge></env:Body></env:Envelope>"
        )
        url = self.base.replace("/services/data/v67.0", "/services/Soap/u/67.0")
        answer = requests.post(url, data=envelope, headers={"Content-Type": "text/xml; charset=UTF-8", "SOAPAction": '""'}, timeout=30)
        assert "<success>true</success>" in answer.text, answer.text

    def query(self, soql: str) -> list[dict[str, Any]]:
        return list(self._call("GET", "queryAll", params={"q": soql})["records"])


class Both:
    """The two systems and the synchroniser between them."""

    def __init__(self, oms: Any, simulator: Any, dynamo: Any) -> None:
        self.oms = oms
        self.admin, self.agent, self.clinician = (Person(simulator, user) for user in ("admin", "coordinator", "clinician"))
        self.client = _client(simulator)
        self.log, self.family = Log(), Relatives()
        rows = OmsRows(OmsClient(OmsConnection(str(oms.http.base_url).rstrip("/"), *OMS_CLIENT)))
        self.cases = Cases(self.client)
        ports = Ports(
            rows, SalesforceRecords(self.client, MAPPINGS), DynamoLedger(dynamo, "ledger"), self.cases, self.log, self.family, SystemClock()
        )
        registry = MappedRegistry(MAPPINGS, Org(ids=org_ids(self.client), certified_run=4, staff=frozenset()))
        self.synchroniser = Synchroniser(registry, Digests({"k1": b"key"}, "k1"), ports)

    def sync(self, *refs: RecordRef) -> list[Outcome]:
        outcomes = self.synchroniser.synchronise(refs)
        assert all(outcome.done for outcome in outcomes), [str(outcome.error) for outcome in outcomes if outcome.error]
        return outcomes

    def record(self, key: RecordKey, sobject: str, *fields: str) -> dict[str, Any]:
        [found] = self.admin.query(
            f"SELECT {', '.join(('Id', 'OMS_Version__c', *fields))} FROM {sobject} WHERE OMS_Id__c = '{key.id}' AND IsDeleted = false"
        )
        return found

    def patient(self, **values: object) -> RecordKey:
        key = RecordKey("patients", self.oms.patient(**values)["id"])
        self.sync(key)
        return key

    def row(self, key: RecordKey) -> dict[str, Any]:
        return dict(self.oms.get(key.table, key.id))

    def change(self, key: RecordKey, **values: object) -> None:
        self.oms.patch(key.table, self.row(key), **values)


def _client(simulator: Any) -> SalesforceClient:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()).decode()
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()
    user = simulator.admin("login-as", {"user": "integration"})["username"]
    simulator.admin("keys", {"client_id": "omsync-test", "public_key": public, "users": [user]})
    return SalesforceClient(Connection(simulator.url, "omsync-test", user, private))


@pytest.fixture(scope="module")
def both(oms: Any, simulator: Any) -> Iterator[Both]:
    with pytest.MonkeyPatch.context() as patch, mock_aws():
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "testing")
        patch.delenv("AWS_ENDPOINT_URL", raising=False)
        dynamo = boto3.client("dynamodb", region_name="us-east-1")
        dynamo.create_table(
            TableName="ledger",
            KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
        )
        yield Both(oms, simulator, dynamo)


ADDRESS = {"line1": "1 Elm St", "city": "Reno", "state_code": "NV", "postal_code": "89501", "country_code": "US"}


def test_a_patient_and_its_address_are_one_account_and_a_second_look_finds_nothing_to_do(both: Both) -> None:
    key = both.patient(shipping_address=ADDRESS)
    found = both.record(key, "Account", "LastName", "PersonMailingStreet", "PersonMailingCity")
    assert (found["LastName"], found["PersonMailingStreet"], found["PersonMailingCity"]) == ("Byron", "1 Elm St", "Reno")
    assert [outcome.kind for outcome in both.sync(key, SalesforceRef("Account", found["Id"]))] == ["in_step"] * 2


def test_edits_on_both_sides_meet(both: Both) -> None:
    key = both.patient(shipping_address=ADDRESS)
    account = both.record(key, "Account")["Id"]
    both.agent.edit("Account", account, PersonMailingStreet="2 Oak Ave\r\nApt 4", FirstName="Augusta")
    both.change(key, preferred_name="Countess")
    both.sync(key)
    row = both.row(key)
    assert (row["first_name"], row["shipping_address"]["line1"], row["shipping_address"]["line2"]) == ("Augusta", "2 Oak Ave", "Apt 4")
    found = both.record(key, "Account", "Preferred_Name__pc", "PersonMailingStreet")
    assert found["Preferred_Name__pc"] == "Countess"
    assert int(found["OMS_Version__c"]) == row["version"]
    assert [outcome.kind for outcome in both.sync(key)] == ["in_step"]


def test_the_later_of_two_edits_of_one_field_wins(both: Both) -> None:
    key = both.patient()
    account = both.record(key, "Account")["Id"]
    both.change(key, middle_name="Earlier")
    both.agent.edit("Account", account, MiddleName="Later")
    both.sync(SalesforceRef("Account", account))
    assert both.row(key)["middle_name"] == "Later"
    assert [(conflict.unit, conflict.winner) for conflict in both.log.conflicts if conflict.record == key] == [
        ("middle_name", "salesforce")
    ]


def test_an_opt_out_wins_over_a_later_opt_in(both: Both) -> None:
    key = both.patient(sms_opt_in=True)
    account = both.record(key, "Account")["Id"]
    both.agent.edit("Account", account, SMS_Opt_In__pc=False)
    both.change(key, sms_opt_in=False)
    both.change(key, sms_opt_in=True)
    both.sync(key)
    assert both.row(key)["sms_opt_in"] is False


def test_a_value_that_the_oms_refuses_is_held_and_the_rest_goes_on(both: Both) -> None:
    key = both.patient()
    account = both.record(key, "Account")["Id"]
    both.agent.edit("Account", account, PersonMobilePhone="call me", FirstName="Nobody")
    both.sync(key)
    assert both.row(key)["first_name"] == "Nobody"
    [case] = both.admin.query(f"SELECT Status, Integration_Field__c FROM Case WHERE Integration_Record__c = '{key}'")
    assert case["Integration_Field__c"] == "phone_e164"
    both.agent.edit("Account", account, PersonMobilePhone="+15550100123")
    both.sync(key)
    assert both.row(key)["phone_e164"] == "+15550100123"


def test_a_command_is_executed_once_and_its_result_comes_back(both: Both) -> None:
    order = both.oms.placed_order()
    key = RecordKey("orders", order["id"])
    both.sync(key)
    record = both.record(key, "Order", "Status")["Id"]
    both.agent.edit("Order", record, Requested_Action__c="cancel")
    both.sync(key, SalesforceRef("Order", record))
    both.sync(key)
    found = both.record(key, "Order", "Requested_Action__c", "Action_Result__c", "Status")
    assert (found["Requested_Action__c"], found["Action_Result__c"]) == (None, "done: cancel")
    assert both.row(key)["status"] == "cancelled"


def test_a_patient_born_in_salesforce_has_a_row_and_a_number(both: Both) -> None:
    [kind] = both.admin.query("SELECT Id FROM RecordType WHERE SobjectType = 'Account' AND DeveloperName = 'Patient'")
    account = both.agent.create("Account", RecordTypeId=kind["Id"], FirstName="Mary", LastName="Born", PersonEmail="mary@example.com")
    both.sync(SalesforceRef("Account", account))
    key = RecordKey("patients", oms_id(SalesforceRef("Account", account)))
    row = both.row(key)
    assert (row["last_name"], row["email"]) == ("Born", "mary@example.com")
    assert both.record(key, "Account", "Patient_Number__pc")["Patient_Number__pc"] == row["patient_number"]
    assert [outcome.kind for outcome in both.sync(key)] == ["in_step"]


def test_a_note_born_in_salesforce_waits_for_its_patient_and_is_immutable_once_signed(both: Both) -> None:
    [kind] = both.admin.query("SELECT Id FROM RecordType WHERE SobjectType = 'Account' AND DeveloperName = 'Patient'")
    account = both.agent.create("Account", RecordTypeId=kind["Id"], LastName="Parent")
    note = both.clinician.create("Clinical_Note__c", Patient__c=account, Type__c="phone", Title__c="Call", Body__c="She feels well.")
    both.sync(SalesforceRef("Clinical_Note__c", note))
    key = RecordKey("clinical_notes", oms_id(SalesforceRef("Clinical_Note__c", note)))
    row = both.row(key)
    assert (row["body"], row["status"], row["patient_id"]) == ("She feels well.", "draft", oms_id(SalesforceRef("Account", account)))
    assert both.record(key, "Clinical_Note__c", "Status__c")["Status__c"] == "draft"


def test_a_note_edited_on_both_sides_waits_for_a_person_who_closes_its_case(both: Both) -> None:
    patient = both.patient()
    account = both.record(patient, "Account")["Id"]
    note = both.clinician.create("Clinical_Note__c", Patient__c=account, Type__c="phone", Title__c="Call", Body__c="First.")
    both.sync(SalesforceRef("Clinical_Note__c", note))
    key = RecordKey("clinical_notes", oms_id(SalesforceRef("Clinical_Note__c", note)))
    both.change(key, body="The OMS's.")
    both.clinician.edit("Clinical_Note__c", note, Body__c="Salesforce's.", Title__c="Longer call")
    both.sync(key)
    assert (both.row(key)["body"], both.row(key)["title"]) == ("The OMS's.", "Longer call")
    [case] = both.admin.query(f"SELECT Id, Subject, Description FROM Case WHERE Integration_Record__c = '{key}'")
    assert "'s." not in case["Subject"] + case["Description"]
    both.admin.edit("Case", case["Id"], Status="closed")
    both.sync(key)
    assert both.row(key)["body"] == "Salesforce's."


def test_an_email_is_inserted_once_and_its_delivery_reported(both: Both) -> None:
    patient = both.patient()
    key = RecordKey(
        "communications",
        both.oms.create(
            "communications",
            patient_id=patient.id,
            channel="email",
            direction="outbound",
            subject="Hello",
            body_text="Hi",
            delivery_status="sent",
            sent_at="2026-03-01T12:00:00Z",
            to_address="ada@example.com",
        )["id"],
    )
    both.sync(key)
    both.change(key, delivery_status="delivered")
    both.sync(key, key)
    found = both.record(key, "EmailMessage", "Subject", "Delivery_Status__c", "RelatedToId")
    assert (found["Subject"], found["Delivery_Status__c"]) == ("Hello", "delivered")
    assert found["RelatedToId"] == both.record(patient, "Account")["Id"]


def test_a_case_of_salesforce_s_is_soft_deleted_with_its_record_and_restored_with_it(both: Both) -> None:
    [kind] = both.admin.query("SELECT Id FROM RecordType WHERE SobjectType = 'Case' AND DeveloperName = 'Billing'")
    case = both.agent.create(
        "Case", RecordTypeId=kind["Id"], Subject="Charged twice", Status="new", Origin="phone", Priority="high", Type="billing"
    )
    ref = SalesforceRef("Case", case)
    key = RecordKey("support_cases", oms_id(ref))
    both.sync(ref)
    assert (both.row(key)["subject"], both.row(key)["priority"]) == ("Charged twice", "high")
    both.admin.delete("Case", case)
    both.sync(ref)
    assert both.row(key)["deleted_at"] is not None
    assert soap.undelete(both.client, [case]) == [None]
    both.sync(ref)
    assert both.row(key)["deleted_at"] is None


def test_a_deleted_account_comes_back_with_its_edits(both: Both) -> None:
    key = both.patient()
    account = both.record(key, "Account")["Id"]
    both.agent.edit("Account", account, FirstName="Phoenix")
    both.admin.delete("Account", account)
    both.sync(SalesforceRef("Account", account))
    assert both.record(key, "Account", "FirstName")["Id"] == account
    assert both.row(key)["first_name"] == "Phoenix"
    assert key in both.family.relinked


def test_the_loser_of_a_merge_is_retired_and_its_children_are_the_winner_s(both: Both) -> None:
    winner, loser = both.patient(first_name="Winner"), both.patient(first_name="Loser")
    accounts = {key: both.record(key, "Account")["Id"] for key in (winner, loser)}
    both.admin.merge(accounts[winner], accounts[loser])
    both.sync(SalesforceRef("Account", accounts[loser]))
    both.change(loser, first_name="Late")
    assert [outcome.kind for outcome in both.sync(loser)] == ["retired"]
    consent = {"consent_type": "sms", "document_version": "1", "granted": True, "granted_at": "2026-03-01T12:00:00Z"}
    key = RecordKey("patient_consents", both.oms.create("patient_consents", patient_id=loser.id, **consent)["id"])
    both.sync(key)
    assert both.record(key, "Consent__c", "Patient__c")["Patient__c"] == accounts[winner]
    [case] = both.admin.query(f"SELECT Description FROM Case WHERE Integration_Record__c = '{loser}'")
    assert str(winner) in case["Description"]


def test_a_hundred_changed_patients_cost_two_calls(both: Both) -> None:
    keys = [RecordKey("patients", both.oms.patient()["id"]) for _ in range(100)]
    both.sync(*keys)
    for key in keys:
        both.change(key, phone_raw="555")
    before = both.client.calls
    both.sync(*keys)
    assert both.client.calls - before == 2
