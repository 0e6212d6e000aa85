"""The stack's secrets: made once per home, and put where each side looks for its own."""

from __future__ import annotations

import base64
import json
import secrets
from dataclasses import dataclass

from botocore.exceptions import ClientError

from local.stack.deploy import Aws
from local.stack.home import Home


@dataclass(frozen=True, slots=True)
class Secrets:
    """Kept in `secrets.json` of the home, readable by its owner alone."""

    oms_client_secret: str
    operator_secret: str
    webhook_secret: str
    salesforce_client_id: str

    @classmethod
    def of(cls, home: Home) -> Secrets:
        """Made on first use."""
        path = home.path / "secrets.json"
        kept = home.read(path)
        made = {
            "oms_client_secret": secrets.token_urlsafe(24),
            "operator_secret": secrets.token_urlsafe(24),
            "webhook_secret": f"whsec_{base64.b64encode(secrets.token_bytes(32)).decode()}",
            "salesforce_client_id": f"3MVG9{secrets.token_hex(40)}",
        }
        told = made | {name: str(value) for name, value in kept.items() if name in made}
        if told != kept:
            home.write(path, told, private=True)
        return cls(**told)


def put(aws: Aws, name: str, value: dict[str, str | None]) -> None:
    """Set a secret unless it already says so."""
    client = aws.client("secretsmanager")
    text = json.dumps(value)
    try:
        if client.get_secret_value(SecretId=name)["SecretString"] == text:
            return
    except ClientError as refused:
        if refused.response["Error"]["Code"] != "ResourceNotFoundException":
            raise
    client.put_secret_value(SecretId=name, SecretString=text)
