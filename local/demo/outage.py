"""Salesforce is away for half a minute while the company works on; afterwards everything is there, and nobody had to do anything."""

from __future__ import annotations

import time

from local.demo.journal import Lag
from local.demo.stage import Stage
from local.demo.systems import Row
from local.demo.traffic import Traffic

#: how long Salesforce is away, and how long everything may take to arrive afterwards, in seconds
AWAY, CATCH_UP = 30, 150
#: new patients meanwhile, and between two edits of the traffic
NEW_EVERY, EDIT_EVERY = 2.0, 0.35


def goes_away(stage: Stage, traffic: Traffic) -> None:
    """503 to every call of the API for AWAY seconds; patients go on registering and being edited in the OMS."""
    away = 10 if stage.quick else AWAY
    traffic.pause, traffic.outage = EDIT_EVERY, True
    stage.org.admin("POST", "faults", {"kind": "unavailable", "seconds": away})
    began, edits = stage.journal.now(), traffic.edits
    registered = _register(stage, away)
    traffic.pause, traffic.outage = 1.0, False
    ended = stage.journal.now()
    stage.journal.outage = (began, ended)
    edits = traffic.edits - edits
    stage.fact(
        f"Salesforce was away for {ended - began:.0f} s; {len(registered)} patients registered and {edits} edits were made meanwhile"
    )
    lost = _arrive(stage, traffic, registered)
    stage.journal.caught_up = stage.journal.now()
    arrived = stage.journal.caught_up - ended
    buried = stage.systems.buried()
    made = len(registered) + edits
    stage.journal.summary["outage"] = {
        "seconds": round(ended - began, 1),
        "lost": lost,
        "dlq": buried,
        "caught_up_seconds": round(arrived, 1),
        "changes": made,
    }
    if lost:
        stage.broken(f"{lost} of {made} changes had not arrived {CATCH_UP} s after the end")
    else:
        stage.fact(f"all {made} changes have arrived, the last one so long after the end", arrived, "oms_to_salesforce")
    if buried:
        stage.broken(f"{buried} messages are in dead-letter queues")
    else:
        stage.fact("no message is in a dead-letter queue; nobody had to do anything")


def _register(stage: Stage, away: float) -> dict[str, tuple[Row, float]]:
    """A patient every NEW_EVERY seconds. -> id -> (row, when)"""
    registered: dict[str, tuple[Row, float]] = {}
    end = time.monotonic() + away
    while (left := end - time.monotonic()) > 0:
        stage.show.waiting(f"Salesforce is away for {left:.0f} s more; {len(registered)} patients have registered")
        number = len(registered) + 1
        request = {"first_name": "Noor", "last_name": f"Outage {number}", "email": f"noor.outage{number}@example.com"}
        patient = stage.oms.act("register-patient", **request)["patients"][0]
        registered[patient["id"]] = (patient, time.monotonic())
        time.sleep(max(0.0, min(NEW_EVERY, end - time.monotonic())))
    return registered


def _arrive(stage: Stage, traffic: Traffic, registered: dict[str, tuple[Row, float]]) -> int:
    """Wait for all of it; how many changes were not seen."""
    left = dict(registered)

    def outstanding() -> int:
        for patient in stage.org.by_oms_id("Account", list(left)) if left else {}:
            _, since = left.pop(patient)
            lag = Lag(since - stage.journal.begun, time.monotonic() - since, "oms_to_salesforce")
            stage.journal.lag(lag)
        return len(left) + traffic.outstanding(outage=True)

    deadline = time.monotonic() + CATCH_UP
    while (number := stage.look(outstanding, otherwise=len(left) + 1)) and time.monotonic() < deadline:
        stage.show.waiting(f"Salesforce is back; {number} changes are still on their way")
        time.sleep(0.25)
    return number
