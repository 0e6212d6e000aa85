"""The row API: versions, preconditions, idempotency, batches, refusals."""

from __future__ import annotations

import threading
import uuid

import pytest

from local.oms.writes import prune

from .conftest import Oms

SHARED = ("patients", "patient_consents", "clinical_notes", "orders", "subscriptions", "consultations", "support_cases", "communications")


def test_all_23_tables_have_routes(oms: Oms) -> None:
    paths = oms.http.get("/openapi.json").json()["paths"]
    tables = {path.split("/")[2] for path in paths if path.endswith("/batch-get")}
    assert len(tables) == 23
    for table in tables:
        assert oms.http.get(f"/v1/{table}?limit=1").status_code == 200


def test_a_row_is_shown_with_exact_types(oms: Oms) -> None:
    patient = oms.patient(height_cm="180.5", date_of_birth="1990-02-28", risk_flags=["b", "a"], attribution={"source": "ad", "n": 1.5})
    assert patient["height_cm"] == "180.5"
    assert patient["date_of_birth"] == "1990-02-28"
    assert patient["risk_flags"] == ["b", "a"]
    assert patient["attribution"] == {"source": "ad", "n": 1.5}
    assert patient["version"] == 1
    assert isinstance(patient["change_xid"], str)
    assert patient["created_at"].endswith("Z") and len(patient["created_at"]) == len("2024-01-01T00:00:00.000000Z")
    assert patient["patient_number"].startswith("P-")
    assert patient["shipping_address"] is None and patient["billing_address"] is None


def test_only_shared_tables_show_edit_times(oms: Oms) -> None:
    schemas = oms.http.get("/openapi.json").json()["components"]["schemas"]
    with_times = {name for name, schema in schemas.items() if "edited_at" in schema.get("properties", {})}
    assert len(with_times) == len(SHARED)


def test_creating_the_same_id_twice_is_one_row(oms: Oms) -> None:
    row_id = str(uuid.uuid4())
    first = oms.http.post("/v1/patients", json={"id": row_id, "last_name": "Once"})
    second = oms.http.post("/v1/patients", json={"id": row_id, "last_name": "Twice"})
    assert (first.status_code, second.status_code) == (201, 200)
    assert second.json() == first.json()
    assert len(oms.events(row_id)) == 1


def test_a_patch_needs_the_version_that_was_read(oms: Oms) -> None:
    patient = oms.patient()
    url = f"/v1/patients/{patient['id']}"
    assert oms.http.get(url).headers["ETag"] == '"1"'
    assert oms.http.patch(url, json={"first_name": "B"}).status_code == 428
    changed = oms.http.patch(url, json={"first_name": "B"}, headers={"If-Match": '"1"'})
    assert (changed.status_code, changed.headers["ETag"], changed.json()["first_name"]) == (200, '"2"', "B")
    stale = oms.http.patch(url, json={"first_name": "C"}, headers={"If-Match": '"1"'})
    assert (stale.status_code, stale.headers["ETag"]) == (412, '"2"')
    assert oms.get("patients", patient["id"])["first_name"] == "B"
    assert oms.http.patch(url, json={"first_name": "C"}, headers={"If-Match": 'W/"2"'}).status_code == 412
    assert oms.http.patch(url, json={"first_name": "C"}, headers={"If-Match": "2"}).status_code == 400


def test_of_many_patches_with_one_version_one_wins(oms: Oms) -> None:
    patient = oms.patient()
    statuses: list[int] = []

    def patch(name: str) -> None:
        answer = oms.http.patch(f"/v1/patients/{patient['id']}", json={"first_name": name}, headers={"If-Match": '"1"'})
        statuses.append(answer.status_code)

    threads = [threading.Thread(target=patch, args=[str(number)]) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(statuses) == [200] + [412] * 7


def test_an_edit_time_moves_only_with_its_value(oms: Oms) -> None:
    patient = oms.patient(vip_tier="gold")
    changed = oms.patch("patients", patient, first_name="Grace", vip_tier="gold", height_cm="170.0")
    moved = {column for column, at in changed["edited_at"].items() if at != patient["edited_at"][column]}
    assert moved == {"first_name"}
    assert changed["edited_at"]["first_name"] > patient["edited_at"]["first_name"]
    assert "height_cm" not in changed["edited_at"]  # the OMS's own


def test_an_idempotency_key_gives_the_first_answer_again(oms: Oms) -> None:
    patient = oms.patient()
    url, headers = f"/v1/patients/{patient['id']}", {"If-Match": '"1"', "Idempotency-Key": str(uuid.uuid4())}
    first = oms.http.patch(url, json={"first_name": "B"}, headers=headers)
    again = oms.http.patch(url, json={"first_name": "B"}, headers=headers)
    assert again.text == first.text and again.headers["ETag"] == '"2"'
    assert again.headers["Idempotent-Replayed"] == "true"
    assert oms.get("patients", patient["id"])["version"] == 2


def test_a_412_is_the_first_answer_too(oms: Oms) -> None:
    patient = oms.patient()
    url, key = f"/v1/patients/{patient['id']}", str(uuid.uuid4())
    stale = oms.http.patch(url, json={"first_name": "B"}, headers={"If-Match": '"7"', "Idempotency-Key": key})
    again = oms.http.patch(url, json={"first_name": "B"}, headers={"If-Match": '"1"', "Idempotency-Key": key})
    assert (stale.status_code, again.status_code) == (412, 412)
    assert again.headers["ETag"] == stale.headers["ETag"] == '"1"'
    assert again.headers["Content-Type"] == "application/problem+json"


def test_a_patch_of_nothing_asks_what_became_of_a_key(oms: Oms) -> None:
    patient, used, unused = oms.patient(), str(uuid.uuid4()), str(uuid.uuid4())
    url = f"/v1/patients/{patient['id']}"
    first = oms.http.patch(url, json={"first_name": "B"}, headers={"If-Match": '"1"', "Idempotency-Key": used})
    asked = oms.http.patch(url, json={}, headers={"If-Match": '"0"', "Idempotency-Key": used})
    assert asked.text == first.text
    assert oms.http.patch(url, json={}, headers={"If-Match": '"0"', "Idempotency-Key": unused}).status_code == 412
    late = oms.http.patch(url, json={"first_name": "C"}, headers={"If-Match": '"2"', "Idempotency-Key": unused})
    assert late.status_code == 412, "a key that was asked about is used up"
    assert oms.get("patients", patient["id"])["first_name"] == "B"


def test_a_missing_parent_is_no_final_answer(oms: Oms) -> None:
    parent, headers = str(uuid.uuid4()), {"Idempotency-Key": str(uuid.uuid4())}
    allergy = {"id": str(uuid.uuid4()), "patient_id": parent, "substance": "nuts"}
    early = oms.http.post("/v1/patient_allergies", json=allergy, headers=headers)
    assert (early.status_code, early.json()["errors"][0]["column"]) == (422, "patient_id")
    oms.create("patients", id=parent, last_name="Late")
    assert oms.http.post("/v1/patient_allergies", json=allergy, headers=headers).status_code == 201


def test_a_key_cannot_be_used_for_another_request(oms: Oms) -> None:
    patient, key = oms.patient(), str(uuid.uuid4())
    url, headers = f"/v1/patients/{patient['id']}", {"If-Match": "*", "Idempotency-Key": key}
    assert oms.http.patch(url, json={"first_name": "B"}, headers=headers).status_code == 200
    assert oms.http.patch(url, json={"first_name": "C"}, headers=headers).status_code == 422


def test_the_same_key_at_the_same_time_does_the_work_once(oms: Oms) -> None:
    patient, key, bodies = oms.patient(), str(uuid.uuid4()), set()

    def patch() -> None:
        headers = {"If-Match": '"1"', "Idempotency-Key": key}
        bodies.add(oms.http.patch(f"/v1/patients/{patient['id']}", json={"first_name": "B"}, headers=headers).text)

    threads = [threading.Thread(target=patch) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(bodies) == 1
    assert oms.get("patients", patient["id"])["version"] == 2


def test_keys_are_forgotten_after_seven_days_but_never_a_commands(oms: Oms) -> None:
    order = oms.placed_order()
    plain, command = str(uuid.uuid4()), str(uuid.uuid4())
    oms.http.patch(f"/v1/orders/{order['id']}", json={"agent_note": "x"}, headers={"If-Match": "*", "Idempotency-Key": plain})
    oms.http.patch(f"/v1/orders/{order['id']}", json={"requested_action": "cancel"}, headers={"Idempotency-Key": command})
    oms.db.execute("UPDATE idempotency_keys SET created_at = now() - interval '8 days' WHERE key = ANY(%s)", [[plain, command]])
    prune(oms.db)
    left = [key for (key,) in oms.db.execute("SELECT key FROM idempotency_keys WHERE key = ANY(%s)", [[plain, command]])]
    assert left == [command]


def test_batch_get_tells_what_is_missing(oms: Oms) -> None:
    first, second, missing = oms.patient(), oms.patient(), str(uuid.uuid4())
    answer = oms.http.post("/v1/patients/batch-get", json={"ids": [second["id"], missing, first["id"], second["id"]]}).json()
    assert [row["id"] for row in answer["items"]] == [second["id"], first["id"]]
    assert answer["missing"] == [missing]
    many = [str(uuid.uuid4()) for _ in range(501)]
    assert oms.http.post("/v1/patients/batch-get", json={"ids": many[:500]}).status_code == 200
    assert oms.http.post("/v1/patients/batch-get", json={"ids": many}).status_code == 422


def test_a_list_shows_every_row_once(oms: Oms) -> None:
    patient = oms.patient()
    made = {oms.create("patient_allergies", patient_id=patient["id"], substance=str(number))["id"] for number in range(7)}
    seen, after = [], None
    while True:
        page = oms.http.get("/v1/patient_allergies", params={"patient_id": patient["id"], "limit": 3} | ({"after": after} if after else {}))
        seen += [row["id"] for row in page.json()["items"]]
        after = page.json()["next"]
        if after is None:
            break
    assert sorted(seen) == seen and set(seen) == made


def test_a_list_of_several_parents_rows(oms: Oms) -> None:
    ids = [oms.patient()["id"] for _ in range(3)]
    made = {one: oms.create("patient_allergies", patient_id=one, substance="nuts")["id"] for one in ids}
    found = oms.http.get("/v1/patient_allergies", params={"patient_id": ids[:2]}).json()["items"]
    assert {row["patient_id"]: row["id"] for row in found} == {one: made[one] for one in ids[:2]}
    assert oms.http.get("/v1/patient_allergies", params={"patient_id": [ids[0], "x"]}).status_code == 400


def test_a_row_is_deleted_softly_and_restored(oms: Oms) -> None:
    patient = oms.patient()
    deleted = oms.patch("patients", patient, deleted_at="2024-05-01T00:00:00Z")
    restored = oms.patch("patients", deleted, deleted_at=None)
    assert (deleted["deleted_at"], restored["deleted_at"]) == ("2024-05-01T00:00:00.000000Z", None)
    kinds = [event["type"].rpartition(".")[2] for event in oms.events(patient["id"])]
    assert kinds == ["created", "deleted", "updated"]


def test_the_caller_is_written_to_changed_by(oms: Oms) -> None:
    patient = oms.patient()
    assert patient["changed_by"] == "operator"
    headers = {"If-Match": "*", "X-Changed-By": "sync:salesforce", "X-Correlation-Id": "abc-1"}
    assert oms.http.patch(f"/v1/patients/{patient['id']}", json={"suffix": "Jr"}, headers=headers).json()["changed_by"] == "sync:salesforce"
    event = oms.events(patient["id"])[-1]
    assert event["data"]["changed_by"] == "sync:salesforce"
    assert event["correlationid"] == "abc-1"
    oms.db.execute("UPDATE patients SET suffix = 'Sr' WHERE id = %s", [patient["id"]])
    assert oms.get("patients", patient["id"])["changed_by"] == "oms"  # psql is not the sync


@pytest.mark.parametrize(
    ("table", "values", "column"),
    [
        ("patients", {"last_name": None}, "last_name"),
        ("patients", {"phone_e164": "not a phone"}, "phone_e164"),
        ("patients", {"phone_e164": 5}, "phone_e164"),
        ("patients", {"status": "unknown"}, "status"),
        ("patients", {"date_of_birth": "2024-02-30"}, "date_of_birth"),
        ("patients", {"date_of_birth": "1800-01-01"}, "date_of_birth"),
        ("patients", {"height_cm": "170.55"}, "height_cm"),
        ("patients", {"height_cm": "99999"}, "height_cm"),
        ("patients", {"email_verified_at": "2024-01-01"}, "email_verified_at"),
        ("patients", {"first_name": "a\0b"}, "first_name"),
        ("patients", {"preferred_pharmacy_id": str(uuid.uuid4())}, "preferred_pharmacy_id"),
        ("patients", {"version": 5}, "version"),
        ("patients", {"edited_at": {}}, "edited_at"),
        ("patients", {"no_such_column": 1}, "no_such_column"),
        ("patients", {"shipping_address": {"line1": "1 St"}}, "shipping_address"),
        ("patients", {"attribution": {"a": "\0"}}, "attribution"),
        ("clinical_notes", {"patient_id": None, "note_type": "soap", "body": ""}, "patient_id"),
        ("clinical_notes", {"note_type": "soap", "body": "x"}, "patient_id"),
        ("products", {"sku": "s", "name": "n" * 256, "product_type": "otc", "list_price_cents": 1}, "name"),
        ("products", {"sku": "s", "name": "n", "product_type": "otc", "list_price_cents": 2**63}, "list_price_cents"),
        ("pharmacies", {"name": "P", "pharmacy_type": "retail", "state_code": "TEX"}, "state_code"),
    ],
)
def test_a_bad_value_is_refused_with_its_column(oms: Oms, table: str, values: dict[str, object], column: str) -> None:
    body = {"last_name": "Byron"} | values if table == "patients" else values
    answer = oms.http.post(f"/v1/{table}", json=body)
    assert answer.status_code == 422, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert column in [error["column"] for error in answer.json()["errors"]]


def test_a_duplicate_number_is_refused_with_its_column(oms: Oms) -> None:
    patient = oms.patient()
    answer = oms.http.post("/v1/patients", json={"last_name": "B", "patient_number": patient["patient_number"]})
    assert (answer.status_code, answer.json()["errors"][0]["column"]) == (422, "patient_number")


@pytest.mark.parametrize(
    ("method", "path", "content", "status"),
    [
        ("GET", "/nowhere", "", 404),
        ("DELETE", "/v1/patients", "", 405),
        ("GET", "/v1/patients/not-a-uuid", "", 400),
        ("GET", "/v1/patients/00000000-0000-4000-8000-00000000dead", "", 404),
        ("GET", "/v1/patients?limit=0", "", 400),
        ("GET", "/v1/changes?table=nowhere", "", 404),
        ("GET", "/v1/changes?table=patients&after=x", "", 400),
        ("POST", "/v1/patients", "{", 400),
        ("POST", "/v1/patients", "[]", 400),
        ("POST", "/v1/patients", '{"last_name": NaN}', 400),
        ("POST", "/v1/patients", "[" * 100_000, 400),
        ("POST", "/v1/patients", '{"last_name": "\\ud800"}', 422),
        ("POST", "/v1/patients", '{"\\ud800": 1, "last_name": "x"}', 422),
        ("POST", "/v1/patients", '{"last_name": "x", "attribution": {"\\udc00": []}}', 422),
        ("POST", "/v1/actions/no-such-action", "{}", 404),
        ("POST", "/v1/actions/verify-email", "{", 400),
        ("POST", "/v1/actions/verify-email", '{"patient_id": "x"}', 422),
    ],
)
def test_bad_input_is_a_problem(oms: Oms, method: str, path: str, content: str, status: int) -> None:
    answer = oms.http.request(method, path, content=content, headers={"Content-Type": "application/json"})
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json()["status"] == status


def test_tokens_and_scopes_are_checked(oms: Oms) -> None:
    bare = {"Authorization": ""}
    assert oms.http.get("/v1/patients", headers=bare).status_code == 401
    assert oms.http.get("/v1/patients", headers={"Authorization": "Bearer forged"}).status_code == 401
    form = {"grant_type": "client_credentials", "client_id": "reader", "client_secret": "reader-secret"}
    token = oms.http.post("/oauth/token", data=form, headers=bare).json()["access_token"]
    reader = {"Authorization": f"Bearer {token}"}
    assert oms.http.get("/v1/patients?limit=1", headers=reader).status_code == 200
    assert oms.http.post("/v1/patients", json={"last_name": "x"}, headers=reader).status_code == 403
    wrong = oms.http.post("/oauth/token", data=form | {"client_secret": "x"}, headers=bare)
    assert (wrong.status_code, wrong.json()["error"]) == (401, "invalid_client")
    more = oms.http.post("/oauth/token", data=form | {"scope": "oms/write"}, headers=bare)
    assert (more.status_code, more.json()["error"]) == (400, "invalid_scope")


def test_the_openapi_page_needs_no_network(oms: Oms) -> None:
    page = oms.http.get("/docs").text
    assert "//cdn" not in page and "/docs/swagger-ui.js" in page
    assert oms.http.get("/docs/swagger-ui.js").status_code == 200
    assert oms.http.get("/docs/swagger-ui.css").status_code == 200
