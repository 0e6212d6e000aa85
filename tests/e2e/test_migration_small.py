"""A small migration beside everything else: rows that no event ever told of are loaded, verified and certified by the deployed state machines.

The whole story, with traffic and trouble, is in test_migration.py.
"""

from __future__ import annotations

import json
import uuid
from typing import Any

from tests.e2e.world import World


def migrate(world: World, *arguments: str, check: bool = True) -> list[Any]:
    """`omsync migrate ...` under this test's name; its lines of JSON."""
    done = world.stack.omsync("migrate", *arguments, "--json", check=check)
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def test_history_is_migrated_verified_and_certified(world: World) -> None:
    """Runs 1 and 2; re-run they change nothing; verified anew they stand."""
    mark = uuid.uuid4()
    world.stack.omsync("local", "seed", "--patients", "3", "--append", "--seed", str(mark.int % 1_000_000 + 2))
    name = ("--name", f"small-{mark.hex[:6]}")
    for run in ("1", "2"):
        told = migrate(world, "start", "--run", run, "--yes", *name)
        assert told[-1]["issued"], told
    made = migrate(world, "report", *name, check=False)[-1]
    for run in ("1", "2"):
        assert made[run]["certified"]
        for table in made[run]["tables"]:
            assert table["rows"] == table["verified"] + table["quarantined"] + sum(table["not_sent"].values()), table
    patients = next(table for table in made["2"]["tables"] if table["table"] == "patients")
    assert patients["rows"] >= 3
    assert migrate(world, "start", "--run", "2", "--yes", *name)[-1]["outcome"] == "nothing to do"
    assert migrate(world, "verify", "--run", "2", *name)[-1]["proven"]
