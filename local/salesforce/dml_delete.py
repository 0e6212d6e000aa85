"""Delete and undelete: the recycle bin, cascades, cleared lookups, and what refuses a delete.

A delete remembers what went with it (`_cascaded`) and which lookups it cleared (`_unlinked`); undelete brings both back, a lookup only
where nothing replaced it meanwhile. Children deleted or cleared with their parent fire no triggers (Apex Developer Guide, "Operations that
don't invoke triggers").
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from local.salesforce.context import Context
from local.salesforce.dml_types import DELETED, Error, Result, Row, duplicate_value, malformed_id
from local.salesforce.ids import MalformedId, normalise
from local.salesforce.schema import ChildRelationship, ObjectType, OnParentDelete
from local.salesforce.store import Transaction

if TYPE_CHECKING:
    from local.salesforce.dml import Engine

_NO_SUCH_RECORD = Error("INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id", ())
_NOT_IN_BIN = Error("UNDELETE_FAILED", "Entity is not in the recycle bin", ())


@dataclass(slots=True)
class Fall:
    """What one delete takes along: ids by object, and lookups to clear: (object, field, child, parent)."""

    rows: dict[str, list[str]] = field(default_factory=dict)
    unlinked: list[tuple[str, str, str, str]] = field(default_factory=list)
    refused: list[tuple[ChildRelationship, list[str]]] = field(default_factory=list)


def delete_one(engine: Engine, tx: Transaction, obj: ObjectType, raw_id: str, context: Context, *, hard: bool) -> Result:
    """Delete one record. `hard` purges it, from the recycle bin too."""
    try:
        record_id = normalise(str(raw_id))
    except MalformedId:
        return Result.failed(malformed_id(str(raw_id)), id=raw_id)
    row = tx.rows(obj.name, [record_id]).get(record_id)
    if row is None:
        wrong = not record_id.startswith(obj.key_prefix or "")
        return Result.failed(malformed_id(record_id) if wrong else _NO_SUCH_RECORD, id=record_id)
    if row["IsDeleted"] and not hard:
        return Result.failed(DELETED, id=record_id)
    if (refused := _forbidden(obj, row)) is not None:
        return Result.failed(refused, id=record_id)
    fall = _fall(engine, tx, obj, record_id)
    if fall.refused:
        return Result.failed(_restricted(engine, tx, obj, row, fall), id=record_id)
    _take(engine, tx, record_id, fall, context, hard=hard)
    fallen = row | {"IsDeleted": 1, "SystemModstamp": tx.now, "LastModifiedDate": tx.now, "LastModifiedById": context.user_id}
    trigger = engine.triggers.get(obj.name)
    if trigger is not None and not row["IsDeleted"]:
        trigger.announce("after delete", [(fallen, row)], context, tx)
    return Result(True, record_id)


def _forbidden(obj: ObjectType, row: Row) -> Error | None:
    if obj.name == "Contact" and row["IsPersonAccount"]:
        return Error("DELETE_FAILED", "A person account's contact can't be deleted; delete the person account", ())
    if obj.name == "Order" and row["StatusCode"] == "Activated":
        return Error("DELETE_FAILED", "Activated orders can't be deleted", ())
    return None


def _fall(engine: Engine, tx: Transaction, obj: ObjectType, record_id: str) -> Fall:
    fall = Fall(rows={obj.name: [record_id]})
    taken = {record_id}
    queue = [(obj, [record_id])]
    restricted: list[tuple[ChildRelationship, list[str]]] = []
    while queue:
        parent, ids = queue.pop()
        for relation in parent.children:
            children = _children(tx, relation, ids)
            if not children:
                continue
            if relation.on_delete is OnParentDelete.RESTRICT:
                restricted.append((relation, [child for child, _ in children]))
            elif relation.on_delete is OnParentDelete.CASCADE:
                new = [child for child, _ in children if child not in taken]
                taken.update(new)
                fall.rows.setdefault(relation.child, []).extend(new)
                queue.append((engine.org.objects[relation.child], new))
            else:
                fall.unlinked.extend((relation.child, relation.field, child, parent_id) for child, parent_id in children)
    fall.unlinked = [link for link in fall.unlinked if link[2] not in taken]
    fall.refused = [(relation, left) for relation, ids in restricted if (left := [i for i in ids if i not in taken])]
    return fall


_NEVER_FOLLOWED = frozenset({"MasterRecordId", "PersonContactId", "CreatedById", "LastModifiedById", "OwnerId"})


def _children(tx: Transaction, relation: ChildRelationship, ids: list[str]) -> list[tuple[str, str]]:
    if relation.field in _NEVER_FOLLOWED:
        return []
    query = (
        f'SELECT "Id", "{relation.field}" FROM "{relation.child}" '
        f'WHERE "IsDeleted" = 0 AND "{relation.field}" IN (SELECT value FROM json_each(?))'
    )
    return tx.connection.execute(query, (json.dumps(ids),)).fetchall()


def _restricted(engine: Engine, tx: Transaction, obj: ObjectType, row: Row, fall: Fall) -> Error:
    relation, ids = fall.refused[0]
    child = engine.org.objects[relation.child]
    rows = tx.rows(child.name, ids[:5])
    names = ", ".join(str(r[child.name_field or "Id"]) for r in rows.values())
    name = row[obj.name_field or "Id"]
    message = (
        f"Your attempt to delete {name} could not be completed because it is associated with the following {child.plural.lower()}.: {names}"
    )
    return Error("DELETE_FAILED", message, ())


def _take(engine: Engine, tx: Transaction, root: str, fall: Fall, context: Context, *, hard: bool) -> None:
    now = tx.now
    for name, ids in fall.rows.items():
        rows = tx.rows(name, ids)
        if hard:
            tx.connection.execute(f'DELETE FROM "{name}" WHERE "Id" IN (SELECT value FROM json_each(?))', (json.dumps(ids),))
        else:
            tx.connection.execute(
                f'UPDATE "{name}" SET "IsDeleted" = 1, "SystemModstamp" = ?, "LastModifiedDate" = ?, "LastModifiedById" = ? '
                'WHERE "Id" IN (SELECT value FROM json_each(?))',
                (now, now, context.user_id, json.dumps(ids)),
            )
            tx.connection.executemany("INSERT OR REPLACE INTO _cascaded VALUES (?, ?, ?)", [(root, name, i) for i in ids])
        tx.connection.executemany("INSERT OR REPLACE INTO _deleted VALUES (?, ?, ?)", [(name, i, now) for i in ids])
        behaviour = engine.behaviour(name)
        if behaviour is not None:
            behaviour.removed(engine, tx, list(rows.values()), context)
    for name, column, child, parent in fall.unlinked:
        tx.connection.execute(f'UPDATE "{name}" SET "{column}" = NULL, "SystemModstamp" = ? WHERE "Id" = ?', (now, child))
        if not hard:
            tx.connection.execute("INSERT OR REPLACE INTO _unlinked VALUES (?, ?, ?, ?, ?)", (root, name, column, child, parent))


def undelete_one(engine: Engine, tx: Transaction, raw_id: str, context: Context) -> Result:
    """Take one record out of the recycle bin, with what went with it."""
    try:
        record_id = normalise(str(raw_id))
    except MalformedId:
        return Result.failed(malformed_id(str(raw_id)), id=raw_id)
    obj = engine.org.object_of_id(record_id)
    row = tx.rows(obj.name, [record_id]).get(record_id) if obj else None
    if obj is None or row is None:
        return Result.failed(_NO_SUCH_RECORD, id=record_id)
    if not row["IsDeleted"]:
        return Result.failed(_NOT_IN_BIN, id=record_id)
    if not context.permissions.allows(obj, "edit") or not obj.undeletable:
        return Result.failed(Error("INSUFFICIENT_ACCESS_OR_READONLY", "insufficient access rights on object id", ()), id=record_id)
    fallen = _fallen(tx, record_id, obj)
    if (refused := _blocked(engine, tx, obj, row, fallen)) is not None:
        return Result.failed(refused, id=record_id)
    _restore(engine, tx, record_id, fallen, context)
    live = tx.rows(obj.name, [record_id])[record_id]
    trigger = engine.triggers.get(obj.name)
    if trigger is not None:
        trigger.announce("after undelete", [(live, row)], context, tx)
    return Result(True, record_id)


def _fallen(tx: Transaction, root: str, obj: ObjectType) -> dict[str, list[str]]:
    fallen: dict[str, list[str]] = {obj.name: [root]}
    for name, child in tx.connection.execute("SELECT object, id FROM _cascaded WHERE root = ? AND id <> ?", (root, root)):
        fallen.setdefault(name, []).append(child)
    return fallen


def _blocked(engine: Engine, tx: Transaction, obj: ObjectType, row: Row, fallen: dict[str, list[str]]) -> Error | None:
    """A live record took a unique value meanwhile, or the master is deleted itself."""
    for name, ids in fallen.items():
        table = engine.org.objects[name]
        for f in table.unique_fields:
            query = (
                f'SELECT live."Id" FROM "{name}" AS live JOIN "{name}" AS gone ON gone."{f.name}" = live."{f.name}" '
                'WHERE live."IsDeleted" = 0 AND gone."Id" IN (SELECT value FROM json_each(?)) LIMIT 1'
            )
            holder = tx.connection.execute(query, (json.dumps(ids),)).fetchone()
            if holder is not None:
                return duplicate_value(f.name, holder[0])
    for f in obj.fields.values():
        if f.is_reference and f.on_delete is OnParentDelete.CASCADE and row[f.name]:
            parent = engine.org.object_of_id(str(row[f.name]))
            master = tx.rows(parent.name, [str(row[f.name])]).get(str(row[f.name])) if parent else None
            if master is None or master["IsDeleted"]:
                return DELETED
    return None


def _restore(engine: Engine, tx: Transaction, root: str, fallen: dict[str, list[str]], context: Context) -> None:
    now = tx.now
    for name, ids in fallen.items():
        fields = engine.org.objects[name].fields
        master = ', "MasterRecordId" = NULL' if "MasterRecordId" in fields else ""
        tx.connection.execute(
            f'UPDATE "{name}" SET "IsDeleted" = 0, "SystemModstamp" = ?, "LastModifiedDate" = ?, "LastModifiedById" = ?{master} '
            'WHERE "Id" IN (SELECT value FROM json_each(?))',
            (now, now, context.user_id, json.dumps(ids)),
        )
        tx.connection.executemany("DELETE FROM _deleted WHERE object = ? AND id = ?", [(name, i) for i in ids])
        behaviour = engine.behaviour(name)
        if behaviour is not None:
            behaviour.removed(engine, tx, list(tx.rows(name, ids).values()), context)
    links = tx.connection.execute("SELECT object, field, child, parent FROM _unlinked WHERE root = ?", (root,)).fetchall()
    for name, column, child, parent in links:
        tx.connection.execute(
            f'UPDATE "{name}" SET "{column}" = ?, "SystemModstamp" = ? WHERE "Id" = ? AND "{column}" IS NULL AND "IsDeleted" = 0',
            (parent, now, child),
        )
    tx.connection.execute("DELETE FROM _cascaded WHERE root = ?", (root,))
    tx.connection.execute("DELETE FROM _unlinked WHERE root = ?", (root,))
