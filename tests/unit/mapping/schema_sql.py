"""Reads the OMS's DDL for the tests: a small parser of `CREATE TABLE`, enough for local/oms/schema.sql."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class SqlColumn:
    name: str
    type: str
    nullable: bool
    default: str | None
    unique: bool
    choices: tuple[str, ...] | None
    references: str | None


def tables(sql: str) -> dict[str, dict[str, SqlColumn]]:
    """table -> column name -> column."""
    plain = re.sub(r"--[^\n]*", "", sql)
    found = {}
    for match in re.finditer(r"CREATE TABLE (\w+) \(\n(.*?)\n\);", plain, re.DOTALL):
        columns = [_column(part) for part in _parts(match[2]) if not re.match(r"(UNIQUE|CHECK|CONSTRAINT|PRIMARY|FOREIGN)\b", part)]
        found[match[1]] = {column.name: column for column in columns}
    return found


def _parts(body: str) -> list[str]:
    """Splits at commas outside parentheses and quotes."""
    parts, depth, quoted, current = [], 0, False, ""
    for char in body:
        quoted ^= char == "'"
        depth += (char == "(") - (char == ")") if not quoted else 0
        if char == "," and depth == 0 and not quoted:
            parts.append(current)
            current = ""
        else:
            current += char
    return [" ".join(part.split()) for part in (*parts, current) if part.strip()]


def _column(text: str) -> SqlColumn:
    name, kind, rest = re.fullmatch(r"(\w+) (text\[\]|\w+(?:\([0-9, ]+\))?)(.*)", text).groups()  # type: ignore[union-attr]
    default = re.search(r"DEFAULT ('(?:[^']|'')*'|[\w.]+(?:\(\))?)", rest)
    choices = re.search(rf"CHECK \({name} IN \(([^)]*)\)\)", rest)
    references = re.search(r"REFERENCES (\w+)", rest)
    return SqlColumn(
        name=name,
        type=kind.replace(", ", ","),
        nullable="NOT NULL" not in rest and "PRIMARY KEY" not in rest,
        default=default[1] if default else None,
        unique="UNIQUE" in rest or "PRIMARY KEY" in rest,
        choices=tuple(re.findall(r"'([^']*)'", choices[1])) if choices else None,
        references=references[1] if references else None,
    )
