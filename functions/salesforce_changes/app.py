"""POST /salesforce/changes: Salesforce's door. The same hints may come from a partner event bus."""

from __future__ import annotations

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from omsync.platform import bootstrap_sync, responses
from omsync.platform.errors import Retryable
from omsync.platform.problems import Problem
from omsync.platform.requests import body_of
from omsync.platform.telemetry import logger, tracer

door = bootstrap_sync.salesforce_door()


@tracer.capture_lambda_handler(capture_response=False)
@logger.inject_lambda_context(correlation_id_path="requestContext.requestId", clear_state=True)
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """202 with the number of hints taken, or a problem and nothing taken."""
    try:
        accepted = door.accept(body_of(event), correlation_id=context.aws_request_id)
    except Problem as refused:
        logger.warning("refused", status=refused.status, errors=len(refused.errors))
        return responses.problem(refused)
    except Retryable as fault:
        logger.warning("busy", code=fault.code)
        return responses.problem(Problem(503, "Try again", "The hints could not be put into their queue. Send them again."))
    logger.info("accepted", accepted=accepted)
    return responses.answer(202, {"accepted": accepted})
