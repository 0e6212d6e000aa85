"""What the migration's use cases need from outside. Adapters are in `adapters.py` and `source.py`; tests bring fakes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import IO, Protocol

from omsync.mapping.model import Row, TableMapping
from omsync.mapping.outward import File
from omsync.migration.model import ChunkRef
from omsync.platform.errors import OmsyncError
from omsync.salesforce.bulk import Job, QueryPage
from omsync.sync.messages import MirrorMessage, SyncMessage
from omsync.sync.ports import Written
from omsync.sync.records import Item, Lease, RecordKey


class Files(Protocol):
    """The staging bucket."""

    def put(self, name: str, content: bytes | IO[bytes]) -> None: ...

    def get(self, name: str) -> bytes | None:
        """The content, or None."""
        ...

    def open(self, name: str) -> IO[bytes] | None:
        """The content as a stream that may be read slowly, or None."""
        ...


class States(Protocol):
    """Small documents in the state table."""

    def read(self, key: str) -> str | None: ...

    def read_many(self, keys: Sequence[str]) -> Mapping[str, str]: ...

    def write(self, key: str, document: str) -> None: ...

    def replace(self, key: str, document: str, *, seen: int) -> bool:
        """Write it as revision `seen` + 1; False: the stored one is not at `seen` (0: there is none)."""
        ...

    def claim(self, key: str, document: str) -> bool:
        """Write it if there is none; False: there is."""
        ...


class Source(Protocol):
    """The OMS's database, read-only."""

    def count(self, mapping: TableMapping) -> int:
        """How many rows a table has."""
        ...

    def bounds(self, mapping: TableMapping, rows: int) -> list[str]:
        """A table's chunk key at every `rows`-th row."""
        ...

    def read(self, mapping: TableMapping, ref: ChunkRef) -> AbstractContextManager[tuple[str, Iterator[Row]]]:
        """(snapshot, rows sorted by parent) of a chunk, streamed from one snapshot."""
        ...

    def changed(self, mapping: TableMapping, ref: ChunkRef, since: str) -> Iterator[tuple[str, int]]:
        """(id, version) of a chunk's rows, new ones too, that were changed by the transactions from `since` on."""
        ...

    def survivors(self) -> dict[str, str]:
        """Merged patient -> the one that it was merged into, chains followed."""
        ...


class Salesforce(Protocol):
    """The org, as the load user."""

    @property
    def calls(self) -> int: ...

    def present(self, sobject: str, where: str) -> set[str]:
        """OMS ids of the records that are there."""
        ...

    def create_job(self, sobject: str) -> str:
        """A new insert job, open."""
        ...

    def abandoned_jobs(self, sobject: str, since: float) -> Iterator[str]:
        """Insert jobs of ours that were created since then and never uploaded to."""
        ...

    def upload(self, job: str, content: IO[bytes]) -> None:
        """Upload, and say that this is all."""
        ...

    def look(self, job: str, *, query: bool = False) -> Job:
        """The job now. Raises `NotFound` if it is gone."""
        ...

    def abort(self, job: str, *, query: bool = False) -> None: ...

    def succeeded(self, job: str) -> Iterator[tuple[str, str]]:
        """(OMS id, Salesforce id)."""
        ...

    def failed(self, job: str) -> Iterator[tuple[str, OmsyncError]]:
        """(OMS id, why)."""
        ...

    def start_query(self, soql: str) -> str: ...

    def query_page(self, job: str, locator: str | None) -> QueryPage: ...

    def create(self, sobject: str, records: Sequence[Mapping[str, object]]) -> list[Written]:
        """Insert by REST, at most 1,000."""
        ...

    def update(self, sobject: str, records: Sequence[Mapping[str, object]]) -> list[Written]:
        """Update by Salesforce id, at most 1,000."""
        ...

    def attach(self, record_id: str, file: File) -> None: ...

    def attached(self, record_id: str) -> set[str]:
        """Titles of the files beside a record."""
        ...

    def by_oms_id(self, sobject: str, columns: Sequence[str], ids: Sequence[str]) -> Iterator[Mapping[str, object]]:
        """Records as they stand now."""
        ...

    def oms_ids(self, sobject: str, salesforce_ids: Sequence[str]) -> dict[str, str]:
        """Salesforce id -> OMS id."""
        ...


class Live(Protocol):
    """The live writers' queues: whatever is already there, or changed meanwhile, is theirs."""

    def mirror(self, messages: Sequence[MirrorMessage]) -> None: ...

    def sync(self, messages: Sequence[SyncMessage]) -> None: ...

    def backlog(self) -> int:
        """Messages waiting or under way."""
        ...


class Ledger(Protocol):
    """The sync's ledger, for what is inserted here."""

    def save(self, items: Sequence[Item]) -> list[bool]:
        """Each under its next revision (0: it must be new); False where the stored one is of another."""
        ...

    def saved_again(self, keys: Sequence[RecordKey]) -> None:
        """The second pass saved these records once more; where somebody else did too, the item is theirs."""
        ...

    def renew(self, keys: Sequence[RecordKey], lease: Lease) -> list[bool]:
        """Extend leases of this holder, also those that ran out and that nobody has taken; False: the item is somebody else's, or inserted."""
        ...

    def inserted(self, items: Sequence[Item], holder: str) -> None:
        """Save what was inserted under leases of this holder; an item that is not his any more is somebody else's to know."""
        ...

    def release(self, keys: Sequence[RecordKey], holder: str) -> None:
        """Give leases of this holder back."""
        ...


class Rows(Protocol):
    """The OMS's API."""

    def batch_get(self, table: str, ids: Sequence[str]) -> Mapping[str, Row]: ...
