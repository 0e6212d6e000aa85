"""Use case of GET /health: ask everything omsync depends on at once, and say what answered and how fast.

A probe never raises: what keeps it from an answer becomes its outcome. No probe's answer holds data of a record.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any, Literal

from omsync.platform.errors import OmsyncError

#: Raises an `OmsyncError` if the thing behind it can't be used.
type Probe = Callable[[], None]


@dataclass(frozen=True, slots=True)
class Reached:
    """What one probe found; `milliseconds` until the answer, or until it was given up."""

    reachable: bool
    milliseconds: int
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """The whole: "ok" if everything was reached, else "degraded"."""

    version: str
    build: str
    stage: str
    checks: Mapping[str, Reached]

    @property
    def status(self) -> Literal["ok", "degraded"]:
        """One word for the whole."""
        return "ok" if all(check.reachable for check in self.checks.values()) else "degraded"

    def as_json(self) -> dict[str, Any]:
        """The response body."""
        checks = {
            name: {"reachable": check.reachable, "ms": check.milliseconds} | ({"reason": check.reason} if check.reason else {})
            for name, check in sorted(self.checks.items())
        }
        return {"status": self.status, "version": self.version, "build": self.build[:12], "stage": self.stage, "checks": checks}


@dataclass(frozen=True, slots=True)
class CheckHealth:
    """Runs the probes side by side. None is waited for longer than `patience` seconds: a name that does not resolve has no time-out."""

    version: str
    build: str
    stage: str
    probes: Mapping[str, Probe]
    patience: float = 6.0

    def __call__(self) -> Report:
        """Ask all, wait for all that answer in time."""
        pool = ThreadPoolExecutor(max_workers=max(1, len(self.probes)))
        asked = {name: pool.submit(_ask, probe) for name, probe in self.probes.items()}
        wait(asked.values(), timeout=self.patience)
        silent = Reached(False, round(self.patience * 1000), "unreachable: no answer in time")
        checks = {name: answer.result() if answer.done() else silent for name, answer in asked.items()}
        pool.shutdown(wait=False, cancel_futures=True)
        return Report(self.version, self.build, self.stage, checks)


def _ask(probe: Probe) -> Reached:
    begun = time.perf_counter()
    try:
        probe()
    except OmsyncError as fault:
        return Reached(False, _milliseconds(begun), f"{fault.code}: {fault.message}")
    return Reached(True, _milliseconds(begun))


def _milliseconds(begun: float) -> int:
    return round((time.perf_counter() - begun) * 1000)
