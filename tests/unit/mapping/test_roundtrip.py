"""Salesforce-bound and back is the identity on normal forms, for every invertible column of every table."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from omsync.mapping import Compiled, Field, TransformError, load_mappings
from omsync.mapping.normal import block, instant, line, utf16_length
from tests.unit.mapping.strategies import EMOJI, STRINGS, at, compiled, invertible, naughty_strings, rows

TABLES = [mapping.table for mapping in load_mappings() if mapping.mode in ("mirrored", "shared")]
QUICK = settings(
    max_examples=12,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.large_base_example, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)


@pytest.mark.parametrize("table", TABLES)
@QUICK
@given(data=st.data())
def test_a_normal_row_is_sent_as_it_is_reads_back_the_same_and_returns_as_it_went(table: str, data: st.DataObject) -> None:
    row = data.draw(rows(table))
    mapping = compiled(table)
    for record in mapping.to_salesforce(row):
        assert mapping.normal_record(record.object, record.values) == record.values
        assert mapping.normal_record(record.object, {name: _bulk(value) for name, value in record.values.items()}) == record.values
        back = mapping.to_oms(record.object, record.values)
        for source in sorted(invertible(mapping, record.object)):
            field = next(f for f in record.target.fields.values() if source in f.sources and f.back)
            if field.name not in record.held:
                assert at(back, source) == at(row, source), f"{table}.{source} by {field.name}"


def _bulk(value: Any) -> str:
    """As a Bulk query's CSV gives it."""
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _text_fields() -> list[tuple[str, str, str]]:
    found = []
    texts = ("Text", "TextArea", "LongTextArea", "Html", "Email", "Phone", "Url", "Picklist")
    for mapping in load_mappings():
        for target in mapping.targets:
            for name, field in compiled(mapping.table).fields(target.object).items():
                if field.back and not field.match_only and field.references is None and field.type in texts:
                    found.append((mapping.table, target.object, name))
    return found


TEXT_FIELDS = _text_fields()
STRANGE = [
    *EMOJI,
    "\r\n a \r b \x0b c \x0c d \x00 \x07 \x7f \ud800 \ufffe",
    " \u00a0\u2003x\u3000",
    "\t",
    "\r\n",
    "a\r\nb\r\n\r\nc",
    "#N/A",
    "Null",
    ";",
    ";;a;b",
]


def _settles(mapping: Compiled, field: Field, text: str) -> None:
    """Normal forms are stable, and what goes back returns the same."""
    normal = mapping.normal(field, text)
    assert mapping.normal(field, normal) == normal
    errors: list[TransformError] = []
    record = dict.fromkeys(mapping.fields(field.object)) | dict.fromkeys(field.guards, False) | {field.name: text}
    columns = mapping.to_oms(field.object, record, fields=[field.name], errors=errors)
    source = field.sources[0]
    head, _, tail = source.partition(".")
    if errors or head not in columns or columns[head] is None:
        return
    parts = [columns[head]] if not tail else [(columns[head] or {}).get(tail)]  # type: ignore[union-attr]
    if len(field.sources) == 2:
        other, _, inner = field.sources[1].partition(".")
        parts.append(columns.get(other) if not inner else (columns[other] or {}).get(inner))  # type: ignore[union-attr]
    codec = mapping._codecs[field.object][field.name]
    try:
        again = None if all(part is None for part in parts) else codec.forward(*parts)
    except TransformError as fault:
        assert fault.code in ("transform.too_long", "transform.invalid_email")  # Salesforce could not hold it either
        return
    if field.name != "PersonEmail" or again is not None:  # an odd address goes into Legacy_Email__pc
        assert again == normal


@pytest.mark.parametrize(("table", "object_name", "name"), TEXT_FIELDS)
def test_strange_text_typed_in_salesforce_settles(table: str, object_name: str, name: str) -> None:
    mapping = compiled(table)
    for text in STRANGE:
        _settles(mapping, mapping.fields(object_name)[name], text)


@pytest.mark.skipif(not STRINGS.exists(), reason="needs the shared collection of naughty strings (OMSYNC_SHARED)")
@pytest.mark.parametrize(("table", "object_name", "name"), TEXT_FIELDS)
def test_naughty_strings_settle(table: str, object_name: str, name: str) -> None:
    mapping = compiled(table)
    assert len(naughty_strings()) > 100
    for text in naughty_strings():
        _settles(mapping, mapping.fields(object_name)[name], text)


@settings(max_examples=300, deadline=None)
@given(text=st.text())
def test_normal_forms_are_idempotent_and_hold_nothing_that_xml_cannot_carry(text: str) -> None:
    for shape in (line, block):
        once = shape(text)
        assume(once is not None)
        assert once is not None
        assert shape(once) == once
        assert once == once.strip()
        assert "\r" not in once
        assert not any(ord(char) < 32 and char not in "\n\t" for char in once)
        once.encode("utf-8")


@pytest.mark.parametrize("text", ["x" * 131_072, "😀" * 65_536, "שׁ" * 65_536, ("line\n" * 26_214)[:131_071] + "z"])
def test_131_072_characters_go_there_and_back(text: str) -> None:
    mapping = compiled("communications")
    field = mapping.fields("Communication__c")["Body__c"]
    assert utf16_length(text) <= 131_072
    forward = mapping._codecs["Communication__c"]["Body__c"].forward
    assert forward(text) == text
    with pytest.raises(TransformError) as fault:
        forward(text + "😀")
    assert (fault.value.length, fault.value.limit) == (utf16_length(text) + 2, 131_072)
    assert mapping.to_oms("Communication__c", {"Body__c": text}, fields=["Body__c"]) == {"body_text": text}
    assert field.length == 131_072


EXTREMES: dict[str, list[Any]] = {
    "cents": [0, 1, -1, 99, 100, 10**14 + 1, 10**15 - 1, 1 - 10**15],
    "integer": [0, 1, -1],
    "date": ["1700-01-01", "1900-02-28", "2000-02-29", "2026-03-08", "4000-12-31"],
    "datetime": [
        "1700-01-01T00:00:00.000000Z",
        "1969-12-31T23:59:59.999000Z",
        "2026-03-08T07:00:00.000000Z",
        "2026-11-01T05:59:59.999000Z",
    ],
    "multiselect": [[], ["a"], ["Z", "a", "é", "田", "😀"], ["a b", "a,b"]],
    "flag": [True, False],
    "inverted": [True, False],
}
EXTREME_FIELDS = [
    (mapping.table, target.object, field)
    for mapping in load_mappings()
    for target in mapping.targets
    for field in target.fields.values()
    if field.back and not field.match_only and field.transform in (*EXTREMES, "decimal")
]


@pytest.mark.parametrize(
    ("table", "object_name", "field"), EXTREME_FIELDS, ids=[f"{table}-{field.name}" for table, _, field in EXTREME_FIELDS]
)
def test_extreme_values_come_back(table: str, object_name: str, field: Field) -> None:
    codec = compiled(table)._codecs[object_name][field.name]
    assert codec.back is not None
    values = EXTREMES.get(field.transform) or _edges(field)
    for value in values:
        forward = codec.forward(value)
        assert codec.back(forward) == value
        assert codec.normal(forward) == forward
        assert codec.normal(_bulk(forward)) == forward


def _edges(field: Field) -> list[str]:
    """Of Number(5,1): 9999.9 and its like."""
    whole, scale = "9" * ((field.precision or 0) - (field.scale or 0)), field.scale or 0
    return [f"{whole}.{'9' * scale}", f"-{whole}.{'9' * scale}", f"0.{'0' * (scale - 1)}1", f"0.{'0' * scale}"]


@settings(max_examples=500, deadline=None)
@given(cents=st.integers(1 - 10**15, 10**15 - 1))
def test_every_amount_comes_back_to_the_cent(cents: int) -> None:
    codec = compiled("orders")._codecs["Order"]["Grand_Total__c"]
    amount = codec.forward(cents)
    assert codec.back is not None
    assert codec.back(amount) == codec.back(codec.normal(repr(amount))) == cents
    assert Decimal(repr(amount)) == Decimal(cents) / 100  # JSON and CSV say exactly this


@given(
    st.datetimes(datetime(1700, 1, 2), datetime(4000, 12, 30)),  # noqa: DTZ001  (hypothesis wants naive bounds)
    st.sampled_from([0, 1, 999, 1000, 123_456, 999_999]),
    st.sampled_from([UTC, timezone(timedelta(hours=-5)), timezone(timedelta(hours=5, minutes=30))]),
)
def test_a_moment_is_cut_to_milliseconds_of_utc(moment: datetime, microsecond: int, zone: timezone) -> None:
    aware = moment.replace(microsecond=microsecond, tzinfo=zone)
    expected = aware.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"
    assert instant(aware) == instant(aware.isoformat()) == instant(expected) == expected
