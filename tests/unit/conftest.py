"""Unit tests open no socket: what reaches for the network is a mistake, and says so at once.

The simulator's tests are the exception: they talk to it over loopback, since HTTP is what it is for.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from pytest_socket import disable_socket, enable_socket, socket_allow_hosts

_HERE = Path(__file__).parent
_LOOPBACK = ("salesforce_sim", "salesforce_metadata", "stack", "demo")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Block sockets, but for those folders."""
    if _HERE not in item.path.parents:
        return
    if item.path.relative_to(_HERE).parts[0] in _LOOPBACK:
        socket_allow_hosts(["127.0.0.1", "localhost", "::1"], allow_unix_socket=True)
    else:
        disable_socket(allow_unix_socket=True)


def pytest_runtest_teardown(item: pytest.Item) -> None:
    """As it was: integration tests need them."""
    enable_socket()
