"""Bulk API 2.0 for the simulator: ingest and query jobs, worked off by threads of the server's process."""

from local.salesforce.bulk.endpoints import routes

__all__ = ["routes"]
