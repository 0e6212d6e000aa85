"""Chromium without a window, spoken to over a pipe: pages rendered in light and dark, desktop and phone, photographed and measured.

Source: the DevTools protocol (`--remote-debugging-pipe`: JSON messages ended by NUL on file descriptors 3 and 4).
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from omsync.platform.errors import Permanent, Retryable

type Scheme = Literal["light", "dark"]

NAMES: Final = ("chromium", "chromium-browser", "google-chrome")
ANSWER_SECONDS: Final = 60.0
#: width in CSS pixels, scale
DEVICES: Final = {"desktop": (720, 1), "phone": (390, 2)}

_FLAGS: Final = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
)


def installed() -> str | None:
    """The browser's path, if there is one."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


@dataclass
class Browser:
    """One browser with one page."""

    to: int
    answers: int
    process: subprocess.Popen[bytes]
    _number: int = 0
    _left: bytes = b""
    _session: str = field(default="")

    def open(self) -> None:
        """Attach to a page."""
        target = self.ask("Target.createTarget", {"url": "about:blank"})["targetId"]
        self._session = self.ask("Target.attachToTarget", {"targetId": target, "flatten": True})["sessionId"]

    def show(self, html: str, *, scheme: Scheme, device: str) -> None:
        """Render a document."""
        width, scale = DEVICES[device]
        size = {"width": width, "height": 800, "deviceScaleFactor": scale, "mobile": device == "phone"}
        self.ask("Emulation.setDeviceMetricsOverride", size)
        self.ask("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]})
        frame = self.ask("Page.getFrameTree")["frameTree"]["frame"]["id"]
        self.ask("Page.setDocumentContent", {"frameId": frame, "html": html})

    def photograph(self) -> bytes:
        """The whole page as PNG."""
        content = self.ask("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": content["width"], "height": content["height"], "scale": 1}
        picture = self.ask("Page.captureScreenshot", {"format": "png", "clip": clip, "captureBeyondViewport": True})
        return base64.b64decode(picture["data"])

    def evaluate(self, script: str) -> Any:
        """The value of a JavaScript expression."""
        answer = self.ask("Runtime.evaluate", {"expression": script, "returnByValue": True})
        if "exceptionDetails" in answer:
            raise Permanent(f"the page's script failed: {answer['exceptionDetails']['text']}", code="browser.script")
        return answer["result"].get("value")

    def ask(self, method: str, params: dict[str, Any] | None = None) -> dict[str, Any]:
        """One command and its answer; events in between are of no interest."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": params or {}, **({"sessionId": self._session} if self._session else {})}
        self._write(json.dumps(message).encode() + b"\0")
        for answer in self._messages():
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise Permanent(f"{method}: {answer['error']['message']}", code="browser.refused")
                return dict(answer["result"])
        raise Retryable("the browser has gone", code="browser.gone")

    def _write(self, data: bytes) -> None:
        while data:
            data = data[os.write(self.to, data) :]

    def _messages(self) -> Iterator[dict[str, Any]]:
        deadline = time.monotonic() + ANSWER_SECONDS
        while True:
            while b"\0" in self._left:
                message, _, self._left = self._left.partition(b"\0")
                yield json.loads(message)
            ready, _, _ = select.select([self.answers], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                raise Retryable(f"the browser has not answered for {ANSWER_SECONDS:.0f} s", code="browser.silent")
            part = os.read(self.answers, 1 << 20)
            if not part:
                return
            self._left += part


def _place(wanted: dict[int, int]) -> None:
    """In the child: our ends of the pipes on the descriptors the browser expects."""
    high = {fcntl.fcntl(descriptor, fcntl.F_DUPFD, 20): number for descriptor, number in wanted.items()}
    for descriptor, number in high.items():
        os.dup2(descriptor, number, inheritable=True)
    os.closerange(5, 1024)


@contextlib.contextmanager
def browser() -> Iterator[Browser]:
    """A browser of its own, gone afterwards with its profile. Raises Permanent if none is installed."""
    path = installed()
    if path is None:
        raise Permanent("no browser: install Debian's chromium (apt-get install chromium)", code="browser.missing")
    commands, to = os.pipe()
    answers, out = os.pipe()
    with tempfile.TemporaryDirectory(prefix="omsync-browser-", ignore_cleanup_errors=True) as profile:
        process = subprocess.Popen(
            [path, *_FLAGS, f"--user-data-dir={profile}"],
            preexec_fn=lambda: _place({commands: 3, out: 4}),
            close_fds=False,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        os.close(commands)
        os.close(out)
        try:
            opened = Browser(to, answers, process)
            opened.open()
            yield opened
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, 15)
            process.wait(20)
            os.close(to)
            os.close(answers)
