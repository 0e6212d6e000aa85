"""`omsync trace <table>/<id>`: one record's life across both systems, in time order. What is gathered: ops/life.py."""

from __future__ import annotations

import json
import re
import sys
from datetime import timedelta

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from omsync.mapping.load import load_mappings
from ops.connections import Connections, with_connections
from ops.life import Json, Life, Tracer, iso, resolve

_STYLES = {"OMS": "cyan", "outbox": "cyan", "failure": "red", "queue": "yellow", "conflict": "magenta", "Case": "magenta", "log": "dim"}

_FOR_PROGRAMS = {"xray_trace_id", "function_request_id"}


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("record")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@click.option("--show-values", is_flag=True, help="Also print the record's values (PHI) on both sides.")
@click.option("--since", default="24h", show_default=True, help="How far back the logs are searched: 30m, 24h, 7d.")
@click.option(
    "--live-queues", is_flag=True, help="Look into live queues, not only DLQs. Each look counts as a receive: three isolate a message."
)
@with_connections
def cli(connections: Connections, record: str, as_json: bool, show_values: bool, since: str, live_queues: bool) -> None:
    """Show the life of RECORD: <table>/<OMS id>, or <Object>/<Salesforce id>.

    Exit code 1 if nobody knows it.
    """
    mappings = load_mappings()
    key = resolve(record, mappings, lambda: connections)
    if isinstance(key, str):
        click.echo(f"omsync: {key}", err=True)
        raise SystemExit(2)
    life = Tracer(connections, mappings, span(since), values=show_values, live_queues=live_queues).trace(key)
    if as_json:
        print(json.dumps(life.as_json(), indent=2, ensure_ascii=False))
    else:
        _print(life)
    raise SystemExit(0 if life.known else 1)


def span(text: str) -> timedelta:
    """30m, 24h, 7d."""
    found = re.fullmatch(r"(\d{1,5})([mhd])", text)
    if found is None:
        raise click.BadParameter(f"{text!r} is no span such as 30m, 24h or 7d", param_hint="--since")
    return timedelta(minutes=int(found[1]) * {"m": 1, "h": 60, "d": 1440}[found[2]])


def _print(life: Life) -> None:
    console = Console(width=None if sys.stdout.isatty() else 180, highlight=False)
    console.print(f"[bold]{life.key}[/] ({life.mode})")
    for place, facts in life.now.items():
        for one in facts if isinstance(facts, list) else [facts]:
            console.print(f"  [bold]{place:12}[/] {escape(_told(one)) if one is not None else 'unknown there'}", soft_wrap=True)
    table = Table("time (UTC)", "where", "what", "details", expand=False, show_edge=False)
    for moment in sorted(life.moments, key=lambda moment: moment.at):
        style = next((style for name, style in _STYLES.items() if moment.where.startswith(name)), None)
        table.add_row(iso(moment.at), moment.where, escape(moment.what), escape(_told(moment.details)), style=style)
    console.print(table)
    for place, reason in life.not_read.items():
        console.print(f"[red]not read: {place}: {escape(reason)}[/]")
    if not life.known:
        console.print("nobody knows this record")


def _told(value: Json) -> str:
    """`name=value` pairs, without what is empty, or of use to programs alone."""
    if isinstance(value, dict):
        pairs = {name: one for name, one in value.items() if one not in (None, [], {}, False, "") and name not in _FOR_PROGRAMS}
        return " ".join(f"{name}={json.dumps(one) if isinstance(one, dict) else _told(one)}" for name, one in pairs.items())
    if isinstance(value, list):
        return ",".join(_told(one) for one in value)
    return str(value)
