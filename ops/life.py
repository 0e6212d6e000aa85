"""What is known of one record, gathered from every place that knows something: both systems, ledger, queues, failures, Cases, logs.

Each place is asked by itself, and one that does not answer is named instead of hiding the others: a trace is wanted most while something is
down. No value of a record is read unless asked for: versions, times, names of columns and fields, ids.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from omsync.cases.service import hashed
from omsync.mapping.model import Mappings, TableMapping, Target
from omsync.platform.errors import OmsyncError
from omsync.salesforce.client import SalesforceClient
from omsync.salesforce.query import in_list, query, quote
from omsync.salesforce.records import parse_stamps
from omsync.sync.ledger import DynamoLedger
from omsync.sync.records import EPOCH, Intent, Item, RecordKey
from omsync.sync.stores import aws_fault
from ops import queues
from ops.connections import Connections, told

type Json = str | int | float | bool | list[Json] | dict[str, Json] | None
type Facts = dict[str, Json]

#: outbox pages read where the OMS cannot select by record
OUTBOX_PAGES, OUTBOX_LIMIT = 20, 1000
#: log groups' events taken per search
LOG_EVENTS = 200
#: correlation ids searched for in the logs, newest first: each is a search of every group
CORRELATIONS = 3
#: what every line has, and says nothing about the record
_LINE_KEYS = {"message", "timestamp", "level", "location", "service", "cold_start", "function_name", "function_memory_size", "function_arn"}
_MERGEABLE = {"Account", "Contact", "Case"}


@dataclass(frozen=True, slots=True)
class Moment:
    """Something that happened to the record. `where` is the place that knows of it."""

    at: datetime
    where: str
    what: str
    details: Facts = field(default_factory=dict)

    def as_json(self) -> Facts:
        """`{at, where, what, ...}`."""
        return {"at": iso(self.at), "where": self.where, "what": self.what, **self.details}


@dataclass
class Life:
    """A record's life: how it stands now in each place, what happened to it, and who could not be asked."""

    key: RecordKey
    mode: str
    now: dict[str, Json] = field(default_factory=dict)
    moments: list[Moment] = field(default_factory=list)
    not_read: dict[str, str] = field(default_factory=dict)
    salesforce_ids: list[str] = field(default_factory=list)
    correlations: dict[str, None] = field(default_factory=dict)
    causes: dict[str, None] = field(default_factory=dict)

    def as_json(self) -> Facts:
        """For programs."""
        life: list[Json] = [moment.as_json() for moment in sorted(self.moments, key=lambda moment: moment.at)]
        return {"record": str(self.key), "mode": self.mode, "now": self.now, "life": life, "not_read": dict(self.not_read)}

    @property
    def known(self) -> bool:
        """Does anybody know it?"""
        return bool(self.moments) or bool(self.salesforce_ids) or self.now.get("ledger") is not None


@dataclass(frozen=True)
class Tracer:
    """Asks everybody. `since` bounds the search of the logs, `live_queues` looks into more than the DLQs."""

    connections: Connections
    mappings: Mappings
    since: timedelta
    values: bool = False
    live_queues: bool = False

    def trace(self, key: RecordKey) -> Life:
        """The record's life; places that do not answer are in `not_read`."""
        mapping = self.mappings[key.table]
        life = Life(key, mapping.mode)
        self.connections.prepare()
        self._ask(life, {"ledger": self._ledger} if mapping.mode == "shared" else {})  # it knows Salesforce ids that the org forgot
        self._ask(life, {"oms": self._oms, "outbox": self._outbox, "feed": self._feed, "salesforce": self._salesforce})
        _compare_with_feed(life)
        self._ask(life, {"failures": self._failures, "conflicts": self._conflicts, "queues": self._queues})
        self._ask(life, {"cases": self._cases, "logs": self._logs})
        return life

    def _ask(self, life: Life, places: Mapping[str, Callable[[Life], None]]) -> None:
        with ThreadPoolExecutor(max(1, len(places))) as pool:
            asked = {name: pool.submit(place, life) for name, place in places.items()}
            for name, answer in asked.items():
                try:
                    answer.result()
                except OmsyncError as fault:
                    life.not_read[name] = str(fault)
                except (ClientError, BotoCoreError) as fault:
                    life.not_read[name] = str(aws_fault(fault))

    # ------------------------------------------------------------------------------------------------------------------ OMS
    def _oms(self, life: Life) -> None:
        table, row_id = life.key
        row = self.connections.oms().get(table, row_id)
        if row is None:
            life.now["oms"] = None
            return
        mapping = self.mappings[table]
        now: Facts = {name: row.get(name) for name in ("version", "change_xid", "changed_by", "created_at", "updated_at", "deleted_at")}
        if reason := mapping.skip_reason(row):
            now["not_sent"] = reason
        if mapping.mode == "embedded":
            now["travels_in"] = f"patients/{row.get('patient_id')}"
        if self.values:
            now["values"] = dict(row)
        life.now["oms"] = now
        life.moments.append(Moment(_time(row["created_at"]), "OMS", "row created"))
        if row["version"] > 1:
            life.moments.append(Moment(_time(row["updated_at"]), "OMS", f"version {row['version']} by {row['changed_by']}"))
        for at, columns in _by_time(row.get("edited_at") or {}).items():
            if _time(at) - _time(row["created_at"]) > timedelta(milliseconds=100):  # the row's own beginning is told above
                life.moments.append(Moment(_time(at), "OMS", f"last edit of {', '.join(sorted(columns))}"))

    def _outbox(self, life: Life) -> None:
        client, cursor, subject = self.connections.oms(), None, str(life.key)
        for _ in range(OUTBOX_PAGES):
            page = client.outbox(cursor, limit=OUTBOX_LIMIT, subject=subject)
            for event in page.events:
                if event.get("subject") == subject:  # an OMS that cannot select sends everybody's
                    self._event(life, event)
            cursor = page.next
            if len(page.events) < OUTBOX_LIMIT:
                return
        life.not_read["outbox"] = f"only its first {OUTBOX_PAGES * OUTBOX_LIMIT} events: this OMS does not select them by record"

    def _event(self, life: Life, event: Mapping[str, Any]) -> None:
        data = event["data"]
        details: Facts = {"event": str(event["id"]), "version": data["version"], "changed_by": data["changed_by"]}
        if correlation := event.get("correlationid"):
            details["correlation_id"] = str(correlation)
            life.correlations[str(correlation)] = None
        columns = ", ".join(sorted(data.get("old") or {}))
        operation = str(event["type"]).rpartition(".")[2]
        life.moments.append(Moment(_time(event["time"]), "outbox", f"{operation}{f': {columns}' if columns else ''}", details))

    def _feed(self, life: Life) -> None:
        """Where the sweep stands in the table's change feed."""
        feed = f"oms/{life.key.table}"
        with told("sweep cursor"):
            key = {"pk": {"S": f"cursor/{feed}"}}
            item = self.connections.dynamodb.get_item(TableName=self.connections.output("StateTableName"), Key=key).get("Item")
        cursor = _plain(item) if item else {}
        life.now["sweep"] = {"feed": feed, "cursor": cursor.get("position"), "moved_at": cursor.get("moved_at")}

    # --------------------------------------------------------------------------------------------------------------- ledger
    def _ledger(self, life: Life) -> None:
        ledger = DynamoLedger(self.connections.dynamodb, self.connections.output("LedgerTableName"))
        [item] = ledger.read([life.key])
        if isinstance(item, OmsyncError):
            raise item
        life.now["ledger"] = None if item is None else _item(item)
        if item is not None:
            life.salesforce_ids += [one for one in (item.salesforce_id, item.buried) if one]

    # ----------------------------------------------------------------------------------------------------------- Salesforce
    def _salesforce(self, life: Life) -> None:
        client, known = self.connections.salesforce(), list(life.salesforce_ids)
        found: list[dict[str, Any]] = []
        for target in self.mappings[life.key.table].targets:
            for record in _records(client, target, life.key.id, known, values=self.values):
                found.append(record)
                self._record(life, target, record)
        life.now["salesforce"] = [_facts(record) for record in found]

    def _record(self, life: Life, target: Target, record: Mapping[str, Any]) -> None:
        record_id, where = str(record["Id"]), f"Salesforce {target.object}"
        if record_id not in life.salesforce_ids:
            life.salesforce_ids.append(record_id)
        life.moments.append(Moment(_time(record["CreatedDate"]), where, f"created by {_by(record, 'CreatedBy')}", {"id": record_id}))
        if record["LastModifiedDate"] != record["CreatedDate"]:
            what = f"last modified by {_by(record, 'LastModifiedBy')}"
            life.moments.append(Moment(_time(record["LastModifiedDate"]), where, what, {"id": record_id}))
        if isinstance(stamps := record.get("Sync_Stamps__c"), str):
            for name, stamp in parse_stamps(stamps).items():
                at = EPOCH + timedelta(microseconds=stamp.at)
                life.moments.append(Moment(at, where, f"a person edited {name}", {"save": stamp.save}))

    # ------------------------------------------------------------------------------------------- failures, conflicts, Cases
    def _failures(self, life: Life) -> None:
        table = self.connections.output("FailureTableName")
        pages = self.connections.dynamodb.get_paginator("query").paginate(
            TableName=table,
            IndexName="by-record",
            KeyConditionExpression="#record = :record",
            ExpressionAttributeNames={"#record": "record"},
            ExpressionAttributeValues={":record": {"S": str(life.key)}},
        )
        for item in (_plain(item) for page in pages for item in page["Items"]):
            life.causes[str(item["pk"])] = None
            life.correlations[str(item.get("correlation_id"))] = None
            names = ("queue", "code", "message", "correlation_id", "request_id", "version")
            details: Facts = {"cause": item["pk"], **{name: item.get(name) for name in names}}
            life.moments.append(Moment(_time(item["failed_at"]), "failure", f"{item.get('error')}: put into the DLQ", details))

    def _conflicts(self, life: Life) -> None:
        pages = self.connections.dynamodb.get_paginator("query").paginate(
            TableName=self.connections.output("FailureTableName"),
            KeyConditionExpression="pk = :pk",
            ExpressionAttributeValues={":pk": {"S": f"conflict/{life.key}"}},
        )
        for item in (_plain(item) for page in pages for item in page["Items"]):
            names = ("reason", "policy", "save", "winner_digest", "loser_digest")
            at = datetime.fromtimestamp(float(str(item["logged_at"])), UTC)
            life.moments.append(Moment(at, "conflict", f"{item['unit']}: {item['winner']} won", {name: item.get(name) for name in names}))

    def _cases(self, life: Life) -> None:
        about = f"Integration_Record__c = {quote(str(life.key))}"
        if life.causes:
            about = f"({about} OR Integration_Key__c IN {in_list(hashed(f'failure/{cause}') for cause in life.causes)})"
        fields = "CaseNumber, Subject, Status, IsClosed, CreatedDate, ClosedDate, Integration_Field__c, Integration_Count__c"
        soql = f"SELECT {fields} FROM Case WHERE RecordType.DeveloperName = 'Integration' AND {about}"  # noqa: S608 (quoted)
        for case in query(self.connections.salesforce(), soql):
            details: Facts = {"case": str(case["CaseNumber"]), "status": str(case["Status"]), "field": _text(case["Integration_Field__c"])}
            life.moments.append(Moment(_time(case["CreatedDate"]), "Case", f"opened: {case['Subject']}", details))
            if case["IsClosed"] and case["ClosedDate"]:
                life.moments.append(Moment(_time(case["ClosedDate"]), "Case", f"closed: {case['Subject']}", details))

    # ---------------------------------------------------------------------------------------------------------- queues, logs
    def _queues(self, life: Life) -> None:
        names = [name for name in self.connections.queues if name.endswith("Dlq") or self.live_queues]
        for name in names:
            if not queues.depths(self.connections, name)["waiting"]:
                continue
            for message in queues.look(self.connections, name):
                if message.is_about(*life.key, life.salesforce_ids):
                    self._message(life, message)

    def _message(self, life: Life, message: queues.Waiting) -> None:
        names = ("correlation_id", "origin", "committed_at", "attempt", "version", "change")
        details: Facts = {"message": message.message_id, **{name: message.content[name] for name in names if name in message.content}}
        if correlation := message.content.get("correlation_id"):
            life.correlations[str(correlation)] = None
        if message.said is None:
            details["payload"] = "gone from the staging bucket"
        life.moments.append(Moment(message.sent_at, "queue", f"waits in {message.queue}", details))

    def _logs(self, life: Life) -> None:
        logs, start = self.connections.client("logs"), int((datetime.now(UTC) - self.since).timestamp() * 1000)
        prefix = f"/omsync/{self.connections.stack}/"
        groups = [
            group["logGroupName"]
            for page in logs.get_paginator("describe_log_groups").paginate(logGroupNamePrefix=prefix)
            for group in page["logGroups"]
        ]
        terms = [
            life.key.id,
            *life.salesforce_ids,
            *[one for one in reversed(life.correlations) if not one.startswith("sweep.")][:CORRELATIONS],
        ]
        seen: set[tuple[str, int, str]] = set()
        for group in groups:
            for term in terms:
                pages = logs.get_paginator("filter_log_events").paginate(
                    logGroupName=group, filterPattern=f'"{term}"', startTime=start, PaginationConfig={"MaxItems": LOG_EVENTS}
                )
                for event in (event for page in pages for event in page["events"]):
                    name = group, int(event["timestamp"]), str(event["message"])
                    line = _line(group.removeprefix(prefix), event["timestamp"], event["message"])
                    if name not in seen and line.details.get("record") in (None, str(life.key)):  # a correlation id may be several records'
                        life.moments.append(line)
                    seen.add(name)


# ------------------------------------------------------------------------------------------------------------------- shapes
def _records(client: SalesforceClient, target: Target, oms_id: str, known: Sequence[str], *, values: bool) -> Iterator[dict[str, Any]]:
    """The target's records of an OMS id, and those the ledger names; the recycle bin's too."""
    wanted = ["Id", "CreatedDate", "CreatedBy.Username", "LastModifiedDate", "LastModifiedBy.Username", "SystemModstamp"]
    fields = target.all_fields
    wanted += [name for name in ("OMS_Version__c", "OMS_Deleted__c", "Sync_Save__c", "Sync_Write__c", "Sync_Stamps__c") if name in fields]
    wanted += [target.external_id] + (["RecordType.DeveloperName"] if target.record_types else [])
    if target.object != "User":
        wanted.append("IsDeleted")
    if target.object in _MERGEABLE:
        wanted.append("MasterRecordId")
    if values:
        wanted += [one.name for one in fields.values() if one.feature is None]
    where = f"{target.external_id} = {quote(oms_id)}" + (f" OR Id IN {in_list(known)}" if known else "")
    soql = f"SELECT {', '.join(dict.fromkeys(wanted))} FROM {target.object} WHERE {where}"  # noqa: S608 (names are the mapping's)
    for row in query(client, soql, deleted=target.object != "User"):
        attributes = row.pop("attributes", {})
        yield {"object": attributes.get("type", target.object) if isinstance(attributes, dict) else target.object, **row}


def _compare_with_feed(life: Life) -> None:
    """Has the sweep read past the row's last change? Without an answer: not known, or nothing was swept yet."""
    row, feed = life.now.get("oms"), life.now.get("sweep")
    if isinstance(row, dict) and isinstance(feed, dict) and (cursor := feed["cursor"]):
        xid, _, last = str(cursor).partition(":")
        passed = (int(str(row["change_xid"])), life.key.id) <= (int(xid), last)
        feed["last_change"] = "swept" if passed else "not swept yet"


def _facts(record: Mapping[str, Any]) -> Json:
    """A record as it is told: flat, without what says nothing."""
    facts: Facts = {}
    for name, value in record.items():
        if isinstance(value, Mapping):
            facts |= {f"{name}.{inner}": one for inner, one in value.items() if inner != "attributes"}
        elif value is not None:
            facts[name] = value
    return facts


def _item(item: Item) -> Facts:
    """The ledger's item: ids, counts, names of units. Digests say nothing to a person."""
    return {
        "revision": item.revision,
        "object": item.object,
        "salesforce_id": item.salesforce_id,
        "version": item.version,
        "save": item.save,
        "base": [*sorted(item.base)],
        "held": {unit: {"reason": hold.reason, "case": hold.case} for unit, hold in item.held.items()},
        "intent": _intent(item.intent) if item.intent is not None else None,
        "afloat": [intent.id for intent in item.afloat],
        "gone": item.gone,
        "merged_into": item.merged_into,
        "buried": item.buried,
        "relink": item.relink,
        "mapping": item.mapping,
    }


def _intent(intent: Intent) -> Facts:
    to_oms, to_salesforce = sorted(intent.to_oms), sorted(intent.to_salesforce)
    return {"id": intent.id, "to_oms": list(to_oms), "to_salesforce": list(to_salesforce), "seen": intent.seen, "gone": intent.gone}


def _line(function: str, milliseconds: int, message: str) -> Moment:
    """A log line: our JSON's keys, or the text as it is (Lambda's own lines, the API's access log)."""
    at = datetime.fromtimestamp(milliseconds / 1000, UTC)
    try:
        parsed = json.loads(message)
    except ValueError:
        parsed = None
    if not isinstance(parsed, dict):
        return Moment(at, f"log {function}", re.sub(r"\s+", " ", message).strip()[:300])
    details: Facts = {name: value for name, value in parsed.items() if name not in _LINE_KEYS}
    return Moment(at, f"log {function}", f"{parsed.get('level', '')} {parsed.get('message', '')}".strip(), details)


def _plain(item: Mapping[str, Any]) -> Facts:
    """A DynamoDB item as an object."""
    return {name: int(value["N"]) if "N" in value else next(iter(value.values())) for name, value in item.items()}


def _by_time(edited: Mapping[str, str | None]) -> dict[str, list[str]]:
    times: dict[str, list[str]] = {}
    for column, at in edited.items():
        if at is not None:
            times.setdefault(at, []).append(column)
    return times


def _by(record: Mapping[str, Any], relationship: str) -> str:
    person = record.get(relationship)
    return str(person.get("Username")) if isinstance(person, Mapping) else "unknown"


def _time(value: object) -> datetime:
    """The OMS's, Salesforce's (`+0000`) and our own ISO times."""
    return datetime.fromisoformat(re.sub(r"([+-]\d\d)(\d\d)$", r"\1:\2", str(value))).astimezone(UTC)


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def iso(moment: datetime) -> str:
    """UTC with milliseconds."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def resolve(text: str, mappings: Mappings, connections: Callable[[], Connections]) -> RecordKey | str:
    """`table/uuid`, or `Object/Salesforce id` by asking the org; a text says what is wrong with it."""
    name, slash, row_id = text.partition("/")
    if not slash:
        return f"{text!r} is neither <table>/<OMS id> nor <Object>/<Salesforce id>, such as patients/0b6f... or Account/001..."
    if name in mappings:
        if re.fullmatch(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", row_id):
            return RecordKey(name, row_id.lower())
        return f"{row_id!r} is no OMS id: expected a UUID"
    if name in mappings.objects():
        if re.fullmatch(r"[a-zA-Z0-9]{15}([a-zA-Z0-9]{3})?", row_id):
            return _named_by(connections(), mappings, name, row_id)
        return f"{row_id!r} is no Salesforce id: expected 15 or 18 letters and digits"
    return f"no table or object {name!r}; tables are {', '.join(sorted(mappings.tables))}"


def _named_by(connections: Connections, mappings: Mappings, sobject: str, record_id: str) -> RecordKey | str:
    targets: Sequence[tuple[TableMapping, Target]] = mappings.objects()[sobject]
    typed = any(target.record_types for _, target in targets)
    fields = f"{targets[0][1].external_id}{', RecordType.DeveloperName' if typed else ''}"
    soql = f"SELECT {fields} FROM {sobject} WHERE Id = {quote(record_id)}"  # noqa: S608 (quoted)
    row = next(query(connections.salesforce(), soql, deleted=sobject != "User"), None)
    if row is None:
        return f"the org knows no {sobject} {record_id}"
    kind = row.get("RecordType")
    mapping = mappings.for_record(sobject, str(kind["DeveloperName"]) if isinstance(kind, Mapping) else None)
    oms_id = row[targets[0][1].external_id]
    if mapping is None or not oms_id:
        return f"{sobject}/{record_id} has no OMS id: it is not synchronised (yet)"
    return RecordKey(mapping.table, str(oms_id).lower())
