"""One mapping per OMS table: the single description that sync, migration, reconciliation, API schemas and metadata derive from."""
