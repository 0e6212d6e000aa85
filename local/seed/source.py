"""CSV files brought from elsewhere: read with their line numbers, each row either loaded or rejected with its reason."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from local.seed.bulk import SeedFault

type Row = Mapping[str, str]


@dataclass(slots=True)
class Tally:
    """What became of the rows of the source files. Every row is counted once in `loaded` or named once in `rejects`."""

    read: dict[str, int] = field(default_factory=dict)
    loaded: dict[str, int] = field(default_factory=dict)
    rejects: list[tuple[str, int, str, Row]] = field(default_factory=list)

    def load(self, file: str) -> None:
        self.loaded[file] = self.loaded.get(file, 0) + 1

    def reject(self, file: str, line: int, reason: str, row: Row) -> None:
        self.rejects.append((file, line, reason, row))

    def rejected(self, file: str) -> int:
        return sum(1 for name, *_ in self.rejects if name == file)

    def check(self) -> None:
        """Nothing may be lost on the way."""
        for file, read in self.read.items():
            known = self.loaded.get(file, 0) + self.rejected(file)
            if known != read:
                raise SeedFault(f"{file}: {read} rows read, but {known} accounted for")

    def write(self, path: Path) -> None:
        """The rejects as CSV: file, line, reason, the row as JSON."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", newline="") as target:
            writer = csv.writer(target)
            writer.writerow(["file", "line", "reason", "row"])
            writer.writerows((file, line, reason, json.dumps(dict(row), ensure_ascii=False)) for file, line, reason, row in self.rejects)


def read(path: Path, columns: tuple[str, ...], tally: Tally) -> Iterator[tuple[int, Row]]:
    """(line, row) of a CSV file that must have these columns. A line is where the row ends, from 1 with the header."""
    csv.field_size_limit(16 * 1024 * 1024)
    try:
        source = path.open(newline="", encoding="utf-8-sig")
    except OSError as fault:
        raise SeedFault(f"{path}: {fault.strerror or fault}") from None
    with source:
        reader = csv.DictReader(source, strict=True)
        try:
            lacking = [name for name in columns if name not in (reader.fieldnames or ())]
            if lacking:
                raise SeedFault(f"{path}: line 1 lacks {', '.join(lacking)}; it has {', '.join(reader.fieldnames or ['nothing'])[:200]}")
            tally.read[path.name] = 0
            for row in reader:
                tally.read[path.name] += 1
                if None in row or None in row.values():
                    tally.reject(
                        path.name, reader.line_num, "another number of cells than the header", {str(k): str(v) for k, v in row.items()}
                    )
                else:
                    yield reader.line_num, row
        except UnicodeDecodeError as fault:
            raise SeedFault(f"{path}: not UTF-8 ({fault.reason})") from None
        except csv.Error as fault:
            raise SeedFault(f"{path}: line {reader.line_num + 1}: {fault}") from None
