"""The Salesforce metadata: generated from the mapping, checked against it and against Salesforce's own schema.

omsync salesforce generate [--check]     bring salesforce/generated up to date, or say what is stale
omsync salesforce check                  schema, Apex, agreement with the mapping, staleness
"""

from ops.salesforce.commands import cli

__all__ = ["cli"]
