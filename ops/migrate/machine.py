"""The deployed migration as the command uses it: its state machines' executions, and its control function's answers.

What is started is an execution of the outer machine, for one run or several; it starts a child for each run, named after itself and the run.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

import boto3
from botocore.config import Config

from omsync.migration.control import Gate
from omsync.migration.model import Certificate
from omsync.migration.plan import CHUNK_ROWS
from omsync.migration.report import PlanReport
from omsync.migration.steps import Purpose
from omsync.platform.errors import Permanent, Retryable
from ops.connections import Connections, told

RUNS = (1, 2, 3, 4)
#: in a map run's ARN: the dry run's (`ExamineChunks` of the state machine)
EXAMINES = "/Examine:"
type Answer = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Execution:
    """What was started. `run` is the one it is at (or ended with); `error` and `cause` are that run's."""

    arn: str
    status: str  # RUNNING, SUCCEEDED, FAILED, ABORTED, TIMED_OUT
    runs: tuple[int, ...]
    purpose: Purpose
    approve: bool
    chunk_rows: int
    run: int
    error: str = ""
    cause: str = ""

    @property
    def running(self) -> bool:
        """Is it under way?"""
        return self.status == "RUNNING"


@dataclass
class Machine:
    """One deployed migration."""

    connections: Connections
    migration: str

    # --------------------------------------------------------------------------------------------------------- executions
    @property
    def _states(self) -> Any:
        return self.connections.client("stepfunctions")

    def start(self, runs: Sequence[int], *, approve: bool, purpose: Purpose = "migrate", rows: int = CHUNK_ROWS) -> Execution:
        """Begin, or go on with, runs. One execution of a migration at a time."""
        for known in self.running():
            raise Permanent(f"run {known.run} is under way already: see `omsync migrate status --watch`", code="migrate.running")
        said = {"migration": self.migration, "runs": list(runs), "chunk_rows": rows, "approve": approve, "purpose": purpose}
        name = f"{self.migration}-{datetime.now(UTC):%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:4]}"
        with told(f"start of run {runs[0]}"):
            answer = self._states.start_execution(
                stateMachineArn=self.connections.output("MigrationArn"), name=name, input=json.dumps(said)
            )
        return Execution(str(answer["executionArn"]), "RUNNING", tuple(runs), purpose, approve, rows, runs[0])

    def running(self) -> Iterator[Execution]:
        """This migration's executions that are under way."""
        return (one for one in self.executions(statusFilter="RUNNING") if one.running)

    def executions(self, **which: str) -> Iterator[Execution]:
        """This migration's executions, the newest first."""
        pages = self._states.get_paginator("list_executions").paginate(stateMachineArn=self.connections.output("MigrationArn"), **which)
        with told("executions"):
            for page in pages:
                for one in sorted(page["executions"], key=lambda one: one["startDate"], reverse=True):
                    if (found := self.execution(one["executionArn"])) is not None:
                        yield found

    def execution(self, arn: str) -> Execution | None:
        """It now; None if it is another migration's."""
        with told("execution"):
            one = self._states.describe_execution(executionArn=arn)
        said = json.loads(one.get("input") or "{}")
        if said.get("migration") != self.migration:
            return None
        status, runs = str(one["status"]), tuple(int(run) for run in said["runs"])
        children = [(run, found) for run in runs if (found := self._child(arn, run)) is not None] or [(runs[0], None)]
        run, child = next(((run, found) for run, found in children if found is None or found["status"] != "SUCCEEDED"), children[-1])
        failed = status != "SUCCEEDED" and child is not None and child["status"] not in ("RUNNING", "SUCCEEDED")
        why = child if failed and child is not None and child.get("error") else one
        return Execution(
            arn,
            status,
            runs,
            said["purpose"],
            bool(said["approve"]),
            int(said["chunk_rows"]),
            run,
            str(why.get("error") or ""),
            str(why.get("cause") or ""),
        )

    def _child_arn(self, arn: str, run: int) -> str:
        machine = self.connections.output("MigrationRunArn").replace(":stateMachine:", ":execution:")
        return f"{machine}:{arn.rpartition(':')[2]}.run-{run}"

    def _child(self, arn: str, run: int) -> Answer | None:
        """A run's own execution, if it has begun."""
        with told("execution"):
            try:
                return dict(self._states.describe_execution(executionArn=self._child_arn(arn, run)))
            except self._states.exceptions.ExecutionDoesNotExist:
                return None

    def examined(self, execution: Execution) -> int:
        """Chunks that the dry run of the execution's run has been through."""
        with told("dry run"):
            try:
                listed = self._states.list_map_runs(executionArn=self._child_arn(execution.arn, execution.run))["mapRuns"]
            except self._states.exceptions.ExecutionDoesNotExist:
                return 0
            names = [one["mapRunArn"] for one in listed if EXAMINES in one["mapRunArn"]]
            counts = [self._states.describe_map_run(mapRunArn=name)["itemCounts"] for name in names]
        return sum(count["succeeded"] + count["failed"] for count in counts)

    def stop(self, execution: Execution) -> None:
        """End it and its run; the chunks stay where they are, and `resume` goes on with them."""
        for arn in (execution.arn, self._child_arn(execution.arn, execution.run)):
            with told("stop"):
                try:
                    self._states.stop_execution(executionArn=arn, error="Stopped", cause="by an operator")
                except (self._states.exceptions.ExecutionDoesNotExist, self._states.exceptions.ValidationException):
                    continue  # it has come to its end by itself, or never began

    # ------------------------------------------------------------------------------------------------------------ control
    def ask(self, step: str, **more: object) -> Answer:
        """One answer of the control function."""
        with told(f"control function, {step}"):
            answer = self._functions.invoke(
                FunctionName=self.connections.output("MigrationControlFunctionName"),
                Payload=json.dumps({"step": step, "migration": self.migration, **more}).encode(),
            )
        body = json.loads(answer["Payload"].read())
        if answer.get("FunctionError"):
            raise Retryable(
                f"the control function failed at {step}: {body.get('errorType', 'an error')}; see its log", code="migrate.control"
            )
        if body.get("outcome") in ("wait", "failed") and step in ("status", "pause", "approve"):
            raise Retryable(f"{step}: {body.get('reason')}", code="migrate.control")
        return dict(body)

    @cached_property
    def _functions(self) -> Any:
        """Lambda, with patience: preflight asks the org a hundred questions."""
        one = self.connections
        session = boto3.Session(region_name=one.region, **one.credentials)  # type: ignore[arg-type]
        return session.client("lambda", endpoint_url=one.endpoint, config=Config(read_timeout=300, retries={"total_max_attempts": 1}))

    def status(self, run: int) -> Answer:
        """How far a run is."""
        return self.ask("status", run=run)

    def approve(self, run: int, gate: Gate, by: str, *, up_to: int | None = None) -> bool:
        """Approve; True if an execution was waiting for it. It is written down in any case: one that asks later need not wait.

        A certificate's quarantine is signed for as it was verified, or with at most `up_to` rows.
        """
        return bool(self.ask("approve", run=run, gate=gate, by=by, up_to=up_to)["waited"])

    # -------------------------------------------------------------------------------------------------------------- files
    def get(self, name: str) -> bytes | None:
        """A file of the staging bucket."""
        client = self.connections.client("s3")
        with told(name):
            try:
                return bytes(client.get_object(Bucket=self.connections.output("StagingBucketName"), Key=name)["Body"].read())
            except client.exceptions.NoSuchKey:
                return None

    def folder(self, run: int) -> str:
        """A run's files."""
        return f"migrations/{self.migration}/run-{run}"

    def certificate(self, run: int) -> Certificate | None:
        """The one that was issued."""
        return self._judged(run, "certificate")

    def verification(self, run: int) -> Certificate | None:
        """As last verified: what would be certified, or why nothing would."""
        return self._judged(run, "verification")

    def _judged(self, run: int, name: str) -> Certificate | None:
        content = self.get(f"{self.folder(run)}/{name}.json")
        return Certificate.model_validate_json(content) if content is not None else None

    def plan_report(self, run: int) -> PlanReport | None:
        """As the last dry run left it."""
        content = self.get(f"{self.folder(run)}/plan-report.json")
        return PlanReport.model_validate_json(content) if content is not None else None
