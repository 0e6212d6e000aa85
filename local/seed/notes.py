"""Note texts from a CSV file (column `note`) as signed SOAP notes, given to the patients in turn."""

from __future__ import annotations

from itertools import cycle
from pathlib import Path
from uuid import uuid5

from local.seed.bulk import Connection, SeedFault
from local.seed.source import Tally, read
from local.seed.synthea import SPACE
from local.seed.text import END, HISTORY_XID, moment, sha256

#: the longest text the OMS's notes are meant to carry
_LONGEST = 1_000_000


def load(connection: Connection, path: Path, tally: Tally) -> list[dict[str, object]]:
    """Rows of clinical_notes, for the living patients in the order of their numbers."""
    people = connection.execute(
        "SELECT p.id, coalesce(p.primary_provider_id, (SELECT id FROM providers WHERE deleted_at IS NULL ORDER BY npi LIMIT 1)), p.created_at"
        " FROM patients p WHERE status = 'active' AND deleted_at IS NULL ORDER BY patient_number"
    ).fetchall()
    turn = cycle(people)
    signed, rows = moment(END), []
    for line, row in read(path, ("note",), tally):
        if not people:
            raise SeedFault("notes need patients: give --patients or --synthea too, or seed those first")
        body = row["note"]
        if not body.strip():
            tally.reject(path.name, line, "an empty note", row)
            continue
        if len(body) > _LONGEST or "\0" in body:
            tally.reject(path.name, line, "too long, or not text", row)
            continue
        patient, provider, _ = next(turn)
        name = row.get("encounter_id") or str(line)
        rows.append(
            {"id": str(uuid5(SPACE, f"note/{path.name}/{line}/{sha256(body)}")), "patient_id": patient, "author_provider_id": provider,
             "note_type": "soap", "status": "signed", "title": f"Visit {name}"[:255], "body": body, "body_sha256": sha256(body), "signed_at": signed,
             "created_at": signed, "updated_at": signed, "version": 1, "change_xid": HISTORY_XID, "changed_by": "import", "deleted_at": None}
        )  # fmt: skip
        tally.load(path.name)
    return rows
