"""Adapter to Salesforce's REST, Collections, Bulk 2.0 and query APIs; its errors become ours here and nowhere else."""
