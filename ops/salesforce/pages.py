"""What a person looks at: page layouts, compact layouts, list views, tabs and the Care Console's record pages."""

from __future__ import annotations

from collections.abc import Iterator

from omsync.platform.errors import Permanent
from ops.salesforce.fields import relationship_name
from ops.salesforce.org import COMPOUND, OrgModel, OrgObject, Use
from ops.salesforce.presentation import Layout, ListView, PageTab, Presentation, RecordPage, RelatedList, presentation
from ops.salesforce.xml import Node

_SYSTEM_SECTION = "OMS Record"
_REST_SECTION = "More"
_SHORT_LIST, _LONG_LIST = 5, 10
#: Shown by Salesforce itself, or of no use on a page.
_NOT_ON_LAYOUTS = frozenset({"RecordTypeId", "CurrencyIsoCode", "CreatedDate", "PricebookEntryId"})


# --- page layouts ----------------------------------------------------------------------------------------------------
def layout(org: OrgModel, obj: OrgObject, design: Layout) -> dict[str, Node]:
    """Body of a page layout: the design's sections, then what nobody placed, then the OMS's own fields."""
    shown = _shown(org, obj, design)
    placed = {name for section in design.sections for name in [*section.left, *(section.right or ())]}
    sections = [_section(section.label, section.left, section.right, shown) for section in design.sections]
    rest = [name for name, use in shown.items() if design.rest and name not in placed and not use.field.system]
    if rest:
        half = (len(rest) + 1) // 2
        sections.append(_section(_REST_SECTION, rest[:half], rest[half:], shown))
    system = [name for name, use in shown.items() if design.rest and name not in placed and use.field.system]
    if system:
        half = (len(system) + 1) // 2
        sections.append(_section(_SYSTEM_SECTION, system[:half], system[half:], shown))
    return {
        "layoutSections": sections,
        "relatedLists": [_related(related) for related in design.related],
        "showEmailCheckbox": False,
        "showHighlightsPanel": False,
        "showInteractionLogPanel": False,
        "showRunAssignmentRulesCheckbox": False,
        "showSubmitAndAttachButton": False,
    }


def _shown(org: OrgModel, obj: OrgObject, design: Layout) -> dict[str, Use]:
    """Everything a layout must show, under the name it shows it by (`ShippingAddress` for its parts)."""
    found: dict[str, Use] = {}
    for table, target in org.uses(obj.name):
        if design.tables and table.table not in design.tables:
            continue
        for field in target.fields.values():
            if field.name in _NOT_ON_LAYOUTS or field.match_only or field.name == "OMS_Id__pc":
                continue
            found.setdefault(COMPOUND.get(obj.name, {}).get(field.name, field.name), Use(table, target, field))
    return found


def _section(label: str, left: list[str], right: list[str] | None, shown: dict[str, Use]) -> Node:
    columns: list[Node] = [_column(left, shown)]
    if right is not None:
        columns.append(_column(right, shown))
    return {
        "customLabel": True,
        "detailHeading": True,
        "editHeading": True,
        "label": label,
        "layoutColumns": columns,
        "style": "OneColumn" if right is None else "TwoColumnsTopToBottom",
    }


def _column(names: list[str], shown: dict[str, Use]) -> Node:
    return {"layoutItems": [{"behavior": _behavior(name, shown.get(name)), "field": name} for name in names]} if names else {}


def _behavior(name: str, use: Use | None) -> str:
    """Required fields must be so on every layout, whoever owns them; a rule keeps people from changing the OMS's."""
    if name == "Name" or (use is not None and (use.field.required or name in _ALWAYS_REQUIRED.get(use.field.object, ()))):
        return "Required"
    if use is None:
        return "Readonly" if name in _STANDARD_READ_ONLY else "Edit"
    entered = use.field.name in presentation(use.field.object).entered
    return "Edit" if use.people_may_edit or entered else "Readonly"


#: Salesforce takes no layout of these objects on which these fields are anything else.
_ALWAYS_REQUIRED = {
    "Order": ("AccountId", "EffectiveDate", "Status"),
    "OrderItem": ("OrderId", "Quantity", "UnitPrice"),
    "Case": ("Status",),
}
_STANDARD_READ_ONLY = frozenset({"OrderNumber", "TotalAmount", "CaseNumber", "CreatedById", "LastModifiedById", "CreatedDate", "ClosedDate",
                                 "Product2Id", "TotalPrice", "ListPrice"})  # fmt: skip


def _related(related: RelatedList) -> Node:
    return {
        "fields": list(related.columns),
        "relatedList": related.list_id,
        "sortField": related.sort,
        "sortOrder": "Desc" if related.sort else None,
    }


# --- lists and compact layouts -------------------------------------------------------------------------------------------
def compact_layouts(look: Presentation) -> Iterator[tuple[str, dict[str, Node]]]:
    """(name, body)."""
    for design in look.compact_layouts:
        yield design.name, {"fullName": design.name, "fields": list(design.fields), "label": design.name.replace("_", " ")}


def list_view(name: str, design: ListView) -> dict[str, Node]:
    """Body of a list view."""
    return {
        "fullName": name,
        "columns": list(design.columns),
        "filterScope": design.scope,
        "filters": [{"field": f.field, "operation": f.operation, "value": f.value or None} for f in design.filters],
        "label": design.label,
        "queue": design.queue,
    }


# --- record pages --------------------------------------------------------------------------------------------------------
def record_page(org: OrgModel, look: Presentation, page: RecordPage) -> dict[str, Node]:
    """A Lightning record page: highlights above, tabs of related lists and details, activity beside them."""
    regions: list[Node] = [_region("header", [_component("force:highlightsPanel", "highlights")])]
    tabs: list[Node] = []
    for number, tab in enumerate(page.tabs, 1):
        facet = f"Facet-{number}"
        regions.append(_region(facet, list(_tab_body(org, look, tab, number)), facet=True))
        tabs.append(_component("flexipage:tab", f"tab{number}", active=str(number == 1).lower(), body=facet, title=tab.title))
    regions.append(_region("Facet-tabs", tabs, facet=True))
    regions.append(_region("main", [_component("flexipage:tabset", "tabs", tabs="Facet-tabs")]))
    beside = [_component("runtime_sales_activities:activityPanel", "activity")] if page.activity else []
    regions.append(_region("sidebar", beside))
    return {
        "flexiPageRegions": regions,
        "masterLabel": page.label,
        "sobjectType": look.object,
        "template": {"name": "flexipage:recordHomeTemplateDesktop"},
        "type": "RecordPage",
    }


def _tab_body(org: OrgModel, look: Presentation, tab: PageTab, number: int) -> Iterator[Node]:
    if tab.details:
        yield _component("force:detailPanel", f"details{number}")
    rows = _SHORT_LIST if len(tab.lists) > 1 else _LONG_LIST
    for position, name in enumerate(tab.lists, 1):
        yield _component(
            "force:relatedListSingleContainer",
            f"list{number}_{position}",
            parentFieldApiName=f"{look.object}.Id",
            relatedListApiName=related_list_name(org, look, name),
            relatedListComponentOverride="ADVGRID",
            rowsToDisplay=str(rows),
            showActionBar="true",
        )


def related_list_name(org: OrgModel, look: Presentation, name: str) -> str:
    """`Prescription__c.Patient__c` -> `Prescriptions__r`; a standard list has its own name. It must stand on a layout of the object."""
    listed = {related.list_id: related for design in look.layouts for related in design.related}
    if name not in listed:
        raise Permanent(
            f"{look.object}.yaml: the page shows {name}, which no layout lists; add it under related", code="salesforce.presentation"
        )
    child, _, lookup = name.partition(".")
    if not lookup:
        given = listed[name].name
        if given is None:
            raise Permanent(f"{look.object}.yaml: {name} needs a name for the record page", code="salesforce.presentation")
        return given
    field = org.objects[child].fields.get(lookup) if child in org.objects else None
    if field is None or field.first.references is None:
        raise Permanent(f"{look.object}.yaml: {name} is no lookup of the mapping", code="salesforce.presentation")
    return f"{relationship_name(org, field)}__r"


def _region(name: str, components: list[Node], *, facet: bool = False) -> Node:
    return {"itemInstances": [{"componentInstance": c} for c in components], "name": name, "type": "Facet" if facet else "Region"}


def _component(component: str, identifier: str, **properties: str) -> Node:
    return {
        "componentInstanceProperties": [{"name": name, "value": value} for name, value in properties.items()],
        "componentName": component,
        "identifier": identifier,
    }
