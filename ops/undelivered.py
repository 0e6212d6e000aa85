"""What AWS could not deliver for us, delivered once more: events of rules and buses, one-time schedules, asynchronous calls of functions.

Such a DLQ has no queue of its own to go back to. Each message says in itself or in its attributes whom it was meant for:

    a failed call (Lambda's record, destination on failure)   function and payload are in it           -> call again
    a rule's event (RULE_ARN, TARGET_ARN)                     the event as it was, before the rule's
                                                              input transformer                        -> transformed anew, to the target
    a one-time schedule (TARGET_ARN)                          the input as the target wants it         -> to the target
    a bus's event (neither)                                   the event                                -> on the bus again; a partner's event,
                                                              which only the partner may put on its bus, through the bus's rules

Sources: EventBridge user guide, "Using dead-letter queues to process undelivered events", "... to capture encrypted event errors"; Scheduler user
guide, "Configuring a dead-letter queue"; Lambda developer guide, "Retaining records of asynchronous invocations".
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from ops.connections import ConnectionFault, Connections, told
from ops.queues import Waiting

#: source of what our own lifecycle bus carries
_OURS = "omsync.lifecycle"
_PARTNER = "aws.partner/"


def deliver(connections: Connections, message: Waiting) -> None:
    """Bring it where it was meant to go. ConnectionFault if that can't be told, or does not take it."""
    content = message.content
    function = content.get("requestContext", {}).get("functionArn")
    if function:
        _hand_to(connections, str(function), json.dumps(content.get("requestPayload")))
    elif message.target is not None:
        _hand_to(connections, message.target, _input(connections, message))
    elif _is_event(content):
        _on_its_bus(connections, content)
    else:
        raise ConnectionFault(f"message {message.message_id} names no target: see docs/runbook.md")


def _is_event(content: Mapping[str, Any]) -> bool:
    return {"detail-type", "source", "detail"} <= set(content)


def _input(connections: Connections, message: Waiting) -> str:
    """What the target is to get."""
    if message.rule is None or not _is_event(message.content):
        return message.said or message.body
    wanted = [target for target in _targets(connections, message.rule) if target["Arn"] == message.target]
    return transformed(wanted[0], message.content) if wanted else message.said or message.body


def _targets(connections: Connections, rule: str) -> list[Mapping[str, Any]]:
    """A rule's targets, by its ARN: `...:rule/<name>` or `...:rule/<bus>/<name>`; a partner's bus has slashes in its name."""
    bus, _, name = rule.partition(":rule/")[2].rpartition("/")
    with told(f"targets of the rule {name}"):
        return list(connections.client("events").list_targets_by_rule(Rule=name, EventBusName=bus or "default")["Targets"])


def _on_its_bus(connections: Connections, event: Mapping[str, Any]) -> None:
    source, events = str(event["source"]), connections.client("events")
    if source == _OURS:
        entry = {"Source": source, "DetailType": event["detail-type"], "Detail": json.dumps(event["detail"])}
        with told("the lifecycle bus"):
            answer = events.put_events(Entries=[{**entry, "EventBusName": connections.output("LifecycleBusName")}])
        if answer["FailedEntryCount"]:
            raise ConnectionFault(f"the lifecycle bus does not take it: {answer['Entries'][0].get('ErrorCode')}")
        return
    if not source.startswith(_PARTNER):
        raise ConnectionFault(f"an event of {source} is none of ours: see docs/runbook.md")
    with told(f"rules of the bus {source}"):
        rules = [str(rule["Arn"]) for rule in events.list_rules(EventBusName=source)["Rules"]]
    for target in (target for rule in rules for target in _targets(connections, rule)):
        _hand_to(connections, target["Arn"], transformed(target, event))


def _hand_to(connections: Connections, target: str, body: str) -> None:
    """A function or a queue, by ARN."""
    if ":lambda:" in target:
        with told(f"calling {target}"):
            connections.client("lambda").invoke(FunctionName=target, InvocationType="Event", Payload=body.encode())
    elif ":sqs:" in target:
        urls = [url for name, url in connections.queues.items() if url.rpartition("/")[2] == target.rpartition(":")[2]]
        if not urls:
            raise ConnectionFault(f"{target} is no queue of this stack: see docs/runbook.md")
        with told(f"sending to {target}"):
            connections.sqs.send_message(QueueUrl=urls[0], MessageBody=body)
    else:
        raise ConnectionFault(f"{target} is neither a function nor a queue: see docs/runbook.md")


# ------------------------------------------------------------------------------------------- what a rule makes of an event
def transformed(target: Mapping[str, Any], event: Mapping[str, Any]) -> str:
    """The event as a rule's target gets it: by its input transformer, as a constant, or as it is."""
    if transformer := target.get("InputTransformer"):
        values = {name: _at(event, path) for name, path in transformer.get("InputPathsMap", {}).items()}
        return "".join(_filled(transformer["InputTemplate"], values))
    return str(target.get("Input") or json.dumps(event))


def _at(event: Mapping[str, Any], path: str) -> Any:
    """The value at `$.detail.payload.Name`; None if there is none."""
    found: Any = event
    for part in path.removeprefix("$").strip(".").split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def _filled(template: str, values: Mapping[str, Any]) -> Iterator[str]:
    """`<name>` becomes JSON; inside quotes, text without quotes of its own, and nothing for what is not there."""
    quoted = False
    for part in re.split(r"(<\w+>)", template):
        if re.fullmatch(r"<\w+>", part) and part[1:-1] in values:
            value = values[part[1:-1]]
            text = value if isinstance(value, str) else "" if value is None else json.dumps(value)
            yield json.dumps(text)[1:-1] if quoted else json.dumps(value)
        else:
            quoted ^= part.replace('\\"', "").count('"') % 2 == 1
            yield part
