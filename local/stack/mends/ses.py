"""SES: templates rendered as SES does, events of configuration sets published, account suppression list.

Sources: SES developer guide "Using templates to send personalized email" and its advanced page (conditionals, loops; values are not
escaped; missing data is a Rendering Failure event, not an error of the call), "Examples of event data that SES publishes",
"Using the mailbox simulator", API reference PutSuppressedDestination and neighbours.
"""

from __future__ import annotations

import functools
import json
import threading
import time
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from email.utils import parseaddr
from typing import Any
from urllib.parse import unquote

from ministack.core.concurrency import spawn_background
from ministack.core.responses import get_account_id, get_region
from ministack.services import eventbridge, ses, ses_v2, sns

from local.stack.mends import templating

type Response = tuple[int, dict[str, str], bytes]
type Handler = Callable[[str, str, dict[str, str], bytes, dict[str, Any]], Awaitable[Response]]

_SIMULATOR = "simulator.amazonses.com"

#: event type of the API -> (detail-type on EventBridge, key in the payload, eventType in the payload)
_EVENTS = {
    "SEND": ("Email Sent", "send", "Send"),
    "DELIVERY": ("Email Delivered", "delivery", "Delivery"),
    "BOUNCE": ("Email Bounced", "bounce", "Bounce"),
    "COMPLAINT": ("Email Complaint Received", "complaint", "Complaint"),
    "REJECT": ("Email Rejected", "reject", "Reject"),
    "RENDERING_FAILURE": ("Email Rendering Failed", "failure", "Rendering Failure"),
}

_suppressed: dict[str, dict[str, Any]] = {}
#: answers to SendEmail since the start, by status: `GET /_omsync/mailbox/calls`
calls: Counter[int] = Counter()
_lock = threading.Lock()


def install() -> None:
    """Put the mends in place."""
    ses_v2.handle_request = functools.partial(_handle, ses_v2.handle_request)


async def _handle(handle: Handler, method: str, path: str, headers: dict[str, str], body: bytes, query: dict[str, Any]) -> Response:
    route = path.removeprefix("/v2/email").rstrip("/")
    if method == "POST" and route == "/outbound-emails":
        answer = await _send(handle, path, headers, json.loads(body or b"{}"), query)
        calls[answer[0]] += 1
        return answer
    if method == "POST" and route.startswith("/templates/") and route.endswith("/render"):
        return _test_render(unquote(route.split("/")[2]), json.loads(body or b"{}"))
    if route.startswith("/suppression/addresses"):
        return _suppression(method, unquote(route.removeprefix("/suppression/addresses").strip("/")), json.loads(body or b"{}"))
    return await handle(method, path, headers, body, query)


# ---------------------------------------------------------------- sending


async def _send(handle: Handler, path: str, headers: dict[str, str], request: dict[str, Any], query: dict[str, Any]) -> Response:
    named = request.get("ConfigurationSetName")
    if named and named not in ses_v2._config_sets:
        return _error(404, "NotFoundException", f"Configuration set <{named}> does not exist.")
    template = (request.get("Content") or {}).get("Template")
    if template:
        stored, _name, refused = ses_v2._resolve_send_template(template)
        if refused:
            return refused
        try:
            rendered = templating.render_parts(stored, json.loads(template.get("TemplateData") or "{}"))
        except templating.MissingAttribute as missing:
            return _rendering_failure(request, str(missing), template.get("TemplateName", ""))
        except ValueError:
            return _error(400, "BadRequestException", "Template data is not a valid JSON object.")
        parts = {part: {"Data": rendered[part], "Charset": "UTF-8"} for part in ("Text", "Html") if rendered[part]}
        content = {"Simple": {"Subject": {"Data": rendered["Subject"], "Charset": "UTF-8"}, "Body": parts}}
    else:
        content = request.get("Content") or {}
    status, answered, body = await handle("POST", path, headers, json.dumps({**request, "Content": content}).encode(), query)
    if status == 200:
        _after_acceptance(request, json.loads(body)["MessageId"], template)
    return status, answered, body


def _after_acceptance(request: dict[str, Any], message_id: str, template: dict[str, Any] | None) -> None:
    record = next((record for record in reversed(ses._sent_emails_list()) if record["MessageId"] == message_id), None)
    if record is not None:
        record["ConfigurationSetName"] = request.get("ConfigurationSetName", "")
        record["Tags"] = {tag["Name"]: tag["Value"] for tag in request.get("EmailTags") or []}
        record["Template"] = (template or {}).get("TemplateName", "")
        record["Headers"] = {header["Name"]: header["Value"] for header in (template or {}).get("Headers") or []}
        record["ReplyTo"] = request.get("ReplyToAddresses") or []
    spawn_background(_publish_outcomes, request, message_id, thread_name="ses-events")


def _publish_outcomes(request: dict[str, Any], message_id: str) -> None:
    """What becomes of the email, told as it happens: sent at once, its fate a moment later."""
    recipients = _recipients(request)
    _publish(request, message_id, "SEND", recipients, {})
    time.sleep(0.05)
    for recipient in recipients:
        for kind, detail in _fate(recipient):
            _publish(request, message_id, kind, [recipient], detail)


def _fate(recipient: str) -> list[tuple[str, dict[str, Any]]]:
    local, _, domain = recipient.lower().partition("@")
    wish = local.partition("+")[0] if domain == _SIMULATOR else ""
    delivered = (
        "DELIVERY",
        {"timestamp": _now(), "processingTimeMillis": 50, "recipients": [recipient], "smtpResponse": "250 2.6.0 Message received"},
    )
    with _lock:
        on_list = recipient.lower() in _suppressed
    if on_list or wish == "suppressionlist":
        return [("BOUNCE", _bounce(recipient, "OnAccountSuppressionList" if on_list else "Suppressed"))]
    if wish == "bounce":
        return [("BOUNCE", _bounce(recipient, "General"))]
    if wish == "complaint":
        complained = {
            "complainedRecipients": [{"emailAddress": recipient}],
            "timestamp": _now(),
            "feedbackId": str(uuid.uuid4()),
            "complaintFeedbackType": "abuse",
        }
        return [delivered, ("COMPLAINT", complained)]
    return [delivered]


def _bounce(recipient: str, sub_type: str) -> dict[str, Any]:
    return {
        "bounceType": "Permanent",
        "bounceSubType": sub_type,
        "bouncedRecipients": [
            {"emailAddress": recipient, "action": "failed", "status": "5.1.1", "diagnosticCode": "smtp; 550 5.1.1 user unknown"}
        ],
        "timestamp": _now(),
        "feedbackId": str(uuid.uuid4()),
    }


def _rendering_failure(request: dict[str, Any], message: str, template: str) -> Response:
    """The call is accepted, nothing is sent, and only an event says so."""
    message_id = f"{uuid.uuid4()}@email.amazonses.com"
    detail = {"errorMessage": message, "templateName": template}
    spawn_background(_publish, request, message_id, "RENDERING_FAILURE", _recipients(request), detail, thread_name="ses-events")
    return _ok({"MessageId": message_id})


# ---------------------------------------------------------------- events


def _publish(request: dict[str, Any], message_id: str, kind: str, recipients: list[str], detail: dict[str, Any]) -> None:
    configuration = ses_v2._config_sets.get(request.get("ConfigurationSetName") or "") or {}
    detail_type, key, event_type = _EVENTS[kind]
    payload = {"eventType": event_type, "mail": _mail(request, message_id), key: detail}
    for destination in (configuration.get("EventDestinations") or {}).values():
        if not destination.get("Enabled") or kind not in destination.get("MatchingEventTypes", []):
            continue
        if "EventBridgeDestination" in destination:
            entry = {"Source": "aws.ses", "DetailType": detail_type, "Detail": json.dumps(payload), "Resources": _resources(request)}
            eventbridge._put_events({"Entries": [entry]}, True)
        if "SnsDestination" in destination:
            sns.publish_internal(destination["SnsDestination"]["TopicArn"], json.dumps(payload), "Amazon SES Email Event Notification")


def _mail(request: dict[str, Any], message_id: str) -> dict[str, Any]:
    source = request.get("FromEmailAddress", "")
    tags = {tag["Name"]: [tag["Value"]] for tag in request.get("EmailTags") or []}
    tags |= {
        "ses:configuration-set": [request.get("ConfigurationSetName", "")],
        "ses:from-domain": [parseaddr(source)[1].rpartition("@")[2]],
    }
    return {
        "timestamp": _now(),
        "source": source,
        "sendingAccountId": get_account_id(),
        "messageId": message_id,
        "destination": _recipients(request),
        "headersTruncated": False,
        "headers": [],
        "commonHeaders": {"from": [source], "to": _recipients(request), "messageId": message_id},
        "tags": tags,
    }


def _resources(request: dict[str, Any]) -> list[str]:
    return [f"arn:aws:ses:{get_region()}:{get_account_id()}:configuration-set/{request.get('ConfigurationSetName', '')}"]


def _recipients(request: dict[str, Any]) -> list[str]:
    destination = request.get("Destination") or {}
    named = [*destination.get("ToAddresses", []), *destination.get("CcAddresses", []), *destination.get("BccAddresses", [])]
    return [parseaddr(address)[1] or address for address in named]


# ---------------------------------------------------------------- templates and suppression


def _test_render(name: str, request: dict[str, Any]) -> Response:
    stored = ses._templates.get(name)
    if stored is None:
        return _error(404, "NotFoundException", f"Template {name} does not exist")
    try:
        rendered = templating.render_parts(stored, json.loads(request.get("TemplateData") or "{}"))
    except templating.MissingAttribute as missing:
        return _error(400, "BadRequestException", str(missing))
    except ValueError:
        return _error(400, "BadRequestException", "Template data is not a valid JSON object.")
    text = f"Subject: {rendered['Subject']}\n\n{rendered['Text']}\n\n{rendered['Html']}"
    return _ok({"RenderedTemplate": text})


def _suppression(method: str, address: str, request: dict[str, Any]) -> Response:
    with _lock:
        if method == "PUT" and not address:
            address = request.get("EmailAddress", "").lower()
            _suppressed[address] = {"EmailAddress": address, "Reason": request.get("Reason", "BOUNCE"), "LastUpdateTime": time.time()}
            return _ok({})
        if method == "GET" and not address:
            return _ok({"SuppressedDestinationSummaries": list(_suppressed.values())})
        if address.lower() not in _suppressed:
            return _error(404, "NotFoundException", f"Email address {address} does not exist on your suppression list.")
        if method == "DELETE":
            del _suppressed[address.lower()]
            return _ok({})
        return _ok({"SuppressedDestination": _suppressed[address.lower()]})


def _ok(content: object) -> Response:
    # A fresh dict each time: the server adds its own headers to it.
    return 200, {"Content-Type": "application/json"}, json.dumps(content).encode()


def _error(status: int, code: str, message: str) -> Response:
    return status, {"Content-Type": "application/json", "x-amzn-errortype": code}, json.dumps({"message": message}).encode()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
