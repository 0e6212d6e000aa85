"""Live traffic beside the demo: patients edited in the OMS, others by coordinators in Salesforce, and a watch on when each edit is seen opposite.

A number in the edited text tells which edit is seen; a later one stands for those before it. An edit of the OMS and one of Salesforce touch
different fields, so no conflict is asked for here.
"""

from __future__ import annotations

import random
import threading
import time
from dataclasses import dataclass, field

from local.demo.journal import Direction, Journal, Lag
from local.demo.systems import Refused, Row, Systems

#: people whom the traffic is about, and seconds between two edits
PATIENTS, PAUSE = 8, 0.8
_LOOK = 0.2


@dataclass(slots=True)
class Sent:
    """An edit that is not seen yet."""

    number: int
    at: float
    in_outage: bool


@dataclass
class Traffic:
    """Edits until it is stopped. Started as a thread by `start`."""

    systems: Systems
    journal: Journal
    pause: float = PAUSE
    outage: bool = False
    waiting: dict[tuple[Direction, str], list[Sent]] = field(default_factory=dict)
    #: patients registered elsewhere, and when, until each is seen in Salesforce
    expected: dict[str, Sent] = field(default_factory=dict)
    #: when the last change that was made while Salesforce was away was seen, since the start
    caught_up: float = 0.0
    #: the number in the next edit's text, edits made, and changes made while Salesforce was away
    turn: int = 0
    edits: int = 0
    during: int = 0
    refused: int = 0
    fault: Exception | None = None
    _random: random.Random = field(default_factory=lambda: random.Random(7))
    _patients: list[Row] = field(default_factory=list)
    _accounts: dict[str, str] = field(default_factory=dict)
    _stop: threading.Event = field(default_factory=threading.Event)
    _quiet: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin, unless it has begun; the patients are registered on the way."""
        if self._thread is not None:
            return
        self._thread = threading.Thread(target=self._run, name="traffic", daemon=True)
        self._thread.start()

    def hush(self) -> None:
        """No further edits; those under way are still watched."""
        self._quiet.set()

    def expect(self, patient: str) -> None:
        """A patient has just registered: watch for the account."""
        self.expected[patient] = self._sent(0)

    def arrived(self, patient: str) -> None:
        """The account of an expected patient was seen."""
        self._arrived(self.expected.pop(patient), "oms_to_salesforce")

    def _sent(self, number: int) -> Sent:
        self.during += self.outage
        return Sent(number, time.monotonic(), self.outage)

    def outstanding(self, *, outage: bool) -> int:
        """Changes made (while Salesforce was away) and not seen yet."""
        edits = [sent for some in list(self.waiting.values()) for sent in list(some)]
        return sum(sent.in_outage or not outage for sent in (*edits, *list(self.expected.values())))

    def stop(self) -> None:
        """End the thread."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=20)

    def _run(self) -> None:
        try:
            self._oms, self._org = self.systems.oms(), self.systems.org()
            self._register()
            self._edit_and_watch()
        except Exception as fault:  # noqa: BLE001  a thread's border: the demo asks for `fault`
            self.fault = fault

    def _register(self) -> None:
        for number in range(PATIENTS):
            request = {"first_name": "Robin", "last_name": f"Traffic {number + 1}", "email": f"robin.traffic{number + 1}@example.com"}
            self._patients.append(self._oms.act("register-patient", **request)["patients"][0])
            if self._stop.is_set():
                return

    def _edit_and_watch(self) -> None:
        due = time.monotonic()
        while not self._stop.wait(_LOOK):
            self._watch()
            if time.monotonic() >= due and not self._quiet.is_set():
                due = time.monotonic() + self.pause * self._random.uniform(0.5, 1.5)  # never in step with a poller
                self._edit()

    def _edit(self) -> None:
        """One edit, of the patient who has waited longest."""
        self.turn += 1
        turn = self.turn if self.outage else self.turn // 2
        patient = self._patients[turn % len(self._patients)]["id"]
        direction: Direction = "oms_to_salesforce" if self.turn % 2 or self.outage else "salesforce_to_oms"
        if self.waiting.get((direction, patient)) and not self.outage:
            return
        try:
            if direction == "oms_to_salesforce":
                self._oms.patch("patients", patient, preferred_name=f"Robin {self.turn}")
            elif patient in self._accounts:
                self._org.edit("Account", self._accounts[patient], Care_Notes__pc=f"Called back, call {self.turn}")
            else:
                return
        except Refused:
            self.refused += 1
            return
        self.edits += 1
        self.waiting.setdefault((direction, patient), []).append(self._sent(self.turn))

    def _watch(self) -> None:
        try:
            self._watch_salesforce()
            self._watch_oms()
        except Refused:
            return  # it is away: nothing is seen

    def _watch_salesforce(self) -> None:
        unknown = [patient["id"] for patient in self._patients if patient["id"] not in self._accounts]
        ids = [patient for direction, patient in list(self.waiting) if direction == "oms_to_salesforce"] + unknown + list(self.expected)
        if not ids:
            return
        for patient, record in self._org.by_oms_id("Account", ids, "Id, Preferred_Name__pc").items():
            if patient in self.expected:
                self.arrived(patient)
                continue
            self._accounts[patient] = str(record["Id"])
            self.seen("oms_to_salesforce", patient, record["Preferred_Name__pc"])

    def _watch_oms(self) -> None:
        ids = [patient for direction, patient in list(self.waiting) if direction == "salesforce_to_oms"]
        if not ids:
            return
        for row in self._oms.batch("patients", ids):
            self.seen("salesforce_to_oms", row["id"], row["care_notes"])

    def seen(self, direction: Direction, patient: str, text: object) -> None:
        """A text was seen on the other side."""
        number = str(text or "").rpartition(" ")[2]
        if not number.isdigit():
            return
        under_way = self.waiting.pop((direction, patient), [])
        for sent in under_way:
            if sent.number <= int(number):
                self._arrived(sent, direction)
        if left := [sent for sent in under_way if sent.number > int(number)]:
            self.waiting[direction, patient] = left

    def _arrived(self, sent: Sent, direction: Direction) -> None:
        now = time.monotonic()
        self.journal.lag(Lag(sent.at - self.journal.begun, now - sent.at, direction))
        if sent.in_outage:
            self.caught_up = max(self.caught_up, now - self.journal.begun)
