"""What acts on a save, asked of the simulator as a real org is asked; and what a user who may not look is told."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest

from local.salesforce.testing import TestOrg as Org
from local.salesforce.testing import open_org
from omsync.migration.prepare import own_trigger
from omsync.platform.errors import Permanent
from omsync.salesforce.automation import Automation, active
from omsync.salesforce.client import SalesforceClient

METADATA = Path(__file__).parents[3] / "salesforce"


@dataclass
class Client:
    """As much of `SalesforceClient` as is used. `hidden`: types that this user does not see."""

    org: Org
    hidden: tuple[str, ...] = ()

    def get_json(self, path: str, params: Mapping[str, str] | None = None) -> Any:
        if any(f"FROM {name} " in (params or {}).get("q", "") for name in self.hidden):
            raise Permanent("sObject type is not supported", code="INVALID_TYPE")
        answer = self.org.get(path, params=params, token=self.org.login_as("load"))
        assert answer.status == 200, answer.text
        return answer.json()


@pytest.fixture(scope="module")
def org(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Org]:
    with open_org(tmp_path_factory.mktemp("org"), [METADATA]) as opened:
        yield opened


def asked(client: Client) -> tuple[list[Automation], list[str]]:
    return active(cast("SalesforceClient", client))


def test_the_projects_own_are_known_as_such(org: Org) -> None:
    found, hidden = asked(Client(org))
    assert hidden == []
    assert {one.object for one in found if own_trigger(one)} >= {"Account", "Order", "Case", "Clinical_Note__c", "Consultation__c"}
    rules = [one for one in found if one.kind == "validation rule"]
    assert rules and all(one.name.startswith("OMSync_") for one in rules)


def test_what_others_set_up_is_found_while_it_is_active(org: Org) -> None:
    kinds = {"flow": "flow", "duplicate_rule": "duplicate rule", "trigger": "trigger", "validation_rule": "validation rule"}
    for kind in kinds:
        org.admin("POST", "automation", {"kind": kind, "object": "Order", "name": f"Their_{kind}"})
    theirs = {(one.kind, one.name, one.object) for one in asked(Client(org))[0] if one.name.startswith("Their_")}
    assert theirs == {(told, f"Their_{kind}", "Order") for kind, told in kinds.items()}
    assert str(Automation("flow", "Greet", "Order", "acme")) == "flow acme__Greet"
    for kind in kinds:
        org.admin("POST", "automation", {"kind": kind, "object": "Order", "name": f"Their_{kind}", "active": False})
    assert not [one for one in asked(Client(org))[0] if one.name.startswith("Their_")]


def test_what_is_not_shown_is_named_and_the_rest_still_told(org: Org) -> None:
    found, hidden = asked(Client(org, hidden=("ApexTrigger", "FlowDefinitionView")))
    assert hidden == ["trigger", "flow"]
    assert {one.kind for one in found} == {"validation rule"}
