"""Composition root: builds each function's use case from its settings and the adapters. Nothing else wires things together."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import requests
from botocore.exceptions import BotoCoreError, ClientError

from omsync.platform import aws, settings
from omsync.platform.errors import Retryable
from omsync.platform.health import CheckHealth, Probe
from omsync.platform.http import TimeoutSession


def health() -> CheckHealth:
    """GET /health."""
    told = settings.load(settings.Health)
    patience = (told.probe_seconds, told.probe_seconds)
    oms, salesforce = TimeoutSession(timeout=patience), TimeoutSession(told.salesforce_ca, timeout=patience)
    probes: dict[str, Probe] = {
        "oms": partial(_get, oms, f"{told.oms_base_url.rstrip('/')}/healthz"),
        "salesforce": partial(_get, salesforce, f"{told.salesforce_base_url.rstrip('/')}/services/data"),
        "state_table": partial(_aws, lambda: aws.dynamodb().describe_table(TableName=told.state_table)),
        "mirror_queue": partial(_aws, lambda: aws.sqs().get_queue_attributes(QueueUrl=told.mirror_queue_url)),
        "sync_queue": partial(_aws, lambda: aws.sqs().get_queue_attributes(QueueUrl=told.sync_queue_url)),
    }
    # Clients are built here, before the threads: building one is not thread-safe.
    aws.dynamodb(), aws.sqs()
    return CheckHealth(told.version, told.build_id, told.stage, probes)


def _get(session: TimeoutSession, url: str) -> None:
    try:
        status = session.get(url, allow_redirects=False).status_code
    except requests.RequestException as fault:
        raise Retryable(type(fault).__name__, code="unreachable") from None
    if status != requests.codes.ok:
        raise Retryable(f"HTTP {status}", code="unhealthy")


def _aws(call: Callable[[], object]) -> None:
    try:
        call()
    except ClientError as fault:
        raise Retryable(fault.response.get("Error", {}).get("Code", "ClientError"), code="refused") from None
    except BotoCoreError as fault:
        raise Retryable(type(fault).__name__, code="unreachable") from None
