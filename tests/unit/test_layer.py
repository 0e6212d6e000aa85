"""What the Lambda functions import is in their layers: the development environment has more and would hide a gap."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Mapping
from functools import cache
from importlib.metadata import packages_distributions, requires
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted([*(ROOT / "layers" / "omsync").rglob("*.py"), *(ROOT / "functions").rglob("*.py")])
PINNED = {
    match[1].lower().replace("_", "-")
    for match in re.finditer(r"^([A-Za-z0-9._-]+)==", (ROOT / "layers/dependencies/requirements.txt").read_text(), re.MULTILINE)
}


@cache
def all_distributions() -> Mapping[str, list[str]]:
    """Module -> distributions that bring it."""
    return packages_distributions()


def imported(path: Path) -> set[str]:
    """Top-level modules that a file imports when it runs: not what only a type checker reads."""
    tree = ast.parse(path.read_text())
    typed = {
        id(child)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        for child in ast.walk(node)
    }
    names: set[str] = set()
    for node in ast.walk(tree):
        if id(node) in typed:
            continue
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.add(node.module.partition(".")[0])
    return names


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_third_party_import_is_pinned_in_the_layer(path: Path) -> None:
    distributions = all_distributions()
    foreign = {name for name in imported(path) if name not in sys.stdlib_module_names and name != "omsync"}
    lacking = {name for name in foreign if not {one.lower().replace("_", "-") for one in distributions[name]} & PINNED}
    assert not lacking


def test_time_zones_come_along() -> None:
    assert "tzdata" in PINNED, "Lambda's image has no zone database"
    assert requires("simple-salesforce"), "the metadata this test reads is there"
