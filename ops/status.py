"""`omsync status`: is the sync well, and does anything need a person? Queues, lag, API budget, breakers, sweep, open Cases."""

from __future__ import annotations

import json
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import click
from botocore.exceptions import BotoCoreError, ClientError
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table

from omsync.cases.service import kind_of
from omsync.mapping.load import load_mappings
from omsync.platform.errors import OmsyncError
from omsync.salesforce.query import query
from omsync.sync.breaker import System
from omsync.sync.measure import recent_lags
from omsync.sync.stores import DynamoBreakers, aws_fault
from ops import queues
from ops.connections import Connections, told, with_connections
from ops.life import Json

LAG_MINUTES = 15
#: a breaker that has been open for longer wants a person: outages of minutes mend themselves
BREAKER_SECONDS = 600
#: a feed that was not swept for longer is pointed out: the sweep runs every five minutes
SWEEP_SECONDS = 1800
WATCH_SECONDS = 5
#: messages looked at for the age of the oldest, where CloudWatch does not tell
SAMPLE = 100
_SYSTEMS: tuple[System, ...] = ("salesforce", "oms")


@dataclass
class Status:
    """What was found. `needs_a_person`: why the exit code is 1; `not_read`: places that did not answer."""

    at: datetime
    queues: dict[str, dict[str, Json]] = field(default_factory=dict)
    lag: dict[str, Json] = field(default_factory=dict)
    api: dict[str, Json] = field(default_factory=dict)
    breakers: dict[str, Json] = field(default_factory=dict)
    sweep: dict[str, Json] = field(default_factory=dict)
    cases: dict[str, Json] = field(default_factory=dict)
    not_read: dict[str, str] = field(default_factory=dict)

    @property
    def needs_a_person(self) -> list[str]:
        """One line each."""
        found = [
            f"{name} holds {depth['waiting']} messages: omsync redrive {_plain(name)} --all --dry-run, docs/runbook.md#{name.lower()}"
            for name, depth in self.queues.items()
            if name.endswith("Dlq") and depth["waiting"]
        ]
        for system, state in self.breakers.items():
            if isinstance(state, dict) and isinstance(state["open_seconds"], int) and state["open_seconds"] > BREAKER_SECONDS:
                found.append(f"the breaker of {system} has been open for {_span(state['open_seconds'])}")
        return found

    def as_json(self) -> dict[str, Json]:
        """For programs."""
        parts: dict[str, Json] = {name: getattr(self, name) for name in ("queues", "lag", "api", "breakers", "sweep", "cases", "not_read")}
        return {"at": self.at.isoformat(timespec="seconds"), **parts, "needs_a_person": list(self.needs_a_person)}


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@click.option("--watch", is_flag=True, help=f"Look again every {WATCH_SECONDS} seconds, until Ctrl-C.")
@with_connections
def cli(connections: Connections, as_json: bool, watch: bool) -> None:
    """Show how the sync is doing. Exit code 1 if something needs a person."""
    if watch and as_json:
        raise click.UsageError("--watch is for people, --json for programs: choose one")
    if watch:
        _watch(connections)
        return
    status = look(connections)
    if as_json:
        print(json.dumps(status.as_json(), indent=2))
    else:
        Console(width=None if sys.stdout.isatty() else 140, highlight=False).print(render(status))
    raise SystemExit(1 if status.needs_a_person else 0)


def _watch(connections: Connections) -> None:
    try:
        with Live(render(look(connections)), screen=sys.stdout.isatty(), auto_refresh=False) as live:
            while True:
                time.sleep(WATCH_SECONDS)
                live.update(render(look(connections)), refresh=True)
    except KeyboardInterrupt:
        return


# ------------------------------------------------------------------------------------------------------------------ looking
def look(connections: Connections) -> Status:
    """Ask everybody at once; who does not answer is named."""
    status = Status(datetime.now(UTC))
    places: dict[str, Callable[[Connections, Status], None]] = {
        "queues": _queues,
        "lag": _lag,
        "breakers": _breakers,
        "sweep": _sweep,
        "salesforce": _salesforce,
    }
    connections.prepare()
    with ThreadPoolExecutor(len(places)) as pool:
        asked = {name: pool.submit(place, connections, status) for name, place in places.items()}
        for name, answer in asked.items():
            try:
                answer.result()
            except OmsyncError as fault:
                status.not_read[name] = str(fault)
            except (ClientError, BotoCoreError) as fault:
                status.not_read[name] = str(aws_fault(fault))
    return status


def _queues(connections: Connections, status: Status) -> None:
    ages = _ages(connections, status.at)
    for name in connections.queues:
        depth: dict[str, Json] = {**queues.depths(connections, name)}
        age = ages.get(name)
        if age is None and depth["waiting"] and name.endswith("Dlq"):
            sent = [message.sent_at for message in queues.look(connections, name, at_most=SAMPLE)]
            age = (status.at - min(sent)).total_seconds() if sent else None
        depth["oldest_seconds"] = None if age is None else max(0, round(age))
        depth["consumer"] = None if name.endswith("Dlq") else _consumer(connections, name)
        status.queues[name] = depth


def _ages(connections: Connections, now: datetime) -> dict[str, float]:
    """Queue -> age of its oldest message by CloudWatch; empty where it keeps no metrics."""
    wanted = {f"q{number}": name for number, name in enumerate(connections.queues)}
    metric = "ApproximateAgeOfOldestMessage"
    queries = [
        {
            "Id": query_id,
            "MetricStat": {
                "Metric": {
                    "Namespace": "AWS/SQS",
                    "MetricName": metric,
                    "Dimensions": [{"Name": "QueueName", "Value": connections.queues[name].rpartition("/")[2]}],
                },
                "Period": 60,
                "Stat": "Maximum",
            },
        }
        for query_id, name in wanted.items()
    ]
    with told("queue metrics"):
        answer = connections.client("cloudwatch").get_metric_data(
            MetricDataQueries=queries, StartTime=datetime.fromtimestamp(now.timestamp() - 600, UTC), EndTime=now
        )
    return {wanted[result["Id"]]: result["Values"][0] for result in answer["MetricDataResults"] if result["Values"]}


def _consumer(connections: Connections, queue: str) -> str | None:
    """What the queue's event source mapping is: Enabled, Disabled (a breaker) ...; None: nobody consumes it."""
    with told(f"consumer of {queue}"):
        url = connections.queues[queue]
        arn = connections.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        mappings = connections.client("lambda").list_event_source_mappings(EventSourceArn=arn)["EventSourceMappings"]
    return str(mappings[0]["State"]) if mappings else None


def _lag(connections: Connections, status: Status) -> None:
    table = connections.output("StateTableName")
    for origin in ("oms", "salesforce"):
        with told("lags"):
            lags = sorted(recent_lags(connections.dynamodb, table, origin, status.at, LAG_MINUTES))
        shares = {f"p{share}": _percentile(lags, share) for share in (50, 95, 99)}
        status.lag[f"from_{origin}"] = {"changes": len(lags), **shares, "max": lags[-1] if lags else None}


def _breakers(connections: Connections, status: Status) -> None:
    store = DynamoBreakers(connections.dynamodb, connections.output("StateTableName"))
    for system in _SYSTEMS:
        state = store.read(system)
        opened = None if state.open_since is None else datetime.fromtimestamp(state.open_since, UTC)
        status.breakers[system] = {
            "state": "open" if state.open else "closed",
            "failures": state.failures,
            "open_since": opened.isoformat(timespec="seconds") if opened else None,
            "open_seconds": round((status.at - opened).total_seconds()) if opened else None,
        }


def _sweep(connections: Connections, status: Status) -> None:
    """The feeds' cursors by kind: when each last moved."""
    mappings = load_mappings()
    feeds = [f"oms/{mapping.table}" for mapping in mappings if mapping.mode != "embedded"]
    feeds += [f"{kind}/{sobject}" for kind in ("salesforce", "deleted") for sobject in mappings.objects()]
    moved: dict[str, str] = {}
    table = connections.output("StateTableName")
    for start in range(0, len(feeds), 100):
        with told("sweep cursors"):
            keys: list[Any] = [{"pk": {"S": f"cursor/{feed}"}} for feed in feeds[start : start + 100]]
            answer = connections.dynamodb.batch_get_item(RequestItems={table: {"Keys": keys}})
        moved |= {row["pk"]["S"].removeprefix("cursor/"): row["moved_at"]["S"] for row in answer["Responses"].get(table, [])}
    for kind in ("oms", "salesforce", "deleted"):
        times = {feed: at for feed, at in moved.items() if feed.startswith(f"{kind}/")}
        oldest = min(times, key=lambda feed: times[feed], default=None)
        status.sweep[kind] = {
            "feeds": len(times),
            "last": max(times.values(), default=None),
            "oldest": times[oldest] if oldest else None,
            "oldest_feed": oldest,
            "cursors": dict(sorted(times.items())),
        }


def _salesforce(connections: Connections, status: Status) -> None:
    client = connections.salesforce()
    budget = client.budget()
    status.api = {"used": budget.used, "total": budget.total, "left": budget.left}
    soql = "SELECT Subject FROM Case WHERE RecordType.DeveloperName = 'Integration' AND IsClosed = false"
    status.cases = dict(sorted(Counter(kind_of(str(row["Subject"])) for row in query(client, soql)).items()))


def _percentile(ordered: Sequence[float], share: int) -> float | None:
    """Nearest rank."""
    return ordered[max(0, -(-len(ordered) * share // 100) - 1)] if ordered else None


# ------------------------------------------------------------------------------------------------------------------ showing
def render(status: Status) -> Group:
    """For people."""
    parts: list[Any] = [_queue_table(status), _lag_table(status)]
    if status.api:
        used, total = status.api["used"], status.api["total"]
        parts.append(f"Salesforce API   {used} of {total} requests of the last 24 hours, {status.api['left']} left")
    for system, state in status.breakers.items():
        if isinstance(state, dict):
            since = f", open for {_span(state['open_seconds'])}" if state["state"] == "open" else ""
            parts.append(f"breaker          {system}: {state['state']}{since}")
    for kind, sweep in status.sweep.items():
        if isinstance(sweep, dict):
            parts.append(f"sweep            {kind}: {_sweep_line(kind, sweep, status.at)}")
    cases = ", ".join(f"{kind} {number}" for kind, number in status.cases.items()) or "none"
    parts.append("open Cases       " + ("unknown: Salesforce was not read" if "salesforce" in status.not_read else cases))
    parts += [f"[red]not read: {place}: {reason}[/]" for place, reason in status.not_read.items()]
    parts += [f"[bold red]needs a person: {line}[/]" for line in status.needs_a_person] or ["[green]nothing needs a person[/]"]
    return Group(*parts)


def _queue_table(status: Status) -> Table:
    table = Table("queue", "consumer", title=f"{status.at:%Y-%m-%d %H:%M:%S} UTC", title_justify="left", show_edge=False)
    for column in ("waiting", "in flight", "delayed", "oldest"):
        table.add_column(column, justify="right")
    for name, depth in status.queues.items():
        numbers = [str(depth[column]) for column in ("waiting", "in_flight", "delayed")]
        style = "red" if name.endswith("Dlq") and depth["waiting"] else "yellow" if depth["consumer"] == "Disabled" else None
        table.add_row(name, str(depth["consumer"] or ""), *numbers, _span(depth["oldest_seconds"]), style=style)
    return table


def _lag_table(status: Status) -> Table:
    columns = ("changes", "p50", "p95", "p99", "max")
    table = Table(f"lag, last {LAG_MINUTES} minutes", show_edge=False)
    for column in columns:
        table.add_column(column, justify="right")
    for name, lags in status.lag.items():
        if isinstance(lags, dict):
            cells = [str(lags["changes"]), *("-" if lags[column] is None else f"{lags[column]:.2f} s" for column in columns[1:])]
            table.add_row({"from_oms": "OMS to Salesforce", "from_salesforce": "Salesforce to OMS"}[name], *cells)
    return table


def _sweep_line(kind: str, sweep: dict[str, Any], now: datetime) -> str:
    if not sweep["feeds"]:
        return "not yet"
    oldest = (now - datetime.fromisoformat(sweep["oldest"])).total_seconds()
    late = f" [yellow](late: {sweep['oldest_feed']})[/]" if oldest > SWEEP_SECONDS and kind != "oms" else ""  # an idle OMS moves none
    last = (now - datetime.fromisoformat(sweep["last"])).total_seconds()
    return f"{sweep['feeds']} feeds, cursors moved {_span(last)} to {_span(oldest)} ago{late}"


def _plain(dlq: str) -> str:
    """EmailRulesDlq -> email-rules, as `omsync redrive` takes it."""
    return re.sub(r"(?<!^)([A-Z])", r"-\1", dlq.removesuffix("Dlq")).lower()


def _span(seconds: object) -> str:
    """90 -> 1m30s; what is not known is a dash."""
    if not isinstance(seconds, int | float):
        return "-"
    whole = max(0, round(seconds))
    for unit, size, smaller, part in (("d", 86_400, "h", 3600), ("h", 3600, "m", 60), ("m", 60, "s", 1)):
        if whole >= size:
            return f"{whole // size}{unit}{whole % size // part}{smaller}"
    return f"{whole}s"
