"""One step of loading or linking a chunk; polls nothing: the state machine waits and calls again."""

from __future__ import annotations

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from omsync.migration.steps import load_step
from omsync.platform import bootstrap_migration
from omsync.platform.telemetry import logger, tracer

steps = bootstrap_migration.org_steps()


@tracer.capture_lambda_handler(capture_response=False)
@logger.inject_lambda_context(clear_state=True)
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """`{"step": "load"|"link", "ref": {...}}` -> `{"outcome": "done"|"wait"|"paused"|"failed", ...}`."""
    return load_step(steps, event)
