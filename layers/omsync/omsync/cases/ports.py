"""What others need of the cases: telling people of something only they can settle."""

from __future__ import annotations

from typing import Protocol


class CasePort(Protocol):
    """Opens integration Cases."""

    def open(self, kind: str, record: str, detail: str) -> None:
        """One Case a kind and record, however often it is asked for. `record` is `table/id`; `detail` holds no value of it. Raises Retryable."""
