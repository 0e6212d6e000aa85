"""A mended MiniStack of the tests' own, started once and stopped whole."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from local.stack import parts, processes
from local.stack.deploy import Aws
from local.stack.home import Home

ROLE = "arn:aws:iam::000000000000:role/test"


@pytest.fixture(scope="session")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Aws]:
    home = Home(tmp_path_factory.mktemp("stack"))
    port = home.ports(frozenset())["aws"]
    processes.start(home, parts.aws(home, port))
    yield Aws(f"http://127.0.0.1:{port}")
    processes.stop(home, "aws")


@pytest.fixture
def function(aws: Aws) -> Callable[[str, str], str]:
    """Makes a function from source text; returns its ARN."""

    def make(name: str, source: str) -> str:
        content = io.BytesIO()
        with zipfile.ZipFile(content, "w") as archive:
            archive.writestr("app.py", source)
        made = aws.client("lambda").create_function(
            FunctionName=name, Runtime="python3.13", Role=ROLE, Handler="app.handler", Code={"ZipFile": content.getvalue()}, Timeout=20
        )
        return str(made["FunctionArn"])

    return make


@pytest.fixture
def queue(aws: Aws) -> Callable[..., tuple[str, str]]:
    """Makes a queue; returns (URL, ARN)."""

    def make(name: str, **attributes: str) -> tuple[str, str]:
        client = aws.client("sqs")
        url = client.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]
        return url, client.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]

    return make


def read_lines(aws: Aws, url: str) -> list[Any]:
    """All messages of a queue, read and deleted, as JSON."""
    client = aws.client("sqs")
    found = []
    while messages := client.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages"):
        for message in messages:
            found.append(json.loads(message["Body"]))
            client.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    return found
