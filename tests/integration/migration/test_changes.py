"""What changed since a snapshot, over a real database: a transaction that was under way then is not missed, however late it commits."""

from __future__ import annotations

from collections.abc import Callable

import psycopg

from omsync.mapping import load_mappings
from omsync.migration.model import ChunkRef
from omsync.migration.source import PostgresSource

REF = ChunkRef(migration="m", run=1, table="products", number=0)


def insert(connection: psycopg.Connection, sku: str) -> str:
    statement = "INSERT INTO products (sku, name, product_type, list_price_cents) VALUES (%s, %s, 'otc', 100) RETURNING id::text"
    row = connection.execute(statement, (sku, sku)).fetchone()
    assert row is not None
    return str(row[0])


def test_nothing_that_the_snapshot_did_not_see_is_missed(a_database: Callable[[], str]) -> None:
    url, mappings = a_database(), load_mappings()
    source, products = PostgresSource(url, mappings), mappings["products"]
    with psycopg.connect(url) as early, psycopg.connect(url, autocommit=True) as other:
        first, second = insert(other, "A"), insert(other, "B")
        early.execute("UPDATE products SET name = 'a' WHERE id = %s", (first,))  # under way while the chunk is read
        with source.read(products, REF) as (snapshot, rows):
            assert {str(row["name"]) for row in rows} == {"A", "B"}
        since = snapshot.partition(":")[0]
        third = insert(other, "C")
        assert {row_id for row_id, _ in source.changed(products, REF, since)} >= {third}
        early.commit()
        found = dict(source.changed(products, REF, since))
        assert {first, third} <= found.keys()
        assert found[first] == 2
        low, high = sorted((first, third))
        half = REF.model_copy(update={"upto": low})
        assert low in dict(source.changed(products, half, since))
        assert high not in dict(source.changed(products, half, since)), "of this chunk alone"
        other.execute("SELECT pg_current_xact_id()")
        with source.read(products, REF) as (later, _):
            pass
        assert second not in dict(source.changed(products, REF, later.partition(":")[0]))
