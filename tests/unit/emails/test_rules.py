"""Flows, rules, templates and functions in step: what flows.yaml says is what EventBridge is told."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
import yaml

from omsync.emails.compose import template
from omsync.emails.flows import FlowFault, load_flows, parse_flows
from omsync.emails.occurrences import EmailJob
from omsync.emails.patterns import matches
from omsync.emails.transitions import Transition
from ops.emails.build import SOURCES, load_flows_source
from tests.unit.test_template import ROOT, CloudFormation

FLOWS = load_flows_source()
NESTED: dict[str, Any] = yaml.load((ROOT / "emails" / "template.yaml").read_text(), CloudFormation)
RULES = {
    json.loads(target["InputTransformer"]["InputTemplate"].replace("<transition>", "{}"))["flow"]: rule["Properties"]
    for rule in NESTED["Resources"].values()
    if rule["Type"] == "AWS::Events::Rule"
    for target in rule["Properties"]["Targets"]
    if "InputTransformer" in target
}


def test_one_rule_a_flow_with_its_trigger() -> None:
    assert set(RULES) == {flow.flow for flow in FLOWS}
    for flow in FLOWS:
        assert RULES[flow.flow]["EventPattern"] == {"source": ["omsync.lifecycle"], "detail": flow.trigger}, flow.flow
        assert RULES[flow.flow]["EventBusName"] == {"Ref": "LifecycleBus"}


def test_the_rules_words_are_a_job() -> None:
    """What a rule puts into the queue is what the sender reads."""
    transition = Transition(
        table="orders", id="1", version=2, at=datetime.now(UTC), correlation_id="c", changed=("status",), new={"status": "filling"}, old={}
    )
    for flow, rule in RULES.items():
        text = rule["Targets"][0]["InputTransformer"]["InputTemplate"].replace("<transition>", json.dumps(transition.detail()))
        assert EmailJob.model_validate_json(text) == EmailJob(flow=flow, transition=transition)


def test_what_is_packaged_is_what_is_written() -> None:
    assert list(load_flows()) == list(FLOWS)
    for flow in FLOWS:
        template(flow.flow, "en").check(template(flow.flow, "en").sample)


def entries(**changes: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = yaml.safe_load((SOURCES / "flows.yaml").read_text())
    found[2] = {**found[2], **changes}
    return found


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"timing": {"from": "tomorrow"}}, "no moment 'tomorrow'"),
        ({"timing": {"from": "trigger", "at": ["2 days"]}}, "write 0, or a span"),
        ({"timing": {"from": "trigger", "at": [0, 0]}}, "the same offset twice"),
        ({"cancel_if": ["rainy"]}, "no condition rainy"),
        ({"data": ["diagnosis"]}, "no variable diagnosis"),
        ({"trigger": {"table": ["patients"], "new": {"last_name": ["x"]}}}, "last_name is no fact of patients"),
        ({"trigger": {"table": ["notes"]}}, "trigger.table: a list of"),
        ({"number": 4}, "expected the numbers 1 to 22"),
        ({"category": "spam"}, "category"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_a_mistake_in_flows_is_one_line_that_says_where(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(FlowFault) as fault:
        parse_flows(entries(**changes), "emails/flows.yaml")
    assert told in str(fault.value)
    assert "emails/flows.yaml" in str(fault.value)
    assert "\n" not in str(fault.value)


@pytest.mark.parametrize(
    ("pattern", "event", "seen"),
    [
        ({"a": ["x"]}, {"a": "x"}, True),
        ({"a": ["x"]}, {"a": "y"}, False),
        ({"a": ["x", "y"]}, {"a": ["z", "y"]}, True),
        ({"a": [None]}, {"a": None}, True),
        ({"a": [None]}, {}, False),
        ({"a": {"b": ["x"]}}, {"a": {"b": "x"}, "c": 1}, True),
        ({"a": {"b": ["x"]}}, {"a": None}, False),
    ],
)
def test_patterns_match_as_eventbridge_does(pattern: dict[str, Any], event: dict[str, Any], seen: bool) -> None:
    assert matches(pattern, event) is seen
