"""Stored values for a person's eyes, and a person's input as the DML engine takes it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from local.salesforce.dml_types import Json, Row, Stored
from local.salesforce.schema import FieldType, Kind, ObjectType
from local.salesforce.soql.formats import formatted, label


@dataclass(frozen=True, slots=True)
class Shown:
    """One value on a page. `link` leads to the record it names."""

    label: str
    text: str
    link: str | None = None
    long: bool = False
    help: str | None = None


def human(f: FieldType, stored: Stored) -> str:
    """A value as text: labels, not API names; times to the minute; Yes and No."""
    if f.kind is Kind.CHECKBOX:
        return "Yes" if stored else "No"
    if stored is None or stored == "":
        return ""
    if f.picklist:
        return str(label(f, stored)).replace(";", ", ")
    if f.is_text or f.is_reference or f.kind is Kind.ID:
        return str(stored)
    if f.kind is Kind.DATETIME:
        return datetime.fromisoformat(str(stored)).strftime("%b %-d, %Y, %H:%M UTC")
    if f.kind is Kind.DATE:
        return datetime.fromisoformat(str(stored)).strftime("%b %-d, %Y")
    return formatted(f, stored) or ""


def address_text(obj: ObjectType, f: FieldType, row: Row) -> str:
    """A compound address in lines."""
    stem = f.name.removesuffix("Address")

    def part(name: str) -> str:
        return str(row.get(f"{stem}{name}") or "")

    region = " ".join(piece for piece in (part("State"), part("PostalCode")) if piece)
    city = ", ".join(piece for piece in (part("City"), region) if piece)
    return "\n".join(line for line in (part("Street"), city, part("Country")) if line)


@dataclass(frozen=True, slots=True)
class Input:
    """A field in a form. `kind` is the HTML control: text, textarea, checkbox, select, date, datetime-local, number, email, tel, url."""

    name: str
    label: str
    kind: str
    value: str
    required: bool = False
    options: tuple[tuple[str, str], ...] = ()
    length: int = 0
    help: str | None = None
    error: str | None = None
    multiple: bool = False


_CONTROLS = {
    Kind.CHECKBOX: "checkbox",
    Kind.DATE: "date",
    Kind.DATETIME: "datetime-local",
    Kind.EMAIL: "email",
    Kind.PHONE: "tel",
    Kind.PICKLIST: "select",
    Kind.MULTI_PICKLIST: "select",
    Kind.LONG_TEXT: "textarea",
    Kind.TEXT_AREA: "textarea",
    Kind.HTML: "textarea",
}


def input_of(f: FieldType, stored: Stored, error: str | None = None) -> Input:
    """The control for a field, holding its value."""
    options: tuple[tuple[str, str], ...] = ()
    if f.picklist:
        options = tuple((value.value, value.label) for value in f.picklist if value.active)
        if isinstance(stored, str) and stored and f.kind is Kind.PICKLIST and stored not in {value for value, _ in options}:
            options = ((stored, stored), *options)
    kind = _CONTROLS.get(f.kind, "number" if f.is_number else "text")
    return Input(
        f.name,
        f.label,
        kind,
        form_value(f, stored),
        required=f.required and f.kind is not Kind.CHECKBOX and f.default is None,
        options=options,
        length=f.length if f.is_text else 0,
        help=f.help,
        error=error,
        multiple=f.kind is Kind.MULTI_PICKLIST,
    )


def form_value(f: FieldType, stored: Stored) -> str:
    """A stored value as its control holds it."""
    if f.kind is Kind.CHECKBOX:
        return "true" if stored else "false"
    if stored is None:
        return ""
    if f.kind is Kind.DATETIME:
        return str(stored).removesuffix("Z")[:19]
    if f.is_number:
        number = float(stored)
        return str(int(number)) if number.is_integer() else repr(number)
    return str(stored)


def input_value(f: FieldType, text: str) -> Json:
    """What a form sent, as JSON for a save; ValueError names what can't be read."""
    if f.kind is Kind.CHECKBOX:
        return text == "true"
    if text == "":
        return None
    if f.is_number:
        try:
            return float(text)
        except ValueError:
            raise ValueError(f"{f.label}: enter a number") from None
    if f.kind is Kind.DATETIME:
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            raise ValueError(f"{f.label}: enter a date and a time") from None
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).isoformat()
    return text
