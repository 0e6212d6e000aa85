"""Events of the state machines and of the command -> use cases -> outcomes.

A handler answers an outcome whatever happens, and Choice states decide by it: `wait` for what passes, `failed` for what does not. Only a
crash is an error to Step Functions, which calls again.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field

from omsync.migration.changes import Changes
from omsync.migration.control import Control, Gate
from omsync.migration.examine import Examine
from omsync.migration.extract import Extract
from omsync.migration.link import Link
from omsync.migration.load import Load
from omsync.migration.model import DELTA, ChunkRef, ChunkState, OrgFacts, Outcome
from omsync.migration.plan import CHUNK_ROWS, Plan, read_plan, read_refs
from omsync.migration.ports import Files
from omsync.migration.prepare import Prepare
from omsync.migration.report import Reports
from omsync.migration.states import Chunks
from omsync.migration.survey import Survey
from omsync.migration.verify import Verify
from omsync.platform.errors import OmsyncError, Permanent, Retryable
from omsync.platform.telemetry import MetricUnit, logger, metrics

#: seconds until a step that met a passing fault is tried again, spread so that five chunks don't come back together
AGAIN = (10.0, 50.0)

#: what an execution is for: `plan` writes nothing, `verify` only compares
type Purpose = Literal["migrate", "plan", "verify"]


class StepEvent(BaseModel):
    """What a step is told."""

    model_config = ConfigDict(extra="ignore")

    step: str
    migration: str = ""
    run: int = 0
    ref: ChunkRef | None = None
    chunk_rows: int = Field(default=CHUNK_ROWS, gt=0, le=100_000)
    purpose: Purpose = "migrate"
    gate: Gate = "start"
    token: str = ""
    waited: int = 0  # seconds that `quiet` waited last
    by: str = ""
    up_to: int | None = Field(default=None, ge=0)
    paused: bool = False

    @property
    def chunk(self) -> ChunkRef:
        """The ref, which this step needs."""
        if self.ref is None:
            raise Permanent(f"step {self.step} needs a ref", code="migration.event")
        return self.ref


class SourceSteps(Protocol):
    """`bootstrap_migration.SourceSteps`."""

    @property
    def plan(self) -> Plan: ...
    @property
    def examine(self) -> Examine: ...
    @property
    def survey(self) -> Survey: ...
    @property
    def extract(self) -> Extract: ...
    @property
    def changes(self) -> Changes: ...
    @property
    def facts(self) -> Callable[[str, int], OrgFacts]: ...
    @property
    def chunks(self) -> Chunks: ...
    @property
    def bucket(self) -> str: ...


class OrgSteps(Protocol):
    """`bootstrap_migration.OrgSteps`."""

    @property
    def load(self) -> Load: ...
    @property
    def link(self) -> Link: ...
    @property
    def verify(self) -> Verify: ...
    @property
    def control(self) -> Control: ...
    @property
    def prepare(self) -> Prepare: ...
    @property
    def reports(self) -> Reports: ...
    @property
    def files(self) -> Files: ...
    @property
    def chunks(self) -> Chunks: ...


type Answer = dict[str, Any]


def _answered(event: Mapping[str, Any], work: Callable[[StepEvent], Outcome | Answer], chunks: Chunks | None = None) -> Answer:
    """`chunks`: where it is noted why a chunk failed."""
    told = StepEvent.model_validate(event)
    where = told.ref.name if told.ref is not None else f"run-{told.run}"
    try:
        answer = work(told)
    except Retryable as fault:
        logger.warning("again", action=told.step, chunk=where, code=fault.code)
        seconds = random.uniform(*AGAIN) if fault.after is None else fault.after + random.uniform(0, 5)  # noqa: S311 (jitter)
        answer = Outcome(outcome="wait", wait_seconds=round(seconds), reason=str(fault))
    except OmsyncError as fault:
        logger.error("failed", action=told.step, chunk=where, code=fault.code)
        answer = Outcome(outcome="failed", reason=str(fault))
        if chunks is not None and told.ref is not None:
            _note(chunks, told.ref, str(fault))
    except Exception as crash:  # Step Functions calls again; what it says may hold values, what it is does not
        if chunks is not None and told.ref is not None:
            _note(chunks, told.ref, f"crashed: {type(crash).__name__}, see the log of the step {told.step}")
        raise
    made = answer.model_dump() if isinstance(answer, Outcome) else answer
    if made.get("outcome") == "failed":
        logger.error("outcome", action=told.step, chunk=where, outcome="failed", reason=made.get("reason"))
    return made


def _note(chunks: Chunks, ref: ChunkRef, reason: str) -> None:
    try:
        state = chunks.read(ref)
        state.failure = reason
        chunks.write(ref, state)
    except OmsyncError as fault:
        logger.warning("not noted", chunk=ref.name, code=fault.code)


def _unknown(told: StepEvent) -> Permanent:
    return Permanent(f"this function has no step '{told.step}'", code="migration.event")


def source_step(steps: SourceSteps, event: Mapping[str, Any]) -> Answer:
    """A step beside the database."""

    def work(told: StepEvent) -> Outcome | Answer:
        match told.step:
            case "plan":
                steps.plan.survivors(told.migration, told.run)
                plan = steps.plan.run(told.migration, told.run, rows=told.chunk_rows, dry=told.purpose == "plan")
                waves = [{"wave": wave, "bucket": steps.bucket, "key": plan.wave_file(wave)} for wave in plan.waves]
                return {**Outcome().model_dump(), "waves": waves, "own_waves": [one for one in waves if one["wave"] != DELTA]}
            case "examine":
                return steps.examine.run(told.chunk, steps.facts(told.chunk.migration, told.chunk.run))
            case "survey":
                return steps.survey.run(told.migration, told.run)
            case "extract":
                return steps.changes.delta(told.chunk) if told.chunk.delta else steps.extract.run(told.chunk)
            case "changed":
                return steps.changes.run(told.chunk)
        raise _unknown(told)

    return _answered(event, work, steps.chunks)


def load_step(steps: OrgSteps, event: Mapping[str, Any]) -> Answer:
    """Load or link a chunk."""

    def work(told: StepEvent) -> Outcome:
        match told.step:
            case "load":
                return steps.load.run(told.chunk)
            case "link":
                return steps.link.run(told.chunk)
        raise _unknown(told)

    return _answered(event, work, steps.chunks)


def verify_step(steps: OrgSteps, event: Mapping[str, Any]) -> Answer:
    """Verify a chunk."""
    return _answered(event, lambda told: steps.verify.run(told.chunk), steps.chunks)


def control_step(steps: OrgSteps, event: Mapping[str, Any]) -> Answer:
    """Steer."""
    if event.get("step") == "ask":  # nobody reads an answer while a token waits, so a fault has to be a crash: then it is called again
        told = StepEvent.model_validate(event)
        if steps.control.ask(told.migration, told.run, told.gate, told.token):
            metrics.add_metric(name="ApprovalsAsked", unit=MetricUnit.Count, value=1)
        return Outcome().model_dump()
    return _answered(event, lambda told: _control(steps, told))


def _control(steps: OrgSteps, told: StepEvent) -> Outcome | Answer:
    control, migration, run = steps.control, told.migration, told.run
    match told.step:
        case "prepare":
            found = steps.prepare.run(migration, run, dry=told.purpose == "plan")
            wrong = "; ".join(
                f"{check.name}: {check.detail} {check.mend}".strip() for check in found.checks if check.blocking and not check.ok
            )
            blocked = found.blocked and told.purpose != "plan"  # a dry run goes on: its report tells everything at once
            return Outcome(outcome="failed" if blocked else "done", reason=wrong[:2000])
        case "reopen":
            outcome = control.reopen(migration, run, everything=told.purpose == "verify")
            return {**outcome.model_dump(), "begun": control.begun(migration, run)}
        case "report":
            return steps.reports.run(migration, run)
        case "approved":
            by = control.approved(migration, run, told.gate)
            return Outcome(outcome="done" if by else "wait", reason=by or "")
        case "approve":
            return {**Outcome().model_dump(), "waited": control.approve(migration, run, told.gate, told.by, up_to=told.up_to)}
        case "pause":
            control.pause(migration, paused=told.paused, by=told.by)
            return Outcome()
        case "quiet":
            return control.quiet(told.waited)
        case "judge":
            made = control.judged(migration, run)
            unsigned = [reason for reason in made.refused_because if "sign-off" not in reason]
            return {
                **Outcome(outcome="failed" if unsigned else "done", reason="; ".join(made.refused_because)).model_dump(),
                "needs_sign_off": not made.issued and not unsigned,
            }
        case "certify":
            made = control.certify(migration, run)
            return Outcome(outcome="done" if made.issued else "failed", reason="; ".join(made.refused_because))
        case "status":
            return status(steps, migration, run)
    raise _unknown(told)


def status(steps: OrgSteps, migration: str, run: int) -> Answer:
    """How far a run is: per table, rows extracted, loaded, verified."""
    control = steps.control
    steering = control.steering(migration)
    plan = read_plan(steps.files, migration, run)
    answer: Answer = {
        **Outcome().model_dump(),
        "certified_run": control.certified(migration),
        "paused": steering.paused,
        "held_up": _held_up(control, migration),
        "waits_for": sorted(steering.waits_for),
        "approved": {name: one.by for name, one in steering.approved.items()},
        "tables": [],
    }
    if plan is None:
        return answer
    refs = read_refs(steps.files, plan)
    states = steps.chunks.read_many(refs)
    for table in plan.tables:
        mine = [state for ref, state in zip(refs, states, strict=True) if ref.table == table.table]
        answer["tables"].append({"table": table.table, "wave": table.wave, "planned": table.rows, **_progress(mine)})
    return answer


def _held_up(control: Control, migration: str) -> str | None:
    """Why nothing begins; a system that is away is a reason, not an error."""
    try:
        return control.held_up(migration)
    except Retryable as fault:
        return str(fault)


def _progress(states: list[ChunkState]) -> Answer:
    order = ("planned", "extracted", "loaded", "linked", "verified")
    reached = {phase: [state for state in states if order.index(state.phase) >= place] for place, phase in enumerate(order)}
    return {
        "extracted": sum(state.rows + state.arrived for state in reached["extracted"]),
        "loaded": sum(state.rows for state in reached["loaded"])
        + sum(p.succeeded for s in states if s.phase == "extracted" for p in s.parts),
        "verified": sum(state.rows + state.arrived for state in reached["verified"]),
        "quarantined": sum(state.in_quarantine for state in states),
        "different": sum(state.differing + state.open_keys for state in states),
        "calls": sum(state.calls for state in states),
        "chunks": len(states),
        "done": len(reached["verified"]),
        "failures": sorted({state.failure for state in states if state.failure}),
        "unexplained": sum(state.phase != "verified" and not state.failure for state in states),
    }
