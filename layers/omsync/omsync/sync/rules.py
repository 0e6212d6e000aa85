"""The mappings as the synchroniser uses them: `TableRules` and `Registry` over compiled mappings. Pure.

Every field of a target belongs to a unit: the mapping's own units, and one of the OMS for each secondary copy (`EffectiveDate`, `ContactId`).
Until a table's cut-over run is certified, all its units are the OMS's and its records are born there only.
"""

from __future__ import annotations

import hashlib
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from omsync.mapping import Compiled, Field, File, Json, Mappings, Record, TableMapping, Target, TransformError, compile_mapping, to_json
from omsync.mapping.compiled import DEFAULT_TIME_ZONE
from omsync.platform.errors import Permanent
from omsync.sync.ports import TableRules
from omsync.sync.records import Command, OmsRow, SalesforceRecord, Side, Stamp, Unit, UnitValue

#: written by the synchroniser itself
_OWN_FIELDS = frozenset({"OMS_Id__c", "OMS_Version__c"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Org:
    """What only the org, or the migration's state, can tell. `ids`: `record_type:Account.Patient` ... -> Salesforce id."""

    ids: Mapping[str, str]
    certified_run: int = 0  # the last migration run with a certificate
    staff: Container[str] | None = None  # OMS ids that have a User; for others the default owner stands in
    time_zone: str = DEFAULT_TIME_ZONE
    features: frozenset[str] = frozenset()


class MappedRegistry:
    """`Registry` of the shared tables."""

    def __init__(self, mappings: Mappings, org: Org) -> None:
        self._mappings = mappings
        compiled = (compile_mapping(mapping, org.time_zone, org.features) for mapping in mappings if mapping.mode == "shared")
        self._rules = {one.mapping.table: MappedRules(one, org) for one in compiled}

    def shared(self, table: str) -> MappedRules | None:
        return self._rules.get(table)

    def for_record(self, record: SalesforceRecord) -> TableRules | None:
        mapping = self._mappings.for_record(record.object, record.record_type)
        return self._rules.get(mapping.table) if mapping is not None else None


class MappedRules:
    """`TableRules` of one mapping."""

    def __init__(self, compiled: Compiled, org: Org) -> None:
        mapping = compiled.mapping
        self._compiled, self._mapping, self._org = compiled, mapping, org
        self._cut_over = mapping.cutover_run is None or org.certified_run >= mapping.cutover_run
        self.table, self.guarded = mapping.table, mapping.has_sync_fields
        self.born_in_salesforce = self._cut_over and "salesforce" in mapping.born_in
        self.record_owner: Side = "salesforce" if self._cut_over and mapping.policy == "salesforce" else "oms"
        self._fields = {target.object: self._fields_of(target) for target in mapping.targets}
        self.units = {name: self._unit(name) for name in dict.fromkeys(unit for fields in self._fields.values() for unit in fields)}
        self._columns = {name: unit.columns for name, unit in mapping.units.items()}
        self._last: tuple[OmsRow, Record, Mapping[str, Permanent]] | None = None

    # ------------------------------------------------------------------------------------------------------------- units
    def _fields_of(self, target: Target) -> dict[str, tuple[str, ...]]:
        """unit -> its fields of this object."""
        available = self._compiled.fields(target.object)
        units: dict[str, tuple[str, ...]] = {}
        commands = {field for unit in self._mapping.units.values() if unit.command for field in unit.fields.get(target.object, ())}
        placed = set(_OWN_FIELDS) | commands
        for name, unit in self._mapping.units.items():
            fields = tuple(
                field for field in unit.fields.get(target.object, ()) if field not in placed and self._kept(available.get(field))
            )
            placed |= set(fields)
            if fields:
                units[name] = fields
        extra = {name: (name,) for name, field in available.items() if name not in placed and self._kept(field) and not _is_list(field)}
        return {**units, **extra}

    def _kept(self, field: Field | None) -> bool:
        """Is it kept up to date? What is only sent with an insert is compared with nothing, except where records are inserted once."""
        if field is None or field.match_only or field.insert_only or not field.compare:
            return False
        return not (field.create_only and self.guarded)

    def _unit(self, name: str) -> Unit:
        unit = self._mapping.units.get(name)
        fields = [self._field(sobject, field) for sobject, units in self._fields.items() for field in units.get(name, ())]
        lookup = next((field.references for field in fields if field.references is not None), None)
        own = unit is None or not self._cut_over
        return Unit(
            name=name,
            owner="oms" if own or unit is None else unit.owner,
            policy="oms" if own or unit is None else unit.policy,
            parent=lookup.table if lookup is not None else None,
            insert_only=all(field.create_only for field in fields),
        )

    def _field(self, sobject: str, name: str) -> Field:
        return self._compiled.fields(sobject)[name]

    @cached_property
    def fingerprint(self) -> str:
        """Changes with what a unit is made of."""
        parts = [
            (sobject, unit, [(f, self._field(sobject, f).transform) for f in fields])
            for sobject, u in self._fields.items()
            for unit, fields in u.items()
        ]
        return hashlib.sha256(repr(parts).encode()).hexdigest()[:12]

    @cached_property
    def command(self) -> Command | None:
        column = self._mapping.command
        if column is None or not self._cut_over:
            return None
        unit = next(unit for unit in self._mapping.units.values() if unit.command)
        return Command(column.name, next(iter(unit.fields.values()))[0])

    def unit_of(self, column: str) -> str | None:
        named = [name for name, unit in self._mapping.units.items() if column in unit.columns and name in self.units]
        return min(named, key=lambda name: self.units[name].owner == "oms", default=None)

    # --------------------------------------------------------------------------------------------------------- OMS's side
    def object_for(self, row: OmsRow) -> str:
        return self._target(row).object

    def _target(self, row: OmsRow) -> Target:
        return next(target for target in self._mapping.targets if target.when is None or target.when(row.values))

    def skip_reason(self, row: OmsRow) -> str | None:
        return self._mapping.skip_reason(row.values)

    def merged_into(self, row: OmsRow) -> str | None:
        winner = row.values.get("merged_into_patient_id")
        return str(winner) if winner else None

    def locked(self, row: OmsRow) -> frozenset[str]:
        record = self._record(row)
        held = {unit for unit, fields in self._fields[record.object].items() if record.held.intersection(fields)}
        return frozenset(held | {name for name, unit in self._mapping.units.items() if unit.lock is not None and unit.lock(row.values)})

    def unfit(self, row: OmsRow) -> Mapping[str, Permanent]:
        return self._looked(row)[1]

    def _record(self, row: OmsRow) -> Record:
        return self._looked(row)[0]

    def _looked(self, row: OmsRow) -> tuple[Record, Mapping[str, Permanent]]:
        """The row as Salesforce is to have it, without the units it cannot carry; and why it cannot."""
        if self._last is None or self._last[0] is not row:
            values, unfit = dict(row.values), dict[str, Permanent]()
            while True:
                try:
                    [record, *_] = self._compiled.to_salesforce(values, existing=True, staff=self._org.staff)
                    break
                except TransformError as fault:
                    unit = self.unit_of_field(fault.field or "")
                    if unit is None or unit in unfit:  # of no one unit: the whole row is refused
                        raise
                    unfit[unit] = fault
                    values = _without(values, self._sources(unit))
            self._last = row, record, unfit
        return self._last[1:]

    def _sources(self, unit: str) -> set[str]:
        """The row's columns that a unit is made of; of an address `shipping_address.city`."""
        names = {(sobject, name) for sobject, units in self._fields.items() for name in units.get(unit, ())}
        return {source for sobject, name in names for source in self._field(sobject, name).sources}

    def row_values(self, row: OmsRow, sobject: str) -> Mapping[str, UnitValue]:
        return self.values_of(self._record(row), self.units)

    def fields_of(self, sobject: str, unit: str) -> tuple[str, ...]:
        """A unit's fields of an object."""
        return self._fields[sobject].get(unit, ())

    def values_of(self, record: Record, units: Iterable[str]) -> Mapping[str, UnitValue]:
        """A mapped row's values, unit by unit."""
        values, fields = record.values, self._fields[record.object]
        return {unit: {name: values.get(name) for name in fields.get(unit, ())} for unit in units}

    def edited_at(self, row: OmsRow, unit: str) -> int | None:
        return self.latest(row.edited_at, unit)

    def latest(self, edited_at: Mapping[str, int] | None, unit: str) -> int | None:
        """`edited_at`, from the times of a row's columns."""
        if edited_at is None:
            return None
        columns = self._columns.get(unit, ())
        if len(columns) == 1:
            return edited_at.get(columns[0], 0)
        return max([edited_at.get(column, 0) for column in columns], default=0)

    def reference(self, unit: str, row: OmsRow) -> str | None:
        value = row.values.get(self._column(unit))
        return str(value) if value else None

    def with_reference(self, unit: str, row: OmsRow, parent_id: str) -> OmsRow:
        return row.with_values({self._column(unit): parent_id})

    def _column(self, unit: str) -> str:
        known = self._mapping.units.get(unit)
        if known is not None:
            return known.columns[0]
        return next(self._field(sobject, name).sources[0] for sobject, units in self._fields.items() for name in units.get(unit, ()))

    def fields(self, row: OmsRow, sobject: str, units: frozenset[str] | None) -> Mapping[str, Json]:
        record = self._record(row)
        if units is None:
            body = to_json(record, self._org.ids, "create")
        else:
            names = {name for unit in units for name in self._fields[sobject].get(unit, ())}
            body = to_json(record, self._org.ids, "update", fields=names)
        return {name: value for name, value in body.items() if name not in _OWN_FIELDS and name != "attributes"}

    def files(self, row: OmsRow) -> tuple[File, ...]:
        return self._record(row).files

    # -------------------------------------------------------------------------------------------------- Salesforce's side
    def record_values(self, record: SalesforceRecord) -> Mapping[str, UnitValue]:
        values = self._compiled.normal_record(record.object, self._as_json(record))
        return {unit: {name: values.get(name) for name in self._fields[record.object].get(unit, ())} for unit in self.units}

    def _as_json(self, record: SalesforceRecord) -> dict[str, Json]:
        """The record as REST gives it, parents by their OMS id. A parent that has none is named by its Salesforce id, which no OMS id equals;
        an owner who is no member of staff is nobody."""
        body = dict(record.fields)
        for name, field in self._compiled.fields(record.object).items():
            reference = field.references
            if reference is None or reference.many:
                continue
            parent = record.parents.get(name)
            if parent is None:
                body[reference.relationship], body[name] = None, None
            else:
                stranger = None if reference.missing == "default_owner" else f"salesforce:{parent.salesforce_id}"
                body[reference.relationship] = {reference.external_id: parent.oms_id or stranger}
        if record.record_type is not None:
            body["RecordType"] = {"DeveloperName": record.record_type}
        return body

    def stamp(self, record: SalesforceRecord, unit: str) -> Stamp | None:
        names = self._fields[record.object].get(unit, ())
        return max((record.stamps[name] for name in names if name in record.stamps), default=None)

    def is_revoked(self, unit: str, value: UnitValue) -> bool:
        known = self._mapping.units.get(unit)
        return known is not None and bool(known.revoked) and known.is_revoked(value)

    def parent_of(self, field: str) -> str | None:
        for sobject in self._fields:
            found = self._compiled.fields(sobject).get(field)
            if found is not None and found.references is not None:
                return found.references.table
        return None

    def unit_of_field(self, field: str) -> str | None:
        return next((unit for units in self._fields.values() for unit, fields in units.items() if field in fields), None)

    def columns(self, record: SalesforceRecord, units: frozenset[str]) -> Mapping[str, Json]:
        self._check_parents(record, units)
        names = {name for unit in units for name in self._fields[record.object].get(unit, ())}
        return self._compiled.to_oms(record.object, self._as_json(record), fields=names)

    def birth(self, record: SalesforceRecord) -> Mapping[str, Json]:
        self._check_parents(record, frozenset(self.units))
        columns = self._compiled.to_oms(record.object, self._as_json(record))
        return {name: value for name, value in columns.items() if value is not None and self._is_born(name)}

    def _is_born(self, column: str) -> bool:
        known = self._mapping.columns.get(column)
        return known is None or not (known.common or known.command)  # None: an embedded address

    def birth_units(self, record: SalesforceRecord) -> frozenset[str]:
        return frozenset(name for name, unit in self.units.items() if unit.owner != "oms" and self._fields[record.object].get(name))

    def _check_parents(self, record: SalesforceRecord, units: frozenset[str]) -> None:
        """A lookup to a record that no mapping knows cannot flow."""
        for unit in units:
            for name in self._fields[record.object].get(unit, ()):
                reference, parent = self._field(record.object, name).references, record.parents.get(name)
                if reference is not None and reference.missing == "wait" and parent is not None and parent.oms_id is None:
                    raise TransformError("it points to a record that the OMS does not know", code="unknown_parent").at(name)


def _is_list(field: Field) -> bool:
    return field.references is not None and field.references.many


def shared_tables(mappings: Mappings) -> Sequence[TableMapping]:
    """The tables that the synchroniser looks after."""
    return [mapping for mapping in mappings if mapping.mode == "shared"]


def _without(values: Mapping[str, Json], sources: Iterable[str]) -> dict[str, Json]:
    """The row with these columns empty."""
    emptied = dict(values)
    for source in sources:
        column, _, member = source.partition(".")
        whole = emptied.get(column)
        emptied[column] = {**whole, member: None} if member and isinstance(whole, Mapping) else None
    return emptied
