"""A chunk's CSV: what comes out is what went in, whole or without the rows that are there already."""

from __future__ import annotations

import csv
import io

import pytest

from omsync.migration.files import CsvParts, csv_content, csv_ids
from omsync.platform.errors import Permanent
from tests.unit.migration.world import World

HEADER = ["OMS_Id__c", "Name", "Note__c"]
ROWS = [
    ["1", "Ada", "plain"],
    ["2", 'a "quoted", name', "two\nlines"],
    ["3", "Nguyễn 🙂", ""],
    ["4", "#N/A", " outer "],
]


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def parts(world: World) -> CsvParts:
    made = CsvParts("Account", HEADER, world.files, "chunk")
    for row in ROWS:
        made.write(row)
    made.close()
    return made


@pytest.mark.parametrize("without", [(), ("9",), ("2",), ("1", "4"), ("1", "2", "3", "4")])
def test_rows_stay_as_they_were(world: World, parts: CsvParts, without: tuple[str, ...]) -> None:
    content, ids = csv_content(world.files, parts.parts[0], frozenset(without))
    with content:
        raw = content.read()
    left = [row for row in ROWS if row[0] not in without]
    assert list(csv.reader(io.StringIO(raw.decode(), newline=""))) == [HEADER, *left]
    assert ids == {row[0] for row in left}
    assert b"\r" not in raw, "LF, as the job declares"


def test_a_parts_ids_are_known_without_its_rows(world: World, parts: CsvParts) -> None:
    assert csv_ids(world.files, parts.parts[0]) == {"1", "2", "3", "4"}
    del world.files[parts.parts[0].file]
    with pytest.raises(Permanent, match="is gone"):
        csv_ids(world.files, parts.parts[0])


def test_a_lone_surrogate_costs_its_row_nothing_but_itself(world: World) -> None:
    made = CsvParts("Account", HEADER, world.files, "chunk")
    made.write(["1", "a\ud800b", ""])
    made.close()
    content, ids = csv_content(world.files, made.parts[0], frozenset())
    assert (content.read().splitlines()[1], ids) == (b"1,a?b,", {"1"})
