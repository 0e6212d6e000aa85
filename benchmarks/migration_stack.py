"""What the migration's benchmarks stand on: a stack with enough rows, the environment of its functions, and steps in worker processes.

Rows are multiplied in the database (`multiply`), past its triggers: copies have numbers of their own, and are no news to the live sync.
"""

from __future__ import annotations

import json
import os
import resource
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import sql

if TYPE_CHECKING:
    from omsync.migration.model import ChunkRef
    from omsync.platform.bootstrap_migration import OrgSteps, SourceSteps

ROOT = Path(__file__).resolve().parent.parent
LOOK_SECONDS = 0.1
#: columns of copies that must differ
_UNIQUE = {
    "patients": {"patient_number": "'P-' || left(gen_random_uuid()::text, 13)", "legacy_id": "NULL"},
    "orders": {"order_number": "'O-' || left(gen_random_uuid()::text, 13)"},
    "order_status_history": {"seq": "seq + n * (SELECT max(seq) FROM order_status_history)"},
}


@contextmanager
def stack(home: Path | None, patients: int) -> Iterator[Mapping[str, str]]:
    """A stack with that many patients; the one at `home`, or one of its own."""
    with tempfile.TemporaryDirectory(prefix="omsync-bench-") as made:
        where = home or Path(made)
        environment = {**os.environ, "OMSYNC_HOME": str(where)}

        def omsync(*arguments: str) -> None:
            subprocess.run([sys.executable, "-m", "ops.main", *arguments], cwd=ROOT, env=environment, check=True, stdout=subprocess.DEVNULL)

        try:
            if home is None:
                omsync("local", "up")
                omsync("local", "seed", "--patients", str(patients))
            yield json.loads((where / "endpoints.json").read_text())
        finally:
            if home is None:
                omsync("local", "down")


def tell(endpoints: Mapping[str, str]) -> None:
    """The environment that a function of this stack has."""
    sys.path[:0] = [str(ROOT / "layers" / "omsync"), str(ROOT)]
    aws = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_REGION": endpoints["region"]}
    os.environ.update(
        aws, AWS_ENDPOINT_URL=endpoints["aws_endpoint_url"], AWS_DEFAULT_REGION=endpoints["region"], NO_PROXY="127.0.0.1,localhost"
    )
    import boto3

    told = boto3.client("cloudformation").describe_stacks(StackName=endpoints["stack_name"])["Stacks"][0]["Outputs"]
    outputs = {one["OutputKey"]: one["OutputValue"] for one in told}
    names = {
        "OMS_SECRET_ARN": "OmsSecretArn", "SALESFORCE_SECRET_ARN": "SalesforceSecretArn", "MIRROR_QUEUE_URL": "MirrorQueueUrl",
        "SYNC_QUEUE_URL": "SyncQueueUrl", "STATE_TABLE": "StateTableName", "STAGING_BUCKET": "StagingBucketName",
        "LEDGER_TABLE": "LedgerTableName", "LEDGER_SECRET_ARN": "LedgerSecretArn", "OMS_DATABASE_SECRET_ARN": "OmsDatabaseSecretArn",
    }  # fmt: skip
    os.environ.update({name: outputs[output] for name, output in names.items()})
    os.environ.update(
        STAGE="local",
        VERSION="bench",
        BUILD_ID="0" * 64,
        OMS_BASE_URL=endpoints["oms_api_url"],
        SALESFORCE_BASE_URL=endpoints["salesforce_url"],
        SALESFORCE_CA=endpoints["salesforce_ca"],
        POWERTOOLS_SERVICE_NAME="bench",
        POWERTOOLS_LOG_LEVEL="ERROR",
    )


def multiply(url: str, table: str, rows: int) -> int:
    """Copy a table's rows until there are at least `rows`; how many there are."""
    name = sql.Identifier(table)
    with psycopg.connect(url, autocommit=True) as database:
        there = _count(database, table)
        copies = -(-rows // max(there, 1)) - 1
        if copies > 0:
            found = database.execute("SELECT column_name FROM information_schema.columns WHERE table_name = %s", [table]).fetchall()
            columns = [str(one[0]) for one in found]
            values = {"id": "gen_random_uuid()", **_UNIQUE.get(table, {})}
            chosen = [sql.SQL(values[one]) if one in values else sql.Identifier(one) for one in columns]
            statement = sql.SQL("INSERT INTO {} ({}) SELECT {} FROM {}, generate_series(1, {}) AS n LIMIT {}").format(
                name,
                sql.SQL(", ").join(map(sql.Identifier, columns)),
                sql.SQL(", ").join(chosen),
                name,
                sql.Literal(copies),
                sql.Literal(rows - there),
            )
            database.execute("SET session_replication_role = replica")
            database.execute(statement)
            database.execute(sql.SQL("ANALYZE {}").format(name))
        return _count(database, table)


def _count(database: psycopg.Connection, table: str) -> int:
    found = database.execute(sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(table))).fetchone()
    return int(found[0]) if found else 0


# -------------------------------------------------------------------------------------------------- steps in worker processes
type Step = tuple[str, str]  # ("source", "extract"), ("org", "load"), ...
_steps: dict[str, Any] = {}


def _begin(endpoints: Mapping[str, str]) -> None:
    """A warm function's process."""
    tell(endpoints)
    from omsync.platform.bootstrap_migration import org_steps, source_steps

    _steps.update(source=source_steps(), org=org_steps())
    _steps["org"].client.get_json("limits")


def _work(ref: ChunkRef, steps: Sequence[Step]) -> tuple[int, int]:
    """All steps of a chunk. -> (calls of Salesforce, peak memory in MB)."""
    org = _steps["org"]
    before = org.salesforce.calls
    for group, step in steps:
        one: Callable[[ChunkRef], Any] = getattr(_steps[group], step).run
        while (outcome := one(ref)).outcome == "wait":
            time.sleep(outcome.wait_seconds if outcome.reason else LOOK_SECONDS)  # a reason: the live writers are at work
        if outcome.outcome != "done":
            raise RuntimeError(f"{ref.name}: {step}: {outcome.reason}")
    return org.salesforce.calls - before, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def _ready(_: int) -> None:
    time.sleep(0.2)  # so that each process takes one


class Workers:
    """Warm processes, as the functions are: five chunks at a time, which is what the state machine does."""

    def __init__(self, endpoints: Mapping[str, str], count: int = 5) -> None:
        self._pool = ProcessPoolExecutor(count, mp_context=get_context("spawn"), initializer=_begin, initargs=(dict(endpoints),))
        list(self._pool.map(_ready, range(count)))

    def run(self, refs: Sequence[ChunkRef], steps: Sequence[Step]) -> tuple[int, int]:
        """(calls, peak MB of one process)."""
        told = list(self._pool.map(_work, refs, [steps] * len(refs)))
        return sum(calls for calls, _ in told), max((peak for _, peak in told), default=0)

    def close(self) -> None:
        self._pool.shutdown()


class Bench:
    """A stack, its steps, and a new migration name for each contender."""

    def __init__(self, endpoints: Mapping[str, str]) -> None:
        from omsync.mapping import load_mappings
        from omsync.platform.bootstrap_migration import org_steps, source_steps

        self.endpoints = endpoints
        self.source: SourceSteps = source_steps()
        self.org: OrgSteps = org_steps()
        self.mappings = load_mappings()
        self.workers = Workers(endpoints)
        self._count = 0

    def admin(self, path: str, body: object = None) -> None:
        """The simulator's admin API."""
        context = ssl.create_default_context(cafile=self.endpoints["salesforce_ca"])
        data = json.dumps(body or {}).encode()
        request = urllib.request.Request(f"{self.endpoints['salesforce_url']}/_admin/{path}", method="POST", data=data)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
        opener.open(request, timeout=600).close()

    @contextmanager
    def without_schedules(self) -> Iterator[None]:
        """No sweep: what it reads of one contender's rows, minutes later, would be charged to another."""
        import boto3

        events = boto3.client("events")
        rules = [
            rule["Name"] for page in events.get_paginator("list_rules").paginate() for rule in page["Rules"] if "ScheduleExpression" in rule
        ]
        for name in rules:
            events.disable_rule(Name=name)
        try:
            yield
        finally:
            for name in rules:
                events.enable_rule(Name=name)

    def quiet(self) -> None:
        """Nothing is under way: what the live writers would still write is no contender's."""
        calm, deadline = 0, time.monotonic() + 120
        while calm < 3:
            calm = calm + 1 if self.org.live.backlog() == 0 else 0
            if time.monotonic() > deadline:
                raise SystemExit("the live writers do not come to rest")
            time.sleep(0.5)

    def empty(self, *tables: str) -> None:
        """An org and a ledger that know nothing (of these tables)."""
        self.quiet()
        objects = [target.object for table in tables for target in self.mappings[table].targets]
        self.admin("reset", {"objects": objects} if objects else {})
        client, ledger = self.org.ledger.ledger.client, self.org.ledger.ledger.table
        for page in client.get_paginator("scan").paginate(TableName=ledger, ProjectionExpression="pk"):
            keys = [item["pk"] for item in page["Items"] if not tables or item["pk"]["S"].partition("#")[0] in tables]
            for start in range(0, len(keys), 25):
                client.batch_write_item(
                    RequestItems={ledger: [{"DeleteRequest": {"Key": {"pk": key}}} for key in keys[start : start + 25]]}
                )

    def named(self) -> str:
        """A new migration whose runs know the org."""
        self._count += 1
        name = f"bench{int(time.time())}-{self._count}"
        self.org.prepare._first()
        for run in (1, 2, 3, 4):
            self.org.prepare._note_facts(name, run)
            self.source.plan.survivors(name, run)
        return name

    def refs(self, name: str, table: str, rows: int = 10_000) -> list[ChunkRef]:
        """A table's chunks of so many rows."""
        from omsync.migration.plan import read_refs

        plan = self.source.plan.run(name, self.mappings[table].run, rows=rows, dry=True)  # of one run alone: without a delta
        return [ref for ref in read_refs(self.source.files, plan) if ref.table == table]

    def load(self, *tables: str) -> None:
        """Tables that others refer to."""
        name = self.named()
        for table in tables:
            self.workers.run(self.refs(name, table), (("source", "extract"), ("org", "load"), ("org", "link")))
