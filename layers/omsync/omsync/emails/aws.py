"""SES, EventBridge and Scheduler behind the emails' ports. SES is asked once: what it did not refuse for certain may have gone out."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    NoCredentialsError,
    ParamValidationError,
)

from omsync.emails.occurrences import EmailJob
from omsync.emails.ports import Envelope, Refused, Unclear
from omsync.emails.transitions import Transition
from omsync.platform.errors import Permanent, Retryable
from omsync.sync.stores import aws_fault

if TYPE_CHECKING:
    from mypy_boto3_events import EventBridgeClient
    from mypy_boto3_events.type_defs import PutEventsRequestEntryTypeDef
    from mypy_boto3_scheduler import EventBridgeSchedulerClient
    from mypy_boto3_sesv2 import SESV2Client
    from mypy_boto3_sesv2.type_defs import MessageHeaderTypeDef

SOURCE: Final = "omsync.lifecycle"
#: entries of one PutEvents call
_ENTRIES: Final = 10
#: a connection unused for so long is not used again
IDLE_SECONDS: Final = 5.0
#: refusals that pass: over quota, or sending is paused
_PASSING: Final = ("TooManyRequestsException", "LimitExceededException", "SendingPausedException", "Throttling", "ThrottlingException")


@dataclass(slots=True)
class SesMailer:
    """`Mailer` over SES v2. `client` must never try twice (`platform.aws.email`).

    A function that is not called is frozen, its connections with it, and the other end gives them up unheard. A read that meets such a
    connection is tried again; a send would be unclear, and a person would have to ask the patient. So what has idled is not used again.
    """

    client: SESV2Client
    sender: str
    configuration_set: str
    prefix: str
    now: Callable[[], float] = time.time  # not monotonic: that clock may stand still while the function is frozen
    _used: float = field(default=0.0, init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)

    def send(self, envelope: Envelope) -> str:
        """The message id."""
        self._leave_idle_connections()
        headers: list[MessageHeaderTypeDef] = []
        if envelope.unsubscribe_url:  # RFC 8058
            headers = [
                {"Name": "List-Unsubscribe", "Value": f"<{envelope.unsubscribe_url}>"},
                {"Name": "List-Unsubscribe-Post", "Value": "List-Unsubscribe=One-Click"},
            ]
        try:
            answer = self.client.send_email(
                FromEmailAddress=self.sender,
                Destination={"ToAddresses": [envelope.address]},
                Content={
                    "Template": {
                        "TemplateName": f"{self.prefix}-{envelope.template}",
                        "TemplateData": json.dumps(dict(envelope.data), ensure_ascii=False),
                        "Headers": headers,
                    }
                },
                EmailTags=[{"Name": "claim", "Value": envelope.tag}, {"Name": "category", "Value": envelope.category}],
                ConfigurationSetName=self.configuration_set,
            )
        except (ConnectTimeoutError, EndpointConnectionError, NoCredentialsError) as fault:  # it never got there
            raise Refused(Retryable(f"SES not reached: {type(fault).__name__}", code="ses.unreachable")) from None
        except ParamValidationError:
            raise Refused(Permanent("the email's form is not SES's", code="ses.form")) from None
        except BotoCoreError as fault:
            raise Unclear(type(fault).__name__) from None
        except ClientError as fault:
            raise _judged(fault) from None
        return str(answer["MessageId"])

    def _leave_idle_connections(self) -> None:
        with self._lock:
            idle, self._used = self.now() - self._used, self.now()
            if idle > IDLE_SECONDS:
                self.client.close()  # its connections alone: the next call makes new ones


def _judged(fault: ClientError) -> Refused | Unclear:
    code = str(fault.response.get("Error", {}).get("Code", "ClientError"))
    status = int(fault.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    if code in _PASSING or status == 429:
        return Refused(Retryable(f"SES asks to wait: {code}", code="ses.throttling", after=900.0 if "Paused" in code else 5.0))
    if 400 <= status < 500:
        return Refused(Permanent(f"SES refuses: {code}", code=f"ses.{code}"))
    return Unclear(code)


@dataclass(frozen=True, slots=True)
class SchedulerSchedules:
    """`Schedules` over EventBridge Scheduler: one-time, gone when done. A name that exists is the same email at the same moment."""

    client: EventBridgeSchedulerClient
    group: str
    queue_arn: str
    role_arn: str
    dlq_arn: str

    def at(self, name: str, moment: datetime, job: EmailJob) -> None:
        """Put the job into the queue at a moment (to the second)."""
        try:
            self.client.create_schedule(
                Name=name,
                GroupName=self.group,
                ScheduleExpression=f"at({moment.astimezone(UTC):%Y-%m-%dT%H:%M:%S})",
                ScheduleExpressionTimezone="UTC",
                FlexibleTimeWindow={"Mode": "OFF"},
                ActionAfterCompletion="DELETE",
                Target={
                    "Arn": self.queue_arn,
                    "RoleArn": self.role_arn,
                    "Input": job.model_dump_json(exclude_none=True),
                    "DeadLetterConfig": {"Arn": self.dlq_arn},
                    "RetryPolicy": {"MaximumRetryAttempts": 185, "MaximumEventAgeInSeconds": 86_400},
                },
            )
        except self.client.exceptions.ConflictException:
            return
        except (ClientError, BotoCoreError) as fault:
            raise aws_fault(fault) from None


@dataclass(frozen=True, slots=True)
class EventBus:
    """`Bus` over EventBridge."""

    client: EventBridgeClient
    name: str

    def publish(self, transitions: Sequence[Transition]) -> list[Transition]:
        """In calls of ten; those it did not take are told, whatever the reason."""
        refused: list[Transition] = []
        for start in range(0, len(transitions), _ENTRIES):
            part = transitions[start : start + _ENTRIES]
            try:
                answers = self.client.put_events(Entries=[self._entry(item) for item in part])["Entries"]
            except (ClientError, BotoCoreError):
                refused += part
                continue
            refused += [item for item, answer in zip(part, answers, strict=True) if "ErrorCode" in answer]
        return refused

    def _entry(self, item: Transition) -> PutEventsRequestEntryTypeDef:
        return {
            "EventBusName": self.name,
            "Source": SOURCE,
            "DetailType": f"{item.table} changed",
            "Detail": json.dumps(item.detail()),
            "Time": item.at,
        }
