"""Salesforce's errors, told apart once and turned into omsync's three kinds.

    Retryable
    |-- RequestLimit     the 24-hour API budget is gone (REQUEST_LIMIT_EXCEEDED)
    |-- MissingParent    a lookup by external id found nobody: the parent must be written first
    `-- DuplicateRecord  another writer created it in the meantime: once more, as an update
    Permanent
    |-- EntityDeleted    the record is in the recycle bin, or gone
    |-- NotFound         no such record
    `-- CreateOnly       the batch mixed creates and updates of an object with create-only fields
    Stale                our validation rule's `OMSYNC_STALE`, or 412

Sources: "Status Codes and Error Responses" and "Core Data Types Used in API Calls, StatusCode" (Salesforce REST and SOAP API
Developer Guides). Messages may quote a record's values, so only our own words and the field's name are kept.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from omsync.platform.errors import OmsyncError, Permanent, Retryable, Stale
from omsync.sync.ports import CreateOnly, DuplicateRecord, MissingParent

STALE_TOKEN = "OMSYNC_STALE"  # noqa: S105  (a validation rule's message, not a secret)

#: worth another try without anybody changing anything
_TRANSIENT = frozenset(
    {
        "UNABLE_TO_LOCK_ROW",
        "SERVER_UNAVAILABLE",
        "UNKNOWN_EXCEPTION",
        "INTERNAL_ERROR",
        "QUERY_TIMEOUT",
        "REQUEST_RUNNING_TOO_LONG",
        "EXCEEDED_MAX_SEMIJOIN_SUBSELECTS_WAIT",
        "CONCURRENT_REQUESTS_LIMIT_EXCEEDED",
        "TXN_LIMIT_EXCEEDED",
        "ALL_OR_NONE_OPERATION_ROLLED_BACK",
        "PROCESSING_HALTED",
        "INVALID_SESSION_ID",
        "TOO_MANY_APEX_REQUESTS",
    }
)
#: what a trigger or flow met itself; its own code is in the message
_WRAPPED = frozenset({"CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY", "CANNOT_EXECUTE_FLOW_TRIGGER"})
_FOREIGN_KEY = re.compile(r"Foreign key external ID: (?P<value>\S+) not found for field (?P<field>\S+)")


class RequestLimit(Retryable):
    """The org's API requests of the last 24 hours are used up."""


class EntityDeleted(Permanent):
    """The record is deleted."""


class NotFound(Permanent):
    """No record with this id."""


#: a field or relationship that the org does not have: a name of metadata, not a value
_UNKNOWN_NAME = re.compile(r"(?:No such column|Didn't understand relationship|No such relation) '(?P<name>\w{1,80})'")


def _named(message: str) -> str | None:
    found = _UNKNOWN_NAME.search(message)
    return found["name"] if found else None


_EXISTING_ID = re.compile(r"record with id:? ?<?(?P<id>[a-zA-Z0-9]{15,18})", re.IGNORECASE)


def translate(code: str, message: str = "", fields: Sequence[str] = ()) -> OmsyncError:
    """One Salesforce error -> one of ours. Never keeps `message`, which may quote values."""
    field = fields[0] if fields else _named(message)
    if code == "FIELD_CUSTOM_VALIDATION_EXCEPTION" and STALE_TOKEN in message:
        return Stale("a newer version is there already", code=STALE_TOKEN)
    if code == "REQUEST_LIMIT_EXCEEDED":
        return RequestLimit("the API requests of the last 24 hours are used up", code=code, after=60.0)
    if code in _TRANSIENT or (code in _WRAPPED and "UNABLE_TO_LOCK_ROW" in message):
        return Retryable("Salesforce asks to try again", code=code)
    if code == "INVALID_FIELD" and (found := _FOREIGN_KEY.search(message)):
        return MissingParent("a parent is not in Salesforce yet", field=found["field"], external_id=found["value"])
    if code in ("DUPLICATE_VALUE", "DUPLICATE_EXTERNAL_ID"):
        named = _EXISTING_ID.search(message)
        return DuplicateRecord("a record with this unique value exists already", existing=named["id"] if named else None)
    if code == "ENTITY_IS_DELETED":
        return EntityDeleted("the record is deleted", code=code)
    if code == "NOT_FOUND":
        return NotFound("no such record or resource", code=code)
    if code in ("INVALID_FIELD_FOR_INSERT_UPDATE", "REQUIRED_FIELD_MISSING"):
        return CreateOnly("a create-only or required field does not fit this write", code=code, field=field)
    return Permanent(_explain(code, field), code=code, field=field)


def _explain(code: str, field: str | None) -> str:
    """A sentence for the on-call engineer; the record's values stay out of it."""
    where = f" of {field}" if field else ""
    known: Mapping[str, str] = {
        "STRING_TOO_LONG": f"the value{where} is longer than the field",
        "INVALID_EMAIL_ADDRESS": f"the value{where} is no email address to Salesforce",
        "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST": f"the value{where} is not in the restricted picklist",
        "FIELD_CUSTOM_VALIDATION_EXCEPTION": f"a validation rule refused the record{where}",
        "DUPLICATES_DETECTED": "a duplicate rule refused the record",
        "INVALID_CROSS_REFERENCE_KEY": f"the id{where} points to nothing that may be used here",
        "MALFORMED_ID": f"the id{where} is malformed",
        "INVALID_FIELD": f"no such field{where}, or no access to it",
        "INSUFFICIENT_ACCESS_OR_READONLY": "the integration user may not write this record",
        "INSUFFICIENT_ACCESS_ON_CROSS_REFERENCE_ENTITY": "the integration user may not see a record this one points to",
    }
    return known.get(code, f"Salesforce refused the record{where}")


def from_response(status: int, body: object) -> OmsyncError:
    """A failed response (status >= 300) -> one of ours. `body` is the parsed JSON, or text."""
    if status == 412:
        return Stale("the record changed since it was read", code="PRECONDITION_FAILED")
    if isinstance(body, list) and body and isinstance(body[0], Mapping):
        first = body[0]
        fields = first.get("fields") or ()
        return translate(str(first.get("errorCode", "UNKNOWN")), str(first.get("message", "")), [str(name) for name in fields])
    if status == 300:
        return Permanent("the external id is borne by several records", code="MULTIPLE_CHOICES")
    if status == 429 or status >= 500:
        return Retryable(f"Salesforce answered {status}", code=f"HTTP_{status}")
    return Permanent(f"Salesforce answered {status}", code=f"HTTP_{status}")
