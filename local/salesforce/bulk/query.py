"""Works a query job off into a CSV file, and cuts the file into the sets of results that clients ask for.

Beside the file lies an index: where each block of a thousand rows begins, so that any row is found without reading what comes before.
"""

from __future__ import annotations

import base64
import binascii
import csv
import io
import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import batched

from local.salesforce.bulk.ingest import Files, dialect_of
from local.salesforce.bulk.jobs import Job, JobTable, State
from local.salesforce.context import Context
from local.salesforce.soql.errors import SoqlError
from local.salesforce.soql.executor import Executor

BLOCK = 1_000
DEFAULT_RECORDS = 100_000  # of a set, where the client names no maxRecords
_OFFSET = struct.Struct("<Q")


class BadLocator(Exception):
    """A locator that this job never gave."""


@dataclass(slots=True)
class BulkQuery:
    """One job's run. A job that a dying process left behind begins again: its rows were nobody's yet.

    `stopping` says that the process ends or that the job was aborted; the read snapshot of the rows can't.
    """

    executor: Executor
    jobs: JobTable
    job: Job
    files: Files
    context: Context
    stopping: Callable[[], bool]

    def run(self) -> None:
        if not self._move(State.IN_PROGRESS):
            return
        started = time.monotonic()
        try:
            finished = self._write()
        except SoqlError as error:
            self.job.error = f"{error.code}: {error.message}"
            self._move(State.FAILED)
            return
        self.job.progress.milliseconds = round((time.monotonic() - started) * 1000)
        if finished:
            self._move(State.JOB_COMPLETE)

    def _write(self) -> bool:
        """All rows to the file. False when told to stop."""
        dialect = dialect_of(self.job)
        header, rows = self.executor.csv_rows(self.job.query or "", self.context, all_rows=self.job.operation == "queryAll")
        count = 0
        with self.files.result.open("wb") as result, self.files.index.open("wb") as index:
            result.write(dialect.encode([header]))
            for block in batched(rows, BLOCK, strict=False):
                if self.stopping():
                    return False
                index.write(_OFFSET.pack(result.tell()))
                result.write(dialect.encode(block))
                count += len(block)
        self.job.progress.processed = count
        return True

    def _move(self, state: State) -> bool:
        with self.jobs.store.write() as tx:
            current = self.jobs.get("query", self.job.id)
            if current is None or current.state not in (State.UPLOAD_COMPLETE, State.IN_PROGRESS):
                return False
            self.job.state = state
            self.jobs.save(tx, self.job)
        return True


@dataclass(frozen=True, slots=True)
class ResultSet:
    """Some of a job's rows, from `start` on."""

    job: Job
    files: Files
    start: int
    count: int

    @property
    def locator(self) -> str:
        """Where the next set begins; the word `null` after the last."""
        end = self.start + self.count
        return "null" if end >= self.job.progress.processed else locator_of(self.job, end)

    def content(self) -> Iterator[bytes]:
        """The header, and the rows."""
        with self.files.result.open("rb") as file:
            yield file.read(_block_start(self.files, 0))
        row, end = self.start, self.start + self.count
        while row < end:
            block = row // BLOCK
            upto = min(end, (block + 1) * BLOCK)
            data = _block(self.files, block)
            whole = row % BLOCK == 0 and (upto % BLOCK == 0 or upto == self.job.progress.processed)
            yield data if whole else self._cut(data, row % BLOCK, upto - row)
            row = upto

    def _cut(self, data: bytes, first: int, count: int) -> bytes:
        """Some rows of a block."""
        dialect = dialect_of(self.job)
        rows = list(csv.reader(io.StringIO(data.decode("utf-8", "surrogatepass"), newline=""), delimiter=dialect.delimiter))
        return dialect.encode(rows[first : first + count])


def _block(files: Files, block: int) -> bytes:
    """One block's bytes."""
    start, end = _block_start(files, block), _block_start(files, block + 1)
    with files.result.open("rb") as file:
        file.seek(start)
        return file.read(end - start)


def _block_start(files: Files, block: int) -> int:
    with files.index.open("rb") as index:
        index.seek(block * _OFFSET.size)
        packed = index.read(_OFFSET.size)
    return int(_OFFSET.unpack(packed)[0]) if packed else files.result.stat().st_size


def locator_of(job: Job, row: int) -> str:
    """Opaque: base64 of a text like Salesforce's own, without padding."""
    return base64.urlsafe_b64encode(f"0:{job.id}:{row}".encode()).decode().rstrip("=")


def row_of(job: Job, locator: str) -> int:
    """The row at which a locator's set begins, or BadLocator."""
    try:
        text = base64.urlsafe_b64decode(locator + "=" * (-len(locator) % 4)).decode("ascii")
    except (binascii.Error, UnicodeError):
        raise BadLocator(locator) from None
    prefix = f"0:{job.id}:"
    row = text.removeprefix(prefix)
    if not text.startswith(prefix) or not row.isdigit() or len(row) > 12 or int(row) >= max(1, job.progress.processed):
        raise BadLocator(locator)
    return int(row)
