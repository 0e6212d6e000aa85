"""Bulk API 2.0 of the simulator, in its own process and over HTTP: records/s of upserts and of a query job, and the memory meanwhile.

    python benchmarks/bench_bulk.py [--records 500000] [--object Product2]

Three upserts: new records, the same again, the same with other values. Prints one JSON object. Rates count from the close of the job to
the end of its processing; memory is the server process's resident size as records are done, and its peak.
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
from collections.abc import Callable, Iterator
from pathlib import Path

import click

ROOT = Path(__file__).resolve().parent.parent
API = "/services/data/v67.0/jobs"
DEADLINE_SECONDS = 600
MARK = 100_000  # records between two readings of the memory


class Org:
    """A simulator process with an empty org, spoken to as the integration user."""

    def __init__(self, home: Path) -> None:
        command = [sys.executable, "-m", "local.salesforce", "--home", str(home), "--metadata", str(ROOT / "salesforce")]
        self.process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, start_new_session=True)
        assert self.process.stdout is not None
        ready = json.loads(self.process.stdout.readline())
        self.base = ready["instance_url"]
        self.token = json.loads(Path(ready["session"]).read_text())["access_token"]
        self.token = str(self.json("POST", "/_admin/login-as", {"user": "integration"})["access_token"])

    def call(self, method: str, path: str, body: bytes | None = None, content_type: str = "application/json") -> bytes:
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": content_type}
        request = urllib.request.Request(self.base + path, data=body, method=method, headers=headers)
        with urllib.request.urlopen(request, timeout=DEADLINE_SECONDS) as answer:
            return bytes(answer.read())

    def json(self, method: str, path: str, body: dict[str, object] | None = None) -> dict[str, object]:
        found: dict[str, object] = json.loads(self.call(method, path, None if body is None else json.dumps(body).encode()))
        return found

    def wait(self, path: str, watch: Callable[[int], None] = lambda done: None) -> dict[str, object]:
        """Poll a job until it is in a final state; `watch` hears how many records are done."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        while time.monotonic() < deadline:
            job = self.json("GET", path)
            watch(int(str(job["numberRecordsProcessed"])))
            if job["state"] in ("JobComplete", "Failed", "Aborted"):
                return job
            time.sleep(0.1)
        raise TimeoutError(f"{path} is still {job['state']} after {DEADLINE_SECONDS} s")

    def memory_mb(self, kind: str) -> float:
        """VmRSS is now, VmHWM the peak."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(next(line for line in status.splitlines() if line.startswith(kind)).split()[1]) / 1024

    def cpu_seconds(self) -> float:
        """Processor time so far: what is left of a rate when the machine has other things to do."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def stop(self) -> None:
        os.killpg(self.process.pid, signal.SIGTERM)
        self.process.wait(60)


def rows(records: int, version: int) -> Iterator[bytes]:
    yield b"OMS_Id__c,Name,ProductCode,IsActive,OMS_Version__c\n"
    for n in range(records):
        yield f"00000000-0000-7000-8000-{n:012d},Product {n} v{version},P-{n},true,{version}\n".encode()


def upsert(org: Org, object_name: str, records: int, version: int) -> dict[str, object]:
    """One job's figures: records/s by the clock and by the server's processor time, memory by records done."""
    job = org.json("POST", f"{API}/ingest", {"object": object_name, "operation": "upsert", "externalIdFieldName": "OMS_Id__c"})
    path = f"{API}/ingest/{job['id']}"
    org.call("PUT", f"{path}/batches", b"".join(rows(records, version)), "text/csv")
    memory: dict[int, int] = {}

    def watch(done: int) -> None:
        memory.setdefault(done - done % MARK, round(org.memory_mb("VmRSS")))

    cpu, started = org.cpu_seconds(), time.monotonic()
    org.json("PATCH", path, {"state": "UploadComplete"})
    done = org.wait(path, watch)
    wall, cpu = time.monotonic() - started, org.cpu_seconds() - cpu
    rates = {"per_second": round(records / wall), "per_cpu_second": round(records / cpu)}
    return {"state": done["state"], "failed": done["numberRecordsFailed"], **rates, "load": round(os.getloadavg()[0], 1), "rss_mb": memory}


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
    """Upsert new records, the same again, the same with other values; export them."""
    with tempfile.TemporaryDirectory() as home:
        org = Org(Path(home))
        try:
            idle = org.memory_mb("VmRSS")
            figures: dict[str, object] = {
                "records": records,
                "object": object_name,
                "created": upsert(org, object_name, records, version=1),
                "repeated": upsert(org, object_name, records, version=1),
                "updated": upsert(org, object_name, records, version=2),
            }
            exported, processing, reading = query(org, object_name)
            figures |= {
                "exported": exported["numberRecordsProcessed"],
                "exported_per_second": round(records / processing),
                "read_per_second": round(records / reading),
                "memory_mb": {"idle": round(idle), "peak": round(org.memory_mb("VmHWM"))},
            }
        finally:
            org.stop()
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
