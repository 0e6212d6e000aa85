"""The definitions by cfn-lint's rules for state machines. It does not follow `DefinitionUri`, so they are shown to it inside a template."""

from __future__ import annotations

import json
import re

import pytest
from cfnlint.api import lint
from cfnlint.config import ManualArgs

from tests.unit.migration.test_state_machines import FOLDER, NAMES, Machine, machines

ARN = "arn:aws:lambda:us-east-1:123456789012:function:one:live"


def load(name: str) -> Machine:
    """As deployed: with names in place of `${...}`."""
    text = (FOLDER / name).read_text().replace("${Partition}", "aws")
    definition: Machine = json.loads(re.sub(r"\$\{\w+\}", ARN, text))
    return definition


def complaints(definition: Machine) -> list[str]:
    machine = {
        "Type": "AWS::StepFunctions::StateMachine",
        "Properties": {"RoleArn": "arn:aws:iam::123456789012:role/one", "Definition": definition},
    }
    found = lint(json.dumps({"Resources": {"Machine": machine}}), config=ManualArgs(regions=["us-east-1"]))
    return [f"{one.rule.id} {'/'.join(map(str, one.path or []))}: {one.message}" for one in found]


@pytest.mark.parametrize("name", NAMES)
def test_a_definition_keeps_the_rules(name: str) -> None:
    assert complaints(load(name)) == []


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("broken", [{"Type": "Tsk"}, {"Nxt": "Somewhere"}], ids=["type", "member"])
def test_a_broken_state_is_named_however_deep_it_stands(name: str, broken: dict[str, str]) -> None:
    definition = load(name)
    innermost = list(machines(definition))[-1]
    state = innermost["StartAt"]
    innermost["States"][state].update(broken)
    (complaint, *_) = complaints(definition)
    assert complaint.startswith("E3601")
    assert f"/{state}/" in complaint
