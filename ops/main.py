"""Entry point of the `omsync` command.

Each group lives in its own module and is imported only when it is asked for, so that `omsync --help` is quick.
A `UsageFault` or an `OmsyncError` becomes one line on stderr and exit code 2.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any

import click

from omsync.platform.errors import OmsyncError

#: group -> (module with a click command named `cli`, one line of help)
GROUPS = {
    "mapping": ("ops.mapping", "Show, check and document the table mappings."),
    "demo": ("local.demo.command", "The whole system at work on the embedded stack, with a report."),
    "local": ("local.cli", "Run and seed the embedded stack."),
    "emails": ("ops.emails", "List, build, preview and try the lifecycle emails."),
    "salesforce": ("ops.salesforce", "Generate and check the Salesforce metadata."),
    "migrate": ("ops.migrate", "Plan, run, watch and prove the migration."),
    "trace": ("ops.trace", "Show one record's life across both systems."),
    "status": ("ops.status", "Show queues, lag, API budget, breakers, sweep and open Cases."),
    "reconcile": ("ops.reconcile", "Compare both systems value by value, and have what differs looked at."),
    "redrive": ("ops.redrive", "Send messages of a DLQ to work again."),
}


class LazyGroup(click.Group):
    """Lists all groups by name and imports one when it is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(GROUPS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in GROUPS:
            return None
        command: click.Command = importlib.import_module(GROUPS[cmd_name][0]).cli
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, GROUPS[name][1]) for name in self.list_commands(ctx)])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="omsync")
def cli() -> None:
    """omsync keeps the OMS and Salesforce in step."""


def main(arguments: list[str] | None = None) -> Any:
    """Run the command; a fault of ours is one line and exit code 2."""
    try:
        return cli.main(args=arguments, prog_name="omsync")
    except OmsyncError as fault:
        print(f"omsync: {fault}", file=sys.stderr)
        raise SystemExit(2) from fault


if __name__ == "__main__":
    main()
