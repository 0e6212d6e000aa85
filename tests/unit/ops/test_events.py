"""The sample events are in step with the templates, and each is what its function reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from local.invoke.samples import SAMPLES as PREPARED
from omsync.emails.feedback import SesEvent
from omsync.emails.flows import load_flows
from omsync.emails.occurrences import EmailJob
from omsync.emails.transitions import transition_of
from omsync.mapping.rows import row_model
from omsync.migration.steps import StepEvent
from omsync.oms import events
from omsync.platform.requests import body_of, headers_of
from omsync.sync import hints
from omsync.sync.messages import LifecycleMessage, MirrorMessage, SyncMessage
from omsync.sync.work import SuspectMessage
from tests.unit.test_template import TEMPLATES, CloudFormation

ROOT = Path(__file__).resolve().parents[3]
SAMPLES = sorted((ROOT / "events").glob("*.json"))


def logical() -> dict[str, dict[str, Any]]:
    """Logical id of a function -> its properties, in all templates."""
    resources = {name: one for path in TEMPLATES for name, one in yaml.load(path.read_text(), CloudFormation)["Resources"].items()}
    return {name: one["Properties"] for name, one in resources.items() if one["Type"] == "AWS::Serverless::Function"}


def functions() -> dict[str, dict[str, Any]]:
    """Folder of a function -> its properties."""
    return {properties["CodeUri"].rpartition("/")[2]: properties for properties in logical().values()}


def sample(name: str) -> Any:
    return json.loads((ROOT / "events" / name).read_text())


def test_every_function_has_a_sample_and_every_sample_a_function() -> None:
    assert {path.name.partition(".")[0] for path in SAMPLES} == set(functions())


def test_every_sample_is_prepared_for_a_running_stack() -> None:
    """`omsync local sam` knows each, for the function of its folder."""
    folders = {name: one["CodeUri"].rpartition("/")[2] for name, one in logical().items()}
    assert {f"{one.name}.json": folders[one.function] for one in PREPARED} == {path.name: path.name.partition(".")[0] for path in SAMPLES}


def test_the_readme_names_every_sample() -> None:
    text = (ROOT / "events" / "README.md").read_text()
    assert [path.name for path in SAMPLES if path.name not in text] == []


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.name)
def test_a_sample_comes_the_way_its_function_is_called(path: Path) -> None:
    event, properties = json.loads(path.read_text()), functions()[path.name.partition(".")[0]]
    sources = list(properties.get("Events", {}).values())
    if "httpMethod" in event:
        routes = {(source["Properties"]["Method"], source["Properties"]["Path"]) for source in sources if source["Type"] == "Api"}
        assert (event["httpMethod"], event["resource"]) in routes
    elif "Records" in event:
        assert any(source["Type"] == "SQS" for source in sources)
    elif event.get("detail-type") == "Scheduled Event":
        assert any(source["Type"] in ("Schedule", "ScheduleV2") for source in sources)
    else:
        assert not any(source["Type"] == "Api" for source in sources)  # called by a state machine, a rule or another function


@pytest.mark.parametrize("name", ["oms_events.json", "oms_events.batch.json"])
def test_the_omss_events_are_valid(name: str) -> None:
    event = sample(name)
    table = (event["pathParameters"] or {}).get("table")
    parsed = events.parse(body_of(event), headers_of(event)["content-type"], row_model, table=table)
    assert [one.data.table for one in parsed] == ["patients", "products"][: len(parsed)]


def test_salesforces_hints_are_valid() -> None:
    assert hints.parse(body_of(sample("salesforce_changes.json")))[0].sobject == "Account"


@pytest.mark.parametrize(
    ("name", "model"), [("mirror.json", MirrorMessage), ("synchronise.json", SyncMessage), ("isolation.json", SuspectMessage)]
)
def test_queue_messages_are_valid(name: str, model: type[MirrorMessage | SyncMessage | SuspectMessage]) -> None:
    for record in sample(name)["Records"]:
        assert model.model_validate_json(record["body"]).correlation_id
        assert {"messageId", "attributes"} <= set(record)


def test_the_emails_samples_are_valid() -> None:
    def said(name: str) -> str:
        return str(sample(name)["Records"][0]["body"])

    assert EmailJob.model_validate_json(said("email_sender.json")).flow in {flow.flow for flow in load_flows()}
    assert SesEvent.model_validate_json(said("email_feedback.json")).detail.bounce
    transition = transition_of(LifecycleMessage.model_validate_json(said("lifecycle.json")))
    assert transition is not None
    assert "registered" in transition.changed


@pytest.mark.parametrize(
    "name",
    [
        "migration_control.json",
        "migration_source.json",
        "migration_source.extract.json",
        "migration_load.json",
        "migration_load.link.json",
        "migration_verify.json",
    ],
)
def test_migration_steps_are_valid(name: str) -> None:
    assert StepEvent.model_validate(sample(name)).step in functions_steps(name.partition(".")[0])


def functions_steps(folder: str) -> set[str]:
    """The steps that a migration function's docstring promises."""
    text = (ROOT / "functions" / folder / "app.py").read_text()
    return set(text[text.index('"step": ') + 8 : text.index("}`")].replace('"', "").split(",")[0].split("|"))
