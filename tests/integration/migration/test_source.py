"""The OMS's database read in bulk, over a real one: what a reader holds at once, and what becomes of one that stops."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable

import psycopg
import pytest

from omsync.mapping import load_mappings
from omsync.migration.model import ChunkRef
from omsync.migration.source import PostgresSource

NOTES, CHARACTERS = 200, 100_000
REF = ChunkRef(migration="m", run=3, table="clinical_notes", number=0)


def long_notes(url: str) -> None:
    """Notes with long bodies, past the tables' triggers."""
    with psycopg.connect(url) as database:
        database.execute("SET session_replication_role = replica")
        database.execute(
            "INSERT INTO clinical_notes (patient_id, note_type, status, body, body_sha256)"
            " SELECT gen_random_uuid(), 'soap', 'signed', repeat(n::text, %s / length(n::text)), repeat('0', 64)"
            " FROM generate_series(1, %s) AS n",
            [CHARACTERS, NOTES],
        )


def test_long_rows_are_held_one_at_a_time(a_database: Callable[[], str]) -> None:
    """20 MB of text; psycopg keeps a page once more as its own result, so what counts is how many rows are in one."""
    url, mappings, read = a_database(), load_mappings(), 0
    long_notes(url)
    with PostgresSource(url, mappings).read(mappings["clinical_notes"], REF) as (_, rows):
        tracemalloc.start()
        try:
            for row in rows:
                read += len(str(row["body"]))
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert read > 0.99 * NOTES * CHARACTERS
    assert peak < 10 * CHARACTERS, f"{peak:,} bytes"


def test_a_reader_may_stop_before_the_end(a_database: Callable[[], str]) -> None:
    url, mappings = a_database(), load_mappings()
    long_notes(url)
    source = PostgresSource(url, mappings)
    with source.read(mappings["clinical_notes"], REF) as (_, rows):
        assert next(rows)["note_type"] == "soap"
    with pytest.raises(ZeroDivisionError), source.read(mappings["clinical_notes"], REF) as (_, rows):
        assert 1 / (len(str(next(rows)["id"])) - 36)
    with psycopg.connect(url) as database:
        others = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() AND state = 'active'"
        assert database.execute(others).fetchone() == (0,)
