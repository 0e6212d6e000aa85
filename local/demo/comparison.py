"""The end of the demo: every mapped value of every row against Salesforce, by the product's own comparison."""

from __future__ import annotations

from collections.abc import Iterable

from local.demo.journal import PromiseBroken, TableCompared
from local.demo.stage import Stage
from local.demo.systems import Org, Row
from omsync.mapping import compile_mapping, load_mappings
from omsync.mapping.model import TableMapping, Target
from omsync.reconciliation.compare import Comparison, compare, select

#: how long the last changes may be on their way, and how often all is looked at again if something differs
QUIET, LOOKS = 60, 3
#: the queues of the sync
QUEUES = ("Mirror", "Sync", "Isolation")


def compares(stage: Stage) -> None:
    """Once nothing is on its way any more."""
    stage.until("waiting until nothing is on its way", lambda: on_its_way(stage), lambda number: number == 0, seconds=QUIET, every=0.5)
    for _ in range(LOOKS):
        found = compare_all(stage)
        if not any(one.differences for one in found):
            break
    tables: dict[str, TableCompared] = {}
    for one in found:
        told = tables.setdefault(one.table, TableCompared(one.table, 0, 0, 0))
        told.records, told.values, told.different = (
            told.records + one.records,
            told.values + one.values,
            told.different + len(one.differences),
        )
    stage.journal.compared = list(tables.values())
    values, records = sum(one.values for one in found), sum(one.records for one in found)
    stage.fact(f"{values:,} values of {records:,} records in {len(tables)} tables were compared in their normal form")
    for difference in [difference for one in found for difference in one.differences][:10]:
        stage.broken(f"{difference.record} in {difference.object}: {difference.kind.replace('_', ' ')} {', '.join(difference.fields)}")
    if any(one.differences for one in found):
        raise PromiseBroken(f"{sum(len(one.differences) for one in found)} records differ")
    stage.fact("no value differs, no record is missing on either side")


def on_its_way(stage: Stage) -> int:
    """Events that the OMS has not delivered, and messages in the sync's queues."""
    queues = stage.systems.queues()
    return stage.oms.waiting() + sum(stage.systems.depth(queues[f"{name}Queue"]) for name in QUEUES)


def compare_all(stage: Stage) -> list[Comparison]:
    """All tables, object by object, parents first; staff are matched with users, addresses travel with their patients."""
    users = stage.org.query("SELECT Id, OMS_Id__c FROM User WHERE OMS_Id__c != null")
    staff = frozenset(str(user["OMS_Id__c"]) for user in users)
    known = _named(users)

    def oms_id(_: str, salesforce_id: str) -> str | None:
        return known.get(salesforce_id)

    found: list[Comparison] = []
    for mapping in load_mappings():
        if mapping.mode not in ("mirrored", "shared"):
            continue
        stage.show.waiting(f"comparing {mapping.table}")
        rows = list(stage.oms.rows(mapping.table))
        compiled = compile_mapping(mapping)
        for target in mapping.targets:
            records = _records(stage.org, mapping, target)
            known |= _named(records)
            found.append(compare(compiled, target.object, rows, records, staff=staff, ids=oms_id))
    return found


def _named(records: Iterable[Row]) -> dict[str, str]:
    """Salesforce id -> OMS id."""
    return {str(record["Id"]): str(record["OMS_Id__c"]) for record in records if record["OMS_Id__c"]}


def _records(org: Org, mapping: TableMapping, target: Target) -> list[Row]:
    """All of a table's records: of its record types where the object holds other things too, else all that carry an OMS id."""
    where = "OMS_Id__c != null"
    if target.record_types:
        names = ", ".join(f"'{name}'" for name in target.record_types)
        where = f"RecordType.DeveloperName IN ({names})"
    return org.query(f"SELECT {', '.join(select(compile_mapping(mapping), target.object))} FROM {target.object} WHERE {where}")
