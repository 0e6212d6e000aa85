"""The deployed migration as the command uses it: its state machines' executions, and its control function's answers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import boto3
from botocore.config import Config

from omsync.migration.model import Certificate, Finding, Preflight
from omsync.migration.plan import read_plan, read_refs
from omsync.platform.errors import Permanent, Retryable
from ops.connections import Connections, told

RUNS = (1, 2, 3, 4)
type Gate = Literal["start", "certificate"]
type Answer = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Execution:
    """An execution of a run."""

    arn: str
    status: str  # RUNNING, SUCCEEDED, FAILED, ABORTED, TIMED_OUT
    run: int
    dry: bool
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

    def start(self, run: int, *, approve: bool, dry: bool = False, rows: int = 10_000) -> Execution:
        """Begin, or go on with, a run. A run that is under way is not begun twice."""
        for known in self.executions(limit=20):
            if known.run == run and known.running:
                raise Permanent(f"run {run} is under way already: see `omsync migrate status`", code="migrate.running")
        told_input = {"migration": self.migration, "run": run, "chunk_rows": rows, "approve": approve, "dry_run": dry}
        with told(f"start of run {run}"):
            answer = self._states.start_execution(stateMachineArn=self.connections.output("MigrationRunArn"), input=json.dumps(told_input))
        return Execution(str(answer["executionArn"]), "RUNNING", run, dry)

    def executions(self, *, limit: int = 50) -> Iterator[Execution]:
        """This migration's executions, the newest first."""
        with told("executions"):
            listed = self._states.list_executions(stateMachineArn=self.connections.output("MigrationRunArn"), maxResults=limit)
        for one in listed["executions"]:
            found = self.execution(one["executionArn"])
            if found is not None:
                yield found

    def execution(self, arn: str) -> Execution | None:
        """It now; None if it is another migration's."""
        with told("execution"):
            one = self._states.describe_execution(executionArn=arn)
        said = json.loads(one.get("input") or "{}")
        if said.get("migration") != self.migration:
            return None
        run, dry = int(said.get("run", 0)), bool(said.get("dry_run"))
        return Execution(arn, str(one["status"]), run, dry, str(one.get("error") or ""), str(one.get("cause") or ""))

    def stop(self, execution: Execution) -> None:
        """End it; the chunks stay where they are, and `resume` goes on with them."""
        with told("stop"):
            self._states.stop_execution(executionArn=execution.arn, error="Stopped", cause="by an operator")

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

    def approve(self, run: int, gate: Gate, by: str) -> bool:
        """Approve; True if an execution was waiting for it."""
        token = self.ask("approve", run=run, gate=gate, by=by).get("token")
        if not token:
            return False
        with told("approval"):
            self._states.send_task_success(taskToken=token, output="{}")
        return True

    # -------------------------------------------------------------------------------------------------------------- files
    def get(self, name: str) -> bytes | None:
        """A file of the staging bucket."""
        client = self.connections.client("s3")
        try:
            return bytes(client.get_object(Bucket=self.connections.output("StagingBucketName"), Key=name)["Body"].read())
        except client.exceptions.NoSuchKey:
            return None

    def folder(self, run: int) -> str:
        """A run's files."""
        return f"migrations/{self.migration}/run-{run}"

    def certificate(self, run: int) -> Certificate | None:
        """As last judged."""
        content = self.get(f"{self.folder(run)}/certificate.json")
        return Certificate.model_validate_json(content) if content is not None else None

    def preflight(self, run: int) -> Preflight | None:
        """As last looked at."""
        content = self.get(f"{self.folder(run)}/preflight.json")
        return Preflight.model_validate_json(content) if content is not None else None

    def findings(self, run: int) -> tuple[dict[str, dict[str, int]], list[Finding]]:
        """The dry run's counts by table, and what it found, chunks of a table added up."""
        plan = read_plan(_Reader(self), self.migration, run)
        counts: dict[str, dict[str, int]] = {}
        found: dict[tuple[str, str, str], Finding] = {}
        for ref in read_refs(_Reader(self), plan) if plan is not None else ():
            content = self.get(f"{ref.folder}/examined.json")
            if content is None:
                continue
            examined = json.loads(content)
            for name, count in examined["counts"].items():
                table = counts.setdefault(ref.table, {})
                table[name] = table.get(name, 0) + int(count)
            for one in map(Finding.model_validate, examined["findings"]):
                known = found.setdefault((one.table, one.kind, one.field), one)
                if known is not one:
                    known.rows += one.rows
                    known.ids = [*known.ids, *one.ids][:20]
        return counts, list(found.values())


@dataclass(frozen=True, slots=True)
class _Reader:
    """`migration.ports.Files`, for reading."""

    machine: Machine

    def get(self, name: str) -> bytes | None:
        return self.machine.get(name)

    def put(self, name: str, content: object) -> None:
        raise NotImplementedError

    def open(self, name: str) -> Any:
        raise NotImplementedError
