"""Schedules fired on demand: what `omsync local clock` asks of the running server.

One-time schedules (`at(...)`) due up to a moment fire in the order of their times, as if that moment had come; recurring ones
(`rate`, `cron`, of rules and of Scheduler) fire at most once each. The clock of the machine is not touched.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from ministack.core.responses import get_account_id, get_region, set_request_account_id, set_request_region
from ministack.services import eventbridge, scheduler


@dataclass(frozen=True, slots=True)
class Due:
    """A schedule: its name, what it says, and when it is next due (epoch seconds; None if it has fired or never will)."""

    name: str
    expression: str
    due: float | None
    enabled: bool
    kind: str
    key: tuple[str, str, str]

    def as_json(self) -> dict[str, Any]:
        """For the command and its callers."""
        due = datetime.fromtimestamp(self.due, UTC).isoformat(timespec="seconds").replace("+00:00", "Z") if self.due else None
        return {"name": self.name, "expression": self.expression, "due": due, "enabled": self.enabled, "kind": self.kind}


def schedules() -> list[Due]:
    """All, the next due first."""
    return sorted([*_one_time_and_recurring(), *_rules()], key=lambda entry: (entry.due is None, entry.due or 0, entry.name))


def advance(until: float, *, recurring: bool) -> list[Due]:
    """Fire what is due up to `until` (epoch seconds); returns what was fired."""
    fired = []
    for entry in schedules():
        once = entry.expression.startswith("at(")
        if entry.enabled and entry.due is not None and entry.due <= until and (once or recurring):
            _fire(entry)
            fired.append(entry)
    return fired


def fire(name: str) -> list[Due]:
    """Fire the schedules and rules whose name is, or contains, `name`, due or not; an exact name wins."""
    found = schedules()
    chosen = [entry for entry in found if entry.name == name] or [entry for entry in found if name.lower() in entry.name.lower()]
    for entry in chosen:
        _fire(entry)
    return chosen


def _one_time_and_recurring() -> Iterator[Due]:
    for key, schedule in list(scheduler._schedules._data.items()):
        expression = schedule.get("ScheduleExpression", "")
        if expression.startswith("at("):
            zone = ZoneInfo(schedule.get("ScheduleExpressionTimezone") or "UTC")
            moment = datetime.fromisoformat(expression[3:-1]).replace(tzinfo=zone)
            due = None if key in scheduler._schedule_last_fired else moment.timestamp()
        else:
            due = _next(expression, scheduler._schedule_last_fired.get(key, schedule.get("CreationDate")))
        yield Due(schedule["Name"], expression, due, schedule.get("State") == "ENABLED", "schedule", key)


def _rules() -> Iterator[Due]:
    for key, rule in list(eventbridge._rules._data.items()):
        if expression := rule.get("ScheduleExpression"):
            due = _next(expression, eventbridge._rule_last_fired.get(key, rule.get("CreationTime")))
            yield Due(rule["Name"], expression, due, rule.get("State") == "ENABLED", "rule", key)


def _next(expression: str, last: float | None) -> float | None:
    last = last or time.time()
    interval = eventbridge._parse_rate_seconds(expression)
    if interval is not None:
        return float(last) + interval
    fields = eventbridge._parse_cron_fields(expression)
    following = eventbridge._cron_next_fire(fields, datetime.fromtimestamp(last, UTC)) if fields else None
    return following.timestamp() if following else None


def _fire(entry: Due) -> None:
    account, region, _name = entry.key
    before = get_account_id(), get_region()
    set_request_account_id(account)
    set_request_region(region)
    try:
        if entry.kind == "schedule":
            _fire_schedule(entry)
        else:
            rule = eventbridge._rules._data[entry.key]
            event = _event("aws.events", rule.get("Arn", ""), entry.due) | {"EventBusName": rule.get("EventBusName", "default")}
            for target in eventbridge._targets._data.get(entry.key, []):
                eventbridge._invoke_target(target, event, rule)
    finally:
        set_request_account_id(before[0])
        set_request_region(before[1])


def _fire_schedule(entry: Due) -> None:
    schedule = scheduler._schedules._data.get(entry.key)
    if schedule is None:
        return
    once = entry.expression.startswith("at(")
    if once:
        scheduler._schedule_last_fired[entry.key] = time.time()
    eventbridge._invoke_target(schedule["Target"], _event("aws.scheduler", schedule["Arn"], entry.due), schedule)
    if once and schedule.get("ActionAfterCompletion") == "DELETE":
        scheduler._schedules._data.pop(entry.key, None)
        scheduler._schedule_last_fired.pop(entry.key, None)


def _event(source: str, resource: str, due: float | None) -> dict[str, Any]:
    return {
        "EventId": f"clock-{time.time_ns()}",
        "Source": source,
        "DetailType": "Scheduled Event",
        "Detail": "{}",
        "Time": due or time.time(),
        "Resources": [resource],
        "Account": get_account_id(),
        "Region": get_region(),
    }
