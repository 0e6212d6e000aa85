"""Beside the OMS's database: plans, dry runs, extracts, what changed since. Calls neither Salesforce nor the OMS's API."""

from __future__ import annotations

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from omsync.migration.steps import source_step
from omsync.platform import bootstrap_migration
from omsync.platform.telemetry import logger, tracer

steps = bootstrap_migration.source_steps()


@tracer.capture_lambda_handler(capture_response=False)
@logger.inject_lambda_context(clear_state=True)
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """`{"step": "plan"|"survey"|"examine"|"extract"|"changed", ...}` -> `{"outcome": ...}`."""
    return source_step(steps, event)
