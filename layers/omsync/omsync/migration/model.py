"""What a migration is made of: runs, chunks, what became of each row. Everything here is small: rows live in files, never in a payload.

ChunkRef    names a chunk: migration, run, table, number, and the range of its key. This is all that a state machine carries
ChunkState  what is known of a chunk: counts, files, jobs. Saved in the state table under the ref's name
Outcome     what a step answers: `done`, `wait` (call again in n seconds), `paused` or `failed`; Choice states decide by it
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, computed_field

type Decision = Literal["done", "wait", "paused", "failed"]
#: the migration whose certified runs the live sync goes by; one of another name is a rehearsal
MAIN = "main"
#: how often rows that a job left unprocessed, or that lost a lock, are sent again
ATTEMPTS = 5
#: the wave of what changed since the runs before
DELTA = "delta"


class _Model(BaseModel):
    model_config = ConfigDict(extra="ignore")


class ChunkRef(_Model):
    """A range `(after, upto]` of a table's chunk key; None is open. `delta`: of what changed there since an earlier run extracted it."""

    migration: str
    run: int
    table: str
    number: int
    after: str | None = None
    upto: str | None = None
    delta: bool = False

    @property
    def name(self) -> str:
        """`patients/00012`."""
        return f"{self.table}/{self.number:05d}"

    @property
    def folder(self) -> str:
        """Where its files are."""
        return f"migrations/{self.migration}/run-{self.run}/{self.name}"

    @property
    def key(self) -> str:
        """Its item in the state table."""
        return f"migration/{self.migration}/{self.run}/{self.name}"


class Outcome(_Model):
    """What a step answers to the state machine."""

    outcome: Decision = "done"
    wait_seconds: int = 0
    reason: str = ""


class Part(_Model):
    """One file of a chunk for one object, and the jobs that loaded it."""

    object: str
    file: str
    kind: Literal["bulk", "rest"] = "bulk"
    rows: int = 0
    bytes: int = 0
    sha256: str = ""
    intent: str | None = None  # saved before the job is created
    job: str | None = None  # saved before the upload
    attempt: int = 0
    deadline: float = 0.0
    done: bool = False
    submitted: int = 0
    succeeded: int = 0
    there: int = 0
    failed: int = 0
    unprocessed: int = 0


class Inquiry(_Model):
    """A Bulk query of verification."""

    object: str
    job: str | None = None
    deadline: float = 0.0
    attempt: int = 0  # queries that came to nothing


class ChunkState(_Model):
    """What is known of a chunk. `phase` only goes forward."""

    revision: int = 0  # of the item; a write that would follow another one is refused
    phase: Literal["planned", "extracted", "loaded", "linked", "verified"] = "planned"
    folder: str = ""  # of the files; each extract has one of its own, so that one that comes late harms nobody
    snapshot: str = ""
    rows: int = 0  # source rows
    not_sent: dict[str, int] = Field(default_factory=dict)  # reason -> rows
    quarantined: int = 0
    to_send: int = 0  # rows that must be in Salesforce
    second_pass: int = 0
    relinked: int = 0  # how often the second pass was made: again only of what lost a lock
    handed: int = 0  # left to the live writers
    parts: list[Part] = Field(default_factory=list)
    inquiries: list[Inquiry] = Field(default_factory=list)
    # what verification found; `reopen` forgets it
    verified: int = 0
    missing: int = 0
    mismatched: int = 0
    unknown: int = 0
    arrived: int = 0  # rows that came after the chunk was extracted
    excused: dict[str, int] = Field(
        default_factory=dict
    )  # reason -> rows that are not sent since they were extracted; below 0: that are now
    orphaned: int = 0  # rows that are not there because a parent is not: in quarantine with it
    released: int = 0  # rows of the quarantine that are there by now, every value
    reopened: bool = False  # somebody has it looked at again
    recalled: bool = False  # the live writers have been asked for rows of the quarantine
    tries: int = 0  # how often verification looked at rows that differ
    open_keys: int = 0  # rows that verification has not settled yet
    manifest_sha256: str = ""
    calls: int = 0  # Salesforce API calls
    seconds: dict[str, float] = Field(default_factory=dict)  # step -> seconds worked
    finished_at: dict[str, float] = Field(default_factory=dict)  # step -> when, since 1970
    failure: str = ""

    @property
    def values_folder(self) -> str:
        """Where the rows' values are. What is there expires; in all other files are ids, counts and hashes, and they are kept."""
        return self.folder.replace("migrations/", "extracts/", 1)

    def count(self, reason: str) -> None:
        """A row that is not sent, for this reason."""
        self.not_sent[reason] = self.not_sent.get(reason, 0) + 1

    def excuse(self, reason: str, rows: int = 1) -> None:
        """Rows that are not sent any more, for this reason; -1: one that is sent now."""
        self.excused[reason] = self.excused.get(reason, 0) + rows

    @property
    def differing(self) -> int:
        """Rows that stand between the chunk and a certificate."""
        return self.missing + self.mismatched + self.unknown

    @property
    def in_quarantine(self) -> int:
        """Rows that are not there, and why is known."""
        return self.quarantined + self.orphaned - self.released

    def reopen(self) -> None:
        """Verification may begin anew."""
        self.phase, self.inquiries, self.reopened = "linked", [], True
        self.verified = self.missing = self.mismatched = self.unknown = self.orphaned = self.released = self.tries = self.open_keys = 0
        self.arrived = 0
        self.excused, self.recalled = {}, False


class Quarantined(_Model):
    """A row that is not loaded, and why. Never a value: names, codes, lengths."""

    table: str
    id: str
    code: str
    field: str | None = None
    message: str
    refused: bool = False  # by Salesforce; else the mapping could not carry it, or it belongs to such a row


class Mismatch(_Model):
    """A row whose values differ, are missing, or could not be compared."""

    table: str
    id: str
    kind: Literal["missing", "different", "unknown"]
    fields: tuple[str, ...] = ()
    uncarried: str = ""  # why it cannot be carried, as it is now


class TablePlan(_Model):
    """A table's share of a run."""

    table: str
    wave: str
    rows: int
    chunks: int


class RunPlan(_Model):
    """A run: its tables in load order and where its chunks are listed, wave by wave."""

    migration: str
    run: int
    chunk_rows: int
    planned_at: float
    dry: bool = False  # made by a dry run; a run that is meant makes its own
    tables: list[TablePlan]
    waves: list[str]

    @property
    def folder(self) -> str:
        """Where its files are."""
        return run_folder(self.migration, self.run)

    def wave_file(self, wave: str) -> str:
        """The list of the chunks of a wave."""
        return f"{self.folder}/wave-{wave}.json"


def run_folder(migration: str, run: int) -> str:
    """Where a run's files are."""
    return f"migrations/{migration}/run-{run}"


class OrgFacts(_Model):
    """What only the org can tell, and the extract needs: it runs beside the database and calls no Salesforce."""

    ids: dict[str, str]
    staff: list[str]
    time_zone: str
    certified_run: int = 0  # as the live sync sees it
    audit_fields: bool = False
    dry: bool = False  # noted by a dry run, before staff were matched


class Check(_Model):
    """One thing that preflight looked at. `blocking` ones stop the run."""

    name: str
    ok: bool
    blocking: bool = True
    detail: str = ""
    mend: str = ""


class Preflight(_Model):
    """What is to be known before anything moves."""

    migration: str
    run: int
    at: float
    checks: list[Check]
    limits: dict[str, tuple[int, int]] = Field(default_factory=dict)  # allocation -> (left, of)

    @property
    def blocked(self) -> bool:
        """May the run begin?"""
        return any(check.blocking and not check.ok for check in self.checks)


class TableResult(_Model):
    """A table in the certificate: rows = verified + not sent + quarantined + missing + mismatched + unknown."""

    table: str
    wave: str
    rows: int = 0
    verified: int = 0
    not_sent: dict[str, int] = Field(default_factory=dict)
    quarantined: int = 0
    missing: int = 0
    mismatched: int = 0
    unknown: int = 0
    handed: int = 0
    chunks: int = 0
    open_chunks: int = 0
    calls: int = 0
    seconds: float = 0.0
    rate: float = 0.0
    sha256: str = ""  # over the manifests

    @property
    def title(self) -> str:
        """Its name; of what an earlier run has migrated, that these are the rows that changed."""
        return f"{self.table}, changed since" if self.wave == DELTA else self.table

    @property
    def told(self) -> bool:
        """Is there something to say? Of an earlier run's table mostly not."""
        return self.wave != DELTA or self.rows > 0 or self.open_chunks > 0

    @property
    def balanced(self) -> bool:
        """Is every row accounted for?"""
        parts = self.verified + sum(self.not_sent.values()) + self.quarantined + self.missing + self.mismatched + self.unknown
        return self.rows == parts


class Approval(_Model):
    """Who let a run go on. At a certificate also which rows of the quarantine were signed for."""

    by: str
    tables: dict[str, int] | None = None  # rows by table, as they were verified; None: signed in advance
    up_to: int = 0  # in advance: so many rows at most

    def covers(self, quarantined: Mapping[str, int]) -> bool:
        """Were these signed for?"""
        if self.tables is None:
            return sum(quarantined.values()) <= self.up_to
        return all(rows <= self.tables.get(table, 0) for table, rows in quarantined.items())

    def __str__(self) -> str:
        if self.tables is None:
            return f"{self.by} signed for up to {self.up_to:,}"
        return f"{self.by} signed for {sum(self.tables.values()):,}" + (f" ({listed(self.tables)})" if self.tables else "")


def listed(rows: Mapping[str, int]) -> str:
    """`orders 2, patients 3`."""
    return ", ".join(f"{table} {count:,}" for table, count in sorted(rows.items()))


class Certificate(_Model):
    """The proof of a run, or what is wanting. `issued` only with 0 missing, 0 mismatched, 0 unknown, every chunk verified, and quarantine signed for."""

    migration: str
    run: int
    issued: bool = False  # nothing stands in its way
    certified: bool = False  # it is the run's certificate, not only what verification found
    refused_because: list[str] = Field(default_factory=list)
    at: float = 0.0
    planned_at: float = 0.0
    signed_by: str | None = None
    tables: list[TableResult] = Field(default_factory=list)
    quarantine: list[Quarantined] = Field(default_factory=list)
    mismatches: list[Mismatch] = Field(default_factory=list)
    progress: list[tuple[float, int]] = Field(default_factory=list)  # (seconds since planning, rows verified by then)
    delta_rows: int | None = None
    version: str = ""
    sha256: str = ""

    @property
    def in_quarantine(self) -> dict[str, int]:
        """Rows by table."""
        return {one.table: one.quarantined for one in self.tables if one.quarantined}

    @computed_field  # type: ignore[prop-decorator]
    @property
    def quarantined_rows(self) -> int:
        """All of them; `quarantine` names the first."""
        return sum(self.in_quarantine.values())

    @computed_field  # type: ignore[prop-decorator]
    @property
    def differing_rows(self) -> int:
        """All of them; `mismatches` names the first."""
        return sum(one.missing + one.mismatched + one.unknown for one in self.tables)
