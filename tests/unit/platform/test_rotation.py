"""A rotated key of the ledger: what was hashed with a former one still compares, and who is suppressed stays so."""

from __future__ import annotations

import json
from collections.abc import Iterator

import boto3
import pytest
from moto import mock_aws

from omsync.emails.stores import DynamoSuppressions
from omsync.platform import aws, settings
from omsync.sync.digests import Digests
from omsync.sync.records import RecordKey

KEY = RecordKey("patients", "1")
OLD, NEW = {"key_id": "1", "key": "one"}, {"key_id": "2", "key": "two", "key_1": "one"}


@pytest.fixture
def session(monkeypatch: pytest.MonkeyPatch) -> Iterator[boto3.Session]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    with mock_aws():
        session = boto3.Session(region_name="us-east-1")
        monkeypatch.setattr(aws, "secrets", lambda: session.client("secretsmanager"))
        settings.secret.cache_clear()
        yield session
        settings.secret.cache_clear()


def ring(session: boto3.Session, secret: dict[str, str]) -> settings.KeyRing:
    arn = session.client("secretsmanager").create_secret(Name=f"ledger-{len(secret)}", SecretString=json.dumps(secret))["ARN"]
    return settings.key_ring(arn)


def test_the_ledger_compares_with_former_keys_and_writes_with_the_new_one(session: boto3.Session) -> None:
    old, new = ring(session, OLD), ring(session, NEW)
    digest = Digests(old.keys, old.current).of(KEY, "phone", {"Phone": "+1"})
    digests = Digests(new.keys, new.current)
    assert digests.same(digest, KEY, "phone", {"Phone": "+1"}) is True
    assert digests.of(KEY, "phone", {"Phone": "+1"}).startswith("k2:")
    assert new.secrets == (b"two", b"one")


def test_a_key_that_is_not_whole_is_named_without_its_value(session: boto3.Session) -> None:
    with pytest.raises(settings.SettingsFault, match="expected the members key_id and key"):
        ring(session, {"key": "s3cr3t"})


def test_an_address_suppressed_before_a_rotation_stays_suppressed(session: boto3.Session) -> None:
    dynamodb = session.client("dynamodb")
    dynamodb.create_table(
        TableName="suppressed",
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    DynamoSuppressions(dynamodb, "suppressed", ring(session, OLD).secrets).add("zoe@example.com", "bounce")
    rotated = DynamoSuppressions(dynamodb, "suppressed", ring(session, NEW).secrets)
    assert rotated.reason(["Zoe@example.com", "ada@example.com"]) == {"Zoe@example.com": "bounce"}
