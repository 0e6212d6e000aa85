"""What steers a migration: pause and resume, reasons to hold still, approvals by name, and the certificate's issue."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

from pydantic import BaseModel, Field

from omsync.migration.certificate import page
from omsync.migration.judge import Judge
from omsync.migration.model import Certificate, Outcome, run_folder
from omsync.migration.plan import read_plan, read_refs
from omsync.migration.ports import Files, Live, States
from omsync.platform.errors import Retryable
from omsync.salesforce.client import Usage

CURSOR = "migration/certified_run"
#: messages that a company at work always has under way
CAUGHT_UP = 200


class Steering(BaseModel):
    """A migration as its operator steers it. `waits_for`: what a task token waits for; it is shown to nobody."""

    paused: bool = False
    paused_by: str = ""
    waits_for: dict[str, str] = Field(default_factory=dict)  # "<run>/<gate>" -> task token
    approved: dict[str, str] = Field(default_factory=dict)  # "<run>/<gate>" -> by whom


class CursorStore(Protocol):
    """`sync.stores.Cursors`."""

    def read(self, feed: str) -> str | None: ...

    def move(self, feed: str, position: str, *, seen: str | None) -> bool: ...


@dataclass(slots=True)
class Control:
    """Steers migrations."""

    files: Files
    states: States
    judge: Judge
    cursors: CursorStore
    live: Live
    usage: Callable[[], Usage]
    api_reserve: float = 0.2
    backlog_limit: int = 20_000
    now: Callable[[], float] = time.time

    def steering(self, migration: str) -> Steering:
        """As saved."""
        found = self.states.read(f"migration/{migration}")
        return Steering.model_validate_json(found) if found is not None else Steering()

    def _steer(self, migration: str, steering: Steering) -> None:
        self.states.write(f"migration/{migration}", steering.model_dump_json())

    def held_up(self, migration: str) -> str | None:
        """Why no new work may begin now."""
        if (steering := self.steering(migration)).paused:
            return f"paused by {steering.paused_by or 'an operator'}"
        usage = self.usage()
        if usage.left < usage.total * self.api_reserve:
            return f"the API budget is down to {usage.left:,} of {usage.total:,}; the rest is for live traffic"
        backlog = self.live.backlog()
        if backlog > self.backlog_limit:
            return f"{backlog:,} messages wait for the live writers"
        return None

    def pause(self, migration: str, *, paused: bool, by: str) -> None:
        """Hold still, or go on."""
        steering = self.steering(migration)
        self._steer(migration, steering.model_copy(update={"paused": paused, "paused_by": by if paused else ""}))

    def ask(self, migration: str, run: int, gate: Literal["start", "certificate"], token: str) -> None:
        """An execution waits for a person; the token is kept for `approve`."""
        steering = self.steering(migration)
        self._steer(migration, steering.model_copy(update={"waits_for": {**steering.waits_for, f"{run}/{gate}": token}}))

    def approved(self, migration: str, run: int, gate: str) -> str | None:
        """By whom."""
        return self.steering(migration).approved.get(f"{run}/{gate}")

    def approve(self, migration: str, run: int, gate: str, by: str) -> str | None:
        """Note who approved; the token that waits for it, if any."""
        steering = self.steering(migration)
        token = steering.waits_for.get(f"{run}/{gate}")
        waits = {name: value for name, value in steering.waits_for.items() if name != f"{run}/{gate}"}
        self._steer(migration, steering.model_copy(update={"waits_for": waits, "approved": {**steering.approved, f"{run}/{gate}": by}}))
        return token

    def quiet(self) -> Outcome:
        """Wait until the live writers have caught up. A live company is never still: what is under way verification looks at again."""
        backlog = self.live.backlog()
        return Outcome() if backlog <= CAUGHT_UP else Outcome(outcome="wait", wait_seconds=5, reason=f"{backlog} messages under way")

    def certified(self) -> int:
        """The last certified run; 0: none."""
        return int(self.cursors.read(CURSOR) or 0)

    def reopen(self, migration: str, run: int, *, everything: bool) -> Outcome:
        """Let verification begin anew: of every chunk, or (a run that goes on) of those that stood in the certificate's way or in the middle of it."""
        plan = read_plan(self.files, migration, run)
        if plan is None or plan.dry:
            return Outcome(outcome="failed", reason=f"run {run} was never started: there is nothing to verify")
        chunks = self.judge.chunks
        refs = read_refs(self.files, plan)
        for ref, state in zip(refs, chunks.read_many(refs), strict=True):
            if state.phase == "linked" or (state.phase == "verified" and (everything or state.differing or state.in_quarantine)):
                state.reopen()
                chunks.write(ref, state)
        return Outcome()

    def judged(self, migration: str, run: int) -> Certificate:
        """What would be certified as things stand, stored beside the run as `verification`."""
        made = self.judge.run(migration, run, signed_by=self.approved(migration, run, "certificate"))
        self._store(made, "verification")
        return made

    def certify(self, migration: str, run: int) -> Certificate:
        """Issue it, or say why not. Once issued it stays: doing it again changes nothing."""
        known = self.files.get(f"migrations/{migration}/run-{run}/certificate.json")
        if known is not None and self.certified() >= run:
            return Certificate.model_validate_json(known)
        made = self.judged(migration, run)
        if made.issued:
            made.certified = True
            self._store(made, "certificate")
            seen = self.cursors.read(CURSOR)
            if int(seen or 0) < run and not self.cursors.move(CURSOR, str(run), seen=seen):
                raise Retryable("another execution certified meanwhile", code="migration.race")
        return made

    def _store(self, made: Certificate, name: str) -> None:
        folder = run_folder(made.migration, made.run)
        self.files.put(f"{folder}/{name}.json", json.dumps(made.model_dump(mode="json"), indent=1).encode())
        self.files.put(f"{folder}/{name}.html", page(made).encode())
