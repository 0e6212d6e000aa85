"""Which columns hold protected health information: what log masking and error messages must never show."""

from __future__ import annotations

from functools import cache

from omsync.mapping.load import load_mappings

#: may be logged of any row: they say which row and how new, nothing about anybody
SAFE_COLUMNS = frozenset({"id", "created_at", "updated_at", "version", "change_xid", "changed_by", "deleted_at"})


@cache
def phi_columns(table: str) -> frozenset[str]:
    """Columns marked I, C or F, embedded rows and documents that hold such columns included.

    A row keyed to a patient is PHI as a whole; what may be logged of one is `safe_columns`.
    """
    mapping = load_mappings()[table]
    marked = {name for name, column in mapping.columns.items() if column.phi is not None}
    return frozenset(marked | set(mapping.embedded))


@cache
def phi_fields(object_name: str) -> frozenset[str]:
    """The Salesforce fields of an object that carry such columns."""
    targets = load_mappings().objects().get(object_name, [])
    return frozenset(name for _, target in targets for name, field in target.fields.items() if field.phi is not None)


def safe_columns(table: str) -> frozenset[str]:
    """Columns that a log may show: of a patient's row only those that say which row and how new; of others what is not marked."""
    mapping = load_mappings()[table]
    return SAFE_COLUMNS if mapping.patient_keyed else frozenset(mapping.columns) - phi_columns(table)
