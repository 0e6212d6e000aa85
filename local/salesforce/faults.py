"""Faults on demand: what goes wrong, for how long, how often and where, as the admin API asks.

A fault is a rule. It applies while it lasts (`seconds`), while it has uses left (`times`), with its probability (`rate`), to
what its `pattern` finds: a regular expression searched in `POST /services/data/v67.0/...` for calls (for platform events, in
`Account UPDATE`; for row locks, in the object's name).

    latency        wait `delay` seconds (and up to `jitter` more) before the call is handled
    unavailable    503 SERVER_UNAVAILABLE, nothing done
    error          500 UNKNOWN_EXCEPTION, nothing done
    lock           UNABLE_TO_LOCK_ROW: the record is not saved (in Collections and Bulk each record is drawn for itself)
    duplicate      DUPLICATES_DETECTED: a duplicate rule refuses the new record
    session        401 INVALID_SESSION_ID: the caller's session ends
    limit          403 REQUEST_LIMIT_EXCEEDED
    drop           the connection closes without an answer, after the call was carried out
    refuse         the connection closes without an answer, before anything was done
    event-lost     a platform event is never delivered
    event-late     a platform event is delivered `delay` seconds later
    event-twice    a platform event is delivered twice
"""

from __future__ import annotations

import random
import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Kind(StrEnum):
    LATENCY = "latency"
    UNAVAILABLE = "unavailable"
    ERROR = "error"
    LOCK = "lock"
    DUPLICATE = "duplicate"
    SESSION = "session"
    LIMIT = "limit"
    DROP = "drop"
    REFUSE = "refuse"
    EVENT_LOST = "event-lost"
    EVENT_LATE = "event-late"
    EVENT_TWICE = "event-twice"


@dataclass(slots=True)
class Fault:
    """One rule. `until` is a clock reading, `left` the uses that remain; None for no such bound."""

    id: int
    kind: Kind
    rate: float = 1.0
    pattern: str = ""
    until: float | None = None
    left: int | None = None
    delay: float = 0.0
    jitter: float = 0.0
    used: int = 0

    def over(self, now: float) -> bool:
        return (self.until is not None and now >= self.until) or (self.left is not None and self.left <= 0)


@dataclass
class Faults:
    """The rules in force. Thread-safe; `seed` makes the draws repeatable."""

    clock: Callable[[], float] = time.monotonic
    _rules: dict[int, Fault] = field(default_factory=dict)
    _next: int = 1
    _random: random.Random = field(default_factory=random.Random)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __bool__(self) -> bool:
        return bool(self._rules)

    def seed(self, value: int) -> None:
        with self._lock:
            self._random.seed(value)

    def add(self, wish: Mapping[str, object]) -> Fault:
        """A rule from JSON: `{"kind", "rate", "pattern", "seconds", "times", "delay", "jitter"}`; ValueError says what is wrong."""
        unknown = set(wish) - {"kind", "rate", "pattern", "seconds", "times", "delay", "jitter"}
        if unknown:
            raise ValueError(f"unknown: {', '.join(sorted(unknown))}; known are kind, rate, pattern, seconds, times, delay, jitter")
        try:
            kind = Kind(str(wish.get("kind")))
        except ValueError:
            raise ValueError(f"kind is '{wish.get('kind')}': use one of {', '.join(Kind)}") from None
        pattern = str(wish.get("pattern") or "")
        try:
            re.compile(pattern)
        except re.error as error:
            raise ValueError(f"pattern is no regular expression: {error}") from None
        seconds, times = _number(wish, "seconds", None), _number(wish, "times", None)
        rate = _number(wish, "rate", 1.0)
        assert rate is not None
        if not 0 <= rate <= 1:
            raise ValueError("rate must be between 0 and 1")
        with self._lock:
            fault = Fault(
                self._next,
                kind,
                rate,
                pattern,
                None if seconds is None else self.clock() + seconds,
                None if times is None else int(times),
                _number(wish, "delay", 1.0 if kind in {Kind.LATENCY, Kind.EVENT_LATE} else 0.0) or 0.0,
                _number(wish, "jitter", 0.0) or 0.0,
            )
            self._rules[fault.id] = fault
            self._next += 1
        return fault

    def remove(self, fault_id: int | None = None) -> int:
        """End one rule, or all; how many ended."""
        with self._lock:
            gone = [fault_id] if fault_id in self._rules else list(self._rules) if fault_id is None else []
            for known in gone:
                self._rules.pop(known, None)
            return len(gone)

    def list(self) -> list[dict[str, object]]:
        """The rules in force, as JSON."""
        now = self.clock()
        with self._lock:
            self._expire(now)
            return [
                {
                    "id": fault.id,
                    "kind": fault.kind.value,
                    "rate": fault.rate,
                    "pattern": fault.pattern,
                    "seconds_left": None if fault.until is None else round(fault.until - now, 3),
                    "times_left": fault.left,
                    "delay": fault.delay,
                    "jitter": fault.jitter,
                    "used": fault.used,
                }
                for fault in self._rules.values()
            ]

    def _expire(self, now: float) -> None:
        for fault_id in [fault.id for fault in self._rules.values() if fault.over(now)]:
            del self._rules[fault_id]

    def strike(self, kind: Kind, subject: str) -> Fault | None:
        """The rule of this kind that hits `subject` now, used up by one; None, nearly always and then cheaply."""
        if not self._rules:
            return None
        with self._lock:
            self._expire(self.clock())
            for fault in self._rules.values():
                if fault.kind is kind and re.search(fault.pattern, subject) and self._random.random() < fault.rate:
                    fault.used += 1
                    if fault.left is not None:
                        fault.left -= 1
                    return fault
        return None

    def pause(self, subject: str) -> float:
        """Seconds of latency for a call."""
        fault = self.strike(Kind.LATENCY, subject)
        return 0.0 if fault is None else fault.delay + self._random.random() * fault.jitter

    def locked(self, object_name: str) -> bool:
        """Whether a record of this object can't be locked right now; asked once per record."""
        return self.strike(Kind.LOCK, object_name) is not None

    def duplicated(self, object_name: str) -> bool:
        """Whether a duplicate rule refuses a new record of this object; asked once per record."""
        return self.strike(Kind.DUPLICATE, object_name) is not None

    def event_delays(self, payload: Mapping[str, object]) -> tuple[float, ...]:
        """When a platform event's copies are due, in seconds from now; () for a lost one."""
        if not self._rules:
            return (0.0,)
        subject = f"{payload.get('Object__c')} {payload.get('Change__c')}"
        if self.strike(Kind.EVENT_LOST, subject):
            return ()
        late = self.strike(Kind.EVENT_LATE, subject)
        delay = 0.0 if late is None else late.delay + self._random.random() * late.jitter
        return (delay, delay) if self.strike(Kind.EVENT_TWICE, subject) else (delay,)


def _number(wish: Mapping[str, object], name: str, default: float | None) -> float | None:
    value = wish.get(name, default)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value < 0:
        raise ValueError(f"{name} must be a number, 0 or more")
    return float(value)
