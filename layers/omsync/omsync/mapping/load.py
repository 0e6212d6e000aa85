"""Loads the mapping files: checks them, adds what every table has, resolves names, and says all that is wrong at once.

load_mappings() -> Mappings      the product's files, once a process
read_directory(path) -> Mappings any directory; MappingError has file, line, key and what was expected
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import cast

from pydantic import ValidationError

from omsync.mapping.errors import MappingError, Problem
from omsync.mapping.files import ColumnFile, ConstantFile, FieldFile, RecordTypeFile, TableFile, TargetFile
from omsync.mapping.model import (
    Birth,
    Column,
    Condition,
    Constant,
    Embedded,
    Field,
    FieldType,
    Json,
    Mappings,
    Owner,
    Policy,
    Reference,
    Skip,
    TableMapping,
    Target,
    Unit,
)
from omsync.mapping.places import STATE_CODES
from omsync.mapping.transforms import DEFAULTS, TRANSFORMS
from omsync.mapping.yaml_lines import Document, Keys

TABLES = Path(__file__).parent / "tables"

#: the seven columns of every table (schema §1)
COMMON_COLUMNS: dict[str, ColumnFile] = {
    "id": ColumnFile(type="uuid", nullable=False, default="gen_random_uuid()", unique=True),
    "created_at": ColumnFile(type="timestamptz", nullable=False, default="now()"),
    "updated_at": ColumnFile(type="timestamptz", nullable=False, default="now()"),
    "version": ColumnFile(type="bigint", nullable=False, default="1", check="version > 0"),
    "change_xid": ColumnFile(
        type="xid8", nullable=False, default="pg_current_xact_id()", not_sent="the change feed's cursor, of use to readers of the OMS only"
    ),
    "changed_by": ColumnFile(
        type="text", nullable=False, default="current_user", not_sent="tells the sync its own changes (sync:salesforce)"
    ),
    "deleted_at": ColumnFile(type="timestamptz"),
}
_COMMON_FIELDS: dict[str, FieldFile] = {
    "OMS_Id__c": FieldFile(type="Text(36)", source=["id"], label="OMS Id", unique=True, external_id=True),
    "OMS_Version__c": FieldFile(type="Number(18,0)", source=["version"], label="OMS Version"),
    "OMS_Created_At__c": FieldFile(type="DateTime", source=["created_at"], label="OMS Created At"),
    "OMS_Updated_At__c": FieldFile(type="DateTime", source=["updated_at"], label="OMS Updated At"),
    "OMS_Deleted__c": FieldFile(type="Checkbox", source=["deleted_at"], label="OMS Deleted", transform="present"),
}
#: of shared objects, filled by their trigger and the synchroniser, by no column (DESIGN §3)
_SYNC_FIELDS: dict[str, tuple[FieldType, int | None, int | None]] = {
    "Sync_Save__c": ("Number", None, 18),
    "Sync_Seen__c": ("Number", None, 18),
    "Sync_Write__c": ("Text", 80, None),
    "Sync_Stamps__c": ("LongTextArea", 32768, None),
}
_LENGTHS = {"Email": 80, "Phone": 40, "Url": 255, "Picklist": 255, "MultiselectPicklist": 4099, "TextArea": 255}


@cache
def load_mappings() -> Mappings:
    """The product's mappings."""
    return read_directory(TABLES)


def read_directory(directory: Path) -> Mappings:
    """All `*.yaml` of a directory. Raises MappingError with every problem found."""
    loader = _Loader()
    for path in sorted(directory.glob("*.yaml")):
        loader.read(path)
    return loader.resolve()


class _Loader:
    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self.documents: dict[str, Document] = {}
        self.files: dict[str, TableFile] = {}

    def problem(self, table: str, keys: Keys, expected: str) -> None:
        document = self.documents[table]
        self.problems.append(Problem(document.name, document.line(keys), ".".join(map(str, keys)) or "(document)", expected))

    def read(self, path: Path) -> None:
        try:
            document = Document(path.name, path.read_text(encoding="utf-8"))
        except MappingError as fault:
            self.problems.extend(fault.problems)
            return
        self.documents[path.stem] = document
        try:
            parsed = TableFile.model_validate(document.data)
        except ValidationError as fault:
            for error in fault.errors(include_url=False, include_input=False):
                keys = document.known(tuple(error["loc"]))
                missing = f"{error['loc'][-1]}: " if error["type"] == "missing" else ""
                self.problem(path.stem, keys, f"{missing}{error['msg']}")
            return
        if parsed.table != path.stem:
            self.problem(path.stem, ("table",), f"the file's name, {path.stem}")
        self.files[path.stem] = parsed

    def resolve(self) -> Mappings:
        tables = [_Table(self, name).resolve() for name in self.files]
        if self.problems:
            raise MappingError(sorted(self.problems, key=lambda problem: (problem.file, problem.line)))
        return Mappings(tables)


class _Table:
    """Resolves one file."""

    def __init__(self, loader: _Loader, table: str) -> None:
        self.loader, self.table, self.file = loader, table, loader.files[table]
        self.columns: dict[str, Column] = {}

    def problem(self, keys: Keys, expected: str) -> None:
        self.loader.problem(self.table, keys, expected)

    def resolve(self) -> TableMapping:
        file = self.file
        self.columns = self._columns()
        targets = tuple(self._target(index, target) for index, target in enumerate(file.targets))
        mapping = TableMapping(
            table=file.table,
            number=file.number,
            purpose=file.purpose,
            mode=file.mode,
            run=file.run,
            wave=file.wave,
            policy=file.policy,
            columns=self.columns,
            targets=targets,
            embedded={name: Embedded(name=name, table=e.table, where=_condition(e.where)) for name, e in file.embeds.items()},
            skips=tuple(Skip(when=_condition(skip.when), reason=skip.reason) for skip in file.skip),
            born_in=tuple(file.born_in),
            cutover_run=file.cutover_run,
            patient_keyed=file.patient_keyed,
            notes=tuple(file.notes),
        )
        mapping = replace(mapping, units=self._units(mapping))
        self._check(mapping)
        return mapping

    # ------------------------------------------------------------------------------------------------------- columns
    def _columns(self) -> dict[str, Column]:
        unit_of = {column: unit for unit, columns in self.file.units.items() for column in columns}
        for unit, columns in self.file.units.items():
            for name in columns:
                if name not in self.file.columns:
                    self.problem(("units", unit), f"columns of this table; {name} is none")
        for name in COMMON_COLUMNS.keys() & self.file.columns.keys():
            self.problem(("columns", name), "a column of this table's own; the seven common columns are added to every table")
        own = {name: self._column(name, column, unit_of.get(name, name), False) for name, column in self.file.columns.items()}
        common = {name: self._column(name, column, name, True) for name, column in COMMON_COLUMNS.items()}
        return {"id": common.pop("id"), **own, **common}

    def _column(self, name: str, file: ColumnFile, unit: str, common: bool) -> Column:
        policy: Policy = file.policy or (
            "salesforce" if file.owner == "salesforce" else self.file.policy if file.owner == "both" else "oms"
        )
        return Column(
            name=name,
            type=file.type,
            nullable=file.nullable,
            default=file.default,
            unique=file.unique,
            choices=tuple(file.choices) if file.choices else None,
            check=file.check,
            references=file.references,
            phi=file.phi,
            owner=file.owner,
            policy=policy,
            unit=unit,
            revoked=file.revoked,
            not_sent=file.not_sent,
            command=file.command,
            generated=file.generated,
            birth=Birth(file.birth.column, dict(file.birth.values)) if file.birth else None,
            only=tuple(file.only) if file.only else None,
            common=common,
        )

    def source(self, path: str) -> Column | None:
        """The column behind a source: one of the table, of an embedded table, or a document's path (type jsonb_path)."""
        head, _, tail = path.partition(".")
        if not tail:
            return self.columns.get(head)
        if head in self.file.embeds:
            other = self.loader.files.get(self.file.embeds[head].table)
            if other is None or tail not in other.columns:
                return None
            column = other.columns[tail]
            policy: Policy = self.file.policy if column.owner == "both" else "oms"
            unit = head if column.owner == "both" else path
            return replace(_Table(self.loader, other.table)._column(tail, column, unit, False), policy=policy)
        document = self.columns.get(head)
        return replace(document, type="jsonb_path", choices=None) if document is not None and document.type == "jsonb" else None

    # ------------------------------------------------------------------------------------------------------- targets
    def _target(self, index: int, file: TargetFile) -> Target:
        at: Keys = ("targets", index)
        matched = self.file.mode == "matched"
        fields = {name: self._field(at, file, name, field) for name, field in file.fields.items()}
        common = {
            name: replace(self._field(at, file, name, field), system=True)
            for name, field in _COMMON_FIELDS.items()
            if not matched or name == "OMS_Id__c"
        }
        record_types, column, values = _record_types(file.record_type)
        if column is not None and column not in self.columns:
            self.problem((*at, "record_type", "column"), f"a column of {self.table}, not {column}")
        sync = self.file.sync_fields if self.file.sync_fields is not None else self.file.mode == "shared"
        return Target(
            object=file.object,
            label=file.label,
            plural_label=file.plural_label,
            record_types=record_types,
            record_type_column=column,
            record_type_values=values,
            when=_condition(file.when) if file.when else None,
            constants=self._constants(at, file),
            fields=_with_guards({"OMS_Id__c": common.pop("OMS_Id__c"), **fields, **common}),
            sync_fields=_sync_fields(file.object) if sync else {},
            match=tuple(file.match),
            auto_number=file.auto_number,
            sharing=file.sharing,
        )

    def _constants(self, at: Keys, file: TargetFile) -> tuple[Constant, ...]:
        found = [self._constant((*at, "constants", name), name, constant) for name, constant in file.constants.items()]
        record_types, column, _ = _record_types(file.record_type)
        if record_types and column is None:
            found.insert(0, Constant(field="RecordTypeId", org=f"record_type:{file.object}.{record_types[0]}"))
        return tuple(found)

    def _constant(self, at: Keys, name: str, file: ConstantFile) -> Constant:
        if sum(part is not None for part in (file.value, file.parent, file.org)) != 1:
            self.problem(at, "exactly one of value, parent and org")
        reference = None
        if file.parent is not None:
            reference = Reference(object=file.object or name.removesuffix("Id"), relationship=file.relationship or _relationship(name))
        return Constant(
            field=name,
            value=file.parent if file.parent is not None else file.value,
            reference=reference,
            org=file.org,
            create_only=file.create_only,
        )

    def _field(self, target: Keys, file: TargetFile, name: str, field: FieldFile) -> Field:
        at: Keys = (*target, "fields", name)
        kind, length, precision, scale, parent = _parse_type(field)
        sources = [self.source(path) for path in field.source]
        for path, column in zip(field.source, sources, strict=True):
            if column is None:
                self.problem((*at, "from"), f"a column of {self.table} or a path into one, not {path}")
        known = [column for column in sources if column is not None] or [self.columns["id"]]
        first = known[0]
        transform = field.transform or DEFAULTS.get((re.sub(r"\(.*", "", first.type), kind), "")
        if transform not in TRANSFORMS:
            expected = (
                f"one of {', '.join(TRANSFORMS)}" if field.transform else f"a transform: there is no usual one from {first.type} to {kind}"
            )
            self.problem((*at, "transform") if field.transform else at, expected)
            transform = "text"
        usable_back = TRANSFORMS[transform].invertible and not first.type.startswith("jsonb_path") and not first.common
        if field.back and not usable_back:
            self.problem((*at, "back"), f"false: {transform} cannot be undone")
        return Field(
            name=name,
            object=file.object,
            label=field.label or _label(name),
            type=kind,
            length=length,
            precision=precision,
            scale=scale,
            sources=tuple(field.source),
            transform=transform,
            values=field.values,
            owner=_strongest(known),
            policy=first.policy,
            unit=first.unit,
            phi=next((column.phi for column in known if column.phi), None),
            required=field.required,
            unique=field.unique,
            external_id=field.external_id,
            picklist=_picklist(field, first) if "icklist" in kind else (),
            restricted=field.restricted,
            references=self._reference(at, name, field, first, parent),
            create_only=field.create_only,
            insert_only=field.insert_only,
            second_pass=field.second_pass,
            history=field.history,
            compare=field.compare,
            omit_null=field.omit_null,
            back=usable_back if field.back is None else field.back,
            match_only=field.match_only,
            feature=field.feature,
            withheld_when=_condition(field.withheld_when) if field.withheld_when else None,
            overflow_file=field.overflow == "file",
        )

    def _reference(self, at: Keys, name: str, field: FieldFile, column: Column, parent: str | None) -> Reference | None:
        if parent is None:
            return None
        table = self.table if column.name == "id" else column.references
        if table is None:
            self.problem((*at, "from"), f"a column with references, for a {field.type}")
        return Reference(
            object=parent,
            relationship=field.relationship or _relationship(name),
            table=table,
            many=field.many,
            polymorphic=field.polymorphic,
            missing=field.missing or ("default_owner" if parent == "User" else "wait"),
        )

    # --------------------------------------------------------------------------------------------------------- units
    def _units(self, mapping: TableMapping) -> dict[str, Unit]:
        """A unit per column (or group of columns, or embedded row) that some field carries back, or that is sent."""
        fields = [field for target in mapping.targets for field in target.fields.values() if not field.match_only]
        names = dict.fromkeys(field.unit for field in fields)
        locks = {lock.unit: _condition(lock.when) for lock in self.file.locks}
        for index, lock in enumerate(self.file.locks):
            if lock.unit not in names:
                self.problem(("locks", index, "unit"), f"a unit: {', '.join(n for n in names if n)}")
        return {name: self._unit(name, [field for field in fields if field.unit == name], locks.get(name)) for name in names}

    def _unit(self, name: str, fields: list[Field], lock: Condition | None) -> Unit:
        carriers = [field for field in fields if field.back] or fields
        columns = dict.fromkeys(path.partition(".")[0] for field in carriers for path in field.sources)
        sources = [column for field in carriers for path in field.sources if (column := self.source(path)) is not None]
        by_object: dict[str, list[str]] = {}
        for field in carriers:
            by_object.setdefault(field.object, []).append(field.name)
        first = sources[0] if sources else self.columns["id"]
        return Unit(
            name=name,
            owner=_strongest(sources),
            policy=first.policy,
            columns=tuple(columns),
            fields={key: tuple(values) for key, values in by_object.items()},
            command=any(column.command for column in sources),
            lock=lock,
            revoked={field.name: _revoked(field, first) for field in carriers if first.revoked is not None},
        )

    # -------------------------------------------------------------------------------------------------------- checks
    def _check(self, mapping: TableMapping) -> None:
        self._check_columns(mapping)
        self._check_conditions()
        self._check_mode(mapping)
        for index, target in enumerate(mapping.targets):
            for name in target.match:
                if name not in target.fields:
                    self.problem(("targets", index, "match"), f"fields of this target; {name} is none")
            self._check_record_types(index, target)

    def _check_record_types(self, index: int, target: Target) -> None:
        """Every value that the target takes has a record type."""
        name = target.record_type_column
        if name is None or name not in self.columns:
            return
        given = target.when.values.get(name) if target.when else None
        taken = given or self.columns[name].choices or ()
        if missing := [str(value) for value in taken if value not in target.record_type_values]:
            self.problem(("targets", index, "record_type", "values"), f"a record type for {', '.join(missing)}")

    def _check_columns(self, mapping: TableMapping) -> None:
        carried = {path.partition(".")[0] for target in mapping.targets for field in target.fields.values() for path in field.sources}
        carried |= {f"{embedded}" for embedded in self.file.embeds}
        carried |= self._carried_elsewhere()
        for name, column in self.file.columns.items():
            if name in carried and column.not_sent:
                self.problem(("columns", name, "not_sent"), "no field that carries the column, or no not_sent")
            if name not in carried and not column.not_sent:
                self.problem(("columns", name), "a field that carries the column, or not_sent with the reason")
            if column.references and column.references not in self.loader.files:
                self.problem(("columns", name, "references"), f"a table with a mapping, not {column.references}")
            if column.birth and column.birth.column not in self.columns:
                self.problem(("columns", name, "birth", "column"), f"a column of {self.table}, not {column.birth.column}")
            if column.policy == "revoked_wins" and column.revoked is None:
                self.problem(("columns", name, "policy"), "revoked: the value that means revoked")

    def _carried_elsewhere(self) -> set[str]:
        """Columns of this table that travel inside another table's rows."""
        found: set[str] = set()
        for other in self.loader.files.values():
            for name, embedded in other.embeds.items():
                if embedded.table == self.table:
                    found |= set(embedded.where)
                    paths = [path for target in other.targets for field in target.fields.values() for path in field.source]
                    found |= {path.partition(".")[2] for path in paths if path.startswith(f"{name}.")}
        return found

    def _check_conditions(self) -> None:
        places = [(("skip", i, "when"), skip.when) for i, skip in enumerate(self.file.skip)]
        places += [(("locks", i, "when"), lock.when) for i, lock in enumerate(self.file.locks)]
        places += [(("targets", i, "when"), target.when or {}) for i, target in enumerate(self.file.targets)]
        for keys, when in places:
            for name, values in when.items():
                column = self.columns.get(name)
                if column is None and name != "born_in":
                    self.problem((*keys, name), f"a column of {self.table}, or born_in")
                elif column is not None and column.choices and (wrong := [v for v in values if v is not None and v not in column.choices]):
                    self.problem((*keys, name), f"values of {', '.join(column.choices)}; not {', '.join(map(str, wrong))}")

    def _check_mode(self, mapping: TableMapping) -> None:
        shared = {name for name, column in mapping.own_columns.items() if column.owner != "oms"}
        if mapping.mode == "mirrored" and shared:
            self.problem(("columns", sorted(shared)[0], "owner"), "oms: every column of a mirrored table is the OMS's")
        if mapping.mode == "shared" and not shared:
            self.problem(("mode",), "mirrored: no column is Salesforce's or both's")
        if mapping.mode == "embedded" and mapping.targets:
            self.problem(("targets",), "none: an embedded table's fields are in the table that embeds it")
        if mapping.mode != "embedded" and not mapping.targets:
            self.problem((), "targets")
        if str(mapping.run) != mapping.wave[0]:
            self.problem(("wave",), f"a wave of run {mapping.run}")


# ------------------------------------------------------------------------------------------------------------- helpers
def _condition(when: Mapping[str, list[str | int | bool | None]]) -> Condition:
    return Condition({name: tuple(values) for name, values in when.items()})


def _record_types(given: str | RecordTypeFile | None) -> tuple[tuple[str, ...], str | None, dict[str, str]]:
    if isinstance(given, RecordTypeFile):
        return tuple(dict.fromkeys(given.values.values())), given.column, dict(given.values)
    return ((given,) if given else ()), None, {}


def _parse_type(field: FieldFile) -> tuple[FieldType, int | None, int | None, int | None, str | None]:
    """Text(40) -> type, length, precision, scale, parent object."""
    name, _, arguments = field.type.rstrip(")").partition("(")
    kind = cast(FieldType, name)
    if kind in ("Lookup", "MasterDetail"):
        return kind, None, None, None, arguments
    if kind in ("Number", "Currency"):
        precision, scale = arguments.split(",")
        return kind, None, int(precision), int(scale), None
    return kind, field.length or (int(arguments) if arguments else _LENGTHS.get(kind)), None, None, None


def _relationship(name: str) -> str:
    return f"{name[:-3]}__r" if name.endswith("__c") else name.removesuffix("Id")


def _label(name: str) -> str:
    plain = re.sub(r"__p?c$", "", name)
    return plain.replace("_", " ") if "_" in plain else re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", plain)


def _strongest(columns: list[Column]) -> Owner:
    owners = {column.owner for column in columns}
    return "both" if "both" in owners else "salesforce" if "salesforce" in owners else "oms"


def _picklist(field: FieldFile, column: Column) -> tuple[str, ...]:
    if field.picklist == "us_states":
        return STATE_CODES
    return tuple(field.picklist) if field.picklist is not None else column.choices or ()


def _revoked(field: Field, column: Column) -> Json:
    if column.revoked == "set":
        return "set"
    return not column.revoked if field.transform == "inverted" else column.revoked


def _sync_fields(object_name: str) -> dict[str, Field]:
    return {
        name: Field(
            name=name,
            object=object_name,
            label=_label(name),
            type=kind,
            length=length,
            precision=precision,
            scale=0 if precision else None,
            system=True,
        )
        for name, (kind, length, precision) in _SYNC_FIELDS.items()
    }


def _with_guards(fields: dict[str, Field]) -> dict[str, Field]:
    """Tells every text that may be withheld or cut which checkboxes say so; gives a `cut` checkbox its text's length."""
    result = dict(fields)
    for name, field in fields.items():
        guards = [
            other.name for other in fields.values() if other.transform == "cut" and other.sources == field.sources and field.overflow_file
        ]
        if field.withheld_when is not None:
            guards += [
                other.name
                for other in fields.values()
                if other.type == "Checkbox" and set(other.sources) & field.withheld_when.values.keys()
            ]
        result[name] = replace(field, guards=tuple(guards))
    return result
