"""`omsync local sam`: make `sam local invoke` work against the embedded stack that is up, for every function, with events that are true of it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from local.demo.systems import Systems
from local.invoke import gate, samples, template
from local.stack import parts, processes
from local.stack.home import ROOT, Home, StackFault
from ops.connections import Connections

#: how often a step of a migration that says "wait" is called again, and the seconds in between
TRIES, PAUSE = 15, 2


@click.command()
@click.option("--try", "trying", is_flag=True, help="Invoke every function with its event, and show how it went.")
@click.option("--only", multiple=True, metavar="EVENT", help="With --try: this event alone (may be given again).")
def command(trying: bool, only: tuple[str, ...]) -> None:
    """Write a template and events for `sam local invoke`, and let its containers reach the embedded stack.

    The signatures in the events are good for five minutes: run this again for new ones.
    """
    home = Home.here()
    systems, connections = Systems.at(home.path), Connections.find(None, None)
    unknown = set(only) - {sample.name for sample in samples.SAMPLES}
    if unknown:
        raise StackFault(f"no event {', '.join(sorted(unknown))}: see events/README.md")
    path = template.write(home, connections, let_in(home))
    events = path.with_name("events")
    events.mkdir(exist_ok=True)
    for name, event in samples.prepare(samples.Cast(systems, connections)).items():
        home.write(events / f"{name}.json", event, private=True)
    shown = path.relative_to(ROOT) if path.is_relative_to(ROOT) else path
    click.echo(f"wrote {shown} and {shown.parent / 'events'}; for one function:")
    click.echo(f"  sam local invoke MirrorFunction -t {shown} -e {shown.parent / 'events' / 'mirror.json'} --skip-pull-image")
    if trying and not try_all(path, [sample for sample in samples.SAMPLES if not only or sample.name in only]):
        raise SystemExit(1)


def let_in(home: Home) -> str:
    """The host by which containers reach the stack, its gate open. Docker Desktop leads to this machine's loopback by itself."""
    if "Docker Desktop" in _docker("info", "--format", "{{.OperatingSystem}}"):
        return "host.docker.internal"
    host = _docker("network", "inspect", "bridge", "--format", "{{(index .IPAM.Config 0).Gateway}}")
    ports = [str(port) for port in template.ports(home).values()]
    command = [sys.executable, "-m", gate.__name__, "--host", host, *ports]
    part = processes.Part("gate", command, parts.environment(), lambda: gate.is_open(host, map(int, ports)), seconds=20)
    if not processes.runs_as_told(home, part):
        processes.stop(home, part.name)
        processes.start(home, part)
    return host


def _docker(*arguments: str) -> str:
    try:
        done = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False, timeout=30)
    except FileNotFoundError:
        raise StackFault("`sam local` needs Docker: install it, or run tools/sam-local-rig (Debian or Ubuntu)") from None
    if done.returncode:
        raise StackFault(f"Docker does not answer ({done.stderr.strip()[:200]}): start it, or run tools/sam-local-rig (Debian or Ubuntu)")
    return done.stdout.strip()


# ------------------------------------------------------------------------------------------------------------------- --try
@dataclass(frozen=True, slots=True)
class Tried:
    """How an invocation went. `outcomes`: what the function logged of each message."""

    well: bool
    answer: str
    outcomes: tuple[str, ...]
    report: str


def try_all(path: Path, chosen: Sequence[samples.Sample]) -> bool:
    """Invoke one after the other and print a table; True if all went well."""
    table = Table("function", "event", "", "answer", "outcomes", "report", show_edge=False)
    well = True
    for sample in chosen:
        tried = invoke(path, sample)
        well &= tried.well
        click.echo(f"  {'ok    ' if tried.well else 'FAILED'} {sample.function} {sample.name}: {tried.answer}", err=True)
        style = None if tried.well else "red"
        table.add_row(
            sample.function,
            sample.name,
            "ok" if tried.well else "FAILED",
            tried.answer,
            ", ".join(tried.outcomes),
            tried.report,
            style=style,
        )
    Console(width=None if sys.stdout.isatty() else 220, highlight=False).print(table)
    return well


def invoke(path: Path, sample: samples.Sample) -> Tried:
    """Call `sam local invoke`; a step that says "wait" is called again, as its state machine does."""
    event = path.parent / "events" / f"{sample.name}.json"
    command = [str(Path(sys.executable).with_name("sam")), "local", "invoke", sample.function, "-t", str(path), "-e", str(event)]
    for _ in range(TRIES):
        done = subprocess.run([*command, "--skip-pull-image"], cwd=ROOT, capture_output=True, text=True, check=False, timeout=600)
        try:
            answer: Any = json.loads(done.stdout)
            well = done.returncode == 0 and sample.answered(answer)
        except (ValueError, KeyError, TypeError):
            answer, well = done.stdout.strip() or done.stderr.strip()[-300:], False
        if not (well and isinstance(answer, dict) and answer.get("outcome") == "wait"):
            break
        time.sleep(PAUSE)
    logged = [line for line in done.stderr.splitlines() if line.startswith("{")]
    outcomes = tuple(str(found[1]) for line in logged if (found := re.search(r'"outcome": ?"(\w+)"', line)))
    report = next((line for line in done.stderr.splitlines() if line.startswith("REPORT")), "")
    told = re.findall(r"(?:Billed Duration|Max Memory Used): (\d+ \w+)", report)
    return Tried(well, _shortly(answer), outcomes, ", ".join(told))


def _shortly(answer: Any) -> str:
    """An answer without its page."""
    if isinstance(answer, dict) and "statusCode" in answer:
        body = str(answer.get("body", ""))
        title = re.search(r"<h1>(.*?)</h1>", body)
        return f"{answer['statusCode']} {title[1] if title else body[:90]}"
    return json.dumps(answer)[:110]
