"""The org's allocations: the rolling 24-hour count of API calls behind `Sforce-Limit-Info`, and `/limits`.

Source: Salesforce's "API Request Limits and Allocations": Enterprise 100,000 + licences x 1,000 calls a day; Bulk API 2.0
150,000,000 records and 15,000 batches a day.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

HOURS = 24
API = "DailyApiRequests"

#: name -> maximum; those that nothing here uses up stand for a client that reads them.
ALLOCATIONS: dict[str, int] = {
    "ActiveScratchOrgs": 40,
    "ConcurrentAsyncGetReportInstances": 200,
    "ConcurrentSyncReportRuns": 20,
    API: 100_000,
    "DailyAsyncApexExecutions": 250_000,
    "DailyBulkApiBatches": 15_000,
    "DailyBulkV2QueryFileStorageMB": 976_562,
    "DailyBulkV2QueryJobs": 10_000,
    "DailyDeliveredPlatformEvents": 50_000,
    "DailyDurableGenericStreamingApiEvents": 10_000,
    "DailyDurableStreamingApiEvents": 10_000,
    "DailyGenericStreamingApiEvents": 10_000,
    "DailyScratchOrgs": 80,
    "DailyStandardVolumePlatformEvents": 25_000,
    "DailyStreamingApiEvents": 10_000,
    "DailyWorkflowEmails": 100_000,
    "DataStorageMB": 1_000_000,
    "FileStorageMB": 1_000_000,
    "HourlyAsyncReportRuns": 1_200,
    "HourlyPublishedPlatformEvents": 250_000,
    "HourlyPublishedStandardVolumePlatformEvents": 1_000,
    "HourlySyncReportRuns": 500,
    "HourlyTimeBasedWorkflow": 1_000,
    "MassEmail": 5_000,
    "MonthlyPlatformEventsUsageEntitlement": 0,
    "SingleEmail": 5_000,
}


@dataclass
class Limits:
    """Uses per allocation and hour. Thread-safe; survives a restart through `save` and `load`."""

    path: Path
    clock: Callable[[], float] = time.time
    maxima: dict[str, int] = field(default_factory=lambda: dict(ALLOCATIONS))
    _used: dict[str, dict[int, int]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def load(self) -> None:
        if self.path.exists():
            kept = json.loads(self.path.read_text())
            self.maxima.update(kept["maxima"])
            self._used = {name: {int(hour): count for hour, count in hours.items()} for name, hours in kept["used"].items()}

    def save(self) -> None:
        with self._lock:
            changed = {name: value for name, value in self.maxima.items() if ALLOCATIONS.get(name) != value}
            self.path.write_text(json.dumps({"maxima": changed, "used": self._used}))

    def used(self, name: str = API) -> int:
        """Uses within the last 24 hours."""
        hours = self._used.get(name)
        if not hours:
            return 0
        oldest = int(self.clock() // 3600) - HOURS
        for hour in [hour for hour in hours if hour <= oldest]:
            hours.pop(hour, None)
        return sum(hours.values())

    def take(self, name: str = API, count: int = 1) -> bool:
        """Use an allocation up by `count`; False (and nothing taken) when it doesn't reach."""
        with self._lock:
            if self.used(name) + count > self.maxima.get(name, 0):
                return False
            hours = self._used.setdefault(name, {})
            hour = int(self.clock() // 3600)
            hours[hour] = hours.get(hour, 0) + count
            return True

    def set(self, name: str, *, maximum: int | None = None, used: int | None = None) -> None:
        """Change an allocation's maximum, or what is used of it."""
        with self._lock:
            if maximum is not None:
                self.maxima[name] = maximum
            if used is not None:
                self._used[name] = {int(self.clock() // 3600): used}

    def header(self) -> str:
        """`Sforce-Limit-Info`."""
        return f"api-usage={self.used()}/{self.maxima[API]}"

    def report(self) -> dict[str, dict[str, int]]:
        """The body of `/limits`."""
        return {name: {"Max": most, "Remaining": max(0, most - self.used(name))} for name, most in sorted(self.maxima.items())}
