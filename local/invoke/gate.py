"""Lets containers reach the stack: `python -m local.invoke.gate --host 172.17.0.1 PORT...`, until it is stopped.

The stack listens on 127.0.0.1 alone, where no container comes. This listens on the same ports of Docker's bridge, which only this machine's
containers reach, and hands every connection through.
"""

from __future__ import annotations

import argparse
import signal
import socket
from collections.abc import Iterable

from local.invoke.inside import serve


def main() -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", required=True)
    parser.add_argument("ports", type=int, nargs="+")
    told = parser.parse_args()
    _listeners = [serve((told.host, port), ("127.0.0.1", port)) for port in told.ports]
    signal.sigwait({signal.SIGTERM, signal.SIGINT})


def is_open(host: str, ports: Iterable[int]) -> bool:
    """Does it listen? OSError: not (yet)."""
    for port in ports:
        socket.create_connection((host, port), timeout=2).close()
    return True


if __name__ == "__main__":
    main()
