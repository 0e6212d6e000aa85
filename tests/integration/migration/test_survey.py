"""The survey over a real database: the febrl set's known duplicates, those who only live together, and orphans of every kind."""

from __future__ import annotations

import csv
import random
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator
from datetime import date
from itertools import combinations

import psycopg
import pytest

from omsync.mapping import load_mappings
from omsync.migration.files import read_lines
from omsync.migration.findings import Finding
from omsync.migration.source import PostgresSource
from omsync.migration.survey import Survey, parents, read_survey
from omsync.migration.survey_source import PostgresSurvey
from tests.unit.migration.world import World

from .conftest import SHARED

FEBRL = SHARED / "data" / "febrl" / "dataset3.csv"


def survey(url: str, run: int) -> tuple[World, list[Finding]]:
    """A survey of a run; its files, and what it found."""
    world, mappings = World(), load_mappings()
    surveying = Survey(mappings, PostgresSurvey(PostgresSource(url, mappings), mappings), world.files, world.now)
    assert surveying.run("m", run).outcome == "done"
    return world, read_survey(world.files, "m", run).findings


def found_pairs(world: World, run: int = 2) -> dict[tuple[str, str], str]:
    """(id, id) -> grade."""
    return {(one, other): grade for one, other, grade, *_ in read_lines(world.files, f"migrations/m/run-{run}/duplicates.jsonl.gz")}


class People:
    """Patients with an address, straight into the tables."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.patients: list[tuple[object, ...]] = []
        self.addresses: list[tuple[object, ...]] = []

    def add(self, given: str, family: str, birth: date | None, street: str, postal: str, city: str, email: str | None = None) -> str:
        row_id = str(uuid.uuid4())
        self.patients.append((row_id, f"P-{len(self.patients)}", given or None, family or "-", birth, email))
        self.addresses.append((str(uuid.uuid4()), row_id, "shipping", True, street, city, "CA", postal or "-", "US"))
        return row_id

    def save(self) -> None:
        with psycopg.connect(self.url) as connection, connection.cursor() as cursor:
            with cursor.copy("COPY patients (id, patient_number, first_name, last_name, date_of_birth, email) FROM STDIN") as copy:
                for row in self.patients:
                    copy.write_row(row)
            columns = "id, patient_id, kind, is_default, line1, city, state_code, postal_code, country_code"
            with cursor.copy(f"COPY patient_addresses ({columns}) FROM STDIN") as copy:
                for row in self.addresses:
                    copy.write_row(row)


@pytest.mark.skipif(not FEBRL.is_file(), reason=f"the febrl set is not at {FEBRL} (OMSYNC_SHARED)")
def test_known_duplicates_are_found(a_database: Callable[[], str]) -> None:
    """5,000 records of 2,000 people, up to ten errors in each copy; what the OMS does not hold (their tax number) is not used."""
    people, copies = People(a_database()), defaultdict[str, list[str]](list)
    for row in _febrl():
        street = f"{row['street_number']} {row['address_1']}".strip()
        row_id = people.add(row["given_name"], row["surname"], _day(row["date_of_birth"]), street, row["postcode"], row["suburb"])
        copies[row["rec_id"].split("-")[1]].append(row_id)
    people.save()
    truth = {pair for ids in copies.values() for pair in combinations(sorted(ids), 2)}
    world, findings = survey(people.url, 2)
    found = found_pairs(world)
    sure = {pair for pair, grade in found.items() if grade == "duplicate"}
    figures = {
        "pairs": len(truth),
        "precision": len(found.keys() & truth) / len(found),
        "recall": len(found.keys() & truth) / len(truth),
        "sure": len(sure & truth) / len(truth),
        "records": len({row_id for pair in found for row_id in pair} & {one for pair in truth for one in pair})
        / len({one for pair in truth for one in pair}),
    }
    print(figures)
    assert figures["precision"] > 0.995, figures
    assert figures["recall"] > 0.9, figures
    assert figures["records"] > 0.97, figures
    assert len(sure - truth) <= 0.002 * len(sure), figures
    assert sum(one.rows for one in findings if one.kind in ("duplicate", "possible")) == len(found)


def _febrl() -> Iterator[dict[str, str]]:
    with FEBRL.open(newline="") as file:
        yield from csv.DictReader(file, skipinitialspace=True)


def _day(text: str) -> date | None:
    """`19560409`; None where the error made a day that there is not."""
    try:
        return date(int(text[:4]), int(text[4:6]), int(text[6:]))
    except ValueError:
        return None


def test_those_who_live_together_are_not_one_person(a_database: Callable[[], str]) -> None:
    people = People(a_database())
    home = ("12 Oak Street", "94110", "San Francisco", "the.garcias@example.com")
    mother, father = people.add("Maria", "Garcia", date(1980, 2, 3), *home), people.add("Luis", "Garcia", date(1978, 9, 21), *home)
    twins = {people.add("Ana", "Garcia", date(2010, 5, 5), *home), people.add("Pablo", "Garcia", date(2010, 5, 5), *home)}
    twice = {people.add("Jon", "Smith", date(1990, 1, 12), *home[:3]), people.add("John", "Smyth", date(1990, 12, 1), *home[:3])}
    swapped = {
        people.add("Nguyen", "Thi", date(1970, 7, 7), "1 A", "10001", "NY"),
        people.add("Thi", "Nguyen", date(1970, 7, 7), "9 B", "33101", "MI"),
    }
    people.save()
    world, _ = survey(people.url, 2)
    found = {frozenset(pair): grade for pair, grade in found_pairs(world).items()}
    assert found.get(frozenset(twice)) == "duplicate"
    assert found.get(frozenset(swapped)) == "duplicate"
    assert found.get(frozenset(twins)) == "possible"
    assert not any({mother, father} & pair for pair in found), found


def test_a_key_that_thousands_share_costs_no_more(a_database: Callable[[], str]) -> None:
    """A clinic's e-mail in every row: each is compared with a few neighbours, and those who are one still stand together."""
    people, dice = People(a_database()), random.Random(5)
    for _ in range(2000):
        given, family = ("".join(dice.choices("abcdefghijklmnopqrstuvwxyz", k=8)) for _ in range(2))
        people.add(given, family, None, "", "", "", "office@clinic.example")
    twice = {people.add("Zora", "Quill", None, "", "", "", "office@clinic.example") for _ in range(2)}
    people.save()
    world, _ = survey(people.url, 2)
    found = {frozenset(pair) for pair in found_pairs(world)}
    assert frozenset(twice) in found
    assert len(found) < 40, "an address that everybody has proves nothing"


def test_orphans_of_every_kind(a_database: Callable[[], str]) -> None:
    people = People(a_database())
    here, gone, merged = (people.add(name, "Parent", None, str(n), "", "") for n, name in enumerate(("A", "Bo", "Cy")))
    people.save()
    lost = str(uuid.uuid4())
    with psycopg.connect(people.url, autocommit=True) as database:
        database.execute("UPDATE patients SET deleted_at = now() WHERE id = %s", [gone])
        database.execute("UPDATE patients SET status = 'merged', merged_into_patient_id = %s WHERE id = %s", [here, merged])
        database.execute("ALTER TABLE subscriptions DROP CONSTRAINT IF EXISTS subscriptions_patient_id_fkey")
        ids = {owner: _subscription(database, owner) for owner in (here, gone, merged, lost)}
    _, findings = survey(people.url, 3)
    found = {(one.table, one.field, one.kind): (one.weight, one.ids) for one in findings if one.table == "subscriptions"}
    assert found[("subscriptions", "patient_id", "orphan: is not there")] == ("bad", [ids[lost]])
    assert found[("subscriptions", "patient_id", "orphan: is deleted")] == ("note", [ids[gone]])
    assert not any(ids[merged] in named for _, named in found.values()), "the survivor stands for the merged patient"


def _subscription(database: psycopg.Connection, patient: str) -> str:
    product = database.execute(
        "INSERT INTO products (sku, name, product_type, list_price_cents) VALUES (gen_random_uuid()::text, 'P', 'otc', 100) RETURNING id"
    ).fetchone()
    assert product is not None
    made = database.execute(
        "INSERT INTO subscriptions (subscription_number, patient_id, product_id, status, interval_days, price_cents)"
        " VALUES (%s, %s, %s, 'active', 30, 100) RETURNING id::text",
        [str(uuid.uuid4())[:20], patient, product[0]],
    ).fetchone()
    assert made is not None
    return str(made[0])


def test_every_table_can_be_surveyed(a_database: Callable[[], str]) -> None:
    """The conditions of every mapping, as SQL that PostgreSQL takes."""
    url, mappings = a_database(), load_mappings()
    for run in sorted({mapping.run for mapping in mappings}):
        world, findings = survey(url, run)
        assert findings == []
        done = read_survey(world.files, "m", run).done
        tables = {name.partition(".")[0] for name in done}
        assert tables >= {one.table for one in mappings if one.run == run and one.mode != "matched" and parents(one)}
