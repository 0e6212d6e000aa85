"""Long-running parts as process groups: started detached, found again by a record, stopped whole.

A record (`run/<part>.json`) holds pid and start time, so that a pid which now belongs to somebody else is never touched.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from local.stack.home import ROOT, Home, StackFault

_TAIL = 25


@dataclass(frozen=True, slots=True)
class Part:
    """A process of the stack. `ready` answers whether it serves; it may raise OSError for "not yet"."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    ready: Callable[[], bool]
    seconds: float = 40
    configuration: str = ""

    @property
    def fingerprint(self) -> str:
        """Changes when the part must be started anew."""
        told = [list(self.command), sorted(self.environment.items()), self.configuration]
        return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:20]


def start(home: Home, part: Part) -> None:
    """Start and wait until it serves; a fault shows the end of its log, and nothing of it is left."""
    log = home.log(part.name)
    log.unlink(missing_ok=True)
    with log.open("wb") as out:
        process = subprocess.Popen(
            list(part.command),
            cwd=ROOT,
            env=dict(part.environment),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
    home.write(_record(home, part.name), {"pid": process.pid, "started": _started(process.pid), "fingerprint": part.fingerprint})
    deadline = time.monotonic() + part.seconds
    while not _serves(part):
        if process.poll() is not None:
            stop(home, part.name)
            raise StackFault(f"{part.name} ended with code {process.returncode} while starting; the end of {log}:\n{tail(log)}")
        if time.monotonic() > deadline:
            stop(home, part.name)
            raise StackFault(f"{part.name} did not answer within {part.seconds:.0f} s; the end of {log}:\n{tail(log)}")
        time.sleep(0.1)


def stop(home: Home, name: str, *, patience: float = 15) -> bool:
    """End the part's whole process group; True if there was one."""
    record = home.read(_record(home, name))
    pid = record.get("pid")
    found = isinstance(pid, int) and _is_ours(pid, record.get("started"))
    # A group without its leader is what a crash left of ours: its number can't be anybody else's while it has members.
    if isinstance(pid, int) and (found or (pid not in (members := _members(pid)) and members)):
        _end(pid, patience)
    _record(home, name).unlink(missing_ok=True)
    return bool(found)


def runs_as_told(home: Home, part: Part) -> bool:
    """It runs, with this very command, environment and configuration."""
    return state(home, part.name) == "running" and home.read(_record(home, part.name)).get("fingerprint") == part.fingerprint


def state(home: Home, name: str) -> str:
    """ "running", "crashed" (it was started, was not stopped, and is gone) or "stopped"."""
    record = home.read(_record(home, name))
    pid = record.get("pid")
    if not isinstance(pid, int):
        return "stopped"
    return "running" if _is_ours(pid, record.get("started")) else "crashed"


def tail(log: Path, lines: int = _TAIL) -> str:
    """The end of a log, indented."""
    try:
        text = log.read_bytes()[-20_000:].decode(errors="replace")
    except FileNotFoundError:
        text = "(no log)"
    return "\n".join(f"  | {line}" for line in text.splitlines()[-lines:])


def _serves(part: Part) -> bool:
    try:
        return part.ready()
    except OSError:
        return False


def _record(home: Home, name: str) -> Path:
    return home.folder("run") / f"{name}.json"


def _end(group: int, patience: float) -> None:
    for kind, seconds in ((signal.SIGTERM, patience), (signal.SIGKILL, 10.0)):
        try:
            os.killpg(group, kind)
        except ProcessLookupError:
            return
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            _reap(group)
            if not _members(group):
                return
            time.sleep(0.05)
    raise StackFault(f"process group {group} survives SIGKILL")


def _reap(pid: int) -> None:
    """If it is our own child, let it go."""
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return


def _is_ours(pid: int, started: object) -> bool:
    return pid in _members(pid) and _started(pid) == started


def _members(group: int) -> list[int]:
    """Pids of a process group that are alive (no zombies)."""
    return [pid for pid, its_group, status in _processes() if its_group == group and not status.startswith("Z")]


def _processes() -> list[tuple[int, int, str]]:
    """(pid, process group, state) of all processes: from /proc, else from ps."""
    proc = Path("/proc")
    if (proc / "self" / "stat").exists():
        found = []
        for entry in proc.iterdir():
            if entry.name.isdigit() and (fields := _stat(int(entry.name))):
                found.append((int(entry.name), int(fields[2]), fields[0]))
        return found
    listed = subprocess.run(["ps", "-A", "-o", "pid=,pgid=,stat="], capture_output=True, text=True, check=True).stdout
    return [(int(pid), int(group), status) for pid, group, status in (line.split(None, 2) for line in listed.splitlines())]


def _started(pid: int) -> str:
    """Something that tells this process from a later one of the same pid."""
    if Path("/proc/self/stat").exists():
        fields = _stat(pid)
        return fields[19] if fields else ""
    return subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout.strip()


def _stat(pid: int) -> list[str]:
    """The fields of /proc/<pid>/stat from the state on (proc(5)); empty if the process is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []
