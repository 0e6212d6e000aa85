"""Composition root of the sync: the doors, the queues' consumers, the sweep and the breakers' round."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from omsync.cases.service import Cases
from omsync.mapping import load_mappings
from omsync.mapping.compiled import Compiled, compile_mapping
from omsync.mapping.rows import row_model
from omsync.oms import client as oms
from omsync.oms.rows import OmsRows
from omsync.platform import aws, settings
from omsync.platform.errors import Permanent, Retryable
from omsync.platform.queues import Message, Payloads, SqsSender
from omsync.platform.telemetry import logger
from omsync.salesforce.auth import Connection
from omsync.salesforce.client import SalesforceClient
from omsync.salesforce.mirrored import MirroredRecords, RestRenderer
from omsync.salesforce.org import org_ids
from omsync.salesforce.records import SalesforceRecords
from omsync.salesforce.users import OrgUsers
from omsync.sync.breaker import Breakers, System, attend
from omsync.sync.budget import spread
from omsync.sync.conflicts import ConflictTable
from omsync.sync.consume import Consumer, QueueRecord, Result
from omsync.sync.converge import Synchroniser
from omsync.sync.digests import Digests
from omsync.sync.doors import OmsDoor, SalesforceDoor
from omsync.sync.family import Family
from omsync.sync.ledger import DynamoLedger
from omsync.sync.linked import LinkedLater
from omsync.sync.measure import EmfMetrics
from omsync.sync.messages import MirrorMessage, SyncMessage
from omsync.sync.mirror import MirrorWriter
from omsync.sync.parents import standing
from omsync.sync.portions import assumed
from omsync.sync.ports import Ports
from omsync.sync.records import Outcome, RecordKey, RecordRef
from omsync.sync.rules import MappedRegistry, Org
from omsync.sync.staff import StaffDirectory, StaffMatcher
from omsync.sync.stores import Cursors, DynamoBreakers, DynamoBudget, DynamoFailures, EventSourceValves, EventSourceWindows
from omsync.sync.sweep import Sweep
from omsync.sync.work import MappedRoutes, MirrorWorker, SuspectMessage, SyncWorker, suspects, utc_now

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext

#: seconds before a function's time-out at which it begins no further call
MARGIN_SECONDS = 15.0
#: how long what is known of the org is taken for true
ORG_SECONDS = 300.0
#: bytes that a batch brings by reference at most, or one body: about what Lambda lets it bring by value
OPENED_BYTES = 6 * 1024 * 1024


class Deadline:
    """When the invocation under way must come to an end."""

    def __init__(self) -> None:
        self._at = float("inf")

    def set(self, milliseconds_left: int) -> None:
        """At the start of an invocation."""
        self._at = time.monotonic() + milliseconds_left / 1000 - MARGIN_SECONDS

    def is_up(self) -> bool:
        """No further call."""
        return time.monotonic() >= self._at

    def microseconds(self) -> int:
        """The same moment, since 1970."""
        return int((time.time() + min(self._at - time.monotonic(), 900.0)) * 1_000_000)


deadline = Deadline()


@dataclass(frozen=True, slots=True)
class ModelSender:
    """`Outbound`: models as JSON."""

    queue: SqsSender

    def send(self, messages: Sequence[BaseModel]) -> None:
        """Send all."""
        self.queue.send(Message(message.model_dump_json(exclude_none=True)) for message in messages)


class SystemClock:
    """`ports.Clock`."""

    def now(self) -> int:
        """Microseconds since 1970."""
        return time.time_ns() // 1000

    def new_id(self) -> str:
        """A UUID."""
        return str(uuid.uuid4())


# ------------------------------------------------------------------------------------------------------------- the pieces
def _queue(url: str, bucket: str) -> SqsSender:
    return SqsSender(aws.sqs(), url, Payloads(aws.s3(), bucket))


def _out(url: str, bucket: str) -> ModelSender:
    return ModelSender(_queue(url, bucket))


@cache
def compiled(table: str, time_zone: str) -> Compiled:
    """A table's mapping, ready to run."""
    return compile_mapping(load_mappings()[table], time_zone)


def salesforce_client(told: settings.Salesforce) -> SalesforceClient:
    """The org, as the integration user."""
    secret = settings.secret(told.salesforce_secret_arn)
    connection = Connection(
        instance_url=told.salesforce_base_url,
        consumer_key=secret["client_id"].get_secret_value(),
        username=secret["username"].get_secret_value(),
        private_key=secret["private_key"].get_secret_value(),
        ca_file=told.salesforce_ca or None,
    )
    return SalesforceClient(connection)


def oms_client(told: settings.Oms) -> oms.OmsClient:
    """The OMS."""
    secret = settings.secret(told.oms_secret_arn)
    connection = oms.Connection(
        told.oms_base_url.rstrip("/"),
        secret["client_id"].get_secret_value(),
        secret["client_secret"].get_secret_value(),
        agent=f"omsync/{logger.service}",
    )
    return oms.OmsClient(connection)


def _records(client: SalesforceClient) -> MirroredRecords:
    objects = load_mappings().objects()

    def guarded(sobject: str) -> bool:
        return any(target.sync_fields for _, target in objects[sobject])

    def typed(sobject: str) -> bool:
        return any(target.record_types for _, target in objects[sobject])

    return MirroredRecords(client, guarded, typed)


def _ledger(told: settings.Ledger) -> DynamoLedger:
    return DynamoLedger(aws.dynamodb(), told.ledger_table)


def _digests(told: settings.Ledger) -> Digests:
    ring = settings.key_ring(told.ledger_secret_arn)
    return Digests(ring.keys, ring.current)


def _breakers(table: str, arns: str) -> Breakers:
    queues: dict[System, Sequence[str]] = {"salesforce": arns.split(","), "oms": arns.split(",")}
    return Breakers(DynamoBreakers(aws.dynamodb(), table), EventSourceValves(aws.functions(), queues), time.time)


# --------------------------------------------------------------------------------------------------------------- the doors
def oms_door() -> OmsDoor:
    """POST /oms/events, POST /oms/{table}."""
    told = settings.load(settings.OmsDoor)

    def secrets() -> list[str]:
        members = settings.secret(told.webhook_secret_arn)
        return [members[name].get_secret_value() for name in ("current", "previous") if name in members]

    bucket = told.staging_bucket
    return OmsDoor(
        mirror=_out(told.mirror_queue_url, bucket),
        sync=_out(told.sync_queue_url, bucket),
        lifecycle=_out(told.lifecycle_queue_url, bucket),
        routes=MappedRoutes(load_mappings()),
        rows=row_model,
        secrets=secrets,
        now=time.time,
    )


def salesforce_door() -> SalesforceDoor:
    """POST /salesforce/changes."""
    told = settings.load(settings.SalesforceDoor)
    return SalesforceDoor(_out(told.sync_queue_url, told.staging_bucket), MappedRoutes(load_mappings()))


# ----------------------------------------------------------------------------------------------------------- the consumers
@dataclass(frozen=True, slots=True)
class Queue:
    """A consumer with what a handler needs around it."""

    consume: Callable[[Sequence[QueueRecord], str], list[str]]
    payloads: Payloads
    flush: Callable[[], None]


class _House:
    """The parts that consumers and sweep share, made once."""

    def __init__(self, told: settings.Consumer | settings.Sweep) -> None:
        self.mappings = load_mappings()
        self.compiled: Callable[[str], Compiled] = partial(compiled, time_zone=told.org_time_zone)
        self.oms = oms_client(told)
        self.client = salesforce_client(told)
        self.records = _records(self.client)
        self.mirror_out = _out(told.mirror_queue_url, told.staging_bucket)
        self.sync_out = _out(told.sync_queue_url, told.staging_bucket)
        self.ledger = _ledger(told)
        self.writer = LazyWriter(self)
        self.family = Family(self.mappings, self.writer, self.oms, self.mirror_out, self.sync_out)

    def directory(self) -> StaffDirectory:
        """Who among the staff has a User."""
        return StaffDirectory(OrgUsers(self.client).matched, time.monotonic)

    def build_writer(self, staff: StaffDirectory) -> MirrorWriter:
        """The blind writer; asks the org for its ids (one call)."""
        renderer = RestRenderer(org_ids(self.client))
        return MirrorWriter(
            self.mappings, self.compiled, renderer, self.records, self.oms, self.sync_out, deadline.is_up, staff, self.standing
        )

    def standing(self, keys: Sequence[tuple[str, str]]) -> dict[tuple[str, str], str]:
        """Which of these shared records are in Salesforce, and who stands for them."""
        return {(key.table, key.id): found for key, found in standing(self.ledger, [RecordKey(*key) for key in keys]).items()}


class LazyWriter:
    """The blind writer, made when it is first needed: a process that starts while Salesforce is away must still start. Anew every few minutes."""

    def __init__(self, house: _House) -> None:
        self._house = house
        self._made: tuple[float, MirrorWriter, StaffDirectory] | None = None

    def write(self, messages: Sequence[MirrorMessage]) -> list[Result]:
        """As `MirrorWriter.write`."""
        if self._made is None or time.monotonic() - self._made[0] > ORG_SECONDS:
            staff = self._house.directory()
            self._made = time.monotonic(), self._house.build_writer(staff), staff
        self._made[2].begin()
        return self._made[1].write(messages)


class LazySynchroniser:
    """The synchroniser, made when it is first needed, and anew when what it knows of the org is old: staff come and go, runs are certified."""

    def __init__(self, shop: _Workshop, ports: Ports) -> None:
        self._shop, self._ports = shop, ports
        self._made: tuple[float, Synchroniser, StaffDirectory] | None = None

    def synchronise(self, refs: Sequence[RecordRef], *, deadline: int | None = None) -> list[Outcome]:
        """As `Synchroniser.synchronise`."""
        if self._made is None or time.monotonic() - self._made[0] > ORG_SECONDS:
            told, staff = self._shop.told, self._shop.directory()
            registry = MappedRegistry(self._shop.mappings, self._shop.org(staff))
            made = Synchroniser(registry, _digests(told), self._ports, lease_seconds=told.insert_lease_seconds)
            self._made = time.monotonic(), made, staff
        self._made[2].begin()
        return self._made[1].synchronise(refs, deadline=deadline)


class _Workshop(_House):
    """What the consumers of all three queues are made of."""

    def __init__(self, told: settings.Consumer) -> None:
        super().__init__(told)
        self.told = told
        self.metrics = EmfMetrics(aws.dynamodb(), told.state_table, utc_now)
        self.cases = Cases(self.client)
        self.breakers = _breakers(told.state_table, told.queue_arns)
        self.budget = DynamoBudget(aws.dynamodb(), told.state_table, time.time)
        self._calls = 0

    def flush(self) -> None:
        """At the end of an invocation: what it measured, and what Salesforce said of the API budget."""
        self.metrics.salesforce_calls(self.client.calls - self._calls)
        self._calls = self.client.calls
        self.metrics.flush()
        usage, self.client.usage = self.client.usage, None
        if usage is not None:
            try:
                self.budget.note(usage)
            except (Retryable, Permanent):
                return  # the next invocation notes it

    def org(self, staff: StaffDirectory) -> Org:
        """What only the org and the migration's state can tell (one call)."""
        return Org(
            ids=org_ids(self.client),
            certified_run=int(Cursors(aws.dynamodb(), self.told.state_table).read("migration/certified_run") or 0),
            staff=staff,
            time_zone=self.told.org_time_zone,
        )

    def mirror_worker(self) -> MirrorWorker:
        """Writes mirrored rows."""
        staff = StaffMatcher(self.compiled, OrgUsers(self.client), self.oms)
        return MirrorWorker(self.writer, staff, self.metrics, utc_now, assumed(self.mappings))

    def sync_worker(self) -> SyncWorker:
        """Looks at shared records."""
        ports = Ports(
            oms=OmsRows(self.oms),
            salesforce=SalesforceRecords(self.client, self.mappings),
            ledger=self.ledger,
            cases=self.cases,
            conflicts=ConflictTable(aws.dynamodb(), self.told.failure_table, time.time),
            family=self.family,
            clock=SystemClock(),
        )
        return SyncWorker(
            LazySynchroniser(self, ports), self.cases.records_of, deadline.microseconds, self.metrics, utc_now, assumed(self.mappings)
        )

    def consumer[M: BaseModel](self, model: type[M], worker: Callable[[Sequence[M]], Sequence[Result]], *, isolated: bool = False) -> Queue:
        """A consumer of this function's queue."""
        told, bucket = self.told, self.told.staging_bucket
        failures = DynamoFailures(aws.dynamodb(), told.failure_table, model.__name__, told.version, self.cases, time.time)
        consumer = Consumer(
            model=model,
            worker=worker,
            queue=_queue(told.queue_url, bucket),
            dlq=_queue(told.dlq_url, bucket),
            isolation=_queue(told.isolation_queue_url, bucket),
            failures=failures,
            breakers=self.breakers,
            needs=("salesforce", "oms"),
            metrics=self.metrics,
            isolated=isolated,
        )
        return Queue(lambda records, request_id: consumer.handle(records, request_id=request_id), Payloads(aws.s3(), bucket), self.flush)


def mirror_consumer() -> Queue:
    """MirrorQueue."""
    shop = _Workshop(settings.load(settings.Consumer))
    return shop.consumer(MirrorMessage, shop.mirror_worker())


def sync_consumer() -> Queue:
    """SyncQueue."""
    shop = _Workshop(settings.load(settings.Consumer))
    return shop.consumer(SyncMessage, shop.sync_worker())


def isolation_consumer() -> Queue:
    """IsolationQueue: crash suspects of both queues, one at a time."""
    shop = _Workshop(settings.load(settings.Consumer))
    return shop.consumer(SuspectMessage, suspects(shop.mirror_worker(), shop.sync_worker()), isolated=True)


# ---------------------------------------------------------------------------------------------- the sweep and the breakers
def sweep() -> Callable[[], dict[str, int]]:
    """The sweep, made anew at each run: its counts are one run's."""
    told = settings.load(settings.Sweep)
    house = _House(told)
    cursors = Cursors(aws.dynamodb(), told.state_table)

    def run() -> dict[str, int]:
        users, clock = OrgUsers(house.client), time.time
        linked = LinkedLater(house.mappings, users.matched, house.oms, cursors, house.mirror_out, clock, deadline.is_up)
        return Sweep(
            mappings=house.mappings,
            oms=house.oms,
            salesforce=house.records,
            ledger=house.ledger,
            cursors=cursors,
            mirror=house.mirror_out,
            sync=house.sync_out,
            relink=house.family.relink,
            linked_later=linked.run,
            now=utc_now,
            time_is_up=deadline.is_up,
        ).run()

    return run


def breaker_round() -> Callable[[], Mapping[System, str]]:
    """Probe what is away, close what answers, put the queues right; a system that is back starts a sweep. Then the API budget is spread."""
    told = settings.load(settings.BreakerRound)
    breakers = _breakers(told.state_table, told.queue_arns)
    salesforce, other = salesforce_client(told), oms_client(told)

    def salesforce_answers() -> bool:
        try:
            return salesforce.budget().usable
        except (Retryable, Permanent):
            return False

    def recovered(system: System, seconds: float) -> None:
        aws.functions().invoke(FunctionName=told.sweep_function, InvocationType="Event", Payload=b"{}")

    budget = DynamoBudget(aws.dynamodb(), told.state_table, time.time)
    windows = EventSourceWindows(aws.functions(), told.queue_arns.split(","))
    gauge = EmfMetrics(aws.dynamodb(), told.state_table, utc_now)

    def round_() -> Mapping[System, str]:
        standing = attend(breakers, {"salesforce": salesforce_answers, "oms": other.healthy}, recovered)
        gauge.breakers_open(sum(state == "open" for state in standing.values()))
        if standing["salesforce"] != "open":
            try:
                spread(budget, salesforce.budget, windows, gauge, time.time)
            except (Retryable, Permanent) as fault:
                logger.warning("budget unknown", code=fault.code)
        return standing

    return round_


# ------------------------------------------------------------------------------------------------------------ for handlers
def handler_of(queue: Queue) -> Callable[[Mapping[str, Any], LambdaContext], dict[str, Any]]:
    """An SQS event's way through a consumer: bodies opened, deadline set, batch item failures answered."""

    def consume(event: Mapping[str, Any], context: LambdaContext) -> dict[str, Any]:
        deadline.set(context.get_remaining_time_in_millis())
        records, unread, opened = [], [], 0
        for record in event["Records"]:
            receives = int(record["attributes"]["ApproximateReceiveCount"])
            size = queue.payloads.bytes_of(record["body"])
            if size and opened and opened + size > OPENED_BYTES:
                records.append(QueueRecord(str(record["messageId"]), receives, str(record["body"]), postponed=True))
                continue
            opened += size
            try:
                said = queue.payloads.open(record["body"])
            except Permanent:
                said = None  # its payload is gone: the reference itself is unreadable as a message, and buried as such
            except Retryable:
                unread.append(str(record["messageId"]))
                continue
            records.append(QueueRecord(str(record["messageId"]), receives, str(record["body"]), said))
        again = [*unread, *queue.consume(records, context.aws_request_id)]
        queue.flush()
        logger.info("batch", records=len(event["Records"]), failed=len(again))
        return {"batchItemFailures": [{"itemIdentifier": message_id} for message_id in again]}

    return consume
