"""The plan's report: what the dry run counts and names, what the org can take, what stops a run, and how it reads."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from omsync.mapping import TableMapping, load_mappings
from omsync.migration.duplicates import Person
from omsync.migration.examine import Examine, Examined
from omsync.migration.files import read_lines
from omsync.migration.model import Check, ChunkRef, Preflight
from omsync.migration.plan import read_refs
from omsync.migration.report import PlanReport, Reports
from omsync.migration.storage import kilobytes
from omsync.migration.survey import MISSING, Orphan, Survey, read_survey
from tests.unit.mapping.samples import sample
from tests.unit.migration.world import FACTS, Killed, World

LIMITS = {"DataStorageMB": (10, 10), "FileStorageMB": (10, 10), "DailyBulkApiBatches": (100, 100), "DailyApiRequests": (1000, 1000)}
SECRET = "Zebedee"


def row_id(number: int) -> str:
    return str(uuid.UUID(int=number << 96 | number, version=4))


def patients(count: int, **values: Any) -> list[dict[str, Any]]:
    return [sample("patients", id=row_id(n + 1), **values) for n in range(count)]


class Source:
    """`survey.SurveySource`: two people who are one, and an orphan."""

    orders = ("birth date", "e-mail")

    def __init__(self) -> None:
        self.asked: list[str] = []

    def people(self, order: str) -> Iterator[Person]:
        self.asked.append(order)
        yield from (Person(str(n), "k", "ann", name, "1990-01-02") for n, name in enumerate(("lee", "lee", "zimmer")))

    def orphans(self, mapping: TableMapping, column: str) -> Iterator[Orphan]:
        self.asked.append(f"{mapping.table}.{column}")
        if (mapping.table, column) == ("patients", "preferred_pharmacy_id"):
            yield Orphan("77", MISSING)


def planned(world: World, *checks: Check, limits: dict[str, tuple[int, int]] | None = None, run: int = 2, dry: bool = True) -> PlanReport:
    """A dry run of a run, by the steps of its state machine."""
    found = Preflight(migration="m", run=run, at=1.0, checks=list(checks), limits=LIMITS if limits is None else limits)
    world.files.put(f"migrations/m/run-{run}/preflight.json", found.model_dump_json().encode())
    plan = world.plan.run("m", run, rows=100, dry=dry)
    examine = Examine(load_mappings(), world.oms, world.files)
    for ref in (one for one in read_refs(world.files, plan) if not one.delta):
        assert examine.run(ref, FACTS).outcome == "done"
    assert Survey(load_mappings(), Source(), world.files, world.now).run("m", run).outcome == "done"
    Reports(load_mappings(), world.files, world.now).run("m", run)
    return PlanReport.model_validate_json(world.files[f"migrations/m/run-{run}/plan-report.json"])


def test_rows_are_counted_where_they_end_and_findings_named_by_id(world: World) -> None:
    rows = patients(6)
    rows[0]["status"] = "merged"
    rows[1]["last_name"] = SECRET * 30
    rows[2]["email"] = SECRET
    rows[3]["care_notes"] = "x" * 5000
    rows[4]["first_name"] = f"  {SECRET} "
    world.oms.put("patients", *rows)
    made = planned(world)
    table = next(one for one in made.tables if one.table == "patients")
    assert (table.rows, table.not_sent, table.bad, table.records) == (6, 1, 1, {"Account": 4})
    found = {(one.kind, one.field): (one.weight, one.rows, one.ids) for one in made.findings if one.table == "patients"}
    assert found[("too_long", "LastName")] == ("bad", 1, [row_id(2)])
    assert found[("invalid_email", "email")] == ("look", 1, [row_id(3)])
    assert found[("unusual", "first_name")] == ("note", 1, [row_id(5)])
    assert found[("duplicate", "-")] == ("look", 1, ["0 1"]), "found in both orders, counted once"
    assert found[(f"orphan: {MISSING}", "preferred_pharmacy_id")] == ("bad", 1, ["77"])
    assert made.findings[0].weight == "bad", "the worst first"
    assert not made.blocked
    assert SECRET not in "".join(content.decode("utf-8", "replace") for content in world.files.values()), "names, never values"


@pytest.mark.parametrize(
    ("table", "records", "text_bytes", "expected"),
    [("patients", 10, 0, 40), ("orders", 10, 0, 20), ("order_items", 10, 0, 0), ("communications", 10, 1_024_000, 1000)],
)
def test_storage_is_counted_as_salesforce_counts(table: str, records: int, text_bytes: int, expected: float) -> None:
    target = load_mappings()[table].targets[0]
    assert kilobytes(target, records, text_bytes) == expected


def test_a_run_that_does_not_fit_into_the_org_is_stopped(world: World) -> None:
    world.oms.put("patients", *patients(300))
    made = planned(world, limits={**LIMITS, "DataStorageMB": (1, 10)})
    assert made.blocked_because == ["DataStorageMB: the run needs 1, 1 of 10 are left"]
    assert not planned(world, limits={**LIMITS, "DailyApiRequests": (10, 1000)}).blocked, "calls come back: the run waits for them"
    assert not planned(world, limits={}).blocked, "what the org does not tell stops nothing"


def test_what_the_last_run_looks_at_once_more_needs_no_room_again(world: World) -> None:
    world.oms.put("patients", *patients(300))
    for run in (1, 2, 3):
        world.plan.run("m", run)
    made = planned(world, limits={**LIMITS, "DataStorageMB": (1, 10)}, run=4, dry=False)
    assert not made.blocked, made.blocked_because
    assert not any(table.table == "patients" for table in made.tables)


def test_what_blocks_is_told_with_how_to_mend_it(world: World) -> None:
    wrong = Check(name="Account", ok=False, detail="Legacy_Id__pc is missing", mend="deploy salesforce/")
    made = planned(world, wrong, Check(name="limit x", ok=False, blocking=False))
    assert made.blocked_because == ["Account: Legacy_Id__pc is missing deploy salesforce/"]
    outcome = Reports(load_mappings(), world.files, world.now).run("m", 2)
    assert (outcome.outcome, outcome.reason) == ("failed", made.blocked_because[0])


def test_a_chunk_that_was_not_examined_stops_the_run(world: World) -> None:
    world.oms.put("patients", *patients(3))
    planned(world)
    del world.files["migrations/m/run-2/patients/00000/examined.json"]
    assert Reports(load_mappings(), world.files, world.now).make("m", 2).blocked


def test_the_page_stands_by_itself_and_escapes(world: World) -> None:
    planned(world, Check(name="<script>", ok=True, detail="a & b"))
    html = world.files["migrations/m/run-2/plan-report.html"].decode()
    assert not re.search(r"(src|href)\s*=|<script|@import|url\(", html), "nothing from elsewhere"
    assert "&lt;script&gt;" in html and "a &amp; b" in html
    assert "looks like one person entered twice" in html


def test_a_survey_goes_on_where_it_stopped_and_begins_anew_with_another_plan(world: World) -> None:
    source, mappings = Source(), load_mappings()
    world.plan.run("m", 2, dry=True)
    hasty = Survey(mappings, source, world.files, world.now, enough=-1.0)
    assert hasty.run("m", 2).outcome == "wait"
    assert source.asked == []
    Survey(mappings, source, world.files, world.now).run("m", 2)
    once = list(source.asked)
    assert len(once) == len(set(once)) > 3
    Survey(mappings, source, world.files, world.now).run("m", 2)
    assert source.asked == once, "what is done is not done again"
    world.plan.run("m", 2, dry=True)
    Survey(mappings, source, world.files, world.now).run("m", 2)
    assert source.asked == [*once, *once]
    assert len(read_survey(world.files, "m", 2).findings) == 2


class Orders(Source):
    """Two pairs by e-mail, of which one has the birth date in common too."""

    def people(self, order: str) -> Iterator[Person]:
        self.asked.append(order)
        for number, name in enumerate(("lee", "lee", "zimmer", "zimmer") if order == "e-mail" else ("lee", "lee")):
            yield Person(str(number), name, "ann", name, "1990-01-02")


@pytest.mark.parametrize("die_at", range(1, 12))
def test_each_order_of_people_is_a_unit_and_a_pair_is_told_once(die_at: int) -> None:
    """Killed anywhere and called again, each time for one unit, until all is done."""
    world, source = World(), Orders()
    world.die_at = die_at
    survey = Survey(load_mappings(), source, world.files, world.now, enough=0.015)
    for _ in range(20):
        try:
            if survey.run("m", 2).outcome == "done":
                break
        except Killed:
            continue
    assert [source.asked.count(order) for order in source.orders] in ([1, 1], [2, 1], [1, 2]), "at most the one that was killed is repeated"
    lines = list(read_lines(world.files, "migrations/m/run-2/duplicates.jsonl.gz"))
    assert [(one, other, order) for one, other, _, _, order in lines] == [("0", "1", "birth date"), ("2", "3", "e-mail")]
    told = read_survey(world.files, "m", 2)
    assert told.pairs == {"duplicate": 2}
    assert [row_id for finding in told.findings if finding.kind == "duplicate" for row_id in finding.ids] == ["0 1", "2 3"]


def test_chunks_add_up() -> None:
    one, other = Examined(rows=2, bad=1), Examined(rows=3, file_bytes=5)
    one.sent["Account"], other.sent["Account"] = 1, 3
    one.add(other)
    assert (one.rows, one.bad, one.file_bytes, one.sent) == (5, 1, 5, {"Account": 4})


def test_long_text_is_told(world: World) -> None:
    world.oms.put("clinical_notes", sample("clinical_notes", id=row_id(1), status="signed", body="x" * 140_000))
    ref = ChunkRef(migration="m", run=3, table="clinical_notes", number=0)
    Examine(load_mappings(), world.oms, world.files).run(ref, FACTS)
    seen = Examined.model_validate_json(world.files[f"{ref.folder}/examined.json"])
    assert {one.kind for one in seen.findings} >= {"long", "file"}
    assert (seen.rest, seen.file_bytes) == (1, 140_000)


@pytest.fixture
def world() -> World:
    return World()
