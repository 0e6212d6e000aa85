"""Where events go: the target's address and credentials, kept in a file so that they survive a restart.

The API's address is known only after `sam deploy`: until then events wait. `PUT /admin/delivery` writes the file and wakes
the dispatcher, in this process or in another.
"""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError

from omsync.platform.errors import Permanent

CHANNEL = "omsync_delivery"  # NOTIFY: the settings changed
EVENTS = "omsync_outbox"  # NOTIFY: there is something to deliver


class Target(BaseModel):
    """omsync's door. `url` is the API's base; events are posted to `{url}/oms/events`."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "url": "https://api.example.com/v1",
                    "token_url": "https://auth.example.com/oauth2/token",
                    "client_id": "oms",
                    "client_secret": "secret",
                    "webhook_secret": "whsec_c2VjcmV0",
                }
            ]
        },
    )
    url: str = Field(pattern=r"^https?://\S+$", max_length=2000)
    token_url: str = Field(pattern=r"^https?://\S+$", max_length=2000)
    client_id: str = Field(min_length=1, max_length=500)
    client_secret: SecretStr
    webhook_secret: SecretStr = Field(description="whsec_ and base64 of the key")
    scope: str = "oms/write"
    paused: bool = False
    ca_file: str | None = Field(None, description="CA bundle to trust besides the usual ones' default")


class DeliveryFile:
    """The target in its file; None until somebody says where events go."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> Target | None:
        try:
            return Target.model_validate_json(self.path.read_text())
        except FileNotFoundError:
            return None
        except ValidationError as fault:
            first = fault.errors(include_input=False)[0]
            raise Permanent(f"{self.path}: {first['loc']}: {first['msg']}", code="oms.delivery") from fault

    def stamp(self) -> object:
        """Differs once the file has been written anew."""
        try:
            found = self.path.stat()
        except FileNotFoundError:
            return None
        return found.st_ino, found.st_mtime_ns

    def write(self, target: Target) -> None:
        content = target.model_dump()
        content |= {name: getattr(target, name).get_secret_value() for name in ("client_secret", "webhook_secret")}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        draft = self.path.with_suffix(".new")
        draft.touch(mode=0o600)
        draft.write_text(json.dumps(content, indent=2) + "\n")
        draft.replace(self.path)
