"""Integration Cases in Salesforce: opened once per key however often they are asked for, counted, found again by key, closed when mended.

A Case says which record, which field and what to do; never a value, because a Case's readers may not be the record's. Its key is an
external id, so asking twice, by two workers, or after a crash, is one Case. A cause that comes back after its Case was closed opens
it again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from omsync.platform.errors import OmsyncError, Permanent
from omsync.salesforce import collections
from omsync.salesforce.client import SalesforceClient
from omsync.salesforce.collections import chunked
from omsync.salesforce.query import in_list, query, quote
from omsync.sync.consume import Result
from omsync.sync.ports import Answers, Batch, CaseRequest, CaseStatus

RECORD_TYPE: Final = "Integration"
QUEUE: Final = "Integration_Issues"
_KEYS_PER_QUERY = 200
#: or Cases lose the owner they were given to the org's assignment rules
_HEADERS = {"Sforce-Auto-Assign": "FALSE"}

_NOTICE = "Please look: "
_SUBJECTS = {
    "conflict": "Both systems changed {unit}: decide",
    "refused": "The OMS refuses {unit}",
    "merged": "Merge two patients in the OMS too",
}
_TEXTS = {
    "conflict": (
        "{unit} of {record} was changed in Salesforce and in the OMS. It is held: neither value overwrites the other, "
        "everything else goes on.\n"
        "To keep Salesforce's value, close this Case. To keep the OMS's, enter it in Salesforce and close this Case."
    ),
    "refused": (
        "The OMS will not take {unit} of {record} as it stands in Salesforce. It is held, everything else goes on.\n"
        "Correct it in Salesforce; the next save is tried again by itself."
    ),
    "merged": (
        "{record} was merged into {into} in Salesforce. Its children follow the winner there. Please merge the two in the OMS as well, "
        "then close this Case."
    ),
}


@dataclass
class Cases:
    """`CasePort` and `CaseOpener` over Salesforce."""

    client: SalesforceClient

    # ---------------------------------------------------------------------------------------------- of the synchroniser
    def status(self, keys: Sequence[str]) -> Answers[CaseStatus]:
        """none, open or closed."""
        found = self._closed_by_key([hashed(key) for key in keys])
        return [_status(found.get(hashed(key))) for key in keys]

    def open(self, requests: Sequence[CaseRequest]) -> Answers[None]:
        """One Case a key."""
        cases = [
            self._case(
                request.key,
                subject=_SUBJECTS[request.reason].format(unit=request.unit or "a field"),
                text=_TEXTS[request.reason].format(unit=request.unit or "a field", record=request.record, into=request.into),
                record=str(request.record),
                unit=request.unit,
                account=request.salesforce.id if request.salesforce is not None and request.salesforce.object == "Account" else None,
            )
            for request in requests
        ]
        return self._upsert(cases)

    def close(self, keys: Sequence[str]) -> Answers[None]:
        """Close those that are open."""
        found = self._closed_by_key([hashed(key) for key in keys])
        open_keys = [key for key in keys if found.get(hashed(key)) is False]
        closing: list[dict[str, object]] = [{"Integration_Key__c": hashed(key), "Status": "closed"} for key in open_keys]
        answers = dict(zip(open_keys, self._upsert(closing), strict=True))
        return [answers.get(key) for key in keys]

    # --------------------------------------------------------------------------------------------------- of the consumers
    def report(self, cause: str, result: Result, count: int) -> None:
        """A cause of failure and how often it was met. Raises Retryable or Permanent of Salesforce."""
        fault = result.fault
        text = (
            f"Messages fail for one cause: {cause}\n{fault}\n"
            "They wait in the queue's dead-letter queue with a row each in the failure table (`omsync trace <record>` shows them).\n"
            "Mend the cause, redrive the queue (docs/runbook.md), then close this Case."
        )
        case = self._case(f"failure/{cause}", subject=f"Sync failure: {cause}", text=text, record=result.record, unit=None, account=None)
        [answer] = self._upsert([{**case, "Integration_Count__c": count}])
        if isinstance(answer, OmsyncError):
            raise answer

    def records_of(self, case_ids: Sequence[str]) -> dict[str, str]:
        """Salesforce id of a Case -> `table/id` of the record it was opened for."""
        found: dict[str, str] = {}
        for part in chunked(case_ids, _KEYS_PER_QUERY):
            soql = f"SELECT Id, Integration_Record__c FROM Case WHERE Id IN {in_list(part)} AND Integration_Record__c != null"  # noqa: S608
            found |= {str(row["Id"]): str(row["Integration_Record__c"]) for row in query(self.client, soql)}
        return found

    def notice(self, kind: str, record: str, detail: str) -> None:
        """Something only people can settle. Raises Retryable or Permanent of Salesforce."""
        subject = f"{_NOTICE}{kind.replace('_', ' ')}"
        [answer] = self._upsert([self._case(f"{kind}/{record}", subject=subject, text=detail, record=record, unit=None, account=None)])
        if isinstance(answer, OmsyncError):
            raise answer

    # ----------------------------------------------------------------------------------------------------------- plumbing
    def _case(self, key: str, *, subject: str, text: str, record: str | None, unit: str | None, account: str | None) -> dict[str, object]:
        case: dict[str, object] = {
            "Integration_Key__c": hashed(key),
            "RecordTypeId": self._org["record_type"],
            "OwnerId": self._org["queue"],
            "Status": "new",
            "Origin": "system",
            "Subject": subject[:255],
            "Description": text,
            "Integration_Record__c": record,
            "Integration_Field__c": unit,
        }
        return case if account is None else {**case, "AccountId": account}

    @cached_property
    def _org(self) -> dict[str, str]:
        """Ids that only the org knows: the Cases' record type and their queue."""
        types = query(self.client, f"SELECT Id FROM RecordType WHERE SobjectType = 'Case' AND DeveloperName = {quote(RECORD_TYPE)}")  # noqa: S608
        queues = query(self.client, f"SELECT Id FROM Group WHERE Type = 'Queue' AND DeveloperName = {quote(QUEUE)}")  # noqa: S608
        try:
            return {"record_type": str(next(types)["Id"]), "queue": str(next(queues)["Id"])}
        except StopIteration:
            message = f"the org lacks the record type Case.{RECORD_TYPE} or the queue {QUEUE}: deploy salesforce/ first"
            raise Permanent(message, code="cases.org") from None

    def _closed_by_key(self, keys: Sequence[str]) -> dict[str, bool]:
        found: dict[str, bool] = {}
        for part in chunked(list(dict.fromkeys(keys)), _KEYS_PER_QUERY):
            soql = f"SELECT Integration_Key__c, IsClosed FROM Case WHERE Integration_Key__c IN {in_list(part)}"  # noqa: S608
            found |= {str(row["Integration_Key__c"]): bool(row["IsClosed"]) for row in query(self.client, soql)}
        return found

    def _upsert(self, cases: Sequence[dict[str, object]]) -> list[OmsyncError | None]:
        answers: list[OmsyncError | None] = []
        batches = [Batch("Case", "upsert", part, "Integration_Key__c", _HEADERS) for part in chunked(cases)]
        for outcomes in collections.write(self.client, batches, repeatable=True):
            answers += [outcome.error for outcome in outcomes]
        return answers


def kind_of(subject: str) -> str:
    """What a Case of ours is about, by its subject: conflict, refused, merged, failure, or the kind of a notice."""
    if subject.startswith(_NOTICE):
        return subject.removeprefix(_NOTICE).replace(" ", "_")
    beginnings = {kind: text.partition("{")[0] for kind, text in _SUBJECTS.items()} | {"failure": "Sync failure: "}
    return next((kind for kind, beginning in beginnings.items() if subject.startswith(beginning)), "other")


@dataclass(frozen=True, slots=True)
class Notices:
    """`cases.ports.CasePort`: what only people can settle, one Case a kind and record."""

    cases: Cases

    def open(self, kind: str, record: str, detail: str) -> None:
        """Raises Retryable or Permanent of Salesforce."""
        self.cases.notice(kind, record, detail)


def hashed(key: str) -> str:
    """A key as the external id holds it: 64 characters, whatever the cause's length."""
    return hashlib.sha256(key.encode()).hexdigest()


def _status(closed: bool | None) -> CaseStatus:
    return "none" if closed is None else "closed" if closed else "open"
