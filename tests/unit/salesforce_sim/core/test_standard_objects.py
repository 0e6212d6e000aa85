"""What Salesforce itself does with standard objects."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest

from local.salesforce.context import Context
from local.salesforce.dml_types import Json, Result, Row
from local.salesforce.schema import Org
from local.salesforce.store import Store
from tests.unit.salesforce_sim.core.people import People


@dataclass
class Shop:
    """A patient, a product with its price, and short words for saving."""

    store: Store
    context: Context
    account: str
    book: str
    product: str
    price: str

    def save(self, name: str, context: Context | None = None, **fields: Json) -> Result:
        call = self.store.update if "Id" in fields else self.store.insert
        return call(name, [fields], context or self.context)[0]

    def made(self, name: str, context: Context | None = None, **fields: Json) -> str:
        result = self.save(name, context, **fields)
        assert result.success, result.errors
        return str(result.id)

    def order(self, **fields: Json) -> str:
        values = {"AccountId": self.account, "EffectiveDate": "2026-03-01", "Status": "draft", "Pricebook2Id": self.book}
        return self.made("Order", None, **(values | fields))  # type: ignore[arg-type]

    def line(self, order: str, context: Context | None = None, **fields: Json) -> str:
        values = {"OrderId": order, "PricebookEntryId": self.price, "Quantity": 2, "UnitPrice": 12.5}
        return self.made("OrderItem", context, **(values | fields))  # type: ignore[arg-type]

    def row(self, name: str, record_id: str) -> Row:
        row = self.store.get(name, record_id)
        assert row is not None
        return row


@pytest.fixture
def shop(store: Store, people: People, patient: Callable[..., Row]) -> Shop:
    with store.write() as tx:
        book = tx.new_ids(store.org.objects["Pricebook2"], 1)[0]
        tx.connection.execute("INSERT INTO Pricebook2 (Id, Name, IsStandard, IsActive) VALUES (?, 'Standard', 1, 1)", (book,))
    shop = Shop(store, people.admin, str(patient()["Id"]), book, "", "")
    shop.product = shop.made("Product2", Name="Drug", ProductCode="D", IsActive=True)
    shop.price = shop.made("PricebookEntry", Pricebook2Id=book, Product2Id=shop.product, UnitPrice=10, IsActive=True)
    return shop


class TestOrders:
    def test_a_line_takes_its_product_and_list_price_and_totals(self, shop: Shop) -> None:
        order = shop.order()
        line = shop.row("OrderItem", shop.line(order))
        assert (line["Product2Id"], line["ListPrice"], line["TotalPrice"], line["OrderItemNumber"]) == (
            shop.product,
            10.0,
            25.0,
            "0000000001",
        )
        assert shop.row("Order", order)["TotalAmount"] == 25.0

    def test_the_total_follows_lines_changed_deleted_and_undeleted(self, shop: Shop, people: People) -> None:
        order = shop.order()
        one, two = shop.line(order), shop.line(order, Quantity=1, UnitPrice=0.1)
        shop.made("OrderItem", Id=one, Quantity=3)
        assert shop.row("Order", order)["TotalAmount"] == 37.6
        shop.store.delete("OrderItem", [one], people.admin)
        assert shop.row("Order", order)["TotalAmount"] == 0.1
        shop.store.undelete([one], people.admin)
        assert shop.row("Order", order)["TotalAmount"] == 37.6
        shop.store.delete("OrderItem", [two, one], people.admin)
        assert shop.row("Order", order)["TotalAmount"] == 0

    def test_a_total_that_a_line_changes_runs_the_orders_rules(self, shop: Shop, people: People) -> None:
        """New Order Save Behavior: this project's guard does not leave roll-ups alone, so the line is refused with the order's message."""
        order = shop.order()
        values: dict[str, Json] = {"OrderId": order, "PricebookEntryId": shop.price, "Quantity": 2}
        refused, kept = shop.store.insert("OrderItem", [values | {"UnitPrice": 1}, values | {"UnitPrice": 0}], people.integration)
        assert (refused.success, refused.errors[0].message) == (False, "OMSYNC_STALE")
        assert shop.store.count("OrderItem") == (1 if kept.success else 0)
        assert shop.row("Order", order)["TotalAmount"] == 0

    def test_a_line_of_no_money_is_no_change_of_the_order(self, shop: Shop, people: People) -> None:
        order = shop.order()
        assert shop.line(order, people.integration, UnitPrice=0)

    def test_the_orders_own_count_ignores_totals(self, shop: Shop) -> None:
        order = shop.order()
        shop.line(order)
        assert shop.row("Order", order)["Sync_Save__c"] == 1

    def test_create_only_fields(self, shop: Shop) -> None:
        order = shop.order()
        line = shop.line(order)
        result = shop.save("OrderItem", Id=line, OrderId=order, PricebookEntryId=shop.price, Quantity=3)
        assert result.errors[0].status_code == "INVALID_FIELD_FOR_INSERT_UPDATE"
        assert result.errors[0].fields == ("OrderId", "PricebookEntryId")
        assert shop.save("OrderItem", OrderId=order, Quantity=1).errors[0].fields == ("PricebookEntryId",)
        assert shop.save("OrderItem", OrderId=order, Product2Id=shop.product).errors[0].fields == ("Product2Id",)

    @pytest.mark.parametrize(
        ("order", "line", "words"),
        [
            ({"Pricebook2Id": None}, {}, "needs a price book"),
            ({}, {"Quantity": 0}, "must not be zero"),
            ({}, {"UnitPrice": None}, "[UnitPrice]"),
        ],
    )
    def test_refused_lines(self, shop: Shop, order: dict[str, Json], line: dict[str, Json], words: str) -> None:
        values: dict[str, Json] = {"OrderId": shop.order(**order), "PricebookEntryId": shop.price, "Quantity": 1, "UnitPrice": 1}
        result = shop.save("OrderItem", **(values | line))
        assert words in result.errors[0].message
        assert shop.store.count("OrderItem") == 0

    def test_drafts_stay_free_and_activated_orders_freeze(self, shop: Shop) -> None:
        order = shop.order()
        assert shop.save("Order", Id=order, Status="placed", ShippingCity="Berlin").success
        assert shop.row("Order", order)["StatusCode"] == "Draft"
        assert shop.save("Order", Id=order, Status="Activated").errors[0].status_code == "FAILED_ACTIVATION"
        shop.line(order)
        assert shop.save("Order", Id=order, Status="Activated").success
        assert shop.row("Order", order)["ActivatedDate"] is not None
        assert shop.save("Order", Id=order, ShippingCity="Paris").errors[0].message == "unable to modify activated order"
        assert shop.save("OrderItem", OrderId=order, PricebookEntryId=shop.price, Quantity=1, UnitPrice=1).success is False
        assert shop.store.delete("Order", [order], shop.context)[0].errors[0].status_code == "DELETE_FAILED"

    def test_an_order_is_born_as_a_draft_of_a_known_status(self, shop: Shop) -> None:
        base: dict[str, Json] = {"EffectiveDate": "2026-01-01"}
        assert shop.save("Order", **base, Status="Activated").errors[0].status_code == "FAILED_ACTIVATION"
        assert shop.save("Order", **base, Status="lost").errors[0].status_code == "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST"
        assert shop.save("Order", Status="draft").errors[0].message == "Required fields are missing: [EffectiveDate]"

    def test_the_price_book_stays_once_there_are_lines(self, shop: Shop) -> None:
        order = shop.order()
        other = shop.made("Pricebook2", Name="Other", IsActive=True)
        shop.line(order)
        assert shop.save("Order", Id=order, Pricebook2Id=other).errors[0].fields == ("Pricebook2Id",)


class TestPrices:
    def test_one_price_a_product_and_book(self, shop: Shop) -> None:
        again = shop.save("PricebookEntry", Pricebook2Id=shop.book, Product2Id=shop.product, UnitPrice=1)
        assert again.errors[0].message == "This price definition already exists in this price book"

    def test_the_standard_price_comes_first(self, shop: Shop) -> None:
        custom = shop.made("Pricebook2", Name="Custom", IsActive=True)
        fresh = shop.made("Product2", Name="Fresh")
        refused = shop.save("PricebookEntry", Pricebook2Id=custom, Product2Id=fresh, UnitPrice=1)
        assert refused.errors[0].status_code == "STANDARD_PRICE_NOT_DEFINED"
        assert shop.save("PricebookEntry", Pricebook2Id=custom, Product2Id=shop.product, UnitPrice=1).success

    def test_it_shows_the_products_name(self, shop: Shop) -> None:
        shop.made("Product2", Id=shop.product, Name="Better drug")
        assert shop.row("PricebookEntry", shop.price)["Name"] == "Better drug"


class TestCases:
    def test_closing_and_reopening(self, shop: Shop) -> None:
        case = shop.made("Case", Subject="Where is it?")
        row = shop.row("Case", case)
        assert (row["Status"], row["IsClosed"], row["CaseNumber"], row["Priority"]) == ("New", 0, "00000001", "Medium")
        shop.made("Case", Id=case, Status="Closed")
        closed = shop.row("Case", case)
        assert (closed["IsClosed"], closed["ClosedDate"]) == (1, closed["LastModifiedDate"])
        shop.made("Case", Id=case, Status="Open")
        assert (shop.row("Case", case)["IsClosed"], shop.row("Case", case)["ClosedDate"]) == (0, None)

    def test_the_contact_brings_the_account(self, shop: Shop) -> None:
        contact = str(shop.row("Account", shop.account)["PersonContactId"])
        shop.made("Account", Id=shop.account, PersonEmail="a@x.org")
        row = shop.row("Case", shop.made("Case", Subject="x", ContactId=contact))
        assert (row["AccountId"], row["ContactEmail"]) == (shop.account, "a@x.org")


class TestEmailMessages:
    def test_after_insert_only_some_fields_change(self, shop: Shop) -> None:
        mail = shop.made("EmailMessage", Subject="Hi", TextBody="x", Status="3", RelatedToId=shop.account)
        refused = shop.save("EmailMessage", Id=mail, Subject="Ho")
        assert (refused.errors[0].status_code, refused.errors[0].fields) == ("INSUFFICIENT_ACCESS_OR_READONLY", ("Subject",))
        assert shop.save("EmailMessage", Id=mail, Subject="Hi", Delivery__c="sent", IsExternallyVisible=True).success
        assert not shop.save("EmailMessage", Id=mail, Status="0").success

    def test_new_mail_becomes_read_and_drafts_are_free(self, shop: Shop) -> None:
        new = shop.made("EmailMessage", Subject="Hi", Status="0", Incoming=True)
        assert shop.save("EmailMessage", Id=new, Status="1").success
        draft = shop.made("EmailMessage", Subject="Hi", Status="5")
        assert shop.save("EmailMessage", Id=draft, Subject="Ho").success

    def test_recipients_are_a_list_of_ids(self, shop: Shop) -> None:
        contact = str(shop.row("Account", shop.account)["PersonContactId"])
        mail = shop.made("EmailMessage", Subject="Hi", ToIds=[contact])
        assert shop.row("EmailMessage", mail)["ToIds"] == contact


class TestFiles:
    def test_a_version_makes_its_document_and_link(self, shop: Shop) -> None:
        data = base64.b64encode(b"a long note").decode()
        version = shop.made("ContentVersion", PathOnClient="note.txt", VersionData=data, FirstPublishLocationId=shop.account)
        row = shop.row("ContentVersion", version)
        document = shop.row("ContentDocument", str(row["ContentDocumentId"]))
        link = shop.store.find("ContentDocumentLink", "ContentDocumentId", document["Id"])[0]
        assert (row["Title"], row["FileExtension"], row["ContentSize"], row["IsLatest"]) == ("note", "txt", 11, 1)
        assert (document["LatestPublishedVersionId"], document["Title"], link["LinkedEntityId"]) == (version, "note", shop.account)

    def test_a_file_may_be_longer_than_any_text_field(self, shop: Shop) -> None:
        data = base64.b64encode(b"x" * 500_000).decode()
        version = shop.made("ContentVersion", PathOnClient="note.txt", VersionData=data)
        assert shop.row("ContentVersion", version)["ContentSize"] == 500_000

    def test_a_file_may_lie_beside_a_record_of_any_custom_object(self, shop: Shop, org: Org) -> None:
        custom = {one.name for one in org if one.name.endswith("__c") and not one.event}
        assert custom
        assert custom <= set(org.objects["ContentVersion"].fields["FirstPublishLocationId"].references)
        assert custom <= set(org.objects["ContentDocumentLink"].fields["LinkedEntityId"].references)

    def test_a_second_version_takes_over(self, shop: Shop) -> None:
        first = shop.made("ContentVersion", PathOnClient="n.txt", VersionData="")
        document = shop.row("ContentVersion", first)["ContentDocumentId"]
        second = shop.made("ContentVersion", PathOnClient="n.txt", VersionData="YQ==", ContentDocumentId=document)
        assert (shop.row("ContentVersion", first)["IsLatest"], shop.row("ContentVersion", second)["VersionNumber"]) == (0, "2")
        assert shop.store.count("ContentDocument") == 1
        assert shop.row("ContentDocument", str(document))["LatestPublishedVersionId"] == second

    def test_a_file_needs_a_name_and_honest_base64(self, shop: Shop) -> None:
        assert shop.save("ContentVersion", VersionData="YQ==").errors[0].fields == ("PathOnClient",)
        assert shop.save("ContentVersion", PathOnClient="x", VersionData="@@@").errors[0].status_code == "INVALID_BASE64"


def test_tasks_close_and_find_their_account(shop: Shop) -> None:
    contact = str(shop.row("Account", shop.account)["PersonContactId"])
    task = shop.row("Task", shop.made("Task", Subject="Call", WhoId=contact, Priority="High", Status="Completed"))
    assert (task["AccountId"], task["IsClosed"], task["IsHighPriority"]) == (shop.account, 1, 1)


def test_one_late_refusal_leaves_the_neighbours(shop: Shop, people: People) -> None:
    """A line refused by its order's rule is undone alone, though it had been written."""
    free, guarded = shop.order(), shop.order()
    shop.made("Order", Id=free, Sync_Seen__c=2)
    shop.made("Order", Id=free, Sync_Seen__c=2)
    seen = shop.row("Order", free)["Sync_Save__c"]
    shop.made("Order", Id=free, Sync_Seen__c=float(str(seen)) + 1)
    base: dict[str, Json] = {"PricebookEntryId": shop.price, "Quantity": 1, "UnitPrice": 1}
    lines = [base | {"OrderId": o} for o in (free, guarded, free)]
    results = shop.store.insert("OrderItem", lines, people.integration)
    assert [r.success for r in results] == [True, False, True]
    assert shop.row("Order", free)["TotalAmount"] == 2.0
    assert shop.store.count("OrderItem") == 2
    strict = replace(people.integration, all_or_none=True)
    assert [r.success for r in shop.store.insert("OrderItem", lines, strict)] == [False, False, False]
    assert shop.store.count("OrderItem") == 2
