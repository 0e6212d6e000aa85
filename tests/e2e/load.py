"""A small company at work on both sides at once, and what must be true of every change that was accepted."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import requests

from tests.e2e.world import Oms, Refused, World


@dataclass
class Load:
    """So many changes a second on each side; what a system that is down did not accept is nobody's change."""

    world: World
    rate: float = 2.0
    patients: dict[str, str] = field(default_factory=dict)  # OMS id -> Salesforce id
    names: dict[str, str] = field(default_factory=dict)  # OMS id -> the last preferred name that the OMS took
    notes: dict[str, str] = field(default_factory=dict)  # OMS id -> the last care notes that Salesforce took
    conditions: list[str] = field(default_factory=list)
    changes: int = 0
    refused: int = 0
    oms: Oms = field(init=False)
    _numbers: Iterator[int] = field(default_factory=itertools.count)  # no two changes write the same
    _over: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.oms = replace(self.world.oms, patience=0)

    def prepare(self, number: int = 6) -> None:
        """Patients whom both sides know."""
        rows = [self.world.patient() for _ in range(number)]
        self.patients = {row["id"]: self.world.account(row, seconds=60) for row in rows}
        self.oms.get("patients", next(iter(self.patients)))  # logged in, before anybody is away
        self.world.quiet()

    @contextmanager
    def running(self) -> Iterator[None]:
        """At work while the block lasts."""
        self._over.clear()
        threads = [threading.Thread(target=self._work, args=(change,), daemon=True) for change in (self._in_oms, self._in_salesforce)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._over.set()
            for thread in threads:
                thread.join()

    def _work(self, change: Callable[[int, str], None]) -> None:
        due = time.monotonic()
        for patient in itertools.cycle(self.patients):
            number = next(self._numbers)
            due += 1 / self.rate
            if self._over.wait(max(0.0, due - time.monotonic())):
                return
            try:
                change(number, patient)
                self.changes += 1
            except (Refused, requests.RequestException):
                self.refused += 1

    def _in_oms(self, number: int, patient: str) -> None:
        if number % 3:
            self.oms.patch("patients", patient, preferred_name=f"Name {number}")
            self.names[patient] = f"Name {number}"
        else:
            self.conditions.append(self.oms.create("patient_conditions", patient_id=patient, description=f"No {number}")["id"])

    def _in_salesforce(self, number: int, patient: str) -> None:
        self.world.org.edit("Account", self.patients[patient], Care_Notes__pc=f"Note {number}")
        self.notes[patient] = f"Note {number}"

    def lost(self) -> dict[str, object]:
        """What was accepted on one side and is not on both; {} if nothing was lost."""
        found: dict[str, object] = dict(self.world.differences({"patients": list(self.patients), "patient_conditions": self.conditions}))
        for patient in self.patients:
            row = self.world.oms.get("patients", patient) or {}
            told = {"preferred_name": self.names.get(patient), "care_notes": self.notes.get(patient)}
            found |= {f"{patient} {name}": (value, row.get(name)) for name, value in told.items() if row.get(name) != value}
        return found
