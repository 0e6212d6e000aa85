"""`omsync local seed --patients`: the same rows for the same seed, in the schema's ratios, by its rules, and no news."""

from __future__ import annotations

from collections.abc import Callable

import psycopg
import pytest

from local.oms import database
from local.seed.columns import FIXED, RATIOS

from .conftest import ask, attempt, fingerprint, seed

PATIENTS = 600


@pytest.fixture(scope="module")
def seeded(a_database: Callable[[], str]) -> str:
    url = a_database()
    seed(url, "--patients", str(PATIENTS), "--seed", "7")
    return url


def test_the_same_seed_makes_the_same_rows(a_database: Callable[[], str]) -> None:
    one, same, other = a_database(), a_database(), a_database()
    seed(one, "--patients", "60", "--seed", "3")
    seed(same, "--patients", "60", "--seed", "3")
    seed(other, "--patients", "60", "--seed", "4")
    assert fingerprint(one) == fingerprint(same)
    theirs = fingerprint(other)
    assert {table for table, hashed in fingerprint(one).items() if theirs[table] == hashed} == set(FIXED)


def test_ratios(seeded: str) -> None:
    for table, rows in FIXED.items():
        assert ask(seeded, f"SELECT count(*) FROM {table}") == [(rows,)]
    for table, ratio in RATIOS.items():
        found = ask(seeded, f"SELECT count(*) FROM {table}")[0][0] / PATIENTS
        tolerance = 0.3 if ratio < 1 else 0.15  # rare rows scatter more
        assert found == pytest.approx(ratio, rel=tolerance), table


def test_all_keys_and_indexes_are_there_again(seeded: str, a_database: Callable[[], str]) -> None:
    untouched = a_database()
    database.install(untouched)
    for query in (
        "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid), convalidated FROM pg_constraint ORDER BY 1, 2",
        "SELECT indexrelid::regclass::text, pg_get_indexdef(indexrelid), indisvalid FROM pg_index"
        " WHERE indrelid >= 16384 AND indrelid::regclass::text NOT LIKE '%toast%' AND indrelid::regclass::text <> 'oms_seeded' ORDER BY 1",
        "SELECT tgrelid::regclass::text, tgname, tgenabled FROM pg_trigger WHERE NOT tgisinternal ORDER BY 1, 2",
    ):
        assert [row for row in ask(seeded, query) if "oms_seeded" not in str(row)] == ask(untouched, query)


def test_it_is_no_news(seeded: str) -> None:
    assert ask(seeded, "SELECT count(*) FROM outbox") == [(0,)]
    assert ask(seeded, "SELECT count(*) FROM outbox_pending") == [(0,)]


def test_it_lies_behind_a_cursor_saved_before(a_database: Callable[[], str]) -> None:
    url = a_database()
    database.install(url)
    (cursor,) = ask(url, "SELECT pg_snapshot_xmin(pg_current_snapshot())::text")[0]
    seed(url, "--patients", "20")
    for table in (*FIXED, *RATIOS):
        assert ask(url, f"SELECT count(*) FROM {table} WHERE change_xid >= '{cursor}'") == [(0,)], table


def test_the_oms_works_on_afterwards(a_database: Callable[[], str]) -> None:
    url = a_database()
    seed(url, "--patients", "20")
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("INSERT INTO patients (last_name) VALUES ('New')")
        connection.execute("UPDATE patients SET first_name = 'Changed' WHERE patient_number = 'P-00000001'")
        assert connection.execute("SELECT count(*) FROM outbox").fetchone() == (2,)
        with pytest.raises(psycopg.errors.ForeignKeyViolation):
            connection.execute("UPDATE patients SET care_owner_id = gen_random_uuid() WHERE patient_number = 'P-00000001'")


@pytest.mark.parametrize(
    "nothing",
    [
        # steps that the state machine does not know
        "SELECT h.* FROM order_status_history h WHERE from_status IS NOT NULL AND NOT EXISTS (SELECT FROM state_transitions s"
        " WHERE machine = 'orders.status' AND s.from_state = h.from_status AND s.to_state = h.to_status)",
        # an order's status is its last step, and its steps hang together
        "SELECT id FROM orders o WHERE status <> (SELECT to_status FROM order_status_history WHERE order_id = o.id ORDER BY seq DESC LIMIT 1)",
        "SELECT a.id FROM order_status_history a JOIN order_status_history b ON b.order_id = a.order_id AND b.seq = a.seq + 1"
        " WHERE b.from_status <> a.to_status OR b.occurred_at < a.occurred_at",
        # times
        "SELECT id FROM patients WHERE updated_at < created_at OR deleted_at < created_at",
        "SELECT id FROM orders WHERE updated_at < created_at OR approved_at < created_at OR cancelled_at < created_at",
        "SELECT id FROM shipments WHERE updated_at < created_at OR delivered_at < shipped_at OR shipped_at < created_at",
        "SELECT id FROM shipment_events WHERE received_at < occurred_at",
        "SELECT id FROM orders o WHERE created_at < (SELECT created_at FROM patients WHERE id = o.patient_id)",
        # merged patients: gone into a living one, with all that was theirs
        "SELECT l.id FROM patients l JOIN patients s ON s.id = l.merged_into_patient_id WHERE s.status <> 'active' OR l.status <> 'merged'",
        "SELECT o.id FROM orders o JOIN patients p ON p.id = patient_id WHERE p.status = 'merged'",
        "SELECT a.id FROM patient_addresses a JOIN patients p ON p.id = patient_id WHERE p.status = 'merged'",
        # money
        "SELECT o.id FROM orders o WHERE subtotal_cents <> (SELECT sum(quantity * unit_price_cents) FROM order_items WHERE order_id = o.id)",
        "SELECT p.id FROM payments p WHERE amount_refunded_cents <>"
        " coalesce((SELECT sum(amount_cents) FROM refunds WHERE payment_id = p.id AND status = 'succeeded'), 0)",
        # what was delivered was
        "SELECT id FROM shipments WHERE (status = 'delivered') <> (delivered_at IS NOT NULL)",
        "SELECT s.id FROM shipments s JOIN orders o ON o.id = s.order_id WHERE s.patient_id <> o.patient_id",
        # hashes and edit times as the triggers make them
        "SELECT id FROM clinical_notes WHERE body_sha256 <> text_sha256(body)",
        "SELECT id FROM communications WHERE body_sha256 <> text_sha256(coalesce(body_text, body_html))",
        "SELECT id FROM orders WHERE edited_at ->> 'ship_line1' IS DISTINCT FROM api_time(updated_at)",
        "SELECT id FROM clinical_notes WHERE note_type = 'addendum' AND amends_note_id IS NULL",
        # numbers below those of live rows
        "SELECT id FROM orders WHERE substr(order_number, 3)::bigint >= 50000000",
    ],
)
def test_nothing_contradicts(seeded: str, nothing: str) -> None:
    assert ask(seeded, nothing) == []


@pytest.mark.parametrize(
    "something",
    [
        "SELECT FROM patients WHERE merged_into_patient_id IS NOT NULL",
        "SELECT FROM patients WHERE email IS NOT NULL GROUP BY email HAVING count(*) > 1",
        "SELECT FROM patients WHERE email !~ '^[^@ ]+@[^@ ]+[.][^@ ]+$'",
        "SELECT FROM patients WHERE first_name ~ '[^[:ascii:]]'",
        "SELECT FROM patients WHERE phone_raw ~ 'mother|unknown'",
        "SELECT FROM patients WHERE date_of_birth < '1970-01-01'",
        "SELECT FROM clinical_notes WHERE amends_note_id IS NOT NULL",
        "SELECT FROM orders WHERE parent_order_id IS NOT NULL AND order_type = 'reship' AND total_cents = 0",
        "SELECT FROM shipments WHERE return_of_id IS NOT NULL",
        "SELECT FROM prescriptions n JOIN prescriptions o ON o.id = n.replaces_rx_id WHERE o.status = 'replaced'",
        "SELECT FROM consultations WHERE follow_up_of_id IS NOT NULL",
        "SELECT FROM support_cases WHERE parent_case_id IS NOT NULL",
        "SELECT FROM products WHERE replaced_by_product_id IS NOT NULL",
        "SELECT FROM patient_addresses WHERE deleted_at IS NOT NULL",
        "SELECT FROM patients WHERE deleted_at IS NOT NULL",
        "SELECT FROM shipment_events a JOIN shipment_events b USING (shipment_id) WHERE a.occurred_at < b.occurred_at AND a.received_at > b.received_at",
    ],
)
def test_it_is_as_ugly_as_life(seeded: str, something: str) -> None:
    assert ask(seeded, something)


def test_all_states_of_an_order_occur(seeded: str) -> None:
    seen = {state for (state,) in ask(seeded, "SELECT DISTINCT to_status FROM order_status_history")}
    known = {state for (state,) in ask(seeded, "SELECT to_state FROM state_transitions WHERE machine = 'orders.status'")}
    assert seen == known | {"draft"}


def test_a_used_database_is_refused_and_left_alone(a_database: Callable[[], str]) -> None:
    url = a_database()
    seed(url, "--patients", "20", "--seed", "1")
    before = fingerprint(url)
    for words, said in (
        (("--seed", "1"), "seed 1 is already"),
        (("--seed", "1", "--append"), "seed 1 is already"),
        (("--seed", "2"), "not empty"),
    ):
        code, _, complaint = attempt(url, "--patients", "20", *words)
        assert code == 2
        assert said in complaint
        assert len(complaint.splitlines()) == 1
    assert fingerprint(url) == before
    seed(url, "--patients", "20", "--seed", "2", "--append")
    assert ask(url, "SELECT count(*), count(DISTINCT patient_number) FROM patients") == [(40, 40)]
    assert ask(url, "SELECT count(*) FROM outbox") == [(0,)]


def test_a_database_that_is_away_is_one_line() -> None:
    code, _, complaint = attempt("postgresql://oms:x@127.0.0.1:1/oms", "--patients", "5")
    assert code == 2
    assert "cannot be reached" in complaint
    assert len(complaint.splitlines()) == 1
