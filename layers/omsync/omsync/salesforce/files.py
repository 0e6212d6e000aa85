"""Text beyond a field's length, kept as a file beside its record: nothing is cut silently.

One ContentVersion per record, field and content: the title bears the text's digest, so writing the same text again adds no second file.
Source: "ContentVersion" and "ContentDocumentLink" (Object Reference).
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass

from omsync.mapping.outward import File
from omsync.salesforce.client import SalesforceClient
from omsync.salesforce.query import query, quote


@dataclass(frozen=True, slots=True)
class Attached:
    """A file as it is in Salesforce."""

    document: str
    title: str


def title_of(file: File) -> str:
    """`Body__c 3f2a...`: field and digest."""
    return f"{file.field} {hashlib.sha256(file.text.encode()).hexdigest()[:32]}"


def attach(client: SalesforceClient, record_id: str, file: File) -> None:
    """Put the text beside the record, once."""
    title = title_of(file)
    if any(one.title == title for one in attached(client, record_id)):
        return
    name, _, kind = file.name.rpartition(".")
    body = {
        "Title": title,
        "PathOnClient": f"{name}.{kind}",
        "VersionData": base64.b64encode(file.text.encode()).decode(),
        "FirstPublishLocationId": record_id,
    }
    client.post_json("sobjects/ContentVersion", body, repeatable=False)


def attached(client: SalesforceClient, record_id: str) -> list[Attached]:
    """The files beside a record."""
    soql = f"SELECT ContentDocumentId, ContentDocument.Title FROM ContentDocumentLink WHERE LinkedEntityId = {quote(record_id)}"  # noqa: S608
    found = []
    for row in query(client, soql):
        document = row["ContentDocument"]
        found.append(Attached(str(row["ContentDocumentId"]), str(document["Title"]) if isinstance(document, dict) else ""))
    return found
