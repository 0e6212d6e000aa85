"""One value in: what is stored, or which error."""

from __future__ import annotations

import pytest

from local.salesforce.context import Surface
from local.salesforce.schema import FieldType, Kind, PicklistValue
from local.salesforce.values import Refused, converter, utf16_length

VALUES = tuple(PicklistValue(v, v) for v in ("b", "a", "Sms"))


def field(kind: Kind, **more: object) -> FieldType:
    return FieldType("Some__c", "Some", kind, **more)  # type: ignore[arg-type]


def stored(f: FieldType, value: object, surface: Surface = Surface.REST) -> object:
    return converter(f, surface)(value)  # type: ignore[arg-type]


def refusal(f: FieldType, value: object, surface: Surface = Surface.REST) -> Refused:
    with pytest.raises(Refused) as caught:
        stored(f, value, surface)
    return caught.value


@pytest.mark.parametrize(
    ("kind", "more", "sent", "kept"),
    [
        (Kind.TEXT, {"length": 10}, "  Ada \n", "Ada"),
        (Kind.TEXT, {"length": 10}, "   ", None),
        (Kind.TEXT, {"length": 10}, 7, "7"),
        (Kind.TEXT, {"length": 4}, "😀😀", "😀😀"),
        (Kind.LONG_TEXT, {"length": 100}, "a\r\nb\nc", "a\r\nb\nc"),
        (Kind.CHECKBOX, {}, True, 1),
        (Kind.CHECKBOX, {}, "false", 0),
        (Kind.NUMBER, {"precision": 5, "scale": 2}, "12.345", 12.35),
        (Kind.NUMBER, {"precision": 5, "scale": 2}, 12.345, 12.35),
        (Kind.NUMBER, {"precision": 18, "scale": 0}, 7, 7.0),
        (Kind.NUMBER, {"precision": 18, "scale": 0}, "", None),
        (Kind.INTEGER, {"precision": 8}, "10000", 10000),
        (Kind.CURRENCY, {"precision": 16, "scale": 2}, "0.005", 0.01),
        (Kind.DATE, {}, "2026-02-28", "2026-02-28"),
        (Kind.DATETIME, {}, "2026-02-28T10:00:00.1239Z", "2026-02-28T10:00:00.123Z"),
        (Kind.DATETIME, {}, "2026-02-28T10:00:00.000+0000", "2026-02-28T10:00:00.000Z"),
        (Kind.DATETIME, {}, "2026-02-28T23:30:00-01:00", "2026-03-01T00:30:00.000Z"),
        (Kind.PICKLIST, {"picklist": VALUES, "restricted": True}, "SMS", "Sms"),
        (Kind.PICKLIST, {"picklist": VALUES}, "other", "other"),
        (Kind.MULTI_PICKLIST, {"picklist": VALUES}, "a;b", "b;a"),
        (Kind.EMAIL, {"length": 80}, " Ada@Example.com ", "Ada@Example.com"),
        (Kind.LOOKUP, {"length": 18}, "001B000001Lp1G2", "001B000001Lp1G2IAJ"),
        (Kind.ID_LIST, {}, ["001B000001Lp1G2"], "001B000001Lp1G2IAJ"),
    ],
)
def test_values_are_normalised(kind: Kind, more: dict[str, object], sent: object, kept: object) -> None:
    assert stored(field(kind, **more), sent) == kept


@pytest.mark.parametrize(
    ("kind", "more", "sent", "code", "message"),
    [
        (Kind.TEXT, {"length": 3}, "abcd", "STRING_TOO_LONG", "Some: data value too large: abcd (max length=3)"),
        (Kind.TEXT, {"length": 3}, "😀😀", "STRING_TOO_LONG", "Some: data value too large: 😀😀 (max length=3)"),
        (Kind.EMAIL, {"length": 80}, "a@b", "INVALID_EMAIL_ADDRESS", "Some: invalid email address: a@b"),
        (Kind.EMAIL, {"length": 80}, "a b@c.de", "INVALID_EMAIL_ADDRESS", "Some: invalid email address: a b@c.de"),
        (
            Kind.PICKLIST,
            {"picklist": VALUES, "restricted": True},
            "Terrible",
            "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST",
            "Some: bad value for restricted picklist field: Terrible",
        ),
        (
            Kind.MULTI_PICKLIST,
            {"picklist": VALUES, "restricted": True},
            "a;z",
            "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST",
            "Some: bad value for restricted picklist field: z",
        ),
        (Kind.CHECKBOX, {}, None, "INVALID_TYPE_ON_FIELD_IN_RECORD", "Some: value not of required type: "),
        (
            Kind.NUMBER,
            {"precision": 5, "scale": 2},
            1000,
            "NUMBER_OUTSIDE_VALID_RANGE",
            "Some: value outside of valid range on numeric field: 1000.0",
        ),
        (Kind.LOOKUP, {}, "001B000001Lp1G2IAK", "MALFORMED_ID", "Some: id value of incorrect type: 001B000001Lp1G2IAK"),
        (Kind.DATE, {}, "0999-01-01", "NUMBER_OUTSIDE_VALID_RANGE", "Some: invalid date: 0999-01-01"),
    ],
)
def test_refusals_are_worded_as_salesforce_words_them(kind: Kind, more: dict[str, object], sent: object, code: str, message: str) -> None:
    error = refusal(field(kind, **more), sent).error
    assert (error.status_code, error.message, error.fields) == (code, message, ("Some__c",))


@pytest.mark.parametrize(
    ("kind", "sent"),
    [
        (Kind.DATE, "2026-02-30"),
        (Kind.DATE, "28.2.2026"),
        (Kind.DATE, 20260228),
        (Kind.DATETIME, "2026-02-28"),
        (Kind.DATETIME, "2026-02-28T25:00:00Z"),
        (Kind.DATETIME, "0001-01-01T00:00:00+14:00"),
        (Kind.NUMBER, "twelve"),
        (Kind.NUMBER, "NaN"),
        (Kind.NUMBER, True),
        (Kind.INTEGER, 1.5),
        (Kind.CHECKBOX, "yes"),
        (Kind.CHECKBOX, 1),
        (Kind.TEXT, {"a": 1}),
        (Kind.PICKLIST, ["a"]),
        (Kind.LOOKUP, 12),
    ],
)
def test_a_wrong_json_type_spoils_the_request(kind: Kind, sent: object) -> None:
    caught = refusal(field(kind, precision=10, length=80), sent)
    assert caught.request
    assert caught.error.status_code == "JSON_PARSER_ERROR"
    assert caught.error.message.startswith(f"Cannot deserialize instance of {field(kind).describe_type} from ")


def test_a_bad_csv_value_is_worded_as_bulk_does() -> None:
    error = refusal(field(Kind.DATE), "2003-04-987", Surface.BULK).error
    assert (
        error.message.format(column=3)
        == "Failed to deserialize field at col 3. Due to, '2003-04-987' is not a valid value for the type xsd:date"
    )
    assert error.bulk() == f"INVALID_FIELD:{error.message}:Some__c --"


def test_a_browser_sends_carriage_returns() -> None:
    assert stored(field(Kind.LONG_TEXT, length=100), "a\nb\r\nc", Surface.PAGE) == "a\r\nb\r\nc"


def test_emoji_are_two_units() -> None:
    assert utf16_length("é😀") == 3
