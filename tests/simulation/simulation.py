"""One run: people, workers and weather, interleaved by a seeded schedule; then calm, sweeps, and the oracle's verdict.

The product's own synchroniser runs here unchanged. Several batches are open at once; each is stepped from port call to port call, and any
may be left standing for as long as the schedule likes, killed between or inside calls, or told that nobody answers although the call took
effect. No threads: a schedule is its seed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from oracle import Oracle
from people import People
from rules import TABLES, SimRegistry
from world import PARTS, Killed, World, retryable

from omsync.platform.errors import OmsyncError
from omsync.sync.converge import Synchroniser
from omsync.sync.digests import Digests
from omsync.sync.effects import Batch
from omsync.sync.ports import Refused
from omsync.sync.records import RecordKey, RecordRef, SalesforceRef

#: steps before the weather calms whatever is left to do; steps in which everything must be done then
STORM, STEPS = 1_500, 20_000
LEASE_SECONDS = 60


@dataclass(frozen=True)
class Weather:
    """Chances: a hint lost or doubled; for each thing a port does, its process killed or its answer lost; an outage beginning."""

    lose: float = 0.1
    dup: float = 0.25
    kill: float = 0.01
    deaf: float = 0.01
    outage: float = 0.02
    edits: int = 14
    workers: int = 4
    skew: int = 0  # microseconds by which Salesforce's clock is ahead
    times: bool = True  # the OMS tells when each column was edited
    bad: float = 0.0  # how often somebody writes what Salesforce cannot take
    messages: float = 0.0  # how often the OMS sends one, beside what else people do


WEATHERS = (
    Weather(),
    Weather(lose=0.3),
    Weather(kill=0.06, deaf=0.04),
    Weather(edits=30, kill=0.005, deaf=0.005),
    Weather(outage=0.1, workers=6, dup=0.6),
    Weather(skew=3_600_000_000),
    Weather(skew=-3_600_000_000),
    Weather(times=False),
    Weather(bad=0.4, kill=0.02),
)


@dataclass
class Worker:
    """A function that works on a batch."""

    refs: list[RecordRef]
    batch: Batch
    steps: Iterator[None]


class Simulation:
    def __init__(self, seed: int, weather: Weather, parts: frozenset[str] = PARTS, *, trace: bool = False) -> None:
        self.world = World(seed, parts, lose=weather.lose, dup=weather.dup, skew=weather.skew, times=weather.times)
        self.weather, self.calm = weather, False
        self.people = People(self.world)
        self.people.bad = weather.bad
        self.people.restless.append((weather.messages, lambda: self.people.create_in_oms("messages")))
        self.random = self.world.random
        self.workers: list[Worker] = []
        self.down: dict[str, int] = {}  # system -> steps until it is back
        self.failed: dict[RecordRef, str] = {}
        self.wrongly_failed: list[str] = []
        self.contended = 0
        if trace:
            self.world.trace = []
        self.world.fault = self._fault
        self.synchroniser = Synchroniser(
            SimRegistry(), Digests({"k1": b"simulation"}, "k1"), self.world.ports(), lease_seconds=LEASE_SECONDS
        )

    def run(self) -> list[str]:
        """The oracle's complaints; none is good."""
        for table in ("patients", "notes", "orders"):
            self.people.create_in_oms(table)
        edits, steps = self.weather.edits, 0
        while edits or ((self.world.hints or self.workers) and steps < STORM):
            steps += 1
            edits = self._once(edits)
        return self._settle()

    def _once(self, edits: int) -> int:
        self._change_weather()
        room = bool(self.world.hints) and len(self.workers) < self.weather.workers
        choice = self.random.choices(("person", "start", "step"), (1.0 * bool(edits), 2.0 * room, 8.0 * bool(self.workers)))[0]
        if choice == "person":
            self.people.act()
            return edits - 1
        if choice == "start":
            self._start()
        else:
            self._step(self.random.randrange(len(self.workers)))
        return edits

    def _settle(self) -> list[str]:
        """Calm: nothing fails any more. A sweep brings everything to rest, a second one finds nothing to do."""
        self.calm = True
        self.down.clear()
        held_back: list[str] = []
        if self.weather.bad:
            self._sweep()
            held_back = Oracle(self.world, self.people.merged, {}).held_back()
            self.people.mend()
        self._sweep()
        before = self._state()
        self._sweep()
        restless = [] if self._state() == before else ["not at rest"]
        return [*held_back, *restless, *self.wrongly_failed, *Oracle(self.world, self.people.merged, self.failed).complaints()]

    def _sweep(self) -> None:
        self.world.time += (LEASE_SECONDS + 1) * 1_000_000
        self.failed.clear()
        self.world.hints += list(self.world.rows)
        self.world.hints += [SalesforceRef(record.object, record.id) for record in self.world.records.values()]
        self.world.hints += [
            SalesforceRef(item.object, former) for former, key in self.world.pointers.items() if (item := self.world.items[key]).object
        ]
        for _ in range(STEPS):
            if self.workers:
                self._step(self.random.randrange(len(self.workers)))
            elif self.world.hints:
                self._start()
            else:
                return
        raise AssertionError("never comes to rest")

    def _state(self) -> object:
        rows = {key: row.version for key, row in self.world.rows.items()}
        items = {
            key: item for key, item in self.world.items.items() if item.intent is None and key not in self.failed
        }  # what failed is tried anew
        return rows, {record.id: (record.save, record.deleted) for record in self.world.records.values()}, items

    # ------------------------------------------------------------------------------------------------------------ workers
    def _start(self) -> None:
        size = min(len(self.world.hints), self.random.choice((1, 1, 2, 5)))
        refs = [self.world.hints.pop(self.random.randrange(len(self.world.hints))) for _ in range(size)]
        batch = self.synchroniser.batch(refs)
        self.workers.append(Worker(refs, batch, batch.steps()))

    def _step(self, number: int) -> None:
        worker = self.workers[number]
        try:
            next(worker.steps)
        except StopIteration:
            self.workers.pop(number)
            for ref in worker.refs:
                self._finish(worker, ref)
        except Killed:
            self.workers.pop(number)
            self.world.hints += worker.refs  # redelivered
            self.world.say("killed", *worker.refs)

    def _finish(self, worker: Worker, ref: RecordRef) -> None:
        outcome = worker.batch.outcome(ref)
        if outcome.kind == "retryable":
            self.contended += outcome.error is not None and outcome.error.code == "sync.contended"
            if outcome.error is None or outcome.error.code != "sync.lease":  # which only time can end: the sweep comes back to it
                self.world.hints.append(ref)
            self.world.say("again", ref, outcome.error)
        elif outcome.kind == "permanent":
            assert outcome.error is not None
            self.failed[ref] = outcome.error.code
            if not self._deserved(outcome.error):
                self.wrongly_failed.append(f"wrongly failed: {ref} {outcome.error}")
            self.world.say("failed", ref, outcome.error)
        else:
            self.failed.pop(ref, None)

    @staticmethod
    def _deserved(error: OmsyncError) -> bool:
        """Only a birth that the OMS refuses, births of its children, and what a bad value is in may fail for good."""
        if error.code in ("STRING_TOO_LONG", "transform.too_long"):
            return True
        return (isinstance(error, Refused) and error.columns == ("phone",)) or (
            error.code == "sync.parent" and "the OMS refuses phone" in str(error)
        )

    # ------------------------------------------------------------------------------------------------------------ weather
    def _change_weather(self) -> None:
        self.down = {system: left - 1 for system, left in self.down.items() if left > 1}
        if self.random.random() < self.weather.outage:
            self.down[self.random.choice(("oms", "salesforce", "ledger"))] = self.random.randrange(5, 40)

    def _fault(self, system: str, moment: str) -> None:
        if self.calm:
            return
        if self.random.random() < self.weather.kill:
            raise Killed
        if system in self.down or (moment == "after" and self.random.random() < self.weather.deaf):
            raise retryable(system)


__all__ = ["TABLES", "WEATHERS", "RecordKey", "Simulation", "Weather"]
