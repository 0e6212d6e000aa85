"""`omsync local seed --synthea` and `--notes`: every source row is loaded, or listed with its reason."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import SHARED, ask, attempt, seed

SYNTHEA = SHARED / "data" / "synthea_ne"
NOTES = SHARED / "data" / "aci_bench" / "train.csv"
needs_synthea = pytest.mark.skipif(not SYNTHEA.is_dir(), reason=f"the Synthea export is not there: {SYNTHEA}")
needs_notes = pytest.mark.skipif(not NOTES.is_file(), reason=f"the note texts are not there: {NOTES}")


def _write_notes(path: Path, *texts: str, column: str = "note") -> Path:
    with path.open("w", newline="") as target:
        csv.writer(target).writerows([["encounter_id", column], *([f"V{n}", text] for n, text in enumerate(texts))])
    return path


@needs_synthea
def test_a_synthea_export_is_loaded_whole(a_database: Callable[[], str], tmp_path: Path) -> None:
    url, rejects = a_database(), tmp_path / "rejects.csv"
    told = seed(url, "--synthea", str(SYNTHEA), "--rejects", str(rejects))
    for file, counts in told["files"].items():
        with (SYNTHEA / file).open(newline="") as source:
            assert counts["read"] == sum(1 for _ in csv.DictReader(source)), file
        assert counts["read"] == counts["loaded"] + counts["rejected"], file
    loaded = {file: counts["loaded"] for file, counts in told["files"].items()}
    assert loaded["patients.csv"] == 111
    assert loaded["encounters.csv"] == 7584
    assert loaded["medications.csv"] == 6122  # two stopped before they started
    assert loaded["supplies.csv"] == 1086  # fifteen are exact duplicates
    with rejects.open(newline="") as listed:
        rows = list(csv.DictReader(listed))
    assert len(rows) == sum(counts["rejected"] for counts in told["files"].values())
    assert all(row["reason"] and json.loads(row["row"]) for row in rows)
    for table, rows_loaded in told["loaded"].items():
        assert ask(url, f"SELECT count(*) FROM {table}") == [(rows_loaded,)], table
    assert ask(url, "SELECT count(*) FROM outbox") == [(0,)]
    assert ask(url, "SELECT first_name, status FROM patients WHERE id = '982192b6-6843-4011-ef46-32caaf87d8a9'") == [("Alice368", "active")]
    assert ask(url, "SELECT max(length(legacy_id)) FROM patients") == [(36,)]  # Legacy_Id__pc has room for 40
    assert ask(url, "SELECT count(*) FROM patients WHERE status = 'deceased' AND deceased_on IS NOT NULL") == [(11,)]
    assert ask(url, "SELECT count(*) FROM communications WHERE edited_at = '{}'") == [(0,)]
    assert ask(url, "SELECT count(*) FROM consultations WHERE edited_at = '{}' OR patient_id IS NULL") == [(0,)]


@needs_synthea
@needs_notes
def test_all_loads_go_into_one_database(a_database: Callable[[], str], tmp_path: Path) -> None:
    url = a_database()
    words = ["--patients", "30", "--synthea", str(SYNTHEA), "--notes", str(NOTES), "--rejects", str(tmp_path / "rejects.csv")]
    told = seed(url, *words)
    assert told["files"]["train.csv"] == {"read": 67, "loaded": 67, "rejected": 0}
    assert ask(url, "SELECT count(*) FROM clinical_notes WHERE changed_by = 'import' AND note_type = 'soap' AND status = 'signed'") == [
        (67,)
    ]
    assert ask(url, "SELECT count(*) FROM clinical_notes WHERE body_sha256 <> text_sha256(body)") == [(0,)]
    code, _, complaint = attempt(url, "--synthea", str(SYNTHEA))
    assert code == 2
    assert "already in this database" in complaint


def test_notes_go_round(a_database: Callable[[], str], tmp_path: Path) -> None:
    url = a_database()
    seed(url, "--patients", "4")
    people = ask(url, "SELECT count(*) FROM patients WHERE status = 'active' AND deleted_at IS NULL")[0][0]
    path = _write_notes(tmp_path / "notes.csv", *(f"Text {n}\nline two" for n in range(people + 1)), " ")
    told = seed(url, "--notes", str(path), "--rejects", str(tmp_path / "rejects.csv"))
    assert told["files"]["notes.csv"] == {"read": people + 2, "loaded": people + 1, "rejected": 1}
    given = ask(url, "SELECT count(*) FROM clinical_notes WHERE title LIKE 'Visit V%' GROUP BY patient_id ORDER BY 1 DESC")
    assert given == [(2,), *[(1,)] * (people - 1)]
    assert ask(url, "SELECT count(*) FROM clinical_notes WHERE title LIKE 'Visit V%' AND edited_at ->> 'body' IS NULL") == [(0,)]


def test_bad_files_are_one_line_each(a_database: Callable[[], str], tmp_path: Path) -> None:
    url = a_database()
    (tmp_path / "binary.csv").write_bytes(b"note\n\xff\xfe\n")
    wrong = _write_notes(tmp_path / "wrong.csv", "a", column="text")
    right = _write_notes(tmp_path / "right.csv", "a")
    for words, said in (
        (("--notes", str(tmp_path / "none.csv")), "No such file"),
        (("--notes", str(wrong)), "lacks note"),
        (("--notes", str(tmp_path / "binary.csv")), "not UTF-8"),
        (("--notes", str(right)), "notes need patients"),
        (("--synthea", str(tmp_path)), "No such file"),
        ((), "nothing to load"),
    ):
        code, _, complaint = attempt(url, *words)
        assert (code, len(complaint.splitlines())) == (2, 1), complaint
        assert said in complaint


def test_rows_that_do_not_fit_are_named(a_database: Callable[[], str], tmp_path: Path) -> None:
    _tiny_export(tmp_path)
    rejects = tmp_path / "rejects.csv"
    seed(a_database(), "--synthea", str(tmp_path), "--rejects", str(rejects))
    with rejects.open(newline="") as listed:
        found = {(row["file"], row["line"], row["reason"]) for row in csv.DictReader(listed)}
    assert found == {
        ("payers.csv", "2", "the OMS has no table of payers; what they covered is in payments (processor insurance)"),
        ("patients.csv", "3", "BIRTHDATE is no date"),
        ("encounters.csv", "3", "unknown is not in patients.csv, or was rejected there"),
        ("encounters.csv", "4", "it stopped before it started"),
        ("conditions.csv", "3", "another number of cells than the header"),
    }


def _tiny_export(folder: Path) -> None:
    patient, provider, visit = (
        "11111111-1111-4111-8111-111111111111",
        "22222222-2222-4222-8222-222222222222",
        "33333333-3333-4333-8333-333333333333",
    )
    files = {
        "organizations": "Id,NAME,ADDRESS,CITY,STATE,ZIP,PHONE\n,Main Street Pharmacy,1 Main St,Omaha,NE,68101,402555\n",
        "payers": "Id,NAME\n,Medicare\n",
        "providers": f"Id,ORGANIZATION,NAME,SPECIALITY,STATE\n{provider},,Ann Lee,GENERAL PRACTICE,NE\n",
        "patients": "Id,BIRTHDATE,DEATHDATE,FIRST,LAST,SUFFIX,GENDER,ADDRESS,CITY,STATE,ZIP\n"
        f"{patient},1980-02-29,,Al1,Byron2,,F,2 Oak,Omaha,Nebraska,00000\n,soon,,Bo,Ro,,M,3 Oak,Omaha,Nebraska,68101\n",
        "encounters": "Id,START,STOP,PATIENT,PROVIDER,ENCOUNTERCLASS,DESCRIPTION,TOTAL_CLAIM_COST,PAYER_COVERAGE\n"
        f"{visit},2020-01-02T03:04:05Z,2020-01-02T03:19:05Z,{patient},{provider},wellness,Visit,100.10,40.00\n"
        f",2020-01-02T03:04:05Z,2020-01-02T03:19:05Z,unknown,{provider},wellness,Visit,1,0\n"
        f",2020-01-02T03:04:05Z,2020-01-01T03:19:05Z,{patient},{provider},wellness,Visit,1,0\n",
        "conditions": f"START,STOP,PATIENT,ENCOUNTER,CODE,DESCRIPTION\n2020-01-02,,{patient},{visit},1,Cold\n2020-01-02,,{patient}\n",
        "allergies": "START,STOP,PATIENT,CODE,SYSTEM,DESCRIPTION,CATEGORY,DESCRIPTION1,SEVERITY1,DESCRIPTION2\n",
        "careplans": "Id,START,STOP,PATIENT,ENCOUNTER,DESCRIPTION,REASONDESCRIPTION\n",
        "medications": "START,STOP,PATIENT,ENCOUNTER,CODE,DESCRIPTION,BASE_COST,DISPENSES,REASONDESCRIPTION\n",
        "supplies": "DATE,PATIENT,ENCOUNTER,CODE,DESCRIPTION,QUANTITY\n",
    }
    for name, text in files.items():
        (folder / f"{name}.csv").write_text(text)
