"""`omsync local up|down|status|logs|clock`."""

from __future__ import annotations

import json
import re
import signal
import time
from datetime import UTC, datetime

import click

from local.stack import parts, processes
from local.stack.home import Home, StackFault
from local.stack.up import Ascent


@click.command()
@click.option("--watch", is_flag=True, help="Stay, say when a part crashes, and bring the stack down on Ctrl-C.")
def up(watch: bool) -> None:
    """Start the embedded stack and deploy into it; on a running stack, do only what is missing."""
    home = Home.here()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    begun = time.monotonic()
    with home.locked():
        endpoints = Ascent(home, click.echo).run()
    click.echo(f"the stack is up ({time.monotonic() - begun:.1f} s); addresses in {home.endpoints_file}")
    for name in ("oms_api_url", "salesforce_url", "api_url", "mailbox_url"):
        click.echo(f"  {name:16} {endpoints[name]}")
    if watch:
        _watch(home)


def _watch(home: Home) -> None:
    click.echo("watching; Ctrl-C brings the stack down")
    try:
        while True:
            crashed = [name for name in parts.NAMES if processes.state(home, name) == "crashed"]
            if crashed:
                logs = "\n".join(f"{name} crashed; the end of {home.log(name)}:\n{processes.tail(home.log(name))}" for name in crashed)
                raise StackFault(logs)
            time.sleep(1)
    except KeyboardInterrupt:
        click.echo()
    finally:
        _down(home)


@click.command()
@click.option("--forget", is_flag=True, help="Remove its data too; what was built stays.")
def down(forget: bool) -> None:
    """Stop the embedded stack; its data stay."""
    home = Home.here()
    _down(home)
    if forget:
        home.forget()
        click.echo(f"forgot the data in {home.path}")


def _down(home: Home) -> None:
    with home.locked():
        home.endpoints_file.unlink(missing_ok=True)
        stopped = [name for name in (*parts.ON_DEMAND, *reversed(parts.NAMES)) if processes.stop(home, name)]
        parts.stop_postgres(home)
    click.echo(f"the stack is down ({', '.join(stopped) or 'nothing was running'})")


@click.command()
def status() -> None:
    """Say what runs; of a part that crashed, show the end of its log. Exit code 1 unless all run."""
    home = Home.here()
    states = {name: processes.state(home, name) for name in parts.NAMES}
    if (home.path / "postgres").exists():  # else OMS_DATABASE_URL named another
        states = {"postgres": parts.postgres_state(home), **states}
    for name, state in states.items():
        click.echo(f"{name:12} {state}")
        if state == "crashed":
            click.echo(processes.tail(home.path / "postgres" / "server.log" if name == "postgres" else home.log(name)))
    if home.endpoints_file.exists():
        click.echo(f"addresses in {home.endpoints_file}")
    raise SystemExit(0 if set(states.values()) == {"running"} else 1)


@click.command()
@click.argument("part", type=click.Choice([*parts.NAMES, *parts.ON_DEMAND, "sam-build", "sam-deploy"]))
@click.option("-n", "--lines", default=100, show_default=True, help="How many lines of the end.")
def logs(part: str, lines: int) -> None:
    """Show the end of a part's log."""
    click.echo(processes.tail(Home.here().log(part), lines))


# ---------------------------------------------------------------- clock


@click.group()
def clock() -> None:
    """Fire schedules instead of waiting for them."""


@clock.command("list")
def list_schedules() -> None:
    """All schedules, the next due first."""
    for entry in _ask("GET", "schedules"):
        click.echo(f"{entry['due'] or '-':22} {'' if entry['enabled'] else 'disabled ':9}{entry['name']}  {entry['expression']}")


@clock.command()
@click.argument("moment")
@click.option("--once-only", is_flag=True, help="One-time schedules alone, no recurring ones.")
@click.option("--json", "as_json", is_flag=True, help="Print what was fired as JSON.")
def advance(moment: str, once_only: bool, as_json: bool) -> None:
    """Fire what is due up to MOMENT: from now (`30m`, `24h`, `7d`) or a UTC time (`2026-03-01T09:00:00Z`)."""
    until = _moment(moment)
    fired = _ask("POST", "advance", {"until": until, "recurring": not once_only})
    if as_json:
        click.echo(json.dumps(fired))
        return
    for entry in fired:
        click.echo(f"{entry['due'] or '-':22} {entry['name']}")
    click.echo(f"fired {len(fired)} schedules due up to {datetime.fromtimestamp(until, UTC):%Y-%m-%dT%H:%M:%SZ}")


@clock.command()
@click.argument("name")
def fire(name: str) -> None:
    """Fire the schedules named NAME, or whose name contains it, now."""
    fired = _ask("POST", "fire", {"name": name})
    if not fired:
        raise StackFault(f"no schedule's name contains '{name}': see `omsync local clock list`")
    for entry in fired:
        click.echo(entry["name"])


def _moment(text: str) -> float:
    if step := re.fullmatch(r"(\d+)([smhd])", text):
        return time.time() + int(step[1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[step[2]]
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise StackFault(f"'{text}' is neither a span (30m, 24h, 7d) nor a UTC time (2026-03-01T09:00:00Z)") from None
    return moment.replace(tzinfo=moment.tzinfo or UTC).timestamp()


def _ask(method: str, route: str, content: object = None) -> list[dict[str, object]]:
    url = f"{Home.here().endpoints()['aws_endpoint_url']}/_omsync/{route}"
    try:
        status, body = parts.get(url) if method == "GET" else parts.post(url, content)
    except OSError as fault:
        raise StackFault(f"the embedded AWS does not answer ({fault}): see `omsync local status`") from None
    if status != 200:
        raise StackFault(f"the embedded AWS answered {status}: {body[:300].decode(errors='replace')}")
    return list(json.loads(body))
