"""The org's users, for matching staff."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from omsync.platform.errors import OmsyncError
from omsync.salesforce import collections
from omsync.salesforce.client import SalesforceClient
from omsync.salesforce.collections import chunked
from omsync.salesforce.query import in_list, query, query_many
from omsync.sync.ports import Batch
from omsync.sync.staff import User

_FIELDS = ("FederationIdentifier", "EmployeeNumber", "Email", "OMS_Id__c")
_VALUES = 100


@dataclass(frozen=True, slots=True)
class OrgUsers:
    """`staff.Users` over the REST API."""

    client: SalesforceClient

    def find(self, wanted: Mapping[str, Sequence[str]]) -> list[User]:
        """Active users that bear one of the values."""
        columns = ", ".join(("Id", *_FIELDS))
        parts = [(name, in_list(part)) for name, values in wanted.items() for part in chunked(list(dict.fromkeys(values)), _VALUES)]
        soqls = [f"SELECT {columns} FROM User WHERE IsActive = true AND {name} IN {part}" for name, part in parts]  # noqa: S608 (the mapping's)
        found: dict[str, User] = {}
        for row in (row for rows in query_many(self.client, soqls) for row in rows):
            oms_id = str(row["OMS_Id__c"]).lower() if row.get("OMS_Id__c") else None
            values_of = {field: str(row[field]) if row.get(field) is not None else None for field in _FIELDS}
            found[str(row["Id"])] = User(str(row["Id"]), oms_id, dict(values_of))
        return list(found.values())

    def matched(self) -> frozenset[str]:
        """OMS ids that have an active user."""
        rows = query(self.client, "SELECT OMS_Id__c FROM User WHERE OMS_Id__c != null AND IsActive = true")
        return frozenset(str(row["OMS_Id__c"]).lower() for row in rows)

    def name(self, ids: Mapping[str, str]) -> dict[str, OmsyncError | None]:
        """Write OMS_Id__c."""
        answers: dict[str, OmsyncError | None] = {}
        parts = [list(part) for part in chunked(list(ids))]
        batches = [Batch("User", "update", [{"Id": user, "OMS_Id__c": ids[user]} for user in part]) for part in parts]
        for part, outcomes in zip(parts, collections.write(self.client, batches, repeatable=True), strict=True):
            answers |= {user: outcome.error for user, outcome in zip(part, outcomes, strict=True)}
        return answers
