"""The feeds never skip a row that a long transaction commits late, and show no row before its transaction ends."""

from __future__ import annotations

import uuid

import psycopg

from .conftest import Oms, Row


def xmin(oms: Oms) -> str:
    return str(oms.http.get("/v1/cursor").json()["xmin"])


def read_all(oms: Oms, path: str, name: str, after: str, limit: int = 2, **parameters: str) -> tuple[list[Row], str]:
    """Every item after a cursor, page by page, and the cursor to go on from."""
    found: list[Row] = []
    while True:
        page = oms.http.get(path, params={"after": after, "limit": limit, **parameters}).json()
        found += page[name]
        after = page["next"]
        if not page["more"]:
            return found, after


def test_a_late_commit_is_not_skipped(oms: Oms) -> None:
    """The older transaction commits after a younger one was read: a watermark by time or sequence would lose it."""
    start = xmin(oms)
    with psycopg.connect(oms.url) as slow, psycopg.connect(oms.url) as quick:
        late = slow.execute("INSERT INTO patients (last_name) VALUES ('Late') RETURNING id::text").fetchone()
        early = quick.execute("INSERT INTO patients (last_name) VALUES ('Early') RETURNING id::text").fetchone()
        assert late and early
        quick.commit()
        while_open, cursor = read_all(oms, "/v1/changes", "items", start, table="patients")
        events_while_open, event_cursor = read_all(oms, "/v1/outbox", "events", start)
        slow.commit()
    assert early[0] not in [item["id"] for item in while_open]  # above the xmin: the feed waits for the older one
    after, _ = read_all(oms, "/v1/changes", "items", cursor, table="patients")
    assert {late[0], early[0]} <= {item["id"] for item in after}
    events, _ = read_all(oms, "/v1/outbox", "events", event_cursor)
    told = [event["data"]["id"] for event in events_while_open + events if event["data"]["id"] in (late[0], early[0])]
    assert told == [late[0], early[0]]  # each once, the older transaction first


def test_rows_of_one_transaction_are_split_over_pages_without_loss(oms: Oms) -> None:
    start = xmin(oms)
    with oms.db.transaction():
        rows = oms.db.execute("INSERT INTO patients (last_name) SELECT n::text FROM generate_series(1, 25) n RETURNING id::text").fetchall()
    items, _ = read_all(oms, "/v1/changes", "items", start, limit=4, table="patients")
    ids = [item["id"] for item in items]
    assert sorted(ids) == sorted(row_id for (row_id,) in rows)
    assert len({item["change_xid"] for item in items}) == 1
    events, _ = read_all(oms, "/v1/outbox", "events", start, limit=4)
    assert len(events) == 25


def test_a_change_says_who_and_whether_the_row_is_deleted(oms: Oms) -> None:
    start = xmin(oms)
    patient = oms.patient()
    headers = {"If-Match": "*", "X-Changed-By": "sync:salesforce"}
    oms.http.patch(f"/v1/patients/{patient['id']}", json={"deleted_at": "2024-01-01T00:00:00Z"}, headers=headers)
    (item,), _ = read_all(oms, "/v1/changes", "items", start, table="patients")
    assert {key: item[key] for key in ("id", "version", "changed_by", "deleted_at")} == {
        "id": patient["id"],
        "version": 2,
        "changed_by": "sync:salesforce",
        "deleted_at": "2024-01-01T00:00:00.000000Z",
    }


def test_a_drained_feed_goes_on_from_its_xmin(oms: Oms) -> None:
    _, cursor = read_all(oms, "/v1/changes", "items", xmin(oms), table="products")
    assert read_all(oms, "/v1/changes", "items", cursor, table="products")[0] == []
    product = oms.product()
    assert [item["id"] for item in read_all(oms, "/v1/changes", "items", cursor, table="products")[0]] == [product["id"]]


def test_seeded_rows_are_behind_the_cursor_taken_after_them(oms: Oms) -> None:
    with oms.db.transaction():
        oms.db.execute("SET LOCAL omsync.seeding = 'on'")
        oms.db.execute("INSERT INTO products (sku, name, product_type, list_price_cents) VALUES (%s, 'Old', 'otc', 1)", [str(uuid.uuid4())])
    assert read_all(oms, "/v1/changes", "items", xmin(oms), table="products")[0] == []


def test_the_outbox_can_be_asked_about_one_record(oms: Oms) -> None:
    start = xmin(oms)
    mine, other = oms.patient(), oms.patient()
    for patient in (mine, other, mine):
        oms.http.patch(f"/v1/patients/{patient['id']}", json={"first_name": str(uuid.uuid4())}, headers={"If-Match": "*"})
    events, _ = read_all(oms, "/v1/outbox", "events", start, subject=f"patients/{mine['id']}")
    assert [(event["subject"], event["data"]["version"]) for event in events] == [(f"patients/{mine['id']}", n) for n in (1, 2, 3)]
    assert read_all(oms, "/v1/outbox", "events", start, subject=f"orders/{mine['id']}")[0] == []
    assert oms.http.get("/v1/outbox", params={"subject": "patients"}).status_code in (400, 422)
