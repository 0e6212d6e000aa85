"""The generated half of the DX project: every file that follows from the mapping and the presentation.

`render` gives them as text, `write` puts them under salesforce/generated (and removes what no longer follows), `stale`
names what differs. Nothing outside that folder is ever touched.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from omsync.mapping import load_mappings
from omsync.mapping.model import Mappings
from ops.salesforce import pages
from ops.salesforce.fields import custom_field, custom_object
from ops.salesforce.org import OrgModel, OrgObject, model
from ops.salesforce.permissions import ROLES, permission_set
from ops.salesforce.presentation import Presentation, presentation, presentations
from ops.salesforce.records import record_types, standard_value_sets, support_process, sync_fields
from ops.salesforce.rules import rules
from ops.salesforce.xml import Node
from ops.salesforce.xml import render as xml

type File = tuple[str, str, Mapping[str, Node]]  # path, root element, body

ROOT = Path(__file__).resolve().parents[2] / "salesforce"
GENERATED = ROOT / "generated"
_BASE = Path("main/default")
#: Profiles everybody has: a layout for a record type can be assigned nowhere else.
_PROFILES = ("Admin", "Minimum Access - Salesforce", "Standard")


def render(mappings: Mappings | None = None) -> dict[Path, str]:
    """Path below salesforce/generated -> text."""
    org = model(mappings or load_mappings())
    files: dict[Path, str] = {}
    for path, root, body in _files(org):
        files[_BASE / path] = xml(root, body)
    return files


def write(mappings: Mappings | None = None) -> tuple[int, int]:
    """Bring salesforce/generated up to date. (files written, files removed)."""
    wanted = render(mappings)
    written = removed = 0
    for path, text in wanted.items():
        at = GENERATED / path
        if not at.exists() or at.read_text() != text:
            at.parent.mkdir(parents=True, exist_ok=True)
            at.write_text(text)
            written += 1
    for at in _there():
        if at.relative_to(GENERATED) not in wanted:
            at.unlink()
            removed += 1
    for folder in sorted((p for p in GENERATED.rglob("*") if p.is_dir()), reverse=True):
        if not any(folder.iterdir()):
            folder.rmdir()
    return written, removed


def stale(mappings: Mappings | None = None) -> list[str]:
    """What a generation would change: one line a file."""
    wanted = render(mappings)
    there = {at.relative_to(GENERATED): at for at in _there()}
    lines = [f"missing: {path}" for path in sorted(wanted.keys() - there.keys())]
    lines += [f"left over: {path}" for path in sorted(there.keys() - wanted.keys())]
    lines += [f"differs: {path}" for path in sorted(wanted.keys() & there.keys()) if there[path].read_text() != wanted[path]]
    return lines


def _there() -> list[Path]:
    return sorted(path for path in GENERATED.rglob("*") if path.is_file()) if GENERATED.is_dir() else []


def _files(org: OrgModel) -> Iterator[File]:
    for name, obj in org.objects.items():
        look = presentation(name)
        yield from _object(org, obj, look)
        yield from _looks(org, obj, look)
    for name, body in standard_value_sets(org):
        yield f"standardValueSets/{name}.standardValueSet-meta.xml", "StandardValueSet", body
    if "Case" in org.objects:
        yield "objects/Case/businessProcesses/Care.businessProcess-meta.xml", "BusinessProcess", support_process(org)
    for name, body in sync_fields(org):
        yield f"customMetadata/Sync_Field.{name}.md-meta.xml", "CustomMetadata", body
    for role in ROLES:
        yield f"permissionsets/{role.name}.permissionset-meta.xml", "PermissionSet", permission_set(org, role)
    assignments = list(_assignments(org))
    for profile in _PROFILES:
        yield f"profiles/{profile}.profile-meta.xml", "Profile", {"layoutAssignments": assignments}


def _object(org: OrgModel, obj: OrgObject, look: Presentation) -> Iterator[File]:
    at = f"objects/{obj.name}"
    if obj.custom:
        yield f"{at}/{obj.name}.object-meta.xml", "CustomObject", custom_object(obj)
    elif compact := next((c.name for c in look.compact_layouts if not c.record_types), None):
        yield f"{at}/{obj.name}.object-meta.xml", "CustomObject", {"compactLayoutAssignment": compact}
    for field in obj.custom_fields:
        yield f"{at}/fields/{field.name}.field-meta.xml", "CustomField", custom_field(org, field)
    for rule in rules(org, obj):
        yield f"{at}/validationRules/{rule.name}.validationRule-meta.xml", "ValidationRule", rule.body()
    for folder, name, body in record_types(org, obj):
        yield f"objects/{folder}/recordTypes/{name}.recordType-meta.xml", "RecordType", body


def _looks(org: OrgModel, obj: OrgObject, look: Presentation) -> Iterator[File]:
    at = f"objects/{obj.name}"
    for design in look.compact_layouts:
        folder = "objects/PersonAccount" if any(kind.startswith("PersonAccount.") for kind in design.record_types) else at
        body = dict(pages.compact_layouts(look))[design.name]
        yield f"{folder}/compactLayouts/{design.name}.compactLayout-meta.xml", "CompactLayout", body
    for name, view in look.list_views.items():
        yield f"{at}/listViews/{name}.listView-meta.xml", "ListView", pages.list_view(name, view)
    for page_layout in look.layouts:
        body = pages.layout(org, obj, page_layout)
        yield f"layouts/{layout_file(obj.name, page_layout.record_types, page_layout.name)}.layout-meta.xml", "Layout", body
    if obj.custom and look.icon:
        yield f"tabs/{obj.name}.tab-meta.xml", "CustomTab", {"customObject": True, "motif": look.icon}
    if look.page:
        yield f"flexipages/{page_name(obj.name)}.flexipage-meta.xml", "FlexiPage", pages.record_page(org, look, look.page)


def page_name(object_name: str) -> str:
    """`Clinical_Note__c` -> `Care_Clinical_Note`."""
    return f"Care_{object_name.removesuffix('__c')}"


def layout_file(object_name: str, kinds: list[str], name: str) -> str:
    """`PersonAccount-Patient Layout`: a Person Account's layouts are files of their own kind."""
    person = any(kind.startswith("PersonAccount.") for kind in kinds)
    return f"{'PersonAccount' if person else object_name}-{name}"


def _assignments(org: OrgModel) -> Iterator[dict[str, str]]:
    """Layouts of standard objects; a custom object's own layout is everybody's already."""
    for name, look in sorted(presentations().items()):
        if name.endswith("__c") or name not in org.objects:
            continue
        for design in look.layouts:
            file = layout_file(name, design.record_types, design.name)
            yield from ({"layout": file, "recordType": kind} for kind in design.record_types)
            if not design.record_types:
                yield {"layout": file}
