"""One batch of inserts and updates of one object, under the writer's lock, in Salesforce's order of execution:

lookups by external id -> values -> references exist -> the object's own rules -> required fields -> before triggers -> validation
rules -> uniqueness -> write -> the object's after work (roll-ups, Person Account's Contact) -> after triggers.
A record that fails drops out with its errors; its neighbours go on.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import batched, chain, islice
from operator import itemgetter, ne
from typing import TYPE_CHECKING

from local.salesforce.context import Context
from local.salesforce.dml_frame import RuleFrame
from local.salesforce.dml_plan import Plan, Shape, nested_key, parent_key
from local.salesforce.dml_types import (
    DELETED,
    Error,
    Record,
    Row,
    Stored,
    duplicate_value,
    parent_not_found,
)
from local.salesforce.schema import FieldType, ObjectType
from local.salesforce.store import Transaction
from local.salesforce.values import Refused, converter

if TYPE_CHECKING:
    from local.salesforce.dml import Engine

_ROWS_A_STATEMENT = 32  # few enough for SQLite's 32,766 parameters with a thousand columns
_SYSTEM_ON_UPDATE = ("LastModifiedDate", "LastModifiedById", "SystemModstamp")
_SYSTEM_ON_INSERT = ("Id", "IsDeleted", "CreatedDate", "CreatedById", *_SYSTEM_ON_UPDATE)


@dataclass(slots=True)
class Item:
    """One record on its way: `old` None is an insert; `row` is what will be stored."""

    index: int
    record: Record
    shape: Shape
    old: Row | None = None
    row: Row = field(default_factory=dict)
    id: str = ""
    errors: list[Error] = field(default_factory=list)


def key_of(f: FieldType, value: Stored) -> Stored:
    """How values of a unique field are told apart."""
    return value.lower() if isinstance(value, str) and not f.case_sensitive and not f.is_reference else value


def keys_of(f: FieldType, values: Iterable[Stored]) -> list[Stored]:
    """`key_of` of many."""
    if f.case_sensitive or f.is_reference:
        return list(values)
    return [value.lower() if isinstance(value, str) else value for value in values]


class Batch:
    """Run with `save`; look at each item's `errors` and `id` afterwards. `late` says that a write has to be undone."""

    def __init__(self, engine: Engine, tx: Transaction, plan: Plan, context: Context, free: FieldType | None = None) -> None:
        """`free` is a field whose values the caller knows to be nobody else's."""
        self.engine = engine
        self.free = free
        self.tx = tx
        self.plan = plan
        self.object: ObjectType = plan.object
        self.context = context
        self.frame = RuleFrame(tx, context, plan.object)
        self.behaviour = engine.behaviour(self.object.name)
        self.extra: set[str] = set()  # columns that the object's own rules or triggers set
        self.late = False

    def save(self, items: list[Item]) -> None:
        items = self._lookups(items)
        items = self._values(items)
        items = self._references(items)
        if self.behaviour:
            self.behaviour.complete(self, items)
            items = alive(items)
        items = self._unique(self._judged(self._required(items)))
        if not items:
            return
        self._write(items)
        if self.behaviour:
            self.behaviour.after(self, items)
            if any(item.errors for item in items):
                self.late = True
                return
        self._after_triggers(items)

    def save_rows(self, items: list[Item], rows: Sequence[Row]) -> None:
        """Save rows that Salesforce computed: triggers and rules, no field checks."""
        for item, row in zip(items, rows, strict=True):
            item.row = row
        items = self._judged(items)
        if items:
            self._write(items)
            self._after_triggers(items)

    def _judged(self, items: list[Item]) -> list[Item]:
        self._before_triggers(items)
        return self._rules(items)

    # --- what the client sent ----------------------------------------------------------------------------------------

    def _lookups(self, items: list[Item]) -> list[Item]:
        """Parents named by external id: one query per parent object and field for the whole batch."""
        wanted: dict[tuple[str, str], list[tuple[Item, FieldType, Stored]]] = {}
        for item in items:
            item.row = dict(item.old) if item.old is not None else dict(self.plan.template)
            for lookup in item.shape.dotted:
                try:
                    value = lookup.convert(item.record[lookup.key])
                except Refused as refused:
                    item.errors.append(refused.at(lookup.key, self._header(item)))
                    continue
                self._want(wanted, item, lookup.field, lookup.parent, lookup.by, value)
            for key, f in item.shape.nested:
                self._nested(wanted, item, key, f)
        for (parent_name, by), uses in wanted.items():
            self._resolve(self.engine.org.objects[parent_name], by, uses)
        return alive(items)

    def _nested(self, wanted: dict[tuple[str, str], list[tuple[Item, FieldType, Stored]]], item: Item, key: str, f: FieldType) -> None:
        sent = item.record[key]
        if sent is None:
            item.row[f.name] = None
            return
        parts = nested_key(sent) if isinstance(sent, dict) else None
        if parts is None:
            message = f"Cannot deserialize instance of {f.relationship}: a relationship takes an object with one external id"
            item.errors.append(Error("JSON_PARSER_ERROR", f"{message} at [line:1, column:1]", None))
            return
        type_name, by, value = parts
        found = parent_key(self.engine.org, f, by, type_name)
        if isinstance(found, Error):
            item.errors.append(found)
            return
        parent, key_field = found
        try:
            self._want(wanted, item, f, parent, key_field, converter(key_field, self.context.surface)(value))
        except Refused as refused:
            item.errors.append(refused.at(key, self._header(item)))

    def _header(self, item: Item) -> tuple[str, ...]:
        return self.context.columns or tuple(item.record)

    @staticmethod
    def _want(
        wanted: dict[tuple[str, str], list[tuple[Item, FieldType, Stored]]],
        item: Item,
        f: FieldType,
        parent: ObjectType,
        by: FieldType,
        value: Stored,
    ) -> None:
        if value is None:
            item.row[f.name] = None
        else:
            wanted.setdefault((parent.name, by.name), []).append((item, f, value))

    def _resolve(self, parent: ObjectType, by_name: str, uses: list[tuple[Item, FieldType, Stored]]) -> None:
        by = parent.fields[by_name]
        found: dict[Stored, str | None] = {}
        for value, record_id in self.tx.connection.execute(
            f'SELECT "{by_name}", "Id" FROM "{parent.name}" WHERE "IsDeleted" = 0 AND "{by_name}" IN (SELECT value FROM json_each(?))',
            (json.dumps([value for _, _, value in uses]),),
        ):
            key = key_of(by, value)
            found[key] = None if key in found else record_id
        for item, f, value in uses:
            key = key_of(by, value)
            record_id = found.get(key)
            if record_id is not None:
                item.row[f.name] = record_id
            elif key in found:
                item.errors.append(Error("INVALID_FIELD", f"More than one record found for external id field: {by_name}: {value}", ()))
            else:
                item.errors.append(parent_not_found(str(value), by_name, parent.name))

    def _values(self, items: list[Item]) -> list[Item]:
        failed = False
        for item in items:
            row, record = item.row, item.record
            try:
                for key, column, convert in item.shape.setters:
                    row[column] = convert(record[key])
            except Refused:
                self._all_refusals(item)
                failed = True
            if item.old is None:
                for column, default in self.plan.defaults:
                    if column not in item.shape.columns:
                        row[column] = default(row, row, True, self.frame)
        return alive(items) if failed else items

    def _all_refusals(self, item: Item) -> None:
        """A client is told every bad value at once."""
        for key, column, convert in item.shape.setters:
            try:
                item.row[column] = convert(item.record[key])
            except Refused as refused:
                item.errors.append(refused.at(key, self._header(item)))

    def _references(self, items: list[Item]) -> list[Item]:
        """Lookups given by id must name a live record of the right object."""
        wanted: dict[str, set[str]] = {}
        uses: list[tuple[Item, FieldType, str]] = []
        for item in items:
            for f in item.shape.references:
                value = item.row[f.name]
                if not isinstance(value, str) or (item.old is not None and item.old[f.name] == value):
                    continue
                target = self.engine.org.object_of_id(value)
                if f.name == "RecordTypeId":
                    self._record_type(item, value)
                elif target is None or target.name not in f.references:
                    item.errors.append(Error("FIELD_INTEGRITY_EXCEPTION", f"{f.label}: id value of incorrect type: {value}", (f.name,)))
                else:
                    wanted.setdefault(target.name, set()).add(value)
                    uses.append((item, f, value))
        if not uses:
            return alive(items)
        known: dict[str, int] = {}
        for name, ids in wanted.items():
            known |= self.tx.connection.execute(
                f'SELECT "Id", "IsDeleted" FROM "{name}" WHERE "Id" IN (SELECT value FROM json_each(?))', (json.dumps(list(ids)),)
            ).fetchall()
        for item, _, value in uses:
            if value not in known:
                item.errors.append(Error("INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id", ()))
            elif known[value]:
                item.errors.append(DELETED)
        self._owners([(item, value) for item, f, value in uses if f.name == "OwnerId" and value in known])
        return alive(items)

    def _owners(self, uses: list[tuple[Item, str]]) -> None:
        """An inactive user can't be given records."""
        exempt = "UpdateWithInactiveOwner" in self.context.permissions.user
        users = self.tx.rows("User", {owner for _, owner in uses}) if uses and not exempt else {}
        for item, owner in uses:
            if owner in users and not users[owner]["IsActive"]:
                message = f"operation performed with inactive user [{owner[:15]}] as owner of {self.object.label.lower()}"
                item.errors.append(Error("INACTIVE_OWNER_OR_USER", message, ()))

    def _record_type(self, item: Item, value: str) -> None:
        record_type = self.object.record_type_by_id(value)
        if record_type is None or not record_type.active:
            message = f"Record Type ID: this ID value isn't valid for the user: {value}"
            item.errors.append(Error("INVALID_CROSS_REFERENCE_KEY", message, ("RecordTypeId",)))

    # --- what the org demands ----------------------------------------------------------------------------------------

    def _required(self, items: list[Item]) -> list[Item]:
        names = [f.name for f in self.plan.required]
        if not names:
            return items
        values = _values_of(names)
        for item in items:
            row = item.row
            if None in values(row):
                missing = [name for name in names if row[name] is None]
                item.errors.append(Error("REQUIRED_FIELD_MISSING", f"Required fields are missing: [{', '.join(missing)}]", tuple(missing)))
        return alive(items)

    def _before_triggers(self, items: list[Item]) -> None:
        trigger = self.engine.triggers.get(self.object.name)
        if trigger is not None and trigger.fields:
            trigger.count(((item.row, item.old) for item in items), self.context, self.tx.now)
            self.extra |= trigger.sets

    def _rules(self, items: list[Item]) -> list[Item]:
        rules, frame = self.plan.rules, self.frame
        if not rules:
            return items
        for item in items:
            row, is_new = item.row, item.old is None
            before = row if item.old is None else item.old
            for rule in rules:
                if rule.formula(row, before, is_new, frame):
                    item.errors.append(rule.error)
        return alive(items)

    def _unique(self, items: list[Item]) -> list[Item]:
        """Against live rows and within the batch; a Person Account's shared fields also against Contact."""
        for f in self.plan.unique:
            if f is self.free:
                continue
            users = [
                item
                for item in items
                if item.row[f.name] is not None
                and (
                    item.old is None
                    or (item.old[f.name] != item.row[f.name] and key_of(f, item.old[f.name]) != key_of(f, item.row[f.name]))
                )
            ]
            if not users:
                continue
            taken = self.holders(self.object.name, f, f.name, users)
            for item in users:
                key = key_of(f, item.row[f.name])
                holder = taken.get(key)
                if holder is not None and holder != (item.old or item.row)["Id"]:
                    item.errors.append(duplicate_value(f.name, holder))
                else:
                    taken[key] = str(item.row["Id"] or "another record")
        if self.behaviour:
            self.behaviour.unique(self, items)
        return alive(items)

    def holders(self, table: str, f: FieldType, column: str, items: Iterable[Item]) -> dict[Stored, str]:
        """Who holds these values now; records of this batch that give theirs up in this very save don't count."""
        values = json.dumps([item.row[f.name] for item in items])
        rows = self.tx.connection.execute(
            f'SELECT "{column}", "Id" FROM "{table}" WHERE "IsDeleted" = 0 AND "{column}" IN (SELECT value FROM json_each(?))', (values,)
        )
        return {key_of(f, value): record_id for value, record_id in rows}

    key = staticmethod(key_of)

    # --- writing -----------------------------------------------------------------------------------------------------

    def _write(self, items: Sequence[Item]) -> None:
        inserts = [item for item in items if item.old is None]
        updates = [item for item in items if item.old is not None]
        now, user = self.tx.now, self.context.user_id
        if inserts:
            self._insert(inserts, now, user)
        modified = {"LastModifiedDate": now, "SystemModstamp": now, "LastModifiedById": user}
        for item in updates:
            item.row |= modified
            item.id = str(item.row["Id"])
        if updates:
            touched = dict.fromkeys(c for columns in {item.shape.columns for item in updates} for c in columns)
            touched |= dict.fromkeys([*self.extra, *_SYSTEM_ON_UPDATE])
            before, after = [item.old for item in updates if item.old is not None], [item.row for item in updates]
            changed = [c for c in touched if c in self.object.fields and _differs(c, before, after)]
            write_rows(self.tx, self.object.name, changed, after)

    def _insert(self, items: Sequence[Item], now: str, user: str) -> None:
        ids = self.tx.new_ids(self.object, len(items))
        has_owner = "OwnerId" in self.object.fields and self.object.fields["OwnerId"].createable
        for item, record_id in zip(items, ids, strict=True):
            row = item.row
            item.id = row["Id"] = record_id
            row["IsDeleted"] = 0
            row["SystemModstamp"] = now
            row["CreatedDate"] = row["CreatedDate"] or now
            row["CreatedById"] = row["CreatedById"] or user
            row["LastModifiedDate"] = row["LastModifiedDate"] or row["CreatedDate"]
            row["LastModifiedById"] = row["LastModifiedById"] or user
            if has_owner:
                row["OwnerId"] = row["OwnerId"] or user
        self._auto_numbers(items)
        if self.object.name_field == "Name" and "Name" in self.object.fields:
            for item in items:
                item.row["Name"] = item.row["Name"] or item.id  # a text Name left out becomes the id
        columns = dict.fromkeys(c for item_columns in {item.shape.columns for item in items} for c in item_columns)
        filled = dict.fromkeys([*_SYSTEM_ON_INSERT, "OwnerId", "Name", *columns, *self.plan.filled, *(d[0] for d in self.plan.defaults)])
        filled |= dict.fromkeys([*self.extra, *(f.name for f in self.plan.auto_numbers)])
        names = [c for c in filled if c in self.object.fields and self.object.fields[c].stored]
        insert_rows(self.tx, self.object.name, names, [item.row for item in items])

    def _auto_numbers(self, items: Sequence[Item]) -> None:
        for f in self.plan.auto_numbers:
            first = self.tx.store.take_numbers(self.tx.connection, f"{self.object.name}.{f.name}", len(items))
            for offset, item in enumerate(items):
                item.row[f.name] = auto_number(f.display_format or "{0}", first + offset)

    def _after_triggers(self, items: Sequence[Item]) -> None:
        trigger = self.engine.triggers.get(self.object.name)
        if trigger is not None:
            trigger.announce("after insert", [(i.row, None) for i in items if i.old is None], self.context, self.tx)
            trigger.announce("after update", [(i.row, i.old) for i in items if i.old is not None], self.context, self.tx)

    # --- for behaviours ----------------------------------------------------------------------------------------------

    def insert_into(self, table: str, columns: Sequence[str], rows: Sequence[Row]) -> None:
        insert_rows(self.tx, table, columns, rows)

    def write_to(self, table: str, columns: Sequence[str], rows: Sequence[Row]) -> None:
        write_rows(self.tx, table, columns, rows)

    def insert_companion(self, object_name: str, values: Row) -> None:
        """A record that Salesforce makes beside the one saved, without triggers or rules."""
        obj = self.engine.org.objects[object_name]
        now, user = self.tx.now, self.context.user_id
        row = dict(self.engine.plan(object_name).template)
        row |= {"CreatedDate": now, "CreatedById": user, "LastModifiedDate": now, "LastModifiedById": user, "SystemModstamp": now}
        row |= {"IsDeleted": 0} | ({"OwnerId": user} if "OwnerId" in obj.fields else {}) | values
        row["Id"] = row["Id"] or self.tx.new_ids(obj, 1)[0]
        self.insert_into(object_name, [c for c in obj.columns if row[c] is not None], [row])


def _differs(column: str, before: Sequence[Row], after: Sequence[Row]) -> bool:
    """Whether any record of the batch changes this column; one that none changes is not written (its indexes cost the most)."""
    value = itemgetter(column)
    return any(map(ne, map(value, before), map(value, after)))


def _values_of(columns: Sequence[str]) -> Callable[[Row], tuple[Stored, ...]]:
    """A row's values of these columns, a tuple even of one."""
    if len(columns) == 1:
        return lambda row: (row[columns[0]],)
    return itemgetter(*columns)


def alive(items: list[Item]) -> list[Item]:
    """Those without an error."""
    return [item for item in items if not item.errors]


def auto_number(pattern: str, number: int) -> str:
    """`C-{0000}` and 7 -> `C-0007`."""
    head, _, rest = pattern.partition("{")
    zeros, _, tail = rest.partition("}")
    return f"{head}{number:0{len(zeros)}d}{tail}"


def insert_rows(tx: Transaction, table: str, columns: Sequence[str], rows: Sequence[Row]) -> None:
    """Several rows a statement: stepping SQLite once for each costs a quarter of a small row."""
    names = ", ".join(f'"{c}"' for c in columns)
    marks = f"({', '.join('?' * len(columns))})"
    insert = f'INSERT INTO "{table}" ({names}) VALUES '
    whole = len(rows) - len(rows) % _ROWS_A_STATEMENT
    values = map(_values_of(columns), rows)
    several = insert + ", ".join([marks] * _ROWS_A_STATEMENT)
    for part in batched(islice(values, whole), _ROWS_A_STATEMENT, strict=True):
        tx.connection.execute(several, tuple(chain.from_iterable(part)))
    tx.connection.executemany(insert + marks, values)


def write_rows(tx: Transaction, table: str, columns: Sequence[str], rows: Sequence[Row]) -> None:
    """Set these columns of existing rows."""
    if not rows or not columns:
        return
    assignments = ", ".join(f'"{c}" = ?' for c in columns)
    tx.connection.executemany(f'UPDATE "{table}" SET {assignments} WHERE "Id" = ?', map(itemgetter(*columns, "Id"), rows))
