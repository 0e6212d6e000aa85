"""What the database itself guarantees, for psql as for the service."""

from __future__ import annotations

import psycopg
import pytest

from .conftest import Oms, Row

ADDRESS = {"recipient_name": "Ada", "line1": "1 Elm St", "line2": None, "city": "Austin", "state_code": "TX", "postal_code": "78701"}


def test_an_update_by_psql_is_a_new_version_with_an_event(oms: Oms) -> None:
    patient = oms.patient()
    oms.db.execute("UPDATE patients SET email = 'new@example.com', status = 'inactive' WHERE id = %s", [patient["id"]])
    changed = oms.get("patients", patient["id"])
    assert changed["version"] == 2
    assert changed["updated_at"] > patient["updated_at"]
    assert int(changed["change_xid"]) > int(patient["change_xid"])
    event = oms.events(patient["id"])[-1]
    assert event["data"]["old"] == {"email": "ada@example.com", "status": "active"}
    assert event["data"]["row"] == changed


def test_an_event_is_a_cloud_event_of_the_whole_row(oms: Oms) -> None:
    patient = oms.patient()
    (event,) = oms.events(patient["id"])
    assert event["specversion"] == "1.0"
    assert event["type"] == "com.upscript.oms.patients.created"
    assert (event["source"], event["subject"]) == ("/oms", f"patients/{patient['id']}")
    assert event["correlationid"]
    assert event["data"] == {"table": "patients", "id": patient["id"], "version": 1, "changed_by": "operator", "row": patient, "old": {}}


def test_a_rolled_back_change_is_not_told(oms: Oms) -> None:
    patient = oms.patient()
    with psycopg.connect(oms.url) as other:
        other.execute("UPDATE patients SET email = 'x@example.com' WHERE id = %s", [patient["id"]])
        other.rollback()
    assert len(oms.events(patient["id"])) == 1


@pytest.mark.parametrize("statement", ["DELETE FROM patients WHERE false", "TRUNCATE patients CASCADE"])
def test_rows_are_never_deleted(oms: Oms, statement: str) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="set deleted_at"):
        oms.db.execute(statement)


def test_an_id_never_changes(oms: Oms) -> None:
    patient = oms.patient()
    with pytest.raises(psycopg.errors.CheckViolation, match="id never changes"):
        oms.db.execute("UPDATE patients SET id = gen_random_uuid() WHERE id = %s", [patient["id"]])


def test_patching_an_address_is_one_transaction_with_the_patient(oms: Oms) -> None:
    patient = oms.patient()
    changed = oms.patch("patients", patient, shipping_address=ADDRESS, suffix="Jr")
    address = changed["shipping_address"]
    assert {key: address[key] for key in ADDRESS} == ADDRESS
    assert (address["country_code"], address["validation_status"]) == ("US", "unchecked")
    assert changed["version"] > patient["version"]
    row = oms.get("patient_addresses", address["id"])
    assert (row["kind"], row["is_default"], row["patient_id"]) == ("shipping", True, patient["id"])
    assert row["change_xid"] == changed["change_xid"]
    moved = {column for column, at in changed["edited_at"].items() if at != patient["edited_at"][column]}
    assert moved == {"shipping_address", "suffix"}


def test_a_changed_address_keeps_its_row_and_is_validated_anew(oms: Oms) -> None:
    patient = oms.patient(shipping_address=ADDRESS)
    address_id = patient["shipping_address"]["id"]
    oms.db.execute("UPDATE patient_addresses SET validation_status = 'valid' WHERE id = %s", [address_id])
    validated = oms.get("patients", patient["id"])
    assert validated["edited_at"] == patient["edited_at"] and validated["version"] == patient["version"] + 1
    same = oms.patch("patients", validated, shipping_address=validated["shipping_address"])
    assert same["version"] == validated["version"]  # nothing to do
    moved = oms.patch("patients", same, shipping_address=ADDRESS | {"city": "Dallas"})
    assert (moved["shipping_address"]["id"], moved["shipping_address"]["validation_status"]) == (address_id, "unchecked")
    assert moved["edited_at"]["shipping_address"] > same["edited_at"]["shipping_address"]


def test_a_cleared_address_stays_in_the_address_book(oms: Oms) -> None:
    patient = oms.patient(shipping_address=ADDRESS)
    cleared = oms.patch("patients", patient, shipping_address=None)
    assert cleared["shipping_address"] is None
    kept = oms.get("patient_addresses", patient["shipping_address"]["id"])
    assert (kept["is_default"], kept["deleted_at"]) == (False, None)


def test_an_address_change_by_psql_is_told_as_address_and_as_patient(oms: Oms) -> None:
    patient = oms.patient(shipping_address=ADDRESS)
    address = patient["shipping_address"]
    oms.db.execute("UPDATE patient_addresses SET city = 'Dallas' WHERE id = %s", [address["id"]])
    assert oms.events(address["id"])[-1]["data"]["old"] == {"city": "Austin"}
    event = oms.events(patient["id"])[-1]
    assert event["data"]["old"] == {"shipping_address": address}
    assert event["data"]["row"]["shipping_address"]["city"] == "Dallas"
    assert event["data"]["version"] == patient["version"] + 1


def test_a_patient_event_carries_both_addresses(oms: Oms) -> None:
    patient = oms.patient(shipping_address=ADDRESS, billing_address=ADDRESS | {"line1": "2 Oak St"})
    changed = oms.patch("patients", patient, first_name="Grace")
    event = oms.events(patient["id"])[-1]
    assert event["data"]["row"] == changed
    assert event["data"]["row"]["billing_address"]["line1"] == "2 Oak St"
    assert event["data"]["old"] == {"first_name": "Ada"}


def test_any_address_marks_its_patient_but_only_a_default_moves_the_edit_time(oms: Oms) -> None:
    patient = oms.patient()
    oms.create("patient_addresses", patient_id=patient["id"], kind="work", line1="3 Fir St", city="Reno", is_default=True)
    marked = oms.get("patients", patient["id"])
    assert (marked["version"], marked["edited_at"]) == (2, patient["edited_at"])


def test_a_patient_has_one_default_address_of_a_kind(oms: Oms) -> None:
    patient = oms.patient(shipping_address=ADDRESS)
    values = {"patient_id": patient["id"], "kind": "shipping", "line1": "3 Fir St", "city": "Reno", "is_default": True}
    assert oms.http.post("/v1/patient_addresses", json=values).status_code == 422


def test_numbers_and_hashes_are_filled_where_they_lack(oms: Oms) -> None:
    patient = oms.patient()
    note = oms.create("clinical_notes", patient_id=patient["id"], note_type="phone", body="Grüße 👋")
    message = oms.create(
        "communications", patient_id=patient["id"], channel="email", direction="outbound", delivery_status="sent",
        body_text="", sent_at="2024-01-01T00:00:00Z",
    )  # fmt: skip
    case = oms.create("support_cases", patient_id=patient["id"], category="other", subject="x")
    assert note["body_sha256"] == oms.db.execute("SELECT encode(sha256(convert_to('Grüße 👋', 'UTF8')), 'hex')").fetchone()[0]  # type: ignore[index]
    assert message["body_sha256"] == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert case["case_number"].startswith("T-")
    changed = oms.patch("clinical_notes", note, body="other")
    assert changed["body_sha256"] != note["body_sha256"]


def test_a_state_machine_holds_for_psql_and_for_the_service(oms: Oms) -> None:
    order = oms.placed_order()
    with pytest.raises(psycopg.errors.CheckViolation, match="cannot go from pending_payment to shipped"):
        oms.db.execute("UPDATE orders SET status = 'shipped' WHERE id = %s", [order["id"]])
    answer = oms.http.patch(f"/v1/orders/{order['id']}", json={"status": "shipped"}, headers={"If-Match": "*"})
    assert (answer.status_code, answer.json()["errors"][0]["column"]) == (422, "status")
    with oms.db.transaction():
        oms.db.execute("SET LOCAL omsync.seeding = 'on'")
        oms.db.execute("UPDATE orders SET status = 'shipped' WHERE id = %s", [order["id"]])
    assert oms.get("orders", order["id"])["status"] == "shipped"


def test_every_order_transition_is_in_its_history(oms: Oms) -> None:
    order = oms.filling_order()
    rows = oms.http.get("/v1/order_status_history", params={"order_id": order["id"]}).json()["items"]
    history = [(row["from_status"], row["to_status"]) for row in sorted(rows, key=lambda row: row["seq"])]
    assert history == [
        (None, "draft"), ("draft", "pending_payment"), ("pending_payment", "approved"),
        ("approved", "routing"), ("routing", "placed"), ("placed", "filling"),
    ]  # fmt: skip
    assert [row["seq"] for row in sorted(rows, key=lambda row: row["seq"])] == [1, 2, 3, 4, 5, 6]


def test_a_signed_note_is_immutable(oms: Oms) -> None:
    patient = oms.patient()
    note = oms.act("draft-note", patient_id=patient["id"], body="draft")["clinical_notes"][0]
    note = oms.patch("clinical_notes", note, body="better")
    signed = oms.act("sign-note", note_id=note["id"])["clinical_notes"][0]
    assert (signed["status"], signed["body"]) == ("signed", "better") and signed["signed_at"]
    for column, value in (("body", "forged"), ("title", "forged"), ("note_type", "soap"), ("patient_id", oms.patient()["id"])):
        answer = oms.http.patch(f"/v1/clinical_notes/{note['id']}", json={column: value}, headers={"If-Match": "*"})
        assert (answer.status_code, answer.json()["errors"][0]["column"]) == (422, column)
    amended = oms.act("amend-note", note_id=note["id"], body="correction")["clinical_notes"]
    assert {row["status"] for row in amended} == {"signed", "amended"}


def test_a_ship_address_is_frozen_once_the_order_has_shipped(oms: Oms) -> None:
    order = oms.filling_order()
    order = oms.patch("orders", order, ship_city="Reno")
    shipped = oms.act("ship-order", order_id=order["id"])["orders"][0]
    assert shipped["status"] == "shipped"
    answer = oms.http.patch(f"/v1/orders/{order['id']}", json={"ship_city": "Austin"}, headers={"If-Match": "*"})
    assert (answer.status_code, answer.json()["errors"][0]["column"]) == (422, "ship_city")


def test_a_merge_moves_all_children_in_its_transaction(oms: Oms) -> None:
    survivor, loser = oms.patient(shipping_address=ADDRESS), oms.patient(shipping_address=ADDRESS | {"city": "Reno"})
    earlier = oms.patient()
    oms.act("merge-patients", survivor_id=loser["id"], loser_id=earlier["id"])
    order = oms.act("place-order", patient_id=loser["id"], items=[{"product_id": oms.product()["id"]}])["orders"][0]
    note = oms.act("draft-note", patient_id=loser["id"], body="x")["clinical_notes"][0]
    oms.act("sign-note", note_id=note["id"])
    oms.db.execute("UPDATE patients SET merged_into_patient_id = %s WHERE id = %s", [survivor["id"], loser["id"]])
    merged = oms.get("patients", loser["id"])
    assert (merged["status"], merged["merged_into_patient_id"]) == ("merged", survivor["id"])
    for table, row_id in (("orders", order["id"]), ("clinical_notes", note["id"])):
        moved = oms.get(table, row_id)
        assert (moved["patient_id"], moved["change_xid"]) == (survivor["id"], merged["change_xid"])
        assert oms.events(row_id)[-1]["data"]["old"] == {"patient_id": loser["id"]}
    assert oms.get("patients", earlier["id"])["merged_into_patient_id"] == survivor["id"]
    assert oms.get("patients", survivor["id"])["shipping_address"]["city"] == "Austin"
    assert oms.get("patient_addresses", loser["shipping_address"]["id"])["is_default"] is False


def test_nobody_is_merged_into_a_merged_patient_or_oneself(oms: Oms) -> None:
    survivor, loser, other = oms.patient(), oms.patient(), oms.patient()
    oms.act("merge-patients", survivor_id=survivor["id"], loser_id=loser["id"])
    assert oms.refuse("merge-patients", survivor_id=loser["id"], loser_id=other["id"])["errors"][0]["column"] == "merged_into_patient_id"
    assert oms.refuse("merge-patients", survivor_id=other["id"], loser_id=other["id"])["errors"][0]["column"] == "merged_into_patient_id"


def test_seeding_is_silent_and_keeps_its_own_times(oms: Oms) -> None:
    with oms.db.transaction():
        oms.db.execute("SET LOCAL omsync.seeding = 'on'")
        row = oms.db.execute(
            "INSERT INTO patients (patient_number, last_name, created_at, updated_at)"
            " VALUES ('seed-1', 'Old', '2020-01-01Z', '2020-02-01Z') RETURNING id"
        ).fetchone()
        assert row is not None
        oms.db.execute("INSERT INTO orders (patient_id, order_number, status) VALUES (%s, 'seed-1', 'delivered')", [row[0]])
        oms.db.execute(
            "INSERT INTO patient_addresses (patient_id, kind, is_default, line1, city) VALUES (%s, 'shipping', true, 'a', 'b')", [row[0]]
        )
    patient: Row = oms.get("patients", str(row[0]))
    assert (patient["version"], patient["updated_at"]) == (1, "2020-02-01T00:00:00.000000Z")
    assert set(patient["edited_at"].values()) == {"2020-02-01T00:00:00.000000Z"}
    assert oms.events(patient["id"]) == []
    assert (
        oms.http.get(
            "/v1/order_status_history",
            params={"order_id": oms.http.get("/v1/orders", params={"patient_id": patient["id"]}).json()["items"][0]["id"]},
        ).json()["items"]
        == []
    )


def test_a_part_of_an_address_that_is_left_out_stays_as_it_is(oms: Oms) -> None:
    patient = oms.patient(shipping_address={**ADDRESS, "recipient_name": "Ada"})
    changed = oms.patch("patients", patient, shipping_address={"city": "Dallas"})
    assert (changed["shipping_address"]["city"], changed["shipping_address"]["recipient_name"]) == ("Dallas", "Ada")
    assert changed["shipping_address"]["line1"] == ADDRESS["line1"]
