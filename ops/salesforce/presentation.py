"""How records look to a person: labels, help, layouts, list views, record pages and who may see them.

`presentation/*.yaml`, one file per object, a matter of design and so written by hand. What a file leaves out is derived:
a field nobody placed stands in the layout's section "More", and its help follows from who owns it. So a new column needs
no word here to appear.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from omsync.platform.errors import Permanent

FOLDER = Path(__file__).parent / "presentation"

type Access = Literal["none", "read", "create", "edit", "create_edit"]


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class FieldNote(Strict):
    """What a person reads about a field."""

    label: str | None = None
    help: str | None = Field(None, max_length=510)
    values: dict[str, str] = Field(default_factory=dict)  # value -> label, where the value itself reads badly
    related: str | None = None  # a lookup's related list on the parent


class Section(Strict):
    """A layout section: two columns, or one if `right` is left out."""

    label: str
    left: list[str]
    right: list[str] | None = None


class RelatedList(Strict):
    """A related list: `Child__c.Lookup__c` (its name on the parent is derived) or a standard list with its name for record pages."""

    list_id: str = Field(alias="list")
    columns: list[str] = Field(default_factory=list)
    name: str | None = None  # relatedListApiName of a standard list
    sort: str | None = None


class Layout(Strict):
    """A page layout. `record_types` are `Object.DeveloperName`; empty: the object has none."""

    name: str
    record_types: list[str] = Field(default_factory=list)
    tables: list[str] = Field(default_factory=list)  # whose fields it shows; empty: all of the object's
    rest: bool = True  # whether it shows the fields that no section places
    sections: list[Section]
    related: list[RelatedList] = Field(default_factory=list)


class CompactLayout(Strict):
    """The first fields of a record, in lists, hovers and the highlights panel."""

    name: str
    fields: list[str]
    record_types: list[str] = Field(default_factory=list)


class Filter(Strict):
    field: str
    operation: str
    value: str = ""


class ListView(Strict):
    label: str
    columns: list[str]
    filters: list[Filter] = Field(default_factory=list)
    scope: Literal["Everything", "Mine", "Queue"] = "Everything"
    queue: str | None = None


class PageTab(Strict):
    """A tab of a record page: related lists by `Child__c.Lookup__c` (or a standard list's id), or the details."""

    title: str
    lists: list[str] = Field(default_factory=list)
    details: bool = False


class RecordPage(Strict):
    """A Lightning record page of the Care Console."""

    label: str
    tabs: list[PageTab]
    activity: bool = True


class RecordType(Strict):
    """What a person reads about a record type; also the ones no table is written to."""

    label: str
    description: str
    business_process: str | None = None
    compact_layout: str | None = None


class Presentation(Strict):
    """One object."""

    object: str
    description: str | None = None
    name_label: str | None = None
    icon: str | None = None  # a tab's motif
    sharing: Literal["Private", "Read", "ReadWrite"] | None = None  # who else sees a custom object's records; without: the mapping's
    access: dict[str, Access] = Field(default_factory=dict)  # permission set -> what its holder may do
    entered: list[str] = Field(default_factory=list)  # OMS-owned fields that a person fills in a record born here, and a rule then guards
    view_all: list[str] = Field(default_factory=list)  # permission sets that see every record whatever the sharing
    fields: dict[str, FieldNote] = Field(default_factory=dict)
    record_types: dict[str, RecordType] = Field(default_factory=dict)
    layouts: list[Layout] = Field(default_factory=list)
    compact_layouts: list[CompactLayout] = Field(default_factory=list)
    list_views: dict[str, ListView] = Field(default_factory=dict)
    page: RecordPage | None = None


@cache
def presentations() -> dict[str, Presentation]:
    """Object -> its presentation. Raises Permanent naming the file and what is wrong."""
    found: dict[str, Presentation] = {}
    for path in sorted(FOLDER.glob("*.yaml")):
        try:
            presentation = Presentation.model_validate(yaml.safe_load(path.read_text()))
        except (ValidationError, yaml.YAMLError) as fault:
            raise Permanent(f"{path.name}: {fault}", code="salesforce.presentation") from fault
        if presentation.object != path.stem:
            raise Permanent(f"{path.name}: describes {presentation.object}; name the file after the object", code="salesforce.presentation")
        found[presentation.object] = presentation
    return found


def presentation(object_name: str) -> Presentation:
    """An object's presentation; one without a file gets an empty one."""
    return presentations().get(object_name) or Presentation(object=object_name)


def in_words(code: str) -> str:
    """`pending_payment` -> `Pending payment`; what already has capitals stays."""
    text = code.replace("_", " ")
    return text[:1].upper() + text[1:]
