"""`omsync demo`: a stack of its own, the story told on it, a page about what was seen. Exit code 1 if a promise was broken.

DATA=<folder> brings history from files instead of making it up; KEEP=1 leaves the stack up. Ctrl-C at any moment leaves nothing running.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import click
from rich.console import Console

from local.demo import comparison, emails, history, outage, page, requirements
from local.demo.children import Children
from local.demo.journal import Journal, PromiseBroken
from local.demo.show import Show, summary
from local.demo.stage import Stage
from local.demo.story import STORY
from local.demo.systems import Refused, Systems
from local.demo.traffic import Traffic
from local.stack.home import ROOT, Home, StackFault

OUT = ROOT / ".local" / "demo"


@click.command()
@click.option("--data", envvar="DATA", default="", help="A folder with a Synthea export and note texts (DATA).")
@click.option("--keep", envvar="KEEP", default="", help="If not empty, leave the stack up and print its addresses (KEEP).")
@click.option("--quick", is_flag=True, help="A shorter variant: less history, a shorter outage.")
@click.option("--out", type=click.Path(path_type=Path), default=OUT, help="Where summary, page and the stack's data go (.local/demo).")
def cli(data: str, keep: str, quick: bool, out: Path) -> None:
    """Show the whole system at work on an embedded stack, with a report."""
    out = out.absolute()
    missing = requirements.missing(out, data)
    if missing:
        raise click.ClickException(f"the demo can't start: {'; '.join(missing)}")
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # SIGINT too: a background job of a shell is born deaf to it
        signal.signal(number, signal.default_int_handler)
    console = Console() if sys.stdout.isatty() else Console(width=112)
    demo = Demo(out, data, quick, Show(console))
    ok = interrupted = False
    try:
        ok = demo.run()
    except KeyboardInterrupt:
        interrupted = True
    finally:
        demo.end(keep=bool(keep) and not interrupted and demo.told, interrupted=interrupted)
    if interrupted:
        raise SystemExit(130)
    if keep:
        _tell_addresses(console, demo)
    console.print(f"the page: {out / 'index.html'}", highlight=False, soft_wrap=True)
    raise SystemExit(0 if ok else 1)


class Demo:
    """One run, from an empty directory to the page."""

    def __init__(self, out: Path, data: str, quick: bool, show: Show) -> None:
        self.out, self.data, self.quick, self.show = out, data, quick, show
        self.home = out / "stack"
        self.children = Children(self.home)
        self.journal = Journal()
        self.traffic: Traffic | None = None
        self.stage: Stage | None = None
        #: has it come to its end?
        self.told = False

    def run(self) -> bool:
        """True if every promise was kept."""
        self.out.mkdir(parents=True, exist_ok=True)
        for name in ("summary.json", "index.html"):
            (self.out / name).unlink(missing_ok=True)
        self._up()
        self.stage = stage = Stage(Systems.at(self.home), self.journal, self.show, quick=self.quick)
        self.traffic = Traffic(stage.systems, self.journal)
        traffic, first, *rest = self.traffic, *STORY
        self.perform(stage, "seed", "The OMS has a history", lambda stage: history.seeds(stage, self.children, self.data))
        self.perform(stage, first.name, first.title, first.perform)
        traffic.start()  # after the first step, which has met the cold functions
        self.perform(
            stage, "migration", "Four runs migrate it, with live traffic on", lambda stage: history.migrates(stage, self.children, self.out)
        )
        for step in rest:
            self.perform(stage, step.name, step.title, step.perform)
        self.perform(stage, "occasions", "22 patients have reasons for 22 emails", emails.occasions)
        self.perform(stage, "outage", "Salesforce goes away under traffic", lambda stage: outage.goes_away(stage, traffic))
        # emails need no Salesforce: meanwhile it catches up
        self.perform(stage, "emails", "Every email goes out once", lambda stage: emails.arrive(stage, self.children))
        self.perform(stage, "back", "Salesforce is back, and everything arrives", lambda stage: outage.comes_back(stage, traffic))
        self.perform(stage, "traffic", "The traffic beside it all", lambda stage: _end_traffic(stage, traffic))
        self.perform(stage, "compared", "Every mapped value on both sides", comparison.compares)
        self._report()
        self.told = True
        return not self.journal.broken

    def _up(self) -> None:
        """A fresh stack: nothing of an earlier demo is left in it."""
        record = self.journal.begin("stack", "The embedded stack comes up")
        self.show.step(record)
        self.show.waiting("PostgreSQL, OMS, Salesforce simulator, AWS: starting, building, deploying")
        self.children.omsync("local", "down", "--forget")
        self.children.omsync("local", "up", told=self._tell_up)
        self.journal.end(record)

    def _tell_up(self, line: str) -> None:
        """What `up` says of its parts; the addresses are for the end."""
        if not line.startswith("  "):
            self.show.line(line.partition(";")[0])

    def perform(self, stage: Stage, name: str, title: str, run: Callable[[Stage], None]) -> None:
        """One step; what it can't see or is refused is a broken promise."""
        record = stage.begin(name, title)
        try:
            run(stage)
        except PromiseBroken as broken:
            stage.broken(str(broken))
        except Refused as refused:
            stage.broken(f"refused: {refused}")
        except StackFault as fault:
            stage.broken(str(fault))
        except Exception as fault:  # noqa: BLE001  a step's border: whatever it met, its promise is broken, and the next one is tried
            stage.broken(f"{type(fault).__name__}: {str(fault).partition('\n')[0]}")
        self.journal.end(record)
        self.show.rest()

    def _report(self) -> None:
        Home(self.out).write(self.out / "summary.json", self.journal.told())
        (self.out / "index.html").write_text(page.render(self.journal), encoding="utf-8")
        summary(self.show.console, self.journal)

    def end(self, *, keep: bool, interrupted: bool = False) -> None:
        """Stop what was started. A second Ctrl-C does not get in between."""
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN)
        self.show.rest()
        if interrupted:
            self.show.console.print("\ninterrupted; stopping what was started")
        if self.traffic is not None:
            self.traffic.stop()
        self.children.stop()
        if not keep:
            self.children.omsync("local", "down", patient=True)


def _end_traffic(stage: Stage, traffic: Traffic) -> None:
    """There are no more edits; those under way arrive."""
    traffic.hush()
    if traffic.fault is not None:
        raise PromiseBroken(f"the traffic ended: {type(traffic.fault).__name__}: {traffic.fault}")
    stage.until("the traffic's last edits", lambda: traffic.outstanding(outage=False), lambda number: number == 0)
    traffic.stop()
    stage.fact(f"{traffic.edits} edits on both sides beside the steps; each was seen on the other side")


def _tell_addresses(console: Console, demo: Demo) -> None:
    endpoints = Home(demo.home).endpoints()
    told = [
        ("OMS: its API's pages", f"{endpoints['oms_api_url']}/docs"),
        ("Salesforce simulator", endpoints["salesforce_url"]),
        ("mailbox", endpoints["mailbox_url"]),
        ("omsync's API (with a token)", endpoints["api_url"]),
    ]
    if demo.stage is not None and demo.stage.story.account:
        told.insert(2, ("the patient in Salesforce", f"{endpoints['salesforce_url']}/{demo.stage.story.account}"))
    console.print("\nthe stack is up:")
    for name, url in told:
        console.print(f"  {name:28} {url}", highlight=False, soft_wrap=True)
    console.print("  the org's certificate is the stack's own, so a browser asks about it once", highlight=False, soft_wrap=True)
    home, omsync = os.path.relpath(demo.home), os.path.relpath(Path(sys.executable).with_name("omsync"))
    console.print(f"  stop it with: OMSYNC_HOME={home} {omsync} local down\n", highlight=False, soft_wrap=True)
