"""The processes that run the functions, and their violent end."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

#: the kernel's name of what a worker without an event waits for: a line on its standard input
_IDLE = ("anon_pipe_read", "pipe_read", "pipe_wait", "0", "")


def workers(home: Path, function: str) -> list[int]:
    """Process ids of a function's workers on a stack."""
    mark = f"-{function}Function-"
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and str(home) in (told := (entry / "cmdline").read_text()) and mark in told:
                found.append(int(entry.name))
    return found


def waits_for_an_answer(pid: int) -> bool:
    """Is this process in the middle of a call to somebody?"""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/wchan").read_text() not in _IDLE
    return False


@contextlib.contextmanager
def killing(home: Path, *functions: str, times: int = 1000, after: float = 0.8) -> Iterator[list[str]]:
    """Kill any worker of these functions that waits for one answer for `after` seconds; yields the names of those killed.

    A call that is answered at once is never caught: whoever is to die must wait for a slow system.
    """
    killed: list[str] = []
    over = threading.Event()

    def watch() -> None:
        since: dict[int, float] = {}
        while not over.wait(0.05):
            for function in functions:
                for pid in workers(home, function):
                    if not waits_for_an_answer(pid):
                        since.pop(pid, None)
                    elif time.monotonic() - since.setdefault(pid, time.monotonic()) >= after and killed.count(function) < times:
                        with contextlib.suppress(ProcessLookupError):
                            os.kill(pid, signal.SIGKILL)
                            killed.append(function)
                        since.pop(pid, None)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield killed
    finally:
        over.set()
        thread.join()
