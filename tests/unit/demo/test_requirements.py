"""What is missing on the machine is said in one line, before anything starts."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from local.demo import requirements
from local.demo.command import cli


def test_nothing_is_missing_where_the_tests_run(tmp_path: Path) -> None:
    assert requirements.missing(tmp_path / "new" / "folder", "") == []


def test_a_missing_module_is_named_with_its_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(requirements.MODULES, "no_such_module", "Such A Thing")
    assert requirements.missing(tmp_path, "") == ["Such A Thing is not installed (run `make setup`)"]


@pytest.mark.parametrize(("name", "limit"), [("FREE_DISK", "GB left"), ("FREE_MEMORY", "GB of memory are free")])
def test_too_little_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, limit: str) -> None:
    monkeypatch.setattr(requirements, name, 10**18)
    assert [limit in text for text in requirements.missing(tmp_path, "")] == [True]


@pytest.mark.parametrize("data", ["no/such/folder", "."])
def test_data_that_is_no_data_stops_the_demo_with_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: str) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(cli, ["--data", data, "--out", str(tmp_path / "out")])
    assert done.exit_code == 1
    assert done.output.count("\n") == 1
    assert f"DATA={data}" in done.output
    assert not (tmp_path / "out").exists()


def test_data_is_found_by_what_it_is(tmp_path: Path) -> None:
    (tmp_path / "export").mkdir()
    (tmp_path / "export" / "patients.csv").write_text("Id,BIRTHDATE\n")
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "train.csv").write_text("dataset,encounter_id,dialogue,note\n")
    assert requirements.synthea(tmp_path) == tmp_path / "export"
    assert requirements.notes(tmp_path) == tmp_path / "texts" / "train.csv"
