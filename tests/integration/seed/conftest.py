"""The command as an operator types it."""

from __future__ import annotations

import contextlib
import io
import json
import os
from pathlib import Path
from typing import Any

import psycopg

from local.seed.columns import TABLES
from ops.main import main

ROOT = Path(__file__).resolve().parents[3]
SHARED = Path(os.environ.get("OMSYNC_SHARED") or ROOT.parent / "shared")


def seed(url: str, *words: str) -> dict[str, Any]:
    """Run `omsync local seed ... --json`; what it printed."""
    code, told, complaint = attempt(url, *words, "--json")
    assert code == 0, complaint
    answer: dict[str, Any] = json.loads(told)
    return answer


def attempt(url: str, *words: str) -> tuple[int, str, str]:
    """Run `omsync local seed ...`: exit code, output, error output."""
    told, complaint, code = io.StringIO(), io.StringIO(), 0
    with contextlib.redirect_stdout(told), contextlib.redirect_stderr(complaint):
        try:
            main(["local", "seed", "--database-url", url, *words])
        except SystemExit as left:
            code = int(str(left.code or 0))
    return code, told.getvalue(), complaint.getvalue()


def ask(url: str, query: str) -> list[tuple[Any, ...]]:
    """What a query answers."""
    with psycopg.connect(url, autocommit=True) as connection:
        return connection.execute(query.encode()).fetchall()


def fingerprint(url: str) -> dict[str, str]:
    """A hash of every table's rows, all columns included."""
    return {table: ask(url, f"SELECT md5(string_agg(t::text, '|' ORDER BY id)) FROM {table} t")[0][0] for table in TABLES}
