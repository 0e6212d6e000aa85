"""What the dry run notices about rows: counted by table, column and code, the first of them named, never a value."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from pydantic import BaseModel, Field

#: ids of one finding that are named
NAMED = 20

#: bad: would be quarantined; look: a person should decide; note: arrives, in another way than one may think
type Weight = Literal["bad", "look", "note"]


class Finding(BaseModel):
    """Rows of a table that have something in common."""

    table: str
    weight: Weight
    kind: str  # duplicate, possible, orphan, email, unusual, long, or a TransformError's code
    field: str
    message: str
    mend: str = ""
    rows: int = 0
    ids: list[str] = Field(default_factory=list)

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What makes two findings one."""
        return self.table, self.kind, self.field, self.weight


class Findings:
    """Findings being counted."""

    def __init__(self, found: Iterable[Finding] = ()) -> None:
        self._found: dict[tuple[str, str, str, str], Finding] = {}
        for one in found:
            self.add(one)

    def add(self, one: Finding) -> None:
        """One more finding, or more rows of a known one."""
        known = self._found.setdefault(one.key, one)
        if known is not one:
            known.rows += one.rows
            known.ids = [*known.ids, *one.ids][:NAMED]

    def note(self, finding: Finding, row_id: str) -> None:
        """One more row of this finding."""
        known = self._found.setdefault(finding.key, finding)
        known.rows += 1
        if len(known.ids) < NAMED:
            known.ids.append(row_id)

    def all(self) -> list[Finding]:
        """The worst first, then the most rows."""
        return sorted(self._found.values(), key=lambda one: (("bad", "look", "note").index(one.weight), -one.rows, one.key))
