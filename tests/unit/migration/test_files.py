"""A chunk's CSV: what comes out is what went in, whole or without the rows that are there already."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omsync.migration import files
from omsync.migration.files import BLOCK, CsvParts, Lines, csv_content, csv_ids, csv_text
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


@given(st.lists(st.text(st.sampled_from("ab,;\"'\n\r\t \u2028é😀")), min_size=2, max_size=5))
def test_a_line_is_what_the_csv_module_writes(values: list[str]) -> None:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerow(values)
    assert csv_text(values).decode() == text.getvalue()


@pytest.mark.parametrize("size", [1, 100, BLOCK - 1, BLOCK, BLOCK + 1])
def test_lines_are_stored_whole_whatever_is_left_of_a_block(world: World, size: int) -> None:
    lines, written = Lines(), [bytes([65 + number]) * size + b"\n" for number in range(5)]
    for line in written:
        lines.write(line)
    digest = lines.save(world.files, "lines.gz")
    content = b"".join(written)
    assert gzip.decompress(world.files["lines.gz"]) == content
    assert (digest, lines.rows, lines.raw) == (hashlib.sha256(content).hexdigest(), 5, len(content))


def test_a_part_ends_before_it_is_too_large(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MAX_RAW", 100)
    made = CsvParts("Account", HEADER, world.files, "chunk")
    for number in range(10):
        made.write([str(number), "x" * 30, ""])
    made.close()
    assert [part.rows for part in made.parts] == [2] * 5
    for part in made.parts:
        raw = gzip.decompress(world.files[part.file])
        assert (len(raw), hashlib.sha256(raw).hexdigest()) == (part.bytes, part.sha256)
        assert part.bytes <= 100
        assert raw.startswith(b"OMS_Id__c,")
