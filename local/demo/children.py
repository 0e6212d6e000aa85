"""`omsync` commands that the demo runs, each in a session of its own: Ctrl-C in a terminal reaches the demo alone, and the demo ends them."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from local.stack.home import ROOT, StackFault

#: seconds that an interrupted command has to undo what it began, before it is killed
_UNDO = 45


class Children:
    """The commands' processes. All use the stack in `home`."""

    def __init__(self, home: Path) -> None:
        self._environment = {
            **os.environ,
            "OMSYNC_HOME": str(home),
            "PYTHONPATH": f"{ROOT / 'layers' / 'omsync'}{os.pathsep}{ROOT}",
            "PYTHONUNBUFFERED": "1",
        }
        self._running: list[subprocess.Popen[str]] = []

    def omsync(self, *arguments: str, told: Callable[[str], None] | None = None, patient: bool = False) -> str:
        """Run a command to its end; its output. StackFault if it fails (unless `patient`: then its failure is nobody's any more)."""
        with self.start(*arguments) as process:
            lines = []
            assert process.stdout is not None
            for line in process.stdout:
                lines.append(line)
                if told is not None and line.strip():
                    told(line.rstrip())
            code = process.wait()
        if code and not patient:
            raise StackFault(f"omsync {' '.join(arguments)} ended with code {code}:\n{''.join(lines[-15:])}")
        return "".join(lines)

    def visibly(self, *arguments: str) -> None:
        """Run a command that draws on our terminal itself."""
        with self.start(*arguments, visible=True) as process:
            code = process.wait()
        if code:
            raise StackFault(f"omsync {' '.join(arguments)} ended with code {code}")

    @contextlib.contextmanager
    def start(self, *arguments: str, visible: bool = False) -> Iterator[subprocess.Popen[str]]:
        """A command that runs while the block does; afterwards it has ended."""
        out = None if visible else subprocess.PIPE
        process = subprocess.Popen(
            [sys.executable, "-m", "ops.main", *arguments],
            cwd=ROOT, env=self._environment, stdin=subprocess.DEVNULL, stdout=out, stderr=None if visible else subprocess.STDOUT, text=True,
            start_new_session=True,
        )  # fmt: skip
        self._running.append(process)
        try:
            yield process
        finally:
            _end(process)
            self._running.remove(process)

    def stop(self) -> None:
        """End what still runs."""
        for process in list(self._running):
            _end(process)


def _end(process: subprocess.Popen[str]) -> None:
    """As Ctrl-C would, then harder."""
    if process.poll() is None:
        for number in (signal.SIGINT, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=_UNDO)
                break
    if process.stdout is not None:
        process.stdout.close()
