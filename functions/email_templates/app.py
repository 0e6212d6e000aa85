"""CloudFormation's custom resource: the email templates in SES."""

from __future__ import annotations

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from omsync.platform import bootstrap_emails
from omsync.platform.telemetry import logger, metrics, tracer

handle = bootstrap_emails.template_resource()


@tracer.capture_lambda_handler(capture_response=False)
@logger.inject_lambda_context(clear_state=True)
@metrics.log_metrics
def handler(event: dict[str, Any], context: LambdaContext) -> None:
    """CloudFormation is told the outcome."""
    handle(event, context)
