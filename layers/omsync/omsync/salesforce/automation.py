"""What acts when a record is saved: triggers, validation rules, flows, duplicate rules that are active in the org.

Needs the permission View Setup. Sources: Tooling API (ApexTrigger, ValidationRule, EntityDefinition), Object Reference (FlowDefinitionView,
DuplicateRule). Process Builder's processes are flows of the type Workflow; they name no object.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from omsync.platform.errors import Permanent
from omsync.salesforce.client import SalesforceClient

type Kind = Literal["trigger", "validation rule", "flow", "process", "duplicate rule"]


@dataclass(frozen=True, slots=True)
class Automation:
    """One that is active. `object`: API name; None where it names none."""

    kind: Kind
    name: str
    object: str | None
    namespace: str | None = None

    def __str__(self) -> str:
        return f"{self.kind} {f'{self.namespace}__' if self.namespace else ''}{self.name}"


@dataclass(frozen=True, slots=True)
class _Question:
    kind: Kind
    path: str
    soql: str
    name: str
    object: str


_ENTITY = "EntityDefinition.QualifiedApiName"
_QUESTIONS = (
    _Question(
        "trigger",
        "tooling/query",
        "SELECT Name, NamespacePrefix, EntityDefinition.QualifiedApiName FROM ApexTrigger WHERE Status = 'Active'",
        "Name",
        _ENTITY,
    ),
    _Question(
        "validation rule",
        "tooling/query",
        "SELECT ValidationName, NamespacePrefix, EntityDefinition.QualifiedApiName FROM ValidationRule WHERE Active = true",
        "ValidationName",
        _ENTITY,
    ),
    _Question(
        "flow",
        "query",
        "SELECT ApiName, NamespacePrefix, ProcessType, TriggerType, TriggerObjectOrEvent.QualifiedApiName FROM FlowDefinitionView"
        " WHERE ActiveVersionId != null AND (TriggerType IN ('RecordBeforeSave', 'RecordAfterSave') OR ProcessType = 'Workflow')",
        "ApiName",
        "TriggerObjectOrEvent.QualifiedApiName",
    ),
    _Question(
        "duplicate rule",
        "query",
        "SELECT DeveloperName, NamespacePrefix, SobjectType FROM DuplicateRule WHERE IsActive = true",
        "DeveloperName",
        "SobjectType",
    ),
)


def active(client: SalesforceClient) -> tuple[list[Automation], list[str]]:
    """(what is active, kinds that this user may not look at)."""
    found: list[Automation] = []
    hidden: list[str] = []
    for question in _QUESTIONS:
        try:
            found += [_read(question, row) for row in _rows(client, question)]
        except Permanent:  # no such type, or no access: the org does not show it
            hidden.append(question.kind)
    return found, hidden


def _rows(client: SalesforceClient, question: _Question) -> Iterator[Mapping[str, Any]]:
    page = client.get_json(question.path, params={"q": question.soql})
    while True:
        yield from page["records"]
        if page["done"]:
            return
        page = client.get_json(page["nextRecordsUrl"])


def _read(question: _Question, row: Mapping[str, Any]) -> Automation:
    head, _, tail = question.object.partition(".")
    value = row.get(head)
    name = value.get(tail) if tail and isinstance(value, Mapping) else value
    kind: Kind = "process" if row.get("ProcessType") == "Workflow" else question.kind
    return Automation(kind, str(row[question.name]), str(name) if name else None, row.get("NamespacePrefix") or None)
