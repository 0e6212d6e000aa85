"""What a save needs to know of an object, compiled once: how each field is written, defaults, required fields, rules.

A `Shape` is the plan for records that carry the same keys from the same kind of caller: the bulk path finds it by one dictionary
look-up and then only runs converters.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from local.salesforce.context import Context
from local.salesforce.dml_types import Error, Json, Row, not_writable, unknown_column
from local.salesforce.formula import Formula, FormulaError, compile_formula
from local.salesforce.schema import FieldType, Kind, ObjectType, Org, ValidationRule
from local.salesforce.values import Converter, converter

# Objects on which "Set Audit Fields upon Record Creation" works, beside custom ones (Help: "Enable Create Audit Fields").
_AUDIT_OBJECTS = frozenset({"Account", "Contact", "Case", "Task", "Lead", "Opportunity", "EmailMessage", "CaseComment", "ContentVersion"})
_AUDIT_FIELDS = frozenset({"CreatedDate", "CreatedById", "LastModifiedDate", "LastModifiedById"})
ID_IN_INSERT = Error("INVALID_FIELD_FOR_INSERT_UPDATE", "cannot specify Id in an insert call", ("Id",))


@dataclass(slots=True, frozen=True)
class Lookup:
    """A lookup given by the parent's external id. `value_of` digs the value out of what the client sent."""

    key: str
    field: FieldType
    parent: ObjectType
    by: FieldType
    convert: Converter


@dataclass(slots=True)
class Shape:
    """How records with one set of keys are written. `errors` spoil every such record."""

    setters: list[tuple[str, str, Converter]] = field(default_factory=list)  # key as sent, column, converter
    dotted: list[Lookup] = field(default_factory=list)  # `Rel__r.Ext__c` keys
    nested: list[tuple[str, FieldType]] = field(default_factory=list)  # `Rel__r` keys: their lookup field
    references: list[FieldType] = field(default_factory=list)  # lookups given by id
    columns: tuple[str, ...] = ()
    person: list[str] = field(default_factory=list)  # Account: fields that only a Person Account has
    business: list[str] = field(default_factory=list)  # Account: fields that only a business account has (Name)
    id_key: str | None = None
    errors: list[Error] = field(default_factory=list)


@dataclass(slots=True, frozen=True)
class Rule:
    rule: ValidationRule
    formula: Formula
    error: Error
    columns: frozenset[str]  # of the record itself


class Plan:
    """One object's compiled save."""

    def __init__(self, obj: ObjectType, org: Org) -> None:
        self.object = obj
        self.org = org
        self.rules = [_rule(rule, obj, org) for rule in obj.rules if rule.active]
        self.template: Row = dict.fromkeys(obj.columns)
        self.defaults: list[tuple[str, Formula]] = []
        for f in obj.fields.values():
            self._default(f)
        self.required = tuple(
            f for f in obj.fields.values() if f.required and f.createable and f.kind not in {Kind.CHECKBOX, Kind.AUTO_NUMBER, Kind.ID}
        )
        self.unique = obj.unique_fields
        self.auto_numbers = tuple(f for f in obj.fields.values() if f.kind is Kind.AUTO_NUMBER)
        self.filled = tuple(name for name, value in self.template.items() if value is not None)
        self.looked_at = (
            {name for rule in self.rules for name in rule.columns}
            | {f.name for f in (*self.required, *self.unique)}
            | {"Id", "IsDeleted", "LastModifiedDate", "LastModifiedById", "SystemModstamp", "RecordTypeId", obj.name_field or "Id"}
        )
        self._shapes: dict[tuple[object, ...], Shapes] = {}

    def _default(self, f: FieldType) -> None:
        if not f.stored:
            return
        if f.kind is Kind.CHECKBOX:
            self.template[f.name] = int(f.default is True)
        elif f.kind in {Kind.PICKLIST, Kind.MULTI_PICKLIST}:
            self.template[f.name] = str(f.default) if f.default else None
        elif f.default is not None:
            try:
                self.defaults.append((f.name, compile_formula(str(f.default), self.object, self.org)))
            except FormulaError as error:
                raise FormulaError(f"{self.object.name}.{f.name}: default value: {error}") from error

    def columns_for(self, keys: Iterable[str], also: frozenset[str]) -> tuple[str, ...]:
        """The columns that saving these keys reads or writes: the fields sent, what rules and checks look at, and `also`."""
        sent = set()
        for key in keys:
            head = key.rpartition(".")[0].rpartition(":")[2] or key
            f = self.object.field(key) or self.object.relationship(head)
            if f is not None and f.stored:
                sent.add(f.name)
        wanted = sent | self.looked_at | also
        return tuple(c for c in self.object.columns if c in wanted)

    def shapes(self, context: Context, *, insert: bool) -> Shapes:
        """How this kind of caller's records are written, by their keys."""
        cache_key = (insert, context.surface, context.permissions)
        shapes = self._shapes.get(cache_key)
        if shapes is None:
            if len(self._shapes) > 64:
                self._shapes.clear()
            # Surface and permissions are all that a shape takes from its context, so the first caller's stands for all.
            shapes = self._shapes[cache_key] = Shapes(self.object, self.org, context, insert=insert)
        return shapes


def _rule(rule: ValidationRule, obj: ObjectType, org: Org) -> Rule:
    try:
        columns: set[str] = set()
        formula = compile_formula(rule.formula, obj, org, columns)
    except FormulaError as error:
        raise FormulaError(f"validation rule {obj.name}.{rule.name}: {error}") from error
    fields = (rule.field,) if rule.field else ()
    return Rule(rule, formula, Error("FIELD_CUSTOM_VALIDATION_EXCEPTION", rule.message, fields), frozenset(columns))


class Shapes(dict[tuple[str, ...], Shape]):
    """Shapes by the keys of a record, built on first use."""

    def __init__(self, obj: ObjectType, org: Org, context: Context, *, insert: bool) -> None:
        super().__init__()
        self._object = obj
        self._org = org
        self._context = context
        self._insert = insert

    def __missing__(self, keys: tuple[str, ...]) -> Shape:
        if len(self) > 4096:
            self.clear()
        shape = self[keys] = _Shaper(self._object, self._org, self._context, insert=self._insert).build(keys)
        return shape


class _Shaper:
    """Builds one Shape."""

    def __init__(self, obj: ObjectType, org: Org, context: Context, *, insert: bool) -> None:
        self._object = obj
        self._org = org
        self._context = context
        self._insert = insert
        self._shape = Shape()
        self._unwritable: list[str] = []

    def build(self, keys: tuple[str, ...]) -> Shape:
        for key in keys:
            self._key(key)
        shape = self._shape
        if shape.errors:
            del shape.errors[1:]  # the first unknown name ends it
        elif self._unwritable:
            shape.errors.append(not_writable(*self._unwritable))
        shape.columns = tuple(
            dict.fromkeys([c for _, c, _ in shape.setters] + [d.field.name for d in shape.dotted] + [f.name for _, f in shape.nested])
        )
        return shape

    def _key(self, key: str) -> None:
        lower = key.lower()
        if lower == "attributes":
            return
        if lower == "id":
            self._shape.id_key = key
            return
        if "." in key:
            self._dotted(key)
            return
        f = self._object.field(key)
        if f is not None and f.stored and self._context.permissions.readable(self._object, f):
            self._column(key, f)
            return
        lookup = self._object.relationship(key)
        if lookup is None or not self._context.permissions.readable(self._object, lookup):
            self._shape.errors.append(unknown_column(self._object.name, key))
        elif self._may_write(lookup):
            self._shape.nested.append((key, lookup))

    def _column(self, key: str, f: FieldType) -> None:
        if not self._may_write(f):
            return
        if f.person is not None and f.name not in {"Phone", "Fax", "Description", "OwnerId"}:
            self._shape.person.append(f.name)
        elif self._object.name == "Account" and f.name == "Name":
            self._shape.business.append(f.name)
        self._shape.setters.append((key, f.name, converter(f, self._context.surface)))
        if f.is_reference:
            self._shape.references.append(f)

    def _may_write(self, f: FieldType) -> bool:
        allowed = (f.createable if self._insert else f.updateable) and self._context.permissions.editable(self._object, f)
        if not allowed and self._insert and f.name in _AUDIT_FIELDS:
            allowed = self._context.sets_audit_fields and (self._object.custom or self._object.name in _AUDIT_OBJECTS)
        if not allowed:
            self._unwritable.append(f.name)
        return allowed

    def _dotted(self, key: str) -> None:
        """`Patient__r.OMS_Id__c`; polymorphic: `Account:RelatedTo.OMS_Id__c`."""
        path, _, by = key.rpartition(".")
        type_name, _, relationship = path.rpartition(":")
        lookup = self._object.relationship(relationship)
        if lookup is None:
            self._shape.errors.append(unknown_column(self._object.name, key))
            return
        found = parent_key(self._org, lookup, by, type_name or None)
        if isinstance(found, Error):
            self._shape.errors.append(found)
        elif self._may_write(lookup):
            parent, key_field = found
            self._shape.dotted.append(Lookup(key, lookup, parent, key_field, converter(key_field, self._context.surface)))


def parent_key(org: Org, lookup: FieldType, by: str, type_name: str | None) -> tuple[ObjectType, FieldType] | Error:
    """The parent object and its external id field that a relationship value names."""
    names = [n for n in lookup.references if type_name is None or n.lower() == type_name.lower()]
    parents = [p for p in (org.objects.get(n) for n in names) if p is not None]
    if len(parents) > 1:
        message = f"The relationship {lookup.relationship} is polymorphic: name the parent's type"
        return Error("INVALID_FIELD", message, (lookup.name,))
    f = parents[0].field(by) if parents else None
    if f is None or not f.upsert_key:
        where = parents[0].name if parents else (type_name or lookup.references[0])
        return Error("INVALID_FIELD", f"Field name provided, {by} is not an External ID or indexed field for {where}", ())
    return parents[0], f


def nested_key(value: dict[str, Json]) -> tuple[str | None, str, Json] | None:
    """`{"attributes": {"type": "Account"}, "OMS_Id__c": "x"}` -> (type, key, value); None when it isn't exactly one field."""
    attributes = value.get("attributes")
    type_name = attributes.get("type") if isinstance(attributes, dict) else None
    rest = [(k, v) for k, v in value.items() if k.lower() not in {"attributes", "type"}]
    if type_name is None and isinstance(value.get("type"), str):
        type_name = value["type"]
    if len(rest) != 1:
        return None
    return (type_name if isinstance(type_name, str) else None), rest[0][0], rest[0][1]
