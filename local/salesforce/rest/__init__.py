"""The REST API: records, Collections, Composite, describe, limits, and the table of routes."""
