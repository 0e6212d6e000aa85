"""Merge of Accounts or Contacts: the losers go to the recycle bin with MasterRecordId, their children move to the master.

The losers' delete and the master's update fire triggers; the children that move fire none (Apex Developer Guide, "Merge").
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from local.salesforce.context import Context
from local.salesforce.dml_types import DELETED, Error, Record, Result, Row, malformed_id
from local.salesforce.ids import MalformedId, normalise
from local.salesforce.schema import ObjectType
from local.salesforce.store import Transaction

if TYPE_CHECKING:
    from local.salesforce.dml import Engine

_MOST_LOSERS = 2
_STAY = frozenset({"MasterRecordId", "PersonContactId"})


def merge(engine: Engine, tx: Transaction, obj: ObjectType, master: Record, losers: Sequence[str], context: Context) -> Result:
    """Merge `losers` (one or two ids) into the record that `master["Id"]` names, which takes `master`'s other fields."""
    try:
        winner_id = normalise(str(master.get("Id") or ""))
        loser_ids = [normalise(str(loser)) for loser in losers]
    except MalformedId as error:
        return Result.failed(malformed_id(str(error)))
    rows = tx.rows(obj.name, [winner_id, *loser_ids])
    if (refused := _refusal(obj, winner_id, loser_ids, rows, context)) is not None:
        return Result.failed(refused, id=winner_id)
    pairs = [(obj, loser, winner_id) for loser in loser_ids]
    if obj.name == "Account" and rows[winner_id]["IsPersonAccount"]:
        contact = engine.org.objects["Contact"]
        winner_contact = str(rows[winner_id]["PersonContactId"])
        pairs += [(contact, str(rows[loser]["PersonContactId"]), winner_contact) for loser in loser_ids]
    for kind, loser, winner in pairs:
        _bury(tx, kind, loser, winner, context)
    for kind, loser, winner in pairs:
        _move_children(tx, kind, loser, winner)
    trigger = engine.triggers.get(obj.name)
    if trigger is not None:
        gone = tx.rows(obj.name, loser_ids)
        trigger.announce("after delete", [(gone[loser], rows[loser]) for loser in loser_ids], context, tx)
    return engine.update(obj.name, [master], context)[0]


def _refusal(obj: ObjectType, winner: str, losers: list[str], rows: dict[str, Row], context: Context) -> Error | None:
    if not obj.mergeable:
        return Error("INVALID_TYPE_FOR_OPERATION", f"entity type {obj.name} does not support merge", ())
    if not losers or len(losers) > _MOST_LOSERS or winner in losers or len(set(losers)) != len(losers):
        return Error("INVALID_NUM_ARGS", "merge takes a master and one or two other records", ())
    if not context.permissions.allows(obj, "delete") or not context.permissions.allows(obj, "edit"):
        return Error("INSUFFICIENT_ACCESS_OR_READONLY", "insufficient access rights on object id", ())
    for record_id in (winner, *losers):
        if record_id not in rows:
            return Error("INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id", ())
        if rows[record_id]["IsDeleted"]:
            return DELETED
    if obj.name == "Account" and len({rows[record_id]["IsPersonAccount"] for record_id in (winner, *losers)}) > 1:
        return Error("INVALID_OPERATION", "a person account merges only with person accounts", ())
    return None


def _bury(tx: Transaction, obj: ObjectType, loser: str, winner: str, context: Context) -> None:
    tx.connection.execute(
        f'UPDATE "{obj.name}" SET "IsDeleted" = 1, "MasterRecordId" = ?, "SystemModstamp" = ?, "LastModifiedDate" = ?, '
        '"LastModifiedById" = ? WHERE "Id" = ?',
        (winner, tx.now, tx.now, context.user_id, loser),
    )
    tx.connection.execute("INSERT OR REPLACE INTO _deleted VALUES (?, ?, ?)", (obj.name, loser, tx.now))


def _move_children(tx: Transaction, obj: ObjectType, loser: str, winner: str) -> None:
    """Every live reference to the loser; a record that pointed to its own winner now points nowhere."""
    for relation in obj.children:
        if relation.field in _STAY:
            continue
        tx.connection.execute(
            f'UPDATE "{relation.child}" SET "{relation.field}" = CASE WHEN "Id" = ? THEN NULL ELSE ? END, "SystemModstamp" = ? '
            f'WHERE "{relation.field}" = ? AND "IsDeleted" = 0',
            (winner, winner, tx.now, loser),
        )
