"""A chunk's files: what the extract writes and the load reads. None of them is ever whole in memory.

    <Object>.<n>.csv.gz   lines for one Bulk job, header first, at most 90 MB raw
    <Object>.rest.jsonl.gz  records that Bulk cannot carry: long text, files; only these two hold values, in a folder that expires
    <either of these>.notes  what became of its rows: [id, Salesforce id], no id where the live writers have it
    manifest.jsonl.gz     a line a row that must be in Salesforce: [id, version, {object: hash of its normal values}]
    ledger.jsonl.gz       shared tables: [id, object, version, base, digest of files]
    second.jsonl.gz       references to the own table: [id, version, object, fields]
    unlinked.jsonl.gz     of these, what lost a lock the last time: [object, id]
    quarantine.jsonl.gz   rows that are not loaded
    unsent.jsonl.gz       rows that are not sent by rule: [id, reason]
    changed.jsonl.gz      rows that changed in the OMS since, new ones too: [id, version]
    signed.jsonl.gz       a delta's: ids in quarantine in the run before
    orphans.jsonl.gz      rows that verification missed together with their parent
    released.jsonl.gz     ids of the quarantine that verification found in Salesforce
    open.jsonl.gz         rows that verification looks at once more: [id, version]
    mismatches.jsonl.gz   rows that verification could not confirm

All are gzip with a fixed time stamp, so that the same rows give the same bytes.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import re
import shutil
import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import IO, Any, cast

from pydantic_core import from_json

from omsync.mapping.digest import canonical
from omsync.migration.model import Part
from omsync.migration.ports import Files
from omsync.platform.errors import Permanent

#: raw bytes of one Bulk file; Salesforce takes 100 MB
MAX_RAW = 90_000_000
#: what a file may hold in memory before it goes to disk
SPOOL = 8_000_000
#: bytes of lines that are compressed and hashed at a time: both have a price per call
BLOCK = 1 << 16
LEVEL = 1  # these files are read once, soon and nearby

_SPECIAL = re.compile('[",\r\n]')  # makes CSV quote a value


class Lines:
    """A gzip file of lines that grows on disk, not in memory."""

    def __init__(self) -> None:
        self._file = tempfile.SpooledTemporaryFile(SPOOL)  # noqa: SIM115  (closed by `close`)
        self._zip = gzip.GzipFile(fileobj=cast("IO[bytes]", self._file), mode="wb", compresslevel=LEVEL, mtime=0, filename="")
        self._digest = hashlib.sha256()
        self._block = bytearray()
        self.rows, self.raw = 0, 0

    def write(self, line: bytes) -> None:
        self._block += line
        self.raw += len(line)
        self.rows += 1
        if len(self._block) >= BLOCK:
            self._pack()

    def json(self, value: object) -> None:
        """One line of JSON."""
        self.write(canonical(value) + b"\n")

    def _pack(self) -> None:
        self._zip.write(self._block)
        self._digest.update(self._block)
        self._block.clear()

    def save(self, files: Files, name: str) -> str:
        """Store it; the SHA-256 of the raw content."""
        try:
            self._pack()
            self._zip.close()
            self._file.seek(0)
            files.put(name, cast("IO[bytes]", self._file))
        finally:
            self.close()
        return self._digest.hexdigest()

    def close(self) -> None:
        """Forget what is not saved."""
        self._zip.close()
        self._file.close()


def csv_text(values: Sequence[str]) -> bytes:
    """A line of CSV as `csv.writer` writes it, for a fraction of its time. LF ends it, as the job declares."""
    line = ",".join(values)
    if '"' in line or "\n" in line or "\r" in line or line.count(",") >= len(values):
        line = ",".join([_quoted(value) if _SPECIAL.search(value) else value for value in values])
    return f"{line}\n".encode("utf-8", "replace")


def _quoted(value: str) -> str:
    return '"' + value.replace('"', '""') + '"'


class CsvParts:
    """The Bulk files of one object in one chunk."""

    def __init__(self, sobject: str, header: Sequence[str], files: Files, folder: str) -> None:
        self.object, self._files, self._folder = sobject, files, folder
        self._header = csv_text(header)
        self._lines: Lines | None = None
        self.parts: list[Part] = []

    def write(self, values: Sequence[str]) -> None:
        """One record's line."""
        line = csv_text(values)
        if self._lines is not None and self._lines.raw + len(line) > MAX_RAW:
            self.close()
        if self._lines is None:
            self._lines = Lines()
            self._lines.write(self._header)
        self._lines.write(line)

    def close(self) -> None:
        """Store what is open as one more part."""
        if self._lines is None:
            return
        name, lines, self._lines = f"{self._folder}/{self.object}.{len(self.parts)}.csv.gz", self._lines, None
        sha256 = lines.save(self._files, name)
        self.parts.append(Part(object=self.object, file=name, rows=lines.rows - 1, bytes=lines.raw, sha256=sha256))

    def discard(self) -> None:
        """Forget what is not stored."""
        if self._lines is not None:
            self._lines.close()


def read_lines(files: Files, name: str, *, sha256: str = "") -> Iterator[Any]:
    """The JSON lines of a file; nothing if there is none. With `sha256` it must be there, and as it was written."""
    packed = files.open(name)
    if packed is None and sha256:
        raise _gone(name)
    if packed is None:
        return
    digest = hashlib.sha256()
    with packed, gzip.open(packed, "rb") as lines:
        for line in lines:
            if sha256:
                digest.update(line)
            try:
                yield from_json(line)  # three times as fast as json.loads
            except ValueError:  # half a surrogate pair, which is no UTF-8: see `canonical`
                yield json.loads(line)
    if sha256 and digest.hexdigest() != sha256:
        raise Permanent(f"{name} is not as it was written", code="migration.file")


def write_lines(files: Files, name: str, values: Iterable[object]) -> str:
    """A file of JSON lines; its SHA-256."""
    lines = Lines()
    for value in values:
        lines.json(value)
    return lines.save(files, name)


def read_notes(files: Files, part: str) -> tuple[dict[str, str], set[str]]:
    """(loaded: OMS id -> Salesforce id, handed to the live writers) of a part's rows, by the name of its file."""
    loaded: dict[str, str] = {}
    handed: set[str] = set()
    for row_id, salesforce_id in read_lines(files, f"{part}.notes"):
        if salesforce_id:
            loaded[row_id] = salesforce_id
        else:
            handed.add(row_id)
    return loaded, handed


def write_notes(files: Files, part: str, loaded: Mapping[str, str], handed: Collection[str]) -> None:
    """Note what became of a part's rows."""
    lines = [[row_id, loaded[row_id]] for row_id in sorted(loaded)] + [[row_id, ""] for row_id in sorted(set(handed) - loaded.keys())]
    write_lines(files, f"{part}.notes", lines)


def csv_content(files: Files, part: Part, without: frozenset[str]) -> tuple[IO[bytes], set[str]]:
    """A part's raw CSV as a stream on disk, without the rows of these ids; and the ids it holds. Mostly nothing is left out."""
    ids = csv_ids(files, part)
    out = cast("IO[bytes]", tempfile.SpooledTemporaryFile(SPOOL))  # noqa: SIM115  (the caller closes it)
    with _unpacked(files, part) as raw:
        if ids.isdisjoint(without):
            shutil.copyfileobj(raw, out, 1 << 20)
        else:
            text = io.TextIOWrapper(out, encoding="utf-8", newline="")
            writer = csv.writer(text, lineterminator="\n")
            header, place, rows = _rows(raw)
            writer.writerow(header)
            writer.writerows(row for row in rows if row[place] not in without)
            text.detach()
    out.seek(0)
    return out, ids - without


def csv_ids(files: Files, part: Part) -> set[str]:
    """The ids of a part's rows."""
    with _unpacked(files, part) as raw:
        _, place, rows = _rows(raw)
        return {row[place] for row in rows}


@contextmanager
def _unpacked(files: Files, part: Part) -> Iterator[IO[bytes]]:
    packed = files.open(part.file)
    if packed is None:
        raise _gone(part.file)
    with packed, gzip.open(packed, "rb") as raw:
        yield cast("IO[bytes]", raw)


def _gone(name: str) -> Permanent:
    return Permanent(f"{name} is gone", code="migration.file")


def _rows(raw: IO[bytes]) -> tuple[list[str], int, Iterator[list[str]]]:
    """(header, the id's place in it, rows)."""
    rows = csv.reader(io.TextIOWrapper(raw, encoding="utf-8", newline=""))
    header = next(rows)
    return header, header.index("OMS_Id__c"), rows
