"""What stays in the staging bucket when the rows' values have expired."""

from __future__ import annotations

import gzip

import pytest

from omsync.migration.model import ChunkRef
from omsync.platform.errors import Permanent
from tests.unit.mapping.samples import sample
from tests.unit.migration.test_chunks import PATIENT, row_id
from tests.unit.migration.world import World

SECRET = "Zebedee"
PATIENTS = ChunkRef(migration="m", run=2, table="patients", number=0)
NOTES = ChunkRef(migration="m", run=3, table="clinical_notes", number=0)


@pytest.fixture
def world() -> World:
    """A patient who arrives, one who does not fit, one who differs; a short note and a long one."""
    made = World()
    names = (SECRET, SECRET * 30, SECRET)
    made.oms.put("patients", *(sample("patients", id=row_id(n), last_name=name) for n, name in enumerate(names, 1)))
    bodies = (SECRET, SECRET * 20_000)
    common = {"status": "signed", "patient_id": PATIENT, "is_sensitive": False}
    made.oms.put("clinical_notes", *(sample("clinical_notes", id=row_id(n), body=body, **common) for n, body in enumerate(bodies, 1)))
    return made


def expire(world: World) -> None:
    """As the bucket's lifecycle does."""
    for name in [name for name in world.files if name.startswith("extracts/")]:
        del world.files[name]


def test_values_are_only_in_files_that_expire(world: World) -> None:
    for ref, edited in ((PATIENTS, "LastName"), (NOTES, "Title__c")):
        world.extract.run(ref)
        world.until_done(world.load.run, ref)
        world.until_done(world.link.run, ref)
        world.org.records[world.chunks.read(ref).parts[0].object][row_id(1)][edited] = f"another {SECRET}"
        world.until_done(world.verify.run, ref)
    holding = {name for name, content in world.files.items() if SECRET.encode() in _raw(content)}
    assert {name.partition("/")[0] for name in holding} == {"extracts"}
    assert len(holding) == 3, "patients, short notes, the long one"


def _raw(content: bytes) -> bytes:
    return gzip.decompress(content) if content.startswith(b"\x1f\x8b") else content


def test_verification_needs_none_of_them(world: World) -> None:
    for ref in (PATIENTS, NOTES):
        world.whole(ref)
        before = world.chunks.read(ref)
        assert before.verified == before.to_send
        expire(world)
        state = world.chunks.read(ref)
        state.reopen()
        world.chunks.write(ref, state)
        assert world.until_done(world.verify.run, ref).outcome == "done"
        assert world.chunks.read(ref).verified == before.verified


@pytest.mark.parametrize("body", [SECRET, SECRET * 20_000], ids=["bulk", "rest"])
def test_a_load_that_comes_too_late_says_so_and_its_chunk_can_be_extracted_anew(world: World, body: str) -> None:
    world.oms.tables["clinical_notes"] = {}
    world.oms.put(
        "clinical_notes", sample("clinical_notes", id=row_id(1), status="signed", body=body, patient_id=PATIENT, is_sensitive=False)
    )
    world.extract.run(NOTES)
    expire(world)
    with pytest.raises(Permanent, match="is gone"):
        world.until_done(world.load.run, NOTES)
    del world.states.documents[NOTES.key], world.states.revisions[NOTES.key]
    assert world.whole(NOTES).outcome == "done"
    assert world.chunks.read(NOTES).verified == 1
