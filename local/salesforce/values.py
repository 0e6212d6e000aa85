"""One field's value: from what a client sends (JSON or CSV text) to what is stored, or the error Salesforce answers.

`converter(f, surface)` compiles a field into one function; the bulk path calls it millions of times. Values are normalised as Salesforce
does: outer white space trimmed, '' stored as null, numbers rounded to the field's scale, moments in UTC with milliseconds, ids in their
18-character form. Lengths count UTF-16 units (an emoji is two).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import ROUND_HALF_UP, Context, Decimal, InvalidOperation
from typing import Never

from local.salesforce.context import Surface
from local.salesforce.dml_types import Error, Json, Stored
from local.salesforce.ids import MalformedId, normalise
from local.salesforce.schema import FieldType, Kind

type Converter = Callable[[Json], Stored]

_EMAIL = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]+@(?:[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?\.)+[A-Za-z0-9-]{2,}\Z")
_CANONICAL_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z\Z")
_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:?\d\d)?\Z")
_DATE = re.compile(r"\d{4}-\d\d-\d\dZ?\Z")
_HUGE = Decimal(10) ** 18
_WIDE = Context(prec=60)
#: characters of a file in a JSON body ("Insert or Update Blob Data", REST API Developer Guide: 50 MB for the body)
MOST_BASE64 = 50_000_000
_MULTI_LINE = frozenset({Kind.TEXT_AREA, Kind.LONG_TEXT, Kind.HTML})


class Refused(Exception):
    """A value the field can't take. `request` errors spoil the whole request, not only the record (malformed JSON types)."""

    def __init__(self, error: Error, *, request: bool = False) -> None:
        super().__init__(error.message)
        self.error = error
        self.request = request

    def at(self, key: str, columns: Sequence[str]) -> Error:
        """The error, with the number of the CSV column `key` where its words have a place for one."""
        position = columns.index(key) if key in columns else 0
        return replace(self.error, message=self.error.message.replace("{column}", str(position)))


def utf16_length(text: str) -> int:
    """Length as Salesforce counts it."""
    if text.isascii():
        return len(text)
    return len(text) + sum(1 for character in text if character > "\uffff")


def clean(text: str) -> str:
    """Half a surrogate pair (JSON can escape one) becomes the replacement character: it has no UTF-8."""
    return text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def converter(f: FieldType, surface: Surface) -> Converter:
    """The function that turns a client's value for `f` into the stored one, or raises Refused."""
    if f.kind is Kind.CHECKBOX:
        return _checkbox(f, surface)
    if f.is_number:
        return _number(f, surface)
    if f.kind is Kind.DATE:
        return _date(f, surface)
    if f.kind is Kind.DATETIME:
        return _moment(f, surface)
    if f.is_reference or f.kind is Kind.ID:
        return _id(f, surface)
    if f.kind in {Kind.PICKLIST, Kind.MULTI_PICKLIST}:
        return _picklist(f, surface)
    if f.kind is Kind.ID_LIST:
        return _id_list(f, surface)
    return _text(f, surface)


def not_of_type(f: FieldType, value: Json, surface: Surface) -> Never:
    """A value of the wrong JSON type, or text that is no date or number: the words depend on the door it came through."""
    if surface is Surface.BULK:
        # The column's number is added by the caller, who knows the header.
        message = f"Failed to deserialize field at col {{column}}. Due to, '{value}' is not a valid value for the type {f.soap_type}"
        raise Refused(Error("INVALID_FIELD", message, (f.name,)))
    token = _json_token(value)
    shown = "" if isinstance(value, (dict, list)) else f" {token[1]}"
    message = (
        f"Cannot deserialize instance of {f.describe_type} from {token[0]} value{shown} or request may be missing a required field "
        "at [line:1, column:1]"
    )
    raise Refused(Error("JSON_PARSER_ERROR", message, None), request=True)


def _json_token(value: Json) -> tuple[str, str]:
    if isinstance(value, bool):
        return ("VALUE_TRUE", "true") if value else ("VALUE_FALSE", "false")
    if isinstance(value, int):
        return "VALUE_NUMBER_INT", str(value)
    if isinstance(value, float):
        return "VALUE_NUMBER_FLOAT", str(value)
    if isinstance(value, dict):
        return "START_OBJECT", ""
    if isinstance(value, list):
        return "START_ARRAY", ""
    return ("VALUE_NULL", "null") if value is None else ("VALUE_STRING", value)


def _checkbox(f: FieldType, surface: Surface) -> Converter:
    known: dict[Json, int] = {True: 1, False: 0, "true": 1, "false": 0, "True": 1, "False": 0, "TRUE": 1, "FALSE": 0, "1": 1, "0": 0}

    def convert(value: Json) -> Stored:
        if value is None:
            raise Refused(Error("INVALID_TYPE_ON_FIELD_IN_RECORD", f"{f.label}: value not of required type: ", (f.name,)))
        if isinstance(value, (dict, list, float)) or value not in known or (isinstance(value, int) and not isinstance(value, bool)):
            not_of_type(f, value, surface)
        return known[value]

    return convert


def _float(value: str | int | Decimal) -> float:
    """The nearest double; infinite beyond its range."""
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _number(f: FieldType, surface: Surface) -> Converter:
    integer = f.kind is Kind.INTEGER
    quantum = Decimal(1).scaleb(-f.scale)
    limit = float(10 ** (f.precision - f.scale)) if f.precision else float("inf")
    scale = f.scale

    def convert(value: Json) -> Stored:
        if value is None or value == "":
            return None
        if type(value) is int or (type(value) is str and value.isascii() and value.isdigit()):
            number = _float(value)
        elif isinstance(value, (str, float)) and not isinstance(value, bool):
            try:
                exact = Decimal(str(value).strip())
            except InvalidOperation:
                not_of_type(f, value, surface)
            if not exact.is_finite() or (integer and exact != exact.to_integral_value()):
                not_of_type(f, value, surface)
            number = _float(exact if abs(exact) >= _HUGE else exact.quantize(quantum, ROUND_HALF_UP, _WIDE)) + 0.0  # no -0.0
        else:
            not_of_type(f, value, surface)
        if not -limit < number < limit:
            message = f"{f.label}: value outside of valid range on numeric field: {round(number, scale)}"
            raise Refused(Error("NUMBER_OUTSIDE_VALID_RANGE", message, (f.name,)))
        return int(number) if integer else number

    return convert


def _date(f: FieldType, surface: Surface) -> Converter:
    def convert(value: Json) -> Stored:
        if value is None or value == "":
            return None
        if not isinstance(value, str) or not _DATE.match(value.strip()):
            not_of_type(f, value, surface)
        text = value.strip()[:10]
        try:
            date.fromisoformat(text)
        except ValueError:
            not_of_type(f, value, surface)
        return _in_range(f, text)

    return convert


def _moment(f: FieldType, surface: Surface) -> Converter:
    def convert(value: Json) -> Stored:
        if value is None or value == "":
            return None
        if not isinstance(value, str):
            not_of_type(f, value, surface)
        text = value.strip()
        canonical = _CANONICAL_MOMENT.match(text)
        if not canonical and not _MOMENT.match(text):
            not_of_type(f, value, surface)
        try:
            moment = datetime.fromisoformat(text)
            if canonical:
                return _in_range(f, text)
            moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
        except (ValueError, OverflowError):
            not_of_type(f, value, surface)
        return _in_range(f, moment.strftime("%Y-%m-%dT%H:%M:%S.").rjust(20, "0") + f"{moment.microsecond // 1000:03d}Z")

    return convert


def _in_range(f: FieldType, text: str) -> str:
    """Salesforce takes the years 1700 to 4000."""
    if not "1700" <= text[:4] <= "4000":
        raise Refused(Error("NUMBER_OUTSIDE_VALID_RANGE", f"{f.label}: invalid date: {text}", (f.name,)))
    return text


def _id(f: FieldType, surface: Surface) -> Converter:
    def convert(value: Json) -> Stored:
        if value is None or value == "":
            return None
        if not isinstance(value, str):
            not_of_type(f, value, surface)
        try:
            return normalise(value.strip())
        except MalformedId:
            raise Refused(Error("MALFORMED_ID", f"{f.label}: id value of incorrect type: {value}", (f.name,))) from None

    return convert


def _id_list(f: FieldType, surface: Surface) -> Converter:
    def convert(value: Json) -> Stored:
        if value is None or value in ("", []):
            return None
        parts = value if isinstance(value, list) else str(value).split(";")
        try:
            return ";".join(normalise(str(part).strip()) for part in parts)
        except MalformedId:
            raise Refused(Error("MALFORMED_ID", f"{f.label}: id value of incorrect type: {value}", (f.name,))) from None

    return convert


def _picklist(f: FieldType, surface: Surface) -> Converter:
    values, multi = f.values, f.kind is Kind.MULTI_PICKLIST
    exact = {v.value: v.value for v in f.picklist if v.active}

    def one(part: str, whole: str) -> str:
        declared = values.get(part.lower())
        if declared is None:
            if f.restricted:
                message = f"{f.label}: bad value for restricted picklist field: {whole}"
                raise Refused(Error("INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST", message, (f.name,)))
            return part
        return declared

    def convert(value: Json) -> Stored:
        if isinstance(value, str) and value in exact:
            return value
        if value is None:
            return None
        if not isinstance(value, str):
            not_of_type(f, value, surface)
        text = clean(value.strip())
        if not text:
            return None
        if multi:
            chosen = {one(part.strip(), part.strip()) for part in text.split(";") if part.strip()}
            order = {v.value: i for i, v in enumerate(f.picklist)}
            return _fitting(f, ";".join(sorted(chosen, key=lambda v: (order.get(v, len(order)), v)))) if chosen else None
        return _fitting(f, one(text, text))

    return convert


def _fitting(f: FieldType, text: str) -> str:
    if f.length and utf16_length(text) > f.length:
        raise Refused(too_long(f, text))
    return text


def too_long(f: FieldType, text: str) -> Error:
    return Error("STRING_TOO_LONG", f"{f.label}: data value too large: {text} (max length={f.length})", (f.name,))


def _text(f: FieldType, surface: Surface) -> Converter:
    limit = f.length or (MOST_BASE64 if f.kind is Kind.BASE64 else 131072)
    safe = limit // 2  # UTF-16 units are at most twice the characters
    is_email = f.kind is Kind.EMAIL
    from_page = surface is Surface.PAGE and f.kind in _MULTI_LINE

    def convert(value: Json) -> Stored:
        if not isinstance(value, str):
            if value is None:
                return None
            if isinstance(value, (dict, list)):
                not_of_type(f, value, surface)
            value = str(value).lower() if isinstance(value, bool) else str(value)
        text = value.strip()
        if not text:
            return None
        if not (plain := text.isascii()):
            text = clean(text)
        if from_page:  # a browser's form sends CR LF
            text = text.replace("\r\n", "\n").replace("\n", "\r\n")
        if len(text) > (limit if plain else safe) and utf16_length(text) > limit:
            raise Refused(too_long(f, text))
        if is_email and not _EMAIL.match(text):
            raise Refused(Error("INVALID_EMAIL_ADDRESS", f"{f.label}: invalid email address: {text}", (f.name,)))
        return text

    return convert
