"""How tests run in parallel (`pytest -n 2`): what needs the embedded stack in one process, all else in another.

The stack's tests mostly wait, so the two halves hardly hold each other up; and there is one stack, however many processes.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from xdist.scheduler import LoadScopeScheduling


class Halves(LoadScopeScheduling):
    """Two scopes. (pytest-xdist's `xdist_group` would do, but its 3.8 has no effect under pytest 9.2.)"""

    def _split_scope(self, nodeid: str) -> str:
        return "stack" if nodeid.startswith("tests/e2e/") else "others"


def pytest_xdist_make_scheduler(config: pytest.Config, log: Callable[..., None]) -> LoadScopeScheduling:
    """Called by pytest-xdist."""
    return Halves(config, log)
