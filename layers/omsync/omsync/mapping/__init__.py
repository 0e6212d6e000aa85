"""One mapping per OMS table: the single description that sync, migration, reconciliation, API schemas and metadata derive from."""

from omsync.mapping.errors import MappingError, Problem, TransformError
from omsync.mapping.load import load_mappings, read_directory
from omsync.mapping.model import (
    Column,
    Condition,
    Constant,
    Embedded,
    Field,
    Json,
    Mappings,
    Reference,
    Row,
    Skip,
    TableMapping,
    Target,
    Unit,
)

__all__ = [
    "Column",
    "Condition",
    "Constant",
    "Embedded",
    "Field",
    "Json",
    "MappingError",
    "Mappings",
    "Problem",
    "Reference",
    "Row",
    "Skip",
    "TableMapping",
    "Target",
    "TransformError",
    "Unit",
    "load_mappings",
    "read_directory",
]
