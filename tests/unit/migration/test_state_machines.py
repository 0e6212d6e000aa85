"""The definitions: every state is reachable and goes somewhere, every task retries with jitter and ends in an outcome, no payload carries a row."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ops.migrate.machine import EXAMINES

FOLDER = Path(__file__).resolve().parents[3] / "statemachines"
NAMES = sorted(path.name for path in FOLDER.glob("migration*.asl.json"))
type Machine = dict[str, Any]


def machines(definition: Machine) -> Iterator[Machine]:
    """A definition and those inside its Maps."""
    yield definition
    for state in definition["States"].values():
        if "ItemProcessor" in state:
            yield from machines(state["ItemProcessor"])


def load(name: str) -> Machine:
    definition: Machine = json.loads((FOLDER / name).read_text())
    return definition


def following(state: dict[str, Any]) -> set[str]:
    told = [state.get("Next"), state.get("Default")]
    told += [one["Next"] for one in (*state.get("Choices", []), *state.get("Catch", []))]
    return {name for name in told if name}


@pytest.mark.parametrize("name", NAMES)
def test_states_are_reachable_and_lead_to_states_that_exist(name: str) -> None:
    for machine in machines(load(name)):
        states = machine["States"]
        seen, todo = set[str](), [machine["StartAt"]]
        while todo:
            current = todo.pop()
            if current not in seen:
                seen.add(current)
                todo += following(states[current])
        assert seen == set(states)
        for state in states.values():
            assert following(state) or state.get("End") or state["Type"] in ("Succeed", "Fail")


@pytest.mark.parametrize("name", NAMES)
def test_functions_are_retried_with_jitter_and_their_crash_is_caught(name: str) -> None:
    for machine in machines(load(name)):
        for label, state in machine["States"].items():
            if state["Type"] == "Task" and (state["Resource"].startswith("${") or "lambda:invoke" in state["Resource"]):
                assert state["Retry"][0]["JitterStrategy"] == "FULL", label
                assert state["Catch"][0]["ErrorEquals"] == ["States.ALL"], label
                assert state["TimeoutSeconds"] <= 900 or "waitForTaskToken" in state["Resource"], label


def test_chunks_are_read_from_a_list_and_failures_judged_at_the_end() -> None:
    maps = [
        state
        for machine in machines(load("migration_run.asl.json"))
        for state in machine["States"].values()
        if state.get("ItemProcessor", {}).get("ProcessorConfig", {}).get("Mode") == "DISTRIBUTED"
    ]
    assert len(maps) == 4
    for state in maps:
        assert state["ItemSelector"] == {"ref.$": "$$.Map.Item.Value"}
        assert state["ResultPath"] is None
        assert state["ToleratedFailurePercentage"] == 100
        assert 1 <= state["MaxConcurrency"] <= 10
        ends = [one for one in state["ItemProcessor"]["States"].values() if one.get("End")]
        assert all(one["Result"] == {} for one in ends), "a child leaves nothing in the parent's history"


def test_the_command_knows_the_dry_runs_chunks_by_their_label() -> None:
    waves = load("migration_run.asl.json")["States"]["ExamineWaves"]["ItemProcessor"]["States"]
    assert f"/{waves['ExamineChunks']['Label']}:" == EXAMINES


def test_every_purpose_has_its_way() -> None:
    states = load("migration_run.asl.json")["States"]

    def way(purpose: str, **answers: object) -> list[str]:
        """The states that an execution passes if every step is done."""
        told = {
            "$.purpose": purpose,
            "$.step.outcome": "done",
            "$.approve": False,
            "$.run": 2,
            "$.step.needs_sign_off": False,
            "$.step.begun": False,
            **answers,
        }
        passed, name = list[str](), load("migration_run.asl.json")["StartAt"]
        while True:
            state = states[name]
            passed.append(name)
            if state["Type"] in ("Succeed", "Fail"):
                return passed
            name = next((one["Next"] for one in state.get("Choices", []) if holds(one, told)), state.get("Next") or state.get("Default"))

    assert way("plan")[-7:] == ["WhatFor", "Survey", "SurveyDecides", "ExamineWaves", "Report", "ReportDecides", "DryRunDone"]
    assert not {"LoadWaves", "Certify", "Reopen"} & set(way("plan"))
    verify = way("verify")
    assert verify[-1] == "Verified"
    assert not {"Prepare", "LoadWaves", "Certify", "AskSignature"} & set(verify)
    assert verify.index("Reopen") < verify.index("Plan") < verify.index("VerifyWaves")
    migrate = way("migrate")
    assert migrate[-2:] == ["CertifyDecides", "Certified"]
    assert migrate.index("Reopen") < migrate.index("LoadWaves") < migrate.index("VerifyWaves")
    look = states["VerifyWaves"]["ItemProcessor"]["States"]["VerifyChunks"]["ItemProcessor"]
    assert look["StartAt"] == "Changed", "what changed since the extract is compared as it is now"
    assert migrate.index("Survey") < migrate.index("ExamineWaves") < migrate.index("Report") < migrate.index("NeedsApproval")
    assert not {"Survey", "ExamineWaves", "Report"} & set(way("migrate", **{"$.step.begun": True})), "it has been looked at before it began"
    assert way("migrate", **{"$.approve": True, "$.run": 4})[-1] == "Certified"
    assert "IsSigned" in way("migrate", **{"$.step.needs_sign_off": True})


def test_a_dry_run_is_of_the_runs_own_waves() -> None:
    states = load("migration_run.asl.json")["States"]
    assert states["KeepPlan"]["Parameters"] == {"waves.$": "$.waves", "own_waves.$": "$.own_waves"}
    assert (states["ExamineWaves"]["ItemsPath"], states["LoadWaves"]["ItemsPath"]) == ("$.plan.own_waves", "$.plan.waves")


def test_what_a_plan_is_stopped_by_stops_a_run_before_anybody_is_asked() -> None:
    states = load("migration_run.asl.json")["States"]
    assert states["Report"]["Next"] == "ReportDecides"
    assert states[states["ReportDecides"]["Default"]] == {"Type": "Fail", "Error": "PreflightBlocked", "CausePath": "$.step.reason"}


def holds(choice: dict[str, Any], told: dict[str, object]) -> bool:
    if "And" in choice:
        return all(holds(one, told) for one in choice["And"])
    if "Or" in choice:
        return any(holds(one, told) for one in choice["Or"])
    (wanted,) = (value for name, value in choice.items() if name.endswith("Equals"))
    return told[choice["Variable"]] == wanted


def test_waiting_for_the_live_writers_remembers_how_long_it_has_waited() -> None:
    states = load("migration_run.asl.json")["States"]
    assert states["Quiet"]["Result"] == {"wait_seconds": 0}
    assert states["Quiet"]["Next"] == states["QuietWaits"]["Next"] == "IsQuiet"
    assert states["IsQuiet"]["Parameters"]["waited.$"] == "$.step.wait_seconds"
    assert states["Quiet"]["ResultPath"] == states["IsQuiet"]["ResultPath"] == "$.step"


def test_approvals_wait_for_a_token_and_end() -> None:
    asks = [state for state in load("migration_run.asl.json")["States"].values() if "waitForTaskToken" in state.get("Resource", "")]
    assert len(asks) == 2
    assert all(state["TimeoutSeconds"] <= 7 * 86_400 and state["Catch"] for state in asks)
    assert all(one["ErrorEquals"] == ["States.TaskFailed"] for state in asks for one in state["Retry"]), "a week without a word is no fault"


def test_no_run_begins_after_one_that_failed() -> None:
    """A failed run fails the execution: nothing catches it, and the next one is begun behind it, not beside it."""
    states = load("migration.asl.json")["States"]
    assert "Catch" not in states["Run"]
    assert "Retry" not in states["Run"]
    assert states["Run"]["Resource"].endswith("startExecution.sync:2")
    assert (states["Run"]["Next"], states["NextOne"]["Next"], states["IsThereMore"]["Default"]) == ("NextOne", "IsThereMore", "Finished")
