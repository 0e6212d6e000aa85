"""The `omsync` command: what an operator types."""
