"""The four runs on the embedded stack, while people work in both systems: stopped, resumed, jobs aborted, Salesforce away, bad rows; and the proof."""

from __future__ import annotations

import contextlib
import json
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pytest

from local.stack.deploy import outputs
from local.stack.home import Home
from tests.e2e.conftest import Stack, omsync, own_home
from tests.e2e.world import Refused, World
from tests.polling import until

PATIENTS = int(os.environ.get("OMSYNC_MIGRATION_PATIENTS", "60"))
JOBS = "/services/data/v67.0/jobs/ingest"
pytestmark = [pytest.mark.long, pytest.mark.timeout(1500)]


@pytest.fixture(scope="module")
def fresh() -> Iterator[World]:
    """A stack of its own: nothing is migrated yet, support cases are the OMS's. `OMSYNC_MIGRATION_HOME` lends one that is up and empty."""
    borrowed = os.environ.get("OMSYNC_MIGRATION_HOME")
    with contextlib.nullcontext(Path(borrowed).absolute()) if borrowed else own_home() as home:
        if not borrowed:
            omsync(home, "local", "up")
            omsync(home, "local", "seed", "--patients", str(PATIENTS))
        endpoints = Home(home).endpoints()
        stack = Stack(home, endpoints, {})
        stack.outputs = outputs(stack.aws)
        yield World(stack)


@dataclass
class Traffic:
    """People at work in the OMS for as long as the block lasts."""

    world: World
    born: list[str] = field(default_factory=list)
    edits: int = 0
    _over: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Traffic:
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(60)

    def _work(self) -> None:
        known = [str(row["id"]) for row in self.world.oms.rows("patients") if row["status"] == "active"]
        while not self._over.wait(2.0):
            with contextlib.suppress(Refused):  # somebody else was quicker
                patient = known[self.edits % len(known)]
                self.world.oms.patch("patients", patient, preferred_name=f"Nick {self.edits}")
                self.edits += 1
                if self.edits % 5 == 0:
                    self.born.append(str(self.world.patient()["id"]))


def spoil(world: World) -> list[str]:
    """Make 1 % of the conditions longer than their field, as history: no event tells of it. -> Their ids."""
    with psycopg.connect(world.stack.endpoints["oms_database_url"]) as connection:
        connection.execute("SET omsync.seeding = 'on'")
        found = connection.execute(
            "UPDATE patient_conditions SET description = repeat('x', 300) WHERE id IN"
            " (SELECT id FROM patient_conditions ORDER BY id LIMIT greatest(1, (SELECT count(*) / 100 FROM patient_conditions))) RETURNING id::text"
        ).fetchall()
    return sorted(str(row[0]) for row in found)


def migrate(world: World, *arguments: str, check: bool = True) -> Any:
    """`omsync migrate ...`; its last line of JSON."""
    done = omsync(world.stack.home, "migrate", *arguments, check=check)
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    return json.loads(lines[-1]) if lines else {"code": done.returncode, "text": done.stdout}


def certificate(world: World, run: int) -> Any:
    return migrate(world, "report", "--run", str(run), "--json", check=False)[str(run)]


def abort_one_job(world: World) -> None:
    """What an administrator may do in Setup, Bulk Data Load Jobs."""

    def open_jobs() -> list[str]:
        page = world.org.call("GET", f"{JOBS}?jobType=V2Ingest").json()
        return [one["id"] for one in page["records"] if one["state"] in ("UploadComplete", "InProgress")]

    with contextlib.suppress(AssertionError, Refused):
        job = until(open_jobs, seconds=90, every=0.02)[0]
        world.org.call("PATCH", f"{JOBS}/{job}", json={"state": "Aborted"})


def test_the_migration_of_a_live_company(fresh: World) -> None:
    """Plan, four runs under traffic and trouble, certificates; nothing that is there is harmed, and nobody gets an email about history."""
    bad = spoil(fresh)
    planned = migrate(fresh, "plan", "--run", "1", "--json")
    assert not planned["blocked"]
    assert planned["counts"]["products"]["rows"] > 0
    with Traffic(fresh) as traffic:
        migrate(fresh, "start", "--run", "1", "--yes", "--json")
        assert certificate(fresh, 1)["issued"]
        stopped_and_resumed(fresh)
        run_with_aborted_job(fresh, bad)
        migrate(fresh, "start", "--all", "--yes", "--json")
    assert traffic.edits > 5
    assert certificate(fresh, 4)["issued"]
    fresh.quiet(seconds=120)
    the_rest_is_well(fresh, traffic)


def stopped_and_resumed(world: World) -> None:
    """Run 2: the execution is stopped while it works, Salesforce is away for a while, then `resume`."""
    migrate(world, "start", "--run", "2", "--yes", "--detach", "--json")
    until(lambda: has_begun(world, "patients"), seconds=180)
    migrate(world, "stop", "--run", "2")
    world.org.admin("POST", "faults", {"kind": "unavailable", "pattern": "/services/data", "seconds": 12})
    assert migrate(world, "resume", "--run", "2", "--json")["issued"]


def has_begun(world: World, table: str) -> bool:
    """Is something known of the table's first chunk? Asked of the state table: the command takes longer than the chunk."""
    key = {"pk": {"S": f"migration/main/2/{table}/00000"}}
    return "Item" in world.stack.aws.client("dynamodb").get_item(TableName=world.stack.outputs["StateTableName"], Key=key)


def run_with_aborted_job(world: World, bad: list[str]) -> None:
    """Run 3: an administrator aborts a job; bad rows are quarantined, signed for by name, and their neighbours are there."""
    migrate(world, "approve", "--run", "3", "--gate", "certificate", "--by", "Ada Lovelace")
    admin = threading.Thread(target=abort_one_job, args=(world,), daemon=True)
    admin.start()
    migrate(world, "start", "--run", "3", "--yes", "--json")
    admin.join()
    made = certificate(world, 3)
    assert made["issued"]
    assert made["signed_by"] == "Ada Lovelace"
    assert sorted(one["id"] for one in made["quarantine"]) == bad
    conditions = next(one for one in made["tables"] if one["table"] == "patient_conditions")
    assert conditions["quarantined"] == len(bad)
    assert conditions["verified"] == conditions["rows"] - len(bad)


def the_rest_is_well(world: World, traffic: Traffic) -> None:
    again = migrate(world, "start", "--run", "2", "--yes", "--json")
    assert again["outcome"] == "nothing to do"
    for run in (1, 2, 3, 4):
        made = certificate(world, run)
        for table in made["tables"]:
            parts = [table[name] for name in ("verified", "quarantined", "missing", "mismatched", "unknown")]
            assert table["rows"] == sum(parts) + sum(table["not_sent"].values()), table["table"]
    assert traffic.born
    world.agrees({"patients": traffic.born}, seconds=60)
    emails = world.org.query("SELECT count() FROM EmailMessage WHERE OMS_Id__c = null")
    assert emails == [] or emails[0].get("expr0", 0) == 0
