"""What single rows become: the cases of the schema that are not one column, one field."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from uuid import UUID

import pytest

from omsync.mapping import DEFAULT_OWNER_ID, TransformError, compile_mapping, load_mappings
from tests.unit.mapping.samples import ADDRESS, BORN_IN_SALESFORCE, ID, OTHER, sample
from tests.unit.mapping.strategies import compiled


def only(table: str, **values: object) -> dict[str, object]:
    """The values of the one record that a row becomes."""
    (record,) = compiled(table).to_salesforce(sample(table, **values))
    return record.values


# ---------------------------------------------------------------------------------------------------------- patients
def test_a_patient_and_the_default_addresses_are_one_account() -> None:
    values = only(
        "patients", last_name="Lovelace", shipping_address=ADDRESS, billing_address=ADDRESS | {"line2": None, "state_code": "new york"}
    )
    assert values["PersonMailingStreet"] == "1 Main St\nApt 4"
    assert values["PersonMailingState"] == "IL"
    assert values["Shipping_Recipient__pc"] == "Ada L"
    assert values["Address_Status__pc"] == "valid"
    assert values["PersonOtherStreet"] == "1 Main St"
    assert values["PersonOtherState"] == "NY"


def test_a_patient_without_addresses_has_empty_ones() -> None:
    values = only("patients")
    assert {values[name] for name in values if name.startswith(("PersonMailing", "PersonOther", "Address_", "Shipping_"))} == {None}


def test_an_address_comes_back_whole_when_one_of_its_fields_flows() -> None:
    record = only("patients", shipping_address=ADDRESS) | {"PersonMailingCity": " Chicago "}
    back = compiled("patients").to_oms("Account", record, fields=["PersonMailingCity"])
    carried = {key: value for key, value in ADDRESS.items() if key not in ("id", "validation_status")}
    assert back == {"shipping_address": carried | {"city": "Chicago"}}


def test_an_address_whose_fields_are_all_empty_is_null() -> None:
    assert compiled("patients").to_oms("Account", only("patients"), fields=["PersonMailingCity"]) == {"shipping_address": None}


def test_a_bad_part_holds_the_address_and_nothing_else() -> None:
    record = only("patients", shipping_address=ADDRESS) | {"PersonMailingCountry": "Atlantis", "FirstName": "Ada"}
    errors: list[TransformError] = []
    back = compiled("patients").to_oms("Account", record, fields=["PersonMailingCity", "FirstName"], errors=errors)
    assert back == {"first_name": "Ada"}
    assert [error.field for error in errors] == ["PersonMailingStreet"]


def test_a_cleared_country_is_left_out_because_the_column_has_a_default() -> None:
    record = only("patients", shipping_address=ADDRESS) | {"PersonMailingCountry": None}
    back = compiled("patients").to_oms("Account", record, fields=["PersonMailingCountry"])
    assert isinstance(back["shipping_address"], dict)
    assert "country_code" not in back["shipping_address"]


@pytest.mark.parametrize(
    ("email", "person", "legacy"),
    [
        ("Ada@Example.COM ", "ada@example.com", None),
        ("none", None, "none"),
        ("Ada <a@b.de>", None, "Ada <a@b.de>"),
        (None, None, None),
        (" ", None, None),
    ],
)
def test_an_address_that_salesforce_would_refuse_is_kept_as_legacy(email: str | None, person: str | None, legacy: str | None) -> None:
    values = only("patients", email=email)
    assert (values["PersonEmail"], values["Legacy_Email__pc"]) == (person, legacy)
    assert compiled("patients").to_oms("Account", values, fields=["PersonEmail"])["email"] == (person or legacy)


def test_an_agents_new_address_wins_over_the_legacy_one() -> None:
    values = only("patients", email="none") | {"PersonEmail": "new@example.com"}
    assert compiled("patients").to_oms("Account", values, fields=["PersonEmail"]) == {"email": "new@example.com"}


def test_opting_in_is_not_having_opted_out() -> None:
    assert only("patients", marketing_opt_in=True)["PersonHasOptedOutOfEmail"] is False
    back = compiled("patients").to_oms("Account", {"PersonHasOptedOutOfEmail": "true", "SMS_Opt_In__pc": False})
    assert back == {"marketing_opt_in": False, "sms_opt_in": False}


def test_revoked_is_known_by_its_fields() -> None:
    units = load_mappings()["patients"].units
    assert units["marketing_opt_in"].is_revoked({"PersonHasOptedOutOfEmail": True})
    assert not units["marketing_opt_in"].is_revoked({"PersonHasOptedOutOfEmail": False})
    assert units["sms_opt_in"].is_revoked({"SMS_Opt_In__pc": False})
    consent = load_mappings()["patient_consents"].units["revoked_at"]
    assert consent.is_revoked({"Revoked_At__c": "2026-01-01T00:00:00.000Z"})
    assert not consent.is_revoked({"Revoked_At__c": None})


def test_a_merged_patient_is_not_created_but_kept_up_to_date() -> None:
    row = sample("patients", status="merged")
    assert compiled("patients").to_salesforce(row) == []
    assert load_mappings()["patients"].target_for(row) is None
    assert "survivor" in str(load_mappings()["patients"].skip_reason(row))
    (record,) = compiled("patients").to_salesforce(row, existing=True)
    assert record.values["Patient_Status__pc"] == "merged"


def test_the_referral_source_is_read_out_of_the_document() -> None:
    assert only("patients", attribution={"source": "google", "utm": 1})["Referral_Source__pc"] == "google"
    assert only("patients", attribution={"source": 7})["Referral_Source__pc"] == "7"
    assert only("patients", attribution={"utm": 1})["Referral_Source__pc"] is None
    assert only("patients", attribution=None)["Referral_Source__pc"] is None


def test_what_an_agent_types_as_a_phone_number_is_the_same_number() -> None:
    mapping = compiled("patients")
    for typed in ("(415) 555-0100", "1-415-555-0100", "+1 415 555 0100", "001 415 555 0100"):
        assert mapping.normal("PersonMobilePhone", typed) == "+14155550100"
    with pytest.raises(TransformError) as fault:
        mapping.to_oms("Account", {"PersonMobilePhone": "ask her mother"}, fields=["PersonMobilePhone"])
    assert fault.value.field == "PersonMobilePhone"
    assert "mother" not in str(fault.value)


# ------------------------------------------------------------------------------------------------------------- orders
def test_the_effective_date_is_the_orgs_calendar_date_of_placing_else_of_creation() -> None:
    late = "2026-02-01T03:30:00.000000Z"  # still January in New York
    assert only("orders", placed_at=late)["EffectiveDate"] == "2026-01-31"
    assert only("orders", placed_at=None, created_at=late)["EffectiveDate"] == "2026-01-31"
    tokyo = compile_mapping(load_mappings()["orders"], "Asia/Tokyo")
    assert tokyo.to_salesforce(sample("orders", placed_at=late))[0].fields["EffectiveDate"] == "2026-02-01"


def test_money_is_exact_and_too_much_of_it_is_an_error() -> None:
    assert only("orders", total_cents=999_999_999_999_999)["Grand_Total__c"] == 9_999_999_999_999.99
    assert compiled("orders").to_oms("Order", {"Grand_Total__c": "9999999999999.99"}) == {"total_cents": 999_999_999_999_999}
    with pytest.raises(TransformError) as fault:
        only("orders", total_cents=10**15)
    assert fault.value.field == "Grand_Total__c"
    assert fault.value.record == f"orders/{ID}"


def test_an_orders_address_is_the_omss_once_it_is_shipped() -> None:
    unit = load_mappings()["orders"].units["ship_address"]
    assert set(unit.columns) == {"ship_name", "ship_line1", "ship_line2", "ship_city", "ship_state", "ship_postal_code", "ship_country"}
    assert set(unit.fields["Order"]) == {
        "Ship_To_Name__c",
        "ShippingStreet",
        "ShippingCity",
        "ShippingState",
        "ShippingPostalCode",
        "ShippingCountry",
    }
    assert unit.owner_for(sample("orders", status="filling")) == "both"
    assert unit.owner_for(sample("orders", status="shipped")) == "oms"


def test_another_currency_is_refused_where_the_org_has_one() -> None:
    with pytest.raises(TransformError) as fault:
        only("orders", currency="CAD")
    assert fault.value.field == "currency"
    multi = compile_mapping(load_mappings()["orders"], features=frozenset({"multi_currency"}))
    assert multi.to_salesforce(sample("orders", currency="CAD"))[0].fields["CurrencyIsoCode"] == "CAD"
    assert "CurrencyIsoCode" not in only("orders")


def test_requested_action_is_a_command() -> None:
    for table in ("orders", "subscriptions"):
        mapping = load_mappings()[table]
        assert mapping.command is not None
        assert mapping.units["requested_action"].command
        assert mapping.units["requested_action"].fields == {mapping.targets[0].object: ("Requested_Action__c",)}


# ------------------------------------------------------------------------------------------------------ notes, intake
def test_an_oms_draft_is_not_sent_and_a_salesforce_draft_is() -> None:
    assert compiled("clinical_notes").to_salesforce(sample("clinical_notes", status="draft")) == []
    assert len(compiled("clinical_notes").to_salesforce(sample("clinical_notes", status="draft", id=BORN_IN_SALESFORCE))) == 1
    assert len(compiled("clinical_notes").to_salesforce(sample("clinical_notes", status="signed"))) == 1


def test_a_sensitive_body_is_withheld_and_never_flows_back() -> None:
    row = sample("clinical_notes", status="signed", body="x" * 200_000, is_sensitive=True)
    (record,) = compiled("clinical_notes").to_salesforce(row)
    assert (record.fields["Body__c"], record.fields["Body_Truncated__c"], record.files) == (None, False, ())
    assert record.held == {"Body__c"}
    assert "body" not in compiled("clinical_notes").to_oms("Clinical_Note__c", record.values)


def test_a_long_body_goes_into_a_file_and_its_beginning_never_flows_back() -> None:
    text = "😀" * 65_535 + "ab" + "c" * 10
    (record,) = compiled("clinical_notes").to_salesforce(sample("clinical_notes", status="signed", body=text))
    assert record.fields["Body__c"] == "😀" * 65_535 + "ab"
    assert record.fields["Body_Truncated__c"] is True
    assert [(file.field, file.name, file.text) for file in record.files] == [("Body__c", "body.txt", text)]
    assert record.held == {"Body__c"}
    assert "body" not in compiled("clinical_notes").to_oms("Clinical_Note__c", record.values)


def test_a_cut_splits_no_emoji() -> None:
    (record,) = compiled("clinical_notes").to_salesforce(sample("clinical_notes", status="signed", body="a" + "😀" * 70_000))
    assert record.fields["Body__c"] == "a" + "😀" * 65_535


def test_a_record_that_does_not_tell_whether_it_is_whole_gives_no_body() -> None:
    back = compiled("clinical_notes").to_oms("Clinical_Note__c", {"Body__c": "text", "Title__c": "t"})
    assert back == {"title": "t"}
    whole = {"Body__c": "text", "Is_Sensitive__c": False, "Body_Truncated__c": "false"}
    assert compiled("clinical_notes").to_oms("Clinical_Note__c", whole, fields=["Body__c"]) == {"body": "text"}


def test_a_cleared_body_is_empty_text_because_the_column_takes_no_null() -> None:
    whole = {"Body__c": None, "Is_Sensitive__c": False, "Body_Truncated__c": False}
    assert compiled("clinical_notes").to_oms("Clinical_Note__c", whole, fields=["Body__c"]) == {"body": ""}


def test_a_signed_note_is_the_omss() -> None:
    for unit in ("title", "body", "note_type"):
        assert load_mappings()["clinical_notes"].units[unit].owner_for(sample("clinical_notes", status="signed")) == "oms"
        assert load_mappings()["clinical_notes"].units[unit].owner_for(sample("clinical_notes", status="draft")) == "both"


def test_answers_are_pretty_json_that_reads_back() -> None:
    answers = {"b": [1, 2.5, None], "a": "line\r\nbreak \x00\x7f", "ü": {"nested": True}}
    values = only("intake_responses", answers=answers)
    assert str(values["Answers__c"]).startswith('{\n  "a": "line\\r\\nbreak \\u0000\\u007f",\n  "b": [')
    assert compiled("intake_responses").to_oms("Intake_Response__c", values)["answers"] == answers


def test_long_answers_go_into_a_file() -> None:
    (record,) = compiled("intake_responses").to_salesforce(sample("intake_responses", answers={"q": "x" * 140_000}))
    assert record.fields["Answers_Truncated__c"] is True
    assert record.files[0].name == "answers.json"
    assert len(str(record.fields["Answers__c"])) == 131_072


# --------------------------------------------------------------------------------------------- products, cases, rest
def test_a_product_is_a_product2_and_its_price_book_entry() -> None:
    product, entry = compiled("products").to_salesforce(sample("products", list_price_cents=1999))
    assert (product.object, entry.object) == ("Product2", "PricebookEntry")
    assert entry.fields["UnitPrice"] == 19.99
    assert entry.references == {"Product2Id": ID}
    assert entry.external_id == product.external_id == ID


@pytest.mark.parametrize(("category", "record_type"), [("delivery", "Delivery"), ("technical", "General"), ("privacy_request", "Privacy")])
def test_a_cases_record_type_follows_its_category(category: str, record_type: str) -> None:
    (record,) = compiled("support_cases").to_salesforce(sample("support_cases", category=category, patient_id=OTHER))
    assert (record.record_type, record.fields["Type"]) == (record_type, category)
    assert (record.references["AccountId"], record.references["ContactId"]) == (OTHER, OTHER)


def test_a_case_born_without_a_type_gets_its_record_types_first_category() -> None:
    case = {"Type": None, "RecordType": {"DeveloperName": "General"}, "Subject": "help"}
    assert compiled("support_cases").to_oms("Case", case)["category"] == "other"
    assert compiled("support_cases").to_oms("Case", case | {"Type": "technical"})["category"] == "technical"


def test_record_types_that_no_mapping_names_are_nobodys() -> None:
    mappings = load_mappings()
    assert mappings.for_record("Case", "Integration") is None
    assert mappings.for_record("Account", None) is None
    assert {name: mappings.for_record("Account", name).table for name in ("Patient", "Pharmacy")} == {
        "Patient": "patients",
        "Pharmacy": "pharmacies",
    }  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("channel", "object_name", "record_type"),
    [("email", "EmailMessage", None), ("sms", "Communication__c", "SMS"), ("push", "Communication__c", "Portal")],
)
def test_a_communication_is_an_email_message_or_a_communication(channel: str, object_name: str, record_type: str | None) -> None:
    row = sample("communications", channel=channel, direction="outbound", patient_id=OTHER)
    (record,) = compiled("communications").to_salesforce(row)
    assert (record.object, record.record_type) == (object_name, record_type)
    assert load_mappings()["communications"].target_for(row) is record.target


def test_an_email_message_born_in_salesforce_is_of_channel_email() -> None:
    back = compiled("communications").to_oms(
        "EmailMessage", {"Incoming": True, "Subject": "Hi", "MessageDate": "2026-01-31T10:00:00.000+0000"}
    )
    assert back == {
        "channel": "email",
        "direction": "inbound",
        "subject": "Hi",
        "sent_at": "2026-01-31T10:00:00.000000Z",
        "delivery_status": "received",
    }
    assert "delivery_status" not in compiled("communications").to_oms("EmailMessage", {"Incoming": True}, fields=["Incoming"])


def test_only_an_outbound_email_is_linked_to_its_recipient() -> None:
    for direction, expected in (("outbound", OTHER), ("inbound", None)):
        (record,) = compiled("communications").to_salesforce(
            sample("communications", channel="email", direction=direction, patient_id=OTHER)
        )
        assert record.references["ToIds"] == expected


def test_staff_is_matched_never_sent() -> None:
    row = sample("staff_users", sso_subject=None, employee_no="E7", email="Ada@Example.com")
    assert compiled("staff_users").to_salesforce(row) == []
    assert compiled("staff_users").match_values(row) == {"EmployeeNumber": "E7", "Email": "ada@example.com"}
    (record,) = compiled("staff_users").to_salesforce(row, existing=True)
    assert record.values == {"OMS_Id__c": ID}


def test_states_are_sorted_and_read_in_any_order() -> None:
    assert only("pharmacies", ships_to_states=["NY", "CA", " CA", ""])["Ships_To_States__c"] == "CA;NY"
    assert compiled("pharmacies").normal("Ships_To_States__c", "NY;CA") == "CA;NY"
    assert compiled("pharmacies").to_oms("Account", {"Ships_To_States__c": "NY;CA"}) == {"ships_to_states": ["CA", "NY"]}
    assert only("pharmacies", ships_to_states=[])["Ships_To_States__c"] is None
    with pytest.raises(TransformError):
        only("pharmacies", ships_to_states=["A;B"])


def test_deleted_is_a_checkbox() -> None:
    assert only("refunds")["OMS_Deleted__c"] is False
    assert only("refunds", deleted_at="2026-01-31T00:00:00.000000Z")["OMS_Deleted__c"] is True


# ------------------------------------------------------------------------------------------------------------- errors
def test_text_too_long_names_field_and_length_never_the_text() -> None:
    with pytest.raises(TransformError) as fault:
        only("patients", first_name="😀" * 21)
    assert (fault.value.field, fault.value.length, fault.value.limit) == ("FirstName", 42, 40)
    assert str(fault.value) == f"transform.too_long: FirstName: text of 42 characters does not fit into 40 (patients/{ID})"


def test_an_embedded_fields_error_names_that_field() -> None:
    with pytest.raises(TransformError) as fault:
        only("patients", shipping_address=ADDRESS | {"city": "x" * 41})
    assert fault.value.field == "PersonMailingCity"


@pytest.mark.parametrize(
    ("column", "value", "code"),
    [
        ("version", True, "not_a_number"),
        ("version", "3", "not_a_number"),
        ("version", 10**15, "number_too_large"),
        ("created_at", "2026-01-31", "no_time_zone"),
        ("created_at", "yesterday", "not_a_moment"),
        ("created_at", "1699-12-31T23:59:59.000000Z", "out_of_range"),
        ("created_at", 5, "not_a_moment"),
        ("expected_on", "4001-01-01", "out_of_range"),
        ("expected_on", "2026-01-31T00:00:00Z", "not_a_date"),
        ("promo_code", 5, "wrong_type"),
        ("status", ["x"], "wrong_type"),
    ],
)
def test_a_value_of_the_wrong_kind_is_refused(column: str, value: object, code: str) -> None:
    with pytest.raises(TransformError) as fault:
        only("orders", **{column: value})
    assert fault.value.code == f"transform.{code}"
    assert fault.value.field


def test_a_row_without_a_column_is_refused_instead_of_writing_null() -> None:
    row = sample("orders")
    del row["promo_code"]
    with pytest.raises(TransformError, match="lacks promo_code"):
        compiled("orders").to_salesforce(row)


@pytest.mark.parametrize(
    ("field", "value", "code"),
    [("Status", "nonsense", "not_a_choice"), ("AccountId", None, "null_refused"), ("Grand_Total__c", "1.005", "too_many_decimals")],
)
def test_what_the_oms_cannot_take_is_refused_by_field(field: str, value: object, code: str) -> None:
    with pytest.raises(TransformError) as fault:
        compiled("orders").to_oms("Order", {field: value}, fields=[field])  # type: ignore[dict-item]
    assert (fault.value.code, fault.value.field) == (f"transform.{code}", field)


def test_psycopgs_own_types_are_taken() -> None:
    moment = datetime(2026, 1, 31, 23, 59, 59, 123456, tzinfo=UTC)
    values = only("orders", placed_at=moment, expected_on=date(2026, 2, 5), patient_id=UUID(OTHER))
    assert (values["Placed_At__c"], values["Expected_On__c"], values["AccountId"]) == ("2026-01-31T23:59:59.123Z", "2026-02-05", OTHER)
    assert only("prescriptions", quantity=Decimal("1.250"))["Quantity__c"] == 1.25


@pytest.mark.parametrize(
    "text",
    [
        "2026-01-31T23:59:59.123456+00:00",
        "2026-01-31T15:59:59.123-08:00",
        "2026-01-31T23:59:59.123+0000",
        "2026-02-01 01:59:59.1239+02",
        "2026-W05-6T23:59:59.123Z",
    ],
)
def test_a_moment_is_the_same_whatever_its_offset(text: str) -> None:
    assert only("orders", placed_at=text)["Placed_At__c"] == "2026-01-31T23:59:59.123Z"


@pytest.mark.parametrize("table", [mapping.table for mapping in load_mappings()])
def test_nothing_has_one_normal_form_however_it_is_written(table: str) -> None:
    """'' in Bulk's CSV, null in REST's JSON."""
    one = compile_mapping(load_mappings()[table])
    for target in one.mapping.targets:
        plain = [field for field in one.fields(target.object).values() if field.references is None]
        assert [one.normal(field, "") for field in plain] == [one.normal(field, None) for field in plain]


def test_preflight_learns_which_columns_will_look_different() -> None:
    assert compiled("orders").unusual(sample("orders", placed_at="2026-01-31T23:59:59.123456Z")) == ()
    row = sample("orders", customer_note="a\r\nb", ship_state="illinois", promo_code="", agent_note="fine\nas it is")
    assert compiled("orders").unusual(row) == ("promo_code", "ship_state", "customer_note")
    address = sample("patients", shipping_address=ADDRESS | {"city": " Springfield"}, email="A@b.de")
    assert compiled("patients").unusual(address) == ("email", "shipping_address.city")


# -------------------------------------------------------------------------------------------------- reading references
def test_the_default_owner_stands_in_for_staff_without_a_user_and_is_never_taken_for_somebody() -> None:
    mapping = compiled("support_cases")
    for staff, owner in ((frozenset({OTHER}), OTHER), (frozenset[str](), DEFAULT_OWNER_ID)):
        (record,) = mapping.to_salesforce(sample("support_cases", owner_id=OTHER), staff=staff)
        assert record.references["OwnerId"] == owner
    assert mapping.to_oms("Case", {"Owner": {"OMS_Id__c": DEFAULT_OWNER_ID}}, fields=["OwnerId"]) == {}
    assert mapping.to_oms("Case", {"Owner": {"OMS_Id__c": OTHER}}, fields=["OwnerId"]) == {"owner_id": OTHER}
    assert mapping.to_oms("Case", {"OwnerId": "00Gxx0000000001AAA"}, fields=["OwnerId"], ids=lambda _object, _id: None) == {
        "owner_id": None
    }


def test_a_parent_is_read_from_rest_bulk_or_an_id() -> None:
    mapping = compiled("support_cases")
    ids = {("User", "005xx0000000001AAA"): ID}
    for record in (
        {"Account": {"attributes": {}, "OMS_Id__c": OTHER}},
        {"Account.OMS_Id__c": OTHER},
        {"AccountId": "001xx0000000001AAA"},
    ):
        found = mapping.normal_record("Case", record, ids=lambda _object, _id: OTHER)
        assert found == {"AccountId": OTHER}
    owner = mapping.normal_record("Case", {"OwnerId": "005xx0000000001AAA"}, ids=lambda name, key: ids.get((name, key)))
    assert owner == {"OwnerId": ID}
    assert mapping.normal_record("Case", {"Account": None}) == {"AccountId": None}
    assert mapping.normal_record("Case", {"AccountId": "001xx0000000001AAA"}) == {}
