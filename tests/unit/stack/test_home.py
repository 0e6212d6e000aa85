"""A stack's directory: its ports stay, one `up` at a time, and its parts are found again or known to be gone."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from local.stack import ca, processes
from local.stack.home import Home, StackFault
from local.stack.processes import Part
from tests.polling import until


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def part(home: Home, script: str, *, seconds: float = 10) -> Part:
    """A process that is ready once it has written its file."""
    mark = home.path / "ready"
    command = [sys.executable, "-c", script.format(mark=str(mark))]
    return Part("toy", command, {"PATH": os.environ["PATH"]}, mark.exists, seconds)


SERVES = """
import pathlib, subprocess, sys, time
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print("serving", flush=True)
pathlib.Path({mark!r}).touch()
time.sleep(600)
"""


def test_ports_stay_while_they_are_free(home: Home) -> None:
    first = home.ports(frozenset())
    assert len(set(first.values())) == len(first)
    assert home.ports(frozenset()) == first
    with socket.create_server(("127.0.0.1", first["oms"])):
        assert home.ports(frozenset({"oms"})) == first
        moved = home.ports(frozenset())
    assert moved["oms"] != first["oms"]
    assert moved["aws"] == first["aws"]


def test_one_up_at_a_time(home: Home) -> None:
    with home.locked(), pytest.raises(StackFault, match="another"), home.locked():
        pass


def test_a_part_is_found_again_and_stopped_with_its_children(home: Home) -> None:
    toy = part(home, SERVES)
    processes.start(home, toy)
    assert processes.state(home, "toy") == "running"
    assert processes.runs_as_told(home, toy)
    group = int(str(home.read(home.path / "run" / "toy.json")["pid"]))
    assert len(processes._members(group)) == 2
    assert processes.stop(home, "toy")
    assert processes._members(group) == []
    assert processes.state(home, "toy") == "stopped"
    assert not processes.stop(home, "toy")


def test_a_part_with_another_command_is_not_the_one_that_was_told(home: Home) -> None:
    processes.start(home, part(home, SERVES))
    try:
        assert not processes.runs_as_told(home, part(home, SERVES + "\n# another"))
    finally:
        processes.stop(home, "toy")


def test_a_killed_part_has_crashed(home: Home) -> None:
    processes.start(home, part(home, SERVES))
    group = int(str(home.read(home.path / "run" / "toy.json")["pid"]))
    os.killpg(group, signal.SIGKILL)
    until(lambda: processes.state(home, "toy"), lambda state: state == "crashed")
    processes.stop(home, "toy")


def test_a_part_that_dies_while_starting_shows_the_end_of_its_log(home: Home) -> None:
    with pytest.raises(StackFault, match="ended with code 3") as fault:
        processes.start(home, part(home, "import sys; print('no such table'); sys.exit(3)"))
    assert "  | no such table" in str(fault.value)
    assert processes.state(home, "toy") == "stopped"


def test_a_part_that_never_answers_is_stopped(home: Home) -> None:
    with pytest.raises(StackFault, match="did not answer within"):
        processes.start(home, part(home, "import time; time.sleep(600)", seconds=1))
    assert processes.state(home, "toy") == "stopped"


def test_a_pid_of_somebody_else_is_left_alone(home: Home) -> None:
    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
    try:
        home.write(home.path / "run" / "toy.json", {"pid": other.pid, "started": "then"})
        assert processes.state(home, "toy") == "crashed"
        assert not processes.stop(home, "toy")
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


def test_what_a_crash_left_of_a_group_is_ended(home: Home) -> None:
    processes.start(home, part(home, SERVES))
    leader = int(str(home.read(home.path / "run" / "toy.json")["pid"]))
    os.kill(leader, signal.SIGKILL)
    until(lambda: processes.state(home, "toy"), lambda state: state == "crashed")
    assert len(processes._members(leader)) == 1
    processes.stop(home, "toy")
    assert processes._members(leader) == []


def test_certificates_are_made_once_and_are_trusted_for_this_machine_only(home: Home) -> None:
    made = ca.ensure(home.folder("ca"))
    before = made.certificate.read_bytes()
    assert ca.ensure(home.folder("ca")).certificate.read_bytes() == before
    assert made.key.stat().st_mode & 0o077 == 0
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(made.certificate, made.key)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        for name in ("localhost", "127.0.0.1"):
            thread = threading.Thread(target=_shake_hands, args=(listener, server))
            thread.start()
            client = ssl.create_default_context(cafile=str(made.ca))
            with socket.create_connection(listener.getsockname()) as raw, client.wrap_socket(raw, server_hostname=name) as secure:
                assert secure.version() == "TLSv1.3"
            thread.join()


def _shake_hands(listener: socket.socket, context: ssl.SSLContext) -> None:
    raw, _ = listener.accept()
    with context.wrap_socket(raw, server_side=True):
        pass
