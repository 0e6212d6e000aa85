"""An org's set-up data: what is there before anybody calls the API. Idempotent: each start adds what the metadata has gained.

Users, their profiles and permission sets, the organization, record types, queues and groups, the standard price book, and
the account under which prescribers live. Written past the DML engine, as set-up pages would.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from local.salesforce.auth import Authority, User
from local.salesforce.dml_types import Row, Stored
from local.salesforce.ids import make_id
from local.salesforce.rest.values import moment
from local.salesforce.schema import Kind
from local.salesforce.store import Store, Transaction

SESSION_FILE = "session.json"
CREDENTIAL_FILE = "credential.json"
DOMAIN = "omsync.example"
MEDICAL_GROUP = "Upscript Medical Group"
MEDICAL_GROUP_KEY = "6b3f6a52-7a0e-5d0e-9d5e-0b8a4c1f2e37"  # OMS_Id__c, to which the mapping of providers refers
ADMINISTRATOR = "System Administrator"
STANDARD_USER = "Standard User"
API_ONLY = "Minimum Access - API Only Integrations"


@dataclass(frozen=True, slots=True)
class Person:
    """A user that set-up creates. `sets` are words looked for in the permission sets' names."""

    key: str
    first: str
    last: str
    profile: str
    sets: tuple[str, ...] = ()

    @property
    def username(self) -> str:
        return f"{self.key}@{DOMAIN}"


PEOPLE = (
    Person("admin", "Ada", "Admin", ADMINISTRATOR),
    Person("integration", "OMSync", "Integration", API_ONLY, ("integration",)),
    Person("load", "OMSync", "Load", API_ONLY, ("load",)),
    Person("coordinator", "Carla", "Coordinator", STANDARD_USER, ("coordinator",)),
    Person("clinician", "Cleo", "Clinician", STANDARD_USER, ("clinician",)),
)


class Setup:
    """Writes set-up rows within one transaction."""

    def __init__(self, store: Store, tx: Transaction) -> None:
        self.store = store
        self.org = store.org
        self.tx = tx
        self.admin_id = ""

    def run(self, org_id: str) -> None:
        self.admin_id = self._id("User", "Username", PEOPLE[0].username) or self.tx.new_ids(self.org.objects["User"], 1)[0]
        self._put("Organization", "Id", org_id, Name="Upscript Care", OrganizationType="Enterprise Edition", InstanceName="USA1")
        for name in (ADMINISTRATOR, STANDARD_USER, API_ONLY):
            everything = int(name == ADMINISTRATOR)
            self._put("Profile", "Name", name, PermissionsModifyAllData=everything, PermissionsApiEnabled=1, UserType="Standard")
        for permission_set in self.org.permission_sets.values():
            self._put("PermissionSet", "Name", permission_set.name, Label=permission_set.label, IsCustom=1)
        for person in PEOPLE:
            self._person(person)
        self._record_types()
        self._queues()
        self._put("Pricebook2", "Name", "Standard Price Book", IsStandard=1, IsActive=1)
        self._automation()
        group = self.org.objects["Account"].record_types.get("Medical_Group")
        kind = group.id if group else None
        self._put("Account", "OMS_Id__c", MEDICAL_GROUP_KEY, Name=MEDICAL_GROUP, RecordTypeId=kind, OwnerId=self.admin_id)

    def _id(self, object_name: str, column: str, value: Stored) -> str | None:
        sql = f'SELECT "Id" FROM "{object_name}" WHERE "{column}" = ? AND "IsDeleted" = 0'
        row = self.tx.connection.execute(sql, (value,)).fetchone() if object_name in self.org.objects else None
        return str(row[0]) if row else None

    def _put(self, object_name: str, key: str, value: Stored, **fields: Stored) -> str:
        """The row with this key, created if missing."""
        known = self._id(object_name, key, value)
        if known is not None or object_name not in self.org.objects:
            return known or ""
        obj = self.org.objects[object_name]
        record_id = str(fields.pop("Id", None) or (value if key == "Id" else self.tx.new_ids(obj, 1)[0]))
        now, admin = self.tx.now, self.admin_id
        system: Row = {"CreatedDate": now, "LastModifiedDate": now, "SystemModstamp": now, "CreatedById": admin, "LastModifiedById": admin}
        defaults = {f.name: _default(f.default) for f in obj.fields.values() if f.default is not None and f.kind is not Kind.ADDRESS}
        row = {name: stored for name, stored in (defaults | system | {key: value} | fields).items() if name in obj.columns}
        row["Id"] = record_id
        names = ", ".join(f'"{name}"' for name in row)
        marks = ", ".join("?" * len(row))
        self.tx.connection.execute(f'INSERT INTO "{obj.name}" ({names}) VALUES ({marks})', list(row.values()))
        return record_id

    def _person(self, person: Person) -> None:
        user_id = self._put(
            "User",
            "Username",
            person.username,
            **({"Id": self.admin_id} if person.key == "admin" else {}),
            FirstName=person.first,
            LastName=person.last,
            Name=f"{person.first} {person.last}",
            Email=person.username,
            Alias=person.key[:8],
            CommunityNickname=person.key,
            IsActive=1,
            ProfileId=self._id("Profile", "Name", person.profile),
            UserType="Standard",
            TimeZoneSidKey="America/New_York",
            LocaleSidKey="en_US",
            LanguageLocaleKey="en_US",
            EmailEncodingKey="UTF-8",
        )
        for name in self.org.permission_sets:
            if any(word in name.lower() for word in person.sets):
                self.assign(user_id, name)

    def assign(self, user_id: str, name: str) -> None:
        """Give a user a permission set, unless he has it."""
        set_id = self._id("PermissionSet", "Name", name)
        sql = 'SELECT 1 FROM "PermissionSetAssignment" WHERE "AssigneeId" = ? AND "PermissionSetId" = ? AND "IsDeleted" = 0'
        if set_id and not self.tx.connection.execute(sql, (user_id, set_id)).fetchone():
            new = self.tx.new_ids(self.org.objects["PermissionSetAssignment"], 1)[0]
            self._put("PermissionSetAssignment", "Id", new, AssigneeId=user_id, PermissionSetId=set_id)

    def _record_types(self) -> None:
        for obj in self.org:
            for kind in obj.record_types.values():
                self._put(
                    "RecordType",
                    "Id",
                    kind.id,
                    Name=kind.label,
                    DeveloperName=kind.developer_name,
                    SobjectType=obj.name,
                    IsActive=int(kind.active),
                    IsPersonType=int(kind.person),
                    Description=kind.description,
                )

    def _automation(self) -> None:
        """What the metadata brings: its triggers and rules."""
        for obj in self.org:
            self._put("EntityDefinition", "QualifiedApiName", obj.name, DeveloperName=obj.name, Label=obj.label, DurableId=obj.name)
        for name, object_name in self.org.trigger_names.items():
            self.automate("trigger", object_name, name)
        for obj in self.org:
            for rule in obj.rules:
                self.automate("validation_rule", obj.name, rule.name, active=rule.active)

    def automate(self, kind: str, object_name: str, name: str, *, active: bool = True) -> str:
        """Something that acts when a record is saved, as Setup lists it; switched on or off if it is there. Nothing here carries it out."""
        entity = self._id("EntityDefinition", "QualifiedApiName", object_name)
        if entity is None:
            raise ValueError(f"no such object: {object_name}")
        on = int(active)
        of_entity: Row = {"EntityDefinitionId": entity}
        kinds: dict[str, tuple[str, str, Row, Row]] = {
            "trigger": ("ApexTrigger", "Name", of_entity | {"TableEnumOrId": object_name}, {"Status": "Active" if active else "Inactive"}),
            "validation_rule": ("ValidationRule", "ValidationName", of_entity, {"Active": on}),
            "duplicate_rule": ("DuplicateRule", "DeveloperName", {"MasterLabel": name, "SobjectType": object_name}, {"IsActive": on}),
            "flow": (
                "FlowDefinitionView",
                "ApiName",
                {"Label": name, "ProcessType": "AutoLaunchedFlow", "TriggerType": "RecordAfterSave", "TriggerObjectOrEventId": entity},
                {"IsActive": on, "ActiveVersionId": make_id("301", 1 + zlib.crc32(name.encode())) if active else None},
            ),
        }
        if kind not in kinds:
            raise ValueError(f"kind must be one of {', '.join(kinds)}")
        sobject, key, fixed, state = kinds[kind]
        found = self._known_automation(sobject, key, name, fixed)
        if found is None:
            return self._put(sobject, "Id", self.tx.new_ids(self.org.objects[sobject], 1)[0], **{key: name, **fixed, **state})
        marks = ", ".join(f'"{column}" = ?' for column in state)
        self.tx.connection.execute(f'UPDATE "{sobject}" SET {marks} WHERE "Id" = ?', [*state.values(), found])
        return found

    def _known_automation(self, sobject: str, key: str, name: str, fixed: Row) -> str | None:
        """Names are unique within an object only."""
        within = next((column for column in ("EntityDefinitionId", "SobjectType", "TriggerObjectOrEventId") if column in fixed), key)
        sql = f'SELECT "Id" FROM "{sobject}" WHERE "{key}" = ? AND "{within}" = ?'
        row = self.tx.connection.execute(sql, (name, fixed.get(within, name))).fetchone()
        return str(row[0]) if row else None

    def _queues(self) -> None:
        for developer_name, (label, objects) in self.org.queues.items():
            queue = self._put("Group", "DeveloperName", developer_name, Name=label, Type="Queue")
            for name in objects:
                sql = 'SELECT 1 FROM "QueueSobject" WHERE "QueueId" = ? AND "SobjectType" = ?'
                if not self.tx.connection.execute(sql, (queue, name)).fetchone():
                    new = self.tx.new_ids(self.org.objects["QueueSobject"], 1)[0]
                    self._put("QueueSobject", "Id", new, QueueId=queue, SobjectType=name)


def _default(value: str | bool | float) -> Stored:
    return int(value) if isinstance(value, bool) else value


def ensure_org(store: Store) -> str:
    """Create what is missing; the organization's id."""
    org_id = store.state("org_id") or make_id("00D", 1)
    with store.write() as tx:
        Setup(store, tx).run(org_id)
        store.set_state("org_id", org_id)
    return org_id


def user_of(row: Row | None) -> User | None:
    """A User record as auth needs it."""
    if row is None or row.get("IsDeleted"):
        return None

    def text(name: str) -> str:
        return str(row.get(name) or "")

    return User(
        id=text("Id"),
        username=text("Username"),
        name=text("Name"),
        first_name=text("FirstName") or None,
        last_name=text("LastName"),
        email=text("Email"),
        active=bool(row.get("IsActive")),
        alias=text("Alias"),
        modified=moment(text("LastModifiedDate")),
    )


def authority_for(store: Store, home: Path, org_id: str) -> Authority:
    """The org's sessions and consumers, looking its users up in the store."""

    def by_name(username: str) -> User | None:
        rows = store.find("User", "Username", username) if username else []
        return user_of(rows[0]) if rows else None

    def by_id(user_id: str) -> User | None:
        return user_of(store.get("User", user_id))

    authority = Authority(home / "auth.json", org_id, by_name, by_id)
    authority.load()
    return authority


def write_session(authority: Authority, home: Path, base: str) -> Mapping[str, str]:
    """The administrator's lasting session, in `session.json` for whoever runs the stack."""
    path = home / SESSION_FILE
    kept = json.loads(path.read_text()) if path.exists() else {}
    admin = authority.user_by_name(PEOPLE[0].username)
    assert admin is not None, "set-up creates the administrator"
    token = kept.get("access_token")
    if token is None or authority.session(token) is None:
        token = authority.open(admin, "setup", seconds=None, token=token).token
    session = {
        "instance_url": base,
        "access_token": token,
        "org_id": authority.org_id,
        "user_id": admin.id,
        "username": admin.username,
        **{f"{person.key}_username": person.username for person in PEOPLE},
    }
    path.write_text(json.dumps(session, indent=1))
    path.chmod(0o600)
    return session
