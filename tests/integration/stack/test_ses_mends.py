"""The embedded SES renders templates, tells what became of an email, and shows it in the mailbox."""

from __future__ import annotations

import json
import uuid
from collections import Counter
from typing import Any

import pytest
from botocore.exceptions import ClientError

from local.stack import parts
from local.stack.deploy import Aws
from tests.integration.stack.conftest import read_lines
from tests.polling import until

SENDER = "care@example.com"


@pytest.fixture(scope="module")
def events(aws: Aws) -> str:
    """A configuration set that publishes to EventBridge, and the queue its events come to."""
    ses, rules, sqs = aws.client("sesv2"), aws.client("events"), aws.client("sqs")
    ses.create_email_identity(EmailIdentity="example.com")
    ses.create_configuration_set(ConfigurationSetName="test")
    ses.create_configuration_set_event_destination(
        ConfigurationSetName="test",
        EventDestinationName="bus",
        EventDestination={
            "Enabled": True,
            "MatchingEventTypes": ["SEND", "DELIVERY", "BOUNCE", "COMPLAINT", "RENDERING_FAILURE"],
            "EventBridgeDestination": {"EventBusArn": "arn:aws:events:us-east-1:000000000000:event-bus/default"},
        },
    )
    url = sqs.create_queue(QueueName="ses-events")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    rules.put_rule(Name="ses-events", EventPattern=json.dumps({"source": ["aws.ses"]}))
    rules.put_targets(Rule="ses-events", Targets=[{"Id": "queue", "Arn": arn}])
    return str(url)


def told(aws: Aws, url: str, kinds: list[str]) -> list[dict[str, Any]]:
    """The events, once those kinds have come."""
    seen: list[dict[str, Any]] = []

    def look() -> list[str]:
        seen.extend(read_lines(aws, url))
        return sorted(event["detail-type"] for event in seen)

    until(look, lambda found: found == sorted(kinds))
    return seen


def send(aws: Aws, to: str, **content: Any) -> str:
    answer = aws.client("sesv2").send_email(
        FromEmailAddress=SENDER,
        Destination={"ToAddresses": [to]},
        ConfigurationSetName="test",
        EmailTags=[{"Name": "claim", "Value": "abc"}],
        Content=content,
    )
    return str(answer["MessageId"])


def template(aws: Aws, **parts: str) -> str:
    name = f"t-{uuid.uuid4().hex[:8]}"
    aws.client("sesv2").create_email_template(TemplateName=name, TemplateContent=parts)
    return name


def test_a_sent_email_is_told_with_its_tags_and_shown_in_the_mailbox(aws: Aws, events: str) -> None:
    name = template(aws, Subject="Hello {{name}}", Text="Hi {{name}}{{#if late}}, late{{/if}}", Html="<p>{{name}}</p>")
    message = send(aws, "ann@example.com", Template={"TemplateName": name, "TemplateData": json.dumps({"name": "Ann", "late": ""})})
    seen = told(aws, events, ["Email Sent", "Email Delivered"])
    for event in seen:
        assert event["detail"]["mail"]["messageId"] == message
        assert event["detail"]["mail"]["tags"]["claim"] == ["abc"]
    emails = json.loads(parts.get(f"{aws.url}/_omsync/mailbox/messages.json")[1])
    email = next(email for email in emails if email["message_id"] == message)
    assert (email["subject"], email["text"], email["html"], email["tags"]) == ("Hello Ann", "Hi Ann", "<p>Ann</p>", {"claim": "abc"})
    status, page = parts.get(f"{aws.url}/_omsync/mailbox/{email['id']}")
    assert status == 200
    assert b"Hello Ann" in page


def test_links_to_our_api_can_be_clicked_in_the_mailbox(aws: Aws, events: str) -> None:
    """They name the API as AWS would; the page leads to the API as it is served here. What was sent stays as it was."""
    link = "https://abc123.execute-api.us-east-1.amazonaws.com/live/email/verify?token=t"
    message = send(aws, "ann@example.com", Simple={"Subject": {"Data": "s"}, "Body": {"Html": {"Data": f'<a href="{link}">Confirm</a>'}}})
    told(aws, events, ["Email Sent", "Email Delivered"])
    emails = json.loads(parts.get(f"{aws.url}/_omsync/mailbox/messages.json")[1])
    email = next(email for email in emails if email["message_id"] == message)
    assert link in email["html"]
    shown = parts.get(f"{aws.url}/_omsync/mailbox/{email['id']}/html")[1].decode()
    assert 'href="/_aws/execute-api/abc123/live/email/verify?token=t"' in shown


def test_calls_are_counted_by_status(aws: Aws, events: str) -> None:
    def calls() -> Counter[str]:
        return Counter(json.loads(parts.get(f"{aws.url}/_omsync/mailbox/calls")[1]))

    before = calls()
    send(aws, "ann@example.com", Simple={"Subject": {"Data": "s"}, "Body": {"Text": {"Data": "t"}}})
    told(aws, events, ["Email Sent", "Email Delivered"])
    with pytest.raises(ClientError):
        send(aws, "ann@example.com", Template={"TemplateName": "nowhere", "TemplateData": "{}"})
    made = calls() - before
    assert made["200"] == 1
    assert sum(made.values()) == 2


@pytest.mark.parametrize(
    ("to", "kinds"),
    [
        ("bounce@simulator.amazonses.com", ["Email Sent", "Email Bounced"]),
        ("complaint@simulator.amazonses.com", ["Email Sent", "Email Delivered", "Email Complaint Received"]),
    ],
)
def test_the_mailbox_simulator_answers_by_address(aws: Aws, events: str, to: str, kinds: list[str]) -> None:
    send(aws, to, Simple={"Subject": {"Data": "s"}, "Body": {"Text": {"Data": "t"}}})
    told(aws, events, kinds)


def test_missing_data_is_accepted_not_sent_and_told_by_an_event(aws: Aws, events: str) -> None:
    name = template(aws, Subject="Hello {{name}}", Text="x")
    message = send(aws, "ann@example.com", Template={"TemplateName": name, "TemplateData": "{}"})
    (event,) = told(aws, events, ["Email Rendering Failed"])
    assert "name" in event["detail"]["failure"]["errorMessage"]
    emails = json.loads(parts.get(f"{aws.url}/_omsync/mailbox/messages.json")[1])
    assert message not in {email["message_id"] for email in emails}


def test_a_suppressed_address_bounces(aws: Aws, events: str) -> None:
    client = aws.client("sesv2")
    client.put_suppressed_destination(EmailAddress="gone@example.com", Reason="BOUNCE")
    send(aws, "gone@example.com", Simple={"Subject": {"Data": "s"}, "Body": {"Text": {"Data": "t"}}})
    told(aws, events, ["Email Sent", "Email Bounced"])
    client.delete_suppressed_destination(EmailAddress="gone@example.com")
    with pytest.raises(ClientError, match="suppression list"):
        client.get_suppressed_destination(EmailAddress="gone@example.com")


def test_an_unknown_configuration_set_is_refused(aws: Aws, events: str) -> None:
    with pytest.raises(ClientError, match="Configuration set"):
        aws.client("sesv2").send_email(
            FromEmailAddress=SENDER,
            Destination={"ToAddresses": ["a@example.com"]},
            ConfigurationSetName="nowhere",
            Content={"Simple": {"Subject": {"Data": "s"}, "Body": {"Text": {"Data": "t"}}}},
        )


def test_a_template_can_be_tried_without_sending(aws: Aws) -> None:
    name = template(aws, Subject="Hello {{name}}", Text="x")
    client = aws.client("sesv2")
    assert "Hello Ann" in client.test_render_email_template(TemplateName=name, TemplateData='{"name":"Ann"}')["RenderedTemplate"]
    with pytest.raises(ClientError, match="name"):
        client.test_render_email_template(TemplateName=name, TemplateData="{}")
