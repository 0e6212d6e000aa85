"""How others would load a table of ours: a plain script with simple-salesforce, CumulusCI's `load_dataset`, SFDMU.

Each gets the rows as PostgreSQL gives them and the mapping's code to make records of them, makes its own input, loads it its own way, and is
verified the same plain way: a Bulk query of the table, every value compared. Text that is too long for Bulk goes by REST where the tool
has no way of its own. None of them keeps what a migration needs beyond the rows: no ledger, no hashes, nothing to resume from.
"""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from migration_stack import Bench

ROOT = Path(__file__).resolve().parent.parent
TOOLS = ROOT / ".local" / "bench"
API = "67.0"
#: how to have the contenders; they are no dependencies of the project
INSTALL = {
    "cumulusci": f"python3 -m venv {TOOLS}/cumulusci && {TOOLS}/cumulusci/bin/pip install cumulusci==4.10.1",
    "sfdmu": f"npm install --prefix {TOOLS} @salesforce/cli@2.146.3 sfdmu@3.7.19",
}


class Missing(Exception):
    """The contender is not installed; how it would be."""


class Table:
    """A table's records as a contender gets them, and their verification."""

    def __init__(self, bench: Bench, table: str) -> None:
        from simple_salesforce import Salesforce

        from omsync.mapping import compile_mapping

        self.bench, self.table = bench, table
        self.mapping = bench.mappings[table]
        self.target = self.mapping.targets[0]
        self.name = bench.named()
        self.facts = bench.source.facts(self.name, self.mapping.run)
        self.compiled = compile_mapping(self.mapping, self.facts.time_zone)
        client = bench.org.client
        self.token = client.tokens.token()
        self.url = bench.endpoints["salesforce_url"]
        self.sf = Salesforce(instance_url=self.url, session_id=self.token, session=client.session, version=API)

    def read(self) -> list[Any]:
        """PostgreSQL -> records."""
        from omsync.migration.extract import with_survivors
        from omsync.migration.model import ChunkRef

        survivors = self.bench.source.survivors(self.name, self.mapping.run)
        ref = ChunkRef(migration=self.name, run=self.mapping.run, table=self.table, number=0)
        staff = frozenset(self.facts.staff)
        with self.bench.source.source.read(self.mapping, ref) as (_, rows):
            return [one for row in rows for one in self.compiled.to_salesforce(with_survivors(self.mapping, row, survivors), staff=staff)]

    def by_rest(self, records: Sequence[Any]) -> None:
        """What Bulk cannot carry, two hundred at a time."""
        from omsync.mapping import to_json

        for start in range(0, len(records), 200):
            bodies = [to_json(one, self.facts.ids, "load") for one in records[start : start + 200]]
            answers = self.sf.restful("composite/sobjects", method="POST", json={"allOrNone": False, "records": bodies})
            if refused := [one["errors"] for one in answers if not one["success"]]:
                raise SystemExit(f"{self.table}: {refused[0]}")

    def parents(self, sobject: str) -> dict[str, str]:
        """OMS id -> Salesforce id."""
        pages = getattr(self.sf.bulk2, sobject).query(f"SELECT Id, OMS_Id__c FROM {sobject} WHERE OMS_Id__c != null")
        return {row["OMS_Id__c"]: row["Id"] for page in pages for row in csv.DictReader(io.StringIO(page))}

    def with_ids(self, records: Sequence[Any]) -> tuple[list[str], Iterator[list[str | None]]]:
        """(columns, rows) with parents by Salesforce id, for tools that know no external ids of parents; null is None."""
        from omsync.mapping import csv_header, csv_line, written

        fields = {field.path: field for field in written(self.target, "load") if field.references is not None}
        known: dict[str, dict[str, str]] = {}
        for field in fields.values():
            assert field.references is not None
            known.setdefault(field.references.object, {})
        for sobject in known:
            known[sobject] = self.parents(sobject)
        header = csv_header(self.target)
        columns = [fields[name].name if name in fields else name for name in header]
        lookups = [
            known[field.references.object] if (field := fields.get(name)) is not None and field.references else None for name in header
        ]

        def rows() -> Iterator[list[str | None]]:
            for one in records:
                line = csv_line(one, self.facts.ids)
                yield [
                    None if value in ("", "#N/A") else value if lookup is None else lookup.get(value)
                    for value, lookup in zip(line, lookups, strict=True)
                ]

        return columns, rows()

    def verify(self, records: Sequence[Any]) -> int:
        """Rows that are missing or hold another value; references to the own table are a second pass that no contender has."""
        later = {field.name for field in self.target.fields.values() if field.second_pass}
        plain = {name: field for name, field in self.compiled.fields(self.target.object).items() if not _skipped(field)}
        columns = ", ".join(dict.fromkeys(["Id", "OMS_Id__c", *(field.path for field in plain.values())]))
        there: dict[str, Any] = {}
        types = ", ".join(f"'{name}'" for name in self.target.record_types)
        where = "OMS_Id__c != null" + (f" AND RecordType.DeveloperName IN ({types})" if types else "")
        for page in getattr(self.sf.bulk2, self.target.object).query(f"SELECT {columns} FROM {self.target.object} WHERE {where}"):
            for row in csv.DictReader(io.StringIO(page)):
                there[row["OMS_Id__c"]] = self.compiled.normal_record(self.target.object, row)
        compared = [name for name in plain if name not in later]
        return sum(1 for one in records if _differs(one.values, there.get(one.external_id), compared))


def _differs(ours: Mapping[str, Any], theirs: Mapping[str, Any] | None, names: Sequence[str]) -> bool:
    return theirs is None or any(name in ours and name in theirs and theirs[name] != ours[name] for name in names)


def _skipped(field: Any) -> bool:
    return field.references is not None and (field.references.many or field.references.polymorphic)


def plain(table: Table) -> tuple[int, int]:
    """As one writes it: everything in memory, simple-salesforce polls. -> (rows, rows that differ)."""
    from omsync.mapping import csv_header, csv_line, needs_rest

    records = table.read()
    header = csv_header(table.target)
    lines = [dict(zip(header, csv_line(one, table.facts.ids), strict=True)) for one in records if not needs_rest(one)]
    getattr(table.sf.bulk2, table.target.object).insert(records=lines, batch_size=10_000, concurrency=2)
    table.by_rest([one for one in records if needs_rest(one)])
    return len(records), table.verify(records)


def cumulusci(table: Table) -> tuple[int, int]:
    """`load_dataset` from SQLite by REST Collections: its Bulk is API 1.0, which the simulator does not speak."""
    python = Path(os.environ.get("BENCH_CUMULUSCI") or TOOLS / "cumulusci" / "bin" / "python")
    if not python.exists():
        raise Missing(INSTALL["cumulusci"])
    records = table.read()
    columns, rows = table.with_ids(records)
    with _folder() as folder:
        database = sqlite3.connect(folder / "dataset.db")
        names = ", ".join(f'"{name}" TEXT' for name in columns)
        database.execute(f"CREATE TABLE rows (id INTEGER PRIMARY KEY, {names})")
        marks = ", ".join("?" * len(columns))
        quoted = ", ".join(f'"{name}"' for name in columns)
        database.executemany(f"INSERT INTO rows ({quoted}) VALUES ({marks})", rows)
        if "RecordTypeId" in columns:  # ids of the dataset, matched with the org's by name; here they are the org's
            database.execute(f"CREATE TABLE {table.target.object}_rt_mapping (record_type_id TEXT PRIMARY KEY, developer_name TEXT)")
            known = table.sf.query_all(f"SELECT Id, DeveloperName FROM RecordType WHERE SobjectType = '{table.target.object}'")["records"]
            names_of = [(row["Id"], row["DeveloperName"]) for row in known]
            database.executemany(f"INSERT INTO {table.target.object}_rt_mapping VALUES (?, ?)", names_of)
        database.commit()
        database.close()
        step = {"sf_object": table.target.object, "table": "rows", "api": "rest", "fields": {name: name for name in columns}}
        (folder / "mapping.yml").write_text(json.dumps({"Load": step}))
        told = {"url": table.url, "token": table.token, "database": f"sqlite:///{folder / 'dataset.db'}"}
        told["mapping"] = str(folder / "mapping.yml")
        environment = {**os.environ, "REQUESTS_CA_BUNDLE": table.bench.endpoints["salesforce_ca"]}
        command = [str(python), str(ROOT / "benchmarks" / "cumulusci_load.py")]
        done = subprocess.run(command, input=json.dumps(told), capture_output=True, text=True, env=environment, cwd=folder)
        if done.returncode:
            raise SystemExit(f"cumulusci: {done.stderr[-2000:]}")
    return len(records), table.verify(records)


def sfdmu(table: Table) -> tuple[int, int]:
    """`sf sfdmu run` from a CSV file by Bulk API 2.0."""
    from omsync.mapping import needs_rest

    tools = Path(os.environ.get("BENCH_SFDMU") or TOOLS)
    sf, plugin = tools / "node_modules" / ".bin" / "sf", tools / "node_modules" / "sfdmu"
    if not sf.exists() or not plugin.exists():
        raise Missing(INSTALL["sfdmu"])
    records = table.read()
    columns, rows = table.with_ids([one for one in records if not needs_rest(one)])
    people = ["true"] if any(name.endswith("__pc") for name in columns) else []  # else it leaves out what only people have
    columns = [*columns, *(["IsPersonAccount"] if people else [])]
    with _folder() as folder:
        with (folder / f"{table.target.object}.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(columns)
            writer.writerows([*(value or "" for value in row), *people] for row in rows)
        _lookups(folder, table)
        script = {
            "orgs": [{"name": "sim", "orgUserName": "load", "accessToken": table.token, "instanceUrl": table.url}],
            "bulkApiVersion": "2.0", "apiVersion": API, "pollingIntervalMs": 500, "promptOnMissingParentObjects": False,
            "promptOnIssuesInCSVFiles": False, "keepObjectOrderWhileExecute": True, "objects": _objects(table, columns),
        }  # fmt: skip
        (folder / "export.json").write_text(json.dumps(script))
        environment = _sf_environment(tools, table.bench.endpoints["salesforce_ca"])
        if not (tools / "linked").exists():
            subprocess.run([str(sf), "plugins", "link", str(plugin), "--no-install"], env=environment, check=True, capture_output=True)
            (tools / "linked").touch()
        command = [str(sf), "sfdmu", "run", "--sourceusername", "csvfile", "--targetusername", "sim", "--path", str(folder), "--noprompt"]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=folder)
        if done.returncode or "Exit code 0" not in done.stdout:
            raise SystemExit(f"sfdmu: {(done.stdout + done.stderr)[-3000:]}")
    table.by_rest([one for one in records if needs_rest(one)])
    return len(records), table.verify(records)


def _objects(table: Table, columns: Sequence[str]) -> list[dict[str, Any]]:
    return [{"query": f"SELECT {', '.join(columns)} FROM {table.target.object}", "operation": "Insert", "externalId": "OMS_Id__c"}]


def _lookups(folder: Path, table: Table) -> None:
    """SFDMU looks these parents up by name in the source, which is a folder of files; others it drops."""
    chosen = {
        "RecordType": "SELECT Id, DeveloperName, SobjectType, NamespacePrefix FROM RecordType",
        "Pricebook2": "SELECT Id, Name FROM Pricebook2",
    }
    for sobject, soql in chosen.items():
        rows = table.sf.query_all(soql)["records"]
        with (folder / f"{sobject}.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            names = [name for name in rows[0] if name != "attributes"]
            writer.writerow(names)
            writer.writerows([row[name] or "" for name in names] for row in rows)


def _sf_environment(tools: Path, certificate: str) -> dict[str, str]:
    own = {name: str(tools / name.lower()) for name in ("SF_DATA_DIR", "SF_CACHE_DIR", "SF_CONFIG_DIR", "HOME")}
    node = f"{Path(sys.executable).parent}{os.pathsep}{tools / 'node_modules' / '.bin'}{os.pathsep}{os.environ['PATH']}"
    quiet = {"SF_DISABLE_TELEMETRY": "true", "SF_AUTOUPDATE_DISABLE": "true", "NODE_EXTRA_CA_CERTS": certificate, "PATH": node}
    return {**os.environ, **own, **quiet}


@contextmanager
def _folder() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="omsync-contender-"))
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


CONTENDERS = {"plain": plain, "cumulusci": cumulusci, "sfdmu": sfdmu}
