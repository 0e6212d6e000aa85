"""Which record an operator means, and what a trace makes of what it finds."""

from __future__ import annotations

import json
import uuid

import pytest
from click.testing import CliRunner

from omsync.mapping import load_mappings
from omsync.platform.errors import OmsyncError
from omsync.sync.records import RecordKey
from ops.connections import Connections
from ops.life import Life, Moment, _compare_with_feed, _line, _time, resolve
from ops.trace import cli, span
from tests.unit.ops.conftest import Account

ID = "0b6f6b1e-4f0e-4f5e-9d3c-0a1b2c3d4e5f"


def nobody() -> Connections:
    raise AssertionError("an OMS id needs no question")


def test_a_table_and_an_id_name_a_record() -> None:
    assert resolve(f"patients/{ID.upper()}", load_mappings(), nobody) == RecordKey("patients", ID)


@pytest.mark.parametrize(
    ("said", "wrong"),
    [
        ("patients", "is neither <table>/<OMS id> nor <Object>/<Salesforce id>"),
        ("patient/1", "no table or object 'patient'; tables are clinical_notes,"),
        ("patients/1", "'1' is no OMS id"),
        (f"patients/{ID}/x", "is no OMS id"),
        ("Account/0b6f", "is no Salesforce id"),
        ("Account/001' OR Id != '", "is no Salesforce id"),
    ],
)
def test_what_names_no_record_is_one_line_and_exit_code_2(said: str, wrong: str, account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Connections, "find", classmethod(lambda cls, stack, region: account))
    done = CliRunner(mix_stderr=False).invoke(cli, [said])
    assert done.exit_code == 2
    assert wrong in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_trace_goes_on_where_somebody_does_not_answer(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    """This account has no OMS and no Salesforce; its DLQ, failures and conflicts are told all the same."""
    monkeypatch.setattr(Connections, "find", classmethod(lambda cls, stack, region: account))
    record, cause = f"patients/{ID}", "SyncMessage/patients/INVALID_EMAIL_ADDRESS/PersonEmail"
    failure = {
        "pk": cause,
        "sk": f"{record}#1",
        "record": record,
        "error": "Permanent",
        "code": "X",
        "failed_at": "2026-01-02T00:00:00.000+00:00",
    }
    conflict = {"pk": f"conflict/{record}", "sk": "1", "unit": "phone_e164", "winner": "oms", "policy": "latest", "logged_at": "1767311999"}
    for item in (failure, conflict):
        values = {name: {"N" if name == "logged_at" else "S": value} for name, value in item.items()}
        account.dynamodb.put_item(TableName="Failure", Item=values)  # type: ignore[arg-type]
    account.put("SyncDlq", {"table": "patients", "id": ID, "correlation_id": "c-1", "row": {"last_name": "Byron"}})
    done = CliRunner().invoke(cli, [record, "--json"])
    told = json.loads(done.stdout)
    assert done.exit_code == 0
    assert {"oms", "outbox", "salesforce", "cases"} <= set(told["not_read"])
    assert [(one["where"], one["what"]) for one in told["life"]] == [
        ("conflict", "phone_e164: oms won"),
        ("failure", "Permanent: put into the DLQ"),
        ("queue", "waits in SyncDlq"),
    ]
    assert "Byron" not in done.stdout


def test_nobody_knows_it(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Connections, "find", classmethod(lambda cls, stack, region: account))
    done = CliRunner().invoke(cli, [f"patients/{uuid.uuid4()}"])
    assert (done.exit_code, "nobody knows this record" in done.stdout) == (1, True)


@pytest.mark.parametrize(
    ("cursor", "told"),
    [("765", "not swept yet"), ("766", "swept"), (f"765:{ID}", "swept"), ("765:00000000-0000-4000-8000-000000000000", "not swept yet")],
)
def test_the_sweep_has_passed_a_row_or_not(cursor: str, told: str) -> None:
    """A bare cursor is the xmin: everything from that transaction on is still to come."""
    life = Life(RecordKey("patients", ID), "shared")
    life.now = {"oms": {"change_xid": "765"}, "sweep": {"cursor": cursor}}
    _compare_with_feed(life)
    assert life.now["sweep"] == {"cursor": cursor, "last_change": told}


def test_a_life_is_told_in_the_order_of_time() -> None:
    life = Life(RecordKey("patients", ID), "shared")
    for at in ("2026-01-02T00:00:00Z", "2026-01-01T00:00:00.000+0000", "2026-01-01T23:00:00-05:00"):
        life.moments.append(Moment(_time(at), "OMS", "x"))
    told = life.as_json()["life"]
    assert isinstance(told, list)
    assert [one["at"] for one in told if isinstance(one, dict)] == [
        "2026-01-01T00:00:00.000Z",
        "2026-01-02T00:00:00.000Z",
        "2026-01-02T04:00:00.000Z",
    ]


def test_log_lines_of_any_kind_are_told() -> None:
    ours = _line(
        "synchronise", 1_767_225_600_000, json.dumps({"level": "INFO", "message": "message", "outcome": "written", "location": "x:1"})
    )
    assert (ours.where, ours.what, ours.details) == ("log synchronise", "INFO message", {"outcome": "written"})
    lambdas = _line("mirror", 1_767_225_600_000, "REPORT RequestId: 1\tDuration: 2 ms\n")
    assert lambdas.what == "REPORT RequestId: 1 Duration: 2 ms"
    assert _line("mirror", 1_767_225_600_000, "[1]").what == "[1]"


def test_without_a_stack_one_is_told_how_to_name_one(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    monkeypatch.setenv("OMSYNC_HOME", str(tmp_path))
    with pytest.raises(OmsyncError, match="name a stack, or run `make up`"):
        Connections.find(None, None)


@pytest.mark.parametrize(("text", "minutes"), [("30m", 30), ("24h", 1440), ("7d", 10080)])
def test_spans(text: str, minutes: int) -> None:
    assert span(text).total_seconds() == minutes * 60
