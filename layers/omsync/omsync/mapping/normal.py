"""The normal form of text and numbers: what both systems agree a value is. Two values are equal when their normal forms are.

Text: CR LF and CR become LF (browsers write CR LF), vertical tab and form feed become LF, other control characters and whatever
XML and UTF-8 cannot carry (C0, DEL, lone surrogates, U+FFFE, U+FFFF) go, outer white space goes as Salesforce trims it, '' is null.
A line (every type that Setup shows in one line) has a space for each LF and tab. Numbers: at most 15 significant digits,
because Salesforce's API carries them as doubles. Datetimes: UTC, milliseconds, 1700-01-01 to 4000-12-31. All functions are idempotent.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime

from pydantic_core import to_json

from omsync.mapping.errors import TransformError

FIRST_YEAR, LAST_YEAR = 1700, 4000  # Salesforce: "Valid Date and DateTime ranges" (SOAP API Developer Guide, primitive types)
SIGNIFICANT_DIGITS = 15

_BREAKS = re.compile("\r\n|[\r\x0b\x0c]")
UNCARRIED = re.compile("[\x00-\x08\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]")
_ODD = re.compile("[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff\ufffe\uffff]")
_LINE_WHITE = re.compile("[\n\t]")
_EMAIL = re.compile(
    r"(?=.{3,80}\Z)[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*"
    r"@(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+[A-Za-z]{2,63}"
)


def block(text: str) -> str | None:
    """Normal form of text in several lines."""
    if _ODD.search(text):
        text = UNCARRIED.sub("", _BREAKS.sub("\n", text))
    return text.strip() or None


def line(text: str) -> str | None:
    """Normal form of text in one line."""
    if not text.isprintable():  # printable: no control character, no surrogate, no white space but the space
        text = UNCARRIED.sub("", _BREAKS.sub("\n", text))
        text = _LINE_WHITE.sub(" ", text)
    return text.strip() or None


def utf16_length(text: str) -> int:
    """Length as Salesforce counts: an emoji is two."""
    return len(text) if text.isascii() else len(text.encode("utf-16-le", "surrogatepass")) // 2


def fit(text: str, limit: int) -> str:
    """The text, or a TransformError if it is longer than `limit` UTF-16 units."""
    if len(text) * 2 > limit and utf16_length(text) > limit:
        length = utf16_length(text)
        raise TransformError(f"text of {length} characters does not fit into {limit}", code="too_long", length=length, limit=limit)
    return text


def cut(text: str, limit: int) -> str | None:
    """The longest normal beginning that fits into `limit` UTF-16 units and splits no character."""
    return text.encode("utf-16-le")[: limit * 2].decode("utf-16-le", "ignore").strip() or None


def is_email(text: str) -> bool:
    """An address that Salesforce surely takes in an Email field; stricter than Salesforce where in doubt."""
    return _EMAIL.fullmatch(text) is not None


def instant(value: object) -> str:
    """Normal form of a moment: `2026-01-31T23:59:59.123Z`. Takes ISO 8601 with any offset (`Z`, `+0000`, `+02:00`) or a datetime."""
    try:
        if isinstance(value, str):
            moment = datetime.fromisoformat(value)
            usual = value[26:] == "Z" or value[23:] in ("+0000", "Z")  # the OMS's API, Salesforce's REST and Bulk
            if usual and value[7] == "-" and value[10] == "T" and value[19] == "." and FIRST_YEAR <= moment.year <= LAST_YEAR:
                return value[:23] + "Z"
        else:
            moment = value if isinstance(value, datetime) else _not_a_moment()
        if moment.tzinfo is None:
            raise TransformError("a moment without a time zone", code="no_time_zone")
        moment = moment.astimezone(UTC)
    except (ValueError, OverflowError) as fault:
        raise TransformError("not a moment in ISO 8601", code="not_a_moment") from fault
    if not FIRST_YEAR <= moment.year <= LAST_YEAR:
        raise TransformError(f"a moment outside the years {FIRST_YEAR} to {LAST_YEAR}", code="out_of_range")
    text = to_json(moment).decode()  # "2026-01-31T23:59:59.123456Z", without the fraction if it is zero; isoformat takes twice as long
    return f"{text[1:24]}Z" if text[20] == "." else f"{text[1:20]}.000Z"


def _not_a_moment() -> datetime:
    raise TransformError("not a moment in ISO 8601", code="not_a_moment")


def day(value: object) -> str:
    """Normal form of a calendar date: `2026-01-31`. It never meets a time zone."""
    try:
        parsed = value if type(value) is date else date.fromisoformat(value)  # type: ignore[arg-type]
    except (ValueError, TypeError) as fault:
        raise TransformError("not a date YYYY-MM-DD", code="not_a_date") from fault
    if not FIRST_YEAR <= parsed.year <= LAST_YEAR:
        raise TransformError(f"a date outside the years {FIRST_YEAR} to {LAST_YEAR}", code="out_of_range")
    return parsed.isoformat()
