"""CSV as the Bulk API reads and writes it: streamed, every value quoted on the way out, Salesforce's limits and words on the way in."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from local.salesforce.dml_types import Stored

MAX_FIELD = 32_000
MAX_RECORD = 400_000
MAX_FIELDS = 5_000

# Python's own guard is far below an upload's 100 MB; the limits above are checked here instead.
csv.field_size_limit(200 << 20)


class BadCsv(Exception):
    """An upload that Salesforce refuses whole: the text is the job's errorMessage."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """A job's delimiter and line ending."""

    delimiter: str
    line_ending: str
    ending_name: str

    def encode(self, rows: Iterable[Sequence[Stored]]) -> bytes:
        """Rows with every value quoted; None is empty."""
        buffer = io.StringIO()
        writer = csv.writer(buffer, delimiter=self.delimiter, lineterminator=self.line_ending, quoting=csv.QUOTE_ALL)
        writer.writerows(rows)
        return buffer.getvalue().encode("utf-8", "surrogatepass")

    def encode_text(self, rows: Sequence[Sequence[str]]) -> bytes:
        """`encode` of rows that are all text, far cheaper where no value has a quote of its own."""
        between = f'"{self.delimiter}"'
        text = "".join([f'"{between.join(row)}"{self.line_ending}' for row in rows])
        if text.count('"') != 2 * sum(map(len, rows)):
            return self.encode(rows)
        return text.encode("utf-8", "surrogatepass")


@dataclass(frozen=True, slots=True)
class Upload:
    """An uploaded file."""

    path: Path
    dialect: Dialect

    def header(self) -> list[str]:
        """The names of the columns; BadCsv when the file can't be one of this job's."""
        with self.path.open("rb") as file:
            first = file.readline()
        if not first.strip():
            raise BadCsv("InvalidBatch : Records not found")
        if first.startswith(b'\xef\xbb\xbf"'):
            raise BadCsv("InvalidBatch : Failed to parse CSV. Found unescaped quote. A value with quote should be within a quote")
        if first.endswith(b"\n") and first.endswith(b"\r\n") != (self.dialect.line_ending == "\r\n"):
            name = self.dialect.ending_name
            raise BadCsv(f"ClientInputError : LineEnding is invalid on user data. Current LineEnding setting is {name}")
        names = next(self._raw(), None)
        if not names:
            raise BadCsv("InvalidBatch : Records not found")
        if len(names) > MAX_FIELDS:
            raise BadCsv(f"InvalidBatch : Number of fields in record exceeds the limit of {MAX_FIELDS}")
        return names

    def header_line(self) -> str:
        """The header as it was sent, without its end."""
        with self.path.open("rb") as file:
            return file.readline().decode("utf-8", "replace").rstrip("\r\n")

    def rows(self, skip: int = 0, *, checked: bool = True) -> Iterator[list[str]]:
        """Records after the header, from the `skip`th on; empty lines are no records. BadCsv at the first that breaks a limit.

        Without `checked` only a file that can't be parsed is bad.
        """
        raw = self._raw()
        names = next(raw, [])
        width = len(names)
        for row in islice(filter(None, raw), skip, None):
            if len(row) != width and checked:
                if len(row) > width:
                    raise BadCsv("InvalidBatch : Number of fields in record exceeds number of fields in header")
                row += [""] * (width - len(row))
            if checked and sum(map(len, row)) > MAX_FIELD:
                _check_size(names, row)
            yield row

    def _raw(self) -> Iterator[list[str]]:
        with self.path.open(encoding="utf-8", newline="") as file:
            reader = csv.reader(file, delimiter=self.dialect.delimiter, strict=True)
            try:
                yield from reader
            except csv.Error:
                text = "InvalidBatch : Failed to parse CSV. Found unescaped quote. A value with quote should be within a quote"
                raise BadCsv(text) from None
            except UnicodeDecodeError:
                raise BadCsv("InvalidBatch : Failed to parse CSV. The file is not encoded in UTF-8") from None


def _check_size(names: Sequence[str], row: Sequence[str]) -> None:
    for name, value in zip(names, row, strict=True):
        if len(value) > MAX_FIELD:
            raise BadCsv(f"InvalidBatch : Field size exceeds the limit of {MAX_FIELD} characters : {name}")
    if sum(map(len, row)) > MAX_RECORD:
        raise BadCsv(f"InvalidBatch : Record size exceeds the limit of {MAX_RECORD} characters")
