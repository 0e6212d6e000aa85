"""Bulk API 2.0 of the simulator, in its own process and over HTTP: records/s of an upsert and of a query job, and the peak memory.

    python benchmarks/bench_bulk.py [--records 500000] [--object Product2]

Prints one JSON object. Rates count from the close of the job to the end of its processing; memory is the server process's peak.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import click

ROOT = Path(__file__).resolve().parent.parent
API = "/services/data/v67.0/jobs"
DEADLINE_SECONDS = 600


class Org:
    """A simulator process with an empty org."""

    def __init__(self, home: Path) -> None:
        command = [sys.executable, "-m", "local.salesforce", "--home", str(home), "--metadata", str(ROOT / "salesforce")]
        self.process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, start_new_session=True)
        assert self.process.stdout is not None
        ready = json.loads(self.process.stdout.readline())
        self.base = ready["instance_url"]
        self.token = json.loads(Path(ready["session"]).read_text())["access_token"]

    def call(self, method: str, path: str, body: bytes | None = None, content_type: str = "application/json") -> bytes:
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": content_type}
        request = urllib.request.Request(self.base + path, data=body, method=method, headers=headers)
        with urllib.request.urlopen(request, timeout=DEADLINE_SECONDS) as answer:
            return bytes(answer.read())

    def json(self, method: str, path: str, body: dict[str, object] | None = None) -> dict[str, object]:
        found: dict[str, object] = json.loads(self.call(method, path, None if body is None else json.dumps(body).encode()))
        return found

    def wait(self, path: str) -> dict[str, object]:
        """Poll a job until it is in a final state."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        while time.monotonic() < deadline:
            job = self.json("GET", path)
            if job["state"] in ("JobComplete", "Failed", "Aborted"):
                return job
            time.sleep(0.1)
        raise TimeoutError(f"{path} is still {job['state']} after {DEADLINE_SECONDS} s")

    def peak_mb(self) -> float:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) / 1024

    def cpu_seconds(self) -> float:
        """Processor time so far: what is left of a rate when the machine has other things to do."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def stop(self) -> None:
        os.killpg(self.process.pid, signal.SIGTERM)
        self.process.wait(60)


def rows(records: int) -> Iterator[bytes]:
    yield b"OMS_Id__c,Name,ProductCode,IsActive,OMS_Version__c\n"
    for n in range(records):
        yield f"00000000-0000-7000-8000-{n:012d},Product {n},P-{n},true,1\n".encode()


def upsert(org: Org, object_name: str, records: int) -> tuple[dict[str, object], float]:
    """One job; its last state and the seconds from its close."""
    job = org.json("POST", f"{API}/ingest", {"object": object_name, "operation": "upsert", "externalIdFieldName": "OMS_Id__c"})
    path = f"{API}/ingest/{job['id']}"
    org.call("PUT", f"{path}/batches", b"".join(rows(records)), "text/csv")
    started = time.monotonic()
    org.json("PATCH", path, {"state": "UploadComplete"})
    return org.wait(path), time.monotonic() - started


def query(org: Org, object_name: str) -> tuple[dict[str, object], float, float]:
    """A query job; its last state, the seconds of its processing, the seconds of reading all results."""
    started = time.monotonic()
    soql = f"SELECT Id, OMS_Id__c, Name, ProductCode, IsActive, OMS_Version__c, SystemModstamp FROM {object_name} WHERE OMS_Id__c != null"
    job = org.json("POST", f"{API}/query", {"operation": "query", "query": soql})
    done = org.wait(f"{API}/query/{job['id']}")
    processed = time.monotonic()
    org.call("GET", f"{API}/query/{job['id']}/results?maxRecords=1000000")
    return done, processed - started, time.monotonic() - processed


@click.command()
@click.option("--records", default=500_000, show_default=True, type=click.IntRange(1))
@click.option("--object", "object_name", default="Product2", show_default=True)
def main(records: int, object_name: str) -> None:
    """Upsert new records, upsert the same again, export them."""
    with tempfile.TemporaryDirectory() as home:
        org = Org(Path(home))
        try:
            idle = org.peak_mb()
            cpu = [org.cpu_seconds()]
            created, first = upsert(org, object_name, records)
            after_first = org.peak_mb()
            cpu.append(org.cpu_seconds())
            updated, second = upsert(org, object_name, records)
            cpu.append(org.cpu_seconds())
            exported, processing, reading = query(org, object_name)
            figures = {
                "records": records,
                "object": object_name,
                "failed": [created["numberRecordsFailed"], updated["numberRecordsFailed"]],
                "created_per_second": round(records / first),
                "updated_per_second": round(records / second),
                "created_per_cpu_second": round(records / (cpu[1] - cpu[0])),
                "updated_per_cpu_second": round(records / (cpu[2] - cpu[1])),
                "exported": exported["numberRecordsProcessed"],
                "exported_per_second": round(records / processing),
                "read_per_second": round(records / reading),
                "peak_mb": {"idle": round(idle), "after_first": round(after_first), "end": round(org.peak_mb())},
            }
        finally:
            org.stop()
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
