"""Salesforce as the blind writer and the sweep see it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from omsync.mapping.model import Json
from omsync.mapping.outward import Record
from omsync.mapping.render import to_json
from omsync.platform.errors import OmsyncError
from omsync.salesforce import collections, files, soap
from omsync.salesforce.client import SalesforceClient
from omsync.salesforce.collections import chunked
from omsync.salesforce.query import deleted_between, ids_by_external_id, in_list, moment, query, query_many, quote
from omsync.sync.ports import Batch, DeletedPage, Written
from omsync.sync.sweep import Buried, Touched

_EXTERNAL_ID = "OMS_Id__c"
#: values in one query that goes by GET
_VALUES = 300
#: rows of one page of the feed
_PAGE = 2000


@dataclass(frozen=True, slots=True)
class MirroredRecords:
    """`mirror.Store` and `sweep.SalesforceFeed` over the REST API. `guarded(object)`: does it keep Sync_Save__c? `typed`: record types?"""

    client: SalesforceClient
    guarded: Callable[[str], bool]
    typed: Callable[[str], bool]

    # ------------------------------------------------------------------------------------------------ of the blind writer
    def write(self, batches: Sequence[Batch]) -> Iterator[list[list[Written]]]:
        """Composite calls. They may be repeated: the version guard makes an upsert that arrives twice harmless."""
        return collections.exchanges(self.client, batches, repeatable=True)

    def existing(self, sobject: str, ids: Sequence[str]) -> set[str]:
        """OMS ids that are there."""
        return set(ids_by_external_id(self.client, sobject, _EXTERNAL_ID, ids))

    def versions(self, sobject: str, ids: Sequence[str]) -> dict[str, int]:
        """OMS id -> OMS_Version__c."""
        parts = [in_list(part) for part in chunked(ids, _VALUES)]
        soqls = [f"SELECT OMS_Id__c, OMS_Version__c FROM {sobject} WHERE OMS_Id__c IN {part}" for part in parts]  # noqa: S608 (the mapping's)
        rows = (row for page in query_many(self.client, soqls) for row in page)
        return {str(row["OMS_Id__c"]).lower(): int(float(str(row["OMS_Version__c"] or 0))) for row in rows}

    def attach(self, record_id: str, record: Record) -> None:
        """Text that is too long for its field, as files beside the record."""
        for file in record.files:
            files.attach(self.client, record_id, file)

    # ------------------------------------------------------------------------------------------------------- of the sweep
    def touched(self, sobject: str, since: datetime, after: str) -> list[Touched]:
        """The next page of records behind (SystemModstamp, Id)."""
        columns = ["Id", _EXTERNAL_ID, "SystemModstamp"]
        columns += ["Sync_Save__c"] if self.guarded(sobject) else []
        columns += ["RecordType.DeveloperName"] if self.typed(sobject) else []
        at = moment(since)
        behind = f"(SystemModstamp > {at} OR (SystemModstamp = {at} AND Id > {quote(after)}))" if after else f"SystemModstamp >= {at}"
        soql = f"SELECT {', '.join(columns)} FROM {sobject} WHERE {behind} ORDER BY SystemModstamp, Id LIMIT {_PAGE}"  # noqa: S608
        return [
            Touched(
                id=str(row["Id"]),
                oms_id=_text(row.get(_EXTERNAL_ID)),
                record_type=_record_type(row),
                save=int(float(str(row["Sync_Save__c"]))) if row.get("Sync_Save__c") is not None else None,
                modified=datetime.fromisoformat(str(row["SystemModstamp"])),
            )
            for row in query(self.client, soql)
        ]

    def deleted(self, sobject: str, start: datetime, end: datetime) -> DeletedPage:
        """What went into the recycle bin, or further."""
        return deleted_between(self.client, sobject, start, end)

    def buried(self, sobject: str, ids: Sequence[str]) -> list[Buried]:
        """What the recycle bin still knows of these."""
        columns = ", ".join(["Id", _EXTERNAL_ID, *(["RecordType.DeveloperName"] if self.typed(sobject) else [])])
        parts = [in_list(part) for part in chunked(ids, _VALUES)]
        soqls = [f"SELECT {columns} FROM {sobject} WHERE Id IN {part} AND IsDeleted = true" for part in parts]  # noqa: S608
        rows = (row for page in query_many(self.client, soqls, deleted=True) for row in page)
        return [Buried(str(row["Id"]), _text(row.get(_EXTERNAL_ID)), _record_type(row)) for row in rows]

    def undelete(self, ids: Sequence[str]) -> list[OmsyncError | None]:
        """Out of the recycle bin."""
        return [answer for part in chunked(ids) for answer in soap.undelete(self.client, part)]


@dataclass(frozen=True, slots=True)
class RestRenderer:
    """`mirror.Renderer`."""

    org: dict[str, str]

    def __call__(self, record: Record, *, creating: bool) -> dict[str, Json]:
        """REST's JSON."""
        return to_json(record, self.org, "create" if creating else "update")


def _text(value: object) -> str | None:
    return str(value) if value else None


def _record_type(row: dict[str, object]) -> str | None:
    kind = row.get("RecordType")
    return str(kind["DeveloperName"]) if isinstance(kind, dict) and kind.get("DeveloperName") else None
