"""Bulk jobs: what is known of each, its JSON in Salesforce's keys, and the table that keeps them across restarts."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from enum import StrEnum

from local.salesforce.rest.values import moment
from local.salesforce.schema import ObjectType
from local.salesforce.store import Store, Transaction

_JOB_OBJECT = ObjectType("AsyncApexJob", "Job", "Jobs", "750")
_TABLE = """
CREATE TABLE IF NOT EXISTS _bulk_jobs (
    id TEXT PRIMARY KEY, kind TEXT NOT NULL, state TEXT NOT NULL, created_at TEXT NOT NULL, job TEXT NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS _bulk_jobs_kind ON _bulk_jobs (kind, created_at, id);
CREATE INDEX IF NOT EXISTS _bulk_jobs_state ON _bulk_jobs (state, created_at);
"""

DELIMITERS = {"COMMA": ",", "TAB": "\t", "PIPE": "|", "SEMICOLON": ";", "CARET": "^", "BACKQUOTE": "`"}
LINE_ENDINGS = {"LF": "\n", "CRLF": "\r\n"}


class State(StrEnum):
    """A job's states. The last three are final."""

    OPEN = "Open"
    UPLOAD_COMPLETE = "UploadComplete"
    IN_PROGRESS = "InProgress"
    JOB_COMPLETE = "JobComplete"
    FAILED = "Failed"
    ABORTED = "Aborted"

    @property
    def final(self) -> bool:
        return self in (State.JOB_COMPLETE, State.FAILED, State.ABORTED)


@dataclass(slots=True)
class Progress:
    """How far a job's worker has come. The byte counts are the lengths of the result files that this progress stands for."""

    rows: int = 0  # rows of the upload that are dealt with, one way or the other
    processed: int = 0
    failed: int = 0
    batches: int = 0  # internal batches taken from the daily allocation
    lost: int = 0  # rows beyond the daily allocation: in no result at all
    success_bytes: int = 0
    failed_bytes: int = 0
    milliseconds: int = 0  # wall time in the worker
    active: int = 0  # of it, saving


@dataclass(slots=True)
class Job:
    """One job. `kind` is ingest or query; times are stored moments; `query` is a query job's SOQL, `object_name` its object."""

    id: str
    kind: str
    operation: str
    object_name: str
    user_id: str
    created: str
    modified: str
    state: State
    version: str
    delimiter: str = "COMMA"
    line_ending: str = "LF"
    external_id: str | None = None
    assignment_rule: str | None = None
    query: str | None = None
    uploaded: bool = False
    error: str | None = None
    progress: Progress = field(default_factory=Progress)

    # JSON -----------------------------------------------------------------------------------------------------------

    def short(self) -> dict[str, object]:
        """As closing and aborting answer."""
        answer: dict[str, object] = {
            "id": self.id,
            "operation": self.operation,
            "object": self.object_name,
            "createdById": self.user_id,
            "createdDate": moment(self.created),
            "systemModstamp": moment(self.modified),
            "state": self.state.value,
        }
        if self.external_id is not None:
            answer["externalIdFieldName"] = self.external_id
        if self.assignment_rule is not None:
            answer["assignmentRuleId"] = self.assignment_rule
        return answer | {"concurrencyMode": "Parallel", "contentType": "CSV", "apiVersion": float(self.version)}

    def created_answer(self) -> dict[str, object]:
        """As creating answers."""
        return self.short() | self._content_url() | {"lineEnding": self.line_ending, "columnDelimiter": self.delimiter}

    def listed(self) -> dict[str, object]:
        """As in a list of jobs."""
        kind = {"jobType": "V2Ingest" if self.kind == "ingest" else "V2Query"}
        return self.short() | kind | self._content_url() | {"lineEnding": self.line_ending, "columnDelimiter": self.delimiter}

    def status(self) -> dict[str, object]:
        """As the job's own resource answers."""
        answer = self.listed() | {"numberRecordsProcessed": self.progress.processed}
        if self.kind == "ingest":
            answer["numberRecordsFailed"] = self.progress.failed
        answer |= {"retries": 0, "totalProcessingTime": self.progress.milliseconds}
        if self.kind == "ingest":
            answer |= {"apiActiveProcessingTime": self.progress.active, "apexProcessingTime": 0}
        else:
            answer["isPkChunkingSupported"] = True
        if self.error is not None:
            answer["errorMessage"] = self.error
        return answer

    def _content_url(self) -> dict[str, object]:
        if self.kind != "ingest" or self.state is not State.OPEN:
            return {}
        return {"contentUrl": f"services/data/v{self.version}/jobs/ingest/{self.id}/batches"}


class JobTable:
    """The jobs of one store, in a table of its own."""

    def __init__(self, store: Store) -> None:
        self.store = store
        with store.write() as tx:
            for statement in _TABLE.split(";"):
                tx.connection.execute(statement)

    def new(self, tx: Transaction, kind: str, operation: str, object_name: str, user_id: str, version: str) -> Job:
        """A job with a fresh id, not saved yet."""
        job_id = tx.new_ids(_JOB_OBJECT, 1)[0]
        return Job(job_id, kind, operation, object_name, user_id, tx.now, tx.now, State.OPEN, version)

    def save(self, tx: Transaction, job: Job) -> None:
        """Write a job as it is now."""
        job.modified = tx.now
        row = (job.id, job.kind, job.state.value, job.created, json.dumps(asdict(job)))
        tx.connection.execute("INSERT OR REPLACE INTO _bulk_jobs VALUES (?, ?, ?, ?, ?)", row)

    def get(self, kind: str, job_id: str) -> Job | None:
        """A job by its id of 15 or 18 characters."""
        with self.store.read() as connection:
            row = connection.execute(
                "SELECT job FROM _bulk_jobs WHERE kind = ? AND (id = ? OR (length(?2) = 15 AND substr(id, 1, 15) = ?2))", (kind, job_id)
            ).fetchone()
        return None if row is None else _load(row[0])

    def page(self, kind: str, after: tuple[str, str] | None, limit: int) -> list[Job]:
        """Jobs, newest first, that come after (created, id)."""
        sql = "SELECT job FROM _bulk_jobs WHERE kind = ? AND (created_at, id) < (?, ?) ORDER BY created_at DESC, id DESC LIMIT ?"
        with self.store.read() as connection:
            rows = connection.execute(sql, (kind, *(after or ("9", "")), limit)).fetchall()
        return [_load(row[0]) for row in rows]

    def next_to_do(self, kind: str) -> Job | None:
        """The oldest job that waits for its worker, or that a worker left behind."""
        sql = "SELECT job FROM _bulk_jobs WHERE state IN (?, ?) AND kind = ? ORDER BY created_at, id LIMIT 1"
        with self.store.read() as connection:
            row = connection.execute(sql, (State.UPLOAD_COMPLETE.value, State.IN_PROGRESS.value, kind)).fetchone()
        return None if row is None else _load(row[0])

    def delete(self, job_id: str) -> None:
        with self.store.write() as tx:
            tx.connection.execute("DELETE FROM _bulk_jobs WHERE id = ?", (job_id,))

    def older_than(self, created_before: str) -> list[Job]:
        """Finished jobs created before a moment."""
        with self.store.read() as connection:
            rows = connection.execute("SELECT job FROM _bulk_jobs WHERE created_at < ?", (created_before,)).fetchall()
        return [job for job in (_load(row[0]) for row in rows) if job.state.final]


def _load(text: str) -> Job:
    values = json.loads(text)
    progress, state = Progress(**values.pop("progress")), State(values.pop("state"))
    return Job(**values, state=state, progress=progress)
