"""Waiting for a state, with a deadline, instead of sleeping and hoping."""

from __future__ import annotations

import time
from collections.abc import Callable


def until[T](look: Callable[[], T], holds: Callable[[T], object] = bool, *, seconds: float = 30, every: float = 0.1) -> T:
    """Look again and again until what is seen holds; AssertionError with the last sight after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        seen = look()
        if holds(seen):
            return seen
        assert time.monotonic() < deadline, f"not within {seconds} s; last seen: {seen!r}"
        time.sleep(every)
