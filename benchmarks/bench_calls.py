"""Changed records per Salesforce call under a load of all tables in their natural proportions, on the embedded stack.

    python benchmarks/bench_calls.py [--patients 200]

Needs a stack that is up (`make up`; OMSYNC_HOME names another one) and adds to it. History of that many new patients is put into the OMS by
COPY, which announces nothing; then each row's message is put into the writers' queues, in the order in which the rows came into being, to
become visible at one moment: a backlog, as after an outage.

    all new       every record is created: years within a minute, children by the thousand ahead of their parents
    all changed   then each of them changes once: parents are there, as they are for nearly every change of a company at work

Counted are the calls that the org bills, from that moment until the queues are empty: reads, what is asked of the org itself, retries, all.
A sweep afterwards is counted by itself. Prints JSON as it comes and keeps the whole in `.local/bench/`.
"""

from __future__ import annotations

import json
import time
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import psycopg
from psycopg import sql
from pydantic import BaseModel

from local.seed.sow import Wanted, sow
from local.stack.deploy import Aws, outputs
from local.stack.home import ROOT, Home
from omsync.mapping import DEFAULT_OWNER_ID, load_mappings
from omsync.sync.messages import MirrorMessage, SyncMessage
from omsync.sync.portions import row_length
from omsync.sync.work import MappedRoutes
from tests.e2e.conftest import Stack
from tests.e2e.world import World

#: messages that SQS takes in one call, and calls under way at once
ENTRIES, PARALLEL = 10, 8
#: SQS delays a message by at most so many seconds
LONGEST_DELAY = 900
#: messages a second that the queues take, when this machine does nothing else
ENQUEUED_A_SECOND = 500


class Silent:
    """`sow.Watcher`."""

    def expect(self, table: str, rows: int) -> None: ...
    def loaded(self, table: str, rows: int) -> None: ...
    def say(self, what: str) -> None: ...


@dataclass
class Load:
    """Messages by queue, and the records of each table that they change."""

    mirror: list[BaseModel] = field(default_factory=list)
    sync: list[BaseModel] = field(default_factory=list)
    ids: dict[str, set[str]] = field(default_factory=dict)

    @property
    def records(self) -> int:
        """How many."""
        return sum(map(len, self.ids.values()))


def history(world: World, patients: int) -> Load:
    """New patients' rows of all tables, as messages in the order in which they came into being."""
    mappings = load_mappings()
    known = {mapping.table: {str(row["id"]) for row in _rows(world, mapping.table)} for mapping in mappings}
    sow(world.stack.endpoints["oms_database_url"], Wanted(patients, seed=uuid.uuid4().int % 2**31, append=True), Silent())
    _give_users(world, [row for row in _rows(world, "staff_users") if str(row["id"]) not in known["staff_users"]])
    return _load((table, row) for table, row in _all_rows(world) if str(row["id"]) not in known[table])


def touched(world: World, load: Load) -> Load:
    """The same rows, each in its next version, with all parents there."""
    world.oms.pushes(paused=True)
    with psycopg.connect(world.stack.endpoints["oms_database_url"]) as connection:
        for table, ids in load.ids.items():
            connection.execute(
                sql.SQL("UPDATE {} SET updated_at = now() WHERE id = ANY(%s::uuid[])").format(sql.Identifier(table)), [list(ids)]
            )
    world.oms.lose_pushes()
    world.oms.pushes(paused=False)
    return _load((table, row) for table, row in _all_rows(world) if str(row["id"]) in load.ids.get(table, ()))


def _all_rows(world: World) -> Iterator[tuple[str, dict[str, Any]]]:
    return ((mapping.table, row) for mapping in load_mappings() if mapping.mode != "matched" for row in _rows(world, mapping.table))


def _load(rows: Iterable[tuple[str, dict[str, Any]]]) -> Load:
    """Rows as messages. One that is not sent by rule counts as none."""
    started, mappings = datetime.now(UTC), load_mappings()
    routes, load, looked = MappedRoutes(mappings), Load(), set[tuple[str, str]]()
    places = {table: place for place, table in enumerate(mappings.tables)}
    for table, row in sorted(rows, key=lambda one: (str(one[1]["created_at"]), places[one[0]])):
        common = {"correlation_id": str(uuid.uuid4()), "origin": "reconciliation", "committed_at": started}
        owner = routes.shared_owner(table, row)
        if owner is None:
            load.mirror.append(MirrorMessage(table=table, id=row["id"], version=row["version"], row=row, **common))
        elif owner not in looked:
            looked.add(owner)
            load.sync.append(SyncMessage(table=owner[0], id=owner[1], length=row_length(row), **common))
        if mappings[table].mode != "embedded" and mappings[table].skip_reason(row) is None:
            load.ids.setdefault(table, set()).add(str(row["id"]))
    return load


def prepare(world: World) -> None:
    """What the migration's preparation gives an org: somebody who stands in for staff without a User."""
    if not world.org.query(f"SELECT Id FROM User WHERE OMS_Id__c = '{DEFAULT_OWNER_ID}'"):
        [user] = world.org.query("SELECT Id FROM User WHERE OMS_Id__c = null AND Username LIKE 'coordinator%' LIMIT 1")
        world.org.edit("User", user["Id"], user="admin", OMS_Id__c=DEFAULT_OWNER_ID)


def _give_users(world: World, staff: Sequence[Mapping[str, Any]]) -> None:
    """A User for each member of staff, as in a company that works."""
    [profile] = world.org.query("SELECT ProfileId FROM User WHERE OMS_Id__c = null AND Username LIKE 'clinician%' LIMIT 1")
    for start in range(0, len(staff), 200):
        users = [
            {
                "attributes": {"type": "User"},
                "FirstName": "Staff",
                "LastName": row["id"][:8],
                "Alias": row["id"][:8],
                "Username": f"{row['id']}@staff.example",
                "Email": f"{row['id']}@staff.example",
                "ProfileId": profile["ProfileId"],
                "TimeZoneSidKey": "America/New_York",
                "LocaleSidKey": "en_US",
                "EmailEncodingKey": "UTF-8",
                "LanguageLocaleKey": "en_US",
                "OMS_Id__c": row["id"],
            }
            for row in staff[start : start + 200]
        ]
        answers = world.org.call("POST", "/composite/sobjects", json={"allOrNone": False, "records": users}).json()
        if refused := [answer["errors"] for answer in answers if not answer["success"]]:
            raise click.ClickException(f"{len(refused)} Users were not made: {refused[0]}")


def _rows(world: World, table: str) -> Iterator[dict[str, Any]]:
    after: str | None = None
    while True:
        params = {"limit": "500", **({"after": after} if after else {})}
        page = world.oms.call("GET", f"/v1/{table}", params=params).json()
        yield from page["items"]
        after = page["next"]
        if not after:
            return


def enqueue(world: World, queue: str, messages: Sequence[BaseModel], visible: float) -> None:
    """Put messages into a queue; consumers see them from `visible` on (seconds of 1970)."""
    sqs, url = world.stack.aws.client("sqs"), world.stack.outputs[f"{queue}QueueUrl"]

    def send(start: int) -> None:
        delay = min(LONGEST_DELAY, max(0, int(visible - time.time())))
        bodies = [message.model_dump_json(exclude_none=True) for message in messages[start : start + ENTRIES]]
        entries = [{"Id": str(number), "MessageBody": body, "DelaySeconds": delay} for number, body in enumerate(bodies)]
        answer = sqs.send_message_batch(QueueUrl=url, Entries=entries)
        if answer.get("Failed"):
            raise click.ClickException(f"SQS did not take {len(answer['Failed'])} messages: {answer['Failed'][0]['Code']}")

    with ThreadPoolExecutor(PARALLEL) as pool:
        list(pool.map(send, range(0, len(messages), ENTRIES)))


def drain(world: World, load: Load, seconds: float) -> dict[str, Any]:
    """Let the writers bring it all; what that cost."""
    messages = len(load.mirror) + len(load.sync)
    visible = time.time() + messages / ENQUEUED_A_SECOND + 5
    enqueue(world, "Mirror", load.mirror, visible)
    enqueue(world, "Sync", load.sync, visible)
    late = max(0.0, time.time() - visible)
    begun, before = max(visible, time.time()), _calls(world)
    world.quiet(seconds=seconds)
    took, spent = time.time() - begun, _calls(world) - before
    refused = {queue: len(world.exhume(queue)) for queue in world.buried()}  # some of the seed's email addresses are none
    records = load.records
    return {
        "messages": {"mirror": len(load.mirror), "sync": len(load.sync)},
        "records": records,
        "tables": {table: len(ids) for table, ids in load.ids.items()},
        "refused": refused,
        "enqueued_too_late_seconds": round(late, 1),
        "seconds": round(took, 1),
        "records_per_second": round(records / took),
        "api_calls": spent["api"],
        "records_per_call": round(records / spent["api"]),
        "by_kind": {name: number for name, number in sorted(spent.items()) if name != "api"},
    }


def _calls(world: World) -> Counter[str]:
    found = world.org.admin("GET", "calls")
    return Counter({"api": found["api"], **found["calls"], **{f"{kind}: records": count for kind, count in found["records"].items()}})


@click.command()
@click.option("--patients", default=200, show_default=True, help="new patients; each brings about 80 records")
@click.option("--seconds", default=300.0, show_default=True, help="patience")
def main(patients: int, seconds: float) -> None:
    """Measure."""
    home = Home.here()
    told = home.endpoints()
    world = World(Stack(home.path, told, outputs(Aws(told["aws_endpoint_url"]))))
    world.quiet(seconds=seconds)
    prepare(world)
    world.invoke("Sweep")  # its first round only takes down where it stands
    load = history(world, patients)
    report = {"all new": drain(world, load, seconds), "all changed": drain(world, touched(world, load), seconds)}
    print(json.dumps(report, indent=1), flush=True)  # a sweep may take longer than its caller waits
    before = _calls(world)
    world.invoke("Sweep")
    report["sweep afterwards"] = {"api_calls": _calls(world)["api"] - before["api"], "records": 2 * load.records}
    folder = Path(ROOT, ".local", "bench")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "calls.json").write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps({"sweep afterwards": report["sweep afterwards"]}, indent=1))


if __name__ == "__main__":
    main()
