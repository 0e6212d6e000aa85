"""A chunk's way from the OMS to its verification, with whatever may happen on it."""

from __future__ import annotations

import tracemalloc
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import IO, Any

import pytest

from omsync.mapping import compile_mapping, load_mappings
from omsync.mapping.outward import File
from omsync.migration.files import read_lines, write_lines
from omsync.migration.load import LEASE_SECONDS, STEP_SECONDS
from omsync.migration.model import ATTEMPTS, ChunkRef, ChunkState
from omsync.migration.plan import chunks_of, read_refs, size_of
from omsync.migration.states import Chunks
from omsync.migration.verify import TWICE
from omsync.platform.errors import OmsyncError, Permanent, Retryable
from omsync.salesforce.bulk import Job
from omsync.salesforce.errors import translate
from omsync.sync.ports import DuplicateRecord, Written
from omsync.sync.records import Item, RecordKey
from tests.unit.mapping.samples import sample
from tests.unit.migration.world import World, refused

REF = ChunkRef(migration="m", run=3, table="patient_allergies", number=0)
PATIENT = str(uuid.UUID(int=7, version=4))


def row_id(number: int) -> str:
    return str(uuid.UUID(int=number << 96 | number, version=4))


def allergies(count: int, **values: Any) -> list[dict[str, Any]]:
    return [sample("patient_allergies", id=row_id(n + 1), patient_id=PATIENT, substance=f"nut {n}", **values) for n in range(count)]


def consents(count: int) -> list[dict[str, Any]]:
    return [sample("patient_consents", id=row_id(n + 1), patient_id=PATIENT) for n in range(count)]


@pytest.fixture
def world() -> World:
    return World()


def test_every_row_arrives_and_is_verified(world: World) -> None:
    world.oms.put("patient_allergies", *allergies(5))
    assert world.whole(REF).outcome == "done"
    state = world.chunks.read(REF)
    assert (state.rows, state.verified, state.missing, state.mismatched, state.handed) == (5, 5, 0, 0, 0)
    assert world.live.asked == []


def test_a_row_that_cannot_be_carried_is_quarantined_and_its_neighbours_load(world: World) -> None:
    rows = allergies(3)
    rows[1]["substance"] = "x" * 300  # the field holds 255
    world.oms.put("patient_allergies", *rows)
    world.whole(REF)
    state = world.chunks.read(REF)
    assert (state.verified, state.quarantined, state.mismatched) == (2, 1, 0)


def test_a_row_that_salesforce_refuses_is_quarantined(world: World) -> None:
    world.oms.put("patient_allergies", *allergies(3))
    world.org.refuse = refused("Substance__c", "nut 1")
    world.whole(REF)
    state = world.chunks.read(REF)
    assert (state.verified, state.quarantined, state.rows) == (2, 1, 3)
    assert "nut 1" not in "".join(world.states.documents.values()), "the state table holds no value"


def refusing(code: str, *numbers: int) -> Callable[[Mapping[str, str]], OmsyncError | None]:
    """Refuse these rows with a code of Salesforce's; without numbers all."""
    ids = {row_id(number) for number in numbers}
    return lambda row: translate(code) if not ids or row["OMS_Id__c"] in ids else None


@pytest.mark.parametrize(
    "code", ["STORAGE_LIMIT_EXCEEDED", "INSUFFICIENT_ACCESS_OR_READONLY", "INVALID_FIELD_FOR_INSERT_UPDATE", "INVALID_TYPE"]
)
def test_what_the_org_refuses_is_sent_again_once_it_is_mended(world: World, code: str) -> None:
    world.oms.put("patient_allergies", *allergies(5))
    world.org.refuse = refusing(code, 2, 3)
    outcome = world.whole(REF)
    assert (outcome.outcome, outcome.reason) == ("failed", f"the org refuses Allergy__c: 2 rows with {code}")
    state = world.chunks.read(REF)
    assert (state.phase, state.quarantined, state.parts[0].unprocessed, state.failure) == ("extracted", 0, 2, outcome.reason)
    assert len(world.org.jobs) == 1, "nobody sends them again before somebody has mended the org"
    world.org.refuse = lambda row: None
    assert world.whole(REF).outcome == "done"
    assert [len(job.rows) for job in world.org.jobs.values()] == [5, 2]
    assert (world.chunks.read(REF).verified, world.live.asked) == (5, [])


@pytest.mark.parametrize("code", ["INVALID_FIELD", "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY", "CANNOT_EXECUTE_FLOW_TRIGGER"])
def test_what_one_row_may_meet_by_itself_stops_none_of_its_neighbours(world: World, code: str) -> None:
    """Its parent is there twice; a trigger of others fails at it. Looked at again, it is asked for again."""
    world.oms.put("patient_allergies", *allergies(5))
    world.org.refuse = refusing(code, 2)
    assert world.whole(REF).outcome == "done"
    state = world.chunks.read(REF)
    assert (state.verified, state.quarantined) == (4, 1)
    (one,) = read_lines(world.files, f"{state.folder}/quarantine.jsonl.gz")
    assert (one["code"], one["refused"]) == (code, True)


def test_a_rows_own_faults_are_quarantined_beside_the_orgs(world: World) -> None:
    world.oms.put("patient_allergies", *allergies(5))
    world.org.refuse = lambda row: refusing("STORAGE_LIMIT_EXCEEDED", 2)(row) or refusing("INVALID_EMAIL_ADDRESS", 4)(row)
    assert world.whole(REF).outcome == "failed"
    world.org.refuse = lambda row: None
    assert world.whole(REF).outcome == "done"
    state = world.chunks.read(REF)
    assert (state.verified, state.quarantined) == (4, 1)


@pytest.mark.parametrize(("rows", "bad", "outcome"), [(60, 13, "failed"), (60, 12, "done"), (49, 49, "done")])
def test_one_code_for_too_many_rows_is_the_orgs(world: World, rows: int, bad: int, outcome: str) -> None:
    world.oms.put("patient_allergies", *allergies(rows))
    world.org.refuse = refusing("FIELD_CUSTOM_VALIDATION_EXCEPTION", *range(1, bad + 1))
    assert world.whole(REF).outcome == outcome
    state = world.chunks.read(REF)
    assert state.quarantined == (bad if outcome == "done" else 0)
    if outcome == "failed":
        world.org.refuse = lambda row: None
        assert world.whole(REF).outcome == "done"
        assert world.chunks.read(REF).verified == rows


def test_by_rest_too_the_org_stops_the_chunk_at_once(world: World) -> None:
    ref = ChunkRef(migration="m", run=3, table="clinical_notes", number=0)
    world.oms.put("clinical_notes", *(long_note(n, 40_000) for n in range(1, 101)))
    world.extract.run(ref)
    world.org.refuse = refusing("STORAGE_LIMIT_EXCEEDED")
    before = world.effects
    outcome = world.until_done(world.load.run, ref)
    assert (outcome.outcome, outcome.reason) == ("failed", "the org refuses Clinical_Note__c: 74 rows with STORAGE_LIMIT_EXCEEDED")
    assert world.effects - before < 10, "one call, not all of them"
    world.org.refuse = lambda row: None
    assert world.whole(ref).outcome == "done"
    state = world.chunks.read(ref)
    assert (state.verified, state.quarantined, state.handed) == (100, 0, 0)


def test_quarantine_tells_what_salesforce_refused_from_what_could_not_be_carried(world: World) -> None:
    rows = allergies(3)
    rows[1]["substance"] = "x" * 300
    world.oms.put("patient_allergies", *rows)
    world.org.refuse = refused("Substance__c", "nut 2")
    world.whole(REF)
    lines = read_lines(world.files, f"{world.chunks.read(REF).folder}/quarantine.jsonl.gz")
    assert {line["id"]: line["refused"] for line in lines} == {row_id(2): False, row_id(3): True}


def long_note(number: int, length: int) -> dict[str, Any]:
    body = {"body": "y" * length, "status": "signed", "is_sensitive": False}
    return sample("clinical_notes", id=row_id(number), patient_id=PATIENT, **body)


def test_what_is_there_already_is_left_to_the_live_writers(world: World) -> None:
    world.oms.put("patient_allergies", *allergies(2))
    world.org.insert("Allergy__c", {"OMS_Id__c": row_id(1), "Substance__c": "newer"})
    world.extract.run(REF)
    world.until_done(world.load.run, REF)
    assert world.live.asked == [("patient_allergies", row_id(1))]
    assert world.org.records["Allergy__c"][row_id(1)]["Substance__c"] == "newer", "a load never overwrites"
    part = world.chunks.read(REF).parts[0]
    assert (part.submitted, part.succeeded, part.there, part.failed) == (2, 1, 1, 0)


def test_a_duplicate_found_while_loading_is_left_to_the_live_writers(world: World) -> None:
    world.oms.put("patient_allergies", *allergies(2))
    world.org.refuse = lambda row: DuplicateRecord("raced") if row["OMS_Id__c"] == row_id(2) else None
    world.extract.run(REF)
    world.until_done(world.load.run, REF)
    assert world.live.asked == [("patient_allergies", row_id(2))]


def test_rows_that_lose_a_lock_are_sent_again(world: World) -> None:
    world.oms.put("patient_allergies", *allergies(3))
    lost = {row_id(2)}

    def once(row: Any) -> Retryable | None:
        if row["OMS_Id__c"] in lost:
            lost.clear()
            return Retryable("locked", code="UNABLE_TO_LOCK_ROW")
        return None

    world.org.refuse = once
    assert world.whole(REF).outcome == "done"
    assert len(world.org.jobs) == 2
    assert world.chunks.read(REF).verified == 3


def test_a_row_that_loses_every_lock_is_left_to_the_live_writers(world: World) -> None:
    world.oms.put("patient_allergies", *allergies(3))
    world.org.refuse = refusing("UNKNOWN_EXCEPTION", 2)
    world.extract.run(REF)
    assert world.until_done(world.load.run, REF).outcome == "done"
    part = world.chunks.read(REF).parts[0]
    assert (part.submitted, part.succeeded, part.there, part.failed) == (3, 2, 1, 0)
    assert world.live.asked == [("patient_allergies", row_id(2))]
    assert [len(job.rows) for job in world.org.jobs.values()] == [3, *[1] * (ATTEMPTS - 1)]


def test_a_long_note_that_loses_every_lock_is_left_to_the_live_writers(world: World) -> None:
    ref = ChunkRef(migration="m", run=3, table="clinical_notes", number=0)
    world.oms.put("clinical_notes", *(long_note(n, 40_000) for n in (1, 2)))
    world.org.refuse = refusing("UNABLE_TO_LOCK_ROW", 2)
    world.extract.run(ref)
    assert world.until_done(world.load.run, ref).outcome == "done"
    assert world.live.asked == [("clinical_notes", row_id(2))]


def test_rows_that_no_job_ever_processed_stop_their_chunk(world: World) -> None:
    world.oms.put("patient_allergies", *allergies(3))
    world.extract.run(REF)
    look = world.org.look

    def aborting(job: str, *, query: bool = False) -> Job:
        world.org.stop_after = 1
        return look(job, query=query)

    world.org.refuse = refusing("UNABLE_TO_LOCK_ROW", 1)
    world.org.look = aborting  # type: ignore[method-assign]
    outcome = world.until_done(world.load.run, REF)
    assert (outcome.outcome, outcome.reason) == ("failed", f"2 rows of Allergy__c unprocessed after {ATTEMPTS} jobs")
    assert world.live.asked == [("patient_allergies", row_id(1))]
    world.org.look, world.org.refuse, world.org.stop_after = look, lambda row: None, None  # type: ignore[method-assign]
    assert world.until_done(world.load.run, REF).outcome == "done"


def test_an_aborted_job_is_followed_by_one_with_the_rest(world: World) -> None:
    world.oms.put("patient_allergies", *allergies(6))
    world.org.stop_after = 2
    assert world.whole(REF).outcome == "done"
    assert [len(job.rows) for job in world.org.jobs.values()] == [6, 4]
    assert world.chunks.read(REF).verified == 6
    assert world.live.asked == [], "its own rows are not somebody else's"


def test_a_job_aborted_before_its_upload_is_followed_by_another(world: World) -> None:
    world.oms.put("patient_allergies", *allergies(3))
    upload = world.org.upload

    def refused(job: str, content: IO[bytes]) -> None:
        world.org.upload = upload  # type: ignore[method-assign]
        world.org.abort(job)
        raise Permanent("the job is aborted", code="INVALIDJOBSTATE")

    world.org.upload = refused  # type: ignore[method-assign]
    assert world.whole(REF).outcome == "done"
    assert [job.state for job in world.org.jobs.values()] == ["Aborted", "JobComplete"]
    assert world.chunks.read(REF).verified == 3


@pytest.mark.parametrize("worked", [True, False], ids=["worked", "deleted before it began"])
def test_a_job_that_salesforce_has_forgotten_is_followed_by_another(world: World, worked: bool) -> None:
    """Jobs are kept for seven days, and an admin may delete one sooner."""
    world.oms.put("patient_allergies", *allergies(6))
    world.org.stop_after = 2
    world.extract.run(REF)
    world.load.run(REF)
    (job,) = world.org.jobs
    if worked:
        world.org.look(job)
    del world.org.jobs[job]
    assert world.until_done(world.load.run, REF).outcome == "done"
    part = world.chunks.read(REF).parts[0]
    assert (part.submitted, part.succeeded, part.there) == (6, 4, 2) if worked else (6, 6, 0)
    assert len(world.org.records["Allergy__c"]) == 6
    assert len(world.live.asked) == part.there, "what it had inserted is left to the live writers"


def test_a_paused_migration_begins_no_job(world: World) -> None:
    world.oms.put("patient_allergies", *allergies(1))
    world.extract.run(REF)
    world.held_up = "paused"
    assert world.load.run(REF).outcome == "paused"
    assert world.org.jobs == {}


def test_shared_rows_have_their_ledger_items_with_the_inserts_own_save(world: World) -> None:
    ref = ChunkRef(migration="m", run=2, table="patient_consents", number=0)
    world.oms.put("patient_consents", *consents(3))
    world.extract.run(ref)
    quicker = RecordKey("patient_consents", row_id(2))
    world.ledger.items[quicker] = Item(key=quicker, revision=4, salesforce_id="quicker")
    world.until_done(world.load.run, ref)
    item = world.ledger.items[RecordKey("patient_consents", row_id(1))]
    assert (item.save, item.version, item.object, item.revision) == (1, 3, "Consent__c", 1)
    assert item.salesforce_id == world.org.records["Consent__c"][row_id(1)]["Id"]
    assert world.ledger.items[quicker].salesforce_id == "quicker", "a live writer that was quicker knows better"


def test_without_a_unique_key_the_ledger_is_asked_before_an_insert(world: World) -> None:
    ref = ChunkRef(migration="m", run=4, table="communications", number=0)
    world.oms.put("communications", *(sample("communications", id=row_id(n), channel="email") for n in (1, 2)))
    other = RecordKey("communications", row_id(2))
    world.ledger.items[other] = Item(key=other, revision=1)
    world.extract.run(ref)
    world.until_done(world.load.run, ref)
    assert set(world.org.records["EmailMessage"]) == {row_id(1)}
    assert world.live.asked == [("communications", row_id(2))]
    mine = world.ledger.items[RecordKey("communications", row_id(1))]
    assert mine.lease is None
    assert mine.salesforce_id


def test_a_lease_is_renewed_with_each_job(world: World) -> None:
    ref = ChunkRef(migration="m", run=4, table="communications", number=0)
    world.oms.put("communications", *(sample("communications", id=row_id(n), channel="email") for n in (1, 2)))
    world.extract.run(ref)
    world.org.refuse = lambda row: Retryable("locked", code="UNABLE_TO_LOCK_ROW") if row["OMS_Id__c"] == row_id(2) else None
    world.load.run(ref)
    world.clock += 3500  # the job takes nearly as long as it may
    world.load.run(ref)
    world.clock += 4000  # and the next one cannot begin before the lease has run out
    assert world.load.run(ref).outcome == "wait"
    lease = world.ledger.items[RecordKey("communications", row_id(2))].lease
    assert lease is not None
    assert lease.until / 1_000_000 >= world.clock + LEASE_SECONDS - 1
    world.org.refuse = lambda row: None
    assert world.until_done(world.load.run, ref).outcome == "done"
    assert world.live.asked == []
    assert all(item.salesforce_id and item.lease is None for item in world.ledger.items.values())


def test_what_lost_a_lock_by_rest_is_not_kept_from_the_live_writers(world: World) -> None:
    """Nobody repeats another process's calls: the next step leaves its rows to the live writers, who must not wait for its lease."""
    ref = ChunkRef(migration="m", run=4, table="communications", number=0)
    world.oms.put("communications", sample("communications", id=row_id(1), channel="email", body_text="y" * 40_000))
    world.extract.run(ref)
    world.org.refuse = lambda row: Retryable("locked", code="UNABLE_TO_LOCK_ROW")
    assert world.until_done(world.load.run, ref).outcome == "done"
    assert world.live.asked == [("communications", row_id(1))]
    assert world.ledger.items[RecordKey("communications", row_id(1))].lease is None


def test_by_rest_a_step_leases_no_more_than_it_sends(world: World) -> None:
    ref = ChunkRef(migration="m", run=4, table="communications", number=0)
    world.oms.put(
        "communications", *(sample("communications", id=row_id(n), channel="email", body_text="y" * 40_000) for n in range(1, 101))
    )
    world.extract.run(ref)
    create = world.org.create

    def slow(sobject: str, records: Sequence[Mapping[str, object]]) -> list[Written]:
        world.clock += STEP_SECONDS
        return create(sobject, records)

    world.org.create = slow  # type: ignore[method-assign]
    assert world.until_done(world.load.run, ref).outcome == "done"
    assert len(world.org.records["EmailMessage"]) == 100
    assert world.live.asked == [], "what a step did not come to is the next one's"


def test_what_the_org_refuses_keeps_its_lease_until_it_is_sent_again(world: World) -> None:
    ref = ChunkRef(migration="m", run=4, table="communications", number=0)
    world.oms.put("communications", *(sample("communications", id=row_id(n), channel="email") for n in (1, 2)))
    world.org.refuse = refusing("STORAGE_LIMIT_EXCEEDED", 2)
    assert world.whole(ref).outcome == "failed"
    world.org.refuse = lambda row: None
    assert world.whole(ref).outcome == "done"
    assert (world.chunks.read(ref).verified, world.live.asked) == (2, [])


def test_references_to_the_own_table_follow_in_the_second_pass(world: World) -> None:
    ref = ChunkRef(migration="m", run=1, table="products", number=0)
    first, second = (sample("products", id=row_id(n), sku=f"S{n}") for n in (1, 2))
    second["replaced_by_product_id"] = first["id"]
    world.oms.put("products", first, second)
    assert world.whole(ref).outcome == "done"
    assert world.org.records["Product2"][row_id(2)]["Replaced_By__r.OMS_Id__c"] == row_id(1)
    assert world.chunks.read(ref).verified == 2
    assert set(world.org.records["PricebookEntry"]) == {row_id(1), row_id(2)}


def test_the_second_pass_of_shared_rows_is_written_at_once_and_known_to_the_ledger(world: World) -> None:
    ref = visits(world)
    assert world.whole(ref).outcome == "done"
    assert [world.org.records["Consultation__c"][row_id(n)].get("Follow_Up_Of__r.OMS_Id__c") for n in (1, 2, 3)] == [
        None,
        row_id(1),
        row_id(2),
    ]
    assert world.live.asked == [], "the live writers have nothing to do"
    assert [world.ledger.items[RecordKey("consultations", row_id(n))].save for n in (1, 2, 3)] == [1, 2, 2]
    assert world.chunks.read(ref).verified == 3


def test_the_second_pass_overwrites_no_edit_that_it_has_not_seen(world: World) -> None:
    ref = visits(world)
    for step in (world.extract.run, world.load.run):
        world.until_done(step, ref)
    world.org.edited.add(world.org.records["Consultation__c"][row_id(2)]["Id"])
    world.until_done(world.link.run, ref)
    assert "Follow_Up_Of__r.OMS_Id__c" not in world.org.records["Consultation__c"][row_id(2)]
    assert world.live.asked == [("consultations", row_id(2))]
    assert world.ledger.items[RecordKey("consultations", row_id(2))].save == 1
    assert world.chunks.read(ref).handed == 1


def lock(world: World, *numbers: int) -> list[list[str]]:
    """Each of these rows loses its lock the first time that it is updated; without numbers all do, each time. -> The calls' rows."""
    left, update, calls = {row_id(number) for number in numbers}, world.org.update, list[list[str]]()

    def updating(sobject: str, records: Sequence[Mapping[str, object]]) -> list[Written]:
        rows = {row["Id"]: oms_id for oms_id, row in world.org.records[sobject].items()}
        calls.append([rows[str(record["Id"])] for record in records])
        answers = []
        for record, oms_id in zip(records, calls[-1], strict=True):
            lost = not numbers or oms_id in left
            left.discard(oms_id)
            answers += [Written(None, created=False, error=translate("UNABLE_TO_LOCK_ROW"))] if lost else update(sobject, [record])
        return answers

    world.org.update = updating  # type: ignore[method-assign]
    return calls


def test_the_second_pass_repeats_only_what_lost_a_lock(world: World) -> None:
    ref = visits(world)
    calls = lock(world, 3)
    assert world.whole(ref).outcome == "done"
    assert calls == [[row_id(2), row_id(3)], [row_id(3)]]
    assert world.live.asked == [], "what is written is not taken for somebody else's"
    assert [world.ledger.items[RecordKey("consultations", row_id(n))].save for n in (1, 2, 3)] == [1, 2, 2]
    assert world.chunks.read(ref).verified == 3


@pytest.mark.parametrize("table", ["consultations", "products"])  # shared, mirrored
def test_what_loses_every_lock_in_the_second_pass_is_left_to_the_live_writers(world: World, table: str) -> None:
    ref = visits(world)
    if table == "products":
        ref = ChunkRef(migration="m", run=1, table=table, number=0)
        world.oms.put(table, *(sample(table, id=row_id(n), sku=f"S{n}", replaced_by_product_id=row_id(1)) for n in (1, 2)))
        world.oms.tables[table][row_id(1)] |= {"replaced_by_product_id": None}  # type: ignore[operator]
    calls = lock(world)
    for step in (world.extract.run, world.load.run, world.link.run):
        assert world.until_done(step, ref).outcome == "done"
    assert len(calls) == ATTEMPTS
    assert world.live.asked == [(table, row_id(n)) for n in (2, 3)[: len(calls[0])]]
    assert world.chunks.read(ref).handed == len(calls[0])


def visits(world: World) -> ChunkRef:
    """Three, each but the first the follow-up of the one before."""
    before = [None, row_id(1), row_id(2)]
    world.oms.put("consultations", *(sample("consultations", id=row_id(n), follow_up_of_id=before[n - 1]) for n in (1, 2, 3)))
    return ChunkRef(migration="m", run=3, table="consultations", number=0)


def test_children_of_a_merged_patient_belong_to_the_survivor(world: World) -> None:
    winner, loser = row_id(90), row_id(91)
    world.oms.put("patients", sample("patients", id=winner), sample("patients", id=loser, status="merged", merged_into_patient_id=winner))
    world.oms.put("patient_allergies", sample("patient_allergies", id=row_id(1), patient_id=loser, substance="nut"))
    world.whole(REF)
    assert world.org.records["Allergy__c"][row_id(1)]["Patient__r.OMS_Id__c"] == winner
    assert world.chunks.read(REF).verified == 1


def test_long_text_goes_by_rest_and_the_longest_as_a_file(world: World) -> None:
    ref = ChunkRef(migration="m", run=3, table="clinical_notes", number=0)
    texts = {1: "short", 2: "x" * 40_000, 3: "y" * 140_000}
    rows = [
        sample("clinical_notes", id=row_id(n), status="signed", body=text, patient_id=PATIENT, is_sensitive=False)
        for n, text in texts.items()
    ]
    world.oms.put("clinical_notes", *rows)
    assert world.whole(ref).outcome == "done"
    state = world.chunks.read(ref)
    assert {part.kind: part.rows for part in state.parts} == {"bulk": 1, "rest": 2}
    assert state.verified == 3
    assert len(world.org.files) == 1


def test_a_value_changed_in_salesforce_is_named_by_table_key_and_field(world: World) -> None:
    world.oms.put("patient_allergies", *allergies(3))
    for step in (world.extract.run, world.load.run, world.link.run):
        world.until_done(step, REF)
    world.org.records["Allergy__c"][row_id(2)]["Substance__c"] = "something else"
    world.verified(REF)
    state = world.chunks.read(REF)
    assert (state.verified, state.mismatched) == (2, 1)
    (mismatch,) = read_lines(world.files, f"{state.folder}/mismatches.jsonl.gz")
    assert (mismatch["table"], mismatch["id"], mismatch["fields"]) == ("patient_allergies", row_id(2), ["Substance__c"])


def test_a_row_that_changed_meanwhile_on_both_sides_is_verified_as_it_is_now(world: World) -> None:
    world.oms.put("patient_allergies", *allergies(2))
    for step in (world.extract.run, world.load.run, world.link.run):
        world.until_done(step, REF)
    newer = allergies(1)[0] | {"substance": "almond", "version": 4}
    world.oms.put("patient_allergies", newer)
    world.org.records["Allergy__c"][row_id(1)] |= {"Substance__c": "almond", "OMS_Version__c": "4"}
    world.verified(REF)
    assert world.chunks.read(REF).verified == 2


def loaded(world: World, ref: ChunkRef = REF) -> None:
    """All steps but the last."""
    for step in (world.extract.run, world.load.run, world.link.run):
        world.until_done(step, ref)


def test_a_row_that_changed_in_the_oms_alone_is_asked_for_and_missed(world: World) -> None:
    world.oms.put("patient_allergies", *allergies(2))
    loaded(world)
    world.oms.put("patient_allergies", allergies(1)[0] | {"substance": "almond", "version": 9})  # its event never came
    world.verified(REF)
    state = world.chunks.read(REF)
    assert (state.verified, state.mismatched) == (1, 1), "Salesforce holds what was extracted, not what is true"
    assert world.live.asked == [("patient_allergies", row_id(1))]


def test_a_row_that_is_new_since_the_extract_is_counted_and_looked_for(world: World) -> None:
    world.oms.put("patients", sample("patients", id=PATIENT))
    world.org.insert("Account", {"OMS_Id__c": PATIENT})
    world.oms.put("patient_allergies", *allergies(1))
    loaded(world)
    world.oms.put("patient_allergies", *allergies(3)[1:])
    brought = world.org.records["Allergy__c"][row_id(1)] | {"OMS_Id__c": row_id(2)}
    world.org.records["Allergy__c"][row_id(2)] = brought | {"Substance__c": allergies(2)[1]["substance"]}  # the live sync was there
    world.verified(REF)
    state = world.chunks.read(REF)
    assert (state.rows, state.arrived) == (1, 2)
    assert (state.verified, state.missing) == (2, 1)
    assert world.live.asked == [("patient_allergies", row_id(3))]


def test_a_row_that_is_sent_since_the_extract_is_counted_once(world: World) -> None:
    ref = ChunkRef(migration="m", run=3, table="clinical_notes", number=0)
    world.oms.put(
        "clinical_notes", sample("clinical_notes", id=row_id(1), status="draft"), sample("clinical_notes", id=row_id(2), status="signed")
    )
    loaded(world, ref)
    assert sum(world.chunks.read(ref).not_sent.values()) == 1
    world.oms.put("clinical_notes", sample("clinical_notes", id=row_id(1), status="signed"))
    world.verified(ref)
    state = world.chunks.read(ref)
    sent_by_rule = sum(state.not_sent.values()) + sum(state.excused.values())
    assert (state.rows, state.arrived, sent_by_rule, state.verified, state.missing + state.in_quarantine) == (2, 0, 0, 1, 1)


def test_a_row_that_cannot_be_carried_any_more_is_in_quarantine(world: World) -> None:
    world.oms.put("patient_allergies", *allergies(2))
    loaded(world)
    world.oms.put("patient_allergies", allergies(1)[0] | {"substance": "x" * 300, "version": 9})
    world.verified(REF)
    state = world.chunks.read(REF)
    assert (state.verified, state.unknown, state.in_quarantine) == (1, 0, 1)
    (one,) = read_lines(world.files, f"{state.folder}/orphans.jsonl.gz")
    assert (one["id"], one["code"], one["field"]) == (row_id(1), "not_carried", "Substance__c")


def test_a_second_record_with_the_same_oms_id_is_one_too_many(world: World) -> None:
    world.oms.put("patient_allergies", *allergies(2))
    loaded(world)
    copy = world.org.records["Allergy__c"][row_id(1)] | {"Id": "another"}
    world.org.doubles = {"Allergy__c": [copy]}
    world.verified(REF)
    state = world.chunks.read(REF)
    assert (state.verified, state.mismatched) == (1, 1)
    (mismatch,) = read_lines(world.files, f"{state.folder}/mismatches.jsonl.gz")
    assert (mismatch["id"], mismatch["fields"]) == (row_id(1), [TWICE])


def test_a_paused_migration_asks_nothing_new(world: World) -> None:
    world.oms.put("patient_allergies", *allergies(2))
    loaded(world)
    world.held_up = "paused by Grace"
    assert world.verify.run(REF).outcome == "paused"
    assert world.chunks.read(REF).inquiries == []
    world.held_up = None
    assert world.verified(REF).outcome == "done"


def test_a_query_that_salesforce_has_forgotten_is_asked_again(world: World) -> None:
    world.oms.put("patient_allergies", *allergies(2))
    loaded(world)
    world.org.forgotten = 2
    assert world.verified(REF).outcome == "done"
    assert world.chunks.read(REF).verified == 2


def test_a_query_that_comes_to_nothing_fails_its_chunk_and_a_resumed_run_asks_again(world: World) -> None:
    world.oms.put("patient_allergies", *allergies(2))
    loaded(world)
    world.org.forgotten = ATTEMPTS
    assert "a query of Allergy__c" in world.verified(REF).reason
    assert world.verified(REF).outcome == "done"


def test_the_default_address_of_a_merged_patient_is_nobodys(world: World) -> None:
    ref = ChunkRef(migration="m", run=2, table="patient_addresses", number=0)
    winner, loser = row_id(90), row_id(91)
    world.oms.put("patients", sample("patients", id=winner), sample("patients", id=loser, status="merged", merged_into_patient_id=winner))
    defaults = {"kind": "shipping", "is_default": True}
    world.oms.put(
        "patient_addresses", *(sample("patient_addresses", id=row_id(n), patient_id=p, **defaults) for n, p in ((1, winner), (2, loser)))
    )
    world.whole(ref)
    state = world.chunks.read(ref)
    assert (state.rows, state.verified, state.not_sent) == (2, 1, {"its patient was merged into another": 1})


def test_the_last_run_looks_at_what_changed_since_the_runs_before(world: World) -> None:
    world.oms.put(
        "products", *(sample("products", id=row_id(n), sku=f"S{n}") for n in (1, 2, 3)), sample("products", id=row_id(4), name="n" * 300)
    )
    for run in (1, 2, 3):
        for ref in read_refs(world.files, world.plan.run("m", run)):
            assert world.whole(ref).outcome == "done"
    changed = world.oms.tables["products"][row_id(1)] | {"strength": "5 mg", "version": 9}
    world.oms.put("products", changed, sample("products", id=row_id(4), name="m" * 300), sample("products", id=row_id(5), sku="S5"))
    for sobject in ("Product2", "PricebookEntry"):
        world.org.records[sobject][row_id(1)] |= {"Strength__c": "5 mg", "OMS_Version__c": "9"}
    refs = read_refs(world.files, world.plan.run("m", 4))
    (delta,) = [ref for ref in refs if ref.table == "products"]
    assert refs[-1].delta
    assert delta.delta
    for ref in refs:
        assert world.whole(ref).outcome == "done"
    assert set(world.live.asked) == {("products", row_id(n)) for n in (1, 4, 5)}
    state = world.chunks.read(delta)
    assert (state.arrived, state.verified, state.missing) == (2, 1, 1), "row 4 is in run 1's quarantine, row 5 has not come"
    made = world.judge.run("m", 4)
    assert made.delta_rows == 2
    assert "1 rows missing" in made.refused_because


def test_a_lost_row_is_missing(world: World) -> None:
    world.oms.put("patients", sample("patients", id=PATIENT))
    world.oms.put("patient_allergies", *allergies(2))
    for step in (world.extract.run, world.load.run, world.link.run):
        world.until_done(step, REF)
    world.org.insert("Account", {"OMS_Id__c": PATIENT})
    del world.org.records["Allergy__c"][row_id(1)]
    world.verified(REF)
    state = world.chunks.read(REF)
    assert (state.verified, state.missing) == (1, 1)


def test_a_child_of_what_is_not_in_salesforce_shares_its_parents_reason(world: World) -> None:
    world.oms.put("patients", sample("patients", id=PATIENT))  # in quarantine: not in Salesforce
    world.oms.put("patient_allergies", *allergies(1))
    for step in (world.extract.run, world.load.run, world.link.run):
        world.until_done(step, REF)
    del world.org.records["Allergy__c"][row_id(1)]
    world.verified(REF)
    state = world.chunks.read(REF)
    assert (state.missing, state.in_quarantine) == (0, 1)
    (orphan,) = read_lines(world.files, f"{state.folder}/orphans.jsonl.gz")
    assert (orphan["id"], orphan["field"]) == (row_id(1), "patient_id")


def test_a_lost_child_of_a_merged_patient_is_missing_for_all_that(world: World) -> None:
    winner = row_id(8)
    world.oms.put("patients", sample("patients", id=winner), sample("patients", id=PATIENT, status="merged", merged_into_patient_id=winner))
    world.oms.put("patient_allergies", *allergies(1))
    for step in (world.extract.run, world.load.run, world.link.run):
        world.until_done(step, REF)
    world.org.insert("Account", {"OMS_Id__c": winner})
    world.org.records["Allergy__c"].clear()
    world.verified(REF)
    state = world.chunks.read(REF)
    assert (state.missing, state.excused, state.in_quarantine) == (1, {}, 0)


def test_nobody_waits_for_a_child_whose_parent_is_not_sent_by_rule(world: World) -> None:
    world.oms.put("patients", sample("patients", id=PATIENT, status="merged", merged_into_patient_id=None))
    world.oms.put("patient_allergies", *allergies(1))
    for step in (world.extract.run, world.load.run, world.link.run):
        world.until_done(step, REF)
    world.org.records["Allergy__c"].clear()
    world.verified(REF)
    state = world.chunks.read(REF)
    assert (state.tries, state.missing, sum(state.excused.values())) == (1, 0, 1)
    assert world.live.asked == []


def test_what_was_refused_and_is_mended_is_released_from_quarantine(world: World) -> None:
    rows = allergies(2)
    rows[1]["substance"] = "x" * 300
    world.oms.put("patient_allergies", *rows)
    world.whole(REF)
    assert world.chunks.read(REF).in_quarantine == 1
    mended = rows[1] | {"substance": "nut 1", "version": 4}
    world.oms.put("patient_allergies", mended)
    values = world.org.records["Allergy__c"][row_id(1)] | {"OMS_Id__c": row_id(2), "OMS_Version__c": "4", "Substance__c": "nut 1"}
    world.org.insert("Allergy__c", values)
    again(world, REF)
    state = world.chunks.read(REF)
    assert (state.verified, state.in_quarantine, state.rows) == (2, 0, 2)


def test_what_salesforce_refused_is_asked_for_when_it_is_looked_at_again(world: World) -> None:
    """Nothing changed in the OMS: an administrator has taken his rule away."""
    world.oms.put("patient_allergies", *allergies(2))
    world.org.refuse = refused("Substance__c", "nut 1")
    world.whole(REF)
    assert (world.chunks.read(REF).in_quarantine, world.live.asked) == (1, []), "not at once: it would be refused again"
    values = world.org.records["Allergy__c"][row_id(1)] | {"OMS_Id__c": row_id(2), "Substance__c": "nut 1"}
    world.live.answers[row_id(2)] = lambda: world.org.insert("Allergy__c", values)
    again(world, REF)
    assert world.live.asked == [("patient_allergies", row_id(2))]
    assert (world.chunks.read(REF).verified, world.chunks.read(REF).in_quarantine) == (2, 0)


def test_what_belongs_to_a_quarantined_row_is_not_sent_and_follows_it_when_it_is_mended(world: World) -> None:
    other = row_id(9)
    world.oms.put("patients", sample("patients", id=PATIENT, last_name="x" * 300), sample("patients", id=other, email=None))
    mine = allergies(2)
    world.oms.put("patient_allergies", *mine, *(row | {"id": row_id(5), "patient_id": other} for row in mine[:1]))
    world.oms.put("patient_addresses", sample("patient_addresses", patient_id=PATIENT, is_default=True, deleted_at=None))
    refs = {ref.table: ref for run in (2, 3) for ref in reversed(read_refs(world.files, world.plan.run("m", run)))}
    for table in ("patients", "patient_addresses", "patient_allergies"):
        world.whole(refs[table])
    assert list(world.org.records["Allergy__c"]) == [row_id(5)]
    assert world.live.asked == [], "nobody is asked for what cannot come"
    found = world.chunks.read(refs["patient_allergies"])
    assert (found.rows, found.verified, found.in_quarantine, found.missing) == (3, 1, 2, 0)
    assert {line["field"] for line in read_lines(world.files, f"{found.folder}/quarantine.jsonl.gz")} == {"patient_id"}
    assert world.chunks.read(refs["patient_addresses"]).in_quarantine == 1

    world.oms.put("patients", sample("patients", id=PATIENT, last_name="Mended", version=4))
    world.org.insert("Account", {"OMS_Id__c": PATIENT})
    for row in mine:  # as the live writers do when they are asked
        world.live.answers[row["id"]] = lambda row=row: world.org.insert("Allergy__c", like(world, "Allergy__c", row_id(5), row))
    for table in ("patient_addresses", "patient_allergies"):
        again(world, refs[table])
        state = world.chunks.read(refs[table])
        assert (state.verified, state.in_quarantine) == (state.rows, 0), table
    assert sorted(world.live.asked) == [("patient_allergies", row["id"]) for row in mine]


@pytest.mark.parametrize("table", ["orders", "prescriptions"])  # shared, mirrored
def test_a_row_that_lacks_only_a_quarantined_one_of_its_own_table_is_in_quarantine_with_it(world: World, table: str) -> None:
    columns = load_mappings()[table].columns
    kin = next(name for name, column in columns.items() if column.references == table)
    bad = {"orders": "promo_code", "prescriptions": "drug_description"}[table]
    world.oms.put(table, sample(table, id=row_id(1)) | {kin: row_id(2)}, sample(table, id=row_id(2)) | {kin: None, bad: "x" * 300})
    ref = next(ref for ref in read_refs(world.files, world.plan.run("m", 3)) if ref.table == table)
    world.whole(ref)
    state = world.chunks.read(ref)
    assert (state.mismatched, state.quarantined, state.orphaned) == (0, 1, 1)
    assert world.live.asked == [], "nobody is asked for what cannot come"


def like(world: World, sobject: str, model: str, row: dict[str, Any]) -> dict[str, str]:
    """A record as the live writers would make it."""
    theirs = {"OMS_Id__c": row["id"], "Substance__c": row["substance"], "Patient__r.OMS_Id__c": row["patient_id"]}
    return {name: value for name, value in world.org.records[sobject][model].items() if name != "Id"} | theirs


def again(world: World, ref: ChunkRef) -> None:
    """Verify anew."""
    state = world.chunks.read(ref)
    state.reopen()
    world.chunks.write(ref, state)
    world.verified(ref)


def test_verified_anew_a_chunk_is_compared_not_judged_by_what_it_was(world: World) -> None:
    world.oms.put("patient_allergies", *allergies(3))
    world.whole(REF)
    world.org.records["Allergy__c"][row_id(2)]["Substance__c"] = "something else"
    assert world.verify.run(REF).outcome == "done"
    assert world.chunks.read(REF).verified == 3, "what is verified is not looked at by itself"
    again(world, REF)
    assert (world.chunks.read(REF).verified, world.chunks.read(REF).mismatched) == (2, 1)
    world.org.records["Allergy__c"][row_id(2)]["Substance__c"] = "nut 1"
    again(world, REF)
    assert (world.chunks.read(REF).verified, world.chunks.read(REF).differing) == (3, 0)


def test_a_note_whose_text_is_not_beside_it_differs(world: World) -> None:
    ref = ChunkRef(migration="m", run=3, table="clinical_notes", number=0)
    note = sample("clinical_notes", id=row_id(1), status="signed", body="y" * 140_000, patient_id=PATIENT, is_sensitive=False)
    world.oms.put("clinical_notes", note)
    for step in (world.extract.run, world.load.run, world.link.run):
        world.until_done(step, ref)
    world.org.files.clear()
    world.verified(ref)
    assert world.chunks.read(ref).mismatched == 1


def test_a_file_that_is_refused_stops_nobody_and_is_missed_by_verification(world: World) -> None:
    ref = ChunkRef(migration="m", run=3, table="clinical_notes", number=0)
    world.oms.put(
        "clinical_notes",
        *(
            sample("clinical_notes", id=row_id(n), status="signed", body="y" * 140_000, patient_id=PATIENT, is_sensitive=False)
            for n in (1, 2)
        ),
    )
    attach = world.org.attach

    def refusing(record_id: str, file: File) -> None:
        if record_id == world.org.records["Clinical_Note__c"][row_id(1)]["Id"]:
            raise Permanent("too long", code="STRING_TOO_LONG")
        attach(record_id, file)

    world.org.attach = refusing  # type: ignore[method-assign]
    world.whole(ref)
    state = world.chunks.read(ref)
    assert (state.verified, state.mismatched) == (1, 1)
    assert world.live.asked == [("clinical_notes", row_id(1))]
    items = [world.ledger.items[RecordKey("clinical_notes", row_id(n))] for n in (1, 2)]
    assert [bool(item.files) for item in items] == [False, True], "the live writers attach what the ledger does not say is attached"


def test_long_texts_are_never_all_in_memory(world: World) -> None:
    """250 notes of 140,000 characters are 35 MB; what a step holds at once does not depend on how many there are."""
    ref = ChunkRef(migration="m", run=3, table="clinical_notes", number=0)
    text = "y" * 140_000
    notes = [
        sample("clinical_notes", id=row_id(n), status="signed", body=text, patient_id=PATIENT, is_sensitive=False) for n in range(1, 251)
    ]
    world.oms.put("clinical_notes", *notes)
    world.org.create = lambda sobject, records: [  # type: ignore[method-assign]
        Written(world.org.insert(sobject, {"OMS_Id__c": str(one["OMS_Id__c"])}), created=True) for one in records
    ]
    tracemalloc.start()
    try:
        for step in (world.extract.run, world.load.run):
            assert world.until_done(step, ref).outcome == "done"
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(world.org.records["Clinical_Note__c"]) == 250
    assert peak < 15_000_000, f"{peak:,} bytes"


@pytest.mark.parametrize("left", [1, None], ids=["shorter", "gone"])
def test_a_manifest_that_is_not_as_it_was_written_proves_nothing(world: World, left: int | None) -> None:
    world.oms.put("patient_allergies", *allergies(3))
    for step in (world.extract.run, world.load.run, world.link.run):
        world.until_done(step, REF)
    name = f"{world.chunks.read(REF).folder}/manifest.jsonl.gz"
    if left is None:
        del world.files[name]
    else:
        write_lines(world.files, name, list(read_lines(world.files, name))[:left])
    with pytest.raises(Permanent, match=r"manifest.jsonl.gz is (gone|not as it was written)"):
        world.verify.run(REF)


def test_a_step_that_comes_late_changes_nothing(world: World) -> None:
    """A stopped execution's last step may still be at work beside a resumed one's."""
    world.oms.put("patient_allergies", *allergies(2))
    late = world.chunks.read(REF)
    world.extract.run(REF)
    extracted = world.chunks.read(REF)
    with pytest.raises(Retryable):
        world.chunks.write(REF, late)
    assert world.chunks.read(REF) == extracted


def test_an_extract_that_comes_late_leaves_the_first_ones_files_alone(world: World) -> None:
    world.oms.put("patient_allergies", *allergies(2))
    world.extract.run(REF)
    world.oms.put("patient_allergies", *(row | {"substance": "newer"} for row in allergies(2)))
    world.extract.chunks = Late(lambda _: ChunkState(), world.chunks)  # type: ignore[assignment]
    with pytest.raises(Retryable):
        world.extract.run(REF)
    world.until_done(world.load.run, REF)
    assert {row["Substance__c"] for row in world.org.records["Allergy__c"].values()} == {"nut 0", "nut 1"}
    assert world.chunks.read(REF).phase == "loaded"


@dataclass
class Late:
    """Chunks as a step read them that was begun before another one ended."""

    read: Callable[[ChunkRef], ChunkState]
    chunks: Chunks

    def write(self, ref: ChunkRef, state: ChunkState) -> None:
        self.chunks.write(ref, state)


def test_chunks_cover_every_key_once() -> None:
    refs = list(chunks_of("m", 1, "products", ["b", "d"]))
    assert [(ref.after, ref.upto) for ref in refs] == [(None, "b"), ("b", "d"), ("d", None)]


@pytest.mark.parametrize(("count", "size"), [(0, 5_000), (4_000, 5_000), (10_000, 5_000), (40_000, 8_000), (1_000_000, 10_000)])
def test_a_small_table_is_cut_so_that_every_worker_has_a_part(count: int, size: int) -> None:
    assert size_of(count, 10_000) == size


def test_a_plan_is_made_once_and_lists_its_chunks_in_files(world: World) -> None:
    world.oms.put("products", *(sample("products", id=row_id(n)) for n in range(1, 26)))
    plan = world.plan.run("m", 1, rows=10)
    refs = [ref for ref in read_refs(world.files, plan) if ref.table == "products"]
    assert len(refs) == 6, "one for each worker, and the open end"
    world.oms.put("products", *(sample("products", id=row_id(n)) for n in range(26, 90)))
    assert world.plan.run("m", 1, rows=5) == plan, "a resumed run goes on with the chunks that it had"


def test_a_dry_runs_plan_is_made_anew_by_the_run_itself(world: World) -> None:
    world.oms.put("products", *(sample("products", id=row_id(n)) for n in range(1, 6)))
    assert world.plan.run("m", 1, rows=10, dry=True).dry
    world.oms.put("products", *(sample("products", id=row_id(n)) for n in range(6, 26)))
    made = world.plan.run("m", 1, rows=10)
    assert not made.dry
    assert len([ref for ref in read_refs(world.files, made) if ref.table == "products"]) == 6
    assert world.plan.run("m", 1, rows=10, dry=True) == made, "a dry run of a run under way looks at its chunks"


def synchronise(world: World, row: dict[str, Any]) -> None:
    """The live synchroniser, as far as a note's files go: it attaches them unless the ledger says that they are."""
    key = RecordKey("clinical_notes", row["id"])
    item = world.ledger.items.get(key) or Item(key=key)
    (note,) = compile_mapping(load_mappings()["clinical_notes"], "UTC").to_salesforce(row)
    record_id = world.org.records["Clinical_Note__c"][row["id"]]["Id"]
    if note.files and not item.files:
        for file in note.files:
            world.org.keep(record_id, file)
    files = item.files or ("attached" if note.files else "")
    world.ledger.items[key] = replace(item, revision=item.revision + 1, salesforce_id=record_id, files=files)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize(
    "table", ["patient_allergies", "patient_consents", "products", "consultations", "communications", "clinical_notes"]
)
def test_killed_at_any_effect_the_end_is_the_same(table: str, after: bool) -> None:
    """The kill matrix: at each of a chunk's effects the process dies, before it or just after; then it is started anew."""

    def born() -> World:
        world = World()
        world.org.stop_after = 2
        lock(world, 3)
        more = {"channel": "email"} if table == "communications" else {"patient_id": PATIENT} if table.startswith("patient_") else {}
        world.oms.put(table, *(sample(table, id=row_id(n), **more) for n in range(1, 5)))
        for row in world.oms.tables[table].values():  # all but the first refer to it
            row |= {name: row_id(1) for name in row.keys() & {"replaced_by_product_id", "follow_up_of_id"} if row["id"] != row_id(1)}  # type: ignore[operator]
        if table == "clinical_notes":  # one by Bulk, one by REST, two with a file
            for number, length in enumerate((10, 40_000, 140_000, 140_001), 1):
                row = world.oms.tables[table][row_id(number)]
                row |= {"body": "y" * length, "is_sensitive": False, "status": "signed"}  # type: ignore[operator]
                world.live.answers[row_id(number)] = partial(synchronise, world, row)
        return world

    ref = ChunkRef(migration="m", run=1, table=table, number=0)
    whole = born()
    whole.whole(ref)
    for place in range(1, whole.effects + 1):
        world = born()
        world.die_at, world.dies_after = place, after
        assert world.whole(ref).outcome == "done", f"killed at effect {place}"
        state = world.chunks.read(ref)
        assert (state.verified, state.quarantined, state.missing + state.mismatched) == (4, 0, 0), f"killed at effect {place}"
        assert world.org.records == whole.org.records, f"killed at effect {place}"
        assert world.org.files == whole.org.files, f"killed at effect {place}"
        if world.ledger.items:
            assert {key: item.salesforce_id for key, item in world.ledger.items.items()} == {
                key: item.salesforce_id for key, item in whole.ledger.items.items()
            }, f"killed at effect {place}"
