"""A whole org per test, with the project's own metadata."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from local.salesforce.schema import Org
from local.salesforce.schema_source import load_org
from local.salesforce.testing import TestOrg, open_org

METADATA = Path(__file__).parents[4] / "salesforce"


@pytest.fixture(scope="session")
def schema() -> Org:
    return load_org(METADATA)


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory, schema: Org) -> Path:
    """An org on its first day; each test works on a copy."""
    home = tmp_path_factory.mktemp("template") / "org"
    with open_org(home, [METADATA], org=schema):
        pass
    return home


@pytest.fixture
def org(tmp_path: Path, template: Path, schema: Org) -> Iterator[TestOrg]:
    home = shutil.copytree(template, tmp_path / "org")
    with open_org(home, [METADATA], org=schema) as opened:
        yield opened
