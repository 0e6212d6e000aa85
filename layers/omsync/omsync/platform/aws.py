"""boto3 clients with explicit timeouts and retries, one per service and process.

A client costs 50-100 ms to build: handlers take it from here, so that a warm invocation pays nothing. A Lambda's deadline is
its own: five seconds to connect and ten to read leave room for two retries within thirty.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from botocore.config import Config

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_events import EventBridgeClient
    from mypy_boto3_lambda import LambdaClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_scheduler import EventBridgeSchedulerClient
    from mypy_boto3_secretsmanager import SecretsManagerClient
    from mypy_boto3_sesv2 import SESV2Client
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_stepfunctions import SFNClient

#: calls are checked by their types here and by the service there: checking each value in between costs as much as the call
STANDARD = Config(
    parameter_validation=False,
    connect_timeout=5,
    read_timeout=10,
    retries={"mode": "standard", "total_max_attempts": 3},
    tcp_keepalive=True,
)

#: SES: a time-out may have sent the email, so nothing is tried twice behind the caller's back.
ONCE = Config(connect_timeout=5, read_timeout=20, retries={"mode": "standard", "total_max_attempts": 1})


@cache
def dynamodb() -> DynamoDBClient:
    """DynamoDB."""
    import boto3

    return boto3.client("dynamodb", config=STANDARD)


@cache
def sqs() -> SQSClient:
    """SQS."""
    import boto3

    return boto3.client("sqs", config=STANDARD)


@cache
def s3() -> S3Client:
    """S3."""
    import boto3

    return boto3.client("s3", config=STANDARD.merge(Config(s3={"addressing_style": "path"}, read_timeout=60)))


@cache
def secrets() -> SecretsManagerClient:
    """Secrets Manager."""
    import boto3

    return boto3.client("secretsmanager", config=STANDARD)


@cache
def events() -> EventBridgeClient:
    """EventBridge."""
    import boto3

    return boto3.client("events", config=STANDARD)


@cache
def scheduler() -> EventBridgeSchedulerClient:
    """EventBridge Scheduler."""
    import boto3

    return boto3.client("scheduler", config=STANDARD)


@cache
def functions() -> LambdaClient:
    """Lambda's own API: event source mappings for the breakers."""
    import boto3

    return boto3.client("lambda", config=STANDARD)


@cache
def state_machines() -> SFNClient:
    """Step Functions."""
    import boto3

    return boto3.client("stepfunctions", config=STANDARD)


@cache
def email() -> SESV2Client:
    """SES v2, which never retries by itself."""
    import boto3

    return boto3.client("sesv2", config=ONCE)
