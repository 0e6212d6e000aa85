"""What a run takes of the org's allocations, before it takes it.

Storage is Salesforce's own way of counting (Help, "Salesforce record size overview"): 2 KB a record however much is in it, a person account
4 KB, an email message its text, line items nothing of their own; files take their size, elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import ceil

from pydantic import BaseModel

from omsync.mapping import Target
from omsync.migration.examine import BY_TEXT, Examined

RECORD_KB, PERSON_KB = 2.0, 4.0
#: counted with their parent
FREE = frozenset({"OrderItem", "PricebookEntry"})
#: rows of an internal batch of Bulk API 2.0
BATCH = 10_000
#: calls for a chunk of an object: what is there, intent, upload, looks, three results, the query of verification and its pages
CHUNK_CALLS = 24
#: records that one REST call carries
REST_ROWS = 200
#: of what is left of an allocation, so much may be planned for without a word
COMFORTABLE = 0.8


class Need(BaseModel):
    """What a run needs of an allocation; `left` and `of` are None where the org does not tell."""

    limit: str
    needed: float
    left: float | None = None
    of: float | None = None
    blocking: bool = True

    @property
    def ok(self) -> bool:
        """Is there comfortably enough?"""
        return self.left is None or self.needed <= self.left * COMFORTABLE

    @property
    def impossible(self) -> bool:
        """Is there not enough?"""
        return self.left is not None and self.needed > self.left


def is_person(target: Target) -> bool:
    """A Person Account is an account and a contact."""
    return target.object == "Account" and any(name.endswith("__pc") for name in target.fields)


def kilobytes(target: Target, records: int, text_bytes: int) -> float:
    """Data storage of an object's records."""
    if target.object in FREE:
        return 0.0
    if target.object in BY_TEXT:
        return max(records * RECORD_KB, text_bytes / 1024)
    return records * (PERSON_KB if is_person(target) else RECORD_KB)


def needs(data_kb: float, total: Examined, batches: int, jobs: int, limits: Mapping[str, tuple[int, int]]) -> Iterator[Need]:
    """A run's needs against the org's limits (name -> (left, of))."""
    calls = jobs * CHUNK_CALLS + ceil(total.rest / REST_ROWS)
    wanted = (
        ("DataStorageMB", data_kb / 1024, True),
        ("FileStorageMB", total.file_bytes / 1024 / 1024, True),
        ("DailyBulkApiBatches", batches, True),
        ("DailyBulkV2QueryJobs", jobs, True),
        ("DailyApiRequests", calls, False),  # a run that has used up its share waits for more
    )
    for name, needed, blocking in wanted:
        left, of = limits.get(name, (None, None))
        yield Need(limit=name, needed=round(needed, 1), left=left, of=of, blocking=blocking)
