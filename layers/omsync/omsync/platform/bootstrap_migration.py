"""Composition root of the migration: the steps beside the OMS's database, and those that call Salesforce."""

from __future__ import annotations

import gc
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial

from omsync.mapping import load_mappings
from omsync.migration.absent import Absentees
from omsync.migration.adapters import DynamoStates, LedgerItems, LoadUser, Queues, S3Files, TaskTokens
from omsync.migration.changes import Changes
from omsync.migration.control import Control
from omsync.migration.examine import Examine
from omsync.migration.extract import Extract
from omsync.migration.judge import Judge
from omsync.migration.link import Link
from omsync.migration.load import Load
from omsync.migration.model import OrgFacts
from omsync.migration.plan import Plan
from omsync.migration.ports import Files
from omsync.migration.prepare import OWNER_NAME, Prepare, read_facts
from omsync.migration.report import Reports
from omsync.migration.source import PostgresSource
from omsync.migration.states import Chunks
from omsync.migration.survey import Survey
from omsync.migration.survey_source import PostgresSurvey
from omsync.migration.verify import Verify
from omsync.platform import aws, settings
from omsync.platform.bootstrap_sync import ModelSender, compiled, oms_client
from omsync.platform.queues import Payloads, SqsSender
from omsync.salesforce.auth import Connection
from omsync.salesforce.client import SalesforceClient
from omsync.salesforce.org_facts import OrgFacts as OrgAdapter
from omsync.salesforce.users import OrgUsers
from omsync.sync.digests import Digests
from omsync.sync.ledger import DynamoLedger
from omsync.sync.staff import StaffMatcher
from omsync.sync.stores import Cursors

#: seconds for which what was written down for a run is believed: a warm function outlives runs
_BELIEVED = 60.0


@dataclass(frozen=True)
class _Common:
    """What every step has."""

    told: settings.MigrationSource | settings.Migration

    @property
    def bucket(self) -> str:
        """Of the files."""
        return self.told.staging_bucket

    @cached_property
    def files(self) -> S3Files:
        """The staging bucket."""
        return S3Files(aws.s3(), self.told.staging_bucket)

    @cached_property
    def states(self) -> DynamoStates:
        """The state table."""
        return DynamoStates(aws.dynamodb(), self.told.state_table)

    @cached_property
    def chunks(self) -> Chunks:
        """Chunk states."""
        return Chunks(self.states)

    @cached_property
    def live(self) -> Queues:
        """The live writers."""
        payloads = Payloads(aws.s3(), self.told.staging_bucket)
        mirror = ModelSender(SqsSender(aws.sqs(), self.told.mirror_queue_url, payloads))
        sync = ModelSender(SqsSender(aws.sqs(), self.told.sync_queue_url, payloads))
        return Queues(aws.sqs(), self.told.mirror_queue_url, self.told.sync_queue_url, mirror, sync)

    @cached_property
    def facts(self) -> Callable[[str, int], OrgFacts]:
        """The org's facts of a run."""
        return _Kept(partial(read_facts, self.files), keep=lambda facts: not facts.dry)

    @cached_property
    def survivors(self) -> Callable[[str, int], Mapping[str, str]]:
        """Merged patients of a run."""
        return _Kept(partial(_survivors, self.files))

    @cached_property
    def absentees(self) -> Absentees:
        """What is in quarantine."""
        return Absentees(load_mappings(), self.files, self.chunks)


@dataclass
class _Kept[**P, T]:
    """What `read` gives for a run or a wave of it, kept for a minute if it may be kept at all."""

    read: Callable[P, T]
    keep: Callable[[T], bool] = lambda _: True
    known: dict[object, tuple[float, T]] = field(default_factory=dict)

    def __call__(self, *which: P.args, **named: P.kwargs) -> T:
        found = self.known.get(which)
        if found is not None and time.monotonic() - found[0] < _BELIEVED:
            return found[1]
        value = self.read(*which, **named)
        if self.keep(value):
            self.known = {which: (time.monotonic(), value)}
        return value


def _survivors(files: Files, migration: str, run: int) -> Mapping[str, str]:
    content = files.get(f"migrations/{migration}/run-{run}/survivors.json")
    return dict(json.loads(content)) if content is not None else {}


@dataclass(frozen=True)
class SourceSteps(_Common):
    """Steps beside the OMS's database; they call neither Salesforce nor the OMS's API."""

    told: settings.MigrationSource

    @cached_property
    def source(self) -> PostgresSource:
        """The OMS's database."""
        return PostgresSource(settings.secret(self.told.oms_database_secret_arn)["url"].get_secret_value(), load_mappings())

    @cached_property
    def plan(self) -> Plan:
        """Plans."""
        return Plan(load_mappings(), self.source, self.files, self.states)

    @cached_property
    def changes(self) -> Changes:
        """What changed since; the delta."""
        return Changes(load_mappings(), self.source, self.files, self.chunks, self.live)

    @cached_property
    def examine(self) -> Examine:
        """Dry runs."""
        return Examine(load_mappings(), self.source, self.files)

    @cached_property
    def survey(self) -> Survey:
        """Duplicates and orphans."""
        return Survey(load_mappings(), PostgresSurvey(self.source, load_mappings()), self.files)

    @cached_property
    def digests(self) -> Digests:
        """The ledger's hashes."""
        ring = settings.key_ring(self.told.ledger_secret_arn)
        return Digests(ring.keys, ring.current)

    @cached_property
    def extract(self) -> Extract:
        """Extracts chunks."""
        absent = _Kept(self.absentees.before)
        return Extract(load_mappings(), self.source, self.files, self.chunks, self.facts, self.survivors, absent, self.digests)


@dataclass(frozen=True)
class OrgSteps(_Common):
    """Steps that call Salesforce."""

    told: settings.Migration

    @cached_property
    def client(self) -> SalesforceClient:
        """The org, as the load user: its permission set lets it do what a load needs, and its edits are nobody's news."""
        secret = settings.secret(self.told.salesforce_secret_arn)
        return SalesforceClient(
            Connection(
                instance_url=self.told.salesforce_base_url,
                consumer_key=secret["client_id"].get_secret_value(),
                username=self._load_username,
                private_key=secret["private_key"].get_secret_value(),
                ca_file=self.told.salesforce_ca or None,
            )
        )

    @property
    def _load_username(self) -> str:
        secret = settings.secret(self.told.salesforce_secret_arn)
        return secret.get("load_username", secret["username"]).get_secret_value()

    @cached_property
    def salesforce(self) -> LoadUser:
        """Bulk and Collections."""
        return LoadUser(self.client)

    @cached_property
    def ledger(self) -> LedgerItems:
        """The sync's ledger, which only the load writes."""
        return LedgerItems(DynamoLedger(aws.dynamodb(), settings.load(settings.LedgerTable).ledger_table))

    @cached_property
    def load(self) -> Load:
        """Loads chunks."""
        control = self.control
        return Load(
            load_mappings(), self.files, self.chunks, self.states, self.salesforce, self.live, self.ledger, self.facts, control.held_up
        )

    @cached_property
    def link(self) -> Link:
        """Second pass."""
        absent = _Kept(self.absentees.of)
        return Link(load_mappings(), self.files, self.chunks, self.salesforce, self.live, self.ledger, absent, self.control.held_up)

    @cached_property
    def verify(self) -> Verify:
        """Verifies chunks."""
        oms = oms_client(self.told)
        absent = _Kept(self.absentees.of)
        held_up = self.control.held_up
        return Verify(
            load_mappings(), self.files, self.chunks, self.salesforce, oms, self.live, self.facts, self.survivors, absent, held_up
        )

    @cached_property
    def cursors(self) -> Cursors:
        """Certified runs."""
        return Cursors(aws.dynamodb(), self.told.state_table)

    @cached_property
    def control(self) -> Control:
        """Pause, approval, certificates."""
        return Control(
            files=self.files,
            states=self.states,
            judge=Judge(load_mappings(), self.files, self.chunks, self.told.version),
            cursors=self.cursors,
            live=self.live,
            usage=self.client.recent_usage,
            release=TaskTokens(aws.state_machines()).release,
            api_reserve=self.told.api_reserve,
            backlog_limit=self.told.backlog_limit,
        )

    @cached_property
    def reports(self) -> Reports:
        """What a person reads before a run."""
        return Reports(load_mappings(), self.files)

    @cached_property
    def prepare(self) -> Prepare:
        """Preflight, matched staff, first records. The load user is the one who may name Users."""
        oms = oms_client(self.told)
        matcher = StaffMatcher(partial(compiled, time_zone=self.told.org_time_zone), OrgUsers(self.client), oms)
        org = OrgAdapter(self.client, self._load_username, OWNER_NAME)
        return Prepare(
            load_mappings(),
            self.files,
            org,
            oms,
            matcher,
            lambda name: self.control.certified(name),
            self.told.org_time_zone,
            now=time.time,
        )


def _few_collections() -> None:
    """A chunk's rows are thousands of live objects without a cycle among them; by default each 2,000 are searched for one."""
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


def source_steps() -> SourceSteps:
    """For the function beside the database."""
    _few_collections()
    return SourceSteps(settings.load(settings.MigrationSource))


def org_steps() -> OrgSteps:
    """For the functions that call Salesforce."""
    _few_collections()
    return OrgSteps(settings.load(settings.Migration))
