"""What stands between a container of `sam local` and the stack hands every connection through, and survives one that leads nowhere."""

from __future__ import annotations

import contextlib
import socket
import threading

from local.invoke.inside import serve


def echo() -> tuple[str, int]:
    """A server that repeats what it hears, until the other side is done, then says so."""
    listener = socket.create_server(("127.0.0.1", 0))

    def work() -> None:
        while True:
            end, _ = listener.accept()
            with end:
                while heard := end.recv(1000):
                    end.sendall(heard)
                end.sendall(b" and that was all")

    threading.Thread(target=work, daemon=True).start()
    return ("127.0.0.1", listener.getsockname()[1])


def said(address: tuple[str, int], text: bytes) -> bytes:
    with socket.create_connection(address, timeout=10) as end:
        end.sendall(text)
        end.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: end.recv(1000), b""))


def test_both_ways_and_each_end_is_told() -> None:
    gate = serve(("127.0.0.1", 0), echo())
    address = ("127.0.0.1", gate.getsockname()[1])
    assert said(address, b"hello") == b"hello and that was all"
    assert said(address, b"x" * 200_000) == b"x" * 200_000 + b" and that was all"
    gate.close()


def test_who_leads_nowhere_is_hung_up_on_and_the_next_is_served() -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        nowhere = ("127.0.0.1", gone.getsockname()[1])
    gate = serve(("127.0.0.1", 0), nowhere)
    address = ("127.0.0.1", gate.getsockname()[1])
    for _ in range(2):  # a second one is accepted: the first has not ended the gate
        with socket.create_connection(address, timeout=10) as end, contextlib.suppress(ConnectionError):
            assert end.recv(1000) == b""
    gate.close()
