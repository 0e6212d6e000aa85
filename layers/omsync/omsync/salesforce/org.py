"""What only the org knows, asked for now and then: its record types, its standard price book, and which of the staff have a User."""

from __future__ import annotations

from omsync.platform.errors import Permanent
from omsync.salesforce.client import SalesforceClient
from omsync.salesforce.query import query_many

_RECORD_TYPES = "SELECT Id, SobjectType, DeveloperName FROM RecordType WHERE IsActive = true"
_PRICE_BOOK = "SELECT Id FROM Pricebook2 WHERE IsStandard = true"


def org_ids(client: SalesforceClient) -> dict[str, str]:
    """`record_type:<object>.<name>` and `standard_price_book` -> Salesforce id (one call)."""
    types, books = query_many(client, [_RECORD_TYPES, _PRICE_BOOK])
    if not books:
        raise Permanent("the org has no standard price book: activate it in Setup, Price Books", code="salesforce.org")
    found = {f"record_type:{row['SobjectType']}.{row['DeveloperName']}": str(row["Id"]) for row in types}
    return {**found, "standard_price_book": str(books[0]["Id"])}
