"""`omsync local sam`: what is missing is said in one line, and a function's variables are the deployed ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from local.invoke import command, template
from local.invoke.samples import SAMPLES
from local.stack.home import Home, StackFault


def test_without_docker_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(StackFault, match="needs Docker: install it, or run tools/sam-local-rig"):
        command.let_in(Home(tmp_path))


def test_a_function_has_the_deployed_variables_and_reaches_the_stack(tmp_path: Path) -> None:
    told = {
        "Runtime": "python3.13",
        "MemorySize": 1024,
        "Timeout": 40,
        "Environment": {"Variables": {"STATE_TABLE": "state", "SALESFORCE_CA": "/home/me/.local/ca/ca.pem"}},
    }
    made = template._function("MirrorFunction", told, tmp_path, {"AWS_ENDPOINT_URL": "http://127.0.0.1:4566"})["Properties"]
    assert (made["Handler"], made["MemorySize"], made["Timeout"]) == ("inside.handler", 1024, 40)
    assert made["Environment"]["Variables"] == {
        "STATE_TABLE": "state",
        "SALESFORCE_CA": "/var/task/ca.pem",
        "OMSYNC_FUNCTION": "/var/task/functions/MirrorFunction",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:4566",
    }


@pytest.mark.parametrize(
    ("name", "answer", "well"),
    [
        ("mirror", {"batchItemFailures": []}, True),
        ("mirror", {"batchItemFailures": [{"itemIdentifier": "m"}]}, False),
        ("oms_events", {"statusCode": 202}, True),
        ("oms_events", {"statusCode": 401}, False),
        ("migration_verify", {"outcome": "failed"}, False),
        ("sweep", {"errorType": "KeyError"}, False),
    ],
)
def test_an_answer_is_judged(name: str, answer: object, well: bool) -> None:
    [sample] = [one for one in SAMPLES if one.name == name]
    assert sample.answered(answer) is well


def test_a_page_is_told_by_its_heading() -> None:
    assert command._shortly({"statusCode": 200, "body": "<!doctype html><h1>Thank you</h1>"}) == "200 Thank you"
