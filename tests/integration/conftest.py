"""A real PostgreSQL for the session, and databases of their own for tests."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from local.oms import database

_names = itertools.count()


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    with (
        tempfile.TemporaryDirectory(prefix="omsync-tables-", ignore_cleanup_errors=True) as directory,
        database.temporary(Path(directory) / "data") as url,
    ):
        yield url


@pytest.fixture(scope="session")
def a_database(server: str) -> Callable[[], str]:
    """Make an empty database; its URL."""
    return lambda: database.create_database(server, f"tables_{next(_names)}")
