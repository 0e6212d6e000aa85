"""What MiniStack lacks or does otherwise than AWS, put right inside its process before it starts.

Each module mends one service and says, per mend, what AWS does. Nothing here is known to the product.
"""

from __future__ import annotations

from local.stack.mends import cloudformation, dynamodb, eventbridge, ses, sqs, stepfunctions, workers


def install() -> None:
    """Mend everything; called once, before the server starts."""
    sqs.install()
    dynamodb.install()
    eventbridge.install()
    ses.install()
    stepfunctions.install()
    cloudformation.install()
    workers.install()
