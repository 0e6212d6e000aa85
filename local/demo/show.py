"""The demo in the terminal: a heading per step, a line per fact with its seconds, a spinner that says what is waited for, a table at the end."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.status import Status
from rich.table import Table

from local.demo.journal import Fact, Journal, StepRecord, percentile

#: facts start here; seconds end at the right of them
INDENT = "   "
_WIDTH = 92


class Show:
    """Prints what the journal learns. Without a terminal there is no spinner."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._status: Status | None = None

    def step(self, record: StepRecord) -> None:
        """A step begins."""
        self.rest()
        self.console.print(f"\n[bold]{escape(record.title)}[/bold]")

    def waiting(self, what: str) -> None:
        """Say what is waited for."""
        if not self.console.is_terminal:
            return
        if self._status is None:
            self._status = self.console.status("")
            self._status.start()
        self._status.update(f"[dim]{escape(what)}[/dim]")

    def rest(self) -> None:
        """Nothing is waited for."""
        if self._status is not None:
            self._status.stop()
            self._status = None

    def fact(self, fact: Fact) -> None:
        """Something was observed."""
        seconds = "" if fact.seconds is None else f"{fact.seconds:.1f} s"
        mark = {"oms_to_salesforce": "→", "salesforce_to_oms": "←", None: "·"}[fact.direction]
        self._line(f"[green]{mark}[/green] {escape(fact.text)}", len(fact.text) + 2, seconds)

    def broken(self, text: str) -> None:
        """A promise was broken."""
        self.console.print(f"{INDENT}[bold red]✗ {escape(text)}[/bold red]")

    def line(self, text: str) -> None:
        """A line as it is."""
        self.console.print(f"{INDENT}[dim]{escape(text)}[/dim]")

    def _line(self, marked: str, length: int, right: str) -> None:
        width = min(_WIDTH, self.console.width) - len(INDENT)
        gap = width - length - len(right)
        if gap >= 1:
            self.console.print(f"{INDENT}{marked}{' ' * gap}[cyan]{right}[/cyan]", highlight=False, no_wrap=True)
        else:
            self.console.print(f"{INDENT}{marked} [cyan]{right}[/cyan]", highlight=False)


def summary(console: Console, journal: Journal) -> None:
    """The table at the end."""
    table = Table(title="What was seen", title_justify="left", show_header=False, title_style="bold")
    table.add_column()
    table.add_column(justify="right")
    for name, value in figures(journal):
        table.add_row(name, value)
    console.print()
    console.print(table)
    for text in journal.broken:
        console.print(f"[bold red]✗ {escape(text)}[/bold red]")


def figures(journal: Journal) -> list[tuple[str, str]]:
    """The figures of the table, and of the page's head."""
    told = journal.summary
    rows: list[tuple[str, str]] = []
    for direction, name in (("oms_to_salesforce", "OMS to Salesforce"), ("salesforce_to_oms", "Salesforce to OMS")):
        if seconds := journal.seconds(direction):  # type: ignore[arg-type]
            rows.append(
                (
                    f"{name}, median / 99th percentile of {len(seconds)}",
                    f"{percentile(seconds, 0.5):.1f} / {percentile(seconds, 0.99):.1f} s",
                )
            )
    if migration := told.get("migration"):
        rows.append(("rows migrated / verified", f"{migration['source_rows']:,} / {migration['verified_rows']:,}"))
        rows.append(
            (
                "missing, mismatched, unknown, quarantined",
                ", ".join(f"{migration[k]}" for k in ("missing", "mismatched", "unknown", "quarantined")),
            )
        )
    if sync := told.get("sync"):
        rows.append(("conflicts, decided as the policy says and logged", str(sync["conflicts"])))
    if emails := told.get("emails"):
        rows.append(("email flows / emails sent / duplicates", f"{emails['flows_sent']} / {emails['sent']} / {emails['duplicates']}"))
    if "lost" in (outage := told.get("outage", {})):
        rows.append(("Salesforce down; changes lost; dead letters", f"{outage['seconds']} s; {outage['lost']}; {outage['dlq']}"))
    if journal.compared:
        values, different = sum(one.values for one in journal.compared), sum(one.different for one in journal.compared)
        rows.append(("values compared on both sides / records that differ", f"{values:,} / {different}"))
    rows.append(("promises broken", str(len(journal.broken))))
    rows.append(("seconds in all", f"{journal.now():.0f}"))
    return rows
