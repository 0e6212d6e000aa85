"""`omsync migrate`: plan, start, watch, approve, pause, resume, verify and report the four runs."""

from ops.migrate.commands import cli

__all__ = ["cli"]
