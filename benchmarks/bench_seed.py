"""Seeding 1,000,000 rows into an empty embedded PostgreSQL: at most 90 s, with flat memory.

    python benchmarks/bench_seed.py [PATIENTS]

Prints rows, seconds, rows per second and the peak memory of both processes, beside that of a tenth of the patients; exit
code 1 if a million rows would take longer than 90 s, or memory grows with the number of patients.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from local.oms import database

ROOT = Path(__file__).resolve().parents[1]

LIMIT_S = 90.0
GROWTH_MB = 40


def seed(url: str, patients: int) -> dict[str, float]:
    """Seed an empty database in a process of its own."""
    words = ["local", "seed", "--patients", str(patients), "--database-url", url, "--json"]
    done = subprocess.run([sys.executable, "-m", "ops.main", *words], cwd=ROOT, check=True, capture_output=True, text=True)
    told: dict[str, float] = json.loads(done.stdout)
    print(f"{told['rows']:>9,} rows  {told['seconds']:6.1f} s  {told['rows_per_second']:>7,} rows/s  {told['peak_mb']} MB")
    return told


def main(patients: int) -> int:
    with (
        tempfile.TemporaryDirectory(prefix="omsync-bench-", ignore_cleanup_errors=True) as folder,
        database.temporary(Path(folder) / "data") as url,
    ):
        few = seed(database.create_database(url, "few"), max(400, patients // 10))
        many = seed(url, patients)
    million = many["seconds"] / many["rows"] * 1_000_000
    print(f"a million rows: {million:.1f} s (limit {LIMIT_S:.0f} s); memory grew by {many['peak_mb'] - few['peak_mb']:.0f} MB")
    return int(million > LIMIT_S or many["peak_mb"] - few["peak_mb"] > GROWTH_MB)


if __name__ == "__main__":
    raise SystemExit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 12_300))
