"""How one value crosses the border, by name: forward (to Salesforce), normal (a Salesforce value's normal form) and back.

What `forward` returns is a normal form already, so `forward(column) == normal(field)` decides whether both sides agree, and
`forward(back(normal)) == normal` holds for every invertible transform. All pure. A builder gets the field once and returns closures.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from math import isfinite
from zoneinfo import ZoneInfo

from omsync.mapping.errors import TransformError
from omsync.mapping.model import Field, Json
from omsync.mapping.normal import SIGNIFICANT_DIGITS, UNCARRIED, block, day, fit, instant, is_email, line
from omsync.mapping.places import COUNTRIES, STATES

type Forward = Callable[..., Json]
type Normal = Callable[[Json], Json]
type Back = Callable[[Json], Json | tuple[Json, ...]]


@dataclass(frozen=True, slots=True)
class Codec:
    """One field's way. `forward` takes the sources' values (of one source: never null, unless `nulls`).

    `back` takes a normal value and gives the source's value (of several sources: a tuple); None if there is no way back.
    """

    forward: Forward
    normal: Normal
    back: Back | None = None
    nulls: bool = False


@dataclass(frozen=True, slots=True)
class Transform:
    """A named way to cross. `states` says the normal form, for people."""

    build: Callable[[Field, str], Codec]  # field, the org's time zone
    invertible: bool
    states: str


# --------------------------------------------------------------------------------------------------------------- text
def _text(field: Field, _zone: str) -> Codec:
    if field.type in ("LongTextArea", "TextArea", "Html"):
        return _text_codec(block, field.length or 255)
    return _text_codec(line, field.length or 255, frozenset(value for value in field.picklist if line(value) == value))


def _text_codec(shape: Callable[[str], str | None], limit: int, known: frozenset[str] = frozenset()) -> Codec:
    """`known` are values that are in normal form for sure (a picklist's own)."""
    half = limit // 2

    def forward(value: str) -> Json:
        if value in known:
            return value
        text = value.strip() if value.isprintable() else shape(value)  # printable text needs no more: see normal.line
        if text and len(text) > half and not (len(text) <= limit and text.isascii()):
            return fit(text, limit)
        return text or None

    return Codec(forward, _text_normal(shape), _same)


def _text_normal(shape: Callable[[str], str | None]) -> Normal:
    def normal(value: Json) -> Json:
        if value is None:
            return None
        text = value if isinstance(value, str) else str(value)
        return (text.strip() or None) if text.isprintable() else shape(text)  # as in forward

    return normal


def _same(value: Json) -> Json:
    return value


def _whole_text(field: Field, _zone: str) -> Codec:
    """Text whose overflow goes into a file: not limited here, `compiled` cuts it and says so."""

    def forward(value: str) -> Json:
        return block(value)

    return Codec(forward, _text_normal(block), _same)


def _pretty(document: Json) -> str:
    text = json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False)
    return UNCARRIED.sub(lambda match: f"\\u{ord(match[0]):04x}", text)  # JSON has a way to write what XML and UTF-8 cannot carry


def _pretty_json(field: Field, _zone: str) -> Codec:
    def forward(value: Json) -> Json:
        return _pretty(value)

    def normal(value: Json) -> Json:
        text = None if value is None else block(str(value))
        try:
            return None if text is None else _pretty(json.loads(text))
        except (ValueError, RecursionError):  # the beginning of a longer document, or none at all
            return text

    def back(value: Json) -> Json:
        if value is None:
            return None
        try:
            parsed: Json = json.loads(str(value))
        except (ValueError, RecursionError) as fault:
            raise TransformError("not JSON", code="not_json") from fault
        return parsed

    return Codec(forward, normal, back)


def _json_text(field: Field, zone: str) -> Codec:
    """What PostgreSQL's ->> gives: text as it is, anything else as JSON."""
    inner = _text_codec(line, field.length or 255)

    def forward(value: Json) -> Json:
        return inner.forward(value if isinstance(value, str) else json.dumps(value, separators=(", ", ": ")))

    return Codec(forward, inner.normal)


def _email(field: Field, _zone: str) -> Codec:
    def forward(value: str) -> Json:
        text = line(value)
        if text is None:
            return None
        if not is_email(text):
            raise TransformError("not an email address that Salesforce takes", code="invalid_email", length=len(text))
        return text.lower()

    return Codec(forward, _email_normal, _same)


def _email_normal(value: Json) -> Json:
    text = line(str(value)) if value is not None else None
    return text.lower() if text else None


def _valid_email(field: Field, _zone: str) -> Codec:
    def forward(value: str) -> Json:
        text = line(value)
        return text.lower() if text and is_email(text) else None

    return Codec(forward, _email_normal, _same)


def _legacy_email(field: Field, _zone: str) -> Codec:
    inner = _text_codec(line, field.length or 255)

    def forward(value: str) -> Json:
        text = line(value)
        return None if text is None or is_email(text) else inner.forward(text)

    return Codec(forward, inner.normal, _same)


_PHONE_NOISE = re.compile(r"[\s().\u2010-\u2015\u00a0-]+")
_E164 = re.compile(r"\+[1-9][0-9]{6,14}")
_US_NATIONAL, _US_WITH_CODE = re.compile("[2-9][0-9]{9}"), re.compile("1[2-9][0-9]{9}")


def _e164_or_text(text: str | None) -> str | None:
    """+14155550100 for anything that reads as a phone number ((415) 555-0100, 1 415 ..., 0044 ...); other text as it is."""
    if text is None or _E164.fullmatch(text):
        return text
    bare = _PHONE_NOISE.sub("", text)
    if bare.startswith("00"):
        bare = f"+{bare[2:]}"
    elif _US_NATIONAL.fullmatch(bare):
        bare = f"+1{bare}"
    elif _US_WITH_CODE.fullmatch(bare):
        bare = f"+{bare}"
    return bare if _E164.fullmatch(bare) else text


def _e164(field: Field, _zone: str) -> Codec:
    limit = field.length or 40

    def forward(value: str) -> Json:
        text = _e164_or_text(line(value))
        return None if text is None else fit(text, limit)

    def normal(value: Json) -> Json:
        return None if value is None else _e164_or_text(line(str(value)))

    def back(value: Json) -> Json:
        if value is not None and not _E164.fullmatch(str(value)):
            raise TransformError("not a phone number that can be written as +<country><number>", code="not_a_phone", length=len(str(value)))
        return value

    return Codec(forward, normal, back)


def _named(names: dict[str, str]) -> Callable[[Field, str], Codec]:
    """A code for a name: California -> CA. What is in no list stays as it is."""

    codes = frozenset(names.values())

    def code(value: object) -> str | None:
        if value in codes:
            return str(value)
        text = line(str(value))
        return None if text is None else names.get(text.casefold(), text)

    def build(field: Field, _zone: str) -> Codec:
        limit = field.length or 80

        def forward(value: str) -> Json:
            text = code(value)
            return None if text is None else fit(text, limit)

        def normal(value: Json) -> Json:
            return None if value is None else code(value)

        return Codec(forward, normal, _same)

    return build


def _lines(text: str) -> str | None:
    """A street: its lines trimmed, empty ones left out."""
    if text.isprintable():  # one line
        return text.strip() or None
    return "\n".join(part for part in (line(raw) for raw in (block(text) or "").split("\n")) if part) or None


def _street(field: Field, _zone: str) -> Codec:
    limit = field.length or 255

    def forward(*parts: str | None) -> Json:
        lines = [text for part in parts if part and (text := _lines(part))]
        return fit("\n".join(lines), limit) if lines else None

    def normal(value: Json) -> Json:
        return None if value is None else _lines(str(value))

    def back(value: Json) -> tuple[Json, ...]:
        first, _, rest = str(value or "").partition("\n")
        return first or None, rest or None

    return Codec(forward, normal, back)


# ---------------------------------------------------------------------------------------------------------- picklists
def _multiselect(field: Field, _zone: str) -> Codec:
    limit = field.length or 4099

    def forward(value: list[str | None]) -> Json:
        chosen = {text for item in value if item is not None and (text := line(item))}
        if any(";" in text for text in chosen):
            raise TransformError("a value with a semicolon, which separates values", code="separator_in_value")
        return fit(";".join(sorted(chosen)), limit) or None

    def normal(value: Json) -> Json:
        return ";".join(sorted({text for item in str(value or "").split(";") if (text := line(item))})) or None

    def back(value: Json) -> Json:
        return list(str(value).split(";")) if value else []

    return Codec(forward, normal, back)


def _map(field: Field, _zone: str) -> Codec:
    values = dict(field.values or {})
    reverse: dict[Json, str] = {}
    for key, value in values.items():
        reverse.setdefault(value, key)

    def forward(value: Json) -> Json:
        key = str(value).lower() if isinstance(value, bool) else value
        if key not in values:
            raise TransformError("a value that the mapping does not name", code="unmapped_value")
        return values[str(key)]

    flag = _flag(field, "").normal if field.type == "Checkbox" else _text_normal(line)

    def back(value: Json) -> Json:
        if value is not None and value not in reverse:
            raise TransformError("a value that the mapping does not name", code="unmapped_value")
        return None if value is None else reverse[value]

    return Codec(forward, flag, back)


# -------------------------------------------------------------------------------------------------------------- flags
_FLAGS: dict[object, bool] = {True: True, False: False, None: False, "true": True, "false": False, "": False, "TRUE": True, "FALSE": False}


def _to_flag(value: Json) -> bool:
    try:
        return _FLAGS[value]
    except (KeyError, TypeError) as fault:
        raise TransformError("not true or false", code="not_a_flag") from fault


def _flag(field: Field, _zone: str) -> Codec:
    def forward(value: Json) -> Json:
        if value is not True and value is not False:
            raise TransformError("not true or false", code="not_a_flag")
        return value

    return Codec(forward, _to_flag, _same)


def _inverted(field: Field, _zone: str) -> Codec:
    def forward(value: Json) -> Json:
        if value is not True and value is not False:
            raise TransformError("not true or false", code="not_a_flag")
        return not value

    return Codec(forward, _to_flag, lambda value: not value)


def _present(field: Field, _zone: str) -> Codec:
    return Codec(lambda value: value is not None, _to_flag, nulls=True)


# ------------------------------------------------------------------------------------------------------------ numbers
def _number_normal(scale: int) -> Normal:
    def normal(value: Json) -> Json:
        if value is None or value == "":
            return None
        try:
            if scale == 0:
                return int(value) if isinstance(value, int) else _units(value, 0)
            number = (value if value.__class__ is float else float(str(value))) + 0.0  # no -0.0
            if not isfinite(number):
                raise TransformError("not a finite number", code="not_a_number")
            return number
        except (ValueError, ArithmeticError, TypeError) as fault:
            raise TransformError("not a number", code="not_a_number") from fault

    return normal


def _limit(field: Field) -> int:
    """The smallest number of units of the last place that is too large for the field, or for a double."""
    return int(10 ** min(field.precision or 18, SIGNIFICANT_DIGITS))


def _too_large(limit: int) -> TransformError:
    return TransformError(f"a number of more than {len(str(limit)) - 1} digits", code="number_too_large", limit=len(str(limit)) - 1)


def _integer(field: Field, _zone: str) -> Codec:
    """Whole numbers; into a field with decimals (OrderItem.Quantity) as 2.0."""
    scale = field.scale or 0
    limit = _limit(field) // 10**scale

    def forward(value: int) -> Json:
        if value.__class__ is not int:
            raise TransformError("not a whole number", code="not_a_number")
        if not -limit < value < limit:
            raise _too_large(limit)
        return float(value) if scale else value

    def back(value: Json) -> Json:
        return None if value is None else _units(value, 0)

    return Codec(forward, _number_normal(scale), back)


def _cents(field: Field, _zone: str) -> Codec:
    limit = _limit(field)

    def forward(value: int) -> Json:
        if value.__class__ is not int:
            raise TransformError("not a whole number of cents", code="not_a_number")
        if not -limit < value < limit:
            raise _too_large(limit)
        return value / 100  # correctly rounded: the double nearest to the decimal, whose shortest text is that decimal

    def back(value: Json) -> Json:
        return None if value is None else _units(value, 2)

    return Codec(forward, _number_normal(2), back)


def _units(value: Json, scale: int) -> int:
    """A number in units of its last place; an error if it has more decimals."""
    try:
        number = Decimal(str(value)).scaleb(scale)
    except ArithmeticError as fault:
        raise TransformError("not a number", code="not_a_number") from fault
    if number != number.to_integral_value():
        raise TransformError(f"more than {scale} decimals", code="too_many_decimals", limit=scale)
    return int(number)


def _decimal(field: Field, _zone: str) -> Codec:
    scale, limit = field.scale or 0, _limit(field)

    def forward(value: Json) -> Json:
        try:
            number = Decimal(str(value))
            if not number.is_finite():
                raise TransformError("not a finite number", code="not_a_number")
            units = number.scaleb(scale)
        except ArithmeticError as fault:
            raise TransformError("not a number", code="not_a_number") from fault
        if not -limit < units < limit:
            raise _too_large(limit)
        if units != units.to_integral_value():
            raise TransformError(f"more than {scale} decimals", code="too_many_decimals", limit=scale)
        return float(number) + 0.0 if scale else int(number)  # no -0.0

    def back(value: Json) -> Json:
        return None if value is None else format(Decimal(_units(value, scale)).scaleb(-scale), "f")

    return Codec(forward, _number_normal(scale), back)


# --------------------------------------------------------------------------------------------------------------- time
def _datetime(field: Field, _zone: str) -> Codec:
    def normal(value: Json) -> Json:
        return instant(value) if value else None

    def back(value: Json) -> Json:
        return f"{str(value)[:23]}000Z" if value else None

    return Codec(instant, normal, back)


def _date(field: Field, _zone: str) -> Codec:
    def normal(value: Json) -> Json:
        return day(value) if value else None

    return Codec(day, normal, _same)


def _org_date(field: Field, zone: str) -> Codec:
    """The calendar date in the org's time zone of the first moment that is there."""
    place = ZoneInfo(zone)

    def forward(*moments: Json) -> Json:
        for moment in moments:
            if moment is not None:
                return day(datetime.fromisoformat(instant(moment)).astimezone(place).date())
        return None

    return Codec(forward, lambda value: day(value) if value else None)


# --------------------------------------------------------------------------------------------------------- references
def _reference(field: Field, _zone: str) -> Codec:
    """The parent's OMS id."""

    def forward(value: Json) -> Json:
        return str(value).lower()

    def normal(value: Json) -> Json:
        return str(value).strip().lower() if value else None

    return Codec(forward, normal, _same)


def _recipient(field: Field, _zone: str) -> Codec:
    """The patient an outbound message went to."""

    def forward(patient_id: Json, direction: Json) -> Json:
        return str(patient_id).lower() if patient_id is not None and direction == "outbound" else None

    return Codec(forward, lambda value: str(value) if value else None)


_TEXT = "trimmed, LF, '' is null"
TRANSFORMS: dict[str, Transform] = {
    "text": Transform(_text, True, f"{_TEXT}; in a one-line field LF and tab are spaces; control characters go; too long is an error"),
    "whole_text": Transform(_whole_text, True, f"{_TEXT}; control characters go; beyond the length: a file, the field holds the beginning"),
    "pretty_json": Transform(_pretty_json, True, "JSON, indented, keys sorted; beyond the length: a file, the field holds the beginning"),
    "json_text": Transform(_json_text, False, f"the text at a path of the document; {_TEXT}"),
    "email": Transform(_email, True, f"{_TEXT}, lower case; not an address Salesforce takes is an error"),
    "valid_email": Transform(_valid_email, True, f"{_TEXT}, lower case; null if Salesforce would refuse it"),
    "legacy_email": Transform(_legacy_email, True, f"{_TEXT}; only what is no valid address"),
    "e164": Transform(_e164, True, "+<country><number>; (415) 555-0100 is +14155550100; other text trimmed, and refused on its way back"),
    "us_state": Transform(_named(STATES), True, f"{_TEXT}; a US state's name or code in any case is its code"),
    "country": Transform(_named(COUNTRIES), True, f"{_TEXT}; names of the United States are US"),
    "street": Transform(_street, True, "lines trimmed, empty ones left out, joined by LF; the first line is line1, the rest line2"),
    "multiselect": Transform(_multiselect, True, "distinct values, each trimmed, sorted by code point, joined by ;; none is null"),
    "map": Transform(_map, True, "values by the mapping's list"),
    "flag": Transform(_flag, True, "true or false"),
    "inverted": Transform(_inverted, True, "true or false, the opposite of the column"),
    "present": Transform(_present, False, "true if the column is set"),
    "cut": Transform(_present, False, "true if the text was cut and its whole is in a file"),
    "integer": Transform(_integer, True, "a whole number of at most 15 digits"),
    "cents": Transform(_cents, True, "cents / 100; at most 15 significant digits"),
    "decimal": Transform(_decimal, True, "a decimal of at most 15 significant digits; more decimals than the field has is an error"),
    "datetime": Transform(_datetime, True, "UTC, cut to milliseconds, years 1700 to 4000"),
    "date": Transform(_date, True, "YYYY-MM-DD, years 1700 to 4000, no time zone"),
    "org_date": Transform(_org_date, False, "the date in the org's time zone of the first moment that is set"),
    "recipient": Transform(_recipient, False, "the patient's OMS id, of an outbound message"),
    "reference": Transform(_reference, True, "the parent's OMS id, lower case"),
}

#: (column type without its arguments, field type) -> transform, where the file names none
_TEXTS = ("Text", "TextArea", "LongTextArea", "Html", "Phone", "Url", "Picklist")
DEFAULTS: dict[tuple[str, str], str] = {
    **{(kind, into): "text" for kind in ("text", "char", "uuid") for into in _TEXTS},
    ("text", "Email"): "email",
    ("uuid", "Lookup"): "reference",
    ("uuid", "MasterDetail"): "reference",
    ("boolean", "Checkbox"): "flag",
    ("integer", "Number"): "integer",
    ("bigint", "Number"): "integer",
    ("bigint", "Currency"): "cents",
    ("numeric", "Number"): "decimal",
    ("date", "Date"): "date",
    ("timestamptz", "DateTime"): "datetime",
    ("text[]", "MultiselectPicklist"): "multiselect",
    ("jsonb_path", "Text"): "json_text",
}

__all__ = ["DEFAULTS", "TRANSFORMS", "Back", "Codec", "Forward", "Normal", "Transform"]
