"""The org as the migration's preparation sees it: limits, describes, counts, and the records that everything else refers to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from omsync.mapping import DEFAULT_OWNER_ID
from omsync.salesforce.automation import Automation, active
from omsync.salesforce.client import SalesforceClient
from omsync.salesforce.errors import NotFound
from omsync.salesforce.org import org_ids
from omsync.salesforce.query import ids_by_external_id, query, quote
from omsync.salesforce.users import OrgUsers

_LIMITS = ("DailyApiRequests", "DailyBulkApiBatches", "DailyBulkV2QueryJobs", "DataStorageMB", "FileStorageMB")


@dataclass(frozen=True, slots=True)
class OrgFacts:
    """`migration.prepare.OrgPort` over the REST API, as the load user."""

    client: SalesforceClient
    load_username: str
    owner_name: str

    def facts(self) -> Mapping[str, str]:
        """Record types and price book."""
        return org_ids(self.client)

    def staff(self) -> frozenset[str]:
        """OMS ids that have an active User."""
        return OrgUsers(self.client).matched()

    def describe(self, sobject: str) -> Mapping[str, Any] | None:
        """The object as this user sees it."""
        try:
            found: Mapping[str, Any] = self.client.get_json(f"sobjects/{sobject}/describe")
        except NotFound:
            return None
        return found

    def limits(self) -> Mapping[str, tuple[int, int]]:
        """name -> (left, of)."""
        told = self.client.get_json("limits")
        return {name: (int(told[name]["Remaining"]), int(told[name]["Max"])) for name in _LIMITS if name in told}

    def count(self, sobject: str) -> int:
        """Records there now."""
        return int(self.client.get_json("query", params={"q": f"SELECT count() FROM {sobject}"})["totalSize"])  # noqa: S608

    def currency(self) -> str | None:
        """What new records of this user are in; None where the org has one currency, which no API tells."""
        name = "DefaultCurrencyIsoCode"
        described = self.describe("User")
        if described is None or not any(field["name"] == name for field in described["fields"]):
            return None
        return str(next(query(self.client, f"SELECT {name} FROM User WHERE Username = {quote(self.load_username)}"))[name])  # noqa: S608

    def automation(self) -> tuple[list[Automation], list[str]]:
        """What acts on a save; kinds that are not shown."""
        return active(self.client)

    def owner(self) -> str | None:
        """Who stands in for staff."""
        return self._user(f"OMS_Id__c = {quote(DEFAULT_OWNER_ID)}")

    def name_owner(self) -> str:
        """The active User of that name; made where there is none. It owns records and never logs in: the load user's profile will do."""
        found = self._user(f"Name = {quote(self.owner_name)} AND IsActive = true")
        if found is None:
            return str(self.client.post_json("sobjects/User", self._new_owner(), repeatable=False)["id"])
        self.client.send("PATCH", f"sobjects/User/{found}", repeatable=True, json={"OMS_Id__c": DEFAULT_OWNER_ID})
        return found

    def _new_owner(self) -> dict[str, object]:
        row = next(query(self.client, f"SELECT ProfileId FROM User WHERE Username = {quote(self.load_username)}"))  # noqa: S608
        first, _, last = self.owner_name.partition(" ")
        domain = self.load_username.rpartition("@")[2]
        address = f"{self.owner_name.replace(' ', '-').lower()}@{domain}"
        return {
            "FirstName": first,
            "LastName": last,
            "Alias": "migowner",
            "Username": address,
            "Email": address,
            "ProfileId": str(row["ProfileId"]),
            "TimeZoneSidKey": "America/New_York",
            "LocaleSidKey": "en_US",
            "EmailEncodingKey": "UTF-8",
            "LanguageLocaleKey": "en_US",
            "OMS_Id__c": DEFAULT_OWNER_ID,
        }

    def _user(self, where: str) -> str | None:
        row = next(query(self.client, f"SELECT Id FROM User WHERE {where}"), None)  # noqa: S608 (values quoted)
        return str(row["Id"]) if row is not None else None

    def ensure_account(self, oms_id: str, name: str, record_type: str) -> None:
        """Created where there is none: an account that the org has keeps its name."""
        known = ids_by_external_id(self.client, "Account", "OMS_Id__c", [oms_id])
        if not known:
            body = {"Name": name, "RecordTypeId": self.facts()[f"record_type:Account.{record_type}"]}
            self.client.send("PATCH", f"sobjects/Account/OMS_Id__c/{oms_id}", repeatable=True, json=body)
