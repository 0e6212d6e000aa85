"""Works an ingest job off: reads the upload, saves it in transactions of a few thousand records, files each row's outcome.

A transaction holds the records and the job's progress together, so that a process that dies anywhere resumes with no row done twice and
none forgotten; result files are cut back to what the progress stands for.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import batched, chain
from pathlib import Path

from local.salesforce.bulk.csvfile import BadCsv, Dialect, Upload
from local.salesforce.bulk.jobs import DELIMITERS, LINE_ENDINGS, Job, JobTable, State
from local.salesforce.context import Context
from local.salesforce.dml_plan import parent_key
from local.salesforce.dml_types import Error, Json, Record, Result
from local.salesforce.schema import ObjectType, Org
from local.salesforce.store import Store

BATCH = 10_000  # records of an internal batch: the unit of the daily allocation
CHUNK = 5_000  # records of a transaction: larger ones are a little faster, but keep other writers waiting
HEAPS = 13  # a chunk's results are dealt into
NULL = "#N/A"
_LOCKED = Error("UNABLE_TO_LOCK_ROW", "unable to obtain exclusive access to this record", ())

type Row = list[str]


@dataclass(frozen=True, slots=True)
class Files:
    """Where a job keeps its data."""

    folder: Path

    @property
    def upload(self) -> Path:
        return self.folder / "upload.csv"

    @property
    def success(self) -> Path:
        return self.folder / "success.csv"

    @property
    def failed(self) -> Path:
        return self.folder / "failed.csv"

    @property
    def result(self) -> Path:
        return self.folder / "result.csv"

    @property
    def index(self) -> Path:
        return self.folder / "result.index"


def dialect_of(job: Job) -> Dialect:
    return Dialect(DELIMITERS[job.delimiter], LINE_ENDINGS[job.line_ending], job.line_ending)


@dataclass(slots=True)
class Ingest:
    """One job's run. `take_batch` draws on the daily allocation; `stopping` says that the process ends.

    `locked`, asked once a record, says that its row can't be locked (a fault on demand).
    """

    store: Store
    jobs: JobTable
    job: Job
    files: Files
    context: Context
    take_batch: Callable[[], bool]
    stopping: Callable[[], bool]
    note: Callable[[int], None] = lambda count: None
    locked: Callable[[], bool] | None = None
    _upload: Upload = field(init=False)

    def __post_init__(self) -> None:
        self._upload = Upload(self.files.upload, dialect_of(self.job))

    def run(self) -> None:
        """Until the job is in a final state, aborted by somebody, or the process ends."""
        try:
            header = self._start()
            if header is None:
                return
            self._rows(header)
        except BadCsv as error:
            self._finish(State.FAILED, str(error))

    def _start(self) -> list[str] | None:
        """Enter InProgress with the result files as the progress says. None when the job was aborted meanwhile."""
        if not self._enter():
            return None
        if not self.files.upload.exists():
            raise BadCsv("InvalidBatch : Records not found")
        header = self._upload.header()
        obj = self.store.org.object(self.job.object_name)
        assert obj is not None, "the object was checked when the job was created"
        check_header(self.store.org, obj, self.job, header, self.context)
        self.context.columns = tuple(header)
        prepare_results(self.job, self.files)
        return header

    def _enter(self) -> bool:
        with self.store.write() as tx:
            current = self.jobs.get("ingest", self.job.id)
            if current is None or current.state not in (State.UPLOAD_COMPLETE, State.IN_PROGRESS):
                return False
            self.job = current
            self.job.state = State.IN_PROGRESS
            self.jobs.save(tx, self.job)
        return True

    def _rows(self, header: Sequence[str]) -> None:
        before = self.job.progress.rows
        for rows in batched(self._upload.rows(skip=before), CHUNK, strict=False):
            if self.stopping() or not self._chunk(header, rows):
                return
        if self.job.progress.rows == 0:
            raise BadCsv("InvalidBatch : Records not found")
        self._finish(State.JOB_COMPLETE)

    def _chunk(self, header: Sequence[str], rows: Sequence[Row]) -> bool:
        """Save one chunk. False when the job is no longer to be worked on."""
        progress = self.job.progress
        if progress.rows >= progress.batches * BATCH:
            if not self.take_batch():
                self._over_the_limit()
                return False
            progress.batches += 1
        started = time.monotonic()
        records = list(to_records(header, rows))
        with self.store.write() as tx:
            current = self.jobs.get("ingest", self.job.id)
            if current is None or current.state is not State.IN_PROGRESS:
                return False
            saving = time.monotonic()
            results = self._save_unlocked(records)
            progress.active += round((time.monotonic() - saving) * 1000)
            succeeded, failed = self._sorted(rows, results)
            progress.success_bytes += _append(self.files.success, self._upload.dialect.encode_text(succeeded))
            progress.failed_bytes += _append(self.files.failed, self._upload.dialect.encode_text(failed))
            progress.rows += len(rows)
            progress.processed += len(rows)
            progress.failed += len(failed)
            progress.milliseconds += round((time.monotonic() - started) * 1000)
            self.jobs.save(tx, self.job)
        self.note(len(rows))
        return True

    def _save_unlocked(self, records: Sequence[Record]) -> list[Result]:
        """Save what isn't locked; results for all, in order."""
        if self.locked is None:
            return self._save(records)
        free = [record for record in records if not self.locked()]
        if len(free) == len(records):
            return self._save(records)
        kept = {id(record) for record in free}
        saved = iter(self._save(free))
        return [next(saved) if id(record) in kept else Result.failed(_LOCKED) for record in records]

    def _save(self, records: Sequence[Record]) -> list[Result]:
        job, context = self.job, self.context
        match job.operation:
            case "insert":
                return self.store.insert(job.object_name, records, context)
            case "update":
                return self.store.update(job.object_name, records, context)
            case "upsert":
                return self.store.upsert(job.object_name, job.external_id or "Id", records, context)
        ids = [str(next((value for key, value in record.items() if key.lower() == "id" and value), "")) for record in records]
        return self.store.delete(job.object_name, ids, context, hard=job.operation == "hardDelete")

    def _sorted(self, rows: Sequence[Row], results: Sequence[Result]) -> tuple[list[list[str]], list[list[str]]]:
        """Rows with their outcomes, each kind in an order that promises nothing."""
        succeeded: list[list[str]] = []
        failed: list[list[str]] = []
        inserts = "true" if self.job.operation == "insert" else "false"
        for row, result in zip(rows, results, strict=True):
            if result.success:
                created = inserts if result.created is None else "true" if result.created else "false"
                succeeded.append([result.id or "", created, *row])
            else:
                failed.append([result.id or "", sf_error(result.errors), *row])
        shuffler = random.Random(f"{self.job.id}-{self.job.progress.rows}")
        return _dealt(succeeded, shuffler), _dealt(failed, shuffler)

    def _over_the_limit(self) -> None:
        """Salesforce records no results for batches beyond the daily allocation."""
        self.job.progress.lost = sum(1 for _ in self._upload.rows(skip=self.job.progress.rows))
        self._finish(State.FAILED, "ExceededQuota : ApiBatchItems Limit exceeded.")

    def _finish(self, state: State, error: str | None = None) -> None:
        with self.store.write() as tx:
            current = self.jobs.get("ingest", self.job.id)
            if current is None or current.state is not State.IN_PROGRESS:
                return
            self.job.state = state
            self.job.error = error
            self.jobs.save(tx, self.job)


def prepare_results(job: Job, files: Files) -> None:
    """The result files with their headers, and of their rows only those that the job's progress stands for."""
    upload = Upload(files.upload, dialect_of(job))
    line = upload.header_line() + upload.dialect.line_ending
    separator = upload.dialect.delimiter
    kept = ((files.success, "sf__Created", job.progress.success_bytes), (files.failed, "sf__Error", job.progress.failed_bytes))
    for path, column, length in kept:
        head = f'"sf__Id"{separator}"{column}"{separator}{line}'.encode()
        if not path.exists():
            path.write_bytes(head)
        with path.open("r+b") as file:
            file.truncate(len(head) + length)


def unprocessed(job: Job, files: Files) -> Iterator[bytes]:
    """The rows that a failed or aborted job never came to, below the upload's header."""
    upload = Upload(files.upload, dialect_of(job))
    if not files.upload.exists():
        return
    yield (upload.header_line() + upload.dialect.line_ending).encode()
    if job.progress.lost:
        return
    try:
        for rows in batched(upload.rows(skip=job.progress.rows, checked=False), CHUNK, strict=False):
            yield upload.dialect.encode(rows)
    except BadCsv:
        return


def to_records(header: Sequence[str], rows: Sequence[Row]) -> Iterator[Record]:
    """CSV rows as records: an empty value leaves its field alone, #N/A clears it."""
    for row in rows:
        record: dict[str, Json] = dict(zip(header, row, strict=True))
        if "" in row:
            record = {name: value for name, value in record.items() if value}
        if NULL in row:
            for name, value in record.items():
                if value == NULL:
                    record[name] = None
        yield record


def sf_error(errors: Sequence[Error]) -> str:
    """`CODE:message:Field --`, one after the other."""
    return " ".join(error.bulk() for error in errors)


def check_header(org: Org, obj: ObjectType, job: Job, header: Sequence[str], context: Context) -> None:
    """Every column must name a field of the object, or a parent's external id; the operation's key must be among them."""
    seen: set[str] = set()
    for name in header:
        if not _known(org, obj, name, context):
            raise BadCsv(f"InvalidBatch : Field name not found : {name}")
        if name.lower() in seen:
            raise BadCsv(f"InvalidBatch : Field name duplicated : {name}")
        seen.add(name.lower())
    key = (job.external_id or "Id") if job.operation == "upsert" else "Id"
    if job.operation != "insert" and key.lower() not in seen:
        raise BadCsv(f"InvalidBatch : Field name not found : {key}")
    if job.operation in ("delete", "hardDelete") and len(header) > 1:
        extra = next(name for name in header if name.lower() != "id")
        raise BadCsv(f"InvalidBatch : Field name not found : {extra}")


def _known(org: Org, obj: ObjectType, name: str, context: Context) -> bool:
    if "." not in name:
        f = obj.field(name)
        return f is not None and f.stored and context.permissions.readable(obj, f)
    path, _, by = name.rpartition(".")
    type_name, _, relationship = path.rpartition(":")
    lookup = obj.relationship(relationship)
    if lookup is None or not context.permissions.readable(obj, lookup):
        return False
    return not isinstance(parent_key(org, lookup, by, type_name or None), Error)


def _dealt(rows: list[list[str]], shuffler: random.Random) -> list[list[str]]:
    """In another order: dealt into heaps, the heaps piled up at random. A shuffle of each row costs more than the rest of its result."""
    heaps = [rows[start::HEAPS] for start in range(HEAPS)]
    shuffler.shuffle(heaps)
    return list(chain.from_iterable(heaps))


def _append(path: Path, data: bytes) -> int:
    if data:
        with path.open("ab") as file:
            file.write(data)
    return len(data)
