"""`omsync mapping`: show, check and document the table mappings."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from omsync.mapping.errors import MappingError
from omsync.mapping.files import json_schema
from omsync.mapping.load import TABLES, load_mappings, read_directory
from omsync.mapping.model import Mappings, TableMapping
from omsync.mapping.pages import OWNER, all_pages, lines

DOCS = Path("docs/mapping")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def cli() -> None:
    """Show, check and document the table mappings."""


@cli.command()
@click.argument("table", required=False)
@click.option("--width", type=click.IntRange(min=60), help="Columns of the terminal.")
def show(table: str | None, width: int | None) -> None:
    """Print a table's mapping, or without TABLE the list of all."""
    mappings = load_mappings()
    console = Console(width=width or (None if sys.stdout.isatty() else 180))
    if table is None:
        console.print(_overview(mappings))
    elif table in mappings:
        _print_table(console, mappings[table], mappings)
    else:
        raise click.UsageError(f"no table {table}; there are {', '.join(mappings.tables)}")


def _overview(mappings: Mappings) -> Table:
    table = Table("wave", "table", "mode", "Salesforce", "columns", "purpose", title="Load order")
    for mapping in mappings:
        objects = ", ".join(target.object for target in mapping.targets)
        table.add_row(mapping.wave, mapping.table, mapping.mode, objects, str(len(mapping.own_columns)), mapping.purpose)
    return table


def _print_table(console: Console, mapping: TableMapping, mappings: Mappings) -> None:
    objects = ", ".join(target.object for target in mapping.targets) or "no object of its own"
    console.print(Text(f"{mapping.table} -> {objects}", style="bold"), mapping.purpose)
    console.print(
        f"{mapping.mode}, run {mapping.run}, wave {mapping.wave}, policy {mapping.policy}, born in {' and '.join(mapping.born_in)}"
    )
    for skip in mapping.skips:
        console.print(f"not sent{f' when {skip.when}' if skip.when.values else ''}: {skip.reason}", style="yellow")
    for note in mapping.notes:
        console.print(f"- {note}", style="dim")
    several = len(mapping.targets) > 1
    table = Table("column", "type", "PHI", "owner", "Salesforce field", "field type", "notes", row_styles=["", "on grey7"])
    for line in lines(mapping, mappings):
        style = "dim" if line.notes.startswith("not sent") else None
        field = f"{line.target}.{line.field}" if several and line.target else line.field
        table.add_row(line.column, line.type, line.phi, line.owner, field, line.field_type, line.notes, style=style)
    console.print(table)
    for unit in mapping.units.values():
        if unit.lock is not None:
            console.print(f"{unit.name}: {OWNER[unit.owner]}; the OMS's while {unit.lock}", style="yellow")


@cli.command()
@click.argument("directory", type=click.Path(exists=True, file_okay=False, path_type=Path), default=TABLES)
def check(directory: Path) -> None:
    """Check all mapping files; exit code 2 and a line per error if something is wrong."""
    try:
        mappings = read_directory(directory)
    except MappingError as fault:
        for problem in fault.problems:
            click.echo(str(problem), err=True)
        raise SystemExit(2) from None
    fields = sum(len(target.fields) for mapping in mappings for target in mapping.targets)
    click.echo(
        f"{len(mappings)} tables, {sum(len(mapping.own_columns) for mapping in mappings)} columns of their own, {fields} fields: all right"
    )


@cli.command()
@click.option("--output", type=click.Path(file_okay=False, path_type=Path), default=DOCS, show_default=True)
@click.option("--check", "only_check", is_flag=True, help="Change nothing; exit code 2 if a page is stale.")
def docs(output: Path, only_check: bool) -> None:
    """Write a page per table and the editors' JSON Schema."""
    wanted = {**all_pages(load_mappings()), "schema.json": schema_text()}
    stale = [name for name, text in wanted.items() if not (output / name).exists() or (output / name).read_text(encoding="utf-8") != text]
    if only_check:
        if stale:
            click.echo(f"stale: {', '.join(stale)}; run `omsync mapping docs`", err=True)
            raise SystemExit(2)
        return
    output.mkdir(parents=True, exist_ok=True)
    for name in stale:
        (output / name).write_text(wanted[name], encoding="utf-8")
    click.echo(f"{len(stale)} of {len(wanted)} files written to {output}")


@cli.command()
def schema() -> None:
    """Print the JSON Schema of a mapping file, for editors."""
    click.echo(schema_text(), nl=False)


def schema_text() -> str:
    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"
