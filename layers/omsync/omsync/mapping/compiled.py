"""A mapping made ready to run: rows to Salesforce records and back, as pure functions.

    compiled = compile_mapping(load_mappings()["orders"])
    compiled.to_salesforce(row)        -> [Record, ...]           normal values, parents by OMS id
    compiled.normal_record("Order", r) -> {field: normal value}   what Salesforce holds; equal to Record.values if both agree
    compiled.to_oms("Order", r)        -> {column: value}         ready for a PATCH or POST

Rows have the API's JSON shape (moments with any offset, psycopg's own types are taken too).
"""

from __future__ import annotations

from collections.abc import Collection, Container, Sequence
from functools import lru_cache

from omsync.mapping.errors import TransformError
from omsync.mapping.inward import ABSENT, Absent, Ids, Inward, SalesforceRecord, read
from omsync.mapping.load import load_mappings
from omsync.mapping.model import Column, Field, Json, Mappings, Row, TableMapping, Target
from omsync.mapping.outward import Outward, Record
from omsync.mapping.transforms import TRANSFORMS, Codec

DEFAULT_TIME_ZONE = "America/New_York"


class Compiled:
    """A table's mapping, ready to run. Make it with `compile_mapping`."""

    def __init__(self, mapping: TableMapping, mappings: Mappings, time_zone: str, features: frozenset[str]) -> None:
        self.mapping, self.features = mapping, features
        #: by source: `status`, `shipping_address.line1`
        self.columns: dict[str, Column] = dict(mapping.columns)
        for name, embedded in mapping.embedded.items():
            self.columns |= {f"{name}.{key}": column for key, column in mappings[embedded.table].columns.items()}
        self._fields = {target.object: self._available(target) for target in mapping.targets}
        self._codecs = {
            name: {key: TRANSFORMS[field.transform].build(field, time_zone) for key, field in fields.items()}
            for name, fields in self._fields.items()
        }
        #: field, its normal form, what nothing looks like in it (null; false in a checkbox)
        self._plain = {
            name: [
                (key, (codec := self._codecs[name][key]).normal, codec.normal(""))
                for key, field in fields.items()
                if field.references is None
            ]
            for name, fields in self._fields.items()
        }
        #: field, how Bulk names the parent's OMS id (if it can)
        self._parents = {
            name: [(key, field.path if "." in field.path else "", field) for key, field in fields.items() if field.references is not None]
            for name, fields in self._fields.items()
        }
        self._outward = {t.object: Outward(mapping.table, t, self._fields[t.object], self._codecs[t.object]) for t in mapping.targets}
        self._inward = {t.object: Inward(t, self._fields[t.object], self._codecs[t.object], self.columns) for t in mapping.targets}
        multi_currency = "multi_currency" in features
        self._only = () if multi_currency else tuple((name, column.only) for name, column in mapping.columns.items() if column.only)

    def _available(self, target: Target) -> dict[str, Field]:
        return {name: field for name, field in target.fields.items() if field.feature is None or field.feature in self.features}

    def fields(self, object_name: str) -> dict[str, Field]:
        """The fields that this org has."""
        return self._fields[object_name]

    def to_salesforce(self, row: Row, *, existing: bool = False, staff: Container[str] | None = None) -> list[Record]:
        """The records a row becomes, in the order they must be written. TransformError names the field that cannot be carried.

        A row that is not sent by rule becomes none, unless its record is there already (`existing`): a rule keeps records from
        being created, not from being kept up to date. `staff`: OMS ids that have a User; for others the default owner stands in.
        """
        if not existing and self.mapping.skips and self.mapping.skip_reason(row) is not None:
            return []
        for column, allowed in self._only:
            if row.get(column) not in allowed:
                fault = TransformError(f"a value other than {', '.join(allowed)}", code="value_not_allowed")
                raise fault.at(column, f"{self.mapping.table}/{row.get('id')}")
        return [self._outward[target.object](row, staff) for target in self.mapping.targets if target.when is None or target.when(row)]

    def unusual(self, row: Row, records: Sequence[Record] | None = None) -> tuple[str, ...]:
        """The text columns whose value is not its own normal form (outer white space, control characters, a state's name): preflight's list.

        Salesforce will hold the normal form; both sides count as equal, so the OMS keeps what it has. `records`: the row's, if they are known.
        """
        found: dict[str, None] = {}
        for record in self.to_salesforce(row, existing=True) if records is None else records:
            back = self.to_oms(record.object, record.values, errors=[])
            for source, column in self.columns.items():
                if column.type.startswith(("text", "char(")):
                    theirs = _at(back, source)
                    if theirs is not ABSENT and theirs != _at(row, source):
                        found[source] = None
        return tuple(found)

    def match_values(self, row: Row) -> dict[str, Json]:
        """Matched tables: field -> value to find the record by, best first, nulls left out."""
        found: dict[str, Json] = {}
        for target in self.mapping.targets:
            for name in target.match:
                value = row[target.fields[name].sources[0]]
                if value is not None:
                    found[name] = self._codecs[target.object][name].forward(value)
        return found

    def normal(self, field: Field | str, value: Json) -> Json:
        """A Salesforce value's normal form; `field` by name is the first target's that has it.

        Never complains: a value that no rule can read (text in a number) is its own normal form, equal to itself alone.
        """
        found = field if isinstance(field, Field) else next(fields[field] for fields in self._fields.values() if field in fields)
        return _normal(self._codecs[found.object][found.name], value)

    def normal_record(self, object_name: str, record: SalesforceRecord, *, ids: Ids | None = None) -> dict[str, Json]:
        """Normal values of the mapped fields that a record brings (REST's JSON or a line of Bulk's CSV)."""
        result: dict[str, Json] = {}
        for name, normal, nothing in self._plain[object_name]:
            value = record.get(name, ABSENT)
            if value is None or value == "":
                result[name] = nothing
            elif value is not ABSENT:
                try:
                    result[name] = normal(value)
                except TransformError:
                    result[name] = value
        for name, path, field in self._parents[object_name]:
            parent = record[path] if path in record else read(field, record, ids)  # Bulk names the parent by its path
            if parent is not ABSENT:
                result[name] = _normal(self._codecs[object_name][name], parent) if parent else None
        return result

    def to_oms(
        self,
        object_name: str,
        record: SalesforceRecord,
        *,
        fields: Collection[str] | None = None,
        ids: Ids | None = None,
        errors: list[TransformError] | None = None,
    ) -> dict[str, Json]:
        """The columns that a record says: for a PATCH those of `fields`, without `fields` all (for a create). The caller chooses by owner.

        An address comes whole or not at all; null if all its fields are empty. What is withheld or cut stays out, and so does null
        where the column takes none but has a default. With `errors` a bad value goes there and its column is left out; without,
        it is raised.
        """
        return self._inward[object_name](record, fields, ids, errors)


def _at(row: Row, source: str) -> Json | Absent:
    """The value at `status` or `shipping_address.line1`."""
    head, _, tail = source.partition(".")
    value = row.get(head, ABSENT)
    if not tail:
        return value
    return value.get(tail, ABSENT) if isinstance(value, dict) else ABSENT


def _normal(codec: Codec, value: Json) -> Json:
    try:
        return codec.normal(value)
    except TransformError:
        return value


@lru_cache(maxsize=256)
def compile_mapping(mapping: TableMapping, time_zone: str = DEFAULT_TIME_ZONE, features: frozenset[str] = frozenset()) -> Compiled:
    """Compile one of `load_mappings()`. `time_zone` is the org's (for calendar dates made of moments), `features`: multi_currency."""
    return Compiled(mapping, load_mappings(), time_zone, features)
