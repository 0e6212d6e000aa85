"""What a save answers: one `Result` per record, with `Error`s in Salesforce's words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

# A record as a client sends it: field API name -> JSON value. A lookup may be given by id (`AccountId`) or by the parent's external id:
# nested (`{"Patient__r": {"OMS_Id__c": "..."}}`, with `attributes.type` for a polymorphic one) or dotted as in CSV
# (`{"Patient__r.OMS_Id__c": "..."}`, `{"Account:RelatedTo.OMS_Id__c": "..."}`). An absent key leaves the field alone; None clears it.
type Json = str | int | float | bool | list[Json] | dict[str, Json] | None
type Record = Mapping[str, Json]

# A record as it is stored, one entry per column: text, REAL numbers, 0/1, dates `YYYY-MM-DD`, times `YYYY-MM-DDTHH:MM:SS.mmmZ`, ids of 18.
type Stored = str | int | float | None
type Row = dict[str, Stored]


@dataclass(slots=True, frozen=True)
class Error:
    """`fields` None means that the answer has no such key (unknown column); an empty tuple is answered as `[]`."""

    status_code: str
    message: str
    fields: tuple[str, ...] | None = ()

    def bulk(self) -> str:
        """As `sf__Error` of a failed Bulk 2.0 row: `CODE:message:Field --`."""
        return f"{self.status_code}:{self.message}:{', '.join(self.fields or ())} --"


@dataclass(slots=True)
class Result:
    """`created` is None except for upserts. A failed record has no id, except an update or delete that named one."""

    success: bool
    id: str | None = None
    created: bool | None = None
    errors: list[Error] = field(default_factory=list)
    matches: tuple[str, ...] = ()  # upsert: ids of several records with this external id (HTTP 300)
    late: bool = False  # inside the engine: found after the write, so the batch runs again without it

    @classmethod
    def failed(cls, *errors: Error, id: str | None = None, created: bool | None = None) -> Result:  # noqa: A002 - Salesforce's name
        return cls(False, id, created, list(errors))


ROLLED_BACK = Error(
    "ALL_OR_NONE_OPERATION_ROLLED_BACK",
    "Record rolled back because not all records were valid and the request was using AllOrNone header",
)


def unknown_column(object_name: str, field_name: str) -> Error:
    return Error("INVALID_FIELD", f"No such column '{field_name}' on sobject of type {object_name}", None)


def not_writable(*fields: str) -> Error:
    return Error(
        "INVALID_FIELD_FOR_INSERT_UPDATE",
        f"Unable to create/update fields: {', '.join(fields)}. Please check the security settings of this field and verify that it is "
        "read/write for your profile or permission set.",
        fields,
    )


def malformed_id(value: str, field_name: str = "Id") -> Error:
    if field_name == "Id":
        return Error("MALFORMED_ID", f"Record ID: id value of incorrect type: {value}", ("Id",))
    return Error("MALFORMED_ID", f"{field_name}: id value of incorrect type: {value}", (field_name,))


def duplicate_value(field_name: str, record_id: str) -> Error:
    return Error("DUPLICATE_VALUE", f"duplicate value found: {field_name} duplicates value on record with id: {record_id[:15]}", ())


def parent_not_found(value: str, field_name: str, object_name: str) -> Error:
    return Error("INVALID_FIELD", f"Foreign key external ID: {value} not found for field {field_name} in entity {object_name}", ())


DELETED = Error("ENTITY_IS_DELETED", "entity is deleted", ())
NOT_FOUND = Error("NOT_FOUND", "Provided external ID field does not exist or is not accessible", None)
RESOURCE_NOT_FOUND = Error("NOT_FOUND", "The requested resource does not exist", None)
