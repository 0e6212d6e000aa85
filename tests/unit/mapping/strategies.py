"""Rows for the property tests: every column of every table, in normal form or deliberately not."""

from __future__ import annotations

import csv
import os
from datetime import UTC, date, datetime
from functools import cache
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from omsync.mapping import Column, Compiled, Field, TableMapping, compile_mapping, load_mappings
from omsync.mapping.normal import utf16_length

ROOT = Path(__file__).parents[3]
SHARED = Path(os.environ.get("OMSYNC_SHARED", ROOT.parent / "shared"))
STRINGS = SHARED / "data" / "strings" / "naughty_strings.csv"

EMOJI = [
    "😀",
    "👨‍👩‍👧‍👦",
    "🇩🇪",
    "👍🏽",
    "e\u0301",
    "שלום",
    "مرحبا بالعالم",
    "\u202eabc",
    "ﷺ",
    "Ω≈ç√∫",
    "田中さん",
    "\u200b",
    "\ufeff",
    "ǅ",
    "İ",
]
_CHARACTERS = st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff")


@cache
def naughty_strings() -> list[str]:
    """The strings of the shared collection; none if it is not there."""
    if not STRINGS.exists():
        return []
    with STRINGS.open(encoding="utf-8", newline="") as file:
        return [line["value"] for line in csv.DictReader(file)]


def normal_line(limit: int, minimum: int = 1) -> st.SearchStrategy[str]:
    """One-line text that is its own normal form, up to `limit` UTF-16 units."""
    texts = st.one_of(
        st.text(_CHARACTERS, max_size=min(limit, 60)), st.sampled_from(EMOJI), st.just("x" * limit), st.just("😀" * (limit // 2))
    )
    return texts.map(lambda text: text.strip()).filter(lambda text: minimum <= utf16_length(text) <= limit)


def normal_block(limit: int) -> st.SearchStrategy[str]:
    """Text in lines that is its own normal form."""
    return (
        st.lists(normal_line(min(limit, 200), minimum=0), min_size=1, max_size=4)
        .map("\n".join)
        .map(str.strip)
        .filter(lambda text: 1 <= utf16_length(text) <= limit)
    )


def moments() -> st.SearchStrategy[str]:
    """Moments with milliseconds, in the API's shape, to both ends of what Salesforce takes."""
    whole = st.datetimes(datetime(1700, 1, 1), datetime(4000, 12, 30)).map(  # noqa: DTZ001  (hypothesis wants naive bounds)
        lambda value: value.replace(microsecond=value.microsecond // 1000 * 1000, tzinfo=UTC)
    )
    return whole.map(lambda value: value.isoformat(timespec="microseconds").replace("+00:00", "Z"))


def days() -> st.SearchStrategy[str]:
    return st.dates(date(1700, 1, 1), date(4000, 12, 31)).map(date.isoformat)


def documents() -> st.SearchStrategy[Any]:
    leaf = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=20))
    return st.dictionaries(st.text(max_size=10), st.recursive(leaf, lambda inner: st.lists(inner, max_size=3), max_leaves=5), max_size=4)


def _by_type(column: Column, field: Field | None) -> st.SearchStrategy[Any]:
    limit = (field.length if field else None) or 255
    digits = min(field.precision or 15, 15) if field else 15
    kind = column.type.partition("(")[0]
    if column.choices:
        return st.sampled_from(column.choices)
    if column.only:
        return st.sampled_from(column.only)
    if kind == "char":
        size = column.length or 1
        return st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789", min_size=size, max_size=size)
    if kind == "integer":
        edge = min(10 ** (digits - (field.scale or 0 if field else 0)), 2**31) - 1
        return st.integers(-edge, edge)
    if kind == "bigint":
        return st.one_of(st.integers(-(10**digits) + 1, 10**digits - 1), st.sampled_from([10**digits - 1, 1 - 10**digits, 0, 1, -1]))
    if kind == "numeric":
        precision, scale = map(int, column.type[8:-1].split(","))
        return (
            st.decimals(-(10 ** (precision - scale)) + 1, 10 ** (precision - scale) - 1, places=scale)
            .map(lambda value: f"{value + 0:f}")
            .map(_no_minus_zero)
        )
    simple = {
        "uuid": st.uuids(version=4).map(str),
        "boolean": st.booleans(),
        "date": days(),
        "timestamptz": moments(),
        "jsonb": documents(),
        "inet": st.just("10.0.0.1"),
        "xid8": st.just("77"),
        "text[]": st.sets(normal_line(40).filter(lambda text: ";" not in text), max_size=5).map(sorted),
    }
    if kind in simple:
        return simple[kind]
    return normal_block(limit) if field is not None and field.type in ("LongTextArea", "TextArea", "Html") else normal_line(limit)


def _no_minus_zero(text: str) -> str:
    return text.removeprefix("-") if float(text) == 0 else text


def _by_transform(field: Field) -> st.SearchStrategy[Any] | None:
    names = ["US", "CA", "MX", "DE"] if field.transform == "country" else ["CA", "NY", "PR", "Ontario", "Niedersachsen", "ON"]
    strategies: dict[str, st.SearchStrategy[Any]] = {
        "valid_email": st.one_of(
            st.emails().map(str.lower).filter(lambda text: len(text) <= 80), st.sampled_from(["n/a", "a@b", "Bob Ross <b@c.de>", "x@@y.de"])
        ),
        "email": st.sampled_from(["a@b.de", "first.last+tag@sub.example.com", "o'brien@example.org"]),
        "e164": st.from_regex(r"\+[1-9][0-9]{6,14}", fullmatch=True).filter(str.isascii),
        "us_state": st.sampled_from(names),
        "country": st.sampled_from(names),
    }
    return strategies.get(field.transform)


def column_values(column: Column, fields: list[Field]) -> st.SearchStrategy[Any]:
    """Normal values of a column that these fields carry."""
    special = next((found for field in fields if (found := _by_transform(field)) is not None), None)
    if special is not None and column.length is not None:
        special = special.filter(lambda text: len(text) <= (column.length or 0))
    values = special if special is not None else _by_type(column, min(fields, key=lambda field: field.length or 10**9, default=None))
    return st.one_of(st.none(), values) if column.nullable else values


@st.composite
def _lines(draw: st.DrawFn) -> tuple[str, str | None]:
    """A street: its first line, and the rest."""
    first = draw(normal_line(80))
    return first, draw(st.one_of(st.none(), normal_line(80), normal_line(40).map(lambda text: f"{text}\nFloor 3")))


@st.composite
def rows(draw: st.DrawFn, table: str) -> dict[str, Any]:
    """A full row in normal form."""
    mapping = load_mappings()[table]
    row = {name: draw(column_values(column, _fields(mapping, name))) for name, column in mapping.columns.items()}
    _streets(draw, row, mapping, "")
    for name, embedded in mapping.embedded.items():
        columns = load_mappings()[embedded.table].columns
        inner: dict[str, Any] = {key: draw(column_values(column, _fields(mapping, f"{name}.{key}"))) for key, column in columns.items()}
        _streets(draw, inner, mapping, f"{name}.")
        row[name] = draw(st.one_of(st.none(), st.just(inner)))
    if table == "clinical_notes":
        row["status"] = draw(st.sampled_from(["signed", "amended", "entered_in_error"]))
    if table == "patients":
        row["status"] = draw(st.sampled_from(["prospect", "active", "inactive", "blocked", "deceased", "erased"]))
    return row


def _streets(draw: st.DrawFn, row: dict[str, Any], mapping: TableMapping, prefix: str) -> None:
    for target in mapping.targets:
        for field in target.fields.values():
            if field.transform == "street" and field.sources[0].startswith(prefix) and field.sources[0].count(".") == prefix.count("."):
                first, second = (path.removeprefix(prefix) for path in field.sources)
                row[first], row[second] = draw(_lines())


def _fields(mapping: TableMapping, source: str) -> list[Field]:
    return [field for target in mapping.targets for field in target.fields.values() if source in field.sources]


def invertible(compiled: Compiled, object_name: str) -> set[str]:
    """Sources that some field of the object carries back."""
    return {path for field in compiled.fields(object_name).values() if field.back and not field.match_only for path in field.sources}


def at(row: dict[str, Any], path: str) -> Any:
    head, _, tail = path.partition(".")
    return row[head] if not tail else None if row[head] is None else row[head][tail]


def compiled(table: str) -> Compiled:
    return compile_mapping(load_mappings()[table])
