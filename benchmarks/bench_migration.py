"""Rows a second from PostgreSQL to verified in Salesforce, for patients, orders and clinical_notes, against the same simulator in one run.

    python benchmarks/bench_migration.py [--patients 1000] [--home DIR]

    omsync    extract, load, link, verify: the use cases of the functions, in this process, two chunks at a time
    plain     a script with simple-salesforce's bulk2: SELECT, dictionaries, insert, query back, compare
    floor     COPY to CSV, PUT, poll, nothing else: no mapping of rows, no manifest, no verification

Parents are loaded before the clock starts; each contender begins with an org that lacks the table. The rows' mapping is the same code for
omsync and plain; the floor sends lines that were made before. Prints one JSON object; `--home` uses a stack that is up and seeded.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import psycopg

if TYPE_CHECKING:
    from omsync.migration.model import ChunkRef, Outcome
    from omsync.platform.bootstrap_migration import OrgSteps, SourceSteps

ROOT = Path(__file__).resolve().parent.parent
TABLES = ("patients", "orders", "clinical_notes")
#: what must be there before, run by run
PARENTS = {
    "patients": ("pharmacies", "providers"),
    "orders": ("pharmacies", "providers", "patients", "consultations", "subscriptions"),
    "clinical_notes": ("pharmacies", "providers", "patients", "consultations"),
}
CHUNK_ROWS = 10_000
LOOK_SECONDS = 0.1


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


class Bench:
    """One stack, its steps, and a new migration name for each contender."""

    def __init__(self, endpoints: Mapping[str, str]) -> None:
        from omsync.platform.bootstrap_migration import org_steps, source_steps

        self.endpoints = endpoints
        self.source: SourceSteps = source_steps()
        self.org: OrgSteps = org_steps()
        self._count = 0

    def _admin(self, path: str) -> None:
        import ssl

        context = ssl.create_default_context(cafile=self.endpoints["salesforce_ca"])
        request = urllib.request.Request(f"{self.endpoints['salesforce_url']}/_admin/{path}", method="POST", data=b"{}")
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
        opener.open(request, timeout=60).close()

    def _empty(self) -> None:
        """An org and a ledger that know nothing."""
        self._admin("reset")
        client, table = self.org.ledger.ledger.client, self.org.ledger.ledger.table
        for page in client.get_paginator("scan").paginate(TableName=table, ProjectionExpression="pk"):
            keys = [item["pk"] for item in page["Items"]]
            for start in range(0, len(keys), 25):
                client.batch_write_item(RequestItems={table: [{"DeleteRequest": {"Key": {"pk": key}}} for key in keys[start : start + 25]]})

    def ready(self, table: str) -> str:
        """An org with the parents of a table; the name of the migration that goes on from there."""
        self._empty()
        self._count += 1
        name = f"bench{int(time.time())}-{self._count}"
        run_of = self._runs()
        for run in (1, 2, 3):
            self.org.prepare._note_facts(name, run)
        self.org.prepare._first()
        for parent in PARENTS[table]:
            refs = self.refs(name, run_of[parent], parent)
            self.steps(refs, (self.source.extract.run, self.org.load.run, self.org.link.run))
        return name

    def _runs(self) -> dict[str, int]:
        from omsync.mapping import load_mappings

        return {mapping.table: mapping.run for mapping in load_mappings()}

    def refs(self, name: str, run: int, table: str) -> list[ChunkRef]:
        """A table's chunks."""
        from omsync.migration.plan import read_refs

        self.source.plan.survivors(name, run)
        return [ref for ref in read_refs(self.source.files, self.source.plan.run(name, run, rows=CHUNK_ROWS)) if ref.table == table]

    def steps(self, refs: Sequence[ChunkRef], steps: Sequence[Callable[[ChunkRef], Outcome]]) -> None:
        """All steps of each chunk, two chunks at a time."""

        def one(ref: ChunkRef) -> None:
            for step in steps:
                while (outcome := step(ref)).outcome == "wait":
                    time.sleep(outcome.wait_seconds if outcome.reason else LOOK_SECONDS)  # a reason: the live writers are at work
                if outcome.outcome != "done":
                    raise SystemExit(f"{ref.name}: {outcome.reason}")

        with ThreadPoolExecutor(2) as pool:
            list(pool.map(one, refs))

    # --------------------------------------------------------------------------------------------------------- contenders
    def omsync(self, table: str) -> dict[str, float]:
        """All of it, to the last value verified."""
        name, run = self.ready(table), self._runs()[table]
        calls, begun = self.org.salesforce.calls, time.monotonic()
        refs = self.refs(name, run, table)
        self.steps(refs, (self.source.extract.run, self.org.load.run, self.org.link.run, self.org.verify.run))
        seconds = time.monotonic() - begun
        states = self.org.chunks.read_many(refs)
        rows, verified = sum(one.to_send for one in states), sum(one.verified for one in states)
        if rows != verified:
            raise SystemExit(f"{table}: {rows - verified} rows are not verified")
        return {"rows": rows, "seconds": round(seconds, 2), "calls": self.org.salesforce.calls - calls}

    def plain(self, table: str) -> dict[str, float]:
        """As one writes it: everything in memory, simple-salesforce polls."""
        from simple_salesforce import Salesforce

        from omsync.mapping import compile_mapping, csv_header, csv_line, load_mappings, needs_rest
        from omsync.migration.model import ChunkRef

        name, run = self.ready(table), self._runs()[table]
        facts = self.source.facts(name, run)
        mapping = load_mappings()[table]
        compiled, target = compile_mapping(mapping, facts.time_zone), mapping.targets[0]
        begun = time.monotonic()
        header = csv_header(target)
        with self.source.source.read(mapping, ChunkRef(migration=name, run=run, table=table, number=0)) as (_, rows):
            records = [one for row in rows for one in compiled.to_salesforce(row, staff=frozenset(facts.staff)) if not needs_rest(one)]
        lines = [dict(zip(header, csv_line(one, facts.ids), strict=True)) for one in records]
        session = self.org.client.session
        token = self.org.client.tokens.token()
        sf = Salesforce(instance_url=self.endpoints["salesforce_url"], session_id=token, session=session, version="67.0")
        getattr(sf.bulk2, target.object).insert(records=lines, batch_size=CHUNK_ROWS, concurrency=2)
        columns = ", ".join(field.path for field in compiled.fields(target.object).values() if not _is_list(field))
        found: dict[str, Any] = {}
        for page in getattr(sf.bulk2, target.object).query(f"SELECT {columns} FROM {target.object} WHERE OMS_Id__c != null"):
            import csv

            for row in csv.DictReader(io.StringIO(page)):
                found[row["OMS_Id__c"]] = compiled.normal_record(target.object, row)
        wrong = sum(1 for one in records if _differs(one.fields, found.get(one.external_id, {})))
        return {"rows": len(lines), "seconds": round(time.monotonic() - begun, 2), "different": wrong}

    def floor(self, table: str) -> dict[str, float]:
        """What no loader can be quicker than."""
        name, run = self.ready(table), self._runs()[table]
        refs = self.refs(name, run, table)
        self.steps(refs, (self.source.extract.run,))
        parts = [part for state in self.org.chunks.read_many(refs) for part in state.parts if part.kind == "bulk"]
        contents = [gzip.decompress(self.source.files.get(part.file) or b"") for part in parts]
        begun = time.monotonic()
        statement = f"COPY {table} TO STDOUT (FORMAT csv)"
        with psycopg.connect(self.endpoints["oms_database_url"]) as database, database.cursor() as cursor, cursor.copy(statement) as copied:
            for _ in copied:
                pass
        for part, content in zip(parts, contents, strict=True):
            job = self.org.salesforce.create_job(part.object)
            self.org.salesforce.upload(job, io.BytesIO(content))
            while not self.org.salesforce.look(job).done:
                time.sleep(LOOK_SECONDS)
        return {"rows": sum(part.rows for part in parts), "seconds": round(time.monotonic() - begun, 2)}


def _differs(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> bool:
    return not theirs or any(theirs[name] != value for name, value in ours.items() if name in theirs)


def _is_list(field: Any) -> bool:
    return field.references is not None and (field.references.many or field.references.polymorphic)


@click.command()
@click.option("--patients", default=1000, show_default=True)
@click.option("--home", type=click.Path(file_okay=False, path_type=Path))
def main(patients: int, home: Path | None) -> None:
    """Print the figures."""
    with stack(home, patients) as endpoints:
        tell(endpoints)
        sys.path[:0] = [str(ROOT / "layers" / "omsync"), str(ROOT)]
        bench, found = Bench(endpoints), dict[str, Any]()
        for table in TABLES:
            figures: dict[str, Any] = {"omsync": bench.omsync(table), "plain": bench.plain(table), "floor": bench.floor(table)}
            for one in figures.values():
                one["rows_per_second"] = round(one["rows"] / one["seconds"])
            ours = figures["omsync"]["rows_per_second"]
            figures["against_plain"] = round(ours / figures["plain"]["rows_per_second"], 2)
            figures["share_of_floor"] = round(ours / figures["floor"]["rows_per_second"], 2)
            figures["calls_per_million_rows"] = round(figures["omsync"]["calls"] / figures["omsync"]["rows"] * 1_000_000)
            found[table] = figures
        found["peak_memory_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        click.echo(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
