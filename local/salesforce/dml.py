"""The DML engine: insert, update, upsert, delete, undelete, merge, in Salesforce's order of execution and words."""

from __future__ import annotations

from local.salesforce.context import Context
from local.salesforce.dml_types import Error, Json, Record, Result, Row, Stored

__all__ = ["Context", "Error", "Json", "Record", "Result", "Row", "Stored"]
