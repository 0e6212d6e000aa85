"""Adapter to the OMS: its API, its CloudEvents and its change feed."""
