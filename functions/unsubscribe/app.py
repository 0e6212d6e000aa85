"""GET and POST /email/unsubscribe: one click (RFC 8058)."""

from __future__ import annotations

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from omsync.platform import bootstrap_emails
from omsync.platform.telemetry import logger, metrics, tracer

answer = bootstrap_emails.link_page("unsubscribe")


@tracer.capture_lambda_handler(capture_response=False)
@logger.inject_lambda_context(clear_state=True)
@metrics.log_metrics
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """A page; a POST acts."""
    return answer(event)
