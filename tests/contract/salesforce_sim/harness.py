"""Replays recorded Salesforce traffic: loads the pairs, sets an org up as a pair implies, compares what comes back.

Ids: a record that the answer shows is put into the store under its recorded id; a created one gets an id of ours, which the
comparison pairs off with the recorded one, consistently and by object. Volatile header values are compared by form.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from local.salesforce.dml_types import Stored
from local.salesforce.ids import checksum
from local.salesforce.schema import FieldType, Kind, ObjectType, OnParentDelete, Org, PicklistValue
from local.salesforce.schema_source import load_org
from local.salesforce.standard import id_field, owner_field, system_fields
from local.salesforce.testing import Answer, TestOrg

ROOT = Path(__file__).parents[3]
CASES = Path(os.environ.get("OMSYNC_SHARED", ROOT.parent / "shared")) / "salesforce-cases"
EXCEPTIONS = Path(__file__).with_name("exceptions.yaml")
VERSION = "v62.0"  # where a recording hides its version
_ID = re.compile(r"\b[a-zA-Z0-9]{5}0[a-zA-Z0-9]{9}(?:[A-Z0-5]{3})?\b|\b[a-zA-Z0-9]{15}[A-Z0-5]{3}\b")
_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+0000")
_FORMS = {
    "date": r"\w{3}, \d\d \w{3} \d{4} .*",
    "sforce-limit-info": r"api-usage=\d+/\d+",
    "strict-transport-security": r"max-age=\d+; includeSubDomains",
    "etag": r'"[0-9a-f]{8}"',
    "last-modified": r"\w{3}, \d\d? \w{3} \d{4} .* GMT",
}


@dataclass(frozen=True)
class Case:
    """One recorded pair."""

    id: str
    endpoint: str
    tier: str
    request: dict[str, Any]
    response: dict[str, Any]

    @property
    def method(self) -> str:
        return str(self.request["method"])

    @property
    def path(self) -> str:
        return str(self.request["path"])

    @property
    def body(self) -> Any:
        return self.response["body"]

    @property
    def status(self) -> int:
        return int(self.response["status"])

    def send(self, org: TestOrg, **changes: Any) -> Answer:
        """The recorded request, with `changes` where the recording lacks or hides something."""
        sent: dict[str, Any] = {"params": self.request.get("query"), "headers": self.request.get("headers") or {}}
        body = self.request.get("body")
        if isinstance(body, str):
            sent["content"] = body.encode()
        elif body is not None:
            sent["body"] = body
        sent.update(changes)
        return org.call(sent.pop("method", self.method), sent.pop("path", self.path), **sent)


@cache
def exceptions() -> dict[str, dict[str, str]]:
    """Case -> {what is not compared: why}."""
    loaded: dict[str, dict[str, str]] = yaml.safe_load(EXCEPTIONS.read_text())
    return loaded


@cache
def cases() -> dict[str, Case]:
    """Every pair by id, with hidden versions and ids made usable."""
    found: dict[str, Case] = {}
    for path in sorted([*CASES.glob("*.json"), *CASES.glob("describe/*.json")]):
        raw = json.loads(_usable(path.read_text()))
        name = path.name.removesuffix(".json")
        found[name] = Case(name, raw["endpoint"], raw["tier"], raw["request"], raw["response"])
    return found


def _usable(text: str) -> str:
    """Versions hidden as vxx.0 or vXX.X get a number; masked ids (`0010xACCOUNTID0000`) a right checksum."""
    text = re.sub(r"/v(?:xx|XX)\.[0X](?=[/\"])", f"/{VERSION}", text)
    return re.sub(r"\b(0[0-9A-Za-z]{2}0x[A-Z]+0+)\b", lambda found: _checked(found[1]), text)


def _checked(masked: str) -> str:
    fifteen = masked[:15]
    return fifteen + checksum(fifteen)


def of_endpoint(*endpoints: str, without: tuple[str, ...] = ()) -> list[Any]:
    """The pairs of some endpoints as test parameters; one skipped parameter where there are no recordings."""
    if not CASES.is_dir():
        return [pytest.param(None, marks=pytest.mark.skip(reason=f"no recorded cases: {CASES} is missing"))]
    return [pytest.param(case, id=case.id) for case in cases().values() if case.endpoint in endpoints and case.id not in without]


def case(name: str) -> Case:
    if not CASES.is_dir():
        pytest.skip(f"no recorded cases: {CASES} is missing")
    return cases()[name]


# -- the org the recordings imply ----------------------------------------------------------------------------------------


def evidence_org() -> Org:
    """The standard objects, with the custom objects and fields that the recordings use."""
    org = load_org()
    for obj in (
        _custom("Movie__c", "a00", "Movie"),
        _custom("Franchise__c", "a03", "Franchise"),
        _custom("Spaceship__c", "a05", "Spaceship"),
        _custom("UpsertTable__c", "a06", "Upsert Table"),
        _custom("random__c", "a07", "Random"),
        _custom("Custom__c", "a08", "Custom"),
        _custom("Whizbang", "a09", "Whizbang"),
        _custom("Event", "00U", "Event"),
    ):
        org.objects[obj.name] = obj
    ratings = tuple(PicklistValue(value, value) for value in ("Excellent", "Good", "Bad"))
    link = {"references": ("Franchise__c",), "relationship": "Franchise__r", "child_relationship": "Movies__r"}
    _lend(
        org,
        "Movie__c",
        FieldType("Rating__c", "Rating", Kind.PICKLIST, 255, picklist=ratings, restricted=True, custom=True),
        FieldType("ReleaseDate__c", "Release Date", Kind.DATE, custom=True),
        FieldType("Franchise__c", "Franchise", Kind.LOOKUP, 18, custom=True, on_delete=OnParentDelete.SET_NULL, **link),
    )
    _lend(org, "Spaceship__c", FieldType("Website__c", "Website", Kind.URL, 255, required=True, custom=True))
    _lend(org, "UpsertTable__c", FieldType("ExtId__c", "Ext Id", Kind.TEXT, 36, external_id=True, custom=True))
    _lend(org, "random__c", *(FieldType(f"RANDOM_{n}__c", f"RANDOM {n}", Kind.TEXT, 255, custom=True) for n in (1, 2)))
    _lend(org, "Account", *(FieldType(n, n, Kind.TEXT, 36, external_id=True, custom=True) for n in ("customExtIdField__c", "External__c")))
    _lend(org, "Opportunity", FieldType("external_id__c", "External Id", Kind.TEXT, 36, external_id=True, custom=True))
    unique = FieldType("B2C_Customer_ID__c", "B2C Customer ID", Kind.TEXT, 36, unique=True, external_id=True, custom=True)
    _lend(org, "Contact", unique)
    if CASES.is_dir():
        _lend_described(org)
    org.seal()
    return org


def _custom(name: str, prefix: str, label: str) -> ObjectType:
    obj = ObjectType(name, label, f"{label}s", prefix, custom=name.endswith("__c"))
    for f in (
        id_field(label),
        FieldType("Name", "Name", Kind.TEXT, 80, id_lookup=True, permissionable=False),
        *system_fields(),
        owner_field("User"),
    ):
        obj.fields[f.name] = f
    return obj


def _lend(org: Org, object_name: str, *fields: FieldType) -> None:
    for f in fields:
        org.objects[object_name].fields.setdefault(f.name, f)


_KINDS = {"string": Kind.TEXT, "textarea": Kind.TEXT_AREA, "picklist": Kind.TEXT, "boolean": Kind.CHECKBOX, "int": Kind.INTEGER}
_KINDS |= {"double": Kind.NUMBER, "currency": Kind.CURRENCY, "date": Kind.DATE, "datetime": Kind.DATETIME, "email": Kind.EMAIL}
_KINDS |= {"phone": Kind.PHONE, "url": Kind.URL, "reference": Kind.TEXT}


def _lend_described(org: Org) -> None:
    """Standard fields of the recorded orgs that ours has no use for."""
    for path in CASES.glob("describe/*.json"):
        body = json.loads(path.read_text())["response"]["body"]
        for known in body["fields"]:
            if not known["custom"] and known["type"] in _KINDS:
                f = FieldType(known["name"], known["label"], _KINDS[known["type"]], known["length"], known["precision"], known["scale"])
                _lend(org, body["name"], f)
    for name in ("ForecastCategoryName", "TotalOpportunityQuantity"):
        _lend(org, "Opportunity", FieldType(name, name, Kind.TEXT, 18))
    _lend(org, "Opportunity", FieldType("IsPrivate", "Private", Kind.CHECKBOX))
    contact = FieldType(
        "ContactId", "Contact", Kind.LOOKUP, 18, references=("Contact",), relationship="Contact", child_relationship="Opportunities"
    )
    _lend(org, "Opportunity", contact)
    _lend(org, "Lead", FieldType("CleanStatus", "Clean Status", Kind.TEXT, 40))
    _lend_shown(org, case("cci-012-sobject_get").body)


def _lend_shown(org: Org, record: dict[str, Any]) -> None:
    """The fields of a record that an answer shows in full."""
    name = record["attributes"]["type"]
    for key, value in record.items():
        if isinstance(value, dict) and key != "attributes":
            for part in value:
                _lend(org, name, FieldType(part[0].upper() + part[1:], part, Kind.TEXT, 80, compound=key))
            _lend(org, name, FieldType(key, key, Kind.ADDRESS))
        elif key != "attributes":
            kind = Kind.CHECKBOX if isinstance(value, bool) else Kind.INTEGER if isinstance(value, int) else Kind.TEXT
            _lend(org, name, FieldType(key, key, kind, 80))


def put(org: TestOrg, object_name: str, *rows: Mapping[str, Stored]) -> None:
    """Rows as they are, under their own ids, past all rules."""
    obj = org.server.state.org.objects[object_name]
    with org.server.state.store.write() as tx:
        for row in rows:
            system: dict[str, Stored] = dict.fromkeys(("CreatedDate", "LastModifiedDate", "SystemModstamp"), tx.now)
            whole = {name: value for name, value in (system | dict(row)).items() if name in obj.columns}
            names = ", ".join(f'"{name}"' for name in whole)
            marks = ", ".join("?" * len(whole))
            tx.connection.execute(f'INSERT OR REPLACE INTO "{object_name}" ({names}) VALUES ({marks})', list(whole.values()))


def clear(org: TestOrg, *objects: str) -> None:
    with org.server.state.store.write() as tx:
        for name in objects:
            tx.connection.execute(f'DELETE FROM "{name}"')


def put_shown(org: TestOrg, records: list[dict[str, Any]], also: Mapping[str, Stored] | None = None) -> None:
    """The records that a query answered, with their parents and children; `also` is what the answer doesn't show of them."""
    for record in records:
        _put_record(org, record, dict(also or {}))


def _put_record(org: TestOrg, record: dict[str, Any], extra: dict[str, Stored]) -> str:
    attributes = record["attributes"]
    obj = org.server.state.org.objects[attributes["type"]]
    record_id = attributes["url"].rpartition("/")[2]
    row: dict[str, Stored] = {**extra}
    for name, value in record.items():
        f = obj.field(name)
        if isinstance(value, dict) and "attributes" in value:
            parent = obj.relationship(name)
            assert parent is not None, f"{obj.name} has no relationship {name}"
            row[parent.name] = _put_record(org, value, {})
        elif isinstance(value, dict) and "records" in value:
            child = obj.child(name)
            assert child is not None, f"{obj.name} has no children {name}"
            for below in value["records"]:
                _put_record(org, below, {child.field: record_id})
        elif f is not None and f.kind is Kind.ADDRESS and isinstance(value, dict):
            row |= {part.name: value.get(_address_key(f.name, part.name)) for part in obj.compounds[f.name]}
        elif f is not None and name != "attributes":
            row[f.name] = value
    put(org, obj.name, {**row, "Id": record_id})
    return record_id


def _address_key(compound: str, part: str) -> str:
    rest = part.removeprefix(compound.removesuffix("Address"))
    return rest[0].lower() + rest[1:]


# -- comparing -----------------------------------------------------------------------------------------------------------


@dataclass
class Comparison:
    """What differs between a recorded answer and ours, path by path."""

    case: Case
    pairs: dict[str, str] = field(default_factory=dict)  # recorded id -> ours
    differences: list[str] = field(default_factory=list)
    excepted: set[str] = field(default_factory=set)  # exceptions that were needed

    def check(self, answer: Answer, *, body: Any = None) -> None:
        """Fail with every difference that no exception covers; and with an exception that covers nothing."""
        self._compare("status", self.case.status, answer.status)
        self._headers(answer)
        recorded = self.case.body if body is None else body
        if recorded in (None, "") or isinstance(recorded, str):
            if recorded == "":
                self._compare("body", b"", answer.body)
        else:
            self._compare("body", recorded, answer.json())
        unused = set(exceptions().get(self.case.id, {})) - self.excepted
        assert not self.differences, "\n".join(self.differences)
        assert not unused, f"{EXCEPTIONS.name}: {self.case.id} no longer needs {', '.join(sorted(unused))}"

    def _headers(self, answer: Answer) -> None:
        for name, recorded in (self.case.response.get("headers") or {}).items():
            lower = name.lower()
            if recorded is None or lower == "date":  # the server's own, added by the ASGI server
                continue
            ours = answer.headers.get(lower, "")
            form = _FORMS.get(lower)
            same = bool(re.fullmatch(form, ours)) if form else self._same_text(str(recorded), ours)
            if not same:
                self._differ(f"headers.{name}", recorded, ours)

    def _differ(self, path: str, recorded: object, ours: object) -> None:
        known = exceptions().get(self.case.id, {})
        for pattern in known:
            if re.fullmatch(re.escape(pattern).replace(r"\*", ".*"), path):
                self.excepted.add(pattern)
                return
        self.differences.append(f"{path}: recorded {recorded!r}, ours {ours!r}")

    def _compare(self, path: str, recorded: Any, ours: Any) -> None:
        if isinstance(recorded, dict) and isinstance(ours, dict):
            for key in [*recorded, *(key for key in ours if key not in recorded)]:
                if key not in ours or key not in recorded:
                    self._differ(f"{path}.{key}", recorded.get(key, "<absent>"), ours.get(key, "<absent>"))
                else:
                    self._compare(f"{path}.{key}", recorded[key], ours[key])
        elif isinstance(recorded, list) and isinstance(ours, list):
            if len(recorded) != len(ours):
                self._differ(f"{path}.length", len(recorded), len(ours))
            for index, (one, other) in enumerate(zip(recorded, ours, strict=False)):
                self._compare(f"{path}[{index}]", one, other)
        elif isinstance(recorded, str) and isinstance(ours, str):
            if not self._same_text(recorded, ours):
                self._differ(path, recorded, ours)
        elif recorded != ours or isinstance(recorded, bool) != isinstance(ours, bool):
            self._differ(path, recorded, ours)

    def _same_text(self, recorded: str, ours: str) -> bool:
        """Equal up to ids that were given out and moments."""
        if recorded == ours:
            return True
        if _MOMENT.sub("", recorded) == _MOMENT.sub("", ours) and _MOMENT.search(recorded):
            return True
        old, new = _ID.findall(recorded), _ID.findall(ours)
        if len(old) != len(new) or _ID.sub("#", recorded) != _ID.sub("#", ours):
            return False
        return all(len(a) == len(b) and self.pairs.setdefault(a, b) == b for a, b in zip(old, new, strict=True))


def by_url(record: dict[str, Any]) -> str:
    """Sort key of a query's records, where no order was asked for."""
    return str(record["attributes"].get("url", json.dumps(record, sort_keys=True)))


def walk(value: Any, visit: Callable[[dict[str, Any]], None]) -> None:
    """Every object within."""
    if isinstance(value, dict):
        visit(value)
        for item in value.values():
            walk(item, visit)
    elif isinstance(value, list):
        for item in value:
            walk(item, visit)


@cache
def own_fields(object_name: str) -> frozenset[str]:
    """The fields of an object that the simulator has by itself."""
    obj = load_org().object(object_name)
    return frozenset(obj.fields) if obj else frozenset({"Id", "Name"})


def claimed() -> Iterator[Case]:
    """Every pair whose endpoint the simulator claims."""
    return (found for found in cases().values() if found.endpoint != "cdc_event")
