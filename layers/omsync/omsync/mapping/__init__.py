"""One mapping per OMS table: the single description that sync, migration, reconciliation, API schemas and metadata derive from."""

from omsync.mapping.compiled import DEFAULT_TIME_ZONE, Compiled, compile_mapping
from omsync.mapping.digest import canonical, compared_fields, differences, row_hash
from omsync.mapping.errors import MappingError, Problem, TransformError
from omsync.mapping.inward import ABSENT, read
from omsync.mapping.load import load_mappings, read_directory
from omsync.mapping.model import (
    DEFAULT_OWNER_ID,
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
from omsync.mapping.outward import File, Record
from omsync.mapping.phi import phi_columns, phi_fields, safe_columns
from omsync.mapping.render import csv_header, csv_line, needs_rest, org_ids, to_json, written
from omsync.mapping.rows import OmsRow, embedded_model, row_model

__all__ = [
    "ABSENT",
    "DEFAULT_OWNER_ID",
    "DEFAULT_TIME_ZONE",
    "Column",
    "Compiled",
    "Condition",
    "Constant",
    "Embedded",
    "Field",
    "File",
    "Json",
    "MappingError",
    "Mappings",
    "OmsRow",
    "Problem",
    "Record",
    "Reference",
    "Row",
    "Skip",
    "TableMapping",
    "Target",
    "TransformError",
    "Unit",
    "canonical",
    "compared_fields",
    "compile_mapping",
    "csv_header",
    "csv_line",
    "differences",
    "embedded_model",
    "load_mappings",
    "needs_rest",
    "org_ids",
    "phi_columns",
    "phi_fields",
    "read",
    "read_directory",
    "row_hash",
    "row_model",
    "safe_columns",
    "to_json",
    "written",
]
