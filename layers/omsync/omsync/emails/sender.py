"""The sender: a job from the email queue -> an email, a schedule, or a skip with its reason.

Everything is looked at afresh when it is due; what comes too late, twice, or in another order finds that there is nothing to do. See `claims`
for why nothing is sent twice.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parseaddr
from typing import Final

from omsync.cases.ports import CasePort
from omsync.emails import conditions
from omsync.emails.claims import GRACE_SECONDS, LEASE_SECONDS, Claim, Claims
from omsync.emails.compose import locale_for, phrases, render, template
from omsync.emails.data import Writer
from omsync.emails.flows import UNSUBSCRIBE, Flow, Flows
from omsync.emails.hours import quiet_until
from omsync.emails.occurrences import EmailJob, Occurrence
from omsync.emails.plan import Planner
from omsync.emails.ports import Envelope, Mailer, Oms, Refused, Reputation, Schedules, Skips, Suppressions, Unclear
from omsync.emails.state import State
from omsync.emails.subject import Subject, moment
from omsync.emails.tokens import Tokens
from omsync.emails.transitions import Transition
from omsync.platform.errors import OmsyncError, Permanent, Retryable
from omsync.sync.consume import NOT_REACHED, Result

#: emails under way at once in one invocation
PARALLEL: Final = 8
#: what is due within this is due
SOON: Final = timedelta(seconds=60)
_ADDRESS: Final = re.compile(r"[^@\s<>,;:\"]+@[^@\s<>,;:\"]+\.[^@\s<>,;:\"]+")
#: nobody with this status is written to
_NEVER: Final = ("deceased", "merged", "erased")
_LINKS: Final = ("verify_url", UNSUBSCRIBE)


@dataclass(frozen=True, slots=True)
class House:
    """Whose emails they are: parameters of the deployment."""

    sender: str
    login_url: str
    api_url: str
    postal_address: str


@dataclass(frozen=True, slots=True)
class World:
    """Everything outside."""

    oms: Oms
    claims: Claims
    mailer: Mailer
    schedules: Schedules
    suppressions: Suppressions
    skips: Skips
    reputation: Reputation
    cases: CasePort
    now: Callable[[], datetime]


@dataclass(frozen=True, slots=True)
class Sender:
    """`Worker` of the email queue's consumer."""

    flows: Flows
    planner: Planner
    house: House
    world: World
    tokens: Tokens
    time_is_up: Callable[[], bool] = lambda: False
    new_id: Callable[[], str] = field(default=lambda: str(uuid.uuid4()))

    def __call__(self, jobs: Sequence[EmailJob]) -> list[Result]:
        """One result a job. Raises Retryable if the OMS cannot be read at all."""
        state = State(self.world.oms)
        self._prefetch(state, jobs)
        if len(jobs) == 1:
            return [self._job(state, jobs[0])]
        with ThreadPoolExecutor(min(PARALLEL, max(1, len(jobs)))) as pool:
            return list(pool.map(lambda job: self._job(state, job), jobs))

    def _prefetch(self, state: State, jobs: Sequence[EmailJob]) -> None:
        known = [(flow, job) for job in jobs if (flow := self.flows.get(job.flow)) is not None]
        fresh = [(flow, job.transition) for flow, job in known if job.transition is not None]
        due = [(flow, job.occurrence) for flow, job in known if job.occurrence is not None]
        self.planner.prefetch(state, [transition for _, transition in fresh], [flow for flow, _ in fresh], due)

    def _job(self, state: State, job: EmailJob) -> Result:
        if self.time_is_up():
            return NOT_REACHED
        record = None
        try:
            flow = self.flows.get(job.flow)
            if flow is None:
                raise Permanent(f"no flow '{job.flow}'", code="emails.flow")
            if job.occurrence is not None:
                record = f"{flow.entity}/{job.occurrence.entity}"
                return self._due(state, flow, job.occurrence, job.correlation_id)
            if job.transition is None:
                raise Permanent("the message holds neither a transition nor an occurrence", code="emails.message")
            record = f"{job.transition.table}/{job.transition.id}"
            return self._transition(state, flow, job.transition)
        except OmsyncError as fault:
            return Result("failed", fault, record)

    # -------------------------------------------------------------------------------------------------------- planning
    def _transition(self, state: State, flow: Flow, transition: Transition) -> Result:
        now = self.world.now()
        subject = self.planner.of_transition(state, flow, transition, now)
        planned = self.planner.occurrences(flow, transition, subject) if subject is not None else []
        if not planned:
            reason = "gone" if subject is None else "no_date"
            self.world.skips.note(f"{flow.flow}:{transition.id}:{transition.version}", flow.flow, reason)
            return Result(f"skipped_{reason}", record=f"{transition.table}/{transition.id}")
        if len(planned) > 1:
            self.world.claims.newest_trigger(flow.flow, planned[0].entity, transition.version)
        results = []
        for occurrence in planned:
            if occurrence.due > now + SOON:
                self._later(occurrence, occurrence.due, transition.correlation_id)
                results.append(Result("scheduled"))
            else:
                results.append(self._due(state, flow, occurrence, transition.correlation_id))
        failed = [result for result in results if result.fault is not None]
        return (failed or results)[0]

    def _later(self, occurrence: Occurrence, at: datetime, correlation_id: str) -> None:
        job = EmailJob(flow=occurrence.flow, occurrence=occurrence, correlation_id=correlation_id)
        self.world.schedules.at(occurrence.schedule_name(at), at, job)

    # --------------------------------------------------------------------------------------------------------- sending
    def _due(self, state: State, flow: Flow, occurrence: Occurrence, correlation_id: str) -> Result:
        """It is time: settle what was begun before, else look, claim, send, log."""
        record = f"{flow.entity}/{occurrence.entity}"
        now = self.world.now()
        subject = self.planner.of_occurrence(state, flow, occurrence, now)
        held = self.world.claims.read(occurrence.claim)
        if held is not None:
            return self._settle(flow, occurrence, subject, held, now)
        if subject is None:
            return self._skip(occurrence, "gone", record)
        reason = self._hindrance(flow, occurrence, subject)
        if reason is not None:
            return self._skip(occurrence, reason, record)
        if flow.category != "transactional" and (until := quiet_until(now, subject.zone)) is not None:
            self._later(occurrence, until, correlation_id)
            return Result("postponed", record=record)
        return self._send(flow, occurrence, subject, now)

    def _hindrance(self, flow: Flow, occurrence: Occurrence, subject: Subject) -> str | None:
        """Why it is not sent, or None. From the most telling reason to the least."""
        if subject.patient["status"] in _NEVER or (subject.patient["status"] == "blocked" and flow.category != "transactional"):
            return f"patient_{subject.patient['status']}"
        if self.planner.has_moved(flow, occurrence, subject):
            return "moved"
        if occurrence.slug and flow.timing.anchor == "trigger" and self._is_superseded(occurrence):
            return "superseded"
        for name in flow.cancel_if:
            if conditions.BY_NAME[name](subject):
                return name
        return self._unreachable(flow, subject) or self._unwanted(flow, subject)

    def _is_superseded(self, occurrence: Occurrence) -> bool:
        return self.world.claims.newest_trigger(occurrence.flow, occurrence.entity, occurrence.version) > occurrence.version

    def _unreachable(self, flow: Flow, subject: Subject) -> str | None:
        address = str(subject.patient["email"] or "")
        if not _ADDRESS.fullmatch(address):
            return "no_address"
        if subject.patient["email_verified_at"] is None and not flow.unverified:
            return "unverified"
        why = self.world.suppressions.reason([address]).get(address)
        if why and flow.clinical:
            self.world.cases.open(
                "email_undeliverable", f"patients/{subject.patient['id']}", _UNDELIVERABLE.format(flow=flow.flow, why=why)
            )
        return f"suppressed_{why}" if why else None

    def _unwanted(self, flow: Flow, subject: Subject) -> str | None:
        if flow.category == "transactional":
            return None
        if flow.category == "marketing":
            if not subject.patient["marketing_opt_in"]:
                return "opted_out"
            return "reputation" if self.world.reputation.endangered() else None
        return "unsubscribed" if not subject.patient["marketing_opt_in"] and unsubscribed(subject) else None

    def _send(self, flow: Flow, occurrence: Occurrence, subject: Subject, now: datetime) -> Result:
        record, owner = f"{flow.entity}/{occurrence.entity}", self.new_id()
        locale = locale_for(subject.patient.get("preferred_language"))
        parts = template(flow.flow, locale)
        data = self._writer(flow, occurrence, locale).data(flow, subject)
        parts.check(data)
        cap = None if flow.category == "transactional" else f"{subject.patient['id']}/{now.astimezone(subject.zone):%Y-%m-%d}"
        match self.world.claims.take(occurrence.claim, owner, now.timestamp(), cap=cap):
            case "held":
                raise Retryable("another invocation is at it", code="emails.held", record=record, after=30.0)
            case "capped":
                return self._skip(occurrence, "capped", record)
        envelope = Envelope(parts.name, str(subject.patient["email"]), data, occurrence.tag, flow.category, data.get(UNSUBSCRIBE))
        try:
            message_id = self.world.mailer.send(envelope)
        except Refused as refused:
            self.world.claims.release(occurrence.claim, owner, cap=cap)
            raise refused.fault from None
        except Unclear as unclear:
            raise Retryable(
                f"no telling whether it was sent ({unclear})", code=f"emails.unclear.{unclear}", record=record, after=LEASE_SECONDS
            ) from None
        at = self.world.now().astimezone(UTC).isoformat()
        self.world.claims.sent(occurrence.claim, owner, message_id=message_id, at=at)
        self.world.reputation.count("sent")
        self._log(flow, occurrence, subject, message_id, at)
        return Result("sent", record=record)

    # -------------------------------------------------------------------------------------------------------- settling
    def _settle(self, flow: Flow, occurrence: Occurrence, subject: Subject | None, held: Claim, now: datetime) -> Result:
        """Somebody claimed it before, perhaps this very message before a crash."""
        record = f"{flow.entity}/{occurrence.entity}"
        if held.state == "unknown":
            return Result("unknown", record=record)
        if held.state == "sent":
            if not held.logged and held.message_id and held.sent_at:
                self._log(flow, occurrence, subject, held.message_id, held.sent_at)
                return Result("logged", record=record)
            return Result("duplicate", record=record)
        left = held.lease_until + GRACE_SECONDS - now.timestamp()
        if left > 0:
            raise Retryable("claimed, and not known to be sent", code="emails.held", record=record, after=min(left, 60.0) + 1)
        self.world.cases.open("email_unknown", record, _UNKNOWN.format(flow=flow.flow, claim=occurrence.claim))
        self.world.claims.give_up(occurrence.claim, held.owner)
        return Result("unknown", record=record)

    def _log(self, flow: Flow, occurrence: Occurrence, subject: Subject | None, message_id: str, at: str) -> None:
        """Tell the OMS; under the claim's id, so that twice is once."""
        row: dict[str, object] = {
            "id": occurrence.communication_id,
            "channel": "email",
            "direction": "outbound",
            "from_address": parseaddr(self.house.sender)[1],  # Salesforce takes an address, not a name with one
            "template_code": flow.code,
            "delivery_status": "sent",
            "provider_message_id": message_id,
            "sent_at": at,
        }
        if subject is not None:
            row |= {"patient_id": subject.patient["id"], "order_id": _order_of(subject), "to_address": subject.patient["email"]}
            row |= self._said(flow, occurrence, subject)
        self.world.oms.create("communications", row, key=f"email-{occurrence.communication_id}")
        self.world.claims.logged(occurrence.claim)

    def _said(self, flow: Flow, occurrence: Occurrence, subject: Subject) -> dict[str, str]:
        """What it said, without the links that open doors."""
        locale = locale_for(subject.patient.get("preferred_language"))
        parts = template(flow.flow, locale)
        try:
            data = self._writer(flow, occurrence, locale).data(flow, subject)
        except Permanent:  # what it was about has changed since: the subject line is left
            return {"subject": render(parts.subject, {"reference": ""})} if "{{" not in parts.subject else {}
        plain = {name: value.partition("?")[0] if name in _LINKS else value for name, value in data.items()}
        return {"subject": render(parts.subject, plain), "body_text": render(parts.text, plain)}

    def _skip(self, occurrence: Occurrence, reason: str, record: str) -> Result:
        self.world.skips.note(occurrence.claim, occurrence.flow, reason)
        return Result(f"skipped_{reason}", record=record)

    def _writer(self, flow: Flow, occurrence: Occurrence, locale: str) -> Writer:
        def link(purpose: str, subject: Subject) -> str:
            token = self.tokens.make(
                "verify" if purpose == "verify" else "unsubscribe",
                str(subject.patient["id"]),
                address=str(subject.patient["email"]),
                identity=occurrence.communication_id,
            )
            return f"{self.house.api_url}/email/{purpose}?token={token}"

        return Writer(
            phrases=phrases(locale),
            login_url=self.house.login_url,
            postal_address=self.house.postal_address,
            verify_url=lambda subject: link("verify", subject),
            unsubscribe_url=lambda subject: link("unsubscribe", subject),
        )


_UNKNOWN = (
    "The email {flow} (claim {claim}) was begun and there is no telling whether it went out: no answer from SES and no event of its.\n"
    "Look at the patient's communications and ask the patient if it matters. It is not sent again by itself."
)
_UNDELIVERABLE = "The email {flow} cannot be delivered: the patient's address is suppressed ({why}). Please reach the patient another way."


def unsubscribed(subject: Subject) -> bool:
    """Did the patient leave our emails? The latest word counts; who never said a word has not left."""
    rows: Sequence[Mapping[str, object]] = subject.state.children("patient_consents", "patient_id", str(subject.patient["id"]))
    said = [row for row in rows if row["consent_type"] == "email_marketing"]
    if not said:
        return False
    latest = max(said, key=lambda row: max(moment(row["granted_at"]), moment(row["revoked_at"] or row["granted_at"])))
    return latest["revoked_at"] is not None or not latest["granted"]


def _order_of(subject: Subject) -> object:
    return subject.row["id"] if subject.table == "orders" else subject.row.get("order_id")
