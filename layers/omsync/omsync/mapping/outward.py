"""From a row to a Salesforce record. Everything a field needs is worked out once per target; a row costs a look-up and a call per field."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass

from omsync.mapping.errors import TransformError
from omsync.mapping.model import DEFAULT_OWNER_ID, Field, Json, Row, Target
from omsync.mapping.normal import cut, utf16_length
from omsync.mapping.transforms import Codec

type Single = tuple[str, str, Callable[[Json], Json]]  # field, column, forward
type Several = tuple[str, tuple[str, ...], Callable[..., Json]]  # field, columns, forward


@dataclass(frozen=True, slots=True)
class File:
    """Text that is too long for its field; goes beside the record as a ContentVersion."""

    field: str
    name: str  # body.txt
    text: str


@dataclass(slots=True)
class Record:
    """What Salesforce should hold for a row: JSON-ready normal values, and parents by their OMS id."""

    target: Target
    external_id: str  # the row's id
    fields: dict[str, Json]
    references: dict[str, str | None]
    record_type: str | None = None
    held: frozenset[str] = frozenset()  # fields whose text was withheld or cut: nothing of Salesforce's flows back into them
    files: tuple[File, ...] = ()

    @property
    def object(self) -> str:
        return self.target.object

    @property
    def values(self) -> dict[str, Json]:
        """field -> normal value, references included: what to compare with `Compiled.normal_record`."""
        return {**self.fields, **self.references}


@dataclass(frozen=True, slots=True)
class _Long:
    """A text that may be withheld, or overflow into a file."""

    field: Field
    column: str
    forward: Callable[[Json], Json]
    flag: str | None  # checkbox that says it was cut


class Outward:
    """A target's way from row to record."""

    def __init__(self, table: str, target: Target, fields: Mapping[str, Field], codecs: Mapping[str, Codec]) -> None:
        self.table, self.target = table, target
        self._simple: list[Single] = []
        self._nulls: list[Single] = []  # null means something: OMS_Deleted__c
        self._several: list[Several] = []
        self._references: list[tuple[str, str]] = []
        self._recipients: list[Several] = []
        self._inside: dict[str, list[Several]] = {}  # fields from an embedded row or a document
        self._long: list[_Long] = []
        self._staff = [
            name for name, field in fields.items() if field.references is not None and field.references.missing == "default_owner"
        ]
        #: what a row without values becomes; only what is there costs anything then
        self._empty: dict[str, Json] = {}
        for name, field in fields.items():
            if not field.match_only and field.transform != "cut":
                self._sort(name, field, codecs[name], fields)

    def _sort(self, name: str, field: Field, codec: Codec, fields: Mapping[str, Field]) -> None:
        head, _, tail = field.sources[0].partition(".")
        if field.overflow_file or field.withheld_when is not None:
            flags = [other.name for other in fields.values() if other.transform == "cut" and other.sources == field.sources]
            self._long.append(_Long(field, head, codec.forward, flags[0] if flags else None))
        elif tail:
            self._inside.setdefault(head, []).append((name, tuple(path.partition(".")[2] for path in field.sources), codec.forward))
        elif field.references is not None and len(field.sources) == 1:
            self._references.append((name, head))
        elif len(field.sources) > 1:
            (self._several if field.references is None else self._recipients).append((name, field.sources, codec.forward))
        else:
            (self._nulls if codec.nulls else self._simple).append((name, head, codec.forward))
        if field.references is None:
            self._empty[name] = None

    def __call__(self, row: Row, staff: Container[str] | None = None) -> Record:
        fields = self._empty.copy()
        references: dict[str, str | None] = {}
        held: frozenset[str] = frozenset()
        files: tuple[File, ...] = ()
        name = "id"
        try:
            for name, column, forward in self._simple:
                value = row[column]
                if value is not None:
                    fields[name] = forward(value)
            for name, column, forward in self._nulls:
                fields[name] = forward(row[column])
            for name, columns, several in self._several:
                fields[name] = several(*[row[column] for column in columns])
            references = self._parents(row, staff)
            for name, columns, several in self._recipients:
                references[name] = several(*[row[column] for column in columns])  # type: ignore[assignment]
            for head, plan in self._inside.items():
                name = plan[0][0]
                _inside(row[head], plan, fields)
                name = plan[-1][0]
            if self._long:
                held, files = self._long_texts(row, fields)
            record_type = self.target.record_type(row) if self.target.record_types else None
            return Record(self.target, str(row["id"]).lower(), fields, references, record_type, held, files)
        except TransformError as fault:
            raise fault.at(name, self._where(row)) from None
        except KeyError as fault:
            raise TransformError(f"the row lacks {fault.args[0]}", code="column_missing").at(name, self._where(row)) from None
        except (AttributeError, TypeError, ValueError) as fault:
            raise TransformError("a value of another type than the column's", code="wrong_type").at(name, self._where(row)) from fault

    def _parents(self, row: Row, staff: Container[str] | None) -> dict[str, str | None]:
        references = {name: None if (value := row[column]) is None else str(value).lower() for name, column in self._references}
        if staff is not None:
            for name in self._staff:
                owner = references[name]
                if owner is not None and owner not in staff:
                    references[name] = DEFAULT_OWNER_ID
        return references

    def _where(self, row: Row) -> str:
        return f"{self.table}/{row.get('id')}"

    def _long_texts(self, row: Row, fields: dict[str, Json]) -> tuple[frozenset[str], tuple[File, ...]]:
        held: set[str] = set()
        files: list[File] = []
        for long in self._long:
            name, limit, value = long.field.name, long.field.length or 0, row[long.column]
            withheld = long.field.withheld_when is not None and long.field.withheld_when(row)
            text = None if value is None or withheld else long.forward(value)
            overflow = isinstance(text, str) and len(text) * 2 > limit and utf16_length(text) > limit
            if overflow:
                if not long.field.overflow_file:
                    raise TransformError("text too long", code="too_long", length=utf16_length(str(text)), limit=limit).at(name)
                files.append(File(name, f"{long.column}.{'json' if long.field.transform == 'pretty_json' else 'txt'}", str(text)))
                text = cut(str(text), limit)
            fields[name] = text
            if long.flag is not None:
                fields[long.flag] = overflow
            if overflow or withheld:
                held.add(name)
        return frozenset(held), tuple(files)


def _inside(value: Json, plan: list[Several], fields: dict[str, Json]) -> None:
    """Fields from an embedded row or a document, which may be null or lack a key."""
    if not isinstance(value, dict):
        return
    for name, keys, forward in plan:
        parts = [value.get(key) for key in keys]
        if parts.count(None) < len(parts):
            try:
                fields[name] = forward(*parts)
            except TransformError as fault:
                raise fault.at(name) from None
