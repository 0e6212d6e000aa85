"""The migration's ports over S3, DynamoDB, SQS and Salesforce."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import batched
from typing import IO, TYPE_CHECKING, cast

from botocore.exceptions import BotoCoreError, ClientError

from omsync.mapping.outward import File
from omsync.migration.files import SPOOL
from omsync.platform.errors import OmsyncError, Permanent, Stale
from omsync.salesforce import bulk, collections, files
from omsync.salesforce.bulk import Job, QueryPage
from omsync.salesforce.client import SalesforceClient
from omsync.salesforce.collections import chunked
from omsync.salesforce.errors import translate
from omsync.salesforce.query import in_list, query, quote
from omsync.sync.ledger import ITEMS_PER_TRANSACTION, DynamoLedger
from omsync.sync.messages import MirrorMessage, SyncMessage
from omsync.sync.ports import Batch, Verb, Written
from omsync.sync.records import Item, Lease, RecordKey
from omsync.sync.stores import aws_fault

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_stepfunctions import SFNClient

    from omsync.sync.doors import Outbound

#: ids in one query that goes by GET
IDS = 200
#: transactions of the ledger under way at once: their time is mostly spent on making them
PARALLEL = 4


@dataclass(frozen=True, slots=True)
class S3Files:
    """`ports.Files`."""

    client: S3Client
    bucket: str

    def put(self, name: str, content: bytes | IO[bytes]) -> None:
        """Store it, encrypted as the bucket says."""
        try:
            self.client.put_object(Bucket=self.bucket, Key=name, Body=content)
        except (ClientError, BotoCoreError) as fault:
            raise aws_fault(fault) from None

    def get(self, name: str) -> bytes | None:
        """The content, or None."""
        try:
            return self.client.get_object(Bucket=self.bucket, Key=name)["Body"].read()
        except self.client.exceptions.NoSuchKey:
            return None
        except (ClientError, BotoCoreError) as fault:
            raise aws_fault(fault) from None

    def open(self, name: str) -> IO[bytes] | None:
        """The content, on disk: nobody keeps a connection open for as long as a step reads."""
        out = cast("IO[bytes]", tempfile.SpooledTemporaryFile(SPOOL))  # noqa: SIM115  (the caller closes it)
        try:
            shutil.copyfileobj(cast("IO[bytes]", self.client.get_object(Bucket=self.bucket, Key=name)["Body"]), out, 1 << 20)
        except self.client.exceptions.NoSuchKey:
            return None
        except (ClientError, BotoCoreError) as fault:
            raise aws_fault(fault) from None
        out.seek(0)
        return out


@dataclass(frozen=True, slots=True)
class DynamoStates:
    """`ports.States`: pk and `document`."""

    client: DynamoDBClient
    table: str

    def read(self, key: str) -> str | None:
        """Strongly consistent."""
        try:
            item = self.client.get_item(TableName=self.table, Key={"pk": {"S": key}}, ConsistentRead=True).get("Item")
        except (ClientError, BotoCoreError) as fault:
            raise aws_fault(fault) from None
        return item["document"]["S"] if item else None

    def read_many(self, keys: Sequence[str]) -> Mapping[str, str]:
        """Those that are there."""
        found: dict[str, str] = {}
        for part in batched(keys, 100, strict=False):
            wanted = [{"pk": {"S": key}} for key in part]
            while wanted:
                try:
                    answer = self.client.batch_get_item(RequestItems={self.table: {"Keys": wanted, "ConsistentRead": True}})
                except (ClientError, BotoCoreError) as fault:
                    raise aws_fault(fault) from None
                found |= {row["pk"]["S"]: row["document"]["S"] for row in answer["Responses"].get(self.table, [])}
                left = answer.get("UnprocessedKeys", {})
                wanted = [{"pk": {"S": str(key["pk"]["S"])}} for key in left[self.table]["Keys"]] if self.table in left else []
        return found

    def write(self, key: str, document: str) -> None:
        """Save it."""
        try:
            self.client.put_item(TableName=self.table, Item={"pk": {"S": key}, "document": {"S": document}})
        except (ClientError, BotoCoreError) as fault:
            raise aws_fault(fault) from None

    def replace(self, key: str, document: str, *, seen: int) -> bool:
        """Write it as the next revision."""
        try:
            self.client.put_item(
                TableName=self.table,
                Item={"pk": {"S": key}, "document": {"S": document}, "revision": {"N": str(seen + 1)}},
                ConditionExpression="attribute_not_exists(pk) OR revision = :seen",
                ExpressionAttributeValues={":seen": {"N": str(seen)}},
            )
        except self.client.exceptions.ConditionalCheckFailedException:
            return False
        except (ClientError, BotoCoreError) as fault:
            raise aws_fault(fault) from None
        return True

    def claim(self, key: str, document: str) -> bool:
        """Write it if there is none."""
        return self.replace(key, document, seen=0)


@dataclass(slots=True)
class LoadUser:
    """`ports.Salesforce` as the load user."""

    client: SalesforceClient
    user_id: str | None = None

    @property
    def calls(self) -> int:
        """API calls made so far."""
        return self.client.calls

    def present(self, sobject: str, where: str) -> set[str]:
        """OMS ids that are there."""
        soql = f"SELECT OMS_Id__c FROM {sobject} WHERE {where}"  # noqa: S608 (the mapping's names, values quoted)
        return {str(row["OMS_Id__c"]).lower() for row in query(self.client, soql)}

    def create_job(self, sobject: str) -> str:
        """A new insert job."""
        return bulk.create_ingest(self.client, sobject, "insert").id

    def abandoned_jobs(self, sobject: str, since: float) -> Iterator[str]:
        """Open insert jobs of the load user: nothing was uploaded to them."""
        begun = datetime.fromtimestamp(since, UTC)
        for job in bulk.open_jobs(self.client, sobject):
            if job.state == "Open" and job.operation == "insert" and job.created_by == self._me() and (job.created_at or begun) >= begun:
                yield job.id

    def _me(self) -> str:
        if self.user_id is None:
            self.user_id = self._user_by_name()
        return self.user_id

    def _user_by_name(self) -> str:
        name = self.client.connection.username
        row = next(query(self.client, f"SELECT Id FROM User WHERE Username = {quote(name)}"), None)  # noqa: S608 (quoted)
        if row is None:
            raise Permanent("the load user cannot see itself", code="salesforce.load_user")
        return str(row["Id"])

    def upload(self, job: str, content: IO[bytes]) -> None:
        """Upload and close."""
        bulk.upload(self.client, job, content)
        bulk.close(self.client, job)

    def look(self, job: str, *, query: bool = False) -> Job:
        """The job now."""
        return bulk.look(self.client, job, query=query)

    def abort(self, job: str, *, query: bool = False) -> None:
        """Stop it; one that has come to its end meanwhile is left alone."""
        try:
            bulk.abort(self.client, job, query=query)
        except Permanent:
            if not bulk.look(self.client, job, query=query).done:
                raise

    def succeeded(self, job: str) -> Iterator[tuple[str, str]]:
        """(OMS id, Salesforce id)."""
        for row_id, salesforce_id in bulk.results(self.client, job, "successfulResults", "OMS_Id__c", "sf__Id"):
            yield row_id.lower(), salesforce_id

    def failed(self, job: str) -> Iterator[tuple[str, OmsyncError]]:
        """(OMS id, why)."""
        for row_id, error in bulk.results(self.client, job, "failedResults", "OMS_Id__c", "sf__Error"):
            yield row_id.lower(), row_error(error)

    def start_query(self, soql: str) -> str:
        """A Bulk query."""
        return bulk.create_query(self.client, soql).id

    def query_page(self, job: str, locator: str | None) -> QueryPage:
        """A page of its results."""
        return bulk.query_page(self.client, job, locator=locator)

    def create(self, sobject: str, records: Sequence[Mapping[str, object]]) -> list[Written]:
        """Insert."""
        return self._write(sobject, "create", records)

    def update(self, sobject: str, records: Sequence[Mapping[str, object]]) -> list[Written]:
        """Update by Salesforce id."""
        return self._write(sobject, "update", records)

    def _write(self, sobject: str, verb: Verb, records: Sequence[Mapping[str, object]]) -> list[Written]:
        headers = {"Sforce-Auto-Assign": "FALSE"} if sobject == "Case" else {}
        batches = [Batch(sobject, verb, part, headers=headers) for part in chunked(records)]
        return [one for outcomes in collections.write(self.client, batches, repeatable=verb == "update") for one in outcomes]

    def attach(self, record_id: str, file: File) -> None:
        """Text too long for its field."""
        files.attach(self.client, record_id, file)

    def attached(self, record_id: str) -> set[str]:
        """Titles beside a record."""
        return {one.title for one in files.attached(self.client, record_id)}

    def by_oms_id(self, sobject: str, columns: Sequence[str], ids: Sequence[str]) -> Iterator[Mapping[str, object]]:
        """Records now."""
        for part in batched(ids, IDS, strict=False):
            yield from query(self.client, f"SELECT {', '.join(columns)} FROM {sobject} WHERE OMS_Id__c IN {in_list(part)}")  # noqa: S608

    def oms_ids(self, sobject: str, salesforce_ids: Sequence[str]) -> dict[str, str]:
        """Salesforce id -> OMS id."""
        found: dict[str, str] = {}
        for part in batched(salesforce_ids, IDS, strict=False):
            for row in query(self.client, f"SELECT Id, OMS_Id__c FROM {sobject} WHERE Id IN {in_list(part)}"):  # noqa: S608
                if row["OMS_Id__c"]:
                    found[str(row["Id"])] = str(row["OMS_Id__c"]).lower()
        return found


def row_error(text: str) -> OmsyncError:
    """`CODE:message:Field --` of a Bulk result; the first error decides."""
    code, _, rest = text.partition(":")
    message, _, tail = rest.rpartition(":")
    fields = [name for name in tail.split("--")[0].replace(",", " ").split() if name.replace("_", "").isalnum()]
    return translate(code.strip() or "UNKNOWN", message or rest, fields)


@dataclass(frozen=True, slots=True)
class Queues:
    """`ports.Live`."""

    client: SQSClient
    mirror_url: str
    sync_url: str
    mirror_out: Outbound
    sync_out: Outbound

    def mirror(self, messages: Sequence[MirrorMessage]) -> None:
        """To the blind writer."""
        self.mirror_out.send(messages)

    def sync(self, messages: Sequence[SyncMessage]) -> None:
        """To the synchroniser."""
        self.sync_out.send(messages)

    def backlog(self) -> int:
        """Waiting, delayed or under way."""
        total = 0
        for url in (self.mirror_url, self.sync_url):
            try:
                told = self.client.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
            except (ClientError, BotoCoreError) as fault:
                raise aws_fault(fault) from None
            total += int(told.get("ApproximateNumberOfMessages", "0")) + int(told.get("ApproximateNumberOfMessagesNotVisible", "0"))
            total += int(told.get("ApproximateNumberOfMessagesDelayed", "0"))
        return total


@dataclass(slots=True)
class LedgerItems:
    """`ports.Ledger`."""

    ledger: DynamoLedger

    def save(self, items: Sequence[Item]) -> list[bool]:
        """Each under its next revision, in transactions."""
        groups = list(batched(items, ITEMS_PER_TRANSACTION, strict=False))
        with ThreadPoolExecutor(PARALLEL) as pool:
            return [_saved(one) for answers in pool.map(self.ledger.save_many, groups) for one in answers]

    def saved_again(self, keys: Sequence[RecordKey]) -> None:
        """Where the item is still the insert's: of revision 1."""
        fresh = [item for item in self._read(keys) if item is not None and item.revision == 1]
        self.save([replace(item, save=item.save + 1) for item in fresh])

    def renew(self, keys: Sequence[RecordKey], lease: Lease) -> list[bool]:
        """Where it is this holder's. Of one that ran out the revision tells that nobody has taken it."""
        held = list(self._held(keys, lease.holder))
        saved = iter(self.save([replace(item, lease=lease) for item in held if item is not None]))
        return [item is not None and next(saved) for item in held]

    def inserted(self, items: Sequence[Item], holder: str) -> None:
        """Where the lease is this holder's."""
        held = self._held([item.key for item in items], holder)
        self.save([replace(item, revision=known.revision) for item, known in zip(items, held, strict=True) if known is not None])

    def release(self, keys: Sequence[RecordKey], holder: str) -> None:
        """Where it is this holder's."""
        self.save([replace(item, lease=None) for item in self._held(keys, holder) if item is not None])

    def _held(self, keys: Sequence[RecordKey], holder: str) -> Iterator[Item | None]:
        """Of each key, the item that this holder has leased and not inserted yet."""
        for item in self._read(keys):
            mine = item is not None and item.salesforce_id is None and item.lease is not None and item.lease.holder == holder
            yield item if mine else None

    def _read(self, keys: Sequence[RecordKey]) -> Iterator[Item | None]:
        for item in self.ledger.read(keys):
            if isinstance(item, OmsyncError):
                raise item
            yield item


def _saved(answer: Item | OmsyncError) -> bool:
    if isinstance(answer, Item):
        return True
    if isinstance(answer, Stale):
        return False
    raise answer


@dataclass(frozen=True, slots=True)
class TaskTokens:
    """What executions wait with for a person."""

    client: SFNClient

    def release(self, token: str) -> bool:
        """Let the execution go on; False: it waits no longer (stopped, timed out, or released before)."""
        gone = self.client.exceptions
        try:
            self.client.send_task_success(taskToken=token, output="{}")
        except (gone.TaskTimedOut, gone.TaskDoesNotExist, gone.InvalidToken):
            return False
        except (ClientError, BotoCoreError) as fault:
            raise aws_fault(fault) from None
        return True
