"""Steers a migration: preflight, approvals, waiting for the live writers, the certificate; also what `omsync migrate` asks."""

from __future__ import annotations

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from omsync.migration.steps import control_step
from omsync.platform import bootstrap_migration
from omsync.platform.telemetry import logger, metrics, tracer

steps = bootstrap_migration.org_steps()


@tracer.capture_lambda_handler(capture_response=False)
@logger.inject_lambda_context(clear_state=True)
@metrics.log_metrics
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """`{"step": "prepare"|"report"|"reopen"|"ask"|"approved"|"quiet"|"judge"|"certify"|"approve"|"pause"|"status", ...}` -> `{"outcome": ...}`."""
    return control_step(steps, event)
