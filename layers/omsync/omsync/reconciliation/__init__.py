"""Nightly comparison of both systems, and its repairs."""
