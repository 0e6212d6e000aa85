"""A small DX project for the core's tests: one shared object, one mirrored, a master-detail pair, Person Accounts, all the rules that matter.

Written as XML into a folder, so that the loader is tested with what a real project holds.
"""

from __future__ import annotations

from pathlib import Path

_HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n'
_NS = 'xmlns="http://soap.sforce.com/2006/04/metadata"'

OMS_ID = "<externalId>true</externalId><length>36</length><type>Text</type><unique>true</unique>"
VERSION = "<precision>18</precision><scale>0</scale><type>Number</type>"
STALE_VERSION = "AND(NOT(ISNEW()), OMS_Version__c &lt; BLANKVALUE(PRIORVALUE(OMS_Version__c), 0))"
STALE_SAVE = (
    "AND(NOT(ISNEW()), $Permission.OMSync_Integration, BLANKVALUE(Sync_Seen__c, 0) &lt;&gt; BLANKVALUE(PRIORVALUE(Sync_Save__c), 0))"
)


def _picklist(*values: str, restricted: bool = True, default: str | None = None) -> str:
    entries = "".join(
        f"<value><fullName>{v}</fullName><default>{str(v == default).lower()}</default><label>{v.title()}</label></value>" for v in values
    )
    return (
        f"<type>Picklist</type><valueSet><restricted>{str(restricted).lower()}</restricted>"
        f"<valueSetDefinition><sorted>false</sorted>{entries}</valueSetDefinition></valueSet>"
    )


def _lookup(to: str, children: str, constraint: str = "SetNull") -> str:
    return (
        f"<type>Lookup</type><referenceTo>{to}</referenceTo><relationshipName>{children}</relationshipName>"
        f"<deleteConstraint>{constraint}</deleteConstraint>"
    )


SYNC_FIELDS = {
    "Sync_Save__c": VERSION,
    "Sync_Seen__c": VERSION,
    "Sync_Write__c": "<length>64</length><type>Text</type>",
    "Sync_Stamps__c": "<length>32768</length><type>LongTextArea</type>",
}
FIELDS: dict[str, dict[str, str]] = {
    "Account": {
        "OMS_Id__c": OMS_ID,
        "OMS_Version__c": VERSION,
        "NPI__c": "<length>10</length><type>Text</type>",
        **SYNC_FIELDS,
    },
    "Contact": {
        "OMS_Id__c": OMS_ID,
        "Preferred_Name__c": "<length>80</length><type>Text</type>",
        "SMS_Opt_In__c": "<type>Checkbox</type><defaultValue>false</defaultValue>",
        "Badge__c": "<length>10</length><type>Text</type><unique>true</unique><caseSensitive>true</caseSensitive>",
    },
    "Product2": {"OMS_Id__c": OMS_ID},
    "Order": {"OMS_Id__c": OMS_ID, **SYNC_FIELDS, "Grand_Total__c": "<precision>16</precision><scale>2</scale><type>Currency</type>"},
    "OrderItem": {"OMS_Id__c": OMS_ID, "OMS_Version__c": VERSION},
    "Case": {"OMS_Id__c": OMS_ID, "Order__c": _lookup("Order", "Cases")},
    "EmailMessage": {"OMS_Id__c": OMS_ID, "Delivery__c": _picklist("queued", "sent")},
    "Consent__c": {
        "OMS_Id__c": OMS_ID,
        "OMS_Version__c": VERSION,
        "Patient__c": _lookup("Account", "Consents"),
        "Type__c": _picklist("sms", "telehealth", default="sms"),
        "Channel__c": _picklist("web", "phone", restricted=False),
        "Granted__c": "<type>Checkbox</type><defaultValue>true</defaultValue>",
        "Granted_At__c": "<type>DateTime</type>",
        "On__c": "<type>Date</type>",
        "Score__c": "<precision>5</precision><scale>2</scale><type>Number</type>",
        "Contact_Email__c": "<type>Email</type>",
        "Tags__c": _picklist("a", "b", "c").replace(
            "<type>Picklist</type>", "<type>MultiselectPicklist</type><visibleLines>3</visibleLines>"
        ),
        "Note__c": "<length>1000</length><type>LongTextArea</type>",
        "Version_Name__c": "<length>40</length><type>Text</type><required>true</required>",
    },
    "Shipment__c": {"OMS_Id__c": OMS_ID},
    "Shipment_Event__c": {
        "OMS_Id__c": OMS_ID,
        "Shipment__c": (
            "<type>MasterDetail</type><referenceTo>Shipment__c</referenceTo><relationshipName>Events</relationshipName>"
            "<reparentableMasterDetail>true</reparentableMasterDetail>"
        ),
        "Guard__c": _lookup("Account", "Guarded_Events", "Restrict"),
    },
    "Clinical_Note__c": {
        "OMS_Id__c": OMS_ID,
        "Patient__c": _lookup("Account", "Clinical_Notes"),
        "Status__c": _picklist("draft", "signed", default="draft"),
        "Title__c": "<length>255</length><type>Text</type>",
        "Body__c": "<length>131072</length><type>LongTextArea</type>",
        **SYNC_FIELDS,
    },
}
RULES: dict[str, dict[str, tuple[str, str]]] = {
    "Consent__c": {
        "Newer_Version": (STALE_VERSION, "OMSYNC_STALE"),
        "Patient_Required": ("AND(ISBLANK(Patient__c), NOT($Permission.OMSync_Load))", "A consent needs a patient"),
    },
    "OrderItem": {"Newer_Version": (STALE_VERSION, "OMSYNC_STALE")},
    "Clinical_Note__c": {
        "Seen_Latest": (STALE_SAVE, "OMSYNC_STALE"),
        "Signed_Is_Final": (
            'AND(NOT(ISNEW()), ISPICKVAL(PRIORVALUE(Status__c), "signed"), OR(ISCHANGED(Title__c), ISCHANGED(Status__c)))',
            "A signed note can't be changed",
        ),
    },
    "Account": {
        "Seen_Latest": (f'AND(RecordType.DeveloperName = "Patient", {STALE_SAVE})', "OMSYNC_STALE"),
        "Newer_Version": (f'AND(RecordType.DeveloperName = "Pharmacy", {STALE_VERSION})', "OMSYNC_STALE"),
    },
    "Order": {"Seen_Latest": (STALE_SAVE, "OMSYNC_STALE")},
}
SHARED = {
    "Account": (("LastName", "PersonMobilePhone", "Preferred_Name__pc", "SMS_Opt_In__pc"), "Patient"),
    "Clinical_Note__c": (("Title__c", "Body__c"), ""),
    "Order": (("ShippingCity",), ""),
}
_ALL = "before insert, before update, after insert, after update, after delete, after undelete"
TRIGGERS = {
    "Account": _ALL,
    "Clinical_Note__c": _ALL,
    "Order": _ALL,
    "Case": _ALL,
    "EmailMessage": "after insert, after delete, after undelete",
}


def write_project(root: Path) -> Path:
    """The project's files under `root`, which is returned."""
    for name, fields in FIELDS.items():
        folder = root / "objects" / name
        if name.endswith("__c"):
            sharing = "ControlledByParent" if name == "Shipment_Event__c" else "Private"
            auto = name == "Shipment_Event__c"
            kind = "<displayFormat>SE-{000000}</displayFormat><type>AutoNumber</type>" if auto else "<type>Text</type>"
            label = name.removesuffix("__c").replace("_", " ")
            _write(
                folder / f"{name}.object-meta.xml",
                "CustomObject",
                f"<label>{label}</label><pluralLabel>{label}s</pluralLabel><nameField><label>{label} Name</label>{kind}</nameField>"
                f"<deploymentStatus>Deployed</deploymentStatus><sharingModel>{sharing}</sharingModel>",
            )
        for field, body in fields.items():
            label = field.removesuffix("__c").replace("_", " ")
            _write(
                folder / "fields" / f"{field}.field-meta.xml", "CustomField", f"<fullName>{field}</fullName><label>{label}</label>{body}"
            )
        for rule, (formula, message) in RULES.get(name, {}).items():
            _write(
                folder / "validationRules" / f"{rule}.validationRule-meta.xml",
                "ValidationRule",
                f"<fullName>{rule}</fullName><active>true</active><errorConditionFormula>{formula}</errorConditionFormula>"
                f"<errorMessage>{message}</errorMessage>",
            )
    for name, record_type in (("PersonAccount", "Patient"), ("Account", "Pharmacy"), ("Case", "Integration"), ("Case", "General")):
        _write(
            root / "objects" / name / "recordTypes" / f"{record_type}.recordType-meta.xml",
            "RecordType",
            f"<fullName>{record_type}</fullName><active>true</active><label>{record_type}</label>",
        )
    _write_values(root)
    _write_automation(root)
    _write_permissions(root)
    return root


def _write_values(root: Path) -> None:
    orders = "".join(
        f"<standardValue><fullName>{v}</fullName><default>false</default><label>{v}</label><groupingStringEnum>{c}</groupingStringEnum>"
        "</standardValue>"
        for v, c in (("draft", "Draft"), ("placed", "Draft"), ("Activated", "Activated"))
    )
    _write(root / "standardValueSets" / "OrderStatus.standardValueSet-meta.xml", "StandardValueSet", orders)
    cases = "".join(
        f"<standardValue><fullName>{v}</fullName><default>{str(v == 'New').lower()}</default><label>{v}</label><closed>{str(c).lower()}</closed>"
        "</standardValue>"
        for v, c in (("New", False), ("Open", False), ("Closed", True))
    )
    _write(root / "standardValueSets" / "CaseStatus.standardValueSet-meta.xml", "StandardValueSet", cases)


def _write_automation(root: Path) -> None:
    for name, (fields, record_types) in SHARED.items():
        for field in fields:
            values = f"<values><field>Object__c</field><value>{name}</value></values><values><field>Field__c</field><value>{field}</value></values>"
            values += f"<values><field>Record_Type__c</field><value>{record_types}</value></values>"
            _write(root / "customMetadata" / f"Sync_Field.{name}_{field}.md-meta.xml", "CustomMetadata", f"<label>{field}</label>{values}")
    for name, events in TRIGGERS.items():
        path = root / "triggers" / f"{name.removesuffix('__c').replace('_', '')}Sync.trigger"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"/** One line. */\ntrigger {path.stem} on {name} ({events}) {{\n    SharedRecords.handle();\n}}\n")


def _write_permissions(root: Path) -> None:
    def grants(*, editable: bool) -> str:
        return "".join(
            f"<fieldPermissions><field>{name}.{field}</field><readable>true</readable><editable>{str(editable).lower()}</editable></fieldPermissions>"
            for name, fields in FIELDS.items()
            for field, body in fields.items()
            if "MasterDetail" not in body and "<required>true" not in body
        )

    rights = "".join(
        f"<objectPermissions><object>{name}</object><allowCreate>true</allowCreate><allowRead>true</allowRead><allowEdit>true</allowEdit>"
        f"<allowDelete>{delete}</allowDelete></objectPermissions>"
        for name, delete in [*((n, "true") for n in FIELDS), ("Task", "false"), ("Pricebook2", "true"), ("PricebookEntry", "true")]
    )
    standard = "".join(
        f"<fieldPermissions><field>{field}</field><readable>true</readable><editable>true</editable></fieldPermissions>"
        for field in (
            "Account.PersonMobilePhone",
            "Account.PersonMailingAddress",
            "Order.AccountId",
            "Order.Pricebook2Id",
            "OrderItem.Description",
        )
    )
    for name in ("OMSync_Integration", "OMSync_Load"):
        custom = f"<customPermissions><enabled>true</enabled><name>{name}</name></customPermissions>"
        _write(
            root / "permissionsets" / f"{name}.permissionset-meta.xml", "PermissionSet", custom + grants(editable=True) + standard + rights
        )
    people = grants(editable=False)
    for field, readable, editable in (("Clinical_Note__c.Title__c", "true", "true"), ("Consent__c.Score__c", "false", "false")):
        head = f"<fieldPermissions><field>{field}</field>"
        people = people.replace(
            f"{head}<readable>true</readable><editable>false</editable>",
            f"{head}<readable>{readable}</readable><editable>{editable}</editable>",
        )
    no_shipments = rights.replace("<object>Shipment__c</object><allowCreate>true", "<object>Shipment__c</object><allowCreate>false")
    _write(root / "permissionsets" / "Care_Coordinator.permissionset-meta.xml", "PermissionSet", people + standard + no_shipments)


def _write(path: Path, kind: str, body: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{_HEAD}<{kind} {_NS}>{body}</{kind}>\n")
