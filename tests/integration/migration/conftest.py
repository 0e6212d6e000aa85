"""A real PostgreSQL with the OMS's schema, for what is asked of whole tables."""

from __future__ import annotations

import itertools
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from local.oms import database

ROOT = Path(__file__).resolve().parents[3]
SHARED = Path(os.environ.get("OMSYNC_SHARED") or ROOT.parent / "shared")

_names = itertools.count()


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    with (
        tempfile.TemporaryDirectory(prefix="omsync-survey-", ignore_cleanup_errors=True) as directory,
        database.temporary(Path(directory) / "data") as url,
    ):
        yield url


@pytest.fixture(scope="session")
def a_database(server: str) -> Callable[[], str]:
    """Make a database with the OMS's tables; its URL."""

    def make() -> str:
        url = database.create_database(server, f"survey_{next(_names)}")
        database.install(url)
        return url

    return make
