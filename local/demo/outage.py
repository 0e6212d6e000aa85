"""Salesforce is away for half a minute while the company works on; afterwards everything is there, and nobody had to do anything.

Two steps: `goes_away`, and `comes_back`, which waits for what was held up. What does not need Salesforce may be shown between them.
"""

from __future__ import annotations

import time

from local.demo.journal import PromiseBroken
from local.demo.stage import Stage
from local.demo.traffic import Traffic

#: how long Salesforce is away, and how long everything may take to arrive afterwards, in seconds
AWAY, CATCH_UP = 30, 150
#: new patients meanwhile, and between two edits of the traffic
NEW_EVERY, EDIT_EVERY = 2.0, 0.35


def goes_away(stage: Stage, traffic: Traffic) -> None:
    """503 to every call of the API for AWAY seconds; patients go on registering and being edited in the OMS. Then the traffic ends."""
    away = 10 if stage.quick else AWAY
    traffic.pause, traffic.outage = EDIT_EVERY, True
    stage.org.admin("POST", "faults", {"kind": "unavailable", "seconds": away})
    began = stage.journal.now()
    registered = _register(stage, traffic, away)
    traffic.hush()
    ended = stage.journal.now()
    stage.journal.outage = (began, ended)
    stage.journal.summary["outage"] = {"seconds": round(ended - began, 1)}
    edits = traffic.during - registered
    stage.fact(f"Salesforce answered 503 for {ended - began:.0f} s; {registered} patients registered and {edits} edits were made meanwhile")


def comes_back(stage: Stage, traffic: Traffic) -> None:
    """All of it arrives, at most CATCH_UP seconds after Salesforce was back."""
    outage = stage.journal.outage
    if outage is None:
        raise PromiseBroken("could not be tried: Salesforce did not go away")
    deadline = outage[1] + CATCH_UP
    while (lost := traffic.outstanding(outage=True)) and stage.journal.now() < deadline and traffic.fault is None:
        stage.show.waiting(f"Salesforce is back; {lost} changes are still on their way")
        time.sleep(0.25)
    stage.journal.caught_up = max(traffic.caught_up, outage[1]) if not lost else stage.journal.now()
    arrived, buried = stage.journal.caught_up - outage[1], stage.systems.buried()
    told = {"lost": lost, "dlq": buried, "caught_up_seconds": round(arrived, 1), "changes": traffic.during}
    stage.journal.summary["outage"] |= told
    if lost:
        stage.broken(f"{lost} of {traffic.during} changes had not arrived {CATCH_UP} s after the end")
    else:
        stage.fact(f"all {traffic.during} changes have arrived, this long after its return", arrived, "oms_to_salesforce")
    if buried:
        stage.broken(f"{buried} messages are in dead-letter queues")
    else:
        stage.fact("no message is in a dead-letter queue; nobody had to do anything")


def _register(stage: Stage, traffic: Traffic, away: float) -> int:
    """A patient every NEW_EVERY seconds, whom the traffic's watch looks for; how many."""
    number, end = 0, time.monotonic() + away
    while (left := end - time.monotonic()) > 0:
        stage.show.waiting(f"Salesforce is away for {left:.0f} s more; {number} patients have registered")
        number += 1
        request = {"first_name": "Noor", "last_name": f"Outage {number}", "email": f"noor.outage{number}@example.com"}
        traffic.expect(stage.oms.act("register-patient", **request)["patients"][0]["id"])
        time.sleep(max(0.0, min(NEW_EVERY, end - time.monotonic())))
    return number
