"""POST /oms/events and POST /oms/{table}: the OMS's door."""

from __future__ import annotations

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from omsync.platform import bootstrap_sync, responses
from omsync.platform.errors import Retryable
from omsync.platform.problems import Problem
from omsync.platform.requests import body_of, headers_of
from omsync.platform.telemetry import logger, tracer

door = bootstrap_sync.oms_door()


@tracer.capture_lambda_handler(capture_response=False)
@logger.inject_lambda_context(correlation_id_path="requestContext.requestId", clear_state=True)
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """202 with the ids of the events taken, or a problem and nothing taken."""
    table = (event.get("pathParameters") or {}).get("table")
    try:
        accepted = door.accept(headers_of(event), body_of(event), table=table)
    except Problem as refused:
        logger.warning("refused", status=refused.status, errors=len(refused.errors), table=table)
        return responses.problem(refused)
    except Retryable as fault:
        logger.warning("busy", code=fault.code)
        return responses.problem(Problem(503, "Try again", "The events could not be put into their queues. Send the batch again."))
    logger.info("accepted", accepted=len(accepted), table=table)
    return responses.answer(202, {"accepted": accepted})
