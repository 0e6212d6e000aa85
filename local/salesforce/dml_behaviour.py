"""The hook that a standard object's own rules hang on; see dml_standard and dml_person."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from local.salesforce.context import Context
from local.salesforce.dml_types import Row
from local.salesforce.store import Transaction

if TYPE_CHECKING:
    from local.salesforce.dml import Engine
    from local.salesforce.dml_save import Batch, Item


class Behaviour:
    """What Salesforce itself does when records of one object are saved or deleted. A refusal is an error on the item."""

    reads: frozenset[str] | None = None  # the columns of a stored row it looks at; None: any

    def complete(self, batch: Batch, items: Sequence[Item]) -> None:
        """Before the required check: derive fields (name them in `batch.extra`), refuse what the object forbids."""

    def unique(self, batch: Batch, items: Sequence[Item]) -> None:
        """Uniqueness beyond single fields."""

    def after(self, batch: Batch, items: Sequence[Item]) -> None:
        """After the write, before the after triggers: roll-ups, companion records. An error here undoes the write."""

    def removed(self, engine: Engine, tx: Transaction, rows: Sequence[Row], context: Context) -> None:
        """After a delete or undelete of these rows."""


def full_name(row: Row) -> str:
    """A person's Name: first, middle, last, suffix."""
    parts = (row.get(part) for part in ("FirstName", "MiddleName", "LastName", "Suffix"))
    return " ".join(str(part) for part in parts if part)
