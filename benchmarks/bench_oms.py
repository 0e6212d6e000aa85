"""The reference OMS's PATCH: milliseconds per request over HTTP, one after the other and eight at a time, on a seeded database.

    python benchmarks/bench_oms.py [--requests 1500] [--patients 1000]

The OMS runs in a process of its own with its triggers and outbox, as in the embedded stack; what is measured is what the sync's writes to the
OMS wait for. Prints one JSON object; exit code 1 if half of the requests one after the other take longer than 20 ms.
"""

from __future__ import annotations

import json
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import click
import httpx
import psycopg

from local.oms import database

ROOT = Path(__file__).resolve().parents[1]


LIMIT_MS = 20.0
AT_ONCE = 8


class Oms:
    """The service in a process of its own."""

    def __init__(self, home: Path, url: str) -> None:
        command = [sys.executable, "-m", "local.oms", "--home", str(home), "--database-url", url, "--no-dispatcher"]
        self._process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.base = self._process.stdout.readline().split()[1]
        client = json.loads((home / "oms-clients.json").read_text())[0]
        self._auth = (client["id"], client["secret"])
        self._threads = threading.local()

    @property
    def http(self) -> httpx.Client:
        """One connection a thread."""
        if not hasattr(self._threads, "http"):
            self._threads.http = httpx.Client(base_url=self.base, trust_env=False, timeout=30)
            answer = self._threads.http.post("/oauth/token", data={"grant_type": "client_credentials"}, auth=self._auth)
            self._threads.http.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"
        return self._threads.http

    def patch(self, row: tuple[str, int]) -> float:
        """Milliseconds of one change of a patient's preferred name."""
        http, (row_id, version) = self.http, row
        begun = time.perf_counter()
        headers = {"If-Match": f'"{version}"', "X-Changed-By": "sync:salesforce"}
        answer = http.patch(f"/v1/patients/{row_id}", json={"preferred_name": f"n{version}"}, headers=headers)
        spent = (time.perf_counter() - begun) * 1000
        assert answer.status_code == 200, answer.text
        return spent

    def stop(self) -> None:
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(30)


def rows(url: str, count: int) -> list[tuple[str, int]]:
    """(id, version) of patients."""
    with psycopg.connect(url) as connection:
        found = connection.execute(
            "SELECT id::text, version FROM patients WHERE status <> 'merged' ORDER BY id LIMIT %s", [count]
        ).fetchall()
    return [(str(row_id), int(version)) for row_id, version in found]


def figures(spent: Sequence[float], seconds: float) -> dict[str, float]:
    """Half, 95 and 99 of a hundred."""
    cuts = statistics.quantiles(spent, n=100)
    return {
        "p50_ms": round(cuts[49], 2),
        "p95_ms": round(cuts[94], 2),
        "p99_ms": round(cuts[98], 2),
        "per_second": round(len(spent) / seconds),
    }


def measure(oms: Oms, url: str, requests: int) -> dict[str, Any]:
    """Each patient is changed in turn, as often as it takes."""
    found: dict[str, Any] = {}
    for name, at_once in (("one after the other", 1), (f"{AT_ONCE} at a time", AT_ONCE)):
        spent: list[float] = []
        begun = time.perf_counter()
        while len(spent) < requests:
            with ThreadPoolExecutor(at_once) as pool:
                spent += pool.map(oms.patch, rows(url, requests - len(spent)))
        found[name] = figures(spent, time.perf_counter() - begun)
    return found


@click.command()
@click.option("--requests", default=1500, show_default=True, type=click.IntRange(100))
@click.option("--patients", default=1000, show_default=True, type=click.IntRange(50))
def main(requests: int, patients: int) -> None:
    """Measure."""
    with (
        tempfile.TemporaryDirectory(prefix="omsync-bench-", ignore_cleanup_errors=True) as folder,
        database.temporary(Path(folder) / "data") as server,
    ):
        url = database.create_database(server, "oms")
        words = ["local", "seed", "--patients", str(patients), "--database-url", url, "--json"]
        subprocess.run([sys.executable, "-m", "ops.main", *words], cwd=ROOT, check=True, capture_output=True)
        oms = Oms(Path(folder), url)
        try:
            oms.patch(rows(url, 1)[0])
            found = measure(oms, url, requests)
        finally:
            oms.stop()
    click.echo(json.dumps(found, indent=1))
    raise SystemExit(int(found["one after the other"]["p50_ms"] > LIMIT_MS))


if __name__ == "__main__":
    main()
