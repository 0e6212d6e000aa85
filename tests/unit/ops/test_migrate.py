"""`omsync migrate`: what it starts, follows and says, and with which exit code."""

from __future__ import annotations

import copy
import gzip
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import batched
from typing import Any

import click
import pytest
from botocore.exceptions import ClientError
from click.testing import CliRunner, Result

from omsync.migration.model import Certificate, Quarantined, TableResult
from omsync.migration.report import PlanReport, TableReport
from omsync.platform.errors import OmsyncError
from ops.connections import Connections
from ops.migrate import cli
from ops.migrate.machine import Machine

PREFIX = "arn:aws:states:us-east-1:000000000000"


def _refusal(code: str) -> type[ClientError]:
    return type(code, (ClientError,), {"__init__": lambda self: ClientError.__init__(self, {"Error": {"Code": code}}, "Fake")})


class Exceptions:
    """As boto3's client brings them."""

    ExecutionDoesNotExist = _refusal("ExecutionDoesNotExist")
    ValidationException = _refusal("ValidationException")
    NoSuchKey = _refusal("NoSuchKey")


@dataclass
class Stack:
    """`Connections` to two state machines, a bucket, and the control function. Each look at an execution lets its run end, as `outcomes` says."""

    executions: dict[str, dict[str, Any]] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    certified: int = 0
    outcomes: dict[int, str] = field(default_factory=dict)  # run -> error; none: it succeeds
    stuck: bool = False  # nothing ends
    waits_for: list[str] = field(default_factory=list)
    paused: bool = False
    tables: list[dict[str, Any]] = field(default_factory=list)
    map_runs: dict[str, dict[str, int]] = field(default_factory=dict)  # ARN -> items
    s3_error: Any = None
    approvals: list[tuple[str, str]] = field(default_factory=list)  # (run/gate, by whom)
    limits: list[int | None] = field(default_factory=list)  # of the quarantine, as signed for
    gone: bool = False  # who waited was stopped meanwhile
    exceptions: type[Exceptions] = Exceptions

    def client(self, service: str) -> Any:
        return self

    def output(self, name: str) -> str:
        return {"MigrationArn": f"{PREFIX}:stateMachine:m", "MigrationRunArn": f"{PREFIX}:stateMachine:r"}.get(name, name)

    # ------------------------------------------------------------------------------------------------------ Step Functions
    def start_execution(self, **said: Any) -> dict[str, Any]:
        arn = f"{PREFIX}:execution:m:{said['name']}"
        self.executions[arn] = {"executionArn": arn, "status": "RUNNING", "input": said["input"], "startDate": len(self.executions)}
        self._begin(arn, json.loads(said["input"])["runs"][0])
        return {"executionArn": arn}

    def _child(self, arn: str, run: int) -> str:
        return f"{PREFIX}:execution:r:{arn.rpartition(':')[2]}.run-{run}"

    def _begin(self, arn: str, run: int) -> None:
        name = self._child(arn, run)
        self.executions[name] = {"executionArn": name, "status": "RUNNING", "run": run}

    def get_paginator(self, operation: str) -> Stack:
        assert operation == "list_executions"
        return self

    def paginate(self, stateMachineArn: str, statusFilter: str = "") -> Iterator[dict[str, Any]]:  # noqa: N803  (boto3's)
        found = [one for one in self.executions.values() if ":execution:m:" in one["executionArn"] and statusFilter in ("", one["status"])]
        for page in batched(sorted(found, key=lambda one: one["startDate"], reverse=True), 3, strict=False):
            yield {"executions": list(page)}

    def list_map_runs(self, executionArn: str) -> dict[str, Any]:  # noqa: N803
        if executionArn not in self.executions:
            raise self.exceptions.ExecutionDoesNotExist
        return {"mapRuns": [{"mapRunArn": name} for name in self.map_runs]}

    def describe_map_run(self, mapRunArn: str) -> dict[str, Any]:  # noqa: N803
        return {"itemCounts": self.map_runs[mapRunArn]}

    def describe_execution(self, executionArn: str) -> dict[str, Any]:  # noqa: N803
        if executionArn not in self.executions:
            raise self.exceptions.ExecutionDoesNotExist
        found = self.executions[executionArn]
        if ":execution:m:" in executionArn and found["status"] == "RUNNING" and not self.stuck:
            self._work(found)
        return found

    def _work(self, outer: dict[str, Any]) -> None:
        said = json.loads(outer["input"])
        arn = outer["executionArn"]
        for run in said["runs"]:
            child = self.executions.get(self._child(arn, run))
            if child is None:
                self._begin(arn, run)
                return
            if child["status"] != "RUNNING":
                continue
            if any(gate.startswith(f"{run}/") for gate in self.waits_for):
                return
            if error := self.outcomes.get(run):
                child |= {"status": "FAILED", "error": error, "cause": "because"}
                outer |= {"status": "FAILED", "error": "States.TaskFailed", "cause": "{a child's description}"}
                return
            child["status"] = "SUCCEEDED"
            self.judge(run, certified=said["purpose"] == "migrate")
            if run == said["runs"][-1]:
                outer["status"] = "SUCCEEDED"
            return

    def stop_execution(self, executionArn: str, **_: str) -> None:  # noqa: N803
        if executionArn not in self.executions:
            raise self.exceptions.ExecutionDoesNotExist
        self.executions[executionArn]["status"] = "ABORTED"

    # ---------------------------------------------------------------------------------------------- files and the function
    def get_object(self, Bucket: str, Key: str) -> dict[str, Any]:  # noqa: N803
        if self.s3_error is not None:
            raise self.s3_error
        if Key not in self.files:
            raise self.exceptions.NoSuchKey
        return {"Body": io.BytesIO(self.files[Key])}

    def judge(self, run: int, *, certified: bool, **values: Any) -> None:
        """A run is verified, and certified."""
        made = Certificate(migration="main", run=run, issued=True, **values)
        self.files[f"migrations/main/run-{run}/verification.json"] = made.model_dump_json().encode()
        if certified:
            self.files[f"migrations/main/run-{run}/certificate.json"] = (
                made.model_copy(update={"certified": True}).model_dump_json().encode()
            )
            self.certified = max(self.certified, run)

    def answer(self, step: str, more: dict[str, Any]) -> dict[str, Any]:
        if step == "pause":
            self.paused = more["paused"]
        if step == "approve":
            gate = f"{more['run']}/{more['gate']}"
            waited = gate in self.waits_for
            self.approvals.append((gate, more["by"]))
            self.limits.append(more["up_to"])
            self.waits_for = [one for one in self.waits_for if one != gate]
            return {"waited": waited and not self.gone}
        held_up = "paused by Ada" if self.paused else None
        told = {"certified_run": self.certified, "paused": self.paused, "held_up": held_up, "waits_for": self.waits_for}
        return {**told, "tables": copy.deepcopy(self.tables)}

    @property
    def started(self) -> list[dict[str, Any]]:
        return [json.loads(one["input"]) for one in self.executions.values() if "input" in one]


@pytest.fixture
def stack(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stack]:
    stack = Stack()
    monkeypatch.setattr(Connections, "find", classmethod(lambda *_: stack))
    monkeypatch.setattr(Machine, "ask", lambda self, step, **more: stack.answer(step, more))
    monkeypatch.setattr("ops.migrate.follow.LOOK_SECONDS", 0)
    return stack


def run(*arguments: str, code: int = 0) -> Result:
    """A command's result, which has this exit code."""
    done = CliRunner().invoke(cli, arguments)
    assert done.exit_code == code, (done.output, done.exception)
    return done


def lines(done: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in done.output.splitlines() if line.startswith("{")]


def test_all_runs_are_one_execution_followed_run_by_run_to_the_last_certificate(stack: Stack) -> None:
    told = lines(run("start", "--all", "--yes", "--json"))
    assert [(one["run"], one["issued"]) for one in told] == [(1, True), (2, True), (3, True), (4, True)]
    assert [one["runs"] for one in stack.started] == [[1, 2, 3, 4]]
    assert stack.started[0]["approve"] is False


def test_a_run_that_fails_ends_them_all_and_says_why(stack: Stack) -> None:
    stack.outcomes[2] = "CertificateRefused"
    told = lines(run("start", "--all", "--yes", "--json", code=1))
    assert [(one["run"], one["issued"], one["error"]) for one in told] == [(1, True, ""), (2, False, "CertificateRefused")]
    stack.outcomes.clear()
    again = lines(run("resume", "--json"))
    assert [one["run"] for one in again] == [2, 3, 4], "the runs that are left"


def test_a_finished_run_is_not_started_again(stack: Stack) -> None:
    run("start", "--run", "1", "--yes", "--json")
    told = lines(run("start", "--run", "1", "--yes", "--json"))
    assert told == [{"outcome": "nothing to do", "certified_run": 1}]
    assert lines(run("resume", "--json"))[0]["outcome"] == "nothing to do"
    assert len(stack.started) == 1


def test_detached_it_returns_at_once(stack: Stack) -> None:
    stack.stuck = True
    told = lines(run("start", "--all", "--detach", "--json"))
    assert told[0]["runs"] == [1, 2, 3, 4]
    assert stack.started[0]["approve"] is True, "nobody said yes in advance"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("start", "--run", "1", "--all", "--yes"), "--run and --all exclude each other"),
        (("start", "--run", "3", "--yes"), "run 1 comes before run 3"),
        (("start", "--run", "5", "--yes"), "5 is not in the range 1<=x<=4"),
        (("start", "--run", "1"), "nobody is here to approve"),
        (("start", "--name", "a b", "--yes"), "letters, digits, - and _"),
        (("start", "--chunk-rows", "1", "--yes"), "100<=x<=100000"),
        (("approve",), "nothing waits for an approval"),
        (("approve", "--run", "1", "--gate", "start", "--up-to", "5"), "--up-to goes with --gate certificate"),
        (("resume",), "nothing was started yet"),
        (("stop",), "nothing is under way"),
    ],
)
def test_a_mistake_is_named_and_starts_nothing(stack: Stack, arguments: tuple[str, ...], said: str) -> None:
    assert said in run(*arguments, code=2).output
    assert stack.started == []


def test_one_execution_at_a_time(stack: Stack) -> None:
    stack.stuck = True
    run("start", "--run", "1", "--detach")
    for arguments in (("start", "--run", "1", "--detach"), ("verify",), ("plan",)):
        done = CliRunner().invoke(cli, arguments)
        assert "under way already" in str(done.exception)
    assert len(stack.started) == 1


def test_others_however_many_hide_no_execution_of_ours(stack: Stack) -> None:
    stack.stuck = True
    run("start", "--run", "1", "--detach")
    for number in range(30):
        run("start", "--run", "1", "--detach", "--name", f"rehearsal-{number}")
    done = CliRunner().invoke(cli, ("start", "--run", "1", "--detach"))
    assert "under way already" in str(done.exception)
    assert lines(run("status", "--json"))[0]["execution"] == "RUNNING"
    run("stop")
    assert [one["status"] for one in stack.executions.values()].count("ABORTED") == 2, "ours and its run, nobody else's"


def test_a_file_that_may_not_be_read_is_told_in_a_line(stack: Stack) -> None:
    """S3 says the same of a missing one to whoever may not list the bucket."""
    stack.s3_error = _refusal("AccessDenied")()
    done = CliRunner().invoke(cli, ("report", "--run", "1"))
    assert isinstance(done.exception, OmsyncError), "one line and exit code 2: `ops.main`"
    assert "migrations/main/run-1/certificate.json: AWS answers AccessDenied" in str(done.exception)


def test_a_dry_run_tells_how_many_chunks_it_has_been_through(stack: Stack) -> None:
    counts = {"succeeded": 2, "failed": 1, "total": 5}
    stack.map_runs = {f"{PREFIX}:mapRun:r/Examine:1": counts, f"{PREFIX}:mapRun:r/Examine:2": counts, f"{PREFIX}:mapRun:r/other:3": counts}
    stack.tables = [progress("products", chunks=7), progress("providers", chunks=3), progress("patients", chunks=90, wave="delta")]
    assert "6/10 chunks" in run("plan", "--run", "1", code=1).output


def test_stop_ends_the_execution_and_its_run_and_resume_goes_on(stack: Stack) -> None:
    stack.stuck = True
    run("start", "--all", "--detach")
    run("stop")
    assert {one["status"] for one in stack.executions.values()} == {"ABORTED"}
    stack.stuck = False
    assert [one["issued"] for one in lines(run("resume", "--json"))] == [True] * 4
    assert stack.started[1]["approve"] is True, "as it was started: what was not approved then still asks"


def test_what_waits_is_approved_by_name(stack: Stack) -> None:
    stack.waits_for = ["2/start"]
    assert "run 2: start approved by Ada" in run("approve", "--by", "Ada").output
    assert stack.approvals == [("2/start", "Ada")]
    assert "nothing waits for it yet" in run("approve", "--run", "3", "--gate", "certificate", "--by", "Ada").output


def table(name: str, quarantined: int) -> TableResult:
    return TableResult(table=name, wave="1a", rows=quarantined, quarantined=quarantined, chunks=1)


def test_who_signs_is_told_for_how_many_rows(stack: Stack) -> None:
    stack.judge(1, certified=False, tables=[table("orders", 5230), table("patients", 2)])
    stack.waits_for = ["1/certificate"]
    assert "5,232 rows in quarantine (orders 5,230, patients 2)" in run("approve", "--by", "Ada").output
    assert (
        "run 2: certificate approved by Ada for up to 0 rows in quarantine"
        in run("approve", "--run", "2", "--gate", "certificate", "--by", "Ada").output
    )
    assert (
        "for up to 300 rows in quarantine" in run("approve", "--run", "1", "--gate", "certificate", "--up-to", "300", "--by", "Ada").output
    )
    assert stack.limits == [None, None, 300]


def test_a_list_that_is_cut_says_so_and_the_report_saves_all_of_it(stack: Stack, tmp_path: Any) -> None:
    rows = [Quarantined(table="orders", id=str(n), code="too_long", message="too long") for n in range(30)]
    stack.judge(1, certified=True, tables=[table("orders", 5232)], quarantine=rows)
    whole = b"".join(row.model_dump_json().encode() + b"\n" for row in rows)
    stack.files["migrations/main/run-1/certificate-quarantine.jsonl.gz"] = gzip.compress(whole)
    stack.files["migrations/main/run-1/verification-mismatches.jsonl.gz"] = gzip.compress(b"")
    assert "20 of 5,232 rows in quarantine" in run("report", "--run", "1", "--output", str(tmp_path)).output
    assert (tmp_path / "certificate-run-1-quarantine.jsonl").read_bytes() == whole
    assert not (tmp_path / "verification-run-1-mismatches.jsonl").exists(), "nothing is not worth a file"


def test_who_approves_a_start_is_told_what_its_plan_said(stack: Stack) -> None:
    stack.waits_for = ["2/start"]
    assert "run 2 has no plan report" in run("approve", "--by", "Ada").output
    planned = PlanReport(migration="main", run=2, at=1_795_996_800.0, tables=[TableReport(table="patients", wave="2a", rows=9, bad=4)])
    stack.files["migrations/main/run-2/plan-report.json"] = planned.model_dump_json().encode()
    stack.waits_for = ["2/start"]
    said = run("approve", "--by", "Ada").output
    assert "plan report of 2026-11-30 00:00 UTC: nothing stops run 2; 4 rows would be quarantined" in said


def test_an_approval_for_somebody_who_is_gone_is_written_down(stack: Stack) -> None:
    stack.waits_for, stack.gone = ["1/start"], True
    assert "nothing waits for it yet" in run("approve", "--by", "Ada").output


def test_status_tells_only_what_an_execution_under_way_waits_for(stack: Stack) -> None:
    stack.stuck = True
    run("start", "--run", "1", "--detach")
    stack.waits_for = ["1/start"]
    assert lines(run("status", "--json"))[0]["waits_for"] == ["1/start"]
    run("stop")
    assert lines(run("status", "--json"))[0]["waits_for"] == []


def test_watching_ends_with_the_run_and_its_outcome(stack: Stack) -> None:
    stack.stuck = True
    run("start", "--run", "1", "--detach")
    stack.stuck, stack.outcomes[1] = False, "StepCrashed"
    assert "StepCrashed: because" in run("status", "--watch", code=1).output


def progress(table: str, **values: Any) -> dict[str, Any]:
    """A table's line of `status`."""
    names = ("planned", "extracted", "loaded", "verified", "quarantined", "different", "calls", "chunks", "done", "unexplained")
    return {"table": table, "wave": "1a", "failures": [], **dict.fromkeys(names, 0), **values}


def test_chunks_that_left_no_reason_are_told_once_the_run_was_judged(stack: Stack) -> None:
    stack.tables, stack.stuck = [progress("products", chunks=4, done=2, unexplained=2)], True
    run("start", "--run", "1", "--detach")
    assert "crashed" not in run("status").output, "they may be at work"
    stack.stuck, stack.outcomes[1] = False, "CertificateRefused"
    run("status", "--watch", code=1)
    assert "products: 2 chunks crashed and left no reason: see the functions' logs" in run("status").output
    assert lines(run("status", "--json"))[0]["tables"][0]["failures"] == ["2 chunks crashed and left no reason: see the functions' logs"]


def test_pause_and_resume(stack: Stack) -> None:
    run("pause", "--by", "Ada")
    assert stack.paused
    stack.stuck = True
    run("start", "--run", "1", "--detach")
    assert "paused by Ada" in run("status").output
    stack.stuck = False
    run("resume", "--json")
    assert not stack.paused


def test_verify_compares_anew_and_leaves_the_certificate(stack: Stack) -> None:
    run("start", "--run", "1", "--yes", "--json")
    before = stack.files["migrations/main/run-1/certificate.json"]
    assert lines(run("verify", "--json"))[0]["proven"] is True
    assert [one["purpose"] for one in stack.started] == ["migrate", "verify"]
    stack.outcomes[1] = "CertificateRefused"
    told = lines(run("verify", "--run", "1", "--json", code=1))[0]
    assert (told["proven"], told["status"]) == (False, "FAILED")
    assert stack.files["migrations/main/run-1/certificate.json"] == before


def test_report_fails_unless_every_certificate_is_there(stack: Stack, tmp_path: Any) -> None:
    run("start", "--run", "1", "--yes", "--json")
    assert "run 2: no certificate yet" in run("report", code=1).output
    run("report", "--run", "1", "--output", str(tmp_path))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["certificate-run-1.json", "verification-run-1.json"]


def test_a_person_at_the_keyboard_is_asked(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ops.migrate.commands._is_attended", lambda: True)
    stack.waits_for = ["1/start"]
    done = CliRunner().invoke(cli, ["start", "--run", "1", "--by", "Ada"], input="y\n")
    assert done.exit_code == 0, done.output
    assert "run 1 has no plan report" in done.output
    assert "run 1: approve the start?" in done.output
    assert stack.approvals == [("1/start", "Ada")]


def test_every_command_has_help(stack: Stack) -> None:
    assert isinstance(cli, click.Group)
    for name in cli.commands:
        assert "Usage" in run(name, "--help").output
