"""Where operator commands get everything they talk to: AWS clients, the stack's names, the OMS and Salesforce.

In production: `--stack-name` (or OMSYNC_STACK_NAME) and AWS credentials as the AWS CLI finds them. Without a stack's name, the embedded stack
whose `endpoints.json` lies in OMSYNC_HOME, else in `.local`. Everything else is what CloudFormation tells of the stack, so that a command
works on any stack that the template made, and holds no address of its own.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import click
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from omsync.oms import client as oms
from omsync.platform.aws import STANDARD
from omsync.platform.errors import OmsyncError
from omsync.platform.queues import Payloads
from omsync.salesforce import auth
from omsync.salesforce.client import SalesforceClient

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_sqs import SQSClient

ROOT = Path(__file__).resolve().parents[1]


class ConnectionFault(OmsyncError):
    """Something an operator needs cannot be reached; the message says what, and what to do."""

    def __init__(self, message: str) -> None:
        super().__init__(message, code="connections")


@contextlib.contextmanager
def told(what: str) -> Iterator[None]:
    """An AWS error inside becomes one line that says what was being done."""
    try:
        yield
    except ClientError as fault:
        error = fault.response.get("Error", {})
        raise ConnectionFault(f"{what}: AWS answers {error.get('Code', 'an error')} to {fault.operation_name}") from None
    except BotoCoreError as fault:
        raise ConnectionFault(f"{what}: {fault}") from None


@dataclass(frozen=True)
class Connections:
    """One stack. `endpoint` and `credentials` are the embedded AWS's, None on AWS itself."""

    stack: str
    region: str | None
    endpoint: str | None = None
    credentials: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def find(cls, stack: str | None, region: str | None) -> Connections:
        """The stack named, else the embedded one that is up. Raises `ConnectionFault`."""
        if stack:
            return cls(stack, region)
        home = Path(os.environ.get("OMSYNC_HOME") or ROOT / ".local").absolute()
        try:
            endpoints = json.loads((home / "endpoints.json").read_text())
        except FileNotFoundError:
            raise ConnectionFault(f"no --stack-name given and no embedded stack is up in {home}: name a stack, or run `make up`") from None
        test = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
        return cls(endpoints["stack_name"], endpoints["region"], endpoints["aws_endpoint_url"], test)

    @cached_property
    def _session(self) -> boto3.Session:
        with told("AWS credentials"):
            return boto3.Session(region_name=self.region, **self.credentials)  # type: ignore[arg-type]

    @cached_property
    def _clients(self) -> dict[str, Any]:
        return {}

    def client(self, service: str) -> Any:
        """A boto3 client; one per service."""
        if service not in self._clients:
            config = STANDARD if self.endpoint is None else STANDARD.merge(Config(proxies={}, s3={"addressing_style": "path"}))
            with told(f"AWS {service}"):
                self._clients[service] = self._session.client(service, endpoint_url=self.endpoint, config=config)  # type: ignore[call-overload]
        return self._clients[service]

    @property
    def sqs(self) -> SQSClient:
        """SQS."""
        client: SQSClient = self.client("sqs")
        return client

    @property
    def dynamodb(self) -> DynamoDBClient:
        """DynamoDB."""
        client: DynamoDBClient = self.client("dynamodb")
        return client

    # --------------------------------------------------------------------------------------------------- what the stack tells
    @cached_property
    def _description(self) -> Mapping[str, Any]:
        try:
            with told(f"stack {self.stack}"):
                return dict(self.client("cloudformation").describe_stacks(StackName=self.stack)["Stacks"][0])
        except ConnectionFault as fault:
            hint = "check --stack-name, --region and your AWS credentials"
            raise ConnectionFault(f"{fault.message} (region {self.region or 'of your AWS configuration'}): {hint}") from None

    @cached_property
    def outputs(self) -> Mapping[str, str]:
        """Names and addresses: LedgerTableName, ApiUrl ..."""
        return {output["OutputKey"]: output["OutputValue"] for output in self._description.get("Outputs", [])}

    @cached_property
    def parameters(self) -> Mapping[str, str]:
        """What it was deployed with: OmsBaseUrl ..."""
        return {one["ParameterKey"]: one["ParameterValue"] for one in self._description.get("Parameters", [])}

    @cached_property
    def resources(self) -> Mapping[str, tuple[str, str]]:
        """Logical id -> (type, physical id), nested stacks' included."""
        return dict(self._resources_of(self.stack))

    def _resources_of(self, stack: str) -> Iterator[tuple[str, tuple[str, str]]]:
        with told(f"resources of {stack}"):
            pages = list(self.client("cloudformation").get_paginator("list_stack_resources").paginate(StackName=stack))
        for entry in (entry for page in pages for entry in page["StackResourceSummaries"]):
            physical = entry.get("PhysicalResourceId", "")
            if entry["ResourceType"] == "AWS::CloudFormation::Stack" and physical:
                yield from self._resources_of(physical)
            yield entry["LogicalResourceId"], (entry["ResourceType"], physical)

    @cached_property
    def queues(self) -> Mapping[str, str]:
        """Logical id (MirrorQueue, MirrorDlq ...) -> URL."""
        return {name: physical for name, (kind, physical) in sorted(self.resources.items()) if kind == "AWS::SQS::Queue"}

    def prepare(self) -> None:
        """Ask for what threads share, once and before they start: building a boto3 client is not thread-safe."""
        for service in ("sqs", "dynamodb", "s3", "logs", "lambda", "cloudwatch", "secretsmanager"):
            self.client(service)
        _ = self.resources, self.outputs, self.payloads

    def output(self, name: str) -> str:
        """One output; a fault if the stack has none of that name (an older template)."""
        try:
            return self.outputs[name]
        except KeyError:
            raise ConnectionFault(f"the stack {self.stack} has no output {name}: deploy the current template") from None

    @cached_property
    def payloads(self) -> Payloads:
        """Bodies that were too long for a queue."""
        return Payloads(self.client("s3"), self.output("StagingBucketName"))

    # ------------------------------------------------------------------------------------------------------- the two systems
    def secret(self, output: str) -> Mapping[str, str]:
        """A secret's members."""
        with told(f"secret {output.removesuffix('Arn')}"):
            text = self.client("secretsmanager").get_secret_value(SecretId=self.output(output))["SecretString"]
        return {str(name): str(value) for name, value in json.loads(text).items() if value is not None}

    def _member(self, output: str, name: str) -> str:
        value = self.secret(output).get(name, "unset")
        if value == "unset":
            raise ConnectionFault(f"the secret {output.removesuffix('Arn')} has no {name} yet: fill it (docs/runbook.md, Secrets)")
        return value

    def oms(self) -> oms.OmsClient:
        """A client of the OMS, as omsync itself."""
        client_id, client_secret = (self._member("OmsSecretArn", name) for name in ("client_id", "client_secret"))
        return oms.OmsClient(oms.Connection(self.parameters["OmsBaseUrl"].rstrip("/"), client_id, client_secret))

    def salesforce(self) -> SalesforceClient:
        """A client of the org, as the integration user."""
        members = {name: self._member("SalesforceSecretArn", name) for name in ("client_id", "username", "private_key")}
        connection = auth.Connection(
            instance_url=self.parameters["SalesforceBaseUrl"],
            consumer_key=members["client_id"],
            username=members["username"],
            private_key=members["private_key"],
            ca_file=self.parameters.get("SalesforceCa") or None,
        )
        return SalesforceClient(connection)


def with_connections(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command `--stack-name` and `--region`, and the `Connections` they mean as its first argument."""

    @click.option("--stack-name", envvar="OMSYNC_STACK_NAME", help="CloudFormation stack. Without: the embedded stack that is up.")
    @click.option("--region", envvar=["AWS_REGION", "AWS_DEFAULT_REGION"], help="AWS region of the stack.")
    @functools.wraps(command)
    def run(stack_name: str | None, region: str | None, **arguments: object) -> None:
        command(Connections.find(stack_name, region), **arguments)

    return run
