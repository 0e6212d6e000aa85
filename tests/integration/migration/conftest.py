"""Databases with the OMS's schema, for what is asked of whole tables."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from local.oms import database

ROOT = Path(__file__).resolve().parents[3]
SHARED = Path(os.environ.get("OMSYNC_SHARED") or ROOT.parent / "shared")


@pytest.fixture(scope="session")
def a_database(a_database: Callable[[], str]) -> Callable[[], str]:
    """Make a database with the OMS's tables; its URL."""

    def make() -> str:
        url = a_database()
        database.install(url)
        return url

    return make
