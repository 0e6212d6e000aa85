"""Whatever is sent, the OMS answers what its OpenAPI document says, and never with a 5xx."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import hypothesis
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    response_schema_conformance,
    status_code_conformance,
)

from .conftest import Oms

#: one table of each shape stands for the 23: shared with addresses, with commands, mirrored with arrays, with jsonb
TABLES = ("patients", "orders", "providers", "intake_responses")
CHECKS: list[Callable[..., Any]] = [not_a_server_error, response_schema_conformance, status_code_conformance]


@pytest.fixture(scope="module")
def operations(oms: Oms) -> list[Any]:
    schema = schemathesis.openapi.from_url(str(oms.http.base_url) + "/openapi.json")
    found = [result.ok() for result in schema.get_all_operations()]
    wanted = [operation for operation in found if operation.path.split("/")[2] in TABLES or "/v1/" not in operation.path]
    return wanted + [operation for operation in found if operation.path.startswith(("/v1/changes", "/v1/outbox", "/v1/cursor"))]


@pytest.fixture(scope="module")
def actions(oms: Oms) -> list[Any]:
    schema = schemathesis.openapi.from_url(str(oms.http.base_url) + "/openapi.json")
    return [operation for result in schema.get_all_operations() if (operation := result.ok()).path.startswith("/v1/actions/")]


def fuzz(oms: Oms, operation: Any, examples: int) -> None:
    @hypothesis.given(case=operation.as_strategy() | operation.as_strategy(generation_mode=schemathesis.GenerationMode.NEGATIVE))
    @hypothesis.settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def run(case: Any) -> None:
        case.call_and_validate(headers={"Authorization": oms.http.headers["Authorization"]}, checks=CHECKS)

    run()


def test_rows_feeds_and_tokens_withstand_any_input(oms: Oms, operations: list[Any]) -> None:
    for operation in operations:
        if "/delivery" not in operation.path and "/faults" not in operation.path:
            fuzz(oms, operation, 12)


def test_actions_withstand_any_input(oms: Oms, actions: list[Any]) -> None:
    assert len(actions) >= 50
    for operation in actions:
        fuzz(oms, operation, 6)
