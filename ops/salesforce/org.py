"""The org that the mapping asks for: its objects and fields, each with the tables that use it.

Several tables may share an object (patients and pharmacies: Account) and even a field. A Person Account's `X__pc` is
created on Contact as `X__c`. Pure: no files, no network.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from omsync.mapping.model import Field, Mappings, Reference, TableMapping, Target
from omsync.platform.errors import Permanent
from ops.salesforce.presentation import presentation

#: Parts that Salesforce shows, and secures, only as a whole.
COMPOUND: Mapping[str, Mapping[str, str]] = {
    "Account": {
        **{f"{kind}{part}": f"{kind}Address" for kind in ("Billing", "Shipping", "PersonMailing", "PersonOther")
           for part in ("Street", "City", "State", "PostalCode", "Country", "StateCode", "CountryCode")},
        **dict.fromkeys(("FirstName", "MiddleName", "LastName", "Suffix"), "Name"),
    },
    "Contact": dict.fromkeys(("FirstName", "MiddleName", "LastName", "Suffix"), "Name"),
    "Order": {f"{kind}{part}": f"{kind}Address" for kind in ("Billing", "Shipping")
              for part in ("Street", "City", "State", "PostalCode", "Country", "StateCode", "CountryCode")},
}  # fmt: skip

#: Standard fields that field-level security does not reach: required by the platform, or not secured at all.
UNSECURED: Mapping[str, frozenset[str]] = {
    "Account": frozenset({"Name", "OwnerId", "RecordTypeId"}),
    "Contact": frozenset({"Name", "OwnerId", "RecordTypeId"}),
    "Product2": frozenset({"Name"}),
    "PricebookEntry": frozenset({"UnitPrice", "IsActive", "Product2Id", "Pricebook2Id", "CurrencyIsoCode", "UseStandardPrice"}),
    "Order": frozenset({"AccountId", "Status", "EffectiveDate", "Pricebook2Id", "OwnerId", "CurrencyIsoCode"}),
    "OrderItem": frozenset({"OrderId", "PricebookEntryId", "Product2Id", "Quantity", "UnitPrice"}),
    "Case": frozenset({"Status", "OwnerId", "RecordTypeId", "CreatedDate", "ClosedDate"}),
}

#: Objects whose standard fields field-level security does not reach at all.
OPEN = frozenset({"EmailMessage", "User"})

#: Picklists of standard fields are value sets of their own.
VALUE_SETS: Mapping[tuple[str, str], str] = {
    ("Case", "Origin"): "CaseOrigin",
    ("Case", "Priority"): "CasePriority",
    ("Case", "Status"): "CaseStatus",
    ("Case", "Type"): "CaseType",
    ("Order", "Status"): "OrderStatus",
    ("Order", "Type"): "OrderType",
    ("Product2", "Family"): "Product2Family",
    ("Product2", "QuantityUnitOfMeasure"): "QuantityUnitOfMeasure",
}


@dataclass(frozen=True, slots=True)
class Use:
    """One table's use of a field."""

    table: TableMapping
    target: Target
    field: Field

    @property
    def people_may_edit(self) -> bool:
        """Salesforce or both own it, on a table that flows both ways; what only mirrors another field (a guard) is not for people."""
        return self.table.mode == "shared" and self.field.owner != "oms" and (self.field.back or self.field.owner == "salesforce")


@dataclass(frozen=True, slots=True)
class OrgField:
    """A field of an object, with everything the tables that use it ask for.

    `object` and `name` are where it is created (Contact, `X__c`), `shown` what its uses call it (`X__pc`).
    """

    object: str
    name: str
    uses: tuple[Use, ...]

    @property
    def first(self) -> Field:
        return self.uses[0].field

    @property
    def shown(self) -> str:
        return self.first.name

    @property
    def custom(self) -> bool:
        return self.name.endswith("__c")

    @property
    def length(self) -> int | None:
        return max((use.field.length for use in self.uses if use.field.length), default=None)

    @property
    def picklist(self) -> tuple[str, ...]:
        """Every value that some table may send, in the order of first mention."""
        return tuple(dict.fromkeys(value for use in self.uses for value in use.field.picklist))

    @property
    def required(self) -> bool:
        return all(use.field.required for use in self.uses)

    @property
    def parent(self) -> Reference:
        """What a lookup refers to."""
        if self.first.references is None:
            raise TypeError(f"{self.object}.{self.name} is no lookup")
        return self.first.references

    @property
    def is_picklist(self) -> bool:
        return self.first.type in ("Picklist", "MultiselectPicklist")

    @property
    def system(self) -> bool:
        return all(use.field.system for use in self.uses)

    @property
    def people_may_edit(self) -> bool:
        return any(use.people_may_edit for use in self.uses)

    @property
    def people_may_enter(self) -> bool:
        """Can a person fill it in a record born here?"""
        return self.people_may_edit or any(use.field.name in presentation(use.field.object).entered for use in self.uses)

    def securable(self) -> str | None:
        """What field-level security calls it (`Contact.MailingAddress`); None where it does not apply."""
        return securable(self.uses[0].field.object if not self.custom else self.object, self.shown if not self.custom else self.name,
                         required=self.required, kind=self.first.type)  # fmt: skip


def securable(object_name: str, name: str, *, required: bool, kind: str) -> str | None:
    """The name of a field's permission. A Person Account's own fields are secured as the Contact's."""
    if name.endswith("__c"):
        return None if required or kind == "MasterDetail" else f"{object_name}.{name}"
    if object_name in OPEN:
        return None
    whole = COMPOUND.get(object_name, {}).get(name, name)
    if whole in UNSECURED.get(object_name, frozenset()) or (object_name.endswith("__c") and name in ("Name", "OwnerId")):
        return None
    if object_name == "Account" and whole.startswith("Person"):
        return f"Contact.{whole.removeprefix('Person')}"
    return f"{object_name}.{whole}"


@dataclass(frozen=True)
class OrgObject:
    """An object and the tables written to it."""

    name: str
    tables: tuple[tuple[TableMapping, Target], ...]
    fields: Mapping[str, OrgField]

    @property
    def custom(self) -> bool:
        return self.name.endswith("__c")

    @cached_property
    def custom_fields(self) -> tuple[OrgField, ...]:
        return tuple(field for field in self.fields.values() if field.custom)

    @property
    def target(self) -> Target:
        """The one target of a custom object."""
        return self.tables[0][1]


@dataclass(frozen=True)
class OrgModel:
    """All objects that the mapping names, by API name."""

    mappings: Mappings
    objects: Mapping[str, OrgObject]

    @cached_property
    def people_hold(self) -> frozenset[str]:
        """Field permissions that let people write, for whatever table's sake."""
        found = (field.securable() for obj in self.objects.values() for field in obj.fields.values() if field.people_may_enter)
        return frozenset(name for name in found if name)

    def uses(self, object_name: str) -> Iterator[tuple[TableMapping, Target]]:
        """The tables whose records are of this object (for Contact: providers, not patients)."""
        for table in self.mappings:
            yield from ((table, target) for target in table.targets if target.object == object_name)


def model(mappings: Mappings) -> OrgModel:
    """Raises Permanent where two tables ask for one field in ways that no field can be."""
    uses: dict[tuple[str, str], list[Use]] = {}
    tables: dict[str, list[tuple[TableMapping, Target]]] = {}
    for table in mappings:
        for target in table.targets:
            tables.setdefault(target.object, []).append((table, target))
            for field in target.all_fields.values():
                uses.setdefault((field.metadata_object, field.metadata_name), []).append(Use(table, target, field))
    objects: dict[str, OrgObject] = {}
    for name in sorted(tables):
        fields = {called: OrgField(name, called, tuple(found)) for (owner, called), found in uses.items() if owner == name}
        for created in fields.values():
            _agree(created)
        objects[name] = OrgObject(name, tuple(tables[name]), fields)
    return OrgModel(mappings, objects)


def _agree(field: OrgField) -> None:
    kinds = {
        (use.field.type, use.field.precision, use.field.scale, use.field.references and use.field.references.object) for use in field.uses
    }
    if len(kinds) > 1:
        asked = ", ".join(f"{use.table.table}: {use.field.type_text}" for use in field.uses)
        raise Permanent(
            f"{field.object}.{field.name} is asked for in several ways ({asked}); give one of them another name", code="salesforce.field"
        )
