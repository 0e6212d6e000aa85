"""`omsync reconcile`: every mapped value of every row on both sides, and, with `--repair`, a look at whatever differs.

Both systems are at work meanwhile: what differs is compared once more after a moment, and only what still differs is told. A repair writes nothing
by itself: it enqueues ids, and the live writers do what they do with any change, with all their guards.
"""

from __future__ import annotations

import json
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import batched
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from omsync.mapping import compile_mapping, load_mappings
from omsync.mapping.compiled import Compiled
from omsync.mapping.model import TableMapping, Target
from omsync.oms.client import OmsClient
from omsync.platform.queues import Message, SqsSender
from omsync.reconciliation.compare import Comparison, Difference, compare, select
from omsync.salesforce.client import SalesforceClient
from omsync.salesforce.query import in_list, query
from omsync.salesforce.users import OrgUsers
from omsync.sync.messages import MirrorMessage, SyncMessage
from ops.connections import ConnectionFault, Connections, with_connections

#: seconds until what differs is compared once more: longer than a change takes to the other side
SETTLE = 20
#: ids in a query
IDS = 150
#: differences shown one by one
SHOWN = 50


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("tables", nargs=-1)
@click.option("--repair", is_flag=True, help="Have what differs looked at by the live writers.")
@click.option("--at-most", default=1_000, show_default=True, help="Repair so many; more than that is no accident: a person looks first.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@with_connections
def cli(connections: Connections, tables: tuple[str, ...], repair: bool, at_most: int, as_json: bool) -> None:
    """Compare both systems value by value: TABLES, or all. Names what differs, never a value. Exit code 1 if anything does.

    A table is held in memory while it is compared, about 10 KB a row.
    """
    unknown = set(tables) - set(load_mappings().tables)
    if unknown:
        raise ConnectionFault(f"no table {', '.join(sorted(unknown))}; tables are {', '.join(sorted(load_mappings().tables))}")
    work = Reconciler(connections, say=lambda line: None if as_json else click.echo(line, err=True))
    found = work.compare([mapping for mapping in load_mappings() if not tables or mapping.table in tables])
    differing = [one for made in found for one in made.differences]
    sent = work.repair(differing, at_most=at_most) if repair and differing else 0
    if as_json:
        print(json.dumps(told(found, sent), indent=2))
    else:
        show(found, sent, repair=repair)
    raise SystemExit(1 if differing else 0)


@dataclass
class Reconciler:
    """Compares, and has differences looked at."""

    connections: Connections
    say: Callable[[str], None]
    known: dict[str, str] = field(default_factory=dict)  # Salesforce id -> OMS id, of what was read so far: parents come first
    seconds: float = SETTLE

    def compare(self, mappings: Iterable[TableMapping]) -> list[Comparison]:
        """One comparison a table and object; what differs was looked at twice. Staff are only matched, addresses travel with their patients."""
        self.known |= {
            str(row["Id"]): str(row["OMS_Id__c"])
            for row in query(self.salesforce, "SELECT Id, OMS_Id__c FROM User WHERE OMS_Id__c != null")
        }
        found: list[tuple[Compiled, Comparison]] = []
        for mapping in (one for one in mappings if one.mode in ("mirrored", "shared")):
            self.say(f"comparing {mapping.table}")
            compiled = self._compiled(mapping)
            rows = list(self.oms.rows(mapping.table))
            for target in mapping.targets:
                records = list(self._records(compiled, target))
                found.append((compiled, compare(compiled, target.object, rows, records, staff=self.staff, ids=self._oms_id)))
        if any(made.differences for _, made in found):
            self.say(f"{sum(len(made.differences) for _, made in found)} differ; looking again in {self.seconds:.0f} s")
            time.sleep(self.seconds)
            for compiled, made in found:
                self._again(compiled, made)
        return [made for _, made in found]

    def _again(self, compiled: Compiled, made: Comparison) -> None:
        """What differed, afresh."""
        names = list(dict.fromkeys(one.record.partition("/")[2] for one in made.differences))
        made.differences.clear()
        target = compiled.mapping.target(made.object)
        for part in batched(names, IDS, strict=False):
            mine = [name for name in part if is_oms_id(name)]
            rows = self.oms.batch_get(made.table, mine) if mine else {}
            condition = f"(OMS_Id__c IN {in_list(part)} OR Id IN {in_list([name for name in part if not is_oms_id(name)] or ['000000000000000AAA'])})"
            records = list(self._records(compiled, target, condition))
            look = compare(compiled, made.object, rows.values(), records, staff=self.staff, ids=self._oms_id)
            made.differences += look.differences

    def repair(self, differences: Sequence[Difference], *, at_most: int) -> int:
        """Enqueue looks; how many. More than `at_most` are refused as a whole."""
        mirrored: dict[str, MirrorMessage] = {}
        shared: dict[str, SyncMessage] = {}
        for one in differences:
            table, _, name = one.record.partition("/")
            mapping, correlation = load_mappings()[table], f"reconcile.{name}"
            if mapping.mode == "shared" and is_oms_id(name):
                shared[one.record] = SyncMessage(correlation_id=correlation, origin="reconciliation", table=table, id=name)
            elif mapping.mode == "shared":
                where = {"sobject": one.object, "salesforce_id": name, "change": "UPDATE"}
                shared[one.record] = SyncMessage(correlation_id=correlation, origin="reconciliation", **where)
            elif is_oms_id(name) and one.kind != "missing_in_oms":  # else the OMS, whose it is, does not know it
                mirrored[one.record] = MirrorMessage(correlation_id=correlation, origin="reconciliation", table=table, id=name, version=1)
        total = len(mirrored) + len(shared)
        if total > at_most:
            raise ConnectionFault(f"{total} records differ, more than --at-most {at_most}: trace some first, then raise it")
        for queue, messages in (("MirrorQueue", list(mirrored.values())), ("SyncQueue", list(shared.values()))):
            sender = SqsSender(self.connections.sqs, self.connections.queues[queue], self.connections.payloads)
            sender.send([Message(message.model_dump_json()) for message in messages])
        return total

    # --------------------------------------------------------------------------------------------------------- both sides
    @cached_property
    def oms(self) -> OmsClient:
        """Rows."""
        return self.connections.oms()

    @cached_property
    def salesforce(self) -> SalesforceClient:
        """Records."""
        return self.connections.salesforce()

    @cached_property
    def staff(self) -> frozenset[str]:
        """OMS ids of staff with a User."""
        return OrgUsers(self.salesforce).matched()

    def _compiled(self, mapping: TableMapping) -> Compiled:
        return compile_mapping(mapping, self.connections.parameters["OrgTimeZone"])

    def _oms_id(self, _: str, salesforce_id: str) -> str | None:
        return self.known.get(salesforce_id)

    def _records(self, compiled: Compiled, target: Target, condition: str = "") -> Iterator[Any]:
        """The table's records: of its record types where the object holds other things too, else all that carry an OMS id."""
        where = f"RecordType.DeveloperName IN {in_list(target.record_types)}" if target.record_types else "OMS_Id__c != null"
        where += f" AND {condition}" if condition else ""
        soql = f"SELECT {', '.join(select(compiled, target.object))} FROM {target.object} WHERE {where}"  # noqa: S608 (the mapping's names, quoted ids)
        for record in query(self.salesforce, soql):
            if record.get("OMS_Id__c"):
                self.known[str(record["Id"])] = str(record["OMS_Id__c"])
            yield record


def is_oms_id(name: str) -> bool:
    """A UUID; else it is Salesforce's id."""
    return re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", name.lower()) is not None


def told(found: Sequence[Comparison], sent: int) -> dict[str, object]:
    """For programs."""
    tables = [
        {"table": made.table, "object": made.object, "records": made.records, "values": made.values, "not_sent": made.not_sent}
        | {"differences": [{"kind": one.kind, "record": one.record, "fields": list(one.fields)} for one in made.differences]}
        for made in found
    ]
    return {"tables": tables, "differ": sum(len(made.differences) for made in found), "enqueued": sent}


def show(found: Sequence[Comparison], sent: int, *, repair: bool) -> None:
    """For people."""
    console = Console(width=None if sys.stdout.isatty() else 160, highlight=False)
    table = Table("table", "object", show_edge=False)
    for column in ("records", "values", "not sent", "differ"):
        table.add_column(column, justify="right")
    for made in found:
        style = "red" if made.differences else None
        numbers = (made.records, made.values, made.not_sent, len(made.differences))
        table.add_row(made.table, made.object, *(f"{number:,}" for number in numbers), style=style)
    console.print(table)
    differing = [one for made in found for one in made.differences]
    for one in differing[:SHOWN]:
        console.print(f"{one.record} in {one.object}: {one.kind.replace('_', ' ')} {', '.join(one.fields)}", soft_wrap=True)
    if len(differing) > SHOWN:
        kinds = Counter(f"{one.kind.replace('_', ' ')} {', '.join(one.fields)}".strip() for one in differing)
        console.print(
            f"... and more, {len(differing)} in all: " + "; ".join(f"{kind} {number}" for kind, number in kinds.most_common(10)),
            soft_wrap=True,
        )
    values = sum(made.values for made in found)
    outcome = f"{len(differing)} records differ" if differing else "no value differs, no record is missing on either side"
    advice = (
        f"; {sent} were enqueued: compare again in a minute"
        if repair and differing
        else "; --repair has them looked at"
        if differing
        else ""
    )
    console.print(f"{values:,} values compared: {outcome}{advice}")
