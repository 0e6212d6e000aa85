"""The four runs on the embedded stack, while people work in both systems: approved, paused, stopped, resumed, workers killed, jobs aborted,
Salesforce away, bad rows; and the proof.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.rows import dict_row

from local.stack.deploy import outputs
from local.stack.home import Home
from omsync.mapping import TableMapping, TransformError, compile_mapping, load_mappings
from omsync.migration.model import DELTA
from ops.connections import Connections
from ops.migrate.machine import Machine
from tests.e2e.conftest import Stack, omsync, own_home
from tests.e2e.workers import killing
from tests.e2e.world import Refused, World
from tests.polling import until

PATIENTS = int(os.environ.get("OMSYNC_MIGRATION_PATIENTS", "40"))
#: about; no run has more in quarantine than this for each
ROWS_OF_A_PATIENT = 90
JOBS = "/jobs/ingest"
ADA = "Ada Lovelace"
pytestmark = [pytest.mark.long, pytest.mark.timeout(1500)]


@pytest.fixture(scope="module")
def fresh() -> Iterator[World]:
    """A stack of its own: nothing is migrated yet, support cases are the OMS's. `OMSYNC_MIGRATION_HOME` lends one that is up and seeded."""
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
    """People at work in both systems for as long as the block lasts."""

    world: World
    spare: set[str] = field(default_factory=set)  # whom nobody touches
    born: list[str] = field(default_factory=list)
    edited: set[str] = field(default_factory=set)
    deleted: list[str] = field(default_factory=list)
    edits: int = 0
    in_salesforce: int = 0
    _over: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Traffic:
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(60)

    def _work(self) -> None:
        active = [str(row["id"]) for row in self.world.oms.rows("patients") if row["status"] == "active"]
        known = [patient for patient in active if patient not in self.spare]
        doomed, known = known[:3], known[3:]
        while not self._over.wait(2.0):
            with contextlib.suppress(Refused, OSError):  # somebody else was quicker, or Salesforce is away
                self._turn(doomed, known)

    def _turn(self, doomed: list[str], known: list[str]) -> None:
        patient = known[self.edits % len(known)]
        self.world.oms.patch("patients", patient, preferred_name=f"Nick {self.edits}")
        self.edited.add(patient)
        self.edits += 1
        if self.edits % 5 == 0:
            self.born.append(str(self.world.patient()["id"]))
        if self.edits % 7 == 3 and doomed:
            self.world.oms.patch("patients", doomed[0], deleted_at="2026-01-01T00:00:00.000000Z")
            self.deleted.append(doomed.pop(0))
        if self.edits % 3 == 0 and (there := self.world.org.find("Account", patient)) is not None:
            self.world.org.edit("Account", str(there["Id"]), Care_Notes__pc=f"called {self.edits} times")
            self.in_salesforce += 1


#: a text of each of these tables, longer than its field, cannot be carried
BAD = {
    "patients": "last_name", "patient_allergies": "substance", "patient_conditions": "description", "consultations": "decline_reason",
    "clinical_notes": "title", "prescriptions": "drug_description", "orders": "promo_code", "order_items": "product_name_snapshot",
    "shipments": "service_level", "support_cases": "subject", "order_status_history": "reason", "communications": "template_code",
}  # fmt: skip


def spoil(world: World) -> dict[str, set[str]]:
    """Make 1 % of the rows of these tables bad, as history: no event tells of it. -> Their ids."""
    found: dict[str, set[str]] = {}
    with psycopg.connect(world.stack.endpoints["oms_database_url"]) as connection:
        connection.execute("SET omsync.seeding = 'on'")
        for table, column in BAD.items():
            statement = sql.SQL(
                "UPDATE {table} SET {column} = repeat('x', 300) WHERE id IN"
                " (SELECT id FROM {table} ORDER BY id LIMIT greatest(1, (SELECT count(*) / 100 FROM {table}))) RETURNING id::text"
            ).format(table=sql.Identifier(table), column=sql.Identifier(column))
            found[table] = {str(row[0]) for row in connection.execute(statement)}
    return found


def out_of_reach(world: World, bad: dict[str, set[str]]) -> dict[str, set[str]]:
    """The bad rows, whatever hangs on one of them, and what lacks one of its own table: by table, ids that belong into quarantine."""
    found: dict[str, set[str]] = {}
    lacking: dict[str, set[str]] = {}
    with psycopg.connect(world.stack.endpoints["oms_database_url"], row_factory=dict_row) as connection:
        into = {str(row["id"]): str(row["into"]) for row in connection.execute(
            "SELECT id, merged_into_patient_id AS into FROM patients WHERE merged_into_patient_id IS NOT NULL"
        )}  # fmt: skip
        for mapping in sorted(load_mappings(), key=lambda one: one.wave):
            mine = found.setdefault(mapping.table, set())
            embedded = mapping.mode == "embedded"
            links = [
                (name, str(column.references)) for name, column in mapping.columns.items() if column.references not in (None, mapping.table)
            ]
            rows = connection.execute(sql.SQL("SELECT * FROM {}").format(sql.Identifier(mapping.table))).fetchall()
            for row in rows:
                row_id = str(row["id"])
                parents = {
                    (table, into.get(str(row[name]), str(row[name])))
                    for name, table in links
                    if embedded or not mapping.columns[name].not_sent
                }
                lost = any(parent in found[table] for table, parent in parents) or not carried(mapping, row)
                if (lost or row_id in bad.get(mapping.table, ())) and not mapping.skip_reason(row) and not (embedded and row["deleted_at"]):
                    mine.add(row_id)
            kin = [name for name, column in mapping.columns.items() if column.references == mapping.table and not column.not_sent]
            lacking[mapping.table] = {str(row["id"]) for row in rows if any(str(row[name]) in mine for name in kin)} - mine
    return {table: rows | lacking[table] for table, rows in found.items()}


def carried(mapping: TableMapping, row: dict[str, Any]) -> bool:
    """Of generated history, too, some cannot be: a sender's address that is none. (A patient's other table is not asked here.)"""
    if mapping.mode in ("embedded", "matched") or mapping.embedded:
        return True
    try:
        compile_mapping(mapping).to_salesforce(row)
    except TransformError:
        return False
    return True


def migrate(world: World, *arguments: str, check: bool = True) -> list[Any]:
    """`omsync migrate ...`; its lines of JSON."""
    done = omsync(world.stack.home, "migrate", *arguments, check=check)
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def status(world: World, run: int) -> Any:
    return migrate(world, "status", "--run", str(run), "--json")[-1]


def asked(world: World, run: int) -> Any:
    """The same without a process for each look."""
    told = world.stack.endpoints
    account = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
    return Machine(Connections(told["stack_name"], told["region"], told["aws_endpoint_url"], account), "main").status(run)


def certificate(world: World, run: int) -> Any:
    return migrate(world, "report", "--run", str(run), "--json", check=False)[-1][str(run)]


def begun(world: World, run: int, table: str, *, phases: tuple[str, ...] = ("extracted", "loaded", "linked", "verified")) -> bool:
    """Is the table's first chunk so far? Asked of the state table: the command takes longer than a chunk."""
    key = {"pk": {"S": f"migration/main/{run}/{table}/00000"}}
    item = world.stack.aws.client("dynamodb").get_item(TableName=world.stack.outputs["StateTableName"], Key=key).get("Item")
    return item is not None and json.loads(item["document"]["S"]).get("phase") in phases


def test_nobody_approves(fresh: World) -> None:
    """A run that nobody approves in time ends, and has loaded nothing. The deployed machine, with seconds for its week."""
    states = fresh.stack.aws.client("stepfunctions")
    deployed = states.describe_state_machine(stateMachineArn=fresh.stack.outputs["MigrationRunArn"])
    hasty = json.loads(deployed["definition"])
    hasty["States"]["AskStart"]["TimeoutSeconds"] = 2
    made = states.create_state_machine(name="hasty", definition=json.dumps(hasty), roleArn=deployed["roleArn"])["stateMachineArn"]
    said = {"migration": "nobody", "run": 1, "chunk_rows": 10_000, "approve": True, "purpose": "migrate"}
    arn = states.start_execution(stateMachineArn=made, input=json.dumps(said))["executionArn"]
    ended = until(lambda: states.describe_execution(executionArn=arn), lambda one: one["status"] != "RUNNING", seconds=120, every=0.5)
    states.delete_state_machine(stateMachineArn=made)
    assert (ended["status"], ended["error"]) == ("FAILED", "NotApproved")
    told = migrate(fresh, "status", "--name", "nobody", "--run", "1", "--json")[-1]
    assert told["tables"]
    assert all(one["extracted"] == 0 for one in told["tables"])


def test_the_migration_of_a_live_company(fresh: World) -> None:
    """Plan, four runs under traffic and trouble, certificates; nothing that is there is harmed, and nobody gets an email about history."""
    bad = spoil(fresh)
    before = {one["id"] for one in mailbox(fresh)}
    report = migrate(fresh, "plan", "--run", "1", "--json")[-1]
    assert not report["blocked"]
    assert {one["table"]: one["rows"] for one in report["tables"]}["products"] > 0
    with Traffic(fresh, bad["patients"]) as traffic:
        approved_and_paused(fresh)
        stopped_and_resumed(fresh)
        run_with_killed_workers_and_an_aborted_job(fresh)
        run_with_salesforce_away(fresh)
    assert traffic.edits > 20
    assert traffic.in_salesforce > 3
    fresh.quiet(seconds=180)
    the_end_state_is_one_without_trouble(fresh, traffic, bad)
    the_finished_runs_change_nothing(fresh)
    verification_compares_anew(fresh)
    known = {(fresh.oms.get("patients", born) or {})["email"] for born in traffic.born}
    strangers = [one["subject"] for one in mailbox(fresh) if one["id"] not in before and not known.issuperset(one["to"])]
    assert strangers == [], "nobody gets an email about history"


def mailbox(world: World) -> list[Any]:
    """All emails."""
    return list(world.stack.http.get(f"{world.stack.endpoints['mailbox_url']}/messages.json").json())


def approved_and_paused(world: World) -> None:
    """Run 1 of all: nothing is loaded before somebody approves; paused, it begins nothing."""
    migrate(world, "start", "--all", "--detach")
    until(lambda: asked(world, 1)["waits_for"], lambda found: found == ["1/start"], seconds=240, every=1)
    assert all(one["loaded"] == 0 for one in status(world, 1)["tables"])
    assert "under way already" in omsync(world.stack.home, "migrate", "start", "--all", "--yes", check=False).stderr
    migrate(world, "pause", "--by", "Grace")
    migrate(world, "approve", "--by", ADA)
    until(lambda: begun(world, 1, "products"), seconds=120)
    time.sleep(5)  # long enough for a job, if one were begun
    held = status(world, 1)
    assert held["held_up"] == "paused by Grace"
    assert all(one["loaded"] == 0 for one in held["tables"] if one["table"] != "staff_users"), "staff are matched: no row of theirs is sent"
    migrate(world, "resume", "--detach")
    until(lambda: asked(world, 1)["waits_for"], lambda found: found == ["1/certificate"], seconds=300, every=1)
    assert migrate(world, "report", "--run", "1", "--json", check=False)[-1]["1"]["certified"] is False
    for run in ("2", "3", "4"):
        migrate(world, "approve", "--run", run, "--gate", "certificate", "--up-to", str(PATIENTS * ROWS_OF_A_PATIENT), "--by", ADA)
    migrate(world, "approve", "--by", ADA)  # what was verified
    until(lambda: asked(world, 1)["certified_run"], lambda run: run >= 1, seconds=60, every=1)
    assert certificate(world, 1)["certified"]


def planned(world: World, run: int) -> None:
    """A run has been looked at, and waits for somebody to approve its start."""
    until(lambda: asked(world, run)["waits_for"], lambda found: found == [f"{run}/start"], seconds=240, every=1)


def begin(world: World, run: int) -> None:
    """Approve a run's start, for which it waits."""
    planned(world, run)
    migrate(world, "approve", "--run", str(run), "--by", ADA)


def certified(world: World, run: int) -> None:
    until(lambda: asked(world, run)["certified_run"], lambda found: found >= run, seconds=500, every=2)


def stopped_and_resumed(world: World) -> None:
    """Run 2: Salesforce is away, everything is stopped meanwhile, `resume` goes on with it."""
    world.org.admin("POST", "faults", {"kind": "unavailable", "pattern": "/services/data", "seconds": 25})
    begin(world, 2)
    until(lambda: begun(world, 2, "patients"), seconds=120)
    migrate(world, "stop")
    assert status(world, 2)["execution"] in ("ABORTED", "FAILED")
    assert status(world, 2)["certified_run"] == 1
    migrate(world, "resume", "--detach")
    certified(world, 2)


def run_with_killed_workers_and_an_aborted_job(world: World) -> None:
    """Run 3: functions die in the middle of calls, an administrator aborts a job."""
    planned(world, 3)
    admin = threading.Thread(target=abort_one_job, args=(world,), daemon=True)
    admin.start()
    functions = ("MigrationSource", "MigrationLoad", "MigrationVerify")
    world.org.admin("POST", "faults", {"kind": "latency", "pattern": "PUT .*/batches", "delay": 2, "seconds": 90})  # a moment to die in
    with killing(world.stack.home, *functions, times=3, after=0.05) as killed:
        begin(world, 3)
        certified(world, 3)
    admin.join()
    assert len(killed) >= 3, killed


def abort_one_job(world: World) -> None:
    """What an administrator may do in Setup, Bulk Data Load Jobs."""

    def aborted() -> bool:
        with contextlib.suppress(Refused, OSError):
            page = world.org.call("GET", f"{JOBS}?jobType=V2Ingest").json()
            for one in page["records"]:
                if one["state"] in ("Open", "UploadComplete", "InProgress"):
                    return world.org.call("PATCH", f"{JOBS}/{one['id']}", json={"state": "Aborted"}).ok
        return False

    until(aborted, seconds=240, every=0.02)


def run_with_salesforce_away(world: World) -> None:
    """Run 4: Salesforce is away for three minutes, and nobody has to do anything."""
    planned(world, 4)
    world.org.admin("POST", "faults", {"kind": "unavailable", "pattern": "/services/data", "seconds": 180})
    begin(world, 4)
    assert migrate(world, "status", "--watch", "--json")[-1]["certified_run"] == 4


def the_end_state_is_one_without_trouble(world: World, traffic: Traffic, bad: dict[str, set[str]]) -> None:
    """Every row once, every value, whatever happened on the way; bad rows and what hangs on them in quarantine, by name, their neighbours there."""
    lost = out_of_reach(world, bad)
    assert all(lost[table] >= rows for table, rows in bad.items() if table != "clinical_notes")  # a draft is not sent anyway
    mirrored = {row_id for table, rows in bad.items() if load_mappings()[table].mode == "mirrored" for row_id in rows}
    for run in (1, 2, 3, 4):
        made = certificate(world, run)
        assert made["certified"]
        assert made["signed_by"] == ADA
        assert all(one["id"] in lost[one["table"]] for one in made["quarantine"])
        for table in made["tables"]:
            # what hangs on a bad shared row may come with it, by the live writers; the delta leaves bad rows to the run that they are signed in
            due = set() if table["wave"] == DELTA else bad.get(table["table"], set()) & lost[table["table"]]
            assert len(due) <= table["quarantined"] <= len(lost[table["table"]]), table["table"]
            parts = [table[name] for name in ("verified", "quarantined", "missing", "mismatched", "unknown")]
            assert table["rows"] == sum(parts) + sum(table["not_sent"].values()), table["table"]
    assert traffic.born
    assert traffic.deleted
    changed = next(table for table in certificate(world, 4)["tables"] if (table["table"], table["wave"]) == ("patients", DELTA))
    assert changed["verified"] > 0, "who came or was edited meanwhile is verified as he is now"
    world.agrees({"patients": traffic.born}, seconds=90)
    assert migrate(world, "verify", "--run", "2", "--json")[-1]["proven"], "what was edited meanwhile, too"
    for gone in traffic.deleted:
        assert world.field("Account", world.account({"id": gone}), "OMS_Deleted__c") is True, "rows deleted during a run do not come back"
    for sobject in sorted({target.object for mapping in load_mappings() for target in mapping.targets}):
        ids = [one["OMS_Id__c"] for one in world.org.query(f"SELECT OMS_Id__c FROM {sobject} WHERE OMS_Id__c != null")]
        assert len(ids) == len(set(ids)), f"{sobject}: a row is there twice"
        assert not mirrored.intersection(ids), f"{sobject}: a row of the quarantine is there"
    assert world.buried() == {}


def the_finished_runs_change_nothing(world: World) -> None:
    before = counts(world)
    assert migrate(world, "start", "--all", "--yes", "--json")[-1] == {"outcome": "nothing to do", "certified_run": 4}
    assert migrate(world, "resume", "--json")[-1]["outcome"] == "nothing to do"
    assert counts(world) == before


def counts(world: World) -> list[Any]:
    jobs = world.org.call("GET", f"{JOBS}?jobType=V2Ingest").json()["records"]
    return [len(jobs), *(certificate(world, run)["sha256"] for run in (1, 2, 3, 4))]


def verification_compares_anew(world: World) -> None:
    """`verify` compares again, it does not judge old results: what an administrator changed is found."""
    assert migrate(world, "verify", "--run", "1", "--json")[-1]["proven"]
    issued = certificate(world, 1)
    product = world.oms.rows("products")[0]
    there = world.org.find("Product2", str(product["id"]), "Id, Strength__c")
    assert there is not None
    world.org.edit("Product2", str(there["Id"]), user="admin", Strength__c="tampered with")
    found = migrate(world, "verify", "--run", "1", "--json")[-1]
    assert found["proven"], "the live writers were asked, and mended it"
    assert found["tables"]["products"]["handed"] == issued_handed(issued) + 1
    assert world.field("Product2", str(there["Id"]), "Strength__c") == there["Strength__c"]
    assert certificate(world, 1) == issued, "a certificate says what was true on its day"


def issued_handed(made: Any) -> int:
    return next(int(one["handed"]) for one in made["tables"] if one["table"] == "products")
