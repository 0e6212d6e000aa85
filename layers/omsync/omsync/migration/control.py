"""What steers a migration: pause and resume, reasons to hold still, approvals by name, and the certificate's issue."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from math import ceil
from typing import Literal, Protocol

from pydantic import BaseModel, Field

from omsync.migration.certificate import page
from omsync.migration.judge import Judge
from omsync.migration.model import MAIN, Approval, Certificate, Outcome, run_folder
from omsync.migration.plan import read_plan, read_refs
from omsync.migration.ports import Files, Live, States
from omsync.platform.errors import Retryable
from omsync.salesforce.client import Usage

#: what the live sync reads (`bootstrap_sync`)
CURSOR = "migration/certified_run"
#: messages that a company at work always has under way
CAUGHT_UP = 200
#: seconds between two looks at what is under way, at first and at last
QUIET_SECONDS = (5, 300)
#: how often a change is made anew on what others have saved meanwhile
TRIES = 10

type Gate = Literal["start", "certificate"]


class Steering(BaseModel):
    """A migration as its operator steers it. `waits_for`: what a task token waits for; it is shown to nobody."""

    revision: int = 0  # of the item; a write that would follow another one is refused
    paused: bool = False
    paused_by: str = ""
    waits_for: dict[str, str] = Field(default_factory=dict)  # "<run>/<gate>" -> task token
    approved: dict[str, Approval] = Field(default_factory=dict)  # "<run>/<gate>" -> by whom, and what


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
    release: Callable[[str], bool]  # give a task token back; False: nobody waits for it any more
    api_reserve: float = 0.2
    backlog_limit: int = 20_000
    now: Callable[[], float] = time.time

    def steering(self, migration: str) -> Steering:
        """As saved."""
        found = self.states.read(_key(migration))
        return Steering.model_validate_json(found) if found is not None else Steering()

    def _steer[T](self, migration: str, change: Callable[[Steering], T]) -> T:
        """Make a change and save it; what the change says. Of two at once the later one is made anew, on what the other one saved.

        Raises `Retryable` if others were quicker each time.
        """
        for _ in range(TRIES):
            steering = self.steering(migration)
            said = change(steering)
            seen, steering.revision = steering.revision, steering.revision + 1
            if self.states.replace(_key(migration), steering.model_dump_json(), seen=seen):
                return said
        raise Retryable(f"too many steer {migration} at once", code="migration.race")

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

        def change(steering: Steering) -> None:
            steering.paused, steering.paused_by = paused, by if paused else ""

        self._steer(migration, change)

    def ask(self, migration: str, run: int, gate: Gate, token: str) -> bool:
        """An execution waits for a person: its token is kept for `approve`, or given back if somebody has approved meanwhile. -> Does it wait?"""

        def change(steering: Steering) -> bool:
            if self._standing(steering, migration, run, gate) is not None:
                return False
            steering.waits_for[f"{run}/{gate}"] = token
            return True

        waits = self._steer(migration, change)
        if not waits:
            self.release(token)
        return waits

    def approved(self, migration: str, run: int, gate: Gate) -> str | None:
        """By whom."""
        found = self._standing(self.steering(migration), migration, run, gate)
        return found.by if found is not None else None

    def _standing(self, steering: Steering, migration: str, run: int, gate: Gate) -> Approval | None:
        """The approval, unless there is more in quarantine than was signed for."""
        found = steering.approved.get(f"{run}/{gate}")
        made = self._verification(migration, run) if found is not None and gate == "certificate" else None
        return None if found is not None and made is not None and not found.covers(made.in_quarantine) else found

    def approve(self, migration: str, run: int, gate: Gate, by: str, *, up_to: int | None = None) -> bool:
        """Note who approved, then let go on whoever waits for it. -> Did somebody?

        A certificate is signed with what its verification found in quarantine; in advance, or with `up_to`, with so many rows at most.
        """
        name, approval = f"{run}/{gate}", Approval(by=by, up_to=up_to or 0)
        if gate == "certificate" and up_to is None and (made := self._verification(migration, run)) is not None:
            approval.tables = made.in_quarantine

        def note(steering: Steering) -> str | None:
            steering.approved[name] = approval
            return steering.waits_for.get(name)

        def forget(steering: Steering) -> None:
            if steering.waits_for.get(name) == token:
                del steering.waits_for[name]

        token = self._steer(migration, note)
        if token is None:
            return False
        waited = self.release(token)
        self._steer(migration, forget)  # only now: a token that could not be given back is there for the next try
        return waited

    def quiet(self, waited: int) -> Outcome:
        """Wait until the live writers have caught up. A live company is never still: what is under way verification looks at again.

        Each wait is a tenth longer than the one before (`waited`), so that the history of the run has room for an outage of days.
        """
        backlog = self.live.backlog()
        if backlog <= CAUGHT_UP:
            return Outcome()
        seconds = min(max(ceil(waited * 1.1), QUIET_SECONDS[0]), QUIET_SECONDS[1])
        return Outcome(outcome="wait", wait_seconds=seconds, reason=f"{backlog} messages under way")

    def certified(self, migration: str) -> int:
        """Its last certified run; 0: none."""
        return int(self.cursors.read(_cursor(migration)) or 0)

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

    def begun(self, migration: str, run: int) -> bool:
        """Has the run moved anything? Then some of what it needs of the org is used already."""
        plan = read_plan(self.files, migration, run)
        return plan is not None and any(state.phase != "planned" for state in self.judge.chunks.read_many(read_refs(self.files, plan)))

    def judged(self, migration: str, run: int) -> Certificate:
        """What would be certified as things stand, stored beside the run as `verification`."""
        made = self.judge.run(migration, run, approval=self.steering(migration).approved.get(f"{run}/certificate"))
        self._store(made, "verification")
        return made

    def certify(self, migration: str, run: int) -> Certificate:
        """Issue it, or say why not. Once issued it stays: doing it again changes nothing."""
        known = self.files.get(f"migrations/{migration}/run-{run}/certificate.json")
        if known is not None and self.certified(migration) >= run:
            return Certificate.model_validate_json(known)
        made = self.judged(migration, run)
        if made.issued:
            made.certified = True
            self._keep_list(made)
            self._store(made, "certificate")
            seen = self.cursors.read(_cursor(migration))
            if int(seen or 0) < run and not self.cursors.move(_cursor(migration), str(run), seen=seen):
                raise Retryable("another execution certified meanwhile", code="migration.race")
        return made

    def _verification(self, migration: str, run: int) -> Certificate | None:
        """As last judged."""
        content = self.files.get(f"{run_folder(migration, run)}/verification.json")
        return Certificate.model_validate_json(content) if content is not None else None

    def _keep_list(self, made: Certificate) -> None:
        """What was signed for stays beside the certificate, whatever is verified later."""
        folder = run_folder(made.migration, made.run)
        if (rows := self.files.open(f"{folder}/verification-quarantine.jsonl.gz")) is not None:
            with rows:
                self.files.put(f"{folder}/certificate-quarantine.jsonl.gz", rows)

    def _store(self, made: Certificate, name: str) -> None:
        folder = run_folder(made.migration, made.run)
        self.files.put(f"{folder}/{name}.json", json.dumps(made.model_dump(mode="json"), indent=1).encode())
        self.files.put(f"{folder}/{name}.html", page(made).encode())


def _key(migration: str) -> str:
    """Where its steering is kept."""
    return f"migration/{migration}/steering"


def _cursor(migration: str) -> str:
    """Where its certified run is kept: a rehearsal's is nobody's but its own."""
    return CURSOR if migration == MAIN else f"{CURSOR}/{migration}"
