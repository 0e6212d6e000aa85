"""A whole org per test, with the project's own metadata."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from local.salesforce.testing import TestOrg, open_org

METADATA = Path(__file__).parents[4] / "salesforce"


@pytest.fixture
def org(tmp_path: Path) -> Iterator[TestOrg]:
    with open_org(tmp_path / "org", [METADATA]) as opened:
        yield opened
