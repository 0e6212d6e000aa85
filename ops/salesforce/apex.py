"""Does the Apex parse? By the grammar of @apexdevtools/apex-parser, run with the Node of the virtual environment.

The parser is installed under .local/ on first use, by tools/package.json's exact version; a second process waits for the first.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from omsync.platform.errors import Permanent

ROOT = Path(__file__).resolve().parents[2]
_PACKAGE = ROOT / "tools" / "package.json"
_TIMEOUT_S = 300


def node_modules() -> Path:
    """The folder with the tools of tools/package.json, installed if they are not."""
    digest = hashlib.sha256(_PACKAGE.read_bytes()).hexdigest()[:12]
    home = Path(os.environ.get("OMSYNC_HOME", ROOT / ".local")) / "node" / digest
    modules = home / "node_modules"
    home.parent.mkdir(parents=True, exist_ok=True)
    with (home.parent / f"{digest}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not modules.is_dir():
            unfinished = home.with_suffix(".new")
            shutil.rmtree(unfinished, ignore_errors=True)
            unfinished.mkdir()
            shutil.copy(_PACKAGE, unfinished)
            _run(["npm", "install", "--no-audit", "--no-fund", "--no-package-lock", "--ignore-scripts"], unfinished)
            unfinished.rename(home)
    return modules


def faults(paths: list[Path]) -> list[str]:
    """One line for each place that does not parse; none: all do."""
    command = ["node", str(ROOT / "tools" / "check-apex.mjs"), str(node_modules()), *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(), timeout=_TIMEOUT_S, check=False)
    if done.returncode not in (0, 1):
        raise Permanent(f"the Apex check could not run: {done.stderr.strip()[-300:]}", code="salesforce.apex")
    lines = done.stdout.splitlines()
    return [line for line in lines[:-1] if line.strip()] if done.returncode else []


def environment() -> dict[str, str]:
    """Node and npm of the virtual environment come first."""
    return {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"}


def _run(command: list[str], folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment(), timeout=_TIMEOUT_S, check=False)
    if done.returncode:
        raise Permanent(f"{' '.join(command[:2])} failed: {done.stderr.strip()[-300:]}", code="salesforce.node")
