"""The `omsync emails` commands and what builds the templates."""

from ops.emails.commands import cli

__all__ = ["cli"]
