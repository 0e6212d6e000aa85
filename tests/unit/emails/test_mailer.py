"""SES as the sender asks it: what is in the call, what an error means for the claim, and which connection it goes over."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import boto3
import pytest
from botocore.exceptions import (
    ClientError,
    ConnectionClosedError,
    ConnectTimeoutError,
    EndpointConnectionError,
    ParamValidationError,
    ReadTimeoutError,
)

from omsync.emails.aws import IDLE_SECONDS, SesMailer
from omsync.emails.ports import Envelope, Refused, Unclear
from omsync.platform.aws import ONCE
from omsync.platform.errors import OmsyncError, Permanent, Retryable

ORDER = Envelope("en-order-shipped", "zoe@example.com", {"name": "Zoë"}, "order-shipped.7.3", "transactional")
REFILL = Envelope(
    "en-refill-due", "zoe@example.com", {"name": "Zoë"}, "refill-due.7.3", "refill", "https://api.example/email/unsubscribe?token=t"
)


@dataclass
class FakeSes:
    fault: Exception | None = None
    asked: list[dict[str, Any]] = field(default_factory=list)
    closed: int = 0

    def send_email(self, **request: Any) -> dict[str, str]:
        self.asked.append(request)
        if self.fault is not None:
            raise self.fault
        return {"MessageId": "m-1"}

    def close(self) -> None:
        self.closed += 1


@dataclass
class Clock:
    at: float = 1000.0

    def __call__(self) -> float:
        return self.at


def mailer(ses: FakeSes, clock: Clock | None = None) -> SesMailer:
    return SesMailer(ses, "Care <care@upscript.example>", "live-emails", "live", clock or Clock())  # type: ignore[arg-type]


def test_a_stored_template_with_the_claim_as_a_tag() -> None:
    ses = FakeSes()
    assert mailer(ses).send(ORDER) == "m-1"
    [asked] = ses.asked
    assert asked["Content"]["Template"] == {"TemplateName": "live-en-order-shipped", "TemplateData": json.dumps({"name": "Zoë"}, ensure_ascii=False),
                                            "Headers": []}  # fmt: skip
    assert asked["EmailTags"] == [{"Name": "claim", "Value": "order-shipped.7.3"}, {"Name": "category", "Value": "transactional"}]
    assert (asked["ConfigurationSetName"], asked["Destination"]) == ("live-emails", {"ToAddresses": ["zoe@example.com"]})


def test_one_click_unsubscribe_as_rfc_8058_wants_it() -> None:
    ses = FakeSes()
    mailer(ses).send(REFILL)
    assert ses.asked[0]["Content"]["Template"]["Headers"] == [
        {"Name": "List-Unsubscribe", "Value": "<https://api.example/email/unsubscribe?token=t>"},
        {"Name": "List-Unsubscribe-Post", "Value": "List-Unsubscribe=One-Click"},
    ]


def refusal(code: str, status: int) -> ClientError:
    return ClientError({"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}, "SendEmail")  # type: ignore[typeddict-item]


@pytest.mark.parametrize(
    ("fault", "means"),
    [
        (refusal("TooManyRequestsException", 429), Retryable),
        (refusal("Throttling", 400), Retryable),
        (refusal("LimitExceededException", 400), Retryable),
        (refusal("SendingPausedException", 400), Retryable),
        (refusal("MessageRejected", 400), Permanent),
        (refusal("NotFoundException", 404), Permanent),
        (ParamValidationError(report="x"), Permanent),
        (ConnectTimeoutError(endpoint_url="x"), Retryable),
        (EndpointConnectionError(endpoint_url="x"), Retryable),
    ],
)
def test_what_ses_did_not_take_for_certain_is_refused(fault: Exception, means: type[OmsyncError]) -> None:
    with pytest.raises(Refused) as refused:
        mailer(FakeSes(fault)).send(ORDER)
    assert isinstance(refused.value.fault, means)


@pytest.mark.parametrize(
    "fault",
    [ReadTimeoutError(endpoint_url="x"), ConnectionClosedError(endpoint_url="x"), refusal("InternalFailure", 500), refusal("503", 503)],
)
def test_what_may_have_gone_out_is_unclear(fault: Exception) -> None:
    with pytest.raises(Unclear):
        mailer(FakeSes(fault)).send(ORDER)


def test_a_connection_that_has_idled_is_left() -> None:
    """It may have died while the function was frozen: a send over it would be unclear."""
    ses, clock = FakeSes(), Clock()
    sender = mailer(ses, clock)
    sender.send(ORDER)
    assert ses.closed == 1, "a client may have been used before"
    for span in (0.0, IDLE_SECONDS - 1, IDLE_SECONDS - 1):
        clock.at += span
        sender.send(ORDER)
    assert ses.closed == 1
    clock.at += IDLE_SECONDS + 1
    sender.send(ORDER)
    assert ses.closed == 2


def test_a_closed_client_sends_again() -> None:
    """boto3's promise that this rests on: closing leaves the connections, not the client."""
    client = boto3.client("sesv2", region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x", config=ONCE)
    client.close()
    with pytest.raises(Exception, match="socket"):  # it gets as far as a connection, which a unit test may not have
        client.get_account()
    assert client.meta.config.retries == {"mode": "standard", "total_max_attempts": 1}
