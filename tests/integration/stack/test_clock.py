"""Schedules of the embedded AWS are fired on demand, in the order of their times, and partner events reach their bus."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from local.stack import parts
from local.stack.deploy import Aws
from tests.integration.stack.conftest import ROLE, read_lines
from tests.polling import until

type Make = Callable[..., tuple[str, str]]


def ask(aws: Aws, route: str, content: object) -> list[dict[str, Any]]:
    status, body = parts.post(f"{aws.url}/_omsync/{route}", content)
    assert status == 200
    return list(json.loads(body))


def at(moment: datetime) -> str:
    return f"at({moment:%Y-%m-%dT%H:%M:%S})"


def test_one_time_schedules_fire_up_to_a_moment_in_order_and_once(aws: Aws, queue: Make) -> None:
    url, arn = queue("clock")
    client = aws.client("scheduler")
    now = datetime.now(UTC)
    for name, hours in (("late", 30), ("second", 20), ("first", 10)):
        target = {"Arn": arn, "RoleArn": ROLE, "Input": json.dumps({"name": name})}
        client.create_schedule(
            Name=name,
            ScheduleExpression=at(now + timedelta(hours=hours)),
            FlexibleTimeWindow={"Mode": "OFF"},
            Target=target,
            ActionAfterCompletion="DELETE",
        )
    until_then = (now + timedelta(hours=24)).timestamp()
    fired = ask(aws, "advance", {"until": until_then, "recurring": False})
    assert [entry["name"] for entry in fired] == ["first", "second"]
    assert [message["name"] for message in read_lines(aws, url)] == ["first", "second"]
    assert ask(aws, "advance", {"until": until_then, "recurring": False}) == []
    assert [schedule["Name"] for schedule in client.list_schedules()["Schedules"]] == ["late"]


def test_a_rule_fires_by_name_and_once_an_advance(aws: Aws, queue: Make) -> None:
    url, arn = queue("clock-rule")
    client = aws.client("events")
    client.put_rule(Name="sweep-every-day", ScheduleExpression="rate(1 day)")
    client.put_targets(Rule="sweep-every-day", Targets=[{"Id": "queue", "Arn": arn, "Input": '{"go":1}'}])
    ask(aws, "fire", {"name": "sweep"})
    assert read_lines(aws, url) == [{"go": 1}]
    later = (datetime.now(UTC) + timedelta(days=3)).timestamp()
    fired = [entry["name"] for entry in ask(aws, "advance", {"until": later}) if entry["kind"] == "rule"]
    assert fired == ["sweep-every-day"]
    assert read_lines(aws, url) == [{"go": 1}]


def test_a_partner_event_reaches_the_bus_of_its_source(aws: Aws, queue: Make) -> None:
    url, arn = queue("partner")
    client = aws.client("events")
    source = "aws.partner/salesforce.com/00D000000000001/omsync"
    client.create_partner_event_source(Name=source, Account="000000000000")
    client.create_event_bus(Name=source, EventSourceName=source)
    client.put_rule(Name="partner", EventBusName=source, EventPattern=json.dumps({"source": [source]}))
    client.put_targets(Rule="partner", EventBusName=source, Targets=[{"Id": "queue", "Arn": arn}])
    entry = {"Source": source, "DetailType": "Record_Changed__e", "Detail": json.dumps({"id": 1}), "Time": datetime.now(UTC)}
    assert client.put_partner_events(Entries=[entry])["FailedEntryCount"] == 0
    assert client.put_partner_events(Entries=[entry | {"Source": "aws.partner/nobody"}])["FailedEntryCount"] == 1
    (event,) = until(lambda: read_lines(aws, url))
    assert event["detail"] == {"id": 1}


def test_what_a_rule_cannot_deliver_comes_to_the_targets_dlq(aws: Aws, queue: Make) -> None:
    url, arn = queue("undelivered")
    client = aws.client("events")
    client.put_rule(Name="nowhere", EventPattern=json.dumps({"source": ["test.nowhere"]}))
    gone = "arn:aws:lambda:us-east-1:000000000000:function:gone"
    client.put_targets(Rule="nowhere", Targets=[{"Id": "gone", "Arn": gone, "DeadLetterConfig": {"Arn": arn}}])
    client.put_events(Entries=[{"Source": "test.nowhere", "DetailType": "x", "Detail": '{"id":7}'}])
    (event,) = until(lambda: read_lines(aws, url))
    assert event["detail"] == {"id": 7}
