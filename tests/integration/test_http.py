"""Which requests were never sent, told by real sockets."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest
import requests

from omsync.platform.http import TimeoutSession, never_sent


@pytest.fixture
def port() -> Iterator[socket.socket]:
    """A bound port on which nobody listens yet."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound


def fault(port: socket.socket) -> requests.RequestException:
    with pytest.raises(requests.RequestException) as raised:
        TimeoutSession().post(f"http://127.0.0.1:{port.getsockname()[1]}/", json={})
    return raised.value


def test_a_refused_connection_sent_nothing(port: socket.socket) -> None:
    assert never_sent(fault(port))


def test_a_host_without_a_name_sent_nothing() -> None:
    with pytest.raises(requests.ConnectionError) as raised:
        TimeoutSession().get("http://nowhere.invalid/")
    assert never_sent(raised.value)


def test_after_a_lost_answer_nobody_knows(port: socket.socket) -> None:
    port.listen()

    def hang_up() -> None:
        connection, _ = port.accept()
        connection.recv(1024)
        connection.close()

    other = threading.Thread(target=hang_up)
    other.start()
    assert not never_sent(fault(port))
    other.join()
