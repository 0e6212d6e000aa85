"""The two ways a mapping can fail: its file is wrong, or a value cannot be carried."""

from __future__ import annotations

from dataclasses import dataclass

from omsync.platform.errors import Permanent


@dataclass(frozen=True, slots=True)
class Problem:
    """One fault in a mapping file: where, and what was expected there."""

    file: str
    line: int
    key: str
    expected: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.key}: {self.expected}"


class MappingError(Permanent):
    """The mapping files are not valid. `problems` has all of them."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("\n".join(map(str, problems)), code="mapping.invalid")
        self.problems = problems

    def __str__(self) -> str:
        return self.message


class TransformError(Permanent):
    """A value cannot be carried without loss. Names field and sizes, never the value."""

    def __init__(
        self,
        message: str,
        *,
        code: str,
        field: str | None = None,
        length: int | None = None,
        limit: int | None = None,
        record: str | None = None,
    ) -> None:
        super().__init__(message, code=f"transform.{code}", field=field, record=record)
        self.length = length
        self.limit = limit
        self.text = message

    def at(self, field: str | None = None, record: str | None = None) -> TransformError:
        """The same error, saying where."""
        self.field = self.field or field
        self.record = self.record or record
        self.message = f"{self.field}: {self.text}" if self.field else self.text
        return self
