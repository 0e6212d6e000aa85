"""Composition root of the emails: the consumers of their queues, the outbox reader, the links' pages, the templates' custom resource."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel

from omsync.cases.service import Cases, Notices
from omsync.emails import pages, rights
from omsync.emails.aws import EventBus, SchedulerSchedules, SesMailer
from omsync.emails.compose import templates
from omsync.emails.feedback import Feedback, SesEvent
from omsync.emails.flows import load_flows
from omsync.emails.lifecycle import Lifecycle, OutboxReader
from omsync.emails.occurrences import EmailJob
from omsync.emails.plan import Planner
from omsync.emails.provision import Provisioner
from omsync.emails.sender import House, Sender, World
from omsync.emails.stores import DynamoClaims, DynamoPublished, DynamoReputation, DynamoSkips, DynamoSuppressions
from omsync.emails.tokens import BadToken, Tokens
from omsync.platform import aws, settings
from omsync.platform.bootstrap_sync import Queue, deadline, oms_client, salesforce_client
from omsync.platform.errors import OmsyncError, Stale
from omsync.platform.queues import Payloads, SqsSender
from omsync.platform.telemetry import logger
from omsync.sync.breaker import Breakers, System
from omsync.sync.consume import Consumer, Result
from omsync.sync.measure import EmfMetrics
from omsync.sync.messages import LifecycleMessage
from omsync.sync.stores import Cursors, DynamoBreakers, DynamoFailures, EventSourceValves
from omsync.sync.work import utc_now

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext

#: a page's patch meets another writer this often before it gives up
_TRIES = 4


# ----------------------------------------------------------------------------------------------------------- the consumers
def _consumer[M: BaseModel](
    told: settings.EmailConsumer, model: type[M], worker: Callable[[Sequence[M]], Sequence[Result]], needs: tuple[System, ...]
) -> Queue:
    """A consumer of this function's queue. A crash suspect goes to the DLQ, whose alarm calls a person: an email is never tried blindly.

    No valves: these queues don't stop with a breaker; while the OMS is away their messages wait with a delay.
    """
    payloads = Payloads(aws.s3(), told.staging_bucket)
    queue, dlq = SqsSender(aws.sqs(), told.queue_url, payloads), SqsSender(aws.sqs(), told.dlq_url, payloads)
    breakers = Breakers(DynamoBreakers(aws.dynamodb(), told.state_table), EventSourceValves(aws.functions(), {}), time.time)
    cases = Cases(salesforce_client(told))
    failures = DynamoFailures(aws.dynamodb(), told.failure_table, model.__name__, told.version, cases, time.time)
    measure = EmfMetrics(aws.dynamodb(), told.state_table, utc_now)
    consumer = Consumer(model, worker, queue, dlq, dlq, failures, breakers, needs, measure)
    return Queue(lambda records, request_id: consumer.handle(records, request_id=request_id), payloads, measure.flush)


def _lifecycle(told: settings.EmailPublisher) -> Lifecycle:
    bus = EventBus(aws.events(), told.lifecycle_bus)
    return Lifecycle(load_flows(), bus, DynamoPublished(aws.dynamodb(), told.state_table), deadline.is_up)


def lifecycle_consumer() -> Queue:
    """LifecycleQueue: accepted OMS events -> transitions on the bus."""
    told = settings.load(settings.LifecycleConsumer)
    return _consumer(told, LifecycleMessage, _lifecycle(told), ())


def outbox_reader() -> Callable[[], dict[str, int]]:
    """The OMS's outbox behind the pushes."""
    told = settings.load(settings.OutboxReader)
    return OutboxReader(oms_client(told), Cursors(aws.dynamodb(), told.state_table), _lifecycle(told), deadline.is_up).run


def sender_consumer() -> Queue:
    """EmailQueue."""
    told = settings.load(settings.EmailSender)
    house = House(told.email_sender, f"{told.portal_url.rstrip('/')}/login", told.api_url.rstrip("/"), told.postal_address)
    world = World(
        oms=oms_client(told),
        claims=DynamoClaims(aws.dynamodb(), told.claim_table),
        mailer=SesMailer(aws.email(), told.email_sender, told.configuration_set, told.template_prefix),
        schedules=SchedulerSchedules(aws.scheduler(), told.schedule_group, told.queue_arn, told.schedule_role_arn, told.schedule_dlq_arn),
        suppressions=_suppressions(told),
        skips=DynamoSkips(aws.dynamodb(), told.skip_table),
        reputation=DynamoReputation(aws.dynamodb(), told.state_table),
        cases=Notices(Cases(salesforce_client(told))),
        now=lambda: datetime.now(UTC),
    )
    sender = Sender(load_flows(), Planner(told.company_time_zone), house, world, _tokens(told), deadline.is_up)
    return _consumer(told, EmailJob, sender, ("oms",))


def feedback_consumer() -> Queue:
    """EmailFeedbackQueue: SES's events."""
    told = settings.load(settings.EmailFeedback)
    worker = Feedback(
        flows=load_flows(),
        oms=oms_client(told),
        claims=DynamoClaims(aws.dynamodb(), told.claim_table),
        suppressions=_suppressions(told),
        reputation=DynamoReputation(aws.dynamodb(), told.state_table),
        cases=Notices(Cases(salesforce_client(told))),
        now=_now,
        time_is_up=deadline.is_up,
    )
    return _consumer(told, SesEvent, worker, ("oms",))


def _suppressions(told: settings.Suppression) -> DynamoSuppressions:
    return DynamoSuppressions(aws.dynamodb(), told.suppression_table, settings.key_ring(told.ledger_secret_arn).secrets)


def _tokens(told: settings.EmailLinks) -> Tokens:
    members = settings.secret(told.email_link_secret_arn)
    return Tokens(tuple(members[name].get_secret_value().encode() for name in ("current", "previous") if name in members), time.time)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


# --------------------------------------------------------------------------------------------------------------- the pages
def link_page(purpose: Literal["verify", "unsubscribe"]) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
    """GET asks, POST does (RFC 8058: a mail client posts by itself)."""
    told = settings.load(settings.EmailPages)
    oms, claims, tokens = oms_client(told), DynamoClaims(aws.dynamodb(), told.claim_table), _tokens(told)

    def act(token: str) -> None:
        if purpose == "verify":
            rights.verify(oms, claims, tokens, token, _now())
        else:
            rights.unsubscribe(oms, tokens, token, _now())

    def answer(event: Mapping[str, Any]) -> dict[str, Any]:
        token = str((event.get("queryStringParameters") or {}).get("token") or "")
        words = _WORDS[purpose]
        try:
            if event["httpMethod"] != "POST":
                tokens.read(token, purpose)
                return pages.ask(words["ask"], words["why"], words["button"], token)
            _persistently(lambda: act(token))
        except BadToken as fault:
            logger.info("link refused", code=fault.code)
            return pages.say(
                400, "This link does not work", "It may be too old, or was used before. Please log in to your account instead."
            )
        except OmsyncError as fault:
            logger.warning("link not served", code=fault.code)
            return pages.say(503, "Please try again", "Something did not work on our side. Please try again in a few minutes.")
        return pages.say(200, words["done"], words["then"])

    return answer


_WORDS: Mapping[str, Mapping[str, str]] = {
    "verify": {
        "ask": "Confirm your email address",
        "why": "Please confirm that this address is yours.",
        "button": "Confirm my address",
        "done": "Thank you",
        "then": "Your address is confirmed. You can close this page.",
    },
    "unsubscribe": {
        "ask": "Unsubscribe",
        "why": "We will then only write about your orders, visits and account.",
        "button": "Unsubscribe",
        "done": "You are unsubscribed",
        "then": "You can change your mind in your account at any time.",
    },
}


def _persistently(work: Callable[[], None]) -> None:
    """Again, if another writer was quicker."""
    for attempt in range(_TRIES):
        try:
            return work()
        except Stale:
            if attempt == _TRIES - 1:
                raise
    return None


# ----------------------------------------------------------------------------------------------------- the custom resource
def template_resource() -> Callable[[Mapping[str, Any], LambdaContext], None]:
    """CloudFormation's custom resource: writes and tries the templates, and says SUCCESS or FAILED with its reason."""
    told = settings.load(settings.EmailTemplates)
    provisioner = Provisioner(aws.email(), told.template_prefix, lambda: time.sleep(told.template_call_seconds))

    def handle(event: Mapping[str, Any], context: LambdaContext) -> None:
        status, reason = "SUCCESS", ""
        try:
            known = templates(list(load_flows()))
            if event["RequestType"] == "Delete":
                provisioner.remove(known)
            else:
                reason = f"{provisioner.deploy(known)} templates"
        except OmsyncError as fault:
            status, reason = "FAILED", str(fault)
        except Exception as fault:  # noqa: BLE001 (a border: CloudFormation waits a quarter of an hour for a function that says nothing)
            status, reason = "FAILED", f"unexpected {type(fault).__name__}"
        if status == "FAILED":
            logger.error("templates", reason=reason)
        body = {
            "Status": status,
            "Reason": reason,
            "PhysicalResourceId": f"{told.template_prefix}-templates",
            "StackId": event["StackId"],
            "RequestId": event["RequestId"],
            "LogicalResourceId": event["LogicalResourceId"],
        }
        request = urllib.request.Request(  # noqa: S310 (CloudFormation's own address)
            str(event["ResponseURL"]), data=json.dumps(body).encode(), method="PUT", headers={"Content-Type": ""}
        )
        urllib.request.urlopen(request, timeout=30).close()  # noqa: S310

    return handle
