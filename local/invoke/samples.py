"""The events of `events/`, made true of the running stack: about records that are there, signed now, with links that open.

Everything they speak of is made by the systems' own APIs, anew every time: an email that was sent once would not be sent again.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any

from local.demo.story import daytime_zone
from local.demo.systems import Row, Systems
from local.stack.home import ROOT, Home, StackFault
from local.stack.secrets_store import Secrets
from omsync.emails.lifecycle import message_of
from omsync.emails.occurrences import EmailJob, Occurrence
from omsync.emails.tokens import Tokens
from omsync.oms.signature import sign
from omsync.sync.messages import LifecycleMessage, MirrorMessage, SyncMessage
from ops.connections import Connections

#: seconds within which what a sample speaks of must have reached the other side
PATIENCE = 90
type Event = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Sample:
    """A file in `events/`, the function it is for, and what the function must answer."""

    name: str
    function: str
    answered: Callable[[Any], bool]


def _status(wanted: int) -> Callable[[Any], bool]:
    return lambda answer: bool(answer["statusCode"] == wanted)


def _all_done(answer: Any) -> bool:
    return bool(answer == {"batchItemFailures": []})


def _outcome(*wanted: str) -> Callable[[Any], bool]:
    return lambda answer: answer["outcome"] in wanted


#: in an order in which each finds what it needs: a chunk is planned, extracted, loaded, linked, verified
SAMPLES = (
    Sample("health", "HealthFunction", lambda answer: answer["statusCode"] == 200 and json.loads(answer["body"])["status"] == "ok"),
    Sample("oms_events", "OmsEventsFunction", _status(202)),
    Sample("oms_events.batch", "OmsEventsFunction", _status(202)),
    Sample("salesforce_changes", "SalesforceChangesFunction", _status(202)),
    Sample("mirror", "MirrorFunction", _all_done),
    Sample("synchronise", "SynchroniseFunction", _all_done),
    Sample("isolation", "IsolationFunction", _all_done),
    Sample("sweep", "SweepFunction", lambda answer: isinstance(answer, dict) and "errorType" not in answer),
    Sample("breakers", "BreakersFunction", lambda answer: answer == {"salesforce": "closed", "oms": "closed"}),
    Sample("lifecycle", "LifecycleFunction", _all_done),
    Sample("lifecycle_outbox", "LifecycleOutboxFunction", lambda answer: isinstance(answer, dict) and "errorType" not in answer),
    Sample("email_sender", "EmailSenderFunction", _all_done),
    Sample("email_feedback", "EmailFeedbackFunction", _all_done),
    Sample("email_templates", "EmailTemplatesFunction", lambda answer: answer is None),
    Sample("verify_email", "VerifyEmailFunction", _status(200)),
    Sample("unsubscribe", "UnsubscribeFunction", _status(200)),
    Sample("migration_source", "MigrationSourceFunction", _outcome("done")),
    Sample("migration_source.extract", "MigrationSourceFunction", _outcome("done")),
    Sample("migration_load", "MigrationLoadFunction", _outcome("done", "wait")),
    Sample("migration_load.link", "MigrationLoadFunction", _outcome("done", "wait")),
    Sample("migration_verify", "MigrationVerifyFunction", _outcome("done", "wait")),
    Sample("migration_control", "MigrationControlFunction", _outcome("done")),
)


def load(name: str) -> Event:
    """A sample as it is in the repository."""
    return dict(json.loads((ROOT / "events" / f"{name}.json").read_text()))


@dataclass
class Cast:
    """The people, rows and keys of the running stack that the samples are about."""

    systems: Systems
    connections: Connections
    tag: str = field(default_factory=lambda: uuid.uuid4().hex[:8])

    @cached_property
    def oms(self) -> Any:
        return self.systems.oms()

    def patient(self, name: str) -> Row:
        """A patient who registers now and wants to hear from us."""
        zone = daytime_zone(datetime.now(UTC))  # else reminders wait for the morning
        told = {
            "first_name": name,
            "last_name": "Sample",
            "email": f"{name.lower()}.sample+{self.tag}@example.com",
            "marketing_opt_in": True,
        }
        return dict(self.oms.act("register-patient", **told, date_of_birth="1990-05-17", time_zone=zone)["patients"][0])

    @cached_property
    def ada(self) -> Row:
        """She has confirmed her address and begun a questionnaire."""
        made = self.patient("Ada")
        self.oms.act("verify-email", patient_id=made["id"])
        return dict(self.oms.get("patients", made["id"]))

    @cached_property
    def intake(self) -> Row:
        begun = self.oms.act("start-intake", patient_id=self.ada["id"], vertical="derm", questionnaire_code="acne")
        return dict(begun["intake_responses"][0])

    @cached_property
    def grace(self) -> Row:
        """She has just registered."""
        return self.patient("Grace")

    @cached_property
    def mary(self) -> Row:
        """Her mailbox does not exist, as will turn out."""
        return self.patient("Mary")

    @cached_property
    def una(self) -> Row:
        """Her row was imported: of history nobody is told, so what her event sets off is the sample's doing."""
        row = {"first_name": "Una", "last_name": "Sample", "email": f"una.sample+{self.tag}@example.com"}
        return dict(self.oms.call("POST", "/v1/patients", json=row, headers={"X-Changed-By": "import"}).json())

    @cached_property
    def product(self) -> Row:
        told = {"product_type": "otc", "requires_prescription": False, "list_price_cents": 100}
        return dict(self.oms.create("products", sku=f"OTC-{self.tag}", name="Sample moisturiser", **told))

    def account(self, patient: Row) -> str:
        """Her Salesforce id, once she has one."""
        found = self._seen(f"patient {patient['id']} in Salesforce", lambda: self.systems.org().by_oms_id("Account", [patient["id"]]))
        return str(found[patient["id"]]["Id"])

    def welcome(self, patient: Row) -> Row:
        """The first email she was sent, once it is in the mailbox."""
        return dict(self._seen("the first email", lambda: [mail for mail in self.systems.mailbox() if patient["email"] in mail["to"]])[0])

    def event(self, table: str, row_id: str) -> Event:
        """What the OMS said of a row first."""
        page = self.connections.oms().outbox(None, limit=10, subject=f"{table}/{row_id}")
        return next(dict(one) for one in page.events if one["subject"] == f"{table}/{row_id}")

    def token(self, purpose: Any, patient: Row) -> str:
        """A link's token, as the sender of emails makes it."""
        arn = self.connections.resources["EmailLinkSecret"][1]
        secret = json.loads(self.connections.client("secretsmanager").get_secret_value(SecretId=arn)["SecretString"])
        return Tokens((secret["current"].encode(),), time.time).make(purpose, patient["id"], address=patient["email"], identity=self.tag)

    def _seen(self, what: str, look: Callable[[], Any]) -> Any:
        deadline = time.monotonic() + PATIENCE
        while not (found := look()):
            if time.monotonic() > deadline:
                raise StackFault(f"{what}: not seen within {PATIENCE} s; see `omsync status`")
            time.sleep(0.3)
        return found


def prepare(cast: Cast) -> dict[str, Event]:
    """Sample's name -> event. Takes some seconds: it waits until both systems know of those in it."""
    now = datetime.now(UTC)
    ada, product = cast.ada, cast.product
    events = {sample.name: load(sample.name) for sample in SAMPLES}
    registered, listed = cast.event("patients", ada["id"]), cast.event("products", product["id"])
    common = {"correlation_id": f"sample-{cast.tag}", "committed_at": now}

    _signed(cast, events["oms_events"], registered)
    _signed(cast, events["oms_events.batch"], [registered, listed])
    account = cast.account(ada)
    hint = {"object": "Account", "id": account, "change": "UPDATE", "record_type": "Patient", "at": f"{now:%Y-%m-%dT%H:%M:%SZ}"}
    events["salesforce_changes"]["body"] = json.dumps({"events": [hint]})

    row = MirrorMessage(origin="oms", table="products", id=product["id"], version=product["version"], row=product, **common)
    looks = (
        SyncMessage(origin="oms", table="patients", id=ada["id"], **common),
        SyncMessage(origin="salesforce", sobject="Account", salesforce_id=account, change="UPDATE", record_type="Patient", **common),
    )
    _put(events["mirror"], row)
    _put(events["isolation"], row)
    _put(events["synchronise"], *looks)
    _put(events["lifecycle"], _news(cast.event("patients", cast.una["id"])))
    _put(events["email_sender"], _reminder(cast.intake))
    _bounced(events["email_feedback"], cast.welcome(cast.mary))
    events["email_templates"]["ResponseURL"] = _answer_url(cast)
    for name, purpose in (("verify_email", "verify"), ("unsubscribe", "unsubscribe")):
        token = cast.token(purpose, cast.grace)
        events[name] |= {"queryStringParameters": {"token": token}, "multiValueQueryStringParameters": {"token": [token]}}
    migration = f"sample-{cast.tag}"
    for name in (name for name in events if name.startswith("migration_")):
        (events[name].get("ref") or events[name])["migration"] = migration
    _prepare_migration(cast, migration, int(events["migration_source"]["run"]))
    return events


def _signed(cast: Cast, event: Event, content: object) -> None:
    """An API call with this body and a signature of now."""
    body, message, now = json.dumps(content), f"msg_{uuid.uuid4().hex}", int(time.time())
    secret = Secrets.of(Home(cast.systems.home)).webhook_secret
    told = {"webhook-id": message, "webhook-timestamp": str(now), "webhook-signature": sign(secret, message, now, body.encode())}
    event["body"] = body
    event["headers"] |= told
    event["multiValueHeaders"] |= {name: [value] for name, value in told.items()}


def _news(event: Event) -> LifecycleMessage:
    """An event of an imported row, as if it had happened now."""
    data = event["data"]
    message = message_of({**event, "data": {**data, "changed_by": "api", "row": {**data["row"], "changed_by": "api"}}})
    assert message is not None  # the OMS's own event is valid
    return message


def _put(event: Event, *messages: Any) -> None:
    """Into a queue's records."""
    for record, message in zip(event["Records"], messages, strict=True):
        record["body"] = message.model_dump_json()


def _reminder(intake: Row) -> EmailJob:
    """What EventBridge Scheduler puts into the email queue a day after a questionnaire was begun."""
    begun = datetime.fromisoformat(intake["created_at"])
    occurrence = Occurrence(
        flow="finish-intake",
        entity=intake["id"],
        value=str(intake["version"]),
        due=begun + timedelta(hours=24),
        version=intake["version"],
        source=f"intake_responses/{intake['id']}",
        at=begun,
    )
    return EmailJob(flow="finish-intake", occurrence=occurrence, correlation_id="sample-5")


def _bounced(event: Event, mail: Row) -> None:
    """SES's event about an email that it did send."""
    told = json.loads(event["Records"][0]["body"])
    about = told["detail"]["mail"]
    about |= {"messageId": mail["message_id"], "destination": mail["to"], "tags": {**about["tags"], "claim": [mail["tags"]["claim"]]}}
    told["detail"]["bounce"]["bouncedRecipients"] = [{"emailAddress": address} for address in mail["to"]]
    event["Records"][0]["body"] = json.dumps(told)


def _answer_url(cast: Cast) -> str:
    """Where CloudFormation waits for a custom resource's answer: a presigned object."""
    told: Mapping[str, Any] = {
        "Bucket": cast.connections.outputs["StagingBucketName"],
        "Key": f"samples/{cast.tag}.json",
        "ContentType": "",
    }
    return str(cast.connections.client("s3").generate_presigned_url("put_object", Params=told, ExpiresIn=3600))


def _prepare_migration(cast: Cast, migration: str, run: int) -> None:
    """What the state machine does before the first chunk: facts of the org, written down."""
    function = cast.connections.output("MigrationControlFunctionName")
    payload = json.dumps({"step": "prepare", "migration": migration, "run": run}).encode()
    answer = json.loads(cast.connections.client("lambda").invoke(FunctionName=function, Payload=payload)["Payload"].read())
    if answer.get("outcome") != "done":
        raise StackFault(f"the migration of the samples can't be prepared: {answer.get('reason') or answer}")
