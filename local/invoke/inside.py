"""Runs inside `sam local`'s container, around a function: what the function reaches at 127.0.0.1 is the stack on the machine outside.

A container has a loopback of its own, while the stack's addresses (in variables, secrets, queue URLs, certificates) all name this machine's. So
this listens on the same ports in the container and hands every connection through, to OMSYNC_GATE. The function itself is `app.handler`, unchanged.

Only the standard library: this file is copied beside the deployed code and sees nothing of the project.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import threading


def serve(address: tuple[str, int], target: tuple[str, int]) -> socket.socket:
    """Accept at `address` and connect each through to `target`, in threads, until the process or the listener ends."""
    listener = socket.create_server(address, backlog=64)
    threading.Thread(target=_accept, args=(listener, target), daemon=True).start()
    return listener


def _accept(listener: socket.socket, target: tuple[str, int]) -> None:
    while True:
        try:
            here, _ = listener.accept()
        except OSError:  # closed
            return
        threading.Thread(target=_connect, args=(here, target), daemon=True).start()


def _connect(here: socket.socket, target: tuple[str, int]) -> None:
    try:
        there = socket.create_connection(target, timeout=5)
    except OSError:
        here.close()
        return
    there.settimeout(None)
    for ends in ((here, there), (there, here)):
        threading.Thread(target=_copy, args=ends, daemon=True).start()


def _copy(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65_536):
            sink.sendall(data)
    for end, way in ((sink, socket.SHUT_WR), (source, socket.SHUT_RD)):
        with contextlib.suppress(OSError):
            end.shutdown(way)


def _open() -> None:
    gate = os.environ["OMSYNC_GATE"]
    for port in map(int, os.environ["OMSYNC_GATE_PORTS"].split(",")):
        serve(("127.0.0.1", port), (gate, port))


if "OMSYNC_GATE" in os.environ:
    _open()
    sys.path.insert(0, os.environ["OMSYNC_FUNCTION"])
    from app import handler  # noqa: F401 (what sam calls; it connects while it is imported, so the ports come first)
