"""`omsync local ...`: run and seed the embedded stack. Each command lives beside what it commands."""

from __future__ import annotations

import importlib

import click

#: command -> (module:attribute of a click command, one line of help)
COMMANDS = {
    "seed": ("local.seed.command:command", "Fill the OMS with plausible data."),
    "up": ("local.stack.commands:up", "Start the embedded stack and deploy into it."),
    "down": ("local.stack.commands:down", "Stop the embedded stack; its data stay."),
    "status": ("local.stack.commands:status", "Say what runs, and show what crashed."),
    "logs": ("local.stack.commands:logs", "Show the end of a part's log."),
    "sam": ("local.invoke.command:command", "Prepare `sam local invoke` against the embedded stack."),
    "clock": ("local.stack.commands:clock", "Fire schedules instead of waiting for them."),
}


class LazyCommands(click.Group):
    """Lists all commands by name and imports one when it is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name][0].partition(":")
        command = getattr(importlib.import_module(module), name)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name][1]) for name in self.list_commands(ctx)])


@click.group(cls=LazyCommands)
def cli() -> None:
    """Run and seed the embedded stack."""
