"""Five small tables that have every trait the synchroniser must cope with, in place of the real mappings (fast, and easy to reason about).

patients   both sides edit; every policy; an address; a lookup to a mirrored table; born in Salesforce too; deletes are undone
notes      a child; immutable once signed; born in Salesforce too
orders     a command and its result; the address is locked once shipped
cases      Salesforce's own: its deletes are followed
messages   inserted once, under a lease
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from omsync.mapping.model import Json, Owner, Policy
from omsync.mapping.outward import File
from omsync.platform.errors import Permanent
from omsync.sync.records import Command, OmsRow, SalesforceRecord, Side, Stamp, Unit, UnitValue


@dataclass(frozen=True)
class Table:
    """A table's traits. A unit's column bears its name, its field is `<name>__c`; an address has two fields."""

    name: str
    object: str
    units: Mapping[str, Unit]
    born: bool = False
    owner: Side = "oms"
    guarded: bool = True
    command: bool = False
    addresses: frozenset[str] = frozenset()
    locks: Mapping[str, frozenset[str]] = field(default_factory=dict)  # status -> units


def _units(*units: tuple[str, Owner, Policy] | Unit) -> dict[str, Unit]:
    made = [unit if isinstance(unit, Unit) else Unit(name=unit[0], owner=unit[1], policy=unit[2]) for unit in units]
    return {unit.name: unit for unit in [*made, Unit(name="deleted", owner="oms", policy="oms")]}


TABLES = {
    table.name: table
    for table in (
        Table(
            "patients",
            "Account",
            _units(
                ("phone", "both", "latest"),
                ("ship", "both", "latest"),
                ("nick", "both", "salesforce"),
                ("lang", "both", "oms"),
                ("pronouns", "both", "manual"),
                ("sms", "both", "revoked_wins"),
                ("vip", "salesforce", "salesforce"),
                ("number", "oms", "oms"),
                ("status", "oms", "oms"),
                Unit(name="pharmacy", owner="oms", policy="oms", parent="pharmacies"),
            ),
            born=True,
            addresses=frozenset({"ship"}),
        ),
        Table(
            "notes",
            "Note__c",
            _units(
                ("title", "both", "latest"),
                ("body", "both", "manual"),
                ("status", "oms", "oms"),
                Unit(name="patient", owner="oms", policy="oms", parent="patients"),
            ),
            born=True,
            locks={"signed": frozenset({"title", "body"})},
        ),
        Table(
            "orders",
            "Order",
            _units(
                ("agent", "salesforce", "salesforce"),
                ("ship", "both", "latest"),
                ("status", "oms", "oms"),
                ("result", "oms", "oms"),
                Unit(name="patient", owner="oms", policy="oms", parent="patients"),
            ),
            command=True,
            addresses=frozenset({"ship"}),
            locks={"shipped": frozenset({"ship"})},
        ),
        Table(
            "cases",
            "Case",
            _units(
                ("subject", "salesforce", "salesforce"),
                ("number", "oms", "oms"),
                Unit(name="patient", owner="salesforce", policy="salesforce", parent="patients"),
            ),
            born=True,
            owner="salesforce",
        ),
        Table(
            "messages",
            "EmailMessage",
            _units(
                Unit(name="text", owner="oms", policy="oms", insert_only=True),
                Unit(name="patient", owner="oms", policy="oms", parent="patients", insert_only=True),
                ("delivery", "oms", "oms"),
            ),
            born=True,
            guarded=False,
        ),
    )
}
COMMAND = Command("requested_action", "Requested_Action__c")
MIRRORED = "pharmacies"


def fields_of(table: Table, unit: str) -> tuple[str, ...]:
    return (f"{unit}_line__c", f"{unit}_city__c") if unit in table.addresses else (f"{unit}__c",)


class SimRules:
    """`TableRules` for a `Table`."""

    fingerprint = "simulation"

    def __init__(self, spec: Table) -> None:
        self.spec = spec
        self.table, self.units, self.guarded = spec.name, spec.units, spec.guarded
        self.born_in_salesforce, self.record_owner = spec.born, spec.owner
        self.command = COMMAND if spec.command else None
        self._fields = {unit: fields_of(spec, unit) for unit in spec.units}

    def object_for(self, row: OmsRow) -> str:
        return self.spec.object

    def skip_reason(self, row: OmsRow) -> str | None:
        return "merged" if row.values.get("status") == "merged" else None

    def unfit(self, row: OmsRow) -> Mapping[str, Permanent]:
        found = {unit for unit in self.units if "unfit" in str(row.values.get(unit))}
        return {unit: Permanent("does not fit", code="transform.too_long", field=self._fields[unit][0]) for unit in found}

    def locked(self, row: OmsRow) -> frozenset[str]:
        return self.spec.locks.get(str(row.values.get("status")), frozenset())

    def merged_into(self, row: OmsRow) -> str | None:
        into = row.values.get("merged_into")
        return str(into) if into else None

    def row_values(self, row: OmsRow, sobject: str) -> Mapping[str, UnitValue]:
        return {unit: self._of_row(row, unit) for unit in self.units}

    def _of_row(self, row: OmsRow, unit: str) -> UnitValue:
        if unit == "deleted":
            return {"deleted__c": row.deleted}
        value = row.values.get(unit) if "unfit" not in str(row.values.get(unit)) else None
        if unit in self.spec.addresses:
            line, city = self._fields[unit]
            return {line: value["line"], city: value["city"]} if isinstance(value, dict) else {line: None, city: None}
        return {self._fields[unit][0]: value}

    def record_values(self, record: SalesforceRecord) -> Mapping[str, UnitValue]:
        return {unit: {name: self._of_record(record, unit, name) for name in self._fields[unit]} for unit in self.units}

    def _of_record(self, record: SalesforceRecord, unit: str, name: str) -> Json:
        if self.units[unit].parent is not None:
            parent = record.parents.get(name)
            return None if parent is None else parent.oms_id or f"salesforce:{parent.salesforce_id}"
        if unit == "deleted":
            return bool(record.fields.get(name))
        return record.fields.get(name)

    def edited_at(self, row: OmsRow, unit: str) -> int | None:
        return None if row.edited_at is None else row.edited_at.get(unit, 0)

    def stamp(self, record: SalesforceRecord, unit: str) -> Stamp | None:
        stamps = [record.stamps[name] for name in self._fields[unit] if name in record.stamps]
        return max(stamps, default=None)

    def is_revoked(self, unit: str, value: UnitValue) -> bool:
        return unit == "sms" and value["sms__c"] == "no"

    def fields(self, row: OmsRow, sobject: str, units: frozenset[str] | None) -> Mapping[str, Json]:
        fields: dict[str, Json] = {}
        for unit in self.units if units is None else units:
            for name, value in self._of_row(row, unit).items():
                is_lookup = self.units[unit].parent is not None and value is not None
                fields[name] = {"OMS_Id__c": value} if is_lookup else value
        return fields

    def columns(self, record: SalesforceRecord, units: frozenset[str]) -> Mapping[str, Json]:
        values = self.record_values(record)
        return {unit: self._column(unit, values[unit]) for unit in units}

    def _column(self, unit: str, value: UnitValue) -> Json:
        if unit in self.spec.addresses:
            line, city = self._fields[unit]
            return None if value[line] is None else {"line": value[line], "city": value[city]}
        return value[self._fields[unit][0]]

    def files(self, row: OmsRow) -> tuple[File, ...]:
        body = str(row.values.get("body"))
        return (File("body__c", "body.txt", body),) if body.startswith("long") else ()

    def birth(self, record: SalesforceRecord) -> Mapping[str, Json]:
        carried = self.birth_units(record) | {unit for unit in ("patient", "text") if unit in self.units}
        return self.columns(record, frozenset(carried))

    def birth_units(self, record: SalesforceRecord) -> frozenset[str]:
        return frozenset(name for name, unit in self.units.items() if unit.owner != "oms")

    def unit_of(self, column: str) -> str | None:
        return column if column in self.units else None

    def unit_of_field(self, field: str) -> str | None:
        return next((unit for unit, fields in self._fields.items() if field in fields), None)

    def parent_of(self, field: str) -> str | None:
        unit = self.units.get(field.removesuffix("__c"))
        return unit.parent if unit is not None else None

    def reference(self, unit: str, row: OmsRow) -> str | None:
        value = row.values.get(unit)
        return str(value) if value else None

    def with_reference(self, unit: str, row: OmsRow, parent_id: str) -> OmsRow:
        return row.with_values({unit: parent_id})


class SimRegistry:
    """`Registry` of the five tables."""

    def __init__(self) -> None:
        self._rules = {name: SimRules(table) for name, table in TABLES.items()}

    def shared(self, table: str) -> SimRules | None:
        return self._rules.get(table)

    def for_record(self, record: SalesforceRecord) -> SimRules | None:
        if record.record_type is not None:  # an integration Case
            return None
        return next((rules for rules in self._rules.values() if rules.spec.object == record.object), None)
