"""From a Salesforce record to columns: reads a field out of REST's JSON or a line of Bulk's CSV, and undoes the transforms."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from enum import Enum

from omsync.mapping.columns import OMIT, accept
from omsync.mapping.errors import TransformError
from omsync.mapping.model import DEFAULT_OWNER_ID, Column, Field, Json, Target
from omsync.mapping.transforms import Codec

type Ids = Callable[[str, str], str | None]  # (object, Salesforce id) -> the record's OMS id
type SalesforceRecord = Mapping[str, Json]


class Absent(Enum):
    """Says that a record does not bring a field."""

    ABSENT = "absent"


ABSENT = Absent.ABSENT


def read(field: Field, record: SalesforceRecord, ids: Ids | None = None) -> Json | Absent:
    """A field's value in a record; a reference's is the parent's OMS id.

    References come as `{"Patient__r": {"OMS_Id__c": ...}}` (REST), `Patient__r.OMS_Id__c` (Bulk), or, where neither can name the parent
    (polymorphic ones), as a Salesforce id that `ids` translates.
    """
    reference = field.references
    if reference is None:
        return record.get(field.name, ABSENT)
    parent = record.get(reference.relationship, ABSENT)
    if isinstance(parent, Mapping) and reference.external_id in parent:
        return parent[reference.external_id]
    flat = f"{reference.relationship}.{reference.external_id}"
    if flat in record:
        return record[flat]
    value = record.get(field.name, ABSENT)
    if value is None or value == "" or parent is None:
        return None
    if not isinstance(value, str):
        return ABSENT
    if len(value) == 36:  # an OMS id already
        return value
    return ids(reference.object, value) if ids is not None else ABSENT


@dataclass(frozen=True, slots=True)
class _Group:
    """Fields that carry the same sources. The first that is not null tells."""

    sources: tuple[str, ...]
    carriers: tuple[tuple[Field, Codec], ...]
    guards: tuple[str, ...]


class Inward:
    """A target's way from record to columns."""

    def __init__(self, target: Target, fields: Mapping[str, Field], codecs: Mapping[str, Codec], columns: Mapping[str, Column]) -> None:
        """`columns` by source: an embedded row's are `shipping_address.line1`."""
        self.target, self._columns = target, columns
        self._births = [(name, own.birth) for name, own in columns.items() if own.birth is not None]
        groups: dict[tuple[str, ...], list[tuple[Field, Codec]]] = {}
        for name, field in fields.items():
            if field.back and not field.match_only:
                groups.setdefault(field.sources, []).append((field, codecs[name]))
        self._groups = [
            _Group(sources, tuple(carriers), tuple(dict.fromkeys(guard for field, _ in carriers for guard in field.guards)))
            for sources, carriers in groups.items()
        ]

    def __call__(
        self, record: SalesforceRecord, wanted: Collection[str] | None, ids: Ids | None, errors: list[TransformError] | None
    ) -> dict[str, Json]:
        """Columns of the `wanted` fields; without `wanted` all that the record brings, and what the target itself tells."""
        told: dict[str, Json] = {} if wanted is not None else self._told(record)
        values: dict[str, Json] = {}
        fields: dict[str, str] = {}  # source -> field, for errors
        for group in self._chosen(wanted):
            name = group.carriers[0][0].name
            try:
                for source, value in self._back(group, record, ids):
                    values[source] = told.get(source) if value is None else value
                    fields[source] = name
            except TransformError as fault:
                _fail(fault.at(name), errors)
        for column, value in told.items():
            values.setdefault(column, value)
        result = self._assemble(values, fields, errors)
        return result if wanted is not None else result | self._born(result)

    def _chosen(self, wanted: Collection[str] | None) -> list[_Group]:
        """The groups that carry a wanted field; of an address all groups if one is wanted."""
        if wanted is None:
            return self._groups
        chosen = [group for group in self._groups if any(field.name in wanted for field, _ in group.carriers)]
        whole = {_head(group) for group in chosen if "." in group.sources[0]}
        return [group for group in self._groups if group in chosen or _head(group) in whole]

    def _back(self, group: _Group, record: SalesforceRecord, ids: Ids | None) -> list[tuple[str, Json]]:
        if any(record.get(guard) not in (False, "false") for guard in group.guards):
            return []
        chosen: Json = None
        codec = group.carriers[0][1]
        for field, candidate in group.carriers:
            value = read(field, record, ids)
            if value is ABSENT:
                return []
            normal = candidate.normal(value)
            if chosen is None and normal is not None:
                chosen, codec = normal, candidate
        if codec.back is None or chosen == DEFAULT_OWNER_ID:  # whom the default owner stands in for only the OMS knows
            return []
        back = codec.back(chosen)
        return list(zip(group.sources, back if isinstance(back, tuple) else (back,), strict=True))

    def _told(self, record: SalesforceRecord) -> dict[str, Json]:
        """What the object and its record type say by themselves: channel email, the first category of a record type."""
        when = self.target.when.values if self.target.when is not None else {}
        told = {column: values[0] for column, values in when.items() if len(values) == 1}
        kind = record.get("RecordType")
        name = kind.get("DeveloperName") if isinstance(kind, Mapping) else record.get("RecordType.DeveloperName")
        if self.target.record_type_column is not None:
            for value, record_type in self.target.record_type_values.items():
                if record_type == name:
                    told.setdefault(self.target.record_type_column, value)
        return told

    def _born(self, result: Mapping[str, Json]) -> dict[str, Json]:
        """What a row that is born here has by the mapping's word: an inbound message is received, an outbound one sent."""
        found: dict[str, Json] = {}
        for name, birth in self._births:
            key = result.get(birth.column)
            if result.get(name) is None and isinstance(key, str) and key in birth.values:
                found[name] = birth.values[key]
        return found

    def _assemble(self, values: Mapping[str, Json], fields: Mapping[str, str], errors: list[TransformError] | None) -> dict[str, Json]:
        result: dict[str, Json] = {}
        inner: dict[str, dict[str, Json]] = {}
        for source, value in values.items():
            head, _, tail = source.partition(".")
            if tail:
                inner.setdefault(head, {})[tail] = value
                continue
            try:
                accepted = accept(self._columns[source], value)
            except TransformError as fault:
                _fail(fault.at(fields.get(source, source)), errors)
                continue
            if accepted is not OMIT:
                result[head] = accepted
        for head, parts in inner.items():
            try:
                result[head] = self._address(head, parts)
            except TransformError as fault:
                _fail(fault.at(next(name for source, name in fields.items() if source.startswith(f"{head}."))), errors)
        return result

    def _address(self, head: str, parts: Mapping[str, Json]) -> Json:
        """An embedded row: null if every field is empty."""
        if all(value is None for value in parts.values()):
            return None
        accepted = {name: accept(self._columns[f"{head}.{name}"], value) for name, value in parts.items()}
        return {name: value for name, value in accepted.items() if value is not OMIT}


def _head(group: _Group) -> str:
    return group.sources[0].partition(".")[0]


def _fail(fault: TransformError, errors: list[TransformError] | None) -> None:
    if errors is None:
        raise fault
    errors.append(fault)
