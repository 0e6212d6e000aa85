"""How tests run in parallel (`make test`): two processes, and two embedded stacks.

The sync's stories with outages mostly wait, so they run from beginning to end beside all others; the other process first does what needs no
stack, then the other stories. Each process has one stack, on ports of its own.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from xdist.scheduler import LoadScopeScheduling

#: in the order in which they are begun
SCOPES = ("sync", "others", "stories")


def scope_of(nodeid: str) -> str:
    """Which part a test belongs to."""
    if not nodeid.startswith("tests/e2e/"):
        return "others"
    return "sync" if nodeid.startswith("tests/e2e/test_sync_") else "stories"


class Parts(LoadScopeScheduling):
    """One of `SCOPES` at a time. (pytest-xdist's `xdist_group` would do, but its 3.8 has no effect under pytest 9.2.)"""

    def _split_scope(self, nodeid: str) -> str:
        return scope_of(nodeid)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Callable[..., None]) -> LoadScopeScheduling:
    """Called by pytest-xdist: scopes in the order of their first tests, not of their sizes."""
    config.option.loadscopereorder = False
    return Parts(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """In a process of several, tests stand in the order of their scopes."""
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: SCOPES.index(scope_of(item.nodeid)))
