"""The DML engine: insert, update, upsert, delete, undelete, merge, with Salesforce's outcomes per record.

Every call is one transaction (a savepoint inside an open one). `*_many` streams: a transaction per chunk, memory flat, any number of
records.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import batched
from operator import itemgetter
from typing import TYPE_CHECKING

from local.salesforce import dml_delete, merge
from local.salesforce.automation import SharedRecords, shared_records
from local.salesforce.context import Context
from local.salesforce.dml_behaviour import Behaviour
from local.salesforce.dml_person import redirect_person_contacts
from local.salesforce.dml_plan import ID_IN_INSERT, Plan, Shape, Shapes
from local.salesforce.dml_save import Batch, Item, alive, keys_of
from local.salesforce.dml_standard import BEHAVIOURS
from local.salesforce.dml_types import DELETED, ROLLED_BACK, Error, Json, Record, Result, Row, Stored, malformed_id
from local.salesforce.ids import MalformedId, normalise
from local.salesforce.schema import FieldType, ObjectType
from local.salesforce.store import Store, Transaction
from local.salesforce.values import Refused, converter

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Context", "Engine", "Error", "Json", "Record", "Result", "Row", "Stored"]

CHUNK = 2000  # records a transaction of the streaming calls: other writers wait about 0.1 s
_MISSING_ID = Error("MISSING_ARGUMENT", "Id not specified in an update call", ("Id",))
_BOTH_KEYS = Error("INVALID_FIELD_FOR_INSERT_UPDATE", "cannot specify both an external ID reference and a salesforce id", ("Id",))
NO_SUCH_RECORD = Error("INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id", ())


class _Undo(Exception):
    """Leaves a savepoint so that it rolls back."""


class Engine:
    """Saves records of one store. Plans are compiled on first use and kept."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.org = store.org
        self.triggers: dict[str, SharedRecords] = shared_records(store.org)
        self._plans: dict[str, Plan] = {}
        self._behaviours: dict[str, Behaviour] = {name: kind() for name, kind in BEHAVIOURS.items()}

    def plan(self, object_name: str) -> Plan:
        """The compiled save of an object. KeyError for an unknown one: the caller checks names."""
        obj = self.org.object(object_name)
        if obj is None or obj.event:
            raise KeyError(object_name)
        plan = self._plans.get(obj.name)
        if plan is None:
            plan = self._plans[obj.name] = Plan(obj, self.org)
        return plan

    def behaviour(self, object_name: str) -> Behaviour | None:
        return self._behaviours.get(object_name)

    # --- calls -------------------------------------------------------------------------------------------------------

    def insert(self, object_name: str, records: Sequence[Record], context: Context) -> list[Result]:
        plan = self.plan(object_name)
        if (refused := self._no_right(plan.object, context, "create")) is not None:
            return [Result.failed(refused) for _ in records]

        def attempt(tx: Transaction, results: list[Result | None]) -> None:
            items = []
            shapes = plan.shapes(context, insert=True)
            for index in pending(results):
                item = _item(shapes, index, records[index])
                if item.shape.id_key is not None and records[index][item.shape.id_key] is not None:
                    item.errors.append(ID_IN_INSERT)
                items.append(item)
            self._save(tx, plan, context, items, results)

        return self._run(len(records), context, attempt)

    def update(self, object_name: str, records: Sequence[Record], context: Context) -> list[Result]:
        plan = self.plan(object_name)
        if (refused := self._no_right(plan.object, context, "edit")) is not None:
            return [Result.failed(refused) for _ in records]

        def attempt(tx: Transaction, results: list[Result | None]) -> None:
            shapes = plan.shapes(context, insert=False)
            items = [_item(shapes, index, records[index]) for index in pending(results)]
            self._find_by_id(tx, plan, items)
            for group in _one_at_a_time(items):
                self._save(tx, plan, context, group, results)

        return self._run(len(records), context, attempt)

    def upsert(self, object_name: str, external_id: str, records: Sequence[Record], context: Context) -> list[Result]:
        plan = self.plan(object_name)
        key = plan.object.field(external_id)
        if key is None or not key.upsert_key:
            message = f"Provided external ID field does not exist or is not accessible: {external_id}"
            return [Result.failed(Error("NOT_FOUND", message, None)) for _ in records]
        upsert = self._upsert_by_id if key.name == "Id" else self._upsert_by_key
        return self._run(len(records), context, lambda tx, results: upsert(tx, plan, key, records, context, results))

    def delete(self, object_name: str, ids: Sequence[str], context: Context, *, hard: bool = False) -> list[Result]:
        obj = self.plan(object_name).object
        if (refused := self._no_right(obj, context, "delete")) is not None:
            return [Result.failed(refused, id=record_id) for record_id in ids]

        def attempt(tx: Transaction, results: list[Result | None]) -> None:
            for index in pending(results):
                with self.store.write():
                    results[index] = dml_delete.delete_one(self, tx, obj, ids[index], context, hard=hard)

        return self._run(len(ids), context, attempt)

    def undelete(self, ids: Sequence[str], context: Context) -> list[Result]:
        def attempt(tx: Transaction, results: list[Result | None]) -> None:
            for index in pending(results):
                results[index] = dml_delete.undelete_one(self, tx, ids[index], context)

        return self._run(len(ids), context, attempt)

    def merge(self, object_name: str, master: Record, losers: Sequence[str], context: Context) -> Result:
        obj = self.plan(object_name).object
        try:
            with self.store.write() as tx:
                result = merge.merge(self, tx, obj, master, losers, context)
                if not result.success:
                    raise _Undo
        except _Undo:
            pass
        return result

    def save_computed(
        self, object_name: str, rows: Mapping[str, Row], changes: Mapping[str, Row], context: Context, tx: Transaction
    ) -> dict[str, list[Error]]:
        """A save that Salesforce itself makes of stored rows (a roll-up): triggers and rules run in the user's name, field-level
        security does not. Refusals by id; nothing of a refused record is written."""
        plan = self.plan(object_name)
        shape = Shape(columns=tuple(dict.fromkeys(c for change in changes.values() for c in change)))
        items = [Item(i, {}, shape, old=rows[record_id]) for i, record_id in enumerate(changes)]
        batch = Batch(self, tx, plan, context)
        batch.save_rows(items, [rows[record_id] | change for record_id, change in changes.items()])
        return {str(rows[record_id]["Id"]): item.errors for record_id, item in zip(changes, items, strict=True) if item.errors}

    # --- streams -----------------------------------------------------------------------------------------------------

    def insert_many(self, object_name: str, records: Iterable[Record], context: Context, *, chunk: int = CHUNK) -> Iterator[list[Result]]:
        """Insert any number of records; the results of each chunk in turn, each chunk committed by itself."""
        return self._stream(records, chunk, lambda part: self.insert(object_name, part, context))

    def update_many(self, object_name: str, records: Iterable[Record], context: Context, *, chunk: int = CHUNK) -> Iterator[list[Result]]:
        """Update any number of records, see insert_many."""
        return self._stream(records, chunk, lambda part: self.update(object_name, part, context))

    def upsert_many(
        self, object_name: str, external_id: str, records: Iterable[Record], context: Context, *, chunk: int = CHUNK
    ) -> Iterator[list[Result]]:
        """Upsert any number of records, see insert_many."""
        return self._stream(records, chunk, lambda part: self.upsert(object_name, external_id, part, context))

    @staticmethod
    def _stream(records: Iterable[Record], chunk: int, save: Callable[[Sequence[Record]], list[Result]]) -> Iterator[list[Result]]:
        for part in batched(records, chunk, strict=False):
            yield save(part)

    # --- one call ----------------------------------------------------------------------------------------------------

    def _run(self, count: int, context: Context, attempt: Callable[[Transaction, list[Result | None]], None]) -> list[Result]:
        """Attempt until nothing has to be undone. Salesforce too runs a batch again without the records that failed late."""
        results: list[Result | None] = [None] * count
        while True:
            trial = list(results)
            try:
                with self.store.write() as tx:
                    attempt(tx, trial)
                    if any(r is not None and r.late for r in trial) or (context.all_or_none and any(r and not r.success for r in trial)):
                        raise _Undo
            except _Undo:
                if context.all_or_none:
                    return [r if r and not r.success else Result.failed(ROLLED_BACK, created=r.created if r else None) for r in trial]
                for index, result in enumerate(trial):
                    if result is not None and result.late:
                        result.late = False
                        results[index] = result
                continue
            return [result or Result.failed(Error("UNKNOWN_EXCEPTION", "no outcome", ())) for result in trial]

    def _save(
        self,
        tx: Transaction,
        plan: Plan,
        context: Context,
        items: list[Item],
        results: list[Result | None],
        *,
        created: bool | None = None,
        free: FieldType | None = None,
    ) -> None:
        """Save what has no error yet and write everyone's result. `created` is an upsert's answer for what succeeds; no other record,
        stored or of these items, has their value of `free`."""
        ready = alive(items)
        if plan.object.name == "Contact":
            ready = redirect_person_contacts(self, ready, context)
        batch = Batch(self, tx, plan, context, free)
        batch.save(ready)
        of_failed = None if created is None else False
        for item in items:
            if item.errors:
                results[item.index] = Result(False, str(item.old["Id"]) if item.old else None, of_failed, item.errors, late=batch.late)
            else:
                results[item.index] = Result(True, item.id, created)

    def _find_by_id(self, tx: Transaction, plan: Plan, items: list[Item]) -> None:
        """Each item's stored row, or why there is none."""
        asked: list[tuple[Item, str]] = []
        for item in items:
            value = item.record[item.shape.id_key] if item.shape.id_key else None
            if item.errors:
                continue  # an unknown field wins over a bad id
            if not value:
                item.errors.append(_MISSING_ID)
                continue
            try:
                asked.append((item, normalise(str(value))))
            except MalformedId:
                item.errors.append(malformed_id(str(value)))
        rows = tx.rows(plan.object.name, {record_id for _, record_id in asked})
        for item, record_id in asked:
            row = rows.get(record_id)
            if row is None:
                wrong = not record_id.startswith(plan.object.key_prefix or "")
                item.errors.append(malformed_id(record_id) if wrong else NO_SUCH_RECORD)
            elif row["IsDeleted"]:
                item.errors.append(DELETED)
            else:
                item.old = row

    def _upsert_by_id(
        self, tx: Transaction, plan: Plan, key: FieldType, records: Sequence[Record], context: Context, results: list[Result | None]
    ) -> None:
        todo = pending(results)
        ids = {index: next((v for k, v in records[index].items() if k.lower() == "id"), None) for index in todo}
        new, known = plan.shapes(context, insert=True), plan.shapes(context, insert=False)
        creates = [_item(new, i, records[i]) for i in todo if not ids[i]]
        updates = [_item(known, i, records[i]) for i in todo if ids[i]]
        self._find_by_id(tx, plan, updates)
        self._refuse(plan, context, creates, updates)
        self._save(tx, plan, context, creates, results, created=True)
        for group in _one_at_a_time(updates):
            self._save(tx, plan, context, group, results, created=False)

    def _upsert_by_key(
        self, tx: Transaction, plan: Plan, key: FieldType, records: Sequence[Record], context: Context, results: list[Result | None]
    ) -> None:
        """Look every key up in one query, then save the updates and the creates as one batch each."""
        values = self._keys(key, records, context, results)
        found: dict[Stored, list[Row]] = {}
        columns = self._columns_needed(plan, records, results)
        rows = self.store.rows_where(tx.connection, plan.object.name, key.name, list(values.values()), live=True, columns=columns)
        for fold, row in zip(keys_of(key, map(itemgetter(key.name), rows.values())), rows.values(), strict=True):
            found.setdefault(fold, []).append(row)
        folded = keys_of(key, values.values())
        counts = Counter(folded)
        new, known = plan.shapes(context, insert=True), plan.shapes(context, insert=False)
        creates: list[Item] = []
        updates: list[Item] = []
        for fold, (index, value) in zip(folded, values.items(), strict=True):
            matches = found.get(fold)
            if counts[fold] > 1:
                error = Error("DUPLICATE_VALUE", f"Duplicate external id specified: {value}", (key.name,))
                results[index] = Result(False, None, False, [error])
            elif matches is not None and len(matches) > 1:
                results[index] = _several(key, [str(row["Id"]) for row in matches])
            else:
                item = _item(known if matches else new, index, records[index])
                if item.shape.id_key is not None and records[index][item.shape.id_key]:
                    item.errors.append(_BOTH_KEYS)
                if matches:
                    item.old = matches[0]
                    updates.append(item)
                else:
                    creates.append(item)
        self._refuse(plan, context, creates, updates)
        self._save(tx, plan, context, creates, results, created=True, free=key)
        self._save(tx, plan, context, updates, results, created=False)

    def _columns_needed(self, plan: Plan, records: Sequence[Record], results: Sequence[Result | None]) -> tuple[str, ...] | None:
        """The columns of stored rows that this save looks at; None is all, where the object's own rules may look at any."""
        trigger, behaviour = self.triggers.get(plan.object.name), self.behaviour(plan.object.name)
        if behaviour is not None and behaviour.reads is None:
            return None
        keys = {key for shape in {tuple(records[index]) for index in pending(results)} for key in shape}
        also = (behaviour.reads or frozenset() if behaviour else frozenset()) | (trigger.reads if trigger else frozenset())
        return plan.columns_for(keys, also)

    @staticmethod
    def _keys(key: FieldType, records: Sequence[Record], context: Context, results: list[Result | None]) -> dict[int, Stored]:
        """The key's value of each record still to do."""
        convert = converter(key, context.surface)
        values: dict[int, Stored] = {}
        lower = key.name.lower()
        for index in pending(results):
            record = records[index]
            name = key.name if key.name in record else next((k for k in record if k.lower() == lower), None)
            try:
                value = convert(record[name]) if name is not None else None
            except Refused as refused:
                results[index] = Result(False, None, False, [refused.at(str(name), context.columns or tuple(record))])
                continue
            if value is None:
                results[index] = Result(False, None, False, [Error("MISSING_ARGUMENT", f"{key.name} not specified", (key.name,))])
            else:
                values[index] = value
        return values

    def _refuse(self, plan: Plan, context: Context, creates: list[Item], updates: list[Item]) -> None:
        """An upsert takes the right to create and the right to edit, each for the records that need it."""
        for items, right in ((creates, "create"), (updates, "edit")):
            refused = self._no_right(plan.object, context, right) if items else None
            if refused is not None:
                for item in items:
                    item.errors = [refused]

    @staticmethod
    def _no_right(obj: ObjectType, context: Context, action: str) -> Error | None:
        allowed = {"create": obj.createable, "edit": obj.updateable, "delete": obj.deletable}[action]
        if not allowed:
            verb = {"create": "inserted", "edit": "updated", "delete": "deleted"}[action]
            return Error("INVALID_TYPE_FOR_OPERATION", f"entity type {obj.name} does not support {action}: it cannot be {verb}", ())
        if not context.permissions.allows(obj, action):
            return Error("INSUFFICIENT_ACCESS_OR_READONLY", "insufficient access rights on object id", ())
        return None


def _item(shapes: Shapes, index: int, record: Record) -> Item:
    shape = shapes[tuple(record)]
    return Item(index, record, shape, errors=list(shape.errors))


def pending(results: Sequence[Result | None]) -> list[int]:
    return [index for index, result in enumerate(results) if result is None]


def _several(key: FieldType, ids: list[str]) -> Result:
    message = f"{key.name}: more than one record found for external id field: [{', '.join(ids)}]"
    return Result(False, None, False, [Error("DUPLICATE_EXTERNAL_ID", message, ())], matches=tuple(ids))


def _one_at_a_time(items: list[Item]) -> Iterator[list[Item]]:
    """Split so that no record occurs twice in a group: each later occurrence builds on the earlier one's outcome."""
    seen: dict[str, list[Item]] = {}
    for item in items:
        seen.setdefault(str(item.old["Id"]) if item.old else f"#{item.index}", []).append(item)
    depth = max((len(group) for group in seen.values()), default=0)
    for turn in range(depth):
        group = [occurrences[turn] for occurrences in seen.values() if len(occurrences) > turn]
        for item in group if turn else ():
            previous = seen[str(item.old["Id"])][turn - 1] if item.old else None
            if previous is not None and not previous.errors:
                item.old = previous.row
        yield group
