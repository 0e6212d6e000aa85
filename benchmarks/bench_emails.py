"""A burst of emails on the embedded stack: 2,000 triggers at once, each sent or held back with its reason, none twice; calls an email.

    python benchmarks/bench_emails.py [--patients 500]

Needs a stack that is up (`make up`; OMSYNC_HOME names another one) and adds to it. Each patient orders and books a visit while the pushes are
held, which is four triggers (order-confirmation, visit-booked, visit-reminder, secure-message); every tenth cancels the order, which takes its
confirmation back and has an email of its own. Then the pushes go out at once, and after that the schedules of a week fire at once. Counted are
SendEmail calls as the embedded SES answered them and the OMS's requests as it counted them by function. Prints one JSON object and keeps it
in `.local/bench/`.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from local.stack.deploy import Aws, outputs
from local.stack.home import ROOT, Home
from tests.e2e.clinic import Clinic, claim_of, together
from tests.e2e.conftest import Stack
from tests.e2e.world import Row, World

#: every so many patients cancel
CANCELLED = 10
FLOWS = ("order-confirmation", "visit-booked", "visit-reminder", "secure-message")


@dataclass(frozen=True)
class Calls:
    """What was asked so far."""

    ses: Counter[str]
    oms: Counter[tuple[str, str]]

    @classmethod
    def now(cls, clinic: Clinic) -> Calls:
        stack = clinic.world.stack
        ses = stack.http.get(f"{stack.endpoints['mailbox_url']}/calls").json()
        oms = clinic.oms.call("GET", "/admin/calls").json()
        counted = {(agent, what): number for agent, calls in oms.items() for what, number in calls.items()}
        return cls(Counter(ses), Counter(counted))

    def since(self, before: Calls) -> Calls:
        return Calls(self.ses - before.ses, self.oms - before.oms)

    def of(self, function: str, *, reads: bool) -> int:
        """Requests of a function to the OMS: batched reads, or the rest."""
        return sum(number for (agent, what), number in self.oms.items() if agent == f"omsync/{function}" and is_batched(what) == reads)


def is_batched(what: str) -> bool:
    """A read of many rows at once: by their ids, or by those of their parents."""
    return what.endswith("/batch-get") or (what.startswith("GET /v1/") and "{id}" not in what)


def happens(clinic: Clinic, person: Row, number: int) -> dict[str, str]:
    """A patient's day; what each flow's claim begins with."""
    order, visit = clinic.order(person), clinic.visit(person)
    clinic.oms.act("send-provider-message", patient_id=person["id"], body="Please call us.")
    claims = {"order-confirmation": order["id"], "visit-booked": visit["id"], "visit-reminder": visit["id"], "secure-message": person["id"]}
    if number % CANCELLED == 0:
        clinic.oms.act("cancel-order", order_id=order["id"])
        claims["order-cancelled-refunded"] = order["id"]
    return {flow: f"{flow}:{entity}:" for flow, entity in claims.items()}


def accounted(clinic: Clinic, wanted: Iterable[str]) -> dict[str, Any]:
    """What became of each occurrence: its emails, or the reason of its skip."""
    sent = Counter(begin(claim_of(email).replace(".", ":")) for email in clinic.mailbox())
    skipped = {begin(claim): reason for claim, reason in clinic.skips()}
    triggers = list(wanted)
    lost = [claim for claim in triggers if not sent[claim] and claim not in skipped]
    return {
        "triggers": len(triggers),
        "sent": sum(1 for claim in triggers if sent[claim]),
        "held_back": dict(Counter(skipped[claim] for claim in triggers if not sent[claim] and claim in skipped)),
        "lost": len(lost),
        "twice": sum(1 for claim in triggers if sent[claim] > 1),
        "per_flow": dict(Counter(claim.partition(":")[0] for claim in triggers if sent[claim])),
    }


def begin(claim: str) -> str:
    """A claim without its due value."""
    return claim.rpartition(":")[0] + ":"


def measured(clinic: Clinic, begun: float, before: Calls, emails: int) -> dict[str, Any]:
    """A burst, from its first push until nothing of the emails is under way."""
    calls = Calls.now(clinic).since(before)
    sender, feedback = calls.of("email_sender", reads=False), calls.of("email_feedback", reads=False)
    ses = sum(calls.ses.values())
    return {
        "seconds": round(time.monotonic() - begun, 1),
        "emails": emails,
        "emails_per_second": round(emails / (time.monotonic() - begun), 1),
        "ses_calls": dict(calls.ses),
        "oms_calls_of_the_sender": sender,
        "calls_per_email": round((ses + sender) / max(1, emails), 3),
        "batched_reads_of_the_sender": calls.of("email_sender", reads=True),
        "status_updates_per_email": round(feedback / max(1, emails), 3),
        "batched_reads_of_the_feedback": calls.of("email_feedback", reads=True),
    }


@click.command()
@click.option("--patients", default=500, show_default=True, help="Four triggers each.")
def main(patients: int) -> None:
    """Measure."""
    home = Home.here()
    told = home.endpoints()
    world = World(Stack(home.path, told, outputs(Aws(told["aws_endpoint_url"]))))
    clinic = Clinic(world)
    clinic.oms.pushes(paused=False)
    clinic.open()
    people = together(range(patients), lambda number: clinic.patient(f"p{number}"))
    clinic.settled(seconds=600)
    clinic.oms.pushes(paused=True)
    wanted = together(enumerate(people), lambda one: happens(clinic, one[1], one[0]))
    report: dict[str, Any] = {"at": datetime.now(UTC).isoformat(timespec="seconds"), "patients": patients}
    emails = len(clinic.mailbox())
    before, begun = Calls.now(clinic), time.monotonic()
    clinic.oms.pushes(paused=False)
    clinic.settled(feedback=False, seconds=900)
    sent = len(clinic.mailbox())
    report["pushed at once"] = measured(clinic, begun, before, sent - emails)
    clinic.settled(seconds=600)
    before, begun = Calls.now(clinic), time.monotonic()
    clinic.pass_time(7)
    clinic.settled(feedback=False, seconds=900)
    report["scheduled at once"] = measured(clinic, begun, before, len(clinic.mailbox()) - sent)
    clinic.settled(seconds=600)
    report["accounted"] = accounted(clinic, [claim for claims in wanted for claim in claims.values()])
    report["dead_letters"] = clinic.dead_letters()
    folder = Path(ROOT, ".local", "bench")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "emails.json").write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps(report, indent=1))
    short = [name for name in ("lost", "twice") if report["accounted"][name]]
    if short or report["dead_letters"] or max(report[part]["calls_per_email"] for part in ("pushed at once", "scheduled at once")) > 2:
        raise SystemExit(f"not as promised: {', '.join(short) or 'dead letters, or more than two calls an email'}")


if __name__ == "__main__":
    main()
