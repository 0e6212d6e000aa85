"""Person Accounts: one record that is an Account and a Contact.

The Account row holds the Contact's values too (`PersonEmail`, `X__pc`), so that SOQL finds them on either side; `FieldType.person` says
which belongs to which. Every write goes through the Account: a write to the Contact of a person becomes a write to its Account.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from local.salesforce.context import Context
from local.salesforce.dml_behaviour import Behaviour, full_name
from local.salesforce.dml_types import Error, Json, Record, Row, duplicate_value, not_writable
from local.salesforce.schema import ObjectType

if TYPE_CHECKING:
    from local.salesforce.dml import Engine
    from local.salesforce.dml_save import Batch, Item

_NO_LAST_NAME = Error("REQUIRED_FIELD_MISSING", "Required fields are missing: [LastName]", ("LastName",))
_TYPE_CHANGE = Error(
    "INVALID_FIELD_FOR_INSERT_UPDATE",
    "a person account's record type can't become a business account's, or the other way",
    ("RecordTypeId",),
)


class PersonAccounts(Behaviour):
    """Account: people and businesses."""

    def complete(self, batch: Batch, items: Sequence[Item]) -> None:
        batch.extra |= {"IsPersonAccount", "PersonContactId", "Name", "RecordTypeId"}
        newcomers = []
        for item in items:
            person = self._is_person(batch.object, item)
            if person is None:
                item.errors.append(_TYPE_CHANGE)
                continue
            item.row["IsPersonAccount"] = int(person)
            wrong = item.shape.business if person else item.shape.person
            if wrong:
                item.errors.append(not_writable(*wrong))
            elif person:
                if item.row["LastName"] is None:
                    item.errors.append(_NO_LAST_NAME)
                item.row["Name"] = full_name(item.row)
                if item.old is None:
                    newcomers.append(item)
        contact = batch.engine.org.objects["Contact"]
        for item, contact_id in zip(newcomers, batch.tx.new_ids(contact, len(newcomers)), strict=True):
            item.row["PersonContactId"] = contact_id

    def _is_person(self, account: ObjectType, item: Item) -> bool | None:
        """By record type; without one, an insert that brings a last name is a person. None: the two don't go together."""
        record_type = account.record_type_by_id(str(item.row["RecordTypeId"])) if item.row["RecordTypeId"] else None
        if item.old is not None:
            was = bool(item.old["IsPersonAccount"])
            return was if record_type is None or record_type.person == was else None
        if record_type is not None:
            return record_type.person
        if "LastName" not in item.shape.columns:
            return False
        default = next((r for r in account.record_types.values() if r.person and r.active), None)
        item.row["RecordTypeId"] = default.id if default else None
        return True

    def unique(self, batch: Batch, items: Sequence[Item]) -> None:
        """A person's `X__pc` must be unique among all Contacts' `X__c`."""
        contact = batch.engine.org.objects["Contact"]
        shown = {f.person: f for f in batch.object.fields.values() if f.person}
        people = [item for item in items if item.row["IsPersonAccount"]]
        for f in contact.unique_fields:
            column = shown.get(f.name)
            users = [i for i in people if column is not None and i.row[column.name] is not None] if column else []
            if column is None or not users:
                continue
            holders = batch.holders("Contact", column, f.name, users)
            for item in users:
                key = batch.key(column, item.row[column.name])
                holder = holders.setdefault(key, str(item.row["PersonContactId"]))
                if holder != item.row["PersonContactId"]:
                    item.errors.append(duplicate_value(column.name, holder))

    def after(self, batch: Batch, items: Sequence[Item]) -> None:
        people = [item for item in items if item.row["IsPersonAccount"]]
        pairs = [(f.name, f.person) for f in batch.object.fields.values() if f.person and f.stored]
        inserts = [contact_row(batch.engine, i.row, pairs) for i in people if i.old is None]
        if inserts:
            batch.insert_into("Contact", [c for c in inserts[0] if any(row[c] is not None for row in inserts)], inserts)
        updates = [i for i in people if i.old is not None]
        if updates:
            sent = {c for item in updates for c in item.shape.columns}
            rows = [contact_row(batch.engine, i.row, pairs) for i in updates]
            changed = [theirs for ours, theirs in pairs if ours in sent]
            batch.write_to(
                "Contact", list(dict.fromkeys([*changed, "Name", "LastModifiedDate", "LastModifiedById", "SystemModstamp"])), rows
            )


def contact_row(engine: Engine, account: Row, pairs: Sequence[tuple[str, str | None]]) -> Row:
    """The Contact of a person's Account row."""
    row = dict(engine.plan("Contact").template)
    for ours, theirs in pairs:
        row[str(theirs)] = account[ours]
    for name in ("IsDeleted", "CreatedDate", "CreatedById", "LastModifiedDate", "LastModifiedById", "SystemModstamp", "OwnerId", "Name"):
        row[name] = account[name]
    row["Id"] = account["PersonContactId"]
    row["AccountId"] = account["Id"]
    row["IsPersonAccount"] = 1
    return row


def redirect_person_contacts(engine: Engine, items: list[Item], context: Context) -> list[Item]:
    """Updates of people's Contacts are made on their Accounts; the other items are returned."""
    rest = []
    for item in items:
        if item.old is None or not item.old["IsPersonAccount"]:
            rest.append(item)
            continue
        record, unknown = _as_account(engine, item.record)
        if unknown:
            item.errors.append(not_writable(*unknown))
            continue
        record["Id"] = str(item.old["AccountId"])
        result = engine.update("Account", [record], _alone(context))[0]
        item.errors.extend(result.errors)
        item.id = str(item.old["Id"])
    return rest


def _as_account(engine: Engine, record: Record) -> tuple[dict[str, Json], list[str]]:
    """A Contact record's keys as the Account calls them, and the keys a Person Account does not have."""
    account, contact = engine.org.objects["Account"], engine.org.objects["Contact"]
    shown = {f.person.lower(): f for f in account.fields.values() if f.person}
    out: dict[str, Json] = {}
    unknown: list[str] = []
    for key, value in record.items():
        head, _, tail = key.partition(".")
        f = contact.field(head) or contact.relationship(head)
        target = shown.get(f.name.lower()) if f else None
        if key.lower() in {"id", "attributes"}:
            continue
        if target is None:
            unknown.append(key)
        elif f is not None and contact.field(head) is None:
            out[f"{target.relationship}.{tail}" if tail else str(target.relationship)] = value
        else:
            out[target.name] = value
    return out, unknown


def _alone(context: Context) -> Context:
    return Context(
        context.user_id, context.permissions, all_or_none=False, surface=context.surface, user=context.user, now=context.now
    )  # fmt: skip
