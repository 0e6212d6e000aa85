"""What Salesforce itself does with standard objects: names, Order's life, prices, totals, Case, EmailMessage, files.

Sources are named at each rule (object reference, help). Rules nothing here depends on are left out.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from local.salesforce.context import Context
from local.salesforce.dml_behaviour import Behaviour, full_name
from local.salesforce.dml_person import PersonAccounts
from local.salesforce.dml_types import Error, Row
from local.salesforce.store import Transaction

if TYPE_CHECKING:
    from local.salesforce.dml import Engine
    from local.salesforce.dml_save import Batch, Item


def integrity(message: str, *fields: str) -> Error:
    return Error("FIELD_INTEGRITY_EXCEPTION", message, fields)


def parents(batch: Batch, object_name: str, items: Sequence[Item], column: str) -> dict[str, Row]:
    """The rows that `column` of these items points to."""
    return batch.tx.rows(object_name, {str(item.row[column]) for item in items if item.row[column]})


def changed(item: Item, column: str) -> bool:
    return item.old is not None and item.old[column] != item.row[column]


class Named(Behaviour):
    """Contact, User, Lead: Name follows from its parts."""

    def complete(self, batch: Batch, items: Sequence[Item]) -> None:
        batch.extra.add("Name")
        for item in items:
            item.row["Name"] = full_name(item.row) or None


class Orders(Behaviour):
    """Order's status categories (object reference, Order): drafts are free, an activated order only changes its status."""

    def complete(self, batch: Batch, items: Sequence[Item]) -> None:
        batch.extra |= {"StatusCode", "ActivatedDate", "ActivatedById", "TotalAmount"}
        categories = {v.value: v.category or "Draft" for v in batch.object.fields["Status"].picklist}
        for item in items:
            self._status(batch, item, categories)
            if item.old is not None and not item.errors:
                self._frozen(batch, item)
            if item.old is None:
                item.row["TotalAmount"] = 0.0

    def _status(self, batch: Batch, item: Item, categories: dict[str, str]) -> None:
        status = item.row["Status"]
        if status is None:
            return  # the required check names it
        if status not in categories:
            message = f"Status: bad value for restricted picklist field: {status}"
            item.errors.append(Error("INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST", message, ("Status",)))
            return
        category = categories[str(status)]
        before = item.old["StatusCode"] if item.old else "Draft"
        item.row["StatusCode"] = category
        if category == "Draft" or category == before:
            return
        if item.old is None:
            message = "Choose a valid order status and save your changes. Ask your admin for details."
            item.errors.append(Error("FAILED_ACTIVATION", message, ("Status",)))
        elif not self._has_lines(batch.tx, str(item.old["Id"])):
            item.errors.append(Error("FAILED_ACTIVATION", "An order must have at least one product.", ()))
        else:
            item.row["ActivatedDate"], item.row["ActivatedById"] = batch.tx.now, batch.context.user_id

    @staticmethod
    def _has_lines(tx: Transaction, order_id: str) -> bool:
        query = 'SELECT 1 FROM "OrderItem" WHERE "OrderId" = ? AND "IsDeleted" = 0 LIMIT 1'
        return tx.connection.execute(query, (order_id,)).fetchone() is not None

    def _frozen(self, batch: Batch, item: Item) -> None:
        """The price book can't change once there are lines; an activated order takes nothing but a status."""
        if changed(item, "Pricebook2Id") and item.old and item.old["Pricebook2Id"] and self._has_lines(batch.tx, str(item.old["Id"])):
            item.errors.append(integrity("unable to change the price book of an order that has products", "Pricebook2Id"))
        if item.old and item.old["StatusCode"] == "Activated":
            touched = [c for c in item.shape.columns if c != "Status" and changed(item, c)]
            if touched:
                item.errors.append(integrity("unable to modify activated order", *touched))


class OrderItems(Behaviour):
    """Lines: price book, prices, and the order's total.

    A line that changes the total makes the order save itself, with its triggers and validation rules (release notes Winter '21, "New
    Behavior for Saving Orders", enforced in all orgs since Summer '22).
    """

    reads = frozenset(
        {"OrderId", "PricebookEntryId", "Product2Id", "ListPrice", "UnitPrice", "Quantity", "TotalPrice", "AvailableQuantity"}
    )

    def complete(self, batch: Batch, items: Sequence[Item]) -> None:
        batch.extra |= {"Product2Id", "ListPrice", "UnitPrice", "TotalPrice", "AvailableQuantity"}
        orders = parents(batch, "Order", items, "OrderId")
        entries = parents(batch, "PricebookEntry", items, "PricebookEntryId")
        for item in items:
            order, entry = orders.get(str(item.row["OrderId"])), entries.get(str(item.row["PricebookEntryId"]))
            if order is None or entry is None:
                continue  # the required check names it
            if item.old is None:
                self._price(item, order, entry)
            if order["StatusCode"] == "Activated":
                item.errors.append(integrity("unable to modify order products of an activated order", "OrderId"))
            if item.row["Quantity"] == 0:
                item.errors.append(integrity("Quantity: order product quantity must not be zero", "Quantity"))
            quantity, price = item.row["Quantity"], item.row["UnitPrice"]
            if isinstance(quantity, float) and isinstance(price, float):
                item.row["TotalPrice"] = round(quantity * price, 2)
                item.row["AvailableQuantity"] = quantity

    @staticmethod
    def _price(item: Item, order: Row, entry: Row) -> None:
        if order["Pricebook2Id"] is None:
            item.errors.append(integrity("Before you add a product, the order needs a price book", "PricebookEntryId"))
        elif order["Pricebook2Id"] != entry["Pricebook2Id"]:
            message = "pricebook entry is in a different pricebook than the one assigned to the Order"
            item.errors.append(integrity(message, "PricebookEntryId"))
        elif not entry["IsActive"]:
            item.errors.append(integrity("pricebook entry is inactive", "PricebookEntryId"))
        item.row["Product2Id"] = entry["Product2Id"]
        item.row["ListPrice"] = item.row["ListPrice"] or entry["UnitPrice"]
        if item.row["UnitPrice"] is None:
            message = "Required fields are missing: [UnitPrice]"
            item.errors.append(Error("REQUIRED_FIELD_MISSING", message, ("UnitPrice",)))

    def after(self, batch: Batch, items: Sequence[Item]) -> None:
        touched = [i for i in items if i.old is None or changed(i, "TotalPrice") or changed(i, "OrderId")]
        orders = {str(i.row["OrderId"]) for i in touched} | {str(i.old["OrderId"]) for i in touched if i.old}
        refusals = roll_up(batch.engine, batch.tx, orders, batch.context)
        for item in items:
            item.errors.extend(refusals.get(str(item.row["OrderId"]), []))

    def removed(self, engine: Engine, tx: Transaction, rows: Sequence[Row], context: Context) -> None:
        roll_up(engine, tx, {str(row["OrderId"]) for row in rows}, context)


def roll_up(engine: Engine, tx: Transaction, order_ids: set[str], context: Context) -> dict[str, list[Error]]:
    """Set TotalAmount where it changed, with the order's triggers and rules in the same user's name. Refusals by order."""
    orders = {i: row for i, row in tx.rows("Order", order_ids).items() if not row["IsDeleted"]}
    sums = dict.fromkeys(orders, 0.0)
    for order_id, row_total in _totals(tx, orders):
        sums[order_id] = round(row_total, 2)
    changes: dict[str, Row] = {
        order_id: {"TotalAmount": total} for order_id, total in sums.items() if orders[order_id]["TotalAmount"] != total
    }
    return engine.save_computed("Order", {i: orders[i] for i in changes}, changes, context, tx)


def _totals(tx: Transaction, orders: dict[str, Row]) -> list[tuple[str, float]]:
    query = (
        'SELECT "OrderId", sum(coalesce("TotalPrice", 0)) FROM "OrderItem" WHERE "IsDeleted" = 0 '
        'AND "OrderId" IN (SELECT value FROM json_each(?)) GROUP BY "OrderId"'
    )
    return tx.connection.execute(query, (json.dumps(list(orders)),)).fetchall()


class PricebookEntries(Behaviour):
    """One price a product and price book; a custom price needs the standard one first (object reference, PricebookEntry)."""

    reads = frozenset({"Pricebook2Id", "Product2Id", "Name", "ProductCode"})

    def complete(self, batch: Batch, items: Sequence[Item]) -> None:
        batch.extra |= {"Name", "ProductCode"}
        products = parents(batch, "Product2", items, "Product2Id")
        for item in items:
            product = products.get(str(item.row["Product2Id"]))
            if product is not None:
                item.row["Name"], item.row["ProductCode"] = product["Name"], product["ProductCode"]

    def unique(self, batch: Batch, items: Sequence[Item]) -> None:
        inserts = [item for item in items if item.old is None]
        if not inserts:
            return
        books = parents(batch, "Pricebook2", inserts, "Pricebook2Id")
        rows = batch.tx.store.rows_where(
            batch.tx.connection, "PricebookEntry", "Product2Id", {str(item.row["Product2Id"]) for item in inserts}, live=True
        )
        priced = {(row["Pricebook2Id"], row["Product2Id"]) for row in rows.values()}
        standard = {row["Product2Id"] for row in rows.values() if self._is_standard(batch, row)}
        for item in inserts:
            pair = (item.row["Pricebook2Id"], item.row["Product2Id"])
            is_standard = bool(books[str(item.row["Pricebook2Id"])]["IsStandard"])
            if pair in priced:
                item.errors.append(Error("DUPLICATE_VALUE", "This price definition already exists in this price book", ()))
            elif not is_standard and pair[1] not in standard:
                item.errors.append(Error("STANDARD_PRICE_NOT_DEFINED", "Before creating a custom price, create a standard price.", ()))
            else:
                priced.add(pair)
                standard |= {pair[1]} if is_standard else set()

    @staticmethod
    def _is_standard(batch: Batch, row: Row) -> bool:
        book = batch.tx.rows("Pricebook2", [str(row["Pricebook2Id"])]).get(str(row["Pricebook2Id"]))
        return bool(book and book["IsStandard"])


class Products(Behaviour):
    """A product's name shows on its prices."""

    reads = frozenset({"Name", "ProductCode"})

    def after(self, batch: Batch, items: Sequence[Item]) -> None:
        renamed = {item.id: item.row for item in items if changed(item, "Name") or changed(item, "ProductCode")}
        if not renamed:
            return
        priced = batch.tx.connection.execute(
            'SELECT DISTINCT "Product2Id" FROM "PricebookEntry" WHERE "Product2Id" IN (SELECT value FROM json_each(?))',
            (json.dumps(list(renamed)),),
        ).fetchall()
        batch.tx.connection.executemany(
            'UPDATE "PricebookEntry" SET "Name" = ?, "ProductCode" = ? WHERE "Product2Id" = ?',
            [(renamed[product]["Name"], renamed[product]["ProductCode"], product) for (product,) in priced],
        )


class Cases(Behaviour):
    """Closed follows from the status; the contact brings its account and its numbers (object reference, Case)."""

    def complete(self, batch: Batch, items: Sequence[Item]) -> None:
        batch.extra |= {"IsClosed", "ClosedDate", "AccountId", "ContactPhone", "ContactMobile", "ContactEmail", "ContactFax"}
        closed = {v.value.lower() for v in batch.object.fields["Status"].picklist if v.closed}
        contacts = parents(batch, "Contact", items, "ContactId")
        for item in items:
            row = item.row
            row["IsClosed"] = int(str(row["Status"] or "").lower() in closed)
            if not row["IsClosed"]:
                row["ClosedDate"] = None
            elif item.old is None or not item.old["IsClosed"]:
                row["ClosedDate"] = batch.tx.now
            contact = contacts.get(str(row["ContactId"])) or {}
            if item.old is None and row["AccountId"] is None and contact:
                row["AccountId"] = contact["AccountId"]
            row["ContactPhone"], row["ContactMobile"] = contact.get("Phone"), contact.get("MobilePhone")
            row["ContactEmail"], row["ContactFax"] = contact.get("Email"), contact.get("Fax")


class EmailMessages(Behaviour):
    """After insert only IsExternallyVisible, custom fields and New -> Read change, but for drafts (object reference, EmailMessage)."""

    DRAFT = "5"

    def complete(self, batch: Batch, items: Sequence[Item]) -> None:
        batch.extra |= {"MessageDate", "RelatedToId"}
        for item in items:
            if item.old is None:
                item.row["MessageDate"] = item.row["MessageDate"] or batch.tx.now
                item.row["RelatedToId"] = item.row["RelatedToId"] or item.row["ParentId"]
                continue
            if item.old["Status"] == self.DRAFT:
                continue
            fixed = [c for c in item.shape.columns if changed(item, c) and not self._may_change(batch, item, c)]
            if fixed:
                message = "insufficient access rights on object id"
                item.errors.append(Error("INSUFFICIENT_ACCESS_OR_READONLY", message, tuple(fixed)))

    @staticmethod
    def _may_change(batch: Batch, item: Item, column: str) -> bool:
        if batch.object.fields[column].custom or column == "IsExternallyVisible":
            return True
        return column == "Status" and item.old is not None and (item.old["Status"], item.row["Status"]) == ("0", "1")


class Tasks(Behaviour):
    """Closed follows from the status; the account from whom or what it is about."""

    def complete(self, batch: Batch, items: Sequence[Item]) -> None:
        batch.extra |= {"IsClosed", "IsHighPriority", "AccountId", "CompletedDateTime"}
        closed = {v.value.lower() for v in batch.object.fields["Status"].picklist if v.closed}
        contacts = parents(batch, "Contact", items, "WhoId")
        for item in items:
            row = item.row
            row["IsClosed"] = int(str(row["Status"] or "").lower() in closed)
            row["IsHighPriority"] = int(row["Priority"] == "High")
            row["CompletedDateTime"] = (row["CompletedDateTime"] or batch.tx.now) if row["IsClosed"] else None
            what = str(row["WhatId"] or "")
            contact = contacts.get(str(row["WhoId"])) or {}
            row["AccountId"] = what if what.startswith("001") else contact.get("AccountId")


class Opportunities(Behaviour):
    """Closed and won follow from the stage."""

    def complete(self, batch: Batch, items: Sequence[Item]) -> None:
        batch.extra |= {"IsClosed", "IsWon"}
        closed = {v.value for v in batch.object.fields["StageName"].picklist if v.closed}
        for item in items:
            item.row["IsClosed"] = int(item.row["StageName"] in closed)
            item.row["IsWon"] = int(item.row["StageName"] == "Closed Won")


class ContentVersions(Behaviour):
    """A new version makes its document and, where FirstPublishLocationId says so, its link (object reference, ContentVersion)."""

    def complete(self, batch: Batch, items: Sequence[Item]) -> None:
        batch.extra |= {
            "ContentDocumentId", "ContentSize", "Checksum", "FileType", "FileExtension", "VersionNumber", "Title", "IsLatest"
        }  # fmt: skip
        new = [item for item in items if item.old is None]
        for item in new:
            row = item.row
            if not row["PathOnClient"] and not row["ContentUrl"]:
                item.errors.append(Error("REQUIRED_FIELD_MISSING", "Required fields are missing: [PathOnClient]", ("PathOnClient",)))
                continue
            try:
                data = base64.b64decode(str(row["VersionData"] or ""), validate=True)
            except (ValueError, binascii.Error):
                item.errors.append(Error("INVALID_BASE64", "Provided string is not base64 encoded", ("VersionData",)))
                continue
            name, _, extension = str(row["PathOnClient"]).rpartition("/")[2].rpartition(".")
            row["Title"] = row["Title"] or name or str(row["PathOnClient"])
            row["FileExtension"], row["FileType"] = extension or None, (extension.upper() or "UNKNOWN")[:20]
            row["ContentSize"], row["Checksum"] = len(data), hashlib.md5(data, usedforsecurity=False).hexdigest()
            row["IsLatest"] = 1
            self._number(batch, row)

    @staticmethod
    def _number(batch: Batch, row: Row) -> None:
        if row["ContentDocumentId"]:
            update = 'UPDATE "ContentVersion" SET "IsLatest" = 0 WHERE "ContentDocumentId" = ? AND "IsDeleted" = 0'
            row["VersionNumber"] = str(batch.tx.connection.execute(update, (row["ContentDocumentId"],)).rowcount + 1)
        else:
            row["VersionNumber"] = "1"
            row["ContentDocumentId"] = None

    def after(self, batch: Batch, items: Sequence[Item]) -> None:
        for item in items:
            if item.old is not None:
                continue
            row = item.row
            first = row["ContentDocumentId"] is None
            if first:
                row["ContentDocumentId"] = batch.tx.new_ids(batch.engine.org.objects["ContentDocument"], 1)[0]
                batch.insert_companion("ContentDocument", {"Id": row["ContentDocumentId"], **self._document(row)})
                batch.write_to("ContentVersion", ["ContentDocumentId"], [row])
            else:
                batch.write_to("ContentDocument", list(self._document(row)), [{"Id": row["ContentDocumentId"], **self._document(row)}])
            if first and row["FirstPublishLocationId"]:
                link: Row = {
                    "LinkedEntityId": row["FirstPublishLocationId"],
                    "ContentDocumentId": row["ContentDocumentId"],
                    "ShareType": "V",
                }
                batch.insert_companion("ContentDocumentLink", link)

    @staticmethod
    def _document(row: Row) -> Row:
        return {
            "Title": row["Title"],
            "LatestPublishedVersionId": row["Id"],
            "ContentSize": row["ContentSize"],
            "FileType": row["FileType"],
            "FileExtension": row["FileExtension"],
            "ContentModifiedDate": row["LastModifiedDate"],
        }


BEHAVIOURS: dict[str, type[Behaviour]] = {
    "Account": PersonAccounts,
    "Contact": Named,
    "User": Named,
    "Lead": Named,
    "Individual": Named,
    "Order": Orders,
    "OrderItem": OrderItems,
    "PricebookEntry": PricebookEntries,
    "Product2": Products,
    "Case": Cases,
    "EmailMessage": EmailMessages,
    "Task": Tasks,
    "Opportunity": Opportunities,
    "ContentVersion": ContentVersions,
}
