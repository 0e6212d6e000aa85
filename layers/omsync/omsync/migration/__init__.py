"""The four-run migration: plan, extract, load, verify, certificate."""
