"""What a function is told by its environment, one model per function, built from small mixins.

The names are those of template.yaml in upper snake case. A missing or malformed variable is one error at cold start that names it;
nothing else in the product reads `os.environ`. Secrets are read by ARN, once per process.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Literal

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from omsync.platform import aws
from omsync.platform.errors import Permanent


class SettingsFault(Permanent):
    """The environment is not what the function needs: a deployment to mend."""


class Settings(BaseSettings):
    """What every function has."""

    model_config = SettingsConfigDict(extra="ignore", frozen=True)

    stage: Literal["local", "staging", "prod"]
    version: str
    build_id: str


class Oms(BaseSettings):
    """The OMS's API."""

    oms_base_url: str
    oms_secret_arn: str


class Salesforce(BaseSettings):
    """The org. `salesforce_ca` is a file, or empty for the public certificate authorities."""

    salesforce_base_url: str
    salesforce_secret_arn: str
    salesforce_ca: str = ""


class OmsDatabase(BaseSettings):
    """The OMS's database, for what reads it in bulk."""

    oms_database_secret_arn: str


class Queues(BaseSettings):
    """Where work is put."""

    mirror_queue_url: str
    sync_queue_url: str


class State(BaseSettings):
    """Cursors, breakers and budget."""

    state_table: str


class Staging(BaseSettings):
    """S3: payloads too long for a queue, extracts, reports."""

    staging_bucket: str


class Lifecycle(BaseSettings):
    """Where every accepted OMS event also goes."""

    lifecycle_queue_url: str


class LedgerTable(BaseSettings):
    """What is known of shared records."""

    ledger_table: str


class LedgerKey(BaseSettings):
    """What values are hashed with."""

    ledger_secret_arn: str


class Ledger(LedgerTable, LedgerKey):
    """The ledger, read and written."""


class OmsDoor(Settings, Queues, Lifecycle, Staging):
    """POST /oms/..."""

    webhook_secret_arn: str


class SalesforceDoor(Settings, Queues, Staging):
    """POST /salesforce/changes."""


class Failures(BaseSettings):
    """Where what fails for good, or may crash, goes."""

    dlq_url: str
    isolation_queue_url: str
    failure_table: str


class Consumer(Settings, Oms, Salesforce, Queues, State, Staging, Ledger, Failures):
    """A consumer of the mirror, sync or isolation queue. `queue_arns`: the queues that need both systems, comma-separated."""

    queue_url: str
    queue_arns: str
    org_time_zone: str = "America/New_York"
    insert_lease_seconds: int = Field(default=1200, ge=30)


class Sweep(Settings, Oms, Salesforce, Queues, State, Staging, Ledger):
    """The five-minute sweep."""

    org_time_zone: str = "America/New_York"


class BreakerRound(Settings, Oms, Salesforce, State):
    """The one-minute round over the breakers."""

    queue_arns: str
    sweep_function: str


class MigrationSource(Settings, OmsDatabase, Queues, State, Staging, LedgerKey):
    """The migration's steps beside the OMS's database."""


class Migration(Settings, Oms, Salesforce, Queues, State, Staging):
    """The migration's steps that call Salesforce. `api_reserve`: the share of the daily API requests that live traffic keeps."""

    org_time_zone: str = "America/New_York"
    api_reserve: float = Field(default=0.2, ge=0, lt=1)
    backlog_limit: int = Field(default=20_000, gt=0)


class EmailConsumer(Settings, Salesforce, State, Staging):
    """A consumer of the lifecycle, email or feedback queue."""

    queue_url: str
    dlq_url: str
    failure_table: str


class EmailPublisher(State):
    """Who puts transitions on the lifecycle bus."""

    lifecycle_bus: str


class LifecycleConsumer(EmailConsumer, EmailPublisher):
    """Accepted OMS events."""


class OutboxReader(Settings, Oms, EmailPublisher):
    """The five-minute reader of the OMS's outbox."""


class Suppression(BaseSettings):
    """Addresses nothing goes to, hashed with the ledger's key."""

    suppression_table: str
    ledger_secret_arn: str


class EmailLinks(BaseSettings):
    """Signed links: the secret {current, previous}."""

    email_link_secret_arn: str
    claim_table: str


class EmailSender(EmailConsumer, Oms, Suppression, EmailLinks):
    """The email queue."""

    queue_arn: str
    skip_table: str
    schedule_group: str
    schedule_role_arn: str
    schedule_dlq_arn: str
    configuration_set: str
    template_prefix: str
    email_sender: str
    portal_url: str
    api_url: str
    postal_address: str
    company_time_zone: str = "America/New_York"


class EmailFeedback(EmailConsumer, Oms, Suppression):
    """SES's events."""

    claim_table: str


class EmailPages(Settings, Oms, EmailLinks):
    """What the links of an email open."""


class EmailTemplates(Settings):
    """The custom resource. SES takes template calls once a second."""

    template_prefix: str
    template_call_seconds: float = Field(default=1.0, ge=0, le=5)


class Health(Settings, Oms, Salesforce, Queues, State):
    """GET /health."""

    probe_seconds: float = Field(default=3.0, gt=0, le=10)


def load[T: BaseSettings](model: type[T]) -> T:
    """The model filled from the environment; `SettingsFault` names every variable that is missing or wrong, never a value."""
    try:
        return model()
    except ValidationError as fault:
        wrong = "; ".join(
            f"{'.'.join(str(part) for part in error['loc']).upper()}: {error['msg']}" for error in fault.errors(include_input=False)
        )
        raise SettingsFault(f"{model.__name__} settings: {wrong}", code="settings") from None


@cache
def secret(arn: str) -> dict[str, SecretStr]:
    """A secret's JSON members, read once per process; `SettingsFault` if it is no JSON object."""
    text = aws.secrets().get_secret_value(SecretId=arn)["SecretString"]
    try:
        members = json.loads(text)
    except ValueError:
        members = None
    if not isinstance(members, dict):
        raise SettingsFault(f"{arn}: expected a JSON object of strings", code="settings.secret")
    return {str(name): SecretStr(str(value)) for name, value in members.items() if value is not None}


@dataclass(frozen=True, slots=True)
class KeyRing:
    """The key that is hashed with now, and the former ones that things may still be hashed with; by name."""

    current: str
    keys: Mapping[str, bytes]

    @property
    def secrets(self) -> tuple[bytes, ...]:
        """The current key, then the former ones, newest first."""
        return tuple(self.keys[name] for name in sorted(self.keys, key=lambda name: (name == self.current, name), reverse=True))


def key_ring(arn: str) -> KeyRing:
    """The ledger's keys: `{key_id, key}` is the current one, each `key_<id>` a former one."""
    members = secret(arn)
    if not {"key_id", "key"} <= set(members):
        raise SettingsFault(f"{arn}: expected the members key_id and key", code="settings.secret")
    former = {f"k{name.removeprefix('key_')}": key for name, key in members.items() if name.startswith("key_") and name != "key_id"}
    current = f"k{members['key_id'].get_secret_value()}"
    return KeyRing(current, {name: key.get_secret_value().encode() for name, key in {**former, current: members["key"]}.items()})
