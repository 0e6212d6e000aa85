"""EventBridge: partner events reach their bus, and what can't be delivered reaches the target's DLQ.

Sources: EventBridge API PutPartnerEvents; user guide "Using dead-letter queues to process undelivered events".
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from typing import Any

from ministack.core.arn import ArnParseError, parse_arn
from ministack.services import eventbridge as service
from ministack.services import lambda_svc, sqs


def install() -> None:
    """Put the mends in place."""
    service._put_partner_events = _put_partner_events
    service._invoke_target = functools.partial(_deliver, service._invoke_target)


def _put_partner_events(data: dict[str, Any]) -> Any:
    """A partner's event source is named by `Source`, and so is the bus that a customer associated with it."""
    entries = [{**entry, "EventBusName": entry.get("Source", "")} for entry in data.get("Entries", [])]
    known = {entry["EventBusName"] for entry in entries if entry["EventBusName"] in service._event_buses}
    status, headers, body = service._put_events({"Entries": [entry for entry in entries if entry["EventBusName"] in known]}, True)
    taken = iter(json.loads(body).get("Entries", [])) if status == 200 else iter(())
    results = [
        next(taken, {}) if entry["EventBusName"] in known else {"ErrorCode": "ResourceNotFound", "ErrorMessage": "No bus for this source."}
        for entry in entries
    ]
    failed = sum("ErrorCode" in result for result in results)
    return status, headers, json.dumps({"FailedEntryCount": failed, "Entries": results}).encode()


def _deliver(invoke: Callable[..., None], target: dict[str, Any], event: dict[str, Any], rule: dict[str, Any], view: Any = None) -> None:
    """To the target, or, if what it names does not exist, to the target's DLQ, as AWS words it."""
    letterbox = (target.get("DeadLetterConfig") or {}).get("Arn")
    if not letterbox or _exists(target.get("Arn", "")):
        invoke(target, event, rule, view)
        return
    queue = sqs._queue_by_arn(letterbox)
    if queue is None:
        return
    body = json.dumps((view or service._pattern_event_view(event)).event_with_detail())
    told = {
        "ERROR_CODE": "NO_RESOURCE",
        "ERROR_MESSAGE": "The target does not exist.",
        "RULE_ARN": rule.get("Arn", ""),
        "TARGET_ARN": target["Arn"],
    }
    attributes = {name: {"DataType": "String", "StringValue": value} for name, value in told.items() if value}
    url = sqs._queue_url(queue["attributes"]["QueueArn"].rpartition(":")[2])
    sqs._act_send_message({"QueueUrl": url, "MessageBody": body, "MessageAttributes": attributes}, url)


def _exists(arn: str) -> bool:
    try:
        spec = parse_arn(arn)
    except ArnParseError:
        return False
    if spec.service == "lambda":
        return lambda_svc._get_func_record_for_ref(arn)[0] is not None
    if spec.service == "sqs":
        return sqs._queue_by_arn(arn) is not None
    return True
