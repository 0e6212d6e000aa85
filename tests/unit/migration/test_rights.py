"""What the migration's functions may do, held against what their steps open when they are put together."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from pydantic import SecretStr

from omsync.platform import aws, bootstrap_migration, settings
from tests.unit.test_template import ROOT, CloudFormation, actions, of_type, references, statements

TEMPLATE: dict[str, Any] = yaml.load((ROOT / "template.yaml").read_text(), CloudFormation)
STEPS = {
    "MigrationSourceFunction": ("plan", "examine", "survey", "extract", "changes"),
    "MigrationLoadFunction": ("load", "link"),
    "MigrationVerifyFunction": ("verify",),
    "MigrationControlFunction": ("control", "prepare", "reports"),
}
MEMBERS = ("url", "client_id", "client_secret", "username", "private_key", "key_id", "key")


def variables(function: str) -> dict[str, str]:
    """As the function is told them; a table, bucket, queue or secret by its name in the template."""
    common, own = (one["Environment"]["Variables"] for one in (TEMPLATE["Globals"]["Function"], resource(function)["Properties"]))
    told = {name: next(references(value), value) for name, value in (common | own).items()}
    return {name: str(value) for name, value in told.items()} | {"STAGE": "local"}


def resource(function: str) -> dict[str, Any]:
    return dict(TEMPLATE["Resources"][function])


def allowed(function: str, action: str) -> Iterator[Any]:
    """Resources with which it may do that."""
    for statement in statements(resource(function)):
        if action in actions(statement):
            yield from statement["Resource"] if isinstance(statement["Resource"], list) else [statement["Resource"]]


@pytest.mark.parametrize("function", STEPS)
def test_a_function_reads_the_secrets_that_its_steps_open(function: str, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: set[str] = set()

    def secret(name: str) -> dict[str, SecretStr]:
        opened.add(name)
        return dict.fromkeys(MEMBERS, SecretStr("x"))

    monkeypatch.setattr(settings, "secret", secret)
    monkeypatch.setattr(os, "environ", variables(function))
    for name in [name for name, client in vars(aws).items() if hasattr(client, "cache_clear")]:
        monkeypatch.setattr(aws, name, lambda: None)
    make = bootstrap_migration.source_steps if function == "MigrationSourceFunction" else bootstrap_migration.org_steps
    steps = make()
    for name in STEPS[function]:
        assert getattr(steps, name)
    assert opened == {next(references(one)) for one in allowed(function, "secretsmanager:GetSecretValue")}


def test_only_the_load_reads_values_that_were_extracted() -> None:
    def who(action: str) -> set[str]:
        extracts = {"Fn::Sub": "${StagingBucket.Arn}/extracts/*"}
        return {name for name in of_type(TEMPLATE, "AWS::Serverless::Function") if extracts in allowed(name, action)}

    assert who("s3:GetObject") == {"MigrationLoadFunction"}
    assert who("s3:PutObject") == {"MigrationSourceFunction", "MigrationLoadFunction"}


def test_the_ledger_is_written_by_the_load_alone() -> None:
    """The extract hashes for it; verification and preflight have nothing to do with it."""
    ledger = {"Fn::GetAtt": ["LedgerTable", "Arn"]}
    assert [name for name in STEPS if ledger in allowed(name, "dynamodb:PutItem")] == ["MigrationLoadFunction"]
