"""What the demo saw: steps, facts with their seconds, promises kept and broken. The summary and the page are made of it, and of nothing else."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import Literal

type Direction = Literal["oms_to_salesforce", "salesforce_to_oms"]


class PromiseBroken(Exception):
    """Something that omsync promises did not happen. One line."""


@dataclass(frozen=True, slots=True)
class Lag:
    """One change's way: from the answer of the system it was made in until it was seen in the other. `at`: when it was made, since the start."""

    at: float
    seconds: float
    direction: Direction


@dataclass(frozen=True, slots=True)
class Fact:
    """Something that was observed. `seconds` until it was; None where time is not the point."""

    text: str
    seconds: float | None = None
    direction: Direction | None = None


@dataclass(slots=True)
class StepRecord:
    """One step of the demo."""

    name: str
    title: str
    began: float
    seconds: float = 0.0
    facts: list[Fact] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)


@dataclass(slots=True)
class TableCompared:
    """One table's part of the final comparison."""

    table: str
    records: int
    values: int
    different: int


@dataclass(frozen=True, slots=True)
class MigratedTable:
    """One table's line in its run's certificate."""

    table: str
    run: int
    rows: int
    verified: int
    not_sent: int
    quarantined: int
    rate: float


@dataclass(frozen=True, slots=True)
class MigratedRun:
    """One run: what it proved, and how long it took from its plan to its certificate."""

    run: int
    tables: int
    verified: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Mail:
    """One email of the mailbox."""

    flow: str
    subject: str
    html: str


@dataclass
class Journal:
    """The demo's memory. Traffic writes into it from its own thread."""

    begun: float = field(default_factory=time.monotonic)
    steps: list[StepRecord] = field(default_factory=list)
    lags: list[Lag] = field(default_factory=list)
    compared: list[TableCompared] = field(default_factory=list)
    migrated: list[MigratedTable] = field(default_factory=list)
    runs: list[MigratedRun] = field(default_factory=list)
    #: (seconds since the migration was planned, rows verified by then)
    verified: list[tuple[float, int]] = field(default_factory=list)
    mails: list[Mail] = field(default_factory=list)
    #: sections of summary.json, as steps fill them
    summary: dict[str, dict[str, object]] = field(default_factory=dict)
    #: when Salesforce was down, since the start
    outage: tuple[float, float] | None = None
    #: when what was held up by it had arrived
    caught_up: float | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def now(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.begun

    def begin(self, name: str, title: str) -> StepRecord:
        """A step begins."""
        record = StepRecord(name, title, self.now())
        self.steps.append(record)
        return record

    def end(self, record: StepRecord) -> None:
        """It is over."""
        record.seconds = self.now() - record.began

    def lag(self, lag: Lag) -> None:
        """A change arrived."""
        with self._lock:
            self.lags.append(lag)

    def seconds(self, direction: Direction, *, outage: bool = False) -> list[float]:
        """Lags of a direction, in the order of their changes; those that Salesforce's absence held up are another matter."""
        with self._lock:
            chosen = [lag for lag in self.lags if lag.direction == direction and self.held_up(lag) == outage]
        return [round(lag.seconds, 3) for lag in sorted(chosen, key=lambda lag: lag.at)]

    def held_up(self, lag: Lag) -> bool:
        """Was it on its way at any moment from the beginning of the outage until all had been caught up?"""
        if self.outage is None:
            return False
        begin, end = self.outage[0], self.caught_up or self.outage[1]
        return lag.at < end and lag.at + lag.seconds > begin

    @property
    def broken(self) -> list[str]:
        """Every broken promise, with its step."""
        return [f"{step.title}: {text}" for step in self.steps for text in step.broken]

    def told(self) -> dict[str, object]:
        """`summary.json`. A section is there once its part has been shown."""
        sections: dict[str, object] = dict(self.summary)
        if self.lags:
            conflicts = self.summary.get("sync", {}).get("conflicts", 0)
            sections["sync"] = {
                "oms_to_salesforce_seconds": self.seconds("oms_to_salesforce"),
                "salesforce_to_oms_seconds": self.seconds("salesforce_to_oms"),
                "conflicts": conflicts,
            }
        if self.compared:
            sections["compared"] = {
                "values": sum(one.values for one in self.compared),
                "different": sum(one.different for one in self.compared),
            }
        return {
            **sections,
            "promises_broken": self.broken,
            "steps": [{"name": step.name, "seconds": round(step.seconds, 1), "ok": not step.broken} for step in self.steps],
            "seconds": round(self.now(), 1),
        }


def percentile(values: list[float], share: float) -> float:
    """The smallest value that at least this share of the values does not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, min(len(ordered) - 1, -int(-share * len(ordered) // 1) - 1))]
