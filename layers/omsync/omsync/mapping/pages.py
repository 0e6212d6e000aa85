"""A mapping as a page that a person reads: Markdown for docs/mapping, and the lines that `omsync mapping show` prints."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from omsync.mapping.model import Column, Field, Mappings, TableMapping, Target
from omsync.mapping.transforms import TRANSFORMS

PHI = {"I": "identifier", "C": "clinical", "F": "financial", None: ""}
OWNER = {"oms": "OMS", "salesforce": "Salesforce", "both": "both"}


@dataclass(frozen=True, slots=True)
class Line:
    """A column and the field (or the reason) beside it."""

    column: str
    type: str
    phi: str
    owner: str
    target: str
    field: str
    field_type: str
    notes: str


def lines(mapping: TableMapping, mappings: Mappings) -> Iterator[Line]:
    """One line per column and field; a column that is not sent has one with the reason."""
    carried: dict[str, list[Field]] = {}
    for target in mapping.targets:
        for field in target.fields.values():
            for source in field.sources:
                carried.setdefault(source, []).append(field)
    for name, column in mapping.columns.items():
        yield from _column_lines(name, column, carried, elsewhere(mapping, name, mappings))
    for name, embedded in mapping.embedded.items():
        other = mappings[embedded.table]
        for column in other.columns.values():
            if f"{name}.{column.name}" in carried:
                yield from _column_lines(f"{name}.{column.name}", column, carried, "")


def elsewhere(mapping: TableMapping, column: str, mappings: Mappings) -> str:
    """Where a column of an embedded table goes: the fields of the tables that embed it."""
    found = []
    for other in mappings:
        for name, embedded in other.embedded.items():
            if embedded.table != mapping.table:
                continue
            if column in embedded.where.values:
                found.append(f"{other.table}.{name} is where {embedded.where}")
            for target in other.targets:
                found += [f"{target.object}.{field.name}" for field in target.fields.values() if f"{name}.{column}" in field.sources]
    return "; ".join(dict.fromkeys(found))


def _column_lines(name: str, column: Column, carried: dict[str, list[Field]], other: str) -> Iterator[Line]:
    kind = column.type + ("" if column.nullable else " NOT NULL")
    owner = OWNER[column.owner] + (f", {column.policy}" if column.owner == "both" else "")
    paths = [path for path in carried if path == name or (path.startswith(f"{name}.") and column.type == "jsonb")]
    if not paths:
        part = "" if other else "its row is part of another one, whose own column is sent"
        yield Line(name, kind, PHI[column.phi], owner, "", other, "", f"not sent: {column.not_sent}" if column.not_sent else part)
        return
    for path in paths:
        for field in carried[path]:
            yield Line(path, kind, PHI[column.phi], owner, field.object, field.name, field.type_text, "; ".join(notes(field, column)))


def notes(field: Field, column: Column) -> Iterator[str]:
    """What is special about a field."""
    if field.transform not in ("text", "reference", "flag", "integer", "date", "datetime", "decimal"):
        yield field.transform.replace("_", " ")
    if field.references is not None:
        yield f"{field.path}" if not field.references.polymorphic else f"{field.references.object}:{field.references.relationship}"
        if field.references.missing == "default_owner":
            yield "unknown staff: the default owner"
    for flag, text in (
        (field.external_id, "external id"),
        (field.unique, "unique"),
        (field.required, "required"),
        (field.create_only, "written once"),
        (field.insert_only, "set on insert alone"),
        (field.second_pass, "second pass"),
        (not field.history, "live only"),
        (field.match_only, "to find the record, never written"),
        (column.command, "command"),
        (field.feature is not None, "only in multi-currency orgs"),
        (field.withheld_when is not None, f"withheld when {field.withheld_when}"),
        (field.overflow_file, "longer text as a file"),
        (not field.back and field.owner != "oms", "copy, never flows back"),
        (column.only is not None, f"only {', '.join(column.only or ())}"),
    ):
        if flag:
            yield text


def page(mapping: TableMapping, mappings: Mappings) -> str:
    """The Markdown page of a table."""
    parts = [f"# {mapping.table}\n\n{mapping.purpose}\n", _facts(mapping)]
    if mapping.notes:
        parts.append("".join(f"- {note}\n" for note in mapping.notes))
    parts.append(
        "## Columns\n\n" + _table(("column", "type", "PHI", "owner", "Salesforce field", "field type", "notes"), _cells(mapping, mappings))
    )
    for target in mapping.targets:
        parts.append(_target(target))
    if units := [unit for unit in mapping.units.values() if unit.owner != "oms"]:
        rows = [
            (
                f"`{unit.name}`",
                OWNER[unit.owner],
                "command" if unit.command else unit.policy,
                ", ".join(f"`{column}`" for column in unit.columns),
                ", ".join(f"`{name}`" for names in unit.fields.values() for name in names),
                f"the OMS's while {unit.lock}" if unit.lock else "",
            )
            for unit in units
        ]
        parts.append("## Merged as one\n\n" + _table(("unit", "owner", "policy", "columns", "fields", "locked"), rows))
    return _GENERATED + "\n".join(parts)


def _cells(mapping: TableMapping, mappings: Mappings) -> list[tuple[str, ...]]:
    several = len(mapping.targets) > 1
    return [
        (
            f"`{line.column}`",
            line.type,
            line.phi,
            line.owner,
            f"`{line.target}.{line.field}`" if several and line.target else f"`{line.field}`" if line.target else line.field,
            line.field_type,
            line.notes,
        )
        for line in lines(mapping, mappings)
    ]


def _facts(mapping: TableMapping) -> str:
    facts = [
        ("Mode", mapping.mode),
        ("Run, wave", f"{mapping.run}, {mapping.wave}"),
        ("Born in", ", ".join(mapping.born_in)),
        ("Both changed it", mapping.policy),
    ]
    facts += [("Not sent", f"when {skip.when}: {skip.reason}" if skip.when.values else skip.reason) for skip in mapping.skips]
    facts += [(f"`{name}`", f"the row of {embedded.table} where {embedded.where}") for name, embedded in mapping.embedded.items()]
    if mapping.cutover_run is not None:
        facts.append(("Cut-over", f"until run {mapping.cutover_run} is certified the OMS owns every column"))
    facts.append(("PHI", "a row as a whole" if mapping.patient_keyed else "by column"))
    return _table(("", ""), facts)


def _target(target: Target) -> str:
    facts = [("External id", f"`{target.external_id}`")]
    if target.record_types:
        by = f" by `{target.record_type_column}`" if target.record_type_column else ""
        facts.append(("Record type" + by, ", ".join(target.record_types)))
    if target.when is not None:
        facts.append(("Rows", f"where {target.when}"))
    if target.match:
        facts.append(("Found by", ", ".join(f"`{name}`" for name in target.match)))
    for constant in target.constants:
        told = f"the org's {constant.org}" if constant.org else f"`{constant.value}`"
        facts.append((f"`{constant.field}`", told + (", written once" if constant.create_only else "")))
    if target.sync_fields:
        facts.append(("Kept by triggers and the synchroniser", ", ".join(f"`{name}`" for name in target.sync_fields)))
    text = f"## {target.object}\n\n" + _table(("", ""), facts)
    picklists = [(f"`{f.name}`", ", ".join(f"`{value}`" for value in f.picklist)) for f in target.fields.values() if f.picklist]
    return text + ("\n" + _table(("picklist (unrestricted)", "values"), picklists) if picklists else "")


def index(mappings: Mappings) -> str:
    """The Markdown page that lists all tables and transforms."""
    rows = [
        (
            str(mapping.number),
            f"[{mapping.table}]({mapping.table}.md)",
            mapping.mode,
            mapping.wave,
            ", ".join(f"`{target.object}`" for target in mapping.targets) or "part of patients",
            str(len(mapping.own_columns)),
            mapping.purpose,
        )
        for mapping in sorted(mappings, key=lambda mapping: mapping.number)
    ]
    transforms = [
        (f"`{name}`", "both ways" if transform.invertible else "to Salesforce", transform.states)
        for name, transform in sorted(TRANSFORMS.items())
    ]
    return (
        _GENERATED
        + "# Mapping\n\nOne file per OMS table in `layers/omsync/omsync/mapping/tables`. Every table also has the seven common columns.\n\n"
        + _table(("#", "table", "mode", "wave", "Salesforce", "own columns", "purpose"), rows)
        + "\n## Transforms and their normal forms\n\nTwo values are equal when their normal forms are.\n\n"
        + _table(("transform", "direction", "normal form"), transforms)
    )


def all_pages(mappings: Mappings) -> dict[str, str]:
    """file name -> text of everything generated as Markdown."""
    return {"README.md": index(mappings), **{f"{mapping.table}.md": page(mapping, mappings) for mapping in mappings}}


_GENERATED = "<!-- Generated by `omsync mapping docs`. Change the mapping file, not this page. -->\n\n"


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    def text(cells: tuple[str, ...]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"

    return text(head) + "|" + "---|" * len(head) + "\n" + "".join(text(row) for row in rows)
