"""The embedded stack comes up whole, answers, changes nothing when it is up, shows a crash, and goes down without a trace."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from local.stack import parts
from local.stack.home import ROOT, Home
from tests.e2e.conftest import Stack, omsync, own_home
from tests.polling import until

CONTRACT = {
    *("oms_database_url", "oms_api_url", "salesforce_url", "salesforce_ca", "salesforce_token"),
    *("aws_endpoint_url", "region", "stack_name", "api_url", "mailbox_url"),
}


def processes_of(home: Path) -> list[str]:
    """Command lines of living processes that belong to a stack's directory: by their arguments or their environment."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            status = (entry / "stat").read_text().rpartition(")")[2].split()[0]
            told = (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()
        except OSError:
            continue
        if status != "Z" and str(home).encode() in told:
            found.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode())
    return found


def test_every_address_is_told_and_answers(stack: Stack) -> None:
    assert set(stack.endpoints) >= CONTRACT
    assert stack.http.get(f"{stack.endpoints['oms_api_url']}/healthz").status_code == 200
    assert stack.http.get(f"{stack.endpoints['salesforce_url']}/services/data", verify=stack.endpoints["salesforce_ca"]).status_code == 200
    assert stack.http.get(stack.endpoints["mailbox_url"]).status_code == 200


def test_health_tells_version_and_reachability(stack: Stack) -> None:
    answer = stack.call("GET", "/health", "ops")
    assert answer.status_code == 200
    report = answer.json()
    assert (report["status"], report["version"], report["stage"]) == ("ok", "0.1.0", "local")
    assert {name for name, check in report["checks"].items() if check["reachable"]} == {
        *("oms", "salesforce", "state_table", "mirror_queue", "sync_queue")
    }


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer forged"}])
def test_health_is_for_machines_we_know(stack: Stack, headers: dict[str, str]) -> None:
    assert stack.call("GET", "/health", headers=headers).status_code == 401


def test_a_token_for_one_door_opens_no_other(stack: Stack) -> None:
    assert stack.call("GET", "/health", "oms").status_code in (401, 403)


def test_nothing_listens_beyond_this_machine(stack: Stack) -> None:
    ports = set(json.loads((stack.home / "ports.json").read_text()).values())
    listening = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    open_here = {(local.split(":")[0], int(local.split(":")[1], 16)) for _, local, _, state, *_ in listening if state == "0A"}
    assert {address for address, port in open_here if port in ports} == {"0100007F"}
    for port in ports:
        with socket.socket(socket.AF_INET6) as probe:
            assert probe.connect_ex(("::1", port)) != 0


def test_up_on_a_running_stack_changes_nothing(stack: Stack) -> None:
    before = (stack.home / "endpoints.json").read_text(), sorted(path.read_text() for path in (stack.home / "run").iterdir())
    done = stack.omsync("local", "up")
    after = (stack.home / "endpoints.json").read_text(), sorted(path.read_text() for path in (stack.home / "run").iterdir())
    assert before == after
    assert "ready" not in done.stdout
    assert stack.omsync("local", "status").returncode == 0


def test_the_clock_lists_and_fires_what_is_scheduled(stack: Stack) -> None:
    assert stack.omsync("local", "clock", "list").returncode == 0
    assert "fired" in stack.omsync("local", "clock", "advance", "1s", "--once-only").stdout
    refused = stack.omsync("local", "clock", "advance", "tomorrow", check=False)
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)


def test_a_crash_is_shown_with_the_end_of_its_log_and_down_leaves_nothing() -> None:
    """On a stack of its own: what is killed here is nobody else's."""
    with own_home() as path:
        home = Home(path)
        omsync(path, "local", "up")
        assert processes_of(path)
        victim = json.loads((path / "run" / "oms.json").read_text())["pid"]
        os.kill(victim, signal.SIGKILL)
        status = until(lambda: omsync(path, "local", "status", check=False), lambda done: "crashed" in done.stdout)
        assert status.returncode == 1
        assert "  | " in status.stdout
        again = omsync(path, "local", "up")
        assert "oms had crashed" in again.stdout
        assert parts.status_of(f"{home.endpoints()['oms_api_url']}/healthz") == 200
        omsync(path, "local", "down")
        assert processes_of(path) == []
        assert not home.endpoints_file.exists()


def test_an_interrupted_up_leaves_nothing() -> None:
    """Ctrl-C in the middle of starting, once MiniStack is being started."""
    with own_home() as path:
        process = start(path, "local", "up")
        until(lambda: (path / "run" / "aws.json").exists(), seconds=60)
        os.killpg(process.pid, signal.SIGINT)
        out, _ = process.communicate(timeout=60)
        assert process.returncode != 0
        assert b"Traceback" not in out
        assert processes_of(path) == []


def start(home: Path, *arguments: str) -> subprocess.Popen[bytes]:
    """`omsync` in a process group of its own, as in a terminal."""
    environment = {**os.environ, "OMSYNC_HOME": str(home), "PYTHONPATH": f"{ROOT / 'layers' / 'omsync'}{os.pathsep}{ROOT}"}
    command = [sys.executable, "-m", "ops.main", *arguments]
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)
