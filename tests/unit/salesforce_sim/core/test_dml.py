"""Insert, update and upsert: one outcome a record, in Salesforce's words and order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from local.salesforce.context import Context, Permissions, Surface
from local.salesforce.dml_types import Error, Result, Row
from local.salesforce.schema import PermissionSet
from local.salesforce.store import Store
from tests.unit.salesforce_sim.core.people import People

type Patient = Callable[..., Row]
type Save = Callable[..., Result]


def consent(number: int | str, **fields: object) -> dict[str, object]:
    return {"OMS_Id__c": f"c-{number}", "Version_Name__c": "v1", "Patient__r": {"OMS_Id__c": "p-1"}} | fields


def only_error(result: Result) -> Error:
    assert not result.success
    assert len(result.errors) == 1, result.errors
    return result.errors[0]


@pytest.fixture
def save(store: Store, people: People, patient: Patient) -> Callable[..., Result]:
    """Upsert one consent of a patient as the administrator."""
    patient(OMS_Id__c="p-1")

    def one(record: dict[str, object], context: Context | None = None) -> Result:
        return store.upsert("Consent__c", "OMS_Id__c", [record], context or people.admin)[0]  # type: ignore[list-item]

    return one


def test_an_insert_stores_defaults_and_system_fields(store: Store, people: People, patient: Patient) -> None:
    ada = patient(OMS_Id__c="p-1")
    result = store.insert("Consent__c", [{"Version_Name__c": " v1 ", "Patient__c": ada["Id"]}], people.admin)[0]
    row = store.get("Consent__c", str(result.id))
    assert result.success
    assert row is not None
    assert row["Version_Name__c"] == "v1"
    assert (row["Type__c"], row["Granted__c"], row["IsDeleted"]) == ("sms", 1, 0)
    assert row["Name"] == row["Id"]
    assert row["CreatedById"] == row["LastModifiedById"] == row["OwnerId"] == people.admin.user_id
    assert row["CreatedDate"] == row["LastModifiedDate"] == row["SystemModstamp"]
    assert str(row["CreatedDate"]).startswith("2026-03-01T12:00:")


def test_an_update_changes_what_is_sent_and_nothing_else(store: Store, people: People, save: Save) -> None:
    created = save(consent(1, Note__c="keep"))
    result = store.update("Consent__c", [{"Id": str(created.id)[:15], "Channel__c": "web"}], people.admin)[0]
    row = store.get("Consent__c", str(created.id))
    assert result == Result(True, created.id)
    assert row is not None
    assert (row["Note__c"], row["Channel__c"]) == ("keep", "web")
    assert str(row["LastModifiedDate"]) > str(row["CreatedDate"])


def test_null_clears_and_empty_text_is_null(store: Store, people: People, save: Save) -> None:
    created = save(consent(1, Note__c="x", Channel__c="web", Type__c=None))
    save({"OMS_Id__c": "c-1", "Note__c": "  ", "Channel__c": None})
    row = store.get("Consent__c", str(created.id))
    assert row is not None
    assert (row["Note__c"], row["Channel__c"], row["Type__c"]) == (None, None, None)


def test_field_names_are_taken_in_any_case(store: Store, people: People, save: Save) -> None:
    created = save({"oms_id__C": "c-9", "VERSION_name__c": "v", "patient__R": {"oms_id__c": "P-1"}, "attributes": {"type": "Consent__c"}})
    assert created.success, created.errors
    assert store.find("Consent__c", "OMS_Id__c", "C-9")[0]["Version_Name__c"] == "v"


def test_upsert_creates_then_updates(save: Save) -> None:
    first = save(consent(1))
    second = save({"OMS_Id__c": "C-1", "Note__c": "again"})
    assert (first.success, first.created) == (True, True)
    assert (second.success, second.created, second.id) == (True, False, first.id)


def test_upsert_by_id_creates_without_and_updates_with_one(store: Store, people: People, save: Save) -> None:
    created = save(consent(1))
    results = store.upsert("Consent__c", "Id", [{"Id": None, "Version_Name__c": "v", "Patient__r": {"OMS_Id__c": "p-1"}}], people.admin)
    results += store.upsert("Consent__c", "Id", [{"Id": created.id, "Note__c": "x"}], people.admin)
    assert [r.created for r in results] == [True, False]


@pytest.mark.parametrize(
    ("record", "code", "message", "fields"),
    [
        ({"Nope__c": 1}, "INVALID_FIELD", "No such column 'Nope__c' on sobject of type Consent__c", None),
        ({"Version_Name__c": ""}, "REQUIRED_FIELD_MISSING", "Required fields are missing: [Version_Name__c]", ("Version_Name__c",)),
        (
            {"Type__c": "letter"},
            "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST",
            "Type: bad value for restricted picklist field: letter",
            ("Type__c",),
        ),
        (
            {"Patient__r": {"OMS_Id__c": "nobody"}},
            "INVALID_FIELD",
            "Foreign key external ID: nobody not found for field OMS_Id__c in entity Account",
            (),
        ),
        (
            {"Patient__r": {"Site": "x"}},
            "INVALID_FIELD",
            "Field name provided, Site is not an External ID or indexed field for Account",
            (),
        ),
        ({"Patient__c": "001Om0000009999IAA"}, "INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id", ()),
        (
            {"Patient__c": "003Om0000000001IAA"},
            "FIELD_INTEGRITY_EXCEPTION",
            "Patient: id value of incorrect type: 003Om0000000001IAA",
            ("Patient__c",),
        ),
        ({"Patient__c": "001Om0000000001AAA"}, "MALFORMED_ID", "Patient: id value of incorrect type: 001Om0000000001AAA", ("Patient__c",)),
        ({"Patient__r": None}, "FIELD_CUSTOM_VALIDATION_EXCEPTION", "A consent needs a patient", ()),
        ({"SystemModstamp": "2026-01-01T00:00:00Z"}, "INVALID_FIELD_FOR_INSERT_UPDATE", None, ("SystemModstamp",)),
        ({"Contact_Email__c": "nope"}, "INVALID_EMAIL_ADDRESS", "Contact Email: invalid email address: nope", ("Contact_Email__c",)),
        ({"Score__c": 1000}, "NUMBER_OUTSIDE_VALID_RANGE", "Score: value outside of valid range on numeric field: 1000.0", ("Score__c",)),
        ({"OMS_Id__c": None}, "MISSING_ARGUMENT", "OMS_Id__c not specified", ("OMS_Id__c",)),
    ],
)
def test_refused_upserts(save: Save, record: dict[str, object], code: str, message: str | None, fields: tuple[str, ...] | None) -> None:
    sent = consent(1) | record
    if "Patient__c" in record:
        del sent["Patient__r"]
    result = save(sent)
    error = only_error(result)
    assert result.created is False
    assert error.status_code == code
    assert error.fields == fields
    if message is not None:
        assert error.message == message
    else:
        assert error.message.startswith("Unable to create/update fields: SystemModstamp. Please check the security settings")


def test_every_bad_value_of_a_record_is_named(save: Save) -> None:
    result = save(consent(1, Type__c="x", Contact_Email__c="y", Version_Name__c="z" * 41))
    assert {e.status_code for e in result.errors} == {"INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST", "INVALID_EMAIL_ADDRESS", "STRING_TOO_LONG"}


def test_an_older_version_is_refused_by_rule(save: Save) -> None:
    save(consent(1, OMS_Version__c=5))
    assert save(consent(1, OMS_Version__c=5)).success
    error = only_error(save(consent(1, OMS_Version__c=4)))
    assert (error.status_code, error.message) == ("FIELD_CUSTOM_VALIDATION_EXCEPTION", "OMSYNC_STALE")
    assert save(consent(1, OMS_Version__c=6)).success


def test_one_external_id_twice_in_a_request_is_refused_twice(store: Store, people: People, save: Save) -> None:
    results = store.upsert("Consent__c", "OMS_Id__c", [consent(1), consent(2), consent("1")], people.admin)
    assert [r.success for r in results] == [False, True, False]
    assert only_error(results[2]) == Error("DUPLICATE_VALUE", "Duplicate external id specified: c-1", ("OMS_Id__c",))


def test_several_records_with_one_external_id(store: Store, people: People) -> None:
    made = store.insert("Contact", [{"LastName": "A", "Email": "a@x.org"}, {"LastName": "B", "Email": "A@x.org"}], people.admin)
    result = store.upsert("Contact", "Email", [{"LastName": "C", "Email": "a@X.org"}], people.admin)[0]
    assert set(result.matches) == {r.id for r in made}
    assert only_error(result).status_code == "DUPLICATE_EXTERNAL_ID"


def test_a_unique_value_has_one_live_holder(store: Store, people: People, save: Save) -> None:
    first = save(consent(1))
    duplicate = store.insert("Consent__c", [consent(1)], people.admin)[0]
    assert only_error(duplicate) == Error(
        "DUPLICATE_VALUE", f"duplicate value found: OMS_Id__c duplicates value on record with id: {str(first.id)[:15]}", ()
    )
    store.delete("Consent__c", [str(first.id)], people.admin)
    assert store.insert("Consent__c", [consent(1)], people.admin)[0].success


def test_unique_within_one_request(store: Store, people: People, save: Save) -> None:
    results = store.insert("Consent__c", [consent(1), consent(2), consent(1)], people.admin)
    assert [r.success for r in results] == [True, True, False]


def test_case_matters_where_the_field_says_so(store: Store, people: People) -> None:
    results = store.insert("Contact", [{"LastName": "A", "Badge__c": b} for b in ("x", "X", "x")], people.admin)
    assert [r.success for r in results] == [True, True, False]


def test_one_bad_record_never_stops_its_neighbours(store: Store, people: People, save: Save) -> None:
    results = store.upsert("Consent__c", "OMS_Id__c", [consent(1), consent(2, Type__c="x"), consent(3)], people.admin)
    assert [r.success for r in results] == [True, False, True]
    assert store.count("Consent__c") == 2


def test_all_or_none_undoes_the_others(store: Store, people: People, save: Save) -> None:
    strict = replace(people.admin, all_or_none=True)
    results = store.upsert("Consent__c", "OMS_Id__c", [consent(1), consent(2, Type__c="x"), consent(3)], strict)
    assert [r.errors[0].status_code for r in results] == [
        "ALL_OR_NONE_OPERATION_ROLLED_BACK",
        "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST",
        "ALL_OR_NONE_OPERATION_ROLLED_BACK",
    ]
    assert not any(r.id for r in results)
    assert store.count("Consent__c") == 0


@pytest.mark.parametrize(
    ("record_id", "code", "message"),
    [
        ("not-an-id", "MALFORMED_ID", "Record ID: id value of incorrect type: not-an-id"),
        ("001B000001Lp1G2IAK", "MALFORMED_ID", "Record ID: id value of incorrect type: 001B000001Lp1G2IAK"),
        ("001B000001Lp1G2IAJ", "MALFORMED_ID", "Record ID: id value of incorrect type: 001B000001Lp1G2IAJ"),
        (None, "MISSING_ARGUMENT", "Id not specified in an update call"),
    ],
)
def test_updates_of_what_is_not_there(store: Store, people: People, record_id: str | None, code: str, message: str) -> None:
    error = only_error(store.update("Consent__c", [{"Id": record_id, "Note__c": "x"}], people.admin)[0])
    assert (error.status_code, error.message, error.fields) == (code, message, ("Id",))


def test_an_unknown_field_wins_over_a_bad_id(store: Store, people: People) -> None:
    result = store.update("Consent__c", [{"Id": "bad", "Nope__c": 1}], people.admin)[0]
    assert only_error(result).status_code == "INVALID_FIELD"


def test_an_unknown_record_and_a_deleted_one(store: Store, people: People, save: Save) -> None:
    gone = str(save(consent(1)).id)
    store.delete("Consent__c", [gone], people.admin)
    unknown = gone[:12] + "zzz"
    results = store.update("Consent__c", [{"Id": gone, "Note__c": "x"}, {"Id": unknown, "Note__c": "x"}], people.admin)
    assert only_error(results[0]) == Error("ENTITY_IS_DELETED", "entity is deleted", ())
    assert only_error(results[1]).status_code == "INVALID_CROSS_REFERENCE_KEY"


def test_one_record_twice_in_an_update_is_saved_twice(store: Store, people: People, save: Save) -> None:
    record_id = str(save(consent(1, OMS_Version__c=1)).id)
    results = store.update(
        "Consent__c",
        [{"Id": record_id, "OMS_Version__c": 5}, {"Id": record_id, "OMS_Version__c": 4}, {"Id": record_id, "Note__c": "x"}],
        people.admin,
    )
    assert [r.success for r in results] == [True, False, True]
    row = store.get("Consent__c", record_id)
    assert row is not None
    assert (row["OMS_Version__c"], row["Note__c"]) == (5.0, "x")


def test_an_id_in_an_insert_is_refused(store: Store, people: People) -> None:
    error = only_error(store.insert("Account", [{"Id": "001B000001Lp1G2IAJ", "Name": "x"}], people.admin)[0])
    assert (error.status_code, error.message) == ("INVALID_FIELD_FOR_INSERT_UPDATE", "cannot specify Id in an insert call")


def test_a_parent_may_be_named_as_in_csv(store: Store, people: People, save: Save) -> None:
    bulk = replace(people.admin, surface=Surface.BULK)
    record = {"OMS_Id__c": "c-1", "Version_Name__c": "v", "Patient__r.OMS_Id__c": "p-1", "Granted__c": "false", "OMS_Version__c": "3"}
    result = store.upsert("Consent__c", "OMS_Id__c", [record], bulk)[0]
    assert result.success, result.errors
    row = store.get("Consent__c", str(result.id))
    assert row is not None
    assert (row["Granted__c"], row["OMS_Version__c"], row["Patient__c"]) == (0, 3.0, store.find("Account", "OMS_Id__c", "p-1")[0]["Id"])


def test_a_bad_csv_value_counts_its_column(store: Store, people: People, save: Save) -> None:
    header = ("OMS_Id__c", "Version_Name__c", "Patient__r.OMS_Id__c", "On__c")
    bulk = replace(people.admin, surface=Surface.BULK, columns=header)
    record = dict(zip(header, ("c-1", "v", "p-1", "2003-04-987"), strict=True))
    error = only_error(store.upsert("Consent__c", "OMS_Id__c", [record], bulk)[0])
    assert error.bulk() == (
        "INVALID_FIELD:Failed to deserialize field at col 3. Due to, '2003-04-987' is not a valid value for the type xsd:date:On__c --"
    )


def test_a_polymorphic_parent_needs_its_type(store: Store, people: People, patient: Patient) -> None:
    ada = patient(OMS_Id__c="p-1")
    base = {"Subject": "Hello", "FromAddress": "a@x.org"}
    results = store.insert(
        "EmailMessage",
        [
            base | {"RelatedTo": {"attributes": {"type": "Account"}, "OMS_Id__c": "p-1"}},
            base | {"Account:RelatedTo.OMS_Id__c": "p-1"},
            base | {"RelatedTo": {"OMS_Id__c": "p-1"}},
            base | {"RelatedTo.OMS_Id__c": "p-1"},
        ],
        people.admin,
    )
    assert [r.success for r in results] == [True, True, False, False]
    assert store.find("EmailMessage", "RelatedToId", ada["Id"])[0]["Subject"] == "Hello"


def test_master_detail_is_required_and_moves_where_allowed(store: Store, people: People) -> None:
    one, two = (str(r.id) for r in store.insert("Shipment__c", [{"OMS_Id__c": "s-1"}, {"OMS_Id__c": "s-2"}], people.admin))
    orphan = store.insert("Shipment_Event__c", [{"OMS_Id__c": "e-0"}], people.admin)[0]
    assert only_error(orphan).message == "Required fields are missing: [Shipment__c]"
    event = str(store.insert("Shipment_Event__c", [{"Shipment__c": one}], people.admin)[0].id)
    assert store.update("Shipment_Event__c", [{"Id": event, "Shipment__c": two}], people.admin)[0].success
    row = store.get("Shipment_Event__c", event)
    assert row is not None
    assert (row["Shipment__c"], row["Name"]) == (two, "SE-000001")


def test_create_only_fields_are_refused_on_update(store: Store, people: People) -> None:
    product = str(store.insert("Product2", [{"Name": "Drug", "IsActive": True}], people.admin)[0].id)
    with store.write() as tx:
        book = tx.new_ids(store.org.objects["Pricebook2"], 1)[0]
        tx.connection.execute("INSERT INTO Pricebook2 (Id, Name, IsStandard, IsActive) VALUES (?, 'Standard', 1, 1)", (book,))
    entry = {"Pricebook2Id": book, "Product2Id": product, "UnitPrice": 1, "IsActive": True}
    made = store.insert("PricebookEntry", [entry], people.admin)[0]
    error = only_error(store.update("PricebookEntry", [{"Id": made.id, "Product2Id": product, "UnitPrice": 2}], people.admin)[0])
    assert (error.status_code, error.fields) == ("INVALID_FIELD_FOR_INSERT_UPDATE", ("Product2Id",))


def test_audit_fields_may_be_set_on_insert_by_permission_only(store: Store, people: People) -> None:
    then = "2020-01-01T00:00:00.000Z"
    row = store.get("Case", str(store.insert("Case", [{"Subject": "x", "CreatedDate": then}], people.admin)[0].id))
    assert row is not None
    assert (row["CreatedDate"], row["LastModifiedDate"]) == (then, then)
    assert str(row["SystemModstamp"]) > then
    error = only_error(store.insert("Case", [{"Status": "New", "CreatedDate": then}], people.load)[0])
    assert error.fields == ("CreatedDate",)
    assert not store.insert("Order", [{"CreatedDate": then, "EffectiveDate": "2026-01-01", "Status": "draft"}], people.admin)[0].success


class TestFieldLevelSecurity:
    """What a user's permission sets don't grant."""

    def test_a_read_only_field_is_refused(self, store: Store, people: People, save: Save) -> None:
        record_id = save(consent(1)).id
        error = only_error(store.update("Consent__c", [{"Id": record_id, "Type__c": "sms", "Note__c": "x"}], people.coordinator)[0])
        assert error.status_code == "INVALID_FIELD_FOR_INSERT_UPDATE"
        assert error.message == (
            "Unable to create/update fields: Type__c, Note__c. Please check the security settings of this field and verify that it is "
            "read/write for your profile or permission set."
        )

    def test_an_invisible_field_does_not_exist(self, store: Store, people: People, save: Save) -> None:
        record_id = save(consent(1)).id
        error = only_error(store.update("Consent__c", [{"Id": record_id, "Score__c": 1}], people.coordinator)[0])
        assert error.message == "No such column 'Score__c' on sobject of type Consent__c"

    def test_required_fields_need_no_grant(self, store: Store, people: People, save: Save) -> None:
        record_id = save(consent(1)).id
        assert store.update("Consent__c", [{"Id": record_id, "Version_Name__c": "v2"}], people.coordinator)[0].success

    def test_no_right_to_create(self, store: Store, people: People) -> None:
        result = store.insert("Shipment__c", [{}], people.coordinator)[0]
        assert only_error(result).status_code == "INSUFFICIENT_ACCESS_OR_READONLY"
        assert not store.upsert("Shipment__c", "OMS_Id__c", [{"OMS_Id__c": "s"}], people.coordinator)[0].success
        assert store.count("Shipment__c") == 0

    def test_a_rule_asks_for_a_permission(self, store: Store, people: People) -> None:
        orphan = {"OMS_Id__c": "c-1", "Version_Name__c": "v"}
        assert only_error(store.upsert("Consent__c", "OMS_Id__c", [orphan], people.integration)[0]).message == "A consent needs a patient"
        assert store.upsert("Consent__c", "OMS_Id__c", [orphan], people.load)[0].success

    def test_set_up_objects_are_closed(self, store: Store, people: People) -> None:
        assert only_error(store.insert("RecordType", [{"Name": "x"}], people.admin)[0]).status_code == "INVALID_TYPE_FOR_OPERATION"


def test_streams_commit_chunk_by_chunk_and_keep_order(store: Store, people: People, save: Save) -> None:
    def records() -> Iterator[dict[str, object]]:
        for number in range(2500):
            yield consent(number, OMS_Version__c=1, Type__c="x" if number == 1234 else "sms")

    chunks = list(store.dml.upsert_many("Consent__c", "OMS_Id__c", records(), people.admin, chunk=1000))  # type: ignore[arg-type]
    assert [len(c) for c in chunks] == [1000, 1000, 500]
    results = [r for chunk in chunks for r in chunk]
    assert [i for i, r in enumerate(results) if not r.success] == [1234]
    assert store.count("Consent__c") == 2499
    again = [r for chunk in store.dml.upsert_many("Consent__c", "OMS_Id__c", records(), people.admin) for r in chunk]  # type: ignore[arg-type]
    assert sum(r.success and not r.created for r in again) == 2499


def test_an_inactive_user_owns_nothing_new(store: Store, people: People) -> None:
    store.update("User", [{"Id": people.load.user_id, "IsActive": False}], people.admin)
    error = only_error(store.insert("Shipment__c", [{"OwnerId": people.load.user_id}], people.admin)[0])
    assert error.status_code == "INACTIVE_OWNER_OR_USER"
    assert store.insert("Shipment__c", [{"OwnerId": people.coordinator.user_id}], people.admin)[0].success


@pytest.mark.parametrize(
    ("name", "action", "granted"),
    [
        ("OrderItem", "create", True),
        ("OrderItem", "delete", True),
        ("PricebookEntry", "edit", False),
        ("PricebookEntry", "read", True),
        ("EmailMessage", "create", True),
        ("RecordType", "read", True),
        ("RecordType", "edit", False),
        ("User", "read", True),
        ("User", "edit", False),
        ("Account", "read", False),
    ],
)
def test_some_objects_have_no_permissions_of_their_own(store: Store, name: str, action: str, granted: bool) -> None:
    limited = PermissionSet("Limited", "Limited", objects={"order": frozenset({"read", "edit"}), "product2": frozenset({"read"})})
    permissions = Permissions(sets=(limited,))
    assert permissions.allows(store.org.objects[name], action) is granted


def test_who_manages_users_may_change_them(store: Store) -> None:
    assert Permissions(user=frozenset({"ManageInternalUsers"})).allows(store.org.objects["User"], "edit")
