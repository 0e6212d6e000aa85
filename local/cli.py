"""`omsync local ...`: run and seed the embedded stack. Each command lives beside what it commands."""

from __future__ import annotations

import importlib

import click

#: command -> module with a click command named `command`
COMMANDS = {
    "seed": "local.seed.command",
    "up": "local.stack.commands:up",
    "down": "local.stack.commands:down",
    "clock": "local.stack.commands:clock",
}


class LazyCommands(click.Group):
    """Imports a command's module when it is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name].partition(":")
        command = getattr(importlib.import_module(module), name or "command")
        assert isinstance(command, click.Command)
        return command


@click.group(cls=LazyCommands)
def cli() -> None:
    """Run and seed the embedded stack."""
