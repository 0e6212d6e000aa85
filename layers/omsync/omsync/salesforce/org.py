"""Ids that only the org knows: its record types and its standard price book, asked for once per process."""

from __future__ import annotations

from omsync.platform.errors import Permanent
from omsync.salesforce.client import SalesforceClient
from omsync.salesforce.query import query


def org_ids(client: SalesforceClient) -> dict[str, str]:
    """`record_type:<object>.<name>` and `standard_price_book` -> Salesforce id (two calls)."""
    found = {
        f"record_type:{row['SobjectType']}.{row['DeveloperName']}": str(row["Id"])
        for row in query(client, "SELECT Id, SobjectType, DeveloperName FROM RecordType WHERE IsActive = true")
    }
    book = next(query(client, "SELECT Id FROM Pricebook2 WHERE IsStandard = true"), None)
    if book is None:
        raise Permanent("the org has no standard price book: activate it in Setup, Price Books", code="salesforce.org")
    return {**found, "standard_price_book": str(book["Id"])}
